/* control_call.c - the command line's side of the control socket */
#include "control.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "err.h"

#define READ_SIZE 65536

/* More bytes into in; 0, ERR_CLOSED, ERR_TIMEOUT or ERR_IO. */
static int
receive(int fd, int64_t deadline_us, struct buf *in)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int64_t left = deadline_us - clock_mono_us();
	uint8_t *at;
	ssize_t n;

	if (left <= 0 || poll(&p, 1, (int)(left / 1000) + 1) == 0)
		return ERR_TIMEOUT;
	at = buf_reserve(in, READ_SIZE);
	if (!at)
		return ERR_TOO_BIG;
	n = recv(fd, at, READ_SIZE, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0)
		return ERR_IO;
	in->len += (size_t)n;
	return n == 0 ? ERR_CLOSED : 0;
}

static int
ask(int fd, const char *command, int64_t deadline_us, struct buf *in, json_t **ret_answer)
{
	char line[128];
	int len = snprintf(line, sizeof(line), "{\"command\":\"%.64s\"}\n", command);
	json_error_t error;
	uint8_t *end;
	json_t *out;

	if (send(fd, line, (size_t)len, MSG_NOSIGNAL) != len)
		return ERR_IO;
	while (in->len == 0 || !(end = memchr(in->data, '\n', in->len))) {
		int rc = receive(fd, deadline_us, in);

		if (rc != 0)
			return rc;
	}
	out = json_loadb((const char *)in->data, (size_t)(end - in->data), 0, &error);
	if (!out)
		return ERR_MALFORMED;
	*ret_answer = out;
	return 0;
}

int
control_call(
    const char *path, const char *command, int timeout_ms, bool until_closed, json_t **ret_answer)
{
	int64_t deadline_us = clock_mono_us() + (int64_t)timeout_ms * 1000;
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct buf in;
	int fd, rc;

	if (strlen(path) >= sizeof(sun.sun_path))
		return ERR_TOO_BIG;
	memcpy(sun.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return ERR_IO;
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) != 0) {
		rc = errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR ? ERR_NOT_FOUND
		     : errno == EACCES						  ? ERR_REFUSED
										  : ERR_IO;
		close(fd);
		return rc;
	}
	buf_init(&in, CONTROL_REPLY_MAX);
	rc = ask(fd, command, deadline_us, &in, ret_answer);
	if (rc == 0 && until_closed) {
		int end;

		while ((end = receive(fd, deadline_us, &in)) == 0)
			;
		if (end == ERR_TIMEOUT) {
			json_decref(*ret_answer);
			rc = end;
		}
	}
	buf_fini(&in);
	close(fd);
	return rc;
}
