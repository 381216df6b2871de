/* test_dedup.c - what is remembered of a device's messages, how long and how many */
#include <check.h>
#include <stdlib.h>

#include "../unit.h"
#include "dedup.h"
#include "mem.h"

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

static bool
has(struct dedup *in, uint64_t client, uint16_t packet_id, uint64_t hash, int64_t now_us)
{
	return dedup_ask(in, client, packet_id, hash, now_us) == DEDUP_SAME;
}

START_TEST(test_matches)
{
	static const struct {
		const char *label;
		uint64_t client;
		uint16_t packet_id;
		uint64_t hash;
		int64_t now;
		enum dedup_answer answer;
	} cases[] = {
		{ "the same", 1, 2, 3, 100, DEDUP_SAME },
		{ "at the end of the window", 1, 2, 3, 100 + WINDOW, DEDUP_SAME },
		{ "after it", 1, 2, 3, 101 + WINDOW, DEDUP_OTHER },
		{ "other client", 9, 2, 3, 100, DEDUP_UNKNOWN },
		{ "other packet id", 1, 9, 3, 100, DEDUP_UNKNOWN },
		{ "other payload", 1, 2, 9, 100, DEDUP_OTHER },
	};

	dedup_add(&d, 1, 2, 3, 100);
	ck_assert_msg(dedup_ask(&d, cases[_i].client, cases[_i].packet_id, cases[_i].hash,
			  cases[_i].now) == cases[_i].answer,
	    "%s", cases[_i].label);
}
END_TEST

START_TEST(test_newer_replaces)
{
	dedup_add(&d, 1, 2, 3, 100);
	dedup_add(&d, 1, 2, 4, 101);
	ck_assert(!has(&d, 1, 2, 3, 101));
	ck_assert(has(&d, 1, 2, 4, 101));
}
END_TEST

START_TEST(test_oldest_goes_first)
{
	uint16_t i;

	for (i = 0; i < 1000; i++) {
		dedup_add(&d, 7, i, i, i);
		ck_assert_uint_le(dedup_count(&d), 4);
	}
	for (i = 996; i < 1000; i++)
		ck_assert(has(&d, 7, i, i, 999));
	ck_assert(!has(&d, 7, 995, 995, 999));
}
END_TEST

/* Against a plain list, while nothing is forgotten yet. */
START_TEST(test_against_a_list)
{
	struct {
		uint64_t client;
		uint16_t id;
		uint64_t hash;
	} last[128] = { { 0 } };
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
			ck_assert(has(&big, last[k].client, last[k].id, last[k].hash, step));
			ck_assert(
			    !has(&big, last[k].client, last[k].id, last[k].hash + 1000, step));
		}
	}
	dedup_fini(&big);
}
END_TEST

/* The last CAPACITY messages, newest first: what the table must answer, however long nobody has asked it. */
#define CAPACITY 9000u
struct sent {
	uint64_t client;
	uint64_t hash;
	int64_t time;
	uint16_t id;
};

static bool
list_has(const struct sent *sent, unsigned n, const struct sent *s, int64_t now)
{
	for (unsigned i = n; i > 0 && n - i < CAPACITY; i--)
		if (sent[i - 1].client == s->client && sent[i - 1].id == s->id)
			return sent[i - 1].hash == s->hash && now - sent[i - 1].time <= WINDOW * 40;
	return false;
}

START_TEST(test_answers_do_not_depend_on_when_they_are_asked)
{
	/* asked about each time a ring's part, a whole ring and several rings have gone by */
	static const unsigned gaps[] = { 1, 3, 100, 4095, 4097, 8999, 9001, 20000 };
	static struct sent sent[300000];
	unsigned seed = 4711, n = 0, yes = 0, no = 0;
	struct dedup big;

	dedup_init(&big, CAPACITY, WINDOW * 40);
	for (unsigned round = 0; n + 20000 < COUNT_OF(sent); round++) {
		for (unsigned k = 0; k < gaps[round % COUNT_OF(gaps)]; k++, n++) {
			seed = seed * 1103515245u + 12345u;
			sent[n] = (struct sent){ .client = seed >> 9 & 1023,
				.id = (uint16_t)(seed >> 20 & 15),
				.hash = seed >> 28,
				.time = n * 5 };
			dedup_add(&big, sent[n].client, sent[n].id, sent[n].hash, sent[n].time);
		}
		if (round % 5 == 0)
			dedup_expire(&big, n * 5);
		for (unsigned k = 0; k < 200; k++) {
			struct sent s;

			seed = seed * 1103515245u + 12345u;
			s = sent[n - 1 - (seed >> 8) % (n < 12000 ? n : 12000)];
			s.hash ^= seed >> 30 == 0;
			ck_assert_int_eq(
			    has(&big, s.client, s.id, s.hash, n * 5), list_has(sent, n, &s, n * 5));
			*(list_has(sent, n, &s, n * 5) ? &yes : &no) += 1;
		}
	}
	ck_assert_uint_gt(yes, 1000);
	ck_assert_uint_gt(no, 1000);
	dedup_fini(&big);
}
END_TEST

START_TEST(test_memory_goes_when_all_is_old)
{
	struct dedup big;

	dedup_init(&big, CAPACITY, WINDOW);
	for (uint16_t i = 0; i < 5000; i++)
		dedup_add(&big, 1, i, i, i);
	ck_assert(has(&big, 1, 4999, 4999, 4999));
	dedup_expire(&big, 4999);
	ck_assert_uint_eq(dedup_count(&big), 5000); /* one chunk is not old as a whole */
	dedup_expire(&big, 4096 + WINDOW);
	ck_assert_uint_eq(dedup_count(&big), 5000 - 4096);
	ck_assert(has(&big, 1, 4998, 4998, 4999));
	dedup_expire(&big, 6000 + WINDOW);
	ck_assert_uint_eq(dedup_count(&big), 0);
	for (uint32_t i = 0; i < big.chunk_count; i++)
		ck_assert_ptr_null(big.chunks[i]);
	ck_assert_ptr_null(big.buckets);
	ck_assert_ptr_null(big.spare);
	dedup_add(&big, 1, 4998, 7, 9000);
	ck_assert(has(&big, 1, 4998, 7, 9000));
	ck_assert(!has(&big, 1, 4999, 4999, 9000));
	dedup_fini(&big);
}
END_TEST

/* Memory is let go of whether its last chunk is full or not, and where there is none. */
START_TEST(test_expiry_at_a_chunks_end)
{
	static const unsigned counts[] = { 0, 1, 4095, 4096, 4097, 8192 };
	struct dedup m;

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		dedup_init(&m, 100000, WINDOW);
		for (unsigned n = 0; n < counts[i]; n++)
			dedup_add(&m, 1, (uint16_t)n, n, 5);
		dedup_expire(&m, 6 + WINDOW);
		ck_assert_uint_eq(dedup_count(&m), 0);
		dedup_add(&m, 1, 2, 3, 7 + WINDOW);
		ck_assert_int_eq(dedup_ask(&m, 1, 2, 3, 7 + WINDOW), DEDUP_SAME);
		dedup_fini(&m);
	}
	dedup_init(&m, 0, WINDOW);
	dedup_expire(&m, WINDOW);
	dedup_fini(&m);
}
END_TEST

START_TEST(test_nothing_is_remembered_with_capacity_0)
{
	struct dedup none;

	dedup_init(&none, 0, WINDOW);
	dedup_add(&none, 1, 2, 3, 4);
	ck_assert(!has(&none, 1, 2, 3, 4));
	dedup_fini(&none);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("dedup");
	TCase *tc = tcase_create("dedup");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, test_matches, 0, 6);
	tcase_add_test(tc, test_newer_replaces);
	tcase_add_test(tc, test_oldest_goes_first);
	tcase_add_test(tc, test_against_a_list);
	tcase_add_test(tc, test_answers_do_not_depend_on_when_they_are_asked);
	tcase_add_test(tc, test_memory_goes_when_all_is_old);
	tcase_add_test(tc, test_expiry_at_a_chunks_end);
	tcase_add_test(tc, test_nothing_is_remembered_with_capacity_0);
	suite_add_tcase(s, tc);
	return unit_end(s);
}
