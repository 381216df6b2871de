/* test_mqtt_auth.c - CONNECT waits until it is known who it is; every verdict has its reason code; who is cut is told */
#include <string.h>

#include "mem.h"
#include "support_mqtt.h"
#include "support_session.h"

/* Answers at once, or later by answer(). */
static struct {
	enum auth_verdict verdict;
	struct auth_answer answer;
	auth_done_fn done;
	struct mqtt_conn *who;
	size_t asked, forgotten;
	char username[64], password[64];
} door;

static void
copy_text(char *out, struct bytes text)
{
	ck_assert_uint_lt(text.len, 64);
	if (text.len)
		memcpy(out, text.data, text.len);
	out[text.len] = '\0';
}

static enum auth_verdict
identify(void *arg, const struct auth_request *q, auth_done_fn done, struct mqtt_conn *c,
    struct auth_answer *ret)
{
	(void)arg;
	door.asked++;
	door.done = done;
	door.who = c;
	copy_text(door.username, q->username);
	copy_text(door.password, q->password);
	*ret = door.answer;
	return door.verdict;
}

static void
unidentify(void *arg, const struct mqtt_conn *c)
{
	(void)arg;
	ck_assert_ptr_eq(c, door.who);
	door.forgotten++;
}

static void
answer(enum auth_verdict verdict, const struct auth_answer *a)
{
	struct mqtt_conn *c = door.who;

	door.done(c, verdict, a);
}

static void
begin(enum auth_verdict verdict)
{
	memset(&door, 0, sizeof(door));
	door.verdict = verdict;
	b.ops.identify = identify;
	b.ops.unidentify = unidentify;
}

static struct auth_grant *
grant_new(const char *identity, bool is_device, const char *speaks_for)
{
	struct auth_grant *g = xcalloc(1, sizeof(*g));

	*g = (struct auth_grant){
		.refs = 1,
		.is_device = is_device,
		.kind = 1,
		.identity = bytes_of_str(identity),
		.speaks_for = bytes_of_str(speaks_for),
	};
	return g;
}

/* With a user name, and with a password unless it is NULL. */
static void
put_connect_as(unsigned version, const char *id, const char *user, const char *password)
{
	struct buf p = { 0 };
	const char *texts[] = { id, user, password };

	buf_add(&p, "\0\4MQTT", 6);
	buf_add_u8(&p, (uint8_t)version);
	buf_add_u8(&p, password ? 0xc2 : 0x82);
	buf_add(&p, "\0\74", 2);
	if (version == 5)
		buf_add_u8(&p, 0);
	for (size_t i = 0; i < (password ? 3 : 2); i++) {
		buf_add_u8(&p, 0);
		buf_add_u8(&p, (uint8_t)strlen(texts[i]));
		buf_add_str(&p, texts[i]);
	}
	put_packet(&in, 0x10, p.data, p.len);
	buf_fini(&p);
}

static const struct {
	enum auth_verdict verdict;
	uint8_t v5, v3;
} codes[] = {
	{ AUTH_BAD_CREDENTIALS, 0x86, 4 },
	{ AUTH_NOT_AUTHORIZED, 0x87, 5 },
	{ AUTH_UNAVAILABLE, 0x88, 3 },
	{ AUTH_BUSY, 0x9f, 3 },
};

static void
check_code(struct mqtt_conn *c, unsigned version, uint8_t v5, uint8_t v3)
{
	ck_assert_int_eq(c->state, MQTT_ENDED);
	ck_assert_uint_eq(c->io.out->data[0], 0x20);
	ck_assert_uint_eq(c->io.out->data[3], version == 5 ? v5 : v3);
	if (version < 5)
		ck_assert_uint_eq(c->io.out->len, 4);
	ignore_out(c);
	mqtt_conn_free(&c);
}

START_TEST(every_verdict_has_its_code)
{
	for (unsigned version = 4; version <= 5; version++)
		for (size_t i = 0; i < COUNT_OF(codes); i++)
			for (int later = 0; later < 2; later++) {
				struct auth_answer a = { .why = "so", .retry_ms = 700 };
				struct mqtt_conn *c = mqtt_conn_new(&b, true);

				begin(later ? AUTH_PENDING : codes[i].verdict);
				if (!later)
					door.answer = a;
				put_connect_as(version, "c", "u", "p");
				feed(c);
				if (later) {
					ck_assert_int_eq(c->state, MQTT_AWAIT_CONNECT);
					ck_assert_uint_ne(c->io.paused, 0);
					answer(codes[i].verdict, &a);
				}
				ck_assert_str_eq(door.username, "u");
				ck_assert_str_eq(door.password, "p");
				check_code(c, version, codes[i].v5, codes[i].v3);
				ck_assert_uint_eq(door.forgotten, 0);
			}
}
END_TEST

START_TEST(busy_says_when_to_come_back)
{
	struct mqtt_conn *c = mqtt_conn_new(&b, true);

	begin(AUTH_BUSY);
	door.answer = (struct auth_answer){ .why = "many", .retry_ms = 700 };
	put_connect(&in, 5, 1, 60, "c");
	feed(c);
	CHECK_OUT(c, "\x20\x1b\0\x9f\x18\x1f\0\x15many: retry in 700 ms");
	mqtt_conn_free(&c);
}
END_TEST

START_TEST(it_waits_and_goes_on)
{
	struct auth_answer a = { .grant = grant_new("gh-1", true, "") };
	struct mqtt_conn *c = mqtt_conn_new(&b, false);
	struct buf packet = { 0 };

	begin(AUTH_PENDING);
	put_connect_as(4, "c", "secret", NULL);
	buf_add(&packet, in.data, in.len);
	ck_assert_uint_eq(feed(c), 0);
	/* However long that takes. */
	mqtt_conn_on_deadline(c);
	ck_assert_int_eq(c->state, MQTT_AWAIT_CONNECT);
	answer(AUTH_GRANTED, &a);
	ck_assert_uint_eq(c->io.paused, 0);
	buf_add(&in, packet.data, packet.len);
	ck_assert_uint_eq(feed(c), packet.len);
	CHECK_OUT(c, "\x20\2\0\0");
	ck_assert_int_eq(c->state, MQTT_UP);
	ck_assert_uint_eq(door.asked, 1);
	/* A token goes no further. */
	ck_assert_ptr_null(c->username);
	put_publish(&in, 4, 2, 1, "v1/devices/me/telemetry", "{\"t\":1}");
	feed(c);
	ck_assert_str_eq(fake.devices[0], "gh-1");
	mqtt_conn_free(&c);
	buf_fini(&packet);
}
END_TEST

START_TEST(a_connection_that_ends_meanwhile_is_forgotten)
{
	struct mqtt_conn *c = mqtt_conn_new(&b, false);

	begin(AUTH_PENDING);
	put_connect(&in, 4, 1, 60, "c");
	feed(c);
	mqtt_conn_cut(c);
	ck_assert_uint_eq(door.forgotten, 1);
	mqtt_conn_free(&c);
	ck_assert_uint_eq(door.forgotten, 1);
}
END_TEST

static struct mqtt_conn *
granted(unsigned version, const char *id, struct auth_grant *g)
{
	struct mqtt_conn *c = mqtt_conn_new(&b, false);

	begin(AUTH_GRANTED);
	door.answer.grant = auth_grant_ref(g);
	put_connect_as(version, id, "user", "p");
	feed(c);
	ck_assert_int_eq(c->state, MQTT_UP);
	ignore_out(c);
	return c;
}

static void
publish(struct mqtt_conn *c, const char *topic, const char *device)
{
	size_t count = fake.count;

	put_publish(&in, 5, 2, 1, topic, "{\"t\":1}");
	feed(c);
	ck_assert_uint_eq(fake.count, count + (device ? 1 : 0));
	if (device)
		ck_assert_str_eq(fake.devices[count], device);
	ignore_out(c);
}

START_TEST(who_may_speak_for_whom)
{
	struct auth_grant *device = grant_new("gh-1", true, ""),
			  *gateway = grant_new("gw", true, "a-*\nb"),
			  *person = grant_new("ann", false, "");
	struct mqtt_conn *c = granted(5, "1", device);

	publish(c, "roost/gh-1/telemetry", "gh-1");
	publish(c, "roost/gh-2/telemetry", NULL);
	publish(c, "v1/devices/me/telemetry", "gh-1");
	mqtt_conn_free(&c);
	c = granted(5, "1", gateway);
	publish(c, "roost/a-7/telemetry", "a-7");
	publish(c, "roost/b/telemetry", "b");
	publish(c, "roost/c/telemetry", NULL);
	publish(c, "roost/gw/telemetry", "gw");
	/* What was found out for a topic is found out anew. */
	publish(c, "roost/b/telemetry", "b");
	publish(c, "roost/b/telemetry", "b");
	gateway->speaks_for = bytes_of_str("a-*");
	gateway->changed = true;
	mqtt_broker_regranted(&b);
	gateway->changed = false;
	publish(c, "roost/b/telemetry", NULL);
	mqtt_conn_free(&c);
	c = granted(5, "1", person);
	publish(c, "roost/ann/telemetry", NULL);
	publish(c, "v1/devices/me/telemetry", NULL);
	mqtt_conn_free(&c);
	auth_grant_unref(&device);
	auth_grant_unref(&gateway);
	auth_grant_unref(&person);
}
END_TEST

START_TEST(who_is_cut_is_told_and_gone)
{
	struct auth_grant *one = grant_new("gh-1", true, ""), *other = grant_new("gh-2", true, "");
	struct mqtt_conn *v5 = granted(5, "1", one), *v3 = granted(4, "2", one),
			 *stays = granted(5, "3", other);

	one->cut = true;
	mqtt_broker_regranted(&b);
	ck_assert_int_eq(v5->state, MQTT_ENDED);
	ck_assert_int_eq(v3->state, MQTT_ENDED);
	ck_assert_int_eq(stays->state, MQTT_UP);
	CHECK_OUT(v5, "\xe0\1\x87");
	CHECK_OUT(v3, "");
	ck_assert_uint_eq(one->refs, 3);
	mqtt_conn_free(&v5);
	mqtt_conn_free(&v3);
	ck_assert_uint_eq(one->refs, 1);
	mqtt_conn_free(&stays);
	auth_grant_unref(&one);
	auth_grant_unref(&other);
}
END_TEST

START_TEST(a_client_id_is_not_taken_from_others)
{
	struct auth_grant *one = grant_new("gh-1", true, ""), *other = grant_new("gh-2", true, "");
	struct mqtt_conn *c = granted(4, "id", one), *thief = mqtt_conn_new(&b, false), *again;

	begin(AUTH_GRANTED);
	door.answer.grant = auth_grant_ref(other);
	put_connect_as(4, "id", "user", "p");
	feed(thief);
	check_code(thief, 4, 0x87, 5);
	ck_assert_int_eq(c->state, MQTT_UP);
	again = granted(4, "id", one);
	ck_assert_int_eq(c->state, MQTT_ENDED);
	mqtt_conn_free(&c);
	mqtt_conn_free(&again);
	/* Who is on this machine may. */
	c = granted(4, "id", one);
	again = granted(4, "id", auth_anyone());
	ck_assert_int_eq(c->state, MQTT_ENDED);
	mqtt_conn_free(&c);
	mqtt_conn_free(&again);
	auth_grant_unref(&one);
	auth_grant_unref(&other);
}
END_TEST

/* --- enrolment --- */

static struct {
	char request[64];
	uint64_t token;
	size_t asked;
} enrolment;

static void
enrol(void *arg, struct bytes request, const struct peer *peer, uint64_t token)
{
	(void)arg;
	(void)peer;
	copy_text(enrolment.request, request);
	enrolment.token = token;
	enrolment.asked++;
}

START_TEST(a_guest_may_enrol_and_nothing_else)
{
	struct auth_grant *guest = auth_guest();
	struct mqtt_conn *listener = connected(4, 1, "all"), *c;

	put_subscribe(&in, 4, 1, "#", 1);
	feed(listener);
	ignore_out(listener);
	memset(&enrolment, 0, sizeof(enrolment));
	c = granted(5, "all", guest);
	b.ops.enrol = enrol;
	/* It has not taken the session of another. */
	ck_assert_int_eq(listener->state, MQTT_UP);
	ck_assert(!bytes_equal_str(bytes_of(c->session->id, c->session->id_len), "all"));
	publish(c, "roost/gh-1/telemetry", NULL);
	put_publish(&in, 5, 2, 1, "x", "y");
	feed(c);
	CHECK_OUT(c, "\x40\x30\0\1\x87\x2c\x1f\0\x29this client may not publish to that topic");
	put_subscribe(&in, 5, 2, "#", 1);
	feed(c);
	CHECK_OUT(c, "\x90\4\0\2\0\x87");
	put_subscribe(&in, 5, 3, "/provision/response", 1);
	feed(c);
	CHECK_OUT(c, "\x90\4\0\3\0\1");
	put_publish(&in, 5, 2, 4, "/provision/request", "please");
	feed(c);
	CHECK_OUT(c, "\x40\2\0\4");
	ck_assert_str_eq(enrolment.request, "please");
	ck_assert_uint_eq(enrolment.asked, 1);
	/* Nobody else sees it. */
	CHECK_OUT(listener, "");
	mqtt_broker_enrolled(&b, enrolment.token, bytes_of_str("{}"));
	CHECK_OUT(c, "\x30\x18\0\x13/provision/response\0{}");
	CHECK_OUT(listener, "");
	mqtt_conn_free(&c);
	mqtt_broker_enrolled(&b, enrolment.token, bytes_of_str("{}"));
	mqtt_conn_free(&listener);
	auth_grant_unref(&guest);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		every_verdict_has_its_code,
		busy_says_when_to_come_back,
		it_waits_and_goes_on,
		a_connection_that_ends_meanwhile_is_forgotten,
		who_may_speak_for_whom,
		who_is_cut_is_told_and_gone,
		a_client_id_is_not_taken_from_others,
		a_guest_may_enrol_and_nothing_else,
	};

	return session_tests("mqtt_auth", tests, COUNT_OF(tests));
}
