/* asker.c - a tool's way to the registry: changes asked for, many under way, each asked again until it is answered */
#include "asker.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"
#include "err.h"
#include "mem.h"
#include "worker.h"

#define CONNECT_US 3000000
#define AGAIN_US 2000000 /* no answer: asked again */
#define BUSY_US 50000	 /* told to come again */
#define TURN_US 20000
#define HELD_US 1000000 /* a turn of so long: this process stood still, and that is no silence */

struct asked {
	struct asked *next;
	uint64_t number;
	struct buf body;
	bool create;
	uint64_t expected;
	asker_fn fn;
	void *arg;
	int64_t at; /* when it is asked (again) */
};

struct asker {
	struct worker w;
	struct bus_link *link;
	const char *actor;
	struct asked *first, *last; /* the first ASKER_WINDOW of them are under way */
	size_t waiting;
	uint64_t numbers;
	int64_t heard_us; /* the last answer, or when there was first something to wait for */
	bool was_up;
	const char *busy; /* what the registry said last, if it was to come again */
	char busy_reason[128];
};

static void
answered(struct asker *a, struct asked *q, const struct msg_changed *m)
{
	struct asked **at = &a->first, *before = NULL;

	for (; *at != q; at = &(*at)->next)
		before = *at;
	*at = q->next;
	if (a->last == q)
		a->last = before;
	a->waiting--;
	q->fn(q->arg, m->code, m->reason, m->version);
	buf_fini(&q->body);
	free(q);
}

static void
on_changed(struct worker *w, struct bus_msg *msg)
{
	struct asker *a = w->state;
	const struct msg_changed *m = &msg->any->changed;
	struct asked *q = a->first;

	for (size_t i = 0; q && i < ASKER_WINDOW && q->number != m->number; i++)
		q = q->next;
	if (q == NULL || q->number != m->number)
		return;
	if (m->code == CHANGE_BUSY) {
		q->at = clock_mono_us() + BUSY_US;
		snprintf(a->busy_reason, sizeof(a->busy_reason), "%.*s", (int)m->reason.len,
		    (const char *)m->reason.data);
		a->busy = a->busy_reason;
		return;
	}
	a->busy = NULL;
	a->heard_us = clock_mono_us();
	answered(a, q, m);
}

static void
on_link(struct worker *w, struct bus_link *link, bool up)
{
	struct asker *a = w->state;

	(void)link;
	a->was_up |= up;
	/* Another registry, perhaps: it has heard of nothing. */
	for (struct asked *q = a->first; up && q; q = q->next)
		q->at = 0;
}

static const struct worker_spec spec = {
	.name = "device",
	.on_link = on_link,
	.on = { [MSG_CHANGED] = on_changed },
};

struct asker *
asker_new(const struct settings *settings, const char *actor)
{
	struct asker *a = xcalloc(1, sizeof(*a));
	char name[BUS_NAME_MAX];

	snprintf(name, sizeof(name), "device-%ld", (long)getpid());
	a->actor = actor;
	(void)worker_tool_start(&a->w, &spec, name, settings);
	a->w.state = a;
	if (bus_connect(a->w.bus, "registry", &a->link) != 0)
		asker_free(&a);
	return a;
}

void
asker_free(struct asker **p_a)
{
	struct asker *a = *p_a;

	if (a == NULL)
		return;
	*p_a = NULL;
	while (a->first) {
		struct asked *q = a->first;

		a->first = q->next;
		buf_fini(&q->body);
		free(q);
	}
	worker_tool_stop(&a->w);
	free(a);
}

void
asker_push(struct asker *a, const struct registry_object *o, bool create, uint64_t expected,
    asker_fn fn, void *arg)
{
	struct asked *q = xcalloc(1, sizeof(*q));

	q->number = ++a->numbers;
	q->create = create;
	q->expected = expected;
	q->fn = fn;
	q->arg = arg;
	registry_encode(o, &q->body);
	*(a->last ? &a->last->next : &a->first) = q;
	a->last = q;
	if (a->waiting++ == 0)
		a->heard_us = clock_mono_us();
}

size_t
asker_waiting(const struct asker *a)
{
	return a->waiting;
}

static void
ask(struct asker *a, int64_t now)
{
	struct asked *q = a->first;

	for (size_t i = 0; q && i < ASKER_WINDOW; i++, q = q->next) {
		struct msg_change m = {
			.number = q->number,
			.actor = bytes_of_str(a->actor),
			.body = buf_bytes(&q->body),
			.expected = q->expected,
			.create = q->create,
		};

		if (now < q->at)
			continue;
		if (bus_send(a->link, NULL, MSG_CHANGE, &m) != 0)
			return;
		q->at = now + AGAIN_US;
	}
	bus_flush(a->w.bus);
}

int
asker_run(struct asker *a, size_t left, const char **ret_why)
{
	int64_t before = clock_mono_us();

	while (a->waiting > left) {
		int64_t now = clock_mono_us();

		if (now - before > HELD_US)
			a->heard_us += now - before;
		before = now;
		if (bus_link_is_up(a->link))
			ask(a, now);
		if (!a->was_up && now - a->heard_us > CONNECT_US) {
			*ret_why = "no Roost runs on this data_dir (started elsewhere? name its "
				   "data_dir with "
				   "--set data_dir=...)";
			return ERR_NOT_FOUND;
		}
		if (now - a->heard_us > ASKER_SILENCE_US) {
			*ret_why = a->busy
				       ? a->busy
				       : "the registry does not answer (roost status tells more)";
			return ERR_TIMEOUT;
		}
		loop_turn(a->w.loop, TURN_US);
	}
	return 0;
}
