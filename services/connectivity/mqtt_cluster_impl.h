/* mqtt_cluster_impl.h - what the mqtt_cluster files share */
#ifndef ROOST_MQTT_CLUSTER_IMPL_H
#define ROOST_MQTT_CLUSTER_IMPL_H

#include "mqtt_cluster.h"
#include "mqtt_interest.h"
#include "mqtt_peers.h"
#include "mqtt_session_impl.h"

#define CLUSTER_ORIGIN_SIZE 64
#define CLUSTER_SEEN_MAX 4096	/* messages that an arriving session is known to have had */
#define CLUSTER_REMOVED_MAX 1024	/* retained messages whose removal is remembered */

/* A session that came from another worker: for a while the same may come to it by two ways. */
struct cluster_arrival {
	struct cluster_arrival *next;
	int64_t until_us;
	unsigned owner;			/* the worker before */
	struct mqtt_peer_item *waiting;	/* DIRECT, until it is loaded */
	uint64_t *seen;			/* ring */
	uint32_t seen_count;
	uint16_t id_len;
	char id[];
};

/* A delivery that was not written, of a session whose new owner has not said so yet. */
struct cluster_limbo {
	struct cluster_limbo *next;
	struct mqtt_peer_item *item; /* DIRECT */
	uint64_t number;
	int64_t until_us;
};

struct cluster_removed {
	uint64_t topic;	/* hash */
	uint64_t seq;
};

/* That a session had a QoS 2 message, until its publisher has released it. */
struct cluster_origin {
	struct cluster_origin *next; /* of the same bucket */
	uint64_t from;		     /* hash of the publisher's client id and packet id */
	uint64_t what;		     /* hash of topic and payload */
	uint64_t session;	     /* hash of its client id */
	uint64_t route;		     /* 0: not known */
	int64_t since_ms;
	bool repeat;  /* it was one */
	bool written; /* in Redis, under our name */
};

struct mqtt_cluster {
	struct worker *w;
	struct mqtt_broker *broker;
	struct mqtt_copy *copy;
	struct mqtt_copy_hooks hooks;
	struct mqtt_peers peers;
	struct mqtt_interest interest;
	struct bus_link *in;
	struct bus_link *links[MQTT_PEERS_MAX];	/* NULL: self */
	struct loop_timer timer;
	int64_t timer_at_us;
	int64_t started_us;
	uint32_t turn; /* of shared subscriptions */
	struct cluster_arrival *arrivals;
	struct cluster_limbo *limbo;
	struct cluster_removed removed[CLUSTER_REMOVED_MAX];
	size_t removed_next;
	struct cluster_origin **origins;
	size_t origin_size;	/* buckets, a power of 2, or 0 */
	size_t origin_count;
	int64_t expiry_ms;
	int64_t swept_us;
	struct buf frame;
	struct buf scratch;
};

/* mqtt_cluster.c */
bool cluster_worker(const struct mqtt_cluster *k, struct bytes name, unsigned *ret_worker);
void cluster_push(struct mqtt_cluster *k, unsigned peer, const struct msg_forward *f);	/* what is done now waits for it */

/* mqtt_cluster_move.c: sessions that come and go */
void cluster_on_claimed(void *arg, struct bytes client, struct bytes owner, uint64_t epoch);
void cluster_on_loaded(void *arg, struct mqtt_session *s);
void cluster_on_refused(void *arg, struct bytes client, uint64_t n, uint64_t number);
void cluster_on_takeover(struct mqtt_cluster *k, unsigned peer, const struct msg_forward *f);
void cluster_on_arrived(struct mqtt_cluster *k, unsigned peer, const struct msg_forward *f);
void cluster_on_late(struct mqtt_cluster *k, const struct msg_forward *f);
void cluster_on_direct(struct mqtt_cluster *k, const struct msg_forward *f);
uint64_t cluster_limbo_waits_for(const struct mqtt_cluster *k);
void cluster_move_tick(struct mqtt_cluster *k);
void cluster_move_fini(struct mqtt_cluster *k);

/* mqtt_cluster_origin.c: which sessions had which QoS 2 messages that are not released */
/* Of the message that is routed now. True: the session has had it; else now it has. */
bool cluster_origin_had(struct mqtt_cluster *k, const struct mqtt_arrival *a, const struct mqtt_session *s);
/* The text of what the session had as that message; empty: it is none, or not known. */
struct bytes cluster_origin_text(const struct mqtt_cluster *k, const struct mqtt_session *s, uint64_t route, char out[CLUSTER_ORIGIN_SIZE]);
/* The same of what is routed now, whether the session has it or not. */
struct bytes cluster_origin_make(const struct mqtt_arrival *a, const struct mqtt_session *s, char out[CLUSTER_ORIGIN_SIZE]);
/* It did not get it after all. */
void cluster_origin_forget(struct mqtt_cluster *k, const struct mqtt_session *s, uint64_t route);
/* The same of one that came from elsewhere. */
bool cluster_origin_had_text(struct mqtt_cluster *k, struct bytes session, struct bytes text);
void cluster_origin_release(struct mqtt_cluster *k, struct bytes client, uint64_t packet_id);
/* What Redis has of one; written: under our name. */
void cluster_origin_load(struct mqtt_cluster *k, struct bytes text, int64_t since_ms, bool written);
void cluster_origin_expire(struct mqtt_cluster *k, int64_t before_ms);
void cluster_origin_fini(struct mqtt_cluster *k);

#endif
