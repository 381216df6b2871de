/* test_dedup.c - what is remembered of a device's messages, how long and how many */
#include <check.h>
#include <stdlib.h>

#include "dedup.h"

#define WINDOW 1000

static struct dedup d;

static void
setup(void)
{
	dedup_init(&d, 4, WINDOW);
}

static void
teardown(void)
{
	dedup_fini(&d);
}

START_TEST(test_matches)
{
	static const struct {
		const char *label;
		uint64_t client;
		uint16_t packet_id;
		uint64_t hash;
		int64_t now;
		bool has;
	} cases[] = {
		{ "the same", 1, 2, 3, 100, true },
		{ "at the end of the window", 1, 2, 3, 100 + WINDOW, true },
		{ "after it", 1, 2, 3, 101 + WINDOW, false },
		{ "other client", 9, 2, 3, 100, false },
		{ "other packet id", 1, 9, 3, 100, false },
		{ "other payload", 1, 2, 9, 100, false },
	};

	dedup_add(&d, 1, 2, 3, 100);
	ck_assert_msg(dedup_has(&d, cases[_i].client, cases[_i].packet_id, cases[_i].hash,
			  cases[_i].now) == cases[_i].has,
	    "%s", cases[_i].label);
}
END_TEST

START_TEST(test_newer_replaces)
{
	dedup_add(&d, 1, 2, 3, 100);
	dedup_add(&d, 1, 2, 4, 101);
	ck_assert_uint_eq(d.count, 1);
	ck_assert(!dedup_has(&d, 1, 2, 3, 101));
	ck_assert(dedup_has(&d, 1, 2, 4, 101));
}
END_TEST

START_TEST(test_oldest_goes_first)
{
	uint16_t i;

	for (i = 0; i < 1000; i++) {
		dedup_add(&d, 7, i, i, i);
		ck_assert_uint_le(d.count, 4);
	}
	for (i = 996; i < 1000; i++)
		ck_assert(dedup_has(&d, 7, i, i, 999));
	ck_assert(!dedup_has(&d, 7, 995, 995, 999));
}
END_TEST

/* Against a plain list, while nothing is forgotten yet. */
START_TEST(test_against_a_list)
{
	struct {
		uint64_t client;
		uint16_t id;
		uint64_t hash;
	} last[128];
	struct dedup big;
	unsigned seed = 12345, step, n = 0, k;

	dedup_init(&big, 2000, 1 << 30);
	for (step = 0; step < 2000; step++) {
		uint64_t client, hash;
		uint16_t id;

		seed = seed * 1103515245u + 12345u;
		client = seed >> 8 & 15;
		id = (uint16_t)(seed >> 16 & 7);
		hash = seed >> 24;
		dedup_add(&big, client, id, hash, step);
		for (k = 0; k < n && (last[k].client != client || last[k].id != id); k++)
			;
		if (k < n) {
			last[k].hash = hash;
		} else {
			last[n].client = client;
			last[n].id = id;
			last[n++].hash = hash;
		}
		for (k = 0; k < n; k++) {
			ck_assert(dedup_has(&big, last[k].client, last[k].id, last[k].hash, step));
			ck_assert(!dedup_has(
			    &big, last[k].client, last[k].id, last[k].hash + 1000, step));
		}
	}
	dedup_fini(&big);
}
END_TEST

START_TEST(test_nothing_is_remembered_with_capacity_0)
{
	struct dedup none;

	dedup_init(&none, 0, WINDOW);
	dedup_add(&none, 1, 2, 3, 4);
	ck_assert(!dedup_has(&none, 1, 2, 3, 4));
	dedup_fini(&none);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("dedup");
	TCase *tc = tcase_create("dedup");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, test_matches, 0, 6);
	tcase_add_test(tc, test_newer_replaces);
	tcase_add_test(tc, test_oldest_goes_first);
	tcase_add_test(tc, test_against_a_list);
	tcase_add_test(tc, test_nothing_is_remembered_with_capacity_0);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
