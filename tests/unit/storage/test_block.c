/* test_block.c - a block is accepted only as it was written */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "../unit.h"
#include "block.h"
#include "err.h"
#include "le.h"

#define OFFSET 4096

static void
make_block(struct buf *b, const char *text)
{
	struct entry e = { .kind = ENTRY_READINGS,
		.partition = 3,
		.stream = 7,
		.seq = 9,
		.body = bytes_of_str(text) };

	block_begin(b);
	entry_put(b, &e);
	block_seal(b, OFFSET, 1234567, 1);
}

static bool
accepted(struct bytes data, struct block *ret_block)
{
	struct block_header h;
	struct bytes body;

	if (block_header_read(data, OFFSET, &h) != 0)
		return false;
	if (data.len - BLOCK_HEADER_SIZE < h.length)
		return false;
	body = bytes_of(data.data + BLOCK_HEADER_SIZE, h.length);
	if (!block_body_matches(&h, body))
		return false;
	*ret_block = block_of(&h, body);
	return true;
}

START_TEST(test_round_trip)
{
	static const char *const texts[] = { "", "x", "12345678", "a longer text than the others" };
	struct buf b = { 0 };
	struct block got;
	struct entry e;
	struct bytes rest;

	make_block(&b, texts[_i]);
	ck_assert(b.len % BLOCK_ALIGN == 0);
	ck_assert_uint_eq(b.len, block_size(ENTRY_HEADER_SIZE + strlen(texts[_i])));
	ck_assert(accepted(buf_bytes(&b), &got));
	ck_assert_uint_eq(got.offset, OFFSET);
	ck_assert_uint_eq(got.next, OFFSET + b.len);
	ck_assert_int_eq(got.time, 1234567);
	ck_assert_uint_eq(got.entries, 1);
	rest = got.body;
	ck_assert_int_eq(entry_next(&rest, &e), 0);
	ck_assert(bytes_equal_str(e.body, texts[_i]));
	ck_assert_uint_eq(e.seq, 9);
	ck_assert_int_eq(entry_next(&rest, &e), ERR_NOT_FOUND);
	buf_fini(&b);
}
END_TEST

START_TEST(test_every_flipped_bit_is_refused)
{
	struct buf b = { 0 };
	struct block got;
	size_t i, used;
	unsigned bit;

	make_block(&b, "twenty degrees");
	used = BLOCK_HEADER_SIZE + ENTRY_HEADER_SIZE + strlen("twenty degrees");
	for (i = 0; i < used; i++) {
		for (bit = 0; bit < 8; bit++) {
			b.data[i] ^= (uint8_t)(1u << bit);
			ck_assert_msg(!accepted(buf_bytes(&b), &got), "byte %zu bit %u", i, bit);
			b.data[i] ^= (uint8_t)(1u << bit);
		}
	}
	buf_fini(&b);
}
END_TEST

START_TEST(test_every_prefix_is_refused)
{
	struct buf b = { 0 };
	struct block got;
	struct block_header h;
	size_t n, used;

	make_block(&b, "twenty degrees");
	used = BLOCK_HEADER_SIZE + ENTRY_HEADER_SIZE + strlen("twenty degrees");
	for (n = 0; n < used; n++) {
		ck_assert(!accepted(bytes_of(b.data, n), &got));
		if (n < BLOCK_HEADER_SIZE)
			ck_assert_int_eq(
			    block_header_read(bytes_of(b.data, n), OFFSET, &h), ERR_SHORT);
	}
	buf_fini(&b);
}
END_TEST

START_TEST(test_other_place_is_refused)
{
	struct buf b = { 0 };
	struct block_header h;

	make_block(&b, "x");
	ck_assert_int_eq(block_header_read(buf_bytes(&b), OFFSET + 8, &h), ERR_DAMAGED);
	ck_assert_int_eq(block_header_read(buf_bytes(&b), OFFSET, &h), 0);
	buf_fini(&b);
}
END_TEST

/* Each field of the header has one value that fits, even where the header's own hash says that it was meant so. */
START_TEST(test_other_headers_are_refused)
{
	static const struct {
		const char *label;
		size_t at;
		uint8_t value;
	} cases[] = { { "version", 4, 2 }, { "version, high", 5, 1 }, { "header size", 6, 47 },
		{ "header size, high", 7, 1 }, { "length, high", 11, 1 }, { "offset", 16, 8 } };
	struct buf b = { 0 };
	struct block_header h;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		make_block(&b, "x");
		b.data[cases[i].at] = cases[i].value;
		le_put64(b.data + 40, XXH3_64bits(b.data, 40));
		ck_assert_msg(block_header_read(buf_bytes(&b), OFFSET, &h) == ERR_DAMAGED, "%s",
		    cases[i].label);
	}
	make_block(&b, "x");
	ck_assert_int_eq(block_header_read(buf_bytes(&b), OFFSET, &h), 0);
	ck_assert(!block_body_matches(&h, bytes_of(b.data + BLOCK_HEADER_SIZE, h.length - 1)));
	buf_fini(&b);
}
END_TEST

START_TEST(test_find)
{
	struct buf b = { 0 }, file = { 0 };
	static const uint8_t noise[64] = "RBK1 noise that begins like a header RBK1";

	make_block(&b, "x");
	buf_add(&file, noise, sizeof(noise));
	buf_add(&file, b.data, b.len);
	ck_assert_uint_eq(block_find(buf_bytes(&file), OFFSET - sizeof(noise), 0), sizeof(noise));
	ck_assert_uint_eq(
	    block_find(buf_bytes(&file), OFFSET - sizeof(noise), sizeof(noise)), sizeof(noise));
	ck_assert_uint_eq(
	    block_find(buf_bytes(&file), OFFSET - sizeof(noise), sizeof(noise) + 1), file.len);
	ck_assert_uint_eq(block_find(buf_bytes(&file), OFFSET, 0), file.len);
	buf_fini(&b);
	buf_fini(&file);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("block");
	TCase *tc = tcase_create("block");

	tcase_add_loop_test(tc, test_round_trip, 0, 4);
	tcase_add_test(tc, test_every_flipped_bit_is_refused);
	tcase_add_test(tc, test_every_prefix_is_refused);
	tcase_add_test(tc, test_other_place_is_refused);
	tcase_add_test(tc, test_other_headers_are_refused);
	tcase_add_test(tc, test_find);
	suite_add_tcase(s, tc);
	return unit_end(s);
}
