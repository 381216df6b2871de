/* test_webhook.c - a webhook without libcurl: the delivery fails, later succeeds or fails by itself, and nothing else does */
#include "channel.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "../unit.h"

#define TURNS_MAX 1000

static bool have_library;
static unsigned ended;
static char said[256];

/* In the place of libc's: the library is there when the test says so. */
void *
dlopen(const char *file, int mode)
{
	static void *(*real)(const char *, int);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "dlopen");
	return have_library ? real(file, mode) : NULL;
}

static void
on_end(void *arg, enum channel_end end, const char *why, int64_t wait_us)
{
	(void)arg;
	ck_assert_int_eq(end, CHANNEL_FAILED);
	ck_assert_int_eq(wait_us, 0);
	snprintf(said, sizeof said, "%s", why);
	ended++;
}

static void
send_one(struct loop *loop, struct webhook *w)
{
	struct receiver to = {
		.name = (char[]){ "hook" }, .url = (char[]){ "http:///nowhere" }, .timeout_ms = 1000
	};
	unsigned before = ended;

	webhook_send(w, &to, "key", bytes_of_str("{}"), on_end, NULL);
	ck_assert_uint_eq(ended, before); /* from the loop, never from there */
	for (unsigned i = 0; ended == before && i < TURNS_MAX; i++)
		loop_turn(loop, 1000);
	ck_assert_uint_eq(ended, before + 1);
}

START_TEST(test_no_library)
{
	struct loop *loop = loop_new();
	struct webhook *w = webhook_new(loop);

	send_one(loop, w);
	ck_assert_ptr_nonnull(strstr(said, "libcurl"));
	send_one(loop, w);
	ck_assert_ptr_nonnull(strstr(said, "libcurl"));
	/* It is installed: the next try finds it, and fails for a reason of its own. */
	have_library = true;
	send_one(loop, w);
	ck_assert_ptr_null(strstr(said, "libcurl"));
	webhook_free(&w);
	loop_free(&loop);
}
END_TEST

START_TEST(test_end_under_way)
{
	struct loop *loop = loop_new();
	struct webhook *w = webhook_new(loop);
	struct receiver to = { .name = (char[]){ "hook" }, .url = (char[]){ "http:///nowhere" } };

	have_library = false;
	webhook_send(w, &to, "key", bytes_of_str("{}"), on_end, NULL);
	webhook_free(&w);
	loop_turn(loop, 0);
	ck_assert_uint_eq(ended, 0);
	loop_free(&loop);
}
END_TEST

UNIT_MAIN("webhook", test_no_library, test_end_under_way)
