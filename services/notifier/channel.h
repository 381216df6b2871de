/* channel.h - one way out to people: a message goes in, and how it ended comes back, once, later or at once */
#ifndef ROOST_CHANNEL_H
#define ROOST_CHANNEL_H

#include <stdint.h>

#include "buf.h"
#include "loop.h"
#include "notify_conf.h"

enum channel_end {
	CHANNEL_ACCEPTED,
	CHANNEL_FAILED,		/* may succeed later */
	CHANNEL_REJECTED,	/* the receiver does not want it; a few tries tell a mishap from a verdict */
};

/* why: a few words for people, NULL if accepted. wait_us: the receiver asked for this long before the next try; 0: did not. */
typedef void (*channel_end_fn)(void *arg, enum channel_end end, const char *why, int64_t wait_us);

/* --- log: a line in the process's own log --- */

void channel_log_send(const char *key, struct bytes body, channel_end_fn fn, void *arg);

/* --- webhook: HTTP POST of a JSON body --- */

#define WEBHOOK_REPLY_MAX 65536	/* more of an answer is not read */
#define WEBHOOK_WAIT_MAX_US 300000000ll

struct webhook;

struct webhook *webhook_new(struct loop *loop);
void webhook_free(struct webhook **w);	/* ends what is under way; its fn is not called */
/* Copies what it needs. fn is called from the loop, never from here. */
void webhook_send(struct webhook *w, const struct receiver *to, const char *key, struct bytes body, channel_end_fn fn, void *arg);
/* An HTTP status as the end of a delivery; pure. */
enum channel_end webhook_judge(long status);

#endif
