/* clock.h - the two clocks, and times and durations as text
 *
 * Durations and deadlines are monotonic; wall time is only for what people and journals read. */
#ifndef ROOST_CLOCK_H
#define ROOST_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"

int64_t clock_mono_us(void); /* since an arbitrary start; never goes back */
int64_t clock_wall_us(void); /* since the Unix epoch; may jump */
int64_t clock_cpu_us(void);  /* processor time of this process */
/* How long the process's first thread was ready to run and had no processor; 0 where the kernel does not tell. */
int64_t clock_waited_us(void);

#define CLOCK_ISO_MAX 80
/* "2026-11-22T14:03:07.123456Z"; returns out. */
const char *clock_iso(int64_t wall_us, char out[CLOCK_ISO_MAX]);
/* ISO 8601 date-time with optional fraction and zone ("Z", "+02:00"; none means UTC). ERR_MALFORMED else. */
int clock_parse_iso(struct bytes text, int64_t *ret_wall_us);
/* "250ms", "90s", "10m", "2h", "7d", "1h30m"; a bare number other than 0 is ERR_MALFORMED: durations need units. */
int clock_parse_duration(struct bytes text, int64_t *ret_us);
#define CLOCK_DURATION_MAX 32
/* Shortest exact text of a duration: "1h30m", "250ms"; returns out. */
const char *clock_duration(int64_t us, char out[CLOCK_DURATION_MAX]);

#endif
