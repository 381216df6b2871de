/* listeners.h - the listening TCP sockets: opened once, passed to connectivity, kept open across its restarts
 *
 * While no worker accepts, connections queue in the kernel; none is refused. */
#ifndef ROOST_LISTENERS_H
#define ROOST_LISTENERS_H

#include <stddef.h>

#include "address.h"
#include "buf.h"
#include "settings.h"

#define LISTENERS_MAX 64
#define LISTENERS_BACKLOG 4096 /* the kernel caps it at net.core.somaxconn */

struct listener {
	const char *kind; /* "mqtt", "mqtt-ws" */
	char address[ADDRESS_TEXT_MAX]; /* as bound: port 0 is resolved */
	int fd;
};

struct listeners {
	struct listener list[LISTENERS_MAX];
	size_t count;
};

/* 0; ERR_CONFIG (an address this machine does not have, no permission) or ERR_AGAIN (in use), with a sentence in err. */
int listeners_open(struct listeners *l, const struct settings *settings, struct buf *err);
void listeners_close(struct listeners *l);
/* "mqtt=5=127.0.0.1:1883,..." for ROOST_LISTEN. */
void listeners_text(const struct listeners *l, struct buf *out);

#endif
