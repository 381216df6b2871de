/* test_mqtt_qos2.c - QoS 2 both ways: what is sent, sent again, forgotten, and what counts against receive maximum */
#include <string.h>

#include "err.h"
#include "mem.h"
#include "mqtt_session_impl.h"
#include "support_mqtt.h"
#include "support_session.h"

/* MQTT-4.3.3-8 to 4.3.3-13: passed on once, however often it comes before its PUBREL. */
START_TEST(a_message_is_passed_on_once)
{
	struct mqtt_conn *p = connected(4, 1, "p"), *s = connected(4, 1, "s");

	subscribe(s, "a", 0);
	put_publish(&in, 4, 4, 7, "a", "x");
	put_publish(&in, 4, 4 | 8, 7, "a", "x");
	feed(p);
	CHECK_OUT(p, "\x50\2\0\7\x50\2\0\7");
	CHECK_OUT(s, "\x30\4\0\1ax");
	put_ack(MQTT_PUBREL, 7);
	put_ack(MQTT_PUBREL, 7);
	feed(p);
	CHECK_OUT(p, "\x70\2\0\7\x70\2\0\7");
	ck_assert_uint_eq(p->unacked, 0);
	/* The id is free for another one. */
	put_publish(&in, 4, 4, 7, "a", "y");
	feed(p);
	CHECK_OUT(p, "\x50\2\0\7");
	CHECK_OUT(s, "\x30\4\0\1ay");
	gone(p);
	gone(s);
}
END_TEST

START_TEST(unknown_ids_are_told_to_5)
{
	struct mqtt_conn *c = connected(5, 1, "c");

	put_ack(MQTT_PUBREL, 9);
	put_ack(MQTT_PUBREC, 9);
	put_ack(MQTT_PUBCOMP, 9);
	put_ack(MQTT_PUBACK, 9);
	feed(c);
	CHECK_OUT(c, "\x70\3\0\x09\x92\x62\3\0\x09\x92");
	ck_assert_int_eq(c->state, MQTT_UP);
	gone(c);
}
END_TEST

/* PUBRECs and PUBACKs leave in the order of the PUBLISHes (MQTT-4.6.0-2, 4.6.0-3), a repeat behind its first one. */
START_TEST(a_reading_is_answered_after_commit)
{
	struct mqtt_conn *c = connected(4, 1, "c");

	put_publish(&in, 4, 4, 1, "roost/d1/telemetry", "{}");
	put_publish(&in, 4, 2, 2, "roost/d2/telemetry", "{}");
	put_publish(&in, 4, 4 | 8, 1, "roost/d1/telemetry", "{}");
	put_ack(MQTT_PUBREL, 1); /* too early: nobody has told it to */
	feed(c);
	ck_assert_uint_eq(fake.count, 2);
	mqtt_broker_answer(&b, fake.tokens[1], 0, NULL);
	CHECK_OUT(c, "");
	mqtt_broker_answer(&b, fake.tokens[0], 0, NULL);
	CHECK_OUT(c, "\x50\2\0\1\x40\2\0\2\x50\2\0\1\x70\2\0\1");
	put_ack(MQTT_PUBREL, 1);
	feed(c);
	ck_assert_uint_eq(fake.released_count, 1);
	ck_assert_uint_eq(fake.released[0], 1);
	ck_assert_int_eq(fake.partition, 2);
	CHECK_OUT(c, "");
	mqtt_broker_answer(&b, fake.tokens[2], 0, NULL);
	CHECK_OUT(c, "\x70\2\0\1");
	ck_assert_uint_eq(c->unacked, 0);
	ck_assert_uint_eq(c->session->received.count, 0);
	gone(c);
}
END_TEST

START_TEST(a_refused_reading_frees_its_id)
{
	struct mqtt_conn *c = connected(5, 1, "c");

	put_publish(&in, 5, 4, 1, "roost/d1/telemetry", "{}");
	put_publish(&in, 5, 4 | 8, 1, "roost/d1/telemetry", "{}");
	put_publish(&in, 5, 4, 2, "roost/d1/telemetry", "!");
	feed(c);
	mqtt_broker_answer(&b, fake.tokens[0], verdict_make(VERDICT_DEVICE_LIMIT, 250), NULL);
	CHECK_OUT(c, "\x50\x24\0\1\x97\x20\x1f\0\x1d"
		     "device-limit: retry in 250 ms"
		     "\x50\x0e\0\2\x99\x0a\x1f\0\7no JSON");
	ck_assert_uint_eq(c->unacked, 0);
	ck_assert_uint_eq(c->session->received.count, 0);
	gone(c);
}
END_TEST

START_TEST(a_release_waits_for_room)
{
	struct mqtt_conn *c = connected(4, 1, "c");

	put_publish(&in, 4, 4, 1, "roost/d1/telemetry", "{}");
	feed(c);
	mqtt_broker_answer(&b, fake.tokens[0], 0, NULL);
	CHECK_OUT(c, "\x50\2\0\1");
	fake.room = 0;
	put_ack(MQTT_PUBREL, 1);
	ck_assert_uint_eq(feed(c), 0);
	ck_assert_uint_eq(c->io.paused, MQTT_PAUSED_ROOM);
	fake.room = 1;
	mqtt_broker_room(&b);
	put_ack(MQTT_PUBREL, 1);
	ck_assert_uint_eq(feed(c), 4);
	mqtt_broker_answer(&b, fake.tokens[1], 0, NULL);
	CHECK_OUT(c, "\x70\2\0\1");
	gone(c);
}
END_TEST

/* What was answered is remembered beyond the connection, what was not is the client's to send again. */
START_TEST(ids_outlive_the_connection)
{
	struct mqtt_conn *c = resumed(100, "c");

	ignore_out(c);
	put_publish(&in, 5, 4, 1, "a", "x");
	put_publish(&in, 5, 4, 2, "roost/d1/telemetry", "{}");
	put_publish(&in, 5, 4, 3, "roost/d1/telemetry", "{}");
	feed(c);
	mqtt_broker_answer(&b, fake.tokens[0], 0, NULL);
	ck_assert_uint_eq(c->unacked, 3);
	gone(c);
	c = resumed(100, "c");
	ck_assert_uint_eq(c->session->received.count, 2);
	ck_assert_uint_eq(c->unacked, 0);
	ignore_out(c);
	put_ack(MQTT_PUBREL, 1);
	put_publish(&in, 5, 4 | 8, 2, "roost/d1/telemetry", "{}");
	put_publish(&in, 5, 4 | 8, 3, "roost/d1/telemetry", "{}");
	feed(c);
	ck_assert_uint_eq(c->unacked, 2);
	ck_assert_uint_eq(fake.count, 3); /* only the last is offered again */
	CHECK_OUT(c, "\x70\2\0\1\x50\2\0\2");
	gone(c);
	/* The session ends: storage need not remember the reading any more. */
	b.now_us += 101 * SECOND;
	mqtt_broker_tick(&b);
	ck_assert_uint_eq(b.session_count, 0);
	ck_assert_uint_eq(fake.released_count, 1);
	ck_assert_uint_eq(fake.released[0], 2);
}
END_TEST

/* A PUBREL whose PUBLISH another life of the worker took: storage is asked, wherever it may be. */
/* Section 4.1: the packet ids are the session's, and that ended with the connection, as CONNACK says. */
START_TEST(ids_end_with_a_session_that_is_not_kept)
{
	struct mqtt_conn *s = connected(4, 1, "s"), *p;

	subscribe(s, "a", 0);
	for (unsigned time = 0; time < 2; time++) {
		p = resumed(0, "p");
		ck_assert_uint_eq(p->io.out->data[2], 0); /* no session present: MQTT-3.2.2-3 */
		ignore_out(p);
		put_publish(&in, 5, time ? 4 | 8 : 4, 7, "a", "x");
		feed(p);
		CHECK_OUT(p, "\x50\2\0\7");
		CHECK_OUT(s, "\x30\4\0\1ax");
		gone(p);
	}
	gone(s);
}
END_TEST

START_TEST(a_release_of_an_earlier_life)
{
	struct mqtt_conn *c = resumed(100, "c");

	ignore_out(c);
	put_ack(MQTT_PUBREL, 5);
	feed(c);
	CHECK_OUT(c, "");
	ck_assert_uint_eq(fake.released[0], 5);
	ck_assert_int_eq(fake.partition, -1);
	mqtt_broker_answer(&b, fake.tokens[0], 0, NULL);
	CHECK_OUT(c, "\x70\3\0\5\x92");
	gone(c);
}
END_TEST

START_TEST(receive_maximum_counts_until_pubrel)
{
	struct mqtt_conn *c = connected(5, 1, "c");

	for (unsigned id = 1; id <= 8; id++)
		put_publish(&in, 5, 4, id, "a", "x");
	put_publish(&in, 5, 4 | 8, 3, "a", "x"); /* again: not one more */
	feed(c);
	ck_assert_int_eq(c->state, MQTT_UP);
	put_ack(MQTT_PUBREL, 3);
	put_publish(&in, 5, 4, 9, "a", "x");
	feed(c);
	ck_assert_int_eq(c->state, MQTT_UP);
	ignore_out(c);
	put_publish(&in, 5, 2, 10, "a", "x");
	feed(c);
	ck_assert_uint_eq(c->io.out->data[2], 0x93);
	gone(c);
	/* 3.1.1 has none: its PUBRELs must be read whatever waits. */
	c = connected(4, 1, "c");
	for (unsigned id = 1; id <= 20; id++)
		put_publish(&in, 4, 4, id, "a", "x");
	feed(c);
	ck_assert_uint_eq(c->io.paused, 0);
	ck_assert_uint_eq(c->session->received.count, 20);
	gone(c);
}
END_TEST

START_TEST(what_is_remembered_is_bounded)
{
	struct mqtt_conn *c = connected(4, 0, "c");

	for (unsigned id = 1; id <= MQTT_RECEIVED_MAX; id++)
		put_publish(&in, 4, 4, id, "a", "x");
	feed(c);
	ck_assert_int_eq(c->state, MQTT_UP);
	ck_assert_uint_eq(c->session->received.count, MQTT_RECEIVED_MAX);
	put_publish(&in, 4, 4, MQTT_RECEIVED_MAX + 1, "a", "x");
	feed(c);
	ck_assert_int_eq(c->state, MQTT_ENDED);
	gone(c);
}
END_TEST

/* In all, mqtt.received_mib: whoever has few is not made to pay for those who have many. */
START_TEST(what_all_have_is_bounded)
{
	struct mqtt_conn *many = connected(4, 0, "many"), *few = connected(5, 0, "few");
	unsigned id = 0;

	b.config.received_bytes_max = 2000;
	while (many->state == MQTT_UP && id < 1000) {
		put_publish(&in, 4, 4, ++id, "a", "x");
		feed(many);
	}
	ck_assert_uint_eq(id, 65);
	ck_assert_uint_eq(b.received_bytes, 1024);
	gone(many);
	ck_assert_uint_eq(b.received_bytes, 1024);
	for (id = 1; id <= 8; id++)
		put_publish(&in, 5, 4, id, "a", "x");
	feed(few);
	ck_assert_int_eq(few->state, MQTT_UP);
	/* Those of a session that is kept go with their PUBRELs. */
	many = connected(4, 0, "many");
	for (id = 1; id <= 64; id++)
		put_ack(MQTT_PUBREL, id);
	feed(many);
	ck_assert_uint_eq(b.received_bytes, 128);
	for (id = 1; id <= 8; id++)
		put_ack(MQTT_PUBREL, id);
	feed(few);
	ck_assert_int_eq(few->state, MQTT_UP);
	ignore_out(few);
	b.config.received_bytes_max = 200;
	for (id = 1; id <= 9; id++)
		put_publish(&in, 5, 4, id, "a", "x");
	feed(few);
	ck_assert_int_eq(few->state, MQTT_ENDED);
	ck_assert_uint_eq(few->io.out->data[few->io.out->len - 1], ')');
	gone(few);
	gone(many);
	mqtt_store_clear(&b);
	ck_assert_uint_eq(b.received_bytes, 0);
}
END_TEST

/* MQTT-4.3.3-1 to 4.3.3-7 */
START_TEST(to_a_subscriber)
{
	struct mqtt_conn *p = connected(4, 1, "p"), *s = connected(5, 1, "s");

	subscribe(s, "a", 2);
	put_publish(&in, 4, 4, 7, "a", "x");
	put_publish(&in, 4, 4, 8, "a", "y");
	put_publish(&in, 4, 4, 9, "a", "z");
	feed(p);
	CHECK_OUT(s, "\x34\7\0\1a\0\1\0x\x34\7\0\1a\0\2\0y\x34\7\0\1a\0\3\0z");
	put_ack(MQTT_PUBREC, 1);
	put_ack(MQTT_PUBREC, 2);
	put_ack(MQTT_PUBREC, 1);
	feed(s);
	CHECK_OUT(s, "\x62\2\0\1\x62\2\0\2\x62\2\0\1");
	ck_assert_uint_eq(mqtt_in_flight(s->session), 3);
	put_ack(MQTT_PUBCOMP, 2);
	put_ack(MQTT_PUBCOMP, 1);
	buf_add(&in, "\x50\3\0\3\x80", 5);   /* PUBREC with an error ends it (4.3.3) */
	buf_add(&in, "\x50\3\0\x09\x80", 5); /* also of one that is not known: no PUBREL */
	feed(s);
	CHECK_OUT(s, "");
	ck_assert_uint_eq(mqtt_in_flight(s->session), 0);
	ck_assert_uint_eq(s->out_unacked, 0);
	gone(p);
	gone(s);
}
END_TEST

/* MQTT-4.4.0-1: PUBLISH and PUBREL again, with their ids, in their order, what was queued behind them. */
/* PUBACK of QoS 2, PUBREC and PUBCOMP of QoS 1, PUBCOMP before PUBREL. */
START_TEST(answers_of_another_qos)
{
	static const struct {
		unsigned qos, type;
	} cases[] = { { 1, MQTT_PUBREC }, { 1, MQTT_PUBCOMP }, { 2, MQTT_PUBACK },
		{ 2, MQTT_PUBCOMP } };

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct mqtt_conn *p = connected(4, 1, "p"), *s = connected(5, 1, "s");

		subscribe(s, "a", cases[i].qos);
		put_publish(&in, 4, 4, 7, "a", "x");
		feed(p);
		ignore_out(s);
		put_ack(cases[i].type, 1);
		feed(s);
		ck_assert_int_eq(s->state, MQTT_ENDED);
		ck_assert_uint_eq(s->io.out->data[2], MQTT_PROTOCOL_ERROR);
		gone(p);
		gone(s);
	}
}
END_TEST

START_TEST(sent_again_on_the_next_connection)
{
	struct mqtt_conn *p = connected(4, 1, "p"), *s = connected(4, 0, "s");

	subscribe(s, "a", 2);
	for (unsigned id = 1; id <= 3; id++)
		put_publish(&in, 4, id == 3 ? 2 : 4, id, "a", "x");
	feed(p);
	ignore_out(s);
	put_ack(MQTT_PUBREC, 1);
	feed(s);
	CHECK_OUT(s, "\x62\2\0\1");
	gone(s);
	put_publish(&in, 4, 4, 4, "a", "y");
	feed(p);
	s = mqtt_conn_new(&b, true);
	put_connect(&in, 4, 0, 60, "s");
	feed(s);
	CHECK_OUT(s, "\x20\2\1\0\x62\2\0\1\x3c\6\0\1a\0\2x\x3a\6\0\1a\0\3x\x34\6\0\1a\0\4y");
	put_ack(MQTT_PUBREC, 2);
	put_ack(MQTT_PUBCOMP, 1);
	put_ack(MQTT_PUBACK, 3);
	put_ack(MQTT_PUBREC, 4);
	put_ack(MQTT_PUBCOMP, 4);
	put_ack(MQTT_PUBCOMP, 2);
	feed(s);
	CHECK_OUT(s, "\x62\2\0\2\x62\2\0\4");
	ck_assert_uint_eq(mqtt_in_flight(s->session), 0);
	ck_assert_uint_eq(b.queued_bytes, 0);
	gone(s);
	gone(p);
}
END_TEST

/* MQTT-3.3.4-9: a resumed session with a receive maximum smaller than what it has in flight. */
START_TEST(a_smaller_receive_maximum)
{
	struct mqtt_conn *p = connected(4, 1, "p"), *s = connected(4, 0, "s");

	subscribe(s, "a", 2);
	for (unsigned id = 1; id <= 4; id++)
		put_publish(&in, 4, 4, id, "a", "x");
	feed(p);
	ignore_out(s);
	put_ack(MQTT_PUBREC, 1); /* its PUBREL does not count */
	feed(s);
	gone(s);
	s = mqtt_conn_new(&b, true);
	/* 5.0, receive maximum 2, expiry 100 */
	buf_add(&in, "\x10\x16\0\4MQTT\5\0\0\x3c\x08\x11\0\0\0\x64\x21\0\2\0\1s", 24);
	feed(s);
	ck_assert_int_eq(s->state, MQTT_UP);
	ck_assert_uint_eq(s->out_unacked, 2);
	ck_assert_uint_eq(mqtt_in_flight(s->session), 4);
	ignore_out(s);
	put_ack(MQTT_PUBCOMP, 1);
	put_ack(MQTT_PUBREC, 2);
	feed(s);
	CHECK_OUT(s, "\x62\2\0\2"); /* counts until PUBCOMP */
	put_ack(MQTT_PUBCOMP, 2);
	feed(s);
	CHECK_OUT(s, "\x3c\7\0\1a\0\4\0x");
	put_publish(&in, 4, 4, 5, "a", "y");
	feed(p);
	CHECK_OUT(s, "");
	put_ack(MQTT_PUBREC, 3);
	put_ack(MQTT_PUBCOMP, 3);
	feed(s);
	CHECK_OUT(s, "\x62\2\0\3\x34\7\0\1a\0\5\0y");
	gone(s);
	gone(p);
}
END_TEST

START_TEST(receive_maximum_of_one)
{
	struct mqtt_conn *p = connected(4, 1, "p"), *s = mqtt_conn_new(&b, true);

	buf_add(&in, "\x10\x11\0\4MQTT\5\2\0\x3c\3\x21\0\1\0\1s", 19);
	feed(s);
	ignore_out(s);
	subscribe(s, "a", 2);
	put_publish(&in, 4, 2, 1, "a", "1");
	put_publish(&in, 4, 4, 2, "a", "2");
	put_publish(&in, 4, 0, 0, "a", "0");
	put_publish(&in, 4, 4, 3, "a", "3");
	feed(p);
	/* QoS 0 is not held up. */
	CHECK_OUT(s, "\x32\7\0\1a\0\1\0"
		     "1\x30\5\0\1a\0"
		     "0");
	put_puback(&in, 1);
	feed(s);
	CHECK_OUT(s, "\x34\7\0\1a\0\2\0"
		     "2");
	put_ack(MQTT_PUBREC, 2);
	feed(s);
	CHECK_OUT(s, "\x62\2\0\2");
	put_ack(MQTT_PUBCOMP, 2);
	feed(s);
	CHECK_OUT(s, "\x34\7\0\1a\0\3\0"
		     "3");
	gone(s);
	gone(p);
}
END_TEST

/* Every order in which a client may acknowledge a window of QoS 2 messages ends with nothing in flight. */
START_TEST(acknowledged_in_any_order)
{
	uint64_t seed = 5;

	for (unsigned round = 0; round < 300; round++) {
		struct mqtt_conn *p = connected(4, 1, "p"), *s = connected(4, 1, "s");
		unsigned step[9] = { 0 }, left = 16;

		subscribe(s, "a", 2);
		for (unsigned id = 1; id <= 8; id++)
			put_publish(&in, 4, 4, id, "a", "x");
		feed(p);
		ignore_out(s);
		while (left) {
			unsigned id;

			seed = seed * 6364136223846793005u + 1442695040888963407u;
			id = (unsigned)(seed >> 33) % 8 + 1;
			if (step[id] == 2)
				continue;
			put_ack(step[id] ? MQTT_PUBCOMP : MQTT_PUBREC, id);
			feed(s);
			step[id]++;
			left--;
		}
		ck_assert_uint_eq(mqtt_in_flight(s->session), 0);
		ck_assert_uint_eq(s->out_unacked, 0);
		gone(s);
		gone(p);
	}
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		a_message_is_passed_on_once,
		unknown_ids_are_told_to_5,
		a_reading_is_answered_after_commit,
		a_refused_reading_frees_its_id,
		a_release_waits_for_room,
		ids_outlive_the_connection,
		ids_end_with_a_session_that_is_not_kept,
		a_release_of_an_earlier_life,
		receive_maximum_counts_until_pubrel,
		what_is_remembered_is_bounded,
		what_all_have_is_bounded,
		to_a_subscriber,
		answers_of_another_qos,
		sent_again_on_the_next_connection,
		a_smaller_receive_maximum,
		receive_maximum_of_one,
		acknowledged_in_any_order,
	};

	return session_tests("mqtt_qos2", tests, COUNT_OF(tests));
}
