/* test_history_pack.c - small days in one file a month: nothing lost, nothing twice, whatever is left half done or damaged */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../unit.h"
#include "err.h"
#include "history_pack.h"
#include "history_read.h"
#include "history_store.h"
#include "mem.h"
#include "record.h"
#include "support_history.h"

#define DAYS 3
#define FAR (4000 * HISTORY_DAY_US) /* after every file's last change */

static struct bytes
text(const char *s)
{
	return bytes_of_str(s);
}

/* On each of three days ten points of each of two devices, and one that is masked; the times are the server's. */
static void
fill(struct history_store *s)
{
	uint64_t offset = 0;

	for (int d = 0; d < DAYS; d++) {
		for (int i = 0; i < 10; i++, offset += 100) {
			int64_t t = DAY0 - (DAYS - d) * HISTORY_DAY_US + i * SECOND;
			const struct reading r[] = {
				{ .device = "b", .metric = "t", .time = t, .value = 20 + i },
				{ .device = "a", .metric = "t", .time = t, .value = d },
				{ .device = "a",
				    .metric = "h",
				    .time = t,
				    .value = 140,
				    .reason = QUARANTINE_PHYSICAL },
			};

			give(s, offset, r, i == 3 ? 3 : 2);
		}
		ck_assert_int_eq(history_store_flush(s), 0);
	}
}

static int64_t
first_day(void)
{
	return DAY0 / HISTORY_DAY_US - DAYS;
}

static size_t
count_points(const char *dir, const char *device, const char *metric, uint64_t *ret_masked)
{
	struct history_reader *r = history_reader_new(dir);
	struct history_points p = { 0 };
	int64_t *days = NULL, last = INT64_MIN;
	size_t n = 0, total = 0;

	*ret_masked = 0;
	ck_assert_int_eq(history_read_days(dir, &days, &n), 0);
	for (size_t i = 0; i < n; i++) {
		struct history_file *f;

		ck_assert_int_eq(history_file_open(r, days[i], &f), 0);
		history_points_clear(&p);
		ck_assert_int_eq(history_file_points(
				     f, text(device), text(metric), 0, INT64_MAX, &p, ret_masked),
		    0);
		history_points_sort(&p);
		(void)history_points_drop_copies(&p);
		for (size_t k = 0; k < p.n; k++) {
			ck_assert_int_gt(p.at[k].time, last);
			last = p.at[k].time;
		}
		total += p.n;
		history_file_close(&f);
	}
	free(days);
	history_points_fini(&p);
	history_reader_free(&r);
	return total;
}

static void
expect(const char *dir, size_t a, size_t b, uint64_t masked)
{
	uint64_t m;

	ck_assert_uint_eq(count_points(dir, "a", "t", &m), a);
	ck_assert_uint_eq(m, 0);
	ck_assert_uint_eq(count_points(dir, "b", "t", &m), b);
	ck_assert_uint_eq(count_points(dir, "a", "h", &m), 0);
	ck_assert_uint_eq(m, masked);
	ck_assert_uint_eq(count_points(dir, "c", "t", &m), 0);
}

static bool
there(const char *dir, const char *name)
{
	char *path = xasprintf("%s/%s", dir, name);
	bool yes = access(path, F_OK) == 0;

	free(path);
	return yes;
}

START_TEST(names)
{
	static const char *const bad[] = { "", "2025-11.pac", "2025-13.pack", "2025-00.pack",
		"2025-11.pack.new", "1969-01.pack", "2025-1.pack", "2025-11-01.pack" };
	char name[HISTORY_PACK_NAME_MAX];
	int64_t month, again;

	month = history_pack_month(DAY0 / HISTORY_DAY_US);
	ck_assert_str_eq(history_pack_name(month, name), "2025-11.pack");
	ck_assert(history_pack_parse(name, &again));
	ck_assert_int_eq(month, again);
	ck_assert_int_eq(history_pack_first_day(month), DAY0 / HISTORY_DAY_US - 21);
	ck_assert_int_eq(history_pack_month(0), 0);
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		ck_assert_msg(!history_pack_parse(bad[i], &month), "%s", bad[i]);
}
END_TEST

START_TEST(days_go_into_the_pack_of_their_month)
{
	char *dir = unit_folder_new();
	struct history_store *s = open_store(dir);

	fill(s);
	expect(dir, 30, 30, 3);
	ck_assert_uint_eq(
	    history_store_pack(s, DAY0 - 2 * HISTORY_DAY_US, 0), 0); /* changed later */
	ck_assert_uint_eq(history_store_pack(s, FAR * 100, FAR * 100), 0);
	ck_assert(there(dir, "2025-11-20.db"));
	ck_assert_uint_eq(history_store_pack(s, FAR * 100, 2 * HISTORY_DAY_US), DAYS);
	ck_assert(there(dir, "2025-11.pack") && !there(dir, "2025-11-20.db"));
	expect(dir, 30, 30, 3);
	ck_assert_uint_eq(history_store_pack(s, FAR * 100, 2 * HISTORY_DAY_US), 0);
	history_store_close(&s);
	unit_folder_free(&dir);
}
END_TEST

static void
on_summary(void *arg, const struct history_summary *sum)
{
	struct buf *out = arg;

	buf_addf(out, "%.*s %.*s %llu %llu", (int)sum->device.len, (const char *)sum->device.data,
	    (int)sum->metric.len, (const char *)sum->metric.data, (unsigned long long)sum->count,
	    (unsigned long long)sum->masked);
	if (sum->count > 0)
		buf_addf(out, " at %lld", (long long)((sum->t_last - DAY0) / SECOND));
	if (sum->last != NULL)
		buf_addf(out, " is %g", sum->last->kind == VALUE_DOUBLE ? sum->last->v.f : -1.0);
	buf_add_str(out, "\n");
}

/* What a listing says, before and after packing. */
static void
summaries(const char *dir, const char *device, struct buf *out)
{
	struct history_reader *r = history_reader_new(dir);
	struct history_file *f;
	uint64_t cursor = 7;

	buf_clear(out);
	ck_assert_int_eq(history_file_open(r, first_day(), &f), 0);
	ck_assert_int_eq(history_file_summaries(f, text(device), on_summary, out), 0);
	ck_assert_int_eq(history_file_cursors(f, 1, &cursor), 0);
	buf_addf(out, "cursor %llu\n", (unsigned long long)cursor);
	history_file_close(&f);
	ck_assert_int_eq(history_file_open(r, first_day() - 1, &f), ERR_NOT_FOUND);
	history_reader_free(&r);
}

START_TEST(summaries_stay_the_same)
{
	char *dir = unit_folder_new();
	struct history_store *s = open_store(dir);
	struct buf before = { 0 }, after = { 0 };

	fill(s);
	for (int i = 0; i < 2; i++) {
		const char *device = i == 0 ? "" : "a";
		struct history_store *again;

		summaries(dir, device, &before);
		ck_assert_ptr_nonnull(strstr(buf_str(&before), i == 0 ? "b t 10 0" : "a h 0 1"));
		if (i == 0) {
			history_store_close(&s);
			again = open_store(dir);
			s = again;
		}
		if (i == 1)
			ck_assert_uint_eq(history_store_pack(s, FAR * 100, 0), DAYS);
		summaries(dir, device, &after);
		ck_assert_str_eq(buf_str(&before), buf_str(&after));
	}
	summaries(dir, "", &after);
	ck_assert_ptr_nonnull(
	    strstr(buf_str(&after), "a h 0 1\na t 10 0 at -259191\nb t 10 0 at -259191\n"));
	history_store_close(&s);
	buf_fini(&before);
	buf_fini(&after);
	unit_folder_free(&dir);
}
END_TEST

START_TEST(late_points_join_and_copies_of_them_count_once)
{
	char *dir = unit_folder_new();
	struct history_store *s = open_store(dir);
	int64_t t = DAY0 - HISTORY_DAY_US;
	const struct reading late[] = {
		{ .device = "a",
		    .metric = "t",
		    .time = t + 500 * SECOND,
		    .value = 5,
		    .flags = RECORD_DEVICE_TIME },
		{ .device = "c2",
		    .metric = "x",
		    .time = t + 600 * SECOND,
		    .value = 6,
		    .flags = RECORD_DEVICE_TIME },
	};
	uint64_t masked;

	fill(s);
	ck_assert_uint_eq(history_store_pack(s, FAR * 100, 0), DAYS);
	for (int round = 0; round < 2;
	     round++) { /* the second time they are copies of what is in the pack */
		give(s, 5000 + 100 * (uint64_t)round, late, COUNT_OF(late));
		ck_assert_int_eq(history_store_flush(s), 0);
		ck_assert(there(dir, "2025-11-21.db"));
		expect(dir, 31, 30, 3);
		ck_assert_uint_eq(history_store_pack(s, FAR * 100, 0), 1);
		expect(dir, 31, 30, 3);
		ck_assert_uint_eq(count_points(dir, "c2", "x", &masked), 1);
	}
	history_store_close(&s);
	unit_folder_free(&dir);
}
END_TEST

/* Killed between the pack's rename and the removal of the day files. */
START_TEST(a_file_that_is_in_the_pack_already_counts_once)
{
	char *dir = unit_folder_new();
	struct history_store *s = open_store(dir);
	char *file = xasprintf("%s/2025-11-20.db", dir), *kept = xasprintf("%s/kept", dir);

	fill(s);
	history_store_close(&s);
	s = open_store(dir);
	ck_assert_int_eq(link(file, kept), 0);
	ck_assert_uint_eq(history_store_pack(s, FAR * 100, 0), DAYS);
	ck_assert_int_eq(rename(kept, file), 0);
	expect(dir, 30, 30, 3);
	ck_assert_uint_eq(history_store_pack(s, FAR * 100, 0), 1);
	ck_assert(!there(dir, "2025-11-20.db"));
	expect(dir, 30, 30, 3);
	history_store_close(&s);
	free(file);
	free(kept);
	unit_folder_free(&dir);
}
END_TEST

/* meta.sqlite lost: the journal comes again from its beginning. */
START_TEST(a_journal_read_again_adds_nothing)
{
	char *dir = unit_folder_new(), *meta = xasprintf("%s/" HISTORY_META, dir);
	struct history_store *s = open_store(dir);

	fill(s);
	ck_assert_uint_eq(history_store_pack(s, FAR * 100, 0), DAYS);
	history_store_close(&s);
	ck_assert_int_eq(unlink(meta), 0);
	s = open_store(dir);
	ck_assert_uint_eq(history_store_cursor(s, 0), 0);
	fill(s);
	expect(dir, 30, 30, 3);
	history_store_close(&s);
	free(meta);
	unit_folder_free(&dir);
}
END_TEST

START_TEST(what_waits_and_what_is_large_stays)
{
	char *dir = unit_folder_new(), *file = xasprintf("%s/2025-11-19.db", dir);
	struct history_store *s = open_store(dir);
	const struct reading r = {
		.device = "b", .metric = "t", .time = DAY0 - HISTORY_DAY_US + 77 * SECOND
	};
	uint64_t masked;

	fill(s);
	give(s, 9000, &r, 1);
	ck_assert_int_eq(truncate(file, HISTORY_PACK_DAY_MAX + 1), 0);
	ck_assert_uint_eq(history_store_pack(s, FAR * 100, 0), 1);
	ck_assert(there(dir, "2025-11-19.db") && !there(dir, "2025-11-20.db") &&
		  there(dir, "2025-11-21.db"));
	ck_assert_int_eq(history_store_flush(s), 0);
	ck_assert_uint_eq(count_points(dir, "b", "t", &masked), 31);
	history_store_close(&s);
	free(file);
	unit_folder_free(&dir);
}
END_TEST

START_TEST(days_leave_the_pack_when_their_time_is_over)
{
	char *dir = unit_folder_new();
	struct history_store *s = open_store(dir);
	int64_t *days, day = 86400 * SECOND;
	size_t n;

	fill(s);
	ck_assert_uint_eq(history_store_pack(s, FAR * 100, 0), DAYS);
	ck_assert_uint_eq(history_store_retain(s, DAY0, 1), 0); /* changed just now */
	ck_assert_int_eq(history_read_days(dir, &days, &n), 0);
	ck_assert_uint_eq(n, DAYS);
	free(days);
	ck_assert_int_eq(history_pack_write(dir, history_pack_month(first_day()), NULL, 0,
			     first_day() + 1, 1, NULL),
	    0);
	ck_assert_int_eq(history_read_days(dir, &days, &n), 0);
	ck_assert_uint_eq(n, DAYS - 1);
	ck_assert_int_eq(days[0], first_day() + 1);
	free(days);
	expect(dir, 20, 20, 2);
	ck_assert_uint_eq(history_store_retain(s, FAR * 100 + day, 1), DAYS - 1);
	ck_assert(!there(dir, "2025-11.pack"));
	history_store_close(&s);
	unit_folder_free(&dir);
}
END_TEST

/* Opens what is there and reads all of it; returns how many points came back, each of which must be one of fill()'s. */
static size_t
read_damaged(const char *dir)
{
	struct history_codec *codec = history_codec_new();
	struct history_points p = { 0 };
	struct history_pack *pack;
	uint64_t masked = 0;
	size_t n;

	if (history_pack_open(dir, history_pack_month(first_day()), &pack) == 0) {
		for (size_t i = 0; i < pack->day_n; i++)
			(void)history_pack_points(pack, codec, pack->days[i].day, text("b"),
			    text("t"), 0, INT64_MAX, &p, &masked);
		history_pack_close(&pack);
	}
	for (size_t i = 0; i < p.n; i++) {
		int64_t second = p.at[i].time % HISTORY_DAY_US / SECOND;
		struct value v = history_points_value(&p, i);

		ck_assert(v.kind == VALUE_DOUBLE && v.v.f == 20 + (double)second);
	}
	n = p.n;
	history_points_fini(&p);
	history_codec_free(&codec);
	return n;
}

START_TEST(damage_is_found_and_nothing_wrong_comes_back)
{
	char *dir = unit_folder_new(), *path = xasprintf("%s/2025-11.pack", dir);
	struct history_store *s = open_store(dir);
	uint8_t bytes[4096];
	size_t whole = 0;
	ssize_t len;
	int fd;

	fill(s);
	ck_assert_uint_eq(history_store_pack(s, FAR * 100, 0), DAYS);
	history_store_close(&s);
	ck_assert_uint_eq(read_damaged(dir), 30);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	len = pread(fd, bytes, sizeof(bytes), 0);
	ck_assert(len > 100 && len < (ssize_t)sizeof(bytes));
	for (ssize_t i = 0; i < len; i++) {
		uint8_t bad = bytes[i] ^ (uint8_t)(1u << (i % 8));

		ck_assert_int_eq(pwrite(fd, &bad, 1, i), 1);
		whole += read_damaged(dir) == 30; /* a block of the other device */
		ck_assert_int_eq(pwrite(fd, &bytes[i], 1, i), 1);
	}
	ck_assert(whole < (size_t)len * 2 / 3);
	for (ssize_t i = len - 1; i >= 0; i--) {
		ck_assert_int_eq(ftruncate(fd, i), 0);
		ck_assert_uint_eq(read_damaged(dir), 0);
	}
	close(fd);
	free(path);
	unit_folder_free(&dir);
}
END_TEST

/* Set aside, and the next one begins without it. */
START_TEST(a_damaged_pack_is_not_built_upon)
{
	char *dir = unit_folder_new(), *path = xasprintf("%s/2025-11.pack", dir);
	struct history_store *s = open_store(dir);
	struct history_reader *r = history_reader_new(dir);
	struct history_points p = { 0 };
	struct history_file *file;
	FILE *f = fopen(path, "w");
	uint64_t masked = 0;
	int64_t *days;
	size_t n;

	ck_assert_ptr_nonnull(f);
	fputs("no pack", f);
	fclose(f);
	fill(s);
	ck_assert_int_eq(history_file_open(r, first_day(), &file), 0);
	ck_assert_int_eq(/* the points there are, and that some may be missing */
	    history_file_points(file, text("b"), text("t"), 0, INT64_MAX, &p, &masked),
	    ERR_DAMAGED);
	ck_assert_uint_eq(p.n, 10);
	history_file_close(&file);
	history_reader_free(&r);
	history_points_fini(&p);
	ck_assert_uint_eq(history_store_pack(s, FAR * 100, 0), DAYS);
	ck_assert(there(dir, "2025-11.pack.damaged"));
	expect(dir, 30, 30, 3);
	ck_assert_int_eq(history_read_days(dir, &days, &n), 0);
	ck_assert_uint_eq(n, DAYS);
	free(days);
	history_store_close(&s);
	free(path);
	unit_folder_free(&dir);
}
END_TEST

UNIT_MAIN("history_pack", names, days_go_into_the_pack_of_their_month, summaries_stay_the_same,
    late_points_join_and_copies_of_them_count_once, a_file_that_is_in_the_pack_already_counts_once,
    a_journal_read_again_adds_nothing, what_waits_and_what_is_large_stays,
    days_leave_the_pack_when_their_time_is_over, damage_is_found_and_nothing_wrong_comes_back,
    a_damaged_pack_is_not_built_upon)
