/* backoff.h - how long to wait before a failing child is started again; pure
 *
 * The first three failures cost nothing: whoever is killed from outside soon after it came up is no crash loop, and a crash
 * loop has only three starts more. Then 100 ms, doubled at each failure up to 30 s, of which a random half is taken off, so
 * that children that fail for one cause do not come back in step. Nothing is ever given up. A minute UP forgives all
 * failures, a second UP half of them: a worker that comes up and works, and is killed now and then, does not add up to
 * half a minute of silence. */
#ifndef ROOST_BACKOFF_H
#define ROOST_BACKOFF_H

#include <stdint.h>

#define BACKOFF_FREE 3 /* failures that are not waited for */
#define BACKOFF_FIRST_US 100000
#define BACKOFF_MAX_US 30000000
#define BACKOFF_FORGIVEN_US 60000000
#define BACKOFF_STEADY_US 1000000 /* CHILD_EARLY_US: a death after it is no failure */

struct backoff {
	uint32_t failures; /* since the last forgiveness; stops counting at UINT32_MAX */
	uint64_t random;
};

/* seed: differs between children. */
void backoff_init(struct backoff *b, uint64_t seed);
/* Counts a failure and returns how long to wait: 0, or BACKOFF_FIRST_US / 2 .. BACKOFF_MAX_US. */
int64_t backoff_fail(struct backoff *b);
/* A child died that had been UP for this long. */
void backoff_was_up(struct backoff *b, int64_t up_us);

#endif
