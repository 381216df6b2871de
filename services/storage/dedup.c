/* dedup.c - recognises what a device sent before the worker that held its connection died; pure */
#include "dedup.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

#define CHUNK 4096u /* entries; a power of two */
#define NONE UINT32_MAX
#define INDEX_SPAN                                                                                 \
	(1u << 31) /* numbers in the index are relative to index_from; then it is begun anew */

struct entry {
	uint64_t client;
	uint64_t hash;
	int64_t time;
	uint32_t next; /* older one of its bucket, as number - index_from; only if it is indexed */
	uint16_t packet_id;
};

struct dedup_chunk {
	struct entry entries[CHUNK];
};

void
dedup_init(struct dedup *d, uint32_t capacity, int64_t window_us)
{
	*d = (struct dedup){ .capacity = capacity, .window_us = window_us };
	if (capacity == 0)
		return;
	d->chunk_count = capacity / CHUNK + 2;
	d->chunks = xcalloc(d->chunk_count, sizeof(d->chunks[0]));
}

void
dedup_fini(struct dedup *d)
{
	for (uint32_t i = 0; i < d->chunk_count; i++)
		free(d->chunks[i]);
	free(d->chunks);
	free(d->spare);
	free(d->buckets);
	*d = (struct dedup){ 0 };
}

static struct dedup_chunk **
chunk_of(const struct dedup *d, uint64_t n)
{
	return &d->chunks[n / CHUNK % d->chunk_count];
}

static struct entry *
at(const struct dedup *d, uint64_t n)
{
	return &(*chunk_of(d, n))->entries[n % CHUNK];
}

/* --- index --- */

static uint32_t *
bucket_of(const struct dedup *d, uint64_t client, uint16_t packet_id)
{
	/* client is a hash already; the packet id is spread over it. */
	uint64_t mixed = client ^ (packet_id * 0x9e3779b97f4a7c15ull);

	return &d->buckets[(mixed ^ mixed >> 32) & d->bucket_mask];
}

static void
index_begin(struct dedup *d)
{
	uint32_t buckets = 1;

	while (buckets < d->capacity && buckets < 1u << 31)
		buckets *= 2;
	if (!d->buckets)
		d->buckets = xmalloc(buckets * sizeof(d->buckets[0]));
	memset(d->buckets, 0xff, buckets * sizeof(d->buckets[0]));
	d->bucket_mask = buckets - 1;
	d->index_from = d->indexed = d->tail;
}

/* The entry that a link means, or NULL at the end of the chain: newer ones come first, so what is behind one that was
 * pushed out was pushed out too. */
static struct entry *
linked(const struct dedup *d, uint32_t link)
{
	if (link == NONE || d->index_from + link < d->tail)
		return NULL;
	return at(d, d->index_from + link);
}

/* The newest message under a packet id replaces the older one, so a chain holds each but once. */
static void
index_add(struct dedup *d, uint64_t n)
{
	struct entry *e = at(d, n), *other;
	uint32_t *bucket = bucket_of(d, e->client, e->packet_id);
	uint32_t *link = bucket;

	/* cppcheck-suppress uninitvar ; index_begin() filled the buckets with NONE */
	while ((other = linked(d, *link)) != NULL) {
		if (other->client == e->client && other->packet_id == e->packet_id)
			break;
		link = &other->next;
	}
	*link = other ? other->next : NONE;
	e->next = *bucket;
	*bucket = (uint32_t)(n - d->index_from);
}

static void
index_catch_up(struct dedup *d)
{
	if (!d->buckets || d->indexed < d->tail || d->head - d->index_from >= INDEX_SPAN)
		index_begin(d);
	for (; d->indexed < d->head; d->indexed++)
		index_add(d, d->indexed);
}

enum dedup_answer
dedup_ask(struct dedup *d, uint64_t client, uint16_t packet_id, uint64_t hash, int64_t now_us)
{
	const struct entry *e;

	if (d->capacity == 0)
		return DEDUP_UNKNOWN;
	d->asked_us = now_us;
	index_catch_up(d);
	for (e = linked(d, *bucket_of(d, client, packet_id)); e; e = linked(d, e->next))
		if (e->client == client && e->packet_id == packet_id)
			return e->hash == hash && now_us - e->time <= d->window_us ? DEDUP_SAME
										   : DEDUP_OTHER;
	return DEDUP_UNKNOWN;
}

/* --- ring --- */

/* Forgets the entries before n. */
static void
forget_before(struct dedup *d, uint64_t n)
{
	while (d->tail / CHUNK < n / CHUNK) {
		struct dedup_chunk **c = chunk_of(d, d->tail);

		free(d->spare);
		d->spare = *c;
		*c = NULL;
		d->tail = (d->tail / CHUNK + 1) * CHUNK;
	}
	d->tail = n;
}

void
dedup_add(struct dedup *d, uint64_t client, uint16_t packet_id, uint64_t hash, int64_t time_us)
{
	struct dedup_chunk **c;

	if (d->capacity == 0)
		return;
	if (d->head - d->tail == d->capacity)
		forget_before(d, d->tail + 1);
	c = chunk_of(d, d->head);
	if (!*c) {
		*c = d->spare ? d->spare : xmalloc(sizeof(**c));
		d->spare = NULL;
	}
	(*c)->entries[d->head++ % CHUNK] = (struct entry){
		.client = client,
		.hash = hash,
		.time = time_us,
		.packet_id = packet_id,
	};
}

void
dedup_expire(struct dedup *d, int64_t now_us)
{
	if (d->buckets && now_us - d->asked_us > d->window_us) {
		free(d->buckets);
		d->buckets = NULL;
	}
	/* Journal time does not go back: the last entry of a chunk is its youngest. */
	while (d->tail < d->head) {
		uint64_t last = d->tail | (CHUNK - 1);

		if (last >= d->head)
			last = d->head - 1;
		if (now_us - at(d, last)->time <= d->window_us)
			return;
		forget_before(d, last + 1);
	}
	free(d->spare);
	d->spare = NULL;
	if (d->chunk_count && d->head % CHUNK != 0) {
		struct dedup_chunk **c = chunk_of(d, d->head);

		free(*c);
		*c = NULL;
		d->head = d->tail = (d->head / CHUNK + 1) * CHUNK;
	}
}

uint64_t
dedup_count(const struct dedup *d)
{
	return d->head - d->tail;
}
