/* test_device_state.c - which addresses of Redis are taken */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "device_state.h"
#include "err.h"
#include "loop.h"
#include "mem.h"
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

UNIT_MAIN("device_state", urls)
