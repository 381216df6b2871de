/* test_session_state.c - MQTT sessions in a redis-server of the test's own: claims, units, fences, what is told and read back */
#include "session_state.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "clock.h"
#include "err.h"
#include "mem.h"
#include "metrics.h"
#include "support_session_state.h"

#define A "connectivity-0"
#define B "connectivity-1"

static struct test_redis redis;
static struct loop *loop;
static struct client a, b;

static struct bytes
s(const char *text)
{
	return bytes_of_str(text);
}

static void
begin(void)
{
	redis_start(&redis, "everysec");
	loop = loop_new();
	client_start(&a, loop, &redis, A, 7);
	client_start(&b, loop, &redis, B, 9);
}

static void
finish(void)
{
	session_state_free(&a.ss);
	session_state_free(&b.ss);
	loop_free(&loop);
	redis_remove(&redis);
}

START_TEST(test_claims)
{
	uint64_t first, second;

	begin();
	first = client_claim(&a, "x", false, 60, 1000);
	ck_assert(!a.claim.present && a.owner[0] == '\0');
	second = client_claim(&b, "x", false, 60, 2000);
	ck_assert_uint_gt(second, first);
	ck_assert(b.claim.present && strcmp(b.owner, A) == 0 && b.claim.life == 7);
	client_claim(&b, "x", true, 60, 2000);
	ck_assert_msg(!b.claim.present, "clean start");
	client_claim(&a, "y", false, 0, 2000);
	client_claim(&b, "y", false, 60, 2000);
	ck_assert_msg(!b.claim.present, "expiry 0 ends with the connection");
	/* x has been away for more than its 60 s, z for less, w for ever */
	client_unit(&b);
	session_state_away(b.ss, s("x"), b.claim.epoch, 60, 0); /* of y's epoch: refused */
	client_flush(&b);
	ck_assert_uint_eq(b.refusal_count, 1);
	client_claim(&b, "x", false, 60, 2000);
	client_unit(&b);
	session_state_away(b.ss, s("x"), b.claim.epoch, 60, 10000);
	client_claim(&b, "z", false, 60, 2000);
	client_unit(&b);
	session_state_away(b.ss, s("z"), b.claim.epoch, 60, 10000);
	client_claim(&b, "w", false, SESSION_STATE_EXPIRY_NEVER, 2000);
	client_unit(&b);
	session_state_away(b.ss, s("w"), b.claim.epoch, SESSION_STATE_EXPIRY_NEVER, 10000);
	client_flush(&b);
	client_claim(&a, "x", false, 60, 70001);
	ck_assert(!a.claim.present);
	client_claim(&a, "z", false, 60, 70000);
	ck_assert(a.claim.present);
	client_claim(&a, "w", false, 60, INT64_C(1) << 50);
	ck_assert(a.claim.present);
	finish();
}
END_TEST

static void
fill(const char *id, uint64_t epoch)
{
	struct msg_mqtt_delivery d = { .qos = 2, .retain = true };

	client_unit(&a);
	session_state_subscribe(a.ss, s(id), epoch, s("a/+"), 0x2d, 268435455);
	session_state_subscribe(a.ss, s(id), epoch, s("b/#"), 1, 0);
	session_state_subscribe(a.ss, s(id), epoch, s("c"), 1, 0);
	session_state_unsubscribe(a.ss, s(id), epoch, s("c"));
	client_unit(&a);
	session_state_message(a.ss, message_of("a/1", "one"));
	session_state_enqueue(a.ss, s(id), epoch, 1, &qos1);
	session_state_message(a.ss, message_of("a/2", "two"));
	session_state_enqueue(a.ss, s(id), epoch, 2, &d);
	session_state_enqueue(a.ss, s(id), epoch, 3, &d);
	session_state_enqueue(a.ss, s(id), epoch, 4, &d);
	session_state_enqueue(a.ss, s(id), epoch, 5, &qos1);
	session_state_incoming(a.ss, s(id), epoch, 65535, 15);
	session_state_incoming(a.ss, s(id), epoch, 7, -1);
	session_state_incoming(a.ss, s(id), epoch, 8, 0);
	client_unit(&a);
	session_state_incoming_done(a.ss, s(id), epoch, 8);
	session_state_acked(a.ss, s(id), epoch, 1);
	session_state_pubrec(a.ss, s(id), epoch, 2);
	session_state_pubrec(a.ss, s(id), epoch, 3);
	session_state_pubcomp(a.ss, s(id), epoch, 3);
	session_state_sent(a.ss, s(id), epoch, 3);
	session_state_acked(a.ss, s(id), epoch, 5);
	session_state_session_origin(a.ss, s(id), epoch, s("p"), 99);
	session_state_session_origin(a.ss, s(id), epoch, s("p2"), 100);
	session_state_origin_released(a.ss, s(id), epoch, s("p"));
}

START_TEST(test_what_was_written_is_loaded)
{
	uint64_t epoch;
	const struct told_item *t;

	begin();
	epoch = client_claim(&a, "x", true, 60, 0);
	fill("x", epoch);
	client_flush(&a);
	ck_assert_uint_eq(a.refusal_count, 0);
	client_claim(&b, "x", false, 60, 0);
	ck_assert(b.claim.present);
	ck_assert_uint_eq(b.claim.sent, 3);
	ck_assert_uint_eq(b.claim.top, 5);
	ck_assert_uint_eq(b.claim.subscriptions, 2);
	ck_assert_uint_eq(b.claim.queued, 1);
	ck_assert_uint_eq(b.claim.incoming, 2);
	ck_assert_uint_eq(b.claim.released, 1);
	client_load(&b, "x");
	ck_assert_uint_eq(b.item_count, 7);
	t = client_told(&b, SESSION_STATE_ORIGIN, "p2", 0);
	ck_assert(t && t->item.since_ms == 100);
	t = client_told(&b, SESSION_STATE_SUBSCRIPTION, "a/+", 0);
	ck_assert(t && t->item.options == 0x2d && t->item.subscription_id == 268435455);
	t = client_told(&b, SESSION_STATE_SUBSCRIPTION, "b/#", 0);
	ck_assert(t && t->item.options == 1 && t->item.subscription_id == 0);
	t = client_told(&b, SESSION_STATE_INCOMING, NULL, 65535);
	ck_assert(t && t->item.partition == 15);
	t = client_told(&b, SESSION_STATE_INCOMING, NULL, 7);
	ck_assert(t && t->item.partition == -1);
	ck_assert_ptr_nonnull(client_told(&b, SESSION_STATE_RELEASED, NULL, 2));
	t = client_told(&b, SESSION_STATE_QUEUED, NULL, 4);
	ck_assert(t && strcmp(t->payload, "two") == 0 && t->qos == 2);
	/* The end of a session leaves nothing behind. */
	client_unit(&b);
	session_state_ended(b.ss, s("x"), b.claim.epoch);
	client_flush(&b);
	ck_assert_int_eq((int)REDIS(&redis, "KEYS", "roost:mqtt:*:x"), 0);
	finish();
}
END_TEST

START_TEST(test_lists)
{
	struct msg_mqtt_will will = { .delay = 30, .since = 5 };
	const struct told_item *t;
	uint64_t epoch, seq;
	struct buf text = { 0 };

	begin();
	epoch = client_claim(&a, "x", true, 60, 0);
	client_claim(&a, "y", true, 0, 0);
	buf_add(&text, message_of("will", "gone").data, message_of("will", "gone").len);
	will.message = buf_bytes(&text);
	client_unit(&a);
	session_state_away(a.ss, s("x"), epoch, 60, 12345);
	session_state_will(a.ss, s("x"), epoch, &will);
	session_state_will(a.ss, s("z"), 0, &will);
	session_state_will(a.ss, s("q"), 0, &will);
	session_state_no_will(a.ss, s("q"));
	session_state_forward_taken(a.ss, s(B), UINT64_MAX, 5);
	session_state_forward_taken(a.ss, s(B), UINT64_MAX, 6);
	session_state_retain(a.ss, s("r/1"), message_of("r/1", "kept"));
	client_flush(&a);
	ck_assert_uint_eq(a.refusal_count, 0);
	seq = a.seq;
	ck_assert_uint_gt(seq, 0);
	client_list(&a, SESSION_STATE_OWNED, A);
	ck_assert_uint_eq(a.item_count, 2);
	t = client_told(&a, SESSION_STATE_OWNED, "x", 0);
	ck_assert(t && t->item.epoch == epoch && t->item.life == 7 && t->item.expiry_s == 60 &&
		  t->item.since_ms == 12345);
	client_list(&a, SESSION_STATE_WILL, A);
	ck_assert_uint_eq(a.item_count, 2);
	t = client_told(&a, SESSION_STATE_WILL, "z", 0);
	ck_assert(
	    t && t->item.life == 7 && t->item.since_ms == 5 && strcmp(t->payload, "gone") == 0);
	client_list(&a, SESSION_STATE_FORWARD, A);
	t = client_told(&a, SESSION_STATE_FORWARD, B, 6);
	ck_assert(t && t->item.life == UINT64_MAX && a.item_count == 1);
	client_list(&b, SESSION_STATE_RETAINED, "");
	t = client_told(&b, SESSION_STATE_RETAINED, "r/1", seq);
	ck_assert(t && strcmp(t->payload, "kept") == 0 && b.item_count == 1);
	/* B takes x over: A neither owns it nor its will; what expired (by its time to live) is forgotten when looked at. */
	client_claim(&b, "x", false, 60, 0);
	REDIS(&redis, "DEL", "roost:mqtt:session:y");
	client_list(&a, SESSION_STATE_OWNED, A);
	ck_assert_uint_eq(a.item_count, 0);
	ck_assert_int_eq((int)REDIS(&redis, "EXISTS", "roost:mqtt:owned:" A), 0);
	client_list(&b, SESSION_STATE_WILL, A);
	ck_assert_uint_eq(b.item_count, 1);
	buf_fini(&text);
	finish();
}
END_TEST

START_TEST(test_retained_messages_are_numbered)
{
	uint64_t first, second;

	begin();
	UNTIL(loop, session_state_is_up(a.ss) && session_state_is_up(b.ss));
	client_unit(&a);
	session_state_retain(a.ss, s("t"), message_of("t", "1"));
	client_flush(&a);
	first = a.seq;
	client_unit(&b);
	session_state_retain(b.ss, s("t"), message_of("t", "2"));
	client_flush(&b);
	second = b.seq;
	ck_assert_uint_gt(second, first);
	/* The older one's expiry does not take the newer one. */
	client_unit(&a);
	session_state_retained_expired(a.ss, s("t"), first);
	client_flush(&a);
	ck_assert_uint_eq(a.seq, 0);
	client_list(&a, SESSION_STATE_RETAINED, "");
	ck_assert_ptr_nonnull(client_told(&a, SESSION_STATE_RETAINED, "t", second));
	client_unit(&a);
	session_state_unretain(a.ss, s("t"));
	client_flush(&a);
	ck_assert_uint_gt(a.seq, second);
	client_list(&a, SESSION_STATE_RETAINED, "");
	ck_assert_uint_eq(a.item_count, 0);
	client_unit(&a);
	session_state_retain(a.ss, s("t"), message_of("t", "3"));
	client_flush(&a);
	client_unit(&a);
	session_state_retained_expired(a.ss, s("t"), a.seq);
	client_flush(&a);
	ck_assert_int_eq((int)REDIS(&redis, "EXISTS", "roost:mqtt:retained"), 0);
	finish();
}
END_TEST

START_TEST(test_an_older_epoch_is_refused)
{
	uint64_t old, mine, token;

	begin();
	old = client_claim(&a, "x", true, 60, 0);
	mine = client_claim(&a, "mine", true, 60, 0);
	client_unit(&a);
	session_state_message(a.ss, message_of("t", "1"));
	session_state_enqueue(a.ss, s("x"), old, 1, &qos1);
	client_flush(&a);
	client_claim(&b, "x", false, 60, 0);
	client_unit(&a);
	session_state_sent(a.ss, s("mine"), mine, 1);
	token = client_unit(&a);
	session_state_message(a.ss, message_of("t", "2"));
	session_state_enqueue(a.ss, s("mine"), mine, 1, &qos1);
	session_state_enqueue(a.ss, s("x"), old, 2, &qos1);
	session_state_enqueue(a.ss, s("mine"), mine, 2, &qos1);
	session_state_acked(a.ss, s("x"), old, 1);
	client_unit(&a);
	session_state_sent(a.ss, s("mine"), mine, 2);
	client_flush(&a);
	ck_assert_uint_eq(a.refusal_count, 2);
	ck_assert_uint_eq(a.refusals[0].token, token);
	ck_assert_int_eq(a.refusals[0].err, ERR_FENCED);
	ck_assert_str_eq(a.refusals[0].id, "x");
	ck_assert_uint_eq(a.refusals[0].epoch, old);
	ck_assert_uint_eq(a.refusals[0].n, 2);
	ck_assert(a.refusals[0].queues);
	ck_assert_uint_eq(a.refusals[1].n, 1);
	ck_assert(!a.refusals[1].queues);
	ck_assert_uint_eq(a.failed, 0);
	client_load(&b, "x");
	ck_assert(b.item_count == 1 && client_told(&b, SESSION_STATE_QUEUED, NULL, 1));
	client_load(&a, "mine");
	ck_assert_uint_eq(a.item_count, 2);
	/* A session that ended is nobody's. */
	client_unit(&b);
	session_state_ended(b.ss, s("x"), b.claim.epoch);
	session_state_subscribe(b.ss, s("x"), b.claim.epoch, s("f"), 0, 0);
	client_flush(&b);
	ck_assert_uint_eq(b.refusal_count, 1);
	finish();
}
END_TEST

START_TEST(test_a_newer_life_fences_the_older)
{
	struct client c;

	begin();
	client_claim(&a, "x", true, 60, 0);
	client_start(&c, loop, &redis, A, 10);
	UNTIL(loop, session_state_is_up(c.ss));
	client_unit(&a);
	session_state_sent(a.ss, s("x"), a.claim.epoch, 1);
	session_state_flush(a.ss);
	UNTIL(loop, a.fenced == 1);
	ck_assert(a.done == 0 && !session_state_is_up(a.ss));
	ck_assert_int_eq(session_state_claim(a.ss, s("x"), true, 60, 0, 1), ERR_CLOSED);
	/* 10 is newer than 9, as a number. */
	ck_assert_int_eq(b.fenced, 0);
	client_claim(&c, "x", false, 60, 0);
	ck_assert(c.claim.present && strcmp(c.owner, A) == 0 && c.claim.life == 7);
	session_state_free(&c.ss);
	finish();
}
END_TEST

START_TEST(test_time_to_live)
{
	uint64_t epoch;

	begin();
	epoch = client_claim(&a, "x", true, 60, 0);
	fill("x", epoch);
	client_unit(&a);
	session_state_away(a.ss, s("x"), epoch, 60, clock_wall_us() / 1000);
	client_flush(&a);
	for (size_t i = 0; i < 4; i++) {
		static const char *const keys[] = { "roost:mqtt:session:x", "roost:mqtt:subs:x",
			"roost:mqtt:in2:x", "roost:mqtt:out2:x" };
		long long ttl = REDIS(&redis, "TTL", keys[i]);

		ck_assert_msg(ttl > 3600 && ttl <= 3660, "%s: %lld", keys[i], ttl);
	}
	/* A queue that begins while the session is away ends with it. */
	REDIS(&redis, "DEL", "roost:mqtt:queue:x");
	client_unit(&a);
	session_state_message(a.ss, message_of("t", "1"));
	session_state_enqueue(a.ss, s("x"), epoch, 6, &qos1);
	client_flush(&a);
	ck_assert(REDIS(&redis, "TTL", "roost:mqtt:queue:x") > 3600);
	client_unit(&a);
	session_state_back(a.ss, s("x"), epoch, 60);
	client_flush(&a);
	ck_assert_int_eq((int)REDIS(&redis, "TTL", "roost:mqtt:queue:x"), -1);
	ck_assert_int_eq((int)REDIS(&redis, "TTL", "roost:mqtt:session:x"), -1);
	client_unit(&a);
	session_state_away(a.ss, s("x"), epoch, 60, clock_wall_us() / 1000);
	client_flush(&a);
	client_claim(&b, "x", false, 60, clock_wall_us() / 1000);
	ck_assert(b.claim.present);
	ck_assert_int_eq((int)REDIS(&redis, "TTL", "roost:mqtt:subs:x"), -1);
	ck_assert_uint_eq(a.refusal_count, 0);
	finish();
}
END_TEST

static void
away_and_back(const char *id, uint64_t epoch, const char *key)
{
	long long ttl;

	client_unit(&a);
	session_state_away(a.ss, s(id), epoch, 60, clock_wall_us() / 1000);
	client_flush(&a);
	ttl = REDIS(&redis, "TTL", key);
	ck_assert_msg(ttl > 3600 && ttl <= 3660, "%s: %lld", key, ttl);
	client_unit(&a);
	session_state_back(a.ss, s(id), epoch, 60);
	client_flush(&a);
	ck_assert_int_eq((int)REDIS(&redis, "TTL", key), -1);
}

/* Only keys that there are come and go with a session: those made since, those another worker finds, all of an older version's. */
START_TEST(test_time_to_live_of_what_there_is)
{
	uint64_t epoch;

	begin();
	epoch = client_claim(&a, "y", true, 60, 0);
	away_and_back("y", epoch, "roost:mqtt:session:y");
	client_unit(&a);
	session_state_subscribe(a.ss, s("y"), epoch, s("f"), 1, 0);
	client_flush(&a);
	away_and_back("y", epoch, "roost:mqtt:subs:y");
	client_claim(&b, "y", false, 60, 0);
	epoch = client_claim(&a, "y", false, 60, 0);
	ck_assert(a.claim.present);
	away_and_back("y", epoch, "roost:mqtt:subs:y");
	fill("y", epoch);
	REDIS(&redis, "HDEL", "roost:mqtt:session:y", "k");
	away_and_back("y", epoch, "roost:mqtt:subs:y");
	away_and_back("y", epoch, "roost:mqtt:in2:y");
	away_and_back("y", epoch, "roost:mqtt:out2:y");
	client_unit(&a);
	session_state_ended(a.ss, s("y"), epoch);
	client_flush(&a);
	ck_assert_int_eq((int)REDIS(&redis, "EXISTS", "roost:mqtt:session:y", "roost:mqtt:subs:y",
			     "roost:mqtt:queue:y", "roost:mqtt:in2:y", "roost:mqtt:out2:y"),
	    0);
	ck_assert_uint_eq(a.refusal_count, 0);
	finish();
}
END_TEST

START_TEST(test_what_cannot_be_read_is_passed_over)
{
	uint64_t epoch;

	begin();
	epoch = client_claim(&a, "x", true, 60, 0);
	fill("x", epoch);
	client_flush(&a);
	REDIS(&redis, "HSET", "roost:mqtt:subs:x", "bad", "-5", "bad2", "99999999999999999999");
	REDIS(&redis, "HSET", "roost:mqtt:in2:x", "65536", "1", "9", "-2", "x", "1");
	REDIS(&redis, "SADD", "roost:mqtt:out2:x", "two");
	REDIS(&redis, "XADD", "roost:mqtt:queue:x", "8-0", "m", "\x92\x32", "h", "x");
	REDIS(&redis, "XADD", "roost:mqtt:queue:x", "9-0", "other", "fields");
	client_unit(&a);
	session_state_message(a.ss, message_of("t", "ten"));
	session_state_enqueue(a.ss, s("x"), epoch, 10, &qos1);
	client_flush(&a);
	client_load(&a, "x");
	ck_assert_uint_eq(a.item_count, 8);
	ck_assert_ptr_nonnull(client_told(&a, SESSION_STATE_QUEUED, NULL, 10));
	ck_assert_uint_eq(metric_get(M_SESSION_STATE_UNREADABLE), 8);
	/* Messages among it are gone, the rest stays for somebody to look at. */
	client_load(&a, "x");
	ck_assert_int_eq((int)REDIS(&redis, "XLEN", "roost:mqtt:queue:x"), 2);
	REDIS(&redis, "HSET", "roost:mqtt:retained", "t", "no colon", "u", "5:junk", "v", "x:junk");
	client_list(&a, SESSION_STATE_RETAINED, "");
	ck_assert_uint_eq(a.item_count, 0);
	REDIS(&redis, "HSET", "roost:mqtt:wills:" A, "c", "junk");
	client_list(&a, SESSION_STATE_WILL, A);
	ck_assert_uint_eq(a.item_count, 0);
	finish();
}
END_TEST

/* Under an mqtt.packet_max that was larger then. */
START_TEST(test_what_is_too_large_by_now_is_passed_over)
{
	const size_t sizes[] = { 2u << 20, 1u << 20 };
	struct msg_mqtt_will will = { 0 };
	struct buf text = { 0 };
	char *payload = xmalloc(sizes[0] + 1);
	uint64_t epoch, before;

	begin();
	before = metric_get(M_SESSION_STATE_TOO_LARGE);
	epoch = client_claim(&a, "x", true, 60, 0);
	for (uint64_t i = 0; i < COUNT_OF(sizes); i++) {
		char topic[] = { 't', (char)('0' + i), 0 };

		memset(payload, 'p', sizes[i]);
		payload[sizes[i]] = 0;
		buf_clear(&text);
		buf_add(&text, message_of(topic, payload).data, message_of(topic, payload).len);
		will.message = buf_bytes(&text);
		client_unit(&a);
		session_state_message(a.ss, buf_bytes(&text));
		session_state_enqueue(a.ss, s("x"), epoch, 1 + i, &qos1);
		client_flush(&a);
		client_unit(&a);
		session_state_retain(a.ss, s(topic), buf_bytes(&text));
		session_state_will(a.ss, s(topic), 0, &will);
		client_flush(&a);
	}
	client_load(&a, "x");
	ck_assert_uint_eq(a.item_count, 1);
	ck_assert_ptr_nonnull(client_told(&a, SESSION_STATE_QUEUED, NULL, 2));
	client_list(&a, SESSION_STATE_RETAINED, "");
	ck_assert(a.item_count == 1 && client_told(&a, SESSION_STATE_RETAINED, "t1", 0));
	client_list(&a, SESSION_STATE_WILL, A);
	ck_assert(a.item_count == 1 && client_told(&a, SESSION_STATE_WILL, "t1", 0));
	ck_assert_uint_eq(metric_get(M_SESSION_STATE_TOO_LARGE) - before, 3);
	ck_assert_int_eq(a.downs, 0);
	/* As with what cannot be read, messages of sessions are gone, the rest is there should it be allowed again. */
	ck_assert_int_eq((int)REDIS(&redis, "XLEN", "roost:mqtt:queue:x"), 1);
	ck_assert_int_eq((int)REDIS(&redis, "HLEN", "roost:mqtt:retained"), 2);
	free(payload);
	buf_fini(&text);
	finish();
}
END_TEST

START_TEST(test_a_key_of_another_type_costs_one_write)
{
	uint64_t epoch;

	begin();
	epoch = client_claim(&a, "x", true, 60, 0);
	REDIS(&redis, "SET", "roost:mqtt:queue:x", "somebody else's");
	client_unit(&a);
	session_state_subscribe(a.ss, s("x"), epoch, s("f"), 1, 0);
	session_state_message(a.ss, message_of("t", "1"));
	session_state_enqueue(a.ss, s("x"), epoch, 1, &qos1);
	session_state_subscribe(a.ss, s("x"), epoch, s("g"), 1, 0);
	client_flush(&a);
	ck_assert_uint_eq(a.refusal_count, 1);
	ck_assert_int_eq(a.refusals[0].err, ERR_REFUSED);
	ck_assert_int_eq((int)REDIS(&redis, "HLEN", "roost:mqtt:subs:x"), 2);
	/* A number that was there before is refused too. */
	REDIS(&redis, "DEL", "roost:mqtt:queue:x");
	for (uint64_t n = 2; n >= 1; n--) {
		client_unit(&a);
		session_state_message(a.ss, message_of("t", "1"));
		session_state_enqueue(a.ss, s("x"), epoch, n, &qos1);
		client_flush(&a);
	}
	ck_assert_uint_eq(a.refusal_count, 2);
	/* A load ends with an error, and the connection goes on. */
	REDIS(&redis, "DEL", "roost:mqtt:subs:x");
	REDIS(&redis, "SET", "roost:mqtt:subs:x", "1");
	ck_assert_int_eq(session_state_load(a.ss, s("x"), 1), 0);
	UNTIL(loop, a.ends == 1);
	ck_assert_int_eq(a.end_err, ERR_REFUSED);
	ck_assert_int_eq(a.downs, 0);
	finish();
}
END_TEST

START_TEST(test_a_claim_from_somebody)
{
	begin();
	client_claim(&a, "x", true, 60, 0);
	ck_assert_int_eq(session_state_claim_from(a.ss, s("x"), "connectivity-9", 60, 0, 1), 0);
	UNTIL(loop, a.claims == 2);
	ck_assert_int_eq(a.claim_err, ERR_NOT_FOUND);
	ck_assert_int_eq(session_state_claim_from(a.ss, s("y"), "connectivity-9", 60, 0, 1), 0);
	UNTIL(loop, a.claims == 3);
	ck_assert_int_eq(a.claim_err, ERR_NOT_FOUND);
	ck_assert_int_eq(session_state_claim_from(a.ss, s("x"), A, 60, 0, 1), 0);
	UNTIL(loop, a.claims == 4);
	ck_assert_int_eq(a.claim_err, 0);
	ck_assert(a.claim.present);
	finish();
}
END_TEST

START_TEST(test_any_bytes_are_an_id)
{
	static const char raw[] = "\r\n$5\0*\xff {}:x";
	struct bytes id = bytes_of(raw, sizeof(raw) - 1), topic = bytes_of("a\r\nb", 4);
	uint64_t epoch;

	begin();
	UNTIL(loop, session_state_is_up(a.ss));
	ck_assert_int_eq(session_state_claim(a.ss, id, false, 60, 0, 1), 0);
	UNTIL(loop, a.claims == 1);
	epoch = a.claim.epoch;
	client_unit(&a);
	session_state_subscribe(a.ss, id, epoch, topic, 1, 0);
	session_state_subscribe(a.ss, id, epoch, s(""), 1, 0);
	session_state_retain(a.ss, topic, message_of("a\r\nb", "$-1\r\n"));
	client_flush(&a);
	ck_assert_uint_eq(a.refusal_count, 0);
	a.ends = 0;
	ck_assert_int_eq(session_state_load(a.ss, id, 1), 0);
	UNTIL(loop, a.ends == 1);
	ck_assert_uint_eq(a.item_count, 2);
	ck_assert_ptr_nonnull(client_told(&a, SESSION_STATE_SUBSCRIPTION, "a\r\nb", 0));
	finish();
}
END_TEST

UNIT_MAIN("session_state", test_claims, test_what_was_written_is_loaded, test_lists,
    test_retained_messages_are_numbered, test_an_older_epoch_is_refused,
    test_a_newer_life_fences_the_older, test_time_to_live, test_time_to_live_of_what_there_is,
    test_what_cannot_be_read_is_passed_over, test_what_is_too_large_by_now_is_passed_over,
    test_a_key_of_another_type_costs_one_write, test_a_claim_from_somebody,
    test_any_bytes_are_an_id)
