/* test_shard.c - a shard in process: what senders and followers are told, over loss, repeats, restarts and a full quota */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "mem.h"
#include "metrics.h"
#include "record.h"
#include "shard.h"
#include "support_dir.h"

#define SENT_MAX 4096
#define SECOND 1000000ll

struct sent {
	char to[BUS_NAME_MAX];
	enum msg_type type;
	union msg_any any;
	struct buf bytes; /* what the message borrowed */
};

static char dir[64];
static struct shard *sh;
static struct sent sent[SENT_MAX];
static size_t sent_count;
static int send_result;
static int64_t mono, wall;
static struct shard_config config;

static struct bytes
keep(struct sent *s, struct bytes b)
{
	buf_add(&s->bytes, b.data, b.len);
	return buf_bytes(&s->bytes);
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

static void
open_shard(void)
{
	ck_assert_int_eq(shard_open(&config, wall, mono, &sh), 0);
}

static void
crash(void)
{
	shard_abandon(&sh);
	sent_count = 0;
	open_shard();
}

static void
setup(void)
{
	test_dir_new(dir, sizeof(dir));
	sent_count = 0;
	send_result = 0;
	mono = 1000 * SECOND;
	wall = 1700000000 * SECOND;
	config = (struct shard_config){
		.dir = dir,
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
	};
	open_shard();
}

static void
teardown(void)
{
	shard_abandon(&sh);
	for (size_t i = 0; i < SENT_MAX; i++)
		buf_fini(&sent[i].bytes);
	test_dir_remove(dir);
}

static void
pass(int64_t us)
{
	mono += us;
	wall += us;
	shard_clock(sh, wall, mono);
}

/* Ends the turn; messages of it are then in sent[]. */
static void
turn(void)
{
	shard_clock(sh, wall, mono);
	(void)shard_turn(sh);
}

static void
fresh(void)
{
	sent_count = 0;
}

static const struct sent *
last(const char *to, enum msg_type type)
{
	for (size_t i = sent_count; i-- > 0;)
		if (sent[i].type == type && strcmp(sent[i].to, to) == 0)
			return &sent[i];
	return NULL;
}

static size_t
count(const char *to, enum msg_type type)
{
	size_t n = 0;

	for (size_t i = 0; i < sent_count; i++)
		n += sent[i].type == type && strcmp(sent[i].to, to) == 0;
	return n;
}

struct device_message {
	uint32_t verdict;
	uint32_t flags;
	uint64_t client;
	uint16_t packet_id;
	uint64_t hash;
};

static void
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

static uint64_t
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

static uint64_t
hello(const char *name, uint64_t life, uint32_t partition)
{
	uint64_t id = hello_epoch(name, life, partition, 0, 0, 0);

	ck_assert_uint_ne(id, 0);
	return id;
}

static void
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

static void
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

static void
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
	};

	shard_on_subscribe(sh, name, &m);
}

static void
progress(const char *name, const char *group, uint64_t received, uint64_t cursor, uint64_t epoch)
{
	struct msg_progress m = {
		.group = bytes_of_str(group), .received = received, .cursor = cursor, .epoch = epoch
	};

	shard_on_progress(sh, name, &m);
}

/* Sequence numbers of READINGS delivered to a follower, checked to be in order without holes. */
static size_t
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
	pass(121 * SECOND);
	check_copy("after the window", id, 8, &other, false);
}
END_TEST

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

static const struct msg_assign *
assign_of(const char *name)
{
	const struct sent *s = last(name, MSG_ASSIGN);

	ck_assert_msg(s != NULL, "no ASSIGN for %s", name);
	return &s->any.assign;
}

static void
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
	silence_of_owner();
	ck_assert_uint_eq(last("connectivity-0", MSG_FENCED)->any.fenced.stream, id);
	ck_assert_uint_eq(sh->streams.count, 0);
	ck_assert_uint_gt(hello("connectivity-0", 5, 0), id);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("shard");
	TCase *tc = tcase_create("shard");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, test_commit_after_sync);
	tcase_add_test(tc, test_restart_knows_streams_and_refusals);
	tcase_add_test(tc, test_newer_life_fences);
	tcase_add_test(tc, test_acked_beyond_the_journal);
	tcase_add_test(tc, test_malformed_is_not_appended);
	tcase_add_test(tc, test_resend_is_a_copy);
	tcase_add_test(tc, test_follower_from_memory_and_files);
	tcase_add_test(tc, test_credit_holds_and_progress_releases);
	tcase_add_test(tc, test_unknown_and_silent_followers);
	tcase_add_test(tc, test_shared_group_and_fencing);
	tcase_add_test(tc, test_two_members_divide_and_take_over);
	tcase_add_test(tc, test_retention_waits_for_mandatory_groups);
	tcase_add_test(tc, test_quota_closes_and_reopens_credit);
	tcase_add_test(tc, test_clean_close);
	tcase_add_test(tc, test_owner_gone_for_a_day);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
