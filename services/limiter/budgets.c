/* budgets.c - device and global budgets; pure
 *
 * One pool of entries, chained by hash and, from longest idle to just used, by a second list. Indices are into the
 * pool, 0 is none. */
#include "budgets.h"

#include <stdlib.h>
#include <xxhash.h>

#include "bucket.h"
#include "err.h"
#include "mem.h"

#define POOL_FIRST 1024

struct entry {
	uint64_t device; /* XXH3 of the id */
	struct bucket bucket;
	uint32_t chain; /* next of the same slot, or next free */
	uint32_t older;
	uint32_t newer;
};

struct budgets {
	bool limits_device;
	bool limits_global;
	struct bucket_rate device_rate;
	struct bucket_rate global_rate;
	struct bucket global;
	uint32_t devices_max;
	uint32_t *slots;
	uint32_t slot_mask;
	struct entry *pool; /* [0] is not used */
	uint32_t pool_cap;
	uint32_t pool_used; /* entries that were ever used, [0] included */
	uint32_t free;
	uint32_t oldest;
	uint32_t newest;
	size_t count;
};

struct budgets *
budgets_new(const struct budgets_limits *limits, int64_t now_us)
{
	struct budgets *b = xcalloc(1, sizeof(*b));
	uint32_t slots = 1024;

	ASSERT(limits->devices_max > 0 && limits->devices_max < UINT32_MAX / 4);
	b->devices_max = (uint32_t)limits->devices_max;
	b->limits_device = limits->device_rate > 0;
	b->limits_global = limits->global_rate > 0;
	b->pool_used = 1;
	if (b->limits_global) {
		b->global_rate = bucket_rate_of(limits->global_rate, limits->global_burst);
		bucket_init(&b->global, &b->global_rate, now_us);
	}
	if (b->limits_device) {
		b->device_rate = bucket_rate_of(limits->device_rate, limits->device_burst);
		while (slots < b->devices_max)
			slots *= 2;
		/* All of them now, so that no message waits for a rehash; untouched pages cost nothing. */
		b->slots = xcalloc(slots, sizeof(*b->slots));
		b->slot_mask = slots - 1;
	}
	return b;
}

void
budgets_free(struct budgets **b)
{
	if (!*b)
		return;
	free((*b)->slots);
	free((*b)->pool);
	free(*b);
	*b = NULL;
}

static void
list_remove(struct budgets *b, uint32_t i)
{
	struct entry *e = &b->pool[i];

	if (e->older)
		b->pool[e->older].newer = e->newer;
	else
		b->oldest = e->newer;
	if (e->newer)
		b->pool[e->newer].older = e->older;
	else
		b->newest = e->older;
}

static void
list_append(struct budgets *b, uint32_t i)
{
	struct entry *e = &b->pool[i];

	e->older = b->newest;
	e->newer = 0;
	if (b->newest)
		b->pool[b->newest].newer = i;
	else
		b->oldest = i;
	b->newest = i;
}

static void
forget_oldest(struct budgets *b)
{
	uint32_t i = b->oldest;
	uint32_t *at = &b->slots[b->pool[i].device & b->slot_mask];

	while (*at != i)
		at = &b->pool[*at].chain;
	*at = b->pool[i].chain;
	list_remove(b, i);
	b->pool[i].chain = b->free;
	b->free = i;
	b->count--;
}

static uint32_t
entry_new(struct budgets *b)
{
	uint32_t i;

	if (b->count == b->devices_max)
		forget_oldest(b);
	if (b->free) {
		i = b->free;
		b->free = b->pool[i].chain;
		return i;
	}
	if (b->pool_used >= b->pool_cap) {
		b->pool_cap = b->pool_cap ? b->pool_cap * 2 : POOL_FIRST;
		if (b->pool_cap > b->devices_max + 1)
			b->pool_cap = b->devices_max + 1;
		b->pool = xrealloc(b->pool, (size_t)b->pool_cap * sizeof(*b->pool));
	}
	return b->pool_used++;
}

static struct bucket *
bucket_of(struct budgets *b, struct bytes device, int64_t now_us)
{
	uint64_t hash = XXH3_64bits(device.data, device.len);
	uint32_t *slot = &b->slots[hash & b->slot_mask];
	uint32_t i = *slot;

	while (i && b->pool[i].device != hash)
		i = b->pool[i].chain;
	if (i) {
		if (i != b->newest) {
			list_remove(b, i);
			list_append(b, i);
		}
		return &b->pool[i].bucket;
	}
	i = entry_new(b);
	b->pool[i].device = hash;
	b->pool[i].chain = *slot;
	*slot = i;
	bucket_init(&b->pool[i].bucket, &b->device_rate, now_us);
	list_append(b, i);
	b->count++;
	return &b->pool[i].bucket;
}

uint32_t
budgets_charge(struct budgets *b, struct bytes device, int64_t now_us)
{
	struct bucket *bucket = NULL;

	if (b->limits_device) {
		bucket = bucket_of(b, device, now_us);
		if (!bucket_take(bucket, &b->device_rate, now_us))
			return verdict_make(
			    VERDICT_DEVICE_LIMIT, bucket_wait_ms(bucket, &b->device_rate));
	}
	if (b->limits_global && !bucket_take(&b->global, &b->global_rate, now_us)) {
		if (bucket)
			bucket_return(bucket, &b->device_rate);
		return verdict_make(
		    VERDICT_GLOBAL_LIMIT, bucket_wait_ms(&b->global, &b->global_rate));
	}
	return VERDICT_ACCEPTED;
}

size_t
budgets_expire(struct budgets *b, int64_t now_us, size_t max)
{
	int64_t idle_us = b->limits_device ? bucket_fill_us(&b->device_rate) : 0;
	size_t n = 0;

	while (n < max && b->oldest && now_us - b->pool[b->oldest].bucket.at_us > idle_us) {
		forget_oldest(b);
		n++;
	}
	return n;
}

size_t
budgets_devices(const struct budgets *b)
{
	return b->count;
}
