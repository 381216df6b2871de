/* history_block.h - up to HISTORY_BLOCK_POINTS_MAX points of one series <-> a few bytes a point; pure
 *
 *   block   := version u8 (1), flags u8 (1: body is zstd), n varint, [body length varint if zstd], body, check u32
 *   body    := unit u8, kinds u8, times, [kind of each], columns
 *   unit    0 us, 1 ms, 2 s: the largest that divides every time
 *   times   first / unit, then deltas of deltas: zigzag varints
 *   kinds   0..3: all of this enum value_kind; 4: numbers, of which the whole ones are ints (what JSON makes of a decimal
 *           metric); 5: two bits a point follow the times
 *   columns, each over the points of its kind and only if there are any: doubles (kinds 4: all points), ints, bools, strings
 *   doubles scale u8: 0..15: decimals: exceptions varint, (index delta varint, 8 bytes) each, then zigzag varint deltas of
 *           value * 10^scale; 255: each one XOR the one before, as 8 planes of bytes, lowest first
 *   ints    zigzag varint deltas, modulo 2^64
 *   bools   a bit each
 *   strings varint: 0 as the one before, else length + 1 and the bytes
 *   check   low 32 bits of XXH3 over all before it
 *
 * All numbers little-endian. A value comes back bit for bit as it was: a scale is used for a value only where dividing
 * gives exactly it. */
#ifndef ROOST_HISTORY_BLOCK_H
#define ROOST_HISTORY_BLOCK_H

#include "buf.h"
#include "history_points.h"

#define HISTORY_BLOCK_POINTS_MAX 1000
#define HISTORY_BLOCK_BODY_MAX ((size_t)1 << 20)	/* uncompressed; what a writer may put into one block */

struct history_codec;	/* scratch memory and compression contexts */

struct history_codec *history_codec_new(void);
void history_codec_free(struct history_codec **c);

/* Appends the block of p's points from..from+n to out. n: 1..HISTORY_BLOCK_POINTS_MAX, and history_points_bytes() of
 * them at most HISTORY_BLOCK_BODY_MAX. */
void history_block_encode(struct history_codec *c, const struct history_points *p, size_t from, size_t n, struct buf *out);
/* Appends the block's points to ret_points. ERR_DAMAGED: the check fails; ERR_UNSUPPORTED: a later version;
 * ERR_MALFORMED, ERR_TOO_BIG: not our shape. ret_points is then as it was. */
int history_block_decode(struct history_codec *c, struct bytes block, struct history_points *ret_points);

#endif
