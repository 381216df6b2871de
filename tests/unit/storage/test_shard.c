/* test_shard.c - what senders are told by a shard, over loss, repeats and restarts */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "err.h"
#include "metrics.h"
#include "support_shard.h"

START_TEST(test_commit_after_sync)
{
	uint64_t id = hello("connectivity-0", 5, 0);
	const struct sent *s;

	fresh();
	batch(id, 1, NULL);
	batch(id, 2, NULL);
	ck_assert_uint_eq(sent_count, 0);
	turn();
	ck_assert_uint_eq(count("connectivity-0", MSG_COMMIT), 1);
	s = last("connectivity-0", MSG_COMMIT);
	ck_assert_uint_eq(s->any.commit.upto, 2);
	ck_assert_uint_eq(s->any.commit.window, STREAM_WINDOW_BATCHES);
	/* A repeat is not appended, its COMMIT is repeated. */
	fresh();
	batch(id, 1, NULL);
	turn();
	ck_assert_uint_eq(last("connectivity-0", MSG_COMMIT)->any.commit.upto, 2);
	/* A gap is said and nothing is appended. */
	fresh();
	batch(id, 4, NULL);
	turn();
	ck_assert_uint_eq(last("connectivity-0", MSG_GAP)->any.gap.next, 3);
	ck_assert(!last("connectivity-0", MSG_COMMIT));
}
END_TEST

START_TEST(test_restart_knows_streams_and_refusals)
{
	uint64_t id = hello("connectivity-0", 5, 0), other = hello("connectivity-0", 5, 1);
	struct device_message refused = { .verdict = verdict_make(VERDICT_DEVICE_LIMIT, 700),
		.flags = 2 };
	const struct sent *s;

	ck_assert_uint_ne(id, other);
	batch(id, 1, NULL);
	batch(id, 2, &refused);
	turn();
	batch(id, 3, NULL);
	turn();
	s = last("connectivity-0", MSG_COMMIT);
	ck_assert_uint_eq(s->any.commit.upto, 3);
	ck_assert_uint_eq(u64s_count(s->any.commit.verdicts), 2);
	ck_assert_uint_eq(u64s_at(s->any.commit.verdicts, 0), 2);
	ck_assert_uint_eq(u64s_at(s->any.commit.verdicts, 1), refused.verdict);
	for (unsigned round = 0; round < 3; round++) {
		crash();
		ck_assert_uint_eq(hello_epoch("connectivity-0", 5, 0, id, 1, 0), id);
		s = last("connectivity-0", MSG_WELCOME);
		ck_assert_uint_eq(s->any.welcome.upto, 3);
		ck_assert_uint_eq(u64s_count(s->any.welcome.verdicts), 2);
		ck_assert_uint_eq(u64s_at(s->any.welcome.verdicts, 0), 2);
	}
	/* Without its id the worker is told the one it has. */
	ck_assert_uint_eq(hello_epoch("connectivity-0", 5, 1, 0, 0, 0), other);
	/* Once the sender has seen the COMMIT, the refusal is forgotten. */
	ck_assert_uint_eq(hello_epoch("connectivity-0", 5, 0, id, 3, 0), id);
	ck_assert_uint_eq(u64s_count(last("connectivity-0", MSG_WELCOME)->any.welcome.verdicts), 0);
	/* It goes on where it stood. */
	fresh();
	batch(id, 4, NULL);
	turn();
	ck_assert_uint_eq(last("connectivity-0", MSG_COMMIT)->any.commit.upto, 4);
}
END_TEST

START_TEST(test_given_up_id_is_not_given_again)
{
	uint64_t id = hello("rules-0", 5, 0), next;
	struct msg_hello m = { .life = 5, .partition = 0, .given_up = id };

	batch_of("rules-0", id, 1, 0, ENTRY_ALERT, bytes_of("a", 1), 0);
	turn();
	ck_assert_uint_eq(hello("rules-0", 5, 0), id);
	fresh();
	shard_on_hello(sh, "rules-0", &m);
	turn();
	next = last("rules-0", MSG_WELCOME)->any.welcome.stream;
	ck_assert_uint_gt(next, id);
	ck_assert_int_eq((int64_t)last("rules-0", MSG_WELCOME)->any.welcome.time, shard_now(sh));
	ck_assert_uint_eq(last("rules-0", MSG_WELCOME)->any.welcome.upto, 0);
	/* Said again, because the WELCOME took long: the same answer. */
	fresh();
	shard_on_hello(sh, "rules-0", &m);
	turn();
	ck_assert_uint_eq(last("rules-0", MSG_WELCOME)->any.welcome.stream, next);
}
END_TEST

START_TEST(test_newer_life_fences)
{
	uint64_t old = hello("connectivity-0", 5, 0), new;

	batch(old, 1, NULL);
	turn();
	new = hello("connectivity-0", 6, 1);
	ck_assert_uint_gt(new, old);
	fresh();
	batch(old, 2, NULL);
	turn();
	ck_assert_uint_eq(sent_count, 0); /* nobody is there to be told */
	ck_assert_uint_eq(hello_epoch("connectivity-0", 5, 0, old, 1, 0), 0);
	ck_assert_uint_eq(last("connectivity-0", MSG_FENCED)->any.fenced.stream, old);
	crash();
	ck_assert_uint_eq(hello_epoch("connectivity-0", 5, 0, old, 1, 0), 0);
	ck_assert_uint_eq(hello_epoch("connectivity-0", 6, 1, new, 0, 0), new);
	/* Ids are never issued again. */
	ck_assert_uint_gt(hello("connectivity-1", 1, 0), new);
}
END_TEST

START_TEST(test_acked_beyond_the_journal)
{
	uint64_t id = hello("connectivity-0", 5, 0), again;

	ck_assert_uint_eq(hello_epoch("connectivity-0", 5, 0, id, 9, 0), 0);
	ck_assert_uint_eq(last("connectivity-0", MSG_FENCED)->any.fenced.stream, id);
	again = hello_epoch("connectivity-0", 5, 0, 0, 0, 0);
	ck_assert_uint_gt(again, id);
}
END_TEST

START_TEST(test_malformed_is_not_appended)
{
	uint64_t id = hello("connectivity-0", 5, 0), before = metric_get(M_STORAGE_MALFORMED);
	struct bytes junk = bytes_of_str("not records");

	fresh();
	batch_of("limiter-0", id, 1, 0, ENTRY_READINGS, junk, 0);
	batch_of("limiter-0", id, 1, 1, ENTRY_ALERT, junk, 0); /* another partition */
	batch_of("limiter-0", id, 1, 0, ENTRY_TICK, junk, 0);
	batch_of("limiter-0", id, 1, 0, ENTRY_STREAM, junk, 0);
	batch_of("rules-0", id, 1, 0, ENTRY_ALERT, junk, 0); /* another worker's stream */
	ck_assert_uint_eq(metric_get(M_STORAGE_MALFORMED) - before, 5);
	turn();
	ck_assert(!last("connectivity-0", MSG_COMMIT));
	shard_on_hello(sh, "connectivity-0", &(struct msg_hello){ .life = 5, .partition = 77 });
	ck_assert_uint_eq(metric_get(M_STORAGE_MALFORMED) - before, 6);
	batch_of("rules-0", 12345, 1, 0, ENTRY_ALERT, junk, 0);
	ck_assert_uint_eq(last("rules-0", MSG_FENCED)->any.fenced.stream, 12345);
}
END_TEST

static void
check_copy(const char *what, uint64_t id, uint64_t seq, const struct device_message *d, bool copy)
{
	uint64_t before = metric_get(M_STORAGE_COPIES);

	batch(id, seq, d);
	turn();
	ck_assert_msg((metric_get(M_STORAGE_COPIES) - before == 1) == copy, "%s", what);
}

START_TEST(test_resend_is_a_copy)
{
	uint64_t id = hello("connectivity-0", 5, 0);
	struct device_message first = { .flags = 2, .client = 99, .packet_id = 3, .hash = 1000 };
	struct device_message dup = first, other = first, refused = first;

	dup.flags |= RECORD_DUP;
	other.flags |= RECORD_DUP;
	other.hash = 1001;
	refused.verdict = verdict_make(VERDICT_GLOBAL_LIMIT, 10);
	refused.client = 100;
	check_copy("first", id, 1, &first, false);
	check_copy("same without DUP is another message", id, 2, &first, false);
	check_copy("DUP of it", id, 3, &dup, true);
	check_copy("DUP with other payload", id, 4, &other, false);
	crash();
	ck_assert_uint_eq(hello_epoch("connectivity-0", 5, 0, id, 4, 0), id);
	check_copy("DUP of the last, after a restart", id, 5, &other, true);
	check_copy("refused", id, 6, &refused, false);
	refused.verdict = 0;
	refused.flags |= RECORD_DUP;
	check_copy("what was refused is not remembered", id, 7, &refused, false);
	/* What lies before the newest snapshot is read while the shard is served: by turns, or when it is asked for. */
	crash();
	crash();
	ck_assert_uint_lt(sh->journal->warm_at, sh->journal->warm_to);
	check_copy("DUP of what is before the snapshot", id, 8, &other, true);
	crash();
	crash();
	ck_assert_uint_lt(sh->journal->warm_at, sh->journal->warm_to);
	while (shard_turn(sh) == 0)
		continue;
	ck_assert_uint_eq(sh->journal->warm_at, sh->journal->warm_to);
	check_copy("DUP of it again", id, 9, &other, true);
	pass(121 * SECOND);
	check_copy("after the window", id, 10, &other, false);
}
END_TEST

START_TEST(test_clean_close)
{
	uint64_t id = hello("connectivity-0", 5, 0);

	batch(id, 1, NULL);
	shard_clock(sh, wall, mono);
	shard_close(&sh, wall);
	open_shard();
	ck_assert_uint_eq(hello_epoch("connectivity-0", 5, 0, id, 0, 0), id);
	ck_assert_uint_eq(last("connectivity-0", MSG_WELCOME)->any.welcome.upto, 1);
}
END_TEST

static void
silence_of_owner(void)
{
	pass(STREAM_SILENT_US + SECOND);
	shard_tick(sh);
}

START_TEST(test_owner_gone_for_a_day)
{
	uint64_t id = hello("connectivity-0", 5, 0);

	fresh();
	/* The wall clock put forward is no silence. */
	wall += STREAM_SILENT_US + SECOND;
	shard_clock(sh, wall, mono);
	shard_tick(sh);
	ck_assert_uint_eq(sh->streams.count, 1);
	silence_of_owner();
	ck_assert_uint_eq(last("connectivity-0", MSG_FENCED)->any.fenced.stream, id);
	ck_assert_uint_eq(sh->streams.count, 0);
	ck_assert_uint_gt(hello("connectivity-0", 5, 0), id);
}
END_TEST

UNIT_MAIN_IN("shard", shard_setup, shard_teardown, test_commit_after_sync,
    test_restart_knows_streams_and_refusals, test_given_up_id_is_not_given_again,
    test_newer_life_fences, test_acked_beyond_the_journal, test_malformed_is_not_appended,
    test_resend_is_a_copy, test_clean_close, test_owner_gone_for_a_day)
