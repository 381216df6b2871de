/* listener.c - accept, read, write, close; knows no protocol
 *
 * Memory: a connection that is idle has no buffer. Kept input is of two kinds: incomplete packets, and what waits because
 * the protocol paused the connection. Together they are bounded by LISTENER_INPUT_MAX. As long as paused connections are
 * the cause: above a quarter of it reads are small, so that those who are held back fill no more of it soon and the others
 * go on; above half of it nothing is read. Above all of it a connection that needs more is closed. */
#include "listener_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "address.h"
#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"

#define SMALL_READ 4096
#define OUT_HIGH 262144 /* unread output above which a connection is not read */

static void on_ready(void *arg, int fd, uint32_t events);
static void on_timer(void *arg);

static struct socket *
as_socket(struct listener *l, void *p)
{
	uintptr_t at = (uintptr_t)p;

	if (at >= (uintptr_t)l->sockets && at < (uintptr_t)(l->sockets + LISTENER_SOCKETS_MAX))
		return p;
	return NULL;
}

static void
raise_descriptor_limit(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &r);
	}
}

/* TCP: an ordered, lossless stream of bytes (MQTT-4.2.0-1; 3.1.1: MQTT-7.1.1-1). */
struct listener *
listener_new(struct worker *w, const struct listener_protocol *protocol,
    const struct transport_doors *doors, struct conn_set *set)
{
	struct listener *l = xcalloc(1, sizeof(*l));
	const int on = 1;
	uint64_t seed;

	l->loop = w->loop;
	l->protocol = *protocol;
	l->doors = doors;
	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		seed = (uint64_t)loop_now_us(l->loop);
	per_address_init(&l->per_address, protocol->connections_per_address, seed);
	l->set = set;
	set->listener = l;
	l->shared = xmalloc(LISTENER_SMALL_REST + LISTENER_READ_BYTES);
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	ASSERT(l->epoll_fd >= 0);
	for (size_t i = 0; i < w->listener_count && l->socket_count < LISTENER_SOCKETS_MAX; i++) {
		const struct worker_listener *wl = &w->listeners[i];
		struct address address;
		const char *why;

		if (doors->doors[i].protocol != protocol->serves)
			continue;
		if (doors->doors[i].tls && !l->sealed)
			l->sealed = xmalloc(TLS_INPUT_MAX);
		l->sockets[l->socket_count++] = (struct socket){
			.door = &doors->doors[i],
			.fd = wl->fd,
			.loopback =
			    address_parse(wl->address, &address, &why) == 0 && address.loopback,
		};
		/* A peer may be gone, or taken by another worker, between the wait and accept(). */
		(void)fcntl(wl->fd, F_SETFL, fcntl(wl->fd, F_GETFL) | O_NONBLOCK);
		/* Accepted connections inherit both. */
		(void)setsockopt(wl->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		(void)setsockopt(wl->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	}
	raise_descriptor_limit();
	listener_watch_sockets(l, true);
	l->lfd = loop_fd_add(l->loop, l->epoll_fd, EPOLLIN, on_ready, l);
	l->reading = true;
	return l;
}

void
listener_free(struct listener **p_l)
{
	struct listener *l = *p_l;

	*p_l = NULL;
	if (!l)
		return;
	loop_timer_clear(l->loop, &l->accept_timer);
	loop_fd_del(l->loop, &l->lfd);
	close(l->epoll_fd);
	free(l->sealed);
	per_address_fini(&l->per_address);
	free(l->shared);
	free(l);
}

bool
listener_is_empty(const struct listener *l)
{
	return l->conn_count == 0;
}

/* --- input --- */

void
listener_lost(struct conn *c)
{
	c->closing = CONN_CLOSED;
	conn_touch(c);
}

static size_t
kept_of(const struct conn *c)
{
	return c->in ? c->in->len - c->in_at : 0;
}

/* Counts the input that c keeps, as it is now, instead of as it was. What waits for its peer to read is not counted as
 * paused: only reading on the same epoll set could release it. */
static void
count_kept(struct listener *l, struct conn *c)
{
	size_t now = kept_of(c);

	l->kept = l->kept - c->kept + now;
	l->kept_paused -= c->kept_paused ? c->kept : 0;
	c->kept = (uint32_t)now;
	c->kept_paused = c->paused & ~CONN_PAUSED_OUT;
	l->kept_paused += c->kept_paused ? c->kept : 0;
}

static void
drop_in(struct listener *l, struct conn *c)
{
	conn_buf_give(l->set, &c->in);
	c->in_at = 0;
}

/* How much more of c's input may be kept. */
static size_t
room_to_keep(const struct listener *l, const struct conn *c)
{
	size_t kept = l->kept - c->kept + kept_of(c);

	return kept < LISTENER_INPUT_MAX ? LISTENER_INPUT_MAX - kept : 0;
}

static void
no_room(const struct listener *l, struct conn *c, size_t more)
{
	log_warn("listener.input_full", LU("kept", l->kept), LU("more", more));
	listener_lost(c);
}

static void
keep(struct listener *l, struct conn *c, struct bytes rest)
{
	if (rest.len == 0)
		return;
	if (rest.len > room_to_keep(l, c)) {
		no_room(l, c, rest.len);
		return;
	}
	if (!c->in)
		c->in = conn_buf_take(l->set);
	buf_add(c->in, rest.data, rest.len);
}

/* Gives input to the protocol; returns what it left. */
static struct bytes
give(struct listener *l, struct conn *c, struct bytes in)
{
	size_t took, need = 0;

	c->need = 0;
	c->waits = false;
	if (in.len == 0 || c->closing != CONN_OPEN)
		return bytes_of(NULL, 0);
	took = l->protocol.input(c, in, &need);
	c->need = (uint32_t)need;
	c->waits = c->paused && took < in.len;
	return bytes_of(in.data + took, in.len - took);
}

static void
give_kept(struct listener *l, struct conn *c)
{
	struct bytes rest;

	if (!c->in)
		return;
	rest = give(l, c, bytes_of(c->in->data + c->in_at, c->in->len - c->in_at));
	if (rest.len == 0) {
		drop_in(l, c);
		return;
	}
	c->in_at = (uint32_t)(c->in->len - rest.len);
	if (c->in_at >= c->in->len / 2) {
		buf_consume(c->in, c->in_at);
		c->in_at = 0;
	}
}

/* The peer said it goes, or broke a rule of the transport. What came before that is for the protocol still, when it takes
 * it. */
static void
cut_if_ended(struct listener *l, struct conn *c)
{
	const char *fault = transport_fault(c->transport);
	char text[PEER_TEXT_MAX];

	if (c->closing != CONN_OPEN || !transport_ended(c->transport) || (c->waits && c->paused))
		return;
	if (fault) {
		metric_add(
		    transport_awaits_proxy(c->transport) ? M_PROXY_FAULTS : M_MQTT_WS_FAULTS, 1);
		log_warn(
		    "listener.fault", LS("peer", peer_text(&c->peer, text)), LS("fault", fault));
	}
	l->protocol.cut(c);
}

size_t
listener_read_max(const struct listener *l)
{
	return l->kept_paused > LISTENER_INPUT_MAX / 4 ? SMALL_READ : LISTENER_READ_BYTES;
}

/* A large incomplete packet is completed where it is kept, in a buffer that grows with what has come, not with what its
 * header claims. */
static ssize_t
read_behind_kept(struct listener *l, struct conn *c)
{
	size_t have = kept_of(c);
	size_t missing = c->need > have ? c->need - have : 1;
	size_t room = missing < have ? missing : have, most = room_to_keep(l, c);
	uint8_t *to = l->shared + LISTENER_SMALL_REST;
	struct iovec v[2];
	ssize_t n;
	size_t own;

	if (most == 0) {
		no_room(l, c, missing);
		errno = EAGAIN; /* it is closed already */
		return -1;
	}
	room = room < most ? room : most;

	buf_consume(c->in, c->in_at);
	c->in_at = 0;
	v[0] = (struct iovec){ .iov_base = buf_reserve(c->in, room), .iov_len = room };
	v[1] = (struct iovec){ .iov_base = to, .iov_len = listener_read_max(l) };
	/* cppcheck-suppress knownConditionTrueFalse ; it is the smaller of two */
	n = readv(c->fd, v, room == missing ? 2 : 1);
	if (n <= 0)
		return n;
	own = (size_t)n < room ? (size_t)n : room;
	c->in->len += own;
	if (own < missing)
		return n;
	give_kept(l, c);
	if (!c->in) {
		keep(l, c, give(l, c, bytes_of(to, (size_t)n - own)));
		return n;
	}
	keep(l, c, bytes_of(to, (size_t)n - own));
	/* Of a protocol that does not know beforehand what it needs, this may be all of it. */
	if (c->closing == CONN_OPEN && !c->waits && c->need == 0)
		give_kept(l, c);
	return n;
}

/* A small one is put in front of what was read into the shared buffer. */
static void
give_shared(struct listener *l, struct conn *c, size_t len)
{
	size_t have = kept_of(c);
	uint8_t *to = l->shared + LISTENER_SMALL_REST;

	if (have)
		memcpy(to - have, c->in->data + c->in_at, have);
	drop_in(l, c);
	keep(l, c, give(l, c, bytes_of(to - have, len + have)));
}

static ssize_t
read_shared(struct listener *l, struct conn *c)
{
	ssize_t n = recv(c->fd, l->shared + LISTENER_SMALL_REST, listener_read_max(l), 0);

	if (n > 0)
		give_shared(l, c, (size_t)n);
	return n;
}

/* What is known only now: who it is, and that nothing is between the socket and the protocol any more. */
static void
after_transport(struct listener *l, struct conn *c, bool awaited_proxy, bool was_open)
{
	if (awaited_proxy && !transport_awaits_proxy(c->transport)) {
		metric_add(M_PROXY_ACCEPTED, 1);
		l->protocol.announced(c, peer_is_loopback(&c->peer));
		if (!listener_count_address(l, c))
			listener_lost(c);
	}
	if (!was_open && transport_is_open(c->transport))
		metric_add(M_MQTT_WS_OPENED, 1);
	if (transport_has_output(c->transport))
		conn_touch(c);
	if (transport_is_done(c->transport))
		transport_free(&c->transport);
}

/* What the transport makes of the bytes replaces them, in the shared buffer. */
static ssize_t
read_transport(struct listener *l, struct conn *c)
{
	uint8_t *to = l->shared + LISTENER_SMALL_REST;
	bool awaited_proxy = transport_awaits_proxy(c->transport);
	bool was_open = transport_is_open(c->transport);
	size_t have = kept_of(c), len;
	ssize_t n;

	if (transport_is_tls(c->transport)) {
		n = listener_tls_read(l, c, to, &len);
	} else {
		n = recv(c->fd, to, listener_read_max(l), 0);
		len = n > 0 ? transport_input(c->transport, to, (size_t)n, &c->peer) : 0;
	}
	if (n <= 0)
		return n;
	after_transport(l, c, awaited_proxy, was_open);
	if (len == 0)
		return n;
	if (have <= LISTENER_SMALL_REST) {
		give_shared(l, c, len);
		return n;
	}
	keep(l, c, bytes_of(to, len));
	if (c->closing == CONN_OPEN && kept_of(c) >= c->need)
		give_kept(l, c);
	return n;
}

void
listener_read(struct listener *l, struct conn *c)
{
	ssize_t n;

	if (c->lingering)
		n = recv(c->fd, l->shared, LISTENER_READ_BYTES, 0);
	else if (c->transport)
		n = read_transport(l, c);
	else if (kept_of(c) > LISTENER_SMALL_REST)
		n = read_behind_kept(l, c);
	else
		n = read_shared(l, c);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		listener_lost(c);
	count_kept(l, c);
	if (c->transport)
		cut_if_ended(l, c);
}

/* --- output --- */

static void
drop_out(struct listener *l, struct conn *c)
{
	conn_buf_give(l->set, &c->out);
	c->out_at = 0;
}

/* The peer's kernel has taken n bytes of what the protocol put out. */
void
listener_took(struct listener *l, struct conn *c, size_t n)
{
	if (!c->out)
		return;
	c->out_at += (uint32_t)n;
	if (c->out_at == c->out->len) {
		drop_out(l, c);
	} else if (c->out_at >= c->out->len / 2) {
		buf_consume(c->out, c->out_at);
		c->out_at = 0;
	}
}

/* Anything is to be sent. */
static bool
has_output(const struct conn *c)
{
	if (!c->transport)
		return c->out != NULL;
	return transport_has_output(c->transport) || (c->out && !transport_is_mute(c->transport));
}

/* A frame at a time; between frames may go what the transport has to say. */
static void
send_transport(struct listener *l, struct conn *c)
{
	while (has_output(c)) {
		struct bytes head;
		size_t body = transport_next(c->transport, conn_out_len(c), &head);
		struct iovec v[2] = { { .iov_len = head.len },
			{ .iov_base = body ? c->out->data + c->out_at : NULL, .iov_len = body } };
		struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 };
		ssize_t n;

		if (head.len + body == 0)
			break;
		memcpy(&v[0].iov_base, &head.data, sizeof(head.data)); /* which is only read */
		n = sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			listener_lost(c);
		if (n <= 0)
			return;
		l->set->bytes_sent += (uint64_t)n;
		listener_took(l, c, transport_sent(c->transport, (size_t)n));
		if ((size_t)n < head.len + body)
			return;
	}
}

static void
send_some(struct listener *l, struct conn *c)
{
	ssize_t n;

	if (c->closing == CONN_CLOSED)
		return;
	if (c->transport) {
		if (transport_is_tls(c->transport))
			listener_tls_send(l, c);
		else
			send_transport(l, c);
		/* What is left was for a peer that has closed, or must hear nothing more. */
		if (!has_output(c) && (!c->transport || transport_ended(c->transport)))
			drop_out(l, c);
		return;
	}
	if (!c->out)
		return;
	n = send(
	    c->fd, c->out->data + c->out_at, c->out->len - c->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		listener_lost(c);
		return;
	}
	if (n > 0) {
		l->set->bytes_sent += (uint64_t)n;
		listener_took(l, c, (size_t)n);
	}
}

static void
send_urgent(struct listener *l)
{
	l->set->urgent = false;
	for (struct conn *c = l->set->touched; c; c = c->touched_next)
		if (conn_out_len(c) >= CONN_URGENT_BYTES && !(c->events & EPOLLOUT))
			send_some(l, c);
}

/* --- what has changed --- */

static void
arm(struct listener *l, struct conn *c)
{
	if (!c->deadline_us)
		loop_timer_clear(l->loop, &c->timer);
	else if (!loop_timer_is_at(&c->timer, c->deadline_us))
		loop_timer_at(l->loop, &c->timer, c->deadline_us, on_timer, c);
}

static void
watch(struct listener *l, struct conn *c)
{
	uint32_t events = (c->paused ? 0u : EPOLLIN) | (has_output(c) ? EPOLLOUT : 0u);
	struct epoll_event ev = { .events = events, .data = { .ptr = c } };

	if (events == c->events)
		return;
	c->events = (uint8_t)events;
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, c->fd, &ev) != 0)
		listener_lost(c);
}

static void
count_unsent(struct listener *l, struct conn *c)
{
	size_t now = conn_out_len(c);

	l->set->unsent = l->set->unsent - c->unsent + now;
	c->unsent = (uint32_t)now;
}

static void
finish(struct listener *l, struct conn *c)
{
	loop_timer_clear(l->loop, &c->timer);
	drop_in(l, c);
	count_kept(l, c);
	drop_out(l, c);
	count_unsent(l, c);
	close(c->fd);
	if (c->transport)
		transport_dequeue(c->transport);
	transport_free(&c->transport);
	listener_forget_address(l, c);
	l->conn_count--;
	l->protocol.gone(c);
}

/* The protocol has closed it. What was said last must arrive: a close with unread input would reset the connection and
 * take it along, so input is thrown away until the peer closes too, or for LISTENER_LINGER_US. */
static void
linger(struct listener *l, struct conn *c, bool said_something)
{
	if (!c->lingering && !said_something) {
		finish(l, c);
		return;
	}
	if (!c->lingering) {
		c->lingering = true;
		c->paused = 0;
		drop_in(l, c);
		count_kept(l, c);
		c->deadline_us = loop_now_us(l->loop) + LISTENER_LINGER_US;
		arm(l, c);
	}
	if (!has_output(c))
		(void)shutdown(c->fd, SHUT_WR);
	watch(l, c);
}

/* Whoever had no room for more output goes on; what is added touches the connection again. */
static void
feed(struct listener *l, struct conn *c)
{
	if (!c->hungry || c->closing != CONN_OPEN || conn_out_len(c) > OUT_HIGH / 2)
		return;
	c->hungry = false;
	l->protocol.sent(c);
}

static void
settle(struct listener *l, struct conn *c)
{
	bool said_something;

	if (c->closing == CONN_OPEN && c->waits && !c->paused)
		give_kept(l, c);
	if (c->transport) {
		cut_if_ended(l, c);
		if (c->closing == CONN_CLOSE)
			transport_close(c->transport);
	}
	said_something = has_output(c);
	send_some(l, c);
	feed(l, c);
	count_kept(l, c);
	count_unsent(l, c);
	if (c->closing == CONN_CLOSED) {
		finish(l, c);
		return;
	}
	if (c->closing == CONN_CLOSE) {
		linger(l, c, said_something);
		return;
	}
	if (conn_out_len(c) > OUT_HIGH)
		c->paused |= CONN_PAUSED_OUT;
	else if (conn_out_len(c) < OUT_HIGH / 2)
		c->paused &= ~CONN_PAUSED_OUT;
	if (c->waits && !c->paused)
		conn_touch(c);
	watch(l, c);
	arm(l, c);
}

/* With too much input waiting for room nothing more is read; TCP pushes back. */
static void
watch_all(struct listener *l)
{
	bool reading = l->kept_paused <= LISTENER_INPUT_MAX / 2;

	metric_set(l->protocol.metrics.input_bytes, l->kept);
	metric_set(l->protocol.metrics.output_bytes, l->set->unsent);
	if (reading == l->reading)
		return;
	l->reading = reading;
	loop_fd_mod(l->loop, l->lfd, reading ? EPOLLIN : 0);
	log_info("listener.reading", LS("state", reading ? "on" : "off"), LU("kept", l->kept));
}

static void
tell_now(struct listener *l)
{
	l->protocol.now(l->protocol.arg, loop_now_us(l->loop));
}

void
listener_turn(struct listener *l)
{
	struct conn *c;

	tell_now(l);
	listener_handshakes(l);
	while ((c = conn_next_touched(l->set)))
		settle(l, c);
	l->set->put = 0;
	watch_all(l);
}

static void
on_timer(void *arg)
{
	struct conn *c = arg;

	if (c->lingering) {
		listener_lost(c);
		return;
	}
	tell_now(c->set->listener);
	c->set->listener->protocol.deadline(c);
}

static void
on_event(struct listener *l, struct conn *c, uint32_t events)
{
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): epoll says what was added, sockets or conns */
	if (c->closing == CONN_CLOSED)
		return;
	if (events & EPOLLIN && (c->lingering || (!c->paused && c->closing == CONN_OPEN)))
		listener_handshake(l, c);
	else if (events & (EPOLLERR | EPOLLHUP))
		listener_lost(c);
	if (events & EPOLLOUT)
		conn_touch(c);
	if (l->set->urgent)
		send_urgent(l);
}

static void
on_ready(void *arg, int fd, uint32_t events)
{
	struct listener *l = arg;
	struct epoll_event ready[LISTENER_EVENTS];
	int n = epoll_wait(fd, ready, LISTENER_EVENTS, 0);

	(void)events;
	tell_now(l);
	for (int i = 0; i < n; i++) {
		struct socket *s = as_socket(l, ready[i].data.ptr);

		if (s)
			listener_accept(l, s);
		else
			on_event(l, ready[i].data.ptr, ready[i].events);
	}
}
