/* mqtt_cluster_impl.h - what the mqtt_cluster files share */
#ifndef ROOST_MQTT_CLUSTER_IMPL_H
#define ROOST_MQTT_CLUSTER_IMPL_H

#include "mqtt_cluster.h"
#include "mqtt_interest.h"
#include "mqtt_peers.h"
#include "mqtt_session_impl.h"

#define CLUSTER_ORIGIN_SIZE 64
#define CLUSTER_SEEN_MAX 4096	/* messages that an arriving session is known to have had */
#define CLUSTER_RELEASED_MAX 65536 /* QoS 2 messages of publishers that moved: what is remembered of those that are released */
#define CLUSTER_REMOVED_MAX 1024	/* retained messages whose removal is remembered */

/* A session that came from another worker, or passed through: for a while the same may come to it by two ways. */
struct cluster_arrival {
	struct cluster_arrival *next;
	int64_t until_us;
	unsigned owner;			/* the worker before */
	uint64_t epoch;			/* of our claim, or of whose it is since */
	uint8_t gone_to;		/* worker + 1 that claimed it since */
	bool loaded;
	bool anew;			/* nothing of the one before is wanted */
	uint64_t *seen;			/* ring */
	uint32_t seen_count;
	uint16_t id_len;
	char id[];
};

/* A message for a session that is not here, or not yet (mqtt_cluster_custody.c). */
struct cluster_custody {
	struct cluster_custody *next;
	struct mqtt_peer_item *item; /* DIRECT */
	uint64_t number; /* ours: it is not done before it is placed; 0: another worker's */
	uint64_t queued; /* the write that puts it into the session's queue here; 0: it waits */
	uint64_t n;	 /* what it is there; 0: it was not put there, for it had been there */
	int64_t until_us;
	int64_t said_us; /* DIRECT */
};

/* Where a session is, as far as is known here. */
enum cluster_place {
	CLUSTER_HERE,
	CLUSTER_SOON,	/* whoever claimed it will say so; that may be us, and it is not loaded */
	CLUSTER_ELSEWHERE,
	CLUSTER_OVER,	/* it has ended */
	CLUSTER_UNKNOWN,
};

struct cluster_removed {
	uint64_t topic;	/* hash */
	uint64_t seq;
};

/* That a session had a QoS 2 message, until its publisher has released it, and if that had moved a little longer. Without a
 * session: that the publisher released what it sent under that packet id. */
struct cluster_origin {
	struct cluster_origin *next; /* of the same bucket */
	struct cluster_origin *released_next;
	struct cluster_origin **released_link; /* NULL: it is not released */
	int64_t released_us;
	uint64_t from;	  /* hash of the publisher's client id and packet id */
	uint32_t what;	  /* hash of topic and payload */
	uint64_t session; /* hash of its client id; 0: of none */
	uint64_t route;	  /* 0: not known */
	uint64_t upto;	  /* released: routes up to here, ... */
	uint64_t epoch;	  /* ... of this epoch of the publisher's session, and all of older ones; 0: not known */
	int64_t since_ms;
	bool repeat;  /* what comes is one */
	bool written; /* in Redis */
	uint16_t id_len;
	char id[]; /* the session's */
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
	int64_t asked_us; /* what those own of whom nothing was heard */
	uint64_t untold;  /* bits: peers to which KNOWN is to be said */
	uint64_t clear;	  /* bits: peers that have loaded what clients took there from our life before */
	uint64_t idle;	  /* bits: peers that own nothing, of whom nothing was heard */
	uint64_t missed;  /* bits: peers whose absence was logged */
	bool holds;	  /* a session is being loaded: what is not wanted any more may be wanted again by it ... */
	struct buf held;  /* ... keys of that, each with its length, 2 bytes, before it */
	unsigned late_of; /* what is LATE is for sessions of this worker + 1; 0: of any */
	uint32_t turn; /* of shared subscriptions */
	struct cluster_arrival *arrivals;
	struct cluster_custody *custody; /* oldest first */
	struct cluster_custody **custody_end;
	size_t custody_count;
	size_t custody_bytes;
	uint64_t custody_last; /* its id: worker, life, number, as of routes */
	struct cluster_removed removed[CLUSTER_REMOVED_MAX];
	size_t removed_next;
	struct cluster_origin **origins;
	size_t origin_size;	/* buckets, a power of 2, or 0 */
	size_t origin_count;
	struct cluster_origin *released; /* oldest first */
	struct cluster_origin **released_end;
	size_t released_count;
	int64_t expiry_ms;
	int64_t swept_us;
	struct buf frame;
	struct buf scratch;
};

/* mqtt_cluster.c */
bool cluster_worker(const struct mqtt_cluster *k, struct bytes name, unsigned *ret_worker);
void cluster_push(struct mqtt_cluster *k, unsigned peer, const struct msg_forward *f);	/* what is done now waits for it */
void cluster_pass_on(struct mqtt_cluster *k, unsigned peer, const struct msg_forward *f, unsigned qos); /* the same, at QoS 0 without */
struct bytes cluster_encoded(struct mqtt_cluster *k, const struct mqtt_message *m, bool retain);	/* good until the next call */
/* view, kept and retain. */
bool cluster_message_of(const struct mqtt_cluster *k, const struct msg_forward *f, struct mqtt_arrival *a);

/* mqtt_cluster_shared.c: one member of all workers' */
/* Of the groups, which have members here, those that are served elsewhere, as bits; and those without. */
uint64_t cluster_forward_groups(struct mqtt_cluster *k, const struct msg_forward *f, unsigned qos, struct mqtt_group *const *groups,
    size_t count);
void cluster_on_shared(struct mqtt_cluster *k, unsigned peer, const struct msg_forward *f);
void cluster_on_nobody(struct mqtt_cluster *k, unsigned peer, const struct msg_forward *f);

/* mqtt_cluster_wants.c: what subscribers here want */
void cluster_on_changed(void *arg, const struct mqtt_node *node, const struct mqtt_group *group, uint32_t members); /* of the router */
void cluster_tell_all(struct mqtt_cluster *k, unsigned peer);
/* If all sessions are loaded. */
void cluster_say_all_known(struct mqtt_cluster *k);
void cluster_on_arrives(void *arg);
void cluster_hold_is_over(struct mqtt_cluster *k);

/* mqtt_cluster_move.c: sessions that come and go */
void cluster_on_claimed(void *arg, struct bytes client, struct bytes owner, uint64_t epoch, bool anew);
void cluster_on_loaded(void *arg, struct mqtt_session *s);
void cluster_on_passed(void *arg, struct bytes client, struct bytes owner, uint64_t epoch, bool anew);
void cluster_on_refused(void *arg, struct bytes client, uint64_t n, uint64_t number);
void cluster_on_takeover(struct mqtt_cluster *k, unsigned peer, const struct msg_forward *f);
void cluster_on_arrived(struct mqtt_cluster *k, unsigned peer, const struct msg_forward *f);
void cluster_on_late(struct mqtt_cluster *k, const struct msg_forward *f);
void cluster_deliver(struct mqtt_cluster *k, struct mqtt_session *s, const struct msg_forward *direct);
/* ret_peer: if it is ELSEWHERE. */
enum cluster_place cluster_place_of(struct mqtt_cluster *k, struct bytes client, unsigned *ret_peer);
void cluster_forget(struct mqtt_cluster *k, struct bytes client, uint64_t route);	/* that it had this one */
void cluster_move_tick(struct mqtt_cluster *k);
void cluster_move_fini(struct mqtt_cluster *k);

/* mqtt_cluster_custody.c: messages for sessions that are not where they were thought to be */
/* What is done under this number is done when it is placed. */
void cluster_custody_begin(struct mqtt_cluster *k, const struct msg_forward *direct, uint64_t number);
/* What is done under this number is done when what has been done now is written. */
void cluster_custody_hold(struct mqtt_cluster *k, const struct msg_forward *f, uint64_t number);
/* false: there is none that was queued as n. */
bool cluster_custody_refused(struct mqtt_cluster *k, struct bytes client, uint64_t n, uint64_t number);
void cluster_custody_loaded(struct mqtt_cluster *k, struct mqtt_session *s);
void cluster_custody_gone(struct mqtt_cluster *k, struct bytes client, unsigned peer);
void cluster_custody_over(struct mqtt_cluster *k, struct bytes client);	/* the session has ended */
void cluster_custody_written(struct mqtt_cluster *k, uint64_t number);
void cluster_on_direct(struct mqtt_cluster *k, const struct msg_forward *f);
void cluster_on_placed(struct mqtt_cluster *k, const struct msg_forward *f);
uint64_t cluster_custody_waits_for(const struct mqtt_cluster *k);
void cluster_custody_tick(struct mqtt_cluster *k);
void cluster_custody_fini(struct mqtt_cluster *k);

/* mqtt_cluster_origin.c: which sessions had which QoS 2 messages */
/* Of the message that is routed now. True: the session has had it; else now it has. */
bool cluster_origin_had(struct mqtt_cluster *k, const struct mqtt_arrival *a, const struct mqtt_session *s);
/* The same, but nothing is kept. */
bool cluster_origin_has(const struct mqtt_cluster *k, const struct mqtt_arrival *a, const struct mqtt_session *s);
/* Into f: what the session had as that message, if it is known; out holds it. */
void cluster_origin_put(const struct mqtt_cluster *k, const struct mqtt_session *s, uint64_t route, struct msg_forward *f,
    char out[CLUSTER_ORIGIN_SIZE]);
/* The same of what is routed now, whether the session has it or not. */
void cluster_origin_make(const struct mqtt_cluster *k, const struct mqtt_arrival *a, struct msg_forward *f,
    char out[CLUSTER_ORIGIN_SIZE]);
/* It did not get it after all. */
void cluster_origin_forget(struct mqtt_cluster *k, struct bytes client, uint64_t route);
/* As cluster_origin_had(), of what another worker made. */
bool cluster_origin_had_direct(struct mqtt_cluster *k, const struct msg_forward *f);
/* Its publisher has gone to another worker since, and has sent it again there, or will. */
bool cluster_origin_is_over(const struct mqtt_cluster *k, const struct msg_forward *f);
/* What came before that RELEASE. */
void cluster_origin_release(struct mqtt_cluster *k, const struct msg_forward *f);
/* What Redis has of a session. */
void cluster_origin_load(struct mqtt_cluster *k, struct bytes session, struct bytes text, int64_t since_ms);
void cluster_origin_expire(struct mqtt_cluster *k, int64_t before_ms);
void cluster_origin_tick(struct mqtt_cluster *k);
void cluster_origin_fini(struct mqtt_cluster *k);

/* mqtt_cluster_ready.c */
bool cluster_may_open(const struct mqtt_cluster *k);	/* all that are there have said what they want, or do not in time */
bool cluster_is_full(const struct mqtt_cluster *k);	/* no more is taken from clients */
bool cluster_is_ready(void *arg);	/* of hooks, as the next */
void cluster_on_owns(void *arg, unsigned peer, bool some);
void cluster_ask_for_missed(struct mqtt_cluster *k);

#endif
