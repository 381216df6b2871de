/* payload_cbor.h - a bounded reader of CBOR (RFC 8949); pure
 *
 * Nothing is allocated and nothing recurses in it; texts borrow from the input. Texts and byte strings of indefinite length are
 * refused, arrays and maps of indefinite length are not. Tags: 4 (decimal fraction) and 5 (big float) make a number of their two;
 * all others are passed over. */
#ifndef ROOST_PAYLOAD_CBOR_H
#define ROOST_PAYLOAD_CBOR_H

#include <stdbool.h>
#include <stdint.h>

#include "record.h"

#define CBOR_ENDLESS UINT32_MAX /* up to the break */

enum cbor_kind {
	CBOR_VALUE,  /* a number, boolean or text: in value */
	CBOR_NULL,   /* or undefined */
	CBOR_BINARY, /* in value.v.s */
	CBOR_ARRAY,
	CBOR_MAP,
	CBOR_BREAK,
	CBOR_WRONG, /* c->fault tells */
};

struct cbor_item {
	enum cbor_kind kind;
	uint32_t
	    count; /* of an array's elements or a map's pairs, checked against the bytes left; or CBOR_ENDLESS */
	struct value value; /* text is UTF-8; integers beyond int64 are doubles */
};

struct cbor_cursor {
	const uint8_t *at; /* after a failure: near to what is wrong */
	const uint8_t *end;
	const char *fault; /* a sentence; sticky */
};

struct cbor_cursor cbor_cursor_of(struct bytes b);
/* The next item, tags taken off; of an array or map its head alone. */
struct cbor_item cbor_next(struct cbor_cursor *c);

struct payload_build;
/* One map as a sample. */
int payload_cbor_sample(struct payload_build *b, struct cbor_cursor *c);

#endif
