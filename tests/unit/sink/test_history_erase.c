/* test_history_erase.c - a device goes out of every file, what it says afterwards stays, whatever is read again */
#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../unit.h"
#include "err.h"
#include "history_erase.h"
#include "history_pack.h"
#include "history_read.h"
#include "mem.h"
#include "record.h"
#include "registry_change.h"
#include "support_history.h"

#define GONE "to-be-erased"
#define FAR (400000 * HISTORY_DAY_US) /* after every file's last change */
#define DAYS 3
#define ERASED_AT 10000

static size_t
count_points(const char *dir, const char *device)
{
	struct history_reader *r = history_reader_new(dir);
	struct history_points p = { 0 };
	int64_t *days = NULL;
	uint64_t masked = 0;
	size_t n = 0, total = 0;

	ck_assert_int_eq(history_read_days(dir, &days, &n), 0);
	for (size_t i = 0; i < n; i++) {
		struct history_file *f;

		ck_assert_int_eq(history_file_open(r, days[i], &f), 0);
		history_points_clear(&p);
		ck_assert_int_eq(history_file_points(f, bytes_of_str(device), bytes_of_str("t"), 0,
				     INT64_MAX, &p, &masked),
		    0);
		total += p.n;
		history_file_close(&f);
	}
	history_points_fini(&p);
	history_reader_free(&r);
	free(days);
	return total + masked;
}

/* Points of two devices on three days, one masked a day: one day packed, one in a file, one in both. */
static void
fill(struct history_store *s)
{
	uint64_t offset = 0;

	for (int d = 0; d < DAYS; d++) {
		for (int i = 0; i < 4; i++, offset += 100) {
			int64_t t = DAY0 - (DAYS - d) * HISTORY_DAY_US + (i + 4) * SECOND;
			const struct reading r[] = {
				{ .device = "b", .metric = "t", .time = t, .value = 20 + i },
				{ .device = GONE, .metric = "t", .time = t, .value = d },
				{ .device = GONE,
				    .metric = "t",
				    .time = t,
				    .value = 140,
				    .reason = QUARANTINE_PHYSICAL },
			};

			if (d == 1 && i == 2) {
				ck_assert_int_eq(history_store_flush(s), 0);
				ck_assert_uint_eq(history_store_pack(s, FAR, 0), 2);
			}
			give(s, offset, r, i == 3 ? 3 : 2);
		}
	}
}

static void
put_erasure(struct buf *out, const char *device)
{
	struct registry_object o = { MSG_DEVICE, { .device = { .id = bytes_of_str(device),
						       .version = 2,
						       .removed = true,
						       .erase = true } } };
	struct buf body = { 0 };

	registry_encode(&o, &body);
	entry_put(
	    out, &(struct entry){
		     .kind = ENTRY_CONTEXT, .stream = 2, .seq = 1, .body = buf_bytes(&body) });
	buf_fini(&body);
}

/* A block in which it says something, is erased, and, if so wanted, says something again. */
static void
give_erasure(struct history_store *s, bool comes_back)
{
	const struct reading before[] = {
		{ .device = GONE, .metric = "t", .time = DAY0 - 1, .value = 1 },
		{ .device = "b", .metric = "t", .time = DAY0 - 1, .value = 1 },
	};
	const struct reading after = {
		.device = GONE, .metric = "t", .time = DAY0 - 2, .value = 7
	};
	struct buf b = { 0 }, rest = { 0 };
	struct block_view v, unused;

	make_block(&b, &v, ERASED_AT, ERASED_AT + 100, before, 2);
	put_erasure(&b, GONE);
	if (comes_back) {
		make_block(&rest, &unused, 0, 100, &after, 1);
		buf_add(&b, rest.data, rest.len);
	}
	v.entries = buf_bytes(&b);
	ck_assert(history_view_erases(&v));
	ck_assert_int_eq(history_store_block(s, 0, &v), 0);
	buf_fini(&b);
	buf_fini(&rest);
}

static bool
stands_in_a_file(const char *dir, const char *what)
{
	DIR *d = opendir(dir);
	const struct dirent *e;
	bool found = false;

	ck_assert_ptr_nonnull(d);
	while (d != NULL && (e = readdir(d)) != NULL) {
		char path[512];
		static char text[1 << 20];
		FILE *f;
		size_t n;

		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (e->d_name[0] == '.' || (f = fopen(path, "rb")) == NULL)
			continue;
		while ((n = fread(text, 1, sizeof(text), f)) > 0)
			found |= memmem(text, n, what, strlen(what)) != NULL;
		fclose(f);
	}
	closedir(d);
	return found;
}

START_TEST(out_of_every_file)
{
	char *dir = unit_folder_new(), path[128];
	struct history_store *s = open_store(dir);
	struct stat before, after;

	fill(s);
	ck_assert_int_eq(history_store_flush(s), 0);
	ck_assert_uint_eq(count_points(dir, "b"), 12);
	ck_assert_uint_eq(count_points(dir, GONE), 15);
	history_store_close(&s); /* SQLite's locks end with any closing of its files here */
	ck_assert(stands_in_a_file(dir, GONE));
	s = open_store(dir);
	snprintf(path, sizeof(path), "%s/2025-11-20.db", dir);
	ck_assert_int_eq(stat(path, &before), 0);
	give_erasure(s, false);
	ck_assert_int_eq(stat(path, &after), 0);
	ck_assert_int_eq(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
	ck_assert_uint_eq(count_points(dir, GONE), 0);
	ck_assert_int_eq(history_store_flush(s), 0);
	ck_assert_uint_eq(count_points(dir, GONE), 0);
	ck_assert_uint_eq(count_points(dir, "b"), 13);
	history_store_close(&s);
	ck_assert(!stands_in_a_file(dir, GONE));
	unit_folder_free(&dir);
}
END_TEST

/* Ended at any of these moments, and the journal read again from any place: the same. */
START_TEST(read_again)
{
	for (int ended = 0; ended < 4; ended++) {
		char *dir = unit_folder_new(), path[128];
		struct history_store *s = open_store(dir);

		fill(s);
		if (ended > 0)
			ck_assert_int_eq(history_store_flush(s), 0);
		give_erasure(s, true);
		if (ended > 1)
			ck_assert_int_eq(history_store_flush(s), 0);
		if (ended > 2)
			ck_assert_uint_ge(history_store_pack(s, FAR, 0), 1);
		history_store_close(&s);
		if (ended == 1) { /* the journal is read from its beginning */
			snprintf(path, sizeof(path), "%s/" HISTORY_META, dir);
			ck_assert_int_eq(unlink(path), 0);
		}
		s = open_store(dir);
		if (history_store_cursor(s, 0) == 0 && ended == 1) {
			uint64_t offset = 0;

			for (; offset < 1200; offset += 100) {
				const struct reading r = { .device = GONE,
					.metric = "t",
					.time = DAY0 - SECOND,
					.value = 1,
					.flags = RECORD_DEVICE_TIME };

				give(s, offset, &r, 1);
			}
		}
		if (ended != 0)
			give_erasure(s, true);
		ck_assert_int_eq(history_store_flush(s), 0);
		if (ended == 0) {
			/* The erasure had written what was before it; it itself is read again. */
			ck_assert_uint_eq(history_store_cursor(s, 0), 1200);
			give_erasure(s, true);
			ck_assert_int_eq(history_store_flush(s), 0);
		}
		ck_assert_uint_eq(count_points(dir, GONE), 1);
		ck_assert_uint_eq(count_points(dir, "b"), 13);
		/* Once more, from before: what came after it stays. */
		give_erasure(s, true);
		ck_assert_int_eq(history_store_flush(s), 0);
		ck_assert_uint_eq(count_points(dir, GONE), 1);
		ck_assert_uint_eq(count_points(dir, "b"), 13);
		history_store_close(&s);
		unit_folder_free(&dir);
	}
}
END_TEST

/* Packing had ended between the pack and the file that is in it. */
START_TEST(half_packed)
{
	char *dir = unit_folder_new(), path[128], copy[160], command[400];
	struct history_store *s = open_store(dir);
	const struct reading r = {
		.device = GONE, .metric = "t", .time = DAY0 - HISTORY_DAY_US, .value = 1
	};

	give(s, 0, &r, 1);
	ck_assert_int_eq(history_store_flush(s), 0);
	history_store_close(&s);
	snprintf(path, sizeof(path), "%s/2025-11-21.db", dir);
	snprintf(copy, sizeof(copy), "%s/kept", dir);
	ck_assert_int_eq(link(path, copy), 0); /* the same file, by inode */
	s = open_store(dir);
	ck_assert_uint_eq(history_store_pack(s, FAR, 0), 1);
	ck_assert_int_eq(rename(copy, path), 0);
	give_erasure(s, false);
	ck_assert_uint_eq(count_points(dir, GONE), 0);
	ck_assert_int_eq(history_store_flush(s), 0);
	ck_assert_uint_eq(count_points(dir, "b"), 1);
	/* Damaged files stay, and stop nobody. */
	snprintf(command, sizeof(command),
	    "cd %s && echo x > 2025-11-01.db && echo x > 2025-10.pack", dir);
	ck_assert_int_eq(system(command), 0);
	give_erasure(s, false);
	history_store_close(&s);
	unit_folder_free(&dir);
}
END_TEST

START_TEST(what_erases)
{
	struct registry_object o = { MSG_DEVICE,
		{ .device = { .id = bytes_of_str("x"), .removed = true } } };
	struct buf body = { 0 };
	struct entry e = { .kind = ENTRY_CONTEXT };
	struct bytes device;

	registry_encode(&o, &body);
	e.body = buf_bytes(&body);
	ck_assert(!history_erases(&e, &device));
	buf_clear(&body);
	o.any.device.erase = true;
	registry_encode(&o, &body);
	e.body = buf_bytes(&body);
	ck_assert(history_erases(&e, &device) && bytes_equal_str(device, "x"));
	e.kind = ENTRY_READINGS;
	ck_assert(!history_erases(&e, &device));
	e = (struct entry){ .kind = ENTRY_CONTEXT, .body = bytes_of_str("x") };
	ck_assert(!history_erases(&e, &device));
	ck_assert_int_eq(
	    history_erase("/nowhere", 1, NULL, &(struct history_erasure){ .offset = 1 }), ERR_IO);
	buf_fini(&body);
}
END_TEST

UNIT_MAIN("history_erase", out_of_every_file, read_again, half_packed, what_erases)
