/* listener_accept.c - who is let in, and with what between socket and protocol */
#include "listener_impl.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "metrics.h"

#define ACCEPT_PAUSE_US 100000 /* after accept() found no descriptor */

void
listener_watch_sockets(struct listener *l, bool on)
{
	for (size_t i = 0; i < l->socket_count; i++) {
		/* EXCLUSIVE: of several workers one is woken for a connection. */
		struct epoll_event ev = { .events = EPOLLIN | EPOLLEXCLUSIVE,
			.data = { .ptr = &l->sockets[i] } };

		(void)epoll_ctl(
		    l->epoll_fd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, l->sockets[i].fd, &ev);
	}
	l->accepting = on;
}

void
listener_stop_accepting(struct listener *l)
{
	if (l->accepting)
		listener_watch_sockets(l, false);
	loop_timer_clear(l->loop, &l->accept_timer);
	l->stopped = true;
}

static void
accept_again(void *arg)
{
	struct listener *l = arg;

	if (!l->accepting && !l->stopped)
		listener_watch_sockets(l, true);
}

/* What the kernel knows of the peer must satisfy: connections_max, and proxy.trusted where a PROXY header is asked for. */
static bool
is_welcome(const struct listener *l, const struct socket *s, const struct peer *peer)
{
	char text[PEER_TEXT_MAX];

	if (l->conn_count >= l->protocol.connections_max) {
		metric_add(l->protocol.metrics.over_limit, 1);
		return false;
	}
	if (!transport_admits(l->doors, s->door, peer)) {
		metric_add(M_PROXY_UNTRUSTED, 1);
		log_warn("listener.untrusted", LS("peer", peer_text(peer, text)),
		    LS("why", "only addresses of proxy.trusted may connect here"));
		return false;
	}
	return true;
}

bool
listener_count_address(struct listener *l, struct conn *c)
{
	char text[PEER_TEXT_MAX];

	c->counted = per_address_take(&l->per_address, &c->peer);
	if (c->counted)
		return true;
	metric_add(l->protocol.metrics.over_address_limit, 1);
	log_warn("listener.address_limit", LS("peer", peer_text(&c->peer, text)),
	    LS("why", "as many are open as this setting allows"),
	    LS("setting", l->protocol.per_address_setting));
	return false;
}

void
listener_forget_address(struct listener *l, struct conn *c)
{
	if (c->counted)
		per_address_give(&l->per_address, &c->peer);
	c->counted = false;
}

static void
admit(struct listener *l, const struct socket *s, int fd, const struct peer *peer)
{
	struct epoll_event ev = { .events = EPOLLIN };
	struct conn *c = l->protocol.open(l->protocol.arg, s->loopback);

	c->fd = fd;
	c->events = EPOLLIN;
	c->peer = *peer;
	c->transport = transport_new(s->door);
	ev.data.ptr = c;
	/* Behind a proxy it is counted when the proxy has said who it is. */
	if (s->door->proxy != PROXY_OFF || listener_count_address(l, c)) {
		if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0) {
			l->conn_count++;
			return;
		}
		log_warn("listener.accept", LS("fault", strerror(errno)),
		    LU("connections", l->conn_count));
		listener_forget_address(l, c);
	}
	close(fd);
	transport_free(&c->transport);
	l->protocol.gone(c);
}

void
listener_accept(struct listener *l, const struct socket *s)
{
	for (int i = 0; i < LISTENER_ACCEPTS; i++) {
		struct sockaddr_storage sa = { .ss_family = AF_UNSPEC };
		socklen_t len = sizeof(sa);
		int fd = accept4(s->fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct peer peer;

		if (fd < 0 &&
		    (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
			log_warn("listener.accept", LS("fault", strerror(errno)),
			    LU("connections", l->conn_count));
			listener_watch_sockets(l, false);
			loop_timer_set(l->loop, &l->accept_timer, ACCEPT_PAUSE_US, accept_again, l);
			return;
		}
		if (fd < 0)
			return;
		peer = peer_of_sockaddr(&sa);
		if (is_welcome(l, s, &peer))
			admit(l, s, fd, &peer);
		else
			close(fd);
	}
}
