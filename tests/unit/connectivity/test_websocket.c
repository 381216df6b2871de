/* test_websocket.c - the handshake, frames in every cut, and what goes back */
#include "../unit.h"
#include "websocket.h"

#include <check.h>
#include <string.h>

#include "mem.h"

#define HEAD                                                                                       \
	"Host: a.example\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"             \
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
#define GOOD "GET /mqtt HTTP/1.1\r\n" HEAD "Sec-WebSocket-Protocol: mqtt\r\n\r\n"
#define ANSWER                                                                                     \
	"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"        \
	"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: "           \
	"mqtt\r\n\r\n"

static const struct websocket_policy policy = {
	.paths = { "/mqtt", "/" },
	.path_count = 2,
	.origins = { "same", "https://console.example" },
	.origin_count = 2,
};

static struct websockets all;

static void
setup(void)
{
	all = (struct websockets){ .policy = policy, .frame_max = 1000 };
}

static void
teardown(void)
{
	websockets_fini(&all);
}

/* The subprotocol among the rest: MQTT-6.0.0-3, -4. */
START_TEST(each_request_is_judged)
{
	static const struct {
		const char *label;
		const char *text;
		unsigned status;
	} cases[] = {
		{ "RFC 6455's own key", GOOD, 101 },
		{ "root, with a query",
		    "GET /?a=b HTTP/1.1\r\n" HEAD "Sec-WebSocket-Protocol: mqtt\r\n\r\n", 101 },
		{ "3.1 only", "GET / HTTP/1.1\r\n" HEAD "Sec-WebSocket-Protocol: mqttv3.1\r\n\r\n",
		    101 },
		{ "several lists",
		    "GET / HTTP/1.1\r\n" HEAD
		    "sec-websocket-protocol: chat\r\nSEC-WEBSOCKET-PROTOCOL:\tx,mqtt \r\n\r\n",
		    101 },
		{ "same origin",
		    "GET / HTTP/1.1\r\n" HEAD
		    "Origin: http://A.example\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
		    101 },
		{ "listed origin",
		    "GET / HTTP/1.1\r\n" HEAD
		    "Origin: https://console.example\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
		    101 },
		{ "no length",
		    "GET / HTTP/1.1\r\n" HEAD
		    "Content-Length: 0\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
		    101 },
		{ "other origin",
		    "GET / HTTP/1.1\r\n" HEAD
		    "Origin: http://a.example.evil\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
		    403 },
		{ "no page",
		    "GET / HTTP/1.1\r\n" HEAD
		    "Origin: null\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
		    403 },
		{ "two origins",
		    "GET / HTTP/1.1\r\n" HEAD "Origin: http://a.example\r\nOrigin: "
		    "http://a.example\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
		    400 },
		{ "no subprotocol", "GET / HTTP/1.1\r\n" HEAD "\r\n", 400 },
		{ "another subprotocol",
		    "GET / HTTP/1.1\r\n" HEAD "Sec-WebSocket-Protocol: MQTT, mqttv5\r\n\r\n", 400 },
		{ "another path", "GET /mqtt2 HTTP/1.1\r\n" HEAD "\r\n", 404 },
		{ "another method", "PUT /mqtt HTTP/1.1\r\n" HEAD "\r\n", 405 },
		{ "HTTP/1.0", "GET /mqtt HTTP/1.0\r\n" HEAD "\r\n", 505 },
		{ "HTTP/1.1 in small letters", "GET /mqtt http/1.1\r\n" HEAD "\r\n", 505 },
		{ "a browser", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 426 },
		{ "h2c", "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
		    426 },
		{ "no Connection", "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", 426 },
		{ "no version",
		    "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: "
		    "upgrade\r\n\r\n",
		    426 },
		{ "version twice", "GET / HTTP/1.1\r\n" HEAD "Sec-WebSocket-Version: 13\r\n\r\n",
		    426 },
		{ "key twice",
		    "GET / HTTP/1.1\r\n" HEAD "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		    400 },
		{ "host twice", "GET / HTTP/1.1\r\n" HEAD "Host: b\r\n\r\n", 400 },
		{ "no host", "GET / HTTP/1.1\r\n\r\n", 400 },
		{ "a body", "GET / HTTP/1.1\r\n" HEAD "Content-Length: 5\r\n\r\n", 400 },
		{ "a chunked body", "GET / HTTP/1.1\r\n" HEAD "Transfer-Encoding: chunked\r\n\r\n",
		    400 },
		{ "blank before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400 },
		{ "folded", "GET / HTTP/1.1\r\nHost: a\r\n b: c\r\n\r\n", 400 },
		{ "no colon", "GET / HTTP/1.1\r\nHost\r\n\r\n", 400 },
		{ "no name", "GET / HTTP/1.1\r\n: a\r\n\r\n", 400 },
		{ "no path", "GET  HTTP/1.1\r\n\r\n", 400 },
		{ "no version of HTTP", "GET /\r\n\r\n", 505 },
		{ "one word", "GET\r\n\r\n", 400 },
		{ "LF alone", "GET / HTTP/1.1\n", 400 },
		{ "CR alone", "GET / HTTP/1.1\rx", 400 },
		{ "a control character", "GET / HTTP/1.1\r\nA: \x01", 400 },
		{ "not a letter", "\x10\x0c", 400 },
		{ "small letter", "get / HTTP/1.1\r\n", 400 },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct websocket_answer a = { .status = 0 };
		struct bytes in = bytes_of_str(cases[i].text);
		struct buf out = { .max = 0 };
		size_t len = 0;

		ck_assert_msg(websocket_request(in, &policy, &a, &len) == 0, "%s", cases[i].label);
		ck_assert_msg(a.status == cases[i].status, "%s: %u %s", cases[i].label, a.status,
		    a.why ? a.why : "");
		ck_assert_uint_le(len, in.len);
		websocket_put_answer(&out, &a);
		ck_assert_msg((a.status == 101) == (a.why == NULL), "%s", cases[i].label);
		if (a.why)
			ck_assert_msg(strstr(buf_str(&out), a.why) != NULL, "%s", cases[i].label);
		buf_fini(&out);
	}
}
END_TEST

START_TEST(keys_are_sixteen_bytes)
{
	static const struct {
		const char *key;
		unsigned status;
	} cases[] = {
		{ "dGhlIHNhbXBsZSBub25jZQ==", 101 },
		{ "AAAAAAAAAAAAAAAAAAAAAA==", 101 },
		{ "+/+/+/+/+/+/+/+/+/+/+w==", 101 },
		{ "AAAAAAAAAAAAAAAAAAAAAB==", 400 },
		{ "AAAAAAAAAAAAAAAAAAAAAA=A", 400 },
		{ "AAAAAAAAAAAAAAAAAAAAAAA=", 400 },
		{ "AAAAAAAAAA AAAAAAAAAAA==", 400 },
		{ "AAAAAAAAAAAAAAAAAAAAA==", 400 },
		{ "", 400 },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct websocket_answer a;
		struct buf text = { .max = 0 };
		size_t len;

		buf_addf(&text,
		    "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
		    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n"
		    "Sec-WebSocket-Key: %s\r\n\r\n",
		    cases[i].key);
		ck_assert_int_eq(websocket_request(buf_bytes(&text), &policy, &a, &len), 0);
		ck_assert_msg(a.status == cases[i].status, "%s: %u", cases[i].key, a.status);
		buf_fini(&text);
	}
}
END_TEST

START_TEST(a_request_is_bounded)
{
	struct websocket_answer a;
	struct buf text = { .max = 0 };
	size_t len;

	buf_add_str(&text, "GET / HTTP/1.1\r\nHost: a\r\n");
	for (size_t i = 0; i < WEBSOCKET_HEADERS_MAX; i++)
		buf_add_str(&text, "X: y\r\n");
	buf_add_str(&text, "\r\n");
	ck_assert_int_eq(websocket_request(buf_bytes(&text), &policy, &a, &len), 0);
	ck_assert_uint_eq(a.status, 400);
	buf_clear(&text);
	buf_add_str(&text, "GET /");
	while (text.len < WEBSOCKET_REQUEST_MAX - 1)
		buf_add_str(&text, "a");
	ck_assert_int_ne(websocket_request(buf_bytes(&text), &policy, &a, &len), 0);
	buf_add_str(&text, "a");
	ck_assert_int_eq(websocket_request(buf_bytes(&text), &policy, &a, &len), 0);
	ck_assert_uint_eq(a.status, 431);
	ck_assert_uint_eq(len, WEBSOCKET_REQUEST_MAX);
	buf_fini(&text);
}
END_TEST

/* --- frames --- */

static void
put_frame(struct buf *out, unsigned first, const char *payload, size_t len)
{
	static const uint8_t mask[4] = { 0x5a, 0x00, 0xff, 0x13 };

	buf_add_u8(out, (uint8_t)first);
	if (len < 126) {
		buf_add_u8(out, (uint8_t)(0x80 | len));
	} else {
		buf_add_u8(out, 0x80 | 126);
		buf_add_u8(out, (uint8_t)(len >> 8));
		buf_add_u8(out, (uint8_t)len);
	}
	buf_add(out, mask, 4);
	for (size_t i = 0; i < len; i++)
		buf_add_u8(out, (uint8_t)((uint8_t)payload[i] ^ mask[i % 4]));
}
#define FRAME(out, first, payload) put_frame(out, first, payload, sizeof(payload) - 1)

/* Sends all there is to send, with `plain` behind it, in pieces of at most `each`. */
static void
drain(struct websocket *w, struct buf *plain, size_t each, struct buf *wire)
{
	for (int i = 0; i < 100000; i++) {
		struct bytes head;
		size_t body = websocket_next(w, plain->len, &head), n, own;

		ck_assert_uint_le(body, plain->len);
		if (head.len + body == 0)
			return;
		n = head.len + body < each ? head.len + body : each;
		buf_add(wire, head.data, n < head.len ? n : head.len);
		own = websocket_sent(w, n);
		ck_assert_uint_eq(own, n > head.len ? n - head.len : 0);
		buf_add(wire, plain->data, own);
		buf_consume(plain, own);
	}
	ck_abort_msg("no end of output");
}

static struct websocket *
opened(struct buf *plain)
{
	struct websocket *w = websocket_new(&all);
	struct buf wire = { .max = 0 };
	char text[] = GOOD;

	ck_assert_uint_eq(websocket_input(w, (uint8_t *)text, strlen(text)), 0);
	ck_assert(websocket_is_open(w));
	drain(w, plain, 1000, &wire);
	ck_assert_str_eq(buf_str(&wire), ANSWER);
	buf_fini(&wire);
	return w;
}

/* All of what a client may send, cut in every place, in two and in single bytes. */
START_TEST(input_may_come_in_any_pieces)
{
	struct buf in = { .max = 0 };
	char large[300];

	memset(large, 'l', sizeof(large));
	buf_add_str(&in, GOOD);
	FRAME(&in, 0x82, "one");
	FRAME(&in, 0x02, "tw");
	FRAME(&in, 0x89, "ping!");
	FRAME(&in, 0x00, "");
	FRAME(&in, 0x8a, "unasked pong");
	FRAME(&in, 0x80, "o");
	put_frame(&in, 0x82, large, sizeof(large));
	FRAME(&in, 0x82, "end");
	FRAME(&in, 0x88,
	    "\x03\xe8"
	    "bye");
	FRAME(&in, 0x82, "unheard");
	for (size_t cut = 0; cut <= in.len + 1; cut++) {
		struct websocket *w = websocket_new(&all);
		struct buf got = { .max = 0 }, none = { .max = 0 }, wire = { .max = 0 };
		size_t each = cut <= in.len ? 0 : 1;

		for (size_t at = 0; at < in.len;) {
			size_t n = each ? each : at < cut ? cut - at : in.len - at;
			uint8_t piece[4096];

			memcpy(piece, in.data + at, n);
			n = websocket_input(w, piece, n);
			buf_add(&got, piece, n);
			drain(w, &none, 7, &wire);
			at += each ? each : at < cut ? cut - at : in.len - at;
		}
		ck_assert_uint_eq(got.len, 3 + 3 + sizeof(large) + 3);
		ck_assert(memcmp(got.data, "onetwolll", 9) == 0);
		ck_assert(memcmp(got.data + got.len - 4, "lend", 4) == 0);
		ck_assert(websocket_ended(w));
		ck_assert_ptr_null(websocket_fault(w));
		ck_assert_uint_eq(wire.len, strlen(ANSWER) + 7 + 4);
		ck_assert(
		    memcmp(wire.data + strlen(ANSWER), "\x8a\x05ping!\x88\x02\x03\xe8", 11) == 0);
		buf_fini(&got);
		buf_fini(&wire);
		websocket_free(&w);
	}
	ck_assert_uint_le(all.spare_count, 1);
	buf_fini(&in);
}
END_TEST

START_TEST(each_broken_rule_has_its_code)
{
	static const struct {
		const char *label;
		const char *bytes;
		size_t len;
		unsigned code;
	} cases[] = {
#define CASE(label, bytes, code) { label, bytes, sizeof(bytes) - 1, code }
		CASE("text", "\x81\x81____x", 1003),
		CASE("not masked", "\x82\x01x", 1002),
		CASE("reserved bit", "\xc2\x81____x", 1002),
		CASE("data of an unknown kind", "\x83\x81____x", 1002),
		CASE("control of an unknown kind", "\x8b\x80____", 1002),
		CASE("continuation of nothing", "\x80\x81____x", 1002),
		CASE("message within a message", "\x02\x81____x\x82\x81____x", 1002),
		CASE("text within a message", "\x02\x81____x\x81\x81____x", 1003),
		CASE("ping of 126", "\x89\xfe\x00\x7e____", 1002),
		CASE("ping in pieces", "\x09\x81____x", 1002),
		CASE("too large", "\x82\xfe\x03\xe9____x", 1009),
		CASE("length not minimal", "\x82\xfe\x00\x7d____x", 1002),
		CASE("longer length not minimal", "\x82\xff\0\0\0\0\0\0\xff\xff____x", 1002),
		CASE("length with its highest bit", "\x82\xff\x80\0\0\0\0\0\0\0____x", 1002),
		CASE("close of one byte", "\x88\x81\0\0\0\0\x03", 1002),
		CASE("close with 999", "\x88\x82\0\0\0\0\x03\xe7", 1002),
		CASE("close with 1005", "\x88\x82\0\0\0\0\x03\xed", 1002),
		CASE("close with 5000", "\x88\x82\0\0\0\0\x13\x88", 1002),
		CASE("close whose text is no UTF-8", "\x88\x84\0\0\0\0\x03\xe8\xc0\x80", 1007),
		CASE("close", "\x88\x80____", 0),
		CASE("close with 3000", "\x88\x82\0\0\0\0\x0b\xb8", 3000),
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct buf plain = { .max = 0 }, wire = { .max = 0 };
		struct websocket *w = opened(&plain);
		uint8_t bytes[64];

		memcpy(bytes, cases[i].bytes, cases[i].len);
		(void)websocket_input(w, bytes, cases[i].len);
		ck_assert_msg(websocket_ended(w), "%s", cases[i].label);
		ck_assert_msg(
		    (websocket_fault(w) != NULL) == (cases[i].code && cases[i].code != 3000), "%s",
		    cases[i].label);
		buf_add_str(&plain, "too late");
		drain(w, &plain, 1000, &wire);
		ck_assert_uint_eq(plain.len, 8);
		if (cases[i].code) {
			ck_assert_uint_eq(wire.len, 4);
			ck_assert_msg((unsigned)(wire.data[2] << 8 | wire.data[3]) == cases[i].code,
			    "%s: %u", cases[i].label, wire.data[2] << 8 | wire.data[3]);
		} else {
			ck_assert(wire.len == 2 && memcmp(wire.data, "\x88\x00", 2) == 0);
		}
		ck_assert(!websocket_has_output(w));
		buf_fini(&plain);
		buf_fini(&wire);
		websocket_free(&w);
	}
}
END_TEST

/* What goes out becomes frames of at most WEBSOCKET_FRAME_OUT_MAX; a pong waits for the frame that is on its way; Close comes
 * last. */
START_TEST(output_becomes_frames)
{
	const size_t lens[] = { 1, 125, 126, 65535, 65536, 200000 };

	for (size_t i = 0; i < COUNT_OF(lens); i++) {
		struct buf plain = { .max = 0 }, wire = { .max = 0 }, ping = { .max = 0 };
		struct websocket *w = opened(&plain);
		size_t at = 0, got = 0, pongs = 0;
		struct bytes head;

		memset(buf_reserve(&plain, lens[i]), 'p', lens[i]);
		plain.len = lens[i];
		/* The first frame is begun: of its header one byte has gone. */
		ck_assert_uint_gt(websocket_next(w, plain.len, &head), 0);
		buf_add(&wire, head.data, 1);
		ck_assert_uint_eq(websocket_sent(w, 1), 0);
		for (int n = 0; n < 1000; n++) {
			FRAME(&ping, 0x89, "first");
			FRAME(&ping, 0x89, "last");
		}
		ck_assert_uint_eq(websocket_input(w, ping.data, ping.len), 0);
		websocket_close(w);
		drain(w, &plain, 1000, &wire);
		while (at < wire.len) {
			unsigned opcode = wire.data[at] & 15u;
			size_t len = wire.data[at + 1];

			ck_assert_uint_eq(wire.data[at] & 0xf0u, 0x80);
			at += 2;
			if (len == 126) {
				len = (size_t)(wire.data[at] << 8 | wire.data[at + 1]);
				ck_assert_uint_ge(len, 126);
				at += 2;
			}
			ck_assert_uint_le(len, wire.len - at);
			if (opcode == 10) {
				pongs++;
				ck_assert(len == 4 && memcmp(wire.data + at, "last", 4) == 0);
			} else if (opcode == 8) {
				ck_assert(len == 2 && memcmp(wire.data + at, "\x03\xe8", 2) == 0);
				ck_assert_uint_eq(at + len, wire.len);
			} else {
				ck_assert_uint_eq(opcode, 2);
				got += len;
			}
			at += len;
		}
		ck_assert_uint_eq(got, lens[i]);
		ck_assert_uint_eq(pongs, 1);
		ck_assert(websocket_ended(w) && !websocket_has_output(w));
		buf_fini(&plain);
		buf_fini(&wire);
		buf_fini(&ping);
		websocket_free(&w);
	}
}
END_TEST

START_TEST(a_refusal_is_all_that_is_said)
{
	struct websocket *w = websocket_new(&all);
	struct buf plain = { .max = 0 }, wire = { .max = 0 };
	char text[] = "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n";

	ck_assert_uint_eq(websocket_input(w, (uint8_t *)text, strlen(text)), 0);
	ck_assert(websocket_ended(w) && websocket_fault(w) && !websocket_is_open(w));
	buf_add_str(&plain, "not this");
	websocket_close(w);
	drain(w, &plain, 3, &wire);
	ck_assert_uint_eq(plain.len, 8);
	ck_assert(memcmp(wire.data, "HTTP/1.1 404 Not Found\r\n", 24) == 0);
	buf_fini(&plain);
	buf_fini(&wire);
	websocket_free(&w);
}
END_TEST

START_TEST(idle_connections_hold_no_reader)
{
	enum { MANY = 100 };
	struct websocket *w[MANY];
	struct buf plain = { .max = 0 };
	uint8_t half[3] = { 0x82, 0x85, 1 }, rest[8];

	for (size_t i = 0; i < MANY; i++) {
		w[i] = opened(&plain);
		memcpy(rest, "\x82\x81____x", 7);
		ck_assert_uint_eq(websocket_input(w[i], rest, 7), 1);
	}
	ck_assert_uint_eq(all.spare_count, 1);
	for (size_t i = 0; i < MANY; i++)
		ck_assert_uint_eq(websocket_input(w[i], half, 3), 0);
	ck_assert_uint_eq(all.spare_count, 0);
	for (size_t i = 0; i < MANY; i++) {
		memcpy(rest, "\0\0\0hello", 8);
		ck_assert_uint_eq(websocket_input(w[i], rest, 8), 5);
	}
	ck_assert_uint_eq(all.spare_count, WEBSOCKET_READERS_MAX);
	for (size_t i = 0; i < MANY; i++)
		websocket_free(&w[i]);
	buf_fini(&plain);
}
END_TEST

UNIT_MAIN_IN("websocket", setup, teardown, each_request_is_judged, keys_are_sixteen_bytes,
    a_request_is_bounded, input_may_come_in_any_pieces, each_broken_rule_has_its_code,
    output_becomes_frames, a_refusal_is_all_that_is_said, idle_connections_hold_no_reader)
