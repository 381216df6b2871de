/* test_mqtt_gather.c - readings that come while sessions are loaded reach these too, in order and within bounds */
#include <string.h>

#include "mem.h"
#include "mqtt_session_impl.h"
#include "support_mqtt.h"
#include "support_session.h"

static void
load_subscriber(const char *id, const char *filter)
{
	struct mqtt_session *s =
	    mqtt_load_session(&b, bytes_of_str(id), 100, b.now_us + 100 * SECOND, 0);
	const struct mqtt_filter f = { .filter = bytes_of_str(filter), .qos = 1 };

	ck_assert_int_eq(mqtt_load_sub(&b, s, &f, 0), 0);
}

static uint32_t
queued(const char *id)
{
	return mqtt_store_find(&b, bytes_of_str(id))->queue.count;
}

/* They are stored and acknowledged at once; subscribers have them when all sessions are there, in order. */
START_TEST(readings_are_kept_while_sessions_are_loaded)
{
	struct mqtt_conn *c = connected(4, 1, "c"), *s = connected(4, 1, "s");

	subscribe(s, "roost/#", 0);
	mqtt_broker_loading(&b, true);
	load_subscriber("early", "roost/#");
	put_publish(&in, 4, 2, 1, "roost/d/telemetry", "1");
	put_publish(&in, 4, 0, 0, "roost/d/telemetry", "2");
	put_publish(&in, 4, 2 | 1, 2, "roost/d/telemetry", "3");
	feed(c);
	ck_assert_uint_eq(fake.count, 3);
	mqtt_broker_answer(&b, fake.tokens[0], 0, NULL);
	CHECK_OUT(c, "\x40\2\0\1");
	CHECK_OUT(s, "");
	load_subscriber("late", "roost/d/telemetry");
	gone(c);
	mqtt_broker_loading(&b, false);
	CHECK_OUT(s, "\x30\x14\0\x11roost/d/telemetry1\x30\x14\0\x11roost/d/telemetry2"
		     "\x30\x14\0\x11roost/d/telemetry3");
	ck_assert_uint_eq(queued("early"), 2);
	ck_assert_uint_eq(queued("late"), 2);
	ck_assert_uint_eq(b.gathered_bytes, 0);
	ck_assert_uint_eq(b.retained.count, 1);
	gone(s);
}
END_TEST

/* For so long, and for so much; what does not come to its end is given back. */
START_TEST(what_is_kept_for_loading_is_bounded)
{
	static char big[60001];
	struct mqtt_conn *c = connected(4, 1, "c");

	b.config.queue_bytes_max = b.config.offline_bytes_max = 100 << 20;
	b.config.queue_max = 1000;
	memset(big, 'x', sizeof(big) - 1);
	mqtt_broker_loading(&b, true);
	load_subscriber("s", "roost/#");
	put_publish(&in, 4, 2, 1, "roost/d/telemetry", "1");
	feed(c);
	b.now_us += MQTT_GATHER_US - 1;
	mqtt_broker_tick(&b);
	ck_assert_uint_eq(queued("s"), 0);
	b.now_us++;
	mqtt_broker_tick(&b);
	ck_assert_uint_eq(queued("s"), 1);
	put_publish(&in, 4, 2, 2, "roost/d/telemetry", "2");
	feed(c);
	ck_assert_uint_eq(queued("s"), 2);
	mqtt_broker_loading(&b, false);
	mqtt_broker_loading(&b, true);
	b.config.receive_maximum = 1000;
	for (unsigned n = 0; n < 150; n++) {
		put_publish(&in, 4, 2, 3 + n, "roost/d/telemetry", big);
		feed(c);
		ck_assert_uint_le(b.gathered_bytes, MQTT_GATHER_BYTES + 61000);
	}
	ck_assert_uint_eq(queued("s"), 152);
	mqtt_broker_loading(&b, false);
	mqtt_broker_loading(&b, true);
	put_publish(&in, 4, 2, 200, "roost/d/telemetry", "2");
	feed(c);
	ck_assert_uint_gt(b.gathered_bytes, 0);
	gone(c);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = { readings_are_kept_while_sessions_are_loaded,
		what_is_kept_for_loading_is_bounded };

	return session_tests("mqtt_gather", tests, COUNT_OF(tests));
}
