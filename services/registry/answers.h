/* answers.h - answers that wait until Redis has what they tell, so that a device may connect as soon as it is told to be there
 *
 * Redis may be away or slow: then they wait no longer than ANSWERS_HOLD_US, or not at all. */
#ifndef ROOST_REGISTRY_ANSWERS_H
#define ROOST_REGISTRY_ANSWERS_H

#include "codec.h"

#define ANSWERS_MAX 4096 /* that wait; beyond it the first goes */
#define ANSWERS_HOLD_US 500000

typedef void (*answers_fn)(void *arg, const char *peer, const struct msg_changed *m);

struct answers;

struct answers *answers_new(answers_fn fn, void *arg);
void answers_free(struct answers **a); /* tells what is left */
/* n: the change of registry.db that Redis is to have. now: monotonic. */
void answers_hold(struct answers *a, const char *peer, const struct msg_changed *m, uint64_t n, int64_t now);
/* Redis has everything up to this; UINT64_MAX: it is away. */
void answers_release(struct answers *a, uint64_t upto, int64_t now);

#endif
