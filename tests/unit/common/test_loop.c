/* test_loop.c - timers fire in order and can be cleared anywhere; descriptors may go away inside callbacks */
#include "loop.h"

#include <sys/epoll.h>
#include <unistd.h>

#include "../unit.h"
#include "mem.h"

#define TIMERS 200

static int64_t fired[TIMERS]; /* when each that fired was due */
static int fired_count;

struct tagged {
	struct loop_timer timer;
	int tag;
};

static void
on_timer(void *arg)
{
	struct tagged *t = arg;

	fired[fired_count++] = t->timer.at_us;
}

START_TEST(test_timers)
{
	struct loop *loop = loop_new();
	struct tagged timers[TIMERS] = { 0 };
	int64_t deadline;

	fired_count = 0;
	for (int i = 0; i < TIMERS; i++) {
		timers[i].tag = (i * 37) % TIMERS;
		loop_timer_set(loop, &timers[i].timer, timers[i].tag * 20, on_timer, &timers[i]);
	}
	for (int i = 0; i < TIMERS; i++) {
		if (timers[i].tag % 3 == 0)
			loop_timer_clear(loop, &timers[i].timer);
	}
	deadline = loop_now_us(loop) + 5000000;
	while (fired_count < TIMERS - (TIMERS + 2) / 3 && loop_now_us(loop) < deadline)
		loop_turn(loop, 10000);
	ck_assert_int_eq(fired_count, TIMERS - (TIMERS + 2) / 3);
	for (int i = 1; i < fired_count; i++)
		ck_assert_int_le(fired[i - 1], fired[i]);
	loop_free(&loop);
}
END_TEST

START_TEST(test_a_timer_at_a_moment)
{
	struct loop *loop = loop_new();
	struct tagged t = { .tag = 0 };
	int64_t at = loop_now_us(loop) + 3000, deadline = at + 5000000;

	fired_count = 0;
	ck_assert(!loop_timer_is_at(&t.timer, 0));
	loop_timer_at(loop, &t.timer, at + 60000000, on_timer, &t);
	loop_timer_at(loop, &t.timer, at, on_timer, &t);
	ck_assert(loop_timer_is_at(&t.timer, at));
	ck_assert(!loop_timer_is_at(&t.timer, at + 60000000));
	while (fired_count == 0 && loop_now_us(loop) < deadline)
		loop_turn(loop, 10000);
	ck_assert_int_eq(fired_count, 1);
	ck_assert_int_eq(fired[0], at);
	ck_assert_int_ge(loop_now_us(loop), at);
	ck_assert(!loop_timer_is_at(&t.timer, at));
	loop_free(&loop);
}
END_TEST

struct pipes {
	struct loop *loop;
	int fds[2];
	struct loop_fd *lfd;
	int calls;
};

static void
on_readable(void *arg, int fd, uint32_t events)
{
	struct pipes *p = arg;

	ck_assert(fd == p->fds[0] && (events & EPOLLIN));
	p->calls++;
	loop_fd_del(p->loop, &p->lfd);
}

START_TEST(test_descriptor_deleted_in_its_callback)
{
	struct pipes p = { .loop = loop_new() };

	ck_assert_int_eq(pipe(p.fds), 0);
	p.lfd = loop_fd_add(p.loop, p.fds[0], EPOLLIN, on_readable, &p);
	ck_assert_int_eq(write(p.fds[1], "x", 1), 1);
	for (int i = 0; i < 3; i++)
		loop_turn(p.loop, 0);
	ck_assert_int_eq(p.calls, 1);
	close(p.fds[0]);
	close(p.fds[1]);
	loop_free(&p.loop);
}
END_TEST

static void
on_again(void *arg)
{
	struct pipes *p = arg;
	static struct loop_timer again;

	if (++p->calls < 3)
		loop_timer_set(p->loop, &again, 0, on_again, p);
	else
		loop_stop(p->loop);
}

START_TEST(test_timer_that_sets_itself_does_not_starve)
{
	struct pipes p = { .loop = loop_new() };
	struct loop_timer t = { 0 };

	loop_timer_set(p.loop, &t, 0, on_again, &p);
	loop_run(p.loop);
	ck_assert_int_eq(p.calls, 3);
	loop_free(&p.loop);
}
END_TEST

UNIT_MAIN("loop", test_timers, test_a_timer_at_a_moment, test_descriptor_deleted_in_its_callback,
    test_timer_that_sets_itself_does_not_starve)
