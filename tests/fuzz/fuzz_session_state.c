/* fuzz_session_state.c - whatever values Redis answers to units, claims, loads and lists
 *
 * The target is its own Redis: it answers the handshake as it should be, and every other request with a well-formed reply
 * whose shape and values the input decides. */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "err.h"
#include "log.h"
#include "session_state.h"

#define TURNS_MAX 64
#define DEPTH_MAX 3
#define LIFE 42

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[] = "/tmp/roost-fuzz-XXXXXX";
static char path[64];
static char url[80];
static int listener = -1;
static bool is_down;
static bool is_up;
static size_t told;

static void
on_up(void *arg, bool lost)
{
	(void)arg;
	(void)lost;
	is_up = true;
}

static void
on_event(void *arg)
{
	(void)arg;
	is_down = true;
}

static void
touch(struct bytes b)
{
	for (size_t i = 0; i < b.len; i++)
		told += b.data[i];
}

static void
on_refused(void *arg, uint64_t token, const struct session_state_refusal *r)
{
	(void)arg;
	ASSERT(token == 1 && (r->n == 5 || r->n == 0) && bytes_equal_str(r->id, "x"));
}

static void
on_done(void *arg, uint64_t token, int err, uint64_t seq)
{
	(void)arg;
	(void)err;
	(void)seq;
	ASSERT(token == 1);
}

static void
on_claimed(void *arg, uint64_t token, int err, const struct session_state_claim *claim)
{
	(void)arg;
	ASSERT(token == 2);
	if (err == 0)
		touch(claim->owner);
}

static void
on_item(void *arg, uint64_t token, const struct session_state_item *item)
{
	(void)arg;
	ASSERT(token >= 3 && item->kind < SESSION_STATE_KINDS);
	touch(item->key);
	if (item->message != NULL) {
		touch(item->message->topic);
		touch(item->message->payload);
	}
	if (item->delivery != NULL)
		ASSERT(item->delivery->qos <= 2);
}

static void
on_end(void *arg, uint64_t token, int err)
{
	(void)arg;
	(void)err;
	ASSERT(token >= 3);
}

static const struct session_state_events events = { on_up, on_event, on_event, on_event, on_refused,
	on_done, on_claimed, on_item, on_end };

static void
clean_up(void)
{
	unlink(path);
	rmdir(dir);
}

static void
set_up(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	signal(SIGPIPE, SIG_IGN);
	log_init("fuzz", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	ASSERT(mkdtemp(dir) != NULL);
	snprintf(path, sizeof(path), "%s/sock", dir);
	snprintf(url, sizeof(url), "unix://%s", path);
	strcpy(sun.sun_path, path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	ASSERT(
	    bind(listener, (struct sockaddr *)&sun, sizeof(sun)) == 0 && listen(listener, 8) == 0);
	atexit(clean_up);
}

static uint8_t
next(struct bytes *in)
{
	uint8_t v = in->len > 0 ? in->data[0] : 0;

	if (in->len > 0)
		*in = bytes_of(in->data + 1, in->len - 1);
	return v;
}

/* One reply. */
static void
put_reply(struct buf *out, struct bytes *in, int depth)
{
	uint8_t what = next(in);
	size_t n = what >> 3;

	if (what % 8 == 0) {
		buf_add_str(out, "$-1\r\n");
	} else if (what % 8 == 1) {
		buf_addf(out, ":%d\r\n", (int)next(in) - 2);
	} else if (what % 8 == 2) {
		buf_addf(out, "-%s\r\n", n % 4 == 0 ? "OOM" : n % 4 == 1 ? "LOST" : "ERR");
	} else if (what % 8 < 5 && depth < DEPTH_MAX) {
		buf_addf(out, "*%zu\r\n", n % 12);
		for (size_t i = 0; i < n % 12; i++)
			put_reply(out, in, depth + 1);
	} else {
		if (n > 24)
			n = next(in);
		if (n > in->len)
			n = in->len;
		buf_addf(out, "$%zu\r\n", n);
		buf_add(out, in->data, n);
		buf_add_str(out, "\r\n");
		*in = bytes_of(in->data + n, in->len - n);
	}
}

static void
ask_everything(struct session_state *ss)
{
	struct bytes x = bytes_of_str("x");
	struct msg_mqtt_delivery delivery = { .qos = 1 };

	(void)session_state_unit(ss, 1);
	session_state_enqueue(ss, x, 3, 5, &delivery);
	session_state_retain(ss, x, x);
	session_state_subscribe(ss, x, 3, x, 1, 1);
	(void)session_state_claim(ss, x, false, 1, 1, 2);
	(void)session_state_load(ss, x, 3);
	for (int kind = SESSION_STATE_OWNED; kind < SESSION_STATE_KINDS; kind++)
		(void)session_state_list(ss, (enum session_state_kind)kind, "w", (uint64_t)kind);
	session_state_flush(ss);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char handshake[] =
	    "$40\r\n0000000000000000000000000000000000000000\r\n"
	    "$40\r\n1111111111111111111111111111111111111111\r\n"
	    "$40\r\n2222222222222222222222222222222222222222\r\n"
	    "$40\r\n3333333333333333333333333333333333333333\r\n"
	    "$40\r\n4444444444444444444444444444444444444444\r\n*2\r\n:0\r\n:0\r\n";
	struct session_state_options options = { .url = url,
		.data_dir = "",
		.worker = "w",
		.life = LIFE,
		.message_max = 1 << 16,
		.queue_max = 1 << 20 };
	struct loop *loop = loop_new();
	struct session_state *ss;
	struct bytes in = bytes_of(data, size);
	struct buf replies = { 0 };
	int fd = -1;

	if (listener < 0)
		set_up();
	is_up = is_down = false;
	ASSERT(session_state_new(loop, &options, &events, NULL, &ss) == 0);
	for (int turn = 0; turn < TURNS_MAX && fd < 0; turn++) {
		loop_turn(loop, 1000);
		fd = accept(listener, NULL, NULL);
	}
	ASSERT(fd >= 0 && write(fd, handshake, sizeof(handshake) - 1) > 0);
	for (int turn = 0; turn < TURNS_MAX && !is_up; turn++)
		loop_turn(loop, 1000);
	ASSERT(is_up);
	ask_everything(ss);
	while (in.len > 0)
		put_reply(&replies, &in, 0);
	/* Pages may ask for more: those are not answered. */
	(void)send(fd, replies.data, replies.len, MSG_DONTWAIT);
	shutdown(fd, SHUT_WR);
	for (int turn = 0; turn < TURNS_MAX && !is_down; turn++)
		loop_turn(loop, 1000);
	session_state_free(&ss);
	close(fd);
	loop_free(&loop);
	buf_fini(&replies);
	return 0;
}
