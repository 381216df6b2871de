/* answers.c - answers that wait until Redis has what they tell */
#include "answers.h"

#include <stdio.h>
#include <stdlib.h>

#include "bus.h"
#include "mem.h"

struct held {
	struct held *next;
	char peer[BUS_NAME_MAX];
	struct msg_changed m; /* without a reason */
	uint64_t n;
	int64_t until;
};

struct answers {
	answers_fn fn;
	void *arg;
	struct held *first, *last;
	size_t count;
};

struct answers *
answers_new(answers_fn fn, void *arg)
{
	struct answers *a = xcalloc(1, sizeof(*a));

	a->fn = fn;
	a->arg = arg;
	return a;
}

static void
tell_first(struct answers *a)
{
	struct held *h = a->first;

	a->first = h->next;
	if (a->first == NULL)
		a->last = NULL;
	a->count--;
	a->fn(a->arg, h->peer, &h->m);
	free(h);
}

void
answers_free(struct answers **p_a)
{
	struct answers *a = *p_a;

	if (a == NULL)
		return;
	*p_a = NULL;
	while (a->first)
		tell_first(a);
	free(a);
}

void
answers_hold(
    struct answers *a, const char *peer, const struct msg_changed *m, uint64_t n, int64_t now)
{
	struct held *h = xcalloc(1, sizeof(*h));

	if (a->count == ANSWERS_MAX)
		tell_first(a);
	snprintf(h->peer, sizeof(h->peer), "%s", peer);
	h->m = *m;
	h->m.reason = (struct bytes){ 0 };
	h->n = n;
	h->until = now + ANSWERS_HOLD_US;
	*(a->last ? &a->last->next : &a->first) = h;
	a->last = h;
	a->count++;
}

void
answers_release(struct answers *a, uint64_t upto, int64_t now)
{
	while (a->first && (upto >= a->first->n || now >= a->first->until))
		tell_first(a);
}
