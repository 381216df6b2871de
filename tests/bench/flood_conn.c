/* flood_conn.c - connections: they come up, send what they may, count what is answered */
#include "flood.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void
watch(struct flood *f, struct conn *c, int operation, bool write)
{
	struct epoll_event e = { .events = EPOLLIN | (write ? EPOLLOUT : 0u), .data.ptr = c };

	if (epoll_ctl(f->epoll, operation, c->fd, &e) != 0)
		die("epoll_ctl");
	c->want_write = write;
}

static void
want_write(struct flood *f, struct conn *c, bool yes)
{
	if (c->want_write != yes)
		watch(f, c, EPOLL_CTL_MOD, yes);
}

static void
conn_close(struct flood *f, struct conn *c)
{
	if (c->state == CONN_CONNECTING || c->state == CONN_GREETING)
		f->opening--;
	if (c->state == CONN_UP)
		f->up--;
	close(c->fd);
	c->fd = -1;
	c->state = CONN_CLOSED;
}

/* Ended by the server, or never accepted: what a benchmark of it must not hide. */
static void
conn_lost(struct flood *f, struct conn *c)
{
	if (c->state == CONN_CONNECTING || c->state == CONN_GREETING)
		f->refused++;
	else
		f->lost++;
	conn_close(f, c);
}

static size_t
put_string(uint8_t *at, const char *text)
{
	size_t len = strlen(text); /* a length stands before it, no NUL behind it */

	at[0] = (uint8_t)(len >> 8);
	at[1] = (uint8_t)len;
	for (size_t i = 0; i < len; i++)
		at[2 + i] = (uint8_t)text[i];
	return len + 2;
}

/* False where the connection is not up yet. */
static bool
conn_greet(struct flood *f, struct conn *c)
{
	uint8_t packet[512] = { 0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', 4, 2 };
	size_t at = 10;
	char id[128];

	packet[9] =
	    (uint8_t)((f->persistent ? 0 : 2) | (f->user ? 0x80 : 0) | (f->password ? 0x40 : 0));
	packet[at++] = (uint8_t)(f->keep_alive >> 8);
	packet[at++] = (uint8_t)f->keep_alive;
	snprintf(id, sizeof(id), "%s-%07u", f->prefix,
	    f->ids ? f->next_id++ % f->ids : c->index * f->devices);
	at += put_string(packet + at, id);
	if (f->user)
		at += put_string(packet + at, f->user);
	if (f->password)
		at += put_string(packet + at, f->password);
	packet[1] = (uint8_t)(at - 2); /* options keep it below 128 */
	if (send(c->fd, packet, at, MSG_NOSIGNAL) < 0 && errno == EAGAIN)
		return false;
	c->state = CONN_GREETING; /* of a refused one epoll tells */
	return true;
}

/* Sources are spread over 127.0.0.x: the ports of one address end with a few ten thousand connects. */
void
conn_open(struct flood *f, struct conn *c, int64_t now)
{
	struct sockaddr_in source = { .sin_family = AF_INET };
	int one = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		die("socket");
	if (f->mode != MODE_CONNECT) /* which never has two packets on their way */
		setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	source.sin_addr.s_addr = htonl(0x7f000001u + f->next_open++ % f->sources);
	if (bind(c->fd, (struct sockaddr *)&source, sizeof(source)) != 0)
		die("bind");
	c->opened_ns = now;
	c->carry_len = 0;
	f->opening++;
	f->opened++;
	c->state = CONN_CONNECTING;
	if (connect(c->fd, (struct sockaddr *)&f->server, sizeof(f->server)) != 0 &&
	    errno != EINPROGRESS)
		die("connect");
	/* On loopback the three packets have gone to and fro by now. */
	watch(f, c, EPOLL_CTL_ADD, !conn_greet(f, c));
}

/* When the message is due, open loop: a burst belongs to one connection, bursts go round. */
int64_t
due_ns(const struct flood *f, const struct conn *c, uint64_t n)
{
	uint64_t burst = n / f->burst * f->connections + c->index;

	return f->begin_ns + (int64_t)((double)(burst * f->burst) / f->rate * (double)NS);
}

/* Gives the slot of message n its values and its time. */
static void
fill(struct flood *f, struct conn *c, uint64_t n, int64_t now)
{
	uint32_t slot = (uint32_t)(n % f->slots);
	uint8_t *packet = c->image + image_at(f, slot);

	memcpy(packet + f->values_at, f->pool + (size_t)c->pool_at * f->values_len, f->values_len);
	c->pool_at = (c->pool_at + 1) % POOL;
	if (f->device_time) {
		c->time_us += f->step_us;
		write_time(packet + f->time_at, c->time_us);
	}
	c->since_ns[slot] = f->rate > 0 ? due_ns(f, c, n) : now;
}

static uint64_t
may_send(const struct flood *f, const struct conn *c)
{
	uint64_t in_flight = c->sent - c->acked, n = 0;

	if (f->ending)
		return 0;
	if (in_flight < f->window)
		n = f->window - in_flight;
	if (f->rate > 0 && n > c->due - c->sent)
		n = c->due - c->sent;
	if (f->count && n > f->count - f->sent)
		n = f->count - f->sent;
	return n;
}

/* Up to the end of the image, so that one send() takes it. */
static void
take(struct flood *f, struct conn *c, uint64_t n, int64_t now, int64_t wall_us)
{
	uint64_t first = c->sent % f->slots;

	if (n > f->slots - first)
		n = f->slots - first;
	if (f->small_writes)
		n = 1;
	if (f->from_us == 0 && c->time_us < wall_us)
		c->time_us = wall_us;
	for (uint64_t i = 0; i < n; i++)
		fill(f, c, c->sent + i, now);
	if (f->rate > 0 && now - c->since_ns[first] > NS / 1000)
		f->late += n;
	c->out_at = image_at(f, first);
	c->out_end = image_at(f, first + n - 1) + f->packet_len;
	if (f->ping && (first + n) % f->ping == 0)
		c->out_end += 2;
	c->sent += n;
	f->sent += n;
}

void
conn_send(struct flood *f, struct conn *c, int64_t now)
{
	int64_t wall_us = f->device_time ? clock_ns(CLOCK_REALTIME) / 1000 : 0;
	uint64_t n;
	ssize_t done;

	for (;;) {
		if (c->out_at == c->out_end) {
			n = may_send(f, c);
			if (n == 0)
				break;
			take(f, c, n, now, wall_us);
		}
		done = send(c->fd, c->image + c->out_at, c->out_end - c->out_at, MSG_NOSIGNAL);
		f->sends++;
		if (done < 0 && errno == EAGAIN) {
			f->partial++;
			want_write(f, c, true);
			return;
		}
		if (done < 0) {
			conn_lost(f, c);
			return;
		}
		c->out_at += (size_t)done;
		if (c->out_at < c->out_end)
			continue;
		if (f->qos == 0 && f->ping == 0) { /* nobody will say that it was read */
			f->acked += c->sent - c->acked;
			c->acked = c->sent;
			want_write(f, c, !f->ending && f->rate <= 0);
			return;
		}
	}
	want_write(f, c, false);
}

static void
on_puback(struct flood *f, struct conn *c, uint32_t packet_id, int64_t now)
{
	uint32_t slot = packet_id - 1;

	if (f->prove && f->ending) {
		f->acked += c->sent - c->acked;
		c->acked = c->sent;
		return;
	}
	if (slot >= f->slots || c->acked == c->sent) {
		f->unexpected++;
		return;
	}
	if (slot != c->acked % f->slots)
		f->unexpected++; /* out of order */
	if (f->measuring)
		record(f, now - c->since_ns[slot]);
	c->acked++;
	f->acked++;
}

static void
on_pingresp(struct flood *f, struct conn *c)
{
	uint64_t n = f->ping - c->acked % f->ping;

	if (n > c->sent - c->acked)
		n = c->sent - c->acked;
	c->acked += n;
	f->acked += n;
}

static void
conn_up(struct flood *f, struct conn *c, uint8_t code, int64_t now)
{
	if (c->state != CONN_GREETING || code != 0) {
		conn_lost(f, c);
		return;
	}
	f->opening--;
	f->up++;
	f->connects++;
	c->state = CONN_UP;
	if (f->mode != MODE_CONNECT)
		return;
	if (f->measuring)
		record(f, now - c->opened_ns);
	f->up--;
	c->state = CONN_LEAVING;
	if (send(c->fd, "\xe0\0", 2, MSG_NOSIGNAL) != 2)
		conn_lost(f, c);
}

/* Whole packets of what a server says to a publisher: CONNACK, PUBACK, PINGRESP; returns how many bytes they were. */
static size_t
parse(struct flood *f, struct conn *c, const uint8_t *p, size_t len, int64_t now)
{
	size_t at = 0;

	while (c->state != CONN_CLOSED && len - at >= 2) {
		size_t whole = 2u + p[at + 1];

		if (whole > 4) {
			f->unexpected++;
			conn_lost(f, c);
			break;
		}
		if (whole > len - at)
			break;
		if (p[at] == 0x40 && whole == 4)
			on_puback(f, c, (uint32_t)(p[at + 2] << 8 | p[at + 3]), now);
		else if (p[at] == 0xd0 && f->ping)
			on_pingresp(f, c);
		else if (p[at] == 0x20 && whole == 4)
			conn_up(f, c, p[at + 3], now);
		else
			f->unexpected++;
		at += whole;
	}
	return at;
}

static void
conn_read(struct flood *f, struct conn *c, int64_t now)
{
	static uint8_t buffer[READ_MAX];
	size_t len, used;
	ssize_t got;

	memcpy(buffer, c->carry, c->carry_len);
	got = recv(c->fd, buffer + c->carry_len, sizeof(buffer) - c->carry_len, 0);
	if (got < 0 && errno == EAGAIN)
		return;
	if (got <= 0) {
		if (c->state == CONN_LEAVING)
			conn_close(f, c);
		else
			conn_lost(f, c);
		return;
	}
	len = c->carry_len + (size_t)got;
	used = parse(f, c, buffer, len, now);
	f->last_ack_ns = now;
	if (c->state == CONN_CLOSED)
		return;
	c->carry_len = (uint8_t)(len - used);
	memcpy(c->carry, buffer + used, c->carry_len);
}

static void
on_event(struct flood *f, struct conn *c, uint32_t events, int64_t now)
{
	if (c->state == CONN_CONNECTING) {
		if (conn_greet(f, c))
			want_write(f, c, false);
		return;
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		conn_read(f, c, now);
	if (c->state == CONN_UP && f->begin_ns && f->mode == MODE_PUBLISH)
		conn_send(f, c, now);
	if (c->state == CONN_CLOSED && f->mode == MODE_CONNECT && !f->ending)
		conn_open(f, c, now);
}

/* Waits until the given moment at most, for what servers say. */
int64_t
turn(struct flood *f, int64_t until_ns)
{
	struct epoll_event events[EVENTS];
	int64_t wait = until_ns - now_ns(), now;
	struct timespec timeout = { 0 };
	int n;

	if (wait > 0)
		timeout = (struct timespec){ .tv_sec = wait / NS, .tv_nsec = wait % NS };
	n = epoll_pwait2(f->epoll, events, EVENTS, &timeout, NULL);
	if (n < 0 && errno != EINTR)
		die("epoll_wait");
	now = now_ns();
	for (int i = 0; i < n; i++)
		on_event(f, events[i].data.ptr, events[i].events, now);
	return now;
}
