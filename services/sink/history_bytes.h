/* history_bytes.h - numbers and bytes as history's files have them: varints, and a reader that is sticky; pure */
#ifndef ROOST_HISTORY_BYTES_H
#define ROOST_HISTORY_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

/* Sticky: after the first fault every read returns 0. */
struct reader {
	const uint8_t *at;
	const uint8_t *end;
	bool failed;
};

static inline void
put_varint(struct buf *b, uint64_t v)
{
	while (v >= 0x80) {
		buf_add_u8(b, (uint8_t)(v | 0x80));
		v >>= 7;
	}
	buf_add_u8(b, (uint8_t)v);
}

static inline uint8_t
get_u8(struct reader *r)
{
	if (r->at >= r->end) {
		r->failed = true;
		return 0;
	}
	/* at is NULL only with end: the analyser believes a caller that asks whether bytes of it are. */
	return *r->at++; /* NOLINT(clang-analyzer-core.NullDereference) */
}

static inline uint64_t
get_varint(struct reader *r)
{
	uint64_t v = 0;

	for (unsigned shift = 0;; shift += 7) {
		uint8_t b = get_u8(r);

		if (shift == 63 && b > 1)
			break;
		v |= (uint64_t)(b & 0x7f) << shift;
		if (b < 0x80)
			return v;
	}
	r->failed = true;
	r->at = r->end;
	return 0;
}

/* len bytes, or NULL. */
static inline const uint8_t *
get_bytes(struct reader *r, size_t len)
{
	const uint8_t *at = r->at;

	if (len > (size_t)(r->end - r->at)) {
		r->failed = true;
		r->at = r->end;
		return NULL;
	}
	r->at += len;
	return at;
}

static inline uint64_t
u64_at(const uint8_t *p)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < 8; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

static inline void
put_u64(struct buf *b, uint64_t v)
{
	for (unsigned i = 0; i < 8; i++)
		buf_add_u8(b, (uint8_t)(v >> (8 * i)));
}

#endif
