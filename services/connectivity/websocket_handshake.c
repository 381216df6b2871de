/* websocket_handshake.c - the HTTP request that opens a WebSocket, and its answer; pure */
#include "websocket_handshake.h"

#include <string.h>
#include <strings.h>

#include "err.h"
#include "mem.h"
#include "sha1.h"

#define KEY_LEN 24 /* base64 of 16 bytes */

struct request {
	struct bytes method;
	struct bytes path;
	struct bytes version;
	struct bytes host;
	struct bytes key;
	struct bytes origin;
	unsigned hosts;
	unsigned keys;
	unsigned origins;
	unsigned versions;
	bool upgrade;	 /* Upgrade: websocket */
	bool connection; /* Connection: Upgrade */
	bool version_13;
	bool body;
	bool protocols; /* some were offered */
	const char *protocol;
};

static bool
is(struct bytes a, const char *b)
{
	return a.len == strlen(b) && strncasecmp((const char *)a.data, b, a.len) == 0;
}

static bool
is_token_char(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool
is_token(struct bytes b)
{
	for (size_t i = 0; i < b.len; i++)
		if (!is_token_char(b.data[i]))
			return false;
	return b.len > 0;
}

static struct bytes
trim(struct bytes b)
{
	while (b.len && (b.data[0] == ' ' || b.data[0] == '\t'))
		b = bytes_of(b.data + 1, b.len - 1);
	while (b.len && (b.data[b.len - 1] == ' ' || b.data[b.len - 1] == '\t'))
		b.len--;
	return b;
}

/* Cuts what stands before the first c off *rest; all of it if there is no c. */
static struct bytes
cut(struct bytes *rest, uint8_t c)
{
	const uint8_t *at = rest->len ? memchr(rest->data, c, rest->len) : NULL;
	size_t len = at ? (size_t)(at - rest->data) : rest->len;
	size_t skip = at ? len + 1 : len;
	struct bytes front = bytes_of(rest->data, len);

	*rest = bytes_of(rest->data + skip, rest->len - skip);
	return front;
}

static bool
lists(struct bytes value, const char *token)
{
	while (value.len)
		if (is(trim(cut(&value, ',')), token))
			return true;
	return false;
}

/* The first one that we know: the client lists them as it prefers them. Names are compared exactly (RFC 6455, 11.5). */
static void
choose_protocol(struct request *r, struct bytes value)
{
	static const char *const known[] = { "mqtt", "mqttv3.1" };

	r->protocols = true;
	while (value.len && !r->protocol) {
		struct bytes one = trim(cut(&value, ','));

		for (size_t i = 0; i < COUNT_OF(known); i++)
			if (bytes_equal_str(one, known[i]))
				r->protocol = known[i];
	}
}

static void
take_header(struct request *r, struct bytes name, struct bytes value)
{
	if (is(name, "Host")) {
		r->hosts++;
		r->host = value;
	} else if (is(name, "Upgrade")) {
		r->upgrade = r->upgrade || lists(value, "websocket");
	} else if (is(name, "Connection")) {
		r->connection = r->connection || lists(value, "upgrade");
	} else if (is(name, "Sec-WebSocket-Key")) {
		r->keys++;
		r->key = value;
	} else if (is(name, "Sec-WebSocket-Version")) {
		r->versions++;
		r->version_13 = bytes_equal_str(value, "13");
	} else if (is(name, "Sec-WebSocket-Protocol")) {
		choose_protocol(r, value);
	} else if (is(name, "Origin")) {
		r->origins++;
		r->origin = value;
	} else if (is(name, "Transfer-Encoding") ||
		   (is(name, "Content-Length") && !bytes_equal_str(value, "0"))) {
		r->body = true;
	}
}

/* Line ends are CR LF; no other control character than a tab stands in between. NULL, or what is wrong. */
static const char *
check_characters(struct bytes in)
{
	if (in.len && (in.data[0] < 'A' || in.data[0] > 'Z'))
		return "this is no HTTP request; MQTT without WebSocket has a port of its own";
	for (size_t i = 0; i < in.len; i++) {
		uint8_t c = in.data[i];

		if (c == '\r' && (i + 1 == in.len || in.data[i + 1] == '\n'))
			continue;
		if (c == '\n' && in.data[i - 1] == '\r')
			continue;
		if ((c < ' ' && c != '\t') || c == 0x7f)
			return "a control character, or a line end that is not CR LF";
	}
	return NULL;
}

/* NULL, or what is wrong. text: the request line and headers, without the empty line. */
static const char *
parse(struct bytes text, struct request *r)
{
	struct bytes line = cut(&text, '\n');
	size_t headers = 0;

	line.len--; /* CR */
	r->method = cut(&line, ' ');
	r->path = cut(&line, ' ');
	r->version = line;
	if (!is_token(r->method) || r->path.len == 0)
		return "the first line is not METHOD PATH HTTP/1.1";
	r->path = cut(&r->path, '?');
	while (text.len) {
		struct bytes name;

		line = cut(&text, '\n');
		line.len--;
		if (++headers > WEBSOCKET_HEADERS_MAX)
			return "more than 64 headers";
		if (!memchr(line.data, ':', line.len))
			return "a header without a colon";
		name = cut(&line, ':');
		if (!is_token(name))
			return "a header whose name is none, or a line that is folded";
		take_header(r, name, trim(line));
	}
	return NULL;
}

static bool
is_key(struct bytes key)
{
	if (key.len != KEY_LEN || key.data[KEY_LEN - 1] != '=' || key.data[KEY_LEN - 2] != '=')
		return false;
	for (size_t i = 0; i < KEY_LEN - 2; i++) {
		uint8_t c = key.data[i];

		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			c == '+' || c == '/'))
			return false;
	}
	/* Of the last character two bits count. */
	return strchr("AQgw", key.data[KEY_LEN - 3]) != NULL;
}

static bool
is_same_origin(const struct request *r)
{
	struct bytes o = r->origin;

	cut(&o, ':');
	if (o.len < 2 || o.data[0] != '/' || o.data[1] != '/')
		return false;
	o = bytes_of(o.data + 2, o.len - 2);
	return o.len == r->host.len &&
	       strncasecmp((const char *)o.data, (const char *)r->host.data, o.len) == 0;
}

/* Only browsers say an origin, and they say whose page it is that connects: without this any page that someone has open
 * could speak to a Roost that trusts its own machine. */
static bool
is_origin_allowed(const struct request *r, const struct websocket_policy *policy)
{
	for (size_t i = 0; i < policy->origin_count; i++) {
		const char *allowed = policy->origins[i];

		if (strcmp(allowed, "*") == 0 || is(r->origin, allowed) ||
		    (strcmp(allowed, "same") == 0 && is_same_origin(r)))
			return true;
	}
	return false;
}

static bool
is_path_served(const struct request *r, const struct websocket_policy *policy)
{
	for (size_t i = 0; i < policy->path_count; i++)
		if (strcmp(policy->paths[i], "*") == 0 ||
		    bytes_equal_str(r->path, policy->paths[i]))
			return true;
	return false;
}

/* 101, or an HTTP status and why. */
static unsigned
judge(const struct request *r, const struct websocket_policy *policy, const char **ret_why)
{
	const struct {
		bool bad;
		unsigned status;
		const char *why;
	} rules[] = {
		{ !bytes_equal_str(r->version, "HTTP/1.1"), 505, "HTTP/1.1 is spoken here" },
		{ r->hosts != 1, 400, "there must be one Host header" },
		{ !bytes_equal_str(r->method, "GET"), 405, "a WebSocket is opened by GET" },
		{ r->body, 400, "a request that opens a WebSocket has no body" },
		{ !is_path_served(r, policy), 404,
		    "nothing is here; MQTT is at /mqtt (mqtt_ws.paths)" },
		{ !r->upgrade || !r->connection, 426,
		    "MQTT over WebSocket is spoken here: Upgrade: websocket, Connection: Upgrade" },
		{ r->versions != 1 || !r->version_13, 426,
		    "Sec-WebSocket-Version 13 is spoken here" },
		{ r->keys != 1 || !is_key(r->key), 400,
		    "Sec-WebSocket-Key must be there once, 16 bytes in base64" },
		{ r->origins > 1, 400, "more than one Origin header" },
		{ r->origins && !is_origin_allowed(r, policy), 403,
		    "pages of this origin may not connect (mqtt_ws.origins)" },
		{ !r->protocols, 400, "offer the subprotocol mqtt: Sec-WebSocket-Protocol: mqtt" },
		{ !r->protocol, 400, "of the subprotocols offered none is mqtt" },
	};

	for (size_t i = 0; i < COUNT_OF(rules); i++) {
		if (rules[i].bad) {
			*ret_why = rules[i].why;
			return rules[i].status;
		}
	}
	return 101;
}

static void
base64(const uint8_t *data, size_t len, char *out)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < len; i += 3) {
		uint32_t v = (uint32_t)data[i] << 16;

		v |= i + 1 < len ? (uint32_t)data[i + 1] << 8 : 0;
		v |= i + 2 < len ? data[i + 2] : 0;
		*out++ = digits[v >> 18];
		*out++ = digits[v >> 12 & 63];
		*out++ = i + 1 < len ? digits[v >> 6 & 63] : '=';
		*out++ = i + 2 < len ? digits[v & 63] : '=';
	}
	*out = '\0';
}

static void
make_accept(struct bytes key, char out[32])
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	uint8_t text[KEY_LEN + sizeof(guid) - 1], digest[SHA1_BYTES];

	memcpy(text, key.data, KEY_LEN);
	memcpy(text + KEY_LEN, guid, sizeof(guid) - 1);
	sha1(bytes_of(text, sizeof(text)), digest);
	base64(digest, sizeof(digest), out);
}

int
websocket_request(struct bytes in, const struct websocket_policy *policy,
    struct websocket_answer *ret_answer, size_t *ret_len)
{
	struct websocket_answer a = { .status = 400 };
	struct request r = { .hosts = 0 };
	bool over = in.len >= WEBSOCKET_REQUEST_MAX;
	const uint8_t *end;

	in.len = over ? WEBSOCKET_REQUEST_MAX : in.len;
	end = in.len ? memmem(in.data, in.len, "\r\n\r\n", 4) : NULL;
	*ret_len = end ? (size_t)(end - in.data) + 4 : in.len;
	a.why = check_characters(bytes_of(in.data, *ret_len));
	if (!a.why && !end && !over)
		return ERR_SHORT;
	if (!a.why && !end) {
		a.status = 431;
		a.why = "the request has more than 8192 bytes";
	} else if (!a.why) {
		a.why = parse(bytes_of(in.data, *ret_len - 2), &r);
		if (!a.why)
			a.status = judge(&r, policy, &a.why);
	}
	if (a.status == 101) {
		make_accept(r.key, a.accept);
		a.protocol = r.protocol;
	}
	*ret_answer = a;
	return 0;
}

static const char *
phrase(unsigned status)
{
	static const struct {
		unsigned status;
		const char *text;
	} phrases[] = { { 403, "Forbidden" }, { 404, "Not Found" }, { 405, "Method Not Allowed" },
		{ 426, "Upgrade Required" }, { 431, "Request Header Fields Too Large" },
		{ 505, "HTTP Version Not Supported" } };

	for (size_t i = 0; i < COUNT_OF(phrases); i++)
		if (phrases[i].status == status)
			return phrases[i].text;
	return "Bad Request";
}

void
websocket_put_answer(struct buf *out, const struct websocket_answer *a)
{
	if (a->status == 101) {
		buf_addf(out,
		    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: "
		    "Upgrade\r\n"
		    "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
		    a->accept, a->protocol);
		return;
	}
	buf_addf(out, "HTTP/1.1 %u %s\r\n", a->status, phrase(a->status));
	if (a->status == 405)
		buf_add_str(out, "Allow: GET\r\n");
	if (a->status == 426)
		buf_add_str(out, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
	buf_addf(out,
	    "Connection: %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: "
	    "%zu\r\n\r\n%s\n",
	    a->status == 426 ? "close, Upgrade" : "close", strlen(a->why) + 1, a->why);
}
