/* listeners.h - the listening sockets: opened once, passed to connectivity, kept open across its restarts
 *
 * While no worker accepts, connections queue in the kernel; none is refused. A TCP socket is all workers'. Of UDP each
 * worker has a socket of its own, bound to the same port (SO_REUSEPORT): the kernel gives each client's datagrams to one of them, to the same
 * one as long as all of them are open. */
#ifndef ROOST_LISTENERS_H
#define ROOST_LISTENERS_H

#include <stddef.h>

#include "address.h"
#include "buf.h"
#include "settings.h"

#define LISTENERS_MAX 64
#define LISTENERS_BACKLOG 4096 /* the kernel caps it at net.core.somaxconn */

#define LISTENERS_SOCKETS_MAX 1024 /* of all workers */
#define LISTENERS_OF_ALL (-1)

struct listener {
	const char *kind;		/* "mqtt", "mqtt-ws", "coap", "http" */
	int worker;			/* whose it is: number of the worker, or LISTENERS_OF_ALL */
	char address[ADDRESS_TEXT_MAX]; /* as bound: port 0 is resolved */
	int fd;
};

struct listeners {
	struct listener list[LISTENERS_SOCKETS_MAX];
	size_t count;
};

/* 0; ERR_CONFIG (an address this machine does not have, no permission) or ERR_AGAIN (in use), with a sentence in err. */
int listeners_open(struct listeners *l, const struct settings *settings, struct buf *err);
void listeners_close(struct listeners *l);
/* Is it one that this worker gets? */
bool listener_is_of(const struct listener *l, unsigned worker);
/* "mqtt=5=127.0.0.1:1883,..." for this worker's ROOST_LISTEN. */
void listeners_text(const struct listeners *l, unsigned worker, struct buf *out);

#endif
