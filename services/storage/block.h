/* block.h - one block of the journal: encode and verify; pure
 *
 * A block is what one group commit wrote. All numbers are little-endian:
 *
 *    0  magic        u32   "RBK1"
 *    4  version      u16   1
 *    6  header size  u16   48
 *    8  length       u32   bytes of the body
 *   12  entries      u32   entries in the body (entry.h)
 *   16  offset       u64   where this block starts in its shard: segment base + place in the file
 *   24  time         i64   journal time, us since the Unix epoch; never goes back
 *   32  body hash    u64   XXH3 of the body
 *   40  header hash  u64   XXH3 of bytes 0..39
 *   48  body, then zeros up to a multiple of 8
 *
 * The header has a hash of its own so that a damaged body can be stepped over by its length: bytes inside a body, which
 * devices choose, are then never taken for a header. Only where a header itself is damaged is the next one searched for, at
 * multiples of 8, and it counts only with the right hash and with the offset of the very place where it stands. */
#ifndef ROOST_STORAGE_BLOCK_H
#define ROOST_STORAGE_BLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "entry.h"

#define BLOCK_HEADER_SIZE 48
#define BLOCK_ALIGN 8
#define BLOCK_VERSION 1
#define BLOCK_BODY_MAX (ENTRY_BODY_MAX + 4096)

struct block {
	uint64_t offset;
	uint64_t next; /* where it ends: the cursor behind it */
	int64_t time;
	uint32_t entries;
	struct bytes body;
};

struct block_header {
	uint32_t length;
	uint32_t entries;
	uint64_t offset;
	int64_t time;
	uint64_t body_hash;
};

/* Bytes that a block with this body takes in the file. */
uint64_t block_size(uint64_t body_len);

/* Building: begin leaves room for the header in an empty buf, the caller adds entries behind it, seal fills in the rest. */
void block_begin(struct buf *b);
void block_seal(struct buf *b, uint64_t offset, int64_t time, uint32_t entries);

/* Reads the header that should stand at this offset. ERR_SHORT: fewer bytes than a header; ERR_DAMAGED: no header of ours. */
int block_header_read(struct bytes at, uint64_t offset, struct block_header *ret_header);
bool block_body_matches(const struct block_header *h, struct bytes body);
struct block block_of(const struct block_header *h, struct bytes body);

/* The first place in [from, data.len) where a header of this offset base (data[0] has offset base) stands, or data.len. */
size_t block_find(struct bytes data, uint64_t base, size_t from);

#endif
