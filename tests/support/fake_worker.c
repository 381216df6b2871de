/* fake_worker.c - a worker for tests of the supervisor: speaks the control channel, and does what a file tells it to
 *
 * $ROOST_TEST_DIR/<ROOST_NAME> holds one of: `exit N` (before READY), `ready-exit N` (after it), `silent` (never READY),
 * `stubborn` (ignores DRAIN), `busy MS` (says BUSY and stands still that long), `mute` (says nothing after READY),
 * `garbage` (sends what is no message), `orphan` (leaves a grandchild behind). No file: an ordinary worker.
 * What it was given is written to $ROOST_TEST_DIR/<ROOST_NAME>.given. As connectivity it accepts and closes. */
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lifecycle.h"
#include "loop.h"
#include "metrics.h"

#define LISTENERS_MAX 16

static struct loop *loop;
static struct loop_fd *listeners[LISTENERS_MAX];
static size_t listener_count;
static struct lifecycle *lifecycle;
static bool stubborn;

static void
on_drain(void *arg)
{
	(void)arg;
	if (!stubborn)
		loop_stop(loop);
}

static void
on_accept(void *arg, int fd, uint32_t events)
{
	int one = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

	(void)arg;
	(void)events;
	if (one >= 0)
		close(one);
}

static void
on_turn(void *arg)
{
	(void)arg;
	metric_add(M_READINGS, 1);
}

/* Everything a test wants to know that only the process itself can say. */
static void
write_given(const char *dir, const char *name)
{
	char path[512], link[64], target[256];
	DIR *fds = opendir("/proc/self/fd");
	const struct dirent *e;
	int death = 0;
	sigset_t mask;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.given", dir, name);
	f = fopen(path, "ae");
	if (!f || !fds)
		exit(70);
	prctl(PR_GET_PDEATHSIG, &death);
	sigprocmask(SIG_SETMASK, NULL, &mask);
	fprintf(f,
	    "life=%s listen=%s pgid_is_pid=%d death_signal=%d no_new_privs=%d sigterm_blocked=%d",
	    getenv("ROOST_LIFE"), getenv("ROOST_LISTEN") ? getenv("ROOST_LISTEN") : "",
	    getpgrp() == getpid(), death, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0),
	    sigismember(&mask, SIGTERM));
	while ((e = readdir(fds))) {
		ssize_t n;

		if (atoi(e->d_name) == dirfd(fds) || atoi(e->d_name) == fileno(f))
			continue;
		snprintf(link, sizeof(link), "/proc/self/fd/%.20s", e->d_name);
		n = readlink(link, target, sizeof(target) - 1);
		if (n > 0)
			fprintf(f, " fd%.20s=%.*s", e->d_name, (int)n, target);
	}
	fprintf(f, "\n");
	closedir(fds);
	fclose(f);
}

static void
read_behaviour(const char *dir, const char *name, char word[32], long *number)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "re");
	if (!f)
		return;
	if (fscanf(f, "%31s %ld", word, number) < 1)
		word[0] = '\0';
	fclose(f);
}

static void
behave_after_ready(const char *word, long number, int control_fd)
{
	struct msg_busy busy = { .ms = (uint64_t)number };

	if (strcmp(word, "ready-exit") == 0)
		_exit((int)number);
	if (strcmp(word, "busy") == 0) {
		lifecycle_send(lifecycle, MSG_BUSY, &busy);
		(void)poll(NULL, 0, (int)number); /* stands still, as on a slow disk */
	}
	if (strcmp(word, "mute") == 0)
		for (;;)
			pause();
	if (strcmp(word, "garbage") == 0)
		for (int i = 0; i < 100; i++)
			(void)send(control_fd, "\xdd\xff\xff\xff\xff garbage", (size_t)(i % 14),
			    MSG_DONTWAIT);
}

static void
add_listeners(const char *text)
{
	while (text && listener_count < LISTENERS_MAX) {
		listeners[listener_count++] = loop_fd_add(
		    loop, atoi(text + strcspn(text, "=") + 1), EPOLLIN, on_accept, NULL);
		text = strchr(text, ',');
		text = text ? text + 1 : NULL;
	}
}

int
main(void)
{
	const char *name = getenv("ROOST_NAME"), *dir = getenv("ROOST_TEST_DIR");
	const char *control = getenv("ROOST_CONTROL_FD");
	char word[32] = "";
	long number = 0;

	if (!name || !control)
		return 64;
	if (dir) {
		write_given(dir, name);
		read_behaviour(dir, name, word, &number);
	}
	if (strcmp(word, "exit") == 0)
		return (int)number;
	if (strcmp(word, "orphan") == 0 && fork() == 0) {
		setsid();
		for (;;)
			pause();
	}
	stubborn = strcmp(word, "stubborn") == 0;
	loop = loop_new();
	lifecycle = lifecycle_new(loop, atoi(control), on_drain, NULL);
	loop_on_turn(loop, on_turn, NULL);
	add_listeners(getenv("ROOST_LISTEN"));
	if (strcmp(word, "silent") != 0)
		lifecycle_ready(lifecycle);
	behave_after_ready(word, number, atoi(control));
	loop_run(loop);
	lifecycle_free(&lifecycle);
	while (listener_count > 0)
		loop_fd_del(loop, &listeners[--listener_count]);
	loop_free(&loop);
	return 0;
}
