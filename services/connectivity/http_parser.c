/* http_parser.c - HTTP/1.1 requests from bytes; pure */
#include "http_parser.h"

#include <string.h>

#include "err.h"
#include "http_chars.h"
#include "mem.h"

static int
fail(struct http_fault *ret, unsigned status, const char *why)
{
	*ret = (struct http_fault){ .status = status, .why = why };
	return ERR_MALFORMED;
}

/* --- pieces --- */

bool
http_is_token(struct bytes b)
{
	for (size_t i = 0; i < b.len; i++)
		if (!http_is_tchar(b.data[i]))
			return false;
	return b.len > 0;
}

bool
http_equal(struct bytes a, const char *b)
{
	size_t i;

	for (i = 0; i < a.len; i++)
		if (b[i] == '\0' || http_lower(a.data[i]) != http_lower((uint8_t)b[i]))
			return false;
	return b[i] == '\0';
}

struct bytes
http_trim(struct bytes b)
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

	*rest = bytes_of(rest->len ? rest->data + skip : rest->data, rest->len - skip);
	return front;
}

bool
http_list_next(struct bytes *list, struct bytes *ret_element)
{
	while (list->len) {
		struct bytes one = http_trim(cut(list, ','));

		if (one.len) {
			*ret_element = one;
			return true;
		}
	}
	return false;
}

size_t
http_unescape(struct bytes text, enum http_plus plus, uint8_t *out)
{
	size_t n = 0;

	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.data[i];

		if (c == '%' && text.len - i > 2 && http_hex(text.data[i + 1]) >= 0 &&
		    http_hex(text.data[i + 2]) >= 0) {
			c = (uint8_t)(http_hex(text.data[i + 1]) << 4 | http_hex(text.data[i + 2]));
			i += 2;
		} else if (c == '+' && plus == HTTP_PLUS_IS_SPACE) {
			c = ' ';
		}
		out[n++] = c;
	}
	return n;
}

bool
http_query_find(struct bytes query, const char *name, struct bytes *ret_value)
{
	while (query.len) {
		struct bytes value = cut(&query, '&');
		struct bytes key = cut(&value, '=');

		if (bytes_equal_str(key, name)) {
			*ret_value = value;
			return true;
		}
	}
	return false;
}

struct bytes
http_head_field(const struct http_head *h, const char *name)
{
	for (size_t i = 0; i < h->field_count; i++)
		if (http_equal(h->fields[i].name, name))
			return h->fields[i].value;
	return bytes_of(NULL, 0);
}

size_t
http_head_count(const struct http_head *h, const char *name)
{
	size_t n = 0;

	for (size_t i = 0; i < h->field_count; i++)
		n += http_equal(h->fields[i].name, name);
	return n;
}

/* --- where a head ends --- */

/* A line is whole, its CR at byte cr. True if it was the last of the head. */
static bool
line_ended(struct http_scan *s, size_t cr)
{
	bool empty = cr == s->line;

	s->at = s->line = cr + 2;
	if (empty && !s->in_fields) {
		s->head = s->line; /* in front of the head: once, see too_long() */
		return false;
	}
	s->in_fields = true;
	return empty;
}

static int
too_long(const struct http_scan *s, size_t upto, struct http_fault *ret)
{
	if (!s->in_fields && s->head > 2)
		return fail(ret, 400, "more than one empty line stands before the request");
	if (!s->in_fields && upto - s->line > HTTP_LINE_MAX + 2)
		return fail(ret, 414, "the request line is longer than 8192 bytes");
	if (upto - s->head > HTTP_HEAD_MAX)
		return fail(ret, 431, "the head of the request is longer than 16384 bytes");
	return 0;
}

/* The characters of a head, and where it ends. */
static int
scan_head(struct bytes in, struct http_scan *s, size_t *ret_len, struct http_fault *ret)
{
	int err;

	while (s->at < in.len) {
		uint8_t c = in.data[s->at];

		if (c == '\r') {
			if (s->at + 1 == in.len)
				break;
			if (in.data[s->at + 1] != '\n')
				return fail(ret, 400, "a CR without LF");
			if ((err = too_long(s, s->at + 2, ret)) != 0)
				return err;
			if (line_ended(s, s->at)) {
				*ret_len = s->at;
				return 0;
			}
			continue;
		}
		if (c == '\n')
			return fail(ret, 400, "a line ends with LF alone; lines end with CR LF");
		if (http_is_control(c) && c != '\t')
			return fail(ret, 400, "a control character");
		s->at++;
	}
	err = too_long(s, in.len, ret);
	return err ? err : ERR_SHORT;
}

/* --- the request line (RFC 9112, 3) --- */

static int
check_target(struct bytes target, struct http_fault *ret)
{
	for (size_t i = 0; i < target.len; i++) {
		uint8_t c = target.data[i];

		if (!http_is_uri_char(c))
			return fail(
			    ret, 400, "a character in the request target that has to be escaped");
		if (c == '%' && (target.len - i < 3 || http_hex(target.data[i + 1]) < 0 ||
				    http_hex(target.data[i + 2]) < 0))
			return fail(ret, 400, "a percent sign without two digits behind it");
	}
	return 0;
}

/* http://host/path: Host does not count then (RFC 9112, 3.2.2), nor does this here, which serves one origin. */
static bool
cut_authority(struct bytes *target)
{
	static const char *const schemes[] = { "http://", "https://" };

	for (size_t i = 0; i < COUNT_OF(schemes); i++) {
		size_t n = strlen(schemes[i]), end = n;

		if (target->len <= n || !http_equal(bytes_of(target->data, n), schemes[i]))
			continue;
		while (end < target->len && target->data[end] != '/' && target->data[end] != '?')
			end++;
		if (end == n || end == target->len || target->data[end] != '/' ||
		    memchr(target->data + n, '@', end - n))
			return false;
		*target = bytes_of(target->data + end, target->len - end);
		return true;
	}
	return false;
}

static int
read_target(struct bytes target, struct http_head *h, struct http_fault *ret)
{
	int err = check_target(target, ret);

	if (err)
		return err;
	if (bytes_equal_str(target, "*")) {
		if (!bytes_equal_str(h->method, "OPTIONS"))
			return fail(ret, 400, "* is a request target of OPTIONS only");
		h->path = target;
		return 0;
	}
	if ((target.len == 0 || target.data[0] != '/') && !cut_authority(&target))
		return fail(ret, 400, "the request target is no path");
	h->path = cut(&target, '?');
	if (h->path.len < (size_t)(target.data - h->path.data))
		h->query = target;
	return 0;
}

static int
read_version(struct bytes version, struct http_head *h, struct http_fault *ret)
{
	if (version.len != 8 || memcmp(version.data, "HTTP/", 5) != 0 ||
	    !http_is_digit(version.data[5]) || version.data[6] != '.' ||
	    !http_is_digit(version.data[7]))
		return fail(ret, 400, "the first line is not METHOD TARGET HTTP/1.1");
	if (version.data[5] != '1')
		return fail(ret, 505, "HTTP/1.1 is spoken here");
	h->minor = version.data[7] == '0' ? 0 : 1;
	return 0;
}

static int
read_request_line(struct bytes line, struct http_head *h, struct http_fault *ret)
{
	struct bytes target;
	int err;

	h->method = cut(&line, ' ');
	target = cut(&line, ' ');
	if (!http_is_token(h->method) || h->method.len > HTTP_METHOD_MAX)
		return fail(ret, 400, "the first line is not METHOD TARGET HTTP/1.1");
	if ((err = read_version(line, h, ret)) != 0)
		return err;
	return read_target(target, h, ret);
}

/* --- fields (RFC 9112, 5) --- */

static int
read_fields(struct bytes text, struct http_head *h, struct http_fault *ret)
{
	while (text.len) {
		struct bytes line = cut(&text, '\n'), name;

		line.len--; /* CR */
		if (line.data[0] == ' ' || line.data[0] == '\t')
			return fail(ret, 400, "a field line that is folded");
		if (!memchr(line.data, ':', line.len))
			return fail(ret, 400, "a field line without a colon");
		name = cut(&line, ':');
		if (!http_is_token(name))
			return fail(ret, 400, "a field name with a character that none may have");
		if (h->field_count == HTTP_FIELDS_MAX)
			return fail(ret, 431, "more than 100 fields");
		h->fields[h->field_count++] =
		    (struct http_field){ .name = name, .value = http_trim(line) };
	}
	return 0;
}

/* RFC 9110, 7.2: one, which may be empty; RFC 3986, 3.2: what may be in it. */
static int
check_host(const struct http_head *h, struct http_fault *ret)
{
	size_t n = http_head_count(h, "Host"), i = 0;
	struct bytes host = http_head_field(h, "Host");

	if (n > 1)
		return fail(ret, 400, "more than one Host");
	if (n == 0 && h->minor > 0)
		return fail(ret, 400, "Host is missing");
	if (host.len && host.data[0] == '[') {
		for (i = 1; i < host.len && (http_hex(host.data[i]) >= 0 || host.data[i] == ':' ||
						host.data[i] == '.');
		     i++)
			continue;
		if (i < 3 || i == host.len || host.data[i++] != ']')
			return fail(ret, 400, "Host is none");
	} else {
		while (i < host.len && http_is_host_char(host.data[i]))
			i++;
	}
	if (i < host.len && host.data[i++] != ':')
		return fail(ret, 400, "Host is none");
	for (; i < host.len; i++)
		if (!http_is_digit(host.data[i]))
			return fail(ret, 400, "Host is none");
	return 0;
}

static int
read_length(struct bytes text, uint64_t *ret_length, struct http_fault *ret)
{
	uint64_t n = 0;

	if (text.len == 0)
		return fail(ret, 400, "Content-Length is no number");
	for (size_t i = 0; i < text.len; i++) {
		unsigned digit = (unsigned)(text.data[i] - '0');

		if (!http_is_digit(text.data[i]))
			return fail(ret, 400, "Content-Length is no number");
		n = n > (UINT64_MAX - digit) / 10 ? UINT64_MAX : n * 10 + digit;
	}
	*ret_length = n;
	return 0;
}

/* RFC 9112, 6. */
static int
read_framing(struct http_head *h, struct http_fault *ret)
{
	size_t lengths = http_head_count(h, "Content-Length");
	size_t encodings = http_head_count(h, "Transfer-Encoding");
	struct bytes list = http_head_field(h, "Transfer-Encoding"), coding = { 0 };

	if (lengths > 1)
		return fail(ret, 400, "more than one Content-Length");
	if (lengths && encodings)
		return fail(ret, 400, "both Content-Length and Transfer-Encoding");
	if (lengths) {
		h->framing = HTTP_BODY_LENGTH;
		return read_length(http_head_field(h, "Content-Length"), &h->length, ret);
	}
	if (encodings == 0)
		return 0;
	if (h->minor == 0)
		return fail(ret, 400, "Transfer-Encoding in a request of HTTP/1.0");
	if (encodings > 1)
		return fail(ret, 400, "more than one Transfer-Encoding");
	h->framing = HTTP_BODY_CHUNKED;
	if (http_equal(list, "chunked"))
		return 0;
	while (http_list_next(&list, &coding))
		continue;
	if (!http_equal(coding, "chunked"))
		return fail(ret, 400, "the last Transfer-Encoding is not chunked");
	return fail(ret, 501, "the only Transfer-Encoding taken here is chunked");
}

/* RFC 9112, 9.3; RFC 9110, 10.1.1. */
static int
read_wishes(struct http_head *h, struct http_fault *ret)
{
	bool stay = h->minor > 0, close = false;
	struct bytes one;

	for (size_t i = 0; i < h->field_count; i++) {
		struct bytes value = h->fields[i].value;

		if (http_equal(h->fields[i].name, "Expect")) {
			if (!http_equal(value, "100-continue"))
				return fail(ret, 417, "of Expect only 100-continue is known here");
			h->expects_continue = h->minor > 0;
		}
		if (!http_equal(h->fields[i].name, "Connection"))
			continue;
		while (http_list_next(&value, &one)) {
			stay = stay || http_equal(one, "keep-alive");
			close = close || http_equal(one, "close");
		}
	}
	h->keep_alive = stay && !close;
	return 0;
}

int
http_head_read(struct bytes in, struct http_scan *scan, struct http_head *ret, size_t *ret_len,
    struct http_fault *ret_fault)
{
	size_t len;
	int err = scan_head(in, scan, &len, ret_fault);
	struct bytes text, line;

	if (err)
		return err;
	ret->field_count = 0;
	ret->framing = HTTP_BODY_NONE;
	ret->length = 0;
	ret->expects_continue = false;
	ret->query = bytes_of(NULL, 0);
	text = bytes_of(in.data + scan->head, len - scan->head - 2);
	line = cut(&text, '\n');
	line.len--; /* CR */
	if ((err = read_request_line(line, ret, ret_fault)) != 0 ||
	    (err = read_fields(text, ret, ret_fault)) != 0 ||
	    (err = read_framing(ret, ret_fault)) != 0 || (err = check_host(ret, ret_fault)) != 0 ||
	    (err = read_wishes(ret, ret_fault)) != 0)
		return err;
	*ret_len = len;
	return 0;
}
