/* session_state.h - what connectivity workers share about MQTT sessions, in Redis; the keys of MQTT are known here only
 *
 *	roost:mqtt:epoch		counter: epoch of the last claim of any session
 *	roost:mqtt:session:{id}		hash: e epoch, o owner, l its life, x expiry in s, a away since in ms (0: connected), s highest n sent,
 *					k which of the next four it has had: B, Q, O, I (absent: any)
 *	roost:mqtt:subs:{id}		hash: filter -> options | subscription identifier << 8
 *	roost:mqtt:queue:{id}		stream: n-0 -> h MQTT_DELIVERY, m MQTT_MESSAGE; its last id is the highest n ever queued
 *	roost:mqtt:out2:{id}		set of n: PUBREC came, PUBCOMP did not
 *	roost:mqtt:in2:{id}		hash: packet id -> partition, -1: not a reading; PUBLISH QoS 2 came, PUBREL did not
 *	roost:mqtt:owned:{worker}	set of the client ids whose sessions it has claimed
 *	roost:mqtt:wills:{worker}	hash: client id -> MQTT_WILL
 *	roost:mqtt:retained		hash: topic -> seq:MQTT_MESSAGE
 *	roost:mqtt:retained_seq		counter: number of the last change of a retained message
 *	roost:mqtt:forwards:{worker}	hash: peer -> its life:last seq of its forwards that was taken
 *	roost:mqtt:had:{id}		hash: origin of a QoS 2 message that it had, and whose publisher has not released it -> wall clock, ms
 *	roost:mqtt:log:{worker}		hash: l life, s number of the last batch, r<number> what was to be told of a batch
 *
 * ({id} is the client id, {worker} a worker's name, without braces. A stream takes 90 bytes less a message than a hash, and is
 * read in order, page by page.)
 *
 * Writing. Writes are gathered in units; a unit is carried out whole or not at all, whole units go out together as one batch
 * (one script), and batches are numbered. The worker's log in Redis holds the number of the last one, so each is carried out
 * once and in order however often the connection or Redis end in between: what was not answered is sent again. `done` answers
 * each unit, in order. (MULTI would not do: EXEC carries out the rest when one of its scripts is refused.)
 *
 * Fencing. A claim gives a session a new epoch; a write that carries another one is refused and told by `refused`, before its
 * unit's `done`; the other writes of the unit are carried out. A worker's name belongs to the newest life that began: an older
 * one learns it by `fenced`.
 *
 * Loss. If Redis does not have what it had acknowledged (FLUSHALL, another server, its file ended early), all units that wait
 * are answered with ERR_CLOSED, and `up` says lost: the worker claims its sessions again (clean) and writes them anew.
 *
 * While Redis is away units are taken until queue_max bytes wait; then session_state_unit() says ERR_FULL until `room`. Questions
 * (claims, loads, lists) are refused at once (ERR_CLOSED), or answered with ERR_CLOSED if the connection ends before the answer.
 *
 * Acknowledgements to clients: each call says which may leave after its callback. Durable means here: as durable as Redis's
 * append-only file is set to be. */
#ifndef ROOST_SESSION_STATE_H
#define ROOST_SESSION_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "codec.h"
#include "loop.h"

#define SESSION_STATE_EXPIRY_NEVER UINT32_MAX	/* session expiry interval 0xFFFFFFFF */
#define SESSION_STATE_BATCH_OPS 512		/* a batch takes whole units until it has so many writes ... */
#define SESSION_STATE_BATCH_BYTES 262144	/* ... or bytes */
#define SESSION_STATE_UNIT_OPS 262144		/* most writes in one unit: Redis does nothing else meanwhile (about 2 us each) */
#define SESSION_STATE_PAGE 64			/* entries asked for at a time by loads and lists */
#define SESSION_STATE_TTL_MARGIN_S 3600		/* keys of a session that is away end by themselves so long after it expired */
#define SESSION_STATE_WORKER_MAX 64		/* bytes of a worker's name */
#define SESSION_STATE_VALUE_EXTRA (1u << 20)	/* a value in Redis may be so much longer than message_max; more is passed over */
#define SESSION_STATE_CHECK_MS 1000		/* an idle worker looks whether its log is still there */

struct session_state;

/* A write that was refused. */
struct session_state_refusal {
	int err;		/* ERR_FENCED: not this epoch's session any more; ERR_FULL: Redis is out of memory (what frees is carried out
				 * all the same); ERR_REFUSED: Redis holds something else under the key, or n did not grow */
	struct bytes id;	/* client id, or what the write was about */
	uint64_t epoch;
	uint64_t n;		/* n or packet id; 0 if the write has none */
	bool queues;		/* it was to put n into the session's queue: n is not there */
};

struct session_state_claim {
	uint64_t epoch;
	struct bytes owner;	/* worker that had it before; empty: nobody */
	uint64_t life;		/* of owner */
	bool present;		/* there was a session, it had not expired, and clean was not asked for */
	uint64_t sent;		/* highest n that was sent, as far as that was written */
	uint64_t top;		/* highest n ever queued */
	uint32_t subscriptions;	/* how many; session_state_load() tells them */
	uint32_t queued;
	uint32_t incoming;
	uint32_t released;
};

enum session_state_kind {
	/* of a session: session_state_load() */
	SESSION_STATE_SUBSCRIPTION,	/* key filter, options, subscription_id */
	SESSION_STATE_INCOMING,		/* n packet id, partition */
	SESSION_STATE_RELEASED,		/* n */
	SESSION_STATE_QUEUED,		/* n (growing), message, delivery */
	SESSION_STATE_ORIGIN,		/* key origin, since_ms */
	/* session_state_list() */
	SESSION_STATE_OWNED,		/* key client id, epoch, life, expiry_s, since_ms (0: connected) */
	SESSION_STATE_RETAINED,		/* key topic, n seq, message */
	SESSION_STATE_WILL,		/* key client id, will, message */
	SESSION_STATE_FORWARD,		/* key peer, life, n seq */
	SESSION_STATE_KINDS
};

/* Borrowed, valid during the callback; what a kind does not name is 0. */
struct session_state_item {
	enum session_state_kind kind;
	struct bytes key;
	uint64_t n;
	uint64_t epoch;
	uint64_t life;
	uint32_t expiry_s;
	int64_t since_ms;
	uint8_t options;
	uint32_t subscription_id;
	int32_t partition;
	const struct msg_mqtt_message *message;
	const struct msg_mqtt_delivery *delivery;
	const struct msg_mqtt_will *will;
};

struct session_state_events {
	void (*up)(void *arg, bool lost);
	void (*down)(void *arg);
	void (*fenced)(void *arg);	/* a newer life of this name has begun: this process is to end */
	void (*room)(void *arg);	/* after ERR_FULL */
	void (*refused)(void *arg, uint64_t token, const struct session_state_refusal *r);
	/* err 0, or ERR_CLOSED (lost). retained_seq: of the unit's retained message, 0 if there is none. */
	void (*done)(void *arg, uint64_t token, int err, uint64_t retained_seq);
	/* err 0; ERR_CLOSED: Redis went away; ERR_FULL, ERR_REFUSED: it said no; ERR_NOT_FOUND: session_state_claim_from(). */
	void (*claimed)(void *arg, uint64_t token, int err, const struct session_state_claim *claim);
	/* Of loads and lists: items, then end, err as in claimed. Items of loads and lists come at least once each: one that is
	 * written or removed meanwhile may be told twice or not at all. */
	void (*item)(void *arg, uint64_t token, const struct session_state_item *item);
	void (*end)(void *arg, uint64_t token, int err);
};

struct session_state_options {
	const char *url;	/* as in redis.h */
	const char *data_dir;
	const char *worker;	/* its name; outlives the call */
	uint64_t life;		/* grows with every start */
	size_t message_max;	/* bytes of the largest MQTT packet */
	size_t queue_max;	/* bytes of writes that wait for Redis */
};

/* ERR_CONFIG: no such url. */
int session_state_new(struct loop *loop, const struct session_state_options *options,
    const struct session_state_events *events, void *arg, struct session_state **ret_state);
/* No callbacks any more; not from within one. */
void session_state_free(struct session_state **ss);
bool session_state_is_up(const struct session_state *ss);
/* What was written leaves: at the end of each turn. */
void session_state_flush(struct session_state *ss);

/* --- questions; behind all writes made before; they leave with the flush or the next turn. ERR_CLOSED: not up, there will be no answer --- */

/* Makes client id's session this worker's, connected, with this expiry; clean: without what it held. A will that waited at its
 * previous owner is forgotten. CONNACK may leave after `claimed` (and the load, if there is something). */
int session_state_claim(struct session_state *ss, struct bytes id, bool clean, uint32_t expiry_s, int64_t now_ms, uint64_t token);
/* The same for a session that a list told of, of that worker: `claimed` with ERR_NOT_FOUND if another one has claimed it since. */
int session_state_claim_from(struct session_state *ss, struct bytes id, const char *worker, uint32_t expiry_s, int64_t now_ms,
    uint64_t token);
/* All of a session that is claimed. Messages that cannot be read, or are larger than message_max by more than
 * SESSION_STATE_VALUE_EXTRA, are removed and counted; of lists they are passed over. */
int session_state_load(struct session_state *ss, struct bytes id, uint64_t token);
/* kind: OWNED to FORWARD; worker: whose (RETAINED: everybody's). OWNED forgets sessions that are gone or have another owner. */
int session_state_list(struct session_state *ss, enum session_state_kind kind, const char *worker, uint64_t token);

/* --- writes --- */

/* The writes that follow, up to the next unit or flush, are one unit. 0, or ERR_FULL: not begun, nothing may be written.
 * Each unit ends with `done`, also one without writes. */
int session_state_unit(struct session_state *ss, uint64_t token);
/* For what is written anew from memory, which bounds it: however much waits, or it might never be done. */
void session_state_unit_anew(struct session_state *ss, uint64_t token);
/* Writes of the open unit so far: at SESSION_STATE_UNIT_OPS the caller begins another. */
uint32_t session_state_unit_ops(const struct session_state *ss);

/* SUBACK, UNSUBACK after done. */
void session_state_subscribe(struct session_state *ss, struct bytes id, uint64_t epoch, struct bytes filter, uint8_t options,
    uint32_t subscription_id);
void session_state_unsubscribe(struct session_state *ss, struct bytes id, uint64_t epoch, struct bytes filter);
/* The message (an encoded MQTT_MESSAGE) that the unit's enqueues from here on are of: it goes to Redis once. */
void session_state_message(struct session_state *ss, struct bytes message);
/* n grows. The publisher's PUBACK, PUBREC or FORWARDED after done; PUBLISH to the subscriber needs not wait for it. */
void session_state_enqueue(struct session_state *ss, struct bytes id, uint64_t epoch, uint64_t n,
    const struct msg_mqtt_delivery *delivery);
/* PUBACK came for n, or it expired, or was given up. Nothing waits for it. */
void session_state_acked(struct session_state *ss, struct bytes id, uint64_t epoch, uint64_t n);
/* PUBREC came: PUBREL after done. */
void session_state_pubrec(struct session_state *ss, struct bytes id, uint64_t epoch, uint64_t n);
/* PUBCOMP came. Nothing waits for it; n's packet id may be used again after done. */
void session_state_pubcomp(struct session_state *ss, struct bytes id, uint64_t epoch, uint64_t n);
/* Only decides DUP after a death: nothing waits for it. */
void session_state_sent(struct session_state *ss, struct bytes id, uint64_t epoch, uint64_t n);
/* QoS 2 from the client, in the unit of what it caused: PUBREC after done. partition: -1, not a reading. */
void session_state_incoming(struct session_state *ss, struct bytes id, uint64_t epoch, uint16_t packet_id, int32_t partition);
/* PUBREL came: PUBCOMP after done. */
void session_state_incoming_done(struct session_state *ss, struct bytes id, uint64_t epoch, uint16_t packet_id);
/* The connection ended at now_ms; the session ends expiry_s later. */
void session_state_away(struct session_state *ss, struct bytes id, uint64_t epoch, uint32_t expiry_s, int64_t now_ms);
/* The client is back at the worker that has its session in memory: CONNACK after done. */
void session_state_back(struct session_state *ss, struct bytes id, uint64_t epoch, uint32_t expiry_s);
/* The session is over: all its keys but the will. */
void session_state_ended(struct session_state *ss, struct bytes id, uint64_t epoch);
/* Of this worker's client, epoch 0 if its session was not claimed: CONNACK after done. will->life is set here. */
void session_state_will(struct session_state *ss, struct bytes id, uint64_t epoch, const struct msg_mqtt_will *will);
/* It was published, in the unit of what that caused, or is not to be. */
void session_state_no_will(struct session_state *ss, struct bytes id);

/* At most one of these two in a unit; `done` brings its number. The publisher's PUBACK or PUBREC after done. */
void session_state_retain(struct session_state *ss, struct bytes topic, struct bytes message);
void session_state_unretain(struct session_state *ss, struct bytes topic);
/* If it is still the one of that number: it expired. */
void session_state_retained_expired(struct session_state *ss, struct bytes topic, uint64_t seq);

/* In the unit of what the forward caused: FORWARDED after done. */
void session_state_forward_taken(struct session_state *ss, struct bytes peer, uint64_t life, uint64_t seq);
/* That the session had it, in the unit that puts the message into its queue. */
void session_state_session_origin(struct session_state *ss, struct bytes id, uint64_t epoch, struct bytes origin, int64_t now_ms);
/* It will not come again. */
void session_state_origin_released(struct session_state *ss, struct bytes id, uint64_t epoch, struct bytes origin);

#endif
