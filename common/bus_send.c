/* bus_send.c - messages to other processes: small ones gathered to one frame a turn, large ones encoded in place */
#include "bus_impl.h"

#include "err.h"
#include "metrics.h"

#define SMALL_MAX 4096	/* bytes of a message that is gathered */
#define BUNDLES_IDLE 16 /* of a link, that stay when their peers get nothing in a turn */

static int
send_error(void)
{
	int why = zmq_errno();

	if (why == EHOSTUNREACH)
		return ERR_NOT_FOUND;
	return why == EAGAIN ? ERR_AGAIN : ERR_IO;
}

static int
send_failed(void)
{
	int err = send_error();

	metric_add(M_BUS_DROPPED, 1);
	return err;
}

/* After the name's part is taken, libzmq takes the body too: it checks the peer's pipe at the first part only. */
static int
send_name(struct bus_link *link, const char *peer)
{
	loop_source_used(link->source);
	if (!link->is_bound)
		return 0;
	ASSERT(peer);
	if (zmq_send(link->zmq, peer, strlen(peer), ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0)
		return send_error();
	return 0;
}

/* Encodes right into the message that goes out: a large body is copied once. */
static int
send_large(struct bus_link *link, enum msg_type type, const void *msg, size_t size)
{
	zmq_msg_t frame;
	struct buf out = { .cap = size, .max = size };

	if (zmq_msg_init_size(&frame, size) != 0)
		return send_failed();
	out.data = zmq_msg_data(&frame);
	codec_encode(type, msg, &out);
	ASSERT(out.len == size && out.data == zmq_msg_data(&frame));
	if (zmq_msg_send(&frame, link->zmq, ZMQ_DONTWAIT) >= 0)
		return 0;
	zmq_msg_close(&frame);
	return send_failed();
}

/* What cannot go because the receiver is behind stays; else the bundle is empty afterwards. */
static int
gathered_flush(struct bus_link *link, struct bundle *b)
{
	struct bytes frame;
	int err;

	if (b->count == 0)
		return 0;
	frame = bundle_frame(b);
	err = send_name(link, b->peer);
	if (!err && zmq_send(link->zmq, frame.data, frame.len, ZMQ_DONTWAIT) < 0)
		err = send_error();
	if (err == ERR_AGAIN)
		return err;
	if (err)
		metric_add(M_BUS_DROPPED, b->count);
	bundle_clear(b);
	return err;
}

/* Where the next message of so many bytes goes; NULL if its receiver is behind. */
static struct buf *
gather(struct bus_link *link, struct bundle *b, size_t size)
{
	if (!bundle_fits(b, size) && gathered_flush(link, b) == ERR_AGAIN) {
		metric_add(M_BUS_DROPPED, 1);
		return NULL;
	}
	return bundle_add(b, size);
}

/* Peers come and go, tools with their pids in their names: who got nothing does not keep a bundle for good. */
static void
link_flush(struct bus_link *link)
{
	for (struct bundle **at = &link->bundles.first; *at;) {
		bool was_empty = (*at)->count == 0;
		int err = gathered_flush(link, *at);

		if (err == ERR_NOT_FOUND || (was_empty && link->bundles.count > BUNDLES_IDLE))
			bundle_free(&link->bundles, at);
		else
			at = &(*at)->next;
	}
}

void
bus_flush(struct bus *bus)
{
	for (struct bus_link *link = bus->links; link; link = link->next)
		link_flush(link);
}

/* Behind what waits for the same peer. */
static int
overtake_nothing(struct bus_link *link, struct bundle *b)
{
	int err = gathered_flush(link, b);

	if (!err)
		err = send_name(link, b->peer);
	if (err)
		metric_add(M_BUS_DROPPED, 1);
	return err;
}

int
bus_send(struct bus_link *link, const char *peer, enum msg_type type, const void *msg)
{
	struct bundle *b = bundle_of(&link->bundles, link->is_bound ? peer : "");
	size_t size = codec_size(type, msg);
	struct buf *out;
	int err;

	/* A link that is down is told now that nobody is there. */
	if (size <= SMALL_MAX && link->is_up) {
		out = gather(link, b, size);
		if (!out)
			return ERR_AGAIN;
		codec_encode(type, msg, out);
		return 0;
	}
	err = overtake_nothing(link, b);
	return err ? err : send_large(link, type, msg, size);
}

int
bus_forward(struct bus_link *link, const char *peer, struct frame **frame)
{
	struct bundle *b = bundle_of(&link->bundles, link->is_bound ? peer : "");
	struct bytes bytes = bus_frame_bytes(*frame);
	struct buf *out;
	int err;

	if ((*frame)->part.len || bytes.len <= SMALL_MAX) {
		out = gather(link, b, bytes.len);
		if (!out)
			return ERR_AGAIN;
		buf_add(out, bytes.data, bytes.len);
		return 0;
	}
	err = overtake_nothing(link, b);
	if (err)
		return err;
	if (zmq_msg_send(&(*frame)->msg, link->zmq, ZMQ_DONTWAIT) < 0)
		return send_failed();
	bus_frame_free(link->bus, frame);
	return 0;
}
