/* bus.h - messages between processes over ZeroMQ, treated as a fast pipe that loses
 *
 * A bound endpoint is a ROUTER (MANDATORY, HANDOVER), a connected one a DEALER whose identity is the process's name
 * ("limiter-0"). Endpoints are ipc sockets in <data_dir>/run, mode 0700: "shard-0" (served by the storage worker that holds
 * the shard), "limiter-0". No ZMTP heartbeats (libzmq#3596), small high-water marks above the credit, LINGER 0. A frame
 * is one encoded message (codec.h), or several small ones behind one another. Frames that are malformed, or that flow.def does not allow from their sender,
 * are counted and dropped. */
#ifndef ROOST_BUS_H
#define ROOST_BUS_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "codec.h"
#include "loop.h"

#define BUS_NAME_MAX 40 /* "connectivity-12", with NUL */

struct bus;
struct bus_link;
struct frame;

struct bus_msg {
	struct bus_link *link; /* the socket it came by */
	const char
	    *from; /* name of the sending process, "storage-0" for a shard's answers; borrowed */
	enum msg_type type;
	const union msg_any *any; /* borrowed; fields borrow from frame */
	struct frame **frame;	  /* bus_forward(..., m->frame) takes it over */
};

typedef void (*bus_msg_fn)(void *arg, struct bus_msg *m);
/* up: the connection stands (again): say HELLO; down: it is gone. Only for connected links. */
typedef void (*bus_link_fn)(void *arg, struct bus_link *link, bool up);

/* self: this process's name. run_dir: where the ipc sockets are. */
struct bus *bus_new(struct loop *loop, const char *self, const char *run_dir, bus_msg_fn on_msg,
    bus_link_fn on_link, void *arg);
void bus_free(struct bus **bus);

int bus_bind(struct bus *bus, const char *endpoint, struct bus_link **ret_link);
/* Never fails because the other side is away: it connects when it can (1..10 ms). */
int bus_connect(struct bus *bus, const char *endpoint, struct bus_link **ret_link);
/* Not from a callback of the same link. */
void bus_close(struct bus *bus, struct bus_link **link);
const char *bus_link_endpoint(const struct bus_link *link);
bool bus_link_is_up(const struct bus_link *link);
void bus_link_set_data(struct bus_link *link, void *data);
void *bus_link_data(const struct bus_link *link);

/* Never block. peer: name of the receiver on a bound link, NULL on a connected one. 0; ERR_AGAIN: the receiver is behind;
 * ERR_NOT_FOUND: it is not connected. Failures are counted (M_BUS_DROPPED). Small messages are gathered and go together, in
 * order with the large ones, at bus_flush(): for them a receiver that is not connected shows only in the count. */
int bus_send(struct bus_link *link, const char *peer, enum msg_type type, const void *msg);
/* Sends a frame that was received, as it is (its bytes may have been changed in place). On success *frame is taken over and
 * NULL, or it was small and is copied. */
int bus_forward(struct bus_link *link, const char *peer, struct frame **frame);
/* Sends what was gathered. The loop does it at the end of each turn; here it does not wait for that. What a receiver that is
 * behind cannot take yet stays for the next time. */
void bus_flush(struct bus *bus);
/* The writable bytes behind a field that borrows from this frame. */
uint8_t *frame_writable(struct frame *frame, struct bytes field);

#endif
