/* priority.h - who goes first when the processors do not suffice
 *
 * Devices wait for what takes readings, so that goes before those who follow the journal. None of it needs a privilege, and
 * what a kernel does not know is left out. */
#ifndef ROOST_PRIORITY_H
#define ROOST_PRIORITY_H

#include <stdbool.h>

struct priority {
	/* Added to the niceness that the system was started with. */
	int nice;
	/* Runs in what time the others leave (SCHED_IDLE): for what is kept for later looks. A quota that it cannot keep up with
	 * closes storage's credit, so it never falls behind for good. Other programs are not held back by that: a worker that was
	 * replaced because its loop did not turn any more (ROOST_STARVED) does without. */
	bool idle_only;
	/* Short work that others wait for: runs soon when there is some, for less time at once (Linux 6.12; sched_setattr(2),
	 * sched_runtime). */
	bool prompt;
};

/* For all threads that the process has now. */
void priority_take(const struct priority *p);

#endif
