/* lifecycle.h - a worker's side of the control channel: READY, heartbeat, BUSY, drain, death of the parent
 *
 * One message a packet on an inherited SOCK_SEQPACKET socket. Its end of file means that the supervisor is gone: the process
 * exits at once, because another supervisor may already be starting the same worker. */
#ifndef ROOST_LIFECYCLE_H
#define ROOST_LIFECYCLE_H

#include "codec.h"
#include "loop.h"

#define LIFECYCLE_HEARTBEAT_US 500000

struct lifecycle;

/* on_drain: the supervisor asked to stop, or SIGTERM came. fd: the control socket, or -1 for none (a worker by hand). */
struct lifecycle *lifecycle_new(struct loop *loop, int fd, loop_fn on_drain, void *arg);
/* on_reload: SIGHUP came; before this, and without it, it means nothing. */
void lifecycle_on_reload(struct lifecycle *lc, loop_fn on_reload);
void lifecycle_free(struct lifecycle **lc);
/* Start is over; heartbeats go out from now on. */
void lifecycle_ready(struct lifecycle *lc);
void lifecycle_send(struct lifecycle *lc, enum msg_type type, const void *msg);

#endif
