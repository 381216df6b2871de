/* test_mqtt_parked.c - PUBRELs get through though a 3.1.1 client's messages are held until there is room among those without PUBREL */
#include <string.h>

#include "err.h"
#include "mem.h"
#include "support_mqtt.h"
#include "support_session.h"

#define READING "roost/d/telemetry"

static const struct bytes record = { (const uint8_t *)"record", 6 };

static void
answer(size_t n, uint32_t verdict)
{
	ck_assert_uint_lt(n, fake.count);
	mqtt_broker_answer(&b, fake.tokens[n], verdict, &record);
}

static struct mqtt_conn *
full(struct mqtt_conn *c)
{
	put_publish(&in, 4, 4, 1, READING, "{}");
	put_publish(&in, 4, 4, 2, READING, "{}");
	feed(c);
	answer(0, 0);
	answer(1, verdict_make(VERDICT_UNRELEASED_LIMIT, 1000));
	CHECK_OUT(c, "\x50\2\0\1");
	return c;
}

static void
retry(struct mqtt_conn *c)
{
	b.now_us += 2 * SECOND;
	mqtt_conn_on_deadline(c);
}

START_TEST(a_release_gets_through)
{
	struct mqtt_conn *c = full(connected(4, 1, "c"));
	size_t len;

	put_publish(&in, 4, 4, 3, READING, "{}");
	put_publish(&in, 4, 0, 0, READING, "{}");
	put_ack(MQTT_PUBREL, 1);
	buf_add(&in, "\xc0\0", 2);
	len = in.len;
	ck_assert_uint_eq(feed(c), len);
	ck_assert_uint_eq(c->io.paused, 0);
	CHECK_OUT(c, "\xd0\0");
	ck_assert_uint_eq(fake.count, 3);
	ck_assert_uint_eq(fake.released[0], 1);
	ck_assert_uint_gt(b.held_bytes, 48);
	answer(2, 0);
	ck_assert(!mqtt_broker_turn(&b));
	/* There is room now: in the order in which they came. */
	retry(c);
	ck_assert_uint_eq(fake.reoffered, 1);
	ck_assert(!mqtt_broker_turn(&b));
	answer(3, 0);
	CHECK_OUT(c, "\x50\2\0\2\x70\2\0\1");
	ck_assert_uint_eq(fake.count, 4);
	ck_assert(mqtt_broker_turn(&b));
	ck_assert_uint_eq(fake.count, 6);
	ck_assert_uint_eq(b.held_bytes, 0);
	ck_assert(!mqtt_broker_turn(&b));
	answer(4, 0);
	CHECK_OUT(c, "\x50\2\0\3");
	gone(c);
}
END_TEST

/* What is parked is refused too, waits for room, or ends with its connection. */
START_TEST(what_is_parked_waits_again)
{
	struct mqtt_conn *c = full(connected(4, 1, "c"));

	put_publish(&in, 4, 4, 3, READING, "{}");
	put_publish(&in, 4, 4, 4, READING, "{}");
	feed(c);
	retry(c);
	answer(2, 0);
	fake.room = 1;
	ck_assert(mqtt_broker_turn(&b)); /* one of them */
	ck_assert_uint_eq(c->io.paused, MQTT_PAUSED_ROOM);
	ck_assert(!mqtt_broker_turn(&b));
	answer(3, verdict_make(VERDICT_UNRELEASED_LIMIT, 1000));
	fake.room = OFFERS_MAX;
	mqtt_broker_room(&b);
	ck_assert(!mqtt_broker_turn(&b));
	/* DISCONNECT waits for them. */
	buf_add(&in, "\xe0\0", 2);
	ck_assert_uint_eq(feed(c), 0);
	ck_assert_uint_eq(c->io.paused, MQTT_PAUSED_HELD);
	retry(c);
	answer(4, 0);
	ck_assert(mqtt_broker_turn(&b));
	ck_assert_uint_eq(c->io.paused, 0);
	ck_assert_uint_eq(fake.count, 6);
	answer(5, verdict_make(VERDICT_UNRELEASED_LIMIT, 1000));
	put_publish(&in, 4, 4, 5, READING, "{}");
	feed(c);
	gone(c);
	ck_assert_uint_eq(b.held_bytes, 0);
	ck_assert(!mqtt_broker_turn(&b));
}
END_TEST

/* A window that is full does not keep PUBRELs out either. */
START_TEST(the_window_is_full)
{
	struct mqtt_conn *c = connected(4, 1, "c");

	put_publish(&in, 4, 4, 1, READING, "{}");
	feed(c);
	answer(0, 0);
	for (unsigned id = 2; id <= 10; id++)
		put_publish(&in, 4, 4, id, READING, "{}");
	feed(c);
	ck_assert_uint_eq(c->io.paused, MQTT_PAUSED_WINDOW);
	answer(1, verdict_make(VERDICT_UNRELEASED_LIMIT, 1000));
	ck_assert_uint_eq(c->io.paused, 0);
	put_publish(&in, 4, 4, 10, READING, "{}");
	put_ack(MQTT_PUBREL, 1);
	feed(c);
	ck_assert_uint_eq(fake.released_count, 1);
	gone(c);
}
END_TEST

/* Of too much the connection ends if PUBRELs are to come, which do when it is back; else it waits. */
START_TEST(it_is_bounded)
{
	static char big[60001];

	memset(big, 'x', sizeof(big) - 1);
	for (unsigned release = 0; release < 2; release++) {
		struct mqtt_conn *c = full(connected(4, 1, "c"));
		size_t took = 1;

		if (!release) {
			put_ack(MQTT_PUBREL, 1);
			feed(c);
		}
		for (unsigned n = 0; n < 17; n++) {
			put_publish(&in, 4, 4, 3 + n, READING, big);
			took += feed(c);
		}
		ck_assert_uint_le(b.held_bytes, MQTT_PARKED_MAX + 100);
		put_publish(&in, 4, 4, 100, READING, big);
		took = feed(c);
		if (release) {
			ck_assert_int_eq(c->state, MQTT_ENDED);
		} else {
			ck_assert_int_eq(c->state, MQTT_UP);
			ck_assert_uint_eq(took, 0);
			ck_assert_uint_eq(c->io.paused, MQTT_PAUSED_HELD);
		}
		gone(c);
		ck_assert_uint_eq(b.held_bytes, 0);
		memset(&fake, 0, sizeof(fake));
		fake.room = OFFERS_MAX;
	}
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = { a_release_gets_through, what_is_parked_waits_again,
		the_window_is_full, it_is_bounded };

	return session_tests("mqtt_parked", tests, COUNT_OF(tests));
}
