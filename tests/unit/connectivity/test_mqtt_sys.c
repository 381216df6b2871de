/* test_mqtt_sys.c - the $SYS topics: what they say, when they are published, and that nobody else's business is done by them */
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "mem.h"
#include "mqtt_sys.h"
#include "support_mqtt.h"
#include "support_session.h"

/* What is retained under a topic of $SYS/broker; "" if nothing is. */
static char text_of[64];

static void
found(void *arg, struct mqtt_message *m)
{
	(void)arg;
	ck_assert(m->payload.len < sizeof(text_of));
	memcpy(text_of, m->payload.data, m->payload.len);
	text_of[m->payload.len] = 0;
}

static const char *
sys(const char *name)
{
	char *topic = xasprintf("$SYS/broker/%s", name);
	size_t visits = 1000;

	text_of[0] = 0;
	mqtt_retained_match(&b.retained, bytes_of_str(topic), b.now_us, &visits, found, NULL);
	free(topic);

	return text_of;
}

static void
begin(void)
{
	b.config.sys_interval_us = 10 * SECOND;
	mqtt_broker_tick(&b);
}

static void
pass(unsigned seconds)
{
	b.now_us += seconds * SECOND;
	mqtt_broker_tick(&b);
}

START_TEST(counters)
{
	struct mqtt_conn *p = connected(4, 1, "p"), *s = connected(4, 0, "s");

	begin();
	ck_assert_str_eq(sys("version"), "roost version 0.1.0");
	ck_assert_str_eq(sys("uptime"), "0 seconds");
	ck_assert_str_eq(sys("clients/connected"), "2");
	put_subscribe(&in, 4, 1, "a", 1);
	feed(s);
	gone(s);
	put_publish(&in, 4, 2, 1, "a", "four");
	put_publish(&in, 4, 1, 0, "r", "kept");
	feed(p);
	pass(9);
	ck_assert_str_eq(sys("clients/connected"), "2");
	pass(1);
	ck_assert_str_eq(sys("uptime"), "10 seconds");
	ck_assert_str_eq(sys("clients/connected"), "1");
	ck_assert_str_eq(sys("clients/active"), "1");
	ck_assert_str_eq(sys("clients/disconnected"), "1");
	ck_assert_str_eq(sys("clients/inactive"), "1");
	ck_assert_str_eq(sys("clients/total"), "2");
	ck_assert_str_eq(sys("clients/maximum"), "2");
	ck_assert_str_eq(sys("messages/received"), "5"); /* 2 CONNECT, SUBSCRIBE, 2 PUBLISH */
	ck_assert_str_eq(sys("messages/sent"), "4");
	ck_assert_str_eq(sys("publish/messages/received"), "2");
	ck_assert_str_eq(sys("publish/messages/sent"), "0");
	ck_assert_str_eq(sys("publish/bytes/received"), "8");
	ck_assert_str_eq(sys("retained messages/count"), "1");
	ck_assert_str_eq(sys("store/messages/count"), "2");
	ck_assert_str_eq(sys("messages/stored"), "2");
	ck_assert_str_eq(sys("subscriptions/count"), "1");
	ck_assert_str_eq(sys("shared_subscriptions/count"), "0");
	ck_assert(atoi(sys("bytes/received")) > 40);
	b.now_us += 2000 * SECOND;
	mqtt_broker_tick(&b);
	ck_assert_str_eq(sys("clients/expired"), "1");
	gone(p);
}
END_TEST

/* 100 messages in 10 s are 600 a minute; averages move towards that as 1 - exp(-t/span). */
START_TEST(loads)
{
	struct mqtt_conn *p = connected(4, 1, "p");

	begin();
	for (unsigned i = 0; i < 100; i++)
		put_publish(&in, 4, 0, 0, "a", "x");
	feed(p);
	pass(10);
	ck_assert_str_eq(sys("load/publish/received/1min"), "92.11");
	ck_assert_str_eq(sys("load/publish/received/5min"), "19.67");
	ck_assert_str_eq(sys("load/publish/received/15min"), "6.63");
	pass(60);
	ck_assert_str_eq(sys("load/publish/received/1min"), "33.89");
	ck_assert_str_eq(sys("load/publish/sent/1min"), "0.00");
	gone(p);
}
END_TEST

/* To whoever asks for $SYS, only what has changed; never to # or + (4.7.2). */
START_TEST(subscribers)
{
	struct mqtt_conn *all = connected(4, 1, "a"), *c = connected(4, 1, "c");

	b.config.outbound_max = 100000;
	put_subscribe(&in, 4, 1, "#", 0);
	put_subscribe(&in, 4, 1, "+/broker/uptime", 0);
	feed(all);
	put_subscribe(&in, 4, 1, "$SYS/broker/uptime", 2);
	feed(c);
	ignore_out(all);
	ignore_out(c);
	begin();
	CHECK_OUT(c, "\x30\x1d\0\x12$SYS/broker/uptime0 seconds");
	pass(10);
	CHECK_OUT(c, "\x30\x1e\0\x12$SYS/broker/uptime10 seconds");
	put_subscribe(&in, 4, 1, "$SYS/broker/version", 0);
	feed(c);
	ck_assert_uint_gt(c->io.out->len, 5);
	ignore_out(c);
	b.now_us += SECOND;
	mqtt_broker_tick(&b);
	CHECK_OUT(c, "");
	CHECK_OUT(all, "");
	gone(all);
	gone(c);
}
END_TEST

/* The clients may retain as many as before. */
START_TEST(our_own_take_no_room)
{
	struct mqtt_conn *p = connected(5, 1, "p");

	begin();
	ck_assert_uint_eq(b.retained.count, 0);
	for (unsigned i = 1; i <= 11; i++) {
		char topic[4] = { 't', (char)('a' + i), 0 };

		put_publish(&in, 5, 2 | 1, i, topic, "x");
		feed(p);
		ck_assert_uint_eq(p->io.out->data[4], i <= 10 ? 0x10 : 0x97);
		ignore_out(p);
	}
	pass(10);
	ck_assert_str_eq(sys("retained messages/count"), "10");
	gone(p);
}
END_TEST

START_TEST(switched_off)
{
	mqtt_broker_tick(&b);
	pass(100);
	ck_assert_str_eq(sys("uptime"), "");
	ck_assert_ptr_null(b.sys);
}
END_TEST

/* A bridge of mosquitto's tells there whether it is connected, and drops a broker that does not let it. */
START_TEST(all_but_a_bridges_state_is_ours)
{
	static const struct {
		const char *topic;
		bool ours;
	} cases[] = {
		{ "$SYS/broker/connection/b/state", false },
		{ "$SYS/broker/connection/host.to-roost/state", false },
		{ "$SYS/broker/connection//state", true },
		{ "$SYS/broker/connection/state", true },
		{ "$SYS/broker/connection/a/b/state", true },
		{ "$SYS/broker/connection/b/state/", true },
		{ "$SYS/broker/connection/b", true },
		{ "$SYS/broker/clients/b/state", true },
		{ "$SYS/broker/uptime", true },
		{ "$SYS", true },
		{ "$SY", false },
		{ "$other/x", false },
		{ "a/$SYS", false },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
		ck_assert_msg(mqtt_sys_is_ours(bytes_of_str(cases[i].topic)) == cases[i].ours, "%s",
		    cases[i].topic);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		counters,
		loads,
		subscribers,
		our_own_take_no_room,
		switched_off,
		all_but_a_bridges_state_is_ours,
	};

	return session_tests("mqtt_sys", tests, COUNT_OF(tests));
}
