/* history_packer.c - makes the pack of a month: what the old one has, and day files that are small and finished */
#include "history_pack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "err.h"
#include "history_bytes.h"
#include "history_day.h"
#include "history_erase.h"
#include "history_sql.h"
#include "log.h"
#include "mem.h"

#define PATH_LEN 512

/* A block on its way into the pack; names, bytes and reasons lie in the packer's buffer. */
struct piece {
	size_t device, device_len, metric, metric_len;
	size_t block, block_len;
	size_t reasons;
	int64_t day;
	int64_t last;
	uint32_t n;
	bool masked;
};

struct packer {
	const char *dir;
	uint32_t shards;
	struct history_codec *codec;
	const struct history_erasure *erasure; /* NULL: nothing is left out */
	struct pack_day *days;		       /* in order */
	size_t day_n;
	struct piece *pieces;
	size_t piece_n;
	size_t piece_cap;
	struct buf bytes;
	struct history_points points;
	struct buf reasons; /* of points, if they are masked */
};

static size_t
keep(struct packer *k, struct bytes b)
{
	size_t at = k->bytes.len;

	buf_add(&k->bytes, b.data, b.len);
	return at;
}

static struct piece *
add_piece(struct packer *k, struct bytes device, struct bytes metric, int64_t day)
{
	struct piece *p;

	if (k->piece_n == k->piece_cap) {
		k->piece_cap = k->piece_cap == 0 ? 256 : 2 * k->piece_cap;
		k->pieces = xrealloc(k->pieces, k->piece_cap * sizeof(k->pieces[0]));
	}
	p = &k->pieces[k->piece_n++];
	*p = (struct piece){ .device_len = device.len, .metric_len = metric.len, .day = day };
	p->device = keep(k, device);
	p->metric = keep(k, metric);
	return p;
}

/* The day's place in days; it is put there if it is new. */
static struct pack_day *
add_day(struct packer *k, int64_t day)
{
	size_t at = k->day_n;

	while (at > 0 && k->days[at - 1].day > day)
		at--;
	if (at > 0 && k->days[at - 1].day == day)
		return &k->days[at - 1];
	k->days = xrealloc(k->days, (k->day_n + 1) * sizeof(k->days[0]));
	memmove(&k->days[at + 1], &k->days[at], (k->day_n - at) * sizeof(k->days[0]));
	k->day_n++;
	k->days[at] =
	    (struct pack_day){ .day = day, .cursors = xcalloc(k->shards + 1, sizeof(uint64_t)) };
	return &k->days[at];
}

/* --- what the old pack has --- */

/* The device said it before it was erased. */
static bool
is_erased(const struct history_pack *p, const struct pack_series *s, const struct pack_entry *e,
    const struct history_erasure *erasure)
{
	return erasure != NULL && bytes_equal(s->device, erasure->device) &&
	       (erasure->shard >= p->shards ||
		   p->days[e->day].cursors[erasure->shard] <= erasure->offset);
}

static int
take_old_series(
    struct packer *k, struct history_pack *old, const struct pack_series *s, int64_t least)
{
	struct buf block = { 0 };
	int err = 0;

	for (size_t i = 0; i < s->count && err == 0; i++) {
		const struct pack_entry *e = &old->entries[s->first + i];
		int64_t day = old->days[e->day].day;
		struct piece *p;

		if (day < least || is_erased(old, s, e, k->erasure) ||
		    (err = history_pack_block(old, e, &block)) != 0)
			continue;
		p = add_piece(k, s->device, s->metric, day);
		p->n = e->n;
		p->masked = e->masked;
		p->last = e->last;
		p->block_len = block.len;
		p->block = keep(k, buf_bytes(&block));
		if (e->masked)
			p->reasons = keep(k, bytes_of(e->reasons, e->n));
	}
	buf_fini(&block);
	return err;
}

static int
take_old(struct packer *k, struct history_pack *old, int64_t least)
{
	int err = 0;

	for (size_t i = 0; i < old->day_n; i++) {
		const struct pack_day *from = &old->days[i];
		struct pack_day *to;

		if (from->day < least)
			continue;
		to = add_day(k, from->day);
		to->ident = from->ident;
		to->changed = from->changed;
		for (uint32_t s = 0; s < k->shards && s < old->shards; s++)
			to->cursors[s] = from->cursors[s];
	}
	for (size_t i = 0; i < old->series_n && err == 0; i++)
		err = take_old_series(k, old, &old->series[i], least);
	return err;
}

/* --- what a day file has --- */

/* Makes blocks of the points gathered; reasons are given if they are masked, and then order is kept. */
static void
put_points(struct packer *k, struct bytes device, struct bytes metric, int64_t day, bool masked)
{
	size_t n;

	if (!masked)
		history_points_sort(&k->points);
	for (size_t from = 0; from < k->points.n; from += n) {
		struct piece *p = add_piece(k, device, metric, day);
		size_t at;

		n = k->points.n - from < HISTORY_BLOCK_POINTS_MAX ? k->points.n - from
								  : HISTORY_BLOCK_POINTS_MAX;
		while (n > 1 && history_points_bytes(&k->points, from, n) > HISTORY_BLOCK_BODY_MAX)
			n /= 2;
		p->n = (uint32_t)n;
		p->masked = masked;
		p->last = k->points.at[from].time;
		for (size_t i = from; i < from + n; i++)
			if (k->points.at[i].time > p->last)
				p->last = k->points.at[i].time;
		at = k->bytes.len;
		history_block_encode(k->codec, &k->points, from, n, &k->bytes);
		p->block = at;
		p->block_len = k->bytes.len - at;
		if (masked)
			p->reasons = keep(k, bytes_of(k->reasons.data + from, n));
	}
}

static int
gather_blocks(struct packer *k, sqlite3 *db, const char *path, sqlite3_stmt *stmt, int64_t series)
{
	int code;

	history_points_clear(&k->points);
	sqlite3_bind_int64(stmt, 1, series);
	while ((code = sqlite3_step(stmt)) == SQLITE_ROW) {
		int err = history_block_decode(k->codec, sql_bytes(stmt, 0), &k->points);

		if (err != 0) { /* a file with damage stays as it is, to be looked at */
			log_error("history.block", LS("file", path), LS("fault", err_name(err)));
			sqlite3_reset(stmt);
			return ERR_REFUSED;
		}
	}
	sqlite3_reset(stmt);
	return code == SQLITE_DONE ? 0 : sql_fail(db, path, "reading blocks");
}

static void
add_masked(struct packer *k, sqlite3_stmt *stmt)
{
	struct value v = { .kind = VALUE_STRING };

	switch (sqlite3_column_type(stmt, 2)) {
	case SQLITE_FLOAT:
		v.kind = VALUE_DOUBLE;
		v.v.f = sqlite3_column_double(stmt, 2);
		break;
	case SQLITE_INTEGER:
		v.kind = VALUE_INT;
		v.v.i = sqlite3_column_int64(stmt, 2);
		break;
	default:
		v.v.s = sql_bytes(stmt, 2);
		break;
	}
	history_points_add(&k->points, sqlite3_column_int64(stmt, 0), &v, false);
	buf_add_u8(&k->reasons, (uint8_t)sqlite3_column_int(stmt, 1));
}

static int
gather_masked(struct packer *k, sqlite3 *db, const char *path, sqlite3_stmt *stmt, int64_t series)
{
	int code;

	history_points_clear(&k->points);
	buf_clear(&k->reasons);
	sqlite3_bind_int64(stmt, 1, series);
	while ((code = sqlite3_step(stmt)) == SQLITE_ROW)
		add_masked(k, stmt);
	sqlite3_reset(stmt);
	return code == SQLITE_DONE ? 0 : sql_fail(db, path, "reading masked points");
}

static int
take_series(struct packer *k, sqlite3 *db, const char *path, int64_t day)
{
	sqlite3_stmt *all = NULL, *blocks = NULL, *masked = NULL;
	int err, code = SQLITE_DONE;

	if ((err = sql_prepare(db, path, "SELECT id, device, metric FROM series", &all)) != 0 ||
	    (err = sql_prepare(
		 db, path, "SELECT data FROM block WHERE series=?1 ORDER BY id", &blocks)) != 0 ||
	    (err = sql_prepare(db, path,
		 "SELECT time, reason, value FROM masked WHERE series=?1 ORDER BY rowid",
		 &masked)) != 0)
		goto out;
	while (err == 0 && (code = sqlite3_step(all)) == SQLITE_ROW) {
		int64_t id = sqlite3_column_int64(all, 0);
		struct bytes device = sql_bytes(all, 1), metric = sql_bytes(all, 2);

		if ((err = gather_blocks(k, db, path, blocks, id)) != 0)
			break;
		put_points(k, device, metric, day, false);
		if ((err = gather_masked(k, db, path, masked, id)) == 0)
			put_points(k, device, metric, day, true);
	}
	if (err == 0 && code != SQLITE_DONE)
		err = sql_fail(db, path, "reading series");
out:
	sqlite3_finalize(all);
	sqlite3_finalize(blocks);
	sqlite3_finalize(masked);
	return err;
}

static int
take_cursors(struct packer *k, sqlite3 *db, const char *path, struct pack_day *to)
{
	sqlite3_stmt *stmt;
	int err = sql_prepare(db, path, "SELECT shard, upto FROM cursor", &stmt), code;

	if (err != 0)
		return err;
	while ((code = sqlite3_step(stmt)) == SQLITE_ROW) {
		int64_t shard = sqlite3_column_int64(stmt, 0);
		uint64_t upto = (uint64_t)sqlite3_column_int64(stmt, 1);

		if (shard >= 0 && shard < k->shards && upto > to->cursors[shard])
			to->cursors[shard] = upto;
	}
	if (code != SQLITE_DONE)
		err = sql_fail(db, path, "reading cursors");
	sqlite3_finalize(stmt);
	return err;
}

/* Opened for writing and closed, so that nothing of it is left in a -wal; then nobody changes it: its writer is this process. */
static int
settle_file(const char *path)
{
	char wal[PATH_LEN + 8];
	sqlite3 *db;
	int err = sql_open(path, "", &db);

	if (err != 0)
		return err;
	sqlite3_close(db);
	snprintf(wal, sizeof(wal), "%s-wal", path);
	return access(wal, F_OK) == 0 ? ERR_REFUSED : 0; /* somebody reads it */
}

/* ERR_REFUSED: this file stays as it is. */
static int
take_file(struct packer *k, int64_t day)
{
	char path[PATH_LEN], name[HISTORY_DAY_NAME_MAX];
	size_t pieces = k->piece_n;
	struct pack_day *to = add_day(k, day);
	sqlite3 *db = NULL;
	uint64_t ident;
	int64_t changed;
	int err;

	snprintf(path, sizeof(path), "%s/%s", k->dir, history_day_name(day, name));
	if ((err = settle_file(path)) != 0)
		return err == ERR_DAMAGED ? ERR_REFUSED : err;
	ident = history_pack_ident(path, &changed);
	if (ident == 0 || ident == to->ident)
		return ident == 0 ? ERR_REFUSED : 0; /* it is in the old pack: only to be removed */
	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) !=
	    SQLITE_OK)
		err = sql_fail(db, path, "opening");
	if (err == 0 && (err = take_series(k, db, path, day)) == 0)
		err = take_cursors(k, db, path, to);
	sqlite3_close(db);
	if (err == 0) {
		to->ident = ident;
		to->changed = changed;
		return 0;
	}
	k->piece_n = pieces;
	return err == ERR_DAMAGED ? ERR_REFUSED : err;
}

/* --- writing --- */

static int
compare(const uint8_t *bytes, size_t a, size_t a_len, size_t b, size_t b_len)
{
	size_t n = a_len < b_len ? a_len : b_len;
	int c = n == 0 ? 0 : memcmp(bytes + a, bytes + b, n);

	return c != 0 ? c : (a_len > b_len) - (a_len < b_len);
}

static bool
same_series(const struct packer *k, const struct piece *a, const struct piece *b)
{
	return compare(k->bytes.data, a->device, a->device_len, b->device, b->device_len) == 0 &&
	       compare(k->bytes.data, a->metric, a->metric_len, b->metric, b->metric_len) == 0;
}

static int
compare_pieces(const void *a, const void *b, void *arg)
{
	const struct piece *x = a, *y = b;
	const uint8_t *bytes = ((const struct packer *)arg)->bytes.data;
	int c = compare(bytes, x->device, x->device_len, y->device, y->device_len);

	if (c == 0)
		c = compare(bytes, x->metric, x->metric_len, y->metric, y->metric_len);
	if (c == 0)
		c = (x->day > y->day) - (x->day < y->day);
	return c != 0 ? c : (x->block > y->block) - (x->block < y->block);
}

static uint64_t
day_index(const struct packer *k, int64_t day)
{
	size_t i = 0;

	while (k->days[i].day != day)
		i++;
	return i;
}

static void
put_string(struct packer *k, size_t at, size_t len, struct buf *out)
{
	put_varint(out, len);
	buf_add(out, k->bytes.data + at, len);
}

static void
put_entry(struct packer *k, const struct piece *p, struct buf *out)
{
	put_varint(out, day_index(k, p->day) << 1 | p->masked);
	put_varint(out, p->n);
	put_varint(out, p->block_len);
	put_varint(out, (uint64_t)(p->last - p->day * HISTORY_DAY_US));
	if (p->masked)
		buf_add(out, k->bytes.data + p->reasons, p->n);
}

static void
put_index(struct packer *k, int64_t month, struct buf *out)
{
	size_t series = 0, to;

	put_varint(out, k->shards);
	put_varint(out, k->day_n);
	for (size_t i = 0; i < k->day_n; i++) {
		put_varint(out, (uint64_t)(k->days[i].day - history_pack_first_day(month)));
		put_u64(out, k->days[i].ident);
		put_varint(out, (uint64_t)k->days[i].changed);
		for (uint32_t s = 0; s < k->shards; s++)
			put_varint(out, k->days[i].cursors[s]);
	}
	for (size_t i = 0; i < k->piece_n; i++)
		series += i == 0 || !same_series(k, &k->pieces[i - 1], &k->pieces[i]);
	put_varint(out, series);
	for (size_t from = 0; from < k->piece_n; from = to) {
		for (to = from + 1;
		     to < k->piece_n && same_series(k, &k->pieces[from], &k->pieces[to]); to++)
			;
		put_string(k, k->pieces[from].device, k->pieces[from].device_len, out);
		put_string(k, k->pieces[from].metric, k->pieces[from].metric_len, out);
		put_varint(out, to - from);
		for (size_t i = from; i < to; i++)
			put_entry(k, &k->pieces[i], out);
	}
}

static void
build(struct packer *k, int64_t month, struct buf *out)
{
	uint64_t check;
	size_t begin;

	if (k->piece_n > 1)
		qsort_r(k->pieces, k->piece_n, sizeof(k->pieces[0]), compare_pieces, k);
	buf_add_str(out, HISTORY_PACK_MAGIC);
	for (size_t i = 0; i < k->piece_n; i++)
		buf_add(out, k->bytes.data + k->pieces[i].block, k->pieces[i].block_len);
	begin = out->len;
	put_index(k, month, out);
	check = XXH3_64bits(out->data + begin, out->len - begin);
	put_u64(out, begin);
	put_u64(out, check);
	buf_add_str(out, HISTORY_PACK_MAGIC);
}

static int
write_all(int fd, struct bytes b)
{
	while (b.len > 0) {
		ssize_t n = write(fd, b.data, b.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		b = bytes_of(b.data + n, b.len - (size_t)n);
	}
	return 0;
}

/* Whole or not at all: synced under another name, renamed, and the directory synced before a day file goes. */
static int
write_file(const char *dir, int64_t month, struct bytes content)
{
	char name[HISTORY_PACK_NAME_MAX], path[PATH_LEN], new_path[PATH_LEN + 8];
	int fd, folder = -1, err = 0;

	snprintf(path, sizeof(path), "%s/%s", dir, history_pack_name(month, name));
	snprintf(new_path, sizeof(new_path), "%s.new", path);
	fd = open(new_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write_all(fd, content) != 0 || fsync(fd) != 0 ||
	    rename(new_path, path) != 0 ||
	    (folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0 || fsync(folder) != 0) {
		log_error("history.pack", LS("file", path), LS("fault", strerror(errno)));
		err = ERR_IO;
	}
	if (fd >= 0)
		close(fd);
	if (folder >= 0)
		close(folder);
	return err;
}

static void
remove_file(const char *dir, int64_t day)
{
	static const char *const suffixes[] = { "", "-wal", "-shm" };
	char path[PATH_LEN], name[HISTORY_DAY_NAME_MAX];

	for (size_t i = 0; i < COUNT_OF(suffixes); i++) {
		snprintf(
		    path, sizeof(path), "%s/%s%s", dir, history_day_name(day, name), suffixes[i]);
		if (unlink(path) != 0 && errno != ENOENT)
			log_warn("history.remove", LS("file", path), LS("fault", strerror(errno)));
	}
}

static void
packer_fini(struct packer *k)
{
	for (size_t i = 0; i < k->day_n; i++)
		free(k->days[i].cursors);
	free(k->days);
	free(k->pieces);
	buf_fini(&k->bytes);
	buf_fini(&k->reasons);
	history_points_fini(&k->points);
}

/* The old pack; one that is damaged is set aside, so that nothing is built upon it. */
static int
take_pack(struct packer *k, int64_t month, int64_t least)
{
	char name[HISTORY_PACK_NAME_MAX], path[PATH_LEN];
	struct history_pack *old = NULL;
	int err = history_pack_open(k->dir, month, &old);

	if (err == ERR_NOT_FOUND)
		return 0;
	if (err == ERR_DAMAGED) {
		snprintf(path, sizeof(path), "%s/%s", k->dir, history_pack_name(month, name));
		sql_set_aside(path);
		return 0;
	}
	if (err == 0)
		err = take_old(k, old, least);
	history_pack_close(&old);
	return err;
}

int
history_pack_write(const char *dir, int64_t month, const int64_t *days, size_t n, int64_t least,
    uint32_t shards, struct history_codec *codec)
{
	struct packer k = { .dir = dir, .shards = shards, .codec = codec };
	int64_t *taken = xcalloc(n + 1, sizeof(taken[0]));
	struct buf out = { 0 };
	size_t taken_n = 0;
	int err = take_pack(&k, month, least);

	for (size_t i = 0; i < n && err == 0; i++) {
		err = take_file(&k, days[i]);
		if (err == 0)
			taken[taken_n++] = days[i];
		else if (err == ERR_REFUSED)
			err = 0;
	}
	if (err == 0 && k.bytes.len > HISTORY_PACK_MAX / 2)
		err = ERR_FULL;
	if (err == 0) {
		build(&k, month, &out);
		err = write_file(dir, month, buf_bytes(&out));
	}
	for (size_t i = 0; i < taken_n && err == 0; i++)
		remove_file(dir, taken[i]);
	if (err == 0)
		log_info("history.packed", LI("month", (1970 + month / 12) * 100 + month % 12 + 1),
		    LU("files", taken_n), LU("days", k.day_n), LU("bytes", out.len));
	buf_fini(&out);
	packer_fini(&k);
	free(taken);
	return err;
}

static bool
has_erased(const struct history_pack *p, const struct history_erasure *erasure)
{
	for (size_t i = 0; i < p->series_n; i++) {
		const struct pack_series *s = &p->series[i];

		for (size_t k = 0; k < s->count; k++) {
			if (is_erased(p, s, &p->entries[s->first + k], erasure))
				return true;
		}
	}
	return false;
}

int
history_pack_erase(const char *dir, int64_t month, uint32_t shards, struct history_codec *codec,
    const struct history_erasure *erasure)
{
	struct packer k = { .dir = dir, .shards = shards, .codec = codec, .erasure = erasure };
	struct history_pack *old = NULL;
	struct buf out = { 0 };
	int err = history_pack_open(dir, month, &old);

	if (err != 0) /* a damaged one is said, and set aside when it is next built upon */
		return err == ERR_NOT_FOUND || err == ERR_DAMAGED ? 0 : err;
	if (has_erased(old, erasure)) {
		if ((err = take_old(&k, old, INT64_MIN)) == 0) {
			build(&k, month, &out);
			err = write_file(dir, month, buf_bytes(&out));
		}
	}
	history_pack_close(&old);
	buf_fini(&out);
	packer_fini(&k);
	return err;
}
