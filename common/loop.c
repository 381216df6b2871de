/* loop.c - one thread: descriptors, bus sockets, timers
 *
 * A ZMQ_FD is edge-triggered: any call on its socket, a send too, may take the event from it without a word (libzmq#3641).
 * So a source is drained, until its socket says that nothing is left, when its descriptor fired and before the wait that
 * follows any other use of the socket; the others cost nothing. */
#include "loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "clock.h"
#include "err.h"
#include "mem.h"
#include "metrics.h"

#define EVENTS_MAX 64
#define TURN_FNS_MAX 8
#define WAIT_MAX_US 1000000

/* What an epoll event belongs to; the first member of both. */
enum watched { WATCHED_FD, WATCHED_SOURCE };

struct loop_fd {
	enum watched what;
	int fd;
	loop_fd_fn fn; /* NULL: deleted, freed at the end of the turn */
	void *arg;
	struct loop_fd *next_dead;
};

struct loop_source {
	enum watched what;
	int fd;
	bool due;	     /* to be drained before the next wait that blocks */
	loop_drain_fn drain; /* NULL: deleted */
	void *arg;
	struct loop_source *next;
};

struct turn_fn {
	loop_fn fn;
	void *arg;
};

struct loop {
	int epoll_fd;
	int64_t now_us;
	bool stopped;
	bool woken;
	struct loop_fd *dead;
	struct loop_source *sources;
	struct turn_fn turn_fns[TURN_FNS_MAX];
	size_t turn_fn_count;
	struct turn_fn after_fns[TURN_FNS_MAX];
	size_t after_fn_count;
	struct loop_timer **heap;
	uint32_t heap_len;
	uint32_t heap_cap;
};

struct loop *
loop_new(void)
{
	struct loop *loop = xcalloc(1, sizeof *loop);

	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	ASSERT(loop->epoll_fd >= 0);
	loop->now_us = clock_mono_us();
	return loop;
}

static void
bury(struct loop *loop)
{
	while (loop->dead) {
		struct loop_fd *lfd = loop->dead;

		loop->dead = lfd->next_dead;
		free(lfd);
	}
	for (struct loop_source **at = &loop->sources; *at;) {
		struct loop_source *src = *at;

		if (src->drain) {
			at = &src->next;
			continue;
		}
		*at = src->next;
		free(src);
	}
}

void
loop_free(struct loop **p_loop)
{
	struct loop *loop = *p_loop;

	if (!loop)
		return;
	*p_loop = NULL;
	for (struct loop_source *src = loop->sources; src; src = src->next)
		src->drain = NULL;
	bury(loop);
	close(loop->epoll_fd);
	free(loop->heap);
	free(loop);
}

struct loop_fd *
loop_fd_add(struct loop *loop, int fd, uint32_t events, loop_fd_fn fn, void *arg)
{
	struct loop_fd *lfd = xcalloc(1, sizeof *lfd);
	struct epoll_event ev = { .events = events, .data = { .ptr = lfd } };
	int rc;

	*lfd = (struct loop_fd){ .what = WATCHED_FD, .fd = fd, .fn = fn, .arg = arg };
	rc = epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev);
	ASSERT(rc == 0);
	return lfd;
}

void
loop_fd_mod(struct loop *loop, struct loop_fd *lfd, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data = { .ptr = lfd } };
	int rc = epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, lfd->fd, &ev);

	ASSERT(rc == 0);
}

void
loop_fd_del(struct loop *loop, struct loop_fd **p_lfd)
{
	struct loop_fd *lfd = *p_lfd;

	if (!lfd)
		return;
	*p_lfd = NULL;
	/* Fails only if the owner closed the descriptor first, which took it out of the set. */
	(void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, lfd->fd, NULL);
	lfd->fn = NULL;
	lfd->next_dead = loop->dead;
	loop->dead = lfd;
}

struct loop_source *
loop_source_add(struct loop *loop, int zmq_fd, loop_drain_fn drain, void *arg)
{
	struct loop_source *src = xcalloc(1, sizeof *src);
	struct epoll_event ev = { .events = EPOLLIN, .data = { .ptr = src } };
	int rc;

	*src = (struct loop_source){ .what = WATCHED_SOURCE,
		.fd = zmq_fd,
		.due = true,
		.drain = drain,
		.arg = arg,
		.next = loop->sources };
	loop->sources = src;
	rc = epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, zmq_fd, &ev);
	ASSERT(rc == 0);
	return src;
}

void
loop_source_used(struct loop_source *src)
{
	if (src)
		src->due = true;
}

void
loop_source_del(struct loop *loop, struct loop_source **p_src)
{
	struct loop_source *src = *p_src;

	if (!src)
		return;
	*p_src = NULL;
	(void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, src->fd, NULL);
	src->drain = NULL;
}

/* Timers: a binary heap by time; a timer knows its slot (position + 1). */

static void
heap_put(struct loop *loop, uint32_t at, struct loop_timer *t)
{
	loop->heap[at] = t;
	t->slot = at + 1;
}

static void
heap_up(struct loop *loop, uint32_t at, struct loop_timer *t)
{
	while (at > 0) {
		uint32_t parent = (at - 1) / 2;

		if (loop->heap[parent]->at_us <= t->at_us)
			break;
		heap_put(loop, at, loop->heap[parent]);
		at = parent;
	}
	heap_put(loop, at, t);
}

static void
heap_down(struct loop *loop, uint32_t at, struct loop_timer *t)
{
	for (;;) {
		uint32_t child = 2 * at + 1;

		if (child >= loop->heap_len)
			break;
		if (child + 1 < loop->heap_len &&
		    loop->heap[child + 1]->at_us < loop->heap[child]->at_us)
			child++;
		if (loop->heap[child]->at_us >= t->at_us)
			break;
		heap_put(loop, at, loop->heap[child]);
		at = child;
	}
	heap_put(loop, at, t);
}

void
loop_timer_clear(struct loop *loop, struct loop_timer *t)
{
	uint32_t at = t->slot - 1;
	struct loop_timer *last;

	if (t->slot == 0)
		return;
	t->slot = 0;
	last = loop->heap[--loop->heap_len];
	if (last == t)
		return;
	if (at > 0 && loop->heap[(at - 1) / 2]->at_us > last->at_us)
		heap_up(loop, at, last);
	else
		heap_down(loop, at, last);
}

void
loop_timer_set(struct loop *loop, struct loop_timer *t, int64_t after_us, loop_fn fn, void *arg)
{
	loop_timer_at(loop, t, clock_mono_us() + after_us, fn, arg);
}

void
loop_timer_at(struct loop *loop, struct loop_timer *t, int64_t at_us, loop_fn fn, void *arg)
{
	loop_timer_clear(loop, t);
	t->fn = fn;
	t->arg = arg;
	t->at_us = at_us;
	if (loop->heap_len == loop->heap_cap) {
		loop->heap_cap = loop->heap_cap ? 2 * loop->heap_cap : 16;
		loop->heap = xrealloc(loop->heap, loop->heap_cap * sizeof loop->heap[0]);
	}
	heap_up(loop, loop->heap_len++, t);
}

static void
run_timers(struct loop *loop)
{
	/* Timers that callbacks set without delay wait for the next turn, or one could starve everything else. */
	int64_t until = loop->now_us;

	while (loop->heap_len && loop->heap[0]->at_us <= until) {
		struct loop_timer *t = loop->heap[0];

		loop_timer_clear(loop, t);
		t->fn(t->arg);
	}
}

void
loop_on_turn(struct loop *loop, loop_fn fn, void *arg)
{
	ASSERT(loop->turn_fn_count < TURN_FNS_MAX);
	loop->turn_fns[loop->turn_fn_count++] = (struct turn_fn){ fn, arg };
}

void
loop_after_turn(struct loop *loop, loop_fn fn, void *arg)
{
	ASSERT(loop->after_fn_count < TURN_FNS_MAX);
	loop->after_fns[loop->after_fn_count++] = (struct turn_fn){ fn, arg };
}

void
loop_after_turn_del(struct loop *loop, const void *arg)
{
	for (size_t i = loop->after_fn_count; i-- > 0;)
		if (loop->after_fns[i].arg == arg)
			loop->after_fns[i] = loop->after_fns[--loop->after_fn_count];
}

int64_t
loop_now_us(const struct loop *loop)
{
	return loop->now_us;
}

void
loop_wake(struct loop *loop)
{
	loop->woken = true;
}

void
loop_stop(struct loop *loop)
{
	loop->stopped = true;
}

/* True if anything was handled, or is left. */
static bool
drain_sources(struct loop *loop)
{
	bool any = false;

	for (struct loop_source *src = loop->sources; src; src = src->next) {
		int n;

		if (!src->drain || !src->due)
			continue;
		src->due = false;
		n = src->drain(src->arg, LOOP_BATCH);
		if (n >= LOOP_BATCH)
			src->due = true;
		any |= n > 0;
	}
	return any;
}

static int
wait_ms(const struct loop *loop, int64_t wait_us)
{
	if (loop->heap_len) {
		int64_t left = loop->heap[0]->at_us - clock_mono_us();

		if (left < wait_us)
			wait_us = left > 0 ? left : 0;
	}
	return (int)((wait_us + 999) / 1000);
}

void
loop_turn(struct loop *loop, int64_t wait_us)
{
	struct epoll_event events[EVENTS_MAX];
	int n;

	loop->now_us = clock_mono_us();
	if (drain_sources(loop))
		loop->woken = true;
	n = epoll_wait(
	    loop->epoll_fd, events, EVENTS_MAX, loop->woken ? 0 : wait_ms(loop, wait_us));
	loop->woken = false;
	ASSERT(n >= 0 || errno == EINTR);
	loop->now_us = clock_mono_us();
	for (int i = 0; i < n; i++) {
		const enum watched *what = events[i].data.ptr;

		if (*what == WATCHED_SOURCE) {
			((struct loop_source *)events[i].data.ptr)->due = true;
		} else {
			struct loop_fd *lfd = events[i].data.ptr;

			if (lfd->fn)
				lfd->fn(lfd->arg, lfd->fd, events[i].events);
		}
	}
	if (n > 0)
		(void)drain_sources(
		    loop); /* what is left, and what this made due, is first in the next turn */
	run_timers(loop);
	for (size_t i = 0; i < loop->turn_fn_count; i++)
		loop->turn_fns[i].fn(loop->turn_fns[i].arg);
	for (size_t i = 0; i < loop->after_fn_count; i++)
		loop->after_fns[i].fn(loop->after_fns[i].arg);
	bury(loop);
	metric_add(M_LOOP_TURNS, 1);
}

void
loop_run(struct loop *loop)
{
	loop->stopped = false;
	while (!loop->stopped)
		loop_turn(loop, WAIT_MAX_US);
}
