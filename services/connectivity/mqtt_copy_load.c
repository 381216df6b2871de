/* mqtt_copy_load.c - what is in Redis, into memory: lists at the start, sessions one by one, wills in time */
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "mqtt_copy_impl.h"

#define LOADED_IDS_MAX 64

struct loaded_sub {
	char *filter;
	size_t len;
	uint8_t options;
	uint32_t id;
};

struct loaded_delivery {
	uint64_t n;
	struct mqtt_message *message;
	uint8_t qos;
	bool retain;
	uint8_t id_count;
	uint32_t *ids;
};

struct copy_load {
	uint64_t sent;
	uint64_t top;
	struct loaded_sub *subs;
	size_t sub_count, sub_cap;
	struct loaded_delivery *deliveries;
	size_t delivery_count, delivery_cap;
	uint16_t *received;
	size_t received_count, received_cap;
};

/* Room for one more of what p points to. */
static void *
grown(void *p, size_t count, size_t *cap, size_t size)
{
	if (count < *cap)
		return p;
	*cap = *cap ? 2 * *cap : 8;
	return xrealloc(p, *cap * size);
}

void
copy_load_begin(struct copy_client *c, const struct session_state_claim *claim)
{
	copy_load_free(c);
	c->load = xcalloc(1, sizeof(*c->load));
	c->load->sent = claim->sent;
	c->load->top = claim->top;
}

void
copy_load_free(struct copy_client *c)
{
	struct copy_load *l = c->load;

	c->load = NULL;
	if (!l)
		return;
	for (size_t i = 0; i < l->sub_count; i++)
		free(l->subs[i].filter);
	for (size_t i = 0; i < l->delivery_count; i++) {
		mqtt_message_unref(&l->deliveries[i].message);
		free(l->deliveries[i].ids);
	}
	free(l->subs);
	free(l->deliveries);
	free(l->received);
	free(l);
}

static struct loaded_delivery *
add_delivery(struct copy_load *l)
{
	l->deliveries =
	    grown(l->deliveries, l->delivery_count, &l->delivery_cap, sizeof(l->deliveries[0]));
	l->deliveries[l->delivery_count] = (struct loaded_delivery){ .n = 0 };
	return &l->deliveries[l->delivery_count++];
}

static void
add_queued(struct mqtt_copy *k, struct copy_load *l, const struct session_state_item *item)
{
	struct loaded_delivery *d = add_delivery(l);
	size_t ids = u64s_count(item->delivery->ids);

	d->n = item->n;
	d->message = copy_message_get(item->message, copy_wall_ms(), k->broker->now_us);
	d->qos = (uint8_t)item->delivery->qos;
	d->retain = item->delivery->retain;
	if (ids > LOADED_IDS_MAX)
		ids = LOADED_IDS_MAX;
	if (ids == 0)
		return;
	d->id_count = (uint8_t)ids;
	d->ids = xmalloc(d->id_count * sizeof(d->ids[0]));
	for (size_t i = 0; i < d->id_count; i++)
		d->ids[i] = (uint32_t)u64s_at(item->delivery->ids, i);
}

static void
add_sub(struct copy_load *l, const struct session_state_item *item)
{
	struct loaded_sub *s;

	l->subs = grown(l->subs, l->sub_count, &l->sub_cap, sizeof(l->subs[0]));
	s = &l->subs[l->sub_count++];
	*s = (struct loaded_sub){ .filter = xstrndup((const char *)item->key.data, item->key.len),
		.len = item->key.len,
		.options = item->options,
		.id = item->subscription_id };
}

static void
add_to_load(struct mqtt_copy *k, struct copy_client *c, const struct session_state_item *item)
{
	struct copy_load *l = c->load;
	struct loaded_delivery *d;

	switch (item->kind) {
	case SESSION_STATE_SUBSCRIPTION:
		add_sub(l, item);
		break;
	case SESSION_STATE_INCOMING:
		/* Storage remembers readings. */
		if (item->partition >= 0)
			break;
		l->received =
		    grown(l->received, l->received_count, &l->received_cap, sizeof(l->received[0]));
		l->received[l->received_count++] = (uint16_t)item->n;
		break;
	case SESSION_STATE_RELEASED:
		d = add_delivery(l);
		d->n = item->n;
		d->qos = 2;
		break;
	case SESSION_STATE_QUEUED:
		add_queued(k, l, item);
		break;
	case SESSION_STATE_ORIGIN:
		if (k->options.hooks)
			k->options.hooks->had(
			    k->options.hooks->arg, copy_id(c), item->key, item->since_ms);
		break;
	case SESSION_STATE_OWNED:
	case SESSION_STATE_RETAINED:
	case SESSION_STATE_WILL:
	case SESSION_STATE_FORWARD:
	case SESSION_STATE_KINDS:
		break;
	}
}

static int
by_n(const void *a, const void *b)
{
	const struct loaded_delivery *x = a, *y = b;

	return x->n < y->n ? -1 : x->n > y->n;
}

static void
unreadable(const struct copy_client *c, struct bytes what)
{
	log_warn("mqtt.copy_unreadable", LB("client", copy_id(c)), LB("what", what));
	metric_add(M_SESSION_STATE_UNREADABLE, 1);
}

static void
load_subs(struct mqtt_copy *k, const struct copy_client *c, struct mqtt_session *s)
{
	for (size_t i = 0; i < c->load->sub_count; i++) {
		const struct loaded_sub *l = &c->load->subs[i];
		const struct mqtt_filter f = {
			.filter = bytes_of(l->filter, l->len),
			.qos = (l->options & 3u) > 2 ? 2 : l->options & 3u,
			.no_local = l->options & 4,
			.retain_as_published = l->options & 8,
		};

		if (mqtt_load_sub(k->broker, s, &f, l->id) != 0)
			unreadable(c, f.filter);
	}
}

static void
load_deliveries(struct mqtt_copy *k, const struct copy_client *c, struct mqtt_session *s)
{
	struct copy_load *l = c->load;

	/* Released ones came apart from those that are queued; one may have come twice. */
	if (l->delivery_count)
		qsort(l->deliveries, l->delivery_count, sizeof(l->deliveries[0]), by_n);
	for (size_t i = 0; i < l->delivery_count; i++) {
		const struct loaded_delivery *d = &l->deliveries[i];
		const struct mqtt_loaded_delivery one = {
			.n = d->n,
			.message = d->message,
			.qos = d->qos,
			.retain = d->retain,
			.sent = d->n <= l->sent,
			.ids = d->ids,
			.id_count = d->id_count,
		};

		if (i > 0 && d->n == l->deliveries[i - 1].n)
			continue;
		if (mqtt_load_delivery(k->broker, s, &one) != 0)
			unreadable(c, bytes_of_str("delivery"));
	}
}

/* A session without a connection, since when it was away, or since now if it had one when its worker died. */
void
copy_load_end(struct mqtt_copy *k, struct copy_client *c)
{
	int64_t now_us = k->broker->now_us, expires_us, wall_ms = copy_wall_ms();
	int64_t since_ms = c->since_ms ? c->since_ms : wall_ms;
	uint32_t expiry_s = c->owned ? c->expiry_s : SESSION_STATE_EXPIRY_NEVER;
	struct mqtt_session *s;
	struct copy_will *w;

	expires_us = now_us + (since_ms - wall_ms) * 1000 +
		     (expiry_s < k->broker->config.session_expiry_max_s
			     ? (int64_t)expiry_s
			     : k->broker->config.session_expiry_max_s) *
			 1000000;
	if (k->options.hooks)
		k->options.hooks->arrives(k->options.hooks->arg);
	mqtt_broker_arrived(k->broker, copy_id(c));
	s = mqtt_load_session(k->broker, copy_id(c), expiry_s, expires_us,
	    c->load->top > c->load->sent ? c->load->top : c->load->sent);
	load_deliveries(k, c, s);
	for (size_t i = 0; i < c->load->received_count; i++)
		mqtt_load_received(k->broker, s, c->load->received[i], -1);
	load_subs(k, c, s);
	w = copy_will_take(k, copy_id(c));
	if (w) {
		s->will = w->will;
		s->will->due_us = w->due_us;
		free(w);
	}
	if (k->options.hooks)
		k->options.hooks->loaded(k->options.hooks->arg, s);
	/* CONNECT that waits for it says the rest. */
	if (!c->requests && copy_unit(k))
		copy_write_life(k, c, s);
}

/* --- lists --- */

struct copy_client *
copy_add_owned(struct mqtt_copy *k, const struct session_state_item *item)
{
	const struct mqtt_session *s = mqtt_store_find(k->broker, item->key);
	struct copy_client *c = copy_find(k, item->key);

	/* One whose client came first is waited for too, until it is loaded. */
	if (c && (c->owned || c->todo_link || (c->epoch && !c->load) ||
		     ((c->asked || c->requests) && s)))
		return NULL;
	if (s) {
		/* Its client came first, and wants nothing of it. */
		if (!s->shared && copy_unit(k))
			session_state_ended(k->ss, item->key, item->epoch);
		return NULL;
	}
	c = copy_get(k, item->key);
	c->owned = true;
	copy_todo(&k->load, c);
	c->since_ms = item->since_ms;
	c->expiry_s = item->expiry_s;
	k->to_load++;
	return c;
}

/* Later only what expired, or is not retained any more though Redis was not told, is of interest. */
static void
add_retained(struct mqtt_copy *k, const struct session_state_item *item, bool take)
{
	struct mqtt_message *m;

	if ((item->message->expires && item->message->expires <= copy_wall_ms()) ||
	    (!take && k->options.alone && !k->hold &&
		!mqtt_retained_has(&k->broker->retained, item->key))) {
		if (copy_unit(k))
			session_state_retained_expired(k->ss, item->key, item->n);
		return;
	}
	if (!take || !mqtt_topic_valid(item->key))
		return;
	m = copy_message_get(item->message, copy_wall_ms(), k->broker->now_us);
	m->seq = item->n;
	if (bytes_equal(m->topic, item->key) && mqtt_retained_set(&k->broker->retained, m) != 0)
		metric_add(M_MQTT_NOT_RETAINED, 1);
	mqtt_message_unref(&m);
}

void
copy_on_item(void *arg, uint64_t token, const struct session_state_item *item)
{
	struct mqtt_copy *k = arg;

	k->broker->now_us = loop_now_us(k->loop);
	if (token >= COPY_LISTS)
		add_to_load(k, (struct copy_client *)(uintptr_t)token, item);
	else if (token >= COPY_ADOPTED)
		copy_adopt_item(k, (unsigned)token, item);
	else if (token >= COPY_PEERS)
		k->peers_own |= 1ull << (token - COPY_PEERS);
	else if (item->kind == SESSION_STATE_WILL)
		copy_will_add(k, item);
	else if (item->kind == SESSION_STATE_OWNED)
		(void)copy_add_owned(k, item);
	else if (item->kind == SESSION_STATE_RETAINED)
		add_retained(k, item, token == COPY_RETAINED);
	else if (item->kind == SESSION_STATE_FORWARD && k->options.hooks)
		k->options.hooks->taken(k->options.hooks->arg, item->key, item->life, item->n);
}

void
copy_list(struct mqtt_copy *k)
{
	copy_wills_fini(k);
	copy_unit_end(k);
	k->lists_left = 0;
	k->lists_left += session_state_list(k->ss, SESSION_STATE_WILL, k->worker, COPY_WILLS) == 0;
	k->lists_left += session_state_list(k->ss, SESSION_STATE_RETAINED, "", COPY_RETAINED) == 0;
	k->lists_left += session_state_list(k->ss, SESSION_STATE_OWNED, k->worker, COPY_OWNED) == 0;
	copy_adopt_list(k);
	if (!k->options.hooks)
		return;
	k->lists_left +=
	    session_state_list(k->ss, SESSION_STATE_FORWARD, k->worker, COPY_FORWARDS) == 0;
}

void
copy_on_peer_end(struct mqtt_copy *k, unsigned peer, int err)
{
	k->peers_asked &= ~(1ull << peer);
	if (err == 0)
		k->options.hooks->owns(k->options.hooks->arg, peer, k->peers_own >> peer & 1);
}

/* All of them before the first session is claimed, for a claim forgets its will. */
void
copy_on_list_end(struct mqtt_copy *k, enum copy_list list, int err)
{
	if (list == COPY_SWEEP || k->listed)
		return;
	if (err) {
		/* Again when Redis is back. */
		if (err != ERR_CLOSED)
			log_error("mqtt.copy_list", LU("list", list), LS("why", err_name(err)));
		k->lists_left = 0;
		return;
	}
	if (k->lists_left == 0 || --k->lists_left > 0)
		return;
	k->listed = true;
	log_info("mqtt.copy_listed", LU("sessions", k->to_load));
	copy_go_on(k);
}
