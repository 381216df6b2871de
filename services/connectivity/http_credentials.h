/* http_credentials.h - the credentials that a request says; pure
 *
 * Authorization: Bearer TOKEN, Token TOKEN (InfluxDB 2; "user:password" is its way for 1.x), Basic (RFC 7617); X-Authorization,
 * as ThingsBoard's clients have it; the token in ThingsBoard's paths, which goes before; u and p in the query of InfluxDB 1. */
#ifndef ROOST_HTTP_CREDENTIALS_H
#define ROOST_HTTP_CREDENTIALS_H

#include "http_parser.h"
#include "http_route.h"

#define HTTP_CREDENTIAL_MAX 1024	/* bytes of each, decoded */

struct http_credentials {
	struct bytes username, password, token;	/* in text */
	uint8_t text[2 * HTTP_CREDENTIAL_MAX];
};

/* path_token: as http_route_find() found it. 0, ERR_MALFORMED or ERR_TOO_BIG and a sentence. */
int http_credentials_of(const struct http_route *r, const struct http_head *h, struct bytes path_token,
    struct http_credentials *ret, const char **ret_why);

#endif
