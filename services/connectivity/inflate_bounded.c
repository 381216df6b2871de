/* inflate_bounded.c - content encodings taken off piece by piece, never further than agreed; pure */
#include "inflate_bounded.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "err.h"
#include "mem.h"

#define STEP 16384 /* bytes of output between two looks at the bounds */
#define GZIP_WINDOW (15 + 16)
#define ZSTD_WINDOW_LOG_MAX 23

struct inflate {
	enum inflate_coding coding;
	size_t bytes_max;
	uint64_t ratio_max;
	uint64_t taken, given;
	z_stream gzip;
	ZSTD_DCtx *zstd;
	bool open; /* a member or frame has begun and not ended */
	int err;
	const char *why;
};

struct inflate *
inflate_new(enum inflate_coding coding, size_t bytes_max, unsigned ratio_max)
{
	struct inflate *z = xcalloc(1, sizeof(*z));
	bool ready = false;

	z->coding = coding;
	z->bytes_max = bytes_max;
	z->ratio_max = ratio_max;
	switch (coding) {
	case INFLATE_GZIP:
		ready = inflateInit2(&z->gzip, GZIP_WINDOW) == Z_OK;
		break;
	case INFLATE_ZSTD:
		z->zstd = ZSTD_createDCtx();
		ready = z->zstd && !ZSTD_isError(ZSTD_DCtx_setParameter(
				       z->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX));
		break;
	}
	if (!ready)
		abort(); /* out of memory, as in mem.c */
	return z;
}

void
inflate_free(struct inflate **z)
{
	if (!*z)
		return;
	if ((*z)->coding == INFLATE_GZIP)
		inflateEnd(&(*z)->gzip);
	ZSTD_freeDCtx((*z)->zstd);
	free(*z);
	*z = NULL;
}

static int
fail(struct inflate *z, int err, const char *why)
{
	z->err = err;
	z->why = why;
	return err;
}

/* One step: takes from *in, puts up to room bytes at out. ret_more: there may be more output without more input. */
static int
gzip_step(struct inflate *z, struct bytes *in, uint8_t *out, size_t room, size_t *ret_got)
{
	size_t piece = in->len < STEP ? in->len : STEP;
	int rc;

	if (!z->open) {
		if (inflateReset(&z->gzip) != Z_OK)
			return fail(z, ERR_MALFORMED, "the gzip member cannot be read");
		z->open = true;
	}
	z->gzip.next_in = (z_const Bytef *)(uintptr_t)in->data;
	z->gzip.avail_in = (uInt)piece;
	z->gzip.next_out = out;
	z->gzip.avail_out = (uInt)room;
	rc = inflate(&z->gzip, Z_NO_FLUSH);
	piece -= z->gzip.avail_in;
	*in = bytes_of(in->data + piece, in->len - piece);
	z->taken += piece;
	*ret_got = room - z->gzip.avail_out;
	if (rc == Z_STREAM_END)
		z->open = false;
	else if (rc != Z_OK && rc != Z_BUF_ERROR)
		return fail(z, ERR_MALFORMED, "the body is not gzip, or damaged");
	return 0;
}

static int
zstd_step(struct inflate *z, struct bytes *in, uint8_t *out, size_t room, size_t *ret_got)
{
	ZSTD_inBuffer from = { in->data, in->len < STEP ? in->len : STEP, 0 };
	ZSTD_outBuffer to = { out, room, 0 };
	size_t rc = ZSTD_decompressStream(z->zstd, &to, &from);

	*in = bytes_of(in->data + from.pos, in->len - from.pos);
	z->taken += from.pos;
	*ret_got = to.pos;
	if (ZSTD_isError(rc))
		return ZSTD_getErrorCode(rc) == ZSTD_error_frameParameter_windowTooLarge
			   ? fail(z, ERR_TOO_BIG, "the zstd window is larger than 8 MiB")
			   : fail(z, ERR_MALFORMED, "the body is not zstd, or damaged");
	z->open = rc != 0;
	return 0;
}

static int
check_bounds(struct inflate *z)
{
	if (z->given > z->bytes_max)
		return fail(z, ERR_TOO_BIG, "the body is too long once it is decompressed");
	if (z->given > INFLATE_RATIO_FROM && z->given / z->ratio_max >= z->taken)
		return fail(z, ERR_TOO_BIG,
		    "the body grows too much while it is decompressed: send it in parts");
	return 0;
}

int
inflate_feed(struct inflate *z, struct bytes in, struct buf *out, const char **ret_why)
{
	size_t got = STEP;

	while (!z->err && (in.len || (z->open && got == STEP))) {
		uint8_t *at = buf_reserve(out, STEP);

		if (!at) {
			fail(z, ERR_TOO_BIG, "the body is too long once it is decompressed");
			break;
		}
		if ((z->coding == INFLATE_GZIP ? gzip_step(z, &in, at, STEP, &got)
					       : zstd_step(z, &in, at, STEP, &got)) != 0)
			break;
		z->given += got;
		out->len += got;
		(void)check_bounds(z);
	}
	if (z->err)
		*ret_why = z->why;
	return z->err;
}

int
inflate_end(struct inflate *z, const char **ret_why)
{
	if (!z->err && (z->open || z->taken == 0))
		fail(z, ERR_MALFORMED, "the compressed body ends too early");
	if (z->err)
		*ret_why = z->why;
	return z->err;
}
