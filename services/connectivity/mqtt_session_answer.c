/* mqtt_session_answer.c - what is owed to a client for what it sent, in order
 *
 * An entry of the ring is made when a packet was taken:
 *
 *	reading			WAITING -COMMIT-> READY
 *				WAITING -refused, 5.0-> READY with 0x97
 *				WAITING -refused, 3.1.1-> HELD -offered again when due-> REOFFERED
 *				REOFFERED -COMMIT-> READY, -refused-> HELD
 *	PUBREL of a reading	WAITING -COMMIT-> READY
 *	anything else		READY at once, or WAITING -what it changed is written-> READY
 *
 * and leaves it with its PUBACK, PUBREC or PUBCOMP when it is READY and the oldest (MQTT-4.6.0-2, MQTT-4.6.0-3).
 *
 * Each refusal is journalled. So of those held the oldest is offered first and alone, and more at a time only while they
 * are accepted: the journal gets about as many refusals as readings, however many are held. */
#include "mqtt_session_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"

#define RING_MIN 8
#define RING_KEEP 16	 /* a ring of this size stays though nothing waits */
#define REASON_ROOM 1100 /* an acknowledgement with a reason string is at most this long */
#define REOFFER_MIN_US 10000
/* token: slot 20 bits, generation 25, seq 17: more than one connection can have in its ring. A slot's generation comes again
 * only after more connections than a token can outlive. The two bits above are those of its owner (ingest.h). */
#define GENERATION_BITS 25
#define SEQ_BITS 17
#define GENERATION_MASK ((1u << GENERATION_BITS) - 1)
#define SEQ_MASK ((1u << SEQ_BITS) - 1)

uint64_t
mqtt_token_of(const struct mqtt_conn *c, uint32_t seq)
{
	/* Plus one: token 0 is that of messages that nobody waits for. */
	return ((uint64_t)c->slot << (GENERATION_BITS + SEQ_BITS) |
		   (uint64_t)(c->generation & GENERATION_MASK) << SEQ_BITS | (seq & SEQ_MASK)) +
	       1;
}

struct mqtt_conn *
mqtt_conn_of(const struct mqtt_broker *b, uint64_t token)
{
	uint64_t v = token - 1;
	uint64_t slot = v >> (GENERATION_BITS + SEQ_BITS);
	struct mqtt_conn *c = slot < b->slot_count ? b->slots[slot] : NULL;

	if (!c || c->state == MQTT_ENDED ||
	    (c->generation & GENERATION_MASK) != (v >> SEQ_BITS & GENERATION_MASK))
		return NULL;
	return c;
}

/* The entry of the ring that the token of this connection names; false: it was answered. */
static bool
seq_of(const struct mqtt_conn *c, uint64_t token, uint32_t *ret_seq)
{
	uint32_t distance = ((uint32_t)(token - 1) - c->ring_head) & SEQ_MASK;

	if (distance >= c->ring_tail - c->ring_head)
		return false;
	*ret_seq = c->ring_head + distance;
	return true;
}

static struct mqtt_pending *
entry(const struct mqtt_conn *c, uint32_t seq)
{
	return &c->ring[seq & (c->ring_size - 1)];
}

static void
grow_ring(struct mqtt_conn *c)
{
	uint32_t size = c->ring_size ? 2 * c->ring_size : RING_MIN;
	struct mqtt_pending *ring = xmalloc(size * sizeof(*ring));

	for (uint32_t seq = c->ring_head; seq != c->ring_tail; seq++)
		ring[seq & (size - 1)] = *entry(c, seq);
	free(c->ring);
	c->ring = ring;
	c->ring_size = size;
}

struct mqtt_pending *
mqtt_pending_push(struct mqtt_conn *c, uint16_t packet_id, enum mqtt_pending_kind kind,
    enum mqtt_pending_state state)
{
	struct mqtt_pending *p;

	if (c->ring_tail - c->ring_head == c->ring_size)
		grow_ring(c);
	p = entry(c, c->ring_tail++);
	c->unacked += kind == MQTT_OWES_PUBACK || kind == MQTT_OWES_PUBREC;
	*p = (struct mqtt_pending){
		.packet_id = packet_id, .state = (unsigned)state & 15u, .kind = (unsigned)kind & 15u
	};
	return p;
}

struct mqtt_pending *
mqtt_pending_push_written(struct mqtt_conn *c, uint16_t packet_id, enum mqtt_pending_kind kind)
{
	struct mqtt_broker *b = c->broker;

	if (mqtt_unit_is_written(b))
		return mqtt_pending_push(c, packet_id, kind, MQTT_READY);
	mqtt_wait_written(b, mqtt_token_of(c, c->ring_tail), NULL);
	return mqtt_pending_push(c, packet_id, kind, MQTT_WAITING);
}

static enum mqtt_type
answer_type(const struct mqtt_pending *p)
{
	switch ((enum mqtt_pending_kind)p->kind) {
	case MQTT_OWES_PUBACK:
		return MQTT_PUBACK;
	case MQTT_OWES_PUBREC:
	case MQTT_OWES_PUBREC_AGAIN:
		return MQTT_PUBREC;
	case MQTT_OWES_PUBCOMP:
		break;
	}
	return MQTT_PUBCOMP;
}

static void
put_refusal(struct mqtt_conn *c, const struct mqtt_pending *p)
{
	char text[64];
	struct bytes why = bytes_of("", 0);

	if (c->problem_info && c->out_packet_max >= REASON_ROOM) {
		if (p->text)
			why = bytes_of_str(p->text);
		else if (p->verdict) {
			snprintf(text, sizeof(text), "%s: retry in %u ms", verdict_name(p->verdict),
			    verdict_retry_ms(p->verdict));
			why = bytes_of_str(text);
		}
	}
	mqtt_put_ack(conn_out(&c->io), c->version, answer_type(p), p->packet_id, p->reason, why);
}

/* The answer of all versions that says nothing but that it is one. */
static void
put_success(struct buf *out, const struct mqtt_pending *p)
{
	uint8_t *at = buf_reserve(out, 4);

	at[0] = (uint8_t)(answer_type(p) << 4);
	at[1] = 2;
	at[2] = (uint8_t)(p->packet_id >> 8);
	at[3] = (uint8_t)p->packet_id;
	out->len += 4;
}

/* What leaves the ring counts no longer against the receive maximum (4.9): a QoS 2 PUBLISH counts until its PUBREL. */
static void
count_off(struct mqtt_conn *c, const struct mqtt_pending *p)
{
	if (p->kind == MQTT_OWES_PUBACK ||
	    (p->kind == MQTT_OWES_PUBREC && p->reason >= MQTT_UNSPECIFIED)) {
		ASSERT(c->unacked > 0);
		c->unacked--;
	}
}

static void
answer_one(struct mqtt_conn *c, const struct mqtt_pending *p)
{
	/* The first one was refused, which was its answer. */
	if (p->kind == MQTT_OWES_PUBREC_AGAIN &&
	    !mqtt_ids_find(&c->session->received, p->packet_id))
		return;
	if (p->reason == MQTT_SUCCESS)
		put_success(conn_out(&c->io), p);
	else
		put_refusal(c, p);
	c->broker->passed.packets_out++;
	count_off(c, p);
}

/* Answers what is ready and not behind something that is not. */
void
mqtt_answer_ready(struct mqtt_conn *c)
{
	while (c->ring_head != c->ring_tail) {
		struct mqtt_pending *p = entry(c, c->ring_head);

		if (p->state != MQTT_READY)
			break;
		answer_one(c, p);
		if (p->text)
			free(p->text);
		c->ring_head++;
	}
	if (c->io.paused && c->ring_tail - c->ring_head <= c->broker->config.receive_maximum / 2)
		conn_resume(&c->io, MQTT_PAUSED_WINDOW);
}

bool
mqtt_answer_at_once(struct mqtt_conn *c, uint16_t packet_id)
{
	struct mqtt_pending p = { .packet_id = packet_id, .kind = MQTT_OWES_PUBACK };

	if (c->ring_head != c->ring_tail || !mqtt_unit_is_written(c->broker))
		return false;
	put_success(conn_out(&c->io), &p);
	c->broker->passed.packets_out++;
	return true;
}

void
mqtt_pending_ready(struct mqtt_conn *c, uint64_t token)
{
	uint32_t seq;

	if (!seq_of(c, token, &seq) || entry(c, seq)->state != MQTT_WAITING)
		return;
	entry(c, seq)->state = MQTT_READY;
	mqtt_answer_ready(c);
}

bool
mqtt_pending_overdue(struct mqtt_conn *c, uint64_t token)
{
	struct mqtt_pending *p;
	uint32_t seq;

	if (!seq_of(c, token, &seq))
		return false;
	p = entry(c, seq);
	if (p->state != MQTT_WAITING || p->kind != MQTT_OWES_PUBACK)
		return false;
	p->reason = MQTT_IMPLEMENTATION;
	free(p->text);
	p->text = xasprintf("%s: it may arrive all the same", c->broker->away_why);
	p->state = MQTT_READY;
	mqtt_answer_ready(c);
	return true;
}

void
mqtt_pending_clear(struct mqtt_conn *c)
{
	for (uint32_t seq = c->ring_head; seq != c->ring_tail; seq++)
		free(entry(c, seq)->text);
	free(c->ring);
	c->ring = NULL;
	c->ring_size = 0;
	c->ring_head = c->ring_tail;
	c->reoffered = 0;
	while (c->held) {
		struct mqtt_held *h = c->held;

		c->held = h->next;
		c->broker->held_bytes -= sizeof(*h) + h->len;
		free(h);
	}
}

void
mqtt_pending_trim(struct mqtt_conn *c)
{
	if (c->ring_head == c->ring_tail && c->ring_size > RING_KEEP)
		mqtt_pending_clear(c);
}

void
mqtt_wait_for_room(struct mqtt_conn *c)
{
	conn_pause(&c->io, MQTT_PAUSED_ROOM);
	if (c->room_link)
		return;
	c->room_next = c->broker->room_first;
	c->room_link = &c->broker->room_first;
	if (c->room_next)
		c->room_next->room_link = &c->room_next;
	c->broker->room_first = c;
}

/* Keeps a refused record, in the place of its PUBLISH; where there is no room, ends the connection (3.1.1: MQTT-4.8.0-2). */
static void
hold(struct mqtt_conn *c, uint32_t seq, uint32_t verdict, struct bytes record)
{
	struct mqtt_broker *b = c->broker;
	struct mqtt_held *h;
	struct mqtt_held **at = &c->held;

	if (b->held_bytes + sizeof(*h) + record.len > MQTT_HELD_BYTES_MAX) {
		/* Not acknowledged: the client sends it again when it comes back. */
		mqtt_conn_fail(c, MQTT_QUOTA_EXCEEDED, "too many refused messages are held");
		return;
	}
	h = xmalloc(sizeof(*h) + record.len);
	*h = (struct mqtt_held){ .seq = seq,
		.len = record.len,
		.due_us = b->now_us + verdict_retry_ms(verdict) * 1000ll };
	memcpy(h->record, record.data, record.len);
	b->held_bytes += sizeof(*h) + h->len;
	if (verdict_code(verdict) == VERDICT_UNRELEASED_LIMIT) {
		/* A PUBLISH that paused the connection meanwhile is parked too. */
		c->awaits_release = true;
		conn_resume(&c->io, MQTT_PAUSED_HELD | MQTT_PAUSED_WINDOW);
	}
	while (*at && (*at)->seq - c->ring_head < seq - c->ring_head)
		at = &(*at)->next;
	h->next = *at;
	*at = h;
	entry(c, seq)->state = MQTT_HELD;
	c->reoffers_max = 1;
	mqtt_conn_arm(c);
}

void
mqtt_held_offer(struct mqtt_conn *c)
{
	struct mqtt_broker *b = c->broker;

	while (c->held && c->held->due_us <= b->now_us && c->reoffered < c->reoffers_max) {
		struct mqtt_held *h = c->held;
		int err = b->ops.reoffer(
		    b->ops.arg, bytes_of(h->record, h->len), mqtt_token_of(c, h->seq));

		if (err) {
			h->due_us = b->now_us + REOFFER_MIN_US;
			break;
		}
		entry(c, h->seq)->state = MQTT_REOFFERED;
		c->reoffered++;
		c->held = h->next;
		b->held_bytes -= sizeof(*h) + h->len;
		free(h);
	}
}

/* A held message is answered: the next ones follow, or reading goes on. */
static void
reoffer_accepted(struct mqtt_conn *c)
{
	if (c->reoffers_max < MQTT_REOFFERS_MAX)
		c->reoffers_max = (uint16_t)(c->reoffers_max * 2);
	if (c->held) {
		if (!c->broker->draining)
			mqtt_held_offer(c);
		mqtt_conn_arm(c);
	} else if (c->reoffered == 0) {
		c->awaits_release = false;
		c->last_in_us = c->broker->now_us;
		conn_resume(&c->io, MQTT_PAUSED_HELD);
	}
}

/* A refusal by a limit. true: it is told; false: 3.1.1 has no way to tell, the record is held. */
static bool
refused(struct mqtt_conn *c, uint32_t seq, uint32_t verdict, const struct bytes *record)
{
	struct mqtt_pending *p = entry(c, seq);

	if (!mqtt_is_v5(c)) {
		ASSERT(record);
		hold(c, seq, verdict, *record);
		return false;
	}
	p->reason = MQTT_QUOTA_EXCEEDED;
	p->verdict = verdict;
	if (p->kind == MQTT_OWES_PUBREC)
		mqtt_received_refused(c, p->packet_id);
	return true;
}

void
mqtt_broker_answer(
    struct mqtt_broker *b, uint64_t token, uint32_t verdict, const struct bytes *record)
{
	struct mqtt_conn *c = token ? mqtt_conn_of(b, token) : NULL;
	struct mqtt_pending *p;
	uint32_t seq;
	bool again;

	if (!c || c->state != MQTT_UP || !seq_of(c, token, &seq))
		return;
	p = entry(c, seq);
	if (p->state != MQTT_WAITING && p->state != MQTT_REOFFERED)
		return;
	again = p->state == MQTT_REOFFERED;
	c->reoffered = (uint16_t)(c->reoffered - again);
	if (verdict_is_refusal(verdict)) {
		if (!refused(c, seq, verdict, record))
			return;
	} else if (p->kind == MQTT_OWES_PUBREC) {
		mqtt_received_committed(c, p->packet_id);
	}
	p->state = MQTT_READY;
	mqtt_answer_ready(c);
	if (again)
		reoffer_accepted(c);
}
