/* context.h - changes of the registry, as they come from the journal: read in passing from its end on, in the order of each shard
 *
 * Whoever caches something of the registry (auth, attributes) hears of each change here, without Redis. What was before the
 * start, and what was missed, is told by Redis alone. */
#ifndef ROOST_CONTEXT_H
#define ROOST_CONTEXT_H

#include "follower.h"
#include "registry_change.h"

#define CONTEXT_LISTENERS_MAX 4

struct context;

/* Borrowed until it returns. */
typedef void (*context_fn)(void *arg, const struct registry_object *o);
/* Some changes will not come: they were removed before they were read. */
typedef void (*context_missed_fn)(void *arg);

/* The one follower of this worker. NULL: that was logged. */
struct context *context_new(struct worker *w);
void context_free(struct context **c);
/* missed may be NULL. */
void context_listen(struct context *c, context_fn fn, context_missed_fn missed, void *arg);
/* The bus link of a shard: ingest sends by it, too. */
struct bus_link *context_link(struct context *c, uint32_t shard);

#endif
