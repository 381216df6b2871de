/* history_store.h - history as a whole: journal blocks in, day files out, and where it stands in each shard
 *
 * <dir>/meta.sqlite holds cursor(shard, upto): everything before upto is in the day files. A flush commits each day file that
 * has something new, with the cursors it is complete to (history_day.h), and meta.sqlite last. After a crash in between, the
 * journal is read again from meta.sqlite's cursor, and what a day file's own cursor says it has is dropped: no point is lost
 * or doubled, without a transaction across files (which SQLite has only without WAL). */
#ifndef ROOST_HISTORY_STORE_H
#define ROOST_HISTORY_STORE_H

#include <stddef.h>
#include <stdint.h>

#include "entry.h"
#include "history_day.h"

#define HISTORY_DAYS_OPEN 16		/* day files kept open */
#define HISTORY_FUTURE_US HISTORY_DAY_US	/* a time further ahead of the journal's cannot be: masked */
#define HISTORY_SERIES_MAX 500000	/* remembered; above it files are closed and read again when needed */
#define HISTORY_PACK_DAY_MAX (1 << 20)	/* bytes of a day file; what it costs empty is a tenth of that */
#define HISTORY_META "meta.sqlite"

struct history_store;

/* dir is created. ERR_IO, ERR_UNSUPPORTED, ERR_DAMAGED: logged. */
int history_store_open(const char *dir, uint32_t shards, struct history_store **ret_store);
void history_store_close(struct history_store **s);	/* does not flush */
/* Where to read on: durable. */
uint64_t history_store_cursor(const struct history_store *s, uint32_t shard);
/* Up to where it has taken blocks; what is between may still wait in memory. */
uint64_t history_store_seen(const struct history_store *s, uint32_t shard);

/* Takes a block's readings, and erases the devices that it says (history_erase.h). Errors are logged, but for ERR_NO_ROOM; the store is then of no use: close it and begin again from the
 * cursors. */
int history_store_block(struct history_store *s, uint32_t shard, const struct block_view *v);
/* Everything before upto was seen, also what was not asked for. */
void history_store_upto(struct history_store *s, uint32_t shard, uint64_t upto);
size_t history_store_waiting(const struct history_store *s);
size_t history_store_days_waiting(const struct history_store *s);
int history_store_flush(struct history_store *s);
/* Frees what only the next flush needs. */
void history_store_quiet(struct history_store *s);

/* The time that retention may believe (history_clock.h): elapsed_us of measured time went by since it was asked last. Kept in
 * meta.sqlite. */
int64_t history_store_clock(struct history_store *s, int64_t wall, int64_t elapsed_us);
/* Whether what it said last could be written; if not, the next elapsed_us has to hold the same time again. */
bool history_store_clock_is_kept(const struct history_store *s);
/* Removes days, in files or packs, that lie with their last change more than days before now (history_store_clock()). Returns how many. */
size_t history_store_retain(struct history_store *s, int64_t now, int64_t days);

/* Puts the day files of one month that are small, and whose day and last change both lie more than after (us) before now, into its
 * pack (history_pack.h). Returns how many. */
size_t history_store_pack(struct history_store *s, int64_t now, int64_t after);

#endif
