/* support_mqtt.c - packets as clients send them, for the MQTT tests */
#include "support_mqtt.h"

#include <string.h>

#define V(label, version, bytes)                                                                   \
	{                                                                                          \
		label, version, bytes, sizeof(bytes) - 1                                           \
	}

const struct packet_vector packet_vectors[] = {
	V("connect 3.1", 3, "\x10\x0f\0\6MQIsdp\3\2\0\x3c\0\1a"),
	V("connect 3.1.1", 4, "\x10\x0d\0\4MQTT\4\2\0\x3c\0\1a"),
	V("connect 3.1.1, will, user, password", 4,
	    "\x10\x1f\0\4MQTT\4\xee\0\x3c\0\1a\0\3w/t\0\2hi\0\1u\0\4pass"),
	V("connect 5", 5, "\x10\x0e\0\4MQTT\5\2\0\x3c\0\0\1a"),
	V("connect 5, all properties", 5,
	    "\x10\x32\0\4MQTT\5\2\0\x3c\x24\x11\0\0\0\x0a\x21\0\x14\x27\0\1\0\0\x22\0\5\x19\1\x17\0"
	    "\x26\0\1k\0\1v\x15\0\1m\x16\0\2\1\2\0\1a"),
	V("connect 5, will with all properties", 5,
	    "\x10\x48\0\4MQTT\5\x2e\0\x3c\0\0\1a"
	    "\x2c\x18\0\0\0\5\1\1\2\0\0\0\x0a\3\0\4text\x08\0\3r/"
	    "t\x09\0\2\1\2\x26\0\1k\0\1v\x26\0\1k\0\1w"
	    "\0\3w/t\0\6\0\1\2\3\4\5"),
	V("publish 3.1.1 QoS 0", 4, "\x30\x08\0\3a/bxyz"),
	V("publish 3.1.1 QoS 1, dup, retain", 4, "\x3b\x0a\0\3a/b\0\7xyz"),
	V("publish 3.1.1 QoS 2, empty", 4, "\x34\x07\0\3a/b\0\7"),
	V("publish 5 QoS 0", 5, "\x30\x09\0\3a/b\0xyz"),
	V("publish 5 QoS 1, all properties", 5,
	    "\x32\x2e\0\3a/b\0\7\x23\1\1\2\0\0\0\x0a\3\0\4text\x08\0\3r/"
	    "t\x09\0\2\1\2\x23\0\1\x26\0\1k\0\1vxyz"),
	V("publish 5 by alias", 5, "\x30\x09\0\0\3\x23\0\1xyz"),
	V("puback 3.1.1", 4, "\x40\2\0\7"),
	V("puback 5", 5, "\x40\2\0\7"),
	V("puback 5 with reason", 5, "\x40\3\0\7\x10"),
	V("puback 5 with properties", 5, "\x40\x09\0\7\x10\5\x1f\0\2no"),
	V("pubrec 3.1.1", 4, "\x50\2\0\7"),
	V("pubrec 5", 5, "\x50\4\0\7\x97\0"),
	V("pubrel 3.1.1", 4, "\x62\2\0\7"),
	V("pubrel 5", 5, "\x62\2\0\7"),
	V("pubcomp 3.1.1", 4, "\x70\2\0\7"),
	V("pubcomp 5", 5, "\x70\3\0\7\x92"),
	V("subscribe 3.1.1", 4, "\x82\x0e\0\7\0\3a/b\1\0\3+/#\2"),
	V("subscribe 5", 5, "\x82\x11\0\7\2\x0b\7\0\3a/b\1\0\3+/#\x2d"),
	V("unsubscribe 3.1.1", 4, "\xa2\x0c\0\7\0\3a/b\0\3+/#"),
	V("unsubscribe 5", 5, "\xa2\x0f\0\7\7\x26\0\1k\0\1v\0\3a/b"),
	V("pingreq", 4, "\xc0\0"),
	V("disconnect 3.1.1", 4, "\xe0\0"),
	V("disconnect 5", 5, "\xe0\0"),
	V("disconnect 5 with properties", 5, "\xe0\7\4\5\x11\0\0\0\x0a"),
	V("auth 5", 5, "\xf0\6\x18\4\x15\0\1m"),
	V("connect 3.1, will, user, password", 3,
	    "\x10\x21\0\6MQIsdp\3\xee\0\x3c\0\1a\0\3w/t\0\2hi\0\1u\0\4pass"),
	V("connect 3.1, flags of which nothing is there", 3, "\x10\x0f\0\6MQIsdp\3\xc2\0\x3c\0\1a"),
	V("connect 5, will of 5, user, password", 5,
	    "\x10\x21\0\4MQTT\5\xf6\0\x3c\0\0\1a\0\0\3w/t\0\2hi\0\1u\0\4pass"),
	V("connect 5, password alone", 5, "\x10\x11\0\4MQTT\5\x42\0\x3c\0\0\1a\0\1p"),
	V("publish 3.1 QoS 2", 3, "\x34\x0a\0\3a/b\0\7xyz"),
	V("publish 5 QoS 2, dup", 5, "\x3c\x0b\0\3a/b\0\7\0xyz"),
	V("publish of a topic in UTF-8, U+FEFF first", 4,
	    "\x30\x0a\0\7\xef\xbb\xbf\xf0\x9f\x8c\xb1x"),
	V("puback 3.1", 3, "\x40\2\0\7"),
	V("pubrel 3.1", 3, "\x62\2\0\7"),
	V("pubrel 5 with properties", 5, "\x62\x10\0\7\x92\x0c\x1f\0\2no\x26\0\1k\0\1v"),
	V("pubcomp 5 with properties", 5, "\x70\x0b\0\7\x92\7\x26\0\1k\0\1v"),
	V("pubrec 5 with properties", 5, "\x50\x09\0\7\x97\5\x1f\0\2no"),
	V("subscribe 3.1", 3, "\x82\x0e\0\7\0\3a/b\1\0\3+/#\2"),
	V("subscribe 5, shared", 5, "\x82\x17\0\7\7\x26\0\1k\0\1v\0\x0a$share/g/+\x1a"),
	V("unsubscribe 3.1", 3, "\xa2\x0c\0\7\0\3a/b\0\3+/#"),
	V("unsubscribe 5, two", 5, "\xa2\x12\0\7\0\0\x0a$share/g/a\0\1b"),
	V("pingreq 3.1", 3, "\xc0\0"),
	V("pingreq 5", 5, "\xc0\0"),
	V("disconnect 3.1", 3, "\xe0\0"),
	V("disconnect 5, all properties", 5,
	    "\xe0\x18\4\x16\x11\0\0\0\x0a\x1f\0\2no\x26\0\1k\0\1v\x1c\0\2no"),
	V("auth 5, all properties", 5,
	    "\xf0\x17\x19\x15\x15\0\1m\x16\0\2\1\2\x1f\0\2no\x26\0\1k\0\1v"),
};
const size_t packet_vector_count = sizeof(packet_vectors) / sizeof(packet_vectors[0]);

static void
put_text(struct buf *b, const char *text)
{
	size_t len = strlen(text);

	buf_add_u8(b, (uint8_t)(len >> 8));
	buf_add_u8(b, (uint8_t)len);
	buf_add(b, text, len);
}

static void
put_id(struct buf *b, unsigned id)
{
	buf_add_u8(b, (uint8_t)(id >> 8));
	buf_add_u8(b, (uint8_t)id);
}

void
put_packet(struct buf *out, unsigned first, const void *body, size_t len)
{
	size_t left = len;

	buf_add_u8(out, (uint8_t)first);
	do {
		buf_add_u8(out, (uint8_t)((left & 127) | (left > 127 ? 128 : 0)));
		left >>= 7;
	} while (left);
	buf_add(out, body, len);
}

void
put_fault(struct buf *out, const struct packet_fault *f)
{
	if (f->first)
		put_packet(out, f->first, f->bytes, f->len);
	else
		buf_add(out, f->bytes, f->len);
}

void
put_connect(struct buf *out, unsigned version, int clean, unsigned keep_alive, const char *id)
{
	struct buf b = { 0 };

	put_text(&b, version == 3 ? "MQIsdp" : "MQTT");
	buf_add_u8(&b, (uint8_t)version);
	buf_add_u8(&b, clean ? 2 : 0);
	put_id(&b, keep_alive);
	if (version == 5)
		buf_add_u8(&b, 0);
	put_text(&b, id);
	put_packet(out, 0x10, b.data, b.len);
	buf_fini(&b);
}

void
put_connect_expiring(struct buf *out, int clean, uint32_t expiry_s, const char *id)
{
	struct buf b = { 0 };

	put_text(&b, "MQTT");
	buf_add_u8(&b, 5);
	buf_add_u8(&b, clean ? 2 : 0);
	put_id(&b, 60);
	buf_add(&b, "\5\x11", 2);
	put_id(&b, expiry_s >> 16);
	put_id(&b, expiry_s & 0xffff);
	put_text(&b, id);
	put_packet(out, 0x10, b.data, b.len);
	buf_fini(&b);
}

void
put_publish(struct buf *out, unsigned version, unsigned flags, unsigned packet_id,
    const char *topic, const char *payload)
{
	struct buf b = { 0 };

	put_text(&b, topic);
	if (flags & 6)
		put_id(&b, packet_id);
	if (version == 5)
		buf_add_u8(&b, 0);
	buf_add_str(&b, payload);
	put_packet(out, 0x30 | flags, b.data, b.len);
	buf_fini(&b);
}

void
put_subscribe(
    struct buf *out, unsigned version, unsigned packet_id, const char *filter, unsigned options)
{
	struct buf b = { 0 };

	put_id(&b, packet_id);
	if (version == 5)
		buf_add_u8(&b, 0);
	put_text(&b, filter);
	buf_add_u8(&b, (uint8_t)options);
	put_packet(out, 0x82, b.data, b.len);
	buf_fini(&b);
}

void
put_unsubscribe(struct buf *out, unsigned version, unsigned packet_id, const char *filter)
{
	struct buf b = { 0 };

	put_id(&b, packet_id);
	if (version == 5)
		buf_add_u8(&b, 0);
	put_text(&b, filter);
	put_packet(out, 0xa2, b.data, b.len);
	buf_fini(&b);
}

void
put_puback(struct buf *out, unsigned packet_id)
{
	uint8_t b[2] = { (uint8_t)(packet_id >> 8), (uint8_t)packet_id };

	put_packet(out, 0x40, b, 2);
}
