/* registry_state.h - the registry's fold in Redis, written: device_state's sister; keys in registry_keys.h
 *
 * Redis holds what registry.db holds, up to a change of it. Each new connection says up to which; 0 if it held another's fold, none,
 * or one that FLUSHALL took: what was left of that is removed before `up`. Then changes are put and committed in
 * portions, each whole or not at all; a portion that finds another's mark or none ends the connection, and the next begins with `up`. */
#ifndef ROOST_REGISTRY_STATE_H
#define ROOST_REGISTRY_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "loop.h"
#include "registry_change.h"

struct registry_state;

struct registry_state_events {
	/* Redis holds everything up to this change of registry.db. */
	void (*up)(void *arg, uint64_t upto);
	void (*down)(void *arg);
	/* The portion is there. */
	void (*committed)(void *arg);
};

/* url, data_dir: as for redis_new(). db: names this registry.db; life: of this process. ERR_CONFIG: no such url. */
int registry_state_new(struct loop *loop, const char *url, const char *data_dir, const char *db, uint64_t life,
    const struct registry_state_events *events, void *arg, struct registry_state **ret_state);
void registry_state_free(struct registry_state **s);

/* Between up and down; else it goes nowhere. body: o, encoded. What is gone is taken away; a device that is, with its attributes. */
void registry_state_put(struct registry_state *s, const struct registry_object *o, struct bytes body);
/* Ends the portion; one at a time. complete: there is no change after upto; once that was so it stays said. A portion may be empty: so it is found out whether
 * Redis still holds the others. */
void registry_state_commit(struct registry_state *s, uint64_t upto, bool complete);

/* What Redis holds is not to be believed: it is removed, and `up` comes again with 0. */
void registry_state_begin_anew(struct registry_state *s);

#endif
