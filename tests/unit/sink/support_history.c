/* support_history.c - journal blocks by hand, and what day files hold in the end */
#include "support_history.h"

#include <check.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "history_block.h"
#include "mem.h"
#include "record.h"

void
make_block(struct buf *out, struct block_view *ret_view, uint64_t offset, uint64_t next,
    const struct reading *r, size_t n)
{
	struct buf batch = { 0 };
	struct record_writer w;

	for (size_t i = 0; i < n; i++) {
		struct record head = { .verdict = r[i].verdict,
			.flags = r[i].flags,
			.time = r[i].time,
			.device = bytes_of_str(r[i].device) };
		struct point p = { .name = bytes_of_str(r[i].metric),
			.value = { .kind = VALUE_DOUBLE, .v = { .f = r[i].value } },
			.time = r[i].time,
			.reason = r[i].reason };

		record_begin(&w, &batch, &head);
		record_add(&w, &p);
		record_end(&w);
	}
	entry_put(
	    out, &(struct entry){
		     .kind = ENTRY_READINGS, .stream = 1, .seq = 1, .body = buf_bytes(&batch) });
	buf_fini(&batch);
	*ret_view = (struct block_view){ .offset = offset,
		.next = next,
		.time = DAY0 + 43200000000ll,
		.entries = buf_bytes(out) };
}

void
give(struct history_store *s, uint64_t offset, const struct reading *r, size_t n)
{
	struct buf b = { 0 };
	struct block_view v;

	make_block(&b, &v, offset, offset + 100, r, n);
	ck_assert_int_eq(history_store_block(s, 0, &v), 0);
	buf_fini(&b);
}

struct history_store *
open_store(const char *dir)
{
	struct history_store *s;

	ck_assert_int_eq(history_store_open(dir, 1, &s), 0);
	return s;
}

static sqlite3 *
open_file(const char *dir, const char *file)
{
	char *path = xasprintf("%s/%s", dir, file);
	sqlite3 *db;

	ck_assert_int_eq(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
	free(path);
	return db;
}

size_t
read_series(const char *dir, const char *file, const char *device, const char *metric,
    struct history_points *ret)
{
	sqlite3 *db = open_file(dir, file);
	struct history_codec *c = history_codec_new();
	sqlite3_stmt *stmt;
	size_t blocks = 0;

	ck_assert_int_eq(sqlite3_prepare_v2(db,
			     "SELECT data, n FROM block JOIN series ON series.id=series WHERE "
			     "device=?1 AND metric=?2",
			     -1, &stmt, NULL),
	    SQLITE_OK);
	sqlite3_bind_text(stmt, 1, device, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 2, metric, -1, SQLITE_STATIC);
	history_points_clear(ret);
	for (; sqlite3_step(stmt) == SQLITE_ROW; blocks++) {
		size_t before = ret->n;

		ck_assert_int_eq(history_block_decode(c,
				     bytes_of(sqlite3_column_blob(stmt, 0),
					 (size_t)sqlite3_column_bytes(stmt, 0)),
				     ret),
		    0);
		ck_assert_uint_eq(ret->n - before, (size_t)sqlite3_column_int(stmt, 1));
	}
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	history_codec_free(&c);
	history_points_sort(ret);
	return blocks;
}

int64_t
query_int(const char *dir, const char *file, const char *sql)
{
	sqlite3 *db = open_file(dir, file);
	sqlite3_stmt *stmt;
	int64_t v;

	ck_assert_int_eq(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
	v = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return v;
}
