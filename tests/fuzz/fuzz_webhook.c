/* fuzz_webhook.c - a webhook's receiver that answers anything: each request ends, once, one way or the other
 *
 * This target is the server: what it sends comes in pieces, and then it hangs up, or not; the time-out ends that.
 *
 * fuzz: -max_len=1024 -malloc_limit_mb=64 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channel.h"
#include "clock.h"
#include "err.h"
#include "support.h"

#define TIMEOUT_MS 30

static struct {
	struct loop *loop;
	struct webhook *w;
	int listen_fd;
	char url[64];
	unsigned ended;
} x;

static void
on_end(void *arg, enum channel_end end, const char *why, int64_t wait_us)
{
	(void)arg;
	ASSERT(end == CHANNEL_ACCEPTED || end == CHANNEL_FAILED || end == CHANNEL_REJECTED);
	ASSERT((why == NULL) == (end == CHANNEL_ACCEPTED));
	ASSERT(wait_us >= 0 && wait_us <= WEBHOOK_WAIT_MAX_US);
	x.ended++;
}

static void
listen_once(void)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof sin;

	x.listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ASSERT(x.listen_fd >= 0);
	ASSERT(bind(x.listen_fd, (struct sockaddr *)&sin, sizeof sin) == 0);
	ASSERT(listen(x.listen_fd, 16) == 0);
	ASSERT(getsockname(x.listen_fd, (struct sockaddr *)&sin, &len) == 0);
	snprintf(x.url, sizeof x.url, "http://127.0.0.1:%u/hook", ntohs(sin.sin_port));
	x.loop = loop_new();
}

/* The connection, when the request is on it. */
static int
take_request(void)
{
	struct timeval tv = { .tv_sec = 5 };
	char request[4096];
	size_t n = 0;
	int fd;

	for (int i = 0; i < 5; i++)
		loop_turn(x.loop, 1000);
	fd = accept4(x.listen_fd, NULL, NULL, SOCK_CLOEXEC);
	ASSERT(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	while (n < sizeof request - 1 && x.ended == 0) {
		ssize_t got = recv(fd, request + n, sizeof request - 1 - n, MSG_DONTWAIT);

		if (got == 0)
			break;
		if (got > 0)
			n += (size_t)got;
		request[n] = '\0';
		if (strstr(request, "\r\n\r\n{}"))
			break;
		loop_turn(x.loop, 1000);
	}
	return fd;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct receiver to = { .url = x.url, .timeout_ms = TIMEOUT_MS };
	struct linger linger = { .l_onoff = 1 };
	struct input in = input_of(data, size);
	unsigned how = input_u8(&in);
	int64_t start = clock_mono_us();
	int fd;

	fuzz_quiet();
	if (!x.loop)
		listen_once();
	x.ended = 0;
	x.w = webhook_new(x.loop);
	webhook_send(x.w, &to, "key", bytes_of_str("{}"), on_end, NULL);
	fd = take_request();
	while (!input_is_over(&in)) {
		struct bytes b = how & 1 ? input_bytes(&in, input_u8(&in) + 1) : input_rest(&in);

		if (send(fd, b.data, b.len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			break;
		loop_turn(x.loop, 0);
	}
	if (how & 2)
		shutdown(fd, SHUT_WR);
	if (how & 4 || !(how & 2)) {
		if (how & 8)
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
		close(fd);
		fd = -1;
	}
	while (x.ended == 0) {
		ASSERT(clock_mono_us() - start < 5000000);
		loop_turn(x.loop, 5000);
	}
	ASSERT(x.ended == 1);
	if (fd >= 0)
		close(fd);
	webhook_free(&x.w);
	ASSERT(x.ended == 1);
	return 0;
}
