/* history_numbers.h - whole numbers of one column <-> bits; pure
 *
 *   0 deltas  zigzag varints of the differences, the first from 0: what zstd is then good at
 *   1 runs    first zigzag varint, then (how many more of the same varint, zigzag difference to the next varint), the last
 *             without its difference
 *   2 rice 0  least zigzag varint, then what each has above it
 *   3 rice 1  first zigzag varint, then zigzag differences
 *   4 rice 2  first zigzag varint, then zigzag differences of differences, the first from 0
 *
 * rice: k u8 (0..63), then bits, the lowest of a byte first: of each number v >> k ones, a zero and the low k bits; 24 ones:
 * the 64 bits of v follow instead. Where numbers fall off geometrically, as differences mostly do, that is within a few
 * percent of their entropy, at a few instructions a number. Arithmetic is modulo 2^64. */
#ifndef ROOST_HISTORY_NUMBERS_H
#define ROOST_HISTORY_NUMBERS_H

#include "buf.h"
#include "history_bytes.h"

#define NUMBERS_MAX 1000 /* of one column */

enum numbers_coding {
	NUMBERS_DELTAS,
	NUMBERS_RUNS,
	NUMBERS_RICE_0,
	NUMBERS_RICE_1,
	NUMBERS_RICE_2,
	NUMBERS_CODING_COUNT
};

/* How a column of n numbers is written, and in about how many bits. */
struct numbers_plan {
	enum numbers_coding coding;
	unsigned k;
	size_t bits;
};

/* n: 1..NUMBERS_MAX, here and below */
struct numbers_plan history_numbers_plan(const uint64_t *v, size_t n);
void history_numbers_put(
    const uint64_t *v, size_t n, const struct numbers_plan *plan, struct buf *b);
/* r fails if they are not all there, or the coding is none. */
void history_numbers_get(struct reader *r, unsigned coding, uint64_t *ret, size_t n);

#endif
