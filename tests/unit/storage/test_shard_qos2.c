/* test_shard_qos2.c - exactly once: what a shard makes of QoS 2 messages over repeats, deaths, new segments and full tables */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "err.h"
#include "mem.h"
#include "metrics.h"
#include "support_shard.h"

#define QOS2 (2u << RECORD_QOS_SHIFT)
#define WORKER "connectivity-0"

static uint64_t id; /* of WORKER's stream */
static uint64_t seq;

static void
setup(void)
{
	shard_setup();
	shard_abandon(&sh);
	config.unreleased_max = 16;
	config.unreleased_age_us = 3600 * SECOND;
	open_shard();
	id = hello(WORKER, 5, 0);
	seq = 0;
}

static struct device_message
message(uint64_t client, uint16_t packet_id, uint64_t hash, bool dup)
{
	return (struct device_message){
		.flags = QOS2 | (dup ? RECORD_DUP : 0),
		.client = client,
		.packet_id = packet_id,
		.hash = hash,
	};
}

static void
publish(uint64_t client, uint16_t packet_id, uint64_t hash, bool dup)
{
	struct device_message d = message(client, packet_id, hash, dup);

	batch(id, ++seq, &d);
}

static void
release(uint64_t client, uint16_t packet_id)
{
	struct buf body = { 0 };

	pubrel_put(&body, (struct pubrel){ .client = client, .packet_id = packet_id });
	batch_of("limiter-0", id, ++seq, 0, ENTRY_PUBREL, buf_bytes(&body), 0);
	buf_fini(&body);
}

/* How often this payload is there, as followers see it. */
static unsigned
stored(uint64_t hash)
{
	static uint64_t lives;
	uint64_t upto = 0, seqs[SENT_MAX];
	unsigned n = 0;

	fresh();
	subscribe("sink-history", "history", false, ++lives, 0, 64 << 20);
	for (unsigned i = 0; i < 20; i++) {
		pass(SECOND / 100);
		turn();
	}
	(void)delivered("sink-history", &upto, seqs);
	for (size_t i = 0; i < sent_count; i++) {
		struct bytes rest = sent[i].any.deliver.blocks, entries;
		struct block_view v;
		struct entry e;

		if (sent[i].type != MSG_DELIVER)
			continue;
		while (view_next(&rest, &v) == 0) {
			entries = v.entries;
			while (entry_next(&entries, &e) == 0) {
				struct record_cursor c = record_cursor_of(e.body);
				struct record r;

				while (e.kind == ENTRY_READINGS && record_next(&c, &r) == 0)
					n += r.hash == hash && r.verdict == VERDICT_ACCEPTED;
			}
		}
	}
	return n;
}

START_TEST(test_a_repeat_is_a_copy_until_it_is_released)
{
	publish(7, 1, 100, false);
	turn();
	publish(7, 1, 100, true);
	turn();
	ck_assert_uint_eq(stored(100), 1);
	release(7, 1);
	turn();
	publish(7, 1, 100, true);
	turn();
	ck_assert_uint_eq(stored(100), 2);
}
END_TEST

/* No window ends it, as the re-send table's would. */
START_TEST(test_over_deaths_and_time)
{
	publish(7, 1, 100, false);
	publish(7, 2, 200, false);
	release(7, 2);
	turn();
	pass(3000 * SECOND);
	crash();
	id = hello(WORKER, 6, 0);
	seq = 0;
	publish(7, 1, 100, true);
	publish(7, 2, 300, false);
	turn();
	ck_assert_uint_eq(stored(100), 1);
	ck_assert_uint_eq(stored(300), 1);
	crash();
	id = hello(WORKER, 7, 0);
	seq = 0;
	publish(7, 1, 100, true);
	publish(7, 2, 300, true);
	turn();
	ck_assert_uint_eq(stored(100), 1);
	ck_assert_uint_eq(stored(300), 1);
}
END_TEST

START_TEST(test_over_new_segments)
{
	publish(7, 1, 100, false);
	publish(7, 2, 200, false);
	turn();
	for (unsigned i = 0; i < 3; i++) {
		uint64_t before = sh->journal->segment_count;

		pass(3601 * SECOND);
		config.unreleased_age_us = 100000 * SECOND;
		sh->unreleased.age_us = config.unreleased_age_us;
		shard_tick(sh);
		ck_assert_uint_gt(sh->journal->segment_count, before);
	}
	release(7, 2);
	turn();
	crash();
	id = hello(WORKER, 6, 0);
	seq = 0;
	publish(7, 1, 100, true);
	publish(7, 2, 200, true);
	turn();
	ck_assert_uint_eq(stored(100), 1);
	ck_assert_uint_eq(stored(200), 2);
}
END_TEST

START_TEST(test_full_is_refused_and_stays_so)
{
	uint64_t refused = metric_get(M_STORAGE_UNRELEASED_REFUSED);
	struct bytes verdicts;

	for (uint16_t i = 1; i <= 16; i++)
		publish(7, i, i, false);
	publish(7, 17, 17, false);
	turn();
	verdicts = last(WORKER, MSG_COMMIT)->any.commit.verdicts;
	ck_assert_uint_eq(u64s_count(verdicts), 2);
	ck_assert_uint_eq(u64s_at(verdicts, 0), 17);
	ck_assert_int_eq(verdict_code((uint32_t)u64s_at(verdicts, 1)), VERDICT_UNRELEASED_LIMIT);
	ck_assert_uint_eq(metric_get(M_STORAGE_UNRELEASED_REFUSED), refused + 1);
	/* It is refused after a restart too, whatever room there would be then. */
	config.unreleased_max = 100;
	crash();
	ck_assert_uint_eq(hello_epoch(WORKER, 5, 0, id, 16, 0), id);
	ck_assert_uint_eq(u64s_count(last(WORKER, MSG_WELCOME)->any.welcome.verdicts), 2);
	ck_assert_uint_eq(stored(17), 0);
	publish(7, 17, 17, true);
	turn();
	ck_assert_uint_eq(stored(17), 1);
	ck_assert_uint_eq(stored(3), 1);
}
END_TEST

START_TEST(test_what_its_session_left_behind)
{
	uint64_t expired = metric_get(M_STORAGE_UNRELEASED_EXPIRED);

	publish(7, 1, 100, false);
	turn();
	pass(3601 * SECOND);
	shard_tick(sh);
	ck_assert_uint_eq(metric_get(M_STORAGE_UNRELEASED_EXPIRED), expired + 1);
	ck_assert_uint_eq(sh->unreleased.count, 0);
}
END_TEST

START_TEST(test_a_release_that_is_none)
{
	uint64_t before = metric_get(M_STORAGE_MALFORMED);

	batch_of("limiter-0", id, 1, 0, ENTRY_PUBREL, bytes_of("123456789", 9), 0);
	ck_assert_uint_eq(metric_get(M_STORAGE_MALFORMED), before + 1);
	release(7, 9);
	turn();
	ck_assert_uint_eq(last(WORKER, MSG_COMMIT)->any.commit.upto, 1);
}
END_TEST

/* --- clients, a worker and the shard, all of which die at any time --- */

#define CLIENTS 3
#define IDS 4
#define STEPS 3000

enum flight { FREE, PUBLISHED, RELEASED };

static struct in_flight {
	enum flight state;
	uint64_t hash;
	bool offered; /* to the worker's life of now */
	bool dup;
} flight[CLIENTS][IDS];

/* What the worker has not seen a COMMIT for, in the order of its stream. */
static struct sending {
	bool is_release;
	unsigned client, id;
	bool dup;
	uint64_t hash;
} sending[256];
static size_t sending_count;
static uint64_t committed, life;

static void
deliver_from(size_t first, size_t end)
{
	for (size_t i = first; i < end; i++) {
		const struct sending *s = &sending[i];

		seq = committed + i;
		if (s->is_release)
			release(s->client + 1, (uint16_t)(s->id + 1));
		else
			publish(s->client + 1, (uint16_t)(s->id + 1), s->hash, s->dup);
	}
}

static void
committed_upto(uint64_t upto)
{
	size_t n = (size_t)(upto - committed);

	for (size_t i = 0; i < n; i++) {
		struct in_flight *f = &flight[sending[i].client][sending[i].id];

		f->state = sending[i].is_release ? FREE : RELEASED;
		f->offered = false;
	}
	sending_count -= n;
	memmove(sending, sending + n, sending_count * sizeof(sending[0]));
	committed = upto;
}

/* All that the shard said; half of it is lost. */
static void
hear(void)
{
	const struct sent *s = last(WORKER, MSG_COMMIT);

	if (s && s->any.commit.stream == id && s->any.commit.upto > committed && rand() % 2)
		committed_upto(s->any.commit.upto);
	fresh();
}

static void
say_hello(void)
{
	uint64_t upto;

	ck_assert_uint_eq(hello_epoch(WORKER, life, 0, id, committed, 0), id);
	upto = last(WORKER, MSG_WELCOME)->any.welcome.upto;
	committed_upto(upto);
	fresh();
}

static void
worker_dies(void)
{
	id = hello(WORKER, ++life, 0);
	fresh();
	committed = 0;
	sending_count = 0;
	for (unsigned c = 0; c < CLIENTS; c++)
		for (unsigned i = 0; i < IDS; i++) {
			flight[c][i].dup = flight[c][i].dup || flight[c][i].offered;
			flight[c][i].offered = false;
		}
}

static void
client_acts(uint64_t *hashes, bool begins)
{
	unsigned c = (unsigned)rand() % CLIENTS, i = (unsigned)rand() % IDS;
	struct in_flight *f = &flight[c][i];

	if (f->state == FREE && begins)
		*f = (struct in_flight){ .state = PUBLISHED, .hash = ++*hashes };
	if (f->state == FREE || f->offered || sending_count == COUNT_OF(sending))
		return;
	sending[sending_count++] = (struct sending){
		.is_release = f->state == RELEASED,
		.client = c,
		.id = i,
		.dup = f->dup,
		.hash = f->hash,
	};
	f->offered = true;
}

static void
step(uint64_t *hashes, bool begins)
{
	switch (rand() % 40) {
	case 0:
		worker_dies();
		break;
	case 1: /* with what it has not synced, or right after the sync */
		if (rand() % 2)
			turn();
		crash();
		say_hello();
		break;
	case 2:
		pass(3601 * SECOND);
		shard_tick(sh);
		fresh();
		break;
	case 3:
		say_hello();
		break;
	default:
		client_acts(hashes, begins);
		if (rand() % 3 == 0)
			deliver_from(0, (size_t)rand() % (sending_count + 1));
		if (rand() % 3 == 0) {
			turn();
			hear();
		}
	}
}

static void
run(unsigned seed)
{
	uint64_t hashes = (seed + 1) * 1000000ull, first = hashes;
	bool busy = true;

	srand(seed);
	memset(flight, 0, sizeof(flight));
	sending_count = 0;
	committed = 0;
	life = 5;
	config.unreleased_age_us = sh->unreleased.age_us = 1000000000 * SECOND;
	for (unsigned n = 0; n < STEPS; n++)
		step(&hashes, true);
	while (busy) {
		client_acts(&hashes, false);
		deliver_from(0, sending_count);
		turn();
		hear();
		busy = sending_count > 0;
		for (unsigned c = 0; c < CLIENTS; c++)
			for (unsigned i = 0; i < IDS; i++)
				busy = busy || flight[c][i].state != FREE;
	}
	ck_assert_uint_gt(hashes, first + 100);
	ck_assert_uint_eq(sh->unreleased.count, 0);
	for (uint64_t h = first + 1; h <= hashes; h += 1 + (hashes - first) / 40) {
		unsigned n = stored(h);

		ck_assert_msg(n == 1, "seed %u: message %llu is there %u times", seed,
		    (unsigned long long)(h - first), n);
	}
}

START_TEST(test_exactly_once_whoever_dies)
{
	for (unsigned seed = 0; seed < 4; seed++) {
		run(seed);
		shard_teardown();
		setup();
	}
}
END_TEST

UNIT_MAIN_IN("shard_qos2", setup, shard_teardown, test_a_repeat_is_a_copy_until_it_is_released,
    test_over_deaths_and_time, test_over_new_segments, test_full_is_refused_and_stays_so,
    test_what_its_session_left_behind, test_a_release_that_is_none, test_exactly_once_whoever_dies)
