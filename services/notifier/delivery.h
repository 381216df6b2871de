/* delivery.h - what the outbox owes goes out: in order per receiver, receivers independent of each other, until accepted or dead */
#ifndef ROOST_DELIVERY_H
#define ROOST_DELIVERY_H

#include <stdbool.h>

#include "loop.h"
#include "notify_conf.h"
#include "outbox.h"

#define DELIVERY_REJECTED_MAX 3			/* tries of what a receiver does not want */
#define DELIVERY_AGE_MAX_US (3 * 86400000000ll)	/* tried no longer than this */

struct delivery;

/* failed: the outbox is of no use any more, or (ERR_NO_ROOM) takes nothing until delivery_writable() says so. conf is borrowed until the next delivery_set_conf. */
struct delivery *delivery_new(struct loop *loop, struct outbox *outbox, const struct notify_conf *conf, void (*failed)(void *arg, int err), void *arg);
void delivery_free(struct delivery **d);
void delivery_set_conf(struct delivery *d, const struct notify_conf *conf);
/* Something more is owed to this receiver (an index of conf). */
void delivery_owed(struct delivery *d, size_t receiver);
/* While the outbox cannot be written each receiver gets one more try, whose end is written when it can. */
void delivery_writable(struct delivery *d, bool writable);
/* Sends what is due; each turn and tick. */
void delivery_run(struct delivery *d);
/* Nothing is under way (though much may be owed). */
bool delivery_idle(const struct delivery *d);

#endif
