/* bundle.c - small messages of one turn to one peer, gathered to one frame */
#include "bundle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "mem.h"

#define MARK 0xc1
#define LENGTH sizeof(uint32_t)

struct bundle *
bundle_of(struct bundles *all, const char *peer)
{
	struct bundle *b = all->first;

	while (b && strcmp(b->peer, peer) != 0)
		b = b->next;
	if (!b) {
		b = xcalloc(1, sizeof *b);
		snprintf(b->peer, sizeof b->peer, "%s", peer);
		b->next = all->first;
		all->first = b;
		all->count++;
	}
	return b;
}

bool
bundle_fits(const struct bundle *b, size_t size)
{
	return b->count == 0 || b->bytes.len + LENGTH + size <= BUNDLE_MAX;
}

struct buf *
bundle_add(struct bundle *b, size_t size)
{
	uint32_t len = (uint32_t)size;

	ASSERT(size > 0 && size <= UINT32_MAX);
	if (b->count++ == 0)
		buf_add_u8(&b->bytes, MARK);
	buf_add(&b->bytes, &len, LENGTH);
	return &b->bytes;
}

struct bytes
bundle_frame(const struct bundle *b)
{
	size_t skip = b->count == 1 ? 1 + LENGTH : 0;

	return bytes_of(b->bytes.data + skip, b->bytes.len - skip);
}

void
bundle_clear(struct bundle *b)
{
	b->count = 0;
	buf_clear(&b->bytes);
}

void
bundle_free(struct bundles *all, struct bundle **at)
{
	struct bundle *b = *at;

	*at = b->next;
	all->count--;
	buf_fini(&b->bytes);
	free(b);
}

void
bundles_fini(struct bundles *all)
{
	while (all->first)
		bundle_free(all, &all->first);
}

bool
bundle_open(struct bytes frame, struct bytes *ret_rest)
{
	if (frame.len == 0 || frame.data[0] != MARK)
		return false;
	*ret_rest = bytes_of(frame.data + 1, frame.len - 1);
	return true;
}

int
bundle_next(struct bytes *rest, struct bytes *ret_message)
{
	uint32_t len;

	if (rest->len == 0)
		return ERR_NOT_FOUND;
	if (rest->len < LENGTH)
		return ERR_MALFORMED;
	memcpy(&len, rest->data, LENGTH);
	if (len == 0 || len > rest->len - LENGTH)
		return ERR_MALFORMED;
	*ret_message = bytes_of(rest->data + LENGTH, len);
	*rest = bytes_of(rest->data + LENGTH + len, rest->len - LENGTH - len);
	return 0;
}
