/* history_points.c - points of one series in memory; pure */
#include "history_points.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "mem.h"

void
history_points_fini(struct history_points *p)
{
	free(p->at);
	buf_fini(&p->strings);
	*p = (struct history_points){ 0 };
}

void
history_points_clear(struct history_points *p)
{
	p->n = 0;
	buf_clear(&p->strings);
}

void
history_points_reserve(struct history_points *p, size_t more)
{
	size_t cap = p->cap == 0 ? 8 : p->cap;

	if (more <= p->cap - p->n)
		return;
	while (cap - p->n < more)
		cap *= 2;
	p->at = xrealloc(p->at, cap * sizeof(p->at[0]));
	p->cap = cap;
}

void
history_points_add(struct history_points *p, int64_t time, const struct value *v, bool device_time)
{
	struct history_point *q;

	history_points_reserve(p, 1);
	q = &p->at[p->n++];
	*q = (struct history_point){
		.time = time, .kind = (uint8_t)v->kind, .device_time = device_time
	};
	switch (v->kind) {
	case VALUE_DOUBLE:
		q->v.f = v->v.f;
		return;
	case VALUE_INT:
		q->v.i = v->v.i;
		return;
	case VALUE_BOOL:
		q->v.b = v->v.b;
		return;
	case VALUE_STRING:
		ASSERT(v->v.s.len <= POINT_STRING_MAX);
		q->v.s.at = (uint32_t)p->strings.len;
		q->v.s.len = (uint32_t)v->v.s.len;
		buf_add(&p->strings, v->v.s.data, v->v.s.len);
		return;
	}
}

struct value
history_points_value(const struct history_points *p, size_t i)
{
	const struct history_point *q = &p->at[i];
	struct value v = { .kind = (enum value_kind)q->kind };

	switch (v.kind) {
	case VALUE_DOUBLE:
		v.v.f = q->v.f;
		break;
	case VALUE_INT:
		v.v.i = q->v.i;
		break;
	case VALUE_BOOL:
		v.v.b = q->v.b;
		break;
	case VALUE_STRING:
		v.v.s = q->v.s.len == 0 ? bytes_of("", 0)
					: bytes_of(p->strings.data + q->v.s.at, q->v.s.len);
		break;
	}
	return v;
}

void
history_points_append(
    struct history_points *p, const struct history_points *other, size_t from, size_t n)
{
	struct value v;

	history_points_reserve(p, n);
	for (size_t i = from; i < from + n; i++) {
		if (other->at[i].kind != VALUE_STRING) {
			p->at[p->n++] = other->at[i];
			continue;
		}
		v = history_points_value(other, i);
		history_points_add(p, other->at[i].time, &v, other->at[i].device_time);
	}
}

/* Merges the sorted halves of from[lo..hi) into to[lo..hi). */
static void
merge(const struct history_point *from, struct history_point *to, size_t lo, size_t mid, size_t hi)
{
	size_t a = lo, b = mid;

	for (size_t i = lo; i < hi; i++) {
		if (a < mid && (b >= hi || from[a].time <= from[b].time))
			to[i] = from[a++];
		else
			to[i] = from[b++];
	}
}

static bool
is_sorted(const struct history_points *p)
{
	for (size_t i = 1; i < p->n; i++)
		if (p->at[i].time < p->at[i - 1].time)
			return false;
	return true;
}

void
history_points_sort(struct history_points *p)
{
	struct history_point *from = p->at, *to, *spare, *swap;

	if (is_sorted(p))
		return;
	spare = to = xmalloc(p->n * sizeof(to[0]));
	for (size_t width = 1; width < p->n; width *= 2) {
		for (size_t lo = 0; lo < p->n; lo += 2 * width) {
			size_t mid = p->n - lo < width ? p->n : lo + width;
			size_t hi = p->n - lo < 2 * width ? p->n : lo + 2 * width;

			merge(from, to, lo, mid, hi);
		}
		swap = from;
		from = to;
		to = swap;
	}
	if (from != p->at)
		memcpy(p->at, from, p->n * sizeof(from[0]));
	free(spare);
}

size_t
history_points_drop_copies(struct history_points *p)
{
	size_t kept = 0, dropped;

	for (size_t i = 0; i < p->n; i++) {
		if (kept > 0 && p->at[i].device_time && p->at[kept - 1].time == p->at[i].time)
			continue;
		p->at[kept++] = p->at[i];
	}
	dropped = p->n - kept;
	p->n = kept;
	return dropped;
}

size_t
history_points_bytes(const struct history_points *p, size_t from, size_t n)
{
	size_t bytes = n * 16;

	for (size_t i = from; i < from + n; i++)
		if (p->at[i].kind == VALUE_STRING)
			bytes += p->at[i].v.s.len;
	return bytes;
}
