/* http_answer.h - what is answered to a request: status, fields, problem documents (RFC 9110, RFC 9457); pure */
#ifndef ROOST_HTTP_ANSWER_H
#define ROOST_HTTP_ANSWER_H

#include "buf.h"

struct http_answer {
	unsigned status;
	const char *type;	/* of the body; NULL: there is none */
	struct bytes body;
	const char *fields;	/* more of them, each with its CR LF; NULL: none */
	uint32_t retry_ms;	/* Retry-After, in whole seconds, rounded up; 0: none */
	const char *date;	/* http_date() */
	unsigned minor;		/* of the request's HTTP/1.x */
	bool close;		/* nothing follows */
	bool head;		/* the request was HEAD: the body is not sent */
};

void http_answer_put(struct buf *out, const struct http_answer *a);
/* "Created", "Bad Request"; never NULL. */
const char *http_phrase(unsigned status);

#define HTTP_DATE_MAX 32
/* "Sun, 06 Nov 1994 08:49:37 GMT"; seconds since the Unix epoch. */
void http_date(int64_t seconds, char out[HTTP_DATE_MAX]);

/* How a problem is said besides: members that the clients of other servers look for. */
enum http_dialect {
	HTTP_PLAIN,
	HTTP_INFLUX,	/* "error", "code", "message" */
	HTTP_THINGSBOARD,	/* "message", "errorCode" */
};

struct http_range {
	uint32_t first, last;
};

struct http_problem {
	unsigned status;
	enum http_dialect dialect;
	const char *detail;
	const char *field;	/* NULL or empty: none */
	bool has_offset;
	size_t offset;
	size_t line;		/* 0: none */
	/* Of a request of which a part was refused: how many samples were stored, and which were not, from 0. */
	bool has_parts;
	uint32_t stored;
	uint32_t not_stored;
	const struct http_range *ranges;
	size_t range_count;
	bool more_ranges;
};

#define HTTP_PROBLEM_TYPE "application/problem+json"
void http_problem_put(struct buf *out, const struct http_problem *p);

#endif
