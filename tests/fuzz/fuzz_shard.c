/* fuzz_shard.c - frames of any bytes from any process into a shard: only what belongs there is stored
 *
 * Steps: who sends, then a frame of any bytes, or a HELLO, BATCH, SUBSCRIBE, ... that is nearly right. A frame is taken as
 * storage takes it: decoded, and dropped unless flow.def has this message from this sender. In the end the journal's files
 * hold what was committed: of each stream that was issued its batches from 1 on, each once, and nothing else.
 *
 * fuzz: -max_len=2048 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "err.h"
#include "mem.h"
#include "record.h"
#include "segment.h"
#include "shard.h"
#include "support.h"

#define STREAMS_SEEN_MAX 64
#define PARTITIONS 4

static const struct {
	const char *from, *to;
	enum msg_type type;
} flow[] = {
#define FLOW(from, to, MESSAGE, policy) { #from, #to, MSG_##MESSAGE },
#include "flow.def"
#undef FLOW
};

static const char *const senders[] = { "connectivity-0", "connectivity-1", "limiter-0", "rules-0",
	"rules-1", "notifier-0", "sink-history", "query-7", "evil-0", "storage-0" };

struct seen {
	uint64_t stream;
	uint32_t partition;
	uint64_t committed; /* told */
	uint64_t stored;    /* found in the journal */
};

static struct {
	struct shard *s;
	struct seen seen[STREAMS_SEEN_MAX];
	size_t seen_count;
	uint64_t epoch;
	uint64_t life;
	struct buf frame;
	int64_t now;
} x;

static bool
is_flow(const char *from, enum msg_type type)
{
	for (size_t i = 0; i < COUNT_OF(flow); i++)
		if (flow[i].type == type && strcmp(flow[i].to, "storage") == 0 &&
		    strncmp(from, flow[i].from, strlen(flow[i].from)) == 0 &&
		    from[strlen(flow[i].from)] == '-')
			return true;
	return false;
}

static struct seen *
seen_of(uint64_t stream)
{
	for (size_t i = 0; i < x.seen_count; i++)
		if (x.seen[i].stream == stream)
			return &x.seen[i];
	return NULL;
}

static void
on_answered(void *arg)
{
	(void)arg; /* it went at once */
}

static int
on_send(void *arg, const char *peer, enum msg_type type, const void *msg)
{
	const struct msg_welcome *w = msg;
	const struct msg_commit *c = msg;
	struct seen *seen;

	(void)arg;
	if (type == MSG_WELCOME) {
		ASSERT(strncmp(peer, "connectivity-", 13) == 0 || strncmp(peer, "rules-", 6) == 0);
		seen = seen_of(w->stream);
		if (!seen) {
			ASSERT(w->upto == 0);
			if (x.seen_count == STREAMS_SEEN_MAX)
				return 0;
			seen = &x.seen[x.seen_count++];
			*seen = (struct seen){ .stream = w->stream,
				.partition = (uint32_t)w->partition };
		}
		ASSERT(seen->partition == w->partition && w->upto >= seen->committed);
		seen->committed = w->upto;
	} else if (type == MSG_COMMIT) {
		/* COMMIT answers whoever opened the stream. */
		ASSERT(strncmp(peer, "connectivity-", 13) == 0 || strncmp(peer, "rules-", 6) == 0);
		seen = seen_of(c->stream);
		ASSERT(!seen || c->upto >= seen->committed);
		if (seen)
			seen->committed = c->upto;
	} else if (type == MSG_ASSIGN) {
		x.epoch = ((const struct msg_assign *)msg)->epoch;
	}
	return 0;
}

static void
deliver(const char *from, struct bytes bytes)
{
	enum msg_type type;
	union msg_any any;

	if (codec_decode(bytes, &type, &any) != 0 || !is_flow(from, type))
		return;
	switch ((unsigned)type) {
	case MSG_HELLO:
		shard_on_hello(x.s, from, &any.hello);
		break;
	case MSG_STREAM_BATCH:
		shard_on_batch(x.s, from, &any.batch);
		break;
	case MSG_SUBSCRIBE:
		shard_on_subscribe(x.s, from, &any.subscribe);
		break;
	case MSG_RESUME:
		shard_on_resume(x.s, from, &any.resume);
		break;
	case MSG_PROGRESS:
		shard_on_progress(x.s, from, &any.progress);
		break;
	default:
		/* A new message to storage belongs here. */
		ASSERT(type == MSG_HELLO);
	}
}

static void
put_records(struct input *in, struct buf *out)
{
	for (unsigned n = input_u8(in) % 4 + 1; n > 0; n--) {
		unsigned what = input_u8(in);
		struct record head = { .time = 1,
			.verdict = what & 1 ? verdict_make(VERDICT_DEVICE_LIMIT, 5) : 0,
			.flags =
			    (what & 2 ? RECORD_DUP : 0u) | (what & 8 ? 2u << RECORD_QOS_SHIFT : 0u),
			.client = what & 4 ? 9 : 0,
			.packet_id = (uint16_t)(what >> 4),
			.hash = what >> 5,
			.device = bytes_of_str("gh-1") };
		struct record_writer w;

		record_begin(&w, out, &head);
		record_add(&w, &(struct point){ .name = bytes_of_str("t"),
				   .value = { .kind = VALUE_INT, .v.i = what },
				   .time = 1 });
		record_end(&w);
	}
	if (input_u8(in) % 8 == 0) {
		struct bytes tail = input_bytes(in, input_u8(in));

		buf_add(out, tail.data, tail.len);
	}
}

static void
nearly(struct input *in, const char *from)
{
	static struct buf list, more;
	unsigned what = input_u8(in), which = input_u8(in);
	struct seen *seen = x.seen_count ? &x.seen[which % x.seen_count] : NULL;
	uint64_t stream = seen && !(what & 32) ? seen->stream : which;
	uint64_t near = (seen ? seen->committed : 0) + input_u8(in) % 4;

	buf_clear(&x.frame);
	buf_clear(&list);
	buf_clear(&more);
	switch (what % 5) {
	case 0:
		codec_encode(MSG_HELLO,
		    &(struct msg_hello){ .life = x.life + (what & 64 ? 1 : 0),
			.partition = which % 5,
			.stream = what & 8 ? stream : 0,
			.acked = what & 8 ? near : 0,
			.given_up = what & 128 ? stream : 0,
			.epoch = what & 16 ? x.epoch : 0 },
		    &x.frame);
		break;
	case 1:
		put_records(in, &list);
		codec_encode(MSG_STREAM_BATCH,
		    &(struct msg_batch){ .stream = stream,
			.seq = near,
			.partition = what & 16 ? which : (seen ? seen->partition : 0),
			.kind = what & 8 ? input_u8(in) : ENTRY_READINGS,
			.records = buf_bytes(&list),
			.acked = what & 64 ? near : 0 },
		    &x.frame);
		break;
	case 2:
		codec_encode(MSG_SUBSCRIBE,
		    &(struct msg_subscribe){ .group = bytes_of_str(which & 1 ? "rules" : "history"),
			.shared = which & 1,
			.kinds = UINT64_MAX,
			.from = what & 8 ? input_u64(in) : 0,
			.credit = what & 16 ? 100 : 1 << 20,
			.life = x.life,
			.number = which },
		    &x.frame);
		break;
	case 3:
		for (unsigned n = input_u8(in) % 5; n > 0; n--) {
			u64s_add(&list, input_u8(in) % 5);
			u64s_add(&more, what & 8 ? input_u64(in) : 0);
		}
		codec_encode(MSG_RESUME,
		    &(struct msg_resume){ .epoch = x.epoch,
			.partitions = buf_bytes(&list),
			.offsets = buf_bytes(&more) },
		    &x.frame);
		break;
	default:
		codec_encode(MSG_PROGRESS,
		    &(struct msg_progress){ .group = bytes_of_str(which & 1 ? "rules" : "history"),
			.received = what & 8 ? input_u64(in) : which,
			.cursor = what & 16 ? input_u64(in) : which,
			.epoch = x.epoch },
		    &x.frame);
		break;
	}
	deliver(from, buf_bytes(&x.frame));
}

static void
open_shard(void)
{
	struct shard_config config = { .dir = fuzz_dir(),
		.shards = 1,
		.partitions = PARTITIONS,
		.segment_bytes = JOURNAL_SEGMENT_MIN,
		.segment_age_us = 3600000000ll,
		.quota_bytes = 8 << 20,
		.retention_us = 3600000000ll,
		.dedup_entries = 16,
		.unreleased_max = 3,
		.dedup_window_us = 120000000,
		.mandatory = "rules,history",
		.send = on_send,
		.answered = on_answered };

	ASSERT(shard_open(&config, 1700000000000000 + x.now, x.now, &x.s) == 0);
}

static void
check_entry(const struct entry *e)
{
	struct seen *seen = seen_of(e->stream);
	struct record_cursor c = record_cursor_of(e->body);
	struct record r;
	int err = ERR_NOT_FOUND;

	if (e->kind >= ENTRY_STREAM || e->stream == 0)
		return;
	ASSERT(e->kind != ENTRY_TICK);
	ASSERT(seen || x.seen_count == STREAMS_SEEN_MAX);
	if (!seen)
		return;
	ASSERT(e->partition == seen->partition);
	ASSERT(e->seq == seen->stored + 1);
	seen->stored = e->seq;
	while (e->kind == ENTRY_READINGS && (err = record_next(&c, &r)) == 0) {
	}
	ASSERT(err == ERR_NOT_FOUND);
}

static void
check_segment(const struct journal_segment *seg)
{
	char name[JOURNAL_NAME_MAX];
	struct segment_reader r;
	struct block b;
	struct entry e;
	int fd, rc;

	journal_segment_name(seg->base, name);
	fd = open(fuzz_path(name), O_RDONLY | O_CLOEXEC);
	ASSERT(fd >= 0);
	segment_reader_init(&r, fd, seg->base, seg->end - seg->base, SEGMENT_LIMIT_EXACT);
	while ((rc = segment_next(&r, &b)) == 0) {
		struct bytes rest = b.body;

		while ((rc = entry_next(&rest, &e)) == 0)
			check_entry(&e);
		ASSERT(rc == ERR_NOT_FOUND);
	}
	ASSERT(rc == ERR_NOT_FOUND);
	segment_reader_fini(&r);
	close(fd);
}

/* What a COMMIT has said is in the files. */
static void
check_stored(void)
{
	struct journal_segment *segments = x.s->journal->segments;

	for (size_t i = 0; i < x.s->journal->segment_count; i++)
		check_segment(&segments[i]);
	for (size_t i = 0; i < x.seen_count; i++)
		ASSERT(x.seen[i].stored >= x.seen[i].committed);
}

static void
pass(int64_t us)
{
	x.now += us;
	shard_clock(x.s, 1700000000000000 + x.now, x.now);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = input_of(data, size);

	fuzz_quiet();
	x.seen_count = 0;
	x.epoch = 0;
	x.life = 3;
	x.now = 1000000000;
	open_shard();
	while (!input_is_over(&in)) {
		unsigned what = input_u8(&in);
		const char *from = senders[(what >> 3) % COUNT_OF(senders)];

		shard_clock(x.s, 1700000000000000 + x.now, x.now);
		if (what % 8 < 4)
			nearly(&in, from);
		else if (what % 8 == 4)
			deliver(from, input_block(&in));
		else if (what % 8 == 5)
			(void)shard_turn(x.s);
		else if (what == 6)
			shard_tick(x.s);
		else
			pass((int64_t)what * 20000);
	}
	(void)shard_turn(x.s);
	check_stored();
	shard_abandon(&x.s);
	fuzz_clear(NULL);
	return 0;
}
