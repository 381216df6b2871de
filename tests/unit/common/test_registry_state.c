/* test_registry_state.c - the registry in a redis-server of the test's own: written, found, emptied, another's, away */
#include "registry_state.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "../unit.h"
#include "clock.h"
#include "credential.h"
#include "err.h"
#include "mem.h"
#include "registry_lookup.h"
#include "support_redis.h"

#define HASH32 "0123456789abcdef0123456789abcdef"

static struct test_redis redis;
static struct loop *loop;

struct writer {
	struct registry_state *state;
	int ups, downs, committed;
	uint64_t upto;
};

static void
on_up(void *arg, uint64_t upto)
{
	struct writer *w = arg;

	w->ups++;
	w->upto = upto;
}

static void
on_down(void *arg)
{
	((struct writer *)arg)->downs++;
}

static void
on_committed(void *arg)
{
	((struct writer *)arg)->committed++;
}

static const struct registry_state_events events = { on_up, on_down, on_committed };

#define WAIT(condition)                                                                            \
	do {                                                                                       \
		int64_t until_ = clock_mono_us() + 20000000;                                       \
		while (!(condition)) {                                                             \
			ck_assert_msg(clock_mono_us() < until_, "waiting for %s", #condition);     \
			loop_turn(loop, 10000);                                                    \
		}                                                                                  \
	} while (0)

static void
writer_start(struct writer *w, const char *db, uint64_t life)
{
	*w = (struct writer){ .state = NULL };
	ck_assert_int_eq(
	    registry_state_new(loop, redis.url, "", db, life, &events, w, &w->state), 0);
	WAIT(w->ups == 1);
}

static struct bytes
b(const char *s)
{
	return bytes_of_str(s);
}

static void
put(struct writer *w, const struct registry_object *o)
{
	struct buf body = { 0 };

	ck_assert(registry_fault(o) == NULL);
	registry_encode(o, &body);
	registry_state_put(w->state, o, buf_bytes(&body));
	buf_fini(&body);
}

static void
put_device(struct writer *w, const char *id, uint64_t version, bool removed)
{
	put(w, &(struct registry_object){ MSG_DEVICE,
		   { .device = { .id = b(id), .version = version, .removed = removed } } });
}

static void
put_token(struct writer *w, const char *lookup, const char *device, bool revoked)
{
	put(w, &(struct registry_object){
		   MSG_CREDENTIAL, { .credential = { .kind = CREDENTIAL_TOKEN,
					 .lookup = b(lookup),
					 .device = b(device),
					 .revoked = revoked,
					 .scheme = revoked ? CREDENTIAL_PLAIN : CREDENTIAL_SHA256,
					 .salt = b(revoked ? "" : "salt"),
					 .hash = b(revoked ? "" : HASH32) } } });
}

static void
commit(struct writer *w, uint64_t upto, bool complete)
{
	int before = w->committed;

	registry_state_commit(w->state, upto, complete);
	WAIT(w->committed == before + 1);
}

/* --- questions --- */

struct asked {
	int answers, err;
	bool has_device;
	uint64_t version;
	char device[32];
};

static void
on_answer(void *arg, int err, const struct registry_answer *answer)
{
	struct asked *a = arg;

	a->answers++;
	a->err = err;
	if (err != 0)
		return;
	a->has_device = answer->has_device;
	a->version = answer->device.version;
	snprintf(a->device, sizeof(a->device), "%.*s", (int)answer->device.id.len,
	    answer->has_device ? (const char *)answer->device.id.data : "");
}

static struct asked
ask(struct registry_lookup *l, const char *token, const char *device)
{
	struct asked a = { 0 };

	WAIT(registry_lookup_is_up(l));
	if (token)
		a.err = registry_lookup_credential(l, CREDENTIAL_TOKEN, b(token), on_answer, &a);
	else
		a.err = registry_lookup_device(l, b(device), on_answer, &a);
	if (a.err == 0)
		WAIT(a.answers == 1);
	return a;
}

static struct registry_lookup *lookup;
static struct writer w;

static void
begin(void)
{
	redis_start(&redis, "everysec");
	loop = loop_new();
	ck_assert_int_eq(registry_lookup_new(loop, redis.url, "", &lookup), 0);
}

static void
finish(void)
{
	registry_state_free(&w.state);
	registry_lookup_free(&lookup);
	loop_free(&loop);
	redis_remove(&redis);
}

START_TEST(test_found)
{
	struct asked a;

	begin();
	ck_assert_int_eq(ask(lookup, "t1", NULL).err, ERR_AGAIN); /* no registry: nobody knows */
	writer_start(&w, "db-1", 7);
	ck_assert_uint_eq(w.upto, 0);
	ck_assert_int_eq(ask(lookup, "t1", NULL).err, ERR_AGAIN);
	put_device(&w, "gh-1", 3, false);
	put_token(&w, "t1", "gh-1", false);
	put_token(&w, "lost", "gh-none", false);
	commit(&w, 2, false);
	ck_assert_int_eq(ask(lookup, "t1", NULL).err, ERR_AGAIN); /* not all of it */
	commit(&w, 3, true);
	a = ask(lookup, "t1", NULL);
	ck_assert(a.err == 0 && a.has_device && a.version == 3 && strcmp(a.device, "gh-1") == 0);
	a = ask(lookup, NULL, "gh-1");
	ck_assert(a.err == 0 && a.has_device && a.version == 3);
	a = ask(lookup, "lost", NULL);
	ck_assert(a.err == 0 && !a.has_device);
	ck_assert_int_eq(ask(lookup, "t2", NULL).err, ERR_NOT_FOUND);
	ck_assert_int_eq(ask(lookup, NULL, "gh-2").err, ERR_NOT_FOUND);
	put_token(&w, "t1", "gh-1", true);
	put_device(&w, "gh-1", 4, true);
	commit(&w, 5, true);
	ck_assert_int_eq(ask(lookup, "t1", NULL).err, ERR_NOT_FOUND);
	ck_assert_int_eq(ask(lookup, NULL, "gh-1").err, ERR_NOT_FOUND);
	finish();
}
END_TEST

START_TEST(test_attributes_and_profiles)
{
	struct registry_object attribute = { MSG_ATTRIBUTE,
		{ .attribute = {
		      .device = b("gh-1"), .scope = 2, .name = b("floor"), .value = b("3") } } };
	struct registry_object profile = { MSG_PROFILE, { .profile = { .name = b("air") } } };

	begin();
	writer_start(&w, "db-1", 7);
	put(&w, &attribute);
	attribute.any.attribute.name = b("room");
	put(&w, &attribute);
	put(&w, &profile);
	commit(&w, 3, true);
	ck_assert_int_eq(REDIS(&redis, "HLEN", "roost:registry:attributes:gh-1"), 2);
	ck_assert_int_eq(REDIS(&redis, "EXISTS", "roost:registry:profile:air"), 1);
	attribute.any.attribute.value = b("");
	profile.any.profile.removed = true;
	put(&w, &attribute);
	put(&w, &profile);
	commit(&w, 5, true);
	ck_assert_int_eq(REDIS(&redis, "HLEN", "roost:registry:attributes:gh-1"), 1);
	ck_assert_int_eq(REDIS(&redis, "EXISTS", "roost:registry:profile:air"), 0);
	put_device(&w, "gh-1", 2, true);
	commit(&w, 6, true);
	ck_assert_int_eq(REDIS(&redis, "EXISTS", "roost:registry:attributes:gh-1"), 0);
	finish();
}
END_TEST

START_TEST(test_goes_on_and_begins_anew)
{
	begin();
	writer_start(&w, "db-1", 7);
	put_device(&w, "gh-1", 1, false);
	commit(&w, 1, true);
	registry_state_free(&w.state);
	writer_start(&w, "db-1", 8);
	ck_assert_uint_eq(w.upto, 1);
	ck_assert_int_eq(ask(lookup, NULL, "gh-1").err, 0);
	/* FLUSHALL: the next portion, an empty one too, finds out. */
	ck_assert_int_ge(REDIS(&redis, "FLUSHALL"), 0);
	ck_assert_int_eq(ask(lookup, NULL, "gh-1").err, ERR_AGAIN);
	registry_state_commit(w.state, 1, true);
	WAIT(w.ups == 2);
	ck_assert(w.downs == 1 && w.upto == 0 && w.committed == 0);
	put_device(&w, "gh-1", 1, false);
	commit(&w, 1, true);
	ck_assert_int_eq(ask(lookup, NULL, "gh-1").err, 0);
	/* What is there is not to be believed. */
	registry_state_begin_anew(w.state);
	WAIT(w.ups == 3);
	ck_assert_uint_eq(w.upto, 0);
	ck_assert_int_eq(REDIS(&redis, "EXISTS", "roost:registry:device:gh-1"), 0);
	/* Another registry.db: what the one before knew is gone. */
	registry_state_free(&w.state);
	for (int i = 0; i < 3000; i++) {
		char key[64];

		snprintf(key, sizeof(key), "roost:registry:device:old-%d", i);
		REDIS(&redis, "SET", key, "x");
	}
	REDIS(&redis, "SET", "roost:device:gh-1:latest", "x");
	writer_start(&w, "db-2", 9);
	ck_assert_uint_eq(w.upto, 0);
	ck_assert_int_eq(REDIS(&redis, "DBSIZE"), 2); /* the mark, and what is not the registry's */
	finish();
}
END_TEST

/* A registry that was replaced and does not know it yet writes nothing any more. */
START_TEST(test_earlier_life_is_refused)
{
	struct writer late = { 0 };

	begin();
	writer_start(&late, "db-1", 7);
	writer_start(&w, "db-1", 8);
	put_device(&late, "gh-1", 1, false);
	registry_state_commit(late.state, 9, true);
	WAIT(late.downs == 1);
	ck_assert_int_eq(late.committed, 0);
	ck_assert_int_eq(REDIS(&redis, "EXISTS", "roost:registry:device:gh-1"), 0);
	registry_state_free(&late.state);
	finish();
}
END_TEST

START_TEST(test_what_is_no_object)
{
	begin();
	writer_start(&w, "db-1", 7);
	put_token(&w, "t1", "gh-1", false);
	put_device(&w, "gh-2", 1, false);
	commit(&w, 1, true);
	REDIS(&redis, "SET", "roost:registry:device:gh-1", "nonsense");
	ck_assert_int_eq(ask(lookup, "t1", NULL).err, ERR_AGAIN);
	ck_assert_int_eq(ask(lookup, NULL, "gh-1").err, ERR_AGAIN);
	REDIS(&redis, "DEL", "roost:registry:device:gh-1");
	/* A credential beside another's device opens neither. */
	REDIS(&redis, "HSET", "roost:registry:credential:1:t1", "d", "gh-2");
	ck_assert_int_eq(ask(lookup, "t1", NULL).err, ERR_AGAIN);
	REDIS(&redis, "HSET", "roost:registry:credential:1:t1", "m", "nonsense");
	ck_assert_int_eq(ask(lookup, "t1", NULL).err, ERR_AGAIN);
	finish();
}
END_TEST

START_TEST(test_questions_end)
{
	struct asked a = { 0 };
	struct bytes none = { 0 };

	begin();
	ck_assert_int_eq(
	    registry_lookup_credential(lookup, CREDENTIAL_TOKEN, b("t"), on_answer, &a), ERR_AGAIN);
	writer_start(&w, "db-1", 7);
	WAIT(registry_lookup_is_up(lookup));
	ck_assert_int_eq(
	    registry_lookup_credential(lookup, CREDENTIAL_TOKEN, none, on_answer, &a), ERR_TOO_BIG);
	ck_assert_int_eq(registry_lookup_device(lookup, none, on_answer, &a), ERR_TOO_BIG);
	/* Forgotten: no answer to it, one to the next. */
	ck_assert_int_eq(registry_lookup_device(lookup, b("x"), on_answer, &a), 0);
	registry_lookup_forget(lookup, &a);
	(void)ask(lookup, NULL, "y");
	ck_assert_int_eq(a.answers, 0);
	/* Redis goes away: nobody knows. */
	ck_assert_int_eq(registry_lookup_device(lookup, b("x"), on_answer, &a), 0);
	redis_kill(&redis);
	WAIT(a.answers == 1);
	ck_assert(a.err == ERR_AGAIN || a.err == 0);
	WAIT(!registry_lookup_is_up(lookup));
	/* Too many at once. */
	redis_restart(&redis, "everysec", NULL, NULL);
	WAIT(registry_lookup_is_up(lookup));
	for (int i = 0; i < REGISTRY_LOOKUP_WAITING_MAX; i++)
		ck_assert_int_eq(registry_lookup_device(lookup, b("x"), on_answer, &a), 0);
	ck_assert_int_eq(registry_lookup_device(lookup, b("x"), on_answer, &a), ERR_FULL);
	WAIT(a.answers == REGISTRY_LOOKUP_WAITING_MAX + 1);
	/* What waits at the end is freed. */
	ck_assert_int_eq(registry_lookup_device(lookup, b("x"), on_answer, &a), 0);
	finish();
}
END_TEST

START_TEST(test_urls)
{
	struct registry_state *state = NULL;
	struct registry_lookup *l = NULL;

	loop = loop_new();
	ck_assert_int_eq(
	    registry_state_new(loop, "http://x", "", "db", 1, &events, &w, &state), ERR_CONFIG);
	ck_assert_int_eq(registry_lookup_new(loop, "http://x", "", &l), ERR_CONFIG);
	ck_assert(state == NULL && l == NULL);
	registry_lookup_free(&l);
	loop_free(&loop);
}
END_TEST

UNIT_MAIN("registry_state", test_found, test_attributes_and_profiles, test_goes_on_and_begins_anew,
    test_earlier_life_is_refused, test_what_is_no_object, test_questions_end, test_urls)
