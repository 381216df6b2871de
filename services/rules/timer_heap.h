/* timer_heap.h - timers by journal time, embedded in their owners; pure */
#ifndef ROOST_TIMER_HEAP_H
#define ROOST_TIMER_HEAP_H

#include <stddef.h>
#include <stdint.h>

struct heap_timer {
	int64_t due;
	uint64_t order;		/* among equals: the same on every run */
	size_t slot;		/* position + 1; 0: not set */
};

struct timer_heap {
	struct heap_timer **at;
	size_t count;
	size_t cap;
};

void timer_heap_fini(struct timer_heap *h);
void timer_heap_set(struct timer_heap *h, struct heap_timer *t, int64_t due);
void timer_heap_clear(struct timer_heap *h, struct heap_timer *t);
/* The first to be due; NULL if none is set. */
struct heap_timer *timer_heap_first(const struct timer_heap *h);

#endif
