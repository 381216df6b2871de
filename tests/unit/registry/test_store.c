/* test_store.c - registry.db comes to the same, in whatever order and however often the journal is read */
#include "store.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../unit.h"
#include "err.h"
#include "log.h"
#include "mem.h"
#include "support_registry.h"

static struct store *
open_store(void)
{
	struct store *s = NULL;

	log_init("test", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	ck_assert_int_eq(store_open(dir, 2, &s), 0);
	return s;
}

START_TEST(test_greater_version_wins)
{
	struct store *s = open_store();
	struct registry_object one = device("gh-1", 1), two = device("gh-1", 2),
			       three = device("gh-1", 3);
	bool gone = false;

	ck_assert_int_eq(apply(s, &two), 0);
	ck_assert_int_eq(apply(s, &one), ERR_EXISTS);
	ck_assert_int_eq(apply(s, &two), ERR_EXISTS);
	ck_assert_uint_eq(store_last(s), 1);
	ck_assert_uint_eq(store_devices(s), 1);
	two.any.device.blocked = true;
	ck_assert_int_eq(apply(s, &two), ERR_EXISTS); /* the first of two with a version stays */
	three.any.device.removed = true;
	ck_assert_int_eq(apply(s, &three), 0);
	ck_assert_uint_eq(version_of(s, &one, &gone), 3);
	ck_assert(gone);
	ck_assert_uint_eq(store_devices(s), 0);
	ck_assert_int_eq(apply(s, &two), ERR_EXISTS); /* nothing comes back */
	store_close(&s);
}
END_TEST

#define ENTRIES 60u

static void put_all(struct store *s, struct buf *out, enum msg_type type);

/* Any order, any repeats, any places at which it ended and began again: the same objects. */
START_TEST(test_any_order)
{
	struct registry_object entries[ENTRIES];
	char names[8][16];
	struct buf want = { 0 };
	unsigned seed = 7;

	for (int i = 0; i < 8; i++)
		snprintf(names[i], sizeof(names[i]), "o%d", i);
	for (unsigned i = 0; i < ENTRIES; i++) {
		uint64_t version = i / 8 + 1;
		const char *name = names[i % 8];

		if (i % 8 < 4)
			entries[i] = device(name, version);
		else
			entries[i] = token(name, names[i % 4], version, version % 3 == 0);
		if (i % 8 < 4)
			entries[i].any.device.blocked = version % 2;
	}
	for (int round = 0; round < 20; round++) {
		struct store *s = open_store();
		struct buf got = { 0 };

		for (unsigned i = 0; i < ENTRIES; i++) {
			(void)apply(s, &entries[i]);
			(void)apply(s, &entries[(unsigned)rand_r(&seed) % ENTRIES]);
			if (rand_r(&seed) % 16 == 0) {
				store_close(&s);
				s = open_store();
			}
		}
		put_all(s, &got, MSG_DEVICE);
		put_all(s, &got, MSG_CREDENTIAL);
		if (round == 0)
			buf_add(&want, got.data, got.len);
		ck_assert(want.len > 0 && bytes_equal(buf_bytes(&got), buf_bytes(&want)));
		ck_assert_uint_eq(store_devices(s), 4);
		store_close(&s);
		remove_dir();
		make_dir();
		for (unsigned i = 0; i < ENTRIES; i++) {
			unsigned k = (unsigned)rand_r(&seed) % ENTRIES;
			struct registry_object o = entries[i];

			entries[i] = entries[k];
			entries[k] = o;
		}
		buf_fini(&got);
	}
	buf_fini(&want);
}
END_TEST

static int
add_body(void *arg, uint64_t n, struct bytes body)
{
	(void)n;
	buf_add(arg, body.data, body.len);
	return 0;
}

static void
put_all(struct store *s, struct buf *out, enum msg_type type)
{
	ck_assert_int_eq(store_list(s, type, text(""), add_body, out), 0);
}

START_TEST(test_attributes)
{
	struct store *s = open_store();
	struct registry_object d = device("gh-1", 1), a = attribute("gh-1", "floor", "2", 0);

	ck_assert_int_eq(apply(s, &a), ERR_NOT_FOUND); /* of no device */
	ck_assert_int_eq(apply(s, &d), 0);
	/* Without a version: the later one wins. */
	ck_assert_int_eq(apply(s, &a), 0);
	a.any.attribute.value = text("3");
	ck_assert_int_eq(apply(s, &a), 0);
	ck_assert_uint_eq(version_of(s, &a, NULL), 2);
	a = attribute("gh-1", "floor", "4", 2);
	ck_assert_int_eq(apply(s, &a), ERR_EXISTS);
	a = attribute("gh-1", "floor", "4", 3);
	ck_assert_int_eq(apply(s, &a), 0);
	d = device("gh-1", 2);
	d.any.device.removed = true;
	ck_assert_int_eq(apply(s, &d), 0);
	ck_assert_uint_eq(version_of(s, &a, NULL), 0);
	ck_assert_int_eq(apply(s, &a), ERR_NOT_FOUND);
	store_close(&s);
}
END_TEST

struct seen {
	uint64_t n[8];
	size_t count;
};

static int
see(void *arg, uint64_t n, struct bytes body)
{
	struct seen *seen = arg;

	(void)body;
	ck_assert_uint_lt(seen->count, COUNT_OF(seen->n));
	seen->n[seen->count++] = n;
	return seen->count == 7 ? ERR_FULL : 0;
}

START_TEST(test_changes_and_lists)
{
	struct store *s = open_store();
	struct registry_object objects[] = { device("b", 1), device("a", 1),
		token("t1", "a", 1, false), token("t2", "a", 1, true), token("t3", "b", 1, false),
		device("b", 2) };
	struct seen seen = { .count = 0 };

	for (size_t i = 0; i < COUNT_OF(objects); i++)
		ck_assert_int_eq(apply(s, &objects[i]), 0);
	ck_assert_uint_eq(store_last(s), 6);
	ck_assert_uint_eq(store_credentials(s), 2);
	ck_assert_int_eq(store_changes(s, 0, 3, see, &seen), 0);
	ck_assert(seen.count == 3 && seen.n[0] == 2 &&
		  seen.n[2] == 4); /* the first change of b was overtaken */
	seen.count = 0;
	ck_assert_int_eq(store_changes(s, 4, 100, see, &seen), 0);
	ck_assert(seen.count == 2 && seen.n[0] == 5 && seen.n[1] == 6);
	seen.count = 0;
	ck_assert_int_eq(store_list(s, MSG_DEVICE, text(""), see, &seen), 0);
	ck_assert(seen.count == 2 && seen.n[0] == 2 && seen.n[1] == 6); /* by key */
	seen.count = 0;
	ck_assert_int_eq(store_list(s, MSG_CREDENTIAL, text("a"), see, &seen), 0);
	ck_assert(seen.count == 1 && seen.n[0] == 3); /* not what is revoked */
	seen.count = 6;
	ck_assert_int_eq(
	    store_list(s, MSG_DEVICE, text(""), see, &seen), ERR_FULL); /* it ended the walk */
	store_close(&s);
}
END_TEST

START_TEST(test_cursor_with_its_effect)
{
	struct store *s = open_store();
	struct registry_object d = device("gh-1", 1);
	struct buf body = { 0 };
	const uint64_t cursors[2] = { 100, 200 };
	char id[STORE_ID_MAX];

	registry_encode(&d, &body);
	ck_assert_int_eq(store_begin(s), 0);
	ck_assert_int_eq(store_apply(s, &d, buf_bytes(&body)), 0);
	store_rollback(s);
	ck_assert(store_last(s) == 0 && store_devices(s) == 0 && version_of(s, &d, NULL) == 0);
	ck_assert_int_eq(store_begin(s), 0);
	ck_assert_int_eq(store_apply(s, &d, buf_bytes(&body)), 0);
	ck_assert_int_eq(store_commit(s, cursors), 0);
	/* Another that is killed amid a transaction. */
	ck_assert_int_eq(store_begin(s), 0);
	d.any.device.version = 2;
	buf_clear(&body);
	registry_encode(&d, &body);
	ck_assert_int_eq(store_apply(s, &d, buf_bytes(&body)), 0);
	snprintf(id, sizeof(id), "%s", store_id(s));
	store_close(&s);
	s = open_store();
	ck_assert_str_eq(store_id(s), id);
	ck_assert_uint_eq(strlen(id), 32);
	ck_assert(
	    store_cursor(s, 0) == 100 && store_cursor(s, 1) == 200 && store_cursor(s, 2) == 0);
	ck_assert(store_last(s) == 1 && store_devices(s) == 1 && version_of(s, &d, NULL) == 1);
	store_close(&s);
	buf_fini(&body);
}
END_TEST

START_TEST(test_one_writes_many_read)
{
	struct store *s, *other = NULL, *reader = NULL;
	struct registry_object d = device("gh-1", 1);

	ck_assert_int_eq(store_open_readonly(dir, &reader), ERR_NOT_FOUND);
	s = open_store();
	ck_assert_int_eq(store_open(dir, 2, &other), ERR_AGAIN);
	ck_assert_int_eq(store_open_readonly(dir, &reader), 0);
	ck_assert_uint_eq(version_of(reader, &d, NULL), 0);
	ck_assert_int_eq(apply(s, &d), 0);
	ck_assert_uint_eq(version_of(reader, &d, NULL), 1);
	store_close(&s);
	ck_assert_int_eq(store_open(dir, 2, &other), 0);
	store_close(&other);
	store_close(&reader);
}
END_TEST

START_TEST(test_what_cannot_be_opened)
{
	struct store *s = open_store();
	char path[128], command[256];
	int fd;

	store_close(&s);
	snprintf(path, sizeof(path), "%s/registry.db", dir);
	fd = open(path, O_WRONLY | O_TRUNC);
	ck_assert(
	    fd >= 0 &&
	    write(fd, "this is no database, this is no database, this is none at all", 60) == 60);
	close(fd);
	ck_assert_int_eq(store_open(dir, 2, &s), ERR_DAMAGED);
	ck_assert_int_eq(store_open_readonly(dir, &s), ERR_DAMAGED);
	unlink(path);
	snprintf(command, sizeof(command), "sqlite3 %s 'PRAGMA user_version=9'", path);
	ck_assert_int_eq(system(command), 0);
	ck_assert_int_eq(store_open(dir, 2, &s), ERR_UNSUPPORTED);
	unlink(path);
	snprintf(path, sizeof(path), "%s/none/none", dir);
	ck_assert_int_eq(store_open(path, 2, &s), ERR_IO);
}
END_TEST

UNIT_MAIN_IN("store", make_dir, remove_dir, test_greater_version_wins, test_any_order,
    test_attributes, test_changes_and_lists, test_cursor_with_its_effect, test_one_writes_many_read,
    test_what_cannot_be_opened)
