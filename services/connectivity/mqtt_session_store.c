/* mqtt_session_store.c - sessions by client id; those away expire, and the longest away make room for new ones */
#include "mqtt_session_impl.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"

#define TABLE_MIN 64

static struct mqtt_session **
slot_of(struct mqtt_broker *b, struct bytes id)
{
	return &b->table[XXH3_64bits(id.data, id.len) & (b->table_size - 1)];
}

static void
resize(struct mqtt_broker *b, size_t size)
{
	struct mqtt_session **old = b->table;
	size_t old_size = b->table_size;

	b->table = xcalloc(size, sizeof(b->table[0]));
	b->table_size = size;
	for (size_t i = 0; i < old_size; i++) {
		for (struct mqtt_session *s = old[i], *next; s; s = next) {
			struct mqtt_session **slot = slot_of(b, mqtt_session_id(s));

			next = s->hash_next;
			s->hash_next = *slot;
			*slot = s;
		}
	}
	free(old);
}

struct mqtt_session *
mqtt_store_find(struct mqtt_broker *b, struct bytes id)
{
	struct mqtt_session *s = b->table_size ? *slot_of(b, id) : NULL;

	while (s && !bytes_equal(mqtt_session_id(s), id))
		s = s->hash_next;
	return s;
}

struct mqtt_session *
mqtt_store_add(struct mqtt_broker *b, struct bytes id)
{
	struct mqtt_session *s;
	struct mqtt_session **slot;

	while (b->session_count >= b->config.sessions_max && b->away_first) {
		log_warn("mqtt.session_evicted", LB("client", mqtt_session_id(b->away_first)),
		    LU("sessions", b->session_count));
		metric_add(M_MQTT_SESSIONS_EVICTED, 1);
		mqtt_store_remove(b, b->away_first);
	}
	if (b->session_count >= b->table_size)
		resize(b, b->table_size ? 2 * b->table_size : TABLE_MIN);
	s = xcalloc(1, sizeof(*s) + id.len + 1);
	s->id_len = (uint16_t)id.len;
	memcpy(s->id, id.data, id.len);
	slot = slot_of(b, id);
	s->hash_next = *slot;
	*slot = s;
	b->session_count++;
	return s;
}

void
mqtt_store_away(struct mqtt_broker *b, struct mqtt_session *s)
{
	int64_t keep_s = s->expiry_s;

	if (keep_s > b->config.session_expiry_max_s)
		keep_s = b->config.session_expiry_max_s;
	s->expires_us = b->now_us + keep_s * 1000000;
	s->prev = b->away_last;
	s->next = NULL;
	if (s->prev)
		s->prev->next = s;
	else
		b->away_first = s;
	b->away_last = s;
}

static bool
is_away(const struct mqtt_broker *b, const struct mqtt_session *s)
{
	return s->prev || s->next || b->away_first == s;
}

void
mqtt_store_back(struct mqtt_broker *b, struct mqtt_session *s)
{
	if (!is_away(b, s))
		return;
	if (s->prev)
		s->prev->next = s->next;
	else
		b->away_first = s->next;
	if (s->next)
		s->next->prev = s->prev;
	else
		b->away_last = s->prev;
	s->prev = s->next = NULL;
}

void
mqtt_store_remove(struct mqtt_broker *b, struct mqtt_session *s)
{
	struct mqtt_session **slot = slot_of(b, mqtt_session_id(s));

	ASSERT(!s->conn);
	mqtt_store_back(b, s);
	while (*slot != s)
		slot = &(*slot)->hash_next;
	*slot = s->hash_next;
	while (s->subs)
		mqtt_router_unsubscribe(&b->router, s->subs);
	mqtt_deliveries_clear(b, s);
	mqtt_received_clear(b, s);
	mqtt_change_session(b, s, MQTT_CHANGE_END);
	b->session_count--;
	/* A delayed will is due when its session ends (3.1.3.2.2); a forgotten session's subscriptions do not get it. */
	mqtt_will_publish(b, &s->will, NULL);
	free(s);
}

void
mqtt_store_tick(struct mqtt_broker *b)
{
	struct mqtt_session *next;

	for (struct mqtt_session *s = b->away_first; s; s = next) {
		next = s->next;
		if (b->now_us >= s->expires_us) {
			b->expired_count++;
			mqtt_store_remove(b, s);
		} else if (s->will && b->now_us >= s->will->due_us) {
			mqtt_will_publish(b, &s->will, s);
			mqtt_change_session(b, s, MQTT_CHANGE_SESSION);
		}
	}
}

void
mqtt_store_clear(struct mqtt_broker *b)
{
	while (b->away_first) {
		/* It goes on elsewhere, or when we are back. */
		b->away_first->shared = false;
		mqtt_will_free(&b->away_first->will);
		mqtt_store_remove(b, b->away_first);
	}
}
