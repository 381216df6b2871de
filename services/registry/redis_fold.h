/* redis_fold.h - Redis kept as registry.db is: what changed, in portions; all of it where Redis holds nothing of it */
#ifndef ROOST_REGISTRY_REDIS_FOLD_H
#define ROOST_REGISTRY_REDIS_FOLD_H

#include "store.h"
#include "worker.h"

struct redis_fold;

/* ERR_CONFIG: no such URL. */
int redis_fold_new(struct worker *w, struct store *store, struct redis_fold **ret_fold);
void redis_fold_free(struct redis_fold **f);
/* Each turn, while no transaction of the store is open. */
void redis_fold_run(struct redis_fold *f);
/* It has all changes up to this; UINT64_MAX: it is away. */
uint64_t redis_fold_upto(const struct redis_fold *f);
uint64_t redis_fold_behind(const struct redis_fold *f); /* changes that are not in Redis, as far as is known */

#endif
