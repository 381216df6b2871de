/* http_credentials.c - the credentials that a request says; pure */
#include "http_credentials.h"

#include <string.h>

#include "err.h"
#include "http_chars.h"

static int
base64_digit(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (http_is_digit(c))
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* RFC 4648, 4, padding included. ret has room for text.len. */
static int
base64_decode(struct bytes text, uint8_t *ret, size_t *ret_len)
{
	uint32_t bits = 0;
	size_t n = 0, digits = text.len;

	while (digits && text.len - digits < 2 && text.data[digits - 1] == '=')
		digits--;
	if (text.len % 4 != 0 || digits % 4 == 1)
		return ERR_MALFORMED;
	for (size_t i = 0; i < digits; i++) {
		int d = base64_digit(text.data[i]);

		if (d < 0)
			return ERR_MALFORMED;
		bits = bits << 6 | (unsigned)d;
		if (i % 4 != 0)
			ret[n++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
	}
	*ret_len = n;
	return 0;
}

/* user:password, of which the first has no colon. */
static void
split(struct bytes pair, struct http_credentials *c)
{
	const uint8_t *colon = pair.len ? memchr(pair.data, ':', pair.len) : NULL;
	size_t n = colon ? (size_t)(colon - pair.data) : pair.len;

	c->username = bytes_of(pair.data, n);
	c->password = colon ? bytes_of(colon + 1, pair.len - n - 1) : bytes_of(NULL, 0);
}

static struct bytes
copy(struct http_credentials *c, struct bytes b)
{
	memcpy(c->text, b.data, b.len);
	return bytes_of(c->text, b.len);
}

static int
read_authorization(struct bytes value, struct http_credentials *c, const char **ret_why)
{
	size_t n = 0, len;
	struct bytes scheme, rest;

	while (n < value.len && value.data[n] != ' ')
		n++;
	scheme = bytes_of(value.data, n);
	rest = http_trim(bytes_of(value.data + n, value.len - n));
	*ret_why = "Authorization is neither Bearer, Token nor Basic";
	if (rest.len == 0)
		return ERR_MALFORMED;
	if (rest.len > HTTP_CREDENTIAL_MAX) {
		*ret_why = "Authorization is longer than 1024 bytes";
		return ERR_TOO_BIG;
	}
	if (http_equal(scheme, "Bearer")) {
		c->token = copy(c, rest);
		return 0;
	}
	if (http_equal(scheme, "Token")) {
		if (memchr(rest.data, ':', rest.len))
			split(copy(c, rest), c);
		else
			c->token = copy(c, rest);
		return 0;
	}
	if (!http_equal(scheme, "Basic"))
		return ERR_MALFORMED;
	if (base64_decode(rest, c->text, &len) != 0 || !memchr(c->text, ':', len)) {
		*ret_why = "Authorization: Basic is not user:password in base64";
		return ERR_MALFORMED;
	}
	split(bytes_of(c->text, len), c);
	return 0;
}

static int
read_parameters(struct bytes query, struct http_credentials *c, const char **ret_why)
{
	struct bytes u, p = { 0 };

	if (!http_query_find(query, "u", &u))
		return 0;
	(void)http_query_find(query, "p", &p);
	if (u.len > HTTP_CREDENTIAL_MAX || p.len > HTTP_CREDENTIAL_MAX) {
		*ret_why = "u or p in the query is longer than 1024 bytes";
		return ERR_TOO_BIG;
	}
	c->username = bytes_of(c->text, http_unescape(u, HTTP_PLUS_IS_SPACE, c->text));
	c->password = bytes_of(c->text + HTTP_CREDENTIAL_MAX,
	    http_unescape(p, HTTP_PLUS_IS_SPACE, c->text + HTTP_CREDENTIAL_MAX));
	return 0;
}

int
http_credentials_of(const struct http_route *r, const struct http_head *h, struct bytes path_token,
    struct http_credentials *ret, const char **ret_why)
{
	const char *name =
	    http_head_count(h, "Authorization") ? "Authorization" : "X-Authorization";

	ret->username = ret->password = ret->token = bytes_of(NULL, 0);
	if (path_token.len > HTTP_CREDENTIAL_MAX) {
		*ret_why = "the token in the path is longer than 1024 bytes";
		return ERR_TOO_BIG;
	}
	if (path_token.len) {
		ret->token =
		    bytes_of(ret->text, http_unescape(path_token, HTTP_PLUS_IS_PLUS, ret->text));
		return 0;
	}
	if (http_head_count(h, name) > 1) {
		*ret_why = "more than one Authorization";
		return ERR_MALFORMED;
	}
	if (http_head_count(h, name))
		return read_authorization(http_head_field(h, name), ret, ret_why);
	return r->dialect == HTTP_INFLUX ? read_parameters(h->query, ret, ret_why) : 0;
}
