/* test_session_state_model.c - random operations of two workers on shared sessions against a naive model, with and without
 * trouble (connections cut, scripts forgotten, the server killed); SEED=n repeats a run */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "clock.h"
#include "err.h"
#include "mem.h"
#include "support_session_state.h"

#define IDS 4
#define FILTERS 4
#define PACKETS 4
#define QUEUE 4096
#define TOPICS 3
#define NEVER_AWAY (-1)

struct model {
	bool exists;
	uint64_t epoch;
	int owner;
	uint32_t expiry_s;
	int64_t away;
	uint64_t subs[FILTERS]; /* options | identifier << 8, plus 1; 0: none */
	int in2[PACKETS];	/* partition + 2; 0: none */
	bool queued[QUEUE];
	bool released[QUEUE];
	uint64_t top;
	uint64_t sent;
};

static struct test_redis redis;
static struct loop *loop;
static struct client clients[2];
static struct model models[IDS];
static uint64_t believed[2][IDS]; /* the epoch a worker thinks it has */
static size_t refusals[2];	  /* that are due */
static uint64_t retained[TOPICS]; /* what was said last; 0: nothing */
static uint64_t said;
static int64_t now_ms;
static uint64_t random_state;

static uint32_t
pick(uint32_t below)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(random_state >> 33) % below;
}

static struct bytes
name(char out[16], const char *what, uint32_t i)
{
	snprintf(out, 16, "%s%u", what, i);
	return bytes_of_str(out);
}

static void
wipe(struct model *m)
{
	memset(m->subs, 0, sizeof(m->subs));
	memset(m->in2, 0, sizeof(m->in2));
	memset(m->queued, 0, sizeof(m->queued));
	memset(m->released, 0, sizeof(m->released));
	m->top = m->sent = 0;
}

static void
settle(void)
{
	for (int w = 0; w < 2; w++)
		client_flush(&clients[w]);
}

static void
claim(int w, uint32_t i)
{
	struct model *m = &models[i];
	struct client *c = &clients[w];
	bool clean = pick(8) == 0, present;
	uint32_t expiry = pick(8) == 0 ? 0 : pick(8) == 0 ? SESSION_STATE_EXPIRY_NEVER : 100;
	char id[16];
	int tries = 0;

	/* Which of two workers comes first is not for the model to know. */
	settle();
	present = m->exists && !clean && m->expiry_s != 0 &&
		  (m->away == NEVER_AWAY || m->expiry_s == SESSION_STATE_EXPIRY_NEVER ||
		      now_ms <= m->away + 1000 * (int64_t)m->expiry_s);
	do {
		int claims = c->claims;

		UNTIL(loop, session_state_is_up(c->ss));
		ck_assert_int_eq(
		    session_state_claim(c->ss, name(id, "x", i), clean, expiry, now_ms, 1), 0);
		UNTIL(loop, c->claims > claims);
		tries++;
	} while (c->claim_err == ERR_CLOSED);
	ck_assert_int_eq(c->claim_err, 0);
	ck_assert_uint_gt(c->claim.epoch, m->epoch);
	/* One that was not answered may have been carried out: then this one finds what that one made. */
	if (tries == 1)
		ck_assert_int_eq(c->claim.present, present);
	if (!present || !c->claim.present)
		wipe(m);
	if (present && tries == 1) {
		ck_assert_uint_eq(c->claim.top, m->top);
		ck_assert_uint_eq(c->claim.sent, m->sent);
	}
	m->exists = true;
	m->epoch = believed[w][i] = c->claim.epoch;
	m->owner = w;
	m->expiry_s = expiry;
	m->away = NEVER_AWAY;
}

static void
enqueue(struct client *c, int w, uint32_t i, struct bytes id, uint64_t epoch, bool mine)
{
	struct model *m = &models[i];
	uint64_t n = mine ? m->top + 1 : 1 + pick(QUEUE - 1);

	if (n >= QUEUE)
		return;
	session_state_message(c->ss, message_of("t", "p"));
	session_state_enqueue(c->ss, id, epoch, n, &qos1);
	refusals[w] += !mine;
	if (mine) {
		m->queued[n] = true;
		m->top = n;
	}
}

/* One write of worker w about session i. */
static void
session_write(int w, uint32_t i)
{
	struct client *c = &clients[w];
	struct model *m = &models[i];
	uint64_t epoch = believed[w][i];
	bool mine = m->exists && epoch == m->epoch;
	uint64_t n = 1 + (m->top > 0 ? pick((uint32_t)m->top) : 0);
	uint32_t f = pick(FILTERS), p = pick(PACKETS), what = pick(20);
	char id_text[16], text[16];
	struct bytes id = name(id_text, "x", i);

	if (what < 6) {
		enqueue(c, w, i, id, epoch, mine);
		return;
	}
	refusals[w] += !mine;
	if (what < 10) {
		session_state_acked(c->ss, id, epoch, n);
		m->queued[n] &= !mine;
	} else if (what < 12) {
		session_state_pubrec(c->ss, id, epoch, n);
		m->queued[n] &= !mine;
		m->released[n] |= mine;
	} else if (what < 14) {
		session_state_pubcomp(c->ss, id, epoch, n);
		m->released[n] &= !mine;
	} else if (what == 14) {
		session_state_subscribe(c->ss, id, epoch, name(text, "f/", f), (uint8_t)f, p << 20);
		m->subs[f] = mine ? ((uint64_t)p << 28 | f) + 1 : m->subs[f];
	} else if (what == 15) {
		session_state_unsubscribe(c->ss, id, epoch, name(text, "f/", f));
		m->subs[f] = mine ? 0 : m->subs[f];
	} else if (what == 16) {
		session_state_incoming(c->ss, id, epoch, (uint16_t)(p + 1), (int32_t)f - 1);
		m->in2[p] = mine ? (int)f + 1 : m->in2[p];
	} else if (what == 17) {
		session_state_incoming_done(c->ss, id, epoch, (uint16_t)(p + 1));
		m->in2[p] = mine ? 0 : m->in2[p];
	} else if (what == 18) {
		session_state_sent(c->ss, id, epoch, n);
		m->sent = mine ? n : m->sent;
	} else if (pick(4) > 0) {
		session_state_away(c->ss, id, epoch, 50, now_ms);
		m->expiry_s = mine ? 50 : m->expiry_s;
		m->away = mine ? now_ms : m->away;
	} else {
		session_state_ended(c->ss, id, epoch);
		if (mine) {
			wipe(m);
			m->exists = false;
		}
	}
}

static void
retained_write(int w)
{
	struct client *c = &clients[w];
	uint32_t t = pick(TOPICS);
	char topic[16], text[16];

	settle();
	client_unit(c);
	if (pick(4) == 0) {
		session_state_unretain(c->ss, name(topic, "r/", t));
		retained[t] = 0;
	} else {
		name(text, "", (uint32_t)++said);
		session_state_retain(c->ss, name(topic, "r/", t), message_of("r", text));
		retained[t] = said;
	}
	settle();
}

static void
compare_session(uint32_t i)
{
	struct model *m = &models[i];
	struct client *c = &clients[m->owner];
	size_t expected = 0;
	char id[16];

	if (!m->exists)
		return;
	client_load(c, (const char *)name(id, "x", i).data);
	ck_assert_uint_lt(c->item_count, TOLD_MAX);
	for (uint32_t f = 0; f < FILTERS; f++) {
		const struct told_item *t;
		char text[16];

		t = client_told(
		    c, SESSION_STATE_SUBSCRIPTION, (const char *)name(text, "f/", f).data, 0);
		ck_assert_int_eq(t != NULL, m->subs[f] != 0);
		expected += t != NULL;
		if (t != NULL)
			ck_assert_uint_eq(
			    ((uint64_t)t->item.subscription_id << 8 | t->item.options) + 1,
			    m->subs[f]);
		t = client_told(c, SESSION_STATE_INCOMING, NULL, f + 1);
		ck_assert_int_eq(t != NULL, m->in2[f] != 0);
		expected += t != NULL;
		if (t != NULL)
			ck_assert_int_eq(t->item.partition + 2, m->in2[f]);
	}
	for (uint64_t n = 1; n < QUEUE; n++) {
		expected += (size_t)m->queued[n] + (size_t)m->released[n];
		if (m->queued[n])
			ck_assert_ptr_nonnull(client_told(c, SESSION_STATE_QUEUED, NULL, n));
		if (m->released[n])
			ck_assert_ptr_nonnull(client_told(c, SESSION_STATE_RELEASED, NULL, n));
	}
	ck_assert_uint_eq(c->item_count, expected);
}

static void
compare(void)
{
	settle();
	for (uint32_t i = 0; i < IDS; i++)
		compare_session(i);
	client_list(&clients[0], SESSION_STATE_RETAINED, "");
	for (uint32_t t = 0; t < TOPICS; t++) {
		char topic[16], text[16];
		const struct told_item *told = client_told(&clients[0], SESSION_STATE_RETAINED,
		    (const char *)name(topic, "r/", t).data, 0);

		ck_assert_int_eq(told != NULL, retained[t] != 0);
		name(text, "", (uint32_t)retained[t]);
		if (told != NULL)
			ck_assert_str_eq(told->payload, text);
	}
	for (int w = 0; w < 2; w++) {
		size_t owned = 0;

		ck_assert_uint_eq(clients[w].refusal_count, refusals[w]);
		ck_assert_uint_eq(clients[w].failed, 0);
		ck_assert_int_eq(clients[w].losts, 0);
		client_list(&clients[w], SESSION_STATE_OWNED, w == 0 ? "w0" : "w1");
		for (uint32_t i = 0; i < IDS; i++)
			owned += models[i].exists && models[i].owner == w;
		ck_assert_uint_eq(clients[w].item_count, owned);
	}
}

static void
make_trouble(void)
{
	session_state_flush(clients[pick(2)].ss);
	switch (pick(8)) {
	case 0:
		redis_kill(&redis);
		redis_restart(&redis, "always", NULL, NULL);
		break;
	case 1:
	case 2:
		REDIS(&redis, "SCRIPT", "FLUSH");
		break;
	default:
		REDIS(&redis, "CLIENT", "KILL", "TYPE", "normal");
		break;
	}
}

static void
run(int steps, bool trouble)
{
	const char *seed = getenv("SEED");

	random_state = seed != NULL ? strtoull(seed, NULL, 10) : (uint64_t)clock_wall_us();
	printf("SEED=%llu\n", (unsigned long long)random_state);
	fflush(stdout);
	signal(SIGPIPE, SIG_IGN);
	redis_start(&redis, "always");
	loop = loop_new();
	client_start(&clients[0], loop, &redis, "w0", 1);
	client_start(&clients[1], loop, &redis, "w1", 1);
	now_ms = 1000000;
	for (uint32_t i = 0; i < IDS; i++)
		claim((int)pick(2), i);
	for (int step = 0; step < steps; step++) {
		int w = (int)pick(2);
		uint32_t what = pick(400);

		now_ms += pick(2000);
		if (what < 4) {
			claim(w, pick(IDS));
		} else if (what < 6) {
			retained_write(w);
		} else if (what == 6) {
			compare();
		} else if (what == 7 && trouble) {
			make_trouble();
		} else if (what < 60) {
			session_state_flush(clients[w].ss);
			loop_turn(loop, 0);
		} else {
			client_unit(&clients[w]);
			for (uint32_t k = 1 + pick(4); k > 0; k--)
				session_write(w, pick(IDS));
		}
	}
	compare();
	session_state_free(&clients[0].ss);
	session_state_free(&clients[1].ss);
	loop_free(&loop);
	redis_remove(&redis);
}

START_TEST(test_random_operations)
{
	run(20000, false);
}
END_TEST

START_TEST(test_random_operations_in_trouble)
{
	run(5000, true);
}
END_TEST

UNIT_MAIN("session_state_model", test_random_operations, test_random_operations_in_trouble)
