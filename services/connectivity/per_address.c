/* per_address.c - how many connections each address has; pure
 *
 * Open addressing, at most half full; a place that becomes free is filled by what stands behind it, so that nothing is
 * left over from addresses that went. */
#include "per_address.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "err.h"
#include "mem.h"

#define SIZE_MIN 64

struct per_address_entry {
	uint8_t key[16];
	uint32_t count; /* 0: free */
};

void
per_address_init(struct per_address *a, uint32_t max, uint64_t seed)
{
	*a = (struct per_address){ .max = max, .seed = seed };
}

void
per_address_fini(struct per_address *a)
{
	free(a->table);
	*a = (struct per_address){ .max = a->max };
}

static void
key_of(const struct peer *p, uint8_t key[16])
{
	static const uint8_t v4_prefix[12] = { [10] = 0xff, [11] = 0xff };

	memcpy(key, p->ip, 16);
	if (memcmp(p->ip, v4_prefix, sizeof(v4_prefix)) != 0)
		memset(key + 8, 0, 8);
}

static size_t
home_of(const struct per_address *a, const uint8_t key[16])
{
	return (size_t)XXH3_64bits_withSeed(key, 16, a->seed) & (a->size - 1);
}

/* Where key stands, or the free place where it would. */
static size_t
place_of(const struct per_address *a, const uint8_t key[16])
{
	size_t i = home_of(a, key);

	while (a->table[i].count && memcmp(a->table[i].key, key, 16) != 0)
		i = (i + 1) & (a->size - 1);
	return i;
}

static void
grow(struct per_address *a)
{
	struct per_address_entry *old = a->table;
	size_t old_size = a->size;

	a->size = old_size ? old_size * 2 : SIZE_MIN;
	a->table = xcalloc(a->size, sizeof(a->table[0]));
	for (size_t i = 0; i < old_size; i++)
		if (old[i].count)
			a->table[place_of(a, old[i].key)] = old[i];
	free(old);
}

bool
per_address_take(struct per_address *a, const struct peer *p)
{
	struct per_address_entry *e;
	uint8_t key[16];

	if (a->max == 0 || !p->known)
		return true;
	if (a->used >= a->size / 2)
		grow(a);
	key_of(p, key);
	e = &a->table[place_of(a, key)];
	if (e->count >= a->max)
		return false;
	if (e->count++ == 0) {
		memcpy(e->key, key, 16);
		a->used++;
	}
	return true;
}

void
per_address_give(struct per_address *a, const struct peer *p)
{
	size_t hole, mask = a->size - 1;
	uint8_t key[16];

	if (a->max == 0 || !p->known)
		return;
	key_of(p, key);
	hole = place_of(a, key);
	ASSERT(a->table[hole].count > 0);
	if (--a->table[hole].count > 0)
		return;
	a->used--;
	for (size_t i = (hole + 1) & mask; a->table[i].count; i = (i + 1) & mask) {
		/* It may move to the hole unless its home lies behind that. */
		if (((i - home_of(a, a->table[i].key)) & mask) < ((i - hole) & mask))
			continue;
		a->table[hole] = a->table[i];
		a->table[i].count = 0;
		hole = i;
	}
}
