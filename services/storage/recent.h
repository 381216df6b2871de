/* recent.h - the newest blocks in memory, for followers at the tail; pure */
#ifndef ROOST_STORAGE_RECENT_H
#define ROOST_STORAGE_RECENT_H

#include "block.h"
#include "buf.h"

#define RECENT_BYTES_MAX (16u << 20)
#define RECENT_BLOCKS_MAX 8192

#define RECENT_TAKE_MIN 32768 /* a smaller body is copied: its buffer may be much larger */

struct recent_block;

struct recent {
	struct recent_block *blocks; /* a ring; bodies are owned */
	size_t first;
	size_t count;
	size_t bytes;
	uint64_t from; /* cursors from here on are served from memory */
	uint64_t end;  /* behind the newest block */
};

/* end: the journal's. */
void recent_init(struct recent *r, uint64_t end);
void recent_fini(struct recent *r);
/* Keeps b; the oldest ones make room. b's body lies in *owner, whose memory is taken over if that is less than a copy: then
 * *owner is an empty buffer after it. */
void recent_add(struct recent *r, const struct block *b, struct buf *owner);
/* Forgets the blocks before the cursor. */
void recent_forget(struct recent *r, uint64_t cursor);
/* The first block at or behind the cursor, valid until the next recent_add(). NULL: it is not in memory, or there is none
 * (cursor >= end). */
const struct block *recent_find(const struct recent *r, uint64_t cursor);

#endif
