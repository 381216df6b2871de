/* per_address.h - how many connections each address has; pure
 *
 * Of IPv6 the first 64 bits count: who has one address there has all of them. */
#ifndef ROOST_PER_ADDRESS_H
#define ROOST_PER_ADDRESS_H

#include <stddef.h>

#include "peer.h"

struct per_address_entry;

struct per_address {
	uint32_t max;	/* connections of one address; 0: no limit, and nothing is counted */
	uint64_t seed;	/* so that nobody can choose addresses that share a place */
	struct per_address_entry *table;
	size_t size;	/* a power of two, or 0 */
	size_t used;
};

void per_address_init(struct per_address *a, uint32_t max, uint64_t seed);
void per_address_fini(struct per_address *a);
/* One more from there; false: it has as many as it may. Of unknown ones any number. */
bool per_address_take(struct per_address *a, const struct peer *p);
/* One less: one that was taken. */
void per_address_give(struct per_address *a, const struct peer *p);

#endif
