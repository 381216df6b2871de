/* mqtt_source.c - what the topic that a connection publishes to means, kept for the next message; pure */
#include "mqtt_source.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "mem.h"

void
mqtt_source_forget(struct mqtt_source **source)
{
	free(*source);
	*source = NULL;
}

struct bytes
mqtt_source_topic(const struct mqtt_source *source)
{
	return source ? bytes_of(source->topic, source->topic_len) : bytes_of(NULL, 0);
}

const struct mqtt_source *
mqtt_source_of(struct mqtt_source **source, struct bytes topic)
{
	struct mqtt_source *s = *source;

	if (!s || s->topic_len != topic.len || memcmp(s->topic, topic.data, topic.len) != 0)
		return NULL;
	s->used = true;
	return s;
}

/* NULL: the topic is not worth it, or another one has been asked for since. */
static struct mqtt_source *
take_place(struct mqtt_source **source, struct bytes topic)
{
	struct mqtt_source *s = *source;

	if (topic.len == 0 || topic.len > MQTT_SOURCE_TOPIC_MAX)
		return NULL;
	if (s && s->used) {
		s->used = false;
		return NULL;
	}
	if (!s || s->topic_len < topic.len)
		s = xrealloc(s, sizeof(*s) + topic.len);
	*source = s;
	s->used = false;
	s->topic_len = (uint16_t)topic.len;
	memcpy(s->topic, topic.data, topic.len);
	return s;
}

void
mqtt_source_learn(
    struct mqtt_source **source, struct bytes topic, struct bytes identity, struct bytes client_id)
{
	struct mqtt_source *s = take_place(source, topic);
	int err;

	if (!s)
		return;
	/* Once more, so that it borrows from what is kept. */
	err = dialect_match(mqtt_source_topic(s), identity, &s->target);
	ASSERT(err == 0);
	s->origin = ingest_origin_of(s->target.device, topic, client_id);
	s->is_reading = true;
}

void
mqtt_source_learn_message(struct mqtt_source **source, struct bytes topic)
{
	struct mqtt_source *s = take_place(source, topic);

	if (s)
		s->is_reading = false;
}
