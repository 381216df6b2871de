/* test_followers.c - what followers are told by a shard: order, credit, groups, retention, a full quota */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "err.h"
#include "metrics.h"
#include "subscriber.h"
#include "support_dir.h"
#include "support_shard.h"

START_TEST(test_follower_from_memory_and_files)
{
	uint64_t id = hello("connectivity-0", 5, 0), upto = 0, seqs[SENT_MAX], seq;
	size_t n;

	for (seq = 1; seq <= 300; seq++) {
		batch(id, seq, NULL);
		turn();
		if (seq % 100 == 0)
			ck_assert_int_eq(journal_roll(sh->journal, 0, wall), 0);
	}
	crash(); /* nothing is in memory now */
	subscribe("sink-history", "sink-history", false, 1, 0, 1 << 20);
	turn();
	ck_assert_uint_eq(last("sink-history", MSG_DELIVER)->any.deliver.epoch, SUBSCRIBE_NUMBER);
	n = delivered("sink-history", &upto, seqs);
	ck_assert_uint_eq(n, 300);
	ck_assert_uint_eq(seqs[0], 1);
	ck_assert_uint_eq(seqs[299], 300);
	fresh();
	ck_assert_uint_eq(hello_epoch("connectivity-0", 5, 0, id, 300, 0), id);
	fresh();
	batch(id, 301, NULL);
	turn();
	ck_assert_uint_eq(count("sink-history", MSG_DELIVER), 0); /* it is gathered for a moment */
	pass(FOLLOWERS_GATHER_US);
	turn();
	ck_assert_uint_eq(delivered("sink-history", &upto, seqs), 1);
	ck_assert_uint_eq(seqs[0], 301);
	subscriber_rest(sh->followers.all[0]);
	ck_assert_ptr_null(sh->followers.all[0]->out.data);
	/* From the middle, and from the end. */
	fresh();
	subscribe("sink-state", "sink-state", false, 1, UINT64_MAX, 1 << 20);
	turn();
	batch(id, 302, NULL);
	turn();
	pass(FOLLOWERS_GATHER_US);
	turn();
	upto = 0;
	ck_assert_uint_eq(delivered("sink-state", &upto, seqs), 1);
	ck_assert_uint_eq(seqs[0], 302);
}
END_TEST

/* The first after a pause as soon as anyone's, then one in its patience, or when much is gathered. */
START_TEST(test_patient_followers_have_fewer_deliveries)
{
	struct msg_subscribe m = { .group = bytes_of_str("sink-history"),
		.kinds = 1ull << ENTRY_READINGS,
		.from = UINT64_MAX,
		.credit = 8u << 20,
		.life = 1,
		.number = SUBSCRIBE_NUMBER,
		.patience = 100 };
	uint64_t id = hello("connectivity-0", 5, 0), upto = 0, seqs[SENT_MAX], seq = 0;

	shard_on_subscribe(sh, "sink-history", &m);
	turn();
	pass(SECOND);
	fresh();
	batch(id, ++seq, NULL);
	turn();
	ck_assert_uint_eq(count("sink-history", MSG_DELIVER), 0);
	pass(FOLLOWERS_GATHER_US);
	turn();
	ck_assert_uint_eq(delivered("sink-history", &upto, seqs), 1);
	fresh();
	for (unsigned ms = 10; ms < 100; ms += 10) {
		pass(10000);
		batch(id, ++seq, NULL);
		turn();
	}
	ck_assert_uint_eq(count("sink-history", MSG_DELIVER), 0);
	pass(10000);
	turn();
	ck_assert_uint_eq(count("sink-history", MSG_DELIVER), 1);
	ck_assert_uint_eq(delivered("sink-history", &upto, seqs), 9);
	/* Half of its credit is gathered before that. */
	fresh();
	m.credit = 2000;
	m.from = upto;
	shard_on_subscribe(sh, "sink-history", &m);
	for (unsigned n = 0; n < 20; n++) {
		batch(id, ++seq, NULL);
		turn();
	}
	ck_assert_uint_gt(delivered("sink-history", &upto, seqs), 0);
}
END_TEST

/* Nothing under pressure; all of it when that ends. After as much as it allowed it goes on, until it has caught up. */
START_TEST(test_who_may_stands_back)
{
	struct msg_subscribe m = { .group = bytes_of_str("history"),
		.kinds = 1ull << ENTRY_READINGS,
		.from = UINT64_MAX,
		.credit = 8u << 20,
		.life = 1,
		.number = SUBSCRIBE_NUMBER,
		.stand_back = 10000 };
	uint64_t id = hello("connectivity-0", 5, 0), upto = 0, seqs[SENT_MAX], seq = 0;
	unsigned back;

	shard_on_subscribe(sh, "sink-history", &m);
	subscribe("rules-0", "other", false, 1, UINT64_MAX, 8u << 20);
	batch(id, ++seq, NULL);
	turn();
	pass(FOLLOWERS_GATHER_US);
	turn();
	ck_assert_uint_eq(delivered("sink-history", &upto, seqs), 1);
	for (unsigned round = 0; round < 2; round++) {
		fresh();
		sh->followers.pressure = true;
		for (unsigned s = 0; s < 5; s++) {
			batch(id, ++seq, NULL);
			turn();
			pass(SECOND);
			turn();
		}
		ck_assert_uint_eq(followers_standing_back(&sh->followers), 1);
		ck_assert_uint_eq(count("sink-history", MSG_DELIVER), 0);
		ck_assert_uint_eq(count("rules-0", MSG_DELIVER), 5);
		fresh();
		sh->followers.pressure = false;
		turn();
		ck_assert_uint_eq(delivered("sink-history", &upto, seqs), 5);
		ck_assert_uint_eq(followers_standing_back(&sh->followers), 0);
	}
	/* As far behind as it allowed, or as the quota does. */
	for (unsigned round = 0; round < 2; round++) {
		fresh();
		sh->followers.pressure = true;
		for (back = 0; count("sink-history", MSG_DELIVER) == 0; back++) {
			ck_assert_uint_lt(back, 20);
			batch(id, ++seq, NULL);
			turn();
			pass(SECOND);
			turn();
		}
		ck_assert(round ? back == 1 : back == 11);
		sh->followers.stand_back_bytes = 100;
	}
	ck_assert_uint_eq(metric_get(M_STORAGE_STOOD_ENOUGH), 2);
}
END_TEST

START_TEST(test_credit_holds_and_progress_releases)
{
	uint64_t id = hello("connectivity-0", 5, 0), upto = 0, seqs[SENT_MAX], seq, bytes = 0;
	size_t n;

	for (seq = 1; seq <= 2000; seq++) {
		batch(id, seq, NULL);
		if (seq % 10 == 0)
			turn();
	}
	fresh();
	subscribe("sink-history", "sink-history", false, 1, 0, 1000);
	turn();
	n = delivered("sink-history", &upto, seqs);
	ck_assert_uint_gt(n, 0);
	fresh();
	turn();
	turn();
	ck_assert_uint_eq(sent_count, 0);
	for (unsigned round = 0; round < 1000 && n < 2000; round++) {
		bytes = 1u << 30; /* more than was sent counts as all of it */
		progress("sink-history", "sink-history", bytes, upto, 0);
		fresh();
		pass(FOLLOWERS_GATHER_US);
		turn();
		n += delivered("sink-history", &upto, seqs);
	}
	ck_assert_uint_eq(n, 2000);
	/* A receiver that is behind or away: nothing is skipped. */
	progress("sink-history", "sink-history", bytes, upto, 0);
	fresh();
	send_result = ERR_AGAIN;
	batch(id, 2001, NULL);
	turn();
	pass(FOLLOWERS_GATHER_US);
	turn();
	send_result = 0;
	pass(SECOND / 10);
	turn();
	ck_assert_uint_eq(delivered("sink-history", &upto, seqs), 1);
	ck_assert_uint_eq(seqs[0], 2001);
}
END_TEST

START_TEST(test_journal_time_goes_on_when_the_clock_is_put_back)
{
	int64_t before, time;

	shard_tick(sh);
	before = time = sh->journal->time;
	wall -= 7200 * SECOND;
	for (int i = 0; i < 10; i++) {
		if (i == 5)
			crash();
		pass(SECOND);
		shard_tick(sh);
		ck_assert_int_gt(sh->journal->time, time);
		time = sh->journal->time;
	}
	ck_assert_int_ge(time - before, 4 * SECOND);
	ck_assert_int_lt(time - before, 6 * SECOND);
	wall += 7300 * SECOND;
	pass(SECOND);
	shard_tick(sh);
	ck_assert_int_eq(sh->journal->time, wall);
}
END_TEST

START_TEST(test_unknown_and_silent_followers)
{
	progress("sink-history", "sink-history", 0, 0, 0);
	ck_assert_uint_eq(count("sink-history", MSG_UNKNOWN), 1);
	subscribe("sink-history", "sink-history", false, 1, 0, 1000);
	fresh();
	for (unsigned i = 0; i < 3; i++) {
		pass(SECOND);
		progress("sink-history", "sink-history", 1000, 0, 0);
		shard_tick(sh);
		turn();
		pass(FOLLOWERS_GATHER_US);
		turn();
	}
	ck_assert_uint_ge(count("sink-history", MSG_DELIVER), 3); /* a TICK each second */
	ck_assert_uint_eq(sh->followers.count, 1);
	for (unsigned i = 0; i < 5; i++) {
		pass(SECOND);
		shard_tick(sh);
	}
	ck_assert_uint_eq(sh->followers.count, 0);
}
END_TEST

START_TEST(test_shared_group_and_fencing)
{
	struct bytes alert = bytes_of_str("an alert");
	uint64_t id = hello("connectivity-0", 5, 0), epoch, stream, newer;
	const struct msg_assign *a;

	batch(id, 1, NULL);
	turn();
	fresh();
	subscribe("rules-0", "rules", true, 1, 0, 1 << 20);
	batch(id, 2, NULL);
	turn();
	a = assign_of("rules-0");
	ck_assert_uint_eq(u64s_count(a->partitions), 4);
	ck_assert_uint_eq(a->end, sh->journal->end);
	epoch = a->epoch;
	ck_assert_uint_eq(count("rules-0", MSG_DELIVER), 0); /* not before it holds its state */
	resume("rules-0", a, 0);
	turn();
	ck_assert_uint_ge(count("rules-0", MSG_DELIVER), 1);
	ck_assert_uint_eq(last("rules-0", MSG_DELIVER)->any.deliver.epoch, epoch);
	stream = hello_epoch("rules-0", 1, 0, 0, 0, epoch);
	ck_assert_uint_ne(stream, 0);
	ck_assert_uint_eq(
	    hello_epoch("rules-0", 1, 1, 0, 0, epoch - 1), 0); /* an older assignment */
	fresh();
	batch_of("rules-0", stream, 1, 0, ENTRY_ALERT, alert, 0);
	turn();
	ck_assert_uint_eq(last("rules-0", MSG_COMMIT)->any.commit.upto, 1);

	/* Its next life: what the old one sends no longer counts, from the SUBSCRIBE on. */
	subscribe("rules-0", "rules", true, 2, 0, 1 << 20);
	fresh();
	batch_of("rules-0", stream, 2, 0, ENTRY_ALERT, alert, 0);
	turn();
	ck_assert(!last("rules-0", MSG_COMMIT));
	ck_assert_uint_eq(last("rules-0", MSG_FENCED)->any.fenced.stream, stream);
	a = assign_of("rules-0");
	ck_assert_uint_gt(a->epoch, epoch);
	ck_assert_uint_eq(u64s_count(a->partitions), 4);
	newer = hello_epoch("rules-0", 2, 0, 0, 0, a->epoch);
	ck_assert_uint_gt(newer, stream);
}
END_TEST

START_TEST(test_two_members_divide_and_take_over)
{
	uint64_t owned[2] = { 0, 0 }, epoch0;
	const struct msg_assign *a;

	subscribe("rules-0", "rules", true, 1, 0, 1 << 20);
	subscribe("rules-1", "rules", true, 1, 0, 1 << 20);
	turn();
	for (unsigned k = 0; k < 2; k++) {
		a = assign_of(k ? "rules-1" : "rules-0");
		for (size_t i = 0; i < u64s_count(a->partitions); i++)
			owned[k] |= 1ull << u64s_at(a->partitions, i);
	}
	ck_assert_uint_eq(owned[0] | owned[1], 15);
	ck_assert_uint_eq(owned[0] & owned[1], 0);
	epoch0 = assign_of("rules-0")->epoch;
	fresh();
	for (unsigned i = 0; i < 5; i++) {
		pass(SECOND);
		progress("rules-0", "rules", 0, 0, epoch0);
		shard_tick(sh);
		turn();
	}
	if (owned[1]) {
		a = assign_of("rules-0");
		ck_assert_uint_eq(u64s_count(a->partitions), 4);
		ck_assert_uint_gt(a->epoch, epoch0);
	}
	/* A standstill of this process is not the followers' silence. */
	pass(60 * SECOND);
	shard_tick(sh);
	ck_assert_uint_eq(sh->followers.count, 1);
}
END_TEST

START_TEST(test_retention_waits_for_mandatory_groups)
{
	uint64_t id = hello("connectivity-0", 5, 0), seq;
	uint64_t cut;

	config.retention_us = 0;
	crash();
	ck_assert_uint_eq(hello_epoch("connectivity-0", 5, 0, id, 0, 0), id);
	for (seq = 1; seq <= 3; seq++) {
		batch(id, seq, NULL);
		turn();
		ck_assert_int_eq(journal_roll(sh->journal, 0, wall), 0);
		pass(SECOND);
	}
	ck_assert_uint_ge(sh->journal->segment_count, 4);
	shard_tick(sh);
	ck_assert_uint_ge(sh->journal->segment_count, 4);
	cut = sh->journal->end;
	subscribe("sink-history", "sink-history", false, 1, 0, 1 << 20);
	progress("sink-history", "sink-history", 0, cut, 0);
	shard_tick(sh);
	ck_assert_uint_ge(sh->journal->segment_count, 4); /* rules never said anything */
	subscribe("rules-0", "rules", true, 1, 0, 1 << 20);
	turn();
	resume("rules-0", assign_of("rules-0"), 0);
	progress("rules-0", "rules", 0, cut, assign_of("rules-0")->epoch);
	shard_tick(sh);
	ck_assert_uint_le(sh->journal->segment_count, 2);
	/* Cursors are kept over a restart; an optional follower that is too far behind is taken forward and told. */
	crash();
	ck_assert_uint_eq(cursors_hold(&sh->followers.cursors), cut);
	subscribe("sink-state", "sink-state", false, 1, 1, 1 << 20);
	ck_assert_uint_eq(last("sink-state", MSG_SKIPPED)->any.skipped.from, 1);
	ck_assert_uint_eq(
	    last("sink-state", MSG_SKIPPED)->any.skipped.to, journal_oldest(sh->journal));
}
END_TEST

/* The process died between naming a segment and writing its snapshot. */
START_TEST(test_retention_is_kept_before_a_segment_without_snapshot)
{
	uint64_t id = hello("connectivity-0", 5, 0), oldest, cut;
	char name[JOURNAL_NAME_MAX];
	uint8_t zeros[4096] = { 0 };

	batch(id, 1, NULL);
	turn();
	oldest = journal_oldest(sh->journal);
	journal_segment_name(sh->journal->base_next, name);
	shard_abandon(&sh);
	test_file_write(shard_dir, name, zeros, sizeof(zeros));
	sent_count = 0;
	open_shard();
	ck_assert_uint_eq(sh->journal->segment_count, 3);
	ck_assert_uint_eq(sh->replay_damage, 0);
	cut = sh->journal->end;
	subscribe("sink-history", "sink-history", false, 1, 0, 1 << 20);
	progress("sink-history", "sink-history", 0, cut, 0);
	subscribe("rules-0", "rules", true, 1, 0, 1 << 20);
	turn();
	resume("rules-0", assign_of("rules-0"), 0);
	progress("rules-0", "rules", 0, cut, assign_of("rules-0")->epoch);
	shard_tick(sh);
	ck_assert_uint_eq(journal_oldest(sh->journal), oldest);
}
END_TEST

START_TEST(test_quota_closes_and_reopens_credit)
{
	struct buf big = { 0 };
	uint64_t id, internal, seq = 0, committed = 0;
	const struct sent *s = NULL;

	config.quota_bytes = 3 * JOURNAL_SEGMENT_MIN;
	config.mandatory = "sink-history";
	crash();
	id = hello("connectivity-0", 5, 0);
	internal = hello("notifier-0", 1, 0);
	for (unsigned i = 0; i < 1000; i++)
		add_record(&big, &(struct device_message){ .hash = i });
	for (unsigned i = 0; i < 200 && !sh->closed; i++) {
		fresh();
		batch_of("limiter-0", id, ++seq, 0, ENTRY_READINGS, buf_bytes(&big), 0);
		turn();
		if (i % 10 == 0)
			shard_tick(sh);
		s = last("connectivity-0", MSG_COMMIT);
		ck_assert(s != NULL);
		committed = s->any.commit.upto;
	}
	ck_assert(sh->closed);
	ck_assert_uint_eq(s->any.commit.window, 0);
	ck_assert_uint_le(journal_bytes(sh->journal), config.quota_bytes);
	/* Not taken, not lost: it is offered again. Alerts still move. */
	fresh();
	batch_of("limiter-0", id, committed + 1, 0, ENTRY_READINGS, buf_bytes(&big), 0);
	batch_of("notifier-0", internal, 1, 0, ENTRY_ALERT, bytes_of_str("alert"), 0);
	turn();
	ck_assert_uint_eq(last("connectivity-0", MSG_COMMIT)->any.commit.upto, committed);
	ck_assert_uint_eq(last("connectivity-0", MSG_COMMIT)->any.commit.window, 0);
	ck_assert_uint_eq(last("notifier-0", MSG_COMMIT)->any.commit.upto, 1);
	ck_assert_uint_gt(last("notifier-0", MSG_COMMIT)->any.commit.window, 0);
	/* A restart changes nothing. */
	crash();
	ck_assert_uint_eq(hello_epoch("connectivity-0", 5, 0, id, committed, 0), id);
	shard_tick(sh);
	turn();
	/* Followers catch up: segments go, credit is there again and is told more than once. */
	subscribe("sink-history", "sink-history", false, 1, 0, 1 << 20);
	progress("sink-history", "sink-history", 0, sh->journal->end, 0);
	fresh();
	for (unsigned i = 0; i < 3; i++) {
		pass(SECOND);
		progress("sink-history", "sink-history", 0, sh->journal->end, 0);
		shard_tick(sh);
		turn();
	}
	ck_assert(!sh->closed);
	ck_assert_uint_ge(count("connectivity-0", MSG_COMMIT), 2);
	ck_assert_uint_gt(last("connectivity-0", MSG_COMMIT)->any.commit.window, 0);
	fresh();
	batch_of("limiter-0", id, committed + 1, 0, ENTRY_READINGS, buf_bytes(&big), 0);
	turn();
	ck_assert_uint_eq(last("connectivity-0", MSG_COMMIT)->any.commit.upto, committed + 1);
	buf_fini(&big);
}
END_TEST

UNIT_MAIN_IN("followers", shard_setup, shard_teardown, test_follower_from_memory_and_files,
    test_patient_followers_have_fewer_deliveries, test_who_may_stands_back,
    test_credit_holds_and_progress_releases, test_journal_time_goes_on_when_the_clock_is_put_back,
    test_unknown_and_silent_followers, test_shared_group_and_fencing,
    test_two_members_divide_and_take_over, test_retention_waits_for_mandatory_groups,
    test_retention_is_kept_before_a_segment_without_snapshot, test_quota_closes_and_reopens_credit)
