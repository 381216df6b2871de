/* load.c - the load generator: MQTT 3.1.1 at QoS 1 over many connections, with a ledger of what was sent and acknowledged
 *
 * It shares no code with Roost. Each connection is one device that publishes readings with times of its own, keeps a window
 * of unacknowledged messages, reconnects at once when its connection ends, and then sends what was not acknowledged again,
 * in order, with DUP=1 and the same packet ids. It ends when all it may send is acknowledged, or at the drain deadline.
 * SIGTERM ends the sending early. The last line on standard output is a JSON object of what happened. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "ledger.h"

#define CONNECTIONS_MAX 4096
#define WINDOW_MAX 1024
#define OUT_MAX 65536
#define IN_MAX 4096
#define PUBLISH_MAX 256
#define RETRY_US 10000 /* after a refused connect */
#define HISTOGRAM_SIZE 256
#define SILENCE_US 5000 /* without an acknowledgement; longer ones are written down */

enum conn_state { CONN_IDLE, CONN_CONNECTING, CONN_GREETING, CONN_UP };

struct slot {
	uint32_t n;
	int64_t first_us;
	bool acked;
};

struct conn {
	uint32_t device;
	enum conn_state state;
	int fd;
	int64_t since_us; /* state entered, or last progress when UP */
	int64_t retry_at_us;
	uint32_t next_n;    /* first reading never sent */
	uint32_t oldest_n;  /* first reading not acknowledged: window is [oldest_n, next_n) */
	uint32_t resend_n;  /* next to go out on this connection */
	struct slot *slots; /* of reading n: n % window */
	uint8_t out[OUT_MAX];
	size_t out_len;
	uint8_t in[IN_MAX];
	size_t in_len;
	bool want_write;
};

struct load {
	const char *host;
	uint16_t port;
	uint32_t connections;
	uint32_t window;
	double rate;
	double seconds;
	uint32_t per_device;
	double drain_s;
	double stall_s;
	struct ledger_header *ledger;
	struct ledger_entry *entries;
	struct conn *conns;
	int epoll;
	int64_t start_us;
	int64_t wall_offset_us;
	uint64_t sent, resent, acked, connects, connects_lost, connects_refused, stalls,
	    unknown_acks, protocol_errors;
	uint64_t histogram[HISTOGRAM_SIZE]; /* of log2(us) * 8 */
	int64_t longest_us;
	int64_t longest_quiet_us; /* between two acknowledgements of any device */
	int64_t last_ack_us;
	FILE *silences; /* or NULL: "from until", monotonic microseconds */
};

static volatile sig_atomic_t stop_asked;

static void
on_signal(int sig)
{
	(void)sig;
	stop_asked = 1;
}

static int64_t
clock_us(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static _Noreturn void
die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(2);
}

static struct ledger_entry *
entry_of(struct load *l, const struct conn *c, uint32_t n)
{
	return &l->entries[(size_t)c->device * l->per_device + n];
}

/* --- bytes --- */

static size_t
put_remaining(uint8_t *p, size_t len)
{
	size_t n = 0;

	do {
		uint8_t b = len & 0x7f;

		len >>= 7;
		p[n++] = (uint8_t)(len > 0 ? b | 0x80 : b);
	} while (len > 0);
	return n;
}

static size_t
put_string(uint8_t *p, const char *s)
{
	size_t len = strlen(s);

	p[0] = (uint8_t)(len >> 8);
	p[1] = (uint8_t)len;
	memcpy(p + 2, s, len);
	return len + 2;
}

static void
put_connect(struct load *l, struct conn *c)
{
	uint8_t body[128];
	char name[64];
	size_t n = put_string(body, "MQTT");

	body[n++] = 4; /* 3.1.1 */
	body[n++] = 0; /* not a clean session: a device that sends again what was not answered */
	body[n++] = 0;
	body[n++] = 0; /* no keep-alive */
	snprintf(name, sizeof(name), "%s-%04u", l->ledger->prefix, c->device);
	n += put_string(body + n, name);
	c->out[c->out_len++] = 0x10;
	c->out_len += put_remaining(c->out + c->out_len, n);
	memcpy(c->out + c->out_len, body, n);
	c->out_len += n;
}

static uint16_t
packet_id_of(uint32_t n)
{
	return (uint16_t)(n % 65535 + 1);
}

static void
put_publish(struct load *l, struct conn *c, uint32_t n, bool dup)
{
	uint8_t body[PUBLISH_MAX];
	char topic[64];
	size_t len;
	uint16_t id = packet_id_of(n);

	snprintf(topic, sizeof(topic), "roost/%s-%04u/telemetry", l->ledger->prefix, c->device);
	len = put_string(body, topic);
	body[len++] = (uint8_t)(id >> 8);
	body[len++] = (uint8_t)id;
	len += (size_t)snprintf((char *)body + len, sizeof(body) - len,
	    "{\"ts\":%lld,\"values\":{\"level\":%lld}}", (long long)entry_of(l, c, n)->time_us,
	    (long long)ledger_value(l->ledger->flip, n));
	c->out[c->out_len++] = (uint8_t)(0x32 | (dup ? 8 : 0));
	c->out_len += put_remaining(c->out + c->out_len, len);
	memcpy(c->out + c->out_len, body, len);
	c->out_len += len;
}

/* --- connections --- */

static void
conn_enter(struct conn *c, enum conn_state state, int64_t now)
{
	c->state = state;
	c->since_us = now;
}

static void
conn_watch(struct load *l, struct conn *c, int op)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };

	c->want_write = c->state == CONN_CONNECTING || c->out_len > 0;
	if (c->want_write)
		ev.events |= EPOLLOUT;
	if (epoll_ctl(l->epoll, op, c->fd, &ev) != 0)
		die("epoll_ctl");
}

static void
conn_close(struct load *l, struct conn *c, int64_t now, int error)
{
	if (c->state == CONN_CONNECTING && error == ECONNREFUSED) {
		l->connects_refused++;
		c->retry_at_us = now + RETRY_US;
	} else {
		if (c->state == CONN_UP)
			l->connects_lost++;
		c->retry_at_us = now;
	}
	close(c->fd);
	c->fd = -1;
	c->out_len = 0;
	c->in_len = 0;
	conn_enter(c, CONN_IDLE, now);
}

static void
conn_open(struct load *l, struct conn *c, int64_t now)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(l->port) };
	int on = 1;

	if (inet_pton(AF_INET, l->host, &to.sin_addr) != 1) {
		fprintf(stderr, "load: %s is not an IPv4 address\n", l->host);
		exit(64);
	}
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		die("socket");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	conn_enter(c, CONN_CONNECTING, now);
	conn_watch(l, c, EPOLL_CTL_ADD);
	if (connect(c->fd, (struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS)
		conn_close(l, c, now, errno);
}

static void
conn_flush(struct load *l, struct conn *c, int64_t now)
{
	ssize_t n;
	bool wanted = c->want_write;

	if (c->out_len > 0) {
		n = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			conn_close(l, c, now, errno);
			return;
		}
		if (n > 0) {
			memmove(c->out, c->out + n, c->out_len - (size_t)n);
			c->out_len -= (size_t)n;
		}
	}
	if (wanted != (c->out_len > 0))
		conn_watch(l, c, EPOLL_CTL_MOD);
}

/* Readings this device may have sent by now. */
static uint32_t
conn_allowed(const struct load *l, const struct conn *c, int64_t now)
{
	double s = (double)(now - l->start_us) / 1e6;
	double n;

	if (stop_asked)
		return c->next_n;
	if (s > l->seconds)
		s = l->seconds;
	n = s * l->rate / l->connections + (double)c->device / l->connections;
	return n >= l->per_device ? l->per_device : (uint32_t)n;
}

static void
conn_pump(struct load *l, struct conn *c, int64_t now)
{
	uint32_t allowed = conn_allowed(l, c, now);
	bool was_empty = c->out_len == 0;

	while (c->out_len < OUT_MAX - PUBLISH_MAX) {
		uint32_t n = c->resend_n;
		struct slot *s = &c->slots[n % l->window];
		struct ledger_entry *e;

		if (n < c->next_n) { /* sent on an earlier connection */
			if (!s->acked) {
				entry_of(l, c, n)->sends++;
				l->resent++;
				put_publish(l, c, n, true);
			}
			c->resend_n++;
			continue;
		}
		if (n >= allowed || n - c->oldest_n >= l->window)
			break;
		e = entry_of(l, c, n);
		e->time_us = now + l->wall_offset_us;
		if (n > 0 && e->time_us <= e[-1].time_us)
			e->time_us = e[-1].time_us + 1;
		e->sends = 1;
		*s = (struct slot){ .n = n, .first_us = now };
		if (c->oldest_n == c->next_n)
			c->since_us = now;
		put_publish(l, c, n, false);
		c->resend_n = ++c->next_n;
		l->sent++;
	}
	if (was_empty && c->out_len > 0)
		conn_flush(l, c, now);
}

static void
count_latency(struct load *l, int64_t us)
{
	unsigned i = 0;
	uint64_t v = us < 1 ? 1 : (uint64_t)us;

	if (us > l->longest_us)
		l->longest_us = us;
	while (v >= 16 && i < HISTOGRAM_SIZE - 16) {
		v >>= 1;
		i += 8;
	}
	l->histogram[i + (v >= 8 ? v - 8 : 0)]++;
}

static double
percentile_ms(const struct load *l, double p)
{
	uint64_t total = 0, seen = 0;

	for (unsigned i = 0; i < HISTOGRAM_SIZE; i++)
		total += l->histogram[i];
	for (unsigned i = 0; i < HISTOGRAM_SIZE; i++) {
		seen += l->histogram[i];
		if (total > 0 && (double)seen >= p * (double)total)
			return (double)((8 + i % 8 + 1) << (i / 8)) / 1000.0;
	}
	return 0;
}

static void
count_silence(struct load *l, int64_t now)
{
	int64_t us = l->last_ack_us != 0 ? now - l->last_ack_us : 0;

	if (us > l->longest_quiet_us)
		l->longest_quiet_us = us;
	if (us >= SILENCE_US && l->silences != NULL)
		fprintf(l->silences, "%lld %lld\n", (long long)l->last_ack_us, (long long)now);
	l->last_ack_us = now;
}

static void
on_puback(struct load *l, struct conn *c, uint16_t id, int64_t now)
{
	for (uint32_t n = c->oldest_n; n < c->next_n; n++) {
		struct slot *s = &c->slots[n % l->window];

		if (packet_id_of(n) != id || s->acked)
			continue;
		s->acked = true;
		entry_of(l, c, n)->acked++;
		l->ledger->acked = ++l->acked;
		count_latency(l, now - s->first_us);
		count_silence(l, now);
		c->since_us = now;
		while (c->oldest_n < c->next_n && c->slots[c->oldest_n % l->window].acked)
			c->oldest_n++;
		if (c->resend_n < c->oldest_n)
			c->resend_n = c->oldest_n;
		return;
	}
	l->unknown_acks++;
}

/* Takes whole packets off the input: CONNACK and PUBACK are two bytes of content, other packets break the agreement. */
static void
conn_packets(struct load *l, struct conn *c, int64_t now)
{
	size_t at = 0;

	while (c->in_len - at >= 4) {
		const uint8_t *p = c->in + at;

		if (c->state == CONN_GREETING && p[0] == 0x20 && p[1] == 2 && p[3] == 0) {
			conn_enter(c, CONN_UP, now);
			l->connects++;
			c->resend_n = c->oldest_n;
		} else if (c->state == CONN_UP && p[0] == 0x40 && p[1] == 2) {
			on_puback(l, c, (uint16_t)(p[2] << 8 | p[3]), now);
		} else {
			l->protocol_errors++;
			conn_close(l, c, now, 0);
			c->retry_at_us = now + RETRY_US;
			return;
		}
		at += 4;
	}
	memmove(c->in, c->in + at, c->in_len - at);
	c->in_len -= at;
}

static void
conn_event(struct load *l, struct conn *c, uint32_t events, int64_t now)
{
	ssize_t n;

	if (c->state == CONN_CONNECTING) {
		int error = 0;
		socklen_t len = sizeof(error);

		getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
		if (error != 0) {
			conn_close(l, c, now, error);
			return;
		}
		if ((events & EPOLLOUT) == 0)
			return;
		conn_enter(c, CONN_GREETING, now);
		put_connect(l, c);
		c->want_write = true;
		conn_flush(l, c, now);
		return;
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		n = recv(c->fd, c->in + c->in_len, IN_MAX - c->in_len, 0);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
			conn_close(l, c, now, n == 0 ? 0 : errno);
			return;
		}
		if (n > 0 && __atomic_load_n(&l->ledger->deaf, __ATOMIC_ACQUIRE)) {
			conn_close(l, c, now, 0);
			c->retry_at_us = now + RETRY_US;
			return;
		}
		if (n > 0) {
			c->in_len += (size_t)n;
			conn_packets(l, c, now);
			if (c->state == CONN_IDLE)
				return;
		}
	}
	if (events & EPOLLOUT)
		conn_flush(l, c, now);
	if (c->state == CONN_UP)
		conn_pump(l, c, now);
}

/* What is due on a connection without an event. */
static void
conn_tick(struct load *l, struct conn *c, int64_t now)
{
	int64_t stall_us = (int64_t)(l->stall_s * 1e6);

	switch (c->state) {
	case CONN_IDLE:
		if (now >= c->retry_at_us)
			conn_open(l, c, now);
		return;
	case CONN_CONNECTING:
	case CONN_GREETING:
		break;
	case CONN_UP:
		conn_pump(l, c, now);
		if (c->state != CONN_UP || c->oldest_n == c->next_n)
			return;
		break;
	}
	if (now - c->since_us > stall_us) {
		l->stalls++;
		conn_close(l, c, now, 0);
	}
}

/* --- the whole --- */

static void
ledger_create(struct load *l, const char *path, const char *prefix, uint32_t flip)
{
	size_t size = sizeof(struct ledger_header) +
		      (size_t)l->connections * l->per_device * sizeof(struct ledger_entry);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)size) != 0)
		die(path);
	l->ledger = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (l->ledger == MAP_FAILED)
		die("mmap");
	close(fd);
	l->entries = (struct ledger_entry *)(l->ledger + 1);
	l->ledger->devices = l->connections;
	l->ledger->per_device = l->per_device;
	l->ledger->flip = flip;
	snprintf(l->ledger->prefix, sizeof(l->ledger->prefix), "%s", prefix);
	memcpy(l->ledger->magic, LEDGER_MAGIC, sizeof(l->ledger->magic));
}

static bool
all_done(const struct load *l, int64_t now)
{
	for (uint32_t i = 0; i < l->connections; i++) {
		const struct conn *c = &l->conns[i];

		if (c->oldest_n < c->next_n || c->next_n < conn_allowed(l, c, now))
			return false;
	}
	return stop_asked || (double)(now - l->start_us) / 1e6 >= l->seconds;
}

static bool
all_sent_count(const struct load *l)
{
	for (uint32_t i = 0; i < l->connections; i++)
		if (l->conns[i].oldest_n < l->per_device)
			return false;
	return true;
}

/* Returns true if all that was sent is acknowledged. */
static bool
load_run(struct load *l)
{
	struct epoll_event events[256];
	int64_t drain_at = 0;

	l->start_us = clock_us(CLOCK_MONOTONIC);
	l->wall_offset_us = clock_us(CLOCK_REALTIME) - l->start_us;
	for (;;) {
		int n = epoll_wait(l->epoll, events, 256, 2);
		int64_t now = clock_us(CLOCK_MONOTONIC);

		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;

			if (c->state != CONN_IDLE)
				conn_event(l, c, events[i].events, now);
		}
		for (uint32_t i = 0; i < l->connections; i++)
			conn_tick(l, &l->conns[i], now);
		if (all_done(l, now) || all_sent_count(l))
			return true;
		if (drain_at == 0 &&
		    (stop_asked || (double)(now - l->start_us) / 1e6 >= l->seconds))
			drain_at = now + (int64_t)(l->drain_s * 1e6);
		if (drain_at != 0 && now >= drain_at)
			return false;
	}
}

static void
report(const struct load *l)
{
	double s = (double)(clock_us(CLOCK_MONOTONIC) - l->start_us) / 1e6;

	printf("{\"sent\":%llu,\"acked\":%llu,\"resent\":%llu,\"connects\":%llu,\"lost\":%llu,"
	       "\"refused\":%llu,"
	       "\"stalls\":%llu,\"unknown_acks\":%llu,\"protocol_errors\":%llu,\"seconds\":%.2f,"
	       "\"p50_ms\":%.3f,"
	       "\"p99_ms\":%.3f,\"max_ms\":%.1f,\"quiet_ms\":%.1f}\n",
	    (unsigned long long)l->sent, (unsigned long long)l->acked,
	    (unsigned long long)l->resent, (unsigned long long)l->connects,
	    (unsigned long long)l->connects_lost, (unsigned long long)l->connects_refused,
	    (unsigned long long)l->stalls, (unsigned long long)l->unknown_acks,
	    (unsigned long long)l->protocol_errors, s, percentile_ms(l, 0.5),
	    percentile_ms(l, 0.99), (double)l->longest_us / 1000.0,
	    (double)l->longest_quiet_us / 1000.0);
}

static _Noreturn void
usage(void)
{
	fprintf(stderr, "usage: load --port N --ledger FILE [--host 127.0.0.1] [--connections 200] "
			"[--rate 20000]\n"
			"            [--seconds 10] [--per-device 100000] [--window 64] [--flip 0] "
			"[--prefix load]\n"
			"            [--drain 60] [--stall 15] [--silences FILE]\n");
	exit(64);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "host", required_argument, NULL, 'h' },
		{ "port", required_argument, NULL, 'p' },
		{ "ledger", required_argument, NULL, 'l' },
		{ "connections", required_argument, NULL, 'c' },
		{ "rate", required_argument, NULL, 'r' },
		{ "seconds", required_argument, NULL, 's' },
		{ "per-device", required_argument, NULL, 'n' },
		{ "window", required_argument, NULL, 'w' },
		{ "flip", required_argument, NULL, 'f' },
		{ "prefix", required_argument, NULL, 'x' },
		{ "drain", required_argument, NULL, 'd' },
		{ "stall", required_argument, NULL, 't' },
		{ "silences", required_argument, NULL, 'q' },
		{ NULL, 0, NULL, 0 },
	};
	struct load l = { .host = "127.0.0.1",
		.connections = 200,
		.window = 64,
		.rate = 20000,
		.seconds = 10,
		.per_device = 100000,
		.drain_s = 60,
		.stall_s = 15 };
	const char *path = NULL, *prefix = "load";
	uint32_t flip = 0;
	int opt;
	bool done;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 'h':
			l.host = optarg;
			break;
		case 'p':
			l.port = (uint16_t)strtoul(optarg, NULL, 10);
			break;
		case 'l':
			path = optarg;
			break;
		case 'c':
			l.connections = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'r':
			l.rate = strtod(optarg, NULL);
			break;
		case 's':
			l.seconds = strtod(optarg, NULL);
			break;
		case 'n':
			l.per_device = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'w':
			l.window = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'f':
			flip = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'x':
			prefix = optarg;
			break;
		case 'd':
			l.drain_s = strtod(optarg, NULL);
			break;
		case 't':
			l.stall_s = strtod(optarg, NULL);
			break;
		case 'q':
			l.silences = fopen(optarg, "w");
			if (l.silences == NULL)
				die(optarg);
			setvbuf(l.silences, NULL, _IOLBF, 0);
			break;
		default:
			usage();
		}
	}
	if (path == NULL || l.port == 0 || optind != argc || l.connections == 0 ||
	    l.connections > CONNECTIONS_MAX || l.window == 0 || l.window > WINDOW_MAX ||
	    l.per_device == 0 || strlen(prefix) >= LEDGER_PREFIX_MAX)
		usage();
	ledger_create(&l, path, prefix, flip);
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	l.epoll = epoll_create1(EPOLL_CLOEXEC);
	l.conns = calloc(l.connections, sizeof(*l.conns));
	if (l.epoll < 0 || l.conns == NULL)
		die("start");
	for (uint32_t i = 0; i < l.connections; i++) {
		l.conns[i].device = i;
		l.conns[i].fd = -1;
		l.conns[i].slots = calloc(l.window, sizeof(struct slot));
		if (l.conns[i].slots == NULL)
			die("start");
	}
	done = load_run(&l);
	report(&l);
	for (uint32_t i = 0; i < l.connections; i++)
		free(l.conns[i].slots);
	free(l.conns);
	return done && l.sent == l.acked ? 0 : 1;
}
