/* history_block.c - a block codec's memory and its tables of powers; pure */
#include "history_block.h"

#include <stdlib.h>

#include "err.h"
#include "history_codec.h"
#include "mem.h"

const double history_power10[SCALE_COUNT] = { 1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9,
	1e10, 1e11, 1e12, 1e13, 1e14, 1e15 };
const int64_t history_ipower10[SCALE_COUNT] = { 1, 10, 100, 1000, 10000, 100000, 1000000, 10000000,
	100000000, 1000000000, 10000000000, 100000000000, 1000000000000, 10000000000000,
	100000000000000, 1000000000000000 };
const int64_t history_units[UNIT_COUNT] = { 1, 1000, 1000000, 60000000 };

struct history_codec *
history_codec_new(void)
{
	struct history_codec *c = xcalloc(1, sizeof(*c));

	c->cctx = ZSTD_createCCtx();
	c->dctx = ZSTD_createDCtx();
	ASSERT(c->cctx != NULL && c->dctx != NULL);
	return c;
}

void
history_codec_free(struct history_codec **c)
{
	if (*c == NULL)
		return;
	ZSTD_freeCCtx((*c)->cctx);
	ZSTD_freeDCtx((*c)->dctx);
	buf_fini(&(*c)->body);
	buf_fini(&(*c)->deltas);
	buf_fini(&(*c)->packed);
	history_points_fini(&(*c)->out);
	free(*c);
	*c = NULL;
}
