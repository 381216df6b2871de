/* fake_bus.h - a bus whose other side is the fuzzer: the calls of bus.h, without sockets
 *
 * To be included in one file of a target; the real bus is then not linked. What is sent is counted and dropped; messages
 * are delivered by fake_bus_deliver(), also such as flow.def would have stopped. */
#ifndef ROOST_FAKE_BUS_H
#define ROOST_FAKE_BUS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus.h"
#include "err.h"
#include "mem.h"

struct bus_link {
	char endpoint[BUS_NAME_MAX];
	bool up;
	void *data;
	struct bus_link *next;
};

struct bus {
	bus_msg_fn on_msg;
	bus_link_fn on_link;
	void *arg;
	struct bus_link *links;
	int send_result;
	uint64_t sent;
};

struct frame {
	struct buf bytes;
};

static struct bus fake_bus;
/* Looks at what is sent; may be NULL. */
static void (*fake_bus_on_send)(struct bus_link *link, const char *peer, enum msg_type type, const void *msg);

struct bus *
bus_new(struct loop *loop, const char *self, const char *run_dir, bus_msg_fn on_msg,
    bus_link_fn on_link, void *arg)
{
	(void)loop;
	(void)self;
	(void)run_dir;
	fake_bus = (struct bus){ .on_msg = on_msg, .on_link = on_link, .arg = arg };
	return &fake_bus;
}

void
bus_close(struct bus *bus, struct bus_link **p_link)
{
	struct bus_link *link = *p_link;

	for (struct bus_link **at = &bus->links; link && *at; at = &(*at)->next) {
		if (*at == link) {
			*at = link->next;
			break;
		}
	}
	free(link);
	*p_link = NULL;
}

void
bus_free(struct bus **p_bus)
{
	while (*p_bus && (*p_bus)->links) {
		struct bus_link *link = (*p_bus)->links;

		bus_close(*p_bus, &link);
	}
	*p_bus = NULL;
}

int
bus_connect(struct bus *bus, const char *endpoint, struct bus_link **ret_link)
{
	struct bus_link *link = xcalloc(1, sizeof *link);

	snprintf(link->endpoint, sizeof link->endpoint, "%s", endpoint);
	link->next = bus->links;
	bus->links = link;
	*ret_link = link;
	return 0;
}

int
bus_bind(struct bus *bus, const char *endpoint, struct bus_link **ret_link)
{
	return bus_connect(bus, endpoint, ret_link);
}

const char *
bus_link_endpoint(const struct bus_link *link)
{
	return link->endpoint;
}

bool
bus_link_is_up(const struct bus_link *link)
{
	return link->up;
}

void
bus_link_set_data(struct bus_link *link, void *data)
{
	link->data = data;
}

void *
bus_link_data(const struct bus_link *link)
{
	return link->data;
}

int
bus_send(struct bus_link *link, const char *peer, enum msg_type type, const void *msg)
{
	if (fake_bus.send_result)
		return fake_bus.send_result;
	fake_bus.sent++;
	if (fake_bus_on_send)
		fake_bus_on_send(link, peer, type, msg);
	return 0;
}

int
bus_forward(struct bus_link *link, const char *peer, struct frame **frame)
{
	(void)link;
	(void)peer;
	(void)frame;
	return fake_bus.send_result;
}

uint8_t *
frame_writable(struct frame *frame, struct bytes field)
{
	size_t at = (size_t)(field.data - frame->bytes.data);

	ASSERT(at <= frame->bytes.len && field.len <= frame->bytes.len - at);
	return frame->bytes.data + at;
}

static inline struct bus_link *
fake_bus_link(const char *endpoint)
{
	struct bus_link *link = fake_bus.links;

	while (link && strcmp(link->endpoint, endpoint) != 0)
		link = link->next;
	ASSERT(link);
	return link;
}

static inline void
fake_bus_turn_link(struct bus_link *link, bool up)
{
	if (link->up == up)
		return;
	link->up = up;
	fake_bus.on_link(fake_bus.arg, link, up);
}

/* A frame as it came over the wire: decoded, or dropped as the bus drops it. */
static inline int
fake_bus_deliver(struct bus_link *link, const char *from, struct bytes bytes)
{
	struct frame frame = { 0 }, *f = &frame;
	struct bus_msg m = { .link = link, .from = from, .frame = &f };
	union msg_any any;
	int err;

	buf_add(&frame.bytes, bytes.data, bytes.len);
	err = codec_decode(buf_bytes(&frame.bytes), &m.type, &any);
	if (err == 0) {
		m.any = &any;
		fake_bus.on_msg(fake_bus.arg, &m);
	}
	buf_fini(&frame.bytes);
	return err;
}

#endif
