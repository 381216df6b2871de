/* loop.h - one thread: descriptors, bus sockets, timers, signals
 *
 * A turn: wait; descriptors; at most LOOP_BATCH messages of each bus socket that may have some; due timers; then the turn
 * functions (flush what was gathered). Callbacks run on the loop's thread only and never block. */
#ifndef ROOST_LOOP_H
#define ROOST_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#define LOOP_BATCH 64

struct loop;
struct loop_fd;

typedef void (*loop_fd_fn)(
    void *arg, int fd, uint32_t events); /* events: EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP */
typedef void (*loop_fn)(void *arg);
/* Handles at most max messages and returns how many; fewer than max only if no more are waiting. */
typedef int (*loop_drain_fn)(void *arg, int max);

struct loop *loop_new(void);
void loop_free(struct loop **loop);

/* Level-triggered. The descriptor stays the caller's. */
struct loop_fd *loop_fd_add(struct loop *loop, int fd, uint32_t events, loop_fd_fn fn, void *arg);
void loop_fd_mod(struct loop *loop, struct loop_fd *lfd, uint32_t events);
void loop_fd_del(struct loop *loop, struct loop_fd **lfd); /* safe inside any callback */

/* Embedded in its owner; zeroed before first use. One-shot: set it again from fn to repeat. */
struct loop_timer {
	loop_fn fn;
	void *arg;
	int64_t at_us;
	uint32_t slot; /* heap position + 1; 0: not set */
};

void loop_timer_set(
    struct loop *loop, struct loop_timer *t, int64_t after_us, loop_fn fn, void *arg);
/* The same at a moment of the clock that loop_now_us() reads. */
void loop_timer_at(struct loop *loop, struct loop_timer *t, int64_t at_us, loop_fn fn, void *arg);
static inline bool
loop_timer_is_at(const struct loop_timer *t, int64_t at_us)
{
	return t->slot != 0 && t->at_us == at_us;
}
void loop_timer_clear(struct loop *loop, struct loop_timer *t);

/* fn runs at the end of each turn. */
void loop_on_turn(struct loop *loop, loop_fn fn, void *arg);
/* fn runs behind all of those: what they gathered goes out. */
void loop_after_turn(struct loop *loop, loop_fn fn, void *arg);
void loop_after_turn_del(struct loop *loop, const void *arg);
/* zmq_fd: a ZMQ_FD. For bus.c. */
struct loop_source;
struct loop_source *loop_source_add(struct loop *loop, int zmq_fd, loop_drain_fn drain, void *arg);
void loop_source_del(struct loop *loop, struct loop_source **src);
/* Its socket was used otherwise than by drain: that may have swallowed what its descriptor had to say. */
void loop_source_used(struct loop_source *src);

/* Monotonic time, read once a turn. */
int64_t loop_now_us(const struct loop *loop);
/* After this the next wait does not block. */
void loop_wake(struct loop *loop);

void loop_run(struct loop *loop); /* until loop_stop */
void loop_stop(struct loop *loop);
/* One turn that waits at most wait_us; for tools and tests. */
void loop_turn(struct loop *loop, int64_t wait_us);

#endif
