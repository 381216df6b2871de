/* mqtt_retained.h - the last retained message of each topic; bounded; pure */
#ifndef ROOST_MQTT_RETAINED_H
#define ROOST_MQTT_RETAINED_H

#include "mqtt_codec.h"
#include "mqtt_tree.h"

/* A message that outlives the packet it came in: retained, queued, in flight, a will. Shared by reference count. */
struct mqtt_message {
	uint32_t refs;
	uint8_t qos;
	bool has_expiry;
	bool own;			/* of the server itself, which has few: no maximum counts them */
	int64_t expires_us;		/* monotonic */
	uint64_t seq;			/* retained: number of the change, among those of all workers; 0: not known */
	struct bytes topic;		/* these four lie behind the struct */
	struct bytes payload;
	struct bytes props;		/* as mqtt_props_forward() makes them */
	struct bytes source;		/* retained, will: whose it is, for what it may still do; empty: nobody's */
};

/* With one reference. What m's views show is copied. */
struct mqtt_message *mqtt_message_new(const struct mqtt_message *m);
struct mqtt_message *mqtt_message_ref(struct mqtt_message *m);
void mqtt_message_unref(struct mqtt_message **m);
size_t mqtt_message_bytes(const struct mqtt_message *m);
bool mqtt_message_expired(const struct mqtt_message *m, int64_t now_us);

/* What matches a filter, one after the other, while the store may change: what is set or removed in between is found, or is
 * not, as it stands when the walk comes there. */
struct mqtt_retained_walk {
	struct mqtt_retained_walk *next;	/* of those that the store knows */
	struct mqtt_retained_walk **link;	/* NULL: not one of them */
	struct mqtt_node *node;			/* looked at next; NULL: over */
	struct bytes filter;			/* borrowed */
	uint16_t depth;				/* of node: levels above it and its own */
	uint16_t levels;			/* of the filter, without # */
	bool all;				/* # follows them */
	struct {
		uint16_t at, len;
	} level[MQTT_LEVELS_MAX];
};

struct mqtt_retained {
	struct mqtt_tree tree;
	struct mqtt_retained_walk *walks;
	size_t count_max;
	size_t bytes_max;		/* of messages and of the levels of their topics */
	size_t count;			/* without our own */
	size_t bytes;			/* of messages */
};

typedef void (*mqtt_retained_fn)(void *arg, struct mqtt_message *m);

void mqtt_retained_init(struct mqtt_retained *r, size_t count_max, size_t bytes_max);
void mqtt_retained_fini(struct mqtt_retained *r);
/* Takes a reference of its own; an empty payload removes (section 3.3.1.3). ERR_FULL: a maximum is reached, the older
 * message of the topic is kept. */
int mqtt_retained_set(struct mqtt_retained *r, struct mqtt_message *m);
/* fn for each that matches and has not expired; fn must not change the store. *visits is how many nodes may be looked at;
 * what is left is returned in it. ERR_FULL: they did not suffice. */
int mqtt_retained_match(struct mqtt_retained *r, struct bytes filter, int64_t now_us, size_t *visits,
    mqtt_retained_fn fn, void *arg);
/* A filter of MQTT_LEVELS_MAX levels at most. */
void mqtt_retained_walk_begin(struct mqtt_retained *r, struct mqtt_retained_walk *w, struct bytes filter);
/* The next match that has not expired, the same one until mqtt_retained_walk_on(). NULL: the walk is over (node is NULL), or
 * *visits nodes were looked at. */
struct mqtt_message *mqtt_retained_walk_at(struct mqtt_retained *r, struct mqtt_retained_walk *w, int64_t now_us, size_t *visits);
void mqtt_retained_walk_on(struct mqtt_retained *r, struct mqtt_retained_walk *w);
/* The store is to change before the walk goes on; filter must stay until mqtt_retained_walk_end(). */
void mqtt_retained_walk_wait(struct mqtt_retained *r, struct mqtt_retained_walk *w);
void mqtt_retained_walk_end(struct mqtt_retained_walk *w);
/* The message of this node goes, and with it all that is there for nothing else. */
void mqtt_retained_walks_leave(struct mqtt_retained *r, struct mqtt_node *node);
bool mqtt_retained_has(struct mqtt_retained *r, struct bytes topic);
/* Of the message of that topic; 0: there is none, or it has none. */
uint64_t mqtt_retained_seq(struct mqtt_retained *r, struct bytes topic);
/* Frees what has expired. */
void mqtt_retained_expire(struct mqtt_retained *r, int64_t now_us);

#endif
