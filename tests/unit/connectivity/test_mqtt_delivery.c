/* test_mqtt_delivery.c - subscriptions, retained and queued messages, kept sessions, wills; without sockets */
#include <string.h>

#include "err.h"
#include "mem.h"
#include "support_mqtt.h"
#include "support_session.h"

START_TEST(publish_subscribe)
{
	struct mqtt_conn *p = connected(4, 1, "p"), *s = connected(5, 1, "s");

	put_subscribe(&in, 5, 1, "a/+", 1);
	feed(s);
	CHECK_OUT(s, "\x90\4\0\1\0\1");
	put_publish(&in, 4, 0, 0, "a/b", "x");
	put_publish(&in, 4, 2, 7, "a/c", "y");
	put_publish(&in, 4, 2, 8, "b/c", "z");
	feed(p);
	CHECK_OUT(p, "\x40\2\0\7\x40\2\0\x08");
	CHECK_OUT(s, "\x30\7\0\3a/b\0x\x32\x09\0\3a/c\0\1\0y");
	ck_assert_uint_eq(mqtt_in_flight(s->session), 1);
	put_puback(&in, 1);
	feed(s);
	ck_assert_uint_eq(mqtt_in_flight(s->session), 0);
	put_unsubscribe(&in, 5, 2, "a/+");
	put_unsubscribe(&in, 5, 3, "a/+");
	feed(s);
	CHECK_OUT(s, "\xb0\4\0\2\0\0\xb0\4\0\3\0\x11");
	put_publish(&in, 4, 0, 0, "a/b", "x");
	feed(p);
	CHECK_OUT(s, "");
	gone(p);
	gone(s);
}
END_TEST

/* 5.0, 3.4.2.1: PUBACK says that no subscription matches. Retained or not; a reading is Roost's own to take. */
START_TEST(nobody_listens)
{
	struct mqtt_conn *p = connected(5, 1, "p"), *old = connected(4, 1, "o"), *s;

	put_publish(&in, 5, 2, 1, "a", "x");
	put_publish(&in, 5, 2 | 1, 2, "a", "x");
	put_publish(&in, 5, 4, 3, "a", "x");
	feed(p);
	CHECK_OUT(p, "\x40\3\0\1\x10\x40\3\0\2\x10\x50\2\0\3");
	put_publish(&in, 4, 2, 1, "a", "x");
	feed(old);
	CHECK_OUT(old, "\x40\2\0\1");
	s = connected(5, 1, "s");
	put_subscribe(&in, 5, 1, "b", 0);
	put_subscribe(&in, 5, 2, "$share/g/c", 0);
	put_subscribe(&in, 5, 3, "d", 4); /* no local: it matches though */
	feed(s);
	put_publish(&in, 5, 2, 5, "a", "x");
	put_publish(&in, 5, 2, 6, "b", "x");
	put_publish(&in, 5, 2, 7, "c", "x");
	feed(p);
	CHECK_OUT(p, "\x40\3\0\5\x10\x40\2\0\6\x40\2\0\7");
	ignore_out(s);
	put_publish(&in, 5, 2, 8, "d", "x");
	feed(s);
	CHECK_OUT(s, "\x40\2\0\x08");
	gone(p);
	gone(old);
	gone(s);
}
END_TEST

/* What subscribers get of the second and later messages of a topic, which may be the publisher's own bytes: of each version, at each
 * QoS, with DUP, with RETAIN, with a remaining length that is longer than it need be, which 3.1.1 allows. */
START_TEST(as_it_came)
{
	static const unsigned versions[] = { 3, 4, 5 };
	struct buf want = { 0 };

	for (unsigned i = 0; i < 3 * 3 * 3 * 3 * 2; i++) {
		unsigned from = versions[i % 3], to = versions[i / 3 % 3];
		unsigned qos = i / 9 % 3, sub_qos = i / 27 % 3, as_published = i / 81 % 2;
		unsigned got = qos < sub_qos ? qos : sub_qos, id = 0;
		struct mqtt_conn *p = connected(from, 1, "p"), *s = connected(to, 1, "s");

		put_subscribe(&in, to, 1, "a/b", sub_qos | (to == 5 && as_published ? 8 : 0));
		feed(s);
		ignore_out(s);
		for (unsigned n = 1; n <= 4; n++) {
			unsigned flags = qos << 1 | (qos && n == 3 ? 8 : 0) | (n == 4);

			put_publish(&in, from, flags, n + 100, "a/b", n == 2 ? "" : "payload");
			if (from == 4 && n == 3) {
				in.data[1] |= 128;
				buf_add_u8(&in, 0);
				memmove(in.data + 3, in.data + 2, in.len - 3);
				in.data[2] = 0;
			}
			feed(p);
			ignore_out(p);
			buf_clear(&want);
			put_publish(&want, to, got << 1 | (n == 4 && to == 5 && as_published),
			    got ? ++id : 0, "a/b", n == 2 ? "" : "payload");
			check_out(s, (const char *)want.data, want.len, __LINE__);
		}
		put_publish(&in, from, 1, 0, "a/b", "");
		feed(p);
		gone(p);
		gone(s);
	}
	buf_fini(&want);
}
END_TEST

/* One message to many: the bytes are made for each of the ways in which it is sent, and no two are mixed up. */
START_TEST(to_each_as_it_asked)
{
	struct mqtt_conn *p = connected(5, 1, "p"), *s[12];
	struct buf want = { 0 };
	char id[2] = "a";

	b.config.sessions_max = 20;
	for (unsigned i = 0; i < COUNT_OF(s); i++, id[0]++) {
		s[i] = connected(i & 1 ? 5 : 4, 1, id);
		put_subscribe(&in, s[i]->version, 1, "t", i / 2 % 3);
		feed(s[i]);
		ignore_out(s[i]);
	}
	for (unsigned n = 1; n <= 3; n++) {
		put_publish(&in, 5, 4, n, "t", "x");
		feed(p);
		ignore_out(p);
		for (unsigned i = 0; i < COUNT_OF(s); i++) {
			unsigned qos = i / 2 % 3;

			buf_clear(&want);
			put_publish(&want, s[i]->version, qos << 1, qos ? n : 0, "t", "x");
			check_out(s[i], (const char *)want.data, want.len, __LINE__);
		}
	}
	for (unsigned i = 0; i < COUNT_OF(s); i++)
		gone(s[i]);
	gone(p);
	buf_fini(&want);
}
END_TEST

/* Who hears itself is answered first. */
START_TEST(own_messages_come_behind_their_answer)
{
	struct mqtt_conn *c = connected(4, 1, "c");

	subscribe(c, "a", 2);
	put_publish(&in, 4, 0, 0, "a", "w");
	put_publish(&in, 4, 2, 1, "a", "x");
	put_publish(&in, 4, 4, 2, "a", "y");
	feed(c);
	CHECK_OUT(c, "\x30\4\0\1aw"
		     "\x40\2\0\1"
		     "\x32\6\0\1a\0\1x"
		     "\x50\2\0\2"
		     "\x34\6\0\1a\0\2y");
	gone(c);
}
END_TEST

/* Id 1 is never acknowledged: the second round of ids leaves it out. */
START_TEST(packet_ids_go_round)
{
	struct mqtt_conn *p = connected(4, 1, "p"), *s = connected(4, 1, "s");
	unsigned want = 1;

	subscribe(s, "#", 1);
	for (unsigned i = 0; i < 70000; i++) {
		unsigned id;

		put_publish(&in, 4, 2, 1, "a", "x");
		feed(p);
		ignore_out(p);
		id = (unsigned)s->io.out->data[5] << 8 | s->io.out->data[6];
		ck_assert_uint_eq(id, want);
		ignore_out(s);
		if (id != 1) {
			put_puback(&in, id);
			feed(s);
		}
		want = want == 65535 ? 2 : want + 1;
	}
	ck_assert_uint_eq(mqtt_in_flight(s->session), 1);
	gone(p);
	gone(s);
}
END_TEST

/* Ids of the PUBLISHes in the output, which is then empty; how many these are. */
static unsigned
take_ids(struct mqtt_conn *s, uint16_t *ids)
{
	const size_t size = 2 + 3 + 2 + 1; /* topic "a", payload "x" */
	unsigned n = 0;

	for (size_t at = 0; s->io.out && at < s->io.out->len; at += size) {
		ck_assert_uint_eq(s->io.out->data[at], 0x32);
		ids[n++] = (uint16_t)(s->io.out->data[at + 5] << 8 | s->io.out->data[at + 6]);
	}
	ignore_out(s);
	return n;
}

/* Of a session that ends with its connection bits are kept, then deliveries, then the queue; all of it arrives when the client
 * acknowledges, in whatever order. */
START_TEST(many_that_are_not_acknowledged)
{
	static uint16_t ids[30000];
	const unsigned all = MQTT_WINDOW_MAX + MQTT_IN_FLIGHT_MAX + 100;
	struct mqtt_conn *p = connected(4, 1, "p"), *s = connected(4, 1, "s");
	unsigned got = 0;

	b.config.queue_max = 500;
	b.config.queue_bytes_max = b.config.offline_bytes_max = 1000000;
	subscribe(s, "a", 1);
	for (unsigned i = 0; i < all; i++) {
		put_publish(&in, 4, 2, 1, "a", "x");
		feed(p);
		ignore_out(p);
		got += take_ids(s, ids + got);
	}
	ck_assert_uint_eq(mqtt_in_flight(s->session), got);
	ck_assert_uint_eq(s->session->in_flight.count, MQTT_IN_FLIGHT_MAX);
	ck_assert_uint_ge(s->session->queue.count, 100);
	ck_assert_uint_eq(got + s->session->queue.count, all);
	for (unsigned i = 0; i < got; i++)
		ck_assert_uint_eq(ids[i], i + 1);
	/* Every other one of those that were sent, then all. */
	for (unsigned i = 0, sent = got; i < sent; i += 2)
		put_puback(&in, ids[i]);
	feed(s);
	got += take_ids(s, ids + got);
	ck_assert_uint_eq(got, all);
	ck_assert_uint_eq(s->session->queue.count, 0);
	for (unsigned i = all; i-- > 0;)
		put_puback(&in, ids[i]);
	feed(s);
	ck_assert_uint_eq(mqtt_in_flight(s->session), 0);
	ck_assert_uint_eq(s->out_unacked, 0);
	ck_assert_uint_eq(b.queued_bytes, 0);
	CHECK_OUT(s, "");
	gone(p);
	gone(s);
}
END_TEST

/* A client of 5.0 says how many it takes, whatever we would keep. */
START_TEST(the_receive_maximum_holds)
{
	const struct {
		const char *connect;
		unsigned most;
	} cases[] = {
		{ "\x10\x11\0\4MQTT\5\2\0\x3c\3\x21\0\2\0\1s", 2 },
		{ "\x10\x11\0\4MQTT\5\2\0\x3c\3\x21\7\xd0\0\1s", 2000 },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct mqtt_conn *p = connected(4, 1, "p"), *s = mqtt_conn_new(&b, true);

		buf_add(&in, cases[i].connect, 19);
		feed(s);
		subscribe(s, "a", 1);
		for (unsigned n = 0; n < cases[i].most + 5; n++) {
			put_publish(&in, 4, 2, 1, "a", "x");
			feed(p);
			ignore_out(p);
			ignore_out(s);
		}
		ck_assert_uint_eq(mqtt_in_flight(s->session), cases[i].most);
		ck_assert_uint_eq(s->session->queue.count, 5);
		put_puback(&in, 1);
		feed(s);
		ck_assert_uint_eq(mqtt_in_flight(s->session), cases[i].most);
		ck_assert_uint_eq(s->session->queue.count, 4);
		gone(p);
		gone(s);
	}
}
END_TEST

START_TEST(readings_reach_subscribers_too)
{
	struct mqtt_conn *p = connected(4, 1, "p"), *s = connected(4, 1, "s");

	subscribe(s, "roost/+/telemetry", 0);
	put_publish(&in, 4, 2, 7, "roost/d/telemetry", "1");
	feed(p);
	CHECK_OUT(p, "");
	CHECK_OUT(s, "\x30\x14\0\x11roost/d/telemetry1");
	gone(p);
	gone(s);
}
END_TEST

START_TEST(overlapping_subscriptions_deliver_once)
{
	struct mqtt_conn *c = connected(5, 1, "c");

	buf_add(&in, "\x82\x09\0\1\2\x0b\5\0\1#\0", 11);
	buf_add(&in, "\x82\x0b\0\2\2\x0b\6\0\3a/b\1", 13);
	put_subscribe(&in, 5, 3, "+/b", 4); /* no local */
	feed(c);
	ignore_out(c);
	put_publish(&in, 5, 2, 9, "a/b", "x");
	feed(c);
	ck_assert_mem_eq(c->io.out->data, "\x40\2\0\x09\x32", 5);
	ck_assert_uint_eq(mqtt_in_flight(c->session), 1);
	/* Both identifiers, in some order. */
	ck_assert_uint_eq(c->io.out->data[13], 4);
	ck_assert_uint_eq(c->io.out->data[15] + c->io.out->data[17], 11);
	gone(c);
}
END_TEST

START_TEST(subscriptions_are_checked)
{
	struct mqtt_conn *c = connected(5, 1, "c");
	struct mqtt_conn *old = connected(4, 1, "d");
	char deep[MQTT_LEVELS_MAX + 1] = { 0 };

	memset(deep, '/', MQTT_LEVELS_MAX);
	put_subscribe(&in, 5, 1, deep, 1);
	put_subscribe(&in, 5, 1, "$share/g/a", 1);
	put_subscribe(&in, 5, 1, "a", 2);
	put_subscribe(&in, 5, 1, "b", 2);
	put_subscribe(&in, 5, 1, "c", 0);
	put_subscribe(&in, 5, 1, "d", 0);
	put_subscribe(&in, 5, 1, "b", 0);
	feed(c);
	CHECK_OUT(c, "\x90\4\0\1\0\x8f\x90\4\0\1\0\1\x90\4\0\1\0\2\x90\4\0\1\0\2\x90\4\0\1\0\x97"
		     "\x90\4\0\1\0\x97\x90\4\0\1\0\0");
	put_subscribe(&in, 4, 1, deep, 1);
	feed(old);
	CHECK_OUT(old, "\x90\3\0\1\x80");
	gone(c);
	gone(old);
	ck_assert_uint_eq(b.router.sub_count, 0);
}
END_TEST

START_TEST(retained_messages)
{
	struct mqtt_conn *c = connected(5, 1, "c");

	put_publish(&in, 5, 1, 0, "a", "x");
	put_subscribe(&in, 5, 1, "a", 0);
	put_subscribe(&in, 5, 2, "a", 0x10); /* only if new */
	put_subscribe(&in, 5, 3, "#", 0x20); /* never */
	put_publish(&in, 5, 1, 0, "a", "y");
	feed(c);
	CHECK_OUT(c, "\x90\4\0\1\0\0\x31\5\0\1a\0x"
		     "\x90\4\0\2\0\0"
		     "\x90\4\0\3\0\0"
		     "\x30\5\0\1a\0y");
	put_publish(&in, 5, 1, 0, "a", "");
	put_subscribe(&in, 5, 4, "a", 0);
	feed(c);
	CHECK_OUT(c, "\x30\4\0\1a\0\x90\4\0\4\0\0");
	gone(c);
}
END_TEST

START_TEST(aliases)
{
	struct mqtt_conn *c = connected(5, 1, "c");

	put_subscribe(&in, 5, 1, "#", 0);
	buf_add(&in, "\x30\x08\0\1a\3\x23\0\1x", 10);
	buf_add(&in, "\x30\7\0\0\3\x23\0\1y", 9);
	feed(c);
	CHECK_OUT(c, "\x90\4\0\1\0\0\x30\5\0\1a\0x\x30\5\0\1a\0y");
	buf_add(&in, "\x30\7\0\0\3\x23\0\2y", 9);
	feed(c);
	ck_assert_uint_eq(c->io.out->data[2], 0x82);
	gone(c);
	c = connected(5, 1, "c");
	buf_add(&in, "\x30\x08\0\1a\3\x23\0\x11x", 10);
	feed(c);
	ck_assert_uint_eq(c->io.out->data[2], 0x94);
	gone(c);
}
END_TEST

START_TEST(kept_sessions)
{
	struct mqtt_conn *s = connected(4, 0, "s"), *p = connected(4, 1, "p");

	subscribe(s, "a", 1);
	put_publish(&in, 4, 2, 1, "a", "1");
	feed(p);
	CHECK_OUT(s, "\x32\6\0\1a\0\1"
		     "1");
	gone(s);
	put_publish(&in, 4, 2, 2, "a", "2");
	put_publish(&in, 4, 0, 0, "a", "3");
	feed(p);
	/* Back: what was not acknowledged once more (DUP), then what was queued; QoS 0 is not. */
	s = mqtt_conn_new(&b, true);
	put_connect(&in, 4, 0, 60, "s");
	feed(s);
	CHECK_OUT(s, "\x20\2\1\0\x3a\6\0\1a\0\1"
		     "1\x32\6\0\1a\0\2"
		     "2");
	put_puback(&in, 2);
	put_puback(&in, 1);
	put_puback(&in, 9);
	feed(s);
	ck_assert_uint_eq(mqtt_in_flight(s->session), 0);
	ck_assert_ptr_null(s->session->in_flight.tail);
	ck_assert_uint_eq(b.queued_bytes, 0);
	gone(s);
	/* Clean: all forgotten. */
	s = mqtt_conn_new(&b, true);
	put_connect(&in, 4, 1, 60, "s");
	feed(s);
	CHECK_OUT(s, "\x20\2\0\0");
	ck_assert_uint_eq(b.router.sub_count, 0);
	gone(s);
	gone(p);
}
END_TEST

START_TEST(sessions_expire_and_are_bounded)
{
	struct mqtt_conn *c = resumed(100, "a");

	gone(c);
	ck_assert_uint_eq(b.session_count, 1);
	b.now_us += 99 * SECOND;
	mqtt_broker_tick(&b);
	ck_assert_uint_eq(b.session_count, 1);
	b.now_us += SECOND;
	mqtt_broker_tick(&b);
	ck_assert_uint_eq(b.session_count, 0);
	/* Expiry is capped, and the client is told. */
	c = resumed(5000, "a");
	ck_assert_mem_eq(c->io.out->data + 5, "\x11\0\0\3\xe8", 5);
	gone(c);
	for (unsigned i = 0; i < 6; i++) {
		char id[2] = { (char)('b' + i), 0 };

		c = resumed(100, id);
		gone(c);
	}
	ck_assert_uint_eq(b.session_count, config.sessions_max);
	/* Session ended by DISCONNECT with expiry 0. */
	c = resumed(100, "z");
	buf_add(&in, "\xe0\7\0\5\x11\0\0\0\0", 9);
	feed(c);
	gone(c);
	ck_assert_uint_eq(b.session_count, config.sessions_max - 1);
}
END_TEST

START_TEST(queues_are_bounded)
{
	struct mqtt_conn *s = connected(4, 0, "s"), *p = connected(4, 1, "p");
	char big[501];
	struct mqtt_session *session = s->session;

	memset(big, 'x', 500);
	big[500] = 0;
	subscribe(s, "#", 1);
	gone(s);
	for (unsigned i = 1; i <= 20; i++)
		put_publish(&in, 4, 2, i, "a", big);
	feed(p);
	ck_assert(session->queued_bytes <= config.outbound_max);
	ck_assert_uint_eq(session->queue.count, 3);
	ck_assert_uint_eq(b.queued_bytes, session->queued_bytes);
	gone(p);
}
END_TEST

START_TEST(a_slow_reader_loses_messages_not_memory)
{
	struct mqtt_conn *s = connected(4, 1, "s"), *p = connected(4, 1, "p");
	char big[501];

	memset(big, 'x', 500);
	big[500] = 0;
	put_subscribe(&in, 4, 1, "#", 0);
	feed(s);
	for (unsigned i = 1; i <= 20; i++)
		put_publish(&in, 4, 0, 0, "a", big);
	feed(p);
	ck_assert(conn_out_len(&s->io) <= config.outbound_max);
	ck_assert(conn_out_len(&s->io) > config.outbound_max - 510);
	gone(p);
	gone(s);
}
END_TEST

START_TEST(take_over)
{
	struct mqtt_conn *old = connected(5, 1, "a"), *c;

	c = connected(4, 1, "a");
	CHECK_OUT(old, "\xe0\1\x8e");
	ck_assert_int_eq(old->io.closing, CONN_CLOSE);
	ck_assert_uint_eq(b.session_count, 1);
	gone(old);
	ck_assert_uint_eq(b.session_count, 1);
	gone(c);
}
END_TEST

#define WILL_311 "\x10\x17\0\4MQTT\4\x06\0\x3c\0\1a\0\3w/t\0\3bye"

START_TEST(wills)
{
	struct mqtt_conn *s = connected(4, 1, "s"), *c;

	subscribe(s, "w/t", 0);
	for (int polite = 0; polite < 2; polite++) {
		c = mqtt_conn_new(&b, true);
		buf_add(&in, WILL_311, sizeof(WILL_311) - 1);
		if (polite)
			buf_add(&in, "\xe0\0", 2);
		feed(c);
		gone(c);
		if (polite)
			CHECK_OUT(s, "");
		else
			CHECK_OUT(s, "\x30\x08\0\3w/tbye");
	}
	gone(s);
}
END_TEST

/* Expiry 100 s, will delay 10 s. */
#define WILL_5 "\x10\x23\0\4MQTT\5\4\0\x3c\5\x11\0\0\0\x64\0\1a\5\x18\0\0\0\x0a\0\3w/t\0\3bye"

START_TEST(delayed_wills)
{
	struct mqtt_conn *s = connected(4, 1, "s"), *c;

	subscribe(s, "w/t", 0);
	for (int comes_back = 0; comes_back < 2; comes_back++) {
		c = mqtt_conn_new(&b, true);
		buf_add(&in, WILL_5, sizeof(WILL_5) - 1);
		feed(c);
		ck_assert_int_eq(c->state, MQTT_UP);
		gone(c);
		b.now_us += 9 * SECOND;
		mqtt_broker_tick(&b);
		CHECK_OUT(s, "");
		if (comes_back)
			gone(resumed(100, "a"));
		b.now_us += SECOND;
		mqtt_broker_tick(&b);
		if (comes_back)
			CHECK_OUT(s, "");
		else
			CHECK_OUT(s, "\x30\x08\0\3w/tbye");
	}
	gone(s);
}
END_TEST

#define WILL_READING "\x10\x26\0\4MQTT\4\x06\0\x3c\0\1a\0\x11roost/d/telemetry\0\4{\"a\""

START_TEST(a_will_may_be_a_reading)
{
	struct mqtt_conn *c = mqtt_conn_new(&b, true);

	buf_add(&in, WILL_READING, sizeof(WILL_READING) - 1);
	feed(c);
	ck_assert_int_eq(c->state, MQTT_UP);
	fake.room = 0;
	gone(c);
	ck_assert_uint_eq(fake.count, 0);
	fake.room = 1;
	mqtt_broker_room(&b);
	ck_assert_uint_eq(fake.count, 1);
	ck_assert_str_eq(fake.devices[0], "d");
	ck_assert_uint_eq(b.owed_will_count, 0);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		publish_subscribe,
		nobody_listens,
		as_it_came,
		to_each_as_it_asked,
		own_messages_come_behind_their_answer,
		packet_ids_go_round,
		readings_reach_subscribers_too,
		overlapping_subscriptions_deliver_once,
		subscriptions_are_checked,
		retained_messages,
		aliases,
		many_that_are_not_acknowledged,
		the_receive_maximum_holds,
		kept_sessions,
		sessions_expire_and_are_bounded,
		queues_are_bounded,
		a_slow_reader_loses_messages_not_memory,
		take_over,
		wills,
		delayed_wills,
		a_will_may_be_a_reading,
	};

	return session_tests("mqtt_delivery", tests, COUNT_OF(tests));
}
