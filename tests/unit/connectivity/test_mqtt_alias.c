/* test_mqtt_alias.c - topic aliases given to a client: which topic has which, and when another one takes its place */
#include <stdio.h>
#include <string.h>

#include "mqtt_alias.h"
#include "../unit.h"

static struct mqtt_alias_out *a;

/* The alias; negative if the client has to be told it. 0: none. */
static int
alias_of(const char *topic)
{
	bool known;
	int alias = mqtt_alias_out_of(a, bytes_of_str(topic), &known);

	return known ? alias : -alias;
}

START_TEST(each_topic_its_own)
{
	a = mqtt_alias_out_new(3);
	ck_assert_int_eq(alias_of("topic/1"), -1);
	ck_assert_int_eq(alias_of("topic/1"), 1);
	ck_assert_int_eq(alias_of("topic/2"), -2);
	ck_assert_int_eq(alias_of("topic/3"), -3);
	ck_assert_int_eq(alias_of("topic/1"), 1);
	ck_assert_int_eq(alias_of("abc"), 0); /* as long as an alias */
	mqtt_alias_out_free(&a);
	ck_assert_ptr_null(a);
	mqtt_alias_out_free(&a);
}
END_TEST

START_TEST(the_longest_unused_makes_room)
{
	a = mqtt_alias_out_new(3);
	for (int i = 1; i <= 3; i++) {
		char topic[24];

		snprintf(topic, sizeof(topic), "topic/%d", i);
		alias_of(topic);
	}
	alias_of("topic/1");
	ck_assert_int_eq(alias_of("topic/4"), 0); /* once is not enough */
	ck_assert_int_eq(alias_of("topic/4"), -2);
	ck_assert_int_eq(alias_of("topic/4"), 2);
	ck_assert_int_eq(alias_of("topic/3"), 3);
	ck_assert_int_eq(alias_of("topic/1"), 1);
	ck_assert_int_eq(alias_of("topic/2"), 0);
	/* Many in turn do not take it from each other. */
	for (int i = 0; i < 100; i++) {
		char topic[16];

		snprintf(topic, sizeof(topic), "other/%d", i % 10);
		ck_assert_int_eq(alias_of(topic), 0);
	}
	ck_assert_int_eq(alias_of("topic/1"), 1);
	mqtt_alias_out_free(&a);
}
END_TEST

/* What the client would make of it is always the topic that was meant. */
START_TEST(the_client_understands)
{
	char client[11][16] = { "" };
	uint64_t seed = 9;

	a = mqtt_alias_out_new(10);
	for (unsigned i = 0; i < 100000; i++) {
		char topic[16];
		int alias;

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		snprintf(
		    topic, sizeof(topic), "topic/%u", (unsigned)(seed >> 33) % (i / 10000 + 5));
		alias = alias_of(topic);
		ck_assert_int_le(alias, 10);
		ck_assert_int_ge(alias, -10);
		if (alias < 0)
			strcpy(client[-alias], topic);
		else if (alias > 0)
			ck_assert_str_eq(client[alias], topic);
	}
	mqtt_alias_out_free(&a);
}
END_TEST

START_TEST(long_topics_have_none)
{
	char topic[MQTT_ALIAS_TOPIC_MAX + 2];

	a = mqtt_alias_out_new(1);
	memset(topic, 'x', sizeof(topic));
	topic[MQTT_ALIAS_TOPIC_MAX + 1] = 0;
	ck_assert_int_eq(alias_of(topic), 0);
	topic[MQTT_ALIAS_TOPIC_MAX] = 0;
	ck_assert_int_eq(alias_of(topic), -1);
	ck_assert_int_eq(alias_of(topic), 1);
	mqtt_alias_out_free(&a);
}
END_TEST

UNIT_MAIN("mqtt_alias", each_topic_its_own, the_longest_unused_makes_room, the_client_understands,
    long_topics_have_none)
