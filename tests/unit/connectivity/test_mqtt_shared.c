/* test_mqtt_shared.c - sessions with a copy elsewhere: what waits for its writes, and what is true after a death at any point */
#include <stdio.h>
#include <string.h>

#include "err.h"
#include "mem.h"
#include "mqtt_session_impl.h"
#include "support_copy.h"
#include "support_mqtt.h"
#include "support_session.h"

/* The process dies: everything but the copy is gone. */
static void
die(void)
{
	struct mqtt_ops ops = b.ops;

	b.ops.change = NULL;
	mqtt_broker_fini(&b);
	copy_crash();
	mqtt_broker_init(&b, &config, &ops);
	b.config.sessions_max = 10;
	b.now_us = 1000 * SECOND;
	mqtt_broker_loading(&b, true);
}

START_TEST(answers_wait_for_writes)
{
	struct mqtt_conn *p = connected(5, 1, "p"), *s;

	copy_begin(&b);
	s = kept(5, "s");
	put_subscribe(&in, 5, 1, "a", 2);
	buf_add(&in, "\xc0\0", 2);
	ck_assert_uint_eq(feed(s), in.len + 9); /* the ping waits behind SUBSCRIBE */
	CHECK_OUT(s, "");
	ck_assert_uint_eq(s->io.paused, MQTT_PAUSED_SHARED);
	copy_write_all(&b);
	CHECK_OUT(s, "\x90\4\0\1\0\2");
	ck_assert_uint_eq(s->io.paused, 0);
	put_publish(&in, 5, 2, 1, "a", "x");
	put_publish(&in, 5, 4, 2, "a", "y");
	put_publish(&in, 5, 2, 3, "b", "z"); /* nothing changed by it: but in its turn */
	feed(p);
	CHECK_OUT(p, "");
	CHECK_OUT(
	    s, "\x32\7\0\1a\0\1\0x"); /* QoS 1 is sent at once, QoS 2 not before it is written */
	ck_assert_uint_eq(copy_deliveries("s"), 0);
	copy_write_all(&b);
	ck_assert_uint_eq(copy_deliveries("s"), 2);
	CHECK_OUT(p, "\x40\2\0\1\x50\2\0\2\x40\3\0\3\x10");
	CHECK_OUT(s, "\x34\7\0\1a\0\2\0y");
	put_puback(&in, 1);
	put_ack(MQTT_PUBREC, 2);
	put_ack(MQTT_PUBCOMP, 2);
	feed(s);
	copy_write_all(&b);
	ck_assert_uint_eq(copy_deliveries("s"), 0);
	put_unsubscribe(&in, 5, 2, "a");
	feed(s);
	ignore_out(s);
	copy_write_all(&b);
	CHECK_OUT(s, "\xb0\4\0\2\0\0");
	ck_assert_uint_eq(copy_subs("s"), 0);
	gone(s);
	gone(p);
}
END_TEST

START_TEST(a_release_waits_for_its_write)
{
	struct mqtt_conn *p;

	copy_begin(&b);
	p = kept(4, "p");
	put_publish(&in, 4, 4, 7, "a", "x");
	put_publish(&in, 4, 4 | 8, 7, "a", "x");
	feed(p);
	CHECK_OUT(p, "");
	copy_write_all(&b);
	CHECK_OUT(p, "\x50\2\0\7\x50\2\0\7");
	ck_assert_uint_eq(copy_received("p"), 1);
	put_ack(MQTT_PUBREL, 7);
	feed(p);
	CHECK_OUT(p, "");
	copy_write_all(&b);
	CHECK_OUT(p, "\x70\2\0\7");
	ck_assert_uint_eq(copy_received("p"), 0);
	/* Sent again on the next connection, before the first time is written. */
	put_publish(&in, 4, 4, 8, "a", "x");
	feed(p);
	gone(p);
	p = kept(4, "p");
	put_publish(&in, 4, 4 | 8, 8, "a", "x");
	feed(p);
	CHECK_OUT(p, "");
	copy_write_all(&b);
	CHECK_OUT(p, "\x50\2\0\x08");
	gone(p);
}
END_TEST

/* Readings wait for COMMIT, and for nothing else. */
/* However often a client says so, or comes back, until it is written: one PUBREL on this connection, and nothing grows. */
START_TEST(a_release_is_owed_once)
{
	struct mqtt_conn *s;
	uint32_t waiting;

	copy_begin(&b);
	s = kept(4, "s");
	put_subscribe(&in, 4, 1, "a", 2);
	feed(s);
	copy_write_all(&b);
	ignore_out(s);
	for (unsigned i = 1; i <= 2; i++)
		put_publish(&in, 4, 4, i, "a", "x");
	feed(s);
	copy_write_all(&b);
	ignore_out(s);
	put_ack(MQTT_PUBREC, 1);
	feed(s);
	waiting = b.writes.tail - b.writes.head;
	for (unsigned i = 0; i < 100; i++) {
		put_ack(MQTT_PUBREC, 1);
		feed(s);
	}
	ck_assert_uint_eq(b.writes.tail - b.writes.head, waiting);
	for (unsigned i = 0; i < 100; i++) {
		gone(s);
		s = kept(4, "s");
		put_ack(MQTT_PUBREC, 1);
		feed(s);
		CHECK_OUT(s, "");
	}
	ck_assert_uint_eq(b.writes.tail - b.writes.head, waiting);
	copy_write_all(&b);
	CHECK_OUT(s, "\x62\2\0\1\x3c\6\0\1a\0\2x");
	gone(s);
}
END_TEST

START_TEST(readings_do_not_wait_for_writes)
{
	struct mqtt_conn *p, *s;

	copy_begin(&b);
	p = kept(4, "p");
	s = kept(4, "s");
	put_subscribe(&in, 4, 1, "#", 1);
	feed(s);
	copy_write_all(&b);
	ignore_out(s);
	put_publish(&in, 4, 2, 1, "roost/d/telemetry", "{}");
	put_publish(&in, 4, 4, 2, "roost/d/telemetry", "{}");
	feed(p);
	mqtt_broker_answer(&b, fake.tokens[0], 0, NULL);
	mqtt_broker_answer(&b, fake.tokens[1], 0, NULL);
	CHECK_OUT(p, "\x40\2\0\1\x50\2\0\2");
	gone(p);
	gone(s);
}
END_TEST

START_TEST(retained_messages_are_told)
{
	struct mqtt_conn *p = connected(4, 1, "p");

	copy_begin(&b);
	put_publish(&in, 4, 2 | 1, 1, "a", "x");
	feed(p);
	CHECK_OUT(p, "");
	copy_write_all(&b);
	CHECK_OUT(p, "\x40\2\0\1");
	ck_assert_uint_eq(copy_retained(), 1);
	put_publish(&in, 4, 2 | 1, 2, "a", "");
	feed(p);
	copy_write_all(&b);
	ck_assert_uint_eq(copy_retained(), 0);
	gone(p);
}
END_TEST

/* A session that ends with its connection is nobody else's business. */
START_TEST(what_is_not_kept_is_not_told)
{
	struct mqtt_conn *p, *s;

	copy_begin(&b);
	p = connected(4, 1, "p");
	s = connected(4, 1, "s");
	put_subscribe(&in, 4, 1, "#", 2);
	feed(s);
	put_publish(&in, 4, 4, 1, "a", "x");
	put_publish(&in, 4, 2, 2, "a", "x");
	feed(p);
	CHECK_OUT(p, "\x50\2\0\1\x40\2\0\2");
	ck_assert_uint_eq(copy_waiting(), 0);
	gone(p);
	gone(s);
	ck_assert_uint_eq(copy_waiting(), 0);
}
END_TEST

START_TEST(claims)
{
	struct mqtt_conn *c, *other;
	size_t need;

	copy_begin(&b);
	b.ops.claim = copy_claim;
	c = mqtt_conn_new(&b, true);
	put_connect(&in, 4, 0, 60, "c");
	ck_assert_uint_eq(mqtt_conn_input(c, buf_bytes(&in), &need), 0);
	ck_assert_uint_eq(c->io.paused, MQTT_PAUSED_SHARED);
	ck_assert_int_eq(c->state, MQTT_AWAIT_CONNECT);
	copy_answer_claims(&b);
	ck_assert_uint_eq(c->io.paused, 0);
	ck_assert_uint_eq(feed(c), 15);
	CHECK_OUT(c, "\x20\2\0\0");
	/* Its id meanwhile: both come through, the later one has it. */
	other = mqtt_conn_new(&b, true);
	put_connect(&in, 4, 0, 60, "c");
	ck_assert_uint_eq(mqtt_conn_input(other, buf_bytes(&in), &need), 0);
	ck_assert_int_eq(c->state, MQTT_UP);
	copy_answer_claims(&b);
	feed(other);
	CHECK_OUT(other, "\x20\2\1\0");
	ck_assert_int_eq(c->state, MQTT_ENDED);
	gone(c);
	/* Nobody can tell: 0x88, and 3 for 3.1.1. */
	for (unsigned version = 4; version <= 5; version++) {
		c = mqtt_conn_new(&b, true);
		put_connect(&in, version, 0, 60, "d");
		mqtt_conn_input(c, buf_bytes(&in), &need);
		copy_refuse_claims(&b, MQTT_SERVER_UNAVAILABLE);
		feed(c);
		ck_assert_int_eq(c->state, MQTT_ENDED);
		ck_assert_uint_eq(c->io.out->data[3], version == 5 ? 0x88 : 3);
		gone(c);
	}
	gone(other);
	/* Gone before the answer. */
	c = mqtt_conn_new(&b, true);
	put_connect(&in, 4, 0, 60, "e");
	mqtt_conn_input(c, buf_bytes(&in), &need);
	gone(c);
	copy_answer_claims(&b);
}
END_TEST

START_TEST(fenced)
{
	struct mqtt_conn *c;

	copy_begin(&b);
	c = kept(5, "c");
	put_subscribe(&in, 5, 1, "a", 2);
	feed(c);
	copy_write_all(&b);
	ignore_out(c);
	mqtt_broker_fenced(&b, bytes_of_str("c"));
	CHECK_OUT(c, "\xe0\1\x8e");
	ck_assert_uint_eq(b.session_count, 0);
	ck_assert_uint_eq(copy_waiting(), 0);
	ck_assert_uint_eq(copy_sessions(), 1);
	mqtt_broker_fenced(&b, bytes_of_str("c"));
	gone(c);
	c = kept(5, "d");
	gone(c);
	mqtt_broker_fenced(&b, bytes_of_str("d"));
	ck_assert_uint_eq(b.session_count, 0);
}
END_TEST

START_TEST(messages_wait_while_sessions_are_loaded)
{
	struct mqtt_conn *c = connected(4, 1, "c");

	mqtt_broker_loading(&b, true);
	put_publish(&in, 4, 2, 1, "roost/d/telemetry", "{}");
	put_publish(&in, 4, 2, 2, "a", "x");
	ck_assert_uint_eq(feed(c), 25);
	ck_assert_uint_eq(c->io.paused, MQTT_PAUSED_ROOM);
	ck_assert_uint_eq(fake.count, 1);
	mqtt_broker_loading(&b, false);
	ck_assert_uint_eq(c->io.paused, 0);
	gone(c);
}
END_TEST

START_TEST(what_is_loaded_is_checked)
{
	struct mqtt_session *s = mqtt_load_session(&b, bytes_of_str("s"), 100, b.now_us, 5);
	struct mqtt_message view = { .topic = bytes_of_str("a"), .payload = bytes_of_str("x") };
	struct mqtt_message *m = mqtt_message_new(&view);
	const struct mqtt_filter bad = { .filter = bytes_of_str("a#") };
	struct mqtt_loaded_delivery d = { .n = 3, .message = m, .qos = 2, .sent = true };

	ck_assert_int_eq(mqtt_load_sub(&b, s, &bad, 0), ERR_MALFORMED);
	ck_assert_int_eq(mqtt_load_delivery(&b, s, &d), 0);
	ck_assert_int_eq(mqtt_load_delivery(&b, s, &d), ERR_MALFORMED);
	d.n = 4;
	d.qos = 3;
	ck_assert_int_eq(mqtt_load_delivery(&b, s, &d), ERR_MALFORMED);
	d.qos = 1;
	d.message = NULL;
	ck_assert_int_eq(mqtt_load_delivery(&b, s, &d), ERR_MALFORMED);
	mqtt_load_received(&b, s, 0, -1);
	mqtt_load_received(&b, s, 1, -1);
	mqtt_load_received(&b, s, 1, 4);
	ck_assert_uint_eq(s->received.count, 1);
	ck_assert_uint_eq(s->n, 5);
	mqtt_message_unref(&m);
}
END_TEST

/* --- exactly once, whatever dies when ---
 *
 * A publisher and a subscriber keep their own side of QoS 2 as section 4.3.3 says; the broker dies at any point, with any part of what it
 * has told written; connections break. What the publisher counts up must reach the subscriber once each, and in order. */

#define WINDOW 5
#define ROUNDS 60
#define STEPS 400

struct side {
	const char *id;
	struct mqtt_conn *c;
	struct buf unsent;
	struct buf unread;
	bool up, greeted, subscribed;
};

static struct {
	struct side side;
	unsigned number[WINDOW]; /* 0: free; packet id is the index + 1 */
	unsigned state[WINDOW];	 /* 1: PUBLISH was sent, 2: PUBREC came */
	unsigned order[WINDOW];
	unsigned sent;
} pub;

static struct {
	struct side side;
	bool holds[65536]; /* packet ids between PUBLISH and PUBREL */
	unsigned got;
} sub;

static uint64_t seed;

static unsigned
dice(unsigned n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(seed >> 33) % n;
}

static void
lose(struct side *p)
{
	if (p->c)
		mqtt_conn_free(&p->c);
	buf_clear(&p->unsent);
	buf_clear(&p->unread);
	p->up = p->greeted = false;
}

static void
come(struct side *p)
{
	p->c = mqtt_conn_new(&b, true);
	p->up = true;
	put_connect(&p->unsent, 4, 0, 0, p->id);
}

static void
exchange(struct side *p)
{
	size_t need;

	if (!p->c)
		return;
	if (!p->c->io.paused && p->c->io.closing == CONN_OPEN)
		buf_consume(&p->unsent, mqtt_conn_input(p->c, buf_bytes(&p->unsent), &need));
	ck_assert_int_eq(p->c->io.closing, CONN_OPEN);
	if (p->c->io.out)
		buf_add(&p->unread, p->c->io.out->data, p->c->io.out->len);
	conn_buf_give(&b.set, &p->c->io.out);
	copy_turn();
}

static void
ack(struct side *p, unsigned type, unsigned id)
{
	uint8_t body[2] = { (uint8_t)(id >> 8), (uint8_t)id };

	put_packet(&p->unsent, type << 4 | (type == MQTT_PUBREL ? 2u : 0u), body, 2);
}

static void
pub_send(unsigned i, bool dup)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", pub.number[i]);
	put_publish(&pub.side.unsent, 4, dup ? 4 | 8 : 4, i + 1, "t", text);
}

static void
pub_new(void)
{
	unsigned i = dice(WINDOW);

	if (!pub.side.greeted || pub.number[i])
		return;
	pub.number[i] = ++pub.sent;
	pub.state[i] = 1;
	pub_send(i, false);
}

/* All that is not complete, in the order in which it was begun. */
static void
pub_again(bool present)
{
	for (unsigned number = 1; number <= pub.sent; number++)
		for (unsigned i = 0; i < WINDOW; i++) {
			if (pub.number[i] != number)
				continue;
			ck_assert(present || pub.state[i] == 1);
			if (pub.state[i] == 2)
				ack(&pub.side, MQTT_PUBREL, i + 1);
			else
				pub_send(i, present);
		}
}

static void
pub_packet(const uint8_t *p)
{
	unsigned i = (unsigned)p[2] << 8 | p[3];

	if (p[0] >> 4 == MQTT_CONNACK) {
		ck_assert_uint_eq(p[3], 0);
		pub.side.greeted = true;
		pub_again(p[2]);
		return;
	}
	i--;
	ck_assert(i < WINDOW);
	if (p[0] >> 4 == MQTT_PUBREC) {
		if (pub.number[i])
			pub.state[i] = 2;
		ack(&pub.side, MQTT_PUBREL, i + 1);
	} else {
		ck_assert_uint_eq(p[0] >> 4, MQTT_PUBCOMP);
		pub.number[i] = 0;
	}
}

static void
sub_packet(const uint8_t *p)
{
	unsigned type = p[0] >> 4, id = (unsigned)p[2] << 8 | p[3];

	if (type == MQTT_CONNACK) {
		sub.side.greeted = true;
		ck_assert(p[2] || !sub.side.subscribed);
		if (!sub.side.subscribed)
			put_subscribe(&sub.side.unsent, 4, 1, "t", 2);
	} else if (type == MQTT_SUBACK) {
		sub.side.subscribed = true;
	} else if (type == MQTT_PUBREL) {
		sub.holds[id] = false;
		ack(&sub.side, MQTT_PUBCOMP, id);
	} else if (type == MQTT_PUBLISH) {
		char text[16] = { 0 };

		ck_assert_uint_eq(p[0] >> 1 & 3, 2);
		id = (unsigned)p[5] << 8 | p[6];
		memcpy(text, p + 7, p[1] - 5u);
		if (!sub.holds[id]) {
			ck_assert_uint_eq((unsigned)atoi(text), sub.got + 1);
			sub.got++;
		}
		sub.holds[id] = true;
		ack(&sub.side, MQTT_PUBREC, id);
	}
}

static void
read_one(struct side *p, void (*packet)(const uint8_t *))
{
	if (p->unread.len < 2 || p->unread.len < 2u + p->unread.data[1])
		return;
	packet(p->unread.data);
	buf_consume(&p->unread, 2u + p->unread.data[1]);
}

static void
step(bool faults)
{
	switch (dice(faults ? 40 : 36)) {
	case 36:
		lose(&pub.side);
		break;
	case 37:
		lose(&sub.side);
		break;
	case 38:
	case 39:
		if (dice(3))
			break;
		copy_write(dice((unsigned)copy_waiting() + 1));
		pub.side.c = sub.side.c = NULL; /* the broker frees them */
		die();
		lose(&pub.side);
		lose(&sub.side);
		break;
	case 0:
	case 1:
	case 2:
		if (faults && sub.side.subscribed)
			pub_new();
		break;
	case 3:
		copy_answer_claims(&b);
		break;
	case 4:
		copy_load_all(&b);
		break;
	case 5:
	case 6:
	case 7:
		mqtt_broker_written(&b, copy_write(dice(6)));
		break;
	case 8:
		if (!pub.side.up)
			come(&pub.side);
		break;
	case 9:
		if (!sub.side.up)
			come(&sub.side);
		break;
	default:
		switch (dice(4)) {
		case 0:
			read_one(&pub.side, pub_packet);
			break;
		case 1:
			read_one(&sub.side, sub_packet);
			break;
		case 2:
			exchange(&pub.side);
			break;
		default:
			exchange(&sub.side);
		}
	}
}

START_TEST(exactly_once)
{
	unsigned deaths_of_something = 0;

	for (unsigned round = 0; round < ROUNDS; round++) {
		seed = round + 1;
		copy_begin(&b);
		b.ops.claim = copy_claim;
		b.ops.release = NULL;
		b.config.queue_bytes_max = b.config.offline_bytes_max = 1000000;
		memset(&pub, 0, sizeof(pub));
		memset(&sub, 0, sizeof(sub));
		pub.side.id = "p";
		sub.side.id = "s";
		for (unsigned i = 0; i < STEPS * 10; i++)
			step(true);
		for (unsigned i = 0; i < 100000 && (sub.got < pub.sent || !sub.side.subscribed);
		     i++)
			step(false);
		ck_assert_msg(sub.got == pub.sent, "round %u: %u of %u", round, sub.got, pub.sent);
		deaths_of_something += pub.sent;
		/* All of it is complete: nothing may be left anywhere. */
		for (unsigned i = 0; i < 20000; i++)
			step(false);
		for (unsigned i = 0; i < WINDOW; i++)
			ck_assert_uint_eq(pub.number[i], 0);
		mqtt_broker_written(&b, copy_write(UINT64_MAX));
		ck_assert_uint_eq(copy_deliveries("s"), 0);
		ck_assert_uint_eq(copy_received("p"), 0);
		lose(&pub.side);
		lose(&sub.side);
		buf_fini(&pub.side.unsent);
		buf_fini(&pub.side.unread);
		buf_fini(&sub.side.unsent);
		buf_fini(&sub.side.unread);
		die();
	}
	ck_assert_uint_gt(deaths_of_something, ROUNDS);
	copy_reset();
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		answers_wait_for_writes,
		a_release_waits_for_its_write,
		a_release_is_owed_once,
		readings_do_not_wait_for_writes,
		retained_messages_are_told,
		what_is_not_kept_is_not_told,
		claims,
		fenced,
		messages_wait_while_sessions_are_loaded,
		what_is_loaded_is_checked,
		exactly_once,
	};

	return session_tests("mqtt_shared", tests, COUNT_OF(tests));
}
