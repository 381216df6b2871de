/* test_worker.c - a worker's life as its supervisor sees it: READY, heartbeats, drain, exit codes, death of the parent */
#include "worker.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../unit.h"
#include "codec.h"
#include "err.h"
#include "mem.h"
#include "metrics.h"

#define DEADLINE_MS 5000

static int start_result;

static int
start(struct worker *w)
{
	ck_assert_uint_eq(w->index, 3);
	ck_assert_str_eq(w->name, "limiter-3");
	ck_assert_uint_eq(w->life, 77);
	ck_assert(w->listener_count == 2 && w->listeners[1].fd == 9);
	ck_assert_str_eq(w->listeners[1].address, "[::1]:1883");
	metric_set(M_READINGS, 5);
	return start_result;
}

static const struct worker_spec spec = { .name = "limiter", .start = start };
static const struct worker_spec *child_spec = &spec;

/* Freed, but not given back: what is behind it stays. */
#define BURST_BLOCKS 2048
#define BURST_BLOCK 8192
#define BUSY_MS 4242

static void *pinned;

static int
start_with_burst(struct worker *w)
{
	static void *blocks[BURST_BLOCKS];

	(void)w;
	for (size_t i = 0; i < BURST_BLOCKS; i++) {
		blocks[i] = xmalloc(BURST_BLOCK);
		memset(blocks[i], 1, BURST_BLOCK);
	}
	pinned = xmalloc(BURST_BLOCK);
	for (size_t i = 0; i < BURST_BLOCKS; i++)
		free(blocks[i]);
	return 0;
}

static void
tell_quiet(struct worker *w)
{
	worker_busy(w, BUSY_MS);
}

static const struct worker_spec burst_spec = {
	.name = "limiter", .start = start_with_burst, .quiet = tell_quiet
};

struct child {
	pid_t pid;
	int control;
};

static struct child
spawn(const char *settings_text)
{
	int pair[2], memfd = memfd_create("settings", 0);
	char number[16];
	struct child c;

	ck_assert_int_eq(
	    write(memfd, settings_text, strlen(settings_text)), (ssize_t)strlen(settings_text));
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	c.pid = fork();
	ck_assert_int_ge(c.pid, 0);
	if (c.pid == 0) {
		char *argv[] = { (char[]){ "roost-limiter" }, NULL };

		close(pair[0]);
		setenv("ROOST_NAME", "limiter-3", 1);
		setenv("ROOST_LIFE", "77", 1);
		setenv("ROOST_LISTEN", "mqtt=8=127.0.0.1:1883,mqtt=9=[::1]:1883", 1);
		snprintf(number, sizeof number, "%d", pair[1]);
		setenv("ROOST_CONTROL_FD", number, 1);
		snprintf(number, sizeof number, "%d", memfd);
		setenv("ROOST_SETTINGS_FD", number, 1);
		_exit(worker_main(child_spec, 1, argv));
	}
	close(pair[1]);
	close(memfd);
	c.control = pair[0];
	return c;
}

/* The next message of that type; others are passed over. */
static union msg_any
await_msg(struct child *c, enum msg_type want)
{
	static uint8_t packet[4096];
	union msg_any msg;
	enum msg_type type;
	struct pollfd p = { .fd = c->control, .events = POLLIN };

	for (;;) {
		ssize_t n;

		ck_assert_int_eq(poll(&p, 1, DEADLINE_MS), 1);
		n = recv(c->control, packet, sizeof packet, 0);
		ck_assert_int_gt(n, 0);
		ck_assert_int_eq(codec_decode(bytes_of(packet, (size_t)n), &type, &msg), 0);
		if (type == want)
			return msg;
	}
}

static int
exit_code_of(struct child *c)
{
	int status = 0;

	ck_assert_int_eq(waitpid(c->pid, &status, 0), c->pid);
	close(c->control);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

START_TEST(test_life)
{
	struct child c = spawn("data_dir=/tmp/roost-none\n");
	struct msg_drain drain = { .ms = 1000 };
	union msg_any m;
	struct buf out = { 0 };
	bool found = false;

	await_msg(&c, MSG_READY);
	await_msg(&c, MSG_HEARTBEAT);
	m = await_msg(&c, MSG_HEARTBEAT);
	for (size_t i = 0; i + 1 < u64s_count(m.heartbeat.metrics); i += 2)
		found |= u64s_at(m.heartbeat.metrics, i) == M_READINGS &&
			 u64s_at(m.heartbeat.metrics, i + 1) == 5;
	ck_assert(found);
	codec_encode(MSG_DRAIN, &drain, &out);
	ck_assert_int_eq(send(c.control, out.data, out.len, 0), (ssize_t)out.len);
	ck_assert_int_eq(exit_code_of(&c), 0);
	buf_fini(&out);
}
END_TEST

static size_t
resident_bytes(pid_t pid)
{
	char path[40];
	size_t pages = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
	f = fopen(path, "r");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%*s %zu", &pages), 1);
	fclose(f);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

START_TEST(test_memory_of_a_burst_is_given_back)
{
	struct child c;
	size_t before;

	child_spec = &burst_spec;
	c = spawn("");
	await_msg(&c, MSG_READY);
	before = resident_bytes(c.pid);
	ck_assert_uint_eq(await_msg(&c, MSG_BUSY).busy.ms, BUSY_MS);
	await_msg(&c, MSG_HEARTBEAT);
#ifndef __SANITIZE_ADDRESS__ /* its allocator keeps what is freed */
	ck_assert_uint_lt(resident_bytes(c.pid), before - BURST_BLOCKS / 2 * BURST_BLOCK);
#else
	ck_assert_uint_gt(before, 0);
#endif
	shutdown(c.control, SHUT_RDWR);
	ck_assert_int_eq(exit_code_of(&c), 0);
}
END_TEST

START_TEST(test_parent_dies)
{
	struct child c = spawn("");

	await_msg(&c, MSG_READY);
	shutdown(c.control, SHUT_RDWR);
	ck_assert_int_eq(exit_code_of(&c), 0);
}
END_TEST

START_TEST(test_exit_codes)
{
	char *argv[] = { (char[]){ "roost-limiter" }, NULL };
	struct child c;

	start_result = ERR_CONFIG;
	c = spawn("");
	ck_assert_int_eq(exit_code_of(&c), EXIT_CONFIG);
	start_result = ERR_IO;
	c = spawn("");
	ck_assert_int_eq(exit_code_of(&c), EXIT_DEPENDENCY);
	start_result = 0;
	c = spawn("mqtt.lisen=1\n");
	ck_assert_int_eq(exit_code_of(&c), EXIT_CONFIG);
	unsetenv("ROOST_NAME");
	ck_assert_int_eq(worker_main(&spec, 1, argv), EXIT_USAGE);
}
END_TEST

UNIT_MAIN(
    "worker", test_life, test_memory_of_a_burst_is_given_back, test_parent_dies, test_exit_codes)
