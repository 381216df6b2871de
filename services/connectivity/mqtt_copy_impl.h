/* mqtt_copy_impl.h - what the mqtt_copy files share */
#ifndef ROOST_MQTT_COPY_IMPL_H
#define ROOST_MQTT_COPY_IMPL_H

#include "mqtt_copy.h"
#include "mqtt_session_impl.h"
#include "session_state.h"

#define COPY_AWAY_US 2000000 /* that a client has gone is written so late at most */

/* A CONNECT that waits. */
struct copy_request {
	struct copy_request *next;	/* of the same client */
	struct copy_request *later;	/* of all that nobody was told about */
	struct copy_request **later_link;	/* NULL: it is not one of them */
	struct copy_client *client;
	uint64_t token;
	int64_t until_us; /* Redis may be away for so long */
	bool clean;
	bool keep;
};

/* What comes of a session, until all of it is there. */
struct copy_load;

struct copy_client {
	struct copy_client *hash_next;
	struct copy_client *next; /* of all */
	struct copy_client **link;
	struct copy_client *todo_next; /* of those to be loaded, or to be written anew */
	struct copy_client **todo_link;	/* NULL: it is not among them */
	struct copy_request *requests;		/* the first is being dealt with if `asked` */
	struct copy_load *load;
	uint64_t epoch;	   /* 0: not claimed */
	bool asked;	   /* a claim or load is under way: what it is, it stays until that is over */
	uint64_t overtaken; /* by another worker's claim of this epoch */
	bool anew;	   /* that claim is to write it anew */
	struct copy_client *told_next; /* of those whose CONNECT may go on: until its session says so */
	struct copy_client **told_link;	/* NULL: it is not one of them */
	int64_t told_us;
	struct copy_client *check_next; /* of those whose epoch is asked about ... */
	uint64_t check;	   /* ... by the write of this number; 0: it is not */
	bool fenced;	   /* a write was refused: somebody else has it */
	int64_t fenced_us; /* since then */
	bool fresh;	   /* claimed clean: what is still told is of the session before */
	bool marked;	   /* it was asked about when mqtt_copy_mark() was called */
	bool over;	   /* the session ended meanwhile */
	bool moved;	   /* another worker, or life, had it before */
	bool has_will;	   /* in Redis */
	bool life_away;	   /* Redis has it as away, ... */
	uint32_t life_expiry_s; /* ... with this expiry, ... */
	uint64_t life_epoch; /* ... under this epoch: what was written of its life last */
	struct copy_client *away_next; /* of those whose absence is to be written */
	struct copy_client **away_link;	/* NULL: it is not one of them */
	int64_t away_us;   /* since then */
	bool owned;	   /* to be loaded: on that list; else, if on one, to be written anew */
	uint8_t adopted;   /* owned: the worker + 1 that had it, and is no more; 0: it was ours */
	int64_t since_ms;  /* owned: away since; 0: it was connected */
	uint32_t expiry_s; /* owned */
	uint16_t id_len;
	char id[];
};

/* The will of a client whose session is not loaded. */
struct copy_will {
	struct copy_will *next;
	struct mqtt_will *will;
	int64_t due_us;
	uint16_t id_len;
	char id[];
};

struct copy_wills {
	struct copy_will **table; /* by client id */
	size_t size;		  /* a power of 2, or 0 */
	size_t count;
};

struct copy_todo {
	struct copy_client *first;
	struct copy_client **end;
};

enum copy_list {
	COPY_WILLS = 1,
	COPY_RETAINED,
	COPY_OWNED,
	COPY_FORWARDS,
	COPY_SWEEP,
	COPY_PEERS,	/* and up: what the worker of that number owns */
	COPY_ADOPTED = COPY_PEERS + 64,	/* and up: sessions of the worker of that number, which is no more */
	COPY_ADOPTED_WILLS = COPY_ADOPTED + 64,
	COPY_LISTS = COPY_ADOPTED_WILLS + 64
};

/* A retained message that has no number yet. */
struct copy_retained {
	struct copy_retained *next;
	uint64_t number;	/* of the unit */
	struct mqtt_message *message;
};

struct mqtt_copy {
	struct mqtt_copy_options options;
	struct loop *loop;
	struct mqtt_broker *broker;
	struct session_state *ss;
	char *worker;
	struct copy_client **table;
	size_t table_size; /* a power of 2 */
	size_t count;
	struct copy_client *first;
	struct copy_client *checks;
	struct copy_client *told;	/* the one that was told first */
	struct copy_client **told_end;
	struct copy_todo load;
	struct copy_todo anew;
	struct copy_client *aways;	/* the one that went first */
	struct copy_client **aways_end;
	size_t away_count;
	struct loop_timer away_timer;
	struct copy_wills wills;
	struct mqtt_message *message; /* what the open unit's enqueues are of; a reference */
	uint64_t issued;	      /* units */
	uint64_t done;		      /* answered */
	uint64_t last;		      /* unit that Redis was given */
	uint64_t said;		      /* to the broker */
	struct copy_retained *retained;
	struct copy_retained **retained_end;
	uint64_t barrier;	      /* nothing is written before this one is done */
	bool open;		      /* a unit is */
	bool retained_in_unit;
	bool hold;	      /* something is not in Redis and not in a unit either */
	bool rewrite_retained;
	bool all_stale;	      /* nobody has an epoch, or a will in Redis, since copy_stale() */
	bool losing;	/* Redis lost what it had: that was dealt with */
	bool listed;
	unsigned lists_left; /* that are asked for */
	uint64_t peers_asked; /* bits: what these own is asked for ... */
	uint64_t peers_own;   /* ... and it is something */
	size_t fresh;	/* clients that are */
	size_t fenced;	/* clients that are */
	size_t to_load; /* owned ones that are not loaded */
	size_t marked;
	size_t asked;	/* claims and loads under way */
	struct copy_request *waiting; /* the one that came first; all wait as long */
	struct copy_request **waiting_end;
	int64_t started_us;
	int64_t stale_us; /* not before: writing anew */
	int64_t down_us;  /* Redis is not there since; 0: it is */
	int64_t hold_us;  /* `hold` since */
	int64_t progress_us; /* units wait, and since then none was answered */
	bool ticking;	/* the timer is set */
	int64_t swept_us;
	struct loop_timer timer; /* requests and writes that wait for Redis */
	struct buf scratch;
};

/* mqtt_copy_client.c */
struct bytes copy_id(const struct copy_client *c);
struct copy_client *copy_find(const struct mqtt_copy *k, struct bytes id);
struct copy_client *copy_get(struct mqtt_copy *k, struct bytes id);	/* made if it is not there */
void copy_client_free(struct mqtt_copy *k, struct copy_client *c);
void copy_told(struct mqtt_copy *k, struct copy_client *c);
void copy_told_done(struct mqtt_copy *k, struct copy_client *c);	/* if it was */
void copy_request_add(struct mqtt_copy *k, struct copy_client *c, const struct mqtt_claim *claim, uint64_t token);
void copy_request_told(struct mqtt_copy *k, struct copy_request *r);
void copy_request_done(struct mqtt_copy *k, struct copy_client *c);	/* its first */
void copy_drop(struct mqtt_copy *k, struct copy_client *c);	/* unless it is asked about */
void copy_unmark(struct mqtt_copy *k, struct copy_client *c);	/* it is not asked about any more */
void copy_unfence(struct mqtt_copy *k, struct copy_client *c);
void copy_fresh(struct mqtt_copy *k, struct copy_client *c, bool fresh);
void copy_todo(struct copy_todo *list, struct copy_client *c);
void copy_todo_done(struct mqtt_copy *k, struct copy_client *c);	/* if it is on one */
void copy_dirty(struct mqtt_copy *k, struct copy_client *c);	/* it is to be written anew */
void copy_stale(struct mqtt_copy *k, const char *why);		/* all are */
int64_t copy_wall_ms(void);

/* mqtt_copy_claim.c */
void copy_go_on(struct mqtt_copy *k);				/* loads and writes what is to be */
void copy_next_request(struct mqtt_copy *k, struct copy_client *c);	/* nothing is asked about it: frees it if there is none */
void copy_wait(struct mqtt_copy *k);				/* until Redis answers, for those who may not wait for ever */
void copy_say_away(struct mqtt_copy *k);	/* to the broker: whether Redis takes what is written */
void copy_on_claimed(void *arg, uint64_t token, int err, const struct session_state_claim *claim);
void copy_load_is_over(struct mqtt_copy *k, struct copy_client *c, int err);
void copy_checked(struct mqtt_copy *k, uint64_t number, int err);	/* by the writes up to this number */
void copy_claims_tick(struct mqtt_copy *k);

/* mqtt_copy_write.c */
bool copy_unit(struct mqtt_copy *k);	/* opens one; false: Redis is too far behind */
void copy_unit_anew(struct mqtt_copy *k);	/* however far that is, for what is in memory */
void copy_unit_end(struct mqtt_copy *k);
void copy_write_session(struct mqtt_copy *k, struct copy_client *c, const struct mqtt_session *s);	/* all of it */
void copy_write_retained(struct mqtt_copy *k);

/* mqtt_copy_life.c */
void copy_life(struct mqtt_copy *k, struct copy_client *c, const struct mqtt_session *s);	/* it has changed: written now, later or not at all */
void copy_write_life(struct mqtt_copy *k, struct copy_client *c, const struct mqtt_session *s);	/* in the unit: connected, or since when not */
void copy_away_done(struct mqtt_copy *k, struct copy_client *c);	/* it is not to be written any more */
void copy_aways_write(struct mqtt_copy *k, int64_t until_us);	/* of those that went until then */

/* mqtt_copy_load.c */
void copy_list(struct mqtt_copy *k);
struct copy_client *copy_add_owned(struct mqtt_copy *k, const struct session_state_item *item);	/* NULL: it is known */
void copy_on_item(void *arg, uint64_t token, const struct session_state_item *item);
void copy_on_list_end(struct mqtt_copy *k, enum copy_list list, int err);
void copy_on_peer_end(struct mqtt_copy *k, unsigned peer, int err);
void copy_load_begin(struct copy_client *c, const struct session_state_claim *claim);
void copy_load_end(struct mqtt_copy *k, struct copy_client *c);	/* into the broker */
void copy_load_free(struct copy_client *c);

/* mqtt_copy_adopt.c: what workers had that are no more */
void copy_adopt_list(struct mqtt_copy *k);
void copy_adopt_item(struct mqtt_copy *k, unsigned token, const struct session_state_item *item);
int copy_claim_owned(struct mqtt_copy *k, struct copy_client *c);	/* from whom the list said; as session_state_claim_from() */

/* mqtt_copy_wills.c */
void copy_will_add(struct mqtt_copy *k, const struct session_state_item *item);
struct copy_will *copy_will_take(struct mqtt_copy *k, struct bytes id);	/* NULL: there is none; the caller frees it */
void copy_will_drop(struct mqtt_copy *k, struct bytes id);	/* if there is one: it is another worker's */
void copy_will_forget(struct mqtt_copy *k, struct bytes id);	/* the client is back */
void copy_wills_tick(struct mqtt_copy *k);
void copy_wills_fini(struct mqtt_copy *k);

/* mqtt_copy_message.c; wall_ms and now_us are the same moment */
void copy_message_put(struct buf *out, const struct mqtt_message *m, bool retain, int64_t wall_ms, int64_t now_us);
struct mqtt_message *copy_message_get(const struct msg_mqtt_message *m, int64_t wall_ms, int64_t now_us);
struct mqtt_will *copy_will_get(const struct msg_mqtt_will *w, const struct msg_mqtt_message *m);
/* In the unit; id's. */
void copy_will_put(struct mqtt_copy *k, struct bytes id, uint64_t epoch, const struct mqtt_will *will, int64_t since_ms);

#endif
