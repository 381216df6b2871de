/* test_mqtt_malformed.c - packets that break MQTT: no byte too far is read, and each is refused with the reason it has
 *
 * THOROUGH=1 gives every value to every byte of every prefix, instead of those that are likely to matter. */
#include "support_session.h"

#include <stdio.h>
#include <string.h>

#include "err.h"
#include "mem.h"
#include "support_mqtt.h"
#include "../../fuzz/mqtt_again.h"

#define PACKET_MAX 65536

/* Frame and parse, in memory that ends where the input ends, so that SAN=1 sees a byte too far. What is accepted is written
 * the same again. */
static int
decode(const void *bytes, size_t len, unsigned version, struct mqtt_fault *fault)
{
	uint8_t *copy = xmemdup(bytes, len);
	struct mqtt_frame f;
	union again p;
	size_t need = 0;
	int err;

	*fault = (struct mqtt_fault){ 0, NULL };
	err = mqtt_frame_next(bytes_of(copy, len), version, PACKET_MAX, &f, &need, fault);
	if (!err)
		err = again_parse(&f, version ? version : 5, &p, fault);
	if (!err)
		again_check(&f, version ? version : 5, &p);
	free(copy);
	return err;
}

static bool
is_reason(uint8_t reason)
{
	switch (reason) {
	case MQTT_MALFORMED:
	case MQTT_PROTOCOL_ERROR:
	case MQTT_BAD_VERSION:
	case MQTT_BAD_ALIAS:
	case MQTT_PACKET_TOO_LARGE:
	case MQTT_BAD_PAYLOAD:
		return true;
	default:
		return false;
	}
}

static void
check_any(const char *label, const uint8_t *bytes, size_t len)
{
	for (unsigned version = 3; version <= 5; version++) {
		struct mqtt_fault fault;
		int err = decode(bytes, len, version, &fault);

		ck_assert_msg(err == 0 || err == ERR_SHORT ||
				  ((err == ERR_MALFORMED || err == ERR_TOO_BIG) &&
				      is_reason(fault.reason) && fault.what),
		    "%s, %zu bytes, version %u: %d, 0x%x", label, len, version, err, fault.reason);
	}
}

/* All of them, or those around which something changes. */
static size_t
values(uint8_t old, uint8_t ret[256])
{
	static const uint8_t some[] = { 0, 1, 2, 3, 4, 5, 0x1f, 0x22, 0x23, 0x26, 0x2f, 0x7f, 0x80,
		0x81, 0xc0, 0xed, 0xff };
	size_t n = 0;

	if (getenv("THOROUGH")) {
		for (unsigned v = 0; v < 256; v++)
			ret[n++] = (uint8_t)v;
		return n;
	}
	for (size_t i = 0; i < COUNT_OF(some); i++)
		ret[n++] = some[i];
	for (unsigned bit = 0; bit < 8; bit++)
		ret[n++] = (uint8_t)(old ^ 1u << bit);
	ret[n++] = (uint8_t)(old + 1);
	ret[n++] = (uint8_t)(old - 1);
	return n;
}

START_TEST(every_byte_of_every_prefix)
{
	for (size_t i = 0; i < packet_vector_count; i++) {
		const struct packet_vector *v = &packet_vectors[i];
		uint8_t *copy = xmemdup(v->bytes, v->len);

		for (size_t n = 1; n <= v->len; n++)
			for (size_t at = 0; at < n; at++) {
				uint8_t old = copy[at], length = copy[1], list[256];

				for (size_t k = values(old, list); k--;) {
					copy[at] = list[k];
					check_any(v->label, copy, n);
					/* The same bytes as a whole packet. */
					copy[1] = n >= 2 ? (uint8_t)(n - 2) : length;
					if (at != 1)
						check_any(v->label, copy, n);
					copy[1] = length;
				}
				copy[at] = old;
			}
		free(copy);
	}
}
END_TEST

/* The standard's reason, from the codec ...
 * 5.0: MQTT-1.5.5-1, MQTT-2.2.1-3, MQTT-2.2.2-1, MQTT-3.1.2-3, -9, -11 to -13, -16 to -19, MQTT-3.1.3-1, -3,
 * MQTT-3.3.1-2, -4, MQTT-3.3.2-8, -14, MQTT-3.3.4-6, MQTT-3.4.2-1, MQTT-3.5.2-1, MQTT-3.6.2-1, MQTT-3.7.2-1,
 * MQTT-3.8.3-2, -4, -5, MQTT-3.10.3-2, MQTT-3.15.2-1, MQTT-4.7.0-1, MQTT-4.7.3-1, MQTT-4.8.2-1, -2, MQTT-4.12.0-3.
 * 3.1.1: MQTT-2.3.1-1, MQTT-3.1.2-9, -11, -13 to -15, -18 to -22, MQTT-3.1.3-1, -3, MQTT-3.3.1-2, MQTT-3.8.3-3,
 * MQTT-3-8.3-4, MQTT-3.10.3-2, MQTT-4.7.1-1, MQTT-4.7.3-1. */
START_TEST(each_fault_has_its_reason)
{
	for (size_t i = 0; i < packet_fault_count; i++) {
		const struct packet_fault *f = &packet_faults[i];
		struct buf packet = { 0 };
		struct mqtt_fault fault;
		bool connect;
		int err;

		put_fault(&packet, f);
		connect = packet.data[0] >> 4 == MQTT_CONNECT;
		err = decode(packet.data, packet.len, connect ? 0 : f->version, &fault);
		if (packet.data[0] >> 4 == MQTT_AUTH && f->version < 5)
			err = ERR_MALFORMED, fault = (struct mqtt_fault){ f->reason, "" };
		ck_assert_msg(err < 0 && fault.reason == f->reason && fault.what,
		    "%s: %d, 0x%x (%s)", f->label, err, fault.reason, fault.what ? fault.what : "");
		buf_fini(&packet);
	}
}
END_TEST

/* ... and on the wire: 5.0 is told, others are closed.
 * 5.0: MQTT-3.1.4-1, -6, MQTT-3.2.2-15, MQTT-3.3.2-2, MQTT-3.14.0-1, MQTT-3.14.1-1, MQTT-3.14.4-2, MQTT-4.13.1-1,
 * MQTT-4.13.2-1.
 * 3.1.1: MQTT-2.2.2-2, MQTT-3.1.2-3, MQTT-3.1.4-1, -5, MQTT-3.3.1-4, MQTT-3.3.2-2, MQTT-3.14.1-1, MQTT-4.8.0-1. */
START_TEST(each_fault_closes_the_connection)
{
	for (size_t i = 0; i < packet_fault_count; i++) {
		const struct packet_fault *f = &packet_faults[i];
		bool connect =
		    f->first ? f->first >> 4 == MQTT_CONNECT : f->bytes[0] >> 4 == MQTT_CONNECT;
		struct mqtt_conn *c =
		    connect ? mqtt_conn_new(&b, true) : connected(f->version, 1, "a");
		const struct buf *out;

		put_fault(&in, f);
		put_packet(&in, 0xc0, "", 0); /* is not looked at any more (MQTT-3.1.4-6) */
		feed(c);
		ck_assert_msg(
		    c->state == MQTT_ENDED && c->io.closing == CONN_CLOSE, "%s", f->label);
		out = c->io.out;
		if (f->version == 5 && out && connect) {
			ck_assert_msg(out->data[0] == 0x20 && out->data[2] == 0 &&
					  out->data[3] == f->reason &&
					  out->data[1] + 2u == out->len,
			    "%s", f->label);
		} else if (f->version == 5 && f->reason != MQTT_BAD_VERSION && !connect) {
			ck_assert_msg(out && out->data[0] == 0xe0 && out->data[2] == f->reason &&
					  out->data[1] + 2u == out->len,
			    "%s", f->label);
		} else if (f->reason == MQTT_BAD_VERSION && out && out->len) {
			ck_assert_msg(out->len == 4 && memcmp(out->data, "\x20\2\0\1", 4) == 0,
			    "%s", f->label);
		} else {
			ck_assert_msg(!out || out->len == 0, "%s", f->label);
		}
		gone(c);
	}
	ck_assert_uint_eq(b.session_count, 0);
}
END_TEST

/* The fixed header. In 3.1 flags other than those of PUBLISH say nothing.
 * 5.0: MQTT-2.1.3-1, MQTT-3.6.1-1, MQTT-3.8.1-1, MQTT-3.10.1-1, MQTT-3.14.1-1, MQTT-3.15.1-1.
 * 3.1.1: MQTT-2.2.2-1, -2, MQTT-3.6.1-1, MQTT-3.8.1-1, MQTT-3.10.1-1, MQTT-3.14.1-1. */
START_TEST(flags_of_every_type)
{
	for (size_t i = 0; i < packet_vector_count; i++) {
		const struct packet_vector *v = &packet_vectors[i];
		unsigned type = (uint8_t)v->bytes[0] >> 4;
		unsigned want = type == 6 || type == 8 || type == 10 ? 2 : 0;

		if (type == MQTT_PUBLISH)
			continue;
		for (unsigned flags = 0; flags < 16; flags++) {
			uint8_t *copy = xmemdup(v->bytes, v->len);
			struct mqtt_fault fault;
			int err;

			copy[0] = (uint8_t)(type << 4 | flags);
			err = decode(copy, v->len, type == MQTT_CONNECT ? 0 : v->version, &fault);
			if (flags == want || v->version == 3)
				ck_assert_msg(err == 0, "%s, flags %u", v->label, flags);
			else
				ck_assert_msg(
				    err == ERR_MALFORMED && fault.reason == MQTT_MALFORMED,
				    "%s, flags %u", v->label, flags);
			free(copy);
		}
	}
}
END_TEST

/* MQTT-1.5.5-1 of 5.0; 3.1.1 says nothing of it. */
START_TEST(overlong_lengths)
{
	static const struct {
		const char *label, *bytes;
		size_t len;
		unsigned version;
		int err;
	} cases[] = {
		{ "two bytes for 4, 3.1.1", "\x30\x84\0\0\1ax", 7, 4, 0 },
		{ "four bytes for 4, 3.1.1", "\x30\x84\x80\x80\0\0\1ax", 9, 4, 0 },
		{ "two bytes for 4", "\x30\x84\0\0\1a\0", 7, 5, ERR_MALFORMED },
		{ "four bytes for 4", "\x30\x84\x80\x80\0\0\1a\0", 9, 5, ERR_MALFORMED },
		{ "five bytes for 4", "\x30\x84\x80\x80\x80\0\0\1a\0", 10, 4, ERR_MALFORMED },
		{ "CONNECT of 3.1.1", "\x10\x8d\0\0\4MQTT\4\2\0\x3c\0\1a", 16, 0, 0 },
		{ "CONNECT of 5", "\x10\x8e\0\0\4MQTT\5\2\0\x3c\0\0\1a", 17, 0, ERR_MALFORMED },
		{ "PINGREQ", "\xc0\x80\0", 3, 5, ERR_MALFORMED },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct mqtt_fault fault;
		int err = decode(cases[i].bytes, cases[i].len, cases[i].version, &fault);

		ck_assert_msg(err == cases[i].err, "%s: %d", cases[i].label, err);
		if (err)
			ck_assert_uint_eq(fault.reason, MQTT_MALFORMED);
	}
}
END_TEST

/* --- properties: table 2-4 once more, from the standard --- */

enum { BYTE, SHORT, LONG, VAR, TEXT, BIN, PAIR };
enum { CON = 1, PUB = 2, WIL = 4, SUB = 8, UNS = 16, ACK = 32, DIS = 64, AUT = 128 };

static const struct {
	unsigned id, kind, where;
	int zero; /* what 0 is: 0 fine, else the reason */
} table[] = {
	{ 0x01, BYTE, PUB | WIL, 0 },
	{ 0x02, LONG, PUB | WIL, 0 },
	{ 0x03, TEXT, PUB | WIL, 0 },
	{ 0x08, TEXT, PUB | WIL, 0 },
	{ 0x09, BIN, PUB | WIL, 0 },
	{ 0x0b, VAR, SUB, 0x82 },
	{ 0x11, LONG, CON | DIS, 0 },
	{ 0x12, TEXT, 0, 0 },
	{ 0x13, SHORT, 0, 0 },
	{ 0x15, TEXT, CON | AUT, 0 },
	{ 0x16, BIN, CON | AUT, 0 },
	{ 0x17, BYTE, CON, 0 },
	{ 0x18, LONG, WIL, 0 },
	{ 0x19, BYTE, CON, 0 },
	{ 0x1a, TEXT, 0, 0 },
	{ 0x1c, TEXT, DIS, 0 },
	{ 0x1f, TEXT, ACK | DIS | AUT, 0 },
	{ 0x21, SHORT, CON, 0x82 },
	{ 0x22, SHORT, CON, 0 },
	{ 0x23, SHORT, PUB, 0x94 },
	{ 0x24, BYTE, 0, 0 },
	{ 0x25, BYTE, 0, 0 },
	{ 0x26, PAIR, CON | PUB | WIL | SUB | UNS | ACK | DIS | AUT, 0 },
	{ 0x27, LONG, CON, 0x82 },
	{ 0x28, BYTE, 0, 0 },
	{ 0x29, BYTE, 0, 0 },
	{ 0x2a, BYTE, 0, 0 },
};

static void
put_value(struct buf *out, unsigned kind, unsigned v)
{
	switch (kind) {
	case BYTE:
	case VAR:
		again_number(out, v, 1);
		break;
	case SHORT:
		again_number(out, v, 2);
		break;
	case LONG:
		again_number(out, v, 4);
		break;
	case PAIR:
		buf_add(out, "\0\1k\0\1v", 6);
		break;
	default:
		buf_add(out, "\0\1a", 3);
		break;
	}
}

/* A packet of that place with these properties. */
static int
decode_with(unsigned place, const struct buf *props, struct mqtt_fault *fault)
{
	static const struct {
		unsigned place, first;
		const char *before, *behind;
		size_t before_len, behind_len;
	} frames[] = {
#define FRAME(place, first, before, behind)                                                        \
	{ place, first, before, behind, sizeof(before) - 1, sizeof(behind) - 1 }
		FRAME(CON, 0x10, "\0\4MQTT\5\2\0\x3c", "\0\1a"),
		FRAME(WIL, 0x10, "\0\4MQTT\5\6\0\x3c\0\0\1a", "\0\1w\0\1x"),
		FRAME(PUB, 0x32, "\0\1a\0\1", "x"),
		FRAME(SUB, 0x82, "\0\1", "\0\1a\0"),
		FRAME(UNS, 0xa2, "\0\1", "\0\1a"),
		FRAME(ACK, 0x40, "\0\1\0", ""),
		FRAME(ACK, 0x50, "\0\1\0", ""),
		FRAME(ACK, 0x62, "\0\1\0", ""),
		FRAME(ACK, 0x70, "\0\1\0", ""),
		FRAME(DIS, 0xe0, "\0", ""),
		FRAME(AUT, 0xf0, "\x18", ""),
	};
	static unsigned ack; /* the four in turn */
	struct buf body = { 0 }, packet = { 0 };
	unsigned skip = place == ACK ? ack++ % 4 : 0;
	size_t i = 0;
	int err;

	while (frames[i].place != place || skip--)
		i++;
	buf_add(&body, frames[i].before, frames[i].before_len);
	again_varint(&body, props->len);
	buf_add(&body, props->data, props->len);
	buf_add(&body, frames[i].behind, frames[i].behind_len);
	put_packet(&packet, frames[i].first, body.data, body.len);
	err = decode(packet.data, packet.len, place & (CON | WIL) ? 0 : 5, fault);
	buf_fini(&body);
	buf_fini(&packet);
	return err;
}

static void
check_props(const char *label, unsigned row, unsigned place, const struct buf *props, int reason)
{
	struct mqtt_fault fault;
	int err = decode_with(place, props, &fault);

	ck_assert_msg(reason ? err == ERR_MALFORMED && fault.reason == reason : err == 0,
	    "%s: property 0x%02x in place %u: %d, 0x%x (%s)", label, table[row].id, place, err,
	    fault.reason, fault.what ? fault.what : "");
}

/* Once, twice, cut short, of value 0 and 2: sections 2.2.2.2 and of each property. */
START_TEST(properties_in_every_place)
{
	for (unsigned row = 0; row < COUNT_OF(table); row++)
		for (unsigned place = CON; place <= AUT; place *= 2) {
			struct buf p = { 0 };
			unsigned id = table[row].id, kind = table[row].kind;
			bool here = table[row].where & place;
			bool pub_id = place == PUB && id == 0x0b; /* MQTT-3.3.4-6 */

			if (place == AUT && id != 0x15)
				buf_add(&p, "\x15\0\1m", 4); /* must be there */
			if (place == CON && id == 0x16)
				buf_add(&p, "\x15\0\1m", 4); /* MQTT 5 section 3.1.2.11.10 */
			again_number(&p, id, 1);
			put_value(&p, kind, 1);
			check_props("once", row, place, &p, pub_id ? 0x82 : here ? 0 : 0x81);
			again_number(&p, id, 1);
			check_props("cut", row, place, &p,
			    kind == PAIR     ? 0x81
			    : here || pub_id ? 0x82
					     : 0x81);
			put_value(&p, kind, 1);
			check_props("twice", row, place, &p,
			    kind == PAIR     ? 0
			    : here || pub_id ? 0x82
					     : 0x81);
			buf_clear(&p);
			again_number(&p, id, 1);
			check_props("no value", row, place, &p, 0x81);
			if (here && kind < TEXT) {
				put_value(&p, kind, 0);
				check_props("0", row, place, &p, table[row].zero);
			}
			if (here && kind == BYTE) {
				buf_clear(&p);
				again_number(&p, id, 1);
				put_value(&p, kind, 2);
				check_props("2", row, place, &p, 0x82);
			}
			buf_fini(&p);
		}
}
END_TEST

START_TEST(unknown_properties)
{
	for (unsigned id = 0; id < 128; id++)
		for (unsigned place = CON; place <= AUT; place *= 2) {
			struct buf p = { 0 };
			struct mqtt_fault fault;
			bool known = false;

			for (size_t row = 0; row < COUNT_OF(table); row++)
				known |= table[row].id == id;
			if (known)
				continue;
			again_number(&p, id, 1);
			again_number(&p, 1, 1);
			ck_assert_int_eq(decode_with(place, &p, &fault), ERR_MALFORMED);
			ck_assert_uint_eq(fault.reason, MQTT_MALFORMED);
			buf_fini(&p);
		}
}
END_TEST

/* --- texts --- */

/* In every field that is a text, of every packet.
 * 5.0: MQTT-1.5.4-1 to -3, MQTT-1.5.7-1, MQTT-3.1.3-4, -11, -12, MQTT-3.3.2-1, -13, -19, MQTT-3.8.3-1, MQTT-3.10.3-1,
 * MQTT-4.7.3-2.
 * 3.1.1: MQTT-1.5.3-1 to -3, MQTT-3.1.3-4, -10, -11, MQTT-3.3.2-1, MQTT-3.8.3-1, MQTT-3.10.3-1, MQTT-4.7.3-2. */
START_TEST(texts_in_every_field)
{
	static const struct {
		const char *label, *text;
		size_t len;
		bool good;
	} texts[] = {
#define TEXT_OF(label, text, good) { label, text, sizeof(text) - 1, good }
		TEXT_OF("U+FEFF", "\xef\xbb\xbf", true),
		TEXT_OF("U+10FFFF", "\xf4\x8f\xbf\xbf", true),
		TEXT_OF("U+2A6D4", "A\xf0\xaa\x9b\x94", true),
		TEXT_OF("U+E000", "\xee\x80\x80", true),
		TEXT_OF("U+D7FF", "\xed\x9f\xbf", true),
		TEXT_OF("NUL", "a\0b", false),
		TEXT_OF("NUL alone", "\0", false),
		TEXT_OF("NUL in two bytes", "\xc0\x80", false),
		TEXT_OF("/ in two bytes", "\xc0\xaf", false),
		TEXT_OF("overlong of three", "\xe0\x80\xaf", false),
		TEXT_OF("overlong of three, the last", "\xe0\x9f\xbf", false),
		TEXT_OF("overlong of four", "\xf0\x80\x80\xaf", false),
		TEXT_OF("overlong of four, the last", "\xf0\x8f\xbf\xbf", false),
		TEXT_OF("U+D800", "\xed\xa0\x80", false),
		TEXT_OF("U+DFFF", "\xed\xbf\xbf", false),
		TEXT_OF("a pair of surrogates", "\xed\xa1\x8c\xed\xbe\xb4", false),
		TEXT_OF("above U+10FFFF", "\xf4\x90\x80\x80", false),
		TEXT_OF("five bytes", "\xf8\x88\x80\x80\x80", false),
		TEXT_OF("0xfe", "\xfe", false),
		TEXT_OF("0xff", "a\xff", false),
		TEXT_OF("continuation alone", "\x80", false),
		TEXT_OF("cut after one of two", "a\xc3", false),
		TEXT_OF("cut after two of three", "a\xe2\x82", false),
		TEXT_OF("cut after three of four", "\xf0\x9f\x8c", false),
		TEXT_OF("two, then no continuation", "\xc3(", false),
	};
	static const struct {
		const char *label;
		unsigned version, first;
		const char *before, *behind;
		size_t before_len, behind_len,
		    props; /* props: offset of a property length to be mended */
	} fields[] = {
#define FIELD_OF(label, version, first, before, behind, props)                                     \
	{ label, version, first, before, behind, sizeof(before) - 1, sizeof(behind) - 1, props }
		FIELD_OF("client id of 3.1", 3, 0x10, "\0\6MQIsdp\3\2\0\x3c", "", 0),
		FIELD_OF("client id", 4, 0x10, "\0\4MQTT\4\2\0\x3c", "", 0),
		FIELD_OF("client id of 5", 5, 0x10, "\0\4MQTT\5\2\0\x3c\0", "", 0),
		FIELD_OF("will topic", 4, 0x10, "\0\4MQTT\4\6\0\x3c\0\1a", "\0\1x", 0),
		FIELD_OF("will topic of 5", 5, 0x10, "\0\4MQTT\5\6\0\x3c\0\0\1a\0", "\0\1x", 0),
		FIELD_OF("user", 4, 0x10, "\0\4MQTT\4\x82\0\x3c\0\1a", "", 0),
		FIELD_OF("user of 5", 5, 0x10, "\0\4MQTT\5\x82\0\x3c\0\0\1a", "", 0),
		FIELD_OF("topic of 3.1", 3, 0x30, "", "x", 0),
		FIELD_OF("topic", 4, 0x30, "", "x", 0),
		FIELD_OF("topic of 5", 5, 0x30, "", "\0x", 0),
		FIELD_OF("filter", 4, 0x82, "\0\1", "\0", 0),
		FIELD_OF("filter of 5", 5, 0x82, "\0\1\0", "\0", 0),
		FIELD_OF("second filter of 5", 5, 0x82, "\0\1\0\0\1a\0", "\0", 0),
		FIELD_OF("filter to leave", 4, 0xa2, "\0\1", "", 0),
		FIELD_OF("filter to leave of 5", 5, 0xa2, "\0\1\0", "", 0),
		FIELD_OF("authentication method", 5, 0x10, "\0\4MQTT\5\2\0\x3c\1\x15", "\0\1a", 10),
		FIELD_OF("user property's key", 5, 0x30, "\0\1a\4\x26", "\0\1vx", 3),
		FIELD_OF("user property's value", 5, 0x30, "\0\1a\4\x26\0\1k", "x", 3),
		FIELD_OF("content type", 5, 0x30, "\0\1a\1\3", "x", 3),
		FIELD_OF("response topic", 5, 0x30, "\0\1a\1\x08", "x", 3),
		FIELD_OF("reason string", 5, 0xe0, "\0\1\x1f", "", 1),
		FIELD_OF("server reference", 5, 0xe0, "\0\1\x1c", "", 1),
		FIELD_OF("reason string of PUBACK", 5, 0x40, "\0\1\0\1\x1f", "", 3),
	};

	for (size_t i = 0; i < COUNT_OF(fields); i++)
		for (size_t k = 0; k < COUNT_OF(texts); k++) {
			struct buf body = { 0 }, packet = { 0 };
			struct mqtt_fault fault;
			int err;

			buf_add(&body, fields[i].before, fields[i].before_len);
			if (fields[i].props)
				body.data[fields[i].props] =
				    (uint8_t)(body.data[fields[i].props] + 2 + texts[k].len);
			again_text(&body, bytes_of(texts[k].text, texts[k].len));
			buf_add(&body, fields[i].behind, fields[i].behind_len);
			put_packet(&packet, fields[i].first, body.data, body.len);
			err = decode(packet.data, packet.len,
			    fields[i].first == 0x10 ? 0 : fields[i].version, &fault);
			ck_assert_msg(texts[k].good
					  ? err == 0
					  : err == ERR_MALFORMED && fault.reason == MQTT_MALFORMED,
			    "%s, %s: %d, 0x%x (%s)", fields[i].label, texts[k].label, err,
			    fault.reason, fault.what ? fault.what : "");
			buf_fini(&body);
			buf_fini(&packet);
		}
}
END_TEST

/* A client of 5.0 that takes packets of at most so many bytes. */
static struct mqtt_conn *
small(uint8_t most)
{
	struct mqtt_conn *c = mqtt_conn_new(&b, true);
	uint8_t body[] = "\0\4MQTT\5\2\0\x3c\5\x27\0\0\0?\0\1a";

	body[15] = most;
	put_packet(&in, 0x10, body, sizeof(body) - 1);
	feed(c);
	return c;
}

/* MQTT-3.1.2-24, MQTT-3.14.2-3: what does not fit is left out, or the connection ends. */
START_TEST(clients_that_take_little)
{
	struct mqtt_conn *c = small(2);

	ck_assert_int_eq(c->state, MQTT_ENDED);
	CHECK_OUT(c, "");
	gone(c);
	c = small(36);
	ck_assert_int_eq(c->state, MQTT_UP);
	ignore_out(c);
	put_packet(&in, 0x30, "\0\1#\0x", 5);
	feed(c);
	CHECK_OUT(c, "\xe0\1\x81");
	gone(c);
	for (unsigned filters = 31; filters <= 32; filters++) {
		struct buf body = { 0 };

		c = small(36);
		ignore_out(c);
		b.config.subscriptions_max = 100;
		buf_add(&body, "\0\1\0", 3);
		for (unsigned i = 0; i < filters; i++)
			buf_add(&body, "\0\1a\0", 4);
		put_packet(&in, 0x82, body.data, body.len);
		feed(c);
		ck_assert_uint_eq(c->io.out->len, filters == 31 ? 36 : 3);
		if (filters == 32) {
			CHECK_OUT(c, "\xe0\1\x95");
			ck_assert_uint_eq(b.router.sub_count, 0);
		}
		gone(c);
		buf_fini(&body);
	}
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		every_byte_of_every_prefix,
		each_fault_has_its_reason,
		each_fault_closes_the_connection,
		flags_of_every_type,
		overlong_lengths,
		properties_in_every_place,
		unknown_properties,
		texts_in_every_field,
		clients_that_take_little,
	};

	return session_tests("mqtt_malformed", tests, COUNT_OF(tests));
}
