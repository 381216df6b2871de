/* coap.h - a CoAP server (RFC 7252): what comes as datagrams, and what goes back; no I/O
 *
 * Own code instead of libcoap: its 4.3.1 cannot share a port between workers (its sockets lack SO_REUSEPORT and it takes none that
 * is open), gives a repeated request to its handler again, acknowledges at once what it cannot answer at once, and walks all
 * sessions for each packet.
 *
 * A request for something durable is answered with its COMMIT: in its acknowledgement, if that comes within ack_delay_us, else
 * the request is acknowledged empty and the answer follows as a message of its own, sent again until it is acknowledged. A repeat
 * gets the same answer and is not processed again (coap_exchanges.h).
 *
 * Nobody proves by a datagram that he is where it says it comes from. So nobody is sent more than COAP_AMPLIFICATION times what came
 * from there, repeats and retransmissions included (RFC 9175, 2.4): explanations are cut, and what is longer goes in blocks that
 * fit (Block2), which the client asks for one by one. Echo is not needed for that, and few devices speak it. DTLS has a
 * cookie exchange of its own, so its sessions have no such bound. */
#ifndef ROOST_COAP_H
#define ROOST_COAP_H

#include "auth.h"
#include "coap_bodies.h"
#include "coap_exchanges.h"
#include "coap_sendings.h"
#include "record.h"

#define COAP_AMPLIFICATION 3u

struct coap;

struct coap_config {
	uint32_t exchanges_max;
	size_t bodies_bytes_max;
	size_t body_max;
	int64_t ack_delay_us;
	uint64_t seed;
	int64_t now_us;
};

/* What a request says about who sends it. */
struct coap_who {
	const struct coap_endpoint *from;
	struct bytes credential; /* in the path; empty: none */
};

struct coap_telemetry {
	const struct coap_endpoint *from;
	const struct auth_grant *grant;
	struct bytes
	    own; /* what an anonymous client calls itself: in the path, or the query device=; may be empty */
	struct bytes path; /* "v1/telemetry" */
	struct bytes payload;
	struct bytes
	    client; /* tells who sent it and with which token, for a repeat after a restart */
	uint16_t id;
	bool dup;	 /* it may have come before: not all of that time is remembered */
	uint32_t format; /* enum coap_format */
	bool attributes; /* of the device itself, not readings */
	uint64_t ticket;
};

struct coap_taken {
	uint32_t parts;
	uint8_t
	    code; /* 0: that is all of it; else the answer, if no part is refused: what else there is was not taken */
};

struct coap_ops {
	/* Never fails: a datagram may be lost anyway. */
	void (*send)(void *arg, const struct coap_endpoint *to, struct bytes message);
	/* auth_check() and auth_forget(); who is borrowed. */
	enum auth_verdict (*identify)(void *arg, const struct coap_who *who, auth_done_fn done,
	    void *asker, struct auth_answer *ret);
	void (*unidentify)(void *arg, const void *asker);
	/* 0: coap_committed() is called with the ticket as often as there are parts, later. Else the code of the answer, at
	 * once, and why; nothing was taken. */
	int (*telemetry)(void *arg, const struct coap_telemetry *t, struct coap_taken *ret_taken,
	    struct buf *why);
	void *arg;
};

#define COAP_PENDING_MAX                                                                           \
	4096u /* requests that wait until it is known who sends them, each at most COAP_DATAGRAM_MAX bytes */
struct coap_pending;

struct coap {
	struct coap_config config;
	struct coap_ops ops;
	int64_t now_us; /* the caller keeps it current */
	int64_t started_us;
	uint16_t next_id;
	struct coap_exchanges exchanges;
	struct coap_bodies bodies;
	struct coap_sendings sendings;
	struct coap_pending *pending, *spare;
	uint32_t pending_count;
	struct buf why;
	struct coap_writer writer;
};

void coap_init(struct coap *c, const struct coap_config *config, const struct coap_ops *ops);
void coap_fini(struct coap *c);

/* cut: the datagram was longer than this. */
void coap_receive(
    struct coap *c, const struct coap_endpoint *from, struct bytes datagram, bool cut);
/* The verdict of one part of what was offered with this ticket. */
void coap_committed(struct coap *c, uint64_t ticket, uint32_t verdict);
/* Does what is due, and says when there is more: us, 0 for never. */
int64_t coap_due(struct coap *c);
/* Once a second. */
void coap_tick(struct coap *c);
/* Nothing waits for its answer. */
bool coap_is_idle(const struct coap *c);

#endif
