/* http_route.c - which request is this: its path, methods, format and encoding of its body; pure */
#include "http_route.h"

#include <string.h>

#include "err.h"
#include "mem.h"

#define ALLOW_POST "Allow: POST, OPTIONS\r\n"
#define ALLOW_GET "Allow: GET, HEAD, OPTIONS\r\n"

static const struct http_route routes[] = {
	{ "/v1/telemetry", HTTP_TELEMETRY, HTTP_PLAIN, "POST", ALLOW_POST, true, true,
	    M_HTTP_TELEMETRY_REQUESTS },
	{ "/api/v1/{token}/telemetry", HTTP_DEVICE_TELEMETRY, HTTP_THINGSBOARD, "POST", ALLOW_POST,
	    true, true, M_HTTP_THINGSBOARD_REQUESTS },
	{ "/write", HTTP_LINES, HTTP_INFLUX, "POST", ALLOW_POST, true, true,
	    M_HTTP_INFLUX_REQUESTS },
	{ "/api/v2/write", HTTP_LINES, HTTP_INFLUX, "POST", ALLOW_POST, true, true,
	    M_HTTP_INFLUX_REQUESTS },
	{ "/query", HTTP_INFLUX_QUERY, HTTP_INFLUX, "POST", ALLOW_POST, true, true,
	    M_HTTP_INFLUX_REQUESTS },
	{ "/ping", HTTP_INFLUX_PING, HTTP_INFLUX, "GET", ALLOW_GET, false, false,
	    M_HTTP_INFLUX_REQUESTS },
	{ "/health", HTTP_INFLUX_HEALTH, HTTP_INFLUX, "GET", ALLOW_GET, false, false,
	    M_HTTP_INFLUX_REQUESTS },
	{ "/healthz", HTTP_HEALTHZ, HTTP_PLAIN, "GET", ALLOW_GET, false, false,
	    M_HTTP_OTHER_REQUESTS },
};

/* Cuts the next segment, with the slash before it, off *path. */
static struct bytes
segment(struct bytes *path)
{
	const uint8_t *at = path->len > 1 ? memchr(path->data + 1, '/', path->len - 1) : NULL;
	size_t len = at ? (size_t)(at - path->data) : path->len;
	struct bytes s = bytes_of(path->data, len);

	*path = bytes_of(path->data + len, path->len - len);
	return s;
}

static bool
matches(const char *pattern, struct bytes path, struct bytes *ret_token)
{
	struct bytes want = bytes_of_str(pattern);

	while (want.len && path.len) {
		struct bytes w = segment(&want), p = segment(&path);

		if (bytes_equal_str(w, "/{token}") && p.len > 1)
			*ret_token = bytes_of(p.data + 1, p.len - 1);
		else if (!bytes_equal(w, p))
			return false;
	}
	return want.len == 0 && path.len == 0;
}

const struct http_route *
http_route_find(struct bytes path, struct bytes *ret_token)
{
	for (size_t i = 0; i < COUNT_OF(routes); i++) {
		struct bytes token = bytes_of(NULL, 0);

		if (matches(routes[i].path, path, &token)) {
			*ret_token = token;
			return &routes[i];
		}
	}
	return NULL;
}

bool
http_route_takes(const struct http_route *r, struct bytes method)
{
	return bytes_equal_str(method, r->method) ||
	       (strcmp(r->method, "GET") == 0 && bytes_equal_str(method, "HEAD"));
}

/* --- content --- */

static const struct {
	const char *name;
	enum telemetry_format format;
} types[] = {
	{ "application/json", TELEMETRY_JSON },
	{ "application/x-ndjson", TELEMETRY_JSON },
	{ "application/ndjson", TELEMETRY_JSON },
	{ "application/jsonl", TELEMETRY_JSON },
	{ "application/msgpack", TELEMETRY_MSGPACK },
	{ "application/x-msgpack", TELEMETRY_MSGPACK },
	{ "application/vnd.msgpack", TELEMETRY_MSGPACK },
	{ "application/cbor", TELEMETRY_CBOR },
	{ "text/csv", TELEMETRY_CSV },
	{ "application/senml+json", TELEMETRY_SENML_JSON },
	{ "application/senml+cbor", TELEMETRY_SENML_CBOR },
};

static const struct {
	const char *name;
	int64_t ns;
} units[] = {
	{ "ns", 1 },
	{ "n", 1 },
	{ "us", 1000 },
	{ "u", 1000 },
	{ "ms", 1000000 },
	{ "s", 1000000000 },
	{ "m", 60 * INT64_C(1000000000) },
	{ "h", 3600 * INT64_C(1000000000) },
};

/* type/subtype; parameters: of charset only UTF-8 (RFC 9110, 8.3). */
static int
read_type(struct bytes field, enum telemetry_format *ret, const char **ret_why)
{
	struct bytes rest = field, type;
	const uint8_t *semicolon = field.len ? memchr(field.data, ';', field.len) : NULL;

	if (semicolon)
		rest.len = (size_t)(semicolon - field.data);
	type = http_trim(rest);
	rest = semicolon ? bytes_of(semicolon + 1, field.len - rest.len - 1) : bytes_of(NULL, 0);
	rest = http_trim(rest);
	if (rest.len > 8 && http_equal(bytes_of(rest.data, 8), "charset=") &&
	    !http_equal(bytes_of(rest.data + 8, rest.len - 8), "utf-8") &&
	    !http_equal(bytes_of(rest.data + 8, rest.len - 8), "\"utf-8\"") &&
	    !http_equal(bytes_of(rest.data + 8, rest.len - 8), "us-ascii")) {
		*ret_why = "the only charset taken here is UTF-8";
		return ERR_UNSUPPORTED;
	}
	for (size_t i = 0; i < COUNT_OF(types); i++) {
		if (http_equal(type, types[i].name)) {
			*ret = types[i].format;
			return 0;
		}
	}
	*ret_why = http_equal(type, "application/x-www-form-urlencoded")
		       ? "Content-Type is that of a web form; say what the body is, as in curl "
			 "-H 'Content-Type: application/json'"
		       : "the Content-Type is none that is taken here";
	return ERR_UNSUPPORTED;
}

static int
read_encoding(struct bytes field, enum http_encoding *ret, const char **ret_why)
{
	*ret = HTTP_IDENTITY;
	if (field.len == 0 || http_equal(field, "identity"))
		return 0;
	if (http_equal(field, "gzip") || http_equal(field, "x-gzip")) {
		*ret = HTTP_GZIP;
		return 0;
	}
	if (http_equal(field, "zstd")) {
		*ret = HTTP_ZSTD;
		return 0;
	}
	*ret_why = "of Content-Encoding gzip and zstd are taken here, one at a time";
	return ERR_UNSUPPORTED;
}

static int
read_precision(struct bytes query, int64_t *ret_ns, const char **ret_why)
{
	struct bytes value;

	*ret_ns = 1;
	if (!http_query_find(query, "precision", &value) || value.len == 0)
		return 0;
	for (size_t i = 0; i < COUNT_OF(units); i++) {
		if (bytes_equal_str(value, units[i].name)) {
			*ret_ns = units[i].ns;
			return 0;
		}
	}
	*ret_why = "precision is none of ns, us, ms, s, m, h";
	return ERR_MALFORMED;
}

int
http_content_of(const struct http_route *r, const struct http_head *h, struct http_content *ret,
    const char **ret_why)
{
	struct bytes type = http_head_field(h, "Content-Type");
	int err;

	*ret = (struct http_content){ .format = TELEMETRY_JSON, .unit_ns = 1 };
	if (http_head_count(h, "Content-Type") > 1 || http_head_count(h, "Content-Encoding") > 1) {
		*ret_why = "more than one Content-Type or Content-Encoding";
		return ERR_MALFORMED;
	}
	if ((err = read_encoding(
		 http_head_field(h, "Content-Encoding"), &ret->encoding, ret_why)) != 0)
		return err;
	if (r->serves == HTTP_LINES) {
		/* Whatever type its clients say: curl says that of a form. */
		ret->format = TELEMETRY_LINE;
		return read_precision(h->query, &ret->unit_ns, ret_why);
	}
	if (r->serves != HTTP_TELEMETRY || type.len == 0)
		return 0;
	return read_type(type, &ret->format, ret_why);
}
