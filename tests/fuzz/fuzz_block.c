/* fuzz_block.c - bytes of a segment file, and of a block's body, as recovery reads them */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "err.h"
#include "segment.h"
#include "shard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BASE 4096

/* Blocks come in order and lie inside the file, whatever is in it. */
static void
read_segment(const uint8_t *data, size_t size, enum segment_limit kind)
{
	int fd = memfd_create("segment", MFD_CLOEXEC);
	struct segment_reader r;
	uint64_t at = BASE;
	struct block b;
	int rc;

	ASSERT(fd >= 0);
	ASSERT(write(fd, data, size) == (ssize_t)size);
	segment_reader_init(&r, fd, BASE, size, kind);
	while ((rc = segment_next(&r, &b)) != ERR_NOT_FOUND) {
		ASSERT(rc == 0 || rc == ERR_DAMAGED);
		ASSERT(b.offset >= at && b.next > b.offset && b.next <= BASE + size);
		at = b.next;
	}
	segment_reader_fini(&r);
	close(fd);
}

/* The same bytes as the body of a good block. */
static void
replay_body(const uint8_t *data, size_t size)
{
	struct block b = {
		.offset = BASE, .next = BASE + 8, .time = 1, .body = bytes_of(data, size)
	};
	struct shard s = { .config = { .partitions = 16, .shards = 1 } };

	stream_table_init(&s.streams, 0, 16);
	dedup_init(&s.dedup, 8, 1000);
	shard_replay(&s, &b, JOURNAL_REPLAY_WARM);
	shard_replay(&s, &b, JOURNAL_REPLAY_PARTIAL);
	shard_replay(&s, &b, JOURNAL_REPLAY_FULL);
	stream_table_fini(&s.streams);
	dedup_fini(&s.dedup);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	read_segment(data, size, SEGMENT_LIMIT_OPEN);
	read_segment(data, size, SEGMENT_LIMIT_EXACT);
	replay_body(data, size);
	if (size > BLOCK_HEADER_SIZE)
		replay_body(data + BLOCK_HEADER_SIZE, size - BLOCK_HEADER_SIZE);
	return 0;
}
