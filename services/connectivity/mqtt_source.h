/* mqtt_source.h - what the topic that a connection publishes to means, kept for the next message; pure
 *
 * Most devices publish to one topic for ever. What follows from a topic and from who the client is does not change while
 * the connection lasts: that the topic is valid, its dialect and device, that this client may speak for the device, and
 * the hashes that go into each record. So it is found out once. */
#ifndef ROOST_MQTT_SOURCE_H
#define ROOST_MQTT_SOURCE_H

#include "dialect.h"
#include "ingest.h"

#define MQTT_SOURCE_TOPIC_MAX 256 /* longer topics are not kept */

struct mqtt_source {
	struct dialect_target target; /* of readings; borrows from topic, or from the client's identity */
	struct ingest_origin origin;
	bool is_reading;
	bool used; /* since another topic was asked for */
	uint16_t topic_len;
	uint8_t topic[];
};

/* NULL, or *source if it is of this topic. */
const struct mqtt_source *mqtt_source_of(struct mqtt_source **source, struct bytes topic);
/* The client may publish readings to this topic, and target is what they are. Kept if it is worth it: clients that publish to
 * several topics in turn keep one that comes again. identity outlives the source. */
void mqtt_source_learn(struct mqtt_source **source, struct bytes topic, struct bytes identity,
    struct bytes client_id);
/* The client may publish messages that are no readings to this topic. */
void mqtt_source_learn_message(struct mqtt_source **source, struct bytes topic);
/* What was found out does not hold any more. */
void mqtt_source_forget(struct mqtt_source **source);
/* NULL and empty if there is none. */
struct bytes mqtt_source_topic(const struct mqtt_source *source);

#endif
