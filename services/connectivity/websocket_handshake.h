/* websocket_handshake.h - the HTTP request that opens a WebSocket, and its answer (RFC 6455, 4.2; MQTT 5, 6); pure
 *
 * Strict: a request that only some readers would take for what it is (line ends without CR, white space before a colon,
 * folded lines, a length) is refused. Every refusal says in words what is wrong. */
#ifndef ROOST_WEBSOCKET_HANDSHAKE_H
#define ROOST_WEBSOCKET_HANDSHAKE_H

#include "buf.h"

#define WEBSOCKET_REQUEST_MAX 8192	/* bytes of a request, headers included */
#define WEBSOCKET_HEADERS_MAX 64
#define WEBSOCKET_LIST_MAX 64		/* paths, origins */

/* Whom to accept; the strings are the settings'. */
struct websocket_policy {
	const char *paths[WEBSOCKET_LIST_MAX];	 /* "/mqtt"; "*" is every path */
	size_t path_count;
	const char *origins[WEBSOCKET_LIST_MAX]; /* "https://console.example"; "same" is the Host asked for; "*" is every origin */
	size_t origin_count;
};

struct websocket_answer {
	unsigned status;	/* 101: accepted */
	const char *why;	/* else */
	const char *protocol;	/* "mqtt", "mqttv3.1" */
	char accept[32];
};

/* Looks at the request at the front of in. 0: it had *ret_len bytes and is to be answered so (a refusal may come before its
 * end); ERR_SHORT: more is to come. */
int websocket_request(struct bytes in, const struct websocket_policy *policy, struct websocket_answer *ret_answer,
    size_t *ret_len);
void websocket_put_answer(struct buf *out, const struct websocket_answer *answer);

#endif
