/* history_clock.h - how far retention believes the wall clock; pure
 *
 * What retention removes is gone, and a clock that jumped years ahead would have it remove everything. So it has a time of its
 * own, kept over restarts: never ahead of the clock, and catching up with it HISTORY_CLOCK_PACE times as fast as time passes
 * (measured, not read off the clock). After a month without power that takes a bit more than a day; somebody who looks after a jump
 * of ten years has five months to see it. */
#ifndef ROOST_HISTORY_CLOCK_H
#define ROOST_HISTORY_CLOCK_H

#include <stdint.h>

#define HISTORY_CLOCK_PACE 24
#define HISTORY_CLOCK_AHEAD_US (2 * 86400000000ll) /* then it is said */

/* What to keep, elapsed_us of measured time after it was `believed`: it never goes back, or a clock put back for a moment would
 * stop retention for long. The time to go by is the earlier of this and wall. */
int64_t history_clock_step(int64_t believed, int64_t wall, int64_t elapsed_us);

#endif
