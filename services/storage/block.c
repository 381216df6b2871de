/* block.c - one block of the journal: encode and verify; pure */
#include "block.h"

#include <string.h>
#include <xxhash.h>

#include "err.h"
#include "le.h"

static const uint8_t magic[4] = { 'R', 'B', 'K', '1' };

enum {
	AT_VERSION = 4,
	AT_HEADER_SIZE = 6,
	AT_LENGTH = 8,
	AT_ENTRIES = 12,
	AT_OFFSET = 16,
	AT_TIME = 24,
	AT_BODY_HASH = 32,
	AT_HEADER_HASH = 40,
};

uint64_t
block_size(uint64_t body_len)
{
	return (BLOCK_HEADER_SIZE + body_len + BLOCK_ALIGN - 1) / BLOCK_ALIGN * BLOCK_ALIGN;
}

void
block_begin(struct buf *b)
{
	static const uint8_t zeros[BLOCK_HEADER_SIZE];

	buf_clear(b);
	buf_add(b, zeros, sizeof(zeros));
}

void
block_seal(struct buf *b, uint64_t offset, int64_t time, uint32_t entries)
{
	static const uint8_t zeros[BLOCK_ALIGN];
	size_t length;
	uint8_t *h;

	ASSERT(b->len >= BLOCK_HEADER_SIZE && !b->failed);
	length = b->len - BLOCK_HEADER_SIZE;
	ASSERT(length <= BLOCK_BODY_MAX);
	buf_add(b, zeros, (size_t)(block_size(length) - b->len));
	h = b->data;
	memcpy(h, magic, sizeof(magic));
	h[AT_VERSION] = BLOCK_VERSION;
	h[AT_VERSION + 1] = 0;
	h[AT_HEADER_SIZE] = BLOCK_HEADER_SIZE;
	h[AT_HEADER_SIZE + 1] = 0;
	le_put32(h + AT_LENGTH, (uint32_t)length);
	le_put32(h + AT_ENTRIES, entries);
	le_put64(h + AT_OFFSET, offset);
	le_put64(h + AT_TIME, (uint64_t)time);
	le_put64(h + AT_BODY_HASH, XXH3_64bits(h + BLOCK_HEADER_SIZE, length));
	le_put64(h + AT_HEADER_HASH, XXH3_64bits(h, AT_HEADER_HASH));
}

int
block_header_read(struct bytes at, uint64_t offset, struct block_header *ret_header)
{
	const uint8_t *h = at.data;
	uint32_t length;

	if (at.len < BLOCK_HEADER_SIZE)
		return ERR_SHORT;
	if (memcmp(h, magic, sizeof(magic)) != 0)
		return ERR_DAMAGED;
	if (le_get64(h + AT_HEADER_HASH) != XXH3_64bits(h, AT_HEADER_HASH))
		return ERR_DAMAGED;
	length = le_get32(h + AT_LENGTH);
	if (h[AT_VERSION] != BLOCK_VERSION || h[AT_VERSION + 1] != 0 ||
	    h[AT_HEADER_SIZE] != BLOCK_HEADER_SIZE || h[AT_HEADER_SIZE + 1] != 0 ||
	    le_get64(h + AT_OFFSET) != offset || length > BLOCK_BODY_MAX)
		return ERR_DAMAGED;
	*ret_header = (struct block_header){
		.length = length,
		.entries = le_get32(h + AT_ENTRIES),
		.offset = offset,
		.time = (int64_t)le_get64(h + AT_TIME),
		.body_hash = le_get64(h + AT_BODY_HASH),
	};
	return 0;
}

bool
block_body_matches(const struct block_header *h, struct bytes body)
{
	return body.len == h->length && XXH3_64bits(body.data, body.len) == h->body_hash;
}

struct block
block_of(const struct block_header *h, struct bytes body)
{
	return (struct block){
		.offset = h->offset,
		.next = h->offset + block_size(h->length),
		.time = h->time,
		.entries = h->entries,
		.body = body,
	};
}

size_t
block_find(struct bytes data, uint64_t base, size_t from)
{
	struct block_header h;
	size_t at;

	for (at = (from + BLOCK_ALIGN - 1) / BLOCK_ALIGN * BLOCK_ALIGN; at < data.len;
	     at += BLOCK_ALIGN) {
		struct bytes rest = { data.data + at, data.len - at };

		if (rest.len < BLOCK_HEADER_SIZE)
			break;
		if (rest.data[0] == magic[0] && block_header_read(rest, base + at, &h) == 0)
			return at;
	}
	return data.len;
}
