/* test_http_senders.c - who sends a request, for which devices, and whether he did before */
#include "../unit.h"
#include "support_http.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "mem.h"

/* --- who it is --- */

START_TEST(credentials_as_they_are_said)
{
	static const struct {
		const char *text, *user, *password, *token;
	} cases[] = {
		{ JSON "Authorization: bearer abc\r\n" ONE, "", "", "abc" },
		{ JSON "Authorization: Token abc==\r\n" ONE, "", "", "abc==" },
		{ JSON "Authorization: Token me:secret:1\r\n" ONE, "me", "secret:1", "" },
		{ JSON "Authorization: Basic bWU6c2VjcmV0OjE=\r\n" ONE, "me", "secret:1", "" },
		{ JSON "X-Authorization: Bearer xyz\r\n" ONE, "", "", "xyz" },
		{ JSON "Authorization: Bearer a\r\nX-Authorization: Bearer b\r\n" ONE, "", "",
		    "a" },
		{ "POST /write?u=m%65&p=a%26b+c HTTP/1.1\r\nHost: a\r\n\r\n", "me", "a&b c", "" },
		{ "POST /v1/telemetry?u=me&p=x HTTP/1.1\r\nHost: a\r\n" ONE, "", "", "" },
		{ "POST /api/v1/t%4Fk/telemetry HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer "
		  "no\r\n" ONE,
		    "", "", "tOk" },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct http_conn *c = http_dial();

		http_x.verdict = AUTH_BAD_CREDENTIALS;
		http_send(c, cases[i].text);
		ck_assert_str_eq(http_x.said[0], cases[i].user);
		ck_assert_str_eq(http_x.said[1], cases[i].password);
		ck_assert_str_eq(http_x.said[2], cases[i].token);
		ck_assert_ptr_nonnull(strstr(http_heard(c), "\r\nWWW-Authenticate: Bearer realm="));
	}
}
END_TEST

START_TEST(verdicts_at_once_and_later)
{
	static const struct {
		enum auth_verdict verdict;
		const char *answer;
	} cases[] = {
		{ AUTH_BAD_CREDENTIALS, "HTTP/1.1 401 " },
		{ AUTH_NOT_AUTHORIZED, "HTTP/1.1 403 " },
		{ AUTH_UNAVAILABLE, "HTTP/1.1 503 " },
		{ AUTH_BUSY, "HTTP/1.1 429 " },
	};
	const struct auth_answer answer = { .why = "so it is", .retry_ms = 2500 };

	for (size_t i = 0; i < 2 * COUNT_OF(cases); i++) {
		enum auth_verdict verdict = cases[i / 2].verdict;
		struct http_conn *c = http_dial();
		struct buf kept = { .max = 0 };
		const char *text;

		http_x.verdict = i % 2 ? AUTH_PENDING : verdict;
		http_send_cut(
		    c, bytes_of_str(JSON "Authorization: Bearer t\r\n" ONE), SIZE_MAX, &kept);
		if (i % 2) {
			ck_assert_str_eq(http_heard(c), "");
			ck_assert_uint_eq(kept.len, 34);
			http_x.done(http_x.done_arg, verdict, &answer);
		}
		text = http_heard(c);
		ck_assert_msg(strncmp(text, cases[i / 2].answer, 13) == 0, "%zu: %s", i, text);
		if (verdict == AUTH_BUSY)
			ck_assert_ptr_nonnull(strstr(text, "Retry-After: 3\r\n"));
		buf_fini(&kept);
	}
	ck_assert_uint_eq(http_x.offer_count, 0);
}
END_TEST

START_TEST(a_request_waits_until_it_is_known_who_it_is)
{
	struct auth_answer answer = { .grant = auth_grant_ref(&http_x.grant) };
	struct buf kept = { .max = 0 };
	struct http_conn *c = http_dial();

	http_x.verdict = AUTH_PENDING;
	http_send_cut(c, bytes_of_str(JSON "Authorization: Bearer t\r\n" ONE), 9, &kept);
	ck_assert_uint_eq(http_x.offer_count, 0);
	ck_assert(c->io.paused & HTTP_PAUSED_BUSY);
	http_x.done(http_x.done_arg, AUTH_GRANTED, &answer);
	ck_assert(!c->io.paused);
	http_send_cut(c, bytes_of(NULL, 0), 9, &kept);
	ck_assert_uint_eq(http_x.offer_count, 1);
	http_commit(0, VERDICT_ACCEPTED);
	ck_assert_str_eq(http_heard(c), OK_ONE);
	buf_fini(&kept);
	http_x.verdict = AUTH_PENDING;
	http_send(c, JSON "Authorization: Bearer u\r\n" ONE);
	http_conn_free(&c);
	ck_assert_uint_eq(http_x.forgotten, 1);
}
END_TEST

/* Asked once for a connection and a credential; again when the grant is cut, expired, or the credential another one. */
START_TEST(grants_are_kept_by_connection)
{
	static const char text[] = JSON "Authorization: Bearer t\r\n" ONE;
	struct http_conn *c = http_dial();

	for (size_t i = 0; i < 3; i++) {
		http_send(c, text);
		http_commit(i, VERDICT_ACCEPTED);
	}
	ck_assert_uint_eq(http_x.checks, 1);
	http_send(c, JSON "Authorization: Bearer other\r\n" ONE);
	http_commit(3, VERDICT_ACCEPTED);
	ck_assert_uint_eq(http_x.checks, 2);
	http_x.grant.expires_us = 1;
	http_send(c, text);
	http_commit(4, VERDICT_ACCEPTED);
	http_send(c, text);
	http_commit(5, VERDICT_ACCEPTED);
	ck_assert_uint_eq(http_x.checks, 4);
	http_x.grant.expires_us = 0;
	http_x.grant.cut = true;
	http_x.verdict = AUTH_NOT_AUTHORIZED;
	http_heard(c);
	http_send(c, text);
	ck_assert_uint_eq(http_x.checks, 5);
	ck_assert_ptr_nonnull(strstr(http_heard(c), "HTTP/1.1 403 "));
}
END_TEST

START_TEST(only_for_its_own_device)
{
	struct http_conn *c = http_dial();

	http_x.grant.any_device = false;
	http_x.grant.is_device = true;
	http_x.grant.identity = bytes_of_str("gh-1");
	http_send(c, JSON ONE);
	http_send(c, JSON TWO);
	ck_assert_uint_eq(http_x.offer_count, 1);
	http_commit(0, VERDICT_ACCEPTED);
	http_heard(c);
	http_send(c, JSON TWO);
	ck_assert_uint_eq(http_x.offer_count, 1); /* nothing of it */
	ck_assert_ptr_nonnull(strstr(http_heard(c), "HTTP/1.1 403 "));
	http_send(c, JSON "Content-Length: 7\r\n\r\n{\"t\":1}");
	ck_assert_str_eq(http_x.offers[1].device, "gh-1");
	http_commit(1, VERDICT_ACCEPTED);
	ck_assert_str_eq(http_heard(c), OK_ONE);
}
END_TEST

/* What a browser says is of no weight where credentials are needed: it does not send them by itself. */
START_TEST(pages_with_credentials)
{
	struct http_conn *c = http_dial();

	http_x.grant.kind = 1;
	http_send(c, JSON "Origin: http://evil.example\r\nAuthorization: Bearer t\r\n" ONE);
	ck_assert_uint_eq(http_x.offer_count, 1);
	http_x.grant.kind = 0;
	c = http_dial();
	http_send(c, "POST /v1/telemetry HTTP/1.1\r\nHost: localhost:8080\r\nOrigin: "
		     "http://localhost:8080\r\n" ONE);
	ck_assert_uint_eq(http_x.offer_count, 2);
	c = http_dial();
	http_send(c, "POST /v1/telemetry HTTP/1.1\r\nHost: 127.0.0.1:1\r\nOrigin: "
		     "http://127.0.0.1:1\r\n" ONE);
	ck_assert_uint_eq(http_x.offer_count, 3);
}
END_TEST

/* --- repeats --- */

static bool
same(size_t a, size_t b)
{
	return http_x.offers[a].client == http_x.offers[b].client &&
	       http_x.offers[a].hash == http_x.offers[b].hash &&
	       http_x.offers[a].packet_id == http_x.offers[b].packet_id;
}

START_TEST(what_a_repeat_is_known_by)
{
	static const char key[] = JSON "Idempotency-Key: \"8e03978e\"\r\n" TWO;

	for (size_t i = 0; i < 2; i++) {
		http_send(http_dial(), key);
		ck_assert(http_x.offers[2 * i].dup && http_x.offers[2 * i].client != 0);
	}
	ck_assert(same(0, 2) && same(1, 3));
	ck_assert(!same(0, 1));
	http_send(
	    http_dial(), JSON "Idempotency-Key: 8e03978e\r\n" TWO); /* without quotation marks */
	ck_assert(same(0, 4));
	http_send(http_dial(), JSON "Idempotency-Key: 8e03978f\r\n" TWO);
	ck_assert(!same(0, 6));
	http_send(http_dial(), JSON "Idempotency-Key: 8e03978e\r\n" ONE); /* another body */
	ck_assert(!same(0, 8));
	http_x.grant.identity = bytes_of_str("other");
	http_send(http_dial(), key);
	ck_assert(!same(0, 9));
	http_send(http_dial(), JSON TWO); /* none */
	ck_assert(!http_x.offers[11].dup && http_x.offers[11].client == 0);
}
END_TEST

UNIT_MAIN_IN("http_senders", http_setup, http_teardown, credentials_as_they_are_said,
    verdicts_at_once_and_later, a_request_waits_until_it_is_known_who_it_is,
    grants_are_kept_by_connection, only_for_its_own_device, pages_with_credentials,
    what_a_repeat_is_known_by)
