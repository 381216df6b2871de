/* http_server_impl.h - what the files of the HTTP server share */
#ifndef ROOST_HTTP_SERVER_IMPL_H
#define ROOST_HTTP_SERVER_IMPL_H

#include "http_answer.h"
#include "http_parser.h"
#include "http_route.h"
#include "http_server.h"

#define HTTP_IDEMPOTENCY_KEY_MAX 255
#define HTTP_OUT_HIGH 65536	/* output of a connection above which its next request waits */
#define HTTP_ROOM_WAIT_US 1000000	/* a request whose readings find no room waits so long; then it is 503 */
#define HTTP_RETRY_MS 1000	/* said with 503 */
#define HTTP_RANGES_MAX 100	/* of samples that were not stored, in a problem document */

enum http_state {
	HTTP_IDLE,	/* no byte of a request has come */
	HTTP_HEAD,
	HTTP_AUTH,	/* it is being looked up who that is */
	HTTP_BODY,
	HTTP_WORK,	/* its readings are under way */
};

/* Bits of conn.paused. */
enum http_pause { HTTP_PAUSED_BUSY = 1, HTTP_PAUSED_OUTPUT = 2 };

struct http_part {
	uint32_t sample;	/* its first one */
	uint32_t verdict;
};
/* Refusals that ingest does not say: it was never offered; it fits in no batch. */
#define HTTP_NO_ROOM UINT32_MAX
#define HTTP_TOO_BIG (UINT32_MAX - 1)

/* A request from its head to its answer. It outlives its connection while readings are under way. */
struct http_request {
	struct http_server *server;
	struct http_conn *conn;		/* NULL: it is gone, or has been answered already */
	const struct http_route *route;
	struct auth_grant *grant;
	struct http_body body;
	struct buf data;		/* of the body, where it does not come whole */
	size_t charged;			/* against the server's budget */
	struct http_content content;
	uint64_t length;		/* as announced */
	enum http_framing framing;
	bool head;			/* the method */
	bool keep_alive;
	bool expects_continue;
	bool foreign_page;		/* a browser says that a page of another origin sends it */
	bool creates;			/* the query says CREATE DATABASE */
	bool has_key;
	uint64_t key;			/* of the Idempotency-Key */
	struct bytes own;		/* what an anonymous sender calls itself: text's */
	uint8_t text[128];
	unsigned minor;

	/* from here: of its readings */
	struct telemetry_options options;
	struct telemetry_cursor cursor;	/* before the next that is to be offered */
	uint64_t body_hash;
	uint32_t slot;
	uint32_t offered, pending;
	uint32_t samples;		/* of the parts before the cursor; in the end of all */
	uint32_t not_stored;
	uint32_t worst;			/* refusal, 0: none */
	bool all_offered;
	bool in_work;			/* is in the list of those under way, and has a slot */
	int64_t since_us;
	int64_t no_room_us;		/* since when it waits for room; 0: it does not */
	struct http_part *parts;	/* NULL: there is one only */
	uint32_t part_count, part_cap;
	struct http_request *prev, *next;
};

struct http_conn {
	struct conn io;			/* the first member */
	struct http_server *server;
	struct http_conn *prev, *next;
	struct http_scan scan;
	struct http_request *request;
	struct auth_grant *grant;	/* of the last request, ... */
	uint64_t credential;		/* ... which said this */
	enum http_state state;
	bool loopback;
};

struct http_requests {
	struct http_request *first, *last;
};

struct http_server {
	struct http_config config;
	struct http_ops ops;
	struct conn_set set;
	struct telemetry *telemetry;
	struct http_conn *conns;
	struct http_request **slots;
	uint32_t slot_count, slot_cap;
	uint32_t *free_slots;
	uint32_t free_count;
	struct http_requests work;	/* the oldest first */
	size_t waiting;			/* of these for room */
	size_t buffered;		/* bytes of bodies */
	uint64_t seed;
	int64_t now_us, wall_us, date_s;
	bool draining;
	char date[HTTP_DATE_MAX];
};

/* --- http_server.c --- */

/* Takes more of the budget for what r holds; false: there is not so much left. */
bool http_charge(struct http_request *r, size_t bytes);
const char *http_server_date(struct http_server *s);
struct http_request *http_request_new(struct http_conn *c, const struct http_route *route);
void http_request_free(struct http_request **r);
/* A slot, and a place among those under way; false: there are HTTP_REQUESTS_MAX. */
bool http_request_begin_work(struct http_request *r);

/* --- http_conn.c --- */

/* The answer to the connection's request. whole: its body has come to the end. */
enum http_rest { HTTP_REST_COMES, HTTP_REST_NONE };
void http_conn_answer(struct http_conn *c, struct http_answer *a, enum http_rest rest);
void http_conn_problem(struct http_conn *c, const struct http_problem *p, const char *fields, uint32_t retry_ms,
    enum http_rest rest);

/* --- http_ingest.c --- */

/* The body has come; it is copied if it is needed longer. The request is answered now or later. */
void http_ingest_begin(struct http_request *r, struct bytes body);
/* Goes on where no room was. */
void http_ingest_go_on(struct http_request *r);
/* What waits for room is given up; the request is answered when what was offered is. */
void http_ingest_give_up(struct http_request *r);
/* Its connection will hear nothing of it. */
void http_ingest_detach(struct http_request *r);
void http_ingest_part(struct http_request *r, uint32_t part, uint32_t verdict);
/* It has waited for its answer too long. */
void http_ingest_overdue(struct http_request *r);

#endif
