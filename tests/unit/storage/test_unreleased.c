/* test_unreleased.c - which QoS 2 message is new, which a copy, which has no room; and what the journal keeps of them */
#include <check.h>
#include <stdlib.h>

#include "../unit.h"
#include "err.h"
#include "mem.h"
#include "unreleased.h"

#define CAPACITY 40
#define AGE 1000

static struct unreleased u;

static void
setup(void)
{
	unreleased_init(&u, CAPACITY, AGE);
}

static void
teardown(void)
{
	unreleased_fini(&u);
}

static struct unreleased_item
item(uint64_t client, uint16_t packet_id, uint64_t hash, bool dup, uint64_t stream)
{
	return (struct unreleased_item){
		.client = client, .packet_id = packet_id, .hash = hash, .dup = dup, .stream = stream
	};
}

static enum unreleased_answer
offer(uint64_t client, uint16_t packet_id, uint64_t hash, bool dup, uint64_t stream)
{
	struct unreleased_item m = item(client, packet_id, hash, dup, stream);

	return unreleased_offer(&u, &m);
}

START_TEST(test_what_is_a_copy)
{
	static const struct {
		const char *label;
		bool first_dup, dup;
		uint64_t client, hash, stream;
		uint16_t packet_id;
		enum unreleased_answer answer;
	} cases[] = {
		{ "a repeat", false, true, 1, 5, 1, 7, UNRELEASED_COPY },
		{ "a repeat through another worker", false, true, 1, 5, 2, 7, UNRELEASED_COPY },
		{ "a repeat of a repeat", true, true, 1, 5, 2, 7, UNRELEASED_COPY },
		{ "the first of a new session", false, false, 1, 5, 2, 7, UNRELEASED_NEW },
		{ "an original behind its repeat", true, false, 1, 5, 2, 7, UNRELEASED_COPY },
		{ "one that cannot be", true, false, 1, 5, 1, 7, UNRELEASED_NEW },
		{ "a repeat of what never came", false, true, 1, 6, 1, 7, UNRELEASED_NEW },
		{ "another client", false, true, 3, 5, 1, 7, UNRELEASED_NEW },
		{ "another packet id", false, true, 1, 5, 1, 8, UNRELEASED_NEW },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		unreleased_clear(&u);
		ck_assert_int_eq(offer(1, 7, 5, cases[i].first_dup, 1), UNRELEASED_NEW);
		ck_assert_msg(offer(cases[i].client, cases[i].packet_id, cases[i].hash,
				  cases[i].dup, cases[i].stream) == cases[i].answer,
		    "%s", cases[i].label);
	}
}
END_TEST

START_TEST(test_released)
{
	ck_assert(!unreleased_release(&u, 1, 7));
	offer(1, 7, 5, false, 1);
	ck_assert(!unreleased_release(&u, 1, 8));
	ck_assert(!unreleased_release(&u, 0, 7));
	ck_assert(unreleased_release(&u, 1, 7));
	ck_assert(!unreleased_release(&u, 1, 7));
	ck_assert_int_eq(offer(1, 7, 5, true, 1), UNRELEASED_NEW);
}
END_TEST

START_TEST(test_full_forgets_nothing)
{
	for (uint16_t id = 1; id <= CAPACITY; id++)
		ck_assert_int_eq(offer(9, id, id, false, 1), UNRELEASED_NEW);
	ck_assert_int_eq(offer(9, CAPACITY + 1, 1, false, 1), UNRELEASED_FULL);
	for (uint16_t id = 1; id <= CAPACITY; id++)
		ck_assert_int_eq(offer(9, id, id, true, 1), UNRELEASED_COPY);
	/* An id that is there already needs no room. */
	ck_assert_int_eq(offer(9, 3, 77, false, 2), UNRELEASED_NEW);
	ck_assert(unreleased_release(&u, 9, 3));
	ck_assert_int_eq(offer(9, CAPACITY + 1, 1, false, 1), UNRELEASED_NEW);
	ck_assert_uint_eq(u.count, CAPACITY);
}
END_TEST

static void
replay(void *arg, const struct entry *e)
{
	ck_assert_uint_eq(e->kind, ENTRY_UNRELEASED);
	ck_assert_int_eq(unreleased_replay(arg, e), 0);
}

START_TEST(test_snapshot)
{
	struct unreleased again;
	struct entry e = { .body = bytes_of("0123456789", 10) };

	u.capacity = 20000;
	for (unsigned i = 0; i < 10000; i++)
		offer(i % 100 + 1, (uint16_t)(i / 100 + 1), i, i % 3 == 0, i % 7);
	unreleased_init(&again, 10, AGE);
	unreleased_put_all(&u, replay, &again);
	ck_assert_uint_eq(again.count, u.count); /* whatever room there is */
	for (size_t i = 0; i < u.slot_count; i++) {
		const struct unreleased_item *m = &u.slots[i];
		struct unreleased_item repeat = *m;

		repeat.dup = true;
		if (m->client)
			ck_assert_int_eq(unreleased_offer(&again, &repeat), UNRELEASED_COPY);
	}
	ck_assert_int_eq(unreleased_replay(&again, &e), ERR_MALFORMED);
	ck_assert_uint_ge(unreleased_put_bytes(&u), 10000 * 36 + 3 * ENTRY_HEADER_SIZE);
	unreleased_fini(&again);
}
END_TEST

/* Against a list that is searched. */
START_TEST(test_as_a_list_would)
{
	static struct unreleased_item list[CAPACITY];
	size_t n = 0;
	int64_t now = 0;

	srand(7);
	for (unsigned step = 0; step < 200000; step++) {
		uint64_t client = (uint64_t)rand() % 6 + 1, hash = (uint64_t)rand() % 2;
		uint16_t id = (uint16_t)(rand() % 16);
		bool dup = rand() % 2;
		size_t at = 0, expired = 0;

		while (at < n && (list[at].client != client || list[at].packet_id != id))
			at++;
		if (rand() % 3) {
			struct unreleased_item m =
			    item(client, id, hash, dup, (uint64_t)rand() % 2);
			enum unreleased_answer want = UNRELEASED_NEW;

			m.time = now;
			if (at < n && list[at].hash == hash &&
			    (dup || (list[at].dup && list[at].stream != m.stream)))
				want = UNRELEASED_COPY;
			else if (at == n && n == CAPACITY)
				want = UNRELEASED_FULL;
			ck_assert_int_eq(unreleased_offer(&u, &m), want);
			if (want == UNRELEASED_NEW) {
				list[at] = m;
				n += at == n;
			}
		} else {
			ck_assert(unreleased_release(&u, client, id) == (at < n));
			if (at < n)
				list[at] = list[--n];
		}
		now += rand() % 8;
		if (step % 64 == 0) {
			for (size_t i = n; i-- > 0;)
				if (now - list[i].time > AGE) {
					list[i] = list[--n];
					expired++;
				}
			/* Places are looked at again from where the last sweep stood. */
			ck_assert_uint_eq(unreleased_expire(&u, now, 4096), expired);
		}
		ck_assert_uint_eq(u.count, n);
	}
}
END_TEST

START_TEST(test_memory_is_given_back)
{
	u.capacity = 100000;
	for (unsigned i = 0; i < 60000; i++)
		offer(1, (uint16_t)(i + 1), i, false, 1);
	ck_assert_uint_ge(u.slot_count, 65536);
	for (unsigned i = 100; i < 60000; i++)
		ck_assert(unreleased_release(&u, 1, (uint16_t)(i + 1)));
	for (unsigned i = 0; i < 20; i++)
		ck_assert_uint_eq(unreleased_expire(&u, 0, 16), 0);
	ck_assert_uint_le(u.slot_count, 2048);
	ck_assert_uint_eq(u.count, 100);
	ck_assert_uint_eq(unreleased_expire(&u, 2 * AGE, 1 << 20), 100);
	ck_assert_ptr_null(u.slots);
}
END_TEST

UNIT_MAIN_IN("unreleased", setup, teardown, test_what_is_a_copy, test_released,
    test_full_forgets_nothing, test_snapshot, test_as_a_list_would, test_memory_is_given_back)
