/* test_device_state.c - which addresses of Redis are taken; cursors in a redis-server of the test's own */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "device_state.h"
#include "err.h"
#include "loop.h"
#include "mem.h"
#include "support_redis.h"
#include "../unit.h"

static const struct device_state_events events;

static int
try_url(struct loop *loop, const char *url)
{
	struct device_state *ds = NULL;
	int err = device_state_new(loop, url, "/nowhere", "test", 1, &events, NULL, &ds);

	ck_assert_int_eq(err == 0, ds != NULL);
	device_state_free(&ds);
	return err;
}

START_TEST(urls)
{
	static const struct {
		const char *url;
		int err;
	} cases[] = {
		{ "", 0 },
		{ "unix:///run/redis.sock", 0 },
		{ "unix://", ERR_CONFIG },
		{ "redis://cache", 0 },
		{ "redis://cache/", 0 },
		{ "redis://cache:6380", 0 },
		{ "redis://cache:6380/0", 0 },
		{ "redis://::1:6379", 0 },
		{ "redis://cache:1", 0 },
		{ "redis://cache:65535", 0 },
		{ "redis://cache:0", ERR_CONFIG },
		{ "redis://cache:-1", ERR_CONFIG },
		{ "redis://cache:65536", ERR_CONFIG },
		{ "redis://cache:", ERR_CONFIG },
		{ "redis://cache:63x79", ERR_CONFIG },
		{ "redis://cache:99999999999999999999", ERR_CONFIG },
		{ "redis://", ERR_CONFIG },
		{ "redis://:6379", ERR_CONFIG },
		{ "http://cache", ERR_CONFIG },
	};
	struct loop *loop = loop_new();
	char text[300] = "redis://";

	for (size_t i = 0; i < COUNT_OF(cases); i++)
		ck_assert_msg(try_url(loop, cases[i].url) == cases[i].err, "%s", cases[i].url);
	/* A name that does not fit is refused, not cut: the cut one may be another machine. */
	memset(text + 8, 'a', 280);
	ck_assert_int_eq(try_url(loop, text), ERR_CONFIG);
	loop_free(&loop);
}
END_TEST

struct seen {
	int ups, committed, lost;
	uint64_t cursors[2];
};

static void
on_up(void *arg, const uint64_t *cursors)
{
	struct seen *s = arg;

	s->ups++;
	memcpy(s->cursors, cursors, sizeof(s->cursors));
}

static void
on_down(void *arg)
{
	(void)arg;
}

static void
on_committed(void *arg, bool lost)
{
	struct seen *s = arg;

	s->committed++;
	s->lost += lost;
}

static const struct device_state_events watched = { on_up, on_down, on_committed };

static void
turn_until(struct loop *loop, const int *count, int value)
{
	int64_t end = clock_mono_us() + 20000000;

	while (*count < value) {
		ck_assert_msg(clock_mono_us() < end, "no answer from Redis");
		loop_turn(loop, 10000);
	}
}

/* Cursors that Redis has lost are told, and stay lost for whoever comes next, until new ones are given from the beginning. */
START_TEST(cursors_that_are_lost)
{
	struct test_redis redis;
	struct loop *loop = loop_new();
	struct device_state *ds = NULL;
	struct seen s = { 0 };
	static const uint64_t at[][2] = { { 5, 6 }, { 7, 8 }, { 1, 2 } };

	redis_start(&redis, "everysec");
	ck_assert_int_eq(device_state_new(loop, redis.url, "", "test", 2, &watched, &s, &ds), 0);
	turn_until(loop, &s.ups, 1);
	ck_assert_uint_eq(s.cursors[0] + s.cursors[1], 0);
	device_state_commit(ds, at[0]);
	turn_until(loop, &s.committed, 1);
	ck_assert_int_eq(s.lost, 0);
	REDIS(&redis, "FLUSHALL");
	device_state_commit(ds, at[1]);
	turn_until(loop, &s.committed, 2);
	ck_assert_int_eq(s.lost, 1);
	ck_assert_int_eq(REDIS(&redis, "EXISTS", "roost:cursor:test"), 0);
	device_state_commit(ds, at[2]);
	turn_until(loop, &s.committed, 3);
	ck_assert_int_eq(s.lost, 1);
	device_state_free(&ds);

	ck_assert_int_eq(device_state_new(loop, redis.url, "", "test", 2, &watched, &s, &ds), 0);
	turn_until(loop, &s.ups, 2);
	ck_assert_uint_eq(s.cursors[0], 1);
	ck_assert_uint_eq(s.cursors[1], 2);
	REDIS(&redis, "HDEL", "roost:cursor:test", "1");
	device_state_commit(ds, at[1]);
	turn_until(loop, &s.committed, 4);
	ck_assert_int_eq(s.lost, 2);
	ck_assert_int_eq(REDIS(&redis, "HLEN", "roost:cursor:test"), 1);
	device_state_free(&ds);
	loop_free(&loop);
	redis_remove(&redis);
}
END_TEST

UNIT_MAIN("device_state", urls, cursors_that_are_lost)
