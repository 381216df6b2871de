/* lives.h - the numbers that tell two starts of one worker apart (ROOST_LIFE): they grow for ever
 *
 * <data_dir>/lives holds a bound, durable before any number below it is used; numbers are reserved LIVES_RESERVED at
 * a time, so a restart costs no disk sync. What a crash leaves of a reservation is never used. */
#ifndef ROOST_LIVES_H
#define ROOST_LIVES_H

#include <stdint.h>

#include "buf.h"
#include "data_dir.h"

#define LIVES_RESERVED 1024

struct lives {
	char path[128];
	char dir[DATA_DIR_MAX];
	uint64_t next;
	uint64_t bound;
};

/* 0, or ERR_IO, ERR_DAMAGED with a sentence in err. */
int lives_open(struct lives *l, const char *data_dir, struct buf *err);
/* 0, or ERR_IO if no further numbers can be made durable. */
int lives_next(struct lives *l, uint64_t *ret_life);

#endif
