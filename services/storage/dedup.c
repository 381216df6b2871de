/* dedup.c - recognises what a device sent before the worker that held its connection died; pure */
#include "dedup.h"

#include <stdlib.h>

#include "mem.h"

void
dedup_init(struct dedup *d, uint32_t capacity, int64_t window_us)
{
	uint32_t buckets = 1;

	*d = (struct dedup){ .capacity = capacity, .window_us = window_us };
	if (capacity == 0)
		return;
	while (buckets < capacity && buckets < 1u << 31)
		buckets *= 2;
	d->bucket_mask = buckets - 1;
	d->entries = xcalloc(capacity, sizeof(*d->entries));
	d->buckets = xmalloc(buckets * sizeof(*d->buckets));
	for (uint32_t i = 0; i < buckets; i++)
		d->buckets[i] = DEDUP_NONE;
}

void
dedup_fini(struct dedup *d)
{
	free(d->entries);
	free(d->buckets);
	*d = (struct dedup){ 0 };
}

static uint32_t *
bucket_of(const struct dedup *d, uint64_t client, uint16_t packet_id)
{
	/* client is a hash already; the packet id is spread over it. */
	uint64_t mixed = client ^ (packet_id * 0x9e3779b97f4a7c15ull);

	return &d->buckets[(mixed ^ mixed >> 32) & d->bucket_mask];
}

static struct dedup_entry *
find(const struct dedup *d, uint64_t client, uint16_t packet_id)
{
	uint32_t i;

	if (d->capacity == 0)
		return NULL;
	for (i = *bucket_of(d, client, packet_id); i != DEDUP_NONE; i = d->entries[i].next)
		if (d->entries[i].client == client && d->entries[i].packet_id == packet_id)
			return &d->entries[i];
	return NULL;
}

bool
dedup_has(const struct dedup *d, uint64_t client, uint16_t packet_id, uint64_t hash, int64_t now_us)
{
	const struct dedup_entry *e = find(d, client, packet_id);

	return e && e->hash == hash && now_us - e->time <= d->window_us;
}

static void
forget(struct dedup *d, struct dedup_entry *e)
{
	uint32_t index = (uint32_t)(e - d->entries);
	uint32_t *link = bucket_of(d, e->client, e->packet_id);

	while (*link != index)
		link = &d->entries[*link].next;
	*link = e->next;
	e->live = false;
	d->count--;
}

void
dedup_add(struct dedup *d, uint64_t client, uint16_t packet_id, uint64_t hash, int64_t time_us)
{
	struct dedup_entry *e = find(d, client, packet_id);
	uint32_t *bucket;

	if (d->capacity == 0)
		return;
	if (e)
		forget(d, e);
	e = &d->entries[d->at];
	if (e->live)
		forget(d, e);
	bucket = bucket_of(d, client, packet_id);
	*e = (struct dedup_entry){
		.client = client,
		.hash = hash,
		.time = time_us,
		.next = *bucket,
		.packet_id = packet_id,
		.live = true,
	};
	*bucket = d->at;
	d->at = d->at + 1 == d->capacity ? 0 : d->at + 1;
	d->count++;
}
