/* history_read.c - days as a reader sees them: opened read-only, one snapshot a file, while history goes on writing */
#include "history_read.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "history_day.h"
#include "history_pack.h"
#include "history_sql.h"
#include "history_store.h"
#include "log.h"
#include "mem.h"

#define PATH_LEN 512
#define BUSY_MS 2000

struct history_reader {
	char dir[PATH_LEN - 64];
	struct history_codec *codec;
	struct history_pack *pack; /* of the month asked for last */
};

struct history_file {
	char path[PATH_LEN];
	int64_t day;
	sqlite3 *db;		   /* NULL: no day file */
	struct history_pack *pack; /* NULL: it has nothing of this day; the reader's */
	int pack_err;
	struct history_codec *codec;
};

struct days {
	int64_t *at;
	size_t n;
	size_t cap;
};

static int
compare_days(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

static void
add_day(struct days *d, int64_t day)
{
	if (d->n == d->cap) {
		d->cap = d->cap == 0 ? 64 : 2 * d->cap;
		d->at = xrealloc(d->at, d->cap * sizeof(d->at[0]));
	}
	d->at[d->n++] = day;
}

static void
add_packed_days(struct days *d, const char *dir, int64_t month)
{
	struct history_pack *p;

	if (history_pack_open(dir, month, &p) != 0)
		return; /* logged; it will be said again when a day of it is read */
	for (size_t i = 0; i < p->day_n; i++)
		add_day(d, p->days[i].day);
	history_pack_close(&p);
}

/* Day files first: one that is packed in the meantime is then found twice rather than not at all. */
static int
add_names(struct days *days, const char *dir, bool packs)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int64_t n;

	if (d == NULL)
		return ERR_NOT_FOUND;
	while ((e = readdir(d)) != NULL) {
		if (!packs && history_day_parse(e->d_name, &n))
			add_day(days, n);
		if (packs && history_pack_parse(e->d_name, &n))
			add_packed_days(days, dir, n);
	}
	closedir(d);
	return 0;
}

int
history_read_days(const char *dir, int64_t **ret_days, size_t *ret_n)
{
	struct days d = { 0 };
	size_t kept = 0;

	if (add_names(&d, dir, false) != 0 || add_names(&d, dir, true) != 0) {
		free(d.at);
		return ERR_NOT_FOUND;
	}
	if (d.n > 1)
		qsort(d.at, d.n, sizeof(d.at[0]), compare_days);
	for (size_t i = 0; i < d.n; i++)
		if (kept == 0 || d.at[i] != d.at[kept - 1])
			d.at[kept++] = d.at[i];
	*ret_days = d.at;
	*ret_n = kept;
	return 0;
}

static int
check_version(sqlite3 *db, const char *path)
{
	int version = 0, err = sql_user_version(db, path, &version);

	if (err == 0 && version != HISTORY_SCHEMA) {
		log_error("history.version", LS("file", path), LI("version", version),
		    LS("fault", "written by another release"));
		err = ERR_UNSUPPORTED;
	}
	return err;
}

static int
open_path(const char *path, sqlite3 **ret_db)
{
	sqlite3 *db = NULL;
	int err = 0;

	if (access(path, F_OK) != 0)
		return ERR_NOT_FOUND;
	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) !=
	    SQLITE_OK)
		err = sql_fail(db, path, "opening");
	if (err == 0) {
		sqlite3_busy_timeout(db, BUSY_MS);
		err = sql_exec(db, path, "BEGIN");
		if (err == 0)
			err = check_version(db, path);
	}
	if (err != 0) {
		sqlite3_close(db);
		return err;
	}
	*ret_db = db;
	return 0;
}

static int
read_cursors(sqlite3 *db, const char *path, uint32_t shards, uint64_t *ret_cursors)
{
	sqlite3_stmt *stmt;
	int err = sql_prepare(db, path, "SELECT shard, upto FROM cursor", &stmt), code;

	if (err != 0)
		return err;
	memset(ret_cursors, 0, shards * sizeof(ret_cursors[0]));
	while ((code = sqlite3_step(stmt)) == SQLITE_ROW) {
		int64_t shard = sqlite3_column_int64(stmt, 0);

		if (shard >= 0 && shard < shards)
			ret_cursors[shard] = (uint64_t)sqlite3_column_int64(stmt, 1);
	}
	if (code != SQLITE_DONE)
		err = sql_fail(db, path, "reading cursors");
	sqlite3_finalize(stmt);
	return err;
}

int
history_read_meta(const char *dir, uint32_t shards, uint64_t *ret_cursors)
{
	char path[PATH_LEN];
	sqlite3 *db;
	int err;

	snprintf(path, sizeof(path), "%s/" HISTORY_META, dir);
	err = open_path(path, &db);
	if (err == ERR_NOT_FOUND) {
		memset(ret_cursors, 0, shards * sizeof(ret_cursors[0]));
		return 0;
	}
	if (err != 0)
		return err;
	err = read_cursors(db, path, shards, ret_cursors);
	sqlite3_close(db);
	return err;
}

struct history_reader *
history_reader_new(const char *dir)
{
	struct history_reader *r = xcalloc(1, sizeof(*r));

	snprintf(r->dir, sizeof(r->dir), "%s", dir);
	r->codec = history_codec_new();
	return r;
}

void
history_reader_free(struct history_reader **p_r)
{
	if (*p_r == NULL)
		return;
	history_pack_close(&(*p_r)->pack);
	history_codec_free(&(*p_r)->codec);
	free(*p_r);
	*p_r = NULL;
}

/* The pack of this month as it is now; ERR_NOT_FOUND. */
static int
find_pack(struct history_reader *r, int64_t month)
{
	char path[PATH_LEN], name[HISTORY_PACK_NAME_MAX];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", r->dir, history_pack_name(month, name));
	if (r->pack != NULL && r->pack->month == month && stat(path, &st) == 0 &&
	    st.st_ino == r->pack->ino)
		return 0;
	history_pack_close(&r->pack);
	return history_pack_open(r->dir, month, &r->pack);
}

/* The day file is looked at before the pack: packing renames the pack into place before it removes the file. */
int
history_file_open(struct history_reader *r, int64_t day, struct history_file **ret_file)
{
	struct history_file *f = xcalloc(1, sizeof(*f));
	const struct pack_day *packed = NULL;
	char name[HISTORY_DAY_NAME_MAX];
	int64_t changed;
	uint64_t ident;
	int err;

	snprintf(f->path, sizeof(f->path), "%s/%s", r->dir, history_day_name(day, name));
	f->day = day;
	f->codec = r->codec;
	ident = history_pack_ident(f->path, &changed);
	err = ident == 0 ? ERR_NOT_FOUND : open_path(f->path, &f->db);
	if (err == 0 || err == ERR_NOT_FOUND)
		f->pack_err = find_pack(r, history_pack_month(day));
	if (f->pack_err == ERR_NOT_FOUND)
		f->pack_err = 0;
	else if (r->pack != NULL)
		packed = history_pack_day(r->pack, day);
	if (packed != NULL) {
		f->pack = r->pack;
		if (packed->ident == ident) {
			sqlite3_close(f->db);
			f->db = NULL;
		}
	}
	if (err == ERR_NOT_FOUND && packed != NULL)
		err = 0;
	if (err == ERR_NOT_FOUND && f->pack_err != 0)
		err = f->pack_err;
	if (err != 0) {
		history_file_close(&f);
		return err;
	}
	*ret_file = f;
	return 0;
}

void
history_file_close(struct history_file **p_f)
{
	if (*p_f == NULL)
		return;
	sqlite3_close((*p_f)->db);
	free(*p_f);
	*p_f = NULL;
}

int
history_file_cursors(struct history_file *f, uint32_t shards, uint64_t *ret_cursors)
{
	const struct pack_day *packed;
	int err = 0;

	memset(ret_cursors, 0, shards * sizeof(ret_cursors[0]));
	if (f->db != NULL)
		err = read_cursors(f->db, f->path, shards, ret_cursors);
	if (f->pack == NULL || err != 0)
		return err;
	packed = history_pack_day(f->pack, f->day);
	for (uint32_t s = 0; s < shards && s < f->pack->shards; s++)
		if (packed->cursors[s] > ret_cursors[s])
			ret_cursors[s] = packed->cursors[s];
	return 0;
}

static void
take_block(struct history_file *f, struct bytes block, int64_t since, int64_t until,
    struct history_points *out)
{
	size_t kept = out->n, before = out->n;
	int err = history_block_decode(f->codec, block, out);

	if (err != 0) {
		log_error("history.block", LS("file", f->path), LS("fault", err_name(err)),
		    LS("effect", "its points are left out"));
		return;
	}
	for (size_t i = before; i < out->n; i++)
		if (out->at[i].time >= since && out->at[i].time <= until)
			out->at[kept++] = out->at[i];
	out->n = kept;
}

static int
count_masked(
    struct history_file *f, int64_t series, int64_t since, int64_t until, uint64_t *ret_masked)
{
	sqlite3_stmt *stmt;
	int err = sql_prepare(f->db, f->path,
	    "SELECT count(*) FROM masked WHERE series=?1 AND time BETWEEN ?2 AND ?3", &stmt);

	if (err != 0)
		return err;
	sqlite3_bind_int64(stmt, 1, series);
	sqlite3_bind_int64(stmt, 2, since);
	sqlite3_bind_int64(stmt, 3, until);
	if (sqlite3_step(stmt) == SQLITE_ROW)
		*ret_masked += (uint64_t)sqlite3_column_int64(stmt, 0);
	else
		err = sql_fail(f->db, f->path, "counting masked points");
	sqlite3_finalize(stmt);
	return err;
}

static int
find_series(struct history_file *f, struct bytes device, struct bytes metric, int64_t *ret_id)
{
	sqlite3_stmt *stmt;
	int err = sql_prepare(
		f->db, f->path, "SELECT id FROM series WHERE device=?1 AND metric=?2", &stmt),
	    code;

	if (err != 0)
		return err;
	sql_bind_bytes(stmt, 1, device);
	sql_bind_bytes(stmt, 2, metric);
	code = sqlite3_step(stmt);
	if (code == SQLITE_ROW)
		*ret_id = sqlite3_column_int64(stmt, 0);
	else
		err = code == SQLITE_DONE ? ERR_NOT_FOUND
					  : sql_fail(f->db, f->path, "looking for a series");
	sqlite3_finalize(stmt);
	return err;
}

static int
db_points(struct history_file *f, struct bytes device, struct bytes metric, int64_t since,
    int64_t until, struct history_points *ret_points, uint64_t *ret_masked)
{
	sqlite3_stmt *stmt;
	int64_t series = 0;
	int err = find_series(f, device, metric, &series), code;

	if (err != 0)
		return err == ERR_NOT_FOUND ? 0 : err;
	if ((err = sql_prepare(f->db, f->path,
		 "SELECT data FROM block WHERE series=?1 AND t_first<=?3 AND t_last>=?2 ORDER BY "
		 "t_first",
		 &stmt)) != 0)
		return err;
	sqlite3_bind_int64(stmt, 1, series);
	sqlite3_bind_int64(stmt, 2, since);
	sqlite3_bind_int64(stmt, 3, until);
	while ((code = sqlite3_step(stmt)) == SQLITE_ROW)
		take_block(f, sql_bytes(stmt, 0), since, until, ret_points);
	if (code != SQLITE_DONE)
		err = sql_fail(f->db, f->path, "reading blocks");
	sqlite3_finalize(stmt);
	return err != 0 ? err : count_masked(f, series, since, until, ret_masked);
}

int
history_file_points(struct history_file *f, struct bytes device, struct bytes metric, int64_t since,
    int64_t until, struct history_points *ret_points, uint64_t *ret_masked)
{
	int err = 0;

	if (f->db != NULL)
		err = db_points(f, device, metric, since, until, ret_points, ret_masked);
	if (err == 0 && f->pack != NULL)
		err = history_pack_points(f->pack, f->codec, f->day, device, metric, since, until,
		    ret_points, ret_masked);
	return err != 0 ? err : f->pack_err;
}

/* The last point of the series' newest block. */
static void
find_last(struct history_file *f, sqlite3_stmt *newest, int64_t series,
    struct history_points *points, struct history_summary *s, struct value *v)
{
	history_points_clear(points);
	sqlite3_bind_int64(newest, 1, series);
	if (sqlite3_step(newest) == SQLITE_ROW)
		take_block(f, sql_bytes(newest, 0), INT64_MIN, INT64_MAX, points);
	sqlite3_reset(newest);
	if (points->n == 0)
		return;
	history_points_sort(points);
	*v = history_points_value(points, points->n - 1);
	s->t_last = points->at[points->n - 1].time;
	s->last = v;
}

static int
db_summaries(struct history_file *f, struct bytes device, history_summary_fn fn, void *arg)
{
	static const char all[] =
	    "SELECT id, device, metric, (SELECT coalesce(sum(n), 0) FROM block WHERE "
	    "series=series.id),"
	    " (SELECT max(t_last) FROM block WHERE series=series.id), (SELECT count(*) FROM masked "
	    "WHERE series=series.id) FROM series";
	char *sql = xasprintf(
	    "%s%s ORDER BY device, metric", all, device.len > 0 ? " WHERE device=?1" : "");
	sqlite3_stmt *stmt, *newest = NULL;
	struct history_points points = { 0 };
	int err = sql_prepare(f->db, f->path, sql, &stmt), code;

	free(sql);
	if (err != 0)
		return err;
	if ((err = sql_prepare(f->db, f->path,
		 "SELECT data FROM block WHERE series=?1 ORDER BY t_last DESC, id DESC LIMIT 1",
		 &newest)) != 0)
		goto out;
	if (device.len > 0)
		sql_bind_bytes(stmt, 1, device);
	while ((code = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct history_summary s = { .device = sql_bytes(stmt, 1),
			.metric = sql_bytes(stmt, 2),
			.count = (uint64_t)sqlite3_column_int64(stmt, 3),
			.t_last = sqlite3_column_int64(stmt, 4),
			.masked = (uint64_t)sqlite3_column_int64(stmt, 5) };
		struct value v;

		if (device.len > 0 && s.count > 0)
			find_last(f, newest, sqlite3_column_int64(stmt, 0), &points, &s, &v);
		fn(arg, &s);
	}
	if (code != SQLITE_DONE)
		err = sql_fail(f->db, f->path, "reading series");
out:
	sqlite3_finalize(newest);
	sqlite3_finalize(stmt);
	history_points_fini(&points);
	return err;
}

int
history_file_summaries(
    struct history_file *f, struct bytes device, history_summary_fn fn, void *arg)
{
	int err = f->db != NULL ? db_summaries(f, device, fn, arg) : 0;

	if (err == 0 && f->pack != NULL)
		err = history_pack_summaries(f->pack, f->codec, f->day, device, fn, arg);
	return err != 0 ? err : f->pack_err;
}
