/* bus.c - messages between processes over ZeroMQ
 *
 * Each link has two sources in the loop: its own descriptor, and for a connected link that of its monitor, which tells
 * when the connection stands and when it is gone. */
#include "bus_impl.h"

#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "err.h"
#include "flow.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"

#define HWM 8192 /* messages; above all credit that storage grants one peer */
#define FRAME_MAX (16 << 20)
#define RECONNECT_MIN_MS 1
#define RECONNECT_MAX_MS 10 /* a connect to a socket that nobody serves costs microseconds */

/* czmq's context is the process's: the last bus ends it. */
static unsigned bus_count;

static bool
is_flow(struct bus_link *link, const char *from, enum msg_type type)
{
	if (strcmp(link->sender, from) != 0) {
		snprintf(link->sender, sizeof link->sender, "%s", from);
		link->sender_types = flow_types(from, link->bus->self);
	}
	return link->sender_types >> type & 1;
}

static void
flush(void *arg)
{
	bus_flush(arg);
}

struct bus *
bus_new(struct loop *loop, const char *self, const char *run_dir, bus_msg_fn on_msg,
    bus_link_fn on_link, void *arg)
{
	struct bus *bus = xcalloc(1, sizeof *bus);

	/* czmq takes SIGINT and SIGTERM unless told otherwise before its first socket. */
	zsys_init();
	zsys_handler_set(NULL);
	zsys_set_linger(0);
	bus_count++;
	bus->loop = loop;
	snprintf(bus->self, sizeof bus->self, "%s", self);
	snprintf(bus->run_dir, sizeof bus->run_dir, "%s", run_dir);
	bus->on_msg = on_msg;
	bus->on_link = on_link;
	bus->arg = arg;
	loop_after_turn(loop, flush, bus);
	return bus;
}

void
bus_free(struct bus **p_bus)
{
	struct bus *bus = *p_bus;

	if (!bus)
		return;
	while (bus->links) {
		struct bus_link *link = bus->links;

		bus_close(bus, &link);
	}
	loop_after_turn_del(bus->loop, bus);
	free(bus->spare);
	free(bus);
	*p_bus = NULL;
	if (--bus_count == 0)
		zsys_shutdown();
}

static bool
is_name(const uint8_t *s, size_t len)
{
	if (len == 0 || len >= BUS_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		bool ok =
		    (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= '0' && s[i] <= '9') || s[i] == '-';

		if (!ok)
			return false;
	}
	return true;
}

static void
reject(const struct bus_link *link, const char *from, const char *why, const char *what)
{
	metric_add(M_BUS_REJECTED, 1);
	log_warn("bus.reject", LS("endpoint", link->endpoint), LS("from", from), LS("why", why),
	    LS("message", what));
}

/* Drops the rest of a message that has more parts than it should. */
static void
drop_parts(struct bus_link *link)
{
	zmq_msg_t part;

	zmq_msg_init(&part);
	do {
		if (zmq_msg_recv(&part, link->zmq, ZMQ_DONTWAIT) < 0)
			break;
	} while (zmq_msg_more(&part));
	zmq_msg_close(&part);
}

struct bytes
bus_frame_bytes(struct frame *frame)
{
	if (frame->part.len)
		return frame->part;
	return bytes_of(zmq_msg_data(&frame->msg), zmq_msg_size(&frame->msg));
}

static void
dispatch(struct bus_link *link, const char *from, struct frame **frame)
{
	struct bus_msg m = { .link = link, .from = from, .frame = frame };
	union msg_any any;
	int err = codec_decode(bus_frame_bytes(*frame), &m.type, &any);

	if (err) {
		reject(link, from, err_name(err), "?");
	} else if (!is_flow(link, from, m.type)) {
		reject(link, from, "not an edge of flow.def", msg_name(m.type));
	} else {
		m.any = &any;
		link->bus->on_msg(link->bus->arg, &m);
	}
}

static struct frame *
frame_new(struct bus *bus)
{
	struct frame *frame = bus->spare ? bus->spare : xmalloc(sizeof *frame);

	bus->spare = NULL;
	zmq_msg_init(&frame->msg);
	frame->part = bytes_of(NULL, 0);
	return frame;
}

void
bus_frame_free(struct bus *bus, struct frame **frame)
{
	if (*frame) {
		zmq_msg_close(&(*frame)->msg);
		free(bus->spare);
		bus->spare = *frame;
		*frame = NULL;
	}
}

/* The body behind a sender's name, which frame holds. Its name stays in ret_from, unless it is none. */
static bool
receive_body(struct bus_link *link, struct frame *frame, char ret_from[BUS_NAME_MAX])
{
	size_t len = zmq_msg_size(&frame->msg);
	bool named = is_name(zmq_msg_data(&frame->msg), len);

	if (named) {
		memcpy(ret_from, zmq_msg_data(&frame->msg), len);
		ret_from[len] = '\0';
	}
	if (zmq_msg_more(&frame->msg) && zmq_msg_recv(&frame->msg, link->zmq, ZMQ_DONTWAIT) >= 0 &&
	    named)
		return true;
	if (zmq_msg_more(&frame->msg))
		drop_parts(link);
	reject(link, named ? ret_from : "?", "no name or no body", "?");
	return false;
}

/* Returns how many messages there were in it. */
static int
dispatch_all(struct bus_link *link, const char *from, struct frame **p_frame)
{
	struct frame *frame = *p_frame;
	struct bytes rest, message;
	int n = 0, rc;

	if (!bundle_open(bus_frame_bytes(frame), &rest)) {
		dispatch(link, from, p_frame);
		return 1;
	}
	while ((rc = bundle_next(&rest, &message)) == 0) {
		frame->part = message;
		dispatch(link, from, p_frame);
		n++;
	}
	if (rc != ERR_NOT_FOUND)
		reject(link, from, "a bundle with a wrong length in it", "?");
	return n ? n : 1;
}

/* One message or bundle: on a bound link the sender's name comes first. Returns how many messages it was, 0 if none is
 * waiting. */
static int
receive_one(struct bus_link *link)
{
	char name[BUS_NAME_MAX];
	const char *from = link->is_bound ? name : link->peer;
	struct frame *frame = frame_new(link->bus);
	int n = zmq_msg_recv(&frame->msg, link->zmq, ZMQ_DONTWAIT) >= 0;

	if (n && (!link->is_bound || receive_body(link, frame, name))) {
		if (zmq_msg_more(&frame->msg)) {
			drop_parts(link);
			reject(link, from, "more than one part", "?");
		} else {
			n = dispatch_all(link, from, &frame);
		}
	}
	bus_frame_free(link->bus, &frame);
	return n;
}

/* Until the socket says that it has no more: asking it first would cost each message a system call. */
static int
drain_link(void *arg, int max)
{
	struct bus_link *link = arg;
	int n = 0, got;

	while (n < max && (got = receive_one(link)) > 0)
		n += got;
	return n;
}

static void
set_up(struct bus_link *link, bool up)
{
	if (link->is_up == up)
		return;
	link->is_up = up;
	log_debug("bus.link", LS("endpoint", link->endpoint), LS("state", up ? "up" : "down"));
	if (link->bus->on_link)
		link->bus->on_link(link->bus->arg, link, up);
}

/* A monitor event: one part {event u16, value u32}, one part with the address. */
static int
drain_monitor(void *arg, int max)
{
	struct bus_link *link = arg;
	int n;

	for (n = 0; n < max && link->monitor; n++) {
		uint16_t event = 0;
		zmq_msg_t part;
		bool got;

		zmq_msg_init(&part);
		got = zmq_msg_recv(&part, link->monitor, ZMQ_DONTWAIT) >= 0;
		if (got && zmq_msg_size(&part) >= sizeof event)
			memcpy(&event, zmq_msg_data(&part), sizeof event);
		while (got && zmq_msg_more(&part) &&
		       zmq_msg_recv(&part, link->monitor, ZMQ_DONTWAIT) >= 0) {
		}
		zmq_msg_close(&part);
		if (!got)
			break;
		if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED)
			set_up(link, true);
		else if (event == ZMQ_EVENT_DISCONNECTED)
			set_up(link, false);
	}
	return n;
}

static int
zmq_fd_of(void *zmq)
{
	int fd = -1;
	size_t size = sizeof fd;
	int rc = zmq_getsockopt(zmq, ZMQ_FD, &fd, &size);

	ASSERT(rc == 0);
	return fd;
}

static struct bus_link *
link_new(struct bus *bus, const char *endpoint, int type)
{
	struct bus_link *link = xcalloc(1, sizeof *link);

	link->bus = bus;
	link->is_bound = type == ZMQ_ROUTER;
	snprintf(link->endpoint, sizeof link->endpoint, "%s", endpoint);
	/* A shard is served by whichever storage worker holds it. */
	if (strncmp(endpoint, "shard-", 6) == 0)
		snprintf(link->peer, sizeof link->peer, "storage-%.20s", endpoint + 6);
	else
		snprintf(link->peer, sizeof link->peer, "%s", endpoint);
	link->sock = zsock_new(type);
	ASSERT(link->sock);
	link->zmq = zsock_resolve(link->sock);
	zsock_set_linger(link->sock, 0);
	zsock_set_sndhwm(link->sock, HWM);
	zsock_set_rcvhwm(link->sock, HWM);
	zsock_set_maxmsgsize(link->sock, FRAME_MAX);
	zsock_set_reconnect_ivl(link->sock, RECONNECT_MIN_MS);
	zsock_set_reconnect_ivl_max(link->sock, RECONNECT_MAX_MS);
	link->next = bus->links;
	bus->links = link;
	return link;
}

static int
address_of(const struct bus *bus, const char *endpoint, char *address, size_t size)
{
	int n = snprintf(address, size, "ipc://%s/%s", bus->run_dir, endpoint);

	if (n < 0 || (size_t)n >= size ||
	    (size_t)n - strlen("ipc://") >= sizeof((struct sockaddr_un){ 0 }.sun_path)) {
		log_error("bus.path", LS("run_dir", bus->run_dir), LS("endpoint", endpoint),
		    LS("fault", "longer than a unix socket's path may be"),
		    LS("remedy", "choose a shorter data_dir"));
		return ERR_TOO_BIG;
	}
	return 0;
}

int
bus_bind(struct bus *bus, const char *endpoint, struct bus_link **ret_link)
{
	char address[160];
	struct bus_link *link;
	int err = address_of(bus, endpoint, address, sizeof address);

	if (err)
		return err;
	link = link_new(bus, endpoint, ZMQ_ROUTER);
	zsock_set_router_mandatory(link->sock, 1);
	zsock_set_router_handover(link->sock, 1);
	if (zmq_bind(link->zmq, address) != 0) {
		log_error(
		    "bus.bind", LS("address", address), LS("fault", zmq_strerror(zmq_errno())));
		bus_close(bus, &link);
		return ERR_IO;
	}
	link->is_up = true;
	link->source = loop_source_add(bus->loop, zmq_fd_of(link->zmq), drain_link, link);
	*ret_link = link;
	return 0;
}

int
bus_connect(struct bus *bus, const char *endpoint, struct bus_link **ret_link)
{
	char address[160], monitor[80];
	struct bus_link *link;
	int err = address_of(bus, endpoint, address, sizeof address);

	if (err)
		return err;
	link = link_new(bus, endpoint, ZMQ_DEALER);
	zsock_set_identity(link->sock, bus->self);
	snprintf(monitor, sizeof monitor, "inproc://monitor-%p", (void *)link);
	if (zmq_socket_monitor(
		link->zmq, monitor, ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED) != 0) {
		log_error(
		    "bus.monitor", LS("address", address), LS("fault", zmq_strerror(zmq_errno())));
		bus_close(bus, &link);
		return ERR_IO;
	}
	link->monitor = zmq_socket(zsys_init(), ZMQ_PAIR);
	ASSERT(link->monitor);
	zmq_setsockopt(link->monitor, ZMQ_LINGER, &(int){ 0 }, sizeof(int));
	if (zmq_connect(link->monitor, monitor) != 0 || zmq_connect(link->zmq, address) != 0) {
		log_error(
		    "bus.connect", LS("address", address), LS("fault", zmq_strerror(zmq_errno())));
		bus_close(bus, &link);
		return ERR_IO;
	}
	link->source = loop_source_add(bus->loop, zmq_fd_of(link->zmq), drain_link, link);
	link->monitor_source =
	    loop_source_add(bus->loop, zmq_fd_of(link->monitor), drain_monitor, link);
	*ret_link = link;
	return 0;
}

void
bus_close(struct bus *bus, struct bus_link **p_link)
{
	struct bus_link *link = *p_link;

	if (!link)
		return;
	*p_link = NULL;
	for (struct bus_link **at = &bus->links; *at; at = &(*at)->next) {
		if (*at == link) {
			*at = link->next;
			break;
		}
	}
	loop_source_del(bus->loop, &link->source);
	loop_source_del(bus->loop, &link->monitor_source);
	if (link->monitor) {
		zmq_socket_monitor(link->zmq, NULL, 0);
		zmq_close(link->monitor);
	}
	zsock_destroy(&link->sock);
	bundles_fini(&link->bundles);
	free(link);
}

const char *
bus_link_endpoint(const struct bus_link *link)
{
	return link->endpoint;
}

bool
bus_link_is_up(const struct bus_link *link)
{
	return link->is_up;
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

uint8_t *
frame_writable(struct frame *frame, struct bytes field)
{
	uint8_t *data = zmq_msg_data(&frame->msg);
	size_t at = (size_t)(field.data - data);

	ASSERT(at <= zmq_msg_size(&frame->msg) && field.len <= zmq_msg_size(&frame->msg) - at);
	return data + at;
}
