/* test_peers.c - mistakes that other brokers made, each by the name under which it is known; here they must not be */
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "err.h"
#include "mem.h"
#include "support_mqtt.h"
#include "support_session.h"

#define PACKET_MAX 65536

static int
next(const char *bytes, size_t len, struct mqtt_frame *ret, struct mqtt_fault *fault)
{
	size_t need;

	return mqtt_frame_next(bytes_of(bytes, len), 4, PACKET_MAX, ret, &need, fault);
}
#define NEXT(bytes, frame, fault) next(bytes, sizeof(bytes) - 1, frame, fault)

/* NanoMQ CVE-2026-21888: a length of five bytes. */
START_TEST(a_length_has_four_bytes)
{
	struct mqtt_frame f;
	struct mqtt_fault fault;

	ck_assert_int_eq(NEXT("\x30\xff\xff\xff\xff\1", &f, &fault), ERR_MALFORMED);
	ck_assert_int_eq(NEXT("\x10\x80\x80\x80\x80\0", &f, &fault), ERR_MALFORMED);
}
END_TEST

/* Mosquitto CVE-2017-7651, CVE-2023-0809, EMQX CVE-2021-33175: a length that is claimed is reserved. */
START_TEST(a_claim_reserves_nothing)
{
	struct mqtt_conn *c = mqtt_conn_new(&b, true);
	struct mallinfo2 before = mallinfo2();
	size_t need = 0;

	buf_add(&in, "\x10\xff\xff\xff\x7f\0\4MQTT", 11);
	(void)mqtt_conn_input(c, buf_bytes(&in), &need);
	ck_assert(c->io.closing != CONN_OPEN);
	ck_assert_uint_lt(need, PACKET_MAX + 8);
	ck_assert_uint_lt(mallinfo2().uordblks, before.uordblks + 4096);
	gone(c);
}
END_TEST

/* NanoMQ 2268, 2270: a packet that ends exactly where its topic does, or one byte before. */
START_TEST(packets_that_end_with_their_topic)
{
	struct mqtt_frame f;
	struct mqtt_fault fault;
	struct mqtt_publish p;
	struct mqtt_subscribe s;

	ck_assert_int_eq(NEXT("\x30\5\0\3a/b", &f, &fault), 0);
	ck_assert_int_eq(mqtt_parse_publish(&f, 4, &p, &fault), 0);
	ck_assert_uint_eq(p.payload.len, 0);
	ck_assert_int_eq(
	    mqtt_parse_publish(&f, 5, &p, &fault), ERR_MALFORMED); /* properties are missing */
	ck_assert_int_eq(NEXT("\x30\4\0\3a/", &f, &fault), 0);
	ck_assert_int_eq(mqtt_parse_publish(&f, 4, &p, &fault), ERR_MALFORMED);
	ck_assert_int_eq(NEXT("\x32\5\0\3a/b", &f, &fault), 0); /* QoS 1 without its id */
	ck_assert_int_eq(mqtt_parse_publish(&f, 4, &p, &fault), ERR_MALFORMED);
	ck_assert_int_eq(
	    NEXT("\x82\7\0\1\0\3a/b", &f, &fault), 0); /* no options behind the filter */
	ck_assert_int_eq(mqtt_parse_subscribe(&f, 4, &s, &fault), ERR_MALFORMED);
	ck_assert_int_eq(NEXT("\x82\2\0\1", &f, &fault), 0); /* no filter */
	ck_assert_int_eq(mqtt_parse_subscribe(&f, 4, &s, &fault), ERR_MALFORMED);
	ck_assert_int_eq(NEXT("\xa2\4\0\1\0\3", &f, &fault), 0);
	ck_assert_int_eq(mqtt_parse_subscribe(&f, 4, &s, &fault), ERR_MALFORMED);
}
END_TEST

/* Mosquitto CVE-2021-34432: a topic of no length. CVE-2018-12543: one that begins with $ and is not $SYS. */
START_TEST(topics_of_no_length_and_of_servers)
{
	static const char *const topics[] = { "", "$", "$x", "$SYS", "$share/g/t", "#", "a/+" };

	for (unsigned version = 4; version <= 5; version++) {
		for (size_t i = 0; i < COUNT_OF(topics); i++) {
			struct mqtt_conn *c = connected(version, 1, "c");

			put_publish(&in, version, 0, 0, topics[i], "x");
			feed(c);
			/* Malformed ones end the connection; the others are nobody's. */
			ck_assert(i == 0 || i > 4 ? c->io.closing != CONN_OPEN
						  : c->io.closing == CONN_OPEN);
			gone(c);
		}
	}
}
END_TEST

/* Mosquitto 1.6.6, VerneMQ CVE-2021-33176: so many levels that the stack or the memory is used up. */
START_TEST(topics_of_all_slashes)
{
	char *deep = xmalloc(65001);
	struct mallinfo2 before;

	memset(deep, '/', 65000);
	deep[65000] = '\0';
	for (unsigned version = 4; version <= 5; version++) {
		struct mqtt_conn *c = connected(version, 1, "c");

		before = mallinfo2();
		put_subscribe(&in, version, 1, deep, 0);
		feed(c);
		put_publish(&in, version, 1, 0, deep, "x"); /* retained */
		if (c->io.closing == CONN_OPEN)
			feed(c);
		ck_assert_uint_lt(mallinfo2().uordblks, before.uordblks + 300000);
		gone(c);
	}
	free(deep);
}
END_TEST

/* Mosquitto CVE-2021-28166: a packet that only servers send. Sol 15: PUBACK before CONNECT. */
START_TEST(what_comes_before_connect_is_not_looked_at)
{
	for (unsigned first = 0; first < 256; first++) {
		struct mqtt_conn *c = mqtt_conn_new(&b, true), *up = connected(4, 1, "up");
		uint8_t body[6] = { 0, 1, 'a', 0, 1, 0 };

		if (first >> 4 != 1) {
			put_packet(&in, first, body, sizeof body);
			feed(c);
			ck_assert(c->io.closing != CONN_OPEN);
			ck_assert(c->io.out == NULL || c->io.out->len == 0);
		}
		if ((1u << (first >> 4) & (1u << 0 | 1u << 1 | 1u << 2 | 1u << 9 | 1u << 11 |
					      1u << 13 | 1u << 15)) != 0) {
			put_packet(&in, first, body, sizeof body);
			feed(up);
			ck_assert(up->io.closing != CONN_OPEN);
		}
		buf_clear(&in);
		gone(c);
		gone(up);
	}
	ck_assert_uint_eq(fake.count, 0);
}
END_TEST

/* NanoMQ CVE-2026-32696: CONNECT with flags for fields that are not there; every combination, cut at every byte. */
START_TEST(connect_flags_and_missing_fields)
{
	static const char fields[] = "\0\1w\0\1m\0\1u\0\1p";

	for (unsigned flags = 0; flags < 256; flags++) {
		for (size_t n = 0; n < sizeof fields; n++) {
			struct mqtt_conn *c = mqtt_conn_new(&b, true);
			struct buf body = { 0 };

			buf_add(&body, "\0\4MQTT\4", 7);
			buf_add_u8(&body, (uint8_t)flags);
			buf_add(&body, "\0\0\0\1c", 5);
			buf_add(&body, fields, n);
			put_packet(&in, 0x10, body.data, body.len);
			feed(c);
			/* Whoever is up has sent just what its flags say. */
			if (c->state == MQTT_UP)
				ck_assert_uint_eq(n, (flags & 4 ? 6u : 0) +
							 (flags & 0x80 ? 3u : 0) +
							 (flags & 0x40 ? 3u : 0));
			buf_fini(&body);
			gone(c);
		}
	}
}
END_TEST

/* Mosquitto CVE-2017-7654, CVE-2023-3592, 2.0.21: something is kept of each CONNECT or SUBSCRIBE that is refused. */
START_TEST(nothing_is_kept_of_what_is_refused)
{
	static const struct {
		unsigned first;
		const char *body;
		size_t len;
	} bad[] = {
#define BAD(first, bytes) { first, bytes, sizeof(bytes) - 1 }
		BAD(0x10,
		    "\0\4MQTT\5\6\0\0\0\0\1c\5\1\1\2\0\0\0\1w\0\1m"), /* a will's properties, cut */
		BAD(0x10, "\0\4MQTT\5\6\0\0\0\0\1c\6\1\1\1\1\1\1\0\1w\0\1m"), /* and repeated */
		BAD(0x10, "\0\4MQTT\5\xc6\0\0\0\0\1c\0\0\1w\0\1m\0\1u"),      /* no password */
		BAD(0x10, "\0\4MQTT\4\2\0\0\0\1c"
			  "more"),
		BAD(0x82, "\0\1\0\0\1a\0\0\1b\0\0\2a+\0\0\1c\xff"),
		BAD(0x82, "\0\1\2\x26\0\0\1a\0"),
#undef BAD
	};
	size_t settled = 0;

	for (int round = 0; round < 2000; round++) {
		for (size_t i = 0; i < COUNT_OF(bad); i++) {
			struct mqtt_conn *c =
			    bad[i].first == 0x10 ? mqtt_conn_new(&b, true) : connected(5, 1, "c");

			put_packet(&in, bad[i].first, bad[i].body, bad[i].len);
			feed(c);
			ignore_out(c);
			gone(c);
			b.now_us += SECOND;
			mqtt_broker_tick(&b);
		}
		if (round == 200)
			settled = mallinfo2().uordblks;
	}
	ck_assert_uint_le(mallinfo2().uordblks, settled + 1024);
	ck_assert_uint_eq(b.held_bytes, 0);
}
END_TEST

static double
cpu_of_properties(size_t n)
{
	struct buf body = { 0 }, packet = { 0 };
	struct mqtt_frame f;
	struct mqtt_fault fault;
	struct mqtt_publish p;
	clock_t start;

	buf_add(&body, "\0\1a", 3);
	/* 7 bytes each: the length of all takes three bytes. */
	buf_add_u8(&body, (uint8_t)(0x80 | (n * 7 & 0x7f)));
	buf_add_u8(&body, (uint8_t)(0x80 | (n * 7 >> 7 & 0x7f)));
	buf_add_u8(&body, (uint8_t)(n * 7 >> 14));
	for (size_t i = 0; i < n; i++)
		buf_add(&body, "\x26\0\1k\0\1v", 7);
	put_packet(&packet, 0x30, body.data, body.len);
	start = clock();
	for (int i = 0; i < 50; i++) {
		struct buf out = { 0 };

		ck_assert_int_eq(next((const char *)packet.data, packet.len, &f, &fault), 0);
		if (mqtt_parse_publish(&f, 5, &p, &fault) == 0)
			(void)mqtt_props_forward(&p.props, &out);
		buf_fini(&out);
	}
	buf_fini(&body);
	buf_fini(&packet);
	return (double)(clock() - start) / CLOCKS_PER_SEC;
}

/* Mosquitto CVE-2021-41039: time that grows with the square of the number of user properties. Nine thousand, fifty times. */
START_TEST(many_user_properties_take_linear_time)
{
	ck_assert_double_lt(cpu_of_properties(9000), 1.0);
}
END_TEST

/* Mosquitto CVE-2024-8376, NanoMQ CVE-2025-59946, sol 17, EMQX 11868: orders of SUBSCRIBE, UNSUBSCRIBE, PUBLISH, will, take-over
 * and loss; all orders of seven steps. */
static void
step(struct mqtt_conn **pc, unsigned what)
{
	struct mqtt_conn *c = *pc, *other;

	switch (what) {
	case 0:
		put_subscribe(&in, 4, 1, "w/#", 1);
		break;
	case 1:
		put_unsubscribe(&in, 4, 2, "w/#");
		break;
	case 2:
		put_publish(&in, 4, 1, 0, "w/x", "v");
		break;
	case 3:
		put_publish(&in, 4, 1, 0, "w/x", "");
		break;
	case 4: /* the same client by another connection */
		other = mqtt_conn_new(&b, true);
		put_connect(&in, 4, 0, 60, "same");
		feed(other);
		ignore_out(other);
		ck_assert_int_eq(other->state, MQTT_UP);
		if (c) {
			ck_assert(c->io.closing != CONN_OPEN);
			gone(c);
		}
		*pc = other;
		return;
	case 5:
		if (c)
			gone(c);
		*pc = NULL;
		return;
	default:
		b.now_us += 20 * SECOND;
		mqtt_broker_tick(&b);
		return;
	}
	if (c && c->io.closing == CONN_OPEN) {
		feed(c);
		ignore_out(c);
	}
	buf_clear(&in);
}

static void
permute(unsigned *order, size_t n, size_t from)
{
	struct mqtt_conn *watcher, *c = NULL;

	for (size_t i = from; i < n; i++) {
		unsigned swap = order[from];

		order[from] = order[i];
		order[i] = swap;
		permute(order, n, from + 1);
		swap = order[from];
		order[from] = order[i];
		order[i] = swap;
	}
	if (from < n)
		return;
	watcher = connected(4, 1, "watcher");
	put_subscribe(&in, 4, 1, "#", 1);
	feed(watcher);
	step(&c, 4);
	for (size_t i = 0; i < n; i++) {
		step(&c, order[i]);
		ignore_out(watcher);
		ck_assert_uint_le(b.session_count, config.sessions_max);
	}
	gone(watcher);
	if (c)
		gone(c);
}

START_TEST(every_order_of_a_clients_life)
{
	unsigned order[] = { 0, 1, 2, 3, 4, 5, 6 };

	permute(order, COUNT_OF(order), 0);
	ck_assert_uint_eq(b.held_bytes, 0);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = { a_length_has_four_bytes, a_claim_reserves_nothing,
		packets_that_end_with_their_topic, topics_of_no_length_and_of_servers,
		topics_of_all_slashes, what_comes_before_connect_is_not_looked_at,
		connect_flags_and_missing_fields, nothing_is_kept_of_what_is_refused,
		many_user_properties_take_linear_time, every_order_of_a_clients_life };

	return session_tests("peers", tests, COUNT_OF(tests));
}
