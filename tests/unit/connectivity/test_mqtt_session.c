/* test_mqtt_session.c - connections and sessions without sockets: bytes and time in, bytes out */
#include <stdio.h>
#include <string.h>

#include "err.h"
#include "mem.h"
#include "mqtt_session.h"
#include "support_mqtt.h"
#include "../unit.h"

#define OFFERS_MAX 256
#define SECOND 1000000ll

/* Stands for ingest: takes what is offered and keeps the tokens for the test to answer. */
static struct {
	uint64_t tokens[OFFERS_MAX];
	char devices[OFFERS_MAX][32];
	size_t count;
	size_t reoffered;
	size_t room;
	enum ingest_undecodable undecodable;
} fake;

static struct mqtt_broker b;
static struct buf in;

static int
offer(void *arg, const struct ingest_message *m, uint64_t token, struct buf *reason)
{
	(void)arg;
	if (fake.room == 0)
		return ERR_AGAIN;
	fake.undecodable = m->undecodable;
	if (m->payload.len && m->payload.data[0] == '!' && m->undecodable == INGEST_REFUSE) {
		buf_add_str(reason, "no JSON");
		return ERR_MALFORMED;
	}
	ck_assert(fake.count < OFFERS_MAX);
	snprintf(fake.devices[fake.count], sizeof(fake.devices[0]), "%.*s", (int)m->device.len,
	    (const char *)m->device.data);
	fake.tokens[fake.count++] = token;
	fake.room--;
	return 0;
}

static int
reoffer(void *arg, struct bytes record, uint64_t token)
{
	(void)arg;
	ck_assert(bytes_equal_str(record, "record"));
	if (fake.room == 0)
		return ERR_AGAIN;
	fake.tokens[fake.count++] = token;
	fake.reoffered++;
	fake.room--;
	return 0;
}

static const struct mqtt_config config = {
	.packet_max = 65536,
	.receive_maximum = 8,
	.connect_timeout_us = 5 * SECOND,
	.outbound_max = 2000,
	.sessions_max = 4,
	.session_expiry_max_s = 1000,
	.subscriptions_max = 3,
	.retained_max = 10,
	.retained_bytes_max = 100000,
	.offline_bytes_max = 100000,
};

static void
setup(void)
{
	const struct mqtt_ops ops = { .offer = offer, .reoffer = reoffer };

	memset(&fake, 0, sizeof(fake));
	fake.room = OFFERS_MAX;
	mqtt_broker_init(&b, &config, &ops);
	b.now_us = 1000 * SECOND;
	in = (struct buf){ 0 };
}

static void
teardown(void)
{
	mqtt_broker_fini(&b);
	buf_fini(&in);
}

/* Gives what was put into `in`; returns how much was taken. */
static size_t
feed(struct mqtt_conn *c)
{
	size_t need, took = mqtt_conn_input(c, buf_bytes(&in), &need);

	buf_clear(&in);
	return took;
}

static void
check_out(struct mqtt_conn *c, const char *want, size_t len, int line)
{
	size_t got = c->io.out ? c->io.out->len : 0;
	char text[400];
	int n = 0;

	for (size_t i = 0; i < got && i < 100; i++)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "%02x ", c->io.out->data[i]);
	ck_assert_msg(got == len && (len == 0 || memcmp(c->io.out->data, want, len) == 0),
	    "line %d: %s", line, n ? text : "nothing");
	conn_buf_give(&b.set, &c->io.out);
}
#define CHECK_OUT(c, want) check_out(c, want, sizeof(want) - 1, __LINE__)

static void
ignore_out(struct mqtt_conn *c)
{
	conn_buf_give(&b.set, &c->io.out);
}

static struct mqtt_conn *
connected(unsigned version, int clean, const char *id)
{
	struct mqtt_conn *c = mqtt_conn_new(&b, true);

	put_connect(&in, version, clean, 60, id);
	feed(c);
	ck_assert_int_eq(c->state, MQTT_UP);
	ignore_out(c);
	return c;
}

static struct mqtt_conn *
resumed(uint32_t expiry_s, const char *id)
{
	struct mqtt_conn *c = mqtt_conn_new(&b, true);

	put_connect_expiring(&in, 0, expiry_s, id);
	feed(c);
	ck_assert_int_eq(c->state, MQTT_UP);
	return c;
}

static void
gone(struct mqtt_conn *c)
{
	mqtt_conn_free(&c);
}

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
	ck_assert_uint_eq(c->io.out->len, 45);
	ck_assert_mem_eq(c->io.out->data,
	    "\x20\x2b\0\0\x28\x21\0\x08\x24\1\x27\0\1\0\0\x22\0\x10\x2a\0\x12\0\x16roost-", 29);
	gone(c);
}
END_TEST

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

START_TEST(answers_of_an_earlier_connection_are_forgotten)
{
	struct mqtt_conn *c = connected(4, 1, "a");
	uint64_t old;

	put_publish(&in, 4, 2, 1, "roost/d1/telemetry", "{}");
	feed(c);
	old = fake.tokens[0];
	gone(c);
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
	ck_assert_uint_eq(c->io.paused, 0);
	ck_assert_uint_eq(b.held_bytes, 0);
	CHECK_OUT(c, "");
	mqtt_broker_answer(&b, fake.tokens[2], 0, NULL);
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
	ck_assert_uint_eq(s->session->in_flight.count, 1);
	put_puback(&in, 1);
	feed(s);
	ck_assert_uint_eq(s->session->in_flight.count, 0);
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

START_TEST(readings_reach_subscribers_too)
{
	struct mqtt_conn *p = connected(4, 1, "p"), *s = connected(4, 1, "s");

	put_subscribe(&in, 4, 1, "roost/+/telemetry", 0);
	feed(s);
	ignore_out(s);
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
	ck_assert_uint_eq(c->io.out->data[0], 0x32);
	ck_assert_uint_eq(c->session->in_flight.count, 1);
	/* Both identifiers, in some order. */
	ck_assert_uint_eq(c->io.out->data[9], 4);
	ck_assert_uint_eq(c->io.out->data[11] + c->io.out->data[13], 11);
	gone(c);
}
END_TEST

START_TEST(subscriptions_are_checked)
{
	struct mqtt_conn *c = connected(5, 1, "c");
	struct mqtt_conn *old = connected(4, 1, "d");

	put_subscribe(&in, 5, 1, "a#", 1);
	put_subscribe(&in, 5, 1, "$share/g/a", 1);
	put_subscribe(&in, 5, 1, "a", 2);
	put_subscribe(&in, 5, 1, "b", 2);
	put_subscribe(&in, 5, 1, "c", 0);
	put_subscribe(&in, 5, 1, "d", 0);
	put_subscribe(&in, 5, 1, "c", 1);
	feed(c);
	CHECK_OUT(c, "\x90\4\0\1\0\x8f\x90\4\0\1\0\x9e\x90\4\0\1\0\1\x90\4\0\1\0\1\x90\4\0\1\0\0"
		     "\x90\4\0\1\0\x97\x90\4\0\1\0\1");
	put_subscribe(&in, 4, 1, "a#", 1);
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

	put_subscribe(&in, 4, 1, "a", 1);
	feed(s);
	ignore_out(s);
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
	ck_assert_uint_eq(s->session->in_flight.count, 0);
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
	put_subscribe(&in, 4, 1, "#", 1);
	feed(s);
	ignore_out(s);
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

	put_subscribe(&in, 4, 1, "w/t", 0);
	feed(s);
	ignore_out(s);
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

	put_subscribe(&in, 4, 1, "w/t", 0);
	feed(s);
	ignore_out(s);
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

START_TEST(qos_2)
{
	struct mqtt_conn *c = connected(5, 1, "a");

	put_publish(&in, 5, 4, 1, "a", "x");
	feed(c);
	ck_assert_uint_eq(c->io.out->data[2], 0x9b);
	gone(c);
	c = connected(4, 1, "a");
	buf_add(&in, "\x62\2\0\7", 4);
	put_publish(&in, 4, 4, 1, "a", "x");
	feed(c);
	CHECK_OUT(c, "\x70\2\0\7");
	ck_assert_int_eq(c->io.closing, CONN_CLOSE);
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
		connect_deadline_and_keep_alive,
		pubacks_keep_the_order_of_publishes,
		answers_of_an_earlier_connection_are_forgotten,
		refusals_are_told_to_5,
		no_room_pauses_and_goes_on,
		one_that_waits_for_room_may_go,
		refused_messages_of_3_1_1_are_held,
		receive_maximum,
		publish_subscribe,
		readings_reach_subscribers_too,
		overlapping_subscriptions_deliver_once,
		subscriptions_are_checked,
		retained_messages,
		aliases,
		kept_sessions,
		sessions_expire_and_are_bounded,
		queues_are_bounded,
		a_slow_reader_loses_messages_not_memory,
		take_over,
		wills,
		delayed_wills,
		a_will_may_be_a_reading,
		qos_2,
		drain_answers_what_was_taken,
		every_byte_changed,
	};
	Suite *s = suite_create("mqtt_session");
	TCase *tc = tcase_create("mqtt_session");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	for (size_t i = 0; i < COUNT_OF(tests); i++)
		tcase_add_test(tc, tests[i]);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
