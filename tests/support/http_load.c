/* http_load.c - posts readings over many HTTP connections, one request at a time each, and counts what was answered 2xx
 *
 * http_load PORT CONNECTIONS SECONDS SAMPLES: for so long; each body has so many samples of one device with times of their own.
 * http_load PORT CONNECTIONS hold SAMPLES: one request on each connection, then all stay open until stdin ends, and then each posts
 * once more. One line of JSON at the end; with hold one after each round.
 *
 * Shares no code with Roost. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BODY_MAX (1u << 20)
#define OPENING_MAX 200
#define LATENCIES_MAX 4000000

struct caller {
	int fd;
	bool connected;
	size_t sent, len; /* of its request */
	char *request;
	size_t got;
	char answer[512]; /* the head of an answer fits in this */
	int64_t begun_ns;
	uint64_t count;
};

static struct sockaddr_in address = { .sin_family = AF_INET };
static struct caller *callers;
static size_t caller_count, opened, opening, finished;
static unsigned samples;
static int epoll_fd;
static uint64_t good, bad, lost;
static uint32_t *latencies; /* us */
static size_t latency_count;
static bool stop;
static bool once; /* a request for each connection */
static int64_t base_ms;

static int64_t
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

static void
make_request(struct caller *c)
{
	static char body[BODY_MAX];
	size_t n = 0, index = (size_t)(c - callers);

	for (unsigned i = 0; i < samples; i++)
		n += (size_t)snprintf(body + n, sizeof(body) - n,
		    "{\"device\":\"http-%zu\",\"ts\":%lld,\"values\":{\"t\":%llu}}\n", index,
		    (long long)(base_ms + (long long)(c->count * samples + i)),
		    (unsigned long long)(c->count * samples + i));
	c->count++;
	c->request = realloc(c->request, n + 256);
	if (!c->request)
		die("realloc");
	c->len = (size_t)snprintf(c->request, n + 256,
	    "POST /v1/telemetry HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
	    "Content-Length: %zu\r\n\r\n",
	    n);
	memcpy(c->request + c->len, body, n);
	c->len += n;
	c->sent = 0;
	c->got = 0;
	c->begun_ns = now_ns();
}

static void
watch(const struct caller *c, int how, uint32_t events)
{
	struct epoll_event e = { .events = events };

	e.data.u64 = (uint64_t)(c - callers);
	if (epoll_ctl(epoll_fd, how, c->fd, &e) != 0)
		die("epoll_ctl");
}

static void
send_more(struct caller *c)
{
	ssize_t n =
	    send(c->fd, c->request + c->sent, c->len - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n > 0)
		c->sent += (size_t)n;
	watch(c, EPOLL_CTL_MOD, EPOLLIN | (c->sent < c->len ? EPOLLOUT : 0u));
}

static void
begin(struct caller *c)
{
	ssize_t n;

	make_request(c);
	n = send(c->fd, c->request, c->len, MSG_NOSIGNAL | MSG_DONTWAIT);
	c->sent = n > 0 ? (size_t)n : 0;
	if (c->sent < c->len)
		watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
}

static void
open_more(void)
{
	while (opening < OPENING_MAX && opened < caller_count) {
		struct caller *c = &callers[opened++];

		c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		if (c->fd < 0)
			die("socket");
		if (connect(c->fd, (struct sockaddr *)&address, sizeof(address)) != 0 &&
		    errno != EINPROGRESS)
			die("connect");
		opening++;
		watch(c, EPOLL_CTL_ADD, EPOLLOUT);
	}
}

static void
gone(struct caller *c)
{
	lost++;
	finished++;
	opening -= !c->connected;
	close(c->fd);
	c->fd = -1;
}

static void
answered(struct caller *c)
{
	if (strncmp(c->answer, "HTTP/1.1 2", 10) == 0)
		good++;
	else
		bad++;
	if (latency_count < LATENCIES_MAX)
		latencies[latency_count++] = (uint32_t)((now_ns() - c->begun_ns) / 1000);
	c->got = 0;
	if (once || stop)
		finished++;
	else
		begin(c);
}

/* Whether a whole answer is there: a head, and as much as it announces. */
static bool
is_whole(const struct caller *c)
{
	const char *end = strstr(c->answer, "\r\n\r\n"), *length;

	if (!end)
		return false;
	length = strstr(c->answer, "Content-Length: ");
	return !length || c->got >= (size_t)(end + 4 - c->answer) + strtoul(length + 16, NULL, 10);
}

static void
on_event(struct caller *c, uint32_t events)
{
	ssize_t n;

	if (!c->connected && events & EPOLLOUT) {
		c->connected = true;
		opening--;
		watch(c, EPOLL_CTL_MOD, EPOLLIN);
		begin(c);
		return;
	}
	if (events & EPOLLOUT)
		send_more(c);
	if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	n = recv(c->fd, c->answer + c->got, sizeof(c->answer) - 1 - c->got, 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		gone(c);
		return;
	}
	c->got += (size_t)n;
	c->answer[c->got] = '\0';
	if (is_whole(c))
		answered(c);
	else if (c->got == sizeof(c->answer) - 1)
		gone(c);
}

static void
turn(int wait_ms)
{
	struct epoll_event e[256];
	int n;

	open_more();
	n = epoll_wait(epoll_fd, e, 256, wait_ms);
	for (int i = 0; i < n; i++)
		if (callers[e[i].data.u64].fd >= 0)
			on_event(&callers[e[i].data.u64], e[i].events);
}

static int
by_size(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void
report(double seconds)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	qsort(latencies, latency_count, sizeof(latencies[0]), by_size);
	printf("{\"good\":%llu,\"bad\":%llu,\"lost\":%llu,\"seconds\":%.3f,\"p50_us\":%u,\"p99_"
	       "us\":%u,"
	       "\"cpu_s\":%.3f}\n",
	    (unsigned long long)good, (unsigned long long)bad, (unsigned long long)lost, seconds,
	    latency_count ? latencies[latency_count / 2] : 0,
	    latency_count ? latencies[latency_count * 99 / 100] : 0,
	    (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
		(double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6);
	fflush(stdout);
}

static void
hold(void)
{
	struct pollfd in = { .fd = 0, .events = POLLIN };
	int64_t at = now_ns();

	once = true;
	while (finished < caller_count)
		turn(100);
	report((double)(now_ns() - at) / 1e9);
	while (poll(&in, 1, 0) == 0)
		turn(50);
	at = now_ns();
	good = bad = latency_count = finished = 0;
	for (size_t i = 0; i < caller_count; i++) {
		if (callers[i].fd >= 0)
			begin(&callers[i]);
		else
			finished++;
		if (i % OPENING_MAX == 0)
			turn(0);
	}
	while (finished < caller_count)
		turn(100);
	report((double)(now_ns() - at) / 1e9);
}

static void
post_for(double seconds)
{
	int64_t begin_ns, end_ns;

	while (opened < caller_count || opening)
		turn(10);
	good = latency_count = 0;
	begin_ns = now_ns();
	end_ns = begin_ns + (int64_t)(seconds * 1e9);
	while (now_ns() < end_ns && finished < caller_count)
		turn(10);
	report((double)(now_ns() - begin_ns) / 1e9);
	stop = true;
	end_ns = now_ns() + 5000000000LL;
	while (finished < caller_count && now_ns() < end_ns)
		turn(10);
}

int
main(int argc, char **argv)
{
	struct rlimit r;
	struct timespec t;

	if (argc != 5)
		return 64;
	address.sin_port = htons((uint16_t)atoi(argv[1]));
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	caller_count = strtoul(argv[2], NULL, 10);
	samples = (unsigned)atoi(argv[4]);
	callers = calloc(caller_count, sizeof(*callers));
	latencies = calloc(LATENCIES_MAX, sizeof(*latencies));
	if (!callers || !latencies || samples == 0 || samples > BODY_MAX / 128)
		return 64;
	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
	clock_gettime(CLOCK_REALTIME, &t);
	base_ms = t.tv_sec * 1000LL - 3600000;
	epoll_fd = epoll_create1(0);
	if (strcmp(argv[3], "hold") == 0)
		hold();
	else
		post_for(strtod(argv[3], NULL));
	for (size_t i = 0; i < caller_count; i++)
		free(callers[i].request);
	free(callers);
	free(latencies);
	return 0;
}
