/* sim_client.c - simulated devices' MQTT clients: libmosquitto connections in one epoll set
 *
 * The library is driven from outside (mosquitto_socket, loop_read, loop_write, loop_misc), so that thousands of clients
 * share one thread. A client whose connection ends connects again; the library then repeats what was not acknowledged. */
#include "sim_client.h"

#include <mosquitto.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "clock.h"
#include "err.h"
#include "mem.h"

#define KEEP_ALIVE_S 60
#define MISC_US 1000000 /* how often keep-alive and retries are looked at */
#define RETRY_US 200000 /* after a connection that failed */
#define EVENTS 256

struct pending {
	int mid;
	int64_t since_us;
};

struct sim_client {
	struct sim_clients *all;
	struct mosquitto *mosq;
	int fd; /* as it stands in the epoll set, -1: in none */
	bool up;
	bool want_write;
	int64_t retry_at_us; /* 0: connected or connecting */
	uint32_t pending_count;
	struct pending pending[SIM_WINDOW];
};

struct sim_clients {
	struct sim_client *clients;
	uint32_t count;
	int epoll;
	int qos;
	const char *host;
	int port;
	int64_t misc_at_us;
	struct sim_totals totals;
};

static void
count_latency(struct sim_totals *t, int64_t us)
{
	uint64_t v = us < 8 ? 8 : (uint64_t)us;
	unsigned i = 0;

	if (us > t->longest_us)
		t->longest_us = us;
	while (v >= 16) {
		v >>= 1;
		i += 8;
	}
	t->histogram[i + (v & 7)]++;
}

double
sim_totals_percentile_ms(const struct sim_totals *t, double p)
{
	uint64_t total = 0, seen = 0;
	uint64_t us;
	unsigned i;

	for (i = 0; i < SIM_HISTOGRAM_SIZE; i++)
		total += t->histogram[i];
	for (i = 0; i < SIM_HISTOGRAM_SIZE - 1; i++) {
		seen += t->histogram[i];
		if ((double)seen >= p * (double)total)
			break;
	}
	us = (uint64_t)(8 + i % 8 + 1) << (i / 8); /* upper edge of its bucket */
	return (us < (uint64_t)t->longest_us ? (double)us : (double)t->longest_us) / 1000.0;
}

/* Brings the epoll set up to what the library wants of the client's socket. */
static void
watch(struct sim_client *c)
{
	int fd = mosquitto_socket(c->mosq);
	bool want_write = fd >= 0 && (mosquitto_want_write(c->mosq) || !c->up);
	struct epoll_event ev = { .events = EPOLLIN | (want_write ? EPOLLOUT : 0u), .data.ptr = c };

	if (fd < 0) {
		c->fd = -1; /* closing took it out of the set */
		return;
	}
	if (fd == c->fd && want_write == c->want_write)
		return;
	if (epoll_ctl(c->all->epoll, EPOLL_CTL_MOD, fd, &ev) != 0)
		epoll_ctl(c->all->epoll, EPOLL_CTL_ADD, fd, &ev);
	c->fd = fd;
	c->want_write = want_write;
}

static void
went_down(struct sim_client *c)
{
	if (c->up) {
		c->all->totals.lost++;
		c->all->totals.connected--;
	} else {
		c->all->totals.connect_failures++;
	}
	c->up = false;
	c->fd = -1;
	c->retry_at_us = clock_mono_us() + RETRY_US;
}

static void
on_connect(struct mosquitto *mosq, void *arg, int rc)
{
	struct sim_client *c = arg;

	(void)mosq;
	if (rc != 0)
		return; /* the peer closes, and on_disconnect follows */
	c->up = true;
	c->all->totals.connects++;
	c->all->totals.connected++;
}

static void
on_disconnect(struct mosquitto *mosq, void *arg, int rc)
{
	(void)mosq;
	(void)rc;
	went_down(arg);
}

static void
on_publish(struct mosquitto *mosq, void *arg, int mid)
{
	struct sim_client *c = arg;

	(void)mosq;
	for (uint32_t i = 0; i < c->pending_count; i++) {
		if (c->pending[i].mid != mid)
			continue;
		count_latency(&c->all->totals, clock_mono_us() - c->pending[i].since_us);
		c->all->totals.acked++;
		c->pending[i] = c->pending[--c->pending_count];
		return;
	}
}

static void
connect_now(struct sim_client *c)
{
	int rc;

	c->retry_at_us = 0;
	rc = mosquitto_connect_async(c->mosq, c->all->host, c->all->port, KEEP_ALIVE_S);
	if (rc != MOSQ_ERR_SUCCESS && rc != MOSQ_ERR_CONN_PENDING)
		went_down(c);
	else
		watch(c);
}

struct sim_clients *
sim_clients_new(const char *host, uint16_t port, uint32_t count, int qos,
    void (*name_of)(void *arg, uint32_t i, struct buf *out), void *arg)
{
	struct sim_clients *all = xcalloc(1, sizeof(*all));
	struct buf name = { 0 };

	ASSERT(count > 0 && count <= SIM_CLIENTS_MAX);
	mosquitto_lib_init();
	all->clients = xcalloc(count, sizeof(*all->clients));
	all->count = count;
	all->qos = qos;
	all->host = host;
	all->port = port;
	all->epoll = epoll_create1(EPOLL_CLOEXEC);
	ASSERT(all->epoll >= 0);
	for (uint32_t i = 0; i < count; i++) {
		struct sim_client *c = &all->clients[i];

		buf_clear(&name);
		name_of(arg, i, &name);
		c->all = all;
		c->fd = -1;
		c->mosq = mosquitto_new(buf_str(&name), false, c);
		ASSERT(c->mosq != NULL);
		mosquitto_connect_callback_set(c->mosq, on_connect);
		mosquitto_disconnect_callback_set(c->mosq, on_disconnect);
		mosquitto_publish_callback_set(c->mosq, on_publish);
		mosquitto_max_inflight_messages_set(c->mosq, SIM_WINDOW);
		mosquitto_int_option(c->mosq, MOSQ_OPT_TCP_NODELAY, 1);
		connect_now(c);
	}
	buf_fini(&name);
	return all;
}

void
sim_clients_free(struct sim_clients **clients)
{
	struct sim_clients *all = *clients;

	if (all == NULL)
		return;
	*clients = NULL;
	for (uint32_t i = 0; i < all->count; i++) {
		if (all->clients[i].up)
			mosquitto_disconnect(all->clients[i].mosq);
		mosquitto_destroy(all->clients[i].mosq);
	}
	mosquitto_lib_cleanup();
	close(all->epoll);
	free(all->clients);
	free(all);
}

/* Keep-alive is looked at once a second, reconnects when they are due. */
static void
look_after(struct sim_clients *all)
{
	int64_t now = clock_mono_us();
	bool misc = now >= all->misc_at_us;

	if (misc)
		all->misc_at_us = now + MISC_US;
	for (uint32_t i = 0; i < all->count; i++) {
		struct sim_client *c = &all->clients[i];

		if (c->retry_at_us != 0 && now >= c->retry_at_us)
			connect_now(c);
		else if (misc && c->retry_at_us == 0) {
			mosquitto_loop_misc(c->mosq);
			if (c->retry_at_us == 0)
				watch(c);
		}
	}
}

void
sim_clients_turn(struct sim_clients *all, int wait_ms)
{
	struct epoll_event events[EVENTS];
	int n = epoll_wait(all->epoll, events, EVENTS, wait_ms);

	for (int i = 0; i < n; i++) {
		struct sim_client *c = events[i].data.ptr;

		if (c->fd >= 0 && (events[i].events & EPOLLOUT))
			mosquitto_loop_write(c->mosq, 1);
		if (c->fd >= 0 && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
			mosquitto_loop_read(c->mosq, SIM_WINDOW);
		if (c->fd >= 0)
			watch(c);
	}
	look_after(all);
}

bool
sim_client_ready(const struct sim_clients *all, uint32_t i)
{
	return all->clients[i].up && all->clients[i].pending_count < SIM_WINDOW;
}

bool
sim_client_publish(struct sim_clients *all, uint32_t i, const char *topic, struct bytes payload)
{
	struct sim_client *c = &all->clients[i];
	int64_t now = clock_mono_us();
	int mid, rc;

	ASSERT(c->pending_count < SIM_WINDOW);
	rc = mosquitto_publish(
	    c->mosq, &mid, topic, (int)payload.len, payload.data, all->qos, false);
	/* After these two errors the library has queued the message and repeats it on the next connection. */
	if (rc != MOSQ_ERR_SUCCESS &&
	    !(all->qos > 0 && (rc == MOSQ_ERR_NO_CONN || rc == MOSQ_ERR_CONN_LOST)))
		return false;
	all->totals.sent++;
	if (all->qos == 0) /* nobody acknowledges: handed over is all there is to know */
		all->totals.acked++;
	else
		c->pending[c->pending_count++] = (struct pending){ .mid = mid, .since_us = now };
	if (c->fd >= 0)
		watch(c);
	return true;
}

const struct sim_totals *
sim_clients_totals(const struct sim_clients *all)
{
	return &all->totals;
}
