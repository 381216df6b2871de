/* segment.c - reading one segment file block by block, stepping over damage */
#include "segment.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "err.h"

#define PAGE 4096u

void
segment_reader_init(
    struct segment_reader *r, int fd, uint64_t base, uint64_t limit, enum segment_limit kind)
{
	*r = (struct segment_reader){ .fd = fd,
		.base = base,
		.limit = limit,
		.limit_kind = kind,
		.chunk = SEGMENT_READ_CHUNK };
}

void
segment_reader_fini(struct segment_reader *r)
{
	buf_fini(&r->window);
}

/* A sector that the disk cannot read must not hide the rest of the file: it reads as zeros, which no checksum accepts. */
static size_t
read_or_zero(struct segment_reader *r, uint8_t *to, size_t len, uint64_t at)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(r->fd, to + done, len - done, (off_t)(at + done));
		size_t page = PAGE - (size_t)((at + done) % PAGE);

		if (n > 0) {
			done += (size_t)n;
		} else if (n == 0) {
			break;
		} else if (errno != EINTR) {
			ssize_t one = page < len - done
					  ? pread(r->fd, to + done, page, (off_t)(at + done))
					  : -1;

			if (one > 0) {
				done += (size_t)one;
				continue;
			}
			page = page < len - done ? page : len - done;
			memset(to + done, 0, page);
			r->unreadable += page;
			done += page;
		}
	}
	return done;
}

/* The bytes [at, at + len) or as many as there are before the limit, from the window. */
static struct bytes
window_bytes(struct segment_reader *r, uint64_t at, size_t len)
{
	size_t have, want, got;
	uint8_t *to;

	ASSERT(at < r->limit);
	if (len > r->limit - at)
		len = (size_t)(r->limit - at);
	if (at < r->window_at || at > r->window_at + r->window.len) {
		buf_clear(&r->window);
		r->window_at = at;
	}
	have = (size_t)(r->window_at + r->window.len - at);
	if (have < len) {
		buf_consume(&r->window, (size_t)(at - r->window_at));
		r->window_at = at;
		want = len > r->chunk ? len : r->chunk;
		if (want > r->limit - at)
			want = (size_t)(r->limit - at);
		to = buf_reserve(&r->window, want - have);
		got = read_or_zero(r, to, want - have, at + have);
		r->window.len += got;
		have += got;
	}
	if (len > have)
		len = have;
	return bytes_of(r->window.data + (at - r->window_at), len);
}

/* Megabytes are written ahead of the last block, and each start looks through them. */
static bool
is_zero(struct bytes b)
{
	return b.data[0] == 0 && memcmp(b.data, b.data + 1, b.len - 1) == 0;
}

/* Of bytes that are not all zero. */
static size_t
last_nonzero(struct bytes b)
{
	size_t n = b.len;

	while (b.data[n - 1] == 0)
		n--;
	return n;
}

/* Where the data of a file that was preallocated ends, at or after `at`: what is behind it reads as zeros. */
static uint64_t
data_end(const struct segment_reader *r, uint64_t at)
{
	uint64_t end = at;

	for (;;) {
		off_t data = lseek(r->fd, (off_t)end, SEEK_DATA);
		off_t hole;

		if (data < 0)
			return errno == ENXIO ? end : r->limit;
		if ((uint64_t)data >= r->limit)
			return end;
		hole = lseek(r->fd, data, SEEK_HOLE);
		if (hole < 0 || (uint64_t)hole >= r->limit)
			return r->limit;
		end = (uint64_t)hole;
	}
}

/* Looks behind r->at for the next place where a header stands. *ret_next is that place, or where the last byte that is not
 * zero ends. */
static bool
resync(struct segment_reader *r, uint64_t *ret_next)
{
	uint64_t end = r->limit_kind == SEGMENT_LIMIT_OPEN ? data_end(r, r->at) : r->limit;
	uint64_t at = r->at;
	uint64_t used = at;
	size_t skip = BLOCK_ALIGN;

	while (at < end) {
		struct bytes w = window_bytes(r, at, SEGMENT_READ_CHUNK);
		size_t found;
		bool zero;

		if (w.len == 0)
			break;
		zero = is_zero(w);
		found = zero ? w.len : block_find(w, r->base + at, skip);
		if (found < w.len) {
			*ret_next = at + found;
			return true;
		}
		if (!zero)
			used = at + last_nonzero(w);
		if (w.len < SEGMENT_READ_CHUNK)
			break;
		at += w.len - BLOCK_HEADER_SIZE;
		skip = 0;
	}
	*ret_next = used;
	return false;
}

static int
damaged(struct segment_reader *r, uint64_t next, struct block *ret_block)
{
	*ret_block = (struct block){ .offset = r->base + r->at, .next = r->base + next };
	r->at = next;
	return ERR_DAMAGED;
}

int
segment_next(struct segment_reader *r, struct block *ret_block)
{
	struct block_header h;
	struct bytes b;
	uint64_t next;

	if (r->at >= r->limit)
		return ERR_NOT_FOUND;
	b = window_bytes(r, r->at, BLOCK_HEADER_SIZE);
	if (block_header_read(b, r->base + r->at, &h) == 0 &&
	    block_size(h.length) <= r->limit - r->at) {
		b = window_bytes(r, r->at, BLOCK_HEADER_SIZE + h.length);
		if (b.len < BLOCK_HEADER_SIZE + h.length)
			return damaged(r, r->limit, ret_block);
		b = bytes_of(b.data + BLOCK_HEADER_SIZE, h.length);
		if (!block_body_matches(&h, b))
			return damaged(r, r->at + block_size(h.length), ret_block);
		*ret_block = block_of(&h, b);
		r->at += block_size(h.length);
		return 0;
	}
	if (resync(r, &next))
		return damaged(r, next, ret_block);
	if (r->limit_kind == SEGMENT_LIMIT_EXACT)
		return damaged(r, r->limit, ret_block);
	if (next > r->at)
		return damaged(r, next, ret_block);
	r->at = r->limit;
	return ERR_NOT_FOUND;
}
