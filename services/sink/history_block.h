/* history_block.h - up to HISTORY_BLOCK_POINTS_MAX points of one series <-> a few bytes a point; pure
 *
 *   block   := version u8 (2), flags u8 (1: body is zstd), n varint, [body length varint if zstd], body, check u32
 *   body    := kinds u8, times, [kind of each], columns
 *   kinds   low four bits 0..3: all of this enum value_kind; 4: numbers, of which the whole ones are ints (what JSON makes of
 *           a decimal metric); 5: two bits a point follow the times; high four bits: the unit of time, 0 us, 1 ms, 2 s, 3 min
 *   times   first / unit zigzag varint, [step varint, numbers of the differences / step] if n > 1
 *   columns, each over the points of its kind and only if there are any: doubles (kinds 4: all points), ints, bools, strings
 *   doubles u8: low four bits: scale, decimals: high four bits: coding of the numbers below; exceptions varint,
 *           (index delta varint, zigzag varint how many doubles beside value * 10^scale; 0: none, 8 bytes are the value) each;
 *           then numbers, value * 10^scale; 255: each one XOR the one before, as 8 planes of bytes, lowest first
 *   ints    numbers
 *   bools   a bit each
 *   strings varint: 0 as the one before, else length + 1 and the bytes
 *   numbers coding u8 (not of decimals), then by it, modulo 2^64; history_numbers.h
 *   check   low 32 bits of XXH3 over all before it
 *
 * All numbers little-endian. A value comes back bit for bit as it was: what is no decimal of this scale is an exception, and
 * one that is the neighbour of a decimal, as arithmetic leaves them (74.93588199999998), costs two bytes.
 *
 * Version 1 is still read: body := unit u8, kinds u8, times, [kind of each], columns; times: first / unit, then deltas of
 * deltas, zigzag varints; decimals: scale u8, exceptions varint, (index delta varint, 8 bytes) each, zigzag varint deltas of the
 * others; ints: zigzag varint deltas. */
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
