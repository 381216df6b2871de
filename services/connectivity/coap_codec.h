/* coap_codec.h - bytes <-> CoAP messages (RFC 7252, 7641, 7959, 7967, 9175); pure */
#ifndef ROOST_COAP_CODEC_H
#define ROOST_COAP_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

#define COAP_TOKEN_MAX 8
#define COAP_DATAGRAM_MAX 2048 /* taken; longer ones are answered 4.13 */
#define COAP_MESSAGE_MAX 1280  /* sent: a block of 1024 and its options */
#define COAP_BLOCK_MAX 1024u
#define COAP_PATH_MAX 8	   /* levels of a path, ... */
#define COAP_QUERIES_MAX 8 /* ... and queries, that any resource here has */

enum coap_type { COAP_CON, COAP_NON, COAP_ACK, COAP_RST };

#define COAP_CODE(class, detail) ((class) << 5 | (detail))
enum coap_code {
	COAP_EMPTY = 0,
	COAP_GET = 1,
	COAP_POST = 2,
	COAP_CHANGED = COAP_CODE(2, 4),
	COAP_CONTENT = COAP_CODE(2, 5),
	COAP_CONTINUE = COAP_CODE(2, 31),
	COAP_BAD_REQUEST = COAP_CODE(4, 0),
	COAP_UNAUTHORIZED = COAP_CODE(4, 1),
	COAP_BAD_OPTION = COAP_CODE(4, 2),
	COAP_FORBIDDEN = COAP_CODE(4, 3),
	COAP_NOT_FOUND = COAP_CODE(4, 4),
	COAP_METHOD_NOT_ALLOWED = COAP_CODE(4, 5),
	COAP_NOT_ACCEPTABLE = COAP_CODE(4, 6),
	COAP_INCOMPLETE = COAP_CODE(4, 8),
	COAP_TOO_LARGE = COAP_CODE(4, 13),
	COAP_UNSUPPORTED_FORMAT = COAP_CODE(4, 15),
	COAP_TOO_MANY_REQUESTS = COAP_CODE(4, 29), /* RFC 8516 */
	COAP_UNAVAILABLE = COAP_CODE(5, 3),
	COAP_NO_PROXYING = COAP_CODE(5, 5),
};

enum coap_option_number {
	COAP_URI_HOST = 3,
	COAP_ETAG = 4,
	COAP_OBSERVE = 6,
	COAP_URI_PORT = 7,
	COAP_URI_PATH = 11,
	COAP_CONTENT_FORMAT = 12,
	COAP_MAX_AGE = 14,
	COAP_URI_QUERY = 15,
	COAP_ACCEPT = 17,
	COAP_BLOCK2 = 23,
	COAP_BLOCK1 = 27,
	COAP_SIZE2 = 28,
	COAP_PROXY_URI = 35,
	COAP_PROXY_SCHEME = 39,
	COAP_SIZE1 = 60,
	COAP_NO_RESPONSE = 258,
	COAP_REQUEST_TAG = 292,
};

enum coap_format {
	COAP_FORMAT_TEXT = 0,
	COAP_FORMAT_LINKS = 40,
	COAP_FORMAT_JSON = 50,
	COAP_FORMAT_CBOR = 60,
	COAP_FORMAT_SENML_JSON = 110,
	COAP_FORMAT_SENML_CBOR = 112,
	COAP_FORMAT_NONE = 0x10000, /* the option is not there */
};

struct coap_message { /* borrows from the datagram */
	enum coap_type type;
	uint8_t code;
	uint16_t id;
	struct bytes token;
	struct bytes options;
	struct bytes payload;
};

/* 0. ERR_SHORT: no CoAP of version 1, to be ignored. ERR_MALFORMED: type and id are set, a CON is answered with RST. */
int coap_parse(struct bytes datagram, struct coap_message *ret);

struct coap_option {
	uint32_t number;
	struct bytes value;
};
struct coap_options {
	struct bytes rest;
	uint32_t number;
};
/* Of a message that coap_parse() took. */
struct coap_options coap_options_of(const struct coap_message *m);
bool coap_option_next(struct coap_options *at, struct coap_option *ret);
/* As much of a value as a number has; longer ones are UINT32_MAX. */
uint32_t coap_uint(struct bytes value);

struct coap_block {
	bool there;
	bool more;
	uint32_t number;
	uint32_t size; /* 16 to 1024 */
};

struct coap_request { /* borrows from the message */
	const struct coap_message *message;
	struct bytes path[COAP_PATH_MAX];
	size_t path_count;
	struct bytes queries[COAP_QUERIES_MAX];
	size_t query_count;
	uint32_t format; /* enum coap_format, or another number */
	uint32_t accept;
	struct coap_block block1, block2;
	bool has_observe;
	uint32_t observe;
	uint32_t size1; /* 0: not said */
	uint32_t no_response;
	struct bytes request_tag;
};

/* 0, or the code it is to be answered with, and why (a literal). */
int coap_request_read(const struct coap_message *m, struct coap_request *ret, const char **ret_why);
/* Is its path this one? "v1/telemetry". A level {} stands for any one; that is *ret_any. */
bool coap_path_is(const struct coap_request *r, const char *path, struct bytes *ret_any);
/* The value of the query `name=value`; empty if there is none. */
struct bytes coap_query(const struct coap_request *r, const char *name);

/* Writing, options in ascending order of their numbers. What does not fit sets failed. */
struct coap_writer {
	uint8_t data[COAP_MESSAGE_MAX];
	size_t len;
	uint32_t last;
	bool failed;
};
void coap_write_begin(
    struct coap_writer *w, enum coap_type type, uint8_t code, uint16_t id, struct bytes token);
void coap_write_option(struct coap_writer *w, uint32_t number, struct bytes value);
void coap_write_uint(struct coap_writer *w, uint32_t number, uint32_t value);
void coap_write_block(struct coap_writer *w, uint32_t number, const struct coap_block *b);
void coap_write_payload(struct coap_writer *w, struct bytes payload);

/* "4.04"; returns out. */
const char *coap_code_text(unsigned code, char out[8]);

#endif
