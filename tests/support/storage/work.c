/* work.c - storage's work over several segments, and the check of what is promised of it */
#include "work.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "err.h"
#include "format.h"
#include "journal_read.h"
#include "mem.h"
#include "record.h"

#define PARTITIONS STREAMS
#define TURNS 26
#define SEGMENT (64u << 10)
#define QUOTA (6u * SEGMENT)
#define RECORDS_MAX 6
#define TEXT_MAX 1600
#define OWNER "connectivity-0"
#define HISTORY_LIFE 5

struct work w;
FILE *work_said;

static _Noreturn void
wrong(const char *what, uint64_t a, uint64_t b)
{
	fprintf(work_said, "WRONG: %s (%llu, %llu)\n", what, (unsigned long long)a,
	    (unsigned long long)b);
	fflush(work_said);
	_exit(EXIT_WRONG);
}

/* --- the work --- */

/* Each batch says by its content which it is. */
static void
make_records(struct buf *out, uint64_t stream, uint64_t seq)
{
	static char text[TEXT_MAX];
	uint64_t x = (stream + 1) * 0x9e3779b97f4a7c15u + seq * 0xbf58476d1ce4e5b9u;

	buf_clear(out);
	for (uint64_t n = 0; n <= x % RECORDS_MAX; n++) {
		struct record head = { .flags = 2,
			.time = (int64_t)(1700000000 * WORK_SECOND + (int64_t)seq),
			.device = bytes_of_str("press-1"),
			.client = stream + 1,
			.packet_id = (uint16_t)(seq * 8 + n),
			.hash = x };
		size_t len = (size_t)(x >> 20) % TEXT_MAX;
		struct record_writer rw;

		for (size_t i = 0; i < len; i++)
			text[i] = (char)('a' + (x >> (i % 56)) % 26);
		record_begin(&rw, out, &head);
		record_add(&rw, &(struct point){ .name = bytes_of_str("text"),
				    .value = { .kind = VALUE_STRING, .v.s = bytes_of(text, len) },
				    .time = head.time });
		record_end(&rw);
		x = x * 6364136223846793005u + 1442695040888963407u;
	}
}

static void
answered(uint64_t stream, uint64_t id, uint64_t upto)
{
	if (disk->fault_met && disk->fault == FAULT_FAIL)
		disk->acks_after++;
	if (w.id[stream] != id)
		disk_note(OP_ACK, stream, id, 1);
	w.id[stream] = id;
	w.upto[stream] = upto;
	disk_note(OP_ACK, stream, upto, 0);
}

static void
on_answered(void *arg)
{
	(void)arg; /* it went at once */
}

static int
on_send(void *arg, const char *peer, enum msg_type type, const void *msg)
{
	const struct msg_welcome *welcome = msg;
	const struct msg_commit *commit = msg;
	const struct msg_deliver *deliver = msg;
	const struct msg_fenced *fenced = msg;

	(void)arg;
	(void)peer;
	switch ((unsigned)type) {
	case MSG_WELCOME:
		answered(welcome->partition, welcome->stream, welcome->upto);
		break;
	case MSG_COMMIT:
		for (uint64_t s = 0; s < STREAMS; s++)
			if (w.id[s] == commit->stream)
				answered(s, commit->stream, commit->upto);
		break;
	case MSG_DELIVER:
		w.at = deliver->upto;
		break;
	case MSG_FENCED:
		wrong("a stream whose batches were acknowledged is fenced", fenced->partition,
		    fenced->stream);
	}
	return 0;
}

static void
pass(int64_t us)
{
	w.mono += us;
	w.wall += us;
	shard_clock(w.sh, w.wall, w.mono);
}

static void
turn(void)
{
	pass(1000);
	(void)shard_turn(w.sh);
}

static void
open_work(void)
{
	static char dir[128];
	struct shard_config c = {
		.dir = dir,
		.shards = 1,
		.partitions = PARTITIONS,
		.segment_bytes = SEGMENT,
		.segment_age_us = 3600 * WORK_SECOND,
		.quota_bytes = QUOTA,
		.retention_us = 3600 * WORK_SECOND,
		.dedup_entries = 64,
		.dedup_window_us = 120 * WORK_SECOND,
		.mandatory = "history",
		.send = on_send,
		.answered = on_answered,
	};
	struct msg_subscribe sub = { .group = bytes_of_str("history"),
		.kinds = 1ull << ENTRY_READINGS,
		.credit = 16 << 20,
		.life = HISTORY_LIFE,
		.number = 1 };

	if (format_check(w.root, PARTITIONS, 1) != 0 ||
	    format_lock_shard(w.root, 0, 1000, dir, sizeof(dir), &w.lock_fd) != 0 ||
	    shard_open(&c, w.wall, w.mono, &w.sh) != 0)
		_exit(EXIT_DIES);
	sub.from = w.at;
	shard_on_subscribe(w.sh, "sink-history", &sub);
}

/* As connectivity does on each connect: where is this stream? */
static void
hello(void)
{
	for (uint64_t s = 0; s < STREAMS; s++) {
		uint64_t acked = w.upto[s];
		struct msg_hello m = {
			.life = 1, .partition = s, .stream = w.id[s], .acked = w.upto[s]
		};

		w.upto[s] = UINT64_MAX;
		for (int n = 0; n < 5 && w.upto[s] == UINT64_MAX; n++) {
			shard_on_hello(w.sh, OWNER, &m);
			turn();
		}
		if (w.upto[s] == UINT64_MAX)
			wrong("no WELCOME for a stream", s, acked);
		if (w.upto[s] < acked)
			wrong("less is there than was acknowledged", w.upto[s], acked);
		w.next[s] = w.upto[s] + 1;
	}
}

static void
send_batch(uint64_t s)
{
	static struct buf records;
	struct msg_batch m = {
		.stream = w.id[s], .seq = w.next[s], .partition = s, .kind = ENTRY_READINGS
	};

	make_records(&records, s, w.next[s]);
	m.records = buf_bytes(&records);
	m.acked = w.upto[s];
	shard_on_batch(w.sh, "limiter-0", &m);
	w.next[s]++;
}

/* History keeps up, and says so now and then, so that old segments go. */
static void
progress(void)
{
	struct msg_progress m = {
		.group = bytes_of_str("history"), .received = w.at, .cursor = w.at
	};

	if (w.at == 0)
		return;
	for (uint64_t s = 0; s < STREAMS; s++)
		disk_note(OP_PASSED, s, w.upto[s], 0);
	shard_on_progress(w.sh, "sink-history", &m);
}

static void
some_turns(int turns)
{
	for (int n = 0; n < turns; n++) {
		for (uint64_t s = 0; s < STREAMS; s++)
			if ((n + (int)s) % 3 != 2)
				send_batch(s);
		turn();
		if (n % 4 == 1) { /* idle: zeros are written ahead */
			pass(100000);
			turn();
		}
		if (n % 8 == 5)
			progress();
		if (n % 5 == 3) {
			pass(WORK_SECOND);
			shard_tick(w.sh);
		}
		/* What had no room is sent again, as connectivity does. */
		for (uint64_t s = 0; s < STREAMS; s++)
			w.next[s] = w.upto[s] + 1;
	}
}

static void
close_work(void)
{
	shard_close(&w.sh, w.wall);
	close(w.lock_fd);
}

void
work_all(void)
{
	open_work();
	hello();
	some_turns(TURNS);
	close_work();
	w.mono += WORK_SECOND;
	open_work();
	hello();
	some_turns(4);
	shard_abandon(&w.sh);
	close(w.lock_fd);
}

/* --- what is promised --- */

static void
check_block(const struct block *b, uint64_t first[STREAMS], uint64_t last[STREAMS])
{
	static struct buf expected;
	struct bytes rest = b->body;
	struct entry e;

	while (entry_next(&rest, &e) == 0) {
		uint64_t s = e.partition;

		if (e.kind != ENTRY_READINGS)
			continue;
		if (s >= STREAMS || e.stream != w.id[s])
			wrong("a batch of no stream of ours", s, e.stream);
		if (last[s] && e.seq != last[s] + 1)
			wrong("a batch is missing, or there twice", last[s], e.seq);
		make_records(&expected, s, e.seq);
		if (!bytes_equal(e.body, buf_bytes(&expected)))
			wrong("a batch is not what was sent", s, e.seq);
		if (!first[s])
			first[s] = e.seq;
		last[s] = e.seq;
	}
}

/* Everything is read back. */
static void
check_all(const struct disk_known *known)
{
	struct journal_reader *r = journal_reader_new(w.sh->journal);
	uint64_t cursor = 0, first[STREAMS] = { 0 }, last[STREAMS] = { 0 };
	struct block b;
	int rc;

	while ((rc = journal_reader_next(r, cursor, &b)) == 0) {
		check_block(&b, first, last);
		cursor = b.next;
	}
	if (rc != ERR_NOT_FOUND)
		wrong("the journal is damaged where it was synced", b.offset, b.next);
	for (uint64_t s = 0; s < STREAMS; s++) {
		uint64_t acked = w.upto[s];

		if (acked > last[s] && acked > known->passed[s])
			wrong("acknowledged, and not there", acked, last[s]);
		if (first[s] > known->passed[s] + 1)
			wrong("let go before every follower had it", first[s], known->passed[s]);
	}
	journal_reader_free(&r);
}

/* Another process finds this folder. Everything that was acknowledged is there, and it goes on. */
void
work_go_on(const char *root, struct disk_known known)
{
	w = (struct work){ .mono = 5000 * WORK_SECOND, .wall = 1700000100 * WORK_SECOND };
	snprintf(w.root, sizeof(w.root), "%s", root);
	memcpy(w.id, known.id, sizeof(w.id));
	memcpy(w.upto, known.acked, sizeof(w.upto));
	open_work();
	hello();
	some_turns(3);
	check_all(&known);
}

void
work_some(void)
{
	open_work();
	hello();
	some_turns(9);
}

void
work_read_of_a_disk_that_was_away(void)
{
	struct disk_known known;
	struct journal_reader *r;
	struct block b;
	int rc;

	work_some();
	known = disk_known_at(disk->ops);
	r = journal_reader_new(w.sh->journal);
	disk->unreadable = true;
	rc = journal_reader_next(r, 0, &b);
	if (rc != ERR_IO)
		wrong("what cannot be read for a moment is passed over", b.offset, (uint64_t)-rc);
	disk->unreadable = false;
	journal_reader_free(&r);
	check_all(&known);
}
