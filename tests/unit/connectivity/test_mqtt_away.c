/* test_mqtt_away.c - the sessions' shared copy is away: who waits, who is told, and that what was refused is not done later */
#include <string.h>

#include "mem.h"
#include "support_copy.h"
#include "support_mqtt.h"
#include "support_session.h"

#define WHY "gone"
#define NOT_TAKEN "\x1f\0\x16gone: it was not taken"
#define MAY_ARRIVE "\x1f\0\x20gone: it may arrive all the same"

static int64_t since;

static void
begin(void)
{
	copy_begin(&b);
	b.config.shared_wait_us = SECOND;
	since = b.now_us;
}

static void
away_for(int64_t us)
{
	b.now_us = since + us;
	mqtt_broker_away(&b, since, WHY);
}

static void
back(void)
{
	mqtt_broker_away(&b, 0, "");
}

static struct mqtt_conn *
subscribed(unsigned version, const char *id)
{
	struct mqtt_conn *c = kept(version, id);

	put_subscribe(&in, version, 1, "a", 2);
	feed(c);
	copy_write_all(&b);
	ignore_out(c);
	return c;
}

static uint64_t
queued(const struct mqtt_conn *c)
{
	return c->session->queue.count + c->session->in_flight.count;
}

START_TEST(publishes_wait_and_are_refused)
{
	struct mqtt_conn *p, *s;
	size_t need, len;

	begin();
	s = subscribed(4, "s");
	p = connected(5, 1, "p");
	away_for(0);
	put_publish(&in, 5, 2, 1, "a", "x");
	put_publish(&in, 5, 4, 2, "a", "y");
	put_publish(&in, 5, 2 | 1, 3, "r", "z");
	len = in.len;
	ck_assert_uint_eq(mqtt_conn_input(p, buf_bytes(&in), &need), 0);
	ck_assert_uint_eq(p->io.paused, MQTT_PAUSED_AWAY);
	away_for(SECOND - 1);
	ck_assert_uint_eq(p->io.paused, MQTT_PAUSED_AWAY);
	away_for(SECOND);
	ck_assert_uint_eq(p->io.paused, 0);
	ck_assert_uint_eq(mqtt_conn_input(p, buf_bytes(&in), &need), len);
	buf_clear(&in);
	CHECK_OUT(p, "\x40\x1d\0\1\x83\x19" NOT_TAKEN "\x50\x1d\0\2\x83\x19" NOT_TAKEN
		     "\x40\x1d\0\3\x83\x19" NOT_TAKEN);
	/* And nothing is done, then or later. */
	ck_assert_uint_eq(queued(s), 0);
	ck_assert_uint_eq(b.retained.count, 0);
	ck_assert_uint_eq(p->unacked, 0);
	ck_assert_uint_eq(p->session->received.count, 0);
	CHECK_OUT(s, "");
	ck_assert_uint_eq(copy_waiting(), 0);
	back();
	/* The same ids again are new messages. */
	put_publish(&in, 5, 4 | 8, 2, "a", "y");
	feed(p);
	copy_write_all(&b);
	CHECK_OUT(p, "\x50\2\0\2");
	ck_assert_uint_eq(queued(s), 1);
	gone(p);
	gone(s);
}
END_TEST

/* 3.1.1 has no answer for it. */
START_TEST(publishes_of_3_1_1_wait)
{
	struct mqtt_conn *p, *s;
	size_t need, len;

	begin();
	s = subscribed(4, "s");
	p = connected(4, 1, "p");
	away_for(0);
	put_publish(&in, 4, 2, 1, "a", "x");
	len = in.len;
	ck_assert_uint_eq(mqtt_conn_input(p, buf_bytes(&in), &need), 0);
	away_for(SECOND);
	ck_assert_uint_eq(mqtt_conn_input(p, buf_bytes(&in), &need), 0);
	ck_assert_uint_eq(p->io.paused, MQTT_PAUSED_AWAY);
	/* It is not the client that is silent. */
	b.now_us += 1000 * SECOND;
	mqtt_conn_on_deadline(p);
	ck_assert_int_eq(p->state, MQTT_UP);
	back();
	ck_assert_uint_eq(p->io.paused, 0);
	ck_assert_uint_eq(mqtt_conn_input(p, buf_bytes(&in), &need), len);
	buf_clear(&in);
	copy_write_all(&b);
	CHECK_OUT(p, "\x40\2\0\1");
	ck_assert_uint_eq(queued(s), 1);
	gone(p);
	gone(s);
}
END_TEST

START_TEST(what_needs_no_copy_goes_on)
{
	struct mqtt_conn *p, *s, *k;

	begin();
	k = subscribed(4, "k");
	s = connected(5, 1, "s");
	p = connected(5, 1, "p");
	away_for(2 * SECOND);
	put_subscribe(&in, 5, 1, "b", 2);
	feed(s);
	CHECK_OUT(s, "\x90\4\0\1\0\2");
	put_publish(&in, 5, 0, 0, "a", "0");
	put_publish(&in, 5, 2, 1, "b", "1");
	put_publish(&in, 5, 4, 2, "b", "2");
	put_publish(&in, 5, 2, 3, "roost/d/telemetry", "{}");
	feed(p);
	mqtt_broker_answer(&b, fake.tokens[0], 0, NULL);
	CHECK_OUT(p, "\x40\2\0\1\x50\2\0\2\x40\2\0\3");
	CHECK_OUT(k, "\x30\4\0\1a0");
	CHECK_OUT(s, "\x32\7\0\1b\0\1\0\61\x34\7\0\1b\0\2\0\62");
	put_unsubscribe(&in, 5, 2, "b");
	feed(s);
	CHECK_OUT(s, "\xb0\4\0\2\0\0");
	gone(p);
	gone(s);
	gone(k);
}
END_TEST

/* QoS 2 of a session that is kept: its packet id has to be written. A group may choose one that is kept. */
START_TEST(who_needs_it)
{
	struct mqtt_conn *p, *q, *s;

	begin();
	s = kept(4, "s");
	put_subscribe(&in, 4, 1, "$share/g/c", 1);
	feed(s);
	copy_write_all(&b);
	p = kept(5, "p");
	q = connected(5, 1, "q");
	away_for(SECOND);
	put_publish(&in, 5, 2, 1, "nobody", "x");
	put_publish(&in, 5, 4, 2, "nobody", "x");
	feed(p);
	CHECK_OUT(p, "\x40\3\0\1\x10\x50\x1d\0\2\x83\x19" NOT_TAKEN);
	put_publish(&in, 5, 2, 1, "c", "x");
	feed(q);
	CHECK_OUT(q, "\x40\x1d\0\1\x83\x19" NOT_TAKEN);
	/* While it is not known who subscribed. */
	mqtt_broker_loading(&b, true);
	put_publish(&in, 5, 2, 1, "nobody", "x");
	feed(q);
	CHECK_OUT(q, "\x40\x1d\0\1\x83\x19" NOT_TAKEN);
	put_publish(&in, 5, 0, 0, "nobody", "x");
	ck_assert_uint_eq(feed(q), 0);
	ck_assert_uint_eq(q->io.paused, MQTT_PAUSED_ROOM);
	gone(p);
	gone(q);
	gone(s);
}
END_TEST

START_TEST(subscribes_are_refused)
{
	struct mqtt_conn *c, *old;
	size_t need;

	begin();
	c = subscribed(5, "c");
	old = subscribed(4, "old");
	away_for(0);
	put_subscribe(&in, 5, 2, "b", 1);
	ck_assert_uint_eq(mqtt_conn_input(c, buf_bytes(&in), &need), 0);
	ck_assert_uint_eq(c->io.paused, MQTT_PAUSED_AWAY);
	away_for(SECOND);
	put_unsubscribe(&in, 5, 3, "a");
	feed(c);
	CHECK_OUT(c, "\x90\4\0\2\0\x83\xb0\4\0\3\0\x83");
	ck_assert_uint_eq(c->session->sub_count, 1);
	put_subscribe(&in, 4, 2, "b", 1);
	ck_assert_uint_eq(feed(old), 0);
	ck_assert_uint_eq(old->io.paused, MQTT_PAUSED_AWAY);
	back();
	ck_assert_uint_eq(old->io.paused, 0);
	ck_assert_uint_eq(copy_waiting(), 0);
	gone(c);
	gone(old);
}
END_TEST

/* What was taken before: QoS 1 is answered, and arrives; QoS 2 waits, for it would arrive twice. */
START_TEST(publishes_under_way)
{
	struct mqtt_conn *p, *old, *s;

	begin();
	s = subscribed(4, "s");
	p = connected(5, 1, "p");
	old = connected(4, 1, "old");
	put_publish(&in, 5, 2, 1, "a", "1");
	put_publish(&in, 5, 4, 2, "a", "2");
	feed(p);
	put_publish(&in, 4, 2, 1, "a", "3");
	feed(old);
	away_for(SECOND - 1);
	CHECK_OUT(p, "");
	away_for(SECOND);
	CHECK_OUT(p, "\x40\x27\0\1\x83\x23" MAY_ARRIVE);
	CHECK_OUT(old, "");
	ck_assert_uint_eq(p->unacked, 1);
	/* Its place in the ring is another's now: the write that comes does not answer that. */
	put_publish(&in, 5, 2, 3, "roost/d/telemetry", "{}");
	feed(p);
	away_for(3 * SECOND);
	copy_write_all(&b);
	back();
	CHECK_OUT(p, "\x50\2\0\2");
	CHECK_OUT(old, "\x40\2\0\1");
	mqtt_broker_answer(&b, fake.tokens[0], 0, NULL);
	CHECK_OUT(p, "\x40\2\0\3");
	ck_assert_uint_eq(queued(s), 3);
	ck_assert_uint_eq(copy_deliveries("s"), 3);
	gone(p);
	gone(old);
	gone(s);
}
END_TEST

/* What was subscribed to or not is as it was before, here and in the copy. */
START_TEST(subscribes_under_way_are_undone)
{
	static const char filters[] = "\0\1\0"
				      "\0\1a\1"
				      "\0\1b\1"
				      "\0\1b\2"
				      "\0\1+\0";
	struct mqtt_conn *c;
	const struct mqtt_sub *sub;

	begin();
	c = subscribed(5, "c");
	b.config.subscriptions_max = 2;
	put_packet(&in, 0x82, filters, sizeof(filters) - 1);
	feed(c);
	ck_assert_uint_eq(c->session->sub_count, 2);
	CHECK_OUT(c, "");
	away_for(SECOND);
	CHECK_OUT(c, "\x90\7\0\1\0\x83\x83\x83\x97");
	ck_assert_uint_eq(c->io.paused, 0);
	ck_assert_uint_eq(c->session->sub_count, 1);
	sub = mqtt_router_find(&b.router, c->session, bytes_of_str("a"));
	ck_assert(sub && sub->options.qos == 2);
	copy_write_all(&b);
	back();
	ck_assert_uint_eq(copy_subs("c"), 1);
	CHECK_OUT(c, "");
	/* UNSUBSCRIBE, and a connection that ends meanwhile. */
	since = b.now_us;
	put_unsubscribe(&in, 5, 2, "a");
	feed(c);
	ck_assert_uint_eq(c->session->sub_count, 0);
	away_for(SECOND);
	CHECK_OUT(c, "\xb0\4\0\2\0\x83");
	sub = mqtt_router_find(&b.router, c->session, bytes_of_str("a"));
	ck_assert(sub && sub->options.qos == 2);
	back();
	since = b.now_us;
	put_unsubscribe(&in, 5, 3, "a");
	feed(c);
	gone(c);
	away_for(SECOND);
	copy_write_all(&b);
	ck_assert_uint_eq(copy_subs("c"), 0);
}
END_TEST

/* PUBREL has no answer that says no: it waits. */
START_TEST(releases_wait)
{
	struct mqtt_conn *p, *s;

	begin();
	s = subscribed(5, "s");
	p = kept(5, "p");
	put_publish(&in, 5, 4, 7, "a", "x");
	feed(p);
	copy_write_all(&b);
	CHECK_OUT(p, "\x50\2\0\7");
	ignore_out(s);
	put_ack(MQTT_PUBREC, 1);
	feed(s);
	put_ack(MQTT_PUBREL, 7);
	feed(p);
	away_for(SECOND);
	CHECK_OUT(p, "");
	CHECK_OUT(s, "");
	copy_write_all(&b);
	back();
	CHECK_OUT(p, "\x70\2\0\7");
	CHECK_OUT(s, "\x62\2\0\1");
	gone(p);
	gone(s);
}
END_TEST

/* --- a will is written before CONNACK (MQTT-3.1.2-7: it is stored) --- */

static struct mqtt_conn *
with_will(unsigned version, const char *id)
{
	static const char v4[] = "\0\4MQTT\4\4\0\0\0\1",
			  v5[] = "\0\4MQTT\5\4\0\0\5\x11\0\0\0\x64\0\1";
	struct mqtt_conn *c = mqtt_conn_new(&b, true);
	struct buf body = { 0 };

	if (version == 5)
		buf_add(&body, v5, sizeof(v5) - 1);
	else
		buf_add(&body, v4, sizeof(v4) - 1);
	buf_add(&body, id, 1);
	buf_add(&body, "\0\0\1w\0\1x" + (version == 5 ? 0 : 1), version == 5 ? 7 : 6);
	put_packet(&in, 0x10, body.data, body.len);
	buf_fini(&body);
	feed(c);
	return c;
}

START_TEST(connack_waits_for_the_will)
{
	struct mqtt_conn *p, *s;

	begin();
	gone(subscribed(4, "s"));
	p = connected(4, 1, "p");
	put_publish(&in, 4, 2, 1, "a", "1");
	feed(p);
	s = with_will(4, "s");
	put_publish(&in, 4, 0, 0, "a", "0");
	put_publish(&in, 4, 2, 2, "a", "2");
	feed(p);
	mqtt_conn_on_sent(s);
	CHECK_OUT(s, "");
	ck_assert_uint_eq(s->io.paused, MQTT_PAUSED_SHARED);
	copy_write_all(&b);
	CHECK_OUT(s, "\x20\2\1\0\x32\6\0\1a\0\1\61\x32\6\0\1a\0\2\62");
	ck_assert_uint_eq(s->io.paused, 0);
	gone(s);
	/* Another one takes its place meanwhile: nothing comes before CONNACK, nor instead of it. */
	s = with_will(5, "t");
	gone(p);
	p = with_will(5, "t");
	ck_assert_int_eq(s->state, MQTT_ENDED);
	CHECK_OUT(s, "");
	copy_write_all(&b);
	ck_assert_uint_eq(p->io.out->data[0], 0x20);
	ck_assert_uint_eq(p->io.out->data[2], 1);
	gone(s);
	gone(p);
}
END_TEST

START_TEST(a_will_is_not_written_in_time)
{
	struct mqtt_conn *c, *w;

	begin();
	w = connected(4, 1, "w");
	subscribe(w, "w", 1);
	for (unsigned version = 4; version <= 5; version++) {
		since = b.now_us;
		c = with_will(version, "c");
		away_for(SECOND);
		ck_assert_int_eq(c->state, MQTT_ENDED);
		ck_assert_uint_eq(c->io.out->data[0], 0x20);
		ck_assert_uint_eq(c->io.out->data[2], 0);
		ck_assert_uint_eq(c->io.out->data[3], version == 5 ? 0x88 : 3);
		gone(c);
		/* It was never told of a session, and has none. */
		ck_assert_uint_eq(b.session_count, 1);
		copy_write_all(&b);
		back();
		ck_assert_uint_eq(copy_sessions(), 0);
	}
	/* One that was there stays. */
	gone(subscribed(4, "s"));
	since = b.now_us;
	c = with_will(4, "s");
	away_for(SECOND);
	CHECK_OUT(c, "\x20\2\0\3");
	gone(c);
	copy_write_all(&b);
	ck_assert_uint_eq(copy_subs("s"), 1);
	ck_assert_uint_eq(b.session_count, 2);
	/* Nobody's will was published. */
	CHECK_OUT(w, "");
	gone(w);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		publishes_wait_and_are_refused,
		publishes_of_3_1_1_wait,
		what_needs_no_copy_goes_on,
		who_needs_it,
		subscribes_are_refused,
		publishes_under_way,
		subscribes_under_way_are_undone,
		releases_wait,
		connack_waits_for_the_will,
		a_will_is_not_written_in_time,
	};

	return session_tests("mqtt_away", tests, COUNT_OF(tests));
}
