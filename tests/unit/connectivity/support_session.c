/* support_session.c - an MQTT broker without sockets, and a test's own ingest behind it */
#include "support_session.h"

#include <stdio.h>
#include <string.h>

#include "../unit.h"
#include "err.h"
#include "mem.h"
#include "support_mqtt.h"

struct fake_ingest fake;
struct mqtt_broker b;
struct buf in;

static int
offer(void *arg, const struct ingest_message *m, uint64_t token, struct buf *reason)
{
	(void)arg;
	if (fake.room == 0)
		return ERR_AGAIN;
	fake.undecodable = m->undecodable;
	if (m->origin) {
		struct ingest_origin want = ingest_origin_of(m->device, m->topic, m->client);

		ck_assert_mem_eq(m->origin, &want, sizeof(want));
	}
	if (m->payload.len && m->payload.data[0] == '!' && m->undecodable == INGEST_REFUSE) {
		buf_add_str(reason, "no JSON");
		return ERR_MALFORMED;
	}
	ck_assert(fake.count < OFFERS_MAX);
	snprintf(fake.devices[fake.count], sizeof(fake.devices[0]), "%.*s", (int)m->device.len,
	    (const char *)m->device.data);
	fake.tokens[fake.count++] = token;
	fake.room--;
	return 0;
}

static int
reoffer(void *arg, struct bytes record, uint64_t token)
{
	(void)arg;
	ck_assert(bytes_equal_str(record, "record"));
	if (fake.room == 0)
		return ERR_AGAIN;
	fake.tokens[fake.count++] = token;
	fake.reoffered++;
	fake.room--;
	return 0;
}

static int
release(void *arg, struct bytes client, uint16_t packet_id, int32_t partition, uint64_t token)
{
	(void)arg;
	(void)client;
	if (fake.room == 0)
		return ERR_AGAIN;
	ck_assert(fake.count < OFFERS_MAX && fake.released_count < OFFERS_MAX);
	fake.released[fake.released_count++] = packet_id;
	fake.partition = partition;
	fake.tokens[fake.count++] = token;
	fake.room--;
	return 0;
}

static int32_t
partition(void *arg, struct bytes device)
{
	(void)arg;
	return (int32_t)device.len;
}

const struct mqtt_ops session_ops = {
	.offer = offer, .reoffer = reoffer, .release = release, .partition = partition
};

const struct mqtt_config config = {
	.packet_max = 65536,
	.receive_maximum = 8,
	.connect_timeout_us = 5 * SECOND,
	.outbound_max = 2000,
	.outbound_bytes_max = 1 << 20,
	.sessions_max = 4,
	.session_expiry_max_s = 1000,
	.subscriptions_max = 3,
	.subscriptions_bytes_max = 1 << 20,
	.retained_max = 10,
	.retained_bytes_max = 100000,
	.offline_bytes_max = 100000,
	.wills_bytes_max = 100000,
	.queue_max = 100,
	.queue_bytes_max = 2000,
	.received_bytes_max = 1 << 20,
	.aliases_max = 16,
};

static void
setup(void)
{
	memset(&fake, 0, sizeof(fake));
	fake.room = OFFERS_MAX;
	mqtt_broker_init(&b, &config, &session_ops);
	b.now_us = 1000 * SECOND;
	in = (struct buf){ 0 };
}

static void
teardown(void)
{
	mqtt_broker_fini(&b);
	buf_fini(&in);
}

size_t
feed(struct mqtt_conn *c)
{
	size_t need, took = mqtt_conn_input(c, buf_bytes(&in), &need);

	buf_clear(&in);
	return took;
}

void
check_out(struct mqtt_conn *c, const char *want, size_t len, int line)
{
	size_t got = c->io.out ? c->io.out->len : 0;
	char text[400];
	int n = 0;

	for (size_t i = 0; i < got && i < 100; i++)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "%02x ", c->io.out->data[i]);
	ck_assert_msg(got == len && (len == 0 || memcmp(c->io.out->data, want, len) == 0),
	    "line %d: %s", line, n ? text : "nothing");
	conn_buf_give(&b.set, &c->io.out);
}

void
ignore_out(struct mqtt_conn *c)
{
	conn_buf_give(&b.set, &c->io.out);
}

struct mqtt_conn *
connected(unsigned version, int clean, const char *id)
{
	struct mqtt_conn *c = mqtt_conn_new(&b, true);

	put_connect(&in, version, clean, 60, id);
	feed(c);
	ck_assert_int_eq(c->state, MQTT_UP);
	ignore_out(c);
	return c;
}

struct mqtt_conn *
resumed(uint32_t expiry_s, const char *id)
{
	struct mqtt_conn *c = mqtt_conn_new(&b, true);

	put_connect_expiring(&in, 0, expiry_s, id);
	feed(c);
	ck_assert_int_eq(c->state, MQTT_UP);
	return c;
}

void
gone(struct mqtt_conn *c)
{
	mqtt_conn_free(&c);
}

struct mqtt_conn *
kept(unsigned version, const char *id)
{
	struct mqtt_conn *c = version == 5 ? resumed(100, id) : connected(4, 0, id);

	ignore_out(c);
	return c;
}

void
subscribe(struct mqtt_conn *c, const char *filter, unsigned options)
{
	put_subscribe(&in, c->version, 1, filter, options);
	feed(c);
	ignore_out(c);
}

void
put_ack(unsigned type, unsigned packet_id)
{
	uint8_t body[2] = { (uint8_t)(packet_id >> 8), (uint8_t)packet_id };

	put_packet(&in, type << 4 | (type == MQTT_PUBREL ? 2u : 0u), body, 2);
}

int
session_tests(const char *name, const TTest *const *tests, size_t count)
{
	Suite *s = suite_create(name);
	TCase *tc = tcase_create(name);

	tcase_set_timeout(tc, getenv("THOROUGH") ? 3600 : 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	for (size_t i = 0; i < count; i++)
		tcase_add_test(tc, tests[i]);
	suite_add_tcase(s, tc);
	return unit_end(s);
}
