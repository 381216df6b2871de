/* ingest_releases.c - PUBRELs under way: each is answered when the last of its parts is durable; pure */
#include "ingest_releases.h"

#include <stdlib.h>

#include "err.h"
#include "mem.h"

#define FIRST 64

void
ingest_releases_fini(struct ingest_releases *r)
{
	free(r->all);
	*r = (struct ingest_releases){ 0 };
}

uint32_t
ingest_releases_add(struct ingest_releases *r, uint64_t token, uint32_t parts)
{
	uint32_t number;

	ASSERT(parts > 0);
	if (r->free == 0) {
		uint32_t cap = r->cap ? 2 * r->cap : FIRST;

		r->all = xrealloc(r->all, cap * sizeof(r->all[0]));
		for (uint32_t i = cap; i-- > r->cap;) {
			r->all[i] = (struct ingest_release){ .next = r->free };
			r->free = i + 1;
		}
		r->cap = cap;
	}
	number = r->free - 1;
	r->free = r->all[number].next;
	r->all[number] = (struct ingest_release){ .token = token, .parts = parts };
	return number;
}

bool
ingest_releases_part(struct ingest_releases *r, uint32_t number, uint64_t *ret_token)
{
	struct ingest_release *one = &r->all[number];

	ASSERT(number < r->cap && one->parts > 0);
	if (--one->parts > 0)
		return false;
	*ret_token = one->token;
	one->next = r->free;
	r->free = number + 1;
	return true;
}
