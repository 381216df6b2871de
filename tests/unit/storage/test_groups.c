/* test_groups.c - one owner for each partition, epochs that grow, and no more moves than needed */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "../unit.h"
#include "err.h"
#include "groups.h"

#define PARTITIONS 16

static struct group g;

static void
setup(void)
{
	group_init(&g, "rules", 0, 1, PARTITIONS);
}

static void
teardown(void)
{
	group_fini(&g);
}

static struct group_member *
join(const char *name, uint64_t life)
{
	struct group_member *m = NULL;

	ck_assert_int_eq(group_join(&g, name, life, &m), 0);
	return m;
}

static void
settle(uint64_t end)
{
	group_rebalance(&g, end);
	for (size_t i = 0; i < g.member_count; i++)
		g.members[i]->changed = false;
}

static unsigned
owned(const struct group_member *m)
{
	unsigned n = 0;

	for (size_t i = 0; i < g.slot_count; i++)
		n += g.slots[i].owner == m;
	return n;
}

START_TEST(test_partitions_of_a_shard)
{
	static const struct {
		uint32_t shard, shards, partitions, count;
	} cases[] = { { 0, 1, 16, 16 }, { 1, 4, 16, 4 }, { 3, 4, 17, 4 }, { 0, 4, 17, 5 },
		{ 5, 8, 3, 0 } };

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct group one;

		group_init(&one, "x", cases[i].shard, cases[i].shards, cases[i].partitions);
		ck_assert_uint_eq(one.slot_count, cases[i].count);
		for (uint32_t p = 0; p < cases[i].partitions + 2; p++) {
			size_t slot = group_slot_of(&one, p);

			if (p < cases[i].partitions && p % cases[i].shards == cases[i].shard)
				ck_assert_uint_eq(one.slots[slot].partition, p);
			else
				ck_assert_uint_eq(slot, one.slot_count);
		}
		group_fini(&one);
	}
}
END_TEST

START_TEST(test_only_its_own_partitions_move)
{
	struct group_member *m[5];
	struct group_member *before[PARTITIONS];
	char name[8];

	for (unsigned k = 0; k < 4; k++) {
		snprintf(name, sizeof(name), "rules-%u", k);
		m[k] = join(name, 1);
	}
	settle(100);
	for (unsigned i = 0; i < PARTITIONS; i++) {
		before[i] = g.slots[i].owner;
		ck_assert(before[i] != NULL);
	}
	m[4] = join("rules-4", 1);
	group_rebalance(&g, 200);
	for (unsigned i = 0; i < PARTITIONS; i++)
		ck_assert(g.slots[i].owner == before[i] || g.slots[i].owner == m[4]);
	ck_assert(m[4]->changed);
	for (unsigned k = 0; k < 4; k++) {
		unsigned lost = 0;

		for (unsigned i = 0; i < PARTITIONS; i++)
			lost += before[i] == m[k] && g.slots[i].owner != m[k];
		ck_assert(m[k]->changed == (lost > 0));
	}
	group_leave(&g, &m[4]);
	group_rebalance(&g, 300);
	for (unsigned i = 0; i < PARTITIONS; i++)
		ck_assert(g.slots[i].owner == before[i]);
}
END_TEST

START_TEST(test_epochs_fence)
{
	struct group_member *a = join("rules-0", 1), *b;
	uint64_t first, second;

	settle(1000);
	first = a->epoch;
	ck_assert_uint_ge(first, 1000);
	ck_assert(group_owns(&g, "rules-0", 1, 3, first));
	ck_assert(!group_owns(&g, "rules-0", 1, 3, first - 1));
	ck_assert(!group_owns(&g, "rules-0", 1, 3, first + 1));
	ck_assert(!group_owns(&g, "rules-0", 2, 3, first));
	ck_assert(!group_owns(&g, "rules-1", 1, 3, first));
	ck_assert(!group_owns(&g, "rules-0", 1, PARTITIONS, first));

	/* Asked again by the same life: what it holds stays its own, under both epochs. */
	ck_assert(join("rules-0", 1) == a);
	settle(1000);
	second = a->epoch;
	ck_assert_uint_gt(second, first);
	ck_assert(group_owns(&g, "rules-0", 1, 3, first));
	ck_assert(group_owns(&g, "rules-0", 1, 3, second));

	/* Another life: from the moment it joins nothing of the old one counts. */
	b = join("rules-0", 2);
	ck_assert(!group_owns(&g, "rules-0", 1, 3, second));
	settle(1000);
	ck_assert(!group_owns(&g, "rules-0", 1, 3, second));
	ck_assert(!group_owns(&g, "rules-0", 2, 3, second));
	ck_assert(group_owns(&g, "rules-0", 2, 3, b->epoch));
	ck_assert_uint_eq(g.member_count, 1);
	ck_assert_uint_eq(owned(b), PARTITIONS);
}
END_TEST

START_TEST(test_nobody_and_too_many)
{
	struct group_member *m;
	char name[16];

	settle(5);
	for (unsigned i = 0; i < PARTITIONS; i++)
		ck_assert(!group_owns(&g, "rules-0", 1, i, 5));
	for (unsigned k = 0; k < GROUP_MEMBERS_MAX; k++) {
		snprintf(name, sizeof(name), "rules-%u", k);
		join(name, 1);
	}
	ck_assert_int_eq(group_join(&g, "one-more", 1, &m), ERR_FULL);
	settle(6);
	while (g.member_count) {
		m = g.members[0];
		group_leave(&g, &m);
	}
	settle(7);
	for (unsigned i = 0; i < PARTITIONS; i++)
		ck_assert(g.slots[i].owner == NULL);
}
END_TEST

UNIT_MAIN_IN("groups", setup, teardown, test_partitions_of_a_shard,
    test_only_its_own_partitions_move, test_epochs_fence, test_nobody_and_too_many)
