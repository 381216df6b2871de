/* test_bucket.c - token bucket arithmetic */
#include <check.h>
#include <stdlib.h>

#include "../unit.h"
#include "bucket.h"
#include "mem.h"

#define S 1000000

START_TEST(burst_then_rate)
{
	struct bucket_rate rate = bucket_rate_of(10, 5);
	struct bucket b;

	bucket_init(&b, &rate, 0);
	for (int i = 0; i < 5; i++)
		ck_assert(bucket_take(&b, &rate, 0));
	ck_assert(!bucket_take(&b, &rate, 0));
	ck_assert_uint_eq(bucket_wait_ms(&b, &rate), 100);
	ck_assert(!bucket_take(&b, &rate, S / 10 - 1));
	ck_assert_uint_eq(bucket_wait_ms(&b, &rate), 1);
	ck_assert(bucket_take(&b, &rate, S / 10 + 1));
	ck_assert(!bucket_take(&b, &rate, S / 10 + 2));
	/* never more than the burst */
	for (int i = 0; i < 5; i++)
		ck_assert(bucket_take(&b, &rate, 3600LL * S));
	ck_assert(!bucket_take(&b, &rate, 3600LL * S));
}
END_TEST

START_TEST(default_burst_is_one_second)
{
	struct bucket_rate rate = bucket_rate_of(3, 0);
	struct bucket b;

	bucket_init(&b, &rate, 7);
	for (int i = 0; i < 3; i++)
		ck_assert(bucket_take(&b, &rate, 7));
	ck_assert(!bucket_take(&b, &rate, 7));
}
END_TEST

START_TEST(time_does_not_go_back)
{
	struct bucket_rate rate = bucket_rate_of(1, 1);
	struct bucket b;

	bucket_init(&b, &rate, 10 * S);
	ck_assert(bucket_take(&b, &rate, 10 * S));
	ck_assert(!bucket_take(&b, &rate, 5 * S));
	ck_assert(!bucket_take(&b, &rate, 10 * S + S / 2));
	ck_assert(bucket_take(&b, &rate, 11 * S));
}
END_TEST

START_TEST(returned)
{
	struct bucket_rate rate = bucket_rate_of(1, 2);
	struct bucket b;

	bucket_init(&b, &rate, 0);
	bucket_return(&b, &rate);
	ck_assert(bucket_take(&b, &rate, 0));
	ck_assert(bucket_take(&b, &rate, 0));
	ck_assert(!bucket_take(&b, &rate, 0));
	bucket_return(&b, &rate);
	ck_assert_uint_eq(bucket_wait_ms(&b, &rate), 0);
	ck_assert(bucket_take(&b, &rate, 0));
	ck_assert(!bucket_take(&b, &rate, 0));
}
END_TEST

/* rate, burst: over a minute of trying 7 times a millisecond, burst + rate * 60 are let through, give or take one */
static const struct {
	uint64_t rate;
	uint64_t burst;
} rates[] = { { 1, 1 }, { 3, 10 }, { 999, 2 }, { 7000, 70000 }, { 6999, 0 } };

START_TEST(long_run)
{
	struct bucket_rate rate = bucket_rate_of(rates[_i].rate, rates[_i].burst);
	struct bucket b;
	uint64_t passed = 0, burst = rates[_i].burst ? rates[_i].burst : rates[_i].rate;
	uint64_t due = burst + rates[_i].rate * 60, tried = 60ull * 7000;
	int64_t now = 123456789;

	bucket_init(&b, &rate, now);
	for (int64_t ms = 0; ms < 60000; ms++) {
		for (int i = 0; i < 7; i++)
			passed += bucket_take(&b, &rate, now + ms * 1000 + i * 143);
	}
	if (due > tried)
		due = tried;
	ck_assert_msg(passed <= due + 1 && passed + 1 >= due - rates[_i].rate / 1000 - 1,
	    "%llu of %llu", (unsigned long long)passed, (unsigned long long)due);
}
END_TEST

START_TEST(fill)
{
	struct bucket_rate rate = bucket_rate_of(10, 50);
	struct bucket b;

	bucket_init(&b, &rate, 0);
	for (int i = 0; i < 50; i++)
		ck_assert(bucket_take(&b, &rate, 0));
	ck_assert(bucket_fill_us(&rate) >= 5 * S && bucket_fill_us(&rate) <= 5 * S + 1);
	for (int i = 0; i < 50; i++)
		ck_assert(bucket_take(&b, &rate, bucket_fill_us(&rate)));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("bucket");
	TCase *t = tcase_create("bucket");

	tcase_add_test(t, burst_then_rate);
	tcase_add_test(t, default_burst_is_one_second);
	tcase_add_test(t, time_does_not_go_back);
	tcase_add_test(t, returned);
	tcase_add_loop_test(t, long_run, 0, (int)COUNT_OF(rates));
	tcase_add_test(t, fill);
	suite_add_tcase(s, t);
	return unit_end(s);
}
