/* test_ingest.c - from offered messages to answers, against a limiter and a shard played over real ipc sockets */
#include "ingest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "entry.h"
#include "err.h"
#include "ingest_batch.h"
#include "mem.h"
#include "stream.h"

#define DEADLINE_US 5000000
#define TELEMETRY "{\"temperature\":21.5}"
#define SEEN_MAX 4096
#define ANSWERS_MAX 400000

struct seen { /* a batch that reached the limiter */
	uint64_t stream;
	uint64_t seq;
	uint64_t acked;
	bool retry;
	uint32_t records;
	struct buf bytes;
};

static struct {
	char dir[32];
	struct settings *settings;
	struct worker w;
	struct ingest *in;
	struct bus *limiter_bus, *shard_bus;
	struct bus_link *limiter, *shard;
	int hellos;
	struct msg_hello hello;
	uint64_t stream;	/* WELCOME's; 0: HELLO is not answered */
	uint64_t upto;
	uint32_t window;
	int seen_count;
	struct seen seen[SEEN_MAX];
	int answers;
	uint64_t tokens[ANSWERS_MAX];
	uint32_t verdicts[ANSWERS_MAX];
	struct buf refused;	/* the last refused record */
	int rooms;
} x;

static void
on_answer(void *arg, uint64_t token, uint32_t verdict, const struct bytes *record)
{
	(void)arg;
	ck_assert_int_lt(x.answers, ANSWERS_MAX);
	ck_assert((record != NULL) == verdict_is_refusal(verdict));
	if (record) {
		buf_clear(&x.refused);
		buf_add(&x.refused, record->data, record->len);
	}
	x.verdicts[x.answers] = verdict;
	x.tokens[x.answers++] = token;
}

static void
on_room(void *arg)
{
	(void)arg;
	x.rooms++;
}

static void
limiter_on_msg(void *arg, struct bus_msg *m)
{
	struct seen *s;

	(void)arg;
	ck_assert_int_eq(m->type, MSG_STREAM_BATCH);
	ck_assert_str_eq(m->from, "connectivity-0");
	ck_assert_int_lt(x.seen_count, SEEN_MAX);
	s = &x.seen[x.seen_count++];
	*s = (struct seen){
		.stream = m->any->batch.stream,
		.seq = m->any->batch.seq,
		.acked = m->any->batch.acked,
		.retry = m->any->batch.retry,
	};
	ck_assert_uint_eq(m->any->batch.kind, ENTRY_READINGS);
	ck_assert_uint_eq(m->any->batch.partition, 0);
	buf_add(&s->bytes, m->any->batch.records.data, m->any->batch.records.len);
	ck_assert_int_eq(record_check_batch(buf_bytes(&s->bytes), &s->records, NULL), 0);
}

static void
welcome(void)
{
	struct msg_welcome msg = {
		.life = x.w.life, .stream = x.stream, .upto = x.upto, .window = x.window, .window_bytes = STREAM_WINDOW_BYTES
	};

	ck_assert_int_eq(bus_send(x.shard, "connectivity-0", MSG_WELCOME, &msg), 0);
}

static void
shard_on_msg(void *arg, struct bus_msg *m)
{
	(void)arg;
	ck_assert_int_eq(m->type, MSG_HELLO);
	x.hello = m->any->hello;
	x.hellos++;
	if (x.stream)
		welcome();
}

static void
commit(uint64_t upto, struct bytes verdicts)
{
	struct msg_commit msg = {
		.stream = x.stream, .upto = upto, .window = x.window, .window_bytes = STREAM_WINDOW_BYTES, .verdicts = verdicts
	};

	x.upto = upto;
	ck_assert_int_eq(bus_send(x.shard, "connectivity-0", MSG_COMMIT, &msg), 0);
}

static void
turn(int64_t wait_us)
{
	loop_turn(x.w.loop, wait_us);
	ingest_turn(x.in);
}

static void
wait_for(const int *value, int at_least)
{
	int64_t deadline = loop_now_us(x.w.loop) + DEADLINE_US;

	while (*value < at_least && loop_now_us(x.w.loop) < deadline)
		turn(5000);
	ck_assert_int_ge(*value, at_least);
}

static void
open_limiter(void)
{
	char run[64];

	x.limiter_bus = bus_new(x.w.loop, "limiter-0", worker_run_dir(x.settings, run, sizeof run), limiter_on_msg, NULL, NULL);
	ck_assert_int_eq(bus_bind(x.limiter_bus, "limiter-0", &x.limiter), 0);
}

static void
open_shard(void)
{
	char run[64];

	x.shard_bus = bus_new(x.w.loop, "storage-0", worker_run_dir(x.settings, run, sizeof run), shard_on_msg, NULL, NULL);
	ck_assert_int_eq(bus_bind(x.shard_bus, "shard-0", &x.shard), 0);
}

static void
on_link(struct worker *w, struct bus_link *link, bool up)
{
	(void)w;
	if (x.in)
		ingest_on_link(x.in, link, up);
}

static void
on_welcome(struct worker *w, struct bus_msg *m)
{
	(void)w;
	ingest_on_welcome(x.in, m);
}

static void
on_fenced(struct worker *w, struct bus_msg *m)
{
	(void)w;
	ingest_on_fenced(x.in, m);
}

static void
on_commit(struct worker *w, struct bus_msg *m)
{
	(void)w;
	ingest_on_commit(x.in, m);
}

static void
on_gap(struct worker *w, struct bus_msg *m)
{
	(void)w;
	ingest_on_gap(x.in, m);
}

static const struct worker_spec spec = {
	.name = "connectivity",
	.on = {
		[MSG_WELCOME] = on_welcome,
		[MSG_FENCED] = on_fenced,
		[MSG_COMMIT] = on_commit,
		[MSG_GAP] = on_gap,
	},
	.on_link = on_link,
};

static void
setup(void)
{
	char text[80];
	struct buf err = { 0 };

	memset(&x, 0, sizeof x);
	snprintf(x.dir, sizeof x.dir, "/tmp/roost-ing-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(x.dir));
	snprintf(text, sizeof text, "mkdir -p %s/run", x.dir);
	ck_assert_int_eq(system(text), 0);
	x.settings = settings_new();
	snprintf(text, sizeof text, "data_dir=%s", x.dir);
	ck_assert_int_eq(settings_set(x.settings, text, "test", &err), 0);
	ck_assert_int_eq(settings_set(x.settings, "partitions=1", "test", &err), 0);
	ck_assert_int_eq(worker_tool_start(&x.w, &spec, "connectivity-0", x.settings), 0);
	x.stream = 7;
	x.window = 64;
	open_limiter();
	open_shard();
	x.in = ingest_new(&x.w, on_answer, on_room, &x);
	ck_assert_ptr_nonnull(x.in);
	ck_assert(ingest_idle(x.in));
}

static void
teardown(void)
{
	char text[80];

	ingest_free(&x.in);
	ck_assert_ptr_null(x.in);
	ingest_free(&x.in);
	bus_free(&x.limiter_bus);
	bus_free(&x.shard_bus);
	worker_tool_stop(&x.w);
	settings_free(&x.settings);
	for (int i = 0; i < x.seen_count; i++)
		buf_fini(&x.seen[i].bytes);
	buf_fini(&x.refused);
	snprintf(text, sizeof text, "rm -rf %s", x.dir);
	ck_assert_int_eq(system(text), 0);
}

static struct ingest_message
message(const char *payload)
{
	return (struct ingest_message){
		.device = bytes_of_str("gh-1"),
		.topic = bytes_of_str("roost/gh-1/telemetry"),
		.payload = bytes_of_str(payload),
		.metric = bytes_of_str("telemetry"),
		.client = bytes_of_str("client-1"),
		.packet_id = 9,
		.qos = 1,
	};
}

static int
offer(uint64_t token)
{
	struct ingest_message m = message(TELEMETRY);

	return ingest_offer(x.in, &m, token, NULL);
}

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
	commit(3, (struct bytes){ 0 });
	wait_for(&x.answers, 5);
	for (int i = 0; i < 5; i++)
		ck_assert_uint_eq(x.tokens[i], 1u + (unsigned)i);
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
	ck_assert_mem_eq(first.bytes.data + first.bytes.len - x.refused.len, x.refused.data, x.refused.len);
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
	struct msg_welcome msg = { .life = x.w.life, .stream = 7, .upto = 1, .window = 64, .window_bytes = 1 << 20 };
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
	u64s_add(&verdicts, 0ull << 32 | verdict_make(VERDICT_DEVICE_LIMIT, 5));
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
	struct msg_welcome other = { .life = x.w.life + 1, .stream = 50, .window = 64, .window_bytes = 1 << 20 };
	struct msg_welcome beyond = { .life = x.w.life, .partition = 1023, .stream = 50, .window = 64, .window_bytes = 1 << 20 };
	struct msg_commit commit_50 = { .stream = 50, .upto = 1, .window = 64, .window_bytes = 1 << 20 };
	struct msg_commit commit_0 = { .stream = 0, .upto = 1, .window = 64, .window_bytes = 1 << 20 };
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

/* --- what is in a record --- */

static struct record
record_of(int seen)
{
	struct record_cursor c = record_cursor_of(buf_bytes(&x.seen[seen].bytes));
	struct record r;

	ck_assert_int_eq(record_next(&c, &r), 0);
	return r;
}

static struct point
first_point(const struct record *r)
{
	struct point_cursor c = point_cursor_of(r);
	struct point p;

	ck_assert_int_eq(point_next(&c, &p), 0);
	return p;
}

START_TEST(record_fields)
{
	struct ingest_message m = message("{\"temperature\":21.5,\"ts\":1732233600123}");
	struct record r, again;
	struct point p;

	m.dup = true;
	m.qos = 2;
	ck_assert_int_eq(ingest_offer(x.in, &m, 1, NULL), 0);
	wait_for(&x.seen_count, 1);
	r = record_of(0);
	ck_assert_uint_eq(r.verdict, VERDICT_ACCEPTED);
	ck_assert_uint_eq(r.flags, RECORD_DUP | 2u << RECORD_QOS_SHIFT | RECORD_DEVICE_TIME);
	ck_assert_int_eq(r.time, 1732233600123000);
	ck_assert(bytes_equal_str(r.device, "gh-1"));
	ck_assert_uint_eq(r.packet_id, 9);
	ck_assert_uint_ne(r.client, 0);
	ck_assert_uint_ne(r.hash, 0);
	ck_assert_uint_eq(r.point_count, 1);
	p = first_point(&r);
	ck_assert(bytes_equal_str(p.name, "temperature"));
	ck_assert_double_eq(p.value.v.f, 21.5);
	ck_assert_int_eq(p.time, 1732233600123000);
	/* the same message again is recognised, another is not; without a client none can be */
	ck_assert_int_eq(ingest_offer(x.in, &m, 2, NULL), 0);
	wait_for(&x.seen_count, 2);
	again = record_of(1);
	ck_assert_uint_eq(again.client, r.client);
	ck_assert_uint_eq(again.hash, r.hash);
	commit(2, (struct bytes){ 0 });
	wait_for(&x.answers, 2);
	m.topic = bytes_of_str("v2/t");
	m.client = (struct bytes){ 0 };
	ck_assert_int_eq(ingest_offer(x.in, &m, 3, NULL), 0);
	wait_for(&x.seen_count, 3);
	again = record_of(2);
	ck_assert_uint_ne(again.hash, r.hash);
	ck_assert_uint_eq(again.client, 0);
}
END_TEST

START_TEST(server_times_differ)
{
	struct record_cursor c;
	struct record r;
	int64_t last = 0;

	for (uint64_t i = 0; i < 100; i++)
		offer(i);
	wait_for(&x.seen_count, 1);
	c = record_cursor_of(buf_bytes(&x.seen[0].bytes));
	while (record_next(&c, &r) == 0) {
		ck_assert_int_gt(r.time, last);
		ck_assert_uint_eq(r.flags & RECORD_DEVICE_TIME, 0);
		last = r.time;
	}
}
END_TEST

START_TEST(undecodable)
{
	struct ingest_message m = message("not json");
	struct buf reason = { 0 };
	struct record r;
	struct point p;

	ck_assert_int_eq(ingest_offer(x.in, &m, 1, &reason), ERR_MALFORMED);
	ck_assert_uint_gt(reason.len, 0);
	ck_assert(ingest_idle(x.in));
	m.undecodable = INGEST_QUARANTINE;
	ck_assert_int_eq(ingest_offer(x.in, &m, 2, NULL), 0);
	wait_for(&x.seen_count, 1);
	r = record_of(0);
	ck_assert_uint_eq(r.flags & RECORD_UNDECODABLE, RECORD_UNDECODABLE);
	ck_assert_uint_eq(r.point_count, 1);
	p = first_point(&r);
	ck_assert(bytes_equal_str(p.name, "payload"));
	ck_assert(bytes_equal_str(p.value.v.s, "not json"));
	ck_assert_uint_eq(p.reason, QUARANTINE_UNDECODABLE);
	commit(1, (struct bytes){ 0 });
	wait_for(&x.answers, 1);
	ck_assert_uint_eq(x.verdicts[0], VERDICT_ACCEPTED);
	buf_fini(&reason);
}
END_TEST

START_TEST(undecodable_sizes)
{
	static const size_t sizes[] = { 0, 1, POINT_STRING_MAX, POINT_STRING_MAX + 1, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX + 1 };
	struct ingest_message m = message("");
	struct record r;
	struct point_cursor c;
	struct point p;
	char *payload;
	size_t at = 0;

	payload = xmalloc(sizes[_i]);
	for (size_t i = 0; i < sizes[_i]; i++)
		payload[i] = (char)('A' + i % 26);
	m.payload = bytes_of(payload, sizes[_i]);
	m.undecodable = INGEST_QUARANTINE;
	offer(0);
	if (sizes[_i] > PAYLOAD_BYTES_MAX) {
		ck_assert_int_eq(ingest_offer(x.in, &m, 1, NULL), ERR_TOO_BIG);
		free(payload);
		return;
	}
	ck_assert_int_eq(ingest_offer(x.in, &m, 1, NULL), 0);
	wait_for(&x.seen_count, 1);
	r = record_of(0);
	if (x.seen[0].records == 2) {
		struct record_cursor rc = record_cursor_of(buf_bytes(&x.seen[0].bytes));

		record_next(&rc, &r);
		ck_assert_int_eq(record_next(&rc, &r), 0);
	} else {
		wait_for(&x.seen_count, 2);
		r = record_of(1);
	}
	c = point_cursor_of(&r);
	while (point_next(&c, &p) == 0) {
		ck_assert_mem_eq(p.value.v.s.data, payload + at, p.value.v.s.len);
		at += p.value.v.s.len;
	}
	ck_assert_uint_eq(at, sizes[_i]);
	free(payload);
}
END_TEST

/* A record of nearly 1 MiB finds no room in a batch that has some: it goes alone, after it. */
START_TEST(large_records)
{
	struct buf json = { 0 };
	struct ingest_message m;

	for (int i = 0; i < 15; i++)
		buf_addf(&json, "%c\"m%d\":\"%064000d\"", i ? ',' : '{', i, 0);
	buf_add_str(&json, "}");
	m = message(buf_str(&json));
	ck_assert_uint_le(m.payload.len, PAYLOAD_BYTES_MAX);
	for (uint64_t i = 0; i < 800; i++)
		offer(i);
	for (int i = 800; i < 803; i++)
		ck_assert_int_eq(ingest_offer(x.in, &m, (uint64_t)i, NULL), 0);
	wait_for(&x.hellos, 1);
	for (int i = 0; x.answers < 803 && i < 1000; i++) {
		turn(1000);
		if (x.seen_count)
			commit(x.seen[x.seen_count - 1].seq, (struct bytes){ 0 });
	}
	ck_assert_int_eq(x.answers, 803);
	for (int i = 0; i < x.seen_count; i++)
		ck_assert_uint_le(x.seen[i].bytes.len, BATCH_BYTES_MAX);
	for (int i = 0; i < 803; i++)
		ck_assert_uint_eq(x.tokens[i], (unsigned)i);
	buf_fini(&json);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("ingest");
	TCase *t = tcase_create("ingest");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 30);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, answered_by_commit_alone);
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
	tcase_add_test(t, record_fields);
	tcase_add_test(t, server_times_differ);
	tcase_add_test(t, undecodable);
	tcase_add_loop_test(t, undecodable_sizes, 0, 6);
	tcase_add_test(t, large_records);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
