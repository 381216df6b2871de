/* mqtt_session.h - MQTT connections and sessions: what each packet, answer and deadline does
 *
 * A connection (struct mqtt_conn) lives as long as its socket; a session (struct mqtt_session) belongs to a client id and
 * may live longer: its subscriptions, what is queued for it, what it has not acknowledged. Neither does I/O: input and
 * time come in, output is left in the connection (conn.h).
 *
 * Readings (topics of a dialect) are answered from COMMIT alone, through mqtt_broker_answer(). PUBACKs and PUBRECs leave in
 * the order in which the PUBLISHes came (MQTT-4.6.0), though devices commit in any order: each connection has a ring of
 * those that wait, and an entry that is ready waits for those before it.
 *
 * A session that outlives its connection has a copy elsewhere (mqtt_shared.h says what is told of it): what changes it is
 * written there before it is acknowledged, so that no death of a process undoes what a client was told. */
#ifndef ROOST_MQTT_SESSION_H
#define ROOST_MQTT_SESSION_H

#include "auth.h"
#include "conn.h"
#include "ingest.h"
#include "mqtt_alias.h"
#include "mqtt_codec.h"
#include "mqtt_ids.h"
#include "mqtt_retained.h"
#include "mqtt_router.h"
#include "mqtt_shared.h"
#include "mqtt_source.h"
#include "mqtt_sys.h"
#include "mqtt_window.h"

#define MQTT_CONNECT_MAX 163840		/* bytes of a packet before CONNECT is accepted, if mqtt.packet_max is not less */
#define MQTT_HELD_BYTES_MAX (64u << 20)	/* refused records of 3.1.1 clients that wait for their limit, in all */
#define MQTT_PARKED_MAX (1u << 20)	/* of these of one client: packets behind one that waits for PUBRELs */
#define MQTT_REOFFERS_MAX 64		/* of these on their way again at a time, for one client */
#define MQTT_WORK_MAX 200000		/* nodes and messages looked at for clients' packets in a turn; the packet that ends it is the last of its client */
#define MQTT_IN_FLIGHT_MAX 1024		/* unacknowledged QoS 1 and 2 messages towards one client, besides those in its window */
#define MQTT_RECEIVED_MAX 8192		/* QoS 2 messages of one session between PUBLISH and PUBREL, or mqtt.receive_maximum if that is more */
#define MQTT_OWED_MAX 1000		/* new subscriptions of a session that are still sent what is retained */
#define MQTT_SPARE_MAX 4096		/* deliveries kept to be used again */
#define MQTT_GROUPS_ELSEWHERE 63	/* of a topic's groups that other workers may serve in our place */
#define MQTT_ELSEWHERE (1ull << MQTT_GROUPS_ELSEWHERE)
#define MQTT_GATHER_US 5000000	/* readings are kept for sessions that are being loaded, so long ... */
#define MQTT_GATHER_BYTES (8u << 20)	/* ... and so many */
#define MQTT_RING_MAX 131071		/* answers that one connection waits for; a token has 17 bits for them */

/* Why input waits: bits of conn.paused. */
enum mqtt_pause {
	MQTT_PAUSED_ROOM = 1,	/* ingest has no credit */
	MQTT_PAUSED_WINDOW = 2,	/* as many answers are owed as may be */
	MQTT_PAUSED_HELD = 4,	/* 3.1.1: a PUBLISH came while a refused one is held */
	MQTT_PAUSED_DRAIN = 8,	/* the worker is stopping */
	MQTT_PAUSED_SHARED = 16,	/* the sessions' shared copy is asked or written */
	MQTT_PAUSED_AWAY = 32,	/* that copy is away, and what came needs it */
	MQTT_PAUSED_AUTH = 64,	/* it is being found out who it is */
};
/* In these keep-alive is suspended: it is not the client that is silent. */
#define MQTT_PAUSED_BY_US 127u

enum mqtt_conn_state { MQTT_AWAIT_CONNECT, MQTT_UP, MQTT_ENDED };

enum mqtt_pending_state { MQTT_WAITING, MQTT_HELD, MQTT_REOFFERED, MQTT_READY };
enum mqtt_pending_kind {
	MQTT_OWES_PUBACK,
	MQTT_OWES_PUBREC,
	MQTT_OWES_PUBREC_AGAIN,	/* the PUBLISH came twice; silent if the first one was refused */
	MQTT_OWES_PUBCOMP,
};

/* A packet that waits for its answer. */
struct mqtt_pending {
	uint32_t verdict;	/* of a refusal by a limit */
	uint16_t packet_id;
	uint8_t reason;
	uint8_t state : 4;	/* enum mqtt_pending_state */
	uint8_t kind : 4;	/* enum mqtt_pending_kind */
	char *text;		/* reason string, or NULL */
};

/* Flags of a session's received packet ids (QoS 2); the value is the partition of a reading's device. */
enum mqtt_received_flag {
	MQTT_RECEIVED_WAITS = 1,	/* not committed yet: no PUBREC was sent */
	MQTT_RECEIVED_COUNTS = 2,	/* among the connection's unacked */
	MQTT_RECEIVED_READING = 4,	/* storage remembers it */
	MQTT_RECEIVED_LOADED = 8,	/* in an earlier life: other workers may not have heard of it */
};

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
	size_t *total;			/* what its bytes are counted in; NULL: nothing */
	int64_t due_us;			/* delayed: when it is */
	uint32_t delay_s;
	bool retain;
	struct auth_grant *grant;	/* of its client; NULL: it comes from the copy, and any_device is what is known */
	char *client;			/* its client's id, if the grant is of a credential; else NULL */
	bool any_device;
};

struct mqtt_conn {
	struct conn io;			/* first */
	struct mqtt_broker *broker;
	struct mqtt_session *session;	/* set while UP */
	struct mqtt_pending *ring;	/* entry of seq is ring[seq & (ring_size - 1)] */
	struct mqtt_held *held;		/* in the order of their PUBLISHes */
	struct mqtt_parked *parked;	/* PUBLISHes behind one that is held until PUBRELs come; mqtt_session_parked.c */
	struct mqtt_will *will;
	struct mqtt_source *source;	/* what it published to; NULL: no reading yet */
	char **aliases;			/* the client's: config.aliases_max, or NULL */
	struct mqtt_alias_out *alias_out;	/* ours; NULL: the client takes none */
	struct auth_grant *grant;	/* set once it is known who it is */
	char *username;			/* as it gave it; NULL: none, or it was a secret */
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
	uint32_t unacked;		/* PUBLISHes from it at QoS 1 and 2 that count against our receive maximum */
	uint16_t out_receive_max;	/* the client's receive maximum */
	uint16_t out_unacked;		/* PUBLISHes to it that count against that */
	uint16_t keep_alive_s;
	uint8_t state;			/* enum mqtt_conn_state */
	uint8_t version;		/* enum mqtt_version; 0 before CONNECT */
	bool loopback : 1;
	bool problem_info : 1;
	bool checking : 1;			/* auth is asked who it is */
	bool awaits_release : 1;		/* what is held waits for PUBRELs, which may come from this client */
	bool replaying : 1;			/* of `parked` */
	bool greeting : 1;			/* UP, but its CONNACK waits until its will is written: nothing else is sent */
	bool resumed : 1;			/* that says that there was a session */
	bool doubted : 1;			/* what waits for its session may be what it may not be sent any more */
	bool claimed : 1;			/* the answer to its claim is there: */
	uint8_t claim_reason;		/* MQTT_SUCCESS, or why not */
};

enum mqtt_delivery_state {
	MQTT_QUEUED,
	MQTT_SENT,
	MQTT_RELEASED,			/* QoS 2: PUBREC came, PUBREL is sent until PUBCOMP comes */
};

/* A message on its way to one client. */
struct mqtt_delivery {
	struct mqtt_delivery *next;
	struct mqtt_delivery *prev;
	struct mqtt_message *message;	/* NULL: in flight, and never sent again */
	struct mqtt_group *group;	/* the shared subscription that chose this session, or NULL */
	uint64_t n;			/* counts what was for this session; gives packet_id; 0: not counted yet */
	uint64_t route;			/* which message it is, among those of all workers; 0: not known */
	uint64_t write;			/* QoS 2: sent when this is written */
	uint16_t packet_id;
	uint8_t state;			/* enum mqtt_delivery_state */
	uint8_t qos;
	bool retain;
	bool dup;			/* the client may have it already */
	bool counts;			/* among the connection's out_unacked */
	uint8_t id_count;
	uint32_t ids[];			/* subscription identifiers */
};

struct mqtt_deliveries {
	struct mqtt_delivery *head;
	struct mqtt_delivery *tail;
	uint32_t count;
};

struct mqtt_session {
	/* What each delivery looks at comes first. */
	struct mqtt_conn *conn;		/* NULL: away */
	uint64_t n;			/* of the last delivery */
	uint32_t expiry_s;		/* 0: ends with the connection; UINT32_MAX: as long as allowed */
	uint8_t moved_to;		/* worker + 1 that has it now: what comes for it here goes there */
	bool arriving;			/* the same may come by two ways: what is for it is asked about */
	bool shared;			/* a copy of it is kept elsewhere: changes are told */
	bool drop_logged;		/* since its queue was empty last */
	struct mqtt_window window;	/* sent, as in_flight is: QoS 1, never sent again */
	struct mqtt_delivery *resend;	/* in flight: this and those behind it were not sent on this connection */
	struct mqtt_deliveries in_flight;	/* sent, in the order in which they were */
	struct mqtt_deliveries queue;
	struct mqtt_session *hash_next;
	struct mqtt_session *next;	/* of those without a connection, longest first */
	struct mqtt_session *prev;
	struct mqtt_sub *subs;
	struct mqtt_owed *owed;		/* subscriptions that are still sent what is retained, oldest first */
	struct mqtt_delivery *recent;	/* in flight: behind the one that PUBREC came for last */
	struct mqtt_ids received;	/* QoS 2 from the client: between PUBLISH and PUBREL */
	struct mqtt_will *will;		/* delayed */
	int64_t expires_us;		/* meaningful while away */
	uint64_t match_stamp;		/* scratch of routing: which message, ... */
	uint32_t match_last;		/* ... the last of its matches, each of which names the one before, ... */
	uint8_t match_qos;		/* ... the highest QoS, ... */
	bool match_retain;		/* ... and whether one wants retain as published */
	bool owing;			/* it is being sent of what is owed */
	struct mqtt_session *stalled_next;	/* of those that may send when something is written */
	struct mqtt_session **stalled_link;	/* NULL: not one of them */
	uint32_t sub_count;
	size_t queued_bytes;		/* of messages that are kept for it */
	uint16_t id_len;
	char id[];			/* NUL-terminated */
};

struct mqtt_config {
	size_t packet_max;
	uint32_t receive_maximum;
	int64_t connect_timeout_us;
	size_t outbound_max;		/* of one connection */
	size_t outbound_bytes_max;	/* of all: beyond it only those whose output is empty get more */
	size_t sessions_max;
	int64_t session_expiry_max_s;
	size_t subscriptions_max;	/* of one session */
	size_t subscriptions_bytes_max;	/* of all */
	size_t retained_max;
	size_t retained_bytes_max;
	size_t offline_bytes_max;
	size_t wills_bytes_max;		/* of all clients */
	size_t queue_max;		/* messages queued for one session */
	size_t queue_bytes_max;
	size_t received_bytes_max;	/* packet ids of QoS 2 messages without PUBREL, of all sessions */
	uint16_t aliases_max;		/* topic aliases of a connection, each way */
	uint16_t keep_alive_max_s;	/* 0: as the client wants */
	const char *response_information;	/* "": none */
	int64_t sys_interval_us;	/* 0: no $SYS topics */
	uint64_t id_seed;		/* makes assigned client ids unique */
	int64_t shared_wait_us;		/* what needs the sessions' shared copy waits so long for it, then 5.0 is told */
};

/* What has passed, for $SYS. */
struct mqtt_passed {
	uint64_t packets_in, packets_out;
	uint64_t bytes_in;
	uint64_t publish_in, publish_out, publish_dropped;
	uint64_t publish_bytes_in, publish_bytes_out;
	uint64_t sockets, connects;
};

/* Whose doing something is. */
struct mqtt_actor {
	const struct auth_grant *grant;
	struct bytes client;
	struct bytes username;		/* as it gave it, or what it calls itself; empty: none */
};

/* What a connection needs of the others. */
struct mqtt_arrival;
struct mqtt_how;
struct mqtt_ops {
	/* Where readings go; ingest.h. */
	int (*offer)(void *arg, const struct ingest_message *m, uint64_t token, struct buf *reason);
	int (*reoffer)(void *arg, struct bytes record, uint64_t token);
	/* PUBREL of a reading, or its session is over: the packet id is free again, durably, when mqtt_broker_answer() says
	 * so. partition: of the device, -1 if it is not known. ERR_AGAIN as of offer. */
	int (*release)(void *arg, struct bytes client, uint16_t packet_id, int32_t partition, uint64_t token);
	int32_t (*partition)(void *arg, struct bytes device);
	/* The copy of sessions elsewhere; mqtt_shared.h. NULL: there is none. */
	uint64_t (*change)(void *arg, const struct mqtt_change *change);
	bool (*claim)(void *arg, const struct mqtt_claim *claim, uint64_t token);
	/* Other workers, NULL: there are none. forward: a message that came from a client here is for their subscribers too; of the
	 * groups that match here (the first 63) those whose bit is set in the result are served there; MQTT_ELSEWHERE: somebody
	 * is. */
	uint64_t (*forward)(void *arg, const struct mqtt_arrival *a, struct mqtt_group *const *groups, size_t count);
	/* To a member of this shared subscription elsewhere, for there is none here any more. false: nor there. */
	bool (*share)(void *arg, const struct mqtt_arrival *a, struct bytes group);
	/* What is for a session that has moved. */
	void (*direct)(void *arg, const struct mqtt_session *s, struct mqtt_arrival *a, const struct mqtt_how *how);
	/* Of a session that arrives, or a QoS 2 message whose origin is known. False: the session has had it. */
	bool (*is_new)(void *arg, const struct mqtt_session *s, uint64_t route);
	/* As auth_check() and auth_forget(). NULL: who is on this machine may be anyone, nobody else. */
	enum auth_verdict (*identify)(void *arg, const struct auth_request *q, auth_done_fn done, struct mqtt_conn *c,
	    struct auth_answer *ret);
	void (*unidentify)(void *arg, const struct mqtt_conn *c);
	/* May it do that now? what: a topic, or of SUBSCRIBE a filter without $share/group/. NULL: everything. */
	bool (*may)(void *arg, const struct mqtt_actor *who, enum mqtt_right right, struct bytes what);
	/* A request on ENROL_REQUEST (enrol.h), answered by mqtt_broker_enrolled(); NULL: that topic is one like others. */
	void (*enrol)(void *arg, struct bytes request, const struct peer *peer, uint64_t token);
	void *arg;
};

/* Numbers messages that come from clients here; the worker's number stands in the highest bits. */
#define MQTT_ROUTE_WORKER_SHIFT 48

/* The PUBLISH of a message as many get it. */
struct mqtt_encoded {
	const struct mqtt_arrival *of;
	struct bytes packet;		/* of made, or of the input */
	size_t id_at;			/* where the packet id goes */
	uint8_t first;			/* what its first byte is to be */
	struct buf made;
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
	uint64_t route;			/* of the message that is routed now */
	const struct mqtt_arrival *origin;	/* the same, if it is QoS 2 and its packet id is known */
	uint64_t routed;		/* of the last that came from a client here */
	uint64_t ids_assigned;
	struct mqtt_writes writes;	/* what waits until changes are written */
	int64_t away_since_us;		/* the shared copy cannot be written; 0: it can */
	const char *away_why;
	bool away_over;			/* for longer than shared_wait_us */
	struct mqtt_delivery *spare;	/* deliveries without identifiers, to be used again */
	size_t spare_count;
	struct mqtt_session *stalled;	/* sessions that have something to send when it is written */
	struct mqtt_owed *looking;	/* retained messages are looked for in each turn, not only when there is room */
	size_t held_bytes;
	struct mqtt_parked *parked;	/* connections that have some */
	size_t queued_bytes;		/* of all sessions */
	size_t received_bytes;		/* of the sessions' sets of packet ids */
	size_t queued_count;		/* messages, queued or in flight, that are kept */
	struct buf scratch;		/* reason strings, SUBACK codes */
	struct buf props;		/* properties that are passed on */
	struct buf undo;		/* what this SUBSCRIBE or UNSUBSCRIBE has changed, as it was */
	size_t will_bytes;		/* of all clients, here, away and owed */
	struct mqtt_encoded encoded;
	struct mqtt_will *owed_wills;	/* readings that found no room yet */
	size_t owed_will_count;
	size_t work;			/* in this turn: MQTT_WORK_MAX */
	struct mqtt_passed passed;
	struct mqtt_sys *sys;		/* NULL: not begun, or not wanted */
	size_t expired_count;		/* sessions, since the start */
	size_t connected_count;		/* sessions with a connection */
	size_t connected_max;
	bool loading;			/* sessions are still being loaded: mqtt_broker_loading() */
	struct mqtt_gathered *gathered;	/* readings that came meanwhile; mqtt_session_gather.c */
	struct mqtt_gathered **gathered_end;
	size_t gathered_bytes;
	int64_t gather_until_us;
	bool gather_over;		/* they are not kept any more */
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
/* The peer has ended what carries the connection, without DISCONNECT. */
void mqtt_conn_cut(struct mqtt_conn *c);
/* The socket is gone; frees c. */
void mqtt_conn_free(struct mqtt_conn **c);

/* Messages that were sent to it and are not acknowledged. */
uint32_t mqtt_in_flight(const struct mqtt_session *s);

/* As ingest_answer_fn and ingest_room_fn. */
void mqtt_broker_answer(struct mqtt_broker *b, uint64_t token, uint32_t verdict, const struct bytes *record);
void mqtt_broker_room(struct mqtt_broker *b);
/* The output of a connection that was full has been sent, or half of it. */
void mqtt_conn_on_sent(struct mqtt_conn *c);
/* At the end of each turn: true if there is more to do in the next one, which is to follow at once. */
bool mqtt_broker_turn(struct mqtt_broker *b);
/* About once a second: sessions and retained messages that expire, wills that are due, gauges. */
void mqtt_broker_tick(struct mqtt_broker *b);
void mqtt_broker_enrolled(struct mqtt_broker *b, uint64_t token, struct bytes answer);
/* Grants were cut or changed: auth_listen_fn. */
void mqtt_broker_regranted(struct mqtt_broker *b);
/* ops.may answers otherwise than before, for whoever it is. */
void mqtt_broker_reruled(struct mqtt_broker *b);
/* Takes no more input; what was taken is still answered. */
void mqtt_broker_drain(struct mqtt_broker *b);
/* Says why (5.0) and closes every connection. */
void mqtt_broker_shutdown(struct mqtt_broker *b);

#endif
