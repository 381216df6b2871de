/* history_read.h - day files as a reader sees them: opened read-only, one snapshot a file, while history goes on writing */
#ifndef ROOST_HISTORY_READ_H
#define ROOST_HISTORY_READ_H

#include <stddef.h>
#include <stdint.h>

#include "history_block.h"

/* The days there are points of, in day files or packs, in order; *ret_days is the caller's to free. ERR_NOT_FOUND: no such directory. */
int history_read_days(const char *dir, int64_t **ret_days, size_t *ret_n);
/* Where history stands in each shard; 0 if it has nothing. */
int history_read_meta(const char *dir, uint32_t shards, uint64_t *ret_cursors);

/* Reads the days of one directory; keeps the pack it used last. */
struct history_reader;

struct history_reader *history_reader_new(const char *dir);
void history_reader_free(struct history_reader **r);

/* A snapshot of one day: its file, what the pack of its month has of it, or both. */
struct history_file;

/* ERR_NOT_FOUND: nothing of this day (it may have been removed by now). Other errors are logged. One file at a time is open. */
int history_file_open(struct history_reader *r, int64_t day, struct history_file **ret_file);
void history_file_close(struct history_file **f);
/* Everything of this day from journal blocks before this offset is there. */
int history_file_cursors(struct history_file *f, uint32_t shards, uint64_t *ret_cursors);
/* Appends the series' points within since..until (inclusive), not sorted. Damaged blocks are logged and left out. */
int history_file_points(struct history_file *f, struct bytes device, struct bytes metric, int64_t since, int64_t until, struct history_points *ret_points,
    uint64_t *ret_masked);

struct history_summary {
	struct bytes device;
	struct bytes metric;
	uint64_t count;
	uint64_t masked;
	int64_t t_last;			/* of the last point; valid if count > 0 */
	const struct value *last;
};
typedef void (*history_summary_fn)(void *arg, const struct history_summary *s);
/* Every series of this device (empty: of all devices; then last is NULL). */
int history_file_summaries(struct history_file *f, struct bytes device, history_summary_fn fn, void *arg);

#endif
