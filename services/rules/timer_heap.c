/* timer_heap.c - timers by journal time, embedded in their owners; pure */
#include "timer_heap.h"

#include <stdbool.h>
#include <stdlib.h>

#include "mem.h"

void
timer_heap_fini(struct timer_heap *h)
{
	free(h->at);
	*h = (struct timer_heap){ 0 };
}

static bool
before(const struct heap_timer *a, const struct heap_timer *b)
{
	return a->due != b->due ? a->due < b->due : a->order < b->order;
}

static void
place(struct timer_heap *h, size_t i, struct heap_timer *t)
{
	h->at[i] = t;
	t->slot = i + 1;
}

/* Moves t from the free place i up or down to where it belongs. */
static void
settle(struct timer_heap *h, size_t i, struct heap_timer *t)
{
	while (i > 0 && before(t, h->at[(i - 1) / 2])) {
		place(h, i, h->at[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	for (;;) {
		size_t child = 2 * i + 1;
		if (child >= h->count)
			break;
		if (child + 1 < h->count && before(h->at[child + 1], h->at[child]))
			child++;
		if (!before(h->at[child], t))
			break;
		place(h, i, h->at[child]);
		i = child;
	}
	place(h, i, t);
}

void
timer_heap_set(struct timer_heap *h, struct heap_timer *t, int64_t due)
{
	t->due = due;
	if (t->slot) {
		settle(h, t->slot - 1, t);
		return;
	}
	if (h->count == h->cap) {
		h->cap = h->cap ? h->cap * 2 : 64;
		h->at = xrealloc(h->at, h->cap * sizeof(h->at[0]));
	}
	h->count++;
	settle(h, h->count - 1, t);
}

void
timer_heap_clear(struct timer_heap *h, struct heap_timer *t)
{
	size_t i = t->slot;
	struct heap_timer *last;

	if (i == 0)
		return;
	t->slot = 0;
	last = h->at[--h->count];
	if (last != t)
		settle(h, i - 1, last);
}

struct heap_timer *
timer_heap_first(const struct timer_heap *h)
{
	return h->count ? h->at[0] : NULL;
}
