/* listener.h - accept, read, write, close; connection caps and deadlines; knows no protocol
 *
 * All connections are in an epoll set of their own, which is one descriptor of the worker's loop. Input is read into one
 * large buffer that all connections share; only what a protocol has not taken is kept, per connection. What is to be
 * sent is gathered per connection and written once, at the end of the turn. */
#ifndef ROOST_LISTENER_H
#define ROOST_LISTENER_H

#include "conn.h"
#include "metrics.h"
#include "transport.h"
#include "worker.h"

#define LISTENER_READ_BYTES 262144		/* one read takes at most this much */
#define LISTENER_EVENTS 128			/* connections served in one turn */
#define LISTENER_ACCEPTS 64			/* accepted in one turn, of each socket */
#define LISTENER_SOCKETS_MAX 64
#define LISTENER_INPUT_MAX (128u << 20)		/* kept input of all connections, see listener.c */
#define LISTENER_LINGER_US 1000000		/* a closed connection's last input is thrown away for this long */

struct listener;

/* Whose gauges and counters these are. */
struct listener_metrics {
	enum metric_id over_limit, over_address_limit, input_bytes, output_bytes;
};

/* What a protocol does. Connections begin with struct conn; fd, events, timer are the listener's. */
struct listener_protocol {
	enum transport_protocol serves;		/* behind which doors */
	struct listener_metrics metrics;
	const char *per_address_setting;	/* its name in what is logged */
	size_t connections_max;
	uint32_t connections_per_address;	/* 0: no limit */
	struct conn *(*open)(void *arg, bool loopback);
	/* As mqtt_conn_input(). */
	size_t (*input)(struct conn *c, struct bytes in, size_t *ret_need);
	/* Who it is, if that was not known when it was opened: a proxy has said it. */
	void (*announced)(struct conn *c, bool loopback);
	void (*deadline)(struct conn *c);
	void (*sent)(struct conn *c);	/* of one that is hungry, when little of its output is left */
	/* The peer has ended it, or has broken a rule of what carries the protocol: conn_close() is expected. */
	void (*cut)(struct conn *c);
	void (*gone)(struct conn *c);	/* the socket is closed; frees c */
	void (*now)(void *arg, int64_t now_us);	/* before any of these in a turn */
	void *arg;
};

/* Serves those of the worker's listening sockets that are for this protocol; how each speaks stands in doors, which stays the caller's. set: that of the
 * protocol's connections. */
struct listener *listener_new(struct worker *w, const struct listener_protocol *protocol,
    const struct transport_doors *doors, struct conn_set *set);
void listener_free(struct listener **l);
/* Does what has changed on touched connections: goes on reading, sends, closes. From the worker's turn. */
void listener_turn(struct listener *l);
/* Accepts no more. */
void listener_stop_accepting(struct listener *l);
/* No connection is left. */
bool listener_is_empty(const struct listener *l);

#endif
