/* history_day.c - one day of history: a SQLite file, the blocks in it, and the points that are not in blocks yet */
#include "history_day.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#include "err.h"
#include "history_pack.h"
#include "history_sql.h"
#include "log.h"
#include "mem.h"

#define PATH_MAX_LEN 512
#define TAIL_MAX 16 /* small blocks of one series: each less than half as large as the one before */
#define SERIES_MIN 16 /* least size of the table; a power of two */

static const char schema[] =
    "CREATE TABLE series(id INTEGER PRIMARY KEY, device TEXT NOT NULL, metric TEXT NOT NULL);"
    "CREATE UNIQUE INDEX series_name ON series(device, metric);"
    "CREATE TABLE block(id INTEGER PRIMARY KEY, series INTEGER NOT NULL, t_first INTEGER NOT NULL,"
    " t_last INTEGER NOT NULL, n INTEGER NOT NULL, data BLOB NOT NULL);"
    "CREATE INDEX block_series ON block(series, t_first);"
    "CREATE TABLE masked(series INTEGER NOT NULL, time INTEGER NOT NULL, reason INTEGER NOT NULL, "
    "value);"
    "CREATE TABLE cursor(shard INTEGER PRIMARY KEY, upto INTEGER NOT NULL)";

enum statement {
	FIND_SERIES,
	ADD_SERIES,
	LAST_TIME,
	TAIL_BLOCKS,
	GET_BLOCK,
	OVERLAPPING,
	ADD_BLOCK,
	DROP_BLOCK,
	ADD_MASKED,
	SET_CURSOR,
	STATEMENT_COUNT
};

static const char *const sqls[STATEMENT_COUNT] = {
	[FIND_SERIES] = "SELECT id FROM series WHERE device=?1 AND metric=?2",
	[ADD_SERIES] = "INSERT INTO series(device, metric) VALUES(?1, ?2)",
	[LAST_TIME] = "SELECT max(t_last) FROM block WHERE series=?1",
	[TAIL_BLOCKS] = "SELECT id, n FROM block WHERE series=?1 ORDER BY id DESC LIMIT 16",
	[GET_BLOCK] = "SELECT data FROM block WHERE id=?1",
	[OVERLAPPING] = "SELECT data FROM block WHERE series=?1 AND t_first<=?3 AND t_last>=?2",
	[ADD_BLOCK] =
	    "INSERT INTO block(series, t_first, t_last, n, data) VALUES(?1, ?2, ?3, ?4, ?5)",
	[DROP_BLOCK] = "DELETE FROM block WHERE id=?1",
	[ADD_MASKED] = "INSERT INTO masked(series, time, reason, value) VALUES(?1, ?2, ?3, ?4)",
	[SET_CURSOR] = "REPLACE INTO cursor(shard, upto) VALUES(?1, ?2)",
};

struct tail_block {
	int64_t id;
	size_t n;
};

struct series {
	struct series *next_dirty;
	int64_t id;	/* 0: not in the file yet */
	int64_t t_last; /* of its blocks */
	bool has_blocks;
	bool dirty;
	bool loaded; /* what the file has of it is known */
	uint8_t tail_n;
	struct tail_block tail[TAIL_MAX]; /* oldest first */
	struct history_points head;
	uint64_t hash;
	uint32_t device_len;
	uint32_t metric_len;
	char name[]; /* device, then metric */
};

struct masked {
	struct series *series;
	unsigned reason;
};

struct history_day {
	int64_t number;
	char path[PATH_MAX_LEN];
	sqlite3 *db;
	sqlite3_stmt *stmts[STATEMENT_COUNT];
	struct history_codec *codec;
	struct history_pack *pack; /* has points of this day; mostly NULL */
	uint32_t shards;
	uint64_t *cursors;
	struct series **table;
	size_t table_size;
	size_t series_n;
	struct series *dirty;
	size_t waiting;
	struct masked *masked; /* parallel to masked_points */
	struct history_points masked_points;
	struct history_points work;
	struct buf block;
};

/* --- names --- */

bool
history_day_of(int64_t time, int64_t *ret_day)
{
	if (time < 0 || time / HISTORY_DAY_US > HISTORY_DAY_MAX)
		return false;
	*ret_day = time / HISTORY_DAY_US;
	return true;
}

const char *
history_day_name(int64_t day, char out[HISTORY_DAY_NAME_MAX])
{
	time_t t = (time_t)(day * 86400);
	struct tm tm;

	ASSERT(day >= 0 && day <= HISTORY_DAY_MAX);
	gmtime_r(&t, &tm);
	strftime(out, HISTORY_DAY_NAME_MAX, "%Y-%m-%d.db", &tm);
	return out;
}

bool
history_day_parse(const char *name, int64_t *ret_day)
{
	struct tm tm = { 0 };
	char again[HISTORY_DAY_NAME_MAX];
	const char *end = strptime(name, "%Y-%m-%d.db", &tm);
	int64_t day;

	if (end == NULL || *end != '\0' || tm.tm_year < 70)
		return false;
	day = (int64_t)timegm(&tm) / 86400;
	if (day > HISTORY_DAY_MAX || strcmp(history_day_name(day, again), name) != 0)
		return false;
	*ret_day = day;
	return true;
}

/* --- opening --- */

static int
load_cursors(struct history_day *d)
{
	sqlite3_stmt *stmt;
	int err = sql_prepare(d->db, d->path, "SELECT shard, upto FROM cursor", &stmt), code;

	if (err != 0)
		return err;
	while ((code = sqlite3_step(stmt)) == SQLITE_ROW) {
		int64_t shard = sqlite3_column_int64(stmt, 0);

		if (shard >= 0 && shard < d->shards)
			d->cursors[shard] = (uint64_t)sqlite3_column_int64(stmt, 1);
	}
	if (code != SQLITE_DONE)
		err = sql_fail(d->db, d->path, "reading cursors");
	sqlite3_finalize(stmt);
	return err;
}

static int
open_file(struct history_day *d)
{
	int err = d->db != NULL ? 0 : sql_open(d->path, schema, &d->db);

	for (size_t i = 0; err == 0 && i < STATEMENT_COUNT; i++)
		if (d->stmts[i] == NULL)
			err = sql_prepare(d->db, d->path, sqls[i], &d->stmts[i]);
	return err;
}

void
history_day_rest(struct history_day *d)
{
	for (size_t i = 0; i < STATEMENT_COUNT; i++)
		sqlite3_finalize(d->stmts[i]);
	memset(d->stmts, 0, sizeof(d->stmts));
	sqlite3_close(d->db);
	d->db = NULL;
}

void
history_day_quiet(struct history_day *d)
{
	if (d->db)
		(void)sqlite3_db_release_memory(d->db);
	history_points_fini(&d->work);
	buf_fini(&d->block);
}

int
history_day_open(const char *dir, int64_t day, uint32_t shards, struct history_codec *codec,
    struct history_day **ret_day)
{
	struct history_day *d = xcalloc(1, sizeof(*d));
	char name[HISTORY_DAY_NAME_MAX];
	int err;

	snprintf(d->path, sizeof(d->path), "%s/%s", dir, history_day_name(day, name));
	d->number = day;
	d->codec = codec;
	d->shards = shards;
	d->cursors = xcalloc(shards, sizeof(d->cursors[0]));
	d->table_size = SERIES_MIN;
	d->table = xcalloc(d->table_size, sizeof(struct series *));
	if ((err = open_file(d)) == 0)
		err = load_cursors(d);
	if (err == ERR_DAMAGED) {
		history_day_rest(d);
		sql_set_aside(d->path);
		memset(d->cursors, 0, shards * sizeof(d->cursors[0]));
		err = open_file(d);
	}
	if (err != 0) {
		history_day_close(&d);
		return err;
	}
	*ret_day = d;
	return 0;
}

void
history_day_close(struct history_day **p_d)
{
	struct history_day *d = *p_d;

	if (d == NULL)
		return;
	*p_d = NULL;
	history_day_rest(d);
	history_pack_close(&d->pack);
	for (size_t i = 0; i < d->table_size; i++) {
		if (d->table[i] == NULL)
			continue;
		history_points_fini(&d->table[i]->head);
		free(d->table[i]);
	}
	free(d->table);
	free(d->cursors);
	free(d->masked);
	history_points_fini(&d->masked_points);
	history_points_fini(&d->work);
	buf_fini(&d->block);
	free(d);
}

int64_t
history_day_number(const struct history_day *d)
{
	return d->number;
}

uint64_t
history_day_cursor(const struct history_day *d, uint32_t shard)
{
	return shard < d->shards ? d->cursors[shard] : 0;
}

void
history_day_packed(struct history_day *d, struct history_pack **pack)
{
	const struct pack_day *packed = history_pack_day(*pack, d->number);

	for (uint32_t i = 0; packed != NULL && i < (*pack)->shards && i < d->shards; i++)
		if (packed->cursors[i] > d->cursors[i])
			d->cursors[i] = packed->cursors[i];
	history_pack_close(&d->pack);
	if (packed != NULL) {
		d->pack = *pack;
		*pack = NULL;
	}
	history_pack_close(pack);
}

size_t
history_day_waiting(const struct history_day *d)
{
	return d->waiting;
}

size_t
history_day_series(const struct history_day *d)
{
	return d->series_n;
}

/* --- series --- */

static int
load_series(struct history_day *d, struct series *s)
{
	sqlite3_stmt *find = d->stmts[FIND_SERIES], *last = d->stmts[LAST_TIME],
		     *tail = d->stmts[TAIL_BLOCKS];
	struct tail_block newest_first[TAIL_MAX];
	size_t n = 0;
	int code;

	sql_bind_bytes(find, 1, bytes_of(s->name, s->device_len));
	sql_bind_bytes(find, 2, bytes_of(s->name + s->device_len, s->metric_len));
	code = sqlite3_step(find);
	if (code == SQLITE_ROW)
		s->id = sqlite3_column_int64(find, 0);
	sqlite3_reset(find);
	if (code != SQLITE_ROW && code != SQLITE_DONE)
		return sql_fail(d->db, d->path, "looking for a series");
	if (s->id == 0)
		return 0;
	sqlite3_bind_int64(last, 1, s->id);
	code = sqlite3_step(last);
	if (code == SQLITE_ROW && sqlite3_column_type(last, 0) == SQLITE_INTEGER) {
		s->has_blocks = true;
		s->t_last = sqlite3_column_int64(last, 0);
	}
	sqlite3_reset(last);
	if (code != SQLITE_ROW)
		return sql_fail(d->db, d->path, "looking for a series' end");
	sqlite3_bind_int64(tail, 1, s->id);
	while ((code = sqlite3_step(tail)) == SQLITE_ROW && n < TAIL_MAX) {
		newest_first[n].id = sqlite3_column_int64(tail, 0);
		newest_first[n].n = (size_t)sqlite3_column_int64(tail, 1);
		if (newest_first[n].n > HISTORY_BLOCK_POINTS_MAX / 2 ||
		    (n > 0 && newest_first[n].n < 2 * newest_first[n - 1].n))
			break;
		n++;
	}
	sqlite3_reset(tail);
	if (code != SQLITE_ROW && code != SQLITE_DONE)
		return sql_fail(d->db, d->path, "looking for small blocks");
	for (size_t i = 0; i < n; i++)
		s->tail[i] = newest_first[n - 1 - i];
	s->tail_n = (uint8_t)n;
	return 0;
}

static void
grow_table(struct history_day *d)
{
	size_t size = d->table_size * 2;
	struct series **table = xcalloc(size, sizeof(struct series *));

	for (size_t i = 0; i < d->table_size; i++) {
		size_t at;

		if (d->table[i] == NULL)
			continue;
		at = d->table[i]->hash & (size - 1);
		while (table[at] != NULL)
			at = (at + 1) & (size - 1);
		table[at] = d->table[i];
	}
	free(d->table);
	d->table = table;
	d->table_size = size;
}

static struct series *
find_series(struct history_day *d, struct bytes device, struct bytes metric)
{
	uint64_t hash =
	    XXH3_64bits_withSeed(metric.data, metric.len, XXH3_64bits(device.data, device.len));
	size_t at = hash & (d->table_size - 1);
	struct series *s;

	for (; (s = d->table[at]) != NULL; at = (at + 1) & (d->table_size - 1))
		if (s->hash == hash && bytes_equal(device, bytes_of(s->name, s->device_len)) &&
		    bytes_equal(metric, bytes_of(s->name + s->device_len, s->metric_len)))
			return s;
	s = xcalloc(1, sizeof(*s) + device.len + metric.len + 1);
	s->hash = hash;
	s->device_len = (uint32_t)device.len;
	s->metric_len = (uint32_t)metric.len;
	memcpy(s->name, device.data, device.len);
	memcpy(s->name + device.len, metric.data, metric.len);
	d->table[at] = s;
	if (++d->series_n > d->table_size / 2)
		grow_table(d);
	return s;
}

void
history_day_add(struct history_day *d, struct bytes device, struct bytes metric, int64_t time,
    const struct value *v, bool device_time)
{
	struct series *s = find_series(d, device, metric);

	history_points_add(&s->head, time, v, device_time);
	d->waiting++;
	if (!s->dirty) {
		s->dirty = true;
		s->next_dirty = d->dirty;
		d->dirty = s;
	}
}

void
history_day_mask(struct history_day *d, struct bytes device, struct bytes metric, int64_t time,
    const struct value *v, unsigned reason)
{
	struct series *s = find_series(d, device, metric);

	history_points_add(&d->masked_points, time, v, false);
	d->masked = xrealloc(d->masked, d->masked_points.cap * sizeof(d->masked[0]));
	d->masked[d->masked_points.n - 1] = (struct masked){ s, reason };
	d->waiting++;
}

/* --- flush --- */

/* Sees to it that the series is in the file, and what of it is there is known. */
static int
name_series(struct history_day *d, struct series *s)
{
	sqlite3_stmt *add = d->stmts[ADD_SERIES];
	int err;

	if (!s->loaded && (err = load_series(d, s)) != 0)
		return err;
	s->loaded = true;
	if (s->id != 0)
		return 0;
	sql_bind_bytes(add, 1, bytes_of(s->name, s->device_len));
	sql_bind_bytes(add, 2, bytes_of(s->name + s->device_len, s->metric_len));
	if ((err = sql_run(d->db, d->path, add)) == 0)
		s->id = sqlite3_last_insert_rowid(d->db);
	return err;
}

static int
compare_times(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

/* Drops points with a device's time that the file, or a pack, already has; s->head is sorted. */
static int
drop_known(struct history_day *d, struct series *s, uint64_t *copies)
{
	sqlite3_stmt *stmt = d->stmts[OVERLAPPING];
	int64_t *known = NULL;
	uint64_t masked = 0;
	size_t kept = 0;
	int code, err;

	history_points_clear(&d->work);
	sqlite3_bind_int64(stmt, 1, s->id);
	sqlite3_bind_int64(stmt, 2, s->head.at[0].time);
	sqlite3_bind_int64(stmt, 3, s->head.at[s->head.n - 1].time);
	while ((code = sqlite3_step(stmt)) == SQLITE_ROW) {
		if ((err = history_block_decode(d->codec, sql_bytes(stmt, 0), &d->work)) != 0)
			log_error("history.block", LS("file", d->path), LS("fault", err_name(err)));
	}
	sqlite3_reset(stmt);
	if (code != SQLITE_DONE)
		return sql_fail(d->db, d->path, "looking for copies");
	if (d->pack != NULL &&
	    (err = history_pack_points(d->pack, d->codec, d->number,
		 bytes_of(s->name, s->device_len), bytes_of(s->name + s->device_len, s->metric_len),
		 s->head.at[0].time, s->head.at[s->head.n - 1].time, &d->work, &masked)) != 0)
		return err;
	if (d->work.n == 0)
		return 0;
	known = xmalloc(d->work.n * sizeof(known[0]));
	for (size_t i = 0; i < d->work.n; i++)
		known[i] = d->work.at[i].time;
	qsort(known, d->work.n, sizeof(known[0]), compare_times);
	for (size_t i = 0; i < s->head.n; i++) {
		struct history_point *p = &s->head.at[i];

		if (p->device_time &&
		    bsearch(&p->time, known, d->work.n, sizeof(known[0]), compare_times) != NULL)
			(*copies)++;
		else
			s->head.at[kept++] = *p;
	}
	s->head.n = kept;
	free(known);
	return 0;
}

static int
write_block(struct history_day *d, struct series *s, const struct history_points *p, size_t from,
    size_t n, int64_t *ret_id)
{
	sqlite3_stmt *add = d->stmts[ADD_BLOCK];
	int err;

	buf_clear(&d->block);
	history_block_encode(d->codec, p, from, n, &d->block);
	sqlite3_bind_int64(add, 1, s->id);
	sqlite3_bind_int64(add, 2, p->at[from].time);
	sqlite3_bind_int64(add, 3, p->at[from + n - 1].time);
	sqlite3_bind_int64(add, 4, (int64_t)n);
	sqlite3_bind_blob(add, 5, d->block.data, (int)d->block.len, SQLITE_STATIC);
	if ((err = sql_run(d->db, d->path, add)) != 0)
		return err;
	if (!s->has_blocks || p->at[from + n - 1].time > s->t_last)
		s->t_last = p->at[from + n - 1].time;
	s->has_blocks = true;
	*ret_id = sqlite3_last_insert_rowid(d->db);
	return 0;
}

/* Moves the points of the series' last small block into work, if they fit; ERR_FULL if they do not. */
static int
take_tail(struct history_day *d, struct series *s)
{
	sqlite3_stmt *get = d->stmts[GET_BLOCK], *drop = d->stmts[DROP_BLOCK];
	size_t before = d->work.n;
	int code, err = 0;

	sqlite3_bind_int64(get, 1, s->tail[s->tail_n - 1].id);
	code = sqlite3_step(get);
	if (code == SQLITE_ROW)
		err = history_block_decode(d->codec, sql_bytes(get, 0), &d->work);
	sqlite3_reset(get);
	if (code != SQLITE_ROW)
		return sql_fail(d->db, d->path, "reading a small block");
	if (err != 0) {
		log_error("history.block", LS("file", d->path), LS("fault", err_name(err)));
		return ERR_FULL;
	}
	if (d->work.n > HISTORY_BLOCK_POINTS_MAX ||
	    history_points_bytes(&d->work, 0, d->work.n) > HISTORY_BLOCK_BODY_MAX) {
		d->work.n = before;
		return ERR_FULL;
	}
	sqlite3_bind_int64(drop, 1, s->tail[s->tail_n - 1].id);
	if ((err = sql_run(d->db, d->path, drop)) == 0)
		s->tail_n--;
	return err;
}

/* The newest points of a series, fewer than a full block: merged with small blocks before them. */
static int
write_tail(struct history_day *d, struct series *s, size_t from)
{
	struct tail_block last;
	int err;

	history_points_clear(&d->work);
	history_points_append(&d->work, &s->head, from, s->head.n - from);
	while (s->tail_n > 0 && s->tail[s->tail_n - 1].n < 2 * d->work.n) {
		err = take_tail(d, s);
		if (err == ERR_FULL) {
			s->tail_n = 0; /* these stay as they are */
			break;
		}
		if (err != 0)
			return err;
	}
	history_points_sort(&d->work);
	last.n = d->work.n;
	if ((err = write_block(d, s, &d->work, 0, d->work.n, &last.id)) != 0)
		return err;
	if (last.n > HISTORY_BLOCK_POINTS_MAX / 2 || s->tail_n == TAIL_MAX)
		s->tail_n = 0;
	else
		s->tail[s->tail_n++] = last;
	return 0;
}

/* How many of the head's points from here on make one block. */
static size_t
block_points(const struct history_points *p, size_t from)
{
	size_t n = p->n - from < HISTORY_BLOCK_POINTS_MAX ? p->n - from : HISTORY_BLOCK_POINTS_MAX;

	while (n > 1 && history_points_bytes(p, from, n) > HISTORY_BLOCK_BODY_MAX)
		n /= 2;
	return n;
}

static int
flush_series(struct history_day *d, struct series *s, struct history_counts *counts)
{
	size_t n, all = s->head.n;
	int64_t id;
	int err;

	history_points_sort(&s->head);
	counts->copies += history_points_drop_copies(&s->head);
	if ((err = name_series(d, s)) != 0)
		return err;
	if (((s->has_blocks && s->head.at[0].time <= s->t_last) || d->pack != NULL) &&
	    (err = drop_known(d, s, &counts->copies)) != 0)
		return err;
	for (size_t from = 0; from < s->head.n; from += n) {
		n = block_points(&s->head, from);
		if (from + n == s->head.n && n <= HISTORY_BLOCK_POINTS_MAX / 2)
			err = write_tail(d, s, from);
		else
			err = write_block(d, s, &s->head, from, n, &id);
		if (err != 0)
			return err;
	}
	counts->points += s->head.n;
	history_points_fini(&s->head);
	d->waiting -= all;
	return 0;
}

static int
flush_masked(struct history_day *d, struct history_counts *counts)
{
	sqlite3_stmt *add = d->stmts[ADD_MASKED];
	int err;

	for (size_t i = 0; i < d->masked_points.n; i++) {
		struct value v = history_points_value(&d->masked_points, i);

		if ((err = name_series(d, d->masked[i].series)) != 0)
			return err;
		sqlite3_bind_int64(add, 1, d->masked[i].series->id);
		sqlite3_bind_int64(add, 2, d->masked_points.at[i].time);
		sqlite3_bind_int64(add, 3, (int64_t)d->masked[i].reason);
		switch (v.kind) {
		case VALUE_DOUBLE:
			sqlite3_bind_double(add, 4, v.v.f);
			break;
		case VALUE_INT:
			sqlite3_bind_int64(add, 4, v.v.i);
			break;
		case VALUE_BOOL:
			sqlite3_bind_int64(add, 4, v.v.b);
			break;
		case VALUE_STRING:
			sqlite3_bind_blob(add, 4, v.v.s.data, (int)v.v.s.len, SQLITE_STATIC);
			break;
		}
		if ((err = sql_run(d->db, d->path, add)) != 0)
			return err;
	}
	counts->masked += d->masked_points.n;
	d->waiting -= d->masked_points.n;
	history_points_clear(&d->masked_points);
	return 0;
}

int
history_day_flush(struct history_day *d, const uint64_t *upto, struct history_counts *counts)
{
	sqlite3_stmt *set;
	struct series *s;
	int err;

	if (d->waiting == 0)
		return 0;
	if ((err = open_file(d)) != 0 || (err = sql_exec(d->db, d->path, "BEGIN IMMEDIATE")) != 0)
		return err;
	while (err == 0 && (s = d->dirty) != NULL) {
		if ((err = flush_series(d, s, counts)) != 0)
			break;
		d->dirty = s->next_dirty;
		s->dirty = false;
	}
	if (err == 0)
		err = flush_masked(d, counts);
	set = d->stmts[SET_CURSOR];
	for (uint32_t shard = 0; err == 0 && shard < d->shards; shard++) {
		sqlite3_bind_int64(set, 1, shard);
		sqlite3_bind_int64(set, 2, (int64_t)upto[shard]);
		err = sql_run(d->db, d->path, set);
	}
	if (err == 0)
		err = sql_exec(d->db, d->path, "COMMIT");
	if (err == ERR_DAMAGED)
		sql_set_aside(d->path);
	else if (err == 0)
		memcpy(d->cursors, upto, d->shards * sizeof(upto[0]));
	return err;
}
