/* test_shard_batch.c - what a shard takes from senders, and what it makes of its journal; each refusal */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../unit.h"
#include "err.h"
#include "journal.h"
#include "mem.h"
#include "metrics.h"
#include "support_shard.h"

START_TEST(test_stream_of_somebody_else)
{
	uint64_t id = hello("connectivity-0", 5, 0);

	ck_assert_uint_eq(hello_epoch("connectivity-1", 5, 0, id, 0, 0), 0);
	ck_assert_uint_eq(last("connectivity-1", MSG_FENCED)->any.fenced.stream, id);
	ck_assert_uint_eq(hello_epoch("connectivity-0", 6, 0, id, 0, 0), 0);
	ck_assert_uint_eq(hello_epoch("connectivity-0", 5, 1, id, 0, 0), 0);
	ck_assert_uint_eq(hello_epoch("connectivity-0", 5, 0, id + 50, 0, 0), 0);
	ck_assert_uint_eq(last("connectivity-0", MSG_FENCED)->any.fenced.stream, id + 50);
	ck_assert_uint_eq(hello_epoch("connectivity-0", 5, 0, id, 0, 0), id);
}
END_TEST

START_TEST(test_stream_of_an_assignment_needs_it)
{
	const struct msg_assign *a;
	uint64_t epoch, id;

	subscribe("rules-0", "rules", true, 5, 0, 1 << 20);
	turn();
	a = assign_of("rules-0");
	epoch = a->epoch;
	resume("rules-0", a, 0);
	turn();
	id = hello_epoch("rules-0", 5, 0, 0, 0, epoch);
	ck_assert_uint_ne(id, 0);
	ck_assert_uint_eq(hello_epoch("rules-0", 5, 0, id, 0, 0), 0);
	ck_assert_uint_eq(hello_epoch("rules-0", 5, 0, id, 0, epoch), id);
}
END_TEST

START_TEST(test_partition_of_another_shard)
{
	uint64_t before = metric_get(M_STORAGE_MALFORMED);

	shard_abandon(&sh);
	config.shards = 2;
	open_shard();
	ck_assert_uint_eq(hello_epoch("connectivity-0", 5, 1, 0, 0, 0), 0);
	ck_assert_uint_eq(hello_epoch("connectivity-0", 5, 4, 0, 0, 0), 0);
	ck_assert_uint_eq(metric_get(M_STORAGE_MALFORMED), before + 2);
	hello("connectivity-0", 5, 2);
}
END_TEST

START_TEST(test_too_many_senders_are_not_answered)
{
	char name[32];

	for (unsigned i = 0; i < STREAM_OWNERS_MAX; i++) {
		snprintf(name, sizeof(name), "connectivity-%u", i);
		hello(name, 1, 0);
	}
	ck_assert_uint_eq(hello_epoch("one-more", 1, 0, 0, 0, 0), 0);
	ck_assert(!last("one-more", MSG_FENCED));
}
END_TEST

/* A batch claims to have seen a COMMIT that was never sent: the journal is not the one it was. */
START_TEST(test_acked_in_a_batch_beyond_the_journal)
{
	uint64_t id = hello("connectivity-0", 5, 0);

	fresh();
	batch_of("limiter-0", id, 1, 0, ENTRY_ALERT, bytes_of("a", 1), 9);
	turn();
	ck_assert_uint_eq(last("connectivity-0", MSG_FENCED)->any.fenced.stream, id);
	ck_assert(!last("connectivity-0", MSG_COMMIT));
}
END_TEST

START_TEST(test_kinds_and_counts_that_no_sender_may_use)
{
	static const unsigned kinds[] = { 0, ENTRY_STREAM, ENTRY_STREAM + 1, ENTRY_TICK };
	uint64_t id = hello("connectivity-0", 5, 0), before = metric_get(M_STORAGE_MALFORMED);
	struct device_message d = { .flags = 2, .client = 7 };
	struct buf many = { 0 };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		batch_of("limiter-0", id, 1, 0, kinds[i], bytes_of("", 0), 0);
	for (unsigned i = 0; i <= BATCH_RECORDS_MAX; i++)
		add_record(&many, &d);
	batch_of("limiter-0", id, 1, 0, ENTRY_READINGS, buf_bytes(&many), 0);
	ck_assert_uint_eq(metric_get(M_STORAGE_MALFORMED), before + 5);
	buf_fini(&many);
}
END_TEST

START_TEST(test_a_gap_is_said_once)
{
	uint64_t id = hello("connectivity-0", 5, 0);

	fresh();
	batch(id, 5, NULL);
	batch(id, 6, NULL);
	ck_assert_uint_eq(count("connectivity-0", MSG_GAP), 1);
	pass(SECOND);
	batch(id, 7, NULL);
	ck_assert_uint_eq(count("connectivity-0", MSG_GAP), 2);
}
END_TEST

/* Neither what nobody acknowledges nor what nobody can name is remembered: the same again is no copy. */
START_TEST(test_what_is_not_remembered)
{
	static const struct device_message plain[] = {
		{ .flags = RECORD_DUP, .client = 7, .packet_id = 3, .hash = 1 },
		{ .flags = RECORD_DUP | 1 << RECORD_QOS_SHIFT, .packet_id = 3, .hash = 1 },
	};
	uint64_t id = hello("connectivity-0", 5, 0), copies = metric_get(M_STORAGE_COPIES);
	uint64_t seq = 0;

	for (size_t i = 0; i < 2; i++) {
		batch(id, ++seq, &plain[i]);
		batch(id, ++seq, &plain[i]);
	}
	turn();
	ck_assert_uint_eq(metric_get(M_STORAGE_COPIES), copies);
}
END_TEST

START_TEST(test_a_full_table_does_not_read_back)
{
	struct device_message d = { .flags = RECORD_DUP | 1 << RECORD_QOS_SHIFT, .client = 9 };
	uint64_t id, copies = metric_get(M_STORAGE_COPIES);

	shard_abandon(&sh);
	config.dedup_entries = 4;
	open_shard();
	id = hello("connectivity-0", 5, 0);
	for (uint64_t seq = 1; seq <= 8; seq++)
		batch(id, seq, NULL);
	d.packet_id = 100;
	batch(id, 9, &d);
	turn();
	ck_assert_uint_eq(metric_get(M_STORAGE_COPIES), copies);
	ck_assert_uint_eq(last("connectivity-0", MSG_COMMIT)->any.commit.upto, 9);
}
END_TEST

static void
replay(uint64_t stream, uint64_t seq, unsigned kind, struct bytes body, int64_t time,
    enum journal_replay how)
{
	struct buf entries = { 0 };

	entry_put(
	    &entries, &(struct entry){ .kind = kind, .stream = stream, .seq = seq, .body = body });
	shard_replay(sh,
	    &(struct block){ .offset = 8, .next = 16, .time = time, .body = buf_bytes(&entries) },
	    how);
	buf_fini(&entries);
}

START_TEST(test_replay)
{
	uint64_t id = hello("connectivity-0", 5, 0), held;
	struct device_message refused = { .verdict = verdict_make(VERDICT_DEVICE_LIMIT, 7) };
	struct device_message taken = {
		.flags = 1 << RECORD_QOS_SHIFT, .client = 8, .packet_id = 1
	};
	struct device_message qos0 = { .client = 8 };
	struct stream *st = stream_table_find(&sh->streams, id);
	struct buf many = { 0 }, two = { 0 };

	for (unsigned i = 0; i <= BATCH_RECORDS_MAX; i++)
		add_record(&many, &refused);
	add_record(&two, &taken);
	add_record(&two, &qos0);
	/* More refusals than a batch has records, from a journal of other hands, are not all kept. */
	replay(id, 1, ENTRY_READINGS, buf_bytes(&many), wall, JOURNAL_REPLAY_PARTIAL);
	ck_assert_uint_eq(st->rx.committed, 1);
	ck_assert_uint_eq(st->rx.refusals.len, 16 * BATCH_RECORDS_MAX);
	/* What is known already changes nothing for the sender. */
	held = dedup_count(&sh->dedup);
	replay(id, 1, ENTRY_READINGS, buf_bytes(&two), wall, JOURNAL_REPLAY_PARTIAL);
	ck_assert_uint_eq(st->rx.committed, 1);
	ck_assert_uint_eq(dedup_count(&sh->dedup), held + 1);
	/* Nobody sends again what is older than the window. */
	replay(id, 2, ENTRY_READINGS, buf_bytes(&two), wall - 200 * SECOND, JOURNAL_REPLAY_PARTIAL);
	ck_assert_uint_eq(st->rx.committed, 2);
	replay(id + 1, 2, ENTRY_READINGS, buf_bytes(&two), wall - 200 * SECOND,
	    JOURNAL_REPLAY_PARTIAL);
	ck_assert_uint_eq(dedup_count(&sh->dedup), held + 1);
	replay(id, 3, ENTRY_ALERT, bytes_of("a", 1), wall, JOURNAL_REPLAY_FULL);
	ck_assert_uint_eq(st->rx.committed, 3);
	/* A mark that is none forgets no stream. */
	replay(0, 0, ENTRY_SEGMENT, bytes_of("short", 5), wall, JOURNAL_REPLAY_FULL);
	replay(0, 0, ENTRY_TICK, bytes_of("", 0), wall, JOURNAL_REPLAY_FULL);
	ck_assert(stream_table_find(&sh->streams, id) == st);
	buf_fini(&many);
	buf_fini(&two);
	shard_abandon(&sh);
	config.dedup_entries = 0;
	open_shard();
	add_record(&two, &taken);
	replay(id, 2, ENTRY_READINGS, buf_bytes(&two), wall, JOURNAL_REPLAY_WARM);
	ck_assert_uint_eq(dedup_count(&sh->dedup_before), 0);
	buf_fini(&two);
}
END_TEST

static unsigned busy_said;

static void
on_busy(void *arg, uint64_t ms)
{
	(void)arg;
	ck_assert_uint_gt(ms, 0);
	busy_said++;
}

START_TEST(test_settings_of_a_shard)
{
	struct shard *none = NULL;

	shard_close(&none, wall);
	shard_abandon(&none);
	shard_abandon(&sh);
	config.busy = on_busy;
	config.mandatory = NULL;
	config.dedup_entries = 0;
	open_shard();
	ck_assert_uint_gt(busy_said, 0);
	hello("connectivity-0", 5, 0);
	/* The clock was set back by an hour while nobody ran: journal time goes on. */
	shard_abandon(&sh);
	wall -= 3600 * SECOND;
	open_shard();
	ck_assert_int_gt(sh->time_us, wall);
	shard_abandon(&sh);
	wall += 3600 * SECOND - SECOND;
	open_shard();
	ck_assert_int_gt(sh->time_us, wall);
}
END_TEST

START_TEST(test_an_old_segment_that_does_not_go)
{
	char name[JOURNAL_NAME_MAX], path[160];

	shard_abandon(&sh);
	config.mandatory = NULL;
	config.retention_us = 1;
	open_shard();
	for (unsigned i = 0; i < 3; i++) {
		pass(SECOND);
		shard_commit(sh);
		ck_assert_int_eq(journal_roll(sh->journal, 0, wall), 0);
	}
	journal_segment_name(sh->journal->segments[0].base, name);
	snprintf(path, sizeof(path), "%s/%s", shard_dir, name);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	pass(SECOND);
	shard_tick(sh);
	ck_assert_uint_gt(sh->journal->segment_count, 3);
	ck_assert_int_eq(rmdir(path), 0);
	pass(SECOND);
	shard_tick(sh);
	ck_assert_uint_lt(sh->journal->segment_count, 3);
}
END_TEST

START_TEST(test_quiet)
{
	uint64_t id = hello("connectivity-0", 5, 0);

	ck_assert(shard_is_quiet(sh));
	batch(id, 1, NULL);
	ck_assert(!shard_is_quiet(sh));
	turn();
	ck_assert(shard_is_quiet(sh));
	batch(id, 1, NULL); /* a repeat: nothing is pending, but an answer is owed */
	ck_assert(!shard_is_quiet(sh));
	turn();
	subscribe("query-1", "", false, 0, 0, 1 << 20);
	ck_assert(!shard_is_quiet(sh));
}
END_TEST

/* A block that is full is committed in the middle of a turn, and the batch goes into the next. */
START_TEST(test_more_than_a_block_in_one_turn)
{
	uint8_t *large = xcalloc(1, 1 << 20);
	uint64_t id;

	shard_abandon(&sh);
	config.segment_bytes = 16 << 20;
	open_shard();
	id = hello("connectivity-0", 5, 0);
	fresh();
	for (uint64_t seq = 1; seq <= 6; seq++)
		batch_of("limiter-0", id, seq, 0, ENTRY_ALERT, bytes_of(large, 1 << 20), 0);
	turn();
	ck_assert_uint_eq(last("connectivity-0", MSG_COMMIT)->any.commit.upto, 6);
	free(large);
}
END_TEST

/* Readings stop where the reserve begins; the system's own records go on until nothing fits, and then no stream begins. */
START_TEST(test_quota)
{
	uint8_t *large = xcalloc(1, 200000);
	uint64_t id, own, seq;
	char name[32];
	unsigned i;

	shard_abandon(&sh);
	config.quota_bytes = 4 << 20;
	open_shard();
	id = hello("connectivity-0", 5, 0);
	own = hello("rules-0", 5, 0);
	for (seq = 1; seq < 100 && !sh->closed; seq++) {
		fresh();
		batch_of("limiter-0", id, seq, 0, ENTRY_ALERT, bytes_of(large, 200000), 0);
		turn();
	}
	ck_assert(sh->closed);
	ck_assert_uint_eq(last("connectivity-0", MSG_COMMIT)->any.commit.window, 0);
	for (seq = 1; seq < 100; seq++) {
		fresh();
		batch_of("rules-0", own, seq, 0, ENTRY_ALERT, bytes_of(large, 200000), 0);
		turn();
		if (last("rules-0", MSG_COMMIT)->any.commit.upto != seq)
			break;
	}
	ck_assert_uint_lt(seq, 100);
	for (i = 0; i < 10000; i++) {
		snprintf(name, sizeof(name), "w-%u", i % 200);
		if (hello_epoch(name, i + 1, 0, 0, 0, 0) == 0)
			break;
	}
	ck_assert_uint_lt(i, 10000);
	free(large);
}
END_TEST

UNIT_MAIN_IN("shard_batch", shard_setup, shard_teardown, test_stream_of_somebody_else,
    test_stream_of_an_assignment_needs_it, test_partition_of_another_shard,
    test_too_many_senders_are_not_answered, test_acked_in_a_batch_beyond_the_journal,
    test_kinds_and_counts_that_no_sender_may_use, test_a_gap_is_said_once,
    test_what_is_not_remembered, test_a_full_table_does_not_read_back, test_replay,
    test_settings_of_a_shard, test_an_old_segment_that_does_not_go, test_quiet,
    test_more_than_a_block_in_one_turn, test_quota)
