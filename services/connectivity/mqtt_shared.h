/* mqtt_shared.h - what is told of sessions that outlive their connection, so that a copy can be kept elsewhere
 *
 * The broker tells each change of such a session, in order, through mqtt_ops.change(); whoever keeps the copy numbers its
 * writes and says through mqtt_broker_written() up to which they are done. Until then
 *
 *	a PUBLISH that was put into queues, or retained, has no PUBACK or PUBREC,
 *	a PUBREL no PUBCOMP, SUBSCRIBE and UNSUBSCRIBE no answer,
 *	a QoS 2 message is not sent to its subscriber: its number, and so its packet id, might stand for another one later,
 *	a CONNECT with a will no CONNACK.
 *
 * What happens while the copy cannot be written: mqtt_session_away.c.
 * Readings never wait for this. A client that comes is claimed first, mqtt_ops.claim(); what there is of its session is
 * handed over through mqtt_load_...() before mqtt_broker_claimed(). */
#ifndef ROOST_MQTT_SHARED_H
#define ROOST_MQTT_SHARED_H

#include "mqtt_codec.h"
#include "mqtt_retained.h"

struct mqtt_broker;
struct mqtt_delivery;
struct mqtt_session;
struct mqtt_sub;

enum mqtt_right { MQTT_MAY_PUBLISH, MQTT_MAY_RECEIVE, MQTT_MAY_SUBSCRIBE };

enum mqtt_change_kind {
	/* Of every session; of those that are not kept (shared) only these two. */
	MQTT_CHANGE_SESSION,	/* begins, comes back or goes away: expiry_s, conn and will say how it is */
	MQTT_CHANGE_END,	/* and all that belongs to it */
	MQTT_CHANGE_SUB,	/* sub, filter (with $share/group/ if it is shared) */
	MQTT_CHANGE_UNSUB,	/* filter */
	MQTT_CHANGE_QUEUED,	/* delivery, with its number n */
	MQTT_CHANGE_SENT,	/* delivery; decides about DUP only, nobody waits for it */
	MQTT_CHANGE_RELEASED,	/* delivery: PUBREC came */
	MQTT_CHANGE_DONE,	/* delivery: acknowledged, expired or given to another one */
	MQTT_CHANGE_RECEIVED,	/* packet_id: a QoS 2 PUBLISH was taken; partition: of a reading, else -1 */
	MQTT_CHANGE_FORGOTTEN,	/* packet_id: its PUBREL came */
	MQTT_CHANGE_RETAINED,	/* message; an empty payload removes; session is NULL */
};

/* Borrowed for the call. */
struct mqtt_change {
	enum mqtt_change_kind kind;
	const struct mqtt_session *session;
	const struct mqtt_sub *sub;
	const struct mqtt_delivery *delivery;
	const struct mqtt_message *message;
	struct bytes filter;
	int32_t partition;
	uint16_t packet_id;
};
/* mqtt_ops.change() returns the number of the write that this change is in; they only grow. 0: nothing waits for it. */

struct mqtt_claim {
	struct bytes client;
	bool clean;		/* what there is of it ends */
	bool keep;		/* it is to outlive the connection */
};
/* mqtt_ops.claim(): true: the session is ours, nothing is to be loaded. false: mqtt_broker_claimed() follows, with the
 * token, before the connection's CONNECT times out. */
/* reason: MQTT_SUCCESS, or why the client cannot be served. */
void mqtt_broker_claimed(struct mqtt_broker *b, uint64_t token, uint8_t reason);

/* What is being done is not done before this write. */
void mqtt_unit_needs(struct mqtt_broker *b, uint64_t write);
/* The session is another worker's now: its connection is closed (0x8E), and what is still for it goes there (mqtt_ops.direct) for a
 * while. */
void mqtt_broker_moved(struct mqtt_broker *b, struct mqtt_session *s, unsigned worker);
/* A write was refused, for somebody else owns the session: its client is told nothing more from here. What is for it stays until
 * the new owner says so. */
void mqtt_broker_overtaken(struct mqtt_broker *b, struct bytes client);
/* The client's session that has moved, if there still is one, makes room for what it is now. */
void mqtt_broker_arrived(struct mqtt_broker *b, struct bytes client);
/* All writes up to this number are done. */
void mqtt_broker_written(struct mqtt_broker *b, uint64_t upto);
/* The copy cannot be written, since then, for this reason (outlives the call); 0: it can. Called again and again while it is so. */
void mqtt_broker_away(struct mqtt_broker *b, int64_t since_us, const char *why);
/* Somebody else owns the client's session now: its connection is closed (0x8E), it is dropped without a change told. */
void mqtt_broker_fenced(struct mqtt_broker *b, struct bytes client);

/* From the copy: a session without a connection, that is not there yet; then what belongs to it. Nothing is told. n: the
 * highest number that was sent. */
struct mqtt_session *mqtt_load_session(struct mqtt_broker *b, struct bytes client, uint32_t expiry_s, int64_t expires_us,
    uint64_t n);
/* From the start of a life until all sessions of the one before are loaded: what is not a reading waits. */
void mqtt_broker_loading(struct mqtt_broker *b, bool loading);
/* filter as in MQTT_CHANGE_SUB. ERR_MALFORMED. */
int mqtt_load_sub(struct mqtt_broker *b, struct mqtt_session *s, const struct mqtt_filter *filter, uint32_t id);
struct mqtt_loaded_delivery {
	uint64_t n;
	struct mqtt_message *message;	/* NULL: released; else a reference is taken */
	uint8_t qos;
	bool retain;
	bool sent;			/* DUP */
	const uint32_t *ids;
	uint8_t id_count;
};
/* In the order of n. ERR_MALFORMED: it is not. */
int mqtt_load_delivery(struct mqtt_broker *b, struct mqtt_session *s, const struct mqtt_loaded_delivery *d);
/* partition: -1: not a reading. */
void mqtt_load_received(struct mqtt_broker *b, struct mqtt_session *s, uint16_t packet_id, int32_t partition);

/* --- the broker's own: what waits for writes --- */

/* A packet that is held back for its connection. */
struct mqtt_write_packet {
	struct buf bytes;
	struct buf undo;	/* of SUBACK and UNSUBACK: the subscriptions that were changed, as they were (mqtt_session_subscribe.c) */
	size_t codes;		/* of these: reason codes at the end */
};

/* A token of a ring's entry, or of a packet's connection. */
struct mqtt_write_waiter {
	uint64_t write;
	uint64_t token;		/* 0: nobody any more */
	int64_t since_us;
	struct mqtt_write_packet *packet;	/* NULL: an entry of the ring */
};

struct mqtt_writes {
	struct mqtt_write_waiter *ring;
	uint32_t size;		/* a power of two, or 0 */
	uint32_t head;
	uint32_t tail;
	uint32_t told;		/* those before it were told that it takes too long, if they can be */
	uint64_t issued;	/* number of the last write that was told */
	uint64_t written;
	uint64_t unit;		/* of what is being done now */
};

#endif
