/* flood.c - a fast MQTT generator: publishes telemetry, opens connections, holds them, relays messages from publishers of its
 * own to subscribers of its own (flood_relay.c); loopback only
 *
 * It shares no code with Roost and asks nothing special of a server, so that every broker gets the same bytes.
 *
 * Each connection owns an image of ready PUBLISH packets of one length, one a slot; packet id = slot + 1. Sending a
 * message is copying its values from a pool of rendered random walks, writing the digits of its time, and letting send()
 * take as many neighbouring slots as the window allows. A slot is used again when its message is acknowledged.
 *
 * QoS 1: a message is acknowledged by its PUBACK. QoS 0: a PINGREQ follows every --ping messages, and its PINGRESP says
 * that the server has read what came before; two groups may be outstanding. That proves "read", not more. With --prove
 * each connection ends with a message at QoS 1, and the clock stops when it is acknowledged: a server that acknowledges
 * in order what it has stored has then stored all before it. How many those are is to be asked of the server.
 *
 * --rate makes it an open loop: message k of connection i is due at a moment fixed beforehand, and its latency counts from
 * that moment, however late it could be sent. --rate 0 is a closed loop: latency counts from the send. The last line on
 * standard output is a JSON object of what happened. */
#include "flood_relay.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

volatile sig_atomic_t asked_to_stop;

int64_t
clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return t.tv_sec * NS + t.tv_nsec;
}

int64_t
now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

void
die(const char *what)
{
	fprintf(stderr, "flood: %s: %s\n", what, strerror(errno));
	exit(1);
}

void *
must(void *p)
{
	if (!p)
		die("memory");
	return p;
}

static void
open_all(struct flood *f, double seconds)
{
	int64_t now = now_ns(), deadline = now + (int64_t)(seconds * (double)NS);
	uint32_t next = 0;

	while (f->up < f->connections && !asked_to_stop && now < deadline &&
	       f->refused + f->lost == 0) {
		while (next < f->connections && f->opening < OPENING_MAX)
			conn_open(f, &f->conns[next++], now);
		now = turn(f, now + NS / 10);
	}
}

static void
measure_from_to(struct flood *f, int64_t now)
{
	if (!f->measuring && !f->measured_once && now >= f->measure_ns) {
		f->measuring = f->measured_once = true;
		f->measure_ns = now;
		f->acked_before = f->mode == MODE_CONNECT ? f->connects : f->acked;
		getrusage(RUSAGE_SELF, &f->usage_before);
	}
}

/* Ends the measured time; what is acknowledged later does not count in its rate. */
static uint64_t
measure_end(struct flood *f)
{
	f->measuring = false;
	getrusage(RUSAGE_SELF, &f->usage_after);
	return (f->mode == MODE_CONNECT ? f->connects : f->acked) - f->acked_before;
}

static int64_t
send_due(struct flood *f, int64_t now, int64_t end_ns)
{
	int64_t next = end_ns;

	while (f->rate > 0 && f->connections > 0) {
		struct conn *c = &f->conns[f->bursts % f->connections];

		next = due_ns(f, c, f->bursts / f->connections * f->burst);
		if (next > now || next >= end_ns)
			break;
		f->bursts++;
		c->due += f->burst;
		if (c->state == CONN_UP && c->out_at == c->out_end)
			conn_send(f, c, now);
	}
	return next < end_ns ? next : end_ns;
}

static bool
all_answered(const struct flood *f)
{
	return f->acked >= f->sent;
}

/* QoS 0: the group that is not full gets its PINGREQ now; with --prove every connection ends with a message at QoS 1. */
static void
ask_for_the_rest(struct flood *f)
{
	uint8_t packet[PAYLOAD_MAX + 1024] = { 0xc0, 0 };
	size_t len = 2;

	for (uint32_t i = 0; i < f->connections; i++) {
		struct conn *c = &f->conns[i];

		if (c->state != CONN_UP || c->out_at != c->out_end)
			continue;
		if (f->prove) {
			len = make_proof(f, c, packet);
			c->sent++;
			f->sent++;
		} else if (!f->ping || c->sent % f->ping == 0) {
			continue;
		}
		if (send(c->fd, packet, len, MSG_NOSIGNAL) != (ssize_t)len)
			f->partial++;
	}
}

static uint64_t
publish(struct flood *f)
{
	int64_t now = now_ns(), end, deadline;
	uint64_t measured;

	f->begin_ns = now;
	f->measure_ns = now + (int64_t)(f->warmup * (double)NS);
	end = f->measure_ns + (int64_t)(f->seconds * (double)NS);
	for (uint32_t i = 0; i < f->connections && f->rate <= 0; i++) {
		if (f->conns[i].state == CONN_UP)
			conn_send(f, &f->conns[i], now);
	}
	while (now < end && !asked_to_stop && !(f->count && f->sent >= f->count) && f->up > 0) {
		int64_t next = send_due(f, now, end);

		measure_from_to(f, now);
		now = turn(f, next < now + NS / 10 ? next : now + NS / 10);
	}
	f->ending = true;
	f->end_ns = now;
	measured = measure_end(f);
	/* What the kernel has not taken goes out first, so that every message sent is a whole one. */
	deadline = now + (int64_t)(f->drain * (double)NS);
	for (bool pending = f->qos == 0; pending && now < deadline;) {
		pending = false;
		for (uint32_t i = 0; i < f->connections; i++)
			pending |= f->conns[i].state == CONN_UP &&
				   f->conns[i].out_at != f->conns[i].out_end;
		if (pending)
			now = turn(f, now + NS / 100);
	}
	if (f->qos == 0)
		ask_for_the_rest(f);
	while (!all_answered(f) && now < deadline && f->up > 0 && asked_to_stop < 2)
		now = turn(f, now + NS / 100);
	if (f->qos == 0) { /* the clock stops with the last answer */
		f->end_ns = f->ping || f->prove ? f->last_ack_ns : now;
		measured = f->acked - f->acked_before;
	}
	return measured;
}

static uint64_t
connect_rate(struct flood *f)
{
	int64_t now = now_ns(), end;
	uint64_t measured;

	f->begin_ns = now;
	f->measure_ns = now + (int64_t)(f->warmup * (double)NS);
	end = f->measure_ns + (int64_t)(f->seconds * (double)NS);
	for (uint32_t i = 0; i < f->connections; i++)
		conn_open(f, &f->conns[i], now);
	while (now < end && !asked_to_stop && f->refused < f->connections) {
		measure_from_to(f, now);
		now = turn(f, now + NS / 100);
	}
	f->ending = true;
	f->end_ns = now;
	measured = measure_end(f);
	return measured;
}

/* Says that all are up, then holds them until standard input ends, --seconds at most. */
static void
hold(struct flood *f)
{
	int64_t now = now_ns(), end = now + (int64_t)(f->seconds * (double)NS);
	struct epoll_event e = { .events = EPOLLIN };
	struct epoll_event got;
	char byte;

	printf("{\"up\":%u,\"refused\":%llu,\"subscribed\":%llu,\"seconds\":%.6f}\n", f->up,
	    (unsigned long long)f->refused,
	    (unsigned long long)(f->mode == MODE_SUBSCRIBE ? f->acked : 0),
	    (double)(f->end_ns - f->measure_ns) / (double)NS);
	fflush(stdout);
	close(f->epoll);
	f->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (f->epoll < 0 || epoll_ctl(f->epoll, EPOLL_CTL_ADD, STDIN_FILENO, &e) != 0)
		die("standard input must be a pipe");
	while (now < end && !asked_to_stop) {
		if (epoll_wait(f->epoll, &got, 1, 100) > 0 && read(STDIN_FILENO, &byte, 1) <= 0)
			break;
		now = now_ns();
	}
	for (uint32_t i = 0; f->mode == MODE_IDLE && i < f->connections; i++) {
		if (f->conns[i].state == CONN_UP &&
		    send(f->conns[i].fd, "\xe0\0", 2, MSG_NOSIGNAL | MSG_DONTWAIT) != 2)
			f->lost++;
	}
}

static const char usage[] =
    "usage: flood --port N [options]; publishes, or --mode connect: connects and leaves, or --mode "
    "idle: connects and stays\n"
    "  --host 127.x.y.z --connections 100 --qos 0|1 --window 100 (QoS 1) --ping 500 (QoS 0: "
    "messages to a PINGREQ; 0: none)\n"
    "  --rate 0 (messages/s of all; 0: as fast as it goes) --burst 1 (messages due together) "
    "--small-writes (one packet a send)\n"
    "  --seconds 5 --warmup 0 --drain 10 --count 0 (messages at most; 0: any)\n"
    "  --topic roost/{}/telemetry --prefix bench --devices 1 (a connection) --metrics 2 --size 0 "
    "(pad payloads) --no-time\n"
    "  --from-us N --step-us 1 (device times) --prove (QoS 0: a last message at QoS 1 on each "
    "connection; the clock stops at its PUBACK)\n"
    "  --user NAME --password TEXT --keep-alive 600 --sources 8 (addresses 127.0.0.1 ff.)\n"
    "  --persistent (sessions are kept) --ids 0 (--mode connect: client ids go round among so "
    "many)\n"
    "or --publishers N --subscribers M: messages from N to each of M; counts what comes, and what "
    "does "
    "not\n"
    "  --topic T ({}: PREFIX-publisher) --filter F (default: the topic, + for {}; with {} "
    "subscriber "
    "i gets publisher i)\n"
    "  --qos 0|1|2 --sub-qos (the same) --window 100 --ahead 2000 (messages that have not come, 0: "
    "any) "
    "--size 64 --rate 0 --count 0 --small-writes\n"
    "  --protocol 4|5 --receive-maximum 65535 (5; of each subscriber) --retain --topics 0 (topics "
    "that "
    "{} goes round among)\n"
    "  --publishers 0 --expect N: retained messages 0 to N-1 of another run, from SUBSCRIBE to the "
    "last "
    "of them\n"
    "or --mode subscribe --subscribers M --subscriptions S --filters 1 (to a packet) --window 100 "
    "(packets not answered) --filter F: then holds them\n";

static double
number(const char *name, const char *text, double low, double high)
{
	char *end;
	double value = strtod(text, &end);

	if (*end || end == text || value < low || value > high) {
		fprintf(stderr, "flood: --%s: %g to %g\n", name, low, high);
		exit(64);
	}
	return value;
}

static void
option(struct flood *f, const char *name, const char *value)
{
	struct {
		const char *name;
		uint32_t *at;
		double low, high;
	} numbers[] = {
		{ "connections", &f->connections, 1, CONNECTIONS_MAX },
		{ "qos", &f->qos, 0, 2 },
		{ "sub-qos", &f->sub_qos, 0, 2 },
		{ "publishers", &f->publishers, 0, CONNECTIONS_MAX },
		{ "subscribers", &f->subscribers, 0, CONNECTIONS_MAX },
		{ "ahead", &f->ahead, 0, 10000000 },
		{ "topics", &f->topics, 0, 9999999 },
		{ "protocol", &f->protocol, 4, 5 },
		{ "receive-maximum", &f->receive_maximum, 1, 65535 },
		{ "filters", &f->filters, 1, FILTERS_MAX },
		{ "subscriptions", &f->subscriptions, 1, 1000000 },
		{ "ids", &f->ids, 0, 9999999 },
		{ "window", &f->window, 1, WINDOW_MAX },
		{ "ping", &f->ping, 0, PING_MAX },
		{ "burst", &f->burst, 1, WINDOW_MAX },
		{ "devices", &f->devices, 1, DEVICES_MAX },
		{ "metrics", &f->metrics, 1, METRICS_MAX },
		{ "size", &f->size, 0, PAYLOAD_MAX },
		{ "keep-alive", &f->keep_alive, 0, 65535 },
		{ "sources", &f->sources, 1, 254 },
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		if (strcmp(name, numbers[i].name) == 0) {
			*numbers[i].at =
			    (uint32_t)number(name, value, numbers[i].low, numbers[i].high);
			return;
		}
	}
	if (strcmp(name, "port") == 0)
		f->server.sin_port = htons((uint16_t)number(name, value, 1, 65535));
	else if (strcmp(name, "host") == 0 &&
		 (inet_pton(AF_INET, value, &f->server.sin_addr) != 1 ||
		     ntohl(f->server.sin_addr.s_addr) >> 24 != 127)) {
		fprintf(stderr, "flood: --host: an address of loopback, 127.x.y.z\n");
		exit(64);
	} else if (strcmp(name, "rate") == 0)
		f->rate = number(name, value, 0, 1e8);
	else if (strcmp(name, "seconds") == 0)
		f->seconds = number(name, value, 0.01, SECONDS_MAX);
	else if (strcmp(name, "warmup") == 0)
		f->warmup = number(name, value, 0, SECONDS_MAX);
	else if (strcmp(name, "drain") == 0)
		f->drain = number(name, value, 0, SECONDS_MAX);
	else if (strcmp(name, "count") == 0)
		f->count = (uint64_t)number(name, value, 0, 1e12);
	else if (strcmp(name, "expect") == 0)
		f->expect = (uint64_t)number(name, value, 1, 1e9);
	else if (strcmp(name, "topic") == 0)
		f->topic = value;
	else if (strcmp(name, "filter") == 0)
		f->filter = value;
	else if (strcmp(name, "prefix") == 0)
		f->prefix = value;
	else if (strcmp(name, "user") == 0)
		f->user = value;
	else if (strcmp(name, "password") == 0)
		f->password = value;
	else if (strcmp(name, "mode") == 0)
		f->mode = value[0] == 'c'   ? MODE_CONNECT
			  : value[0] == 'i' ? MODE_IDLE
			  : value[0] == 's' ? MODE_SUBSCRIBE
					    : MODE_PUBLISH;
	else if (strcmp(name, "from-us") == 0)
		f->from_us = (int64_t)number(name, value, 0, 9e15);
	else if (strcmp(name, "step-us") == 0)
		f->step_us = (int64_t)number(name, value, 1, 1e12);
	else if (strcmp(name, "prove") == 0)
		f->prove = true;
	else if (strcmp(name, "retain") == 0)
		f->retain = 1;
	else if (strcmp(name, "persistent") == 0)
		f->persistent = true;
	else if (strcmp(name, "small-writes") == 0)
		f->small_writes = true;
	else if (strcmp(name, "no-time") == 0)
		f->device_time = false;
}

/* The filter that every message of the topic matches, where none is given. */
static const char *
filter_of(const char *topic)
{
	static char filter[512];
	const char *hole = strstr(topic, "{}");

	if (!hole || strlen(topic) >= sizeof(filter))
		return topic;
	snprintf(filter, sizeof(filter), "%.*s+%s", (int)(hole - topic), topic, hole + 2);
	return filter;
}

static void
finish_options(struct flood *f)
{
	if (f->mode == MODE_PUBLISH && (f->publishers || f->subscribers))
		f->mode = MODE_RELAY;
	if (f->sub_qos == UINT32_MAX)
		f->sub_qos = f->qos;
	if (f->mode >= MODE_RELAY) {
		if (!f->topic)
			f->topic = "relay/{}/messages";
		if (!f->filter)
			f->filter = filter_of(f->topic);
		if (!f->size)
			f->size = 64;
		return;
	}
	if (!f->topic)
		f->topic = "roost/{}/telemetry";
	if (f->qos)
		f->ping = 0;
	else
		f->window = f->ping ? 2 * f->ping : 256;
	f->slots =
	    f->qos == 0 || f->connections > 1000 || f->window > SLOTS_MIN ? f->window : SLOTS_MIN;
}

static void
parse_options(struct flood *f, int argc, char **argv)
{
	static const char *const names[] = { "port", "host", "connections", "qos", "window", "ping",
		"burst", "devices", "metrics", "size", "keep-alive", "sources", "rate", "seconds",
		"warmup", "drain", "count", "topic", "prefix", "user", "password", "mode",
		"from-us", "step-us", "publishers", "subscribers", "ahead", "sub-qos", "topics",
		"filter", "protocol", "receive-maximum", "filters", "subscriptions", "ids",
		"expect",
		/* without a value */
		"small-writes", "no-time", "prove", "retain", "persistent" };
	struct option table[sizeof(names) / sizeof(names[0]) + 1] = { 0 };
	size_t n = sizeof(names) / sizeof(names[0]);
	int at, got;

	for (size_t i = 0; i < n; i++)
		table[i] = (struct option){ names[i], i < n - 5 ? required_argument : no_argument,
			NULL, 1 };
	while ((got = getopt_long(argc, argv, "", table, &at)) == 1)
		option(f, names[at], optarg);
	finish_options(f);
	if (got != -1 || optind != argc || f->server.sin_port == 0 ||
	    (f->mode < MODE_RELAY && f->qos > 1) || strlen(f->prefix) > 40 ||
	    (f->user ? strlen(f->user) : 0) + (f->password ? strlen(f->password) : 0) > 40) {
		fputs(usage, stderr);
		exit(64);
	}
}

static void
on_signal(int signal)
{
	(void)signal;
	asked_to_stop++;
}

static struct flood flood = {
	.server = { .sin_family = AF_INET },
	.sub_qos = UINT32_MAX,
	.ahead = 2000,
	.protocol = 4,
	.receive_maximum = 65535,
	.filters = 1,
	.subscriptions = 1,
	.prefix = "bench",
	.connections = 100,
	.window = 100,
	.qos = 1,
	.ping = 500,
	.metrics = 2,
	.devices = 1,
	.burst = 1,
	.step_us = 1,
	.sources = 8,
	.keep_alive = 600,
	.seconds = 5,
	.drain = 10,
	.device_time = true,
};

static int
relay_main(struct flood *f)
{
	uint64_t measured;

	if (f->publishers + f->subscribers == 0 ||
	    (f->expect && (f->publishers || f->subscribers != 1))) {
		fputs(usage, stderr);
		return 64;
	}
	if (f->mode == MODE_SUBSCRIBE) {
		f->publishers = 0;
		measured = subscribe_run(f);
		hold(f);
	} else {
		measured = relay_run(f);
	}
	report_relay(f, measured);
	return 0;
}

int
main(int argc, char **argv)
{
	struct flood *f = &flood;
	struct rlimit files;
	uint64_t measured = 0;
	int64_t begun;

	f->server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	parse_options(f, argc, argv);
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	f->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (f->mode >= MODE_RELAY)
		return relay_main(f);
	make_digits();
	make_pool(f);
	f->conns = must(calloc(f->connections, sizeof(*f->conns)));
	for (uint32_t i = 0; i < f->connections; i++) {
		f->conns[i].index = i;
		if (f->mode == MODE_PUBLISH)
			make_image(f, &f->conns[i]);
		f->conns[i].time_us = f->from_us ? f->from_us - f->step_us : 0;
	}
	begun = now_ns();
	if (f->mode == MODE_CONNECT) {
		measured = connect_rate(f);
	} else {
		open_all(f, 60);
		if (f->up < f->connections) {
			fprintf(stderr, "flood: %u of %u connections, %llu refused\n", f->up,
			    f->connections, (unsigned long long)f->refused);
			return 1;
		}
		if (f->mode == MODE_IDLE) {
			f->measure_ns = begun;
			f->end_ns = now_ns();
			measured = f->up;
			hold(f);
		} else {
			measured = publish(f);
		}
	}
	report(f, measured);
	return 0;
}
