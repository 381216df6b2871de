/* coap_exchanges.h - which requests came already, and how they were answered; pure
 *
 * A request is known by who sent it, its message id, and a hash of all of it: a repeat is the same datagram, and a device that
 * began its ids anew sends another one. From its arrival until it is answered an exchange waits and is not forgotten. Then it
 * is kept with its answer for COAP_LIFETIME_US; if there are more than that many, the ones answered first go early. */
#ifndef ROOST_COAP_EXCHANGES_H
#define ROOST_COAP_EXCHANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "coap_codec.h"

#define COAP_LIFETIME_US 247000000ll /* EXCHANGE_LIFETIME, RFC 7252, 4.8.2 */
#define COAP_SPAN_US 45000000ll	     /* MAX_TRANSMIT_SPAN: no repeat is sent later than that */
#define COAP_ANSWER_INLINE 16

/* Compared and hashed as bytes: zeroed first. */
struct coap_endpoint {
	uint8_t ip[16];	   /* IPv4 as ::ffff:a.b.c.d */
	uint8_t local[16]; /* where it sent to; zero: the socket has one address only */
	uint32_t scope;	   /* of a link-local address */
	uint32_t session;  /* DTLS; 0: none */
	uint16_t port;
	uint16_t socket;
};

enum coap_exchange_state {
	COAP_WAITS,	/* for its answer */
	COAP_ANSWERED,	/* the answer is kept, for repeats */
	COAP_SEPARATED, /* the request was acknowledged, the answer goes as a message of its own */
};

struct coap_exchange {
	struct coap_endpoint from;
	uint64_t hash;
	struct coap_exchange *bucket_next;
	struct coap_exchange *newer, *older; /* waiting: not acknowledged yet; answered: by age */
	int64_t at_us;			     /* arrival; answered: when that was */
	uint32_t slot;
	uint32_t generation;
	uint32_t received; /* bytes of it and its repeats, ... */
	uint32_t sent;	   /* ... and of what was sent for them */
	uint32_t parts;	   /* whose verdict has not come */
	uint32_t verdict;  /* the worst of those that came */
	uint8_t rest;	   /* code for what was not taken; 0: all was */
	uint16_t id;
	uint8_t state;
	bool confirmable;
	bool acknowledged;   /* by an empty ACK */
	bool delivered;	     /* separated: the answer was acknowledged */
	uint8_t no_response; /* RFC 7967 */
	uint8_t token_len;
	uint8_t token[COAP_TOKEN_MAX];
	uint16_t answer_len;
	struct coap_block block1; /* that the answer speaks of */
	union {
		uint8_t in[COAP_ANSWER_INLINE];
		uint8_t *out; /* longer than that */
	} answer;
};

struct coap_exchange_list {
	struct coap_exchange *oldest, *newest;
};

struct coap_exchanges {
	struct coap_exchange **slots; /* NULL where free */
	uint32_t *free_slots;
	uint32_t *generations;
	uint32_t slot_count, free_count, slot_cap;
	struct coap_exchange **buckets;
	uint32_t bucket_count;
	uint32_t max;
	uint32_t count;
	uint32_t waiting;
	struct coap_exchange_list unacknowledged; /* waiting, by arrival */
	struct coap_exchange_list answered;	  /* by age */
	uint64_t early;				  /* forgotten before their time, ... */
	int64_t early_us; /* ... the last one that repeats may still come of */
};

void coap_exchanges_init(struct coap_exchanges *x, uint32_t max);
void coap_exchanges_fini(struct coap_exchanges *x);

uint64_t coap_datagram_hash(struct bytes datagram);
/* NULL if it is new. */
struct coap_exchange *coap_exchanges_find(
    struct coap_exchanges *x, const struct coap_endpoint *from, uint16_t id, uint64_t hash);
/* A new one, waiting. NULL: half of them wait already, there is no room. */
struct coap_exchange *coap_exchanges_add(struct coap_exchanges *x, const struct coap_endpoint *from,
    const struct coap_message *m, uint64_t hash, size_t received, int64_t now_us);
/* Nothing was done for it, nothing is to be remembered. */
void coap_exchanges_remove(struct coap_exchanges *x, struct coap_exchange *e);
/* It was said that its answer comes separately; or nobody waits for that. */
void coap_exchanges_acknowledged(struct coap_exchanges *x, struct coap_exchange *e);
/* Its answer, copied, for repeats. state: COAP_ANSWERED or COAP_SEPARATED. */
void coap_exchanges_answered(struct coap_exchanges *x, struct coap_exchange *e,
    enum coap_exchange_state state, struct bytes answer, int64_t now_us);
struct bytes coap_exchange_answer(const struct coap_exchange *e);
struct bytes coap_exchange_token(const struct coap_exchange *e);
/* Forgets what is too old. */
void coap_exchanges_expire(struct coap_exchanges *x, int64_t now_us);

/* For who is asked to answer later: a number of 62 bits, never that of another one within 2^30 uses of a slot. */
uint64_t coap_exchange_ticket(const struct coap_exchange *e);
/* NULL: it is gone. */
struct coap_exchange *coap_exchanges_of_ticket(const struct coap_exchanges *x, uint64_t ticket);

#endif
