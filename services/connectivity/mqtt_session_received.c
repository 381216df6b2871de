/* mqtt_session_received.c - QoS 2 from a client: what is between PUBLISH and PUBREL (MQTT 5 section 4.3.3)
 *
 *	packet id	PUBLISH				PUBREL
 *	unknown		taken, remembered: PUBREC	PUBCOMP, 0x92
 *	waits		PUBREC with the first one's	PUBCOMP, 0x92: it was not sent PUBREC
 *	remembered	PUBREC, nothing else		forgotten: PUBCOMP
 *
 * A reading is remembered by storage too, for longer than this process lives: its PUBREL goes there, and PUBCOMP leaves after
 * COMMIT; a repeat of one whose COMMIT is not there yet goes to storage, which knows it. */
#include "mqtt_session_impl.h"

#include "err.h"
#include "log.h"
#include "metrics.h"

/* Sets of packet ids may have changed: before is what s's took. */
static void
count(struct mqtt_broker *b, const struct mqtt_session *s, size_t before)
{
	b->received_bytes = b->received_bytes - before + mqtt_ids_bytes(&s->received);
	metric_set(M_MQTT_RECEIVED_BYTES, b->received_bytes);
}

static struct mqtt_id_entry *
add(struct mqtt_broker *b, struct mqtt_session *s, uint16_t packet_id)
{
	size_t before = mqtt_ids_bytes(&s->received);
	struct mqtt_id_entry *e = mqtt_ids_add(&s->received, packet_id);

	count(b, s, before);
	return e;
}

static void
take_out(struct mqtt_broker *b, struct mqtt_session *s, uint16_t packet_id)
{
	size_t before = mqtt_ids_bytes(&s->received);

	mqtt_ids_remove(&s->received, packet_id);
	count(b, s, before);
}

/* NULL, or why no other packet id can be remembered. Whoever has few may always have another: it is not they who take the room. */
static const char *
full(const struct mqtt_conn *c)
{
	const struct mqtt_broker *b = c->broker;
	const struct mqtt_ids *received = &c->session->received;

	if (received->count >= MQTT_RECEIVED_MAX && received->count >= b->config.receive_maximum)
		return "too many QoS 2 messages without PUBREL";
	if (received->count && mqtt_ids_grows(received) &&
	    b->received_bytes + mqtt_ids_bytes(received) > b->config.received_bytes_max)
		return "QoS 2 messages of all clients without PUBREL take what they may "
		       "(mqtt.received_mib)";
	return NULL;
}

bool
mqtt_received_early(struct mqtt_conn *c, const struct mqtt_publish *p)
{
	const struct mqtt_id_entry *e;

	if (!c->broker->loading)
		return false;
	e = mqtt_ids_find(&c->session->received, p->packet_id);
	if (!e || !(e->flags & MQTT_RECEIVED_LOADED))
		return false;
	mqtt_wait_for_room(c);
	return true;
}

bool
mqtt_received_again(struct mqtt_conn *c, const struct mqtt_publish *p)
{
	struct mqtt_ids *received = &c->session->received;
	struct mqtt_id_entry *e = mqtt_ids_find(received, p->packet_id);
	const char *why = e ? NULL : full(c);

	if (why)
		mqtt_conn_fail(c, MQTT_QUOTA_EXCEEDED, why);
	if (!e)
		return why != NULL;
	metric_add(M_MQTT_REPEATED, 1);
	/* Its ring is bounded though these do not count against the receive maximum. */
	if (c->ring_tail - c->ring_head >= MQTT_RING_MAX - UINT16_MAX) {
		mqtt_conn_fail(c, MQTT_RECEIVE_MAXIMUM, "one packet id again and again");
		return true;
	}
	if (!(e->flags & MQTT_RECEIVED_COUNTS)) {
		e->flags |= MQTT_RECEIVED_COUNTS;
		c->unacked++;
	}
	if (e->flags & MQTT_RECEIVED_LOADED)
		mqtt_publish_again(c, p);
	/* Behind the first one, if that still waits; and its writes may not be done yet. */
	c->broker->writes.unit = c->broker->writes.issued;
	mqtt_pending_push_written(c, p->packet_id, MQTT_OWES_PUBREC_AGAIN);
	mqtt_answer_ready(c);
	return true;
}

void
mqtt_received_add(struct mqtt_conn *c, uint16_t packet_id, unsigned flags, int32_t partition)
{
	struct mqtt_session *s = c->session;
	struct mqtt_id_entry *e = add(c->broker, s, packet_id);

	e->flags = (uint16_t)flags;
	e->value = (uint32_t)partition;
	mqtt_change(c->broker, &(struct mqtt_change){ .kind = MQTT_CHANGE_RECEIVED,
				   .session = s,
				   .packet_id = packet_id,
				   .partition = partition });
}

static void
forget(struct mqtt_broker *b, struct mqtt_session *s, uint16_t packet_id)
{
	take_out(b, s, packet_id);
	mqtt_change(b, &(struct mqtt_change){
			   .kind = MQTT_CHANGE_FORGOTTEN, .session = s, .packet_id = packet_id });
}

void
mqtt_received_committed(struct mqtt_conn *c, uint16_t packet_id)
{
	struct mqtt_id_entry *e = mqtt_ids_find(&c->session->received, packet_id);

	if (e)
		e->flags &= (uint16_t)~MQTT_RECEIVED_WAITS;
}

void
mqtt_received_refused(struct mqtt_conn *c, uint16_t packet_id)
{
	forget(c->broker, c->session, packet_id);
}

/* What was not committed is the client's to send again. */
void
mqtt_received_detach(struct mqtt_broker *b, struct mqtt_session *s)
{
	struct mqtt_id_entry *e;
	uint32_t at = 0;

	while ((e = mqtt_ids_next(&s->received, &at)))
		e->flags &= (uint16_t)~MQTT_RECEIVED_COUNTS;
	for (at = 0; (e = mqtt_ids_next(&s->received, &at));) {
		if (!(e->flags & MQTT_RECEIVED_WAITS))
			continue;
		/* Another one may take its place: look there again. */
		take_out(b, s, e->id);
		at--;
	}
}

void
mqtt_received_clear(struct mqtt_broker *b, struct mqtt_session *s)
{
	const struct mqtt_id_entry *e;
	size_t before = mqtt_ids_bytes(&s->received);
	uint32_t at = 0;

	/* Without room storage's table forgets them by age. */
	while ((e = mqtt_ids_next(&s->received, &at)))
		if (e->flags & MQTT_RECEIVED_READING && b->ops.release)
			(void)b->ops.release(
			    b->ops.arg, mqtt_session_id(s), e->id, (int32_t)e->value, 0);
	mqtt_ids_fini(&s->received);
	count(b, s, before);
}

void
mqtt_load_received(
    struct mqtt_broker *b, struct mqtt_session *s, uint16_t packet_id, int32_t partition)
{
	struct mqtt_id_entry *e;

	if (packet_id == 0 || mqtt_ids_find(&s->received, packet_id))
		return;
	e = add(b, s, packet_id);
	e->value = (uint32_t)partition;
	e->flags = partition >= 0 ? MQTT_RECEIVED_READING : MQTT_RECEIVED_LOADED;
}

/* Not remembered here. It may be a reading whose worker died between PUBREC and PUBREL: then storage has it. */
static enum mqtt_done
release_unknown(struct mqtt_conn *c, uint16_t packet_id, bool ask_storage)
{
	struct mqtt_broker *b = c->broker;
	const struct mqtt_ops *ops = &b->ops;
	enum mqtt_pending_state state = MQTT_READY;
	struct mqtt_pending *p;

	if (ask_storage && ops->release) {
		if (ops->release(ops->arg, mqtt_session_id(c->session), packet_id, -1,
			mqtt_token_of(c, c->ring_tail)) == ERR_AGAIN) {
			mqtt_wait_for_room(c);
			return MQTT_LATER;
		}
		state = MQTT_WAITING;
	}
	p = mqtt_pending_push(c, packet_id, MQTT_OWES_PUBCOMP, state);
	p->reason = mqtt_is_v5(c) ? MQTT_ID_NOT_FOUND : MQTT_SUCCESS;
	return MQTT_TAKEN;
}

static enum mqtt_done
release_reading(struct mqtt_conn *c, const struct mqtt_id_entry *e)
{
	const struct mqtt_ops *ops = &c->broker->ops;

	if (ops->release) {
		if (ops->release(ops->arg, mqtt_session_id(c->session), e->id, (int32_t)e->value,
			mqtt_token_of(c, c->ring_tail)) == ERR_AGAIN) {
			mqtt_wait_for_room(c);
			return MQTT_LATER;
		}
		mqtt_pending_push(c, e->id, MQTT_OWES_PUBCOMP, MQTT_WAITING);
	} else {
		mqtt_pending_push(c, e->id, MQTT_OWES_PUBCOMP, MQTT_READY);
	}
	return MQTT_TAKEN;
}

enum mqtt_done
mqtt_on_pubrel(struct mqtt_conn *c, const struct mqtt_ack *a)
{
	struct mqtt_broker *b = c->broker;
	struct mqtt_id_entry *e = mqtt_ids_find(&c->session->received, a->packet_id);
	bool counts;

	if (c->ring_tail - c->ring_head >= MQTT_RING_MAX) {
		conn_pause(&c->io, MQTT_PAUSED_WINDOW);
		return MQTT_LATER;
	}
	if (!e || e->flags & MQTT_RECEIVED_WAITS) {
		if (release_unknown(c, a->packet_id, !e && c->session->expiry_s) == MQTT_LATER)
			return MQTT_LATER;
		mqtt_answer_ready(c);
		return MQTT_TAKEN;
	}
	counts = e->flags & MQTT_RECEIVED_COUNTS;
	mqtt_unit_begin(b);
	if (e->flags & MQTT_RECEIVED_READING) {
		if (release_reading(c, e) == MQTT_LATER)
			return MQTT_LATER;
		forget(b, c->session, a->packet_id);
	} else {
		forget(b, c->session, a->packet_id);
		mqtt_pending_push_written(c, a->packet_id, MQTT_OWES_PUBCOMP);
	}
	if (counts) {
		ASSERT(c->unacked > 0);
		c->unacked--;
	}
	mqtt_answer_ready(c);
	return MQTT_TAKEN;
}
