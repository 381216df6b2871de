/* test_backoff.c - how long a failing child waits */
#include "backoff.h"

#include "../unit.h"

static void
fail_free(struct backoff *b)
{
	for (int n = 0; n < BACKOFF_FREE; n++)
		ck_assert_int_eq(backoff_fail(b), 0);
}

/* After the free ones each wait lies between half of the doubled one and all of it, up to 30 s, however often it fails. */
START_TEST(test_doubles_to_the_maximum)
{
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct backoff b;
		int64_t full = BACKOFF_FIRST_US;

		backoff_init(&b, seed);
		fail_free(&b);
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
		fail_free(&b);
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
	fail_free(&b);
	ck_assert_int_gt(backoff_fail(&b), 0);
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
	ck_assert_int_eq(longest, 0);
}
END_TEST

/* A worker that dies as soon as it is READY is started some fifteen times in its first minute, and twice a minute for ever after: at
 * 20 ms of processor a start that is a thousandth. */
START_TEST(test_a_crash_loop_is_cheap)
{
	struct backoff b;
	int64_t at = 0;
	int first = 0, hour = 0;

	backoff_init(&b, 1);
	for (; at < 3600000000ll; at += backoff_fail(&b)) {
		first += at < 60000000;
		hour++;
	}
	ck_assert_int_le(first, 18);
	ck_assert_int_le(hour, 18 + 3600 / 15);
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
    test_random_kills_do_not_add_up, test_a_crash_loop_is_cheap, test_counter_does_not_wrap)
