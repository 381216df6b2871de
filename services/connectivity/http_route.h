/* http_route.h - which request is this: its path, methods, format and encoding of its body; pure */
#ifndef ROOST_HTTP_ROUTE_H
#define ROOST_HTTP_ROUTE_H

#include "http_answer.h"
#include "http_parser.h"
#include "metrics.h"
#include "telemetry.h"

enum http_serves {
	HTTP_TELEMETRY,		/* the body names devices, or the credential does */
	HTTP_DEVICE_TELEMETRY,	/* ThingsBoard: the token in the path is the device's credential */
	HTTP_LINES,		/* InfluxDB line protocol */
	HTTP_INFLUX_PING,
	HTTP_INFLUX_HEALTH,
	HTTP_INFLUX_QUERY,
	HTTP_HEALTHZ,
};

struct http_route {
	const char *path;	/* {token} stands for any one segment */
	enum http_serves serves;
	enum http_dialect dialect;
	const char *method;	/* POST; or GET, then HEAD too */
	const char *allow;	/* the field */
	bool needs_credentials;
	bool has_body;
	enum metric_id requests;
};

/* NULL: nothing is there. *ret_token: what stands for {token}, still escaped. */
const struct http_route *http_route_find(struct bytes path, struct bytes *ret_token);
bool http_route_takes(const struct http_route *r, struct bytes method);

enum http_encoding { HTTP_IDENTITY, HTTP_GZIP, HTTP_ZSTD };

struct http_content {
	enum telemetry_format format;
	enum http_encoding encoding;
	int64_t unit_ns;	/* of the times of line protocol */
};

/* What the body is. 0, or ERR_UNSUPPORTED (415) or ERR_MALFORMED (400) and a sentence. */
int http_content_of(const struct http_route *r, const struct http_head *h, struct http_content *ret, const char **ret_why);

/* Fields of a 415. */
#define HTTP_ACCEPT \
	"Accept: application/json, application/x-ndjson, application/msgpack, text/csv, application/cbor, application/senml+json, " \
	"application/senml+cbor\r\nAccept-Encoding: gzip, zstd\r\n"

#endif
