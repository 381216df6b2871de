/* mqtt_session_parked.c - PUBLISHes of a 3.1.1 client that wait for room among QoS 2 readings without PUBREL
 *
 * 3.1.1 has no way to refuse a reading, so it is held until its limit allows it, and the client's next PUBLISH waits. If the limit
 * is that of readings whose PUBREL has not come, the PUBREL that would make room may stand behind that PUBLISH. So these are taken
 * out of the way, as they came, and go on in their order when none is held any more; everything else is dealt with at once. */
#include "mqtt_session_impl.h"

#include <stdlib.h>

#include "err.h"
#include "mem.h"

struct mqtt_parked {
	struct mqtt_conn *conn;
	struct mqtt_parked *next; /* of the broker's */
	struct mqtt_parked **link;
	struct buf frames;
};

/* A PUBLISH whose PUBREL is still to come, here. */
static bool
awaits_pubrel(const struct mqtt_session *s)
{
	const struct mqtt_id_entry *e;
	uint32_t at = 0;

	while ((e = mqtt_ids_next(&s->received, &at)))
		if (!(e->flags & MQTT_RECEIVED_WAITS))
			return true;
	return false;
}

static struct mqtt_parked *
parked_of(struct mqtt_conn *c)
{
	struct mqtt_broker *b = c->broker;
	struct mqtt_parked *p = c->parked;

	if (p)
		return p;
	p = xcalloc(1, sizeof(*p));
	p->conn = c;
	p->next = b->parked;
	p->link = &b->parked;
	if (p->next)
		p->next->link = &p->next;
	b->parked = p;
	c->parked = p;
	return p;
}

enum mqtt_done
mqtt_park(struct mqtt_conn *c, const struct mqtt_frame *f)
{
	struct mqtt_broker *b = c->broker;
	size_t have = c->parked ? c->parked->frames.len : 0;

	if (have + f->whole.len > MQTT_PARKED_MAX ||
	    b->held_bytes + f->whole.len > MQTT_HELD_BYTES_MAX) {
		if (!awaits_pubrel(c->session)) {
			conn_pause(&c->io, MQTT_PAUSED_HELD);
			return MQTT_LATER;
		}
		/* It sends them again, its PUBRELs first (MQTT-4.4.0-1, MQTT-4.6.0-1). */
		mqtt_conn_fail(c, MQTT_QUOTA_EXCEEDED,
		    "too much came before the PUBRELs that would make room for it");
		return MQTT_TAKEN;
	}
	buf_add(&parked_of(c)->frames, f->whole.data, f->whole.len);
	b->held_bytes += f->whole.len;
	return MQTT_TAKEN;
}

void
mqtt_parked_free(struct mqtt_conn *c)
{
	struct mqtt_parked *p = c->parked;

	c->parked = NULL;
	if (!p)
		return;
	c->broker->held_bytes -= p->frames.len;
	*p->link = p->next;
	if (p->next)
		p->next->link = p->link;
	buf_fini(&p->frames);
	free(p);
}

/* How many bytes of the front were dealt with. */
static size_t
replay(struct mqtt_conn *c, struct bytes frames)
{
	size_t at = 0, need;
	struct mqtt_frame f;
	struct mqtt_fault fault;

	while (at < frames.len && c->state == MQTT_UP && !c->io.paused) {
		int err = mqtt_frame_next(bytes_of(frames.data + at, frames.len - at), c->version,
		    c->broker->config.packet_max, &f, &need, &fault);

		ASSERT(err == 0); /* it was one when it was parked */
		if (mqtt_on_publish(c, &f) == MQTT_LATER)
			break;
		at += f.whole.len;
	}
	return at;
}

static bool
go_on(struct mqtt_conn *c)
{
	struct buf frames = c->parked->frames;
	size_t took;

	if (c->held || c->reoffered || c->io.paused)
		return false;
	/* The connection may end meanwhile, and what is parked with it. */
	c->parked->frames = (struct buf){ .data = NULL };
	c->broker->held_bytes -= frames.len;
	c->replaying = true;
	took = replay(c, buf_bytes(&frames));
	c->replaying = false;
	buf_consume(&frames, took);
	if (!c->parked || frames.len == 0) {
		buf_fini(&frames);
		mqtt_parked_free(c);
		conn_resume(&c->io, MQTT_PAUSED_HELD);
		return took > 0;
	}
	c->parked->frames = frames;
	c->broker->held_bytes += frames.len;
	return took > 0;
}

bool
mqtt_parked_turn(struct mqtt_broker *b)
{
	struct mqtt_parked *next;
	bool some = false;

	for (struct mqtt_parked *p = b->parked; p; p = next) {
		next = p->next;
		some |= go_on(p->conn);
	}
	return some;
}
