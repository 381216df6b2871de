/* test_history_store.c - every point once, in the file of its day, whatever is killed when */
#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../unit.h"
#include "err.h"
#include "history_store.h"
#include "mem.h"
#include "metrics.h"
#include "record.h"
#include "support_history.h"

START_TEST(day_names)
{
	static const char *const bad[] = { "", "meta.db", "2025-11-22.db-wal", "2025-11-22",
		"2025-02-30.db", "1969-12-31.db", "2025-1-2.db", "x2025-11-22.db" };
	char name[HISTORY_DAY_NAME_MAX];
	int64_t day, again;

	ck_assert(history_day_of(DAY0, &day));
	ck_assert_str_eq(history_day_name(day, name), "2025-11-22.db");
	ck_assert(history_day_parse(name, &again));
	ck_assert_int_eq(day, again);
	ck_assert(history_day_of(DAY0 - 1, &again));
	ck_assert_int_eq(again, day - 1);
	ck_assert_str_eq(history_day_name(HISTORY_DAY_MAX, name), "9999-12-31.db");
	ck_assert(!history_day_of(-1, &day));
	ck_assert(!history_day_of(INT64_MAX, &day));
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		ck_assert_msg(!history_day_parse(bad[i], &day), "%s", bad[i]);
}
END_TEST

START_TEST(points_go_to_their_day_and_cursors_with_them)
{
	char *dir = unit_folder_new();
	struct history_store *s = open_store(dir);
	struct history_points p = { 0 };
	const struct reading r[] = {
		{ .device = "gh-1", .metric = "t", .time = DAY0 + SECOND, .value = 20.5 },
		{ .device = "gh-1",
		    .metric = "t",
		    .time = DAY0 - SECOND,
		    .value = 19.5 }, /* late: the day before */
		{ .device = "gh-1",
		    .metric = "h",
		    .time = DAY0 + SECOND,
		    .value = 140,
		    .reason = QUARANTINE_PHYSICAL },
		{ .device = "gh-2",
		    .metric = "t",
		    .time = DAY0 + SECOND,
		    .value = 1,
		    .verdict = verdict_make(VERDICT_DEVICE_LIMIT, 5) },
		{ .device = "gh-2",
		    .metric = "t",
		    .time = DAY0 + SECOND,
		    .value = 2,
		    .verdict = verdict_make(VERDICT_COPY, 0) },
		{ .device = "gh-3",
		    .metric = "t",
		    .time = DAY0 + 30 * HISTORY_DAY_US,
		    .value = 3,
		    .flags = RECORD_DEVICE_TIME },
	};

	give(s, 0, r, COUNT_OF(r));
	ck_assert_uint_eq(history_store_cursor(s, 0), 0);
	ck_assert_uint_eq(history_store_waiting(s), 4);
	ck_assert_int_eq(history_store_flush(s), 0);
	ck_assert_uint_eq(history_store_cursor(s, 0), 100);
	ck_assert_uint_eq(read_series(dir, "2025-11-22.db", "gh-1", "t", &p), 1);
	ck_assert_uint_eq(p.n, 1);
	ck_assert(p.at[0].v.f == 20.5);
	read_series(dir, "2025-11-21.db", "gh-1", "t", &p);
	ck_assert_uint_eq(p.n, 1);
	ck_assert(p.at[0].v.f == 19.5);
	read_series(dir, "2025-11-22.db", "gh-1", "h", &p);
	ck_assert_uint_eq(p.n, 0);
	ck_assert_int_eq(query_int(dir, "2025-11-22.db",
			     "SELECT count(*) FROM masked WHERE value=140 AND reason=2"),
	    1);
	ck_assert_int_eq(query_int(dir, "2025-11-22.db",
			     "SELECT count(*) FROM masked WHERE value=3 AND reason=5"),
	    1);
	ck_assert_int_eq(
	    query_int(dir, "2025-11-22.db", "SELECT count(*) FROM series WHERE device='gh-2'"), 0);
	ck_assert_int_eq(query_int(dir, "2025-11-22.db", "SELECT upto FROM cursor"), 100);
	ck_assert_int_eq(query_int(dir, "2025-11-22.db", "PRAGMA page_size"), 16384);
	history_points_fini(&p);
	history_store_close(&s);
	s = open_store(dir);
	ck_assert_uint_eq(history_store_cursor(s, 0), 100);
	history_store_close(&s);
	unit_folder_free(&dir);
}
END_TEST

START_TEST(copies_are_dropped_where_the_device_gave_the_time)
{
	char *dir = unit_folder_new();
	struct history_store *s = open_store(dir);
	struct history_points p = { 0 };
	uint64_t copies = metric_get(M_HISTORY_COPIES);
	uint64_t offset = 0;

	for (int pass = 0; pass < 3; pass++) {
		for (int i = 0; i < 40; i++, offset += 100) {
			struct reading r[] = {
				{ .device = "a",
				    .metric = "t",
				    .time = DAY0 + i * SECOND,
				    .value = i,
				    .flags = RECORD_DEVICE_TIME },
				{ .device = "b",
				    .metric = "t",
				    .time = DAY0 + i * SECOND,
				    .value = i },
			};
			give(s, offset, r, 2);
			if (i % 7 == 0)
				ck_assert_int_eq(history_store_flush(s), 0);
		}
		if (pass == 1) { /* what the file has is found again after a restart */
			ck_assert_int_eq(history_store_flush(s), 0);
			history_store_close(&s);
			s = open_store(dir);
		}
	}
	ck_assert_int_eq(history_store_flush(s), 0);
	read_series(dir, "2025-11-22.db", "a", "t", &p);
	ck_assert_uint_eq(p.n, 40);
	read_series(dir, "2025-11-22.db", "b", "t", &p);
	ck_assert_uint_eq(p.n, 120);
	ck_assert_uint_eq(metric_get(M_HISTORY_COPIES) - copies, 80);
	history_points_fini(&p);
	history_store_close(&s);
	unit_folder_free(&dir);
}
END_TEST

/* A few points a flush for hours: the file ends with few, full blocks. */
START_TEST(small_blocks_are_merged)
{
	char *dir = unit_folder_new();
	struct history_store *s = open_store(dir);
	struct history_points p = { 0 };
	uint64_t offset = 0;
	size_t blocks;
	int n = 0;

	for (int flush = 0; flush < 1200; flush++) {
		for (int i = 0; i < 4 + flush % 3; i++, n++, offset += 100) {
			struct reading r = { .device = "a",
				.metric = "t",
				.time = DAY0 + n * SECOND,
				.value = n / 10.0 };
			give(s, offset, &r, 1);
		}
		ck_assert_int_eq(history_store_flush(s), 0);
		if (flush % 100 == 50)
			history_store_quiet(s);
		if (flush == 600) {
			history_store_close(&s);
			s = open_store(dir);
		}
	}
	blocks = read_series(dir, "2025-11-22.db", "a", "t", &p);
	ck_assert_uint_eq(p.n, (size_t)n);
	for (int i = 0; i < n; i++)
		ck_assert(p.at[i].time == DAY0 + i * SECOND);
	ck_assert_uint_le(blocks, (size_t)n / 500 + 12);
	history_points_fini(&p);
	history_store_close(&s);
	unit_folder_free(&dir);
}
END_TEST

/* More days at once than files are kept open. */
START_TEST(many_days_at_once)
{
	char *dir = unit_folder_new();
	struct history_store *s = open_store(dir);
	struct history_points p = { 0 };
	char name[HISTORY_DAY_NAME_MAX];
	struct reading r[120];
	int64_t day;

	for (int pass = 0; pass < 2; pass++) {
		for (int i = 0; i < 120; i++)
			r[i] = (struct reading){ .device = "a",
				.metric = "t",
				.time =
				    DAY0 - (i % 40) * HISTORY_DAY_US + (i + pass * 120) * SECOND,
				.value = i,
				.flags = RECORD_DEVICE_TIME };
		give(s, (uint64_t)pass * 100, r, 120);
		ck_assert_uint_eq(history_store_days_waiting(s), 40);
		ck_assert_int_eq(history_store_flush(s), 0);
	}
	for (int i = 0; i < 40; i++) {
		ck_assert(history_day_of(DAY0 - i * HISTORY_DAY_US, &day));
		read_series(dir, history_day_name(day, name), "a", "t", &p);
		ck_assert_uint_eq(p.n, 6);
	}
	history_points_fini(&p);
	history_store_close(&s);
	unit_folder_free(&dir);
}
END_TEST

static void
feed(struct history_store *s, uint64_t block)
{
	struct reading r[6];

	for (unsigned i = 0; i < 6; i++)
		r[i] = (struct reading){ .device = i % 2 ? "a" : "b",
			.metric = "t",
			.value = (double)block,
			.time = DAY0 - (int64_t)(i % 3) * HISTORY_DAY_US + (int64_t)block * SECOND +
				i };
	give(s, block * 100, r, 6);
}

/* Feeds blocks from the store's cursor and flushes each few, telling how far it is durable, until it is killed. */
static _Noreturn void
feeder(const char *dir, int fd, uint64_t blocks)
{
	struct history_store *s = open_store(dir);

	for (uint64_t b = history_store_cursor(s, 0) / 100; b < blocks; b++) {
		uint64_t cursor;

		feed(s, b);
		if (b % 3 != 0 && b + 1 != blocks)
			continue;
		if (history_store_flush(s) != 0)
			_exit(1);
		cursor = history_store_cursor(s, 0);
		if (write(fd, &cursor, sizeof(cursor)) != sizeof(cursor))
			_exit(1);
	}
	_exit(0);
}

/* SIGKILL at any moment, between the commits of three day files too: in the end each point is there once. */
START_TEST(killed_at_any_moment)
{
	const uint64_t blocks = 400;
	char *dir = unit_folder_new();
	struct history_points p = { 0 };
	int kills = 0, status = -1;

	for (unsigned round = 0; status != 0; round++) {
		int fds[2];
		uint64_t cursor;
		pid_t pid;

		ck_assert_int_eq(pipe(fds), 0);
		if ((pid = fork()) == 0)
			feeder(dir, fds[1], blocks);
		close(fds[1]);
		/* After some flushes, and then some time into the next one. */
		for (unsigned i = 0; i < 1 + round % 4; i++)
			if (read(fds[0], &cursor, sizeof(cursor)) != sizeof(cursor))
				break;
		for (volatile unsigned spin = 0; spin < (round * 7919) % 1500000; spin++)
			;
		kills += kill(pid, SIGKILL) == 0;
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert(WIFSIGNALED(status) || status == 0);
		close(fds[0]);
		ck_assert_uint_lt(round, 1000);
	}
	ck_assert_int_gt(kills, 20);
	for (int d = 0; d < 3; d++) {
		char name[HISTORY_DAY_NAME_MAX];
		int64_t day;

		ck_assert(history_day_of(DAY0 - d * HISTORY_DAY_US, &day));
		for (int k = 0; k < 2; k++) {
			read_series(dir, history_day_name(day, name), k ? "a" : "b", "t", &p);
			ck_assert_uint_eq(p.n, blocks);
			for (size_t i = 1; i < p.n; i++)
				ck_assert_int_lt(p.at[i - 1].time, p.at[i].time);
		}
	}
	history_points_fini(&p);
	unit_folder_free(&dir);
}
END_TEST

START_TEST(a_damaged_day_is_set_aside)
{
	char *dir = unit_folder_new(), *path = xasprintf("%s/2025-11-22.db", dir),
	     *aside = xasprintf("%s.damaged", path);
	struct history_store *s = open_store(dir);
	struct reading r = { .device = "a", .metric = "t", .time = DAY0, .value = 1 };
	struct history_points p = { 0 };
	int fd = open(path, O_WRONLY | O_CREAT, 0600);

	ck_assert_int_eq(write(fd, "this is no database, whatever its name says", 40), 40);
	close(fd);
	give(s, 0, &r, 1);
	ck_assert_int_eq(history_store_flush(s), 0);
	read_series(dir, "2025-11-22.db", "a", "t", &p);
	ck_assert_uint_eq(p.n, 1);
	ck_assert_int_eq(access(aside, F_OK), 0);
	history_points_fini(&p);
	history_store_close(&s);
	unit_folder_free(&dir);
	free(path);
	free(aside);
}
END_TEST

START_TEST(retention_wants_old_days_that_rest)
{
	char *dir = unit_folder_new(), *path = xasprintf("%s/2025-11-02.db", dir);
	struct history_store *s = open_store(dir);
	struct reading r[] = {
		{ .device = "a", .metric = "t", .time = DAY0, .value = 1 },
		{ .device = "a",
		    .metric = "t",
		    .time = DAY0 - 20 * HISTORY_DAY_US,
		    .value = 1,
		    .flags = RECORD_DEVICE_TIME },
	};
	struct timespec old[2] = { { .tv_sec = DAY0 / 1000000 - 15 * 86400 },
		{ .tv_sec = DAY0 / 1000000 - 15 * 86400 } };

	give(s, 0, r, 2);
	ck_assert_int_eq(history_store_flush(s), 0);
	ck_assert_uint_eq(history_store_retain(s, DAY0, 10), 0); /* written just now */
	history_store_close(&s);
	ck_assert_int_eq(utimensat(AT_FDCWD, path, old, 0), 0);
	s = open_store(dir);
	ck_assert_uint_eq(history_store_retain(s, DAY0, 30), 0);
	ck_assert_uint_eq(history_store_retain(s, DAY0, 10), 1);
	ck_assert_int_ne(access(path, F_OK), 0);
	history_store_close(&s);
	unit_folder_free(&dir);
	free(path);
}
END_TEST

/* A clock that is ten years ahead of what there is: followed a day an hour, over restarts, and not when it was put back. */
/* Nothing can be written to it from then on. */
static void
drop_clock(const char *dir)
{
	char *path = xasprintf("%s/meta.sqlite", dir);
	sqlite3 *db;

	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, "DROP TABLE clock", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	free(path);
}

START_TEST(retention_does_not_believe_a_leap_of_the_clock)
{
	const int64_t hour = 3600 * SECOND, leap = 3650 * HISTORY_DAY_US;
	char *dir = unit_folder_new();
	struct history_store *s = open_store(dir);
	const struct reading r[] = { { .device = "a", .metric = "t", .time = DAY0, .value = 1 } };

	give(s, 0, r, 1);
	ck_assert_int_eq(history_store_flush(s), 0);
	/* nothing is known yet but the newest day */
	ck_assert_int_eq(history_store_clock(s, DAY0 + leap, 0), DAY0 + HISTORY_DAY_US);
	ck_assert_int_eq(history_store_clock(s, DAY0 + leap, hour), DAY0 + 2 * HISTORY_DAY_US);
	history_store_close(&s);
	s = open_store(dir);
	ck_assert_int_eq(history_store_clock(s, DAY0 + leap, 0), DAY0 + 2 * HISTORY_DAY_US);
	ck_assert_int_eq(history_store_clock(s, DAY0 + leap, -hour), DAY0 + 2 * HISTORY_DAY_US);
	ck_assert_int_eq(history_store_clock(s, DAY0 - leap, hour), DAY0 - leap);
	ck_assert_int_eq(history_store_clock(s, DAY0 + leap, hour), DAY0 + 3 * HISTORY_DAY_US);
	/* caught up */
	ck_assert_int_eq(
	    history_store_clock(s, DAY0 + 4 * HISTORY_DAY_US, hour), DAY0 + 4 * HISTORY_DAY_US);
	ck_assert_int_eq(
	    history_store_clock(s, DAY0 + 4 * HISTORY_DAY_US + 600 * SECOND, 600 * SECOND),
	    DAY0 + 4 * HISTORY_DAY_US + 600 * SECOND);
	history_store_close(&s);
	unit_folder_free(&dir);
	dir = unit_folder_new();
	s = open_store(dir);
	ck_assert_int_eq(history_store_clock(s, DAY0, 0), DAY0); /* there is nothing to lose */
	ck_assert(history_store_clock_is_kept(s));
	drop_clock(dir);
	ck_assert_int_eq(history_store_clock(s, DAY0 + hour, hour), DAY0 + hour);
	ck_assert(!history_store_clock_is_kept(s));
	history_store_close(&s);
	unit_folder_free(&dir);
}
END_TEST

UNIT_MAIN("history_store", day_names, points_go_to_their_day_and_cursors_with_them,
    copies_are_dropped_where_the_device_gave_the_time, small_blocks_are_merged, many_days_at_once,
    killed_at_any_moment, a_damaged_day_is_set_aside, retention_wants_old_days_that_rest,
    retention_does_not_believe_a_leap_of_the_clock)
