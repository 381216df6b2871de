/* http_body.c - the body of a request: its bytes without what frames them (RFC 9112, 6.2 and 7.1); pure
 *
 *	size [;name[=value]]... CR LF data CR LF   as often as there are chunks, then
 *	0 [;name[=value]]... CR LF [name: value CR LF]... CR LF
 *
 * White space around extensions, which the RFC calls bad, is refused: nobody sends it but who looks for two readers that
 * take it for different things. */
#include <string.h>

#include "err.h"
#include "http_chars.h"
#include "http_parser.h"

#define SIZE_DIGITS_MAX 15 /* so that sizes do not overflow; leading zeros count */

void
http_body_init(struct http_body *b, const struct http_head *h)
{
	*b = (struct http_body){ .chunked = h->framing == HTTP_BODY_CHUNKED };
	if (b->chunked) {
		b->state = HTTP_BODY_SIZE;
	} else {
		b->left = h->framing == HTTP_BODY_LENGTH ? h->length : 0;
		b->state = b->left ? HTTP_BODY_DATA : HTTP_BODY_DONE;
	}
}

/* NULL, or what is wrong. */
static const char *
on_size(struct http_body *b, uint8_t c)
{
	int digit = http_hex(c);

	if (digit >= 0) {
		if (b->digits++ == SIZE_DIGITS_MAX)
			return "the size of a chunk has more than 15 digits";
		b->left = b->left << 4 | (unsigned)digit;
		return NULL;
	}
	if (b->digits == 0)
		return "a chunk without a size";
	if (c == ';')
		b->state = HTTP_BODY_EXT_NAME;
	else if (c == '\r')
		b->state = HTTP_BODY_SIZE_LF;
	else
		return "something else than digits in the size of a chunk";
	return NULL;
}

/* The extensions of a chunk. Each state says what may come; the end of the line may come where something is complete. */
static const char *
on_ext(struct http_body *b, uint8_t c)
{
	enum http_body_state was = b->state;
	bool complete =
	    was == HTTP_BODY_EXT || was == HTTP_BODY_EXT_TOKEN || was == HTTP_BODY_EXT_CLOSED;

	if (++b->ext > HTTP_CHUNK_EXT_MAX)
		return "more than 4096 bytes of chunk extensions";
	if (was == HTTP_BODY_EXT_ESCAPE || was == HTTP_BODY_EXT_QUOTED) {
		if (http_is_control(c) && c != '\t')
			return "a control character in a chunk extension";
		if (was == HTTP_BODY_EXT_ESCAPE)
			b->state = HTTP_BODY_EXT_QUOTED;
		else if (c == '\\')
			b->state = HTTP_BODY_EXT_ESCAPE;
		else if (c == '"')
			b->state = HTTP_BODY_EXT_CLOSED;
		return NULL;
	}
	if (complete && c == '\r')
		b->state = HTTP_BODY_SIZE_LF;
	else if (complete && c == ';')
		b->state = HTTP_BODY_EXT_NAME;
	else if (was == HTTP_BODY_EXT && c == '=')
		b->state = HTTP_BODY_EXT_VALUE;
	else if (was == HTTP_BODY_EXT_VALUE && c == '"')
		b->state = HTTP_BODY_EXT_QUOTED;
	else if (was == HTTP_BODY_EXT_CLOSED || !http_is_tchar(c))
		return "a chunk extension that is none";
	else if (was == HTTP_BODY_EXT_NAME)
		b->state = HTTP_BODY_EXT;
	else if (was == HTTP_BODY_EXT_VALUE)
		b->state = HTTP_BODY_EXT_TOKEN;
	return NULL;
}

static const char *
on_trailer(struct http_body *b, uint8_t c)
{
	if (++b->trailer > HTTP_TRAILER_MAX)
		return "a trailer of more than 16384 bytes";
	switch (b->state) {
	case HTTP_BODY_TRAILER:
		if (c == '\r') {
			b->state = HTTP_BODY_END_LF;
			return NULL;
		}
		if (!http_is_tchar(c))
			return "a field name in the trailer with a character that none may have";
		if (++b->fields > HTTP_FIELDS_MAX)
			return "more than 100 fields in the trailer";
		b->state = HTTP_BODY_TRAILER_NAME;
		return NULL;
	case HTTP_BODY_TRAILER_NAME:
		if (c == ':')
			b->state = HTTP_BODY_TRAILER_VALUE;
		else if (!http_is_tchar(c))
			return "a field name in the trailer with a character that none may have";
		return NULL;
	default:
		if (c == '\r')
			b->state = HTTP_BODY_TRAILER_LF;
		else if (http_is_control(c) && c != '\t')
			return "a control character in the trailer";
		return NULL;
	}
}

/* A byte that is not of the body's data. */
static const char *
on_byte(struct http_body *b, uint8_t c)
{
	switch (b->state) {
	case HTTP_BODY_SIZE:
		return on_size(b, c);
	case HTTP_BODY_EXT:
	case HTTP_BODY_EXT_NAME:
	case HTTP_BODY_EXT_VALUE:
	case HTTP_BODY_EXT_TOKEN:
	case HTTP_BODY_EXT_QUOTED:
	case HTTP_BODY_EXT_ESCAPE:
	case HTTP_BODY_EXT_CLOSED:
		return on_ext(b, c);
	case HTTP_BODY_TRAILER:
	case HTTP_BODY_TRAILER_NAME:
	case HTTP_BODY_TRAILER_VALUE:
		return on_trailer(b, c);
	case HTTP_BODY_DATA_CR:
		if (c != '\r')
			return "a chunk is longer than its size says, or CR LF is missing behind "
			       "it";
		b->state = HTTP_BODY_DATA_LF;
		return NULL;
	case HTTP_BODY_SIZE_LF:
	case HTTP_BODY_DATA_LF:
	case HTTP_BODY_TRAILER_LF:
	case HTTP_BODY_END_LF:
		break;
	case HTTP_BODY_DATA:
	case HTTP_BODY_DONE:
	case HTTP_BODY_FAILED:
		return "the body is over";
	}
	if (c != '\n')
		return "a CR without LF";
	if (b->state == HTTP_BODY_SIZE_LF)
		b->state = b->left ? HTTP_BODY_DATA : HTTP_BODY_TRAILER;
	else if (b->state == HTTP_BODY_DATA_LF)
		b->state = HTTP_BODY_SIZE;
	else
		b->state = b->state == HTTP_BODY_END_LF ? HTTP_BODY_DONE : HTTP_BODY_TRAILER;
	b->digits = 0;
	return NULL;
}

size_t
http_body_read(struct http_body *b, struct bytes in, struct bytes *ret_data, int *ret_err,
    struct http_fault *ret_fault)
{
	size_t at = 0;

	*ret_data = bytes_of(NULL, 0);
	*ret_err = 0;
	while (at < in.len && b->state != HTTP_BODY_DONE && b->state != HTTP_BODY_FAILED) {
		const char *why;

		if (b->state == HTTP_BODY_DATA) {
			size_t n = in.len - at < b->left ? in.len - at : (size_t)b->left;

			*ret_data = bytes_of(in.data + at, n);
			b->left -= n;
			if (b->left == 0)
				b->state = b->chunked ? HTTP_BODY_DATA_CR : HTTP_BODY_DONE;
			return at + n;
		}
		why = on_byte(b, in.data[at]);
		if (why) {
			b->state = HTTP_BODY_FAILED;
			*ret_err = ERR_MALFORMED;
			*ret_fault = (struct http_fault){ .status = 400, .why = why };
			return at;
		}
		at++;
	}
	return at;
}
