/* support_history.h - journal blocks by hand, and what day files hold in the end */
#ifndef SUPPORT_HISTORY_H
#define SUPPORT_HISTORY_H

#include <stdint.h>

#include "../folder.h"
#include "entry.h"
#include "history_points.h"
#include "history_store.h"

#define SECOND 1000000ll
#define DAY0 1763769600000000ll	/* 2025-11-22T00:00:00Z */

struct reading {
	const char *device;
	const char *metric;
	int64_t time;
	double value;
	uint32_t flags;
	uint32_t verdict;
	unsigned reason;
};

/* One journal block with these readings, one record each; freed by the caller. */
void make_block(struct buf *out, struct block_view *ret_view, uint64_t offset, uint64_t next, const struct reading *r, size_t n);
/* One journal block of shard 0, from offset up to offset + 100, into the store. */
void give(struct history_store *s, uint64_t offset, const struct reading *r, size_t n);
struct history_store *open_store(const char *dir);	/* of one shard */
/* All points of a series in a day file (by SQL and decoder), sorted by time. Returns how many blocks they lie in. */
size_t read_series(const char *dir, const char *file, const char *device, const char *metric, struct history_points *ret);
int64_t query_int(const char *dir, const char *file, const char *sql);

#endif
