/* history_day.h - one day of history: a SQLite file, the blocks in it, and the points that are not in blocks yet
 *
 * <dir>/2026-11-22.db, all times UTC, page_size 16384, WAL:
 *
 *	series(id, device, metric)
 *	block(id, series, t_first, t_last, n, data)	data: history_block.h; blocks of one series may overlap in time
 *	masked(series, time, reason, value)		quarantined points: kept, never in values or averages
 *	cursor(shard, upto)				everything of this day from journal blocks before upto is in the file
 *
 * A flush puts the new points and the cursors into the file in one transaction. A series' newest blocks are small; one is
 * merged with those before it while these are less than twice as large, so that a point is rewritten about as often as
 * the logarithm of the block size, and a series has a handful of small blocks at most. */
#ifndef ROOST_HISTORY_DAY_H
#define ROOST_HISTORY_DAY_H

#include <stdint.h>

#include "buf.h"
#include "history_block.h"

#define HISTORY_DAY_US 86400000000ll
#define HISTORY_DAY_MAX 2932896		/* 9999-12-31 */
#define HISTORY_DAY_NAME_MAX 16		/* "2026-11-22.db", with NUL */
#define HISTORY_SCHEMA 1		/* user_version; of every file of history */

/* Days since the Unix epoch; false before 1970 and after 9999. */
bool history_day_of(int64_t time, int64_t *ret_day);
const char *history_day_name(int64_t day, char out[HISTORY_DAY_NAME_MAX]);
bool history_day_parse(const char *name, int64_t *ret_day);

struct history_counts {
	uint64_t points;
	uint64_t copies;
	uint64_t masked;
};

struct history_day;

/* Opens or creates the file. A file that is no database any more is renamed to <name>.damaged and a new one begun.
 * codec is kept. ERR_IO, ERR_UNSUPPORTED: logged. */
int history_day_open(const char *dir, int64_t day, uint32_t shards, struct history_codec *codec, struct history_day **ret_day);
void history_day_close(struct history_day **d);	/* points that are not in blocks are lost */
int64_t history_day_number(const struct history_day *d);
/* 0 if the file has nothing of this shard. */
uint64_t history_day_cursor(const struct history_day *d, uint32_t shard);
struct history_pack;
/* The pack, which is taken over, has points of this day: what its cursors cover was taken, and copies of its points are dropped. */
void history_day_packed(struct history_day *d, struct history_pack **pack);

/* Closes the file, not what waits for it; a flush opens it again. */
void history_day_rest(struct history_day *d);
/* Frees what only the next flush needs. */
void history_day_quiet(struct history_day *d);

/* Keep a point until the next flush. */
void history_day_add(struct history_day *d, struct bytes device, struct bytes metric, int64_t time, const struct value *v, bool device_time);
void history_day_mask(struct history_day *d, struct bytes device, struct bytes metric, int64_t time, const struct value *v, unsigned reason);
/* Points that are not in blocks, and series that are remembered. */
size_t history_day_waiting(const struct history_day *d);
size_t history_day_series(const struct history_day *d);

/* Writes all that waits, with upto[shard] as cursors. After an error (logged) the day is of no use: close it. */
int history_day_flush(struct history_day *d, const uint64_t *upto, struct history_counts *counts);

#endif
