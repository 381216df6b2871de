/* test_backoff.c - how long a failing child waits */
#include "backoff.h"

#include "../unit.h"

/* Each wait lies between half of the doubled one and all of it, up to 30 s, however often it fails. */
START_TEST(test_doubles_to_the_maximum)
{
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct backoff b;
		int64_t full = BACKOFF_FIRST_US;

		backoff_init(&b, seed);
		for (int n = 0; n < 200; n++) {
			int64_t wait = backoff_fail(&b);

			ck_assert_msg(wait >= full / 2 && wait <= full,
			    "seed %llu, failure %d: %lld", (unsigned long long)seed, n,
			    (long long)wait);
			full = full * 2 > BACKOFF_MAX_US ? BACKOFF_MAX_US : full * 2;
		}
	}
}
END_TEST

START_TEST(test_jitter_spreads)
{
	struct backoff b;
	int64_t low = INT64_MAX, high = 0;

	for (uint64_t seed = 0; seed < 1000; seed++) {
		int64_t wait;

		backoff_init(&b, seed);
		wait = backoff_fail(&b);
		low = wait < low ? wait : low;
		high = wait > high ? wait : high;
	}
	ck_assert_int_lt(low, BACKOFF_FIRST_US * 52 / 100);
	ck_assert_int_gt(high, BACKOFF_FIRST_US * 98 / 100);
}
END_TEST

START_TEST(test_forgiven_after_a_minute)
{
	struct backoff b;

	backoff_init(&b, 1);
	for (int n = 0; n < 10; n++)
		(void)backoff_fail(&b);
	backoff_was_up(&b, BACKOFF_STEADY_US - 1);
	ck_assert_uint_eq(b.failures, 10);
	backoff_was_up(&b, BACKOFF_FORGIVEN_US - 1);
	ck_assert_uint_eq(b.failures, 5);
	backoff_was_up(&b, BACKOFF_FORGIVEN_US);
	ck_assert_uint_eq(b.failures, 0);
	ck_assert_int_le(backoff_fail(&b), BACKOFF_FIRST_US);
}
END_TEST

/* A worker that is killed every four seconds or so, a quarter of the times within a second of READY, for ten minutes. */
START_TEST(test_random_kills_do_not_add_up)
{
	struct backoff b;
	int64_t longest = 0;

	backoff_init(&b, 1);
	for (int n = 0; n < 150; n++) {
		if (n % 4 == 0) {
			int64_t wait = backoff_fail(&b);

			longest = wait > longest ? wait : longest;
		} else {
			backoff_was_up(&b, 4000000);
		}
	}
	ck_assert_int_le(longest, 2 * BACKOFF_FIRST_US);
}
END_TEST

START_TEST(test_counter_does_not_wrap)
{
	struct backoff b;

	backoff_init(&b, 1);
	b.failures = UINT32_MAX;
	ck_assert_int_ge(backoff_fail(&b), BACKOFF_MAX_US / 2);
	ck_assert_uint_eq(b.failures, UINT32_MAX);
}
END_TEST

UNIT_MAIN("backoff", test_doubles_to_the_maximum, test_jitter_spreads, test_forgiven_after_a_minute,
    test_random_kills_do_not_add_up, test_counter_does_not_wrap)
