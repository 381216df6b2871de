/* mqtt_session_enrol.c - a device registers itself by MQTT: its request, the answer, and what it may do before that */
#include "mqtt_session_impl.h"

#include "enrol.h"
#include "metrics.h"

bool
mqtt_enrol_takes(const struct mqtt_conn *c, const struct mqtt_publish *p)
{
	return c->broker->ops.enrol && bytes_equal_str(p->topic, ENROL_REQUEST);
}

/* Nobody else gets to see it: a secret is in it. */
void
mqtt_enrol(struct mqtt_conn *c, const struct mqtt_publish *p)
{
	const struct mqtt_ops *ops = &c->broker->ops;

	metric_add(M_MQTT_RECEIVED, 1);
	mqtt_unit_begin(c->broker);
	if (p->qos == 2)
		mqtt_received_add(c, p->packet_id, MQTT_RECEIVED_COUNTS, -1);
	if (p->qos) {
		(void)mqtt_pending_push_written(
		    c, p->packet_id, p->qos == 2 ? MQTT_OWES_PUBREC : MQTT_OWES_PUBACK);
		mqtt_answer_ready(c);
	}
	ops->enrol(ops->arg, p->payload, &c->io.peer, mqtt_token_of(c, 0));
}

/* At QoS 0, so that it is kept nowhere; whether it subscribes to it or not. */
void
mqtt_broker_enrolled(struct mqtt_broker *b, uint64_t token, struct bytes answer)
{
	struct mqtt_conn *c = mqtt_conn_of(b, token);
	struct mqtt_arrival a = { .view = {
				      .topic = bytes_of_str(ENROL_RESPONSE), .payload = answer } };
	const struct mqtt_how how = { .qos = 0 };

	if (!c || !c->session)
		return;
	mqtt_deliver(b, c->session, &a, &how);
	mqtt_arrival_fini(&a);
}
