/* test_mqtt_codec.c - MQTT packets: what each field becomes, and what servers send (test_mqtt_malformed.c breaks them) */
#include <string.h>

#include "err.h"
#include "mem.h"
#include "mqtt_codec.h"
#include "mqtt_codec_reader.h"
#include "support_mqtt.h"
#include "../../fuzz/mqtt_again.h"
#include "../unit.h"

#define PACKET_MAX 65536

/* Frame and parse, whatever the bytes are; each in memory that ends where the input ends, so that SAN=1 sees a byte too
 * far. */
static int
decode(const char *bytes, size_t len, unsigned version, union again *ret, struct mqtt_fault *fault)
{
	uint8_t *copy = xmemdup(bytes, len);
	struct mqtt_frame f;
	size_t need;
	int err = mqtt_frame_next(bytes_of(copy, len), version, PACKET_MAX, &f, &need, fault);

	if (!err) {
		err = again_parse(&f, version, ret, fault);
		if (!err && f.type == MQTT_SUBSCRIBE) {
			struct mqtt_subscribe s = ret->subscribe;
			struct mqtt_filter filter;
			uint32_t n = 0;

			while (mqtt_filter_next(&s, &filter))
				n++;
			ck_assert_uint_eq(n, ret->subscribe.count);
		}
		if (!err && f.type == MQTT_PUBLISH) {
			struct buf out = { 0 };

			mqtt_props_forward(&ret->publish.props, &out);
			buf_fini(&out);
		}
	}
	free(copy);
	return err;
}

START_TEST(every_packet)
{
	for (size_t i = 0; i < packet_vector_count; i++) {
		const struct packet_vector *v = &packet_vectors[i];
		union again p;
		struct mqtt_fault fault = { 0, "" };
		int err = decode(v->bytes, v->len, v->version, &p, &fault);

		ck_assert_msg(err == 0, "%s: %s", v->label, fault.what);
	}
}
END_TEST

START_TEST(every_prefix_is_short)
{
	for (size_t i = 0; i < packet_vector_count; i++) {
		const struct packet_vector *v = &packet_vectors[i];

		for (size_t n = 0; n < v->len; n++) {
			uint8_t *copy = xmemdup(v->bytes, n);
			struct mqtt_frame f;
			struct mqtt_fault fault;
			size_t need = 0;
			int err = mqtt_frame_next(
			    bytes_of(copy, n), v->version, PACKET_MAX, &f, &need, &fault);

			ck_assert_msg(err == ERR_SHORT, "%s, %zu bytes", v->label, n);
			ck_assert_msg(need == 0 || need == v->len, "%s, %zu bytes", v->label, n);
			free(copy);
		}
	}
}
END_TEST

static union again
decode_vector(const char *label)
{
	for (size_t i = 0; i < packet_vector_count; i++) {
		const struct packet_vector *v = &packet_vectors[i];
		union again p;
		struct mqtt_frame f;
		struct mqtt_fault fault;
		size_t need;

		if (strcmp(v->label, label) != 0)
			continue;
		ck_assert_int_eq(mqtt_frame_next(bytes_of(v->bytes, v->len), v->version, PACKET_MAX,
				     &f, &need, &fault),
		    0);
		ck_assert_int_eq(again_parse(&f, v->version, &p, &fault), 0);
		return p;
	}
	ck_abort_msg("no vector %s", label);
}

START_TEST(connect_fields)
{
	struct mqtt_connect c = decode_vector("connect 3.1.1, will, user, password").connect;

	ck_assert_uint_eq(c.version, 4);
	ck_assert(c.clean && c.has_will && c.will_retain && c.has_username && c.has_password);
	ck_assert_uint_eq(c.will_qos, 1);
	ck_assert_uint_eq(c.keep_alive_s, 60);
	ck_assert(bytes_equal_str(c.client_id, "a"));
	ck_assert(bytes_equal_str(c.will_topic, "w/t"));
	ck_assert(bytes_equal_str(c.will_payload, "hi"));
	ck_assert(bytes_equal_str(c.username, "u"));
	ck_assert(bytes_equal_str(c.password, "pass"));

	c = decode_vector("connect 5, all properties").connect;
	ck_assert_uint_eq(c.version, 5);
	ck_assert(mqtt_has(&c.props, MQTT_PROP_SESSION_EXPIRY) && c.props.session_expiry == 10);
	ck_assert(mqtt_has(&c.props, MQTT_PROP_RECEIVE_MAXIMUM) && c.props.receive_maximum == 20);
	ck_assert(mqtt_has(&c.props, MQTT_PROP_PACKET_MAX) && c.props.packet_max == 65536);
	ck_assert(mqtt_has(&c.props, MQTT_PROP_PROBLEM_INFO) && c.props.problem_info == 0);
	ck_assert(!mqtt_has(&c.props, MQTT_PROP_WILL_DELAY));

	c = decode_vector("connect 5, will with all properties").connect;
	ck_assert_uint_eq(c.will_props.will_delay, 5);
	ck_assert_uint_eq(c.will_props.message_expiry, 10);
	ck_assert(bytes_equal_str(c.will_props.content_type, "text"));
	ck_assert_uint_eq(c.will_payload.len, 6);
}
END_TEST

START_TEST(publish_fields)
{
	struct mqtt_publish p = decode_vector("publish 3.1.1 QoS 1, dup, retain").publish;
	struct buf out = { 0 };
	struct bytes forward;

	ck_assert(p.qos == 1 && p.dup && p.retain && p.packet_id == 7);
	ck_assert(bytes_equal_str(p.topic, "a/b"));
	ck_assert(bytes_equal_str(p.payload, "xyz"));

	p = decode_vector("publish 5 QoS 1, all properties").publish;
	ck_assert_uint_eq(p.props.alias, 1);
	ck_assert_uint_eq(p.props.message_expiry, 10);
	ck_assert(bytes_equal_str(p.payload, "xyz"));
	forward = mqtt_props_forward(&p.props, &out);
	ck_assert(bytes_equal(
	    forward, bytes_of("\1\1\3\0\4text\x08\0\3r/t\x09\0\2\1\2\x26\0\1k\0\1v", 27)));
	buf_fini(&out);
}
END_TEST

START_TEST(subscribe_fields)
{
	struct mqtt_subscribe s = decode_vector("subscribe 5").subscribe;
	struct mqtt_filter f;

	ck_assert_uint_eq(s.count, 2);
	ck_assert_uint_eq(s.packet_id, 7);
	ck_assert_uint_eq(s.props.subscription_id, 7);
	ck_assert(mqtt_filter_next(&s, &f));
	ck_assert(bytes_equal_str(f.filter, "a/b") && f.qos == 1 && !f.no_local);
	ck_assert(mqtt_filter_next(&s, &f));
	ck_assert(
	    bytes_equal_str(f.filter, "+/#") && f.qos == 1 && f.no_local && f.retain_as_published);
	ck_assert_int_eq(f.retain_handling, MQTT_RETAIN_NOT);
	ck_assert(!mqtt_filter_next(&s, &f));
}
END_TEST

START_TEST(filters)
{
	static const char *const good[] = { "a", "/", "#", "+", "a/#", "+/a", "a/+/b", "/+", "//",
		"$SYS/#", "+/+/#" };
	static const char *const wrong[] = { "", "a#", "a/#/b", "#/", "a+", "+a", "a/b+/c", "##",
		"a/#b" };

	for (size_t i = 0; i < COUNT_OF(good); i++)
		ck_assert_msg(mqtt_filter_valid(bytes_of_str(good[i])), "%s", good[i]);
	for (size_t i = 0; i < COUNT_OF(wrong); i++)
		ck_assert_msg(!mqtt_filter_valid(bytes_of_str(wrong[i])), "%s", wrong[i]);
	ck_assert_uint_eq(mqtt_levels(bytes_of_str("a/b//")), 4);
}
END_TEST

static void
check_put(struct buf *out, const char *want, size_t len)
{
	ck_assert_uint_eq(out->len, len);
	ck_assert_mem_eq(out->data, want, len);
	buf_clear(out);
}
#define CHECK_PUT(out, want) check_put(out, want, sizeof(want) - 1)

START_TEST(what_servers_send)
{
	struct buf out = { 0 };
	struct mqtt_connack ok = { .session_present = true,
		.receive_maximum = 10,
		.packet_max = 256,
		.alias_maximum = 2,
		.assigned_id = bytes_of_str("x") };
	struct mqtt_connack no = { .reason = MQTT_NOT_AUTHORIZED,
		.reason_string = bytes_of_str("no") };

	mqtt_put_connack(&out, MQTT_V311, &ok);
	CHECK_PUT(&out, "\x20\2\1\0");
	mqtt_put_connack(&out, MQTT_V31, &ok);
	CHECK_PUT(&out, "\x20\2\0\0");
	mqtt_put_connack(&out, MQTT_V5, &ok);
	CHECK_PUT(&out, "\x20\x12\1\0\x0f\x21\0\x0a\x27\0\0\1\0\x22\0\2\x12\0\1x");
	mqtt_put_connack(&out, MQTT_V311, &no);
	CHECK_PUT(&out, "\x20\2\0\5");
	mqtt_put_connack(&out, MQTT_V5, &no);
	CHECK_PUT(&out, "\x20\x08\0\x87\5\x1f\0\2no");
	mqtt_put_ack(&out, MQTT_V311, MQTT_PUBACK, 7, 0x97, bytes_of_str("no"));
	CHECK_PUT(&out, "\x40\2\0\7");
	mqtt_put_ack(&out, MQTT_V5, MQTT_PUBACK, 7, 0, bytes_of("", 0));
	CHECK_PUT(&out, "\x40\2\0\7");
	mqtt_put_ack(&out, MQTT_V5, MQTT_PUBACK, 7, 0x97, bytes_of("", 0));
	CHECK_PUT(&out, "\x40\3\0\7\x97");
	mqtt_put_ack(&out, MQTT_V5, MQTT_PUBREL, 7, 0x92, bytes_of_str("no"));
	CHECK_PUT(&out, "\x62\x09\0\7\x92\5\x1f\0\2no");
	mqtt_put_suback(&out, MQTT_V311, MQTT_SUBACK, 7, bytes_of("\1\x8f", 2));
	CHECK_PUT(&out, "\x90\4\0\7\1\x80");
	mqtt_put_suback(&out, MQTT_V31, MQTT_SUBACK, 7, bytes_of("\1\x8f", 2));
	CHECK_PUT(&out, "\x90\4\0\7\1\0"); /* 3.1 cannot say no */
	mqtt_put_suback(&out, MQTT_V5, MQTT_SUBACK, 7, bytes_of("\1\x8f", 2));
	CHECK_PUT(&out, "\x90\5\0\7\0\1\x8f");
	ck_assert_uint_eq(mqtt_suback_size(MQTT_V311, MQTT_SUBACK, 125), 129);
	ck_assert_uint_eq(mqtt_suback_size(MQTT_V311, MQTT_SUBACK, 126), 131);
	ck_assert_uint_eq(mqtt_suback_size(MQTT_V311, MQTT_UNSUBACK, 126), 4);
	mqtt_put_suback(&out, MQTT_V311, MQTT_UNSUBACK, 7, bytes_of("\0", 1));
	CHECK_PUT(&out, "\xb0\2\0\7");
	mqtt_put_suback(&out, MQTT_V5, MQTT_UNSUBACK, 7, bytes_of("\x11", 1));
	ck_assert_uint_eq(mqtt_suback_size(MQTT_V5, MQTT_UNSUBACK, 1), out.len);
	CHECK_PUT(&out, "\xb0\4\0\7\0\x11");
	mqtt_put_pingresp(&out);
	CHECK_PUT(&out, "\xd0\0");
	mqtt_put_disconnect(&out, 0x8b, bytes_of("", 0));
	CHECK_PUT(&out, "\xe0\1\x8b");
	mqtt_put_disconnect(&out, 0x8b, bytes_of_str("bye"));
	CHECK_PUT(&out, "\xe0\x08\x8b\6\x1f\0\3bye");
	buf_fini(&out);
}
END_TEST

/* What CONNACK says besides, and what it leaves out where the client takes no more: MQTT-3.1.2-24, MQTT-3.2.2-19. */
START_TEST(connack_of_5)
{
	struct mqtt_connack c = { .session_present = true,
		.has_session_expiry = true,
		.session_expiry = 7,
		.has_server_keep_alive = true,
		.server_keep_alive_s = 60,
		.response_information = bytes_of_str("r/") };
	struct mqtt_connack no = { .session_present = true,
		.reason = MQTT_SERVER_BUSY,
		.reason_string = bytes_of_str("no") };
	struct buf out = { 0 };

	ck_assert_int_eq(mqtt_put_connack(&out, MQTT_V5, &c), 0);
	CHECK_PUT(&out, "\x20\x10\1\0\x0d\x11\0\0\0\7\x13\0\x3c\x1a\0\2r/");
	c.size_max = 18;
	ck_assert_int_eq(mqtt_put_connack(&out, MQTT_V5, &c), 0);
	ck_assert_uint_eq(out.len, 18);
	buf_clear(&out);
	c.size_max = 17;
	ck_assert_int_eq(mqtt_put_connack(&out, MQTT_V5, &c), ERR_TOO_BIG);
	ck_assert_uint_eq(out.len, 0);
	no.size_max = 10;
	ck_assert_int_eq(mqtt_put_connack(&out, MQTT_V5, &no), 0);
	CHECK_PUT(&out, "\x20\x08\0\x89\5\x1f\0\2no");
	no.size_max = 9;
	ck_assert_int_eq(mqtt_put_connack(&out, MQTT_V5, &no), 0);
	CHECK_PUT(&out, "\x20\3\0\x89\0");
	ck_assert_int_eq(mqtt_put_connack(&out, MQTT_V311, &no), 0);
	CHECK_PUT(&out, "\x20\2\0\3");
	buf_fini(&out);
}
END_TEST

START_TEST(publish_by_alias)
{
	struct mqtt_outgoing o = {
		.topic = bytes_of_str("a"), .payload = bytes_of_str("x"), .alias = 258
	};
	struct buf out = { 0 };

	mqtt_put_publish(&out, MQTT_V5, &o);
	ck_assert_uint_eq(out.len, mqtt_publish_size(MQTT_V5, &o));
	CHECK_PUT(&out, "\x30\x08\0\1a\3\x23\1\2x");
	o.topic = bytes_of("", 0);
	o.qos = 2;
	o.packet_id = 5;
	o.dup = true;
	mqtt_put_publish(&out, MQTT_V5, &o);
	CHECK_PUT(&out, "\x3c\x09\0\0\0\5\3\x23\1\2x");
	buf_fini(&out);
}
END_TEST

/* MQTT-4.8.2-1, -2 */
START_TEST(shared_filters)
{
	static const struct {
		const char *filter, *name, *rest;
	} cases[] = { { "$share/g/a", "g", "a" }, { "$share/g//", "g", "/" },
		{ "$share/n m/#", "n m", "#" }, { "$share/g/$share/h/a", "g", "$share/h/a" },
		{ "$share", NULL, NULL }, { "$shared/g/a", NULL, NULL }, { "$share/", NULL, NULL },
		{ "$share//a", NULL, NULL }, { "$share/g", NULL, NULL },
		{ "$share/g/", NULL, NULL }, { "$share/+/a", NULL, NULL },
		{ "$share/#/a", NULL, NULL }, { "$share/g+/a", NULL, NULL }, { "a", NULL, NULL },
		{ "$SHARE/g/a", NULL, NULL } };

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct bytes name, rest;
		bool shared = mqtt_filter_shared(bytes_of_str(cases[i].filter), &name, &rest);

		ck_assert_msg(shared == (cases[i].name != NULL), "%s", cases[i].filter);
		if (shared) {
			ck_assert(bytes_equal_str(name, cases[i].name));
			ck_assert(bytes_equal_str(rest, cases[i].rest));
		}
	}
	ck_assert(mqtt_filter_says_shared(bytes_of_str("$share/")));
	ck_assert(!mqtt_filter_says_shared(bytes_of_str("$share")));
}
END_TEST

/* What a reader of 3.1 lets pass, for it means nothing there. */
START_TEST(loose_ends_of_31)
{
	static const struct packet_vector cases[] = {
		{ "will QoS 3 without a will", 3, "\x10\x0f\0\6MQIsdp\3\x1b\0\x3c\0\1a", 17 },
		{ "will retain without a will", 3, "\x10\x0f\0\6MQIsdp\3\x23\0\x3c\0\1a", 17 },
		{ "CONNECT with DUP and QoS", 3, "\x1e\x0f\0\6MQIsdp\3\2\0\x3c\0\1a", 17 },
		{ "DUP at QoS 0", 3, "\x38\4\0\1ax", 6 },
		{ "SUBSCRIBE again", 3, "\x8a\6\0\1\0\1a\xfd", 8 },
		{ "UNSUBSCRIBE again", 3, "\xaa\5\0\1\0\1a", 7 },
		{ "PUBREL again", 3, "\x6a\2\0\1", 4 },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const struct packet_vector *v = &cases[i];
		struct mqtt_fault fault = { 0, "" };
		union again p;
		bool connect = v->bytes[0] >> 4 == 1;
		int err = decode(v->bytes, v->len, connect ? 0 : 3, &p, &fault);

		ck_assert_msg(err == 0, "%s: %s", v->label, fault.what);
		if (v->bytes[0] == 0x38)
			ck_assert(!p.publish.dup);
	}
}
END_TEST

/* A buffer that is full takes no packet and no part of one. */
START_TEST(what_does_not_fit_is_not_sent)
{
	static const struct mqtt_connack connack = { .session_present = true };
	static const struct mqtt_outgoing publish = { .topic = { (const uint8_t *)"a", 1 } };
	struct bytes none = bytes_of("", 0);
	struct buf out;

	for (unsigned version = MQTT_V31; version <= MQTT_V5; version++) {
		buf_init(&out, 1);
		mqtt_put_connack(&out, version, &connack);
		mqtt_put_publish(&out, version, &publish);
		mqtt_put_ack(&out, version, MQTT_PUBACK, 1, 0, none);
		mqtt_put_suback(&out, version, MQTT_SUBACK, 1, none);
		mqtt_put_disconnect(&out, 0, none);
		ck_assert(out.failed);
		ck_assert_uint_eq(out.len, 0);
		buf_fini(&out);
	}
}
END_TEST

START_TEST(return_codes_of_311)
{
	static const struct {
		uint8_t reason;
		uint8_t code;
	} cases[] = { { MQTT_SUCCESS, 0 }, { MQTT_BAD_VERSION, 1 }, { MQTT_BAD_CLIENT_ID, 2 },
		{ 0x88, 3 }, { 0x89, 3 }, { 0x97, 3 }, { 0x86, 4 }, { MQTT_NOT_AUTHORIZED, 5 } };
	const struct mqtt_connack none = { .reason = MQTT_BAD_TOPIC };
	struct buf out = { 0 };

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const struct mqtt_connack c = { .reason = cases[i].reason };

		buf_clear(&out);
		ck_assert_int_eq(mqtt_put_connack(&out, MQTT_V311, &c), 0);
		ck_assert_uint_eq(out.len, 4);
		ck_assert_uint_eq(out.data[3], cases[i].code);
	}
	buf_clear(&out);
	ck_assert_int_eq(mqtt_put_connack(&out, MQTT_V311, &none), ERR_UNSUPPORTED);
	ck_assert_uint_eq(out.len, 0);
	mqtt_put_ack(&out, MQTT_V5, MQTT_PUBACK, 7, 0, bytes_of_str("ok"));
	CHECK_PUT(&out, "\x40\x09\0\7\0\5\x1f\0\2ok");
	buf_fini(&out);
}
END_TEST

START_TEST(payloads)
{
	struct mqtt_props p = { .present = 0, .payload_format = 1 };

	ck_assert(mqtt_payload_valid(&p, bytes_of("\xff", 1)));
	p.present = 1ull << MQTT_PROP_PAYLOAD_FORMAT;
	ck_assert(!mqtt_payload_valid(&p, bytes_of("\xff", 1)));
	ck_assert(mqtt_payload_valid(&p, bytes_of("\xc3\xbc\0", 3)));
	p.payload_format = 0;
	ck_assert(mqtt_payload_valid(&p, bytes_of("\xff", 1)));
}
END_TEST

START_TEST(texts)
{
	static const struct {
		const char *text;
		size_t len;
		bool text_ok, topic_ok;
	} cases[] = { { "", 0, true, false }, { "a/b", 3, true, true }, { "a/+", 3, true, false },
		{ "#", 1, true, false }, { "a\0b", 3, false, false },
		{ "gr\xc3\xbc\xc3\x9f", 6, true, true }, { "a\xff", 2, false, false },
		{ "\xc3", 1, false, false }, { "\xc3\xbc\0", 3, false, false } };

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct bytes text = bytes_of(cases[i].text, cases[i].len);

		ck_assert_msg(mqtt_utf8_valid(text) == cases[i].text_ok, "case %zu", i);
		ck_assert_msg(mqtt_topic_valid(text) == cases[i].topic_ok, "case %zu", i);
	}
}
END_TEST

/* What ends too early reads as 0, and so does all that is read behind it. */
START_TEST(reader_is_sticky)
{
	struct mqtt_reader r = mqtt_reader_of(bytes_of("\1\2\3", 3));

	ck_assert_uint_eq(mqtt_get_u32(&r), 0);
	ck_assert(mqtt_failed(&r));
	ck_assert_uint_eq(mqtt_get_u8(&r), 0);
	r = mqtt_reader_of(bytes_of("\1\2\3\4", 4));
	ck_assert_uint_eq(mqtt_get_u32(&r), 0x01020304);
	ck_assert(!mqtt_failed(&r));
	r = mqtt_reader_of(bytes_of("\xff\xff\xff\xff\1", 5));
	ck_assert_uint_eq(mqtt_get_varint(&r), 0);
	ck_assert(mqtt_failed(&r));
	r = mqtt_reader_of(bytes_of("\xff\xff\xff\x7f", 4));
	ck_assert_uint_eq(mqtt_get_varint(&r), 268435455);
	ck_assert(!mqtt_failed(&r));
}
END_TEST

/* MQTT-2.2.1-2; 3.1.1: MQTT-2.3.1-5. What is sent is what a client would have sent: the parser reads it back. Sizes around each length of the length. */
START_TEST(publish_round_trip)
{
	static const size_t sizes[] = { 0, 1, 100, 118, 119, 120, 121, 122, 16370, 16377, 16380,
		2097140, 2097152 };
	const uint32_t ids[] = { 1, 200 };
	char *payload = xcalloc(1, 2097152);
	struct buf out = { 0 };

	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		for (unsigned version = 4; version <= 5; version++) {
			struct mqtt_outgoing o = { .topic = bytes_of_str("a/b"),
				.payload = bytes_of(payload, sizes[i]),
				.props = bytes_of("\1\1", 2),
				.qos = 1,
				.retain = true,
				.packet_id = 9,
				.has_expiry = true,
				.expiry_s = 77,
				.subscription_ids = ids,
				.subscription_id_count = i % 2 ? 2 : 0 };
			struct mqtt_frame f;
			struct mqtt_publish p;
			struct mqtt_fault fault;
			size_t need;

			buf_clear(&out);
			mqtt_put_publish(&out, version, &o);
			ck_assert_uint_eq(out.len, mqtt_publish_size(version, &o));
			ck_assert_int_eq(
			    mqtt_frame_next(buf_bytes(&out), version, 4 << 20, &f, &need, &fault),
			    0);
			ck_assert_uint_eq(f.whole.len, out.len);
			if (version == 5 && i % 2)
				continue; /* a client may not send subscription ids */
			ck_assert_int_eq(mqtt_parse_publish(&f, version, &p, &fault), 0);
			ck_assert_uint_eq(p.payload.len, sizes[i]);
			ck_assert_uint_eq(p.packet_id, 9);
			ck_assert(p.retain && p.qos == 1 && !p.dup);
			if (version == 5)
				ck_assert_uint_eq(p.props.message_expiry, 77);
		}
	}
	buf_fini(&out);
	free(payload);
}
END_TEST

START_TEST(level_is_seen_early)
{
	ck_assert_int_eq(mqtt_peek_level(bytes_of("\x10\xff\xff\xff\x7f\0\4MQTT\5", 12)), 5);
	ck_assert_int_eq(mqtt_peek_level(bytes_of("\x10\x0d\0\4MQTT\4", 9)), 4);
	ck_assert_int_eq(mqtt_peek_level(bytes_of("\x10\x0d\0\4MQTT\0", 9)), 0);
	ck_assert_int_eq(mqtt_peek_level(bytes_of("\x10\x0d\0\4MQTT", 8)), -1);
	ck_assert_int_eq(mqtt_peek_level(bytes_of("\x10\xff\xff\xff\xff\xff\xff", 7)), -1);
	ck_assert_int_eq(mqtt_peek_level(bytes_of("\x10", 1)), -1);
	ck_assert_int_eq(mqtt_peek_level(bytes_of("\x10\x80\x80", 3)), -1);
	ck_assert_int_eq(mqtt_peek_level(bytes_of("\x10\x0d", 2)), -1);
	ck_assert_int_eq(mqtt_peek_level(bytes_of("\x10\x0d\0\4MQIT\4", 9)), -1);
	ck_assert_int_eq(mqtt_peek_level(bytes_of("GET / HTTP/1.1", 14)), -1);
}
END_TEST

/* For each change of each byte: what mqtt_parse_publish_to() takes, mqtt_parse_publish() takes too, as the same. */
START_TEST(publish_to_a_known_topic)
{
	static const char topic[] = "roost/d1/telemetry";
	unsigned taken = 0;

	for (unsigned version = 4; version <= 5; version++)
		for (unsigned flags = 0; flags < 16; flags++) {
			struct buf packet = { 0 };

			if ((flags & 6) == 6)
				continue;
			put_publish(&packet, version, flags, 513, topic, "{}");
			for (size_t at = 0; at < packet.len; at++)
				for (unsigned value = 0; value < 256; value++) {
					uint8_t *copy = xmemdup(packet.data, packet.len);
					struct mqtt_publish a, b;
					struct mqtt_frame f;
					struct mqtt_fault fault;
					size_t need;

					copy[at] = (uint8_t)value;
					if (mqtt_frame_next(bytes_of(copy, packet.len), version,
						PACKET_MAX, &f, &need, &fault) == 0 &&
					    f.type == MQTT_PUBLISH &&
					    mqtt_parse_publish_to(
						&f, version, bytes_of_str(topic), &a)) {
						taken++;
						ck_assert_int_eq(
						    mqtt_parse_publish(&f, version, &b, &fault), 0);
						ck_assert(bytes_equal(a.topic, b.topic));
						ck_assert(bytes_equal(a.payload, b.payload));
						ck_assert_ptr_eq(a.payload.data, b.payload.data);
						ck_assert_uint_eq(a.qos, b.qos);
						ck_assert_uint_eq(a.packet_id, b.packet_id);
						ck_assert(a.dup == b.dup && a.retain == b.retain);
						ck_assert_uint_eq(a.props.present, 0);
						ck_assert_uint_eq(b.props.present, 0);
						ck_assert_uint_eq(a.props.raw.len, 0);
					}
					free(copy);
				}
			buf_fini(&packet);
		}
	ck_assert_uint_gt(taken, 1000);
	{
		struct mqtt_frame f = { MQTT_PUBLISH, 2, bytes_of("\0\1a\0\0x", 6), { NULL, 0 } };
		struct mqtt_publish p;

		ck_assert(!mqtt_parse_publish_to(&f, 4, bytes_of_str("a"), &p));
	}
}
END_TEST

UNIT_MAIN("mqtt_codec", every_packet, every_prefix_is_short, connect_fields, publish_fields,
    publish_to_a_known_topic, subscribe_fields, filters, what_servers_send,
    what_does_not_fit_is_not_sent, return_codes_of_311, texts, reader_is_sticky, publish_round_trip,
    level_is_seen_early, connack_of_5, publish_by_alias, shared_filters, loose_ends_of_31, payloads)
