/* test_answers.c - answers wait for Redis, not for ever, in order */
#include "answers.h"

#include <check.h>

#include "../unit.h"

static uint64_t told[ANSWERS_MAX + 8];
static size_t count;

static void
tell(void *arg, const char *peer, const struct msg_changed *m)
{
	ck_assert_ptr_eq(arg, told);
	ck_assert_str_eq(peer, "device-1");
	ck_assert_uint_eq(m->reason.len, 0);
	told[count++] = m->number;
}

static void
hold(struct answers *a, uint64_t number, uint64_t n, int64_t now)
{
	answers_hold(a, "device-1",
	    &(struct msg_changed){ .number = number, .reason = bytes_of_str("x") }, n, now);
}

START_TEST(test_in_order)
{
	struct answers *a = answers_new(tell, told);

	hold(a, 1, 10, 0);
	hold(a, 2, 20, 100);
	hold(a, 3, 30, 200);
	answers_release(a, 9, 1000);
	ck_assert_uint_eq(count, 0);
	answers_release(a, 25, 1000);
	ck_assert(count == 2 && told[0] == 1 && told[1] == 2);
	answers_release(a, 25, 200 + ANSWERS_HOLD_US - 1);
	ck_assert_uint_eq(count, 2);
	answers_release(a, 25, 200 + ANSWERS_HOLD_US); /* long enough */
	ck_assert(count == 3 && told[2] == 3);
	hold(a, 4, 40, 300);
	answers_release(a, UINT64_MAX, 300); /* Redis is away */
	ck_assert_uint_eq(count, 4);
	hold(a, 5, 50, 400);
	answers_free(&a);
	ck_assert(count == 5 && told[4] == 5);
	answers_free(&a);
}
END_TEST

START_TEST(test_bounded)
{
	struct answers *a = answers_new(tell, told);

	for (uint64_t i = 0; i < ANSWERS_MAX + 2; i++)
		hold(a, i, 1000, 0);
	ck_assert(count == 2 && told[0] == 0 && told[1] == 1);
	answers_free(&a);
	ck_assert_uint_eq(count, ANSWERS_MAX + 2);
}
END_TEST

UNIT_MAIN("answers", test_in_order, test_bounded)
