/* support_http.h - an HTTP server between stand-ins: who takes its readings, and says who somebody is */
#ifndef SUPPORT_HTTP_H
#define SUPPORT_HTTP_H

#include "http_server_impl.h"

#define OFFERS_MAX 64

struct http_stand {
	struct http_server *s;
	int64_t now_us;
	struct {
		uint64_t token;
		char device[64];
		uint64_t client, hash;
		uint16_t packet_id;
		bool dup;
		uint32_t points;
	} offers[OFFERS_MAX];
	size_t offer_count;
	size_t room; /* offers that are taken before there is none */
	int64_t stamp;
	enum auth_verdict verdict;
	struct auth_grant grant;
	auth_done_fn done;
	void *done_arg;
	size_t checks, forgotten;
	char said[3][64]; /* the last request's user name, password, token */
};
extern struct http_stand http_x;

void http_setup(void);
void http_teardown(void);
/* Time goes on. */
void http_now(int64_t after_us);
struct http_conn *http_dial(void);
/* Gives a connection input as the listener does: what it leaves is shown again with more behind it. */
void http_send_cut(struct http_conn *c, struct bytes text, size_t each, struct buf *kept);
void http_send(struct http_conn *c, const char *text);
/* All that it has said since the last look. */
const char *http_heard(struct http_conn *c);
/* What becomes of the nth reading that was offered. */
void http_commit(size_t i, uint32_t verdict);

#define HEAD "POST /v1/telemetry HTTP/1.1\r\nHost: a\r\n"
#define JSON HEAD "Content-Type: application/json\r\n"
#define ONE "Content-Length: 34\r\n\r\n{\"device\":\"gh-1\",\"values\":{\"t\":1}}"
#define TWO                                                                                        \
	"Content-Length: 77\r\n\r\n[{\"device\":\"gh-1\",\"values\":{\"t\":1}},{\"device\":\"gh-"  \
	"2\",\"values\":{\"t\":1,\"h\":2}}]"
#define OK_ONE                                                                                     \
	"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: application/json" \
	"\r\nContent-Length: 13\r\n\r\n{\"stored\":1}\n"

#endif
