/* test_segment.c - the reader of a segment's file, over files that are shorter, emptier or less readable than was said */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../unit.h"
#include "err.h"
#include "mem.h"
#include "segment.h"

#define BASE 4096u

static int
file_of(const void *data, size_t len)
{
	int fd = memfd_create("segment", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, data, len), (ssize_t)len);
	return fd;
}

static void
make_block(struct buf *b, uint64_t offset)
{
	block_begin(b);
	entry_put(b, &(struct entry){ .kind = ENTRY_READINGS,
			 .stream = 1,
			 .seq = 2,
			 .body = bytes_of_str("twenty degrees") });
	block_seal(b, offset, 5, 1);
}

/* A file that was cut after its length was learnt: what is missing is damage, up to where it was said to end. */
START_TEST(cut_file)
{
	const size_t used = BLOCK_HEADER_SIZE + ENTRY_HEADER_SIZE + strlen("twenty degrees");
	struct buf b = { 0 };
	struct block got;

	make_block(&b, BASE);
	for (size_t len = 0; len < used; len++) {
		struct segment_reader r;
		int fd = file_of(b.data, len);

		segment_reader_init(&r, fd, BASE, b.len + 1000, SEGMENT_LIMIT_EXACT);
		ck_assert_int_eq(segment_next(&r, &got), ERR_DAMAGED);
		ck_assert_uint_eq(got.offset, BASE);
		ck_assert_uint_eq(got.next, BASE + b.len + 1000);
		ck_assert_int_eq(segment_next(&r, &got), ERR_NOT_FOUND);
		segment_reader_fini(&r);
		close(fd);
	}
	buf_fini(&b);
}
END_TEST

/* A torn block before zeros that were written ahead: damage ends with its last byte, and nothing is behind it. */
START_TEST(torn_before_many_zeros)
{
	size_t len = 3 * SEGMENT_READ_CHUNK;
	uint8_t *data = xcalloc(1, len);
	struct segment_reader r;
	struct block got;
	int fd;

	memset(data, 0x55, 100);
	fd = file_of(data, len);
	segment_reader_init(&r, fd, BASE, len, SEGMENT_LIMIT_OPEN);
	ck_assert_int_eq(segment_next(&r, &got), ERR_DAMAGED);
	ck_assert_uint_eq(got.next, BASE + 100);
	ck_assert_int_eq(segment_next(&r, &got), ERR_NOT_FOUND);
	segment_reader_fini(&r);
	close(fd);
	free(data);
}
END_TEST

START_TEST(data_behind_the_limit_only)
{
	int fd = memfd_create("segment", MFD_CLOEXEC);
	struct segment_reader r;
	struct block got;

	ck_assert_int_eq(pwrite(fd, "x", 1, 1 << 20), 1);
	segment_reader_init(&r, fd, BASE, 65536, SEGMENT_LIMIT_OPEN);
	ck_assert_int_eq(segment_next(&r, &got), ERR_NOT_FOUND);
	segment_reader_fini(&r);
	close(fd);
}
END_TEST

/* What cannot be read at all reads as zeros, and is counted. */
START_TEST(unreadable)
{
	struct segment_reader r;
	struct block got;
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	segment_reader_init(&r, ends[0], BASE, 10000, SEGMENT_LIMIT_OPEN);
	ck_assert_int_eq(segment_next(&r, &got), ERR_NOT_FOUND);
	ck_assert_uint_eq(r.unreadable, 10000);
	segment_reader_fini(&r);
	segment_reader_init(&r, ends[0], BASE, 10000, SEGMENT_LIMIT_EXACT);
	ck_assert_int_eq(segment_next(&r, &got), ERR_DAMAGED);
	ck_assert_uint_eq(got.next, BASE + 10000);
	segment_reader_fini(&r);
	close(ends[0]);
	close(ends[1]);
}
END_TEST

UNIT_MAIN("segment", cut_file, torn_before_many_zeros, data_behind_the_limit_only, unreadable)
