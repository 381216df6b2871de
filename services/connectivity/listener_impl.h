/* listener_impl.h - what the listener files share */
#ifndef ROOST_LISTENER_IMPL_H
#define ROOST_LISTENER_IMPL_H

#include "listener.h"
#include "per_address.h"

struct socket { /* a listening one */
	const struct transport_door *door;
	int fd;
	bool loopback;
};

struct listener {
	struct loop *loop;
	struct listener_protocol protocol;
	const struct transport_doors *doors;
	struct conn_set *set;
	struct loop_fd *lfd;
	int epoll_fd;
	struct socket sockets[LISTENER_SOCKETS_MAX];
	size_t socket_count;
	size_t conn_count;
	struct per_address per_address;
	size_t kept;	    /* bytes of input kept */
	size_t kept_paused; /* ... of these by connections that are paused */
	bool accepting;
	bool stopped;
	bool reading; /* the epoll set is watched */
	struct loop_timer accept_timer;
	uint8_t *shared; /* SMALL_REST + LISTENER_READ_BYTES */
};

/* listener_accept.c */
void listener_watch_sockets(struct listener *l, bool on);
void listener_accept(struct listener *l, const struct socket *s);
/* Who it is, is known: false if there are too many from there. */
bool listener_count_address(struct listener *l, struct conn *c);
void listener_forget_address(struct listener *l, struct conn *c);

#endif
