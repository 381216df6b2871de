/* test_transport.c - PROXY headers in every form and cut, whom they are believed from, and what follows them */
#include "../unit.h"
#include "transport.h"

#include <check.h>
#include <string.h>

#include "err.h"
#include "mem.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V4                                                                                         \
	"\xc0\x00\x02\x01\xc6\x33\x64\x07\x9c\x40\x07\x5b" /* 192.0.2.1:40000 -> 198.51.100.7:1883 */
#define V6                                                                                         \
	"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02"     \
	"\x9c\x40\x07\x5b"
#define TLV "\x04\x00\x03pad\x20\x00\x01x"

struct header_case {
	const char *label;
	const char *bytes;
	size_t len;
	int err;
	enum proxy_says says;
	const char *peer;
};

#define GOOD(label, bytes, says, peer)                                                             \
	{                                                                                          \
		label, bytes, sizeof(bytes) - 1, 0, says, peer                                     \
	}
#define BAD(label, bytes, err)                                                                     \
	{                                                                                          \
		label, bytes, sizeof(bytes) - 1, err, PROXY_UNKNOWN, NULL                          \
	}

static const struct header_case cases[] = {
	GOOD("v1, IPv4", "PROXY TCP4 192.0.2.1 198.51.100.7 40000 1883\r\n", PROXY_CLIENT,
	    "192.0.2.1:40000"),
	GOOD("v1, IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", PROXY_CLIENT,
	    "[2001:db8::1]:1"),
	GOOD("v1, unknown", "PROXY UNKNOWN\r\n", PROXY_UNKNOWN, "unknown"),
	GOOD("v1, unknown and more", "PROXY UNKNOWN ff:ff 1 2 3 what ever\r\n", PROXY_UNKNOWN,
	    "unknown"),
	GOOD("v2, IPv4", SIGNATURE "\x21\x11\0\x0c" V4, PROXY_CLIENT, "192.0.2.1:40000"),
	GOOD("v2, IPv4, datagrams, TLVs", SIGNATURE "\x21\x12\0\x16" V4 TLV, PROXY_CLIENT,
	    "192.0.2.1:40000"),
	GOOD("v2, IPv6", SIGNATURE "\x21\x21\0\x24" V6, PROXY_CLIENT, "[2001:db8::1]:40000"),
	GOOD("v2, unspecified", SIGNATURE "\x21\x00\0\0", PROXY_UNKNOWN, "unknown"),
	GOOD("v2, unspecified, TLVs", SIGNATURE "\x21\x00\0\x0a" TLV, PROXY_UNKNOWN, "unknown"),
	GOOD("v2, LOCAL", SIGNATURE "\x20\x00\0\0", PROXY_ITSELF, NULL),
	GOOD("v2, LOCAL, addresses that do not count", SIGNATURE "\x20\x11\0\x02zz", PROXY_ITSELF,
	    NULL),
	BAD("no header", "\x10\x0c\0\x04MQTT", ERR_MALFORMED),
	BAD("nearly v1", "PROXX ", ERR_MALFORMED),
	BAD("nearly v2", "\r\n\r\n\0\r\nQUIT\r", ERR_MALFORMED),
	BAD("v1, small letters", "PROXY tcp4 192.0.2.1 198.51.100.7 40000 1883\r\n", ERR_MALFORMED),
	BAD("v1, another family", "PROXY UDP4 192.0.2.1 198.51.100.7 40000 1883\r\n",
	    ERR_MALFORMED),
	BAD("v1, no addresses", "PROXY TCP4\r\n", ERR_MALFORMED),
	BAD("v1, nothing", "PROXY \r\n", ERR_MALFORMED),
	BAD("v1, LF alone", "PROXY UNKNOWN\n", ERR_MALFORMED),
	BAD("v1, two blanks", "PROXY TCP4  192.0.2.1 198.51.100.7 40000 1883\r\n", ERR_MALFORMED),
	BAD("v1, a word too many", "PROXY TCP4 192.0.2.1 198.51.100.7 40000 1883 1\r\n",
	    ERR_MALFORMED),
	BAD("v1, family and address differ", "PROXY TCP4 ::1 ::1 40000 1883\r\n", ERR_MALFORMED),
	BAD("v1, port too large", "PROXY TCP4 192.0.2.1 198.51.100.7 65536 1883\r\n",
	    ERR_MALFORMED),
	BAD("v1, port with a sign", "PROXY TCP4 192.0.2.1 198.51.100.7 +1 1883\r\n", ERR_MALFORMED),
	BAD("v1, port with zeros", "PROXY TCP4 192.0.2.1 198.51.100.7 01 1883\r\n", ERR_MALFORMED),
	BAD("v1, NUL", "PROXY TCP4 192.0.2.1\0 198.51.100.7 1 1883\r\n", ERR_MALFORMED),
	BAD("v1, a long word",
	    "PROXY TCP4 "
	    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n",
	    ERR_MALFORMED),
	BAD("v1, no end",
	    "PROXY UNKNOWN "
	    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	    "aaaaaaaaaaaaaaa",
	    ERR_TOO_BIG),
	BAD("v2, version 1", SIGNATURE "\x11\x11\0\x0c" V4, ERR_MALFORMED),
	BAD("v2, another command", SIGNATURE "\x22\x11\0\x0c" V4, ERR_MALFORMED),
	BAD("v2, another family", SIGNATURE "\x21\x41\0\x0c" V4, ERR_MALFORMED),
	BAD("v2, another transport", SIGNATURE "\x21\x13\0\x0c" V4, ERR_MALFORMED),
	BAD("v2, IPv4, too short", SIGNATURE "\x21\x11\0\x0b" V4, ERR_MALFORMED),
	BAD("v2, IPv6, too short", SIGNATURE "\x21\x21\0\x23" V6, ERR_MALFORMED),
	BAD("v2, UNIX, too short", SIGNATURE "\x21\x31\0\x0c" V4, ERR_MALFORMED),
	BAD("v2, too long", SIGNATURE "\x21\x11\x0f\xf1" V4, ERR_TOO_BIG),
};

static void
check_case(const struct header_case *hc, size_t given)
{
	enum proxy_says says = PROXY_UNKNOWN;
	struct peer peer;
	size_t len = 0;
	const char *why = NULL;
	char text[PEER_TEXT_MAX];
	int err = proxy_header(bytes_of(hc->bytes, given), PROXY_ANY, &says, &peer, &len, &why);

	if (given < hc->len && err == ERR_SHORT)
		return;
	ck_assert_msg(err == hc->err, "%s: %d", hc->label, err);
	ck_assert_msg((why != NULL) == (err != 0), "%s", hc->label);
	if (err)
		return;
	ck_assert_msg(given == hc->len && len == hc->len, "%s: %zu of %zu", hc->label, given, len);
	ck_assert_int_eq(says, hc->says);
	if (hc->peer)
		ck_assert_str_eq(peer_text(&peer, text), hc->peer);
}

START_TEST(headers_in_every_form_and_cut)
{
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		for (size_t given = 0; given <= cases[i].len; given++)
			check_case(&cases[i], given);
}
END_TEST

START_TEST(a_unix_client_is_the_proxy_itself)
{
	static const char start[] = SIGNATURE "\x21\x31\0\xd8";
	uint8_t bytes[16 + 216] = { 0 };
	enum proxy_says says;
	struct peer peer;
	const char *why;
	size_t len;

	memcpy(bytes, start, 16);
	ck_assert_int_eq(
	    proxy_header(bytes_of(bytes, sizeof(bytes)), PROXY_V2, &says, &peer, &len, &why), 0);
	ck_assert_int_eq(says, PROXY_ITSELF);
	ck_assert_uint_eq(len, sizeof(bytes));
}
END_TEST

START_TEST(only_the_version_asked_for)
{
	enum proxy_says says;
	struct peer peer;
	const char *why;
	size_t len;
	struct bytes v1 = bytes_of_str("PROXY UNKNOWN\r\n");
	struct bytes v2 = bytes_of(SIGNATURE "\x20\x00\0\0", 16);

	ck_assert_int_eq(proxy_header(v1, PROXY_V1, &says, &peer, &len, &why), 0);
	ck_assert_int_eq(proxy_header(v2, PROXY_V2, &says, &peer, &len, &why), 0);
	ck_assert_int_eq(proxy_header(v1, PROXY_V2, &says, &peer, &len, &why), ERR_UNSUPPORTED);
	ck_assert_int_eq(proxy_header(v2, PROXY_V1, &says, &peer, &len, &why), ERR_UNSUPPORTED);
}
END_TEST

/* What follows the header is the protocol's, however the bytes are cut. */
START_TEST(what_follows_is_the_protocols)
{
	static const char text[] =
	    "PROXY TCP4 192.0.2.1 198.51.100.7 40000 1883\r\nhello, PROXY \r\n";
	const struct transport_door door = { .proxy = PROXY_ANY };
	const size_t len = sizeof(text) - 1;

	for (size_t cut = 0; cut <= len; cut++) {
		struct transport *t = transport_new(&door);
		struct peer peer = peer_of_v4((const uint8_t *)"\x7f\0\0\1", 1);
		uint8_t bytes[sizeof(text)], got[sizeof(text)];
		char name[PEER_TEXT_MAX];
		size_t n;

		memcpy(bytes, text, len);
		n = transport_input(t, bytes, cut, &peer);
		memcpy(got, bytes, n);
		memcpy(bytes, text, len);
		if (transport_is_done(
			t)) { /* as the listener: it is freed, and bytes go as they come */
			memcpy(got + n, bytes + cut, len - cut);
			n += len - cut;
		} else if (cut < len) {
			size_t more = transport_input(t, bytes + cut, len - cut, &peer);

			memcpy(got + n, bytes + cut, more);
			n += more;
		}
		ck_assert(transport_is_done(t) && !transport_ended(t));
		ck_assert_uint_eq(n, 15);
		ck_assert(memcmp(got, "hello, PROXY \r\n", 15) == 0);
		ck_assert_str_eq(peer_text(&peer, name), "192.0.2.1:40000");
		ck_assert(!peer_is_loopback(&peer));
		transport_free(&t);
	}
}
END_TEST

START_TEST(a_header_before_a_websocket)
{
	static const char text[] = "PROXY UNKNOWN\r\nGET / HTTP/1.0\r\nHost: a\r\n\r\n";
	struct websockets all = { .frame_max = 1000 };
	const struct transport_door door = { .proxy = PROXY_V1, .websockets = &all };
	struct transport *t = transport_new(&door);
	struct peer peer = peer_of_v4((const uint8_t *)"\x7f\0\0\1", 1);
	uint8_t bytes[sizeof(text)];
	struct bytes head;

	memcpy(bytes, text, sizeof(text) - 1);
	ck_assert_uint_eq(transport_input(t, bytes, sizeof(text) - 1, &peer), 0);
	ck_assert(!transport_awaits_proxy(t) && transport_ended(t) && transport_fault(t));
	ck_assert(!peer.known && !peer_is_loopback(&peer));
	ck_assert_uint_eq(transport_next(t, 100, &head), 0);
	ck_assert(head.len > 12 && memcmp(head.data, "HTTP/1.1 505", 12) == 0);
	transport_free(&t);
}
END_TEST

START_TEST(without_a_header_it_ends)
{
	const struct transport_door door = { .proxy = PROXY_V2 };
	struct transport *t = transport_new(&door);
	struct peer peer = { .known = false };
	uint8_t bytes[] = "\x10\x0c\0\4MQTT";
	struct bytes head;

	ck_assert_uint_eq(transport_input(t, bytes, 8, &peer), 0);
	ck_assert(transport_ended(t) && transport_awaits_proxy(t) && !transport_has_output(t));
	ck_assert_str_eq(transport_fault(t), "no PROXY header");
	ck_assert_uint_eq(transport_input(t, bytes, 8, &peer), 0);
	ck_assert_uint_eq(transport_next(t, 5, &head), 0);
	transport_free(&t);
}
END_TEST

START_TEST(doors_are_as_settings_say)
{
	struct worker_listener listeners[] = { { .kind = "mqtt" }, { .kind = "mqtt" },
		{ .kind = "mqtt-ws" }, { .kind = "mqtt-ws" } };
	static const char *const set[] = { "mqtt.listen=127.0.0.1:1,127.0.0.1:2",
		"mqtt.proxy_protocol=off,v2", "mqtt_ws.listen=127.0.0.1:3,127.0.0.1:4",
		"mqtt_ws.proxy_protocol=any", "proxy.trusted=10.0.0.0/9,192.0.2.7,2001:db8::/33" };
	static const struct {
		const char *ip;
		bool admitted;
	} from[] = { { "\x0a\x7f\xff\xff", true }, { "\x0a\x80\0\0", false },
		{ "\xc0\0\2\7", true }, { "\xc0\0\2\6", false }, { "\x7f\0\0\1", false } };
	struct settings *s = settings_new();
	struct worker w = { .settings = s, .listeners = listeners, .listener_count = 4 };
	struct peer v6 =
	    peer_of_v6((const uint8_t *)"\x20\x01\x0d\xb8\x7f\0\0\0\0\0\0\0\0\0\0\1", 1);
	struct buf err = { .max = 0 };
	struct transport_doors d;

	for (size_t i = 0; i < COUNT_OF(set); i++)
		ck_assert_int_eq(settings_set(s, set[i], "t", &err), 0);
	ck_assert_int_eq(settings_check(s, &err), 0);
	transport_doors_init(&d, &w);
	ck_assert(d.doors[0].proxy == PROXY_OFF && !d.doors[0].websockets);
	ck_assert_ptr_null(transport_new(&d.doors[0]));
	ck_assert(d.doors[1].proxy == PROXY_V2 && !d.doors[1].websockets);
	for (size_t i = 2; i < 4; i++)
		ck_assert(d.doors[i].proxy == PROXY_ANY && d.doors[i].websockets == &d.websockets);
	for (size_t i = 0; i < COUNT_OF(from); i++) {
		struct peer p = peer_of_v4((const uint8_t *)from[i].ip, 1);

		ck_assert(transport_admits(&d, &d.doors[0], &p));
		ck_assert_int_eq(transport_admits(&d, &d.doors[1], &p), from[i].admitted);
	}
	ck_assert(transport_admits(&d, &d.doors[1], &v6));
	v6.ip[4] = 0x80;
	ck_assert(!transport_admits(&d, &d.doors[1], &v6));
	v6.known = false;
	ck_assert(!transport_admits(&d, &d.doors[1], &v6));
	transport_doors_fini(&d);
	settings_free(&s);
}
END_TEST

START_TEST(who_is_on_this_machine)
{
	static const struct {
		const char *ip;
		bool loopback;
		const char *text;
	} v6[] = { { "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", true, "[::1]:7" },
		{ "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\2", false, "[::2]:7" },
		{ "\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\1\2\3", true, "127.1.2.3:7" },
		{ "\0\0\0\0\0\0\0\0\0\0\xff\xff\x7e\1\2\3", false, "126.1.2.3:7" } };

	for (size_t i = 0; i < COUNT_OF(v6); i++) {
		struct peer p = peer_of_v6((const uint8_t *)v6[i].ip, 7);
		char text[PEER_TEXT_MAX];

		ck_assert_int_eq(peer_is_loopback(&p), v6[i].loopback);
		ck_assert_str_eq(peer_text(&p, text), v6[i].text);
	}
}
END_TEST

UNIT_MAIN("transport", headers_in_every_form_and_cut, a_unix_client_is_the_proxy_itself,
    only_the_version_asked_for, what_follows_is_the_protocols, a_header_before_a_websocket,
    without_a_header_it_ends, doors_are_as_settings_say, who_is_on_this_machine)
