/* work.h - what points.c does over and over: streams, batches, several segments, a stop in order; and what is promised of it */
#ifndef ROOST_TEST_WORK_H
#define ROOST_TEST_WORK_H

#include <stdint.h>
#include <stdio.h>

#include "disk.h"
#include "shard.h"

#define WORK_SECOND 1000000ll
#define EXIT_WRONG 3 /* a promise was broken; said on work_said */
#define EXIT_DIES 75

struct work {
	char root[64];
	struct shard *sh;
	int lock_fd;
	int64_t mono, wall;
	uint64_t id[STREAMS];
	uint64_t upto[STREAMS]; /* of the last answer */
	uint64_t next[STREAMS]; /* to be sent */
	uint64_t at;		/* where history is */
};

extern struct work w;
extern FILE *work_said;

/* A data_dir in w.root is made or recovered, batches are committed over several segments, old segments are let go, the shard is
 * closed in order and opened again. */
void work_all(void);
/* The beginning of it, left in the middle. */
void work_some(void);
/* The disk is away for a moment while a follower reads: it waits, and misses nothing. */
void work_read_of_a_disk_that_was_away(void);
/* Another process finds this folder: everything that was acknowledged is there, once, as it was, and it goes on. */
void work_go_on(const char *root, struct disk_known known);

#endif
