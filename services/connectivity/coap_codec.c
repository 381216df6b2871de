/* coap_codec.c - bytes <-> CoAP messages; pure */
#include "coap_codec.h"

#include <stdio.h>
#include <string.h>

#include "err.h"

#define HEADER_SIZE 4
#define PAYLOAD_MARKER 0xffu

/* --- reading --- */

/* Takes one nibble's extension off the front. */
static bool
extended(struct bytes *rest, uint32_t *value)
{
	size_t more;

	if (*value < 13)
		return true;
	if (*value == 15)
		return false;
	more = *value - 12;
	if (rest->len < more)
		return false;
	*value = more == 1 ? rest->data[0] + 13u : (rest->data[0] * 256u + rest->data[1]) + 269u;
	*rest = bytes_of(rest->data + more, rest->len - more);
	return true;
}

static bool
option_take(struct bytes *rest, uint32_t *number, struct bytes *value)
{
	uint32_t delta, len;

	delta = rest->data[0] >> 4;
	len = rest->data[0] & 15u;
	*rest = bytes_of(rest->data + 1, rest->len - 1);
	if (!extended(rest, &delta) || !extended(rest, &len) || len > rest->len ||
	    delta > 65535u - *number)
		return false;
	*number += delta;
	*value = bytes_of(rest->data, len);
	*rest = bytes_of(rest->data + len, rest->len - len);
	return true;
}

int
coap_parse(struct bytes d, struct coap_message *ret)
{
	struct bytes rest, value;
	uint32_t number = 0;
	size_t token_len;

	if (d.len < HEADER_SIZE || d.data[0] >> 6 != 1)
		return ERR_SHORT;
	token_len = d.data[0] & 15u;
	*ret = (struct coap_message){
		.type = (enum coap_type)(d.data[0] >> 4 & 3),
		.code = d.data[1],
		.id = (uint16_t)(d.data[2] << 8 | d.data[3]),
	};
	if (token_len > COAP_TOKEN_MAX || token_len > d.len - HEADER_SIZE ||
	    (ret->code == COAP_EMPTY && d.len != HEADER_SIZE))
		return ERR_MALFORMED;
	ret->token = bytes_of(d.data + HEADER_SIZE, token_len);
	rest = bytes_of(d.data + HEADER_SIZE + token_len, d.len - HEADER_SIZE - token_len);
	ret->options = rest;
	while (rest.len > 0 && rest.data[0] != PAYLOAD_MARKER)
		if (!option_take(&rest, &number, &value))
			return ERR_MALFORMED;
	ret->options.len -= rest.len;
	if (rest.len == 1)
		return ERR_MALFORMED; /* a marker and no payload */
	if (rest.len > 1)
		ret->payload = bytes_of(rest.data + 1, rest.len - 1);
	return 0;
}

struct coap_options
coap_options_of(const struct coap_message *m)
{
	return (struct coap_options){ .rest = m->options };
}

bool
coap_option_next(struct coap_options *at, struct coap_option *ret)
{
	if (at->rest.len == 0 || !option_take(&at->rest, &at->number, &ret->value))
		return false;
	ret->number = at->number;
	return true;
}

uint32_t
coap_uint(struct bytes value)
{
	uint32_t n = 0;

	if (value.len > 4)
		return UINT32_MAX;
	for (size_t i = 0; i < value.len; i++)
		n = n << 8 | value.data[i];
	return n;
}

/* --- requests --- */

static bool
block_read(struct bytes value, struct coap_block *ret)
{
	uint32_t n = coap_uint(value);

	if (value.len > 3 || (n & 7u) == 7u)
		return false;
	*ret = (struct coap_block){
		.there = true,
		.more = (n & 8u) != 0,
		.number = n >> 4,
		.size = 16u << (n & 7u),
	};
	return true;
}

/* An option that a request may have. 0, or the code. */
static int
take_option(struct coap_request *r, const struct coap_option *o, const char **why)
{
	*why = "an option has a wrong length";
	switch (o->number) {
	case COAP_URI_PATH:
		if (r->path_count == COAP_PATH_MAX)
			r->path_count++; /* matches nothing */
		else if (r->path_count < COAP_PATH_MAX)
			r->path[r->path_count++] = o->value;
		return 0;
	case COAP_URI_QUERY:
		if (r->query_count < COAP_QUERIES_MAX)
			r->queries[r->query_count++] = o->value;
		return 0;
	case COAP_CONTENT_FORMAT:
		r->format = coap_uint(o->value);
		return o->value.len <= 2 ? 0 : COAP_BAD_REQUEST;
	case COAP_ACCEPT:
		r->accept = coap_uint(o->value);
		return o->value.len <= 2 ? 0 : COAP_BAD_OPTION;
	case COAP_BLOCK1:
		return block_read(o->value, &r->block1) ? 0 : COAP_BAD_OPTION;
	case COAP_BLOCK2:
		return block_read(o->value, &r->block2) ? 0 : COAP_BAD_OPTION;
	case COAP_OBSERVE:
		r->has_observe = o->value.len <= 3;
		r->observe = coap_uint(o->value);
		return 0;
	case COAP_SIZE1:
		r->size1 = coap_uint(o->value);
		return 0;
	case COAP_NO_RESPONSE:
		r->no_response = o->value.len <= 1 ? coap_uint(o->value) : 0;
		return 0;
	case COAP_REQUEST_TAG:
		r->request_tag = o->value;
		return 0;
	case COAP_URI_HOST:
	case COAP_URI_PORT:
		return 0; /* one host here, whatever its names are */
	case COAP_PROXY_URI:
	case COAP_PROXY_SCHEME:
		*why = "this is no proxy";
		return COAP_NO_PROXYING;
	default:
		/* Those with an odd number are critical (RFC 7252, 5.4.1). */
		*why = "an option is critical and not known";
		return o->number & 1 ? COAP_BAD_OPTION : 0;
	}
}

int
coap_request_read(const struct coap_message *m, struct coap_request *ret, const char **ret_why)
{
	struct coap_options at = coap_options_of(m);
	struct coap_option o;
	int code;

	*ret = (struct coap_request){
		.message = m,
		.format = COAP_FORMAT_NONE,
		.accept = COAP_FORMAT_NONE,
	};
	while (coap_option_next(&at, &o))
		if ((code = take_option(ret, &o, ret_why)) != 0)
			return code;
	return 0;
}

bool
coap_path_is(const struct coap_request *r, const char *path, struct bytes *ret_any)
{
	size_t level = 0;

	for (;; level++) {
		size_t len = strcspn(path, "/");

		if (level >= r->path_count || level >= COAP_PATH_MAX)
			return false;
		if (len == 2 && memcmp(path, "{}", 2) == 0)
			*ret_any = r->path[level];
		else if (!bytes_equal(r->path[level], bytes_of(path, len)))
			return false;
		if (path[len] == '\0')
			return level + 1 == r->path_count;
		path += len + 1;
	}
}

struct bytes
coap_query(const struct coap_request *r, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < r->query_count; i++) {
		struct bytes q = r->queries[i];

		if (q.len > len && q.data[len] == '=' && memcmp(q.data, name, len) == 0)
			return bytes_of(q.data + len + 1, q.len - len - 1);
	}
	return (struct bytes){ 0 };
}

/* --- writing --- */

static uint8_t *
put(struct coap_writer *w, size_t len)
{
	uint8_t *at = w->data + w->len;

	if (w->failed || len > sizeof(w->data) - w->len) {
		w->failed = true;
		return NULL;
	}
	w->len += len;
	return at;
}

static void
put_bytes(struct coap_writer *w, const void *data, size_t len)
{
	uint8_t *at = len ? put(w, len) : NULL;

	if (at)
		memcpy(at, data, len);
}

void
coap_write_begin(
    struct coap_writer *w, enum coap_type type, uint8_t code, uint16_t id, struct bytes token)
{
	uint8_t head[HEADER_SIZE] = {
		(uint8_t)(1u << 6 | (unsigned)type << 4 | token.len),
		code,
		(uint8_t)(id >> 8),
		(uint8_t)id,
	};

	ASSERT(token.len <= COAP_TOKEN_MAX);
	w->len = 0;
	w->last = 0;
	w->failed = false;
	put_bytes(w, head, sizeof(head));
	put_bytes(w, token.data, token.len);
}

static uint8_t
nibble(size_t n)
{
	return (uint8_t)(n < 13 ? n : n < 269 ? 13 : 14);
}

static void
put_extended(struct coap_writer *w, size_t n)
{
	uint8_t two[2] = { (uint8_t)((n - 269) >> 8), (uint8_t)(n - 269) };
	uint8_t one = (uint8_t)(n - 13);

	if (n >= 269)
		put_bytes(w, two, 2);
	else if (n >= 13)
		put_bytes(w, &one, 1);
}

void
coap_write_option(struct coap_writer *w, uint32_t number, struct bytes value)
{
	uint32_t delta = number - w->last;
	uint8_t head = (uint8_t)(nibble(delta) << 4 | nibble(value.len));

	ASSERT(number >= w->last);
	put_bytes(w, &head, 1);
	put_extended(w, delta);
	put_extended(w, value.len);
	put_bytes(w, value.data, value.len);
	w->last = number;
}

void
coap_write_uint(struct coap_writer *w, uint32_t number, uint32_t value)
{
	uint8_t all[4] = { (uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
		(uint8_t)value };
	size_t skip = 0;

	while (skip < sizeof(all) && all[skip] == 0)
		skip++;
	coap_write_option(w, number, bytes_of(all + skip, sizeof(all) - skip));
}

void
coap_write_block(struct coap_writer *w, uint32_t number, const struct coap_block *b)
{
	uint32_t szx = 0;

	while (szx < 6 && 16u << szx < b->size)
		szx++;
	coap_write_uint(w, number, b->number << 4 | (b->more ? 8u : 0) | szx);
}

void
coap_write_payload(struct coap_writer *w, struct bytes payload)
{
	uint8_t marker = PAYLOAD_MARKER;

	if (payload.len == 0)
		return;
	put_bytes(w, &marker, 1);
	put_bytes(w, payload.data, payload.len);
}

const char *
coap_code_text(unsigned code, char out[8])
{
	snprintf(out, 8, "%u.%02u", code >> 5 & 7u, code & 31u);
	return out;
}
