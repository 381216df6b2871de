/* test_recent.c - the newest blocks are found where they are, whoever's memory they lie in, and bounded */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "mem.h"
#include "recent.h"

#define HEADER 48

static struct recent r;
static struct buf owner;
static uint64_t end;

static void
setup(void)
{
	end = 1000;
	owner = (struct buf){ 0 };
	recent_init(&r, end);
}

static void
teardown(void)
{
	recent_fini(&r);
	buf_fini(&owner);
}

/* A block whose bytes all tell where it starts, built as the journal does. */
static void
add(size_t body)
{
	struct block b = { .offset = end, .next = end + body + HEADER, .time = (int64_t)end };

	buf_clear(&owner);
	memset(buf_reserve(&owner, body + HEADER), (int)(end % 251), body + HEADER);
	owner.len = body + HEADER;
	b.body = bytes_of(owner.data + HEADER, body);
	recent_add(&r, &b, &owner);
	end = b.next;
}

/* Everything from r.from to the end is there, in order, unchanged. */
static size_t
walk(void)
{
	uint64_t cursor = r.from;
	const struct block *b;
	size_t n = 0;

	for (; (b = recent_find(&r, cursor)) != NULL; cursor = b->next, n++) {
		ck_assert_uint_eq(b->offset, cursor);
		for (size_t i = 0; i < b->body.len; i += 97)
			ck_assert_uint_eq(b->body.data[i], b->offset % 251);
	}
	ck_assert_uint_eq(cursor, end);
	ck_assert_uint_eq(n, r.count);
	ck_assert_uint_le(r.bytes, RECENT_BYTES_MAX);
	return n;
}

START_TEST(test_any_size)
{
	static const size_t sizes[] = { 24, 100, 32767, 32768, 50000, 24, 131072, 1 << 20, 700000,
		64 };

	for (unsigned round = 0; round < 200; round++) {
		add(sizes[round % COUNT_OF(sizes)] + round);
		if (round % 7 == 0)
			ck_assert_uint_gt(walk(), 0);
	}
	walk();
	ck_assert_ptr_null(recent_find(&r, end));
	ck_assert_ptr_null(recent_find(&r, r.from - 1));
}
END_TEST

START_TEST(test_many_small_ones)
{
	for (unsigned i = 0; i < RECENT_BLOCKS_MAX + 500; i++)
		add(24);
	ck_assert_uint_eq(walk(), RECENT_BLOCKS_MAX);
}
END_TEST

START_TEST(test_forgets_what_all_have_read)
{
	uint64_t middle = 0;

	for (unsigned i = 0; i < 20; i++) {
		if (i == 10)
			middle = end;
		add(i % 2 ? 40000 : 100);
	}
	recent_forget(&r, middle);
	ck_assert_uint_eq(r.from, middle);
	ck_assert_uint_eq(walk(), 10);
	recent_forget(&r, end);
	ck_assert_uint_eq(r.count, 0);
	ck_assert_uint_eq(r.bytes, 0);
	ck_assert_ptr_null(recent_find(&r, middle));
	add(500);
	ck_assert_uint_eq(walk(), 1);
}
END_TEST

UNIT_MAIN_IN(
    "recent", setup, teardown, test_any_size, test_many_small_ones, test_forgets_what_all_have_read)
