/* test_auth.c - who is let in, with the registry in a redis-server of the test's own: found, changed, past, away, wrong */
#include "../unit.h"
#include "../common/support_redis.h"
#include "auth.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "credential.h"
#include "err.h"
#include "metrics.h"
#include "registry_lookup.h"
#include "registry_state.h"

#define TOKEN "abcdefghijklmnopqrstuvwxyz234567"
#define OTHER "bbcdefghijklmnopqrstuvwxyz234567"

static struct test_redis redis;
static struct loop *loop;
static struct settings *settings;
static struct auth *auth;
static struct registry_state *state;
static bool is_up;
static uint64_t changes;
static int committed, told;

#define WAIT(condition)                                                                            \
	do {                                                                                       \
		int64_t until_ = clock_mono_us() + 20000000;                                       \
		while (!(condition)) {                                                             \
			ck_assert_msg(clock_mono_us() < until_, "waiting for %s", #condition);     \
			loop_turn(loop, 10000);                                                    \
		}                                                                                  \
	} while (0)

static void
on_up(void *arg, uint64_t upto)
{
	(void)arg;
	(void)upto;
	is_up = true;
}

static void
on_down(void *arg)
{
	(void)arg;
	is_up = false;
}

static void
on_committed(void *arg)
{
	(void)arg;
	committed++;
}

static void
on_told(void *arg)
{
	(void)arg;
	told++;
}

static const struct registry_state_events events = { on_up, on_down, on_committed };

static void
set(const char *assignment)
{
	struct buf err = { 0 };

	ck_assert_int_eq(settings_set(settings, assignment, "test", &err), 0);
	buf_fini(&err);
}

static void
setup(void)
{
	char text[160];

	redis_start(&redis, "always");
	loop = loop_new();
	settings = settings_new();
	snprintf(text, sizeof(text), "redis.url=%s", redis.url);
	set(text);
	snprintf(text, sizeof(text), "data_dir=%s", redis.dir);
	set(text);
	ck_assert_int_eq(auth_new(loop, settings, &auth), 0);
	auth_listen(auth, on_told, NULL);
	ck_assert_int_eq(
	    registry_state_new(loop, redis.url, "", "db", 1, &events, NULL, &state), 0);
	WAIT(is_up);
	registry_state_commit(state, ++changes, true);
	WAIT(committed == 1);
}

static void
teardown(void)
{
	auth_free(&auth);
	registry_state_free(&state);
	settings_free(&settings);
	loop_free(&loop);
	redis_remove(&redis);
}

/* --- the registry --- */

static void
put(const struct registry_object *o)
{
	struct buf body = { 0 };
	int before = committed;

	ck_assert(registry_fault(o) == NULL);
	registry_encode(o, &body);
	registry_state_put(state, o, buf_bytes(&body));
	registry_state_commit(state, ++changes, true);
	WAIT(committed > before);
	buf_fini(&body);
}

static struct registry_object
device(const char *id, uint64_t version)
{
	return (struct registry_object){ MSG_DEVICE,
		{ .device = { .id = bytes_of_str(id), .version = version } } };
}

static struct credential_secret kept; /* what the last credential borrows from */
static char lookup[CREDENTIAL_NAME_LEN];

static struct registry_object
token(const char *text, const char *of, uint64_t version)
{
	struct registry_object o = { MSG_CREDENTIAL, { .credential = { .kind = CREDENTIAL_TOKEN,
							   .device = bytes_of_str(of),
							   .version = version } } };

	ck_assert_int_eq(credential_hash(CREDENTIAL_SHA256, bytes_of_str(text), &kept), 0);
	credential_put(&o.any.credential, &kept);
	credential_token_lookup(bytes_of_str(text), lookup);
	o.any.credential.lookup = bytes_of_str(lookup);
	return o;
}

static struct registry_object
password(const char *user, const char *text, enum credential_scheme scheme)
{
	struct registry_object o = { MSG_CREDENTIAL, { .credential = { .kind = CREDENTIAL_PASSWORD,
							   .lookup = bytes_of_str(user),
							   .user = bytes_of_str(user),
							   .roles = bytes_of_str("reader"),
							   .version = 1 } } };

	ck_assert_int_eq(credential_hash(scheme, bytes_of_str(text), &kept), 0);
	credential_put(&o.any.credential, &kept);
	return o;
}

static void
put_device(const char *id, const char *text)
{
	struct registry_object d = device(id, 1), c = token(text, id, 1);

	put(&d);
	put(&c);
}

/* --- questions --- */

static struct {
	int answers;
	enum auth_verdict verdict;
	struct auth_answer answer;
} last;

static void
on_done(void *arg, enum auth_verdict verdict, const struct auth_answer *answer)
{
	(void)arg;
	last.answers++;
	last.verdict = verdict;
	last.answer = *answer;
}

static enum auth_verdict
begin(const struct auth_request *q)
{
	enum auth_verdict verdict;

	memset(&last, 0, sizeof(last));
	verdict = auth_check(auth, q, on_done, &last, &last.answer);
	if (verdict != AUTH_PENDING)
		last.verdict = verdict;
	return verdict;
}

static enum auth_verdict
ask(const struct auth_request *q)
{
	if (begin(q) == AUTH_PENDING)
		WAIT(last.answers == 1);
	return last.verdict;
}

static enum auth_verdict
ask_token(const char *text)
{
	return ask(&(struct auth_request){ .username = bytes_of_str(text) });
}

static enum auth_verdict
ask_password(const char *user, const char *text)
{
	return ask(&(struct auth_request){
	    .username = bytes_of_str(user), .password = bytes_of_str(text) });
}

static struct auth_grant *
granted(const char *text)
{
	ck_assert_int_eq(ask_token(text), AUTH_GRANTED);
	return last.answer.grant;
}

START_TEST(a_token_is_asked_for_once)
{
	struct auth_grant *g, *again;
	uint64_t lookups = metric_get(M_AUTH_LOOKUPS);

	put_device("gh-1", TOKEN);
	g = granted(TOKEN);
	ck_assert_int_eq(last.answers, 1);
	ck_assert(g->is_device && !g->any_device && bytes_equal_str(g->identity, "gh-1"));
	ck_assert(auth_speaks_for(g, bytes_of_str("x"), bytes_of_str("gh-1")));
	ck_assert(!auth_speaks_for(g, bytes_of_str("x"), bytes_of_str("x")));
	again = granted(TOKEN);
	ck_assert_int_eq(last.answers, 0);
	ck_assert_ptr_eq(g, again);
	ck_assert_uint_eq(metric_get(M_AUTH_LOOKUPS), lookups + 1);
	auth_grant_unref(&again);
	ck_assert_int_eq(ask(&(struct auth_request){ .token = bytes_of_str(TOKEN) }), AUTH_GRANTED);
	auth_grant_unref(&last.answer.grant);
	auth_grant_unref(&g);
	ck_assert_int_eq(ask_token(OTHER), AUTH_BAD_CREDENTIALS);
}
END_TEST

START_TEST(without_credentials)
{
	struct auth_request q = { .loopback = true, .username = bytes_of_str("gh-1") };

	ck_assert_int_eq(ask(&q), AUTH_GRANTED);
	ck_assert(last.answer.grant->any_device && last.answer.grant->kind == 0);
	auth_grant_unref(&last.answer.grant);
	/* Long enough for a token, and none; and what is like a token is nothing else. */
	q.username = bytes_of_str("greenhouse-number-1");
	ck_assert_int_eq(ask(&q), AUTH_GRANTED);
	auth_grant_unref(&last.answer.grant);
	q.username = bytes_of_str(OTHER);
	ck_assert_int_eq(ask(&q), AUTH_BAD_CREDENTIALS);
	q.username = bytes_of_str("gh-1");
	q.password = bytes_of_str("x");
	ck_assert_int_eq(ask(&q), AUTH_BAD_CREDENTIALS);
	ck_assert_int_eq(ask(&(struct auth_request){ .loopback = false }), AUTH_NOT_AUTHORIZED);
}
END_TEST

START_TEST(passwords_fast_and_slow)
{
	struct registry_object fast = password("fast", "x1", CREDENTIAL_SHA256), slow;
	uint64_t before = metric_get(M_AUTH_SLOW);
	bool some_slow = false, some_fast = false;

	put(&fast);
	slow = password("slow", "x2", CREDENTIAL_ARGON2ID);
	put(&slow);
	ck_assert_int_eq(ask_password("fast", "x1"), AUTH_GRANTED);
	ck_assert(!last.answer.grant->is_device);
	ck_assert(bytes_equal_str(last.answer.grant->identity, "fast"));
	ck_assert(bytes_equal_str(last.answer.grant->roles, "reader"));
	auth_grant_unref(&last.answer.grant);
	ck_assert_uint_eq(metric_get(M_AUTH_SLOW), before);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(ask_password("slow", "x2"), AUTH_GRANTED);
		auth_grant_unref(&last.answer.grant);
	}
	/* Once proven it is fast; a wrong one never is. */
	ck_assert_uint_eq(metric_get(M_AUTH_SLOW), before + 1);
	ck_assert_int_eq(ask_password("slow", "x3"), AUTH_BAD_CREDENTIALS);
	ck_assert_uint_eq(metric_get(M_AUTH_SLOW), before + 2);
	ck_assert_int_eq(ask_password("fast", "x3"), AUTH_BAD_CREDENTIALS);
	ck_assert_uint_eq(metric_get(M_AUTH_SLOW), before + 2);
	/* Of names that nobody has some are slow and some are not, each always. */
	for (int i = 0; i < 40 && !(some_slow && some_fast); i++) {
		char name[8] = { 'n', (char)('0' + i), '\0' };

		before = metric_get(M_AUTH_SLOW);
		ck_assert_int_eq(ask_password(name, "x"), AUTH_BAD_CREDENTIALS);
		if (metric_get(M_AUTH_SLOW) > before)
			some_slow = true;
		else
			some_fast = true;
	}
	ck_assert(some_slow && some_fast);
	/* Who is gone gets no answer. */
	begin(&(struct auth_request){
	    .username = bytes_of_str("slow"), .password = bytes_of_str("x4") });
	auth_forget(auth, &last);
	WAIT(metric_get(M_AUTH_SLOW_WAITING) == 0);
	ck_assert_int_eq(last.answers, 0);
}
END_TEST

/* --- changes --- */

static void
hear(const struct registry_object *o)
{
	auth_hear(auth, o);
}

START_TEST(what_the_journal_says_counts_at_once)
{
	struct auth_grant *g;
	struct registry_object d = device("gh-1", 2), c;

	put_device("gh-1", TOKEN);
	g = granted(TOKEN);
	/* Other rights: the same grant. */
	d.any.device.speaks_for = bytes_of_str("a-*");
	told = 0;
	hear(&d);
	ck_assert(auth_speaks_for(g, bytes_of_str(""), bytes_of_str("a-1")) && g->changed);
	WAIT(told == 1);
	ck_assert(!g->changed && !g->cut);
	/* An older state, and the same again. */
	d = device("gh-1", 1);
	d.any.device.blocked = true;
	hear(&d);
	ck_assert(!g->cut);
	d.any.device.version = 3;
	hear(&d);
	ck_assert(g->cut);
	WAIT(told == 2);
	auth_grant_unref(&g);
	ck_assert_int_eq(ask_token(TOKEN), AUTH_NOT_AUTHORIZED);
	d.any.device.blocked = false;
	d.any.device.version = 4;
	hear(&d);
	g = granted(TOKEN);
	c = token(TOKEN, "gh-1", 2);
	c.any.credential.revoked = true;
	c.any.credential.scheme = CREDENTIAL_PLAIN;
	c.any.credential.salt = c.any.credential.hash = bytes_of_str("");
	hear(&c);
	ck_assert(g->cut);
	auth_grant_unref(&g);
	/* Redis still has it: that is the past. */
	ck_assert_int_eq(ask_token(TOKEN), AUTH_UNAVAILABLE);
	put(&c);
	ck_assert_int_eq(ask_token(TOKEN), AUTH_BAD_CREDENTIALS);
}
END_TEST

START_TEST(a_change_before_the_answer)
{
	struct registry_object d = device("gh-1", 2);

	put_device("gh-1", TOKEN);
	d.any.device.blocked = true;
	ck_assert_int_eq(
	    begin(&(struct auth_request){ .username = bytes_of_str(TOKEN) }), AUTH_PENDING);
	hear(&d);
	for (int i = 0; i < 20; i++)
		loop_turn(loop, 5000);
	ck_assert_int_eq(last.answers, 0);
	put(&d);
	WAIT(last.answers == 1);
	ck_assert_int_eq(last.verdict, AUTH_NOT_AUTHORIZED);
}
END_TEST

START_TEST(what_was_missed_is_found)
{
	struct registry_object d = device("gh-1", 2);
	struct auth_grant *g;

	put_device("gh-1", TOKEN);
	g = granted(TOKEN);
	d.any.device.blocked = true;
	put(&d);
	auth_missed(auth);
	WAIT(g->cut);
	auth_grant_unref(&g);
}
END_TEST

START_TEST(what_expires_is_cut)
{
	struct registry_object d = device("gh-1", 1), c = token(TOKEN, "gh-1", 1);
	struct auth_grant *g;

	c.any.credential.expires = clock_wall_us() + 1000000;
	put(&d);
	put(&c);
	g = granted(TOKEN);
	WAIT(g->cut);
	auth_grant_unref(&g);
	ck_assert_int_eq(ask_token(TOKEN), AUTH_BAD_CREDENTIALS);
}
END_TEST

START_TEST(redis_is_away)
{
	struct registry_object d = device("gh-1", 2);
	struct auth_grant *g;

	put_device("gh-1", TOKEN);
	put_device("gh-2", OTHER);
	g = granted(TOKEN);
	auth_grant_unref(&g);
	redis_kill(&redis);
	WAIT(!is_up);
	g = granted(TOKEN);
	ck_assert_int_eq(ask_token(OTHER), AUTH_UNAVAILABLE);
	/* Anonymous ones do without. */
	ck_assert_int_eq(ask(&(struct auth_request){
			     .username = bytes_of_str("greenhouse-number-1"), .loopback = true }),
	    AUTH_GRANTED);
	auth_grant_unref(&last.answer.grant);
	d.any.device.blocked = true;
	hear(&d);
	ck_assert(g->cut);
	auth_grant_unref(&g);
	ck_assert_int_eq(ask_token(TOKEN), AUTH_NOT_AUTHORIZED);
	redis_restart(&redis, "always", NULL, NULL);
	WAIT(is_up);
	for (int i = 0; ask_token(OTHER) != AUTH_GRANTED; i++)
		ck_assert_msg(i < 20, "verdict %d", (int)last.verdict);
	auth_grant_unref(&last.answer.grant);
}
END_TEST

/* --- handshakes --- */

START_TEST(pre_shared_keys)
{
	struct registry_object d = device("gh-1", 1);
	struct registry_object c = { MSG_CREDENTIAL, { .credential = { .kind = CREDENTIAL_PSK,
							   .lookup = bytes_of_str("plc"),
							   .device = bytes_of_str("gh-1"),
							   .version = 1 } } };
	struct bytes plc = bytes_of_str("plc"), nobody = bytes_of_str("nobody");
	uint8_t seal[CREDENTIAL_KEY_LEN], key[64];
	char path[160];

	snprintf(path, sizeof(path), "%s/registry", redis.dir);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/registry/seal.key", redis.dir);
	ck_assert_int_eq(credential_key_load(path, true, seal), 0);
	ck_assert_int_eq(credential_seal(seal, plc, bytes_of_str("0123456789abcdef"), &kept), 0);
	credential_put(&c.any.credential, &kept);
	put(&d);
	put(&c);
	ck_assert_int_eq(auth_psk(auth, plc, key, sizeof(key)), ERR_AGAIN);
	WAIT(auth_psk(auth, plc, key, sizeof(key)) == 16);
	ck_assert_mem_eq(key, "0123456789abcdef", 16);
	ck_assert_int_eq(auth_psk(auth, plc, key, 15), ERR_NOT_FOUND);
	WAIT(auth_psk(auth, nobody, key, sizeof(key)) == ERR_NOT_FOUND);
	ck_assert_int_eq(ask(&(struct auth_request){ .psk_identity = plc }), AUTH_GRANTED);
	ck_assert(bytes_equal_str(last.answer.grant->identity, "gh-1"));
	auth_grant_unref(&last.answer.grant);
	d.any.device.version = 2;
	d.any.device.blocked = true;
	hear(&d);
	ck_assert_int_eq(auth_psk(auth, plc, key, sizeof(key)), ERR_NOT_FOUND);
	ck_assert_int_eq(unlink(path), 0);
	path[strlen(path) - strlen("/seal.key")] = '\0';
	ck_assert_int_eq(rmdir(path), 0);
}
END_TEST

START_TEST(certificates)
{
	struct registry_object d = device("gh-1", 1);
	struct registry_object c = { MSG_CREDENTIAL,
		{ .credential = {
		      .kind = CREDENTIAL_X509, .device = bytes_of_str("gh-1"), .version = 1 } } };
	struct auth_request q = { .certificate = bytes_of_str("leaf"),
		.ca = bytes_of_str("ca"),
		.subject = bytes_of_str("CN=gh-1") };

	put(&d);
	ck_assert_int_eq(ask(&q), AUTH_NOT_AUTHORIZED);
	credential_ca_lookup(q.ca, q.subject, lookup);
	c.any.credential.lookup = bytes_of_str(lookup);
	put(&c);
	ck_assert_int_eq(ask(&q), AUTH_GRANTED);
	ck_assert(bytes_equal_str(last.answer.grant->identity, "gh-1"));
	auth_grant_unref(&last.answer.grant);
	/* A user name beside it changes nothing. */
	q.username = bytes_of_str("somebody");
	ck_assert_int_eq(ask(&q), AUTH_GRANTED);
	auth_grant_unref(&last.answer.grant);
}
END_TEST

START_TEST(many_wait_for_their_turn)
{
	const uint8_t ip[4] = { 192, 0, 2, 1 };
	struct peer peer = peer_of_v4(ip, 1);
	struct auth_request q = { .peer = &peer, .username = bytes_of_str(TOKEN) };
	struct auth_grant *g;
	size_t later = 0, busy = 0;

	put_device("gh-1", TOKEN);
	g = granted(TOKEN);
	auth_free(&auth);
	set("auth.connects_per_second=100");
	set("auth.connects_wait=1s");
	ck_assert_int_eq(auth_new(loop, settings, &auth), 0);
	auth_grant_unref(&g);
	g = granted(TOKEN);
	auth_grant_unref(&g);
	memset(&last, 0, sizeof(last));
	for (int i = 0; i < 250; i++) {
		struct auth_answer answer;

		switch (auth_check(auth, &q, on_done, &last, &answer)) {
		case AUTH_GRANTED:
			auth_grant_unref(&answer.grant);
			break;
		case AUTH_PENDING:
			later++;
			break;
		default:
			ck_assert_uint_ge(answer.retry_ms, 1000);
			busy++;
		}
	}
	ck_assert_uint_ge(later, 95);
	ck_assert_uint_ge(busy, 40);
	ck_assert_uint_le(later + busy, 152);
	while (last.answers < (int)later) {
		int before = last.answers;

		WAIT(last.answers > before);
		ck_assert_int_eq(last.verdict, AUTH_GRANTED);
	}
	auth_forget(auth, &last);
}
END_TEST

UNIT_MAIN_IN("auth", setup, teardown, a_token_is_asked_for_once, without_credentials,
    passwords_fast_and_slow, what_the_journal_says_counts_at_once, a_change_before_the_answer,
    what_was_missed_is_found, what_expires_is_cut, redis_is_away, pre_shared_keys, certificates,
    many_wait_for_their_turn)
