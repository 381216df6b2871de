/* test_per_address.c - counts of connections against a plain list of them */
#include "../unit.h"
#include "per_address.h"

#include <check.h>
#include <string.h>

#include "mem.h"

static struct peer
peer_number(uint32_t n)
{
	const uint8_t v4[4] = { 10, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n };
	uint8_t v6[16] = { 0x20, 1, 0xd, 0xb8, 0, (uint8_t)(n >> 16), (uint8_t)(n >> 8),
		(uint8_t)n };

	return n % 2 ? peer_of_v4(v4, (uint16_t)n) : peer_of_v6(v6, (uint16_t)n);
}

START_TEST(as_many_as_allowed)
{
	struct per_address a;
	struct peer v4 = peer_number(1), v6 = peer_number(2), same_net = v6,
		    unknown = { .port = 1 };

	per_address_init(&a, 3, 1);
	same_net.ip[15] = 77;
	for (int i = 0; i < 3; i++)
		ck_assert(per_address_take(&a, &v4));
	ck_assert(!per_address_take(&a, &v4));
	ck_assert(per_address_take(&a, &v6) && per_address_take(&a, &same_net));
	ck_assert(per_address_take(&a, &v6) && !per_address_take(&a, &same_net));
	for (int i = 0; i < 10; i++)
		ck_assert(per_address_take(&a, &unknown));
	per_address_give(&a, &v4);
	per_address_give(&a, &unknown);
	v4.port = 9;
	ck_assert(per_address_take(&a, &v4));
	ck_assert(!per_address_take(&a, &v4));
	ck_assert_uint_eq(a.used, 2);
	per_address_fini(&a);
	per_address_init(&a, 0, 1);
	for (int i = 0; i < 10; i++)
		ck_assert(per_address_take(&a, &v4));
	ck_assert_uint_eq(a.size, 0);
	per_address_give(&a, &v4);
	per_address_fini(&a);
}
END_TEST

/* Many addresses come and go, in an order that a small generator gives. */
START_TEST(nothing_is_left_over)
{
	enum { ADDRESSES = 3000, STEPS = 300000, MAX = 2 };
	static unsigned counts[ADDRESSES];
	struct per_address a;
	uint32_t x = 12345;
	size_t used = 0;

	per_address_init(&a, MAX, 99);
	for (int step = 0; step < STEPS; step++) {
		struct peer p;
		uint32_t n;

		x = x * 1664525u + 1013904223u;
		n = (x >> 8) % ADDRESSES;
		p = peer_number(n);
		if (x >> 31) {
			ck_assert_int_eq(per_address_take(&a, &p), counts[n] < MAX);
			used += counts[n] == 0;
			counts[n] += counts[n] < MAX;
		} else if (counts[n]) {
			per_address_give(&a, &p);
			used -= --counts[n] == 0;
		}
		ck_assert_uint_eq(a.used, used);
	}
	for (uint32_t n = 0; n < ADDRESSES; n++) {
		struct peer p = peer_number(n);

		for (; counts[n]; counts[n]--)
			per_address_give(&a, &p);
	}
	ck_assert_uint_eq(a.used, 0);
	ck_assert_uint_le(a.size, 8192);
	per_address_fini(&a);
}
END_TEST

UNIT_MAIN("per_address", as_many_as_allowed, nothing_is_left_over)
