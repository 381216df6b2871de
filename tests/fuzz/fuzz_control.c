/* fuzz_control.c - the control channels: JSON to the supervisor's socket, its answers to the command line, a child's packets
 *
 * First byte: which. What the supervisor is asked it answers with one line of JSON each; what a child says makes it note
 * something, whatever it is.
 *
 * fuzz: -max_len=2048 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "child.h"
#include "control.h"
#include "err.h"
#include "mem.h"
#include "status.h"
#include "support.h"

#define TURNS 4

static json_t *
on_command(void *arg, const char *command)
{
	(void)arg;
	if (strcmp(command, "status") != 0)
		return NULL;
	return json_pack("{s:b}", "ok", 1);
}

/* A line each for every line that was sent, and nothing else. */
static void
check_answers(struct loop *loop, int fd, size_t lines, bool closed)
{
	static char text[1 << 18];
	size_t n = 0, found = 0;
	ssize_t got;

	/* What did not fit into the socket follows when there is room. */
	for (int idle = 0; idle < TURNS; idle++) {
		while (n < sizeof text &&
		       (got = recv(fd, text + n, sizeof text - n, MSG_DONTWAIT)) > 0) {
			n += (size_t)got;
			idle = 0;
		}
		loop_turn(loop, 0);
	}
	for (char *at = text, *end; (end = memchr(at, '\n', n - (size_t)(at - text)));
	     at = end + 1) {
		json_t *j = json_loadb(at, (size_t)(end - at), 0, NULL);

		ASSERT(json_is_object(j) && json_is_boolean(json_object_get(j, "ok")));
		json_decref(j);
		found++;
	}
	ASSERT(closed ? found <= lines : found == lines);
}

static void
ask(struct input *in)
{
	static struct control *control;
	static struct loop *loop;
	static int fd = -1;
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct buf err = { 0 };
	size_t lines = 0, longest = 0, len = 0;

	if (!control) {
		loop = loop_new();
		ASSERT(control_open(
			   loop, fuzz_path("control.sock"), on_command, NULL, &control, &err) == 0);
	}
	snprintf(sun.sun_path, sizeof sun.sun_path, "%s", fuzz_path("control.sock"));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ASSERT(connect(fd, (struct sockaddr *)&sun, sizeof sun) == 0);
	while (!input_is_over(in)) {
		unsigned n = input_u8(in);
		struct bytes b = input_bytes(in, n);

		for (size_t i = 0; i < b.len; i++) {
			lines += b.data[i] == '\n';
			len = b.data[i] == '\n' ? 0 : len + 1;
			longest = len > longest ? len : longest;
		}
		if (send(fd, b.data, b.len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			break;
		for (int i = 0; i < TURNS; i++)
			loop_turn(loop, 0);
	}
	check_answers(loop, fd, lines, longest >= CONTROL_LINE_MAX - 1);
	close(fd);
	for (int i = 0; i < TURNS; i++)
		loop_turn(loop, 0);
}

/* The table survives any object. */
static void
show(struct bytes text)
{
	json_t *status = json_loadb((const char *)text.data, text.len, 0, NULL);
	struct buf out = { 0 };

	if (status)
		status_table(status, &out);
	json_decref(status);
	buf_fini(&out);
}

static void
on_change(void *arg)
{
	(void)arg;
}

static void
on_lag(void *arg, const struct msg_lag *lag)
{
	(void)arg;
	ASSERT(lag->group.len <= 64 && lag->shard < 64);
}

/* Packets of any bytes, and such as a child may send. */
static void
gossip(struct input *in)
{
	static struct settings *settings;
	static const struct plan_child plan = { .name = "limiter-0",
		.service = "limiter",
		.program = "roost-limiter",
		.kind = PLAN_WORKER };
	struct loop *loop = loop_new();
	struct child_env env = { .loop = loop,
		.on_change = on_change,
		.on_lag = on_lag,
		.settings_fd = -1,
		.null_fd = -1 };
	struct buf packet = { 0 }, list = { 0 };
	struct child c;

	if (!settings)
		settings = settings_new();
	env.settings = settings;
	child_init(&c, &plan, &env);
	c.state = (enum child_state)(input_u8(in) % 3);
	while (!input_is_over(in)) {
		unsigned what = input_u8(in);
		struct bytes b;

		buf_clear(&packet);
		buf_clear(&list);
		if (what % 4 == 0) {
			b = input_block(in);
			buf_add(&packet, b.data, b.len);
		} else if (what % 4 == 1) {
			for (unsigned n = what >> 2; n > 0; n--)
				u64s_add(&list, n % 3 ? input_u8(in) : input_u64(in));
			codec_encode(MSG_HEARTBEAT,
			    &(struct msg_heartbeat){ .metrics = buf_bytes(&list) }, &packet);
		} else if (what % 4 == 2) {
			codec_encode(
			    MSG_BUSY, &(struct msg_busy){ .ms = input_u16(in) * 9u }, &packet);
		} else {
			codec_encode(MSG_LAG,
			    &(struct msg_lag){ .group = input_bytes(in, what >> 2),
				.shard = what >> 2,
				.bytes = input_u64(in) },
			    &packet);
		}
		child_on_packet(&c, buf_bytes(&packet));
	}
	child_fini(&c);
	buf_fini(&packet);
	buf_fini(&list);
	loop_free(&loop);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = input_of(data, size);
	unsigned which = input_u8(&in);

	fuzz_quiet();
	if (which % 3 == 0)
		ask(&in);
	else if (which % 3 == 1)
		show(input_rest(&in));
	else
		gossip(&in);
	return 0;
}
