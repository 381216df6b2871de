/* test_mqtt_limits.c - what a session and a connection may have, what is dropped then, and who is told: queues, output, sizes,
 * expiry, keep alive, rights */
#include <stdio.h>
#include <string.h>

#include "err.h"
#include "mem.h"
#include "metrics.h"
#include "support_mqtt.h"
#include "support_session.h"

/* A 5.0 CONNECT with these properties. */
static struct mqtt_conn *
connected_with(const char *id, const char *props, size_t len)
{
	struct mqtt_conn *c = mqtt_conn_new(&b, true);
	struct buf body = { 0 };

	buf_add(&body, "\0\4MQTT\5\2\0\x3c", 10);
	buf_add_u8(&body, (uint8_t)len);
	buf_add(&body, props, len);
	buf_add_u8(&body, 0);
	buf_add_u8(&body, (uint8_t)strlen(id));
	buf_add_str(&body, id);
	put_packet(&in, 0x10, body.data, body.len);
	buf_fini(&body);
	feed(c);
	ck_assert_int_eq(c->state, MQTT_UP);
	return c;
}
#define CONNECTED_WITH(id, props) connected_with(id, props, sizeof(props) - 1)

START_TEST(aliases_to_a_client)
{
	struct mqtt_conn *p = connected(4, 1, "p"), *s = CONNECTED_WITH("s", "\x22\0\2");

	ignore_out(s);
	subscribe(s, "#", 0);
	for (unsigned i = 0; i < 2; i++)
		put_publish(&in, 4, 0, 0, "long/topic", "x");
	feed(p);
	CHECK_OUT(s, "\x30\x11\0\x0along/topic\3\x23\0\1x\x30\7\0\0\3\x23\0\1x");
	gone(s);
	gone(p);
}
END_TEST

/* What an alias adds may be too much for the client. */
START_TEST(no_alias_where_it_does_not_fit)
{
	struct mqtt_conn *p = connected(4, 1, "p");
	struct mqtt_conn *s = CONNECTED_WITH("s", "\x22\0\2\x27\0\0\0\x32");

	ignore_out(s);
	subscribe(s, "#", 0);
	put_publish(
	    &in, 4, 0, 0, "long/topic", "0123456789012345678901234567890123"); /* 49 bytes */
	feed(p);
	ck_assert_uint_eq(s->io.out->len, 49);
	ck_assert_uint_eq(s->io.out->data[14], 0);
	gone(s);
	gone(p);
}
END_TEST

/* MQTT-3.1.2-24, MQTT-3.1.2-25: not sent, and done with, in flight on an earlier connection too. */
START_TEST(too_large_for_the_client)
{
	struct mqtt_conn *p = connected(4, 1, "p"), *s = resumed(100, "s");
	uint64_t before = metric_get(M_MQTT_TOO_LARGE);

	ignore_out(s);
	subscribe(s, "a", 2);
	put_publish(&in, 4, 4, 1, "a", "a message of more than thirty-two bytes");
	put_publish(&in, 4, 2, 2, "a", "short");
	feed(p);
	ignore_out(s);
	gone(s);
	put_publish(&in, 4, 2, 3, "a", "another one of more than thirty-two bytes");
	feed(p);
	s = mqtt_conn_new(&b, true);
	buf_add(&in, "\x10\x18\0\4MQTT\5\0\0\x3c\x0a\x11\0\0\0\x64\x27\0\0\0\x20\0\1s", 26);
	feed(s);
	ck_assert_int_eq(s->state, MQTT_UP);
	ignore_out(s);
	ck_assert_uint_eq(mqtt_in_flight(s->session), 1);
	ck_assert_uint_eq(s->session->queue.count, 0);
	ck_assert_uint_eq(s->out_unacked, 1);
	put_puback(&in, 2);
	feed(s);
	ck_assert_uint_eq(b.queued_bytes, 0);
	ck_assert_uint_eq(b.queued_count, 0);
	put_publish(&in, 4, 0, 0, "a", "and one more that is too long for it");
	feed(p);
	CHECK_OUT(s, "");
	ck_assert_uint_eq(metric_get(M_MQTT_TOO_LARGE) - before, 3);
	gone(s);
	gone(p);
}
END_TEST

/* The newest is dropped; a 5.0 publisher is told, an older one is not held up. */
START_TEST(a_full_queue)
{
	struct mqtt_conn *p = connected(5, 1, "p"), *old = connected(4, 1, "o"),
			 *s = resumed(100, "s");

	b.config.queue_max = 2;
	ignore_out(s);
	subscribe(s, "a", 1);
	gone(s);
	put_publish(&in, 5, 2, 1, "a", "1");
	put_publish(&in, 5, 4, 2, "a", "2");
	put_publish(&in, 5, 4, 3, "a", "3");
	put_publish(&in, 5, 2, 4, "a", "4");
	put_publish(&in, 5, 0, 0, "a", "5");
	feed(p);
	CHECK_OUT(p, "\x40\2\0\1\x50\2\0\2"
		     "\x50\x28\0\3\x97\x24\x1f\0!the queue of a subscriber is full"
		     "\x40\x28\0\4\x97\x24\x1f\0!the queue of a subscriber is full");
	ck_assert_uint_eq(p->unacked, 1);
	put_publish(&in, 4, 4, 1, "a", "6");
	feed(old);
	CHECK_OUT(old, "\x50\2\0\1");
	ck_assert_uint_eq(b.away_first->queue.count, 2);
	ck_assert_uint_eq(b.passed.publish_dropped, 3);
	gone(p);
	gone(old);
	s = resumed(100, "s");
	ck_assert_uint_eq(mqtt_in_flight(s->session), 2);
	gone(s);
}
END_TEST

/* MQTT-3.3.2-5, MQTT-3.3.2-6: what has expired in the queue is not sent; what has not says what is left. */
START_TEST(expiry_in_the_queue)
{
	struct mqtt_conn *p = connected(5, 1, "p"), *s = resumed(1000, "s");
	uint64_t before = metric_get(M_MQTT_EXPIRED);

	ignore_out(s);
	subscribe(s, "a", 1);
	gone(s);
	buf_add(&in, "\x32\x0c\0\1a\0\1\5\2\0\0\0\x0ax", 14);
	buf_add(&in, "\x32\x0c\0\1a\0\2\5\2\0\0\0\x64y", 14);
	feed(p);
	b.now_us += 30 * SECOND;
	s = resumed(1000, "s");
	ck_assert_uint_eq(mqtt_in_flight(s->session), 1);
	ck_assert_mem_eq(
	    s->io.out->data + s->io.out->len - 14, "\x32\x0c\0\1a\0\2\5\2\0\0\0\x46y", 14);
	ck_assert_uint_eq(metric_get(M_MQTT_EXPIRED) - before, 1);
	gone(s);
	gone(p);
}
END_TEST

/* A reader that stands still: QoS 0 is dropped, QoS 1 waits, and goes on when it reads again; others do not notice. */
START_TEST(a_reader_that_stands_still)
{
	struct mqtt_conn *p = connected(4, 1, "p"), *s = connected(4, 1, "s"),
			 *other = connected(4, 1, "o");
	char big[301];
	size_t got;

	memset(big, 'x', 300);
	big[300] = 0;
	b.config.queue_bytes_max = 100000;
	subscribe(s, "a", 1);
	subscribe(other, "a", 1);
	for (unsigned i = 1; i <= 20; i++) {
		put_publish(&in, 4, i % 2 ? 2 : 0, i, "a", big);
		feed(p);
		ignore_out(p);
		ignore_out(other);
	}
	ck_assert(conn_out_len(&s->io) <= config.outbound_max);
	ck_assert_uint_gt(s->session->queue.count, 0);
	ck_assert_uint_eq(mqtt_in_flight(other->session), 10);
	ck_assert(s->io.hungry);
	for (got = 0; s->io.hungry; got++) {
		ignore_out(s);
		s->io.hungry = false;
		mqtt_conn_on_sent(s);
		ck_assert(conn_out_len(&s->io) <= config.outbound_max);
		ck_assert_uint_lt(got, 10);
	}
	ck_assert_uint_eq(s->session->queue.count, 0);
	ck_assert_uint_eq(mqtt_in_flight(s->session), 10);
	gone(s);
	gone(other);
	gone(p);
}
END_TEST

/* One that is larger than the bound gets through to a reader that takes it. */
START_TEST(larger_than_the_output)
{
	struct mqtt_conn *p = connected(4, 1, "p"), *s = connected(4, 1, "s");
	char big[3001];

	memset(big, 'x', 3000);
	big[3000] = 0;
	subscribe(s, "a", 1);
	put_publish(&in, 4, 0, 0, "a", big);
	feed(p);
	ck_assert_uint_gt(s->io.out->len, 3000);
	put_publish(&in, 4, 0, 0, "a", big);
	feed(p);
	ck_assert_uint_lt(s->io.out->len, 3100);
	gone(s);
	gone(p);
}
END_TEST

/* The output of all is bounded too: whoever has some waiting gets no more, whoever has none does, and QoS 1 comes later. */
START_TEST(output_of_all_is_bounded)
{
	struct mqtt_conn *p = connected(4, 1, "p"), *still = connected(4, 1, "still"),
			 *reads = connected(4, 1, "reads");

	b.config.outbound_bytes_max = 50;
	subscribe(still, "a", 1);
	subscribe(reads, "a", 1);
	b.set.put = 0;
	for (unsigned i = 1; i <= 4; i++) {
		put_publish(&in, 4, 2, i, "a", "0123456789012345678901234567890123456789");
		feed(p);
		ignore_out(reads);
		/* The turn is over. */
		b.set.unsent = conn_out_len(&still->io);
		b.set.put = 0;
	}
	ck_assert_uint_eq(still->session->queue.count, 2);
	ck_assert(still->io.hungry);
	ck_assert_uint_eq(reads->session->queue.count, 0);
	ck_assert_uint_eq(mqtt_in_flight(reads->session), 4);
	ignore_out(still);
	b.set.unsent = 0;
	mqtt_conn_on_sent(still);
	ck_assert_uint_eq(still->session->queue.count, 0);
	gone(still);
	gone(reads);
	gone(p);
}
END_TEST

/* A 5.0 client whose session and will wait for 10 s when it is gone; 3.1.1's will does not wait. */
static struct mqtt_conn *
with_will(unsigned version, const char *id)
{
	struct mqtt_conn *c = mqtt_conn_new(&b, true);
	struct buf body = { 0 };
	char will[200] = { 0 };

	buf_add(&body,
	    version == 5 ? "\0\4MQTT\5\x06\0\x3c\5\x11\0\0\0\x64" : "\0\4MQTT\4\x06\0\x3c",
	    version == 5 ? 16 : 10);
	buf_add_u8(&body, 0);
	buf_add_u8(&body, (uint8_t)strlen(id));
	buf_add_str(&body, id);
	if (version == 5)
		buf_add(&body, "\5\x18\0\0\0\x0a", 6);
	buf_add(&body, "\0\1w\0\xc8", 5);
	buf_add(&body, will, sizeof(will));
	put_packet(&in, 0x10, body.data, body.len);
	buf_fini(&body);
	feed(c);
	return c;
}

/* Wills are bounded together, those that wait for their delay too; who finds no room is told. */
START_TEST(wills_are_bounded_in_bytes)
{
	struct mqtt_conn *c, *refused;

	b.config.wills_bytes_max = 500;
	c = with_will(5, "a");
	ck_assert_int_eq(c->state, MQTT_UP);
	gone(c);
	ck_assert_uint_ge(b.will_bytes, 200);
	c = with_will(4, "b");
	ck_assert_int_eq(c->state, MQTT_UP);
	for (unsigned version = 4; version <= 5; version++) {
		refused = with_will(version, "c");
		ck_assert_int_eq(refused->state, MQTT_ENDED);
		ck_assert_uint_eq(refused->io.out->data[3], version == 5 ? 0x97 : 3);
		gone(refused);
	}
	gone(c);
	b.now_us += 10 * SECOND;
	mqtt_broker_tick(&b);
	ck_assert_uint_eq(b.will_bytes, 0);
	c = with_will(5, "c");
	ck_assert_int_eq(c->state, MQTT_UP);
	gone(c);
}
END_TEST

/* One message to many is as much work as many messages: what comes of it in one turn is bounded, the rest waits for the next. */
START_TEST(work_of_a_turn_is_bounded)
{
	struct mqtt_conn *p = connected(4, 1, "p"), *calm = connected(4, 1, "calm");
	struct mqtt_conn *s[64];
	size_t all, took;
	unsigned turns = 0;

	b.config.sessions_max = 100;
	for (unsigned i = 0; i < COUNT_OF(s); i++) {
		char id[8];

		snprintf(id, sizeof(id), "%u", i);
		s[i] = connected(4, 1, id);
		subscribe(s[i], "#", 0);
	}
	for (unsigned i = 0; i < 10000; i++)
		put_publish(&in, 4, 0, 0, "a", "");
	for (all = in.len; in.len; buf_consume(&in, took)) {
		size_t need;

		took = mqtt_conn_input(p, buf_bytes(&in), &need);
		ck_assert_uint_le(took, MQTT_WORK_MAX / COUNT_OF(s) * all / 10000 + 5);
		ck_assert_uint_eq(in.len > took, p->io.paused == MQTT_PAUSED_ROOM);
		ck_assert_uint_eq(mqtt_broker_turn(&b), in.len > took);
		ck_assert_uint_eq(p->io.paused, 0);
		turns++;
		for (unsigned i = 0; i < COUNT_OF(s); i++)
			ignore_out(s[i]);
	}
	ck_assert_uint_ge(turns, 4);
	ck_assert_uint_eq(b.passed.publish_in, 10000);
	/* Acknowledgements of what is not on its way look at all that is. */
	subscribe(calm, "b", 2);
	b.config.queue_bytes_max = b.config.offline_bytes_max = b.config.outbound_max = 1 << 20;
	b.config.receive_maximum = 2000;
	for (unsigned i = 1; i <= 1000; i++)
		put_publish(&in, 4, 4, i, "b", "");
	feed(p);
	ck_assert_uint_eq(calm->session->in_flight.count, 1000);
	for (unsigned i = 0; i < 10000; i++)
		put_ack(MQTT_PUBACK, 2000);
	all = in.len;
	ck_assert_uint_lt(feed(calm), all / 4);
	ck_assert(mqtt_broker_turn(&b));
	gone(calm);
	gone(p);
	for (unsigned i = 0; i < COUNT_OF(s); i++)
		gone(s[i]);
}
END_TEST

/* All subscriptions together are bounded in bytes: what is there may be replaced, and room comes back. */
START_TEST(subscriptions_are_bounded_in_bytes)
{
	struct mqtt_conn *c = connected(5, 1, "c");
	char filter[256];
	unsigned taken = 0;

	b.config.subscriptions_max = 1000;
	b.config.subscriptions_bytes_max = 1 << 18;
	for (int n = 0; n < 1000; n++) {
		int len = snprintf(filter, sizeof(filter), n % 2 ? "$share/g%d/x" : "%d", n);

		for (int level = 1; level < 100; level++)
			len += snprintf(filter + len, sizeof(filter) - (size_t)len, "/%d", n % 10);
		put_subscribe(&in, 5, 1, filter, 1);
		feed(c);
		taken += c->io.out->data[5] == 1;
		ck_assert(c->io.out->data[5] == 1 || c->io.out->data[5] == 0x97);
		ignore_out(c);
	}
	ck_assert_uint_gt(taken, 10);
	ck_assert_uint_lt(taken, 500);
	ck_assert_uint_eq(b.router.sub_count, taken);
	ck_assert_uint_lt(mqtt_router_bytes(&b.router), (1 << 18) + (1 << 15));
	snprintf(filter, sizeof(filter), "0"); /* which is there */
	for (int level = 1; level < 100; level++)
		strcat(filter, "/0");
	put_subscribe(&in, 5, 1, filter, 2);
	feed(c);
	CHECK_OUT(c, "\x90\4\0\1\0\2");
	gone(c);
	ck_assert_uint_eq(mqtt_router_bytes(&b.router), 0);
}
END_TEST

START_TEST(keep_alive_of_the_server)
{
	struct mqtt_conn *c;

	b.config.keep_alive_max_s = 30;
	c = CONNECTED_WITH("c", "");
	ck_assert_uint_eq(c->keep_alive_s, 30);
	ck_assert_mem_eq(c->io.out->data + c->io.out->len - 3, "\x13\0\x1e", 3);
	ck_assert_int_eq(c->io.deadline_us, b.now_us + 45 * SECOND);
	gone(c);
	b.config.keep_alive_max_s = 100;
	c = CONNECTED_WITH("c", "");
	ck_assert_uint_eq(c->keep_alive_s, 60);
	gone(c);
	c = connected(4, 1, "c");
	ck_assert_uint_eq(c->keep_alive_s, 60);
	gone(c);
}
END_TEST

START_TEST(response_information)
{
	struct mqtt_conn *c;

	b.config.response_information = "response/";
	c = CONNECTED_WITH("me", "\x19\1");
	ck_assert_mem_eq(c->io.out->data + c->io.out->len - 14, "\x1a\0\x0bresponse/me", 14);
	gone(c);
	for (unsigned i = 0; i < 2; i++) {
		c = i ? CONNECTED_WITH("a+b", "\x19\1") : CONNECTED_WITH("me", "\x19\0");
		ck_assert_ptr_null(memchr(c->io.out->data + 4, 0x1a, c->io.out->len - 4));
		gone(c);
	}
}
END_TEST

/* MQTT-3.1.2-23, 3.14.2.2.2 */
START_TEST(session_expiry_at_disconnect)
{
	struct mqtt_conn *c = resumed(100, "c");

	ignore_out(c);
	buf_add(&in, "\xe0\7\0\5\x11\0\0\0\x0a", 9);
	feed(c);
	gone(c);
	b.now_us += 9 * SECOND;
	mqtt_broker_tick(&b);
	ck_assert_uint_eq(b.session_count, 1);
	b.now_us += SECOND;
	mqtt_broker_tick(&b);
	ck_assert_uint_eq(b.session_count, 0);
	/* For ever is as long as is allowed, in what is told of it too. */
	c = resumed(100, "c");
	ignore_out(c);
	buf_add(&in, "\xe0\7\0\5\x11\xff\xff\xff\xff", 9);
	feed(c);
	gone(c);
	ck_assert_uint_eq(b.away_first->expiry_s, 1000);
	b.now_us += 1000 * SECOND;
	mqtt_broker_tick(&b);
	ck_assert_uint_eq(b.session_count, 0);
	/* From none to one: a protocol error. */
	c = connected(5, 1, "c");
	buf_add(&in, "\xe0\7\0\5\x11\0\0\0\x0a", 9);
	feed(c);
	ck_assert_uint_eq(c->io.out->data[2], 0x82);
	gone(c);
	ck_assert_uint_eq(b.session_count, 0);
}
END_TEST

/* --- rights of the moment --- */

static const char *denied; /* identity */

static bool
may(void *arg, const struct mqtt_actor *who, enum mqtt_right right, struct bytes what)
{
	(void)arg;
	(void)what;
	return !denied || right != MQTT_MAY_PUBLISH ||
	       !(bytes_equal_str(who->client, denied) || bytes_equal_str(who->username, denied));
}

START_TEST(rights_of_who_published)
{
	struct mqtt_conn *p = connected(5, 1, "p"), *s = connected(4, 1, "s"), *w;

	b.ops.may = may;
	denied = NULL;
	put_publish(&in, 5, 1, 0, "a", "x");
	feed(p);
	w = mqtt_conn_new(&b, true);
	buf_add(&in, "\x10\x17\0\4MQTT\4\x06\0\x3c\0\1p\0\3w/t\0\3bye", 25); /* takes over: will */
	feed(w);
	gone(p);
	put_subscribe(&in, 4, 1, "#", 0);
	feed(s);
	CHECK_OUT(s, "\x90\3\0\1\0\x31\4\0\1ax");
	/* Not any more: neither its will, nor what it publishes now. */
	denied = "p";
	gone(w);
	CHECK_OUT(s, "");
	p = connected(5, 1, "p");
	put_publish(&in, 5, 2, 1, "a", "x");
	feed(p);
	ck_assert_uint_eq(p->io.out->data[4], 0x87);
	buf_clear(p->io.out);
	/* A reading is no exception. */
	put_publish(&in, 5, 2, 2, "roost/p/telemetry", "1");
	feed(p);
	ck_assert_uint_eq(p->io.out->data[4], 0x87);
	gone(p);
	CHECK_OUT(s, "");
	gone(s);
}
END_TEST

/* What a client may publish to is asked when the topic is new to it, and again after rights have changed. */
START_TEST(rights_that_change)
{
	struct mqtt_conn *p = connected(5, 1, "p"), *s = connected(4, 1, "s");

	b.ops.may = may;
	denied = NULL;
	subscribe(s, "#", 0);
	for (int i = 0; i < 3; i++) {
		put_publish(&in, 5, 0, 0, "a", "x");
		feed(p);
		CHECK_OUT(s, "\x30\4\0\1ax");
	}
	denied = "p";
	mqtt_broker_reruled(&b);
	put_publish(&in, 5, 0, 0, "a", "x");
	feed(p);
	CHECK_OUT(s, "");
	denied = NULL;
	mqtt_broker_reruled(&b);
	put_publish(&in, 5, 0, 0, "a", "x");
	feed(p);
	CHECK_OUT(s, "\x30\4\0\1ax");
	gone(p);
	gone(s);
}
END_TEST

static const char *secret; /* what nobody may have */

static bool
may_not_have(void *arg, const struct mqtt_actor *who, enum mqtt_right right, struct bytes what)
{
	(void)arg;
	(void)who;
	return right == MQTT_MAY_PUBLISH || !secret ||
	       !(bytes_equal_str(what, secret) || bytes_equal_str(what, "#"));
}

START_TEST(rights_of_who_subscribes)
{
	struct mqtt_conn *old = connected(4, 1, "old"), *s = connected(5, 1, "s");

	b.ops.may = may_not_have;
	secret = "a";
	put_subscribe(&in, 4, 1, "#", 1);
	feed(old);
	CHECK_OUT(old, "\x90\3\0\1\x80");
	put_subscribe(&in, 5, 2, "$share/g/a", 1);
	feed(s);
	CHECK_OUT(s, "\x90\4\0\2\0\x87");
	put_subscribe(&in, 5, 3, "b", 1);
	feed(s);
	CHECK_OUT(s, "\x90\4\0\3\0\1");
	ck_assert_uint_eq(s->session->sub_count, 1);
	gone(old);
	gone(s);
}
END_TEST

/* Live sessions lose the subscriptions that they may not have any more, and only these. */
START_TEST(subscriptions_that_end)
{
	struct mqtt_conn *p = connected(4, 1, "p"), *s = connected(4, 1, "s");

	b.ops.may = may_not_have;
	secret = NULL;
	subscribe(s, "a", 0);
	subscribe(s, "b", 0);
	subscribe(s, "$share/g/a", 0);
	secret = "a";
	mqtt_broker_reruled(&b);
	ck_assert_uint_eq(s->session->sub_count, 1);
	put_publish(&in, 4, 0, 0, "a", "x");
	put_publish(&in, 4, 0, 0, "b", "y");
	feed(p);
	CHECK_OUT(s, "\x30\4\0\1by");
	gone(p);
	gone(s);
}
END_TEST

/* A session that comes back: what waited for it is looked at, and its subscriptions are. */
START_TEST(a_session_of_earlier_rights)
{
	struct mqtt_conn *p = connected(4, 1, "p"), *s = connected(4, 0, "s");

	b.ops.may = may_not_have;
	secret = NULL;
	subscribe(s, "a", 1);
	subscribe(s, "b", 1);
	gone(s);
	put_publish(&in, 4, 2, 1, "a", "x");
	feed(p);
	put_publish(&in, 4, 2, 2, "b", "y");
	feed(p);
	buf_clear(p->io.out);
	secret = "a";
	s = mqtt_conn_new(&b, true);
	put_connect(&in, 4, 0, 60, "s");
	feed(s);
	ck_assert_uint_eq(s->session->sub_count, 1);
	ck_assert_uint_eq(s->io.out->len, 4 + 8);
	ck_assert(memcmp(s->io.out->data, "\x20\2\1\0\x32\6\0\1b", 9) == 0);
	ck_assert(!s->doubted);
	gone(p);
	gone(s);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		aliases_to_a_client,
		no_alias_where_it_does_not_fit,
		too_large_for_the_client,
		a_full_queue,
		expiry_in_the_queue,
		a_reader_that_stands_still,
		larger_than_the_output,
		output_of_all_is_bounded,
		wills_are_bounded_in_bytes,
		work_of_a_turn_is_bounded,
		subscriptions_are_bounded_in_bytes,
		keep_alive_of_the_server,
		response_information,
		session_expiry_at_disconnect,
		rights_of_who_published,
		rights_that_change,
		rights_of_who_subscribes,
		subscriptions_that_end,
		a_session_of_earlier_rights,
	};

	return session_tests("mqtt_limits", tests, COUNT_OF(tests));
}
