/* mqtt_session_rights.c - what a client may do
 *
 * Asked when something begins, not for each message: a topic when it is published to first (mqtt_source keeps that), a filter when it is
 * subscribed to. So what matches a subscription may be delivered; where rights have changed since, or may have while nobody was
 * connected, the subscriptions are looked at again, and what waits is as it is sent. */
#include "mqtt_session_impl.h"

#include "enrol.h"
#include "log.h"
#include "metrics.h"

bool
mqtt_may(const struct mqtt_conn *c, enum mqtt_right right, struct bytes what)
{
	const struct mqtt_ops *ops = &c->broker->ops;
	struct mqtt_actor who = { .grant = c->grant, .client = mqtt_session_id(c->session) };

	/* What is told there goes to one connection only. */
	if (ops->enrol && right == MQTT_MAY_SUBSCRIBE && bytes_equal_str(what, ENROL_RESPONSE))
		return true;
	if (c->grant->guest)
		return false;
	if (!ops->may)
		return true;
	if (c->username)
		who.username = bytes_of_str(c->username);
	return ops->may(ops->arg, &who, right, what);
}

bool
mqtt_may_subscribe(const struct mqtt_conn *c, struct bytes filter)
{
	struct bytes name, shared;

	if (mqtt_filter_shared(filter, &name, &shared))
		filter = shared;
	return mqtt_may(c, MQTT_MAY_SUBSCRIBE, filter);
}

/* Who is no device speaks for those whose topics its roles let it publish to. */
bool
mqtt_may_speak(const struct mqtt_broker *b, const struct auth_grant *grant, struct bytes own,
    struct bytes device)
{
	return (b->ops.may && grant->kind && !grant->is_device) ||
	       auth_speaks_for(grant, own, device);
}

static void
end(struct mqtt_conn *c, struct mqtt_sub *sub, struct bytes filter)
{
	struct mqtt_broker *b = c->broker;

	log_info(
	    "mqtt.unsubscribed", LB("client", mqtt_session_id(c->session)), LB("filter", filter));
	metric_add(M_MQTT_SUBSCRIBE_REFUSED, 1);
	mqtt_router_unsubscribe(&b->router, sub);
	c->session->sub_count--;
	mqtt_change(b, &(struct mqtt_change){
			   .kind = MQTT_CHANGE_UNSUB, .session = c->session, .filter = filter });
}

void
mqtt_rights_look(struct mqtt_conn *c)
{
	struct mqtt_broker *b = c->broker;
	struct mqtt_session *s = c->session;
	struct mqtt_sub *next;
	struct buf filter = { 0 };

	if (!b->ops.may)
		return;
	for (struct mqtt_sub *sub = s->subs; sub; sub = next) {
		next = sub->session_next;
		buf_clear(&filter);
		mqtt_router_key(&filter, sub->node, sub->group);
		if (!mqtt_may_subscribe(c, buf_bytes(&filter)))
			end(c, sub, buf_bytes(&filter));
	}
	buf_fini(&filter);
	c->doubted = s->queue.head || s->in_flight.head || s->owed;
}
