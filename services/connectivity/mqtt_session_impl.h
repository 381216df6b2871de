/* mqtt_session_impl.h - what the mqtt_session files share */
#ifndef ROOST_MQTT_SESSION_IMPL_H
#define ROOST_MQTT_SESSION_IMPL_H

#include "mqtt_session.h"

/* What a handler did with a packet. */
enum mqtt_done {
	MQTT_TAKEN,
	MQTT_LATER,	/* nothing was done; the connection is paused */
};

/* How a connection ends, as its will sees it. */
enum mqtt_end {
	MQTT_END_NORMAL,	/* DISCONNECT: the will is forgotten */
	MQTT_END_ABRUPT,
	MQTT_END_SHUTDOWN,	/* we stop: devices come back at once, no will */
};

/* mqtt_session.c */
void mqtt_conn_fail(struct mqtt_conn *c, uint8_t reason, const char *what);	/* says why, closes */
void mqtt_conn_end(struct mqtt_conn *c, enum mqtt_end how);
void mqtt_conn_bye(struct mqtt_conn *c, uint8_t reason);	/* 5.0: DISCONNECT, without words */
void mqtt_conn_arm(struct mqtt_conn *c);	/* the deadline, from keep-alive and held records */
bool mqtt_is_v5(const struct mqtt_conn *c);
struct bytes mqtt_session_id(const struct mqtt_session *s);
struct bytes mqtt_conn_identity(const struct mqtt_conn *c);	/* who it is */
struct bytes mqtt_conn_device(const struct mqtt_conn *c);	/* which device it is; empty: none */

/* mqtt_session_connect.c */
enum mqtt_done mqtt_on_connect(struct mqtt_conn *c, const struct mqtt_frame *f);
void mqtt_greeted(struct mqtt_conn *c, const struct mqtt_write_packet *connack);	/* its will is written */
/* It was not in time: a session that is to be kept cannot be served, another one does without. */
void mqtt_greet_overdue(struct mqtt_conn *c, const struct mqtt_write_packet *connack);

/* mqtt_session_answer.c */
uint64_t mqtt_token_of(const struct mqtt_conn *c, uint32_t seq);
struct mqtt_conn *mqtt_conn_of(const struct mqtt_broker *b, uint64_t token);	/* NULL: it is gone */
struct mqtt_pending *mqtt_pending_push(struct mqtt_conn *c, uint16_t packet_id, enum mqtt_pending_kind kind,
    enum mqtt_pending_state state);
/* As mqtt_pending_push, READY, or WAITING until what was changed in this unit is written. */
struct mqtt_pending *mqtt_pending_push_written(struct mqtt_conn *c, uint16_t packet_id, enum mqtt_pending_kind kind);
void mqtt_pending_ready(struct mqtt_conn *c, uint64_t token);	/* if it still waits */
/* QoS 1 that still waits for a write: answered 0x83. false: it is something else. */
bool mqtt_pending_overdue(struct mqtt_conn *c, uint64_t token);
void mqtt_answer_ready(struct mqtt_conn *c);
/* PUBACK, if nothing that it depends on, and no other answer, waits. */
bool mqtt_answer_at_once(struct mqtt_conn *c, uint16_t packet_id);
void mqtt_pending_clear(struct mqtt_conn *c);
void mqtt_pending_trim(struct mqtt_conn *c);	/* gives memory back if nothing waits */
void mqtt_held_offer(struct mqtt_conn *c);	/* those that are due */
void mqtt_wait_for_room(struct mqtt_conn *c);

/* mqtt_session_gather.c: readings that come while sessions are loaded */
void mqtt_gather_begin(struct mqtt_broker *b);
/* Keeps it; false: it is to go on now. */
bool mqtt_gather(struct mqtt_broker *b, const struct mqtt_arrival *a);
void mqtt_gather_end(struct mqtt_broker *b);	/* what was kept goes on */
void mqtt_gather_tick(struct mqtt_broker *b);
void mqtt_gather_fini(struct mqtt_broker *b);

/* mqtt_session_parked.c */
enum mqtt_done mqtt_park(struct mqtt_conn *c, const struct mqtt_frame *f);
bool mqtt_parked_turn(struct mqtt_broker *b);	/* true: some went on */
void mqtt_parked_free(struct mqtt_conn *c);

/* mqtt_session_publish.c */
enum mqtt_done mqtt_on_publish(struct mqtt_conn *c, const struct mqtt_frame *f);

/* To those who have not had it, here and elsewhere. */
void mqtt_publish_again(struct mqtt_conn *c, const struct mqtt_publish *p);

/* mqtt_session_enrol.c */
bool mqtt_enrol_takes(const struct mqtt_conn *c, const struct mqtt_publish *p);
void mqtt_enrol(struct mqtt_conn *c, const struct mqtt_publish *p);

/* mqtt_session_received.c: QoS 2 from the client */
enum mqtt_done mqtt_on_pubrel(struct mqtt_conn *c, const struct mqtt_ack *a);
/* true: it was taken before, and is answered here. */
bool mqtt_received_early(struct mqtt_conn *c, const struct mqtt_publish *p);	/* it comes again, and who is to get it is not known yet */
bool mqtt_received_again(struct mqtt_conn *c, const struct mqtt_publish *p);
void mqtt_received_add(struct mqtt_conn *c, uint16_t packet_id, unsigned flags, int32_t partition);
void mqtt_received_committed(struct mqtt_conn *c, uint16_t packet_id);
void mqtt_received_refused(struct mqtt_conn *c, uint16_t packet_id);
void mqtt_received_detach(struct mqtt_broker *b, struct mqtt_session *s);	/* its connection is gone */
void mqtt_received_clear(struct mqtt_broker *b, struct mqtt_session *s);	/* the session ends */

/* mqtt_session_route.c */
struct mqtt_arrival {			/* a message to be routed */
	struct mqtt_message view;	/* borrows; mqtt_message_new() copies it when it has to be kept */
	bool retain;
	const struct mqtt_session *from;	/* for no_local; NULL: nobody */
	uint64_t route;			/* which message it is, if it came from another worker */
	/* QoS 2 from a client whose session is kept: its PUBLISH; repeat: some of the sessions may have had it. */
	struct bytes client;
	uint16_t packet_id;
	bool repeat;
	uint64_t epoch;			/* of that session, if it came from another worker */
	struct mqtt_message *kept;	/* the copy, once there is one; mqtt_arrival_fini() lets go of it */
	uint32_t encoded_as;		/* mqtt_encode_key() of broker.encoded, if that is of this one; 0: not yet */
	bool wire_v5;			/* version of the publisher */
	struct mqtt_frame wire;		/* the PUBLISH, if it holds topic and payload only, and could have been ours; or empty */
};
enum mqtt_routed {			/* bits */
	MQTT_NOT_RETAINED = 1,		/* too many are */
	MQTT_NOT_QUEUED = 2,		/* some session's queue is full */
	MQTT_NOBODY = 4,		/* no subscription matches, on any worker */
};
void mqtt_arrival_fini(struct mqtt_arrival *a);
struct mqtt_message *mqtt_arrival_keep(struct mqtt_arrival *a);	/* borrowed */
/* To all subscribers, and into the retained store. */
unsigned mqtt_route(struct mqtt_broker *b, struct mqtt_arrival *a);
/* To the subscribers among the sessions that arrive. */
void mqtt_route_arriving(struct mqtt_broker *b, struct mqtt_arrival *a);
/* To one member of a group; false: it was not taken. */
bool mqtt_route_shared(struct mqtt_broker *b, struct mqtt_group *g, struct mqtt_arrival *a);

/* mqtt_session_deliver.c */
struct mqtt_how {			/* a message is delivered */
	unsigned qos;
	bool retain;
	struct mqtt_group *group;
	const uint32_t *ids;
	size_t id_count;
};
/* mqtt_session_send.c */
struct mqtt_outgoing mqtt_outgoing_of(const struct mqtt_broker *b, const struct mqtt_message *m, unsigned qos, bool retain,
    const uint32_t *ids, size_t id_count);
void mqtt_put_message(struct mqtt_broker *b, struct mqtt_conn *c, struct mqtt_outgoing *o);
/* Makes broker.encoded that of the arrival for such a client; only for mqtt_encoded_size(). */
void mqtt_encode(struct mqtt_broker *b, struct mqtt_arrival *a, const struct mqtt_conn *c, const struct mqtt_how *how,
    uint32_t key);
/* Appends it; packet_id 0: QoS 0. */
void mqtt_put_encoded(struct mqtt_broker *b, struct mqtt_conn *c, size_t payload, uint16_t packet_id);

/* Nothing in its PUBLISH is this client's alone, but the packet id. */
static inline bool
mqtt_is_encoded(const struct mqtt_conn *c, const struct mqtt_how *how)
{
	return !how->id_count && !c->alias_out;
}

static inline size_t
mqtt_encoded_size(struct mqtt_broker *b, struct mqtt_arrival *a, const struct mqtt_conn *c, const struct mqtt_how *how)
{
	uint32_t key = 16u | (c->version == MQTT_V5 ? 8u : 0u) | how->qos << 1 | (how->retain ? 1u : 0u);

	if (b->encoded.of != a || a->encoded_as != key)
		mqtt_encode(b, a, c, how, key);
	return b->encoded.packet.len;
}

/* One message to one session: now, or queued. false: its queue is full. */
bool mqtt_deliver(struct mqtt_broker *b, struct mqtt_session *s, struct mqtt_arrival *a, const struct mqtt_how *how);
/* For a packet of that size; else the connection is to be marked as hungry. */
bool mqtt_out_has_room(const struct mqtt_broker *b, const struct mqtt_conn *c, size_t size);
/* Sends what may be sent. */
void mqtt_pump(struct mqtt_broker *b, struct mqtt_session *s);
void mqtt_deliver_resume(struct mqtt_session *s);	/* after CONNACK: in flight again, then the queue */
void mqtt_deliver_detach(struct mqtt_session *s);	/* its connection is gone */
void mqtt_deliveries_clear(struct mqtt_broker *b, struct mqtt_session *s);
struct mqtt_delivery *mqtt_delivery_new(struct mqtt_broker *b, const uint32_t *ids, size_t id_count);
void mqtt_delivery_append(struct mqtt_deliveries *list, struct mqtt_delivery *d);
void mqtt_delivery_take_out(struct mqtt_deliveries *list, struct mqtt_delivery *d);
void mqtt_delivery_forget(struct mqtt_broker *b, struct mqtt_session *s, struct mqtt_delivery *d);	/* its message */
void mqtt_delivery_free(struct mqtt_broker *b, struct mqtt_session *s, struct mqtt_delivery *d);
void mqtt_stalled_pump(struct mqtt_broker *b);	/* those that waited for a write */

/* mqtt_session_retained.c: a new subscription is sent what is retained, as its client takes it */
void mqtt_retained_owe(struct mqtt_broker *b, struct mqtt_session *s, struct bytes filter, unsigned qos, uint32_t id);
void mqtt_retained_pump(struct mqtt_broker *b, struct mqtt_session *s);	/* there may be room */
bool mqtt_retained_turn(struct mqtt_broker *b);	/* those that had looked at much; true: there are more */
void mqtt_owed_clear(struct mqtt_broker *b, struct mqtt_session *s);

/* mqtt_session_acked.c */
/* Takes PUBACKs of 3.1.1's form, for what is in the window, off the front of in; returns how many bytes these are. */
size_t mqtt_take_pubacks(struct mqtt_conn *c, struct bytes in);
void mqtt_on_ack(struct mqtt_conn *c, enum mqtt_type type, const struct mqtt_ack *a);	/* PUBACK, PUBREC, PUBCOMP */
void mqtt_put_pubrel(struct mqtt_conn *c, const struct mqtt_delivery *d);	/* when it may be */

/* mqtt_session_rights.c */
bool mqtt_may(const struct mqtt_conn *c, enum mqtt_right right, struct bytes what);
/* The filter of a subscription, shared or not. */
bool mqtt_may_subscribe(const struct mqtt_conn *c, struct bytes filter);
/* What its session has was allowed once: subscriptions that are not any more end, and what waits for it is looked at before it
 * is sent. */
void mqtt_rights_look(struct mqtt_conn *c);
/* It may publish readings of the device that the topic names. */
bool mqtt_may_speak(const struct mqtt_broker *b, const struct auth_grant *grant, struct bytes own, struct bytes device);

/* What matches a subscription may be sent, for that was allowed; only what waited may be of earlier rights. Who is away is asked
 * when it is back. */
static inline bool
mqtt_may_receive(const struct mqtt_session *s, struct bytes topic)
{
	return !s->conn || !s->conn->doubted || mqtt_may(s->conn, MQTT_MAY_RECEIVE, topic);
}

/* mqtt_session_will.c */
struct mqtt_will *mqtt_will_new(struct mqtt_conn *c, const struct mqtt_connect *q);	/* NULL: it has none */
/* who: of the connection to be. NULL: it may be published now. */
const char *mqtt_will_fault(const struct mqtt_broker *b, struct bytes topic, const struct mqtt_actor *who);
void mqtt_will_free(struct mqtt_will **will);
/* Takes *will over. from: for no_local, may be NULL. */
void mqtt_will_publish(struct mqtt_broker *b, struct mqtt_will **will, const struct mqtt_session *from);
void mqtt_owed_wills(struct mqtt_broker *b);	/* readings in wills that found no room */

/* mqtt_session_subscribe.c */
enum mqtt_done mqtt_on_subscribe(struct mqtt_conn *c, const struct mqtt_frame *f);
enum mqtt_done mqtt_on_unsubscribe(struct mqtt_conn *c, const struct mqtt_frame *f);
/* What it answers was not written in time: it is undone, and answered 0x83. */
void mqtt_subscribe_undo(struct mqtt_conn *c, struct mqtt_write_packet *packet);

/* mqtt_session_away.c: the shared copy is away */
enum mqtt_away {
	MQTT_AWAY_NOT,
	MQTT_AWAY_WAIT,		/* the connection is paused: nothing is to be done */
	MQTT_AWAY_REFUSE,	/* 5.0: 0x83 */
};
/* For what needs the copy. */
enum mqtt_away mqtt_away_of(struct mqtt_conn *c);
/* Whether the PUBLISH, which is no reading, does. */
bool mqtt_away_needs(struct mqtt_conn *c, const struct mqtt_publish *p);
/* What waits for a write has waited for too long. true: it was answered. */
bool mqtt_away_overdue(struct mqtt_conn *c, uint64_t token, struct mqtt_write_packet *packet);

/* mqtt_session_store.c */
struct mqtt_session *mqtt_store_find(struct mqtt_broker *b, struct bytes id);
struct mqtt_session *mqtt_store_add(struct mqtt_broker *b, struct bytes id);
void mqtt_store_remove(struct mqtt_broker *b, struct mqtt_session *s);
void mqtt_store_away(struct mqtt_broker *b, struct mqtt_session *s);	/* its connection is gone */
void mqtt_store_back(struct mqtt_broker *b, struct mqtt_session *s);
void mqtt_store_tick(struct mqtt_broker *b);
void mqtt_store_clear(struct mqtt_broker *b);

/* mqtt_shared.c */
/* Tells one change of a session that is kept; mqtt_unit_begin() before what one packet changes. */
void mqtt_unit_begin(struct mqtt_broker *b);
bool mqtt_unit_is_written(const struct mqtt_broker *b);
void mqtt_change(struct mqtt_broker *b, const struct mqtt_change *change);
void mqtt_change_session(struct mqtt_broker *b, const struct mqtt_session *s, enum mqtt_change_kind kind);
uint64_t mqtt_change_delivery(struct mqtt_broker *b, const struct mqtt_session *s, enum mqtt_change_kind kind,
    const struct mqtt_delivery *d);
/* The entry of the ring, or the packet (taken over) for the connection, waits for this unit. */
void mqtt_wait_written(struct mqtt_broker *b, uint64_t token, struct mqtt_write_packet *packet);
void mqtt_write_packet_free(struct mqtt_write_packet **packet);
void mqtt_writes_overdue(struct mqtt_broker *b);	/* tells those who have waited for too long */
void mqtt_writes_fini(struct mqtt_writes *w);

#endif
