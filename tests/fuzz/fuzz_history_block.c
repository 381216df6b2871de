/* fuzz_history_block.c - history's block decoder on any bytes; what it accepts survives encoding and decoding again */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "err.h"
#include "history_block.h"
#include "mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct history_codec *codec;
	struct history_points points = { 0 }, again = { 0 };
	struct buf block = { 0 };
	uint64_t check;

	if (codec == NULL)
		codec = history_codec_new();
	/* The check is made to fit, so that the search gets behind it. */
	check = XXH3_64bits(data, size);
	buf_add(&block, data, size);
	for (unsigned i = 0; i < 4; i++)
		buf_add_u8(&block, (uint8_t)(check >> (8 * i)));
	if (history_block_decode(codec, buf_bytes(&block), &points) == 0 &&
	    history_points_bytes(&points, 0, points.n) <= HISTORY_BLOCK_BODY_MAX) {
		buf_clear(&block);
		history_block_encode(codec, &points, 0, points.n, &block);
		ASSERT(history_block_decode(codec, buf_bytes(&block), &again) == 0);
		ASSERT(again.n == points.n);
		for (size_t i = 0; i < points.n; i++) {
			struct value a = history_points_value(&points, i),
				     b = history_points_value(&again, i);

			ASSERT(points.at[i].time == again.at[i].time && a.kind == b.kind);
			ASSERT(a.kind == VALUE_STRING ? bytes_equal(a.v.s, b.v.s)
			       : a.kind == VALUE_BOOL ? a.v.b == b.v.b
						      : a.v.i == b.v.i);
		}
	}
	buf_fini(&block);
	history_points_fini(&points);
	history_points_fini(&again);
	return 0;
}
