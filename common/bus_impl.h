/* bus_impl.h - what bus.c and bus_send.c share */
#ifndef ROOST_BUS_IMPL_H
#define ROOST_BUS_IMPL_H

#include <czmq.h>

#include "bundle.h"
#include "bus.h"

/* What was received. part: the message of a bundle that is being handled; else empty. */
struct frame {
	zmq_msg_t msg;
	struct bytes part;
};

struct bus_link {
	struct bus *bus;
	char endpoint[BUS_NAME_MAX];
	char peer
	    [BUS_NAME_MAX]; /* of a connected link: who serves the endpoint, as flow.def names it */
	bool is_bound;
	bool is_up;
	zsock_t *sock;
	void *zmq;
	void *monitor;
	struct loop_source *source;
	struct loop_source *monitor_source;
	char sender
	    [BUS_NAME_MAX]; /* who sent last, and the types that flow.def lets it send: a bit each */
	uint64_t sender_types;
	void *data;
	struct bundles bundles;
	struct bus_link *next;
};

struct bus {
	struct loop *loop;
	char self[BUS_NAME_MAX];
	char run_dir[100];
	bus_msg_fn on_msg;
	bus_link_fn on_link;
	void *arg;
	struct bus_link *links;
	struct frame *spare; /* not in use at the moment, or NULL */
};

struct bytes bus_frame_bytes(struct frame *frame);
void bus_frame_free(struct bus *bus, struct frame **frame);

#endif
