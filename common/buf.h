/* buf.h - a growing byte buffer with a maximum, and a borrowed view of bytes */
#ifndef ROOST_BUF_H
#define ROOST_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Borrowed: valid as long as what it points into. Not NUL-terminated. */
struct bytes {
	const uint8_t *data;
	size_t len;
};

static inline struct bytes
bytes_of(const void *data, size_t len)
{
	struct bytes b; /* C++ reads this too */

	b.data = (const uint8_t *)data;
	b.len = len;
	return b;
}

/* Inline: of a literal nothing is left to be measured. */
static inline struct bytes
bytes_of_str(const char *s)
{
	return bytes_of(s, strlen(s));
}

static inline bool
bytes_equal(struct bytes a, struct bytes b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool
bytes_equal_str(struct bytes a, const char *s)
{
	return bytes_equal(a, bytes_of_str(s));
}

/* data[0..len) is content; {0} is a valid empty buffer without a maximum. */
struct buf {
	uint8_t *data;
	size_t len;
	size_t cap;
	size_t max;  /* 0: no maximum */
	bool failed; /* sticky: something did not fit under max; content is then incomplete */
};

void buf_init(struct buf *b, size_t max);
void buf_fini(struct buf *b);
void buf_clear(struct buf *b);		      /* keeps the memory */
uint8_t *buf_grow(struct buf *b, size_t len); /* for buf_reserve() */

/* Makes room for len more bytes and returns where they go, without adding them; NULL (and failed) over max. */
static inline uint8_t *
buf_reserve(struct buf *b, size_t len)
{
	if (b->max == 0 && b->data && len <= b->cap - b->len)
		return b->data + b->len;
	return buf_grow(b, len);
}

void buf_add(struct buf *b, const void *data, size_t len);
void buf_add_u8(struct buf *b, uint8_t v);
void buf_add_str(struct buf *b, const char *s);
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_consume(struct buf *b, size_t len); /* drops len bytes from the front */
static inline struct bytes
buf_bytes(const struct buf *b)
{
	return bytes_of(b->data, b->len);
}

/* NUL-terminates (not counted in len) and returns the content as a string owned by b. */
const char *buf_str(struct buf *b);

#endif
