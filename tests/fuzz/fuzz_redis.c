/* fuzz_redis.c - a Redis that answers anything, to device_state and to the supervisor's probe
 *
 * This target is the server behind a unix socket. Steps: what it sends next (any bytes, or replies of the right shape with
 * any values), commands that are asked, a hang-up. First byte: who asks.
 *
 * fuzz: -max_len=1024 -malloc_limit_mb=64 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "device_state.h"
#include "err.h"
#include "private_redis.h"
#include "support.h"

#define SHARDS 2
#define TURNS 3

static struct {
	struct loop *loop;
	struct device_state *ds;
	int listen_fd;
	int fd; /* of the connection; -1 */
	bool up;
	bool committing;
	unsigned pongs;
} x;

static void
on_up(void *arg, const uint64_t *cursors)
{
	(void)arg;
	ASSERT(!x.up && cursors);
	x.up = true;
	x.committing = false;
}

static void
on_down(void *arg)
{
	(void)arg;
	ASSERT(x.up);
	x.up = false;
	x.committing = false;
}

static void
on_committed(void *arg, bool lost)
{
	(void)arg;
	(void)lost;
	ASSERT(x.up && x.committing);
	x.committing = false;
}

static void
on_pong(void *arg, bool ready)
{
	(void)arg;
	(void)ready;
	x.pongs++;
}

static void
listen_once(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	mkdir(fuzz_path("run"), 0700);
	snprintf(sun.sun_path, sizeof sun.sun_path, "%s", fuzz_path("run/redis.sock"));
	x.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ASSERT(x.listen_fd >= 0);
	ASSERT(bind(x.listen_fd, (struct sockaddr *)&sun, sizeof sun) == 0);
	ASSERT(listen(x.listen_fd, 16) == 0);
}

static void
turns(void)
{
	for (int i = 0; i < TURNS; i++)
		loop_turn(x.loop, 0);
}

/* Takes the connection that waits, and what was asked. */
static void
serve(void)
{
	static char sink[65536];

	turns();
	if (x.fd < 0)
		x.fd = accept4(x.listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	while (x.fd >= 0 && recv(x.fd, sink, sizeof sink, MSG_DONTWAIT) > 0) {
	}
}

static void
hang_up(void)
{
	if (x.fd >= 0)
		close(x.fd);
	x.fd = -1;
	turns();
}

static void
say(struct bytes b)
{
	serve();
	if (x.fd >= 0 && send(x.fd, b.data, b.len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
	    errno != EAGAIN)
		hang_up();
	turns();
}

static void
ask(unsigned what)
{
	struct device_state_metric m = {
		.name = bytes_of_str("t"), .value = bytes_of_str("1"), .time = what
	};
	uint64_t cursors[SHARDS] = { what, 2 };

	if (!x.up)
		return;
	if (what % 3 == 0) {
		device_state_latest(x.ds, bytes_of_str("gh-1"), &m, 1);
	} else if (what % 3 == 1) {
		device_state_alert(x.ds, &(struct msg_alert){ .device = bytes_of_str("gh-1"),
					     .rule = bytes_of_str("r"),
					     .state = what % 4 });
	} else if (!x.committing) {
		x.committing = true;
		device_state_commit(x.ds, cursors);
	}
	turns();
}

/* What a good one says: the script's sha, the cursors, numbers. */
static void
say_nearly(struct input *in)
{
	static const char *const replies[] = {
		"$40\r\n0123456789012345678901234567890123456789\r\n", "*0\r\n",
		"*4\r\n$1\r\n0\r\n$2\r\n17\r\n$1\r\n1\r\n$1\r\n5\r\n", ":0\r\n", ":2\r\n",
		"$-1\r\n", "+OK\r\n", "-ERR no\r\n", "*2\r\n:1\r\n*1\r\n$-1\r\n", "*-1\r\n",
		"+PONG\r\n", "-LOADING\r\n", "*4\r\n$1\r\n9\r\n$2\r\n17\r\n$1\r\nx\r\n$0\r\n\r\n",
		"$39\r\n", "*2147483647\r\n", "$536870912\r\n"
	};
	struct buf b = { 0 };

	for (unsigned n = input_u8(in) % 5; n > 0; n--)
		buf_add_str(&b, replies[input_u8(in) % 16]);
	say(buf_bytes(&b));
	buf_fini(&b);
}

static void
run(struct input *in)
{
	while (!input_is_over(in)) {
		unsigned what = input_u8(in);

		if (what % 8 < 3)
			say_nearly(in);
		else if (what % 8 == 3)
			say(input_bytes(in, input_u8(in)));
		else if (what % 8 < 7)
			ask(what >> 3);
		else
			hang_up();
		serve();
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct device_state_events events = { on_up, on_down, on_committed };
	struct input in = input_of(data, size);
	struct redis_probe probe = { 0 };

	if (!x.listen_fd) {
		fuzz_quiet();
		listen_once();
	}
	x.loop = loop_new();
	x.fd = -1;
	x.up = x.committing = false;
	if (input_u8(&in) % 4) {
		ASSERT(device_state_new(
			   x.loop, "", fuzz_dir(), "fuzz", SHARDS, &events, NULL, &x.ds) == 0);
		/* Most of the time it comes up. */
		if (input_u8(&in) % 4)
			say(bytes_of_str(
			    "$40\r\n0123456789012345678901234567890123456789\r\n*0\r\n"));
		run(&in);
		device_state_free(&x.ds);
	} else {
		redis_probe_start(&probe, x.loop, fuzz_dir(), on_pong, NULL);
		run(&in);
		redis_probe_stop(&probe);
	}
	hang_up();
	loop_free(&x.loop);
	/* Nothing waits for the next input. */
	while ((x.fd = accept4(x.listen_fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		close(x.fd);
	return 0;
}
