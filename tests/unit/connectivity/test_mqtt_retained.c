/* test_mqtt_retained.c - more retained messages than an output or a queue holds, for new subscriptions; without sockets */
#include <stdio.h>
#include <string.h>

#include "err.h"
#include "mem.h"
#include "support_mqtt.h"
#include "support_session.h"

#define TOPICS 300

static unsigned seen[TOPICS];

static void
retain_one(size_t n, const char *payload, uint8_t qos)
{
	char topic[32];
	struct mqtt_message *m;

	snprintf(topic, sizeof(topic), "r/%zu/x", n);
	m = mqtt_message_new(&(struct mqtt_message){
	    .topic = bytes_of_str(topic), .payload = bytes_of_str(payload), .qos = qos });
	ck_assert_int_eq(mqtt_retained_set(&b.retained, m), 0);
	mqtt_message_unref(&m);
}

static void
retain_all(uint8_t qos)
{
	memset(seen, 0, sizeof(seen));
	b.retained.count_max = 100 * TOPICS;
	b.retained.bytes_max = 100 << 20;
	for (size_t i = 0; i < TOPICS; i++)
		retain_one(i, "a payload of a retained message, which is not so short", qos);
}

/* Takes what is in the output, answers it, says that it is sent. How many messages there were. */
static size_t
take(struct mqtt_conn *c)
{
	const struct buf *out = conn_out(&c->io);
	size_t count = 0;

	ck_assert_uint_le(out->len, config.outbound_max + 200); /* PUBRELs are let through */
	for (size_t at = 0; at < out->len;) {
		const uint8_t *p = out->data + at;
		size_t body = p[1];
		unsigned qos = p[0] >> 1 & 3, id;

		ck_assert_uint_lt(body, 128);
		if (p[0] >> 4 == 3) {
			unsigned n;
			char topic[32] = "";

			memcpy(topic, p + 4, p[3]);
			ck_assert_int_eq(sscanf(topic, "r/%u/x", &n), 1);
			ck_assert_uint_lt(n, TOPICS);
			ck_assert_uint_eq(p[0] & 1, 1);
			if (!(p[0] & 8) || !seen[n])
				seen[n]++;
			id = (unsigned)(p[4 + p[3]] << 8 | p[5 + p[3]]);
			if (qos)
				put_ack(qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, id);
			count++;
		} else if (p[0] == 0x62) {
			put_ack(MQTT_PUBCOMP, (unsigned)(p[2] << 8 | p[3]));
		}
		at += 2 + body;
	}
	ignore_out(c);
	mqtt_conn_on_sent(c);
	feed(c);
	return count;
}

static void
take_all(struct mqtt_conn *c)
{
	while (take(c) > 0 || conn_out_len(&c->io) > 0)
		ck_assert_uint_eq(b.passed.publish_dropped, 0);
}

static void
check_once(void)
{
	for (size_t i = 0; i < TOPICS; i++)
		ck_assert_msg(seen[i] == 1, "%zu came %u times", i, seen[i]);
	ck_assert_ptr_null(b.retained.walks);
	ck_assert_uint_eq(b.passed.publish_dropped, 0);
}

START_TEST(all_come_at_each_qos)
{
	for (unsigned qos = 0; qos <= 2; qos++) {
		struct mqtt_conn *s = connected(4, 1, "s");

		retain_all(2);
		put_subscribe(&in, 4, 1, "r/#", qos);
		feed(s);
		ck_assert_ptr_nonnull(s->session->owed);
		take_all(s);
		check_once();
		gone(s);
	}
}
END_TEST

START_TEST(the_receive_maximum_holds_them_up)
{
	for (unsigned qos = 1; qos <= 2; qos++) {
		struct mqtt_conn *s = connected(4, 1, "s");

		retain_all(2);
		s->out_receive_max = 5;
		put_subscribe(&in, 4, 1, "r/#", qos);
		feed(s);
		ck_assert_uint_eq(s->out_unacked, 5);
		take_all(s);
		check_once();
		gone(s);
	}
}
END_TEST

START_TEST(what_changes_meanwhile)
{
	struct mqtt_conn *s = connected(4, 1, "s");
	size_t before;

	retain_all(0);
	put_subscribe(&in, 4, 1, "r/+/x", 0);
	feed(s);
	before = take(s);
	ck_assert_uint_gt(before, 0);
	/* Every other one goes, among them the one that comes next. */
	for (size_t i = 0; i < TOPICS; i += 2)
		retain_one(i, "", 0);
	take_all(s);
	for (size_t i = 0; i < TOPICS; i++)
		ck_assert_msg(seen[i] == 1 || (i % 2 == 0 && seen[i] == 0), "%zu", i);
	ck_assert_ptr_null(b.retained.walks);
	/* All of them go while one waits. */
	retain_all(0);
	put_subscribe(&in, 4, 2, "r/#", 0);
	feed(s);
	take(s);
	for (size_t i = 0; i < TOPICS; i++)
		retain_one(i, "", 0);
	take_all(s);
	ck_assert_ptr_null(b.retained.walks);
	ck_assert_uint_eq(b.retained.tree.count, 0);
	gone(s);
}
END_TEST

START_TEST(it_ends_with_its_subscription_or_session)
{
	struct mqtt_conn *s = connected(4, 1, "s");
	size_t came = 0;

	retain_all(0);
	put_subscribe(&in, 4, 1, "r/#", 0);
	feed(s);
	came = take(s);
	put_unsubscribe(&in, 4, 2, "r/#");
	feed(s);
	came += take(s);
	take_all(s);
	ck_assert_ptr_null(b.retained.walks);
	ck_assert_uint_lt(came, TOPICS / 2);
	/* Again and again: one at a time, from the beginning. */
	for (unsigned i = 3; i < 50; i++)
		put_subscribe(&in, 4, i, "r/#", 0);
	feed(s);
	ck_assert_ptr_nonnull(b.retained.walks);
	ck_assert_ptr_null(b.retained.walks->next);
	gone(s);
	ck_assert_ptr_null(b.retained.walks);
}
END_TEST

START_TEST(it_goes_on_with_a_session_that_is_kept)
{
	struct mqtt_conn *s = connected(4, 0, "s");

	retain_all(1);
	put_subscribe(&in, 4, 1, "r/#", 1);
	feed(s);
	take(s);
	take(s);
	gone(s);
	ck_assert_uint_eq(b.passed.publish_dropped, 0);
	ck_assert_ptr_nonnull(b.retained.walks);
	s = mqtt_conn_new(&b, true);
	put_connect(&in, 4, 0, 60, "s");
	feed(s);
	take_all(s);
	for (size_t i = 0; i < TOPICS; i++)
		ck_assert_msg(seen[i] == 1, "%zu came %u times", i, seen[i]);
	ck_assert_ptr_null(b.retained.walks);
	gone(s);
	s = connected(4, 1, "s");
	gone(s);
}
END_TEST

START_TEST(many_filters_wait)
{
	struct mqtt_conn *s = connected(4, 1, "s");
	char filter[64];
	size_t waiting = 0;

	retain_all(0);
	b.config.subscriptions_max = 2 * MQTT_OWED_MAX;
	put_subscribe(&in, 4, 1, "r/#", 0);
	feed(s);
	/* Its output is full from here on. */
	for (unsigned i = 0; i < MQTT_OWED_MAX + 10; i++) {
		snprintf(filter, sizeof(filter), "r/%u/#", i % TOPICS);
		if (i >= TOPICS)
			snprintf(filter, sizeof(filter), "+/%u/%s", i % TOPICS,
			    i < 2 * TOPICS   ? "#"
			    : i < 3 * TOPICS ? "+"
					     : "x");
		put_subscribe(&in, 4, 2 + i, filter, 0);
		feed(s);
	}
	for (const struct mqtt_retained_walk *w = b.retained.walks; w; w = w->next)
		waiting++;
	ck_assert_uint_eq(waiting, MQTT_OWED_MAX);
	gone(s);
	ck_assert_ptr_null(b.retained.walks);
}
END_TEST

/* Much is looked at, little found: in turns. */
START_TEST(others_have_their_turn)
{
	struct mqtt_conn *s = connected(4, 1, "s");
	size_t turns = 0;

	retain_all(0);
	for (size_t i = TOPICS; i < 99 * TOPICS; i++)
		retain_one(i, "x", 0);
	put_subscribe(&in, 4, 1, "+/+/y", 0);
	put_subscribe(&in, 4, 2, "+/7/x", 0);
	feed(s);
	ck_assert_ptr_nonnull(b.looking);
	while (mqtt_broker_turn(&b))
		ck_assert_uint_lt(++turns, 100);
	take_all(s);
	ck_assert_uint_eq(seen[7], 1);
	ck_assert_ptr_null(b.looking);
	ck_assert_ptr_null(b.retained.walks);
	gone(s);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		all_come_at_each_qos,
		the_receive_maximum_holds_them_up,
		what_changes_meanwhile,
		it_ends_with_its_subscription_or_session,
		it_goes_on_with_a_session_that_is_kept,
		many_filters_wait,
		others_have_their_turn,
	};

	return session_tests("mqtt_retained", tests, COUNT_OF(tests));
}
