/* test_peers_sessions.c - mistakes that other brokers made with sessions, rights and settings; here they must not be */
#include <malloc.h>
#include <string.h>

#include "err.h"
#include "mem.h"
#include "support_mqtt.h"
#include "support_session.h"

/* A CONNECT of 5.0 with a user name. */
static void
put_connect_as(const char *name, const char *id)
{
	struct buf body = { 0 };

	buf_add(&body, "\0\4MQTT\5\x82\0\0\0\0", 12);
	buf_add_u8(&body, (uint8_t)strlen(id));
	buf_add_str(&body, id);
	buf_add_u8(&body, 0);
	buf_add_u8(&body, (uint8_t)strlen(name));
	buf_add_str(&body, name);
	put_packet(&in, 0x10, body.data, body.len);
	buf_fini(&body);
}

/* Mosquitto CVE-2017-7650: a user name or client id that is a wildcard stands for everybody. As a device it is none. */
START_TEST(names_that_are_wildcards)
{
	static const char *const names[] = { "#", "+", "a/#", "a/b", "+/a" };

	for (size_t i = 0; i < COUNT_OF(names) * 2; i++) {
		struct mqtt_conn *c = mqtt_conn_new(&b, true);
		const char *name = names[i / 2];

		if (i % 2)
			put_connect_as(name, "c");
		else
			put_connect(&in, 5, 1, 60, name);
		feed(c);
		ignore_out(c);
		if (c->state == MQTT_UP) {
			put_publish(&in, 5, 2, 1, "v1/devices/me/telemetry", "{\"a\":1}");
			feed(c);
			ck_assert_msg(
			    c->state != MQTT_UP || (c->io.out && c->io.out->data[0] == 0x40 &&
						       c->io.out->data[4] >= 0x80),
			    "%s", name);
		}
		ck_assert_msg(fake.count == 0, "%s", name);
		gone(c);
	}
}
END_TEST

/* Mosquitto CVE-2023-28366, 1793: what a client sends again at QoS 2 under one id is kept each time. */
START_TEST(qos_2_sent_again_is_kept_once)
{
	struct mqtt_conn *reader = connected(4, 1, "r"), *c = connected(4, 1, "c");
	size_t settled = 0, heard = 0;

	subscribe(reader, "t", 0);
	for (int round = 0; round < 20000; round++) {
		put_publish(&in, 4, 4 | (round ? 8 : 0), 7, "t", "once");
		feed(c);
		CHECK_OUT(c, "\x50\2\0\7");
		if (conn_out_len(&reader->io)) {
			heard++;
			ignore_out(reader);
		}
		if (round == 100)
			settled = mallinfo2().uordblks;
	}
	ck_assert_uint_eq(heard, 1);
	ck_assert_uint_le(mallinfo2().uordblks, settled + 1024);
	put_ack(MQTT_PUBREL, 7);
	feed(c);
	CHECK_OUT(c, "\x70\2\0\7");
	gone(c);
	gone(reader);
}
END_TEST

/* sol 15: an acknowledgement before CONNECT, or of what was never sent. */
START_TEST(acknowledgements_of_nothing)
{
	for (unsigned type = MQTT_PUBACK; type <= MQTT_PUBCOMP; type++) {
		struct mqtt_conn *c = mqtt_conn_new(&b, true);

		put_ack(type, 1);
		feed(c);
		ck_assert_int_eq(c->state, MQTT_ENDED);
		gone(c);
		c = connected(5, 1, "c");
		for (unsigned id = 1; id < 100; id++)
			put_ack(type, id);
		feed(c);
		ignore_out(c);
		gone(c);
	}
	ck_assert_uint_eq(b.queued_bytes, 0);
}
END_TEST

/* Whether a filter matches, level by level. */
static bool
matches(const char *filter, const char *topic)
{
	if (topic[0] == '$' && (filter[0] == '#' || filter[0] == '+'))
		return false;
	for (;;) {
		size_t f = strcspn(filter, "/"), t = strcspn(topic, "/");

		if (filter[0] == '#')
			return true;
		if (!(f == 1 && filter[0] == '+') && (f != t || strncmp(filter, topic, f) != 0))
			return false;
		filter += f;
		topic += t;
		if (!*filter || !*topic)
			return (!*filter && !*topic) || strcmp(filter, "/#") == 0;
		filter++;
		topic++;
	}
}

static size_t
occurrences(const struct buf *text, const char *topic)
{
	uint8_t name[32] = { 0, (uint8_t)strlen(topic) };
	size_t n = 0, len = 2 + strlen(topic);

	memcpy(name + 2, topic, strlen(topic));
	for (size_t i = 0; text && i + len <= text->len; i++)
		if (memcmp(text->data + i, name, len) == 0)
			n++;
	return n;
}

/* EMQX 13742, 12303, 17798: what is retained is found by the wrong filters, or at the wrong QoS. */
START_TEST(retained_is_found_by_what_matches)
{
	static const char *const topics[] = { "a", "a/b", "a/b/c", "/a", "a/", "/", "b", "$x",
		"$x/a", "a//c" };
	static const char *const filters[] = { "#", "+", "+/+", "a", "a/#", "a/+", "+/b", "+/b/#",
		"/#", "/+", "+/", "$x/#", "$x/+", "$x", "+/a", "#/", "a/+/c", "+/+/+", "a//c",
		"+//+" };
	struct mqtt_conn *c = connected(4, 1, "p");

	for (size_t i = 0; i < COUNT_OF(topics); i++) {
		put_publish(&in, 4, 3, 1, topics[i], "m");
		feed(c);
		ignore_out(c);
	}
	gone(c);
	ck_assert_uint_eq(b.retained.count, COUNT_OF(topics));
	for (size_t i = 0; i < COUNT_OF(filters); i++) {
		bool is_filter = strcmp(filters[i], "#/") != 0;

		for (unsigned qos = 0; qos < 3; qos++) {
			c = connected(4, 1, "s");
			put_subscribe(&in, 4, 1, filters[i], qos);
			feed(c);
			for (size_t k = 0; k < COUNT_OF(topics); k++)
				ck_assert_msg(occurrences(c->io.out, topics[k]) ==
						  (is_filter && matches(filters[i], topics[k])),
				    "%s, %s: %zu", filters[i], topics[k],
				    occurrences(c->io.out, topics[k]));
			/* Behind SUBACK: 0x31 at QoS 0, 0x33 at 1; they were published at QoS 1. */
			if (is_filter && c->io.out->len > 5)
				ck_assert_uint_eq(c->io.out->data[5], qos ? 0x33 : 0x31);
			ignore_out(c);
			gone(c);
		}
	}
}
END_TEST

static void
live_with(const struct mqtt_config *cfg)
{
	mqtt_broker_fini(&b);
	mqtt_broker_init(&b, cfg, &session_ops);
	b.now_us = 1000 * SECOND;
	for (unsigned version = 3; version <= 5; version++) {
		struct mqtt_conn *other = mqtt_conn_new(&b, true);

		put_connect(&in, version, 1, 60, "other");
		put_subscribe(&in, version, 1, "a/#", 2);
		feed(other);
		for (size_t i = 0; i < packet_vector_count; i++) {
			struct mqtt_conn *c = mqtt_conn_new(&b, true);

			put_connect(&in, version, 0, 1, "c");
			put_subscribe(&in, version, 1, "a/#", 2);
			put_publish(&in, version, 1, 0, "a/b", "retained");
			put_publish(&in, version, 4, 9, "a/b", "twice");
			buf_add(&in, packet_vectors[i].bytes, packet_vectors[i].len);
			feed(c);
			fake.room = OFFERS_MAX;
			fake.count = fake.released_count = 0;
			b.now_us += SECOND;
			mqtt_broker_tick(&b);
			if (c->state == MQTT_UP && b.now_us >= c->io.deadline_us)
				mqtt_conn_on_deadline(c);
			gone(c);
		}
		gone(other);
	}
	ck_assert_uint_le(b.session_count, cfg->sessions_max ? cfg->sessions_max : 1);
	ck_assert_uint_le(b.retained.count, cfg->retained_max);
}

/* FlashMQ CVE-2026-42209: a packet that divides by a setting. Each setting at the ends of its range, with every packet. */
START_TEST(settings_at_the_ends_of_their_ranges)
{
	struct mqtt_config cfg;

#define WITH(field, value) (cfg = config, cfg.field = (value), live_with(&cfg))

	WITH(packet_max, 1024);
	WITH(packet_max, 268435455);
	WITH(receive_maximum, 1);
	WITH(receive_maximum, 65535);
	WITH(outbound_max, 4096);
	WITH(outbound_max, 1073741824);
	WITH(outbound_bytes_max, 1 << 20);
	WITH(wills_bytes_max, 1 << 20);
	WITH(subscriptions_bytes_max, 1 << 20);
	WITH(sessions_max, 1);
	WITH(sessions_max, 10000000);
	WITH(session_expiry_max_s, 1);
	WITH(session_expiry_max_s, 31536000);
	WITH(subscriptions_max, 1);
	WITH(subscriptions_max, 1000000);
	WITH(retained_max, 0);
	WITH(retained_max, 10000000);
	WITH(retained_bytes_max, 1);
	WITH(offline_bytes_max, 1);
	WITH(queue_max, 1);
	WITH(queue_bytes_max, 1);
	WITH(aliases_max, 0);
	WITH(aliases_max, 65535);
	WITH(keep_alive_max_s, 1);
	WITH(keep_alive_max_s, 65535);
	WITH(sys_interval_us, SECOND);
#undef WITH
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = { names_that_are_wildcards, qos_2_sent_again_is_kept_once,
		acknowledgements_of_nothing, retained_is_found_by_what_matches,
		settings_at_the_ends_of_their_ranges };

	return session_tests("peers_sessions", tests, COUNT_OF(tests));
}
