/* test_http_server.c - requests on connections, their readings offered to a stand-in, what is answered and when */
#include "../unit.h"
#include "support_http.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "err.h"
#include "mem.h"

START_TEST(is_answered_when_it_is_durable)
{
	struct http_conn *c = http_dial();

	http_send(c, JSON ONE);
	ck_assert_uint_eq(http_x.offer_count, 1);
	ck_assert_str_eq(http_x.offers[0].device, "gh-1");
	ck_assert_str_eq(http_heard(c), "");
	http_commit(0, VERDICT_ACCEPTED);
	ck_assert_str_eq(http_heard(c), OK_ONE);
	ck_assert_int_eq(c->io.closing, CONN_OPEN);
	ck_assert_int_eq(c->state, HTTP_IDLE);
}
END_TEST

/* Answers come in the order of requests; the second is begun when the first is over, and what it says comes whole. */
START_TEST(one_after_the_other)
{
	struct http_conn *c = http_dial();
	struct buf kept = { .max = 0 };

	http_send_cut(c, bytes_of_str(JSON ONE "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" JSON ONE),
	    SIZE_MAX, &kept);
	ck_assert_uint_eq(http_x.offer_count, 1);
	ck_assert(c->io.paused & HTTP_PAUSED_BUSY);
	ck_assert_str_eq(http_heard(c), "");
	http_commit(0, VERDICT_COPY);
	ck_assert(!c->io.paused);
	http_send_cut(c, bytes_of(NULL, 0), SIZE_MAX, &kept);
	ck_assert_ptr_nonnull(strstr(http_heard(c), "{\"stored\":1}\nHTTP/1.1 200 OK\r\n"));
	ck_assert_uint_eq(http_x.offer_count, 2);
	http_commit(1, VERDICT_ACCEPTED);
	ck_assert_str_eq(http_heard(c), OK_ONE);
	buf_fini(&kept);
}
END_TEST

/* However it is cut: the same answers. */
START_TEST(at_every_cut)
{
	static const char text[] =
	    HEAD "Transfer-Encoding: chunked\r\n\r\n10\r\n{\"device\":\"gh-1\"\r\n"
		 "12\r\n,\"values\":{\"t\":1}}\r\n0\r\n\r\n"
		 "\r\nOPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n" JSON ONE;

	for (size_t each = 1; each <= sizeof(text); each++) {
		struct http_conn *c = http_dial();
		struct buf kept = { .max = 0 };

		http_x.offer_count = 0;
		http_x.room = OFFERS_MAX;
		http_send_cut(c, bytes_of_str(text), each, &kept);
		ck_assert_uint_eq(http_x.offer_count, 1);
		http_commit(0, VERDICT_ACCEPTED);
		http_send_cut(c, bytes_of(NULL, 0), 1, &kept);
		ck_assert_uint_eq(http_x.offer_count, 2);
		http_commit(1, VERDICT_ACCEPTED);
		ck_assert_str_eq(http_heard(c),
		    OK_ONE "HTTP/1.1 204 No Content\r\nDate: Sun, 06 Nov 1994 "
			   "08:49:37 GMT\r\n\r\n" OK_ONE);
		buf_fini(&kept);
		http_conn_free(&c);
		ck_assert_uint_eq(http_x.s->buffered, 0);
	}
}
END_TEST

START_TEST(many_readings_are_answered_as_one)
{
	struct http_conn *c = http_dial();

	http_send(c, JSON TWO);
	ck_assert_uint_eq(http_x.offer_count, 2);
	ck_assert_uint_eq(http_x.offers[1].points, 2);
	http_commit(1, VERDICT_ACCEPTED);
	ck_assert_str_eq(http_heard(c), "");
	http_commit(0, VERDICT_ACCEPTED);
	ck_assert_ptr_nonnull(strstr(http_heard(c), "{\"stored\":2}\n"));
}
END_TEST

START_TEST(a_part_that_is_refused)
{
	struct http_conn *c = http_dial();
	const char *text;

	http_send(c, JSON TWO);
	http_commit(0, VERDICT_ACCEPTED);
	http_commit(1, verdict_make(VERDICT_DEVICE_LIMIT, 1200));
	text = http_heard(c);
	ck_assert_ptr_nonnull(strstr(text, "HTTP/1.1 429 Too Many Requests\r\n"));
	ck_assert_ptr_nonnull(strstr(text, "Retry-After: 2\r\n"));
	ck_assert_ptr_nonnull(strstr(text, "application/problem+json"));
	ck_assert_ptr_nonnull(
	    strstr(text, "\"stored\":1,\"not_stored\":1,\"not_stored_samples\":[[1,1]]"));
	ck_assert_int_eq(c->io.closing, CONN_OPEN);
}
END_TEST

START_TEST(without_room_it_waits_for_a_while)
{
	struct http_conn *c = http_dial();
	const char *text;

	http_x.room = 1;
	http_send(c, JSON TWO);
	ck_assert_uint_eq(http_x.offer_count, 1);
	ck_assert_uint_gt(http_x.s->buffered, 0);
	http_commit(0, VERDICT_ACCEPTED);
	ck_assert_str_eq(http_heard(c), "");
	http_x.room = 1;
	http_server_room(http_x.s);
	ck_assert_str_eq(http_x.offers[1].device, "gh-2");
	ck_assert_uint_eq(http_x.offers[1].points, 2);
	http_commit(1, VERDICT_ACCEPTED);
	ck_assert_ptr_nonnull(strstr(http_heard(c), "{\"stored\":2}\n"));
	ck_assert_uint_eq(http_x.s->buffered, 0);
	http_x.room = 1;
	http_send(c, JSON TWO);
	http_now(HTTP_ROOM_WAIT_US);
	http_server_tick(http_x.s);
	ck_assert_str_eq(http_heard(c), "");
	http_commit(2, VERDICT_ACCEPTED);
	text = http_heard(c);
	ck_assert_ptr_nonnull(strstr(text, "HTTP/1.1 503 "));
	ck_assert_ptr_nonnull(strstr(text, "Retry-After: 1\r\n"));
	ck_assert_ptr_nonnull(strstr(text, "\"stored\":1,\"not_stored\":1"));
	http_x.room = 0;
	http_send(c, "POST /api/v1/gh-7/telemetry HTTP/1.1\r\nHost: a\r\nContent-Length: "
		     "7\r\n\r\n{\"t\":1}");
	http_x.room = 1;
	http_server_room(http_x.s);
	http_commit(3, VERDICT_ACCEPTED);
	ck_assert_str_eq(http_x.offers[3].device, "gh-7");
	ck_assert_ptr_nonnull(strstr(http_heard(c), "HTTP/1.1 200 OK\r\n"));
	ck_assert_uint_eq(http_x.s->waiting, 0);
	ck_assert_uint_eq(http_x.s->slot_count, http_x.s->free_count);
}
END_TEST

START_TEST(who_hangs_up_is_not_answered)
{
	struct http_conn *c = http_dial();

	http_send(c, JSON TWO);
	http_conn_free(&c);
	http_commit(0, VERDICT_ACCEPTED);
	ck_assert_uint_eq(http_x.s->slot_count - http_x.s->free_count, 1);
	http_commit(1, VERDICT_ACCEPTED);
	ck_assert_uint_eq(http_x.s->slot_count, http_x.s->free_count);
	c = http_dial();
	http_x.room = 0;
	http_send(c, JSON TWO);
	ck_assert_uint_eq(http_x.s->waiting, 1);
	http_conn_free(&c);
	ck_assert_uint_eq(http_x.s->waiting + http_x.s->buffered, 0);
	ck_assert_uint_eq(http_x.s->slot_count, http_x.s->free_count);
	c = http_dial();
	http_send(c, JSON "Content-Length: 34\r\n\r\n{");
	http_conn_free(&c);
	ck_assert_uint_eq(http_x.s->buffered, 0);
}
END_TEST

START_TEST(storage_that_does_not_answer)
{
	struct http_conn *c = http_dial();

	http_send(c, JSON ONE);
	http_now(29000000);
	http_server_tick(http_x.s);
	ck_assert_str_eq(http_heard(c), "");
	http_now(1000000);
	http_server_tick(http_x.s);
	ck_assert_ptr_nonnull(strstr(http_heard(c), "HTTP/1.1 503 "));
	ck_assert_int_eq(c->io.closing, CONN_CLOSE);
	http_server_tick(http_x.s);
	http_commit(0, VERDICT_ACCEPTED);
	ck_assert_str_eq(http_heard(c), "");
	ck_assert_uint_eq(http_x.s->slot_count, http_x.s->free_count);
}
END_TEST

/* Each: a request, the beginning of its answer, and whether the connection stays. */
static const struct {
	const char *text;
	const char *answer;
	bool stays;
} single[] = {
	{ "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\n", true },
	{ "HEAD /healthz HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\n", false },
	{ "GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "HTTP/1.1 200 OK\r\n", true },
	{ "GET /ping HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 204 No Content\r\n", true },
	{ "GET /health HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\n", true },
	{ "POST /ping HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 405 ", true },
	{ "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 404 ", true },
	{ "GET /v1/telemetry/ HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 404 ", true },
	{ "GET /api/v1//telemetry HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 404 ", true },
	{ "GET /v1/telemetry HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 405 ", true },
	{ "OPTIONS /v1/telemetry HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 204 ", true },
	{ "GET /ping HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", "HTTP/1.1 400 ", true },
	{ "GET /ping HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", "HTTP/1.1 400 ", false },
	{ "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ", false },
	{ JSON "Content-Length: 3\r\n\r\n{]}", "HTTP/1.1 400 ", true },
	{ JSON "Content-Length: 0\r\n\r\n", "HTTP/1.1 400 ", true },
	{ JSON "Content-Length: 100001\r\n\r\n", "HTTP/1.1 413 ", false },
	{ JSON "Content-Length: 99999999999999999999\r\n\r\n", "HTTP/1.1 413 ", false },
	{ HEAD "Transfer-Encoding: chunked\r\n\r\nfffff\r\n", NULL, true },
	{ HEAD "Transfer-Encoding: chunked\r\n\r\nx\r\n", "HTTP/1.1 400 ", false },
	{ HEAD "Content-Type: text/plain\r\n" ONE, "HTTP/1.1 415 ", true },
	{ HEAD "Content-Type: application/json; charset=latin1\r\n" ONE, "HTTP/1.1 415 ", true },
	{ JSON "Content-Encoding: br\r\n" ONE, "HTTP/1.1 415 ", true },
	{ JSON "Content-Encoding: gzip, gzip\r\n" ONE, "HTTP/1.1 415 ", true },
	{ JSON "Content-Encoding: gzip\r\n" ONE, "HTTP/1.1 400 ", true },
	{ JSON "Content-Type: application/json\r\n" ONE, "HTTP/1.1 400 ", true },
	{ JSON "Idempotency-Key: \"\"\r\n" ONE, "HTTP/1.1 400 ", true },
	{ JSON "Idempotency-Key: a\r\nIdempotency-Key: b\r\n" ONE, "HTTP/1.1 400 ", true },
	{ JSON "Authorization: Digest x\r\n" ONE, "HTTP/1.1 400 ", true },
	{ JSON "Authorization: Bearer\r\n" ONE, "HTTP/1.1 400 ", true },
	{ JSON "Authorization: Basic eA=\r\n" ONE, "HTTP/1.1 400 ", true },
	{ JSON "Authorization: Basic eA==\r\n" ONE, "HTTP/1.1 400 ", true },
	{ JSON "Origin: http://evil.example\r\n" ONE, "HTTP/1.1 403 ", true },
	{ JSON "Origin: null\r\n" ONE, "HTTP/1.1 403 ", true },
	{ JSON "Origin: http://a\r\n" ONE, "HTTP/1.1 403 ", true },
	{ "POST /query?q=CREATE+DATABASE+x HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 ", true },
	{ "POST /query HTTP/1.1\r\nHost: a\r\nContent-Length: 23\r\n\r\nq=CREATE%20DATABASE%20xy",
	    "HTTP/1.1 200 ", true },
	{ "POST /query?q=DROP+DATABASE+x HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400 ", true },
	{ "POST /write?precision=d HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400 ", true },
	{ "POST /api/v1/a%2Fb/telemetry HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
	    "HTTP/1.1 403 ", true },
	{ "POST /api/v1/gh/telemetry HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n[]",
	    "HTTP/1.1 400 ", true },
};

START_TEST(single_requests)
{
	for (size_t i = 0; i < COUNT_OF(single); i++) {
		struct http_conn *c = http_dial();
		const char *text;

		http_send(c, single[i].text);
		text = http_heard(c);
		if (!single[i].answer)
			ck_assert_str_eq(text, "");
		else
			ck_assert_msg(
			    strncmp(text, single[i].answer, strlen(single[i].answer)) == 0,
			    "%zu: %s: %s", i, single[i].text, text);
		ck_assert_msg((c->io.closing == CONN_OPEN) == single[i].stays, "%zu: %s", i, text);
		ck_assert_msg(
		    (strstr(text, "\r\nConnection: close\r\n") == NULL) == single[i].stays,
		    "%zu: %s", i, text);
		http_conn_free(&c);
	}
	ck_assert_uint_eq(http_x.offer_count, 0);
}
END_TEST

START_TEST(formats_and_encodings)
{
	static const char line[] = "cpu,device=gh-4 value=3,idle=4 1700000000";
	static char json[] = "{\"device\":\"gh-1\",\"values\":{\"t\":1}}";
	uint8_t packed[256];
	z_stream z = { 0 };
	struct buf b = { .max = 0 }, kept = { .max = 0 };
	struct http_conn *c = http_dial();
	size_t n;

	buf_addf(&b,
	    "POST /api/v2/write?precision=s HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n%s",
	    strlen(line), line);
	http_send(c, buf_str(&b));
	ck_assert_str_eq(http_x.offers[0].device, "gh-4");
	ck_assert_uint_eq(http_x.offers[0].points, 2);
	http_commit(0, VERDICT_ACCEPTED);
	ck_assert_ptr_nonnull(strstr(http_heard(c), "HTTP/1.1 204 No Content\r\n"));
	ck_assert_int_eq(deflateInit2(&z, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_in = (uint8_t *)json;
	z.avail_in = (unsigned)strlen(json);
	z.next_out = packed;
	z.avail_out = sizeof(packed);
	ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
	n = z.total_out;
	deflateEnd(&z);
	for (int i = 0; i < 2; i++) {
		if (i)
			n = ZSTD_compress(packed, sizeof(packed), json, strlen(json), 3);
		buf_clear(&b);
		buf_addf(&b, JSON "Content-Encoding: %s\r\nContent-Length: %zu\r\n\r\n",
		    i ? "zstd" : "gzip", n);
		buf_add(&b, packed, n);
		http_x.room = (size_t)i; /* without room the plain text is what is kept */
		http_send_cut(c, buf_bytes(&b), 7, &kept);
		http_x.room = 1;
		http_server_room(http_x.s);
		ck_assert_uint_eq(http_x.offer_count, 2 + (size_t)i);
		http_commit(1 + (size_t)i, VERDICT_ACCEPTED);
		ck_assert_str_eq(http_heard(c), OK_ONE);
	}
	buf_fini(&b);
	buf_fini(&kept);
}
END_TEST

/* Bodies that do not come are paid for by those who announce them, and by nobody else. */
START_TEST(memory_of_bodies_is_one_budget)
{
	struct http_conn *c[40];
	char part[20001];
	size_t refused = 0;

	memset(part, ' ', sizeof(part) - 1);
	part[sizeof(part) - 1] = '\0';
	for (size_t i = 0; i < COUNT_OF(c); i++) {
		c[i] = http_dial();
		http_send(c[i], JSON "Content-Length: 100000\r\n\r\n");
		ck_assert_uint_le(http_x.s->buffered, 300000);
		http_send(c[i], part);
		if (strstr(http_heard(c[i]), "HTTP/1.1 503 "))
			refused++;
	}
	ck_assert_uint_gt(refused, 0);
	ck_assert_uint_lt(refused, 40);
	for (size_t i = 0; i < COUNT_OF(c); i++)
		http_conn_free(&c[i]);
	ck_assert_uint_eq(http_x.s->buffered, 0);
}
END_TEST

START_TEST(a_chunked_body_has_a_bound_too)
{
	struct http_conn *c = http_dial();
	struct buf b = { .max = 0 };

	buf_add_str(&b, HEAD "Transfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 1001; i++)
		buf_addf(&b, "64\r\n%100s\r\n", "");
	http_send(c, buf_str(&b));
	ck_assert_ptr_nonnull(strstr(http_heard(c), "HTTP/1.1 413 "));
	ck_assert_int_eq(c->io.closing, CONN_CLOSE);
	buf_fini(&b);
}
END_TEST

START_TEST(who_is_slow_is_cut)
{
	struct http_conn *c = http_dial();

	http_conn_on_deadline(c);
	ck_assert_str_eq(http_heard(c), "");
	ck_assert_int_eq(c->io.closing, CONN_CLOSE);
	c = http_dial();
	ck_assert_int_eq(c->io.deadline_us, http_x.now_us + 10000000);
	http_now(3000000);
	http_send(c, "POST");
	ck_assert_int_eq(c->io.deadline_us, http_x.now_us + 10000000);
	http_now(3000000);
	http_send(c, "POST /");
	ck_assert_int_eq(c->io.deadline_us, http_x.now_us + 7000000);
	http_conn_on_deadline(c);
	ck_assert_ptr_nonnull(strstr(http_heard(c), "HTTP/1.1 408 "));
	ck_assert_int_eq(c->io.closing, CONN_CLOSE);
	c = http_dial();
	http_send(c, JSON "Content-Length: 34\r\n\r\n{");
	ck_assert_int_eq(c->io.deadline_us, http_x.now_us + 60000000);
	http_conn_on_deadline(c);
	ck_assert_ptr_nonnull(strstr(http_heard(c), "HTTP/1.1 408 "));
	c = http_dial();
	http_send(c, JSON ONE);
	http_conn_on_deadline(c);
	ck_assert_int_eq(c->io.closing, CONN_OPEN);
	http_commit(0, VERDICT_ACCEPTED);
	ck_assert_int_eq(c->io.deadline_us, http_x.now_us + 75000000);
}
END_TEST

START_TEST(who_does_not_read_his_answers_waits)
{
	struct http_conn *c = http_dial();
	struct buf b = { .max = 0 }, kept = { .max = 0 };

	for (int i = 0; i < 2000; i++)
		buf_add_str(&b, "GET / HTTP/1.1\r\nHost:\r\n\r\n");
	http_send_cut(c, buf_bytes(&b), SIZE_MAX, &kept);
	ck_assert(c->io.paused & HTTP_PAUSED_OUTPUT);
	ck_assert(c->io.hungry);
	ck_assert_uint_lt(conn_out_len(&c->io), HTTP_OUT_HIGH + 1000);
	ck_assert_uint_gt(kept.len, 0);
	http_heard(c);
	http_conn_on_sent(c);
	ck_assert(!c->io.paused);
	buf_fini(&b);
	buf_fini(&kept);
}
END_TEST

START_TEST(hundred_continue)
{
	struct http_conn *c = http_dial();

	http_send(c, JSON "Expect: 100-continue\r\nContent-Length: 34\r\n\r\n");
	ck_assert_str_eq(http_heard(c), "HTTP/1.1 100 Continue\r\n\r\n");
	http_send(c, "{\"device\":\"gh-1\",\"values\":{\"t\":1}}");
	http_commit(0, VERDICT_ACCEPTED);
	ck_assert_str_eq(http_heard(c), OK_ONE);
	http_send(c, JSON "Expect: 100-continue\r\n" ONE);
	http_commit(1, VERDICT_ACCEPTED);
	ck_assert_str_eq(http_heard(c), OK_ONE);
	http_send(
	    c, HEAD "Content-Type: x/y\r\nExpect: 100-continue\r\nContent-Length: 34\r\n\r\n");
	ck_assert_ptr_nonnull(strstr(http_heard(c), "HTTP/1.1 415 "));
	ck_assert_int_eq(c->io.closing, CONN_CLOSE);
}
END_TEST

START_TEST(drains)
{
	struct http_conn *idle = http_dial(), *busy = http_dial();

	http_send(busy, JSON ONE);
	http_server_drain(http_x.s);
	ck_assert_int_eq(idle->io.closing, CONN_CLOSE);
	ck_assert_int_eq(busy->io.closing, CONN_OPEN);
	http_commit(0, VERDICT_ACCEPTED);
	ck_assert_ptr_nonnull(strstr(http_heard(busy), "\r\nConnection: close\r\n"));
	ck_assert_int_eq(busy->io.closing, CONN_CLOSE);
	http_server_shutdown(http_x.s);
}
END_TEST

UNIT_MAIN_IN("http_server", http_setup, http_teardown, is_answered_when_it_is_durable,
    one_after_the_other, at_every_cut, many_readings_are_answered_as_one, a_part_that_is_refused,
    without_room_it_waits_for_a_while, who_hangs_up_is_not_answered, storage_that_does_not_answer,
    single_requests, formats_and_encodings, memory_of_bodies_is_one_budget,
    a_chunked_body_has_a_bound_too, who_is_slow_is_cut, who_does_not_read_his_answers_waits,
    hundred_continue, drains)
