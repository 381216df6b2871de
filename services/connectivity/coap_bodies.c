/* coap_bodies.c - payloads that come in blocks, until they are whole; pure */
#include "coap_bodies.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "mem.h"

void
coap_bodies_init(struct coap_bodies *b, size_t bytes_max, size_t body_max)
{
	*b = (struct coap_bodies){ .bytes_max = bytes_max, .body_max = body_max };
}

static struct coap_body **
bucket_of(struct coap_bodies *b, const struct coap_endpoint *from, uint64_t request)
{
	return &b->buckets[XXH3_64bits_withSeed(from, sizeof(*from), request) % COAP_BODY_BUCKETS];
}

static void
unlink_age(struct coap_bodies *b, struct coap_body *body)
{
	if (body->older)
		body->older->newer = body->newer;
	else
		b->oldest = body->newer;
	if (body->newer)
		body->newer->older = body->older;
	else
		b->newest = body->older;
}

static void
link_newest(struct coap_bodies *b, struct coap_body *body)
{
	body->older = b->newest;
	body->newer = NULL;
	if (b->newest)
		b->newest->newer = body;
	else
		b->oldest = body;
	b->newest = body;
}

static void
count(struct coap_bodies *b, struct coap_body *body)
{
	b->bytes -= body->counted;
	body->counted = sizeof(*body) + body->data.cap;
	b->bytes += body->counted;
}

void
coap_bodies_done(struct coap_bodies *b, struct coap_body **p_body)
{
	struct coap_body *body = *p_body, **at;

	*p_body = NULL;
	if (!body)
		return;
	for (at = bucket_of(b, &body->from, body->request); *at != body;)
		at = &(*at)->bucket_next;
	*at = body->bucket_next;
	unlink_age(b, body);
	b->bytes -= body->counted;
	b->count--;
	buf_fini(&body->data);
	free(body);
}

static void
drop(struct coap_bodies *b, struct coap_body *body)
{
	b->dropped++;
	coap_bodies_done(b, &body);
}

void
coap_bodies_fini(struct coap_bodies *b)
{
	while (b->oldest)
		drop(b, b->oldest);
}

void
coap_bodies_expire(struct coap_bodies *b, int64_t now_us)
{
	struct coap_body *next;

	for (struct coap_body *body = b->oldest; body; body = next) {
		next = body->newer;
		if (now_us - body->at_us >= COAP_BODY_IDLE_US ||
		    now_us - body->since_us >= COAP_BODY_AGE_US)
			drop(b, body);
	}
}

/* What has to be the same in all blocks of one body. */
static uint64_t
request_key(const struct coap_request *r)
{
	uint64_t h = XXH3_64bits_withSeed(
	    r->request_tag.data, r->request_tag.len, (uint64_t)r->format << 8 | r->message->code);

	for (size_t i = 0; i < r->path_count && i < COAP_PATH_MAX; i++)
		h = XXH3_64bits_withSeed(r->path[i].data, r->path[i].len, h);
	for (size_t i = 0; i < r->query_count; i++)
		h = XXH3_64bits_withSeed(r->queries[i].data, r->queries[i].len, ~h);
	return h;
}

static struct coap_body *
find(struct coap_bodies *b, const struct coap_endpoint *from, uint64_t request)
{
	struct coap_body *body = *bucket_of(b, from, request);

	while (body && (body->request != request || memcmp(&body->from, from, sizeof(*from)) != 0))
		body = body->bucket_next;
	return body;
}

static bool
has_room(struct coap_bodies *b, const struct coap_body *but, size_t len, int64_t now_us)
{
	while (b->bytes + len > b->bytes_max) {
		if (!b->oldest || b->oldest == but ||
		    now_us - b->oldest->at_us < COAP_BODY_PATIENCE_US)
			return false;
		drop(b, b->oldest);
	}
	return true;
}

static struct coap_body *
begin(struct coap_bodies *b, const struct coap_endpoint *from, uint64_t request, int64_t now_us)
{
	struct coap_body *body = xcalloc(1, sizeof(*body)), **to = bucket_of(b, from, request);

	*body = (struct coap_body){ .from = *from, .request = request, .since_us = now_us };
	body->bucket_next = *to;
	*to = body;
	link_newest(b, body);
	b->count++;
	count(b, body);
	return body;
}

/* The block's place in the body. */
static int
append(struct coap_bodies *b, struct coap_body *body, const struct coap_block *block,
    struct bytes payload, int64_t now_us)
{
	uint64_t at = (uint64_t)block->number * block->size;

	if (at != body->data.len) {
		/* Here already: its answer was lost. */
		if (at < body->data.len && payload.len <= body->data.len - at && block->more)
			return COAP_CONTINUE;
		return COAP_INCOMPLETE;
	}
	if (payload.len > b->body_max - body->data.len)
		return COAP_TOO_LARGE;
	/* A buffer that grows may take twice as much. */
	if (!has_room(b, body, payload.len + body->data.len, now_us))
		return COAP_UNAVAILABLE;
	buf_add(&body->data, payload.data, payload.len);
	count(b, body);
	body->at_us = now_us;
	unlink_age(b, body);
	link_newest(b, body);
	return block->more ? COAP_CONTINUE : 0;
}

int
coap_bodies_add(struct coap_bodies *b, const struct coap_endpoint *from,
    const struct coap_request *r, int64_t now_us, struct coap_body **ret_body,
    struct bytes *ret_whole)
{
	const struct coap_block *block = &r->block1;
	struct bytes payload = r->message->payload;
	struct coap_body *body;
	uint64_t key;
	int code;

	*ret_body = NULL;
	if (payload.len > b->body_max || r->size1 > b->body_max)
		return COAP_TOO_LARGE;
	if (!block->there || (block->number == 0 && !block->more)) {
		*ret_whole = payload;
		return 0;
	}
	if (payload.len == 0 || payload.len > block->size ||
	    (block->more && payload.len != block->size))
		return COAP_BAD_REQUEST;
	key = request_key(r);
	body = find(b, from, key);
	if (block->number == 0 && body)
		drop(b, body);
	if (block->number == 0) {
		if (!has_room(b, NULL, sizeof(*body) + payload.len * 2, now_us))
			return COAP_UNAVAILABLE;
		body = begin(b, from, key, now_us);
	}
	if (!body)
		return COAP_INCOMPLETE;
	code = append(b, body, block, payload, now_us);
	if (code == COAP_TOO_LARGE)
		drop(b, body);
	if (code == 0) {
		*ret_body = body;
		*ret_whole = buf_bytes(&body->data);
	}
	return code;
}

void
coap_bodies_take_back(struct coap_bodies *b, struct coap_body *body, size_t len)
{
	(void)b;
	body->data.len -= len;
}
