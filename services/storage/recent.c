/* recent.c - the newest blocks in memory, for followers at the tail; pure */
#include "recent.h"

#include <stdlib.h>

#include "mem.h"

struct recent_block {
	struct block b;
	struct buf memory; /* of which its body is a part */
};

void
recent_init(struct recent *r, uint64_t end)
{
	*r = (struct recent){ .from = end, .end = end };
	r->blocks = xcalloc(RECENT_BLOCKS_MAX, sizeof(*r->blocks));
}

static struct recent_block *
at(const struct recent *r, size_t i)
{
	return &r->blocks[(r->first + i) % RECENT_BLOCKS_MAX];
}

/* Its memory is freed, or becomes *spare if that is smaller. */
static void
forget_oldest(struct recent *r, struct buf *spare)
{
	struct recent_block *o = at(r, 0);
	struct buf memory = o->memory;

	r->from = o->b.next;
	r->bytes -= memory.cap;
	r->first = (r->first + 1) % RECENT_BLOCKS_MAX;
	r->count--;
	if (spare && spare->cap < memory.cap) {
		struct buf smaller = *spare;

		*spare = memory;
		memory = smaller;
	}
	buf_fini(&memory);
}

void
recent_fini(struct recent *r)
{
	while (r->count)
		forget_oldest(r, NULL);
	free(r->blocks);
	*r = (struct recent){ 0 };
}

void
recent_add(struct recent *r, const struct block *b, struct buf *owner)
{
	bool take = b->body.len >= RECENT_TAKE_MIN && b->body.len >= owner->cap / 2;
	struct recent_block new = { .b = *b };
	struct buf spare = { 0 };

	if (take) {
		new.memory = *owner;
	} else {
		buf_add(&new.memory, b->body.data, b->body.len);
		new.b.body.data = new.memory.data;
	}
	while (r->count &&
	       (r->count == RECENT_BLOCKS_MAX || r->bytes + new.memory.cap > RECENT_BYTES_MAX))
		forget_oldest(r, &spare);
	r->count++;
	*at(r, r->count - 1) = new;
	r->bytes += new.memory.cap;
	r->end = b->next;
	if (take) {
		/* The memory of an old block serves for the next one: fresh pages cost more than the copy that is saved. */
		buf_clear(&spare);
		*owner = spare;
		(void)buf_reserve(owner, b->body.len);
	} else {
		buf_fini(&spare);
	}
}

void
recent_forget(struct recent *r, uint64_t cursor)
{
	while (r->count && at(r, 0)->b.next <= cursor)
		forget_oldest(r, NULL);
}

const struct block *
recent_find(const struct recent *r, uint64_t cursor)
{
	size_t lo = 0, hi = r->count;

	if (cursor < r->from || cursor >= r->end)
		return NULL;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (at(r, mid)->b.offset < cursor)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < r->count ? &at(r, lo)->b : NULL;
}
