/* test_auth_limits.c - who is admitted when, and who waits for what failed before */
#include "../unit.h"
#include "auth_limits.h"

#include <check.h>
#include <stdio.h>

#define SECOND 1000000ll

static struct auth_limits l;
static int64_t now;

static void
begin(uint32_t rate, uint32_t source_rate)
{
	auth_limits_fini(&l);
	auth_limits_init(&l, 7);
	l.rate = rate;
	l.source_rate = source_rate;
	l.wait_max_us = 3 * SECOND;
	l.backoff_max_us = 30 * SECOND;
	now = 1000 * SECOND;
}

static struct peer
v4(uint8_t last)
{
	const uint8_t ip[4] = { 192, 0, 2, last };

	return peer_of_v4(ip, 1000);
}

/* How many of n are admitted at once, later, and not. */
struct fate {
	size_t at_once, later, not ;
	int64_t longest_us, retry_us;
};

static struct fate
storm(const struct peer *source, size_t n)
{
	struct fate f = { 0 };

	for (size_t i = 0; i < n; i++) {
		int64_t wait;

		if (!auth_limits_admit(&l, source, now, &wait)) {
			f.not ++;
			f.retry_us = wait;
		} else if (wait) {
			ck_assert_int_ge(wait, f.longest_us);
			f.longest_us = wait;
			f.later++;
		} else {
			f.at_once++;
		}
	}
	return f;
}

START_TEST(a_storm_is_spread)
{
	struct peer p = v4(1);
	struct fate f;

	begin(1000, 0);
	f = storm(&p, 10000);
	ck_assert_uint_eq(f.at_once, 1000);
	ck_assert_uint_eq(f.later, 3000);
	ck_assert_uint_eq(f.not, 6000);
	ck_assert_int_eq(f.longest_us, 3 * SECOND);
	ck_assert_int_gt(f.retry_us, 3 * SECOND);
	/* Later the bucket is full again, and no more than full. */
	now += 100 * SECOND;
	f = storm(&p, 2000);
	ck_assert_uint_eq(f.at_once, 1000);
	ck_assert_uint_eq(f.later, 1000);
}
END_TEST

START_TEST(one_source_leaves_room_for_others)
{
	struct peer one = v4(1), other = v4(2);
	struct fate f;

	begin(1000, 100);
	f = storm(&one, 5000);
	ck_assert_uint_eq(f.at_once, 100);
	ck_assert_uint_eq(f.later, 300);
	f = storm(&other, 100);
	ck_assert_uint_eq(f.at_once, 100);
	/* Who is not known counts with all only. */
	f = storm(NULL, 100);
	ck_assert_uint_eq(f.at_once, 100);
	begin(0, 0);
	ck_assert_uint_eq(storm(&one, 100000).at_once, 100000);
}
END_TEST

static int64_t
left(const struct peer *p, const char *identity)
{
	return auth_limits_backoff(&l, p, bytes_of_str(identity), now);
}

static void
failed(const struct peer *p, const char *identity, size_t n)
{
	while (n--)
		auth_limits_failed(&l, p, bytes_of_str(identity), now);
}

START_TEST(failures_cost_time)
{
	struct peer p = v4(1), other = v4(2);

	begin(0, 0);
	failed(&p, "ann", AUTH_IDENTITY_FREE);
	ck_assert_int_eq(left(&p, "ann"), 0);
	failed(&p, "ann", 1);
	ck_assert_int_eq(left(&p, "ann"), SECOND);
	/* From elsewhere, too; others not. */
	ck_assert_int_eq(left(&other, "ann"), SECOND);
	ck_assert_int_eq(left(&p, "bob"), 0);
	failed(&p, "ann", 1);
	ck_assert_int_eq(left(&p, "ann"), 2 * SECOND);
	now += SECOND;
	ck_assert_int_eq(left(&p, "ann"), SECOND);
	failed(&p, "ann", 20);
	ck_assert_int_eq(left(&p, "ann"), 30 * SECOND);
	/* So many of one source count for whoever it tries next. */
	ck_assert_int_eq(left(&p, "bob"), 30 * SECOND);
	ck_assert_int_eq(left(&other, "bob"), 0);
	/* They are forgiven by and by. */
	now += 10 * 60 * SECOND;
	ck_assert_int_eq(left(&p, "ann"), 0);
	failed(&p, "ann", 1);
	ck_assert_int_eq(left(&p, "ann"), 0);
}
END_TEST

START_TEST(who_has_proven_it_is_not_locked_out)
{
	struct peer home = v4(1), attacker = v4(2);

	begin(0, 0);
	auth_limits_proven(&l, &home, bytes_of_str("ann"), now);
	failed(&attacker, "ann", 1000);
	ck_assert_int_eq(left(&attacker, "ann"), 30 * SECOND);
	ck_assert_int_eq(left(&home, "ann"), 0);
	/* Not even by others at its address, though those who have not proven anything wait. */
	failed(&home, "bob", 1000);
	ck_assert_int_eq(left(&home, "ann"), 0);
	ck_assert_int_eq(left(&home, "eve"), 30 * SECOND);
	failed(&home, "ann", 1000);
	ck_assert_int_eq(left(&home, "ann"), AUTH_KNOWN_MAX_US);
	auth_limits_proven(&l, &home, bytes_of_str("ann"), now);
	ck_assert_int_eq(left(&home, "ann"), 0);
}
END_TEST

START_TEST(of_ipv6_the_network_counts)
{
	uint8_t ip[16] = { 0x20, 1, 0xd, 0xb8, 1, 2, 3, 4 };
	struct peer a = peer_of_v6(ip, 1), b, c;

	ip[15] = 9;
	b = peer_of_v6(ip, 2);
	ip[7] = 9;
	c = peer_of_v6(ip, 2);
	begin(0, 0);
	failed(&a, "x", 20);
	ck_assert_int_gt(left(&b, "y"), 0);
	ck_assert_int_eq(left(&c, "y"), 0);
}
END_TEST

START_TEST(the_table_is_bounded_and_forgets_the_oldest)
{
	struct peer p = v4(1), other = v4(2), third = v4(3);
	char name[32];

	begin(0, 0);
	failed(&p, "ann", 20);
	for (int i = 0; i < 4 * AUTH_MARKS; i++) {
		snprintf(name, sizeof(name), "%d", i);
		now++;
		failed(&other, name, 1);
	}
	ck_assert_int_eq(left(&third, "ann"), 0);
	ck_assert_int_gt(left(&other, "ann"), 0);
}
END_TEST

UNIT_MAIN("auth_limits", a_storm_is_spread, one_source_leaves_room_for_others, failures_cost_time,
    who_has_proven_it_is_not_locked_out, of_ipv6_the_network_counts,
    the_table_is_bounded_and_forgets_the_oldest)
