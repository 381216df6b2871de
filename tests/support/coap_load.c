/* coap_load.c - confirmable CoAP POSTs from many sockets, sent again until they are answered, and a ledger of what got 2.04
 *
 *	coap_load --port P [--sockets 64] [--window 8] [--seconds 3] [--warmup 1] [--prefix c] [--ledger FILE]
 *
 * Device <prefix><i> is socket i; its values n count up. Says {"acknowledged", "rate", "p50_us", "p99_us", "repeats", "refused",
 * "given_up"} as JSON, of what was begun after the warm-up; the ledger has a line `device n` for each 2.04. It shares no code
 * with Roost. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SOCKETS_MAX = 1024, WINDOW_MAX = 256, TRIES = 5, EVENTS = 64, US_MAX = 1 << 21 };

struct request {
	uint32_t n;
	uint16_t mid;
	bool open;
	bool counted;
	int tries;
	int64_t begun_us, again_us;
	uint8_t data[96];
	size_t len;
};

struct device {
	int fd;
	unsigned number;
	uint32_t next;
	uint16_t mid;
	struct request requests[WINDOW_MAX];
};

static struct device devices[SOCKETS_MAX];
static uint32_t latencies[US_MAX / 8]; /* by 8 us */
static uint64_t acknowledged, repeats, refused, given_up;
static const char *prefix = "c";
static unsigned window = 8;
static FILE *ledger;
static int64_t warm_us, end_us;

static int64_t
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

static size_t
put_option(uint8_t *at, unsigned delta, const char *value, size_t len)
{
	at[0] = (uint8_t)(delta << 4 | len);
	memcpy(at + 1, value, len);
	return len + 1;
}

/* CON POST api/v1/<device>/telemetry {"n":...}, the slot is its token. */
static void
send_one(struct device *d, unsigned slot)
{
	struct request *r = &d->requests[slot];
	char name[32], body[32];
	int name_len = snprintf(name, sizeof(name), "%.8s%u", prefix, d->number);
	int body_len = snprintf(body, sizeof(body), "{\"n\":%u}", d->next);
	uint8_t *p = r->data;

	*r = (struct request){ .n = d->next++, .mid = d->mid++, .open = true };
	*p++ = 0x42;
	*p++ = 2;
	*p++ = (uint8_t)(r->mid >> 8);
	*p++ = (uint8_t)r->mid;
	*p++ = (uint8_t)slot;
	*p++ = (uint8_t)r->n;
	p += put_option(p, 11, "api", 3);
	p += put_option(p, 0, "v1", 2);
	p += put_option(p, 0, name, (size_t)name_len);
	p += put_option(p, 0, "telemetry", 9);
	p += put_option(p, 1, "2", 1); /* JSON */
	*p++ = 0xff;
	memcpy(p, body, (size_t)body_len);
	r->len = (size_t)(p - r->data) + (size_t)body_len;
	r->begun_us = now_us();
	r->counted = r->begun_us >= warm_us;
	r->again_us = r->begun_us + 2000000;
	(void)!send(d->fd, r->data, r->len, 0);
}

static void
done(struct device *d, unsigned slot, unsigned code)
{
	struct request *r = &d->requests[slot];
	int64_t us = now_us() - r->begun_us;

	r->open = false;
	if (code != 68) { /* 2.04 */
		refused++;
	} else {
		if (ledger)
			fprintf(ledger, "%s%u %u\n", prefix, d->number, r->n);
		if (r->counted) {
			acknowledged++;
			latencies[us < US_MAX ? us / 8 : US_MAX / 8 - 1]++;
		}
	}
	if (now_us() < end_us)
		send_one(d, slot);
}

static void
take(struct device *d, const uint8_t *m, size_t len)
{
	unsigned type, slot;
	struct request *r;
	uint16_t mid;

	if (len < 6 || (m[0] & 15) != 2)
		return; /* acknowledged empty, or none of ours */
	type = m[0] >> 4 & 3;
	mid = (uint16_t)(m[2] << 8 | m[3]);
	slot = m[4];
	if (type == 0) {
		uint8_t ack[4] = { 0x60, 0, m[2], m[3] };

		(void)!send(d->fd, ack, sizeof(ack), 0);
	}
	r = slot < window ? &d->requests[slot] : NULL;
	if (r && r->open && m[5] == (uint8_t)r->n && (type != 2 || mid == r->mid))
		done(d, slot, m[1]);
}

static void
receive(struct device *d)
{
	uint8_t data[2048];
	ssize_t n;

	while ((n = recv(d->fd, data, sizeof(data), MSG_DONTWAIT)) >= 0 || errno == ECONNREFUSED)
		if (n > 0)
			take(d, data, (size_t)n);
}

static void
send_again(struct device *d)
{
	int64_t now = now_us();

	for (unsigned i = 0; i < window; i++) {
		struct request *r = &d->requests[i];

		if (!r->open || now < r->again_us)
			continue;
		if (++r->tries == TRIES) {
			given_up++;
			r->open = false;
			if (now < end_us)
				send_one(d, i);
			continue;
		}
		repeats++;
		r->again_us = now + (2000000ll << r->tries);
		(void)!send(d->fd, r->data, r->len, 0);
	}
}

static uint32_t
quantile(double q)
{
	uint64_t want = (uint64_t)((double)acknowledged * q), sum = 0;

	for (uint32_t i = 0; i < US_MAX / 8; i++)
		if ((sum += latencies[i]) > want)
			return i * 8;
	return US_MAX;
}

static bool
any_open(unsigned sockets)
{
	for (unsigned i = 0; i < sockets; i++)
		for (unsigned k = 0; k < window; k++)
			if (devices[i].requests[k].open)
				return true;
	return false;
}

static void
open_device(struct device *d, unsigned number, int port, int epoll)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	struct epoll_event e = { .events = EPOLLIN, .data = { .ptr = d } };

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	d->number = number;
	d->mid = (uint16_t)(now_us() * 31 + number);
	d->fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (d->fd < 0 || connect(d->fd, (struct sockaddr *)&to, sizeof(to)) != 0 ||
	    epoll_ctl(epoll, EPOLL_CTL_ADD, d->fd, &e) != 0)
		die("socket");
	for (unsigned i = 0; i < window; i++)
		send_one(d, i);
}

int
main(int argc, char **argv)
{
	int port = 0, epoll = epoll_create1(0);
	unsigned sockets = 64;
	double seconds = 3, warmup = 1;
	int64_t next_look;

	for (int i = 1; i + 1 < argc; i += 2) {
		const char *v = argv[i + 1];

		if (strcmp(argv[i], "--port") == 0)
			port = (int)strtol(v, NULL, 10);
		else if (strcmp(argv[i], "--sockets") == 0)
			sockets = (unsigned)strtoul(v, NULL, 10);
		else if (strcmp(argv[i], "--window") == 0)
			window = (unsigned)strtoul(v, NULL, 10);
		else if (strcmp(argv[i], "--seconds") == 0)
			seconds = strtod(v, NULL);
		else if (strcmp(argv[i], "--warmup") == 0)
			warmup = strtod(v, NULL);
		else if (strcmp(argv[i], "--prefix") == 0)
			prefix = v;
		else if (strcmp(argv[i], "--ledger") == 0)
			ledger = fopen(v, "w");
		else
			port = 0;
	}
	if (port <= 0 || sockets < 1 || sockets > SOCKETS_MAX || window < 1 ||
	    window > WINDOW_MAX) {
		fprintf(stderr, "usage: coap_load --port P [--sockets N] [--window N] ...\n");
		return 64;
	}
	warm_us = now_us() + (int64_t)(warmup * 1e6);
	end_us = warm_us + (int64_t)(seconds * 1e6);
	for (unsigned i = 0; i < sockets; i++)
		open_device(&devices[i], i, port, epoll);
	for (next_look = 0; now_us() < end_us || any_open(sockets);) {
		struct epoll_event events[EVENTS];
		int n = epoll_wait(epoll, events, EVENTS, 50);

		for (int i = 0; i < n; i++)
			receive(events[i].data.ptr);
		if (now_us() >= next_look) {
			for (unsigned i = 0; i < sockets; i++)
				send_again(&devices[i]);
			next_look = now_us() + 50000;
		}
	}
	printf("{\"acknowledged\":%llu,\"rate\":%.1f,\"p50_us\":%u,\"p99_us\":%u,\"repeats\":%llu,"
	       "\"refused\":%llu,\"given_up\":%llu}\n",
	    (unsigned long long)acknowledged, (double)acknowledged / seconds, quantile(0.5),
	    quantile(0.99), (unsigned long long)repeats, (unsigned long long)refused,
	    (unsigned long long)given_up);
	if (ledger && fclose(ledger) != 0)
		die("ledger");
	return 0;
}
