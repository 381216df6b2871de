/* test_stream_schedules.c - 10,000 seeded schedules of what may go wrong between both ends of a stream
 *
 * A sender, a limiter (verdicts by chance, anew for each copy), and a storage that loses what it had not synced. The network
 * loses, repeats and delays each message by itself, so everything overtakes everything. Storage crashes before and after
 * the sync, its blocks survive or not, the links flap, credit closes, and FENCED is said rightly and wrongly. Then the
 * faults stop. Always: each batch is on disk once, in order, and each record's verdict reaches the sender once and as it
 * is on disk; nothing is committed to the sender that is not on disk; and all of it is over soon after the faults.
 *
 * ROOST_STREAM_SEED=n runs schedule n alone, with a trace; ROOST_STREAM_SCHEDULES=n runs so many. */
#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "codec.h"
#include "err.h"
#include "mem.h"
#include "stream.h"

#define SCHEDULES 10000
#define BATCHES_MAX 120
#define RECORDS_MAX 4
#define MESSAGES_MAX 1024
#define DISK_MAX (BATCHES_MAX * 2)
#define SETTLE_US 60000000 /* all must be over so long after the last fault */

enum sim_type { SIM_HELLO, SIM_WELCOME, SIM_FENCED, SIM_BATCH, SIM_COMMIT, SIM_GAP };

static const char *const type_names[] = { "HELLO", "WELCOME", "FENCED", "BATCH", "COMMIT", "GAP" };

struct message {
	int64_t at; /* when it is delivered */
	enum sim_type type;
	uint64_t id;
	uint64_t seq; /* upto, next */
	uint64_t acked;
	uint32_t window;
	uint32_t window_bytes;
	uint32_t payload; /* number of the batch, from 0 */
	uint32_t record_count;
	uint32_t verdicts[RECORDS_MAX]; /* of a BATCH behind the limiter */
	uint8_t *list;			/* of COMMIT and WELCOME */
	size_t list_len;
};

struct entry { /* one batch on disk, or in the block being built */
	uint64_t id;
	uint64_t seq;
	uint32_t payload;
	uint32_t record_count;
	uint32_t verdicts[RECORDS_MAX];
};

struct sim {
	uint64_t seed;
	uint64_t random;
	bool trace;
	int64_t now;
	int64_t faults_end;
	/* chances of 1,000 */
	unsigned lose, repeat, refuse, crash, flap, close, fence, jam;
	int64_t delay_max;
	int64_t sync_max;

	struct message net[MESSAGES_MAX];
	size_t messages;

	struct stream_tx tx;
	uint32_t batches; /* to be pushed in all */
	uint32_t pushed;
	uint32_t answered;
	bool hello_sent_any;

	/* storage */
	bool up;
	int64_t up_at;
	int64_t synced_at; /* 0: no sync runs */
	struct stream_rx rx;
	uint64_t id;	  /* the id this life and partition has; 0: none */
	uint64_t next_id; /* durable */
	bool open;	  /* grants credit */
	struct entry disk[DISK_MAX];
	size_t durable;
	size_t syncing; /* entries up to here are in the block being synced */
	size_t appended;
	bool answer_due;
};

static uint64_t
rnd(struct sim *s, uint64_t below)
{
	uint64_t z = (s->random += 0x9e3779b97f4a7c15u);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (z ^ z >> 31) % below;
}

static bool
chance(struct sim *s, unsigned of_thousand)
{
	return s->now < s->faults_end && rnd(s, 1000) < of_thousand;
}

static void trace(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void
trace(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	if (!s->trace)
		return;
	printf("%9lld ", (long long)s->now);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
}

/* An assertion of check's costs a system call even when it holds. */
static void
must(const struct sim *s, bool holds, const char *what)
{
	if (!holds)
		ck_abort_msg("schedule %llu at %lld us: %s; replay with ROOST_STREAM_SEED=%llu",
		    (unsigned long long)s->seed, (long long)s->now, what,
		    (unsigned long long)s->seed);
}

/* --- network --- */

static void
post_one(struct sim *s, struct message m)
{
	if (s->messages == MESSAGES_MAX)
		return;
	m.at = s->now + 20 + (int64_t)rnd(s, (uint64_t)s->delay_max);
	m.list = m.list_len ? xmemdup(m.list, m.list_len) : NULL;
	s->net[s->messages++] = m;
}

static void
post(struct sim *s, struct message m)
{
	trace(s, "  post %s id %llu seq %llu acked %llu window %u", type_names[m.type],
	    (unsigned long long)m.id, (unsigned long long)m.seq, (unsigned long long)m.acked,
	    m.window);
	if (!chance(s, s->lose))
		post_one(s, m);
	if (chance(s, s->repeat))
		post_one(s, m);
}

/* --- storage --- */

static void
say(struct sim *s, enum sim_type type)
{
	struct bytes list = stream_rx_refusals(&s->rx);
	struct message m = {
		.type = type,
		.id = s->id,
		.seq = s->rx.committed,
		.window = s->open ? 1 + (uint32_t)(s->seed % STREAM_WINDOW_BATCHES) : 0,
		.window_bytes = 4096,
		.list = xmemdup(list.data ? list.data : (const uint8_t *)"", list.len),
		.list_len = list.len,
	};

	post(s, m);
	free(m.list);
}

static void
storage_crash(struct sim *s)
{
	/* the block that was being synced is whole on disk or not there */
	if (s->synced_at && rnd(s, 2))
		s->durable = s->syncing;
	trace(s, "storage dies; %zu on disk", s->durable);
	s->appended = s->syncing = s->durable;
	s->synced_at = 0;
	s->up = false;
	s->up_at = s->now + 1 + (int64_t)rnd(s, 300000);
	s->answer_due = false;
	stream_rx_fini(&s->rx);
}

static void
storage_recover(struct sim *s)
{
	const struct entry *e;
	uint32_t r;

	s->up = true;
	stream_rx_init(&s->rx, s->id, 0, 0);
	for (e = s->disk; e < s->disk + s->durable; e++) {
		if (e->id != s->id)
			continue;
		stream_rx_restore(&s->rx, e->seq);
		for (r = 0; r < e->record_count; r++)
			if (e->verdicts[r])
				stream_rx_refused(&s->rx, e->seq, r, e->verdicts[r]);
	}
	trace(s, "storage up; stream %llu at %llu", (unsigned long long)s->id,
	    (unsigned long long)s->rx.committed);
	/* as if the sender saw the connection come back; now and then it does not */
	if (!chance(s, 300))
		stream_tx_reconnect(&s->tx, s->now);
}

static void
storage_batch(struct sim *s, const struct message *m)
{
	struct entry *e;
	uint32_t r;

	if (m->id != s->id || s->id == 0) {
		post(s, (struct message){ .type = SIM_FENCED, .id = m->id });
		return;
	}
	must(s, stream_rx_acked(&s->rx, m->acked) == 0, "the sender has seen more than is durable");
	if (!s->open) {
		s->answer_due = true;
		return;
	}
	switch (stream_rx_offer(&s->rx, m->seq)) {
	case STREAM_REPEAT:
		s->answer_due = true;
		return;
	case STREAM_GAP:
		if (stream_rx_gap_due(&s->rx, s->now))
			post(s, (struct message){
				    .type = SIM_GAP, .id = s->id, .seq = s->rx.appended + 1 });
		return;
	case STREAM_NEXT:
		break;
	}
	must(s, s->appended < DISK_MAX, "more is appended than was sent");
	must(s, m->payload == s->appended, "a batch is on disk twice, or one is missing");
	e = &s->disk[s->appended++];
	*e = (struct entry){
		.id = m->id, .seq = m->seq, .payload = m->payload, .record_count = m->record_count
	};
	memcpy(e->verdicts, m->verdicts, sizeof(e->verdicts));
	for (r = 0; r < m->record_count; r++)
		if (m->verdicts[r])
			stream_rx_refused(&s->rx, m->seq, r, m->verdicts[r]);
}

static void
storage_hello(struct sim *s, const struct message *m)
{
	if (m->id && m->id != s->id) {
		post(s, (struct message){ .type = SIM_FENCED, .id = m->id });
		return;
	}
	if (s->id == 0) {
		s->id = s->next_id++; /* durable before WELCOME */
		stream_rx_fini(&s->rx);
		stream_rx_init(&s->rx, s->id, 0, 0);
	}
	must(s, stream_rx_acked(&s->rx, m->acked) == 0, "the sender has seen more than is durable");
	say(s, SIM_WELCOME);
}

/* All that came while a sync ran goes into the next block. */
static void
storage_turn(struct sim *s)
{
	if (s->synced_at && s->now >= s->synced_at) {
		s->durable = s->syncing;
		s->synced_at = 0;
		if (chance(s, s->crash)) { /* synced, and nobody was told */
			storage_crash(s);
			return;
		}
		stream_rx_synced(&s->rx);
		s->answer_due = true;
	}
	if (s->answer_due && s->id) {
		say(s, SIM_COMMIT);
		s->answer_due = false;
	}
	if (!s->synced_at && s->appended > s->durable) {
		s->syncing = s->appended;
		s->synced_at = s->now + 50 + (int64_t)rnd(s, (uint64_t)s->sync_max);
	}
}

/* --- sender --- */

static void
sender_answer(struct sim *s, struct stream_batch *list, struct bytes verdicts)
{
	struct stream_batch *next;
	const struct entry *e;
	size_t at = 0;
	uint32_t r, verdict, payload;

	for (; list; list = next) {
		next = list->next;
		memcpy(&payload, list->records.data, sizeof(payload));
		must(s, payload == s->answered, "answered out of order, or twice, or not at all");
		must(s, payload < s->durable, "answered before it is durable");
		e = &s->disk[payload];
		must(s, e->payload == payload && e->record_count == list->record_count,
		    "another batch is on disk under this number");
		for (r = 0; r < list->record_count; r++) {
			verdict = stream_verdict(verdicts, &at, list->seq, r);
			must(
			    s, verdict == e->verdicts[r], "told another verdict than the disk has");
		}
		s->answered++;
		stream_batch_free(&list);
	}
}

static void
sender_push(struct sim *s)
{
	struct stream_batch *b;
	static const uint8_t filling[1024];

	while (s->pushed < s->batches && !stream_tx_is_full(&s->tx) && rnd(s, 3)) {
		b = xcalloc(1, sizeof(*b));
		b->record_count = 1 + (uint32_t)rnd(s, RECORDS_MAX);
		buf_add(&b->records, &s->pushed, sizeof(s->pushed));
		buf_add(&b->records, filling, rnd(s, sizeof(filling)));
		s->pushed++;
		stream_tx_push(&s->tx, &b);
	}
}

static void
sender_send(struct sim *s)
{
	struct stream_batch *b;
	struct message m;
	uint32_t r;

	if (stream_tx_hello_due(&s->tx, s->now))
		post(s, (struct message){ .type = SIM_HELLO,
			    .id = s->tx.id,
			    .acked = s->tx.id ? s->tx.committed : 0 });
	while ((b = stream_tx_next(&s->tx, s->now))) {
		if (chance(s, s->jam)) { /* the limiter is behind */
			stream_tx_unsend(&s->tx, b);
			break;
		}
		m = (struct message){
			.type = SIM_BATCH,
			.id = s->tx.id,
			.seq = b->seq,
			.acked = s->tx.committed,
			.record_count = b->record_count,
		};
		memcpy(&m.payload, b->records.data, sizeof(m.payload));
		for (r = 0; r < b->record_count; r++)
			m.verdicts[r] = rnd(s, 1000) < s->refuse ? 1 + (uint32_t)rnd(s, 1000) : 0;
		post(s, m);
	}
}

/* --- the schedule --- */

static void
deliver(struct sim *s, struct message *m)
{
	struct stream_batch *list = NULL;
	struct bytes verdicts = bytes_of(m->list, m->list_len);

	trace(s, "%s id %llu seq %llu", type_names[m->type], (unsigned long long)m->id,
	    (unsigned long long)m->seq);
	switch (m->type) {
	case SIM_HELLO:
		if (s->up)
			storage_hello(s, m);
		break;
	case SIM_BATCH:
		if (s->up)
			storage_batch(s, m);
		break;
	case SIM_WELCOME:
		if (stream_tx_welcome(
			&s->tx, m->id, m->seq, m->window, m->window_bytes, s->now, &list) == 0)
			sender_answer(s, list, verdicts);
		break;
	case SIM_COMMIT:
		if (stream_tx_commit(
			&s->tx, m->id, m->seq, m->window, m->window_bytes, s->now, &list) == 0)
			sender_answer(s, list, verdicts);
		break;
	case SIM_FENCED:
		stream_tx_fenced(&s->tx, m->id, s->now);
		break;
	case SIM_GAP:
		stream_tx_gap(&s->tx, m->id, m->seq, s->now);
		break;
	}
}

/* The stream is over while nothing of it is in doubt: what is on disk is what was answered. */
static void
fence_rightly(struct sim *s)
{
	if (!s->up || s->id == 0 || s->appended != s->answered || s->synced_at)
		return;
	trace(s, "stream %llu is over", (unsigned long long)s->id);
	post(s, (struct message){ .type = SIM_FENCED, .id = s->id });
	s->id = 0;
}

static void
faults(struct sim *s)
{
	if (s->up && chance(s, s->crash))
		storage_crash(s);
	if (chance(s, s->flap)) {
		trace(s, "link flaps");
		stream_tx_reconnect(&s->tx, s->now);
	}
	if (chance(s, s->close)) {
		s->open = !s->open;
		trace(s, "credit %d", s->open);
		if (s->up && s->id)
			say(s, SIM_COMMIT);
	}
	if (chance(s, s->fence)) {
		if (rnd(s, 2)) /* a word of a process that is not the owner */
			post(s, (struct message){ .type = SIM_FENCED, .id = s->tx.id });
		else
			fence_rightly(s);
	}
}

static int64_t
earliest(int64_t a, int64_t b)
{
	return b && b < a ? b : a;
}

static void
advance(struct sim *s)
{
	int64_t next = s->now + (s->now < s->faults_end ? 500 : 2000000);
	size_t i;

	for (i = 0; i < s->messages; i++)
		next = earliest(next, s->net[i].at);
	next = earliest(next, stream_tx_deadline(&s->tx));
	next = earliest(next, s->synced_at);
	if (!s->up)
		next = earliest(next, s->up_at);
	s->now = next > s->now ? next : s->now + 1;
}

static void
step(struct sim *s)
{
	struct message m;
	size_t i;

	advance(s);
	if (s->now >= s->faults_end)
		s->open = true;
	if (!s->up && s->now >= s->up_at)
		storage_recover(s);
	for (i = 0; i < s->messages;) {
		if (s->net[i].at > s->now) {
			i++;
			continue;
		}
		/* storage syncs in its one thread: meanwhile messages wait in the socket */
		if (s->synced_at && (s->net[i].type == SIM_BATCH || s->net[i].type == SIM_HELLO)) {
			s->net[i++].at = s->synced_at;
			continue;
		}
		m = s->net[i];
		s->net[i] = s->net[--s->messages];
		deliver(s, &m);
		free(m.list);
	}
	if (s->up)
		storage_turn(s);
	faults(s);
	sender_push(s);
	(void)stream_tx_timer(&s->tx, s->now);
	sender_send(s);
}

static unsigned
some(struct sim *s, unsigned most)
{
	return rnd(s, 3) ? (unsigned)rnd(s, most + 1) : 0;
}

static void
schedule(uint64_t seed, bool with_trace)
{
	static struct sim s;
	size_t i;

	s = (struct sim){ .seed = seed,
		.random = seed,
		.trace = with_trace,
		.up = true,
		.open = true,
		.next_id = 1 };
	s.faults_end = 1; /* the dice are cast before it */
	s.batches = 1 + (uint32_t)rnd(&s, BATCHES_MAX);
	s.lose = some(&s, 400);
	s.repeat = some(&s, 400);
	s.refuse = some(&s, 500);
	s.crash = some(&s, 50);
	s.flap = some(&s, 50);
	s.close = some(&s, 50);
	s.fence = some(&s, 50);
	s.jam = some(&s, 300);
	s.delay_max = 1 + (int64_t)rnd(&s, rnd(&s, 2) ? 500 : 60000);
	s.sync_max = 1 + (int64_t)rnd(&s, rnd(&s, 2) ? 2000 : 200000);
	s.faults_end = (int64_t)rnd(&s, 3000000);
	stream_rx_init(&s.rx, 0, 0, 0);
	stream_tx_init(&s.tx);
	stream_tx_reconnect(&s.tx, 0);
	while (s.answered < s.batches) {
		step(&s);
		must(&s, s.now < s.faults_end + SETTLE_US, "no progress");
		must(&s, s.tx.outstanding_bytes <= s.tx.queued_bytes,
		    "more outstanding than queued");
	}
	must(&s, s.appended == s.batches, "more on disk than was sent");
	must(&s, s.tx.queued_batches == 0 && s.tx.queued_bytes == 0 && s.tx.outstanding_bytes == 0,
	    "the sender's counts are off");
	for (i = 0; i < s.messages; i++)
		free(s.net[i].list);
	stream_rx_fini(&s.rx);
	stream_tx_fini(&s.tx, NULL);
}

START_TEST(every_schedule_ends_with_each_batch_once)
{
	const char *one = getenv("ROOST_STREAM_SEED");
	const char *many = getenv("ROOST_STREAM_SCHEDULES");
	uint64_t count = many ? strtoull(many, NULL, 10) : SCHEDULES;
	uint64_t seed;

	if (one) {
		schedule(strtoull(one, NULL, 10), true);
		return;
	}
	for (seed = 1; seed <= count; seed++)
		schedule(seed, false);
}
END_TEST

UNIT_MAIN("stream schedules", every_schedule_ends_with_each_batch_once)
