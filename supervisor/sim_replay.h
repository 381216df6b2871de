/* sim_replay.h - recordings to play back: `timestamp,value` lines below a header */
#ifndef ROOST_SIM_REPLAY_H
#define ROOST_SIM_REPLAY_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"

#define SIM_REPLAY_MAX 20000000	/* points */

struct sim_point {
	int64_t time_us;
	double value;
};

struct sim_recording {
	struct sim_point *points; /* in order of time */
	size_t count;
};

/* 0; ERR_IO, ERR_CONFIG (a line that is none, with file:line in err), ERR_TOO_BIG. Lines out of order are sorted. */
int sim_recording_load(const char *path, struct sim_recording *ret, struct buf *err);
void sim_recording_fini(struct sim_recording *r);

#endif
