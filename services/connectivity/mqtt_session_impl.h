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
void mqtt_conn_arm(struct mqtt_conn *c);	/* the deadline, from keep-alive and held records */
bool mqtt_is_v5(const struct mqtt_conn *c);
struct bytes mqtt_session_id(const struct mqtt_session *s);

/* mqtt_session_connect.c */
void mqtt_on_connect(struct mqtt_conn *c, const struct mqtt_frame *f);

/* mqtt_session_publish.c */
enum mqtt_done mqtt_on_publish(struct mqtt_conn *c, const struct mqtt_frame *f);
void mqtt_wait_for_room(struct mqtt_conn *c);
void mqtt_pending_clear(struct mqtt_conn *c);
void mqtt_pending_trim(struct mqtt_conn *c);	/* gives memory back if nothing waits */
void mqtt_held_offer(struct mqtt_conn *c);	/* those that are due */

/* mqtt_session_deliver.c */
struct mqtt_arrival {			/* a message to be routed */
	struct mqtt_message view;	/* borrows; mqtt_message_new() copies it when it has to be kept */
	bool retain;
	const struct mqtt_session *from;	/* for no_local; NULL: nobody */
	struct mqtt_message *kept;	/* the copy, once there is one; mqtt_arrival_fini() lets go of it */
};
void mqtt_arrival_fini(struct mqtt_arrival *a);
/* To all subscribers, and into the retained store. ERR_FULL: it could not be retained. */
int mqtt_route(struct mqtt_broker *b, struct mqtt_arrival *a);
/* One message to one session: now, or queued. */
void mqtt_deliver(struct mqtt_broker *b, struct mqtt_session *s, struct mqtt_arrival *a, unsigned qos, bool retain,
    const uint32_t *ids, size_t id_count);
void mqtt_deliver_resume(struct mqtt_session *s);	/* after CONNACK: in flight again, then the queue */
/* PUBACK from the client. */
void mqtt_deliver_acked(struct mqtt_session *s, uint16_t packet_id);
void mqtt_deliveries_clear(struct mqtt_broker *b, struct mqtt_session *s);
void mqtt_will_free(struct mqtt_will **will);
/* Takes *will over. from: for no_local, may be NULL. */
void mqtt_will_publish(struct mqtt_broker *b, struct mqtt_will **will, const struct mqtt_session *from);
void mqtt_owed_wills(struct mqtt_broker *b);	/* readings in wills that found no room */

/* mqtt_session_subscribe.c */
void mqtt_on_subscribe(struct mqtt_conn *c, const struct mqtt_frame *f);
void mqtt_on_unsubscribe(struct mqtt_conn *c, const struct mqtt_frame *f);

/* mqtt_session_store.c */
struct mqtt_session *mqtt_store_find(struct mqtt_broker *b, struct bytes id);
struct mqtt_session *mqtt_store_add(struct mqtt_broker *b, struct bytes id);
void mqtt_store_remove(struct mqtt_broker *b, struct mqtt_session *s);
void mqtt_store_away(struct mqtt_broker *b, struct mqtt_session *s);	/* its connection is gone */
void mqtt_store_back(struct mqtt_broker *b, struct mqtt_session *s);
void mqtt_store_tick(struct mqtt_broker *b);
void mqtt_store_clear(struct mqtt_broker *b);

#endif
