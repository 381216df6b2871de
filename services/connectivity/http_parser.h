/* http_parser.h - HTTP/1.1 requests from bytes: heads, and bodies with a length or in chunks (RFC 9110, RFC 9112); pure
 *
 * Strict: what two readers could take for two different requests is refused, because whoever stands in front of us may be
 * one of them (request smuggling, RFC 9112, 11.2). So there is one Host, one length or one Transfer-Encoding and never
 * both, line ends are CR LF and nothing else, no line is folded, no white space stands before a colon, and a number has
 * digits only. After a refusal nothing is known of where the next request begins: the connection has to be closed.
 *
 * Incremental: bytes are looked at once, however they are cut. A head is read when it is whole; its parts borrow from the
 * input, which the caller keeps in one place until then. A body needs no memory. */
#ifndef ROOST_HTTP_PARSER_H
#define ROOST_HTTP_PARSER_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"

#define HTTP_HEAD_MAX 16384	/* bytes of request line and fields: 431 */
#define HTTP_LINE_MAX 8192	/* bytes of a request line: 414 */
#define HTTP_METHOD_MAX 32
#define HTTP_FIELDS_MAX 100	/* of a head, and of a trailer: 431 */
#define HTTP_TRAILER_MAX 16384
#define HTTP_CHUNK_EXT_MAX 4096	/* bytes of chunk extensions in a body */

/* Why a request is refused. */
struct http_fault {
	unsigned status;
	const char *why;
};

struct http_field {
	struct bytes name;
	struct bytes value;	/* without white space around it */
};

enum http_framing { HTTP_BODY_NONE, HTTP_BODY_LENGTH, HTTP_BODY_CHUNKED };

struct http_head {
	struct bytes method;
	struct bytes path;	/* begins with a slash, percent signs are followed by two digits; or "*" */
	struct bytes query;	/* behind the question mark; data NULL if there is none */
	unsigned minor;		/* of HTTP/1.x: 0 or 1; higher ones are spoken to as 1 */
	struct http_field fields[HTTP_FIELDS_MAX];
	size_t field_count;
	enum http_framing framing;
	uint64_t length;	/* of HTTP_BODY_LENGTH; UINT64_MAX if it is that or more */
	bool keep_alive;	/* the peer would go on after the answer */
	bool expects_continue;
};

/* How far a head has been looked at; zeroed before each. */
struct http_scan {
	size_t at;	/* bytes that are known to be good */
	size_t line;	/* where the line that is being looked at begins */
	size_t head;	/* where the head begins: an empty line may stand before it (RFC 9112, 2.2) */
	bool in_fields;
};

/* Looks at the head that in begins with; in has grown behind what it held at the last call with this scan, and no byte of that
 * has changed. 0: it is whole and has *ret_len bytes; ERR_SHORT: more is to come; ERR_MALFORMED: *ret_fault. */
int http_head_read(struct bytes in, struct http_scan *scan, struct http_head *ret, size_t *ret_len,
    struct http_fault *ret_fault);
/* The value of a field, or one without data; names do not differ in case. If there are several: the first. */
struct bytes http_head_field(const struct http_head *h, const char *name);
/* How many there are of that name. */
size_t http_head_count(const struct http_head *h, const char *name);

enum http_body_state {
	HTTP_BODY_DATA,	     /* of a known length, or of a chunk */
	HTTP_BODY_SIZE,	     /* the digits of a chunk's size */
	HTTP_BODY_EXT,	     /* what may stand behind them: ;name, ;name=value */
	HTTP_BODY_EXT_NAME,
	HTTP_BODY_EXT_VALUE,
	HTTP_BODY_EXT_TOKEN,
	HTTP_BODY_EXT_QUOTED,
	HTTP_BODY_EXT_ESCAPE,
	HTTP_BODY_EXT_CLOSED, /* behind the second quotation mark */
	HTTP_BODY_SIZE_LF,
	HTTP_BODY_DATA_CR,   /* the line end behind a chunk's data */
	HTTP_BODY_DATA_LF,
	HTTP_BODY_TRAILER,   /* the beginning of a line of it */
	HTTP_BODY_TRAILER_NAME,
	HTTP_BODY_TRAILER_VALUE,
	HTTP_BODY_TRAILER_LF,
	HTTP_BODY_END_LF,
	HTTP_BODY_DONE,
	HTTP_BODY_FAILED,
};

struct http_body {
	enum http_body_state state;
	bool chunked;
	uint64_t left;		/* of the body, or of the chunk */
	unsigned digits;
	unsigned fields;	/* of the trailer */
	uint32_t ext;		/* bytes of extensions */
	uint32_t trailer;	/* bytes of the trailer */
};

void http_body_init(struct http_body *b, const struct http_head *h);
/* Takes from in until there is some of the body's data, or its end, or no more input; returns how many bytes it took, of
 * which ret_data (maybe none) are the last. ERR_MALFORMED in *ret_err, with *ret_fault, else 0. Fields of a trailer are
 * checked and forgotten. */
size_t http_body_read(struct http_body *b, struct bytes in, struct bytes *ret_data, int *ret_err,
    struct http_fault *ret_fault);

static inline bool
http_body_is_done(const struct http_body *b)
{
	return b->state == HTTP_BODY_DONE;
}

/* --- pieces that others read, too --- */

bool http_is_token(struct bytes b);
/* As in field names and most of their values. */
bool http_equal(struct bytes a, const char *b);
struct bytes http_trim(struct bytes b);
/* Cuts the next of a list of elements between commas off *list, without white space and passing over empty ones; false
 * at its end. */
bool http_list_next(struct bytes *list, struct bytes *ret_element);
/* Replaces %XX (and, where plus is true, + by a space) into out, which has room for text.len; returns the length. The text's
 * percent signs are followed by two digits, or stay as they are. */
enum http_plus { HTTP_PLUS_IS_PLUS, HTTP_PLUS_IS_SPACE };
size_t http_unescape(struct bytes text, enum http_plus plus, uint8_t *out);
/* Finds a parameter in a query; false if it is not there. The value is still escaped. */
bool http_query_find(struct bytes query, const char *name, struct bytes *ret_value);

#endif
