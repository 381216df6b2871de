/* segment.h - reading one segment file block by block, stepping over damage */
#ifndef ROOST_STORAGE_SEGMENT_H
#define ROOST_STORAGE_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "block.h"
#include "buf.h"

#define SEGMENT_READ_CHUNK 262144

enum segment_limit {
	SEGMENT_LIMIT_EXACT, /* the last block ended there: whatever is not a block before it is damage */
	SEGMENT_LIMIT_OPEN, /* the file may end earlier, in zeros */
};

struct segment_reader {
	int fd;
	uint64_t base;
	uint64_t at;	/* place in the file of the next block */
	uint64_t limit; /* nothing is read from here on */
	enum segment_limit limit_kind;
	size_t chunk; /* least that is read at once; SEGMENT_READ_CHUNK unless changed after init */
	struct buf window; /* bytes of the file from window_at */
	uint64_t window_at;
	uint64_t unreadable; /* bytes that the disk would not give; they read as zeros */
};

/* fd stays the caller's. */
void segment_reader_init(
    struct segment_reader *r, int fd, uint64_t base, uint64_t limit, enum segment_limit kind);
void segment_reader_fini(struct segment_reader *r);
/* 0 and the next block, whose body is valid until the next call; ERR_DAMAGED: [offset, next) of ret_block is not readable
 * as blocks, go on; ERR_NOT_FOUND: the end. What is damaged and has no block behind it in a SEGMENT_LIMIT_OPEN file is a
 * torn tail; the caller sees that by ERR_NOT_FOUND following. */
int segment_next(struct segment_reader *r, struct block *ret_block);

#endif
