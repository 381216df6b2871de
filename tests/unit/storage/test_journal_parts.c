/* test_journal_parts.c - the pieces of a journal one by one: marks, snapshots, prewriting, distances, what is read again */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../unit.h"
#include "err.h"
#include "le.h"
#include "mem.h"
#include "support_dir.h"
#include "support_journal.h"

static char dir[64];

static void
setup(void)
{
	test_dir_new(dir, sizeof(dir));
}

static void
teardown(void)
{
	test_dir_remove(dir);
}

START_TEST(test_warm_has_a_limit)
{
	struct journal_segment s[4] = {
		{ .base = 0, .end = 1 << 20, .size = 1 << 20 },
		{ .base = 1 << 20, .end = 40ull << 20 },
		{ .base = 40ull << 20, .end = 80ull << 20 },
		{ .base = 80ull << 20, .end = 81ull << 20 },
	};
	struct journal j = { .segments = s, .segment_count = 4 };

	journal_warm_begin(&j, 3, WALL);
	ck_assert_uint_eq(j.warm_at, (80ull << 20) - JOURNAL_WARM_MAX);
	ck_assert_uint_eq(j.warm_to, s[3].base);
	s[2].end = s[2].base + JOURNAL_WARM_MAX;
	journal_warm_begin(&j, 3, WALL);
	ck_assert_uint_eq(j.warm_at, s[2].base);
}
END_TEST

static unsigned snapshot_count;
static size_t snapshot_size;

static void
on_snapshot(void *arg, struct journal *j)
{
	uint8_t *body = xcalloc(1, snapshot_size);

	(void)arg;
	for (unsigned i = 0; i < snapshot_count; i++)
		journal_snapshot_put(j,
		    &(struct entry){
			.kind = ENTRY_STREAM, .stream = i, .body = bytes_of(body, snapshot_size) });
	free(body);
}

static uint64_t
on_snapshot_bytes(void *arg)
{
	(void)arg;
	return snapshot_count * (snapshot_size + ENTRY_HEADER_SIZE);
}

/* A snapshot of several blocks, and one whose last block is full as the last mark gets into it. */
START_TEST(test_large_snapshots)
{
	static const size_t sizes[] = { 60000,
		262144 - BLOCK_HEADER_SIZE - 3 * ENTRY_HEADER_SIZE - 40 - 8 };
	struct journal_hooks h = hooks;

	h.snapshot = on_snapshot;
	h.snapshot_bytes = on_snapshot_bytes;
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		struct journal *j = NULL;

		snapshot_size = sizes[i];
		snapshot_count = i == 0 ? 10 : 1;
		ck_assert_int_eq(try_open(dir, &h, &j), 0);
		append(j, 1);
		journal_abandon(&j);
		ck_assert_int_eq(try_open(dir, &h, &j), 0);
		check_seen("large snapshot", i, 1, 1, 0);
		journal_close(&j, WALL);
		teardown();
		setup();
	}
}
END_TEST

START_TEST(test_segment_marks)
{
	uint8_t body[40] = { 0 };
	struct segment_entry mark;
	struct entry e = { .kind = ENTRY_SEGMENT, .body = bytes_of(body, sizeof(body)) };

	le_put64(body, SEGMENT_MARK_END);
	le_put64(body + 8, SEGMENT_ENTRY_VERSION);
	ck_assert_int_eq(segment_entry_read(&e, &mark), 0);
	le_put64(body, 3);
	ck_assert_int_eq(segment_entry_read(&e, &mark), ERR_MALFORMED);
	le_put64(body + 8, SEGMENT_ENTRY_VERSION + 1);
	ck_assert_int_eq(segment_entry_read(&e, &mark), ERR_UNSUPPORTED);
	e.body.len--;
	ck_assert_int_eq(segment_entry_read(&e, &mark), ERR_MALFORMED);
	e.kind = ENTRY_TICK;
	ck_assert_int_eq(segment_entry_read(&e, &mark), ERR_MALFORMED);
}
END_TEST

static unsigned busy_said;

static void
on_busy(void *arg, uint64_t ms)
{
	(void)arg;
	busy_said += ms > 0;
}

START_TEST(test_slow_syncs_are_announced)
{
	struct journal_hooks h = hooks;
	struct journal *j = NULL;
	unsigned before;

	h.busy = on_busy;
	ck_assert_int_eq(try_open(dir, &h, &j), 0);
	j->sync_us = 1;
	before = busy_said;
	append(j, 1);
	ck_assert_uint_eq(busy_said, before);
	j->sync_us = 10000000;
	append(j, 2);
	ck_assert_uint_eq(busy_said, before + 1);
	journal_abandon(&j);
}
END_TEST

START_TEST(test_prewrite_and_rest)
{
	struct journal *j = open_at(dir, WALL);
	uint64_t zeroed = j->zeroed;
	int fd = j->fd;

	j->sync_us = 10000000; /* a slow disk is left alone */
	journal_prewrite(j, true);
	ck_assert_uint_eq(j->zeroed, zeroed);
	j->sync_us = 1;
	journal_put(j, &(struct entry){ .kind = ENTRY_TICK });
	journal_prewrite(j, true);
	journal_rest(j);
	ck_assert_uint_eq(j->zeroed, zeroed);
	ck_assert(!journal_fits(j, BLOCK_BODY_MAX));
	ck_assert_uint_gt(journal_pending(j), 0);
	journal_commit(j, WALL, &(struct block){ 0 });
	journal_rest(j);
	j->sync_us = 1;
	for (unsigned i = 0; i < 100; i++, j->sync_us = 1)
		journal_prewrite(j, true);
	ck_assert_uint_eq(j->zeroed, j->capacity);
	j->fd = -1; /* no segment could be opened */
	journal_prewrite(j, true);
	ck_assert_uint_eq(journal_room(j), 0);
	ck_assert(!journal_is_writable(j));
	journal_close(&j, WALL);
	close(fd);
}
END_TEST

START_TEST(test_prewrite_goes_so_far_ahead)
{
	struct journal_config c = warm_config(dir);
	struct journal *j = NULL;

	c.segment_bytes = 16 << 20;
	ck_assert_int_eq(journal_open(&c, &hooks, WALL, &j), 0);
	j->sync_us = 1;
	for (unsigned i = 0; i < 100; i++, j->sync_us = 1)
		journal_prewrite(j, true);
	ck_assert_uint_lt(j->zeroed, j->capacity / 2);
	journal_abandon(&j);
}
END_TEST

START_TEST(test_distance_and_damage)
{
	struct journal *j = open_at(dir, WALL);
	struct block a = append(j, 1), b = append(j, 2);
	size_t said;

	ck_assert_uint_eq(journal_distance(j, a.offset, a.next), a.next - a.offset);
	ck_assert_uint_eq(journal_distance(j, 0, a.next), a.next - journal_oldest(j));
	ck_assert_uint_eq(journal_distance(j, b.next, UINT64_MAX), 0);
	said = j->damage_said_count;
	journal_say_damage(j, a.offset, a.next);
	journal_say_damage(j, a.offset, a.next);
	ck_assert_uint_eq(j->damage_said_count, said + 1);
	journal_say_damage(j, UINT64_MAX - 8, UINT64_MAX); /* in no segment */
	for (uint64_t i = 0; i < 2 * JOURNAL_DAMAGE_SAID; i++)
		journal_say_damage(j, a.offset + 100 + i, a.next);
	ck_assert_uint_eq(j->damage_said_count, said + 2 + 2 * JOURNAL_DAMAGE_SAID);
	journal_abandon(&j);
}
END_TEST

START_TEST(test_the_oldest_cannot_be_unlinked)
{
	struct journal *j = open_at(dir, WALL);
	char name[JOURNAL_NAME_MAX], path[160];

	for (uint64_t seq = 1; seq <= 3; seq++) {
		append(j, seq);
		ck_assert_int_eq(journal_roll(j, 0, WALL), 0);
	}
	journal_segment_name(j->segments[0].base, name);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(journal_unlink_oldest(j), 0); /* somebody was faster */
	journal_segment_name(j->segments[0].base, name);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_int_eq(journal_unlink_oldest(j), ERR_IO);
	ck_assert_int_eq(rmdir(path), 0);
	journal_abandon(&j);
}
END_TEST

UNIT_MAIN_IN("journal_parts", setup, teardown, test_warm_has_a_limit, test_large_snapshots,
    test_segment_marks, test_slow_syncs_are_announced, test_prewrite_and_rest,
    test_prewrite_goes_so_far_ahead, test_distance_and_damage, test_the_oldest_cannot_be_unlinked)
