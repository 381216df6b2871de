/* test_http_parser.c - requests that are sound, however they are cut, and tricks that must be refused */
#include "../unit.h"
#include "http_parser.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "mem.h"

#define HOST "Host: a\r\n"

/* What came of one request. */
struct told {
	int err;
	struct http_fault fault;
	struct http_head head;
	size_t head_len;
	size_t taken; /* body included */
	struct buf body;
	bool done;
};

/* Reads a request that comes in two pieces, cut at byte `at`, or byte by byte if at is SIZE_MAX. Input lies in memory of its
 * own size, so that a byte read beyond it is seen by the sanitizer. */
static void
read_cut(struct bytes text, size_t at, struct told *t)
{
	struct http_scan scan = { 0 };
	struct http_body body;
	uint8_t *copy = xmemdup(text.data, text.len ? text.len : 1);
	size_t upto = at == SIZE_MAX ? 0 : at;

	memset(t, 0, sizeof(*t));
	for (;;) {
		t->err =
		    http_head_read(bytes_of(copy, upto), &scan, &t->head, &t->head_len, &t->fault);
		if (t->err != ERR_SHORT || upto == text.len)
			break;
		upto = at == SIZE_MAX ? upto + 1 : text.len;
	}
	if (t->err == 0) {
		http_body_init(&body, &t->head);
		t->taken = t->head_len;
		for (;;) {
			struct bytes data;

			t->taken += http_body_read(&body,
			    bytes_of(copy + t->taken, upto - t->taken), &data, &t->err, &t->fault);
			buf_add(&t->body, data.data, data.len);
			t->done = http_body_is_done(&body);
			if (t->err || t->done || (t->taken == upto && upto == text.len))
				break;
			if (t->taken == upto)
				upto = at == SIZE_MAX ? upto + 1 : text.len;
		}
	}
	free(copy);
}

static void
told_fini(struct told *t)
{
	buf_fini(&t->body);
}

#define CHUNKED "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
#define LENGTH(n) "POST / HTTP/1.1\r\n" HOST "Content-Length: " n "\r\n\r\n"

static const struct {
	const char *text; /* a NUL ends it: none of these holds one */
	const char *path;
	const char *query; /* NULL: none */
	const char *body;
	const char *left; /* what follows the request */
	bool keep_alive;
} sound[] = {
	{ "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "/", NULL, "", "", true },
	{ "\r\nGET /x?a=b&c HTTP/1.1\r\nhOST:a:80\r\n\r\n", "/x", "a=b&c", "", "", true },
	{ "GET /%7e? HTTP/1.1\r\nHost:\t [::1]:8080 \t\r\nX:\r\n\r\n", "/%7e", "", "", "", true },
	{ "GET http://a.example:1/p/q?r HTTP/1.1\r\nHost: other\r\n\r\n", "/p/q", "r", "", "",
	    true },
	{ "GET HTTPS://a/ HTTP/1.1\r\nHost:\r\n\r\n", "/", NULL, "", "", true },
	{ "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "*", NULL, "", "", true },
	{ "GET / HTTP/1.0\r\n\r\n", "/", NULL, "", "", false },
	{ "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "/", NULL, "", "", true },
	{ "GET / HTTP/1.1\r\n" HOST "Connection: te , CLOSE\r\n\r\n", "/", NULL, "", "", false },
	{ "GET / HTTP/1.1\r\n" HOST "Connection: close\r\nConnection: keep-alive\r\n\r\n", "/",
	    NULL, "", "", false },
	{ "GET / HTTP/1.9\r\n" HOST "\r\n", "/", NULL, "", "", true },
	{ "!#$%&'*+-.^_`|~9 / HTTP/1.1\r\n" HOST "X: \x80\xff \"a\\\tb\"\r\n\r\n", "/", NULL, "",
	    "", true },
	{ LENGTH("5") "helloGET", "/", NULL, "hello", "GET", true },
	{ LENGTH("0") "GET", "/", NULL, "", "GET", true },
	{ LENGTH("00000000000000000000000000002") "hi", "/", NULL, "hi", "", true },
	{ CHUNKED "5\r\nhello\r\n0\r\n\r\nGET", "/", NULL, "hello", "GET", true },
	{ CHUNKED
	    "1\r\na\r\n000A\r\n0123456789\r\n0;last\r\nTrailer: x y\r\nContent-Length: 7\r\n\r\n",
	    "/", NULL, "a0123456789", "", true },
	{ CHUNKED "2;a;b=c;d=\"e\\\"\t; \";f=\"\"\r\nhi\r\n0\r\n\r\n", "/", NULL, "hi", "", true },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: \t Chunked \r\n\r\n0\r\n\r\n", "/", NULL,
	    "", "", true },
};

/* However a request comes: the same of it, and not a byte of what follows. */
START_TEST(sound_requests_at_every_cut)
{
	for (size_t i = 0; i < COUNT_OF(sound); i++) {
		struct bytes text = bytes_of_str(sound[i].text);

		for (size_t at = 0; at <= text.len + 1; at++) {
			struct told t;

			read_cut(text, at > text.len ? SIZE_MAX : at, &t);
			ck_assert_msg(t.err == 0, "%zu cut at %zu: %s", i, at, t.fault.why);
			ck_assert_msg(t.done, "%zu cut at %zu has no end", i, at);
			ck_assert_msg(bytes_equal_str(buf_bytes(&t.body), sound[i].body),
			    "%zu cut at %zu: %s", i, at, buf_str(&t.body));
			ck_assert_msg(strcmp(sound[i].text + t.taken, sound[i].left) == 0,
			    "%zu cut at %zu: %zu taken", i, at, t.taken);
			ck_assert(t.head.keep_alive == sound[i].keep_alive);
			told_fini(&t);
		}
	}
}
END_TEST

START_TEST(parts_of_a_head)
{
	for (size_t i = 0; i < COUNT_OF(sound); i++) {
		struct bytes text = bytes_of_str(sound[i].text);
		struct http_scan scan = { 0 };
		struct http_fault fault;
		struct http_head h;
		size_t len;

		ck_assert_int_eq(http_head_read(text, &scan, &h, &len, &fault), 0);
		ck_assert_msg(bytes_equal_str(h.path, sound[i].path), "%zu", i);
		ck_assert((h.query.data == NULL) == (sound[i].query == NULL));
		if (sound[i].query)
			ck_assert(bytes_equal_str(h.query, sound[i].query));
	}
}
END_TEST

static const struct {
	const char *text;
	unsigned status;
} tricks[] = {
	/* who else would read these as something? */
	{ "GET /\r\n\r\n", 400 }, /* HTTP/0.9 */
	{ "GET / HTTP/0.9\r\n" HOST "\r\n", 505 },
	{ "GET / HTTP/2.0\r\n" HOST "\r\n", 505 },
	{ "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505 },
	{ "GET / HTTP/1.1 \r\n" HOST "\r\n", 400 },
	{ "GET / http/1.1\r\n" HOST "\r\n", 400 },
	{ "GET / HTTP/1.10\r\n" HOST "\r\n", 400 },
	{ "GET / HTTP/+1.1\r\n" HOST "\r\n", 400 },
	{ "GET / HTTP/1,1\r\n" HOST "\r\n", 400 },
	{ "GET  / HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET /  HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET\t/\tHTTP/1.1\r\n" HOST "\r\n", 400 },
	{ " GET / HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "G(T / HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "\x16\x03\x01\x02", 400 }, /* TLS */
	{ "GET /a b HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET /\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET /a#b HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET /\\a HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET /%4 HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET /%zz HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET a HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET * HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET ?a HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET http:///a HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET http://a HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET http://u@a/ HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET ftp://a/ HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "CONNECT a:443 HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "\nGET / HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET / HTTP/1.1\n" HOST "\r\n", 400 }, /* bare LF */
	{ "GET / HTTP/1.1\r\nHost: a\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: a\r\n\n", 400 },
	{ "GET / HTTP/1.1\rHost: a\r\n\r\n", 400 }, /* bare CR */
	{ "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "X: a\r\n b\r\n\r\n", 400 }, /* folded */
	{ "GET / HTTP/1.1\r\n" HOST "\tX: a\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400 }, /* white space before the colon */
	{ "GET / HTTP/1.1\r\n" HOST "Content-Length\t: 5\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "Transfer-Encoding : chunked\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST ": a\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "X\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "X\x80: a\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "X: a\x0b\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "X: a\x7f\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n\r\n", 400 }, /* Host */
	{ "GET / HTTP/1.1\r\n" HOST HOST "\r\n", 400 },
	{ "GET / HTTP/1.0\r\n" HOST "Host: b\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: [::1]a\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: []\r\n\r\n", 400 },
	{ LENGTH("5\r\nContent-Length: 5") "hello", 400 }, /* lengths */
	{ LENGTH("5\r\nContent-Length: 6") "hello", 400 },
	{ LENGTH("5, 5") "hello", 400 },
	{ LENGTH("+5") "hello", 400 },
	{ LENGTH("-5") "hello", 400 },
	{ LENGTH("0x5") "hello", 400 },
	{ LENGTH("5 5") "hello", 400 },
	{ LENGTH("5.0") "hello", 400 },
	{ LENGTH("") "hello", 400 },
	{ LENGTH("5\r\nTransfer-Encoding: chunked") "0\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
	    400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\n",
	    400 },
	{ "POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, chunked\r\n\r\n", 501 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", 501 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, identity\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding:\x0b"
	  "chunked\r\n\r\n",
	    400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: \"chunked\"\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding:\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
	    400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n",
	    400 },
	{ "GET / HTTP/1.1\r\n" HOST "Expect: 200-ok\r\n\r\n", 417 },
	{ CHUNKED "\r\nhello\r\n", 400 }, /* chunks */
	{ CHUNKED " 5\r\nhello\r\n", 400 },
	{ CHUNKED "5 \r\nhello\r\n", 400 },
	{ CHUNKED "5\t;a\r\nhello\r\n", 400 },
	{ CHUNKED "+5\r\nhello\r\n", 400 },
	{ CHUNKED "-1\r\nhello\r\n", 400 },
	{ CHUNKED "0x5\r\nhello\r\n", 400 },
	{ CHUNKED "5_0\r\nhello\r\n", 400 },
	{ CHUNKED "5\nhello\r\n", 400 },
	{ CHUNKED "5\rhello\r\n", 400 },
	{ CHUNKED "5\r\nhello\n0\r\n\r\n", 400 },
	{ CHUNKED "5\r\nhelloX0\r\n\r\n", 400 },
	{ CHUNKED "5\r\nhello!\r\n0\r\n\r\n", 400 },
	{ CHUNKED "5\r\nhello\rX", 400 },
	{ CHUNKED "1000000000000000\r\n", 400 },
	{ CHUNKED "ffffffffffffffff\r\n", 400 },
	{ CHUNKED "00000000000000005\r\n", 400 },
	{ CHUNKED "5;\r\nhello", 400 },
	{ CHUNKED "5;a=\r\nhello", 400 },
	{ CHUNKED "5;a\nhello", 400 },
	{ CHUNKED "5;a=\"b\nc\"\r\nhello", 400 },
	{ CHUNKED "5;a=\"\\\r\"\r\nhello", 400 },
	{ CHUNKED "5;a=\"b\"c\r\nhello", 400 },
	{ CHUNKED "5;a = b\r\nhello", 400 },
	{ CHUNKED "5;a==b\r\nhello", 400 },
	{ CHUNKED "0\r\n X: y\r\n\r\n", 400 }, /* trailers */
	{ CHUNKED "0\r\nX : y\r\n\r\n", 400 },
	{ CHUNKED "0\r\nX: y\n\r\n", 400 },
	{ CHUNKED "0\r\nX: y\r\r\n", 400 },
	{ CHUNKED "0\r\nX\r\n\r\n", 400 },
	{ CHUNKED "0\r\nGET / HTTP/1.1\r\n\r\n", 400 },
	{ CHUNKED "0\r\n\rX", 400 },
	{ CHUNKED "0\r\n\n", 400 },
	{ CHUNKED "2;a;b=c;d=\"e\\\"\t;\r\";f=\"\"\r\nhi\r\n0\r\n\r\n", 400 },
};

START_TEST(tricks_are_refused_at_every_cut)
{
	for (size_t i = 0; i < COUNT_OF(tricks); i++) {
		struct bytes text = bytes_of_str(tricks[i].text);

		for (size_t at = 0; at <= text.len + 1; at++) {
			struct told t;

			read_cut(text, at > text.len ? SIZE_MAX : at, &t);
			ck_assert_msg(t.err == ERR_MALFORMED, "%zu cut at %zu passes: %s", i, at,
			    tricks[i].text);
			ck_assert_msg(t.fault.status == tricks[i].status, "%zu: %u %s: %s", i,
			    t.fault.status, t.fault.why, tricks[i].text);
			told_fini(&t);
		}
	}
}
END_TEST

/* A NUL, anywhere. */
START_TEST(no_byte_is_nothing)
{
	for (size_t i = 0; i < COUNT_OF(sound); i++) {
		struct bytes text = bytes_of_str(sound[i].text);
		struct told t;

		read_cut(text, 0, &t);
		for (size_t at = 0; !t.err && at < t.head_len; at++) {
			uint8_t *broken = xmemdup(text.data, text.len);
			struct told b;

			broken[at] = 0;
			read_cut(bytes_of(broken, text.len), 0, &b);
			ck_assert_msg(
			    b.err == ERR_MALFORMED && b.fault.status == 400, "%zu at %zu", i, at);
			told_fini(&b);
			free(broken);
		}
		told_fini(&t);
	}
}
END_TEST

/* Every prefix of a sound request wants more, and says nothing yet. */
START_TEST(what_is_cut_off_waits)
{
	for (size_t i = 0; i < COUNT_OF(sound); i++) {
		size_t whole = strlen(sound[i].text) - strlen(sound[i].left);

		for (size_t len = 0; len < whole; len++) {
			struct told t;

			read_cut(bytes_of(sound[i].text, len), 0, &t);
			ck_assert_msg(t.err == ERR_SHORT || (t.err == 0 && !t.done),
			    "%zu of %zu bytes", i, len);
			told_fini(&t);
		}
	}
}
END_TEST

/* Makes a request that is n bytes too long for one of the bounds. */
static struct buf
long_request(int which, size_t n)
{
	struct buf b = { 0 };

	switch (which) {
	case 0: /* request line */
		buf_add_str(&b, "GET /");
		while (b.len < HTTP_LINE_MAX - 9 + n)
			buf_add_u8(&b, 'a');
		buf_add_str(&b, " HTTP/1.1\r\n" HOST "\r\n");
		break;
	case 1: /* head */
		buf_add_str(&b, "GET / HTTP/1.1\r\n" HOST "X: ");
		while (b.len < HTTP_HEAD_MAX - 4 + n)
			buf_add_u8(&b, 'a');
		buf_add_str(&b, "\r\n\r\n");
		break;
	case 2: /* fields */
		buf_add_str(&b, "GET / HTTP/1.1\r\n" HOST);
		for (size_t i = 0; i < HTTP_FIELDS_MAX - 1 + n; i++)
			buf_add_str(&b, "X: y\r\n");
		buf_add_str(&b, "\r\n");
		break;
	case 3: /* method */
		while (b.len < HTTP_METHOD_MAX + n)
			buf_add_u8(&b, 'A');
		buf_add_str(&b, " / HTTP/1.1\r\n" HOST "\r\n");
		break;
	case 4: /* chunk extensions */
		buf_add_str(&b, CHUNKED "0");
		for (size_t i = 0; i < HTTP_CHUNK_EXT_MAX + n; i++)
			buf_add_str(&b, i ? "a" : ";");
		buf_add_str(&b, "\r\n\r\n");
		break;
	case 5: /* trailer, in bytes */
		buf_add_str(&b, CHUNKED "0\r\nX:");
		for (size_t i = 0; i < HTTP_TRAILER_MAX - 4 + n; i++)
			buf_add_u8(&b, 'a');
		buf_add_str(&b, "\r\n\r\n");
		break;
	default: /* trailer, in fields */
		buf_add_str(&b, CHUNKED "0\r\n");
		for (size_t i = 0; i < HTTP_FIELDS_MAX + n; i++)
			buf_add_str(&b, "X: y\r\n");
		buf_add_str(&b, "\r\n");
		break;
	}
	return b;
}

START_TEST(bounds)
{
	static const unsigned status[] = { 414, 431, 431, 400, 400, 400, 400 };

	for (int which = 0; which < (int)COUNT_OF(status); which++) {
		for (size_t n = 0; n < 2; n++) {
			struct buf b = long_request(which, n);

			for (int bytewise = 0; bytewise < 2; bytewise++) {
				struct told t;

				read_cut(buf_bytes(&b), bytewise ? SIZE_MAX : 0, &t);
				ck_assert_msg(t.err == (n ? ERR_MALFORMED : 0), "%d and %zu: %d %s",
				    which, n, t.err, t.fault.why);
				if (n)
					ck_assert_uint_eq(t.fault.status, status[which]);
				told_fini(&t);
			}
			buf_fini(&b);
		}
	}
}
END_TEST

/* What has no end is refused before all of it has come. */
START_TEST(endless_ones_are_cut_short)
{
	struct buf b = { 0 };
	struct told t;

	buf_add_str(&b, "GET /");
	while (b.len < HTTP_LINE_MAX + 3)
		buf_add_u8(&b, 'a');
	read_cut(buf_bytes(&b), 0, &t);
	ck_assert_int_eq(t.err, ERR_MALFORMED);
	ck_assert_uint_eq(t.fault.status, 414);
	buf_clear(&b);
	buf_add_str(&b, "GET / HTTP/1.1\r\nX: ");
	while (b.len < HTTP_HEAD_MAX + 1)
		buf_add_u8(&b, 'a');
	read_cut(buf_bytes(&b), 0, &t);
	ck_assert_int_eq(t.err, ERR_MALFORMED);
	ck_assert_uint_eq(t.fault.status, 431);
	buf_fini(&b);
}
END_TEST

START_TEST(lengths_that_no_number_holds)
{
	static const struct {
		const char *text;
		uint64_t length;
	} cases[] = {
		{ LENGTH("18446744073709551614"), UINT64_MAX - 1 },
		{ LENGTH("18446744073709551615"), UINT64_MAX },
		{ LENGTH("18446744073709551616"), UINT64_MAX },
		{ LENGTH("184467440737095516160"), UINT64_MAX },
		{ LENGTH("99999999999999999999999999"), UINT64_MAX },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct told t;

		read_cut(bytes_of_str(cases[i].text), 0, &t);
		ck_assert_int_eq(t.err, 0);
		ck_assert_uint_eq(t.head.length, cases[i].length);
		told_fini(&t);
	}
}
END_TEST

START_TEST(pieces_of_fields)
{
	struct bytes list = bytes_of_str(" a,, b\t,,c d ,"), one, value;
	static const char query[] = "db=x&empty=&flag&q=a%2Fb+c&q=2";
	uint8_t out[32];
	size_t n;

	ck_assert(http_list_next(&list, &one) && bytes_equal_str(one, "a"));
	ck_assert(http_list_next(&list, &one) && bytes_equal_str(one, "b"));
	ck_assert(http_list_next(&list, &one) && bytes_equal_str(one, "c d"));
	ck_assert(!http_list_next(&list, &one));
	ck_assert(http_query_find(bytes_of_str(query), "q", &value));
	n = http_unescape(value, HTTP_PLUS_IS_SPACE, out);
	ck_assert(bytes_equal_str(bytes_of(out, n), "a/b c"));
	n = http_unescape(value, HTTP_PLUS_IS_PLUS, out);
	ck_assert(bytes_equal_str(bytes_of(out, n), "a/b+c"));
	n = http_unescape(bytes_of_str("%4%zz%"), HTTP_PLUS_IS_PLUS, out);
	ck_assert(bytes_equal_str(bytes_of(out, n), "%4%zz%"));
	ck_assert(http_query_find(bytes_of_str(query), "empty", &value) && value.len == 0);
	ck_assert(http_query_find(bytes_of_str(query), "flag", &value) && value.len == 0);
	ck_assert(!http_query_find(bytes_of_str(query), "b", &value));
	ck_assert(!http_query_find(bytes_of(NULL, 0), "b", &value));
	ck_assert(!http_is_token(bytes_of(NULL, 0)));
	ck_assert(!http_equal(bytes_of_str("Hos"), "Host"));
	ck_assert(!http_equal(bytes_of_str("Hosts"), "Host"));
}
END_TEST

START_TEST(fields_by_name)
{
	static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\nx-y: 1\r\nX-Y:  2 \r\n"
				   "Expect: 100-Continue\r\n\r\n";
	struct http_scan scan = { 0 };
	struct http_fault fault;
	struct http_head h;
	size_t len;

	ck_assert_int_eq(http_head_read(bytes_of_str(text), &scan, &h, &len, &fault), 0);
	ck_assert(bytes_equal_str(http_head_field(&h, "X-Y"), "1"));
	ck_assert_uint_eq(http_head_count(&h, "X-Y"), 2);
	ck_assert_ptr_null(http_head_field(&h, "X").data);
	ck_assert(h.expects_continue);
	ck_assert_uint_eq(len, strlen(text));
}
END_TEST

UNIT_MAIN("http_parser", sound_requests_at_every_cut, parts_of_a_head,
    tricks_are_refused_at_every_cut, no_byte_is_nothing, what_is_cut_off_waits, bounds,
    endless_ones_are_cut_short, lengths_that_no_number_holds, pieces_of_fields, fields_by_name)
