/* mqtt_session.h - MQTT connections and sessions: what each packet, answer and deadline does
 *
 * A connection (struct mqtt_conn) lives as long as its socket; a session (struct mqtt_session) belongs to a client id and
 * may live longer: its subscriptions, what is queued for it, what it has not acknowledged. Neither does I/O: input and
 * time come in, output is left in the connection (conn.h).
 *
 * Readings (topics of a dialect) are answered from COMMIT alone, through mqtt_broker_answer(). PUBACKs leave in the order
 * in which the PUBLISHes came (MQTT-4.6.0), though devices commit in any order: each connection has a ring of those that
 * wait, and an entry that is ready waits for those before it. */
#ifndef ROOST_MQTT_SESSION_H
#define ROOST_MQTT_SESSION_H

#include "auth.h"
#include "conn.h"
#include "ingest.h"
#include "mqtt_codec.h"
#include "mqtt_retained.h"
#include "mqtt_router.h"
#include "mqtt_source.h"

#define MQTT_CONNECT_MAX 16384		/* bytes of a packet before CONNECT is accepted */
#define MQTT_ALIASES_MAX 16		/* topic aliases a client may set */
#define MQTT_HELD_BYTES_MAX (64u << 20)	/* refused records of 3.1.1 clients that wait for their limit, in all */
#define MQTT_REOFFERS_MAX 64		/* of these on their way again at a time, for one client */
#define MQTT_WORK_MAX 200000		/* nodes visited for all clients' SUBSCRIBEs in a turn; a packet ends it */
#define MQTT_IN_FLIGHT_MAX 1024		/* unacknowledged QoS 1 messages towards one client */

/* Why input waits: bits of conn.paused. */
enum mqtt_pause {
	MQTT_PAUSED_ROOM = 1,	/* ingest has no credit */
	MQTT_PAUSED_WINDOW = 2,	/* 3.1.1: mqtt.receive_maximum messages are unacknowledged */
	MQTT_PAUSED_HELD = 4,	/* 3.1.1: a PUBLISH came while a refused one is held */
	MQTT_PAUSED_DRAIN = 8,	/* the worker is stopping */
};
/* In these keep-alive is suspended: it is not the client that is silent. */
#define MQTT_PAUSED_BY_US 15u

enum mqtt_conn_state { MQTT_AWAIT_CONNECT, MQTT_UP, MQTT_ENDED };

/* A PUBLISH that waits for its PUBACK. */
struct mqtt_pending {
	uint16_t packet_id;
	uint8_t state;		/* enum mqtt_pending_state */
	uint8_t reason;
	uint32_t verdict;	/* of a refusal by a limit */
	char *text;		/* reason string, or NULL */
};

enum mqtt_pending_state { MQTT_WAITING, MQTT_HELD, MQTT_REOFFERED, MQTT_READY };

/* A refused record of a 3.1.1 client, to be offered again. */
struct mqtt_held {
	struct mqtt_held *next;
	uint32_t seq;
	int64_t due_us;
	size_t len;
	uint8_t record[];
};

struct mqtt_will {
	struct mqtt_message *message;	/* expires_us counts from when it is published */
	struct mqtt_will *next;		/* of those owed */
	char *identity;			/* who its client was, for readings */
	uint32_t delay_s;
	bool retain;
	bool any_device;
};

struct mqtt_conn {
	struct conn io;			/* first */
	struct mqtt_broker *broker;
	struct mqtt_session *session;	/* set while UP */
	struct mqtt_pending *ring;	/* entry of seq is ring[seq & (ring_size - 1)] */
	struct mqtt_held *held;		/* in the order of their PUBLISHes */
	struct mqtt_will *will;
	struct mqtt_source *source;	/* what it published to; NULL: no reading yet */
	char **aliases;			/* MQTT_ALIASES_MAX, or NULL */
	char *username;
	struct mqtt_conn *room_next;	/* those paused for room */
	struct mqtt_conn **room_link;	/* what points to this one among them; NULL: not paused for room */
	int64_t last_in_us;
	uint32_t ring_size;
	uint32_t ring_head;		/* seq of the oldest that waits */
	uint32_t ring_tail;		/* seq of the next */
	uint16_t reoffered;		/* held ones that are offered again, not answered yet */
	uint16_t reoffers_max;		/* at most so many: grows while they are accepted */
	uint32_t slot;			/* in the broker's table; with generation it names the connection in a token */
	uint32_t generation;
	uint32_t out_packet_max;	/* the client's maximum packet size */
	uint16_t out_receive_max;	/* the client's receive maximum */
	uint16_t keep_alive_s;
	uint8_t state;			/* enum mqtt_conn_state */
	uint8_t version;		/* enum mqtt_version; 0 before CONNECT */
	bool loopback;
	bool problem_info;
	bool any_device;
};

/* A message on its way to one client. */
struct mqtt_delivery {
	struct mqtt_delivery *next;
	struct mqtt_message *message;	/* NULL: in flight, and never sent again */
	uint64_t serial;		/* counts what this session was sent; gives packet_id */
	uint16_t packet_id;		/* 0: queued */
	uint8_t qos;
	bool retain;
	uint8_t id_count;
	uint32_t ids[];			/* subscription identifiers */
};

struct mqtt_deliveries {
	struct mqtt_delivery *head;
	struct mqtt_delivery *tail;
	uint32_t count;
};

struct mqtt_session {
	struct mqtt_session *hash_next;
	struct mqtt_session *next;	/* of those without a connection, longest first */
	struct mqtt_session *prev;
	struct mqtt_conn *conn;		/* NULL: away */
	struct mqtt_sub *subs;
	struct mqtt_deliveries in_flight;
	struct mqtt_deliveries queue;
	struct mqtt_will *will;		/* delayed */
	int64_t will_us;		/* when it is due */
	int64_t expires_us;		/* meaningful while away */
	uint64_t serial;		/* of the last delivery */
	uint64_t match_stamp;		/* scratch of routing: which message, ... */
	uint32_t match_subs;		/* ... how many subscriptions */
	uint8_t match_qos;		/* ... and the highest QoS */
	bool match_retain;
	uint32_t expiry_s;		/* 0: ends with the connection; UINT32_MAX: as long as allowed */
	uint32_t sub_count;
	uint32_t queued_bytes;
	uint16_t id_len;
	bool drop_logged;		/* since its queue was empty last */
	char id[];			/* NUL-terminated */
};

struct mqtt_config {
	size_t packet_max;
	uint32_t receive_maximum;
	int64_t connect_timeout_us;
	size_t outbound_max;
	size_t sessions_max;
	int64_t session_expiry_max_s;
	size_t subscriptions_max;
	size_t retained_max;
	size_t retained_bytes_max;
	size_t offline_bytes_max;
	struct auth auth;
	uint64_t id_seed;		/* makes assigned client ids unique */
};

/* Where readings go; ingest.h. */
struct mqtt_ops {
	int (*offer)(void *arg, const struct ingest_message *m, uint64_t token, struct buf *reason);
	int (*reoffer)(void *arg, struct bytes record, uint64_t token);
	void *arg;
};

struct mqtt_broker {
	struct mqtt_config config;
	struct mqtt_ops ops;
	struct conn_set set;
	int64_t now_us;			/* monotonic; the owner sets it before each call */
	struct mqtt_router router;
	struct mqtt_retained retained;
	struct mqtt_session **table;	/* by client id */
	size_t table_size;
	size_t session_count;
	struct mqtt_session *away_first;
	struct mqtt_session *away_last;
	struct mqtt_conn **slots;	/* by conn.slot */
	uint32_t *generations;
	uint32_t *free_slots;
	size_t free_count;
	size_t slot_count;
	size_t conn_count;
	struct mqtt_conn *room_first;
	uint64_t match_serial;
	uint64_t ids_assigned;
	size_t held_bytes;
	size_t queued_bytes;		/* of all sessions */
	struct buf scratch;		/* reason strings, SUBACK codes */
	struct buf props;		/* properties that are passed on */
	struct mqtt_will *owed_wills;	/* readings that found no room yet */
	size_t owed_will_count;
	size_t work;			/* in this turn: MQTT_WORK_MAX */
	bool draining;
	int64_t swept_us;		/* retained messages were looked through for expired ones */
};

void mqtt_broker_init(struct mqtt_broker *b, const struct mqtt_config *config, const struct mqtt_ops *ops);
void mqtt_broker_fini(struct mqtt_broker *b);

/* A connection was accepted. */
struct mqtt_conn *mqtt_conn_new(struct mqtt_broker *b, bool loopback);
/* Takes whole packets from the front of in; returns how many bytes it took. What is left waits: for more bytes (ret_need:
 * the packet's size if known, else 0), or until the connection is no longer paused. */
size_t mqtt_conn_input(struct mqtt_conn *c, struct bytes in, size_t *ret_need);
void mqtt_conn_on_deadline(struct mqtt_conn *c);
/* The socket is gone; frees c. */
void mqtt_conn_free(struct mqtt_conn **c);

/* As ingest_answer_fn and ingest_room_fn. */
void mqtt_broker_answer(struct mqtt_broker *b, uint64_t token, uint32_t verdict, const struct bytes *record);
void mqtt_broker_room(struct mqtt_broker *b);
/* At the end of each turn: true if input waits for the next one, which is to follow at once. */
bool mqtt_broker_turn(struct mqtt_broker *b);
/* About once a second: sessions and retained messages that expire, wills that are due, gauges. */
void mqtt_broker_tick(struct mqtt_broker *b);
/* Takes no more input; what was taken is still answered. */
void mqtt_broker_drain(struct mqtt_broker *b);
/* Says why (5.0) and closes every connection. */
void mqtt_broker_shutdown(struct mqtt_broker *b);

#endif
