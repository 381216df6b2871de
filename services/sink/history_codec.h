/* history_codec.h - what the block encoder and decoder share; for history_block.c, history_encode.c and history_decode.c */
#ifndef ROOST_HISTORY_CODEC_H
#define ROOST_HISTORY_CODEC_H

#include <zstd.h>

#include "history_block.h"
#include "history_numbers.h"

#define BLOCK_VERSION 2 /* what is written; BLOCK_VERSION_1 is read */
#define BLOCK_VERSION_1 1
#define BLOCK_ZSTD 1u
#define BLOCK_CHECK_SIZE 4
#define SCALE_MAX 15
#define SCALE_COUNT (SCALE_MAX + 1)
#define SCALE_NONE 255
#define MANTISSA_MAX ((int64_t)1 << 53)
_Static_assert(HISTORY_BLOCK_POINTS_MAX <= NUMBERS_MAX, "a column is no longer than its block");

#define UNIT_COUNT 4
#define UNIT_COUNT_1 3 /* of version 1 */

enum kinds { KINDS_NUMBERS = 4, KINDS_EACH = 5 };

struct history_codec {
	ZSTD_CCtx *cctx;
	ZSTD_DCtx *dctx;
	struct buf body;
	struct buf deltas; /* a body whose numbers are made for zstd */
	struct buf packed;
	struct history_points out;
	int64_t beside[HISTORY_BLOCK_POINTS_MAX];
	bool is_set[HISTORY_BLOCK_POINTS_MAX];
	uint64_t numbers[HISTORY_BLOCK_POINTS_MAX];
	double f[HISTORY_BLOCK_POINTS_MAX];
	int64_t mantissa[HISTORY_BLOCK_POINTS_MAX];
	uint8_t scale[HISTORY_BLOCK_POINTS_MAX];	/* least exact one, SCALE_NONE if there is none */
};

extern const double history_power10[SCALE_COUNT];
extern const int64_t history_ipower10[SCALE_COUNT];
extern const int64_t history_units[UNIT_COUNT];	/* us */

#endif
