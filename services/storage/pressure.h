/* pressure.h - whether readings come faster than the processors do all that follows from them; pure
 *
 * Two signs together. Storage's own thread waits for a processor a good part of the time: it has the shortest slice there is,
 * so that others wait at least as long. And so many bytes a second become durable that delivering them is a good part of the
 * work: with fewer the followers are not who takes the processors, and holding them back would help nobody. */
#ifndef ROOST_STORAGE_PRESSURE_H
#define ROOST_STORAGE_PRESSURE_H

#include <stdbool.h>
#include <stdint.h>

#define PRESSURE_LOOK_US 100000
#define PRESSURE_WAIT_PERCENT 8	 /* from here on */
#define PRESSURE_STILL_PERCENT 4 /* and as long as this much */

struct pressure {
	uint64_t above; /* bytes a second; 0: there is never any */
	int64_t at_us;	/* of the last look; 0: none yet */
	uint64_t bytes;
	uint64_t waited_us;
	bool on;
};

/* bytes and waited_us have only grown since the last look. Looks that are closer than PRESSURE_LOOK_US change nothing. */
void pressure_look(struct pressure *p, int64_t now_us, uint64_t bytes, uint64_t waited_us);
bool pressure_look_is_due(const struct pressure *p, int64_t now_us);

#endif
