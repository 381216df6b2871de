/* test_session_state_faults.c - Redis dies, hangs, loads, empties, fills, forgets scripts: what was answered is there, once */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "../unit.h"
#include "clock.h"
#include "err.h"
#include "metrics.h"
#include "support_session_state.h"

#define A "connectivity-0"
#define TRAFFIC 4000

static struct test_redis redis;
static struct loop *loop;
static struct client a;
static uint64_t epoch;
static uint64_t sent; /* n of the last enqueue */

static struct bytes
s(const char *text)
{
	return bytes_of_str(text);
}

static void
begin(const char *fsync)
{
	signal(SIGPIPE, SIG_IGN); /* as worker processes do */
	redis_start(&redis, fsync);
	loop = loop_new();
	client_start(&a, loop, &redis, A, 1);
	epoch = client_claim(&a, "x", true, 60, 0);
	sent = 0;
}

static void
finish(void)
{
	session_state_free(&a.ss);
	loop_free(&loop);
	redis_remove(&redis);
}

/* A unit of one message for x, and one retained message, which has a number to tell. */
static void
write_one(struct client *c)
{
	char text[32];

	client_unit(c);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)++sent);
	session_state_message(c->ss, message_of("t", text));
	session_state_enqueue(c->ss, s("x"), epoch, sent, &qos1);
	session_state_retain(c->ss, s("last"), message_of("last", text));
}

static void
expect_all(void)
{
	ck_assert_uint_eq(a.refusal_count, 0);
	ck_assert_uint_eq(a.failed, 0);
	ck_assert_uint_eq(a.seqs, sent);
	ck_assert_uint_eq(a.seq, sent);
	client_load(&a, "x");
	ck_assert_uint_eq(a.item_count, sent);
	ck_assert_uint_eq(a.last_n, sent);
	client_list(&a, SESSION_STATE_RETAINED, "");
	ck_assert_ptr_nonnull(client_told(&a, SESSION_STATE_RETAINED, "last", sent));
}

/* Traffic until TRAFFIC units, a few each turn; trouble is called after every 200. */
static void
traffic(void (*trouble)(void))
{
	int64_t until = clock_mono_us() + 30000000;

	while (a.done < TRAFFIC) {
		for (int i = 0; i < 20 && a.begun < TRAFFIC && a.begun - a.done < 500; i++) {
			write_one(&a);
			if (trouble != NULL && a.begun % 200 == 0)
				trouble();
		}
		session_state_flush(a.ss);
		loop_turn(loop, 1000);
		ck_assert_msg(clock_mono_us() < until, "%llu of %d units",
		    (unsigned long long)a.done, TRAFFIC);
	}
}

static void
cut(void)
{
	session_state_flush(a.ss);
	REDIS(&redis, "CLIENT", "KILL", "TYPE", "normal");
}

START_TEST(test_connections_are_cut)
{
	begin("everysec");
	traffic(cut);
	ck_assert_int_ge(a.downs, 5);
	expect_all();
	finish();
}
END_TEST

static void
write_next(struct client *c, uint64_t token, int err)
{
	(void)token;
	(void)err;
	if (c->begun >= TRAFFIC)
		return;
	write_one(c);
	session_state_flush(c->ss);
}

/* From within an answer, while the other side closes the connection. */
START_TEST(test_answers_write)
{
	int64_t next = 0;

	begin("everysec");
	a.on_done = write_next;
	for (int i = 0; i < 50; i++)
		write_one(&a);
	session_state_flush(a.ss);
	while (a.done < TRAFFIC) {
		if (a.begun >= (uint64_t)next && session_state_is_up(a.ss)) {
			REDIS(&redis, "CLIENT", "KILL", "TYPE", "normal");
			next += 400;
		}
		loop_turn(loop, 1000);
	}
	ck_assert_int_ge(a.downs, 5);
	expect_all();
	finish();
}
END_TEST

static void
forget_scripts(void)
{
	session_state_flush(a.ss);
	REDIS(&redis, "SCRIPT", "FLUSH");
}

START_TEST(test_scripts_are_forgotten)
{
	begin("everysec");
	traffic(forget_scripts);
	ck_assert_int_ge(a.downs, 5);
	expect_all();
	finish();
}
END_TEST

static void
kill_server(void)
{
	if (a.begun % 600 != 0)
		return;
	session_state_flush(a.ss);
	redis_kill(&redis);
	redis_restart(&redis, "always", NULL, NULL);
}

/* Every answer comes after a write of the file: nothing that was answered is missing, nothing is there twice. */
START_TEST(test_the_server_is_killed)
{
	begin("always");
	traffic(kill_server);
	ck_assert_int_ge(a.downs, 5);
	ck_assert_int_eq(a.losts, 0);
	expect_all();
	finish();
}
END_TEST

/* The file ends within a batch: nothing of that is carried out, not at the next start and not at any later one. */
START_TEST(test_a_batch_is_torn)
{
	char command[160];

	begin("always");
	for (int i = 0; i < 20; i++)
		write_one(&a);
	client_flush(&a);
	for (int start = 0; start < 3; start++) {
		redis_kill(&redis);
		snprintf(command, sizeof(command), "truncate -s %s %s/appendonlydir/*.incr.aof",
		    start == 0 ? "-1000" : "-0", redis.dir);
		ck_assert_int_eq(system(command), 0);
		redis_restart(&redis, "always", NULL, NULL);
		if (start > 0)
			continue;
		UNTIL(loop, a.losts == 1 && session_state_is_up(a.ss));
		epoch = client_claim(&a, "x", true, 60, 0);
		write_one(&a);
		client_flush(&a);
		ck_assert_uint_eq(a.seq, 1);
	}
	write_one(&a);
	client_flush(&a);
	ck_assert_int_eq(a.losts, 1);
	ck_assert_uint_eq(a.refusal_count, 0);
	ck_assert_uint_eq(a.seq, 2);
	finish();
}
END_TEST

static void
kill_file(void)
{
	char path[128];

	if (a.begun != 1000)
		return;
	client_flush(&a);
	redis_kill(&redis);
	snprintf(path, sizeof(path), "rm -r %s/appendonlydir", redis.dir);
	ck_assert_int_eq(system(path), 0);
	redis_restart(&redis, "everysec", NULL, NULL);
}

static void
expect_loss(void)
{
	ck_assert_int_eq(a.losts, 1);
	ck_assert_msg(!session_state_is_up(a.ss) || a.done == a.begun, "units wait after a loss");
}

/* What is written after a loss has epochs that Redis does not know: the owner claims again and writes anew. */
START_TEST(test_what_was_acknowledged_is_lost)
{
	begin("everysec");
	traffic(kill_file);
	expect_loss();
	ck_assert_uint_gt(a.refusal_count + a.failed, 0);
	epoch = client_claim(&a, "x", true, 60, 0);
	a.refusal_count = 0;
	for (int i = 0; i < 10; i++)
		write_one(&a);
	client_flush(&a);
	ck_assert_uint_eq(a.refusal_count, 0);
	client_load(&a, "x");
	ck_assert_uint_eq(a.item_count, 10);
	ck_assert_uint_eq(a.last_n, sent);
	finish();
}
END_TEST

START_TEST(test_flushall_is_noticed_in_silence)
{
	begin("everysec");
	write_one(&a);
	client_flush(&a);
	REDIS(&redis, "FLUSHALL");
	UNTIL(loop, a.losts == 1 && session_state_is_up(a.ss));
	epoch = client_claim(&a, "x", true, 60, 0);
	write_one(&a);
	client_flush(&a);
	ck_assert_uint_eq(a.refusal_count, 0);
	/* And with units that wait: they are answered, with an error. */
	REDIS(&redis, "FLUSHALL");
	write_one(&a);
	write_one(&a);
	session_state_flush(a.ss);
	write_one(&a); /* of a batch that has not left */
	UNTIL(loop, a.losts == 2 && session_state_is_up(a.ss) && a.done == a.begun);
	ck_assert_uint_eq(a.failed, 3);
	finish();
}
END_TEST

/* The log is there, but claims that were answered are not. */
START_TEST(test_lost_claims_are_noticed)
{
	begin("everysec");
	write_one(&a);
	client_flush(&a);
	REDIS(&redis, "SET", "roost:mqtt:epoch", "0");
	cut();
	UNTIL(loop, a.losts == 1 && session_state_is_up(a.ss));
	finish();
}
END_TEST

START_TEST(test_no_memory)
{
	static char big[100000];

	begin("everysec");
	write_one(&a);
	write_one(&a);
	session_state_subscribe(a.ss, s("x"), epoch, s("f"), 1, 0);
	client_flush(&a);
	memset(big, 'x', sizeof(big) - 1);
	REDIS(&redis, "CONFIG", "SET", "maxmemory-policy", "noeviction");
	REDIS(&redis, "CONFIG", "SET", "maxmemory", "1");
	client_unit(&a);
	session_state_message(a.ss, s(big));
	session_state_enqueue(a.ss, s("x"), epoch, 3, &qos1);
	session_state_acked(a.ss, s("x"), epoch, 1);
	session_state_retain(a.ss, s("last"), s(big));
	session_state_subscribe(a.ss, s("x"), epoch, s("g"), 1, 0);
	session_state_unsubscribe(a.ss, s("x"), epoch, s("f"));
	session_state_away(a.ss, s("x"), epoch, 60, 5);
	client_flush(&a);
	ck_assert_uint_eq(a.refusal_count, 3);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(a.refusals[i].err, ERR_FULL);
	ck_assert_uint_eq(a.seq, 0);
	ck_assert_int_eq(a.downs, 0);
	ck_assert_int_eq(session_state_claim(a.ss, s("y"), true, 60, 0, 1), 0);
	UNTIL(loop, a.claims == 2);
	ck_assert_int_eq(a.claim_err, ERR_FULL);
	REDIS(&redis, "CONFIG", "SET", "maxmemory", "0");
	client_load(&a, "x");
	ck_assert_uint_eq(a.item_count, 1);
	ck_assert_ptr_nonnull(client_told(&a, SESSION_STATE_QUEUED, NULL, 2));
	write_one(&a);
	client_flush(&a);
	ck_assert_uint_eq(a.refusal_count, 3);
	finish();
}
END_TEST

/* Whoever hears that the connection ended before the answer may ask again when it is up, not at once. */
START_TEST(test_claim_is_cut)
{
	begin("everysec");
	ck_assert_int_eq(session_state_claim(a.ss, s("y"), false, 60, 0, 1), 0);
	a.claim_up = true;
	redis_kill(&redis);
	UNTIL(loop, a.claims == 2);
	ck_assert_int_eq(a.claim_err, ERR_CLOSED);
	ck_assert(!a.claim_up);
	ck_assert_int_eq(session_state_claim(a.ss, s("y"), false, 60, 0, 1), ERR_CLOSED);
	redis_restart(&redis, "everysec", NULL, NULL);
	ck_assert_uint_gt(client_claim(&a, "y", false, 60, 0), epoch);
	finish();
}
END_TEST

/* What stands under a session's key and is none. */
START_TEST(test_claim_of_what_is_none)
{
	begin("everysec");
	REDIS(&redis, "SET", "roost:mqtt:session:y", "x");
	client_claim(&a, "y", false, 60, 0);
	ck_assert(!a.claim.present);
	REDIS(&redis, "HSET", "roost:mqtt:session:y", "a", "?", "x", "?");
	client_claim(&a, "y", false, 60, 1);
	ck_assert(!a.claim.present);
	finish();
}
END_TEST

/* A replica takes no writes: units wait until it is no replica any more. */
START_TEST(test_read_only)
{
	begin("everysec");
	REDIS(&redis, "REPLICAOF", "127.0.0.1", "1");
	write_one(&a);
	session_state_flush(a.ss);
	UNTIL(loop, a.downs >= 1);
	ck_assert_uint_eq(a.done, 0);
	REDIS(&redis, "REPLICAOF", "NO", "ONE");
	client_flush(&a);
	expect_all();
	finish();
}
END_TEST

START_TEST(test_loading)
{
	begin("everysec");
	for (int i = 0; i < 100; i++) {
		write_one(&a);
		session_state_flush(a.ss);
	}
	client_flush(&a);
	redis_kill(&redis);
	/* Some 3 s of "LOADING". */
	redis_restart(&redis, "everysec", "--key-load-delay", "3000");
	UNTIL(loop, !session_state_is_up(a.ss));
	write_one(&a);
	client_flush(&a);
	ck_assert_int_eq(a.losts, 0);
	expect_all();
	finish();
}
END_TEST

START_TEST(test_a_hung_server_is_left)
{
	begin("everysec");
	write_one(&a);
	client_flush(&a);
	ck_assert_int_eq(kill(redis.pid, SIGSTOP), 0);
	write_one(&a);
	session_state_flush(a.ss);
	ck_assert_int_eq(session_state_claim(a.ss, s("y"), true, 60, 0, 1), 0);
	UNTIL(loop, a.downs == 1);
	ck_assert_int_eq(a.claims, 2);
	ck_assert_int_eq(a.claim_err, ERR_CLOSED);
	ck_assert_int_eq(kill(redis.pid, SIGCONT), 0);
	client_flush(&a);
	expect_all();
	finish();
}
END_TEST

START_TEST(test_what_waits_is_bounded)
{
	static char big[200000];
	uint64_t token = 0;
	size_t units = 0;
	int err = 0;

	begin("everysec");
	memset(big, 'x', sizeof(big) - 1);
	ck_assert_int_eq(kill(redis.pid, SIGSTOP), 0);
	token = a.begun;
	for (; err == 0 && units < 1000; units += err == 0) {
		err = session_state_unit(a.ss, token + 1);
		if (err == 0) {
			token++;
			session_state_message(a.ss, message_of("t", big));
			session_state_enqueue(a.ss, s("x"), epoch, ++sent, &qos1);
		}
	}
	a.begun = token;
	ck_assert_int_eq(err, ERR_FULL);
	ck_assert_uint_ge(units, TEST_QUEUE_MAX / sizeof(big));
	ck_assert_uint_le(units, TEST_QUEUE_MAX / sizeof(big) + 2);
	ck_assert_int_eq(a.rooms, 0);
	/* What is written anew is not held up. */
	session_state_unit_anew(a.ss, ++a.begun);
	session_state_message(a.ss, message_of("t", "anew"));
	session_state_enqueue(a.ss, s("x"), epoch, ++sent, &qos1);
	ck_assert_int_eq(session_state_unit(a.ss, a.begun + 1), ERR_FULL);
	ck_assert_int_eq(kill(redis.pid, SIGCONT), 0);
	client_flush(&a);
	ck_assert_int_eq(a.rooms, 1);
	ck_assert_uint_eq(a.refusal_count, 0);
	client_load(&a, "x");
	ck_assert_uint_eq(a.item_count, sent);
	finish();
}
END_TEST

START_TEST(test_a_hundred_thousand_messages)
{
	enum { COUNT = 100000 };
	int64_t at;

	begin("everysec");
	at = clock_mono_us();
	for (int i = 0; i < COUNT; i++) {
		if (a.begun - a.done > 4096)
			client_flush(&a);
		write_one(&a);
	}
	client_flush(&a);
	at = clock_mono_us() - at;
	client_claim(&a, "x", false, 60, 0);
	ck_assert_uint_eq(a.claim.queued, COUNT);
	ck_assert_uint_eq(a.claim.top, COUNT);
	client_load(&a, "x");
	ck_assert_uint_eq(a.item_count, COUNT);
	printf("%d units in %lld ms\n", COUNT, (long long)(at / 1000));
	finish();
}
END_TEST

/* Before the first connection: nothing is refused but questions, and what was written goes out. */
START_TEST(test_the_server_comes_later)
{
	redis_start(&redis, "everysec");
	redis_kill(&redis);
	loop = loop_new();
	client_start(&a, loop, &redis, A, 1);
	loop_turn(loop, 1000);
	ck_assert_int_eq(session_state_claim(a.ss, s("x"), true, 60, 0, 1), ERR_CLOSED);
	ck_assert_int_eq(session_state_load(a.ss, s("x"), 1), ERR_CLOSED);
	client_unit(&a);
	session_state_retain(a.ss, s("t"), message_of("t", "1"));
	session_state_flush(a.ss);
	redis_restart(&redis, "everysec", NULL, NULL);
	client_flush(&a);
	ck_assert_uint_eq(a.seq, 1);
	ck_assert_int_eq(a.losts, 0);
	finish();
}
END_TEST

UNIT_MAIN("session_state_faults", test_connections_are_cut, test_answers_write,
    test_scripts_are_forgotten, test_the_server_is_killed, test_a_batch_is_torn,
    test_what_was_acknowledged_is_lost, test_flushall_is_noticed_in_silence,
    test_lost_claims_are_noticed, test_no_memory, test_read_only, test_claim_is_cut,
    test_claim_of_what_is_none, test_loading, test_a_hung_server_is_left,
    test_what_waits_is_bounded, test_a_hundred_thousand_messages, test_the_server_comes_later)
