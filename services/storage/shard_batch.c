/* shard_batch.c - HELLO and BATCH: which stream, is it next, what do its records say */
#include <string.h>

#include "err.h"
#include "log.h"
#include "metrics.h"
#include "record.h"
#include "shard.h"

#define UNRELEASED_RETRY_MS 1000
#define STREAM_ENTRY_ROOM 256 /* an ENTRY_STREAM without refusals */

static const char limiter[] = "limiter-";
static const char connectivity[] = "connectivity-";

static bool
starts_with(const char *name, const char *prefix)
{
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* Whoever is not a device's worker writes from the reserve when quota or disk are full: alerts must still move. */
static bool
is_internal(const char *name)
{
	return !starts_with(name, connectivity);
}

static void
say_fenced(struct shard *s, const char *to, uint32_t partition, uint64_t stream, uint64_t life)
{
	struct msg_fenced m = { .partition = partition, .stream = stream, .life = life };

	(void)s->config.send(s->config.arg, to, MSG_FENCED, &m);
}

static void
malformed(const char *from, const char *what, const char *why)
{
	metric_add(M_STORAGE_MALFORMED, 1);
	log_warn("storage.malformed", LS("from", from), LS("message", what), LS("why", why));
}

/* The sender saw a COMMIT for more than the journal holds: what is missing was durable once. */
static void
end_damaged(struct shard *s, struct stream *st, uint64_t acked, uint64_t life)
{
	log_error("storage.stream_damaged", LS("owner", st->owner->name),
	    LU("partition", st->rx.partition), LU("stream", st->rx.id),
	    LU("committed", st->rx.committed), LU("acked", acked),
	    LS("means", "the journal lost what was durable"));
	say_fenced(s, st->owner->name, st->rx.partition, st->rx.id, life);
	shard_commit(s);
	stream_table_drop(&s->streams, &st);
}

static void
put_entry(void *arg, const struct entry *e)
{
	shard_append(arg, e);
}

/* A new id is in a block, and that is synced, before WELCOME says it. */
static struct stream *
issue(struct shard *s, const char *from, const struct msg_hello *m)
{
	const struct stream_owner *o = stream_table_owner(&s->streams, from);
	struct stream *st = NULL;
	int r;

	if (!shard_make_room(s, true, STREAM_ENTRY_ROOM))
		return NULL;
	/* Older streams of this worker end: what they are owed is settled first. */
	if (o && (o->life != m->life || o->by_partition[m->partition]))
		shard_commit(s);
	r = stream_table_issue(
	    &s->streams, from, m->life, (uint32_t)m->partition, m->epoch, s->mono_us, &st);
	if (r != 0) {
		log_error("storage.no_stream", LS("owner", from), LS("why", err_name(r)));
		return NULL;
	}
	stream_table_put(st, put_entry, s);
	log_debug("storage.stream", LS("owner", from), LU("partition", m->partition),
	    LU("stream", st->rx.id));
	return st;
}

static bool
is_of(const struct stream *st, const char *from, const struct msg_hello *m)
{
	return strcmp(st->owner->name, from) == 0 && st->owner->life == m->life &&
	       st->rx.partition == m->partition && (st->epoch == 0) == (m->epoch == 0);
}

void
shard_on_hello(struct shard *s, const char *from, const struct msg_hello *m)
{
	struct stream_owner *o = stream_table_owner(&s->streams, from);
	uint32_t partition = (uint32_t)m->partition;
	struct stream *st;

	if (m->partition >= s->config.partitions ||
	    m->partition % s->config.shards != s->config.shard) {
		malformed(from, "HELLO", "partition of another shard");
		return;
	}
	stream_table_seen(&s->streams, m->stream);
	stream_table_seen(&s->streams, m->given_up);
	if ((o && o->life > m->life) ||
	    (m->epoch && !followers_owns(&s->followers, from, m->life, partition, m->epoch))) {
		say_fenced(s, from, partition, m->stream, m->life);
		return;
	}
	if (m->stream) {
		st = stream_table_find(&s->streams, m->stream);
		if (!st || !is_of(st, from, m)) {
			say_fenced(s, from, partition, m->stream, m->life);
			return;
		}
		st->epoch = m->epoch;
	} else {
		st = stream_table_of(&s->streams, from, m->life, partition, m->epoch);
		if (!st || st->rx.id <= m->given_up)
			st = issue(s, from, m);
		if (!st)
			return; /* it asks again */
	}
	st->owner->seen_us = s->mono_us;
	if (stream_rx_acked(&st->rx, m->acked) != 0) {
		end_damaged(s, st, m->acked, m->life);
		return;
	}
	st->hello = true;
	shard_answer(s, st);
}

/* Record headers only; points were checked where they were made. */
static bool
records_ok(struct bytes records)
{
	struct record_cursor c = record_cursor_of(records);
	struct record r;
	uint32_t count = 0;
	int rc;

	while ((rc = record_next(&c, &r)) == 0)
		if (++count > BATCH_RECORDS_MAX)
			return false;
	return rc == ERR_NOT_FOUND;
}

static bool
body_ok(uint64_t kind, struct bytes records)
{
	if (kind == ENTRY_READINGS)
		return records_ok(records);
	if (kind == ENTRY_PUBREL)
		return records.len % PUBREL_SIZE == 0;
	return kind != 0 && kind < ENTRY_STREAM && kind != ENTRY_TICK;
}

static bool
is_remembered(const struct record *r)
{
	return r->client != 0 && (r->flags & RECORD_QOS_MASK) == 1 << RECORD_QOS_SHIFT;
}

/* QoS 2: exactly once until it is released, and no window ends that. */
static bool
is_unreleased(const struct record *r)
{
	return r->client != 0 && (r->flags & RECORD_QOS_MASK) == 2 << RECORD_QOS_SHIFT;
}

static struct unreleased_item
unreleased_of(const struct record *r, uint64_t stream, int64_t time)
{
	return (struct unreleased_item){ .client = r->client,
		.hash = r->hash,
		.stream = stream,
		.time = time,
		.packet_id = r->packet_id,
		.dup = (r->flags & RECORD_DUP) != 0 };
}

/* The device sends again what it had sent before the worker died that held its connection. What is older than the newest
 * snapshot may not have been read yet. */
static bool
is_resent(struct shard *s, const struct record *r, int64_t now)
{
	enum dedup_answer answer;

	if (!(r->flags & RECORD_DUP))
		return false;
	answer = dedup_ask(&s->dedup, r->client, r->packet_id, r->hash, now);
	if (answer == DEDUP_UNKNOWN && dedup_count(&s->dedup) < s->config.dedup_entries) {
		(void)journal_warm(s->journal, UINT64_MAX);
		answer = dedup_ask(&s->dedup_before, r->client, r->packet_id, r->hash, now);
	}
	return answer == DEDUP_SAME;
}

/* What a record in the block being built comes to: its own verdict, a copy, or a refusal by us. */
static uint32_t
verdict_of(struct shard *s, const struct record *r, uint64_t stream, int64_t now)
{
	struct unreleased_item item;

	if (verdict_is_refusal(r->verdict))
		return r->verdict;
	if (is_remembered(r)) {
		if (is_resent(s, r, now))
			return verdict_make(VERDICT_COPY, 0);
		dedup_add(&s->dedup, r->client, r->packet_id, r->hash, now);
	} else if (is_unreleased(r)) {
		item = unreleased_of(r, stream, now);
		switch (unreleased_offer(&s->unreleased, &item)) {
		case UNRELEASED_NEW:
			break;
		case UNRELEASED_COPY:
			return verdict_make(VERDICT_COPY, 0);
		case UNRELEASED_FULL:
			metric_add(M_STORAGE_UNRELEASED_REFUSED, 1);
			return verdict_make(VERDICT_UNRELEASED_LIMIT, UNRELEASED_RETRY_MS);
		}
	}
	return r->verdict;
}

/* Walks the batch where it lies in the block being built: refusals are kept for the sender, what the device had sent
 * before becomes a copy. */
static void
take_verdicts(struct shard *s, struct stream *st, uint64_t seq, uint8_t *records, size_t len)
{
	struct record_cursor c = record_cursor_of(bytes_of(records, len));
	int64_t now = shard_now(s);
	uint64_t points = 0;
	struct record r;
	uint32_t index;

	for (index = 0; record_next(&c, &r) == 0; index++) {
		uint32_t verdict = verdict_of(s, &r, st->rx.id, now);

		if (verdict != r.verdict)
			record_set_verdict(records, r.at, verdict);
		if (verdict_is_refusal(verdict)) {
			stream_rx_refused(&st->rx, seq, index, verdict);
			continue;
		}
		points += r.point_count;
		if (verdict_code(verdict) == VERDICT_COPY)
			metric_add(M_STORAGE_COPIES, 1);
	}
	metric_add(M_MESSAGES, index);
	metric_add(M_READINGS, points);
}

/* The senders will not repeat these messages any more: their packet ids may come again with others. */
static void
release_all(struct shard *s, struct bytes ids)
{
	struct pubrel r;

	while (pubrel_next(&ids, &r))
		(void)unreleased_release(&s->unreleased, r.client, r.packet_id);
}

static void
append_batch(struct shard *s, struct stream *st, const struct msg_batch *m)
{
	struct buf *pending = &s->journal->pending;

	shard_append(s, &(struct entry){ .kind = (unsigned)m->kind,
			    .partition = (uint32_t)m->partition,
			    .stream = m->stream,
			    .seq = m->seq,
			    .body = m->records });
	if (m->kind == ENTRY_READINGS)
		take_verdicts(
		    s, st, m->seq, pending->data + pending->len - m->records.len, m->records.len);
	else if (m->kind == ENTRY_PUBREL)
		release_all(s, m->records);
	st->regrants = 0;
}

/* The stream a batch belongs to, if its sender may append to it. */
static struct stream *
stream_of_batch(struct shard *s, const char *from, const struct msg_batch *m)
{
	struct stream *st = stream_table_find(&s->streams, m->stream);
	bool forwarded = starts_with(from, limiter);

	if (!st) {
		metric_add(M_STORAGE_UNKNOWN_STREAM, 1);
		if (!forwarded)
			say_fenced(s, from, (uint32_t)m->partition, m->stream, 0);
		return NULL;
	}
	if (st->rx.partition != m->partition ||
	    (!forwarded && strcmp(from, st->owner->name) != 0)) {
		malformed(from, "BATCH", "stream of another partition or sender");
		return NULL;
	}
	if (st->epoch && !followers_owns(&s->followers, st->owner->name, st->owner->life,
			     st->rx.partition, st->epoch)) {
		metric_add(M_STORAGE_UNKNOWN_STREAM, 1);
		say_fenced(s, st->owner->name, st->rx.partition, st->rx.id, 0);
		return NULL;
	}
	return st;
}

void
shard_on_batch(struct shard *s, const char *from, const struct msg_batch *m)
{
	struct stream *st = stream_of_batch(s, from, m);
	struct msg_gap gap;

	if (!st)
		return;
	s->batch_us = s->mono_us;
	st->owner->seen_us = s->mono_us;
	if (stream_rx_acked(&st->rx, m->acked) != 0) {
		end_damaged(s, st, m->acked, 0);
		return;
	}
	if (m->seq == st->rx.appended + 1) {
		if (!body_ok(m->kind, m->records)) {
			malformed(from, "BATCH", "kind or records");
			return;
		}
		if (!shard_make_room(
			s, is_internal(st->owner->name), ENTRY_HEADER_SIZE + m->records.len)) {
			metric_add(M_STORAGE_NO_ROOM, 1);
			shard_answer(s, st); /* that there is no credit */
			return;
		}
	}
	switch (stream_rx_offer(&st->rx, m->seq)) {
	case STREAM_NEXT:
		append_batch(s, st, m);
		shard_answer(s, st);
		break;
	case STREAM_REPEAT:
		metric_add(M_STORAGE_REPEATS, 1);
		shard_answer(s, st);
		break;
	case STREAM_GAP:
		metric_add(M_STORAGE_GAPS, 1);
		gap = (struct msg_gap){ .stream = st->rx.id, .next = st->rx.appended + 1 };
		if (stream_rx_gap_due(&st->rx, s->mono_us))
			(void)s->config.send(s->config.arg, st->owner->name, MSG_GAP, &gap);
		break;
	}
}

static void
replay_record(struct shard *s, const struct block *b, const struct record *r, uint64_t stream,
    enum journal_replay how)
{
	struct unreleased_item item;

	if (is_unreleased(r)) {
		if (how == JOURNAL_REPLAY_WARM || verdict_code(r->verdict) == VERDICT_COPY)
			return;
		item = unreleased_of(r, stream, b->time);
		unreleased_restore(&s->unreleased, &item);
	} else if (is_remembered(r) && s->dedup.capacity > 0 &&
		   b->time >= s->wall_us - s->dedup.window_us) {
		dedup_add(how == JOURNAL_REPLAY_WARM ? &s->dedup_before : &s->dedup, r->client,
		    r->packet_id, r->hash, b->time);
	}
}

static void
replay_batch(struct shard *s, const struct block *b, const struct entry *e, enum journal_replay how)
{
	struct stream *st =
	    how == JOURNAL_REPLAY_WARM ? NULL : stream_table_find(&s->streams, e->stream);
	struct record_cursor c = record_cursor_of(e->body);
	struct record r;
	uint32_t index;

	if (st && e->seq <= st->rx.committed)
		st = NULL;
	if (st)
		stream_rx_restore(&st->rx, e->seq);
	if (e->kind == ENTRY_PUBREL && how != JOURNAL_REPLAY_WARM)
		release_all(s, e->body);
	if (e->kind != ENTRY_READINGS)
		return;
	for (index = 0; record_next(&c, &r) == 0; index++) {
		if (!verdict_is_refusal(r.verdict))
			replay_record(s, b, &r, e->stream, how);
		else if (st && index < BATCH_RECORDS_MAX)
			stream_rx_refused(&st->rx, e->seq, index, r.verdict);
	}
}

void
shard_replay(void *arg, const struct block *b, enum journal_replay how)
{
	struct shard *s = arg;
	struct bytes rest = b->body;
	struct segment_entry mark;
	struct entry e;

	while (entry_next(&rest, &e) == 0) {
		switch (e.kind) {
		case ENTRY_SEGMENT:
			if (how == JOURNAL_REPLAY_FULL && segment_entry_read(&e, &mark) == 0 &&
			    mark.mark == SEGMENT_MARK_BEGIN) {
				stream_table_clear(&s->streams);
				unreleased_clear(&s->unreleased);
			}
			break;
		case ENTRY_STREAM:
			if (how != JOURNAL_REPLAY_WARM)
				(void)stream_table_replay(&s->streams, &e, b->time);
			break;
		case ENTRY_UNRELEASED:
			if (how != JOURNAL_REPLAY_WARM)
				(void)unreleased_replay(&s->unreleased, &e);
			break;
		default:
			if (e.stream)
				replay_batch(s, b, &e, how);
			break;
		}
	}
}
