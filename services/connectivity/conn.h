/* conn.h - what a protocol sees of a connection: bytes to send, whether to read on, a deadline
 *
 * A protocol only changes the connection's fields, through these functions; the connection then is on the set's list of
 * touched ones, and the listener does what has changed at the end of the turn. So the protocol makes no system call. */
#ifndef ROOST_CONN_H
#define ROOST_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "loop.h"
#include "peer.h"

#define CONN_POOL_MAX 4096	/* spare buffers kept, ... */
#define CONN_POOL_BYTES_MAX (8u << 20)	/* ... of so many bytes in all */
#define CONN_POOL_BUF_MAX 65536	/* larger ones are freed */
#define CONN_URGENT_BYTES 65536	/* output of this size is sent before the turn ends */

enum conn_close { CONN_OPEN, CONN_CLOSE, CONN_CLOSED };

/* Embedded as the first member of the protocol's own connection; zeroed, then conn_init(). Buffers are borrowed from the
 * set's pool while they hold something, so an idle connection has none. */
struct conn {
	struct conn_set *set;
	struct conn *touched_next;
	struct buf *out;
	struct buf *in;			/* input kept: an incomplete packet, or what waits while paused */
	int64_t deadline_us;		/* the protocol is called then; 0: never */
	struct transport *transport;	/* NULL: bytes come and go as they are */
	struct loop_timer timer;	/* the listener's own */
	struct peer peer;		/* as its proxy says, where there is one */
	int fd;
	uint32_t out_at;		/* sent so far */
	uint32_t in_at;			/* taken so far */
	uint32_t paused;		/* bits, each with its owner's reason; not 0: input waits */
	uint32_t unsent;		/* of out, as it is counted in the set's total */
	uint32_t kept;			/* of in, as it is counted in the listener's totals */
	uint32_t need;			/* size of the packet that in begins with; 0: not known */
	uint8_t closing;		/* enum conn_close */
	uint8_t events;			/* what epoll waits for: EPOLLIN, EPOLLOUT */
	bool touched;
	bool hungry;			/* the protocol has more to send: it is told when output was sent */
	bool lingering;			/* from here: the listener's own */
	bool counted;			/* in the listener's counts of addresses */
	bool waits;			/* the protocol left what is kept because it is paused */
	bool kept_paused;		/* kept is counted among what is paused, too */
};

/* The bit of paused that is the listener's own: output is not being read. */
#define CONN_PAUSED_OUT 0x80000000u
/* Another one: its handshake waits for its turn. */
#define CONN_PAUSED_TLS 0x40000000u

struct conn_set {
	struct listener *listener;	/* whose connections these are; NULL in tests of a protocol */
	struct conn *touched;
	struct conn **touched_end;
	uint64_t bytes_sent;		/* by all connections */
	size_t unsent;			/* of the output of all: when the turn began, ... */
	size_t put;			/* ... and what the protocol has counted of it in this turn */
	bool urgent;			/* some output has reached CONN_URGENT_BYTES */
	struct buf *pool[CONN_POOL_MAX];
	size_t pool_count;
	size_t pool_bytes;
};

void conn_set_init(struct conn_set *set);
void conn_set_fini(struct conn_set *set);
void conn_init(struct conn *c, struct conn_set *set);
void conn_fini(struct conn *c);
void conn_touch(struct conn *c);
struct conn *conn_next_touched(struct conn_set *set);

struct buf *conn_out_begin(struct conn *c);	/* conn_out() when there is more to do */

/* Where to append what goes to the peer. */
static inline struct buf *
conn_out(struct conn *c)
{
	return c->out && c->touched && c->out->len < CONN_URGENT_BYTES ? c->out : conn_out_begin(c);
}

static inline size_t
conn_out_len(const struct conn *c)
{
	return c->out ? c->out->len - c->out_at : 0;
}

void conn_pause(struct conn *c, uint32_t why);
void conn_resume(struct conn *c, uint32_t why);
void conn_deadline(struct conn *c, int64_t at_us);
/* Sends what is in out, then closes. No input any more. */
void conn_close(struct conn *c);

struct buf *conn_buf_take(struct conn_set *set);
void conn_buf_give(struct conn_set *set, struct buf **buf);

#endif
