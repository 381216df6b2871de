/* stream_table.c - the streams of one shard: who may append, and how far each one is; pure */
#include "stream_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "le.h"
#include "mem.h"
#include "record.h"

#define BUCKETS_MIN 256
#define ID_BITS 48
#define ID_MASK ((1ull << ID_BITS) - 1)
/* Ids that a journal may have lost. Whoever says one further ahead lies: it would use the numbers up. */
#define SEEN_AHEAD_MAX (1ull << 24)
#define BODY_FIXED 25
#define PAIR_SIZE ((size_t)16)
#define PAIRS_PER_ENTRY 4096

static uint64_t
id_of(const struct stream_table *s, uint64_t n)
{
	return (uint64_t)s->shard << ID_BITS | n;
}

void
stream_table_init(struct stream_table *s, uint32_t shard, uint32_t partitions)
{
	*s = (struct stream_table){
		.shard = shard, .partitions = partitions, .bucket_count = BUCKETS_MIN
	};
	s->buckets = xcalloc(s->bucket_count, sizeof(struct stream *));
}

static struct stream **
bucket_of(const struct stream_table *s, uint64_t id)
{
	return &s->buckets[id & (s->bucket_count - 1)];
}

struct stream *
stream_table_find(const struct stream_table *s, uint64_t id)
{
	struct stream *st = *bucket_of(s, id);

	while (st && st->rx.id != id)
		st = st->bucket_next;
	return st;
}

struct stream_owner *
stream_table_owner(const struct stream_table *s, const char *name)
{
	for (size_t i = 0; i < s->owner_count; i++)
		if (strcmp(s->owners[i]->name, name) == 0)
			return s->owners[i];
	return NULL;
}

struct stream *
stream_table_of(const struct stream_table *s, const char *name, uint64_t life, uint32_t partition,
    uint64_t epoch)
{
	const struct stream_owner *o = stream_table_owner(s, name);
	struct stream *st;

	if (!o || o->life != life || partition >= s->partitions)
		return NULL;
	st = o->by_partition[partition];
	return st && st->epoch == epoch ? st : NULL;
}

void
stream_table_drop(struct stream_table *s, struct stream **stream)
{
	struct stream *st = *stream;
	struct stream **link = bucket_of(s, st->rx.id);

	while (*link != st)
		link = &(*link)->bucket_next;
	*link = st->bucket_next;
	st->owner->by_partition[st->rx.partition] = NULL;
	st->owner->streams--;
	s->count--;
	stream_rx_fini(&st->rx);
	free(st);
	*stream = NULL;
}

void
stream_table_drop_owner(struct stream_table *s, struct stream_owner *o)
{
	for (uint32_t p = 0; p < s->partitions; p++)
		if (o->by_partition[p])
			stream_table_drop(s, &o->by_partition[p]);
	for (size_t i = 0; i < s->owner_count; i++) {
		if (s->owners[i] != o)
			continue;
		s->owners[i] = s->owners[--s->owner_count];
		break;
	}
	free(o->by_partition);
	free(o);
}

void
stream_table_clear(struct stream_table *s)
{
	while (s->owner_count)
		stream_table_drop_owner(s, s->owners[0]);
}

void
stream_table_fini(struct stream_table *s)
{
	stream_table_clear(s);
	free(s->buckets);
	*s = (struct stream_table){ 0 };
}

static void
grow(struct stream_table *s)
{
	struct stream **old = s->buckets;
	size_t old_count = s->bucket_count;

	if (s->count < old_count)
		return;
	s->bucket_count *= 2;
	s->buckets = xcalloc(s->bucket_count, sizeof(struct stream *));
	for (size_t i = 0; i < old_count; i++) {
		while (old[i]) {
			struct stream *st = old[i];
			struct stream **bucket = bucket_of(s, st->rx.id);

			old[i] = st->bucket_next;
			st->bucket_next = *bucket;
			*bucket = st;
		}
	}
	free(old);
}

static int
owner_get(struct stream_table *s, const char *name, uint64_t life, struct stream_owner **ret_owner)
{
	struct stream_owner *o = stream_table_owner(s, name);

	if (o && o->life > life)
		return ERR_FENCED;
	if (o && o->life < life) {
		stream_table_drop_owner(s, o);
		o = NULL;
	}
	if (!o) {
		if (s->owner_count == STREAM_OWNERS_MAX)
			return ERR_FULL;
		o = xcalloc(1, sizeof(*o));
		snprintf(o->name, sizeof(o->name), "%s", name);
		o->life = life;
		o->by_partition = xcalloc(s->partitions, sizeof(struct stream *));
		s->owners[s->owner_count++] = o;
	}
	*ret_owner = o;
	return 0;
}

static int
add(struct stream_table *s, uint64_t id, const char *name, uint64_t life, uint32_t partition,
    uint64_t epoch, uint64_t committed, int64_t now_us, struct stream **ret_stream)
{
	struct stream_owner *o;
	struct stream *st;
	int r;

	if (partition >= s->partitions)
		return ERR_MALFORMED;
	if (s->count >= STREAMS_MAX)
		return ERR_FULL;
	r = owner_get(s, name, life, &o);
	if (r != 0)
		return r;
	if (o->by_partition[partition])
		stream_table_drop(s, &o->by_partition[partition]);
	st = xcalloc(1, sizeof(*st));
	stream_rx_init(&st->rx, id, partition, committed);
	st->owner = o;
	st->epoch = epoch;
	grow(s);
	st->bucket_next = *bucket_of(s, id);
	*bucket_of(s, id) = st;
	o->by_partition[partition] = st;
	o->streams++;
	o->seen_us = now_us;
	s->count++;
	*ret_stream = st;
	return 0;
}

int
stream_table_issue(struct stream_table *s, const char *name, uint64_t life, uint32_t partition,
    uint64_t epoch, int64_t now_us, struct stream **ret_stream)
{
	int r;

	if (s->issued >= ID_MASK)
		return ERR_FULL;
	r = add(s, id_of(s, s->issued + 1), name, life, partition, epoch, 0, now_us, ret_stream);
	if (r == 0)
		s->issued++;
	return r;
}

void
stream_table_put(const struct stream *st, stream_table_put_fn put, void *arg)
{
	struct bytes pairs = buf_bytes(&st->rx.refusals);
	size_t name_len = strlen(st->owner->name);
	struct buf body = { 0 };

	do {
		size_t n = pairs.len < PAIRS_PER_ENTRY * PAIR_SIZE ? pairs.len
								   : PAIRS_PER_ENTRY * PAIR_SIZE;

		buf_clear(&body);
		le_add64(&body, st->owner->life);
		le_add64(&body, st->epoch);
		le_add64(&body, st->rx.acked);
		buf_add_u8(&body, (uint8_t)name_len);
		buf_add(&body, st->owner->name, name_len);
		buf_add(&body, pairs.data, n);
		put(arg, &(struct entry){ .kind = ENTRY_STREAM,
			     .partition = st->rx.partition,
			     .stream = st->rx.id,
			     .seq = st->rx.committed,
			     .body = buf_bytes(&body) });
		/* cppcheck-suppress knownConditionTrueFalse ; there may be no pairs at all */
		pairs = n ? bytes_of(pairs.data + n, pairs.len - n) : pairs;
	} while (pairs.len);
	buf_fini(&body);
}

void
stream_table_put_all(const struct stream_table *s, stream_table_put_fn put, void *arg)
{
	static const uint8_t none[BODY_FIXED];

	put(arg, &(struct entry){ .kind = ENTRY_STREAM,
		     .partition = ENTRY_ALL_PARTITIONS,
		     .stream = id_of(s, s->issued),
		     .body = bytes_of(none, sizeof(none)) });
	for (size_t i = 0; i < s->owner_count; i++)
		for (uint32_t p = 0; p < s->partitions; p++)
			if (s->owners[i]->by_partition[p])
				stream_table_put(s->owners[i]->by_partition[p], put, arg);
}

uint64_t
stream_table_put_bytes(const struct stream_table *s)
{
	const uint64_t one = ENTRY_HEADER_SIZE + BODY_FIXED + BUS_NAME_MAX;
	uint64_t bytes = one;

	for (size_t i = 0; i < s->owner_count; i++) {
		for (uint32_t p = 0; p < s->partitions; p++) {
			const struct stream *st = s->owners[i]->by_partition[p];

			if (st)
				bytes +=
				    st->rx.refusals.len +
				    one * (1 + st->rx.refusals.len / (PAIRS_PER_ENTRY * PAIR_SIZE));
		}
	}
	return bytes;
}

/* Adds the pairs that are not there yet, as far as they can be the stream's: that also bounds them. */
static void
replay_pairs(struct stream *st, struct bytes pairs)
{
	uint64_t committed = st->rx.committed;
	uint64_t after = committed > STREAM_WINDOW_BATCHES ? committed - STREAM_WINDOW_BATCHES : 0;

	if (after < st->rx.acked)
		after = st->rx.acked;
	for (; pairs.len; pairs = bytes_of(pairs.data + PAIR_SIZE, pairs.len - PAIR_SIZE)) {
		const struct buf *have = &st->rx.refusals;
		const uint8_t *last = have->len ? have->data + have->len - PAIR_SIZE : NULL;
		uint64_t seq = le_get64(pairs.data), index = le_get64(pairs.data + 8) >> 32;

		if (seq <= after || seq > committed || index >= BATCH_RECORDS_MAX)
			continue;
		if (last && (seq < le_get64(last) ||
				(seq == le_get64(last) && index <= le_get64(last + 8) >> 32)))
			continue;
		buf_add(&st->rx.refusals, pairs.data, PAIR_SIZE);
	}
}

int
stream_table_replay(struct stream_table *s, const struct entry *e, int64_t now_us)
{
	const uint8_t *b = e->body.data;
	uint64_t n = e->stream & ID_MASK;
	char name[BUS_NAME_MAX];
	struct stream *st;
	size_t name_len;
	int r;

	if (e->body.len < BODY_FIXED || e->stream >> ID_BITS != s->shard)
		return ERR_MALFORMED;
	name_len = b[BODY_FIXED - 1];
	if (name_len >= sizeof(name) || name_len > e->body.len - BODY_FIXED ||
	    (e->body.len - BODY_FIXED - name_len) % PAIR_SIZE != 0)
		return ERR_MALFORMED;
	if (n > s->issued)
		s->issued = n;
	if (name_len == 0)
		return 0;
	memcpy(name, b + BODY_FIXED, name_len);
	name[name_len] = '\0';
	st = stream_table_find(s, e->stream);
	if (st && st->rx.committed > e->seq)
		return 0;
	if (!st) {
		r = add(s, e->stream, name, le_get64(b), e->partition, le_get64(b + 8), e->seq,
		    now_us, &st);
		if (r != 0)
			return r;
		st->rx.acked = le_get64(b + 16);
	} else if (st->rx.committed < e->seq) {
		stream_rx_restore(&st->rx, e->seq);
	}
	replay_pairs(st, bytes_of(b + BODY_FIXED + name_len, e->body.len - BODY_FIXED - name_len));
	return 0;
}

void
stream_table_seen(struct stream_table *s, uint64_t id)
{
	uint64_t n = id & ID_MASK;

	if (id >> ID_BITS == s->shard && n > s->issued && n - s->issued <= SEEN_AHEAD_MAX)
		s->issued = n;
}

void
stream_table_lost(struct stream_table *s, uint64_t bytes)
{
	s->issued += bytes / ENTRY_HEADER_SIZE + 1;
}
