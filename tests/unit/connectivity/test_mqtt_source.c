/* test_mqtt_source.c - a topic that is remembered means the same as one that is not */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "mem.h"
#include "support_mqtt.h"
#include "support_session.h"

/* support_session's ingest checks that the hashes that come with a message are those of its device, topic and client. */
static const char *
last_device(void)
{
	return fake.devices[fake.count - 1];
}

static void
publish(struct mqtt_conn *c, unsigned version, const char *topic, const char *device)
{
	fake.room = OFFERS_MAX;
	put_publish(&in, version, 0, 0, topic, "{}");
	feed(c);
	ck_assert_int_eq(c->state, MQTT_UP);
	ck_assert_uint_gt(fake.count, 0);
	ck_assert_str_eq(last_device(), device);
	fake.count = 0;
}

START_TEST(topics_that_change)
{
	static const char *const topics[] = { "roost/d1/telemetry", "roost/d2/telemetry",
		"roost/d1/telemetry/x", "v1/devices/me/telemetry", "roost/longer-than-d1/telemetry",
		"v2/t" };
	static const char *const devices[] = { "d1", "d2", "d1", "client", "longer-than-d1",
		"client" };

	for (unsigned version = 4; version <= 5; version++) {
		struct mqtt_conn *c = connected(version, 1, "client");

		for (size_t i = 0; i < COUNT_OF(topics); i++) /* one after the other */
			for (int again = 0; again < 4; again++)
				publish(c, version, topics[i], devices[i]);
		for (int i = 0; i < 2000; i++) { /* in any order */
			size_t k = (size_t)rand() % COUNT_OF(topics);

			publish(c, version, topics[k], devices[k]);
		}
		gone(c);
	}
}
END_TEST

START_TEST(one_that_comes_again_stays)
{
	struct mqtt_source *s = NULL;
	struct bytes a = bytes_of_str("roost/a/telemetry"), b2 = bytes_of_str("roost/b/telemetry");
	struct bytes client = bytes_of_str("client"), none = bytes_of(NULL, 0);
	struct ingest_origin origin;

	ck_assert_ptr_null(mqtt_source_of(&s, a));
	ck_assert_ptr_null(mqtt_source_topic(s).data);
	mqtt_source_learn(&s, a, none, client);
	for (int i = 0; i < 10; i++) { /* a and b in turn */
		ck_assert_ptr_nonnull(mqtt_source_of(&s, a));
		ck_assert_ptr_null(mqtt_source_of(&s, b2));
		mqtt_source_learn(&s, b2, none, client);
	}
	mqtt_source_learn(&s, b2, none, client); /* only b from here */
	ck_assert_ptr_nonnull(mqtt_source_of(&s, b2));
	ck_assert_ptr_null(mqtt_source_of(&s, a));
	ck_assert(bytes_equal_str(s->target.device, "b"));
	origin = ingest_origin_of(bytes_of_str("b"), b2, client);
	ck_assert_mem_eq(&origin, &s->origin, sizeof(origin));
	free(s);
}
END_TEST

START_TEST(too_long_to_keep)
{
	struct mqtt_conn *c = connected(4, 1, "client");
	char device[DEVICE_ID_MAX + 1] = "", metric[METRIC_NAME_MAX + 1] = "", topic[400];

	memset(device, 'd', DEVICE_ID_MAX);
	memset(metric, 'm', METRIC_NAME_MAX);
	snprintf(topic, sizeof(topic), "roost/%s/telemetry/%s", device, metric);
	ck_assert_uint_gt(strlen(topic), MQTT_SOURCE_TOPIC_MAX);
	device[sizeof(fake.devices[0]) - 1] = '\0'; /* as support_session keeps it */
	for (int i = 0; i < 3; i++) {
		publish(c, 4, topic, device);
		ck_assert_ptr_null(c->source);
	}
	gone(c);
}
END_TEST

START_TEST(aliases)
{
	struct mqtt_conn *c = connected(5, 1, "client");

	for (int i = 0; i < 3; i++) {
		put_packet(&in, 0x30, "\0\x12roost/d1/telemetry\3\x23\0\1{}", 26);
		feed(c);
		ck_assert_str_eq(last_device(), "d1");
		put_packet(&in, 0x30, "\0\0\3\x23\0\1{}", 8);
		feed(c);
		ck_assert_str_eq(last_device(), "d1");
		publish(c, 5, "roost/d1/telemetry", "d1");
		put_packet(&in, 0x30, "\0\x12roost/d2/telemetry\3\x23\0\1{}", 26); /* another */
		feed(c);
		put_packet(&in, 0x30, "\0\0\3\x23\0\1{}", 8);
		feed(c);
		ck_assert_str_eq(last_device(), "d2");
	}
	gone(c);
}
END_TEST

/* What is remembered belongs to one connection: who takes its client id over is another client. */
START_TEST(takeover)
{
	struct mqtt_conn *c = connected(4, 1, "client"), *d;

	publish(c, 4, "v1/devices/me/telemetry", "client");
	publish(c, 4, "v1/devices/me/telemetry", "client");
	d = connected(4, 1, "client");
	ck_assert_int_eq(c->state, MQTT_ENDED);
	put_publish(&in, 4, 0, 0, "v1/devices/me/telemetry", "{}");
	feed(c);
	ck_assert_uint_eq(fake.count, 0);
	ck_assert_ptr_null(d->source);
	publish(d, 4, "v1/devices/me/telemetry", "client");
	gone(c);
	publish(d, 4, "v1/devices/me/telemetry", "client");
	gone(d);
}
END_TEST

/* The window, room and faults are looked at as for a topic that is new. */
START_TEST(limits_hold)
{
	struct mqtt_conn *c = connected(4, 1, "client");

	for (unsigned i = 1; i <= 9; i++)
		put_publish(&in, 4, 2, i, "roost/d1/telemetry", "{}");
	ck_assert_uint_lt(feed(c), 9 * 26);
	ck_assert_uint_eq(fake.count, 8); /* receive_maximum */
	ck_assert(c->io.paused & MQTT_PAUSED_WINDOW);
	gone(c);
	c = connected(4, 1, "client");
	publish(c, 4, "roost/d1/telemetry", "d1");
	fake.room = 0;
	put_publish(&in, 4, 2, 1, "roost/d1/telemetry", "{}");
	ck_assert_uint_eq(feed(c), 0);
	ck_assert(c->io.paused & MQTT_PAUSED_ROOM);
	gone(c);
	fake.room = 8;
	c = connected(4, 1, "client");
	publish(c, 4, "roost/d1/telemetry", "d1");
	put_publish(&in, 4, 4, 1, "roost/d1/telemetry", "{}");
	feed(c);
	ck_assert_uint_eq(c->session->received.count, 1);
	gone(c);
	c = connected(4, 1, "client");
	publish(c, 4, "roost/d1/telemetry", "d1");
	put_publish(&in, 4, 2, 0, "roost/d1/telemetry", "{}");
	feed(c);
	ck_assert_int_eq(c->state, MQTT_ENDED); /* packet id 0 */
	gone(c);
}
END_TEST

/* A topic that is no reading's is known too; it becomes no reading by that, nor a reading a message. */
START_TEST(messages_have_a_source)
{
	struct mqtt_conn *c = connected(4, 1, "client");

	subscribe(c, "plain/+", 0);
	for (unsigned i = 0; i < 3; i++)
		put_publish(&in, 4, 0, 0, "plain/1", "x");
	feed(c);
	CHECK_OUT(c, "\x30\x0a\0\7plain/1x\x30\x0a\0\7plain/1x\x30\x0a\0\7plain/1x");
	ck_assert(!c->source->is_reading);
	ck_assert_uint_eq(fake.count, 0);
	for (unsigned i = 0; i < 4; i++)
		put_publish(&in, 4, 0, 0, "roost/d1/telemetry", "{}");
	put_publish(&in, 4, 0, 0, "plain/1", "y");
	feed(c);
	ck_assert_uint_eq(fake.count, 4);
	ck_assert(c->source->is_reading);
	CHECK_OUT(c, "\x30\x0a\0\7plain/1y");
	/* What is checked each time still is. */
	put_publish(&in, 4, 0, 0, "$SYS/x", "z");
	put_publish(&in, 4, 0, 0, "$SYS/x", "z");
	feed(c);
	ck_assert_int_eq(c->state, MQTT_UP);
	gone(c);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = { topics_that_change, one_that_comes_again_stays,
		too_long_to_keep, aliases, takeover, limits_hold, messages_have_a_source };

	return session_tests("mqtt_source", tests, COUNT_OF(tests));
}
