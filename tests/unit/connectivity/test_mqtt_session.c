/* test_mqtt_session.c - one connection without a socket: bytes and time in, bytes out */
#include <string.h>

#include "err.h"
#include "mem.h"
#include "support_mqtt.h"
#include "support_session.h"

/* What an idle connection costs, with 16 bytes of the allocator each and the client id; the bench row conn-memory weighs it. */
_Static_assert(sizeof(struct mqtt_conn) <= 296, "a connection has grown");
_Static_assert(sizeof(struct mqtt_session) <= 248, "a session has grown");

START_TEST(connect_and_ping)
{
	struct mqtt_conn *c = mqtt_conn_new(&b, true);

	put_connect(&in, 4, 1, 60, "a");
	for (size_t i = 0; i < in.len; i++) {
		size_t need;

		ck_assert_uint_eq(mqtt_conn_input(c, bytes_of(in.data, i), &need), 0);
	}
	buf_add(&in, "\xc0\0\xc0", 3);
	ck_assert_uint_eq(feed(c), 17);
	CHECK_OUT(c, "\x20\2\0\0\xd0\0");
	buf_add(&in, "\xe0\0", 2);
	feed(c);
	ck_assert_int_eq(c->io.closing, CONN_CLOSE);
	CHECK_OUT(c, "");
	ck_assert_uint_eq(b.session_count, 0);
	gone(c);
}
END_TEST

START_TEST(connect_of_5_tells_the_limits)
{
	struct mqtt_conn *c = mqtt_conn_new(&b, true);

	put_connect(&in, 5, 1, 60, "");
	feed(c);
	ck_assert_uint_eq(c->io.out->len, 41);
	ck_assert_mem_eq(c->io.out->data,
	    "\x20\x27\0\0\x24\x21\0\x08\x27\0\1\0\0\x22\0\x10\x12\0\x16roost-", 25);
	gone(c);
}
END_TEST

/* MQTT-3.1.3-8, MQTT-3.1.4-2; 3.1.1: MQTT-3.1.3-9, MQTT-3.2.2-5. */
START_TEST(connect_refused)
{
	static const struct {
		const char *label, *bytes;
		size_t len;
		bool loopback;
		const char *out;
		size_t out_len;
	} cases[] = {
#define CASE(label, loopback, bytes, out)                                                          \
	{ label, bytes, sizeof(bytes) - 1, loopback, out, sizeof(out) - 1 }
		CASE("not CONNECT first", true, "\xc0\0", ""),
		CASE("level 6", true, "\x10\x0e\0\4MQTT\6\2\0\x3c\0\0\1a",
		    "\x20\x2b\0\x84\x28\x1f\0\x25protocol level is not 3.1, 3.1.1 or 5"),
		CASE("level 3 of MQTT", true, "\x10\x0d\0\4MQTT\3\2\0\x3c\0\1a", "\x20\2\0\1"),
		CASE("kept session without id", true, "\x10\x0c\0\4MQTT\4\0\0\x3c\0\0",
		    "\x20\2\0\2"),
		CASE("not loopback", false, "\x10\x0d\0\4MQTT\4\2\0\x3c\0\1a", "\x20\2\0\5"),
		CASE("too large, 3.1.1", true, "\x10\xff\xff\xff\x7f\0\4MQTT\4", ""),
		CASE("garbage", true, "GET / HTTP/1.1\r\n", ""),
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct mqtt_conn *c = mqtt_conn_new(&b, cases[i].loopback);

		buf_add(&in, cases[i].bytes, cases[i].len);
		feed(c);
		ck_assert_msg(
		    c->io.closing == CONN_CLOSE && c->state == MQTT_ENDED, "%s", cases[i].label);
		check_out(c, cases[i].out, cases[i].out_len, (int)i);
		gone(c);
	}
}
END_TEST

START_TEST(too_large_before_connect_is_told_to_5)
{
	struct mqtt_conn *c = mqtt_conn_new(&b, true);

	buf_add(&in, "\x10\xff\xff\xff\x7f\0\4MQTT\5", 12);
	feed(c);
	ck_assert_uint_eq(c->io.out->data[0], 0x20);
	ck_assert_uint_eq(c->io.out->data[3], 0x95);
	gone(c);
	c = connected(5, 1, "a");
	buf_add(&in, "\x30\xff\xff\xff\x7f", 5);
	feed(c);
	ck_assert_mem_eq(c->io.out->data, "\xe0", 1);
	ck_assert_uint_eq(c->io.out->data[2], 0x95);
	gone(c);
}
END_TEST

/* A will and a password of the largest sizes. */
START_TEST(a_large_connect)
{
	static char zeros[65535];
	struct buf body = { 0 };
	struct mqtt_conn *c = mqtt_conn_new(&b, true);

	b.config.packet_max = 262144;
	buf_add(&body, "\0\4MQTT\5\xc6\0\x3c\0\0\1a\0\0\1w", 18);
	buf_add(&body, "\xff\xff", 2);
	buf_add(&body, zeros, sizeof(zeros));
	buf_add(&body, "\0\1u\xff\xff", 5);
	buf_add(&body, zeros, sizeof(zeros));
	put_packet(&in, 0x10, body.data, body.len);
	feed(c);
	ck_assert_uint_eq(c->io.out->data[0], 0x20);
	ck_assert_uint_eq(c->io.out->data[3], 0);
	ck_assert_uint_eq(c->will->message->payload.len, sizeof(zeros));
	buf_fini(&body);
	gone(c);
}
END_TEST

/* [MQTT-1.5.5-1]; 3.1.1 has no such rule. */
START_TEST(a_length_not_in_its_shortest_form_is_malformed_in_5)
{
	static const struct {
		const char *bytes;
		size_t len;
	} pings[] = { { "\xc0\x80\0", 3 }, { "\xc0\x80\x80\0", 4 }, { "\xc0\x80\x80\x80\0", 5 } };
	struct mqtt_conn *c;

	for (size_t i = 0; i < COUNT_OF(pings); i++) {
		c = connected(5, 1, "a");
		buf_add(&in, pings[i].bytes, pings[i].len);
		feed(c);
		ck_assert_uint_eq(c->io.out->data[0], 0xe0);
		ck_assert_uint_eq(c->io.out->data[2], 0x81);
		ck_assert_int_eq(c->io.closing, CONN_CLOSE);
		gone(c);
		c = connected(4, 1, "a");
		buf_add(&in, pings[i].bytes, pings[i].len);
		feed(c);
		CHECK_OUT(c, "\xd0\0");
		gone(c);
	}
	c = mqtt_conn_new(&b, true);
	buf_add(&in, "\x10\x8e\0\0\4MQTT\5\2\0\x3c\0\0\1a", 17);
	feed(c);
	ck_assert_uint_eq(c->io.out->data[0], 0x20);
	ck_assert_uint_eq(c->io.out->data[3], 0x81);
	gone(c);
}
END_TEST

START_TEST(connect_deadline_and_keep_alive)
{
	struct mqtt_conn *c = mqtt_conn_new(&b, true);

	ck_assert_int_eq(c->io.deadline_us, b.now_us + 5 * SECOND);
	b.now_us += 5 * SECOND;
	mqtt_conn_on_deadline(c);
	ck_assert_int_eq(c->io.closing, CONN_CLOSE);
	gone(c);

	c = connected(5, 1, "a");
	ck_assert_int_eq(c->io.deadline_us, b.now_us + 90 * SECOND);
	b.now_us += 89 * SECOND;
	buf_add(&in, "\xc0\0", 2);
	feed(c);
	ignore_out(c);
	b.now_us += SECOND;
	mqtt_conn_on_deadline(c);
	ck_assert_int_eq(c->io.closing, CONN_OPEN);
	ck_assert_int_eq(c->io.deadline_us, b.now_us + 89 * SECOND);
	b.now_us += 89 * SECOND;
	mqtt_conn_on_deadline(c);
	CHECK_OUT(c, "\xe0\1\x8d");
	ck_assert_int_eq(c->io.closing, CONN_CLOSE);
	gone(c);
}
END_TEST

START_TEST(pubacks_keep_the_order_of_publishes)
{
	struct mqtt_conn *c = connected(4, 1, "a");

	put_publish(&in, 4, 2, 1, "roost/d1/telemetry", "{}");
	put_publish(&in, 4, 2, 2, "roost/d2/telemetry", "{}");
	put_publish(&in, 4, 2, 3, "other", "x");
	put_publish(&in, 4, 0, 0, "roost/d3/telemetry", "{}");
	put_publish(&in, 4, 2, 4, "v1/devices/me/telemetry", "{}");
	feed(c);
	ck_assert_uint_eq(fake.count, 4);
	ck_assert_str_eq(fake.devices[0], "d1");
	ck_assert_str_eq(fake.devices[3], "a");
	ck_assert_uint_eq(fake.tokens[2], 0);
	ck_assert_int_eq(fake.undecodable, INGEST_QUARANTINE);
	CHECK_OUT(c, "");
	mqtt_broker_answer(&b, fake.tokens[3], 0, NULL);
	mqtt_broker_answer(&b, fake.tokens[1], 0, NULL);
	mqtt_broker_answer(&b, 0, 0, NULL);
	CHECK_OUT(c, "");
	mqtt_broker_answer(&b, fake.tokens[0], verdict_make(VERDICT_COPY, 0), NULL);
	CHECK_OUT(c, "\x40\2\0\1\x40\2\0\2\x40\2\0\3\x40\2\0\4");
	/* Said again: nothing happens. */
	mqtt_broker_answer(&b, fake.tokens[0], 0, NULL);
	CHECK_OUT(c, "");
	gone(c);
}
END_TEST

/* The client published a reading and left before it was answered. */
static uint64_t
token_of_one_that_left(void)
{
	struct mqtt_conn *c = connected(4, 1, "a");

	put_publish(&in, 4, 2, 1, "roost/d1/telemetry", "{}");
	feed(c);
	gone(c);
	return fake.tokens[0];
}

START_TEST(answers_of_an_earlier_connection_are_forgotten)
{
	uint64_t old = token_of_one_that_left();
	struct mqtt_conn *c;

	c = connected(4, 1, "a");
	put_publish(&in, 4, 2, 1, "roost/d1/telemetry", "{}");
	feed(c);
	mqtt_broker_answer(&b, old, 0, NULL);
	CHECK_OUT(c, "");
	mqtt_broker_answer(&b, fake.tokens[1], 0, NULL);
	CHECK_OUT(c, "\x40\2\0\1");
	gone(c);
}
END_TEST

START_TEST(refusals_are_told_to_5)
{
	struct mqtt_conn *c = connected(5, 1, "a");

	put_publish(&in, 5, 2, 1, "roost/d1/telemetry", "{}");
	put_publish(&in, 5, 2, 2, "roost/d1/telemetry", "!");
	put_publish(&in, 5, 2, 3, "$SYS/x", "!");
	feed(c);
	CHECK_OUT(c, "");
	mqtt_broker_answer(&b, fake.tokens[0], verdict_make(VERDICT_DEVICE_LIMIT, 250), NULL);
	CHECK_OUT(c, "\x40\x24\0\1\x97\x20\x1f\0\x1d"
		     "device-limit: retry in 250 ms"
		     "\x40\x0e\0\2\x99\x0a\x1f\0\7no JSON"
		     "\x40\x23\0\3\x87\x1f\x1f\0\x1c$SYS topics are the server's");
	gone(c);
}
END_TEST

START_TEST(no_room_pauses_and_goes_on)
{
	struct mqtt_conn *c = connected(4, 1, "a");
	struct buf rest = { 0 };
	size_t took;

	fake.room = 1;
	put_publish(&in, 4, 2, 1, "roost/d1/telemetry", "{}");
	took = in.len;
	put_publish(&in, 4, 2, 2, "roost/d1/telemetry", "{}");
	put_publish(&in, 4, 0, 0, "roost/d1/telemetry", "{}");
	buf_add(&rest, in.data + took, in.len - took);
	ck_assert_uint_eq(feed(c), took);
	ck_assert_uint_eq(c->io.paused, MQTT_PAUSED_ROOM);
	/* Keep-alive stands still meanwhile. */
	b.now_us += 1000 * SECOND;
	mqtt_conn_on_deadline(c);
	ck_assert_int_eq(c->io.closing, CONN_OPEN);
	fake.room = 5;
	mqtt_broker_room(&b);
	ck_assert_uint_eq(c->io.paused, 0);
	buf_add(&in, rest.data, rest.len);
	ck_assert_uint_eq(feed(c), rest.len);
	ck_assert_uint_eq(fake.count, 3);
	buf_fini(&rest);
	gone(c);
}
END_TEST

START_TEST(one_that_waits_for_room_may_go)
{
	struct mqtt_conn *first = connected(4, 1, "a"), *second = connected(4, 1, "b"),
			 *third = connected(4, 1, "c");
	struct mqtt_conn *const all[] = { first, second, third };

	fake.room = 0;
	for (size_t i = 0; i < 3; i++) {
		put_publish(&in, 4, 0, 0, "roost/d1/telemetry", "{}");
		ck_assert_uint_eq(feed(all[i]), 0);
	}
	gone(second);
	mqtt_broker_room(&b);
	ck_assert_uint_eq(first->io.paused, 0);
	ck_assert_uint_eq(third->io.paused, 0);
	gone(first);
	gone(third);
}
END_TEST

START_TEST(refused_messages_of_3_1_1_are_held)
{
	struct mqtt_conn *c = connected(4, 1, "a");
	struct bytes record = bytes_of_str("record");

	put_publish(&in, 4, 2, 1, "roost/d1/telemetry", "{}");
	put_publish(&in, 4, 2, 2, "roost/d1/telemetry", "{}");
	feed(c);
	mqtt_broker_answer(&b, fake.tokens[0], verdict_make(VERDICT_DEVICE_LIMIT, 500), &record);
	mqtt_broker_answer(&b, fake.tokens[1], 0, NULL);
	CHECK_OUT(c, "");
	/* What comes before the next PUBLISH is answered. */
	buf_add(&in, "\xc0\0", 2);
	ck_assert_uint_eq(feed(c), 2);
	CHECK_OUT(c, "\xd0\0");
	ck_assert_uint_eq(c->io.paused, 0);
	put_publish(&in, 4, 2, 3, "roost/d1/telemetry", "{}");
	ck_assert_uint_eq(feed(c), 0);
	ck_assert_uint_eq(c->io.paused, MQTT_PAUSED_HELD);
	ck_assert_int_eq(c->io.deadline_us, b.now_us + 500000);
	b.now_us += 500000;
	fake.room = 0;
	mqtt_conn_on_deadline(c);
	ck_assert_uint_eq(fake.reoffered, 0);
	ck_assert(c->io.deadline_us > b.now_us);
	b.now_us = c->io.deadline_us;
	fake.room = 1;
	mqtt_conn_on_deadline(c);
	ck_assert_uint_eq(fake.reoffered, 1);
	ck_assert_uint_eq(c->io.paused, MQTT_PAUSED_HELD);
	ck_assert_uint_eq(b.held_bytes, 0);
	CHECK_OUT(c, "");
	mqtt_broker_answer(&b, fake.tokens[2], 0, NULL);
	ck_assert_uint_eq(c->io.paused, 0);
	CHECK_OUT(c, "\x40\2\0\1\x40\2\0\2");
	/* Held when the connection ends: given back. */
	put_publish(&in, 4, 2, 3, "roost/d1/telemetry", "{}");
	fake.room = 1;
	feed(c);
	mqtt_broker_answer(&b, fake.tokens[3], verdict_make(VERDICT_GLOBAL_LIMIT, 500), &record);
	ck_assert(b.held_bytes > 0);
	gone(c);
	ck_assert_uint_eq(b.held_bytes, 0);
}
END_TEST

/* Each refusal is journalled: as many as are held must not be refused again each time that one may pass. */
START_TEST(held_messages_are_offered_as_they_are_accepted)
{
	struct mqtt_conn *c = connected(4, 1, "a");
	struct bytes record = bytes_of_str("record");
	uint32_t refusal = verdict_make(VERDICT_DEVICE_LIMIT, 500);

	for (unsigned id = 1; id <= 8; id++)
		put_publish(&in, 4, 2, id, "roost/d1/telemetry", "{}");
	feed(c);
	for (size_t i = 8; i-- > 0;)
		mqtt_broker_answer(&b, fake.tokens[i], refusal, &record);
	b.now_us += 500000;
	mqtt_conn_on_deadline(c);
	ck_assert_uint_eq(fake.reoffered, 1); /* 1 */
	mqtt_broker_answer(&b, fake.tokens[8], 0, NULL);
	CHECK_OUT(c, "\x40\2\0\1");
	ck_assert_uint_eq(fake.reoffered, 3); /* 2, 3 */
	mqtt_broker_answer(&b, fake.tokens[9], 0, NULL);
	CHECK_OUT(c, "\x40\2\0\2");
	ck_assert_uint_eq(fake.reoffered, 6); /* 4, 5, 6 */
	/* 4 is refused, then 3, 5 and 6: all wait again, in their order. */
	mqtt_broker_answer(&b, fake.tokens[11], refusal, &record);
	mqtt_broker_answer(&b, fake.tokens[10], refusal, &record);
	mqtt_broker_answer(&b, fake.tokens[12], refusal, &record);
	mqtt_broker_answer(&b, fake.tokens[13], refusal, &record);
	ck_assert_int_eq(c->io.deadline_us, b.now_us + 500000);
	b.now_us += 500000;
	mqtt_conn_on_deadline(c);
	ck_assert_uint_eq(fake.reoffered, 7); /* 3 */
	mqtt_broker_answer(&b, fake.tokens[14], 0, NULL);
	CHECK_OUT(c, "\x40\2\0\3");
	while (fake.reoffered < 12)
		mqtt_broker_answer(&b, fake.tokens[fake.count - 1], 0, NULL);
	for (size_t i = 15; i < fake.count; i++)
		mqtt_broker_answer(&b, fake.tokens[i], 0, NULL);
	CHECK_OUT(c, "\x40\2\0\4\x40\2\0\5\x40\2\0\6\x40\2\0\7\x40\2\0\x8");
	ck_assert_uint_eq(c->io.paused, 0);
	gone(c);
}
END_TEST

/* As long as a message is not answered, however often its slot changes hands. */
START_TEST(a_token_names_one_connection)
{
	uint64_t old = token_of_one_that_left();
	struct mqtt_conn *c;

	for (uint32_t i = 0; i < (1u << 20) - 1; i++)
		gone(mqtt_conn_new(&b, true));
	c = connected(4, 1, "a");
	put_publish(&in, 4, 2, 1, "roost/d1/telemetry", "{}");
	feed(c);
	ck_assert(fake.tokens[1] != old);
	mqtt_broker_answer(&b, old, 0, NULL);
	CHECK_OUT(c, "");
	gone(c);
}
END_TEST

START_TEST(receive_maximum)
{
	struct mqtt_conn *c = connected(5, 1, "a");

	for (unsigned id = 1; id <= 9; id++)
		put_publish(&in, 5, 2, id, "roost/d1/telemetry", "{}");
	feed(c);
	ck_assert_uint_eq(c->io.out->data[2], 0x93);
	ck_assert_int_eq(c->io.closing, CONN_CLOSE);
	gone(c);

	fake.count = 0;
	c = connected(4, 1, "a");
	for (unsigned id = 1; id <= 9; id++)
		put_publish(&in, 4, 2, id, "roost/d1/telemetry", "{}");
	feed(c);
	ck_assert_uint_eq(fake.count, 8);
	ck_assert_uint_eq(c->io.paused, MQTT_PAUSED_WINDOW);
	for (size_t i = 0; i < 4; i++)
		mqtt_broker_answer(&b, fake.tokens[i], 0, NULL);
	ck_assert_uint_eq(c->io.paused, 0);
	gone(c);
}
END_TEST

START_TEST(drain_answers_what_was_taken)
{
	struct mqtt_conn *c = connected(5, 1, "a"), *old = connected(4, 1, "b");

	put_publish(&in, 5, 2, 1, "roost/d1/telemetry", "{}");
	feed(c);
	mqtt_broker_drain(&b);
	put_publish(&in, 5, 2, 2, "roost/d1/telemetry", "{}");
	ck_assert_uint_eq(feed(c), 0);
	mqtt_broker_answer(&b, fake.tokens[0], 0, NULL);
	mqtt_broker_shutdown(&b);
	CHECK_OUT(c, "\x40\2\0\1\xe0\1\x8b");
	CHECK_OUT(old, "");
	ck_assert_int_eq(c->io.closing, CONN_CLOSE);
	ck_assert_int_eq(old->io.closing, CONN_CLOSE);
	gone(c);
	gone(old);
}
END_TEST

/* Every well-formed packet with every single byte changed, to a connection that is up: whatever happens, it either goes
 * on or is closed. */
START_TEST(every_byte_changed)
{
	for (size_t i = 0; i < packet_vector_count; i++) {
		const struct packet_vector *v = &packet_vectors[i];

		for (size_t at = 0; at < v->len; at++) {
			for (unsigned value = 0; value < 256; value += 3) {
				struct mqtt_conn *c = connected(v->version, 1, "a");

				fake.count = 0;
				fake.room = OFFERS_MAX;
				buf_add(&in, v->bytes, v->len);
				in.data[at] = (uint8_t)value;
				put_publish(&in, v->version, 0, 0, "x", "y");
				feed(c);
				ck_assert(c->state == MQTT_UP || c->io.closing == CONN_CLOSE);
				gone(c);
			}
		}
	}
	ck_assert_uint_eq(b.session_count, 0);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		connect_and_ping,
		connect_of_5_tells_the_limits,
		connect_refused,
		too_large_before_connect_is_told_to_5,
		a_large_connect,
		a_length_not_in_its_shortest_form_is_malformed_in_5,
		connect_deadline_and_keep_alive,
		pubacks_keep_the_order_of_publishes,
		answers_of_an_earlier_connection_are_forgotten,
		refusals_are_told_to_5,
		no_room_pauses_and_goes_on,
		one_that_waits_for_room_may_go,
		refused_messages_of_3_1_1_are_held,
		held_messages_are_offered_as_they_are_accepted,
		a_token_names_one_connection,
		receive_maximum,
		drain_answers_what_was_taken,
		every_byte_changed,
	};

	return session_tests("mqtt_session", tests, COUNT_OF(tests));
}
