/* fuzz_inflate.c - content encodings of any bytes: within the bounds, and the same in pieces of any size
 *
 * The first byte chooses the coding, the second the size of the pieces. */
#include <stdint.h>
#include <string.h>

#include "err.h"
#include "inflate_bounded.h"

#define MAX 200000
#define RATIO 20

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int
run(enum inflate_coding coding, struct bytes in, size_t piece, struct buf *out)
{
	struct inflate *z = inflate_new(coding, MAX, RATIO);
	const char *why = NULL;
	size_t room = 2 * 16384 + INFLATE_RATIO_FROM;
	int err = 0;

	buf_clear(out);
	for (size_t at = 0; at < in.len && !err; at += piece) {
		size_t n = in.len - at < piece ? in.len - at : piece;

		err = inflate_feed(z, bytes_of(in.data + at, n), out, &why);
		ASSERT(out->len <= MAX + 16384 && out->len <= room + in.len * RATIO);
	}
	if (!err)
		err = inflate_end(z, &why);
	ASSERT(err == 0 || ((err == ERR_MALFORMED || err == ERR_TOO_BIG) && why));
	inflate_free(&z);
	return err;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct buf whole, pieces;
	enum inflate_coding coding;
	struct bytes in;

	if (size < 3)
		return 0;
	coding = data[0] & 1 ? INFLATE_ZSTD : INFLATE_GZIP;
	in = bytes_of(data + 2, size - 2);
	if (run(coding, in, in.len, &whole) == 0 && run(coding, in, data[1] + 1u, &pieces) == 0)
		ASSERT(bytes_equal(buf_bytes(&whole), buf_bytes(&pieces)));
	return 0;
}
