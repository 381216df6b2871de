/* mqtt_copy_write.c - what the broker tells, as writes of the open unit */
#include <stdlib.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "mqtt_copy_impl.h"

static struct bytes
session_id(const struct mqtt_session *s)
{
	return bytes_of(s->id, s->id_len);
}

bool
copy_unit(struct mqtt_copy *k)
{
	if (k->open && session_state_unit_ops(k->ss) < SESSION_STATE_UNIT_OPS)
		return true;
	copy_unit_end(k);
	if (session_state_unit(k->ss, k->issued + 1) != 0) {
		copy_stale(k, "Redis is further behind than mqtt.redis_queue_mib");
		return false;
	}
	if (k->done >= k->last)
		k->progress_us = loop_now_us(k->loop);
	k->last = ++k->issued;
	k->open = true;
	return true;
}

void
copy_unit_anew(struct mqtt_copy *k)
{
	copy_unit_end(k);
	session_state_unit_anew(k->ss, k->issued + 1);
	k->last = ++k->issued;
	k->open = true;
}

void
copy_unit_end(struct mqtt_copy *k)
{
	k->open = false;
	k->retained_in_unit = false;
	mqtt_message_unref(&k->message);
}

/* --- deliveries --- */

static void
enqueue(struct mqtt_copy *k, const struct copy_client *c, const struct mqtt_delivery *d)
{
	struct buf ids = { 0 };
	struct msg_mqtt_delivery how = { .qos = d->qos, .retain = d->retain };

	if (k->message != d->message) {
		buf_clear(&k->scratch);
		copy_message_put(
		    &k->scratch, d->message, d->retain, copy_wall_ms(), k->broker->now_us);
		session_state_message(k->ss, buf_bytes(&k->scratch));
		mqtt_message_unref(&k->message);
		k->message = mqtt_message_ref(d->message);
	}
	for (size_t i = 0; i < d->id_count; i++)
		u64s_add(&ids, d->ids[i]);
	how.ids = buf_bytes(&ids);
	session_state_enqueue(k->ss, copy_id(c), c->epoch, d->n, &how);
	buf_fini(&ids);
}

static void
delivery_change(struct mqtt_copy *k, const struct copy_client *c, const struct mqtt_change *ch)
{
	const struct mqtt_delivery *d = ch->delivery;

	if (d->n == 0)
		return;
	if (ch->kind == MQTT_CHANGE_QUEUED)
		enqueue(k, c, d);
	else if (ch->kind == MQTT_CHANGE_SENT)
		session_state_sent(k->ss, copy_id(c), c->epoch, d->n);
	else if (ch->kind == MQTT_CHANGE_RELEASED)
		session_state_pubrec(k->ss, copy_id(c), c->epoch, d->n);
	else if (d->state == MQTT_RELEASED)
		session_state_pubcomp(k->ss, copy_id(c), c->epoch, d->n);
	else
		session_state_acked(k->ss, copy_id(c), c->epoch, d->n);
}

/* --- sessions --- */

static uint8_t
options_of(const struct mqtt_sub *sub)
{
	return (uint8_t)(sub->options.qos | (sub->options.no_local ? 4 : 0) |
			 (sub->options.retain_as_published ? 8 : 0));
}

void
copy_write_session(struct mqtt_copy *k, struct copy_client *c, const struct mqtt_session *s)
{
	const struct mqtt_deliveries *const lists[] = { &s->in_flight, &s->queue };
	const struct mqtt_id_entry *e;
	struct buf filter = { 0 };
	uint32_t at = 0;
	uint64_t sent = 0;

	copy_unit_anew(k);
	for (const struct mqtt_sub *sub = s->subs; sub; sub = sub->session_next) {
		buf_clear(&filter);
		mqtt_router_key(&filter, sub->node, sub->group);
		session_state_subscribe(k->ss, copy_id(c), c->epoch, buf_bytes(&filter),
		    options_of(sub), sub->options.id);
	}
	buf_fini(&filter);
	while ((e = mqtt_ids_next(&s->received, &at)))
		if (!(e->flags & MQTT_RECEIVED_READING))
			session_state_incoming(k->ss, copy_id(c), c->epoch, e->id, -1);
	for (size_t i = 0; i < COUNT_OF(lists); i++)
		for (const struct mqtt_delivery *d = lists[i]->head; d; d = d->next) {
			if (i == 0 && d->n > sent)
				sent = d->n;
			if (d->state == MQTT_RELEASED)
				session_state_pubrec(k->ss, copy_id(c), c->epoch, d->n);
			else if (d->message && d->n)
				enqueue(k, c, d);
		}
	if (sent)
		session_state_sent(k->ss, copy_id(c), c->epoch, sent);
	copy_write_life(k, c, s);
}

/* Who is not kept has something written only if it has a will, and waits for it only if Redis is there. */
static bool
is_waited_for(const struct mqtt_copy *k, const struct mqtt_session *s)
{
	return s->shared || (s->conn && s->conn->will && !k->down_us);
}

static void
session_change(struct mqtt_copy *k, const struct mqtt_change *ch)
{
	const struct mqtt_session *s = ch->session;
	struct copy_client *c = copy_find(k, session_id(s));

	if (s->moved_to)
		return;
	if (s->conn)
		copy_will_forget(k, session_id(s));
	if (!c) {
		/* Of one that is not kept only its will outlives this worker. */
		if (!s->shared && !(s->conn && s->conn->will))
			return;
		c = copy_get(k, session_id(s));
	}
	copy_told_done(k, c);
	copy_fresh(k, c, false);
	if (!c->epoch && s->shared) {
		copy_dirty(k, c);
		return;
	}
	copy_life(k, c, s);
}

static void
session_end(struct mqtt_copy *k, const struct mqtt_change *ch)
{
	struct copy_client *c = copy_find(k, session_id(ch->session));

	/* Claimed clean, it is gone there already; or it is another worker's. */
	if (!c || c->fresh || ch->session->moved_to)
		return;
	if (copy_unit(k)) {
		if (c->epoch)
			session_state_ended(k->ss, copy_id(c), c->epoch);
		if (c->has_will)
			session_state_no_will(k->ss, copy_id(c));
	}
	copy_drop(k, c);
}

/* --- retained --- */

/* In the open unit. */
static void
put_retained(struct mqtt_copy *k, const struct mqtt_message *m)
{
	k->retained_in_unit = true;
	if (k->options.hooks) {
		struct copy_retained *r = xcalloc(1, sizeof(*r));

		r->number = k->issued;
		r->message = mqtt_message_new(m);
		*k->retained_end = r;
		k->retained_end = &r->next;
	}
	if (m->payload.len == 0) {
		session_state_unretain(k->ss, m->topic);
		return;
	}
	buf_clear(&k->scratch);
	copy_message_put(&k->scratch, m, true, copy_wall_ms(), k->broker->now_us);
	session_state_retain(k->ss, m->topic, buf_bytes(&k->scratch));
}

static void
retain(struct mqtt_copy *k, const struct mqtt_message *m)
{
	if (k->retained_in_unit)
		copy_unit_end(k);
	if (copy_unit(k))
		put_retained(k, m);
	else
		k->rewrite_retained = true;
}

static void
retain_again(void *arg, struct mqtt_message *m)
{
	struct mqtt_copy *k = arg;

	if (m->topic.len && m->topic.data[0] != '$') {
		copy_unit_anew(k);
		put_retained(k, m);
	}
}

void
copy_write_retained(struct mqtt_copy *k)
{
	size_t visits = SIZE_MAX;

	k->rewrite_retained = false;
	(void)mqtt_retained_match(
	    &k->broker->retained, bytes_of_str("#"), k->broker->now_us, &visits, retain_again, k);
}

/* --- what the broker tells --- */

static void
subscription_change(struct mqtt_copy *k, const struct copy_client *c, const struct mqtt_change *ch)
{
	if (ch->kind == MQTT_CHANGE_SUB)
		session_state_subscribe(k->ss, copy_id(c), c->epoch, ch->filter,
		    options_of(ch->sub), ch->sub->options.id);
	else
		session_state_unsubscribe(k->ss, copy_id(c), c->epoch, ch->filter);
}

/* A reading is remembered by storage: in the copy it would stand before its COMMIT, and a repeat would not be stored. */
static void
received_change(struct mqtt_copy *k, const struct copy_client *c, const struct mqtt_change *ch)
{
	if (ch->kind == MQTT_CHANGE_FORGOTTEN && k->options.hooks)
		k->options.hooks->forgotten(k->options.hooks->arg, copy_id(c), ch->packet_id);
	if (ch->kind == MQTT_CHANGE_FORGOTTEN)
		session_state_incoming_done(k->ss, copy_id(c), c->epoch, ch->packet_id);
	else if (ch->partition < 0)
		session_state_incoming(k->ss, copy_id(c), c->epoch, ch->packet_id, -1);
}

/* While something is in no unit yet, the one that it will be in is at least the next. */
static uint64_t
number(const struct mqtt_copy *k)
{
	return k->issued + (k->hold ? 1 : 0);
}

uint64_t
mqtt_copy_change(void *arg, const struct mqtt_change *ch)
{
	struct mqtt_copy *k = arg;
	struct copy_client *c;

	switch (ch->kind) {
	case MQTT_CHANGE_SESSION:
		session_change(k, ch);
		return is_waited_for(k, ch->session) ? number(k) : 0;
	case MQTT_CHANGE_END:
		session_end(k, ch);
		return ch->session->shared ? number(k) : 0;
	case MQTT_CHANGE_RETAINED:
		retain(k, ch->message);
		return number(k);
	case MQTT_CHANGE_SUB:
	case MQTT_CHANGE_UNSUB:
	case MQTT_CHANGE_QUEUED:
	case MQTT_CHANGE_SENT:
	case MQTT_CHANGE_RELEASED:
	case MQTT_CHANGE_DONE:
	case MQTT_CHANGE_RECEIVED:
	case MQTT_CHANGE_FORGOTTEN:
		break;
	}
	c = copy_find(k, session_id(ch->session));
	/* One that is written anew has this in it; one that was claimed clean ends. */
	if (!c || !c->epoch || c->fresh || !copy_unit(k))
		return number(k);
	if (ch->delivery)
		delivery_change(k, c, ch);
	else if (ch->kind == MQTT_CHANGE_SUB || ch->kind == MQTT_CHANGE_UNSUB)
		subscription_change(k, c, ch);
	else
		received_change(k, c, ch);
	/* Nobody waits for these. */
	return ch->kind == MQTT_CHANGE_SENT ? 0 : number(k);
}
