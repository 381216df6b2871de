/* support_ingest.c - ingest between a limiter and a shard that the test plays over real ipc sockets */
#include "support_ingest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "entry.h"
#include "err.h"

#define DEADLINE_US 5000000

struct fixture x;

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
	ck_assert_uint_eq(m->any->batch.partition, m->any->batch.stream - x.stream);
	buf_add(&s->bytes, m->any->batch.records.data, m->any->batch.records.len);
	s->kind = (unsigned)m->any->batch.kind;
	if (s->kind == ENTRY_PUBREL || s->kind == ENTRY_CONTEXT)
		return;
	ck_assert_uint_eq(s->kind, ENTRY_READINGS);
	ck_assert_int_eq(record_check_batch(buf_bytes(&s->bytes), &s->records, NULL), 0);
}

/* The streams of the partitions are numbered one behind the other. */
static void
welcome(struct bus_link *shard, uint64_t partition)
{
	struct msg_welcome msg = { .life = x.w.life,
		.partition = partition,
		.stream = x.stream + partition,
		.upto = x.upto,
		.window = x.window,
		.window_bytes = STREAM_WINDOW_BYTES,
		.time = x.time };

	ck_assert_int_eq(bus_send(shard, "connectivity-0", MSG_WELCOME, &msg), 0);
}

static void
shard_on_msg(void *arg, struct bus_msg *m)
{
	(void)arg;
	ck_assert_int_eq(m->type, MSG_HELLO);
	x.hello = m->any->hello;
	x.hellos++;
	if (x.stream)
		welcome(m->link, x.hello.partition);
}

void
commit_of(struct bus_link *shard, uint64_t stream, uint64_t upto, struct bytes verdicts)
{
	struct msg_commit msg = { .stream = stream,
		.upto = upto,
		.window = x.window,
		.window_bytes = STREAM_WINDOW_BYTES,
		.verdicts = verdicts };

	ck_assert_int_eq(bus_send(shard, "connectivity-0", MSG_COMMIT, &msg), 0);
}

void
commit(uint64_t upto, struct bytes verdicts)
{
	x.upto = upto;
	commit_of(x.shard, x.stream, upto, verdicts);
}

void
turn(int64_t wait_us)
{
	loop_turn(x.w.loop, wait_us);
	ingest_turn(x.in);
}

void
wait_for(const int *value, int at_least)
{
	int64_t deadline = loop_now_us(x.w.loop) + DEADLINE_US;

	while (*value < at_least && loop_now_us(x.w.loop) < deadline)
		turn(5000);
	ck_assert_int_ge(*value, at_least);
}

void
open_limiter(void)
{
	char run[64];

	x.limiter_bus = bus_new(x.w.loop, "limiter-0", worker_run_dir(x.settings, run, sizeof run),
	    limiter_on_msg, NULL, NULL);
	ck_assert_int_eq(bus_bind(x.limiter_bus, "limiter-0", &x.limiter), 0);
}

void
open_shard(void)
{
	char run[64];

	x.shard_bus = bus_new(x.w.loop, "storage-0", worker_run_dir(x.settings, run, sizeof run),
	    shard_on_msg, NULL, NULL);
	ck_assert_int_eq(bus_bind(x.shard_bus, "shard-0", &x.shard), 0);
	if (settings_int(x.settings, SET_STORAGE_SHARDS) > 1)
		ck_assert_int_eq(bus_bind(x.shard_bus, "shard-1", &x.other_shard), 0);
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
set_up(const char *partitions, const char *shards)
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
	ck_assert_int_eq(settings_set(x.settings, partitions, "test", &err), 0);
	ck_assert_int_eq(settings_set(x.settings, shards, "test", &err), 0);
	ck_assert_int_eq(worker_tool_start(&x.w, &spec, "connectivity-0", x.settings), 0);
	x.stream = 7;
	x.window = 64;
	open_limiter();
	open_shard();
	x.in = ingest_new(&x.w, on_answer, on_room, &x);
	ck_assert_ptr_nonnull(x.in);
	ck_assert(ingest_idle(x.in));
}

void
fixture_setup(void)
{
	set_up("partitions=1", "storage.shards=1");
}

void
fixture_setup_two(void)
{
	set_up("partitions=2", "storage.shards=1");
}

void
fixture_setup_shards(void)
{
	set_up("partitions=4", "storage.shards=2");
}

void
fixture_teardown(void)
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

struct ingest_message
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

int
offer(uint64_t token)
{
	struct ingest_message m = message(TELEMETRY);

	return ingest_offer(x.in, &m, token, NULL);
}
