/* mqtt_broker.c - what all connections share: start, room, tick, drain, end */
#include "mqtt_session_impl.h"

#include <stdlib.h>

#include "log.h"
#include "metrics.h"

#define RETAINED_SWEEP_US 60000000ll

void
mqtt_broker_init(
    struct mqtt_broker *b, const struct mqtt_config *config, const struct mqtt_ops *ops)
{
	*b = (struct mqtt_broker){ .config = *config, .ops = *ops };
	b->gathered_end = &b->gathered;
	conn_set_init(&b->set);
	mqtt_router_init(&b->router);
	mqtt_retained_init(&b->retained, config->retained_max, config->retained_bytes_max);
}

void
mqtt_broker_fini(struct mqtt_broker *b)
{
	for (size_t i = 0; i < b->slot_count; i++)
		if (b->slots[i]) {
			mqtt_conn_end(b->slots[i], MQTT_END_SHUTDOWN);
			mqtt_conn_free(&b->slots[i]);
		}
	mqtt_gather_fini(b);
	mqtt_store_clear(b);
	while (b->owed_wills) {
		struct mqtt_will *will = b->owed_wills;

		b->owed_wills = will->next;
		mqtt_will_free(&will);
	}
	mqtt_writes_fini(&b->writes);
	while (b->spare) {
		struct mqtt_delivery *d = b->spare;

		b->spare = d->next;
		free(d);
	}
	mqtt_sys_free(&b->sys);
	mqtt_router_fini(&b->router);
	mqtt_retained_fini(&b->retained);
	conn_set_fini(&b->set);
	buf_fini(&b->scratch);
	buf_fini(&b->props);
	buf_fini(&b->undo);
	buf_fini(&b->encoded.made);
	free(b->slots);
	free(b->generations);
	free(b->free_slots);
	free(b->table);
}

void
mqtt_broker_room(struct mqtt_broker *b)
{
	struct mqtt_conn *next;

	mqtt_owed_wills(b);
	/* Each tries again on its own: room may be in one partition and not in another. */
	for (struct mqtt_conn *c = b->room_first; c; c = next) {
		next = c->room_next;
		c->room_link = NULL;
		c->last_in_us = b->now_us;
		conn_resume(&c->io, MQTT_PAUSED_ROOM);
	}
	b->room_first = NULL;
}

bool
mqtt_broker_turn(struct mqtt_broker *b)
{
	bool more = b->parked && mqtt_parked_turn(b);
	bool over = b->work >= MQTT_WORK_MAX;

	more |= b->looking && mqtt_retained_turn(b);
	b->work = 0;
	if (over)
		mqtt_broker_room(b);
	return over || more;
}

void
mqtt_broker_tick(struct mqtt_broker *b)
{
	mqtt_store_tick(b);
	mqtt_owed_wills(b);
	mqtt_sys_tick(b);
	mqtt_gather_tick(b);
	if (b->now_us - b->swept_us >= RETAINED_SWEEP_US) {
		mqtt_retained_expire(&b->retained, b->now_us);
		b->swept_us = b->now_us;
	}
	metric_set(M_MQTT_SESSIONS, b->session_count);
	metric_set(M_MQTT_SUBSCRIPTIONS, b->router.sub_count);
	metric_set(M_MQTT_SUBSCRIPTIONS_SHARED, b->router.shared_count);
	metric_set(M_MQTT_SUBSCRIPTION_BYTES, mqtt_router_bytes(&b->router));
	metric_set(M_MQTT_RETAINED, b->retained.count);
	metric_set(M_MQTT_RETAINED_BYTES, b->retained.bytes + b->retained.tree.bytes);
	metric_set(M_MQTT_QUEUED_BYTES, b->queued_bytes);
	metric_set(M_MQTT_QUEUED, b->queued_count);
	metric_set(M_MQTT_HELD_BYTES, b->held_bytes);
	metric_set(M_MQTT_WILL_BYTES, b->will_bytes);
}

void
mqtt_broker_regranted(struct mqtt_broker *b)
{
	for (size_t i = 0; i < b->slot_count; i++) {
		struct mqtt_conn *c = b->slots[i];

		/* One that is not UP yet is looked at when it would be. */
		if (!c || c->state != MQTT_UP)
			continue;
		if (c->grant->cut) {
			log_info("mqtt.cut", LB("client", mqtt_session_id(c->session)),
			    LB("identity", c->grant->identity));
			metric_add(M_MQTT_CUT, 1);
			mqtt_conn_bye(c, MQTT_NOT_AUTHORIZED);
			mqtt_conn_end(c, MQTT_END_ABRUPT);
		} else if (c->grant->changed) {
			mqtt_source_forget(&c->source);
			mqtt_rights_look(c);
		}
	}
}

void
mqtt_broker_reruled(struct mqtt_broker *b)
{
	for (size_t i = 0; i < b->slot_count; i++) {
		struct mqtt_conn *c = b->slots[i];

		if (!c || c->state != MQTT_UP)
			continue;
		mqtt_source_forget(&c->source);
		mqtt_rights_look(c);
	}
}

void
mqtt_broker_drain(struct mqtt_broker *b)
{
	b->draining = true;
	for (size_t i = 0; i < b->slot_count; i++)
		if (b->slots[i])
			conn_pause(&b->slots[i]->io, MQTT_PAUSED_DRAIN);
}

void
mqtt_broker_shutdown(struct mqtt_broker *b)
{
	for (size_t i = 0; i < b->slot_count; i++) {
		struct mqtt_conn *c = b->slots[i];

		if (!c || c->state == MQTT_ENDED)
			continue;
		if (c->state == MQTT_UP)
			mqtt_conn_bye(c, MQTT_SHUTTING_DOWN);
		mqtt_conn_end(c, MQTT_END_SHUTDOWN);
	}
}
