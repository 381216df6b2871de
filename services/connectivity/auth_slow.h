/* auth_slow.h - passwords that take 0.1 s and 64 MiB to check: one after the other, in a thread of their own
 *
 * The one thread beside the loop's. It sees nothing but what it was handed: a copy of the stored hash and of the password,
 * which are overwritten when it is done. It begins with the first question. */
#ifndef ROOST_AUTH_SLOW_H
#define ROOST_AUTH_SLOW_H

#include "credential.h"
#include "loop.h"

#define AUTH_SLOW_MAX 64	/* that wait; more are told to come again */
#define AUTH_SLOW_EACH_MS 100	/* roughly, to tell how long it takes */

struct auth_slow;

typedef void (*auth_slow_fn)(void *arg, bool matches);

struct auth_slow *auth_slow_new(struct loop *loop);
/* Waits for the one that is being checked. No answers any more. */
void auth_slow_free(struct auth_slow **s);
/* fn is called later, from the loop. ERR_FULL; ERR_IO: there is no thread (logged). */
int auth_slow_ask(struct auth_slow *s, const struct msg_credential *c, struct bytes secret, auth_slow_fn fn, void *arg);
/* Whoever asked with this arg is gone. */
void auth_slow_forget(struct auth_slow *s, const void *arg);
size_t auth_slow_waiting(const struct auth_slow *s);

#endif
