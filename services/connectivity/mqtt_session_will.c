/* mqtt_session_will.c - wills: taken, published, owed (MQTT 5 section 3.1.2.5) */
#include "mqtt_session_impl.h"

#include <stdlib.h>

#include "dialect.h"
#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "mqtt_sys.h"

#define OWED_WILLS_MAX 4096

const char *
mqtt_will_fault(const struct mqtt_broker *b, struct bytes topic, const struct mqtt_actor *who)
{
	struct bytes own = who->username.len ? who->username : who->client;
	struct dialect_target target;
	int err = dialect_match(topic, auth_device(who->grant, own), &target);

	if (err == ERR_REFUSED)
		return target.reason;
	if (b->ops.may && !b->ops.may(b->ops.arg, who, MQTT_MAY_PUBLISH, topic))
		return "this client may not publish to the topic of its will";
	if (err == 0 && target.names_device && !mqtt_may_speak(b, who->grant, own, target.device))
		return "this client may not publish readings of the device in its will";
	return NULL;
}

struct mqtt_will *
mqtt_will_new(struct mqtt_conn *c, const struct mqtt_connect *q)
{
	struct mqtt_broker *b = c->broker;
	struct mqtt_will *will;
	struct mqtt_message m;

	if (!q->has_will)
		return NULL;
	m = (struct mqtt_message){
		.topic = q->will_topic,
		.payload = q->will_payload,
		.props = mqtt_props_forward(&q->will_props, &b->props),
		.source = mqtt_conn_identity(c),
		.qos = (uint8_t)q->will_qos,
		.has_expiry = mqtt_has(&q->will_props, MQTT_PROP_MESSAGE_EXPIRY),
	};
	will = xcalloc(1, sizeof(*will));
	will->retain = q->will_retain;
	will->grant = auth_grant_ref(c->grant);
	will->any_device = c->grant->any_device;
	if (c->grant->kind)
		will->client = xstrndup(c->session->id, c->session->id_len);
	will->delay_s =
	    mqtt_has(&q->will_props, MQTT_PROP_WILL_DELAY) ? q->will_props.will_delay : 0;
	/* The interval starts when the will is published. */
	m.expires_us = m.has_expiry ? q->will_props.message_expiry * 1000000ll : 0;
	will->message = mqtt_message_new(&m);
	will->total = &b->will_bytes;
	*will->total += mqtt_message_bytes(&m);
	return will;
}

void
mqtt_will_free(struct mqtt_will **p_will)
{
	struct mqtt_will *will = *p_will;

	*p_will = NULL;
	if (!will)
		return;
	if (will->total)
		*will->total -= mqtt_message_bytes(will->message);
	mqtt_message_unref(&will->message);
	auth_grant_unref(&will->grant);
	free(will->client);
	free(will);
}

static bool
speaks_for(const struct mqtt_broker *b, const struct mqtt_will *will, struct bytes device)
{
	struct bytes own = will->message->source;

	if (will->grant)
		return mqtt_may_speak(b, will->grant, own, device);
	return will->any_device || bytes_equal(own, device);
}

/* A will on a reading's topic is a reading. false: no room now. */
static bool
is_ingested(struct mqtt_broker *b, const struct mqtt_will *will)
{
	struct dialect_target target;
	struct ingest_message m = {
		.topic = will->message->topic,
		.payload = will->message->payload,
		.qos = will->message->qos ? 1 : 0,
		.undecodable = INGEST_QUARANTINE,
	};
	struct bytes own = will->message->source;
	struct bytes me = will->grant ? auth_device(will->grant, own) : own;

	if (dialect_match(m.topic, me, &target) != 0)
		return true;
	if (target.names_device && !speaks_for(b, will, target.device)) {
		metric_add(M_MQTT_REFUSED, 1);
		return true;
	}
	m.device = target.device;
	m.format = target.format;
	m.metric = target.metric;
	return b->ops.offer(b->ops.arg, &m, 0, NULL) != ERR_AGAIN;
}

static void
owe(struct mqtt_broker *b, struct mqtt_will **will)
{
	if (b->owed_will_count == OWED_WILLS_MAX) {
		log_warn("mqtt.will_dropped", LB("topic", (*will)->message->topic));
		metric_add(M_MQTT_DROPPED, 1);
		mqtt_will_free(will);
		return;
	}
	(*will)->next = b->owed_wills;
	b->owed_wills = *will;
	b->owed_will_count++;
	*will = NULL;
}

/* Rights count when it is published, not when it was given. */
static bool
is_allowed(const struct mqtt_broker *b, const struct mqtt_will *will)
{
	const struct mqtt_message *m = will->message;
	struct mqtt_actor who = { .grant = will->grant, .username = m->source };

	if (mqtt_sys_is_ours(m->topic))
		return false;
	/* Of a client whose worker died only what it might at CONNECT is known. */
	if (!will->grant)
		return true;
	if (will->client)
		who.client = bytes_of_str(will->client);
	return !will->grant->cut &&
	       (!b->ops.may || b->ops.may(b->ops.arg, &who, MQTT_MAY_PUBLISH, m->topic));
}

void
mqtt_will_publish(struct mqtt_broker *b, struct mqtt_will **will, const struct mqtt_session *from)
{
	struct mqtt_arrival a;

	if (!*will)
		return;
	if (!is_allowed(b, *will)) {
		log_warn("mqtt.will_refused", LB("topic", (*will)->message->topic));
		metric_add(M_MQTT_REFUSED, 1);
		mqtt_will_free(will);
		return;
	}
	if (!is_ingested(b, *will)) {
		owe(b, will);
		return;
	}
	a = (struct mqtt_arrival){
		.view = *(*will)->message, .retain = (*will)->retain, .from = from
	};
	a.view.expires_us += b->now_us;
	(void)mqtt_route(b, &a);
	mqtt_arrival_fini(&a);
	mqtt_will_free(will);
}

void
mqtt_owed_wills(struct mqtt_broker *b)
{
	struct mqtt_will *will = b->owed_wills;

	b->owed_wills = NULL;
	b->owed_will_count = 0;
	while (will) {
		struct mqtt_will *next = will->next;

		mqtt_will_publish(b, &will, NULL);
		will = next;
	}
}
