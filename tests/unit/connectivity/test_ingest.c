/* test_ingest.c - from offered messages to answers: loss, restarts, refusals, credit */
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "err.h"
#include "ingest_batch.h"
#include "mem.h"
#include "support_ingest.h"

START_TEST(answered_by_commit_alone)
{
	for (uint64_t i = 0; i < 3; i++)
		ck_assert_int_eq(offer(100 + i), 0);
	ck_assert(!ingest_idle(x.in));
	wait_for(&x.seen_count, 1);
	ck_assert_uint_eq(x.hello.stream, 0);
	ck_assert_uint_eq(x.hello.acked, 0);
	ck_assert_uint_eq(x.hello.life, x.w.life);
	ck_assert_uint_eq(x.seen[0].stream, 7);
	ck_assert_uint_eq(x.seen[0].seq, 1);
	ck_assert_uint_eq(x.seen[0].records, 3);
	ck_assert(!x.seen[0].retry);
	ck_assert_int_eq(x.answers, 0);
	commit(1, (struct bytes){ 0 });
	wait_for(&x.answers, 3);
	for (int i = 0; i < 3; i++) {
		ck_assert_uint_eq(x.tokens[i], 100u + (unsigned)i);
		ck_assert_uint_eq(x.verdicts[i], VERDICT_ACCEPTED);
	}
	ck_assert(ingest_idle(x.in));
	offer(103);
	wait_for(&x.seen_count, 2);
	ck_assert_uint_eq(x.seen[1].seq, 2);
	ck_assert_uint_eq(x.seen[1].acked, 1);
}
END_TEST

/* What was decoded before is not decoded again: the payload is only hashed. */
START_TEST(takes_decoded_points)
{
	struct point points[2] = {
		{ .name = bytes_of_str("t"),
		    .value = { .kind = VALUE_INT, .v = { .i = 5 } },
		    .time = 1000 },
		{ .name = bytes_of_str("u"),
		    .value = { .kind = VALUE_BOOL, .v = { .b = true } },
		    .time = 2000 },
	};
	struct payload_result r = {
		.points = points, .count = 2, .time = 2000, .device_time = true
	};
	struct ingest_message m = message("no payload of any format");
	struct record_cursor c;
	struct record record;
	struct point_cursor at;
	struct point p;
	int64_t before = ingest_stamp(x.in);

	ck_assert_int_gt(ingest_stamp(x.in), before);
	ck_assert_int_ge(ingest_latest(x.in), before - 1000000);
	m.qos = 1;
	ck_assert_int_eq(ingest_offer_points(x.in, &m, &r, 9, NULL), 0);
	wait_for(&x.seen_count, 1);
	c = record_cursor_of(buf_bytes(&x.seen[0].bytes));
	ck_assert_int_eq(record_next(&c, &record), 0);
	ck_assert(bytes_equal(record.device, m.device));
	ck_assert_int_eq(record.time, 2000);
	ck_assert_uint_eq(record.flags, RECORD_DEVICE_TIME | 1 << RECORD_QOS_SHIFT);
	ck_assert_uint_eq(record.point_count, 2);
	ck_assert_uint_ne(record.hash, 0);
	at = point_cursor_of(&record);
	ck_assert_int_eq(point_next(&at, &p), 0);
	ck_assert_int_eq(p.value.v.i, 5);
	ck_assert_int_eq(p.time, 1000);
	commit(1, (struct bytes){ 0 });
	wait_for(&x.answers, 1);
	ck_assert_uint_eq(x.tokens[0], 9);
}
END_TEST

/* Two batches go ahead; what comes meanwhile waits in one. */
START_TEST(gathers_while_two_are_under_way)
{
	for (uint64_t i = 1; i <= 5; i++) {
		offer(i);
		turn(0);
	}
	wait_for(&x.seen_count, 2);
	turn(1000);
	ck_assert_int_eq(x.seen_count, 2);
	commit(1, (struct bytes){ 0 });
	wait_for(&x.seen_count, 3);
	ck_assert_uint_eq(x.seen[2].records, 3);
	ingest_quiet(x.in); /* what is under way is not touched */
	commit(3, (struct bytes){ 0 });
	wait_for(&x.answers, 5);
	for (int i = 0; i < 5; i++)
		ck_assert_uint_eq(x.tokens[i], 1u + (unsigned)i);
}
END_TEST

static void
offer_of(struct bytes device, uint64_t token)
{
	struct ingest_message m = message(TELEMETRY);

	m.device = device;
	ck_assert_int_eq(ingest_offer(x.in, &m, token, NULL), 0);
}

/* Lanes of one shard share its rounds, so that few batches are under way; but none waits long for another's. */
START_TEST(lanes_gather_together)
{
	struct bytes devices[2] = { { 0 }, { 0 } };
	static const char *const names[] = { "a", "b", "c", "d", "e", "f", "g", "h" };

	for (size_t i = 0; i < COUNT_OF(names); i++)
		devices[partition_of(bytes_of_str(names[i]), 2)] = bytes_of_str(names[i]);
	ck_assert(devices[0].len && devices[1].len);
	wait_for(&x.hellos, 2);
	for (uint64_t i = 1; i <= 2; i++) {
		offer_of(devices[0], i);
		turn(0);
	}
	wait_for(&x.seen_count, 2);
	offer_of(devices[1], 3);
	offer_of(devices[0], 4);
	/* nothing is committed: the other lane's goes all the same, this one's does not */
	wait_for(&x.seen_count, 3);
	for (int i = 0; i < 20; i++)
		turn(1000);
	ck_assert_int_eq(x.seen_count, 3);
	ck_assert_uint_eq(x.seen[2].stream, x.stream + 1);
	commit(2, (struct bytes){ 0 });
	wait_for(&x.seen_count, 4);
	ck_assert_uint_eq(x.seen[3].stream, x.stream);
}
END_TEST

START_TEST(ripe_batches_go_at_once)
{
	for (uint64_t i = 0; i < 10 * INGEST_BATCH_RECORDS; i++)
		ck_assert_int_eq(offer(i), 0);
	wait_for(&x.seen_count, 10);
	for (int i = 0; i < 10; i++)
		ck_assert_uint_eq(x.seen[i].records, INGEST_BATCH_RECORDS);
	commit(10, (struct bytes){ 0 });
	wait_for(&x.answers, 10 * INGEST_BATCH_RECORDS);
}
END_TEST

START_TEST(refusals_and_reoffer)
{
	struct buf verdicts = { 0 };
	struct seen first;

	for (uint64_t i = 0; i < 4; i++)
		offer(i);
	wait_for(&x.seen_count, 1);
	u64s_add(&verdicts, 1);
	u64s_add(&verdicts, 1ull << 32 | verdict_make(VERDICT_DEVICE_LIMIT, 250));
	u64s_add(&verdicts, 1);
	u64s_add(&verdicts, 3ull << 32 | verdict_make(VERDICT_GLOBAL_LIMIT, 10));
	commit(1, buf_bytes(&verdicts));
	wait_for(&x.answers, 4);
	ck_assert_uint_eq(x.verdicts[0], VERDICT_ACCEPTED);
	ck_assert_uint_eq(x.verdicts[1], verdict_make(VERDICT_DEVICE_LIMIT, 250));
	ck_assert_uint_eq(x.verdicts[2], VERDICT_ACCEPTED);
	ck_assert_uint_eq(x.verdicts[3], verdict_make(VERDICT_GLOBAL_LIMIT, 10));
	/* the last of the batch, as it was */
	first = x.seen[0];
	ck_assert_uint_gt(first.bytes.len, x.refused.len);
	ck_assert_mem_eq(
	    first.bytes.data + first.bytes.len - x.refused.len, x.refused.data, x.refused.len);
	ck_assert_int_eq(ingest_reoffer(x.in, buf_bytes(&x.refused), 77), 0);
	wait_for(&x.seen_count, 2);
	ck_assert(bytes_equal(buf_bytes(&x.seen[1].bytes), buf_bytes(&x.refused)));
	commit(2, (struct bytes){ 0 });
	wait_for(&x.answers, 5);
	ck_assert_uint_eq(x.tokens[4], 77);
	ck_assert_int_eq(ingest_reoffer(x.in, bytes_of("garbage", 7), 78), ERR_MALFORMED);
	ck_assert_int_eq(ingest_reoffer(x.in, buf_bytes(&first.bytes), 78), ERR_MALFORMED);
	ck_assert_int_eq(ingest_reoffer(x.in, bytes_of(NULL, 0), 78), ERR_NOT_FOUND);
	ck_assert(ingest_idle(x.in));
	buf_fini(&verdicts);
}
END_TEST

START_TEST(no_credit)
{
	x.window = 0;
	wait_for(&x.hellos, 1);
	for (int i = 0; i < 200 && offer(1) == 0; i++)
		turn(1000);
	ck_assert_int_eq(offer(2), ERR_AGAIN);
	ck_assert_int_eq(x.seen_count, 0);
	ck_assert_int_eq(x.rooms, 0);
	/* while there is none the shard is asked: the grant could have been lost */
	x.window = 64;
	wait_for(&x.rooms, 1);
	ck_assert_int_eq(offer(3), 0);
	wait_for(&x.seen_count, 1);
}
END_TEST

/* Without answers the door closes after a bounded amount, and opens when COMMIT comes; nothing is lost. */
START_TEST(bounded)
{
	uint64_t offered = 0;

	wait_for(&x.hellos, 1);
	while (offered < ANSWERS_MAX && offer(offered) == 0)
		offered++;
	ck_assert_uint_lt(offered, ANSWERS_MAX);
	ck_assert_int_eq(x.rooms, 0);
	for (int i = 0; (uint64_t)x.answers < offered && i < 10000; i++) {
		turn(1000);
		if (x.seen_count)
			commit(x.seen[x.seen_count - 1].seq, (struct bytes){ 0 });
	}
	ck_assert_uint_eq((uint64_t)x.answers, offered);
	for (uint64_t i = 0; i < offered; i++)
		ck_assert_uint_eq(x.tokens[i], i);
	ck_assert_int_eq(x.rooms, 1);
	ck_assert_int_eq(offer(0), 0);
}
END_TEST

START_TEST(sends_again_after_a_time_out)
{
	offer(1);
	wait_for(&x.seen_count, 2);
	ck_assert_uint_eq(x.seen[1].seq, 1);
	ck_assert(!x.seen[0].retry);
	ck_assert(x.seen[1].retry);
	ck_assert(bytes_equal(buf_bytes(&x.seen[0].bytes), buf_bytes(&x.seen[1].bytes)));
	commit(1, (struct bytes){ 0 });
	wait_for(&x.answers, 1);
	commit(1, (struct bytes){ 0 });
	turn(10000);
	ck_assert_int_eq(x.answers, 1);
}
END_TEST

START_TEST(gap)
{
	struct msg_gap msg = { .stream = 7, .next = 2 };

	for (uint64_t i = 0; i < 4 * INGEST_BATCH_RECORDS; i++)
		offer(i);
	wait_for(&x.seen_count, 4);
	commit(1, (struct bytes){ 0 });
	ck_assert_int_eq(bus_send(x.shard, "connectivity-0", MSG_GAP, &msg), 0);
	wait_for(&x.seen_count, 7);
	ck_assert_uint_eq(x.seen[4].seq, 2);
	ck_assert(x.seen[4].retry);
	ck_assert_uint_eq(x.seen[6].seq, 4);
}
END_TEST

/* A new id: the same records, numbered from 1. */
START_TEST(fenced)
{
	struct msg_fenced msg = { .partition = 0, .stream = 7 };

	offer(1);
	wait_for(&x.seen_count, 1);
	commit(1, (struct bytes){ 0 });
	wait_for(&x.answers, 1);
	offer(2);
	wait_for(&x.seen_count, 2);
	x.stream = 9;
	x.upto = 0;
	ck_assert_int_eq(bus_send(x.shard, "connectivity-0", MSG_FENCED, &msg), 0);
	wait_for(&x.seen_count, 3);
	ck_assert_uint_eq(x.hello.stream, 0);
	ck_assert_uint_eq(x.hello.acked, 0);
	ck_assert_uint_eq(x.seen[2].stream, 9);
	ck_assert_uint_eq(x.seen[2].seq, 1);
	commit(1, (struct bytes){ 0 });
	wait_for(&x.answers, 2);
	ck_assert_uint_eq(x.tokens[1], 2);
}
END_TEST

/* Committed, but the shard died before it said so: WELCOME answers, refusals included. */
START_TEST(welcome_answers)
{
	struct buf verdicts = { 0 };
	struct msg_welcome msg = {
		.life = x.w.life, .stream = 7, .upto = 1, .window = 64, .window_bytes = 1 << 20
	};
	int hellos;

	offer(1);
	offer(2);
	wait_for(&x.seen_count, 1);
	x.stream = 0;
	bus_free(&x.shard_bus);
	turn(20000);
	open_shard();
	hellos = x.hellos;
	wait_for(&x.hellos, hellos + 1);
	ck_assert_uint_eq(x.hello.stream, 7);
	u64s_add(&verdicts, 1);
	u64s_add(&verdicts, verdict_make(VERDICT_DEVICE_LIMIT, 5));
	msg.verdicts = buf_bytes(&verdicts);
	ck_assert_int_eq(bus_send(x.shard, "connectivity-0", MSG_WELCOME, &msg), 0);
	wait_for(&x.answers, 2);
	ck_assert_uint_eq(x.verdicts[0], verdict_make(VERDICT_DEVICE_LIMIT, 5));
	ck_assert_uint_eq(x.verdicts[1], VERDICT_ACCEPTED);
	buf_fini(&verdicts);
}
END_TEST

START_TEST(limiter_restarts)
{
	wait_for(&x.hellos, 1);
	offer(1);
	wait_for(&x.seen_count, 1);
	bus_free(&x.limiter_bus);
	turn(20000);
	offer(2);
	turn(1000);
	open_limiter();
	wait_for(&x.seen_count, 3);
	ck_assert_uint_eq(x.seen[1].seq, 1);
	ck_assert(x.seen[1].retry);
	commit(2, (struct bytes){ 0 });
	wait_for(&x.answers, 2);
}
END_TEST

START_TEST(answers_that_are_not_ours)
{
	struct msg_welcome other = {
		.life = x.w.life + 1, .stream = 50, .window = 64, .window_bytes = 1 << 20
	};
	struct msg_welcome beyond = { .life = x.w.life,
		.partition = 1023,
		.stream = 50,
		.window = 64,
		.window_bytes = 1 << 20 };
	struct msg_commit commit_50 = {
		.stream = 50, .upto = 1, .window = 64, .window_bytes = 1 << 20
	};
	struct msg_commit commit_0 = {
		.stream = 0, .upto = 1, .window = 64, .window_bytes = 1 << 20
	};
	struct msg_gap gap_50 = { .stream = 50, .next = 1 };
	struct msg_fenced fenced_50 = { .partition = 0, .stream = 50 };

	offer(1);
	wait_for(&x.seen_count, 1);
	bus_send(x.shard, "connectivity-0", MSG_WELCOME, &other);
	bus_send(x.shard, "connectivity-0", MSG_WELCOME, &beyond);
	bus_send(x.shard, "connectivity-0", MSG_COMMIT, &commit_50);
	bus_send(x.shard, "connectivity-0", MSG_COMMIT, &commit_0);
	bus_send(x.shard, "connectivity-0", MSG_GAP, &gap_50);
	bus_send(x.shard, "connectivity-0", MSG_FENCED, &fenced_50);
	/* more than was sent */
	commit(5, (struct bytes){ 0 });
	for (int i = 0; i < 10; i++)
		turn(1000);
	ck_assert_int_eq(x.answers, 0);
	commit(1, (struct bytes){ 0 });
	wait_for(&x.answers, 1);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("ingest");
	TCase *t = tcase_create("ingest"), *two = tcase_create("two lanes");

	tcase_set_timeout(t, 30);
	tcase_add_checked_fixture(t, fixture_setup, fixture_teardown);
	tcase_add_test(t, answered_by_commit_alone);
	tcase_add_test(t, takes_decoded_points);
	tcase_add_test(t, gathers_while_two_are_under_way);
	tcase_add_test(t, ripe_batches_go_at_once);
	tcase_add_test(t, refusals_and_reoffer);
	tcase_add_test(t, no_credit);
	tcase_add_test(t, bounded);
	tcase_add_test(t, sends_again_after_a_time_out);
	tcase_add_test(t, gap);
	tcase_add_test(t, fenced);
	tcase_add_test(t, welcome_answers);
	tcase_add_test(t, limiter_restarts);
	tcase_add_test(t, answers_that_are_not_ours);
	suite_add_tcase(s, t);
	tcase_add_checked_fixture(two, fixture_setup_two, fixture_teardown);
	tcase_add_test(two, lanes_gather_together);
	suite_add_tcase(s, two);
	return unit_end(s);
}
