/* recent.c - the newest blocks in memory, for followers at the tail; pure */
#include "recent.h"

#include <stdlib.h>

#include "mem.h"

void
recent_init(struct recent *r, uint64_t end)
{
	*r = (struct recent){ .from = end, .end = end };
	r->blocks = xcalloc(RECENT_BLOCKS_MAX, sizeof(*r->blocks));
}

static struct block *
at(const struct recent *r, size_t i)
{
	return &r->blocks[(r->first + i) % RECENT_BLOCKS_MAX];
}

static void
forget_oldest(struct recent *r)
{
	struct block *b = at(r, 0);

	r->from = b->next;
	r->bytes -= b->body.len;
	free((void *)(uintptr_t)b->body.data);
	r->first = (r->first + 1) % RECENT_BLOCKS_MAX;
	r->count--;
}

void
recent_fini(struct recent *r)
{
	while (r->count)
		forget_oldest(r);
	free(r->blocks);
	*r = (struct recent){ 0 };
}

void
recent_add(struct recent *r, const struct block *b)
{
	while (r->count &&
	       (r->count == RECENT_BLOCKS_MAX || r->bytes + b->body.len > RECENT_BYTES_MAX))
		forget_oldest(r);
	r->count++;
	*at(r, r->count - 1) = *b;
	at(r, r->count - 1)->body.data = xmemdup(b->body.data, b->body.len);
	r->bytes += b->body.len;
	r->end = b->next;
}

const struct block *
recent_find(const struct recent *r, uint64_t cursor)
{
	size_t lo = 0, hi = r->count;

	if (cursor < r->from || cursor >= r->end)
		return NULL;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (at(r, mid)->offset < cursor)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < r->count ? at(r, lo) : NULL;
}
