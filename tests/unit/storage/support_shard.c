/* support_shard.c - a shard in process, with what it sent */
#include "support_shard.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "err.h"
#include "support_dir.h"

char shard_dir[64];
struct shard *sh;
struct sent sent[SENT_MAX];
size_t sent_count;
int send_result;
int64_t mono, wall;
struct shard_config config;

static struct bytes
keep(struct sent *s, struct bytes b)
{
	buf_add(&s->bytes, b.data, b.len);
	return buf_bytes(&s->bytes);
}

static void
on_answered(void *arg)
{
	(void)arg; /* it went at once */
}

static int
on_send(void *arg, const char *peer, enum msg_type type, const void *msg)
{
	struct sent *s = &sent[sent_count];

	(void)arg;
	if (send_result != 0)
		return send_result;
	ck_assert_uint_lt(sent_count, SENT_MAX);
	snprintf(s->to, sizeof(s->to), "%s", peer);
	s->type = type;
	buf_clear(&s->bytes);
	switch ((unsigned)type) {
	case MSG_WELCOME:
		s->any.welcome = *(const struct msg_welcome *)msg;
		s->any.welcome.verdicts = keep(s, s->any.welcome.verdicts);
		break;
	case MSG_COMMIT:
		s->any.commit = *(const struct msg_commit *)msg;
		s->any.commit.verdicts = keep(s, s->any.commit.verdicts);
		break;
	case MSG_FENCED:
		s->any.fenced = *(const struct msg_fenced *)msg;
		break;
	case MSG_GAP:
		s->any.gap = *(const struct msg_gap *)msg;
		break;
	case MSG_DELIVER:
		s->any.deliver = *(const struct msg_deliver *)msg;
		s->any.deliver.blocks = keep(s, s->any.deliver.blocks);
		break;
	case MSG_ASSIGN:
		s->any.assign = *(const struct msg_assign *)msg;
		s->any.assign.partitions = keep(s, s->any.assign.partitions);
		break;
	case MSG_SKIPPED:
		s->any.skipped = *(const struct msg_skipped *)msg;
		break;
	case MSG_UNKNOWN:
		break;
	default:
		ck_abort_msg("unexpected message %d", (int)type);
	}
	sent_count++;
	return 0;
}

void
open_shard(void)
{
	ck_assert_int_eq(shard_open(&config, wall, mono, &sh), 0);
}

void
crash(void)
{
	shard_abandon(&sh);
	sent_count = 0;
	open_shard();
}

void
shard_setup(void)
{
	test_dir_new(shard_dir, sizeof(shard_dir));
	sent_count = 0;
	send_result = 0;
	mono = 1000 * SECOND;
	wall = 1700000000 * SECOND;
	config = (struct shard_config){
		.dir = shard_dir,
		.shard = 0,
		.shards = 1,
		.partitions = 4,
		.segment_bytes = JOURNAL_SEGMENT_MIN,
		.segment_age_us = 3600 * SECOND,
		.quota_bytes = 64 << 20,
		.retention_us = 3600 * SECOND,
		.dedup_entries = 1000,
		.dedup_window_us = 120 * SECOND,
		.mandatory = "rules,sink-history",
		.send = on_send,
		.answered = on_answered,
	};
	open_shard();
}

void
shard_teardown(void)
{
	shard_abandon(&sh);
	for (size_t i = 0; i < SENT_MAX; i++)
		buf_fini(&sent[i].bytes);
	test_dir_remove(shard_dir);
}

void
pass(int64_t us)
{
	mono += us;
	wall += us;
	shard_clock(sh, wall, mono);
}

/* Ends the turn; messages of it are then in sent[]. */
void
turn(void)
{
	shard_clock(sh, wall, mono);
	(void)shard_turn(sh);
}

void
fresh(void)
{
	sent_count = 0;
}

const struct sent *
last(const char *to, enum msg_type type)
{
	for (size_t i = sent_count; i-- > 0;)
		if (sent[i].type == type && strcmp(sent[i].to, to) == 0)
			return &sent[i];
	return NULL;
}

size_t
count(const char *to, enum msg_type type)
{
	size_t n = 0;

	for (size_t i = 0; i < sent_count; i++)
		n += sent[i].type == type && strcmp(sent[i].to, to) == 0;
	return n;
}

void
add_record(struct buf *out, const struct device_message *d)
{
	struct record head = {
		.verdict = d->verdict,
		.flags = d->flags,
		.time = 1,
		.device = bytes_of_str("gh-1"),
		.client = d->client,
		.packet_id = d->packet_id,
		.hash = d->hash,
	};
	struct record_writer w;

	record_begin(&w, out, &head);
	record_add(&w, &(struct point){ .name = bytes_of_str("temperature"),
			   .value = { .kind = VALUE_INT, .v.i = (int64_t)d->hash },
			   .time = 1 });
	record_end(&w);
}

uint64_t
hello_epoch(const char *name, uint64_t life, uint32_t partition, uint64_t stream, uint64_t acked,
    uint64_t epoch)
{
	struct msg_hello m = { .life = life,
		.partition = partition,
		.stream = stream,
		.acked = acked,
		.epoch = epoch };
	const struct sent *s;

	fresh();
	shard_on_hello(sh, name, &m);
	ck_assert_msg(!last(name, MSG_WELCOME), "WELCOME before the sync");
	turn();
	s = last(name, MSG_WELCOME);
	return s ? s->any.welcome.stream : 0;
}

uint64_t
hello(const char *name, uint64_t life, uint32_t partition)
{
	uint64_t id = hello_epoch(name, life, partition, 0, 0, 0);

	ck_assert_uint_ne(id, 0);
	return id;
}

void
batch_of(const char *from, uint64_t stream, uint64_t seq, uint32_t partition, unsigned kind,
    struct bytes records, uint64_t acked)
{
	struct msg_batch m = { .stream = stream,
		.seq = seq,
		.partition = partition,
		.kind = kind,
		.records = records,
		.acked = acked };

	shard_on_batch(sh, from, &m);
}

void
batch(uint64_t stream, uint64_t seq, const struct device_message *d)
{
	struct device_message plain = {
		.flags = 2, .client = 7, .packet_id = (uint16_t)seq, .hash = seq
	};
	struct buf records = { 0 };

	add_record(&records, d ? d : &plain);
	batch_of("limiter-0", stream, seq, 0, ENTRY_READINGS, buf_bytes(&records), 0);
	buf_fini(&records);
}

void
subscribe(
    const char *name, const char *group, bool shared, uint64_t life, uint64_t from, uint64_t credit)
{
	struct msg_subscribe m = {
		.group = bytes_of_str(group),
		.shared = shared,
		.kinds = 1ull << ENTRY_READINGS | 1ull << ENTRY_ALERT | 1ull << ENTRY_TICK,
		.from = from,
		.credit = credit,
		.life = life,
		.number = shared ? 0 : SUBSCRIBE_NUMBER,
	};

	shard_on_subscribe(sh, name, &m);
}

void
progress(const char *name, const char *group, uint64_t received, uint64_t cursor, uint64_t epoch)
{
	struct msg_progress m = {
		.group = bytes_of_str(group), .received = received, .cursor = cursor, .epoch = epoch
	};

	shard_on_progress(sh, name, &m);
}

/* Sequence numbers of READINGS delivered to a follower, checked to be in order without holes. */
size_t
delivered(const char *to, uint64_t *upto, uint64_t seqs[SENT_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < sent_count; i++) {
		struct bytes rest = sent[i].any.deliver.blocks, entries;
		struct block_view v;
		struct entry e;

		if (sent[i].type != MSG_DELIVER || strcmp(sent[i].to, to) != 0)
			continue;
		if (*upto)
			ck_assert_uint_eq(sent[i].any.deliver.from, *upto);
		*upto = sent[i].any.deliver.upto;
		while (view_next(&rest, &v) == 0) {
			ck_assert_uint_le(v.next, *upto);
			entries = v.entries;
			ck_assert_uint_gt(entries.len, 0);
			while (entry_next(&entries, &e) == 0) {
				ck_assert(e.kind == ENTRY_READINGS || e.kind == ENTRY_ALERT ||
					  e.kind == ENTRY_TICK);
				if (e.kind == ENTRY_READINGS)
					seqs[n++] = e.seq;
			}
		}
	}
	return n;
}

const struct msg_assign *
assign_of(const char *name)
{
	const struct sent *s = last(name, MSG_ASSIGN);

	ck_assert_msg(s != NULL, "no ASSIGN for %s", name);
	return &s->any.assign;
}

void
resume(const char *name, const struct msg_assign *a, uint64_t offset)
{
	struct buf offsets = { 0 };
	struct msg_resume m = { .epoch = a->epoch, .partitions = a->partitions };

	for (size_t i = 0; i < u64s_count(a->partitions); i++)
		u64s_add(&offsets, offset);
	m.offsets = buf_bytes(&offsets);
	shard_on_resume(sh, name, &m);
	buf_fini(&offsets);
}
