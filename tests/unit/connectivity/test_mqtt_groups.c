/* test_mqtt_groups.c - shared subscriptions: who gets what, and who gets it when one ends (MQTT 5 section 4.8.2) */
#include <stdio.h>
#include <string.h>

#include "err.h"
#include "mem.h"
#include "mqtt_session_impl.h"
#include "support_mqtt.h"
#include "support_session.h"

static size_t
got(struct mqtt_conn *c)
{
	size_t n = 0;

	for (size_t at = 0; c->io.out && at < c->io.out->len; at += 2u + c->io.out->data[at + 1])
		n += c->io.out->data[at] >> 4 == MQTT_PUBLISH;
	ignore_out(c);
	return n;
}

static void
publish(struct mqtt_conn *c, unsigned qos, unsigned id, const char *topic)
{
	put_publish(&in, c->version, qos << 1, id, topic, "x");
	feed(c);
	ignore_out(c);
}

START_TEST(each_message_goes_to_one)
{
	struct mqtt_conn *p = connected(4, 1, "p"), *m[3];
	struct mqtt_conn *other = connected(5, 1, "o");

	b.config.sessions_max = 10;
	for (unsigned i = 0; i < 3; i++) {
		char id[2] = { (char)('0' + i), 0 };

		m[i] = connected(5, 1, id);
		subscribe(m[i], "$share/g/a/+", 0);
	}
	subscribe(other, "$share/h/a/+", 0); /* another group: its own copy */
	subscribe(other, "a/b", 0);	     /* and not shared: one more */
	for (unsigned i = 0; i < 9; i++)
		publish(p, 0, 0, "a/b");
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(got(m[i]), 3); /* in turn */
	ck_assert_uint_eq(got(other), 18);
	put_unsubscribe(&in, 5, 2, "$share/g/a/+");
	feed(m[0]);
	ignore_out(m[0]);
	publish(p, 0, 0, "a/b");
	publish(p, 0, 0, "a/b");
	ck_assert_uint_eq(got(m[0]) + 10 * got(m[1]) + 100 * got(m[2]), 110);
	for (unsigned i = 0; i < 3; i++)
		gone(m[i]);
	gone(other);
	publish(p, 0, 0, "a/b");
	gone(p);
	ck_assert_uint_eq(b.router.sub_count, 0);
	ck_assert_uint_eq(b.router.shared_count, 0);
	ck_assert_uint_eq(b.router.tree.count, 0);
}
END_TEST

START_TEST(the_least_busy_gets_it)
{
	struct mqtt_conn *p = connected(4, 1, "p"), *fast = connected(4, 1, "f"),
			 *slow = connected(4, 1, "s");

	subscribe(fast, "$share/g/a", 1);
	subscribe(slow, "$share/g/a", 1);
	for (unsigned i = 1; i <= 10; i++) {
		publish(p, 1, i, "a");
		/* fast acknowledges all it has, slow nothing. */
		while (fast->session->in_flight.head) {
			put_puback(&in, fast->session->in_flight.head->packet_id);
			feed(fast);
		}
	}
	ck_assert_uint_eq(slow->session->in_flight.count, 1);
	ck_assert_uint_eq(got(fast), 9);
	gone(fast);
	gone(slow);
	gone(p);
}
END_TEST

/* Who is away gets it only if nobody is there. */
START_TEST(those_who_are_there_first)
{
	struct mqtt_conn *p = connected(4, 1, "p"), *here = connected(4, 1, "h"),
			 *away = connected(4, 0, "a");

	subscribe(here, "$share/g/a", 1);
	subscribe(away, "$share/g/a", 1);
	gone(away);
	for (unsigned i = 1; i <= 5; i++)
		publish(p, 1, i, "a");
	ck_assert_uint_eq(got(here), 5);
	ck_assert_ptr_nonnull(b.away_first);
	ck_assert_uint_eq(b.away_first->queue.count, 0);
	gone(here); /* its session ends: all five */
	ck_assert_uint_eq(b.away_first->queue.count, 5);
	away = mqtt_conn_new(&b, true);
	put_connect(&in, 4, 0, 60, "a");
	feed(away);
	ck_assert_uint_eq(got(away), 5);
	gone(away);
	gone(p);
}
END_TEST

/* QoS 1 goes to another member; QoS 2 does not once it was sent (MQTT-4.8.2-5), nor what was refused (MQTT-4.8.2-6). */
START_TEST(when_a_member_ends)
{
	struct mqtt_conn *p = connected(4, 1, "p"), *one, *two = connected(5, 1, "t");

	one = mqtt_conn_new(&b, true);
	buf_add(&in, "\x10\x11\0\4MQTT\5\2\0\x3c\3\x21\0\2\0\1o", 19); /* receive maximum 2 */
	feed(one);
	ignore_out(one);
	subscribe(one, "$share/g/a", 2);
	publish(p, 1, 1, "a");
	publish(p, 2, 2, "a");
	publish(p, 2, 3, "a");
	publish(p, 1, 4, "a");
	ck_assert_uint_eq(one->session->in_flight.count, 2);
	ck_assert_uint_eq(one->session->queue.count, 2);
	ck_assert_uint_eq(got(one), 2);
	subscribe(two, "$share/g/a", 2);
	gone(one);
	ck_assert_uint_eq(two->session->in_flight.count, 3); /* all but the QoS 2 that was sent */
	ck_assert_uint_eq(got(two), 3);
	one = connected(5, 1, "o");
	subscribe(one, "$share/g/a", 2);
	buf_add(&in, "\x40\3\0\1\x80\x50\3\0\2\x97", 10); /* PUBACK, PUBREC: not accepted */
	feed(two);
	ck_assert_uint_eq(got(one), 0);
	ck_assert_uint_eq(two->session->in_flight.count, 1);
	gone(two);
	ck_assert_uint_eq(got(one), 1);
	gone(one); /* nobody is left */
	ck_assert_uint_eq(b.queued_bytes, 0);
	gone(p);
}
END_TEST

START_TEST(what_a_shared_subscription_is_not)
{
	struct mqtt_conn *c = connected(5, 1, "c");

	put_publish(&in, 5, 1, 0, "a", "kept");
	feed(c);
	put_subscribe(&in, 5, 1, "$share/g/a", 0); /* no retained messages */
	feed(c);
	CHECK_OUT(c, "\x90\4\0\1\0\0");
	put_publish(&in, 5, 0, 0, "a", "x");
	feed(c);
	CHECK_OUT(c, "\x30\5\0\1a\0x");
	/* Its own identifier, and not those of others that match. */
	buf_add(&in, "\x82\x12\0\2\2\x0b\5\0\x0a$share/g/a\0", 20);
	buf_add(&in, "\x82\x09\0\3\2\x0b\6\0\1a\0", 11);
	put_publish(&in, 5, 0, 0, "a", "y");
	feed(c);
	CHECK_OUT(c, "\x90\4\0\2\0\0\x90\4\0\3\0\0\x31\x0a\0\1a\2\x0b\6kept"
		     "\x30\7\0\1a\2\x0b\6y\x30\7\0\1a\2\x0b\5y");
	put_subscribe(&in, 5, 4, "$share/g/a", 4); /* no local (MQTT-3.8.3-4) */
	feed(c);
	ck_assert_uint_eq(c->io.out->data[2], 0x82);
	gone(c);
	ck_assert_uint_eq(b.router.sub_count, 0);
	/* A wildcard or nothing as the name, or nothing behind it (MQTT-4.8.2-1, MQTT-4.8.2-2) */
	for (unsigned i = 0; i < 4; i++) {
		static const char *const bad[] = { "$share/g", "$share//a", "$share/+/a",
			"$share/g/" };

		c = connected(5, 1, "c");
		put_subscribe(&in, 5, 1, bad[i], 0);
		feed(c);
		ck_assert_msg(c->state == MQTT_ENDED || c->io.out->data[5] == 0x8f, "%s", bad[i]);
		gone(c);
	}
}
END_TEST

/* Random coming, going, subscribing and acknowledging: each QoS 1 message is somewhere as long as the group has members. */
START_TEST(nothing_is_lost_in_a_group)
{
	struct mqtt_conn *p, *m[4] = { NULL };
	uint64_t seed = 11;
	size_t owed = 0;

	b.config.sessions_max = 10;
	b.config.queue_bytes_max = b.config.offline_bytes_max = 10000000;
	b.config.queue_max = 100000;
	p = connected(4, 1, "p");
	m[0] = connected(4, 1, "0");
	subscribe(m[0], "$share/g/a", 1);
	for (unsigned step = 0; step < 20000; step++) {
		unsigned i;

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		i = (unsigned)(seed >> 33) % 3 + 1;
		switch ((seed >> 40) % 4) {
		case 0: /* comes or goes; m[0] stays */
			if (m[i] && (seed >> 50) % 2) {
				gone(m[i]);
				m[i] = NULL;
			} else if (!m[i]) {
				char id[2] = { (char)('0' + i), 0 };

				m[i] = connected(4, 1, id);
				subscribe(m[i], "$share/g/a", 1);
			}
			break;
		case 1:
			i = (seed >> 50) % 4;
			if (m[i] && m[i]->session->in_flight.head) {
				put_puback(&in, m[i]->session->in_flight.head->packet_id);
				feed(m[i]);
				owed--;
			}
			break;
		default:
			publish(p, 1, step % 65535 + 1, "a");
			owed++;
		}
		for (i = 0; i < 4; i++)
			if (m[i])
				ignore_out(m[i]);
		if (step % 100 == 0) {
			size_t there = 0;

			for (i = 0; i < 4; i++)
				if (m[i])
					there += m[i]->session->in_flight.count +
						 m[i]->session->queue.count;
			ck_assert_uint_eq(there, owed);
		}
	}
	for (unsigned i = 0; i < 4; i++)
		if (m[i])
			gone(m[i]);
	gone(p);
	ck_assert_uint_eq(b.queued_bytes, 0);
}
END_TEST

/* It has gone to another worker with what was queued for it: nobody here gets that too. */
START_TEST(what_has_moved_is_not_passed_on)
{
	struct mqtt_conn *p = connected(4, 1, "p"), *one, *two;

	for (int moved = 0; moved < 2; moved++) {
		struct mqtt_session *session;

		one = resumed(100, "one");
		subscribe(one, "$share/g/a", 1);
		gone(one);
		publish(p, 1, 1, "a");
		two = connected(4, 1, "two");
		subscribe(two, "$share/g/a", 1);
		session = mqtt_store_find(&b, bytes_of_str("one"));
		ck_assert_uint_eq(session->queue.count, 1);
		if (moved) {
			mqtt_broker_moved(&b, session, 1);
			mqtt_broker_arrived(&b, bytes_of_str("one"));
		} else {
			mqtt_store_remove(&b, session);
		}
		ck_assert_ptr_null(mqtt_store_find(&b, bytes_of_str("one")));
		ck_assert_uint_eq(got(two), moved ? 0 : 1);
		gone(two);
	}
	gone(p);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		what_has_moved_is_not_passed_on,
		each_message_goes_to_one,
		the_least_busy_gets_it,
		those_who_are_there_first,
		when_a_member_ends,
		what_a_shared_subscription_is_not,
		nothing_is_lost_in_a_group,
	};

	return session_tests("mqtt_groups", tests, COUNT_OF(tests));
}
