/* history_pack.h - small days of a month in one file, because what an empty day file costs many days can share
 *
 * <dir>/2026-11.pack, written whole under another name and renamed, never changed:
 *
 *   pack   := magic "roostPk1", blocks (history_block.h) one behind the other, index, trailer
 *   index  := shards varint, days varint, [day since the month's first varint, ident u64, changed varint, [upto varint] a shard],
 *             series varint, [device string, metric string, blocks varint, [entry]]
 *   entry  := day varint (which of the days) * 2 + masked, n varint, length varint, last time since the day's begin varint,
 *             [reason u8] n if masked
 *   string := length varint, bytes
 *   trailer:= where the index begins u64, low 64 bits of XXH3 over the index u64, magic
 *
 * Series are sorted, entries of a series by day; a series may have several blocks of a day, and masked points are blocks of
 * their own. upto: everything of this day from journal blocks before it is in the pack. All numbers little-endian.
 *
 * ident tells which day file a day came from. The pack is renamed into place before that file is removed: a file that is still
 * there, with this ident, is in the pack already. A day file of another ident holds what came later. */
#ifndef ROOST_HISTORY_PACK_H
#define ROOST_HISTORY_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "history_block.h"
#include "history_read.h"

struct history_erasure;

#define HISTORY_PACK_MAGIC "roostPk1"
#define HISTORY_PACK_MAGIC_LEN 8
#define HISTORY_PACK_NAME_MAX 16 /* "2026-11.pack", with NUL */
#define HISTORY_PACK_MAX ((size_t)512 << 20) /* of one file */

struct pack_day {
	int64_t day;
	uint64_t ident;
	int64_t changed; /* us: the last change of its file */
	uint64_t *cursors;
};

struct pack_entry {
	uint32_t day; /* index in days */
	uint32_t n;
	uint32_t len;
	bool masked;
	int64_t last;		/* time of its last point */
	uint64_t at;		/* of the block in the file */
	const uint8_t *reasons; /* n of them if masked */
};

struct pack_series {
	struct bytes device;
	struct bytes metric;
	size_t first; /* of its entries */
	size_t count;
};

/* The index of a pack, and the open file. */
struct history_pack {
	int fd;
	int64_t month;
	uint64_t ino;
	uint32_t shards;
	struct pack_day *days;
	size_t day_n;
	struct pack_series *series;
	size_t series_n;
	struct pack_entry *entries;
	size_t entry_n;
	struct buf index;
	char path[512];
};

/* Months since January 1970, and the file's name. */
int64_t history_pack_month(int64_t day);
int64_t history_pack_first_day(int64_t month);
const char *history_pack_name(int64_t month, char out[HISTORY_PACK_NAME_MAX]);
bool history_pack_parse(const char *name, int64_t *ret_month);
/* What tells a day file from a later one of the same name; 0 if there is none. */
uint64_t history_pack_ident(const char *path, int64_t *ret_changed);

/* ERR_NOT_FOUND; ERR_DAMAGED, ERR_IO: logged. */
int history_pack_open(const char *dir, int64_t month, struct history_pack **ret_pack);
void history_pack_close(struct history_pack **p);
/* NULL: it has nothing of this day. */
const struct pack_day *history_pack_day(const struct history_pack *p, int64_t day);
/* The bytes of an entry's block. */
int history_pack_block(const struct history_pack *p, const struct pack_entry *e, struct buf *ret_block);
/* As history_file_points and history_file_summaries, of one day of the pack. */
int history_pack_points(struct history_pack *p, struct history_codec *codec, int64_t day, struct bytes device, struct bytes metric, int64_t since,
    int64_t until, struct history_points *ret_points, uint64_t *ret_masked);
int history_pack_summaries(struct history_pack *p, struct history_codec *codec, int64_t day, struct bytes device, history_summary_fn fn, void *arg);

/* Puts the day files into the pack of their month, and leaves out its days before least; removes the files afterwards. days are
 * in order, of one month. ERR_FULL: it would grow too large. Others: logged. */
int history_pack_write(const char *dir, int64_t month, const int64_t *days, size_t n, int64_t least, uint32_t shards, struct history_codec *codec);

/* Leaves out what a device said before it was erased (history_erase.h); the pack stays as it is if there is nothing of that. */
int history_pack_erase(const char *dir, int64_t month, uint32_t shards, struct history_codec *codec, const struct history_erasure *erasure);

#endif
