/* history_codec.h - what the block encoder and decoder share; for history_block.c, history_encode.c and history_decode.c */
#ifndef ROOST_HISTORY_CODEC_H
#define ROOST_HISTORY_CODEC_H

#include <zstd.h>

#include "history_block.h"

#define BLOCK_VERSION 1
#define BLOCK_ZSTD 1u
#define BLOCK_CHECK_SIZE 4
#define SCALE_MAX 15
#define SCALE_COUNT (SCALE_MAX + 1)
#define SCALE_NONE 255
#define MANTISSA_MAX ((int64_t)1 << 53)
#define UNIT_COUNT 3

enum kinds { KINDS_NUMBERS = 4, KINDS_EACH = 5 };

struct history_codec {
	ZSTD_CCtx *cctx;
	ZSTD_DCtx *dctx;
	struct buf body;
	struct buf packed;
	struct history_points out;
	int64_t mantissa[HISTORY_BLOCK_POINTS_MAX];
	uint8_t scale[HISTORY_BLOCK_POINTS_MAX];	/* least exact one, SCALE_NONE if there is none */
};

extern const double history_power10[SCALE_COUNT];
extern const int64_t history_ipower10[SCALE_COUNT];
extern const int64_t history_units[UNIT_COUNT];	/* us */

#endif
