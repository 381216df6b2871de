/* listener_impl.h - what the listener files share */
#ifndef ROOST_LISTENER_IMPL_H
#define ROOST_LISTENER_IMPL_H

#include <sys/types.h>

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
	struct transport_queue handshakes; /* that wait for their turn */
	struct transport_queue keyless;	   /* that wait for a pre-shared key */
	int64_t handshaken_us;		   /* spent with others in this one */
	uint8_t *shared; /* SMALL_REST + LISTENER_READ_BYTES */
	uint8_t *sealed; /* TLS_INPUT_MAX, where there is TLS */
};

#define LISTENER_SMALL_REST 4096 /* an incomplete packet up to here is copied in front of the next read */

/* listener.c */
void listener_lost(struct conn *c);
void listener_read(struct listener *l, struct conn *c);
/* The kernel has taken n bytes of what the protocol put out. */
void listener_took(struct listener *l, struct conn *c, size_t n);
size_t listener_read_max(const struct listener *l);

/* listener_tls.c */
ssize_t listener_tls_read(struct listener *l, struct conn *c, uint8_t *to, size_t *ret_len);
void listener_tls_send(struct listener *l, struct conn *c);
/* What c has sent is of a handshake: it is read now, or when it is its turn. */
void listener_handshake(struct listener *l, struct conn *c);
/* Goes on with those that waited; at the end of a turn. */
void listener_handshakes(struct listener *l);

/* listener_accept.c */
void listener_watch_sockets(struct listener *l, bool on);
void listener_accept(struct listener *l, const struct socket *s);
/* Who it is, is known: false if there are too many from there. */
bool listener_count_address(struct listener *l, struct conn *c);
void listener_forget_address(struct listener *l, struct conn *c);

#endif
