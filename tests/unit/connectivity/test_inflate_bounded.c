/* test_inflate_bounded.c - content encodings: piece by piece, bounded, whole or not */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "err.h"
#include "inflate_bounded.h"
#include "mem.h"
#include "../unit.h"

#define MAX 1000000
#define RATIO 200

static struct buf text, packed;

static void
gzip_add(struct buf *out, struct bytes in)
{
	z_stream z = { 0 };
	uLong most;

	ck_assert_int_eq(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
	most = deflateBound(&z, in.len);
	z.next_out = buf_reserve(out, most);
	z.avail_out = (uInt)most;
	z.next_in = (z_const Bytef *)(uintptr_t)in.data;
	z.avail_in = (uInt)in.len;
	ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
	out->len += most - z.avail_out;
	deflateEnd(&z);
}

static void
zstd_add(struct buf *out, struct bytes in)
{
	size_t most = ZSTD_compressBound(in.len);

	out->len += ZSTD_compress(buf_reserve(out, most), most, in.data, in.len, 3);
}

static void
add(enum inflate_coding coding, struct bytes in)
{
	if (coding == INFLATE_GZIP)
		gzip_add(&packed, in);
	else
		zstd_add(&packed, in);
}

static void
setup(void)
{
	for (int i = 0; i < 3000; i++)
		buf_addf(
		    &text, "{\"device\":\"gh-%d\",\"t\":%d.%d}\n", i * 7919 % 97, i % 40, i % 10);
}

static void
teardown(void)
{
	buf_fini(&text);
	buf_fini(&packed);
}

/* Feeds in pieces; 0 if all of it is there and whole. */
static int
inflate_in(enum inflate_coding coding, struct bytes in, size_t piece, struct buf *out,
    const char **ret_why)
{
	struct inflate *z = inflate_new(coding, MAX, RATIO);
	int err = 0;

	for (size_t at = 0; at < in.len && !err; at += piece) {
		size_t n = in.len - at < piece ? in.len - at : piece;
		uint8_t *copy = xmemdup(in.data + at, n);

		err = inflate_feed(z, bytes_of(copy, n), out, ret_why);
		free(copy);
	}
	if (!err)
		err = inflate_end(z, ret_why);
	else
		ck_assert_int_eq(inflate_end(z, ret_why), err);
	inflate_free(&z);
	ck_assert_ptr_null(z);
	inflate_free(&z);
	return err;
}

START_TEST(test_pieces)
{
	static const size_t pieces[] = { 1, 7, 1000, 1000000 };
	const char *why;

	for (enum inflate_coding c = INFLATE_GZIP; c <= INFLATE_ZSTD; c++) {
		buf_clear(&packed);
		add(c, buf_bytes(&text));
		/* A second member or frame goes on. */
		add(c, bytes_of_str("the end"));
		for (size_t i = 0; i < COUNT_OF(pieces); i++) {
			struct buf out = { 0 };

			ck_assert_int_eq(
			    inflate_in(c, buf_bytes(&packed), pieces[i], &out, &why), 0);
			ck_assert_uint_eq(out.len, text.len + 7);
			ck_assert(memcmp(out.data, text.data, text.len) == 0);
			ck_assert(memcmp(out.data + text.len, "the end", 7) == 0);
			buf_fini(&out);
		}
	}
}
END_TEST

START_TEST(test_not_whole)
{
	const char *why = NULL;

	for (enum inflate_coding c = INFLATE_GZIP; c <= INFLATE_ZSTD; c++) {
		buf_clear(&packed);
		add(c, bytes_of_str("some bytes that are compressed"));
		for (size_t n = 0; n < packed.len; n++) {
			struct buf out = { 0 };

			ck_assert_int_eq(
			    inflate_in(c, bytes_of(packed.data, n), 5, &out, &why), ERR_MALFORMED);
			ck_assert_ptr_nonnull(why);
			buf_fini(&out);
		}
	}
}
END_TEST

START_TEST(test_damaged)
{
	const char *why = NULL;
	unsigned refused = 0;

	for (enum inflate_coding c = INFLATE_GZIP; c <= INFLATE_ZSTD; c++) {
		buf_clear(&packed);
		add(c, bytes_of(text.data, 500));
		for (size_t i = 0; i < packed.len; i++) {
			struct buf out = { 0 };

			packed.data[i] ^= 0x10;
			refused += inflate_in(c, buf_bytes(&packed), 1000, &out, &why) != 0;
			packed.data[i] ^= 0x10;
			buf_fini(&out);
		}
		buf_add_str(&packed, "behind");
		ck_assert_int_eq(
		    inflate_in(c, buf_bytes(&packed), 1000, &text, &why), ERR_MALFORMED);
	}
	ck_assert_uint_gt(refused, 100);
	buf_clear(&text);
	ck_assert_int_eq(
	    inflate_in(INFLATE_GZIP, bytes_of_str("{\"t\":1}"), 100, &text, &why), ERR_MALFORMED);
	ck_assert_str_eq(why, "the body is not gzip, or damaged");
	ck_assert_int_eq(
	    inflate_in(INFLATE_ZSTD, bytes_of_str("{\"t\":1}"), 100, &text, &why), ERR_MALFORMED);
	ck_assert_str_eq(why, "the body is not zstd, or damaged");
}
END_TEST

START_TEST(test_bombs)
{
	size_t size = 64u << 20;
	uint8_t *zeros = xcalloc(1, size);
	const char *why = NULL;

	for (enum inflate_coding c = INFLATE_GZIP; c <= INFLATE_ZSTD; c++) {
		struct buf out = { 0 };

		buf_clear(&packed);
		add(c, bytes_of(zeros, size));
		ck_assert_int_eq(inflate_in(c, buf_bytes(&packed), 100, &out, &why), ERR_TOO_BIG);
		ck_assert_str_eq(
		    why, "the body grows too much while it is decompressed: send it in parts");
		/* One step beyond the bound at most. */
		ck_assert_uint_le(out.len, INFLATE_RATIO_FROM + 200 * RATIO + 16384);
		buf_clear(&out);
		buf_clear(&packed);
		for (size_t i = 0; i < MAX / text.len + 1; i++)
			add(c, buf_bytes(&text));
		ck_assert_int_eq(
		    inflate_in(c, buf_bytes(&packed), 100000, &out, &why), ERR_TOO_BIG);
		ck_assert_str_eq(why, "the body is too long once it is decompressed");
		ck_assert_uint_le(out.len, MAX + 16384);
		buf_fini(&out);
	}
	free(zeros);
}
END_TEST

START_TEST(test_window)
{
	/* A frame of unknown size whose window is 128 MiB. */
	static const char frame[] = "\x28\xb5\x2f\xfd\x00\x88\x01\x00\x00";
	const char *why = NULL;

	ck_assert_int_eq(
	    inflate_in(INFLATE_ZSTD, bytes_of(frame, sizeof(frame) - 1), 100, &text, &why),
	    ERR_TOO_BIG);
	ck_assert_str_eq(why, "the zstd window is larger than 8 MiB");
}
END_TEST

START_TEST(test_output_with_a_maximum)
{
	struct inflate *z = inflate_new(INFLATE_GZIP, MAX, RATIO);
	const char *why = NULL;
	struct buf out;

	buf_init(&out, 20000);
	add(INFLATE_GZIP, buf_bytes(&text));
	ck_assert_int_eq(inflate_feed(z, buf_bytes(&packed), &out, &why), ERR_TOO_BIG);
	ck_assert_uint_le(out.len, 20000);
	inflate_free(&z);
	buf_fini(&out);
}
END_TEST

UNIT_MAIN_IN("inflate_bounded", setup, teardown, test_pieces, test_not_whole, test_damaged,
    test_bombs, test_window, test_output_with_a_maximum)
