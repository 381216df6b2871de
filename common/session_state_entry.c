/* session_state_entry.c - what an entry of a session's keys says; what Redis holds is input like any other */
#include <string.h>

#include "session_state_impl.h"

bool
session_frame(struct bytes frame, enum msg_type type, union msg_any *ret)
{
	enum msg_type is;

	return codec_decode(frame, &is, ret) == 0 && is == type;
}

/* "a:b" at the first colon. */
static bool
split(struct bytes text, struct redis_view *ret_a, struct bytes *ret_b)
{
	const uint8_t *colon = text.len > 0 ? memchr(text.data, ':', text.len) : NULL;
	size_t at;

	if (colon == NULL)
		return false;
	at = (size_t)(colon - text.data);
	*ret_a = (struct redis_view){ .kind = REDIS_TEXT, .text = bytes_of(text.data, at) };
	*ret_b = bytes_of(colon + 1, text.len - at - 1);
	return true;
}

static struct redis_view
text_view(struct bytes text)
{
	return (struct redis_view){ .kind = REDIS_TEXT, .text = text };
}

static bool
take_subscription(struct bytes value, struct session_state_item *item)
{
	struct redis_view v = text_view(value);
	uint64_t packed;

	if (!redis_uint(&v, (uint64_t)UINT32_MAX << 8 | 0xff, &packed))
		return false;
	item->options = (uint8_t)(packed & 0xff);
	item->subscription_id = (uint32_t)(packed >> 8);
	return true;
}

static bool
take_incoming(struct bytes key, struct bytes value, struct session_state_item *item)
{
	struct redis_view id = text_view(key), v = text_view(value);
	uint64_t partition;

	item->key = (struct bytes){ 0 };
	if (!redis_uint(&id, UINT16_MAX, &item->n))
		return false;
	if (bytes_equal_str(value, "-1")) {
		item->partition = -1;
		return true;
	}
	if (!redis_uint(&v, INT32_MAX, &partition))
		return false;
	item->partition = (int32_t)partition;
	return true;
}

/* msg holds what item points to. */
static bool
take_retained(struct bytes value, struct session_state_item *item, union msg_any *msg)
{
	struct redis_view seq;
	struct bytes frame;

	if (!split(value, &seq, &frame) || !redis_uint(&seq, UINT64_MAX, &item->n) ||
	    !session_frame(frame, MSG_MQTT_MESSAGE, msg))
		return false;
	item->message = &msg->mqtt_message;
	return true;
}

static bool
take_will(struct bytes value, struct session_state_item *item, union msg_any msg[2])
{
	if (!session_frame(value, MSG_MQTT_WILL, &msg[0]) ||
	    !session_frame(msg[0].mqtt_will.message, MSG_MQTT_MESSAGE, &msg[1]))
		return false;
	item->will = &msg[0].mqtt_will;
	item->message = &msg[1].mqtt_message;
	item->life = item->will->life;
	item->since_ms = item->will->since;
	return true;
}

static bool
take_forward(struct bytes value, struct session_state_item *item)
{
	struct redis_view life, seq;
	struct bytes rest;

	if (!split(value, &life, &rest))
		return false;
	seq = text_view(rest);
	return redis_uint(&life, UINT64_MAX, &item->life) && redis_uint(&seq, UINT64_MAX, &item->n);
}

static bool
take_time(struct bytes value, struct session_state_item *item)
{
	struct redis_view v = text_view(value);
	uint64_t ms;

	if (!redis_uint(&v, INT64_MAX, &ms))
		return false;
	item->since_ms = (int64_t)ms;
	return true;
}

bool
session_entry(enum session_state_kind kind, struct bytes key, struct bytes value,
    struct session_state_item *item, union msg_any msg[2])
{
	switch (kind) {
	case SESSION_STATE_SUBSCRIPTION:
		return take_subscription(value, item);
	case SESSION_STATE_INCOMING:
		return take_incoming(key, value, item);
	case SESSION_STATE_RETAINED:
		return take_retained(value, item, &msg[0]);
	case SESSION_STATE_WILL:
		return take_will(value, item, msg);
	case SESSION_STATE_FORWARD:
		return take_forward(value, item);
	case SESSION_STATE_ORIGIN:
		return take_time(value, item);
	case SESSION_STATE_RELEASED:
	case SESSION_STATE_QUEUED:
	case SESSION_STATE_OWNED:
	case SESSION_STATE_KINDS:
		break;
	}
	return false;
}
