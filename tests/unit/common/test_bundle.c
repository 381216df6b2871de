/* test_bundle.c - small messages gathered to one frame, and what a frame with wrong lengths gives */
#include "bundle.h"

#include <string.h>

#include "../unit.h"
#include "err.h"

static struct bytes
frame_of(const char *const *texts, size_t n, struct bundles *all)
{
	struct bundle *b = bundle_of(all, "limiter-0");

	bundle_clear(b);
	for (size_t i = 0; i < n; i++) {
		ck_assert(bundle_fits(b, strlen(texts[i])));
		buf_add(bundle_add(b, strlen(texts[i])), texts[i], strlen(texts[i]));
	}
	return bundle_frame(b);
}

START_TEST(test_what_goes_in_comes_out)
{
	/* The length of the second has the mark's byte in it. */
	static char long_text[0xc1 + 1];
	const char *texts[] = { "one", long_text, "x" };
	struct bundles all = { 0 };
	struct bytes frame, rest, m;

	memset(long_text, 'y', 0xc1);
	frame = frame_of(texts, 3, &all);
	ck_assert(bundle_open(frame, &rest));
	for (size_t i = 0; i < 3; i++) {
		ck_assert_int_eq(bundle_next(&rest, &m), 0);
		ck_assert_uint_eq(m.len, strlen(texts[i]));
		ck_assert(memcmp(m.data, texts[i], m.len) == 0);
	}
	ck_assert_int_eq(bundle_next(&rest, &m), ERR_NOT_FOUND);
	bundles_fini(&all);
}
END_TEST

START_TEST(test_one_goes_as_it_is)
{
	const char *text = "alone";
	struct bundles all = { 0 };
	struct bytes frame = frame_of(&text, 1, &all), rest;

	ck_assert_uint_eq(frame.len, 5);
	ck_assert(memcmp(frame.data, "alone", 5) == 0);
	ck_assert(!bundle_open(frame, &rest));
	ck_assert(!bundle_open(bytes_of(NULL, 0), &rest));
	bundles_fini(&all);
}
END_TEST

START_TEST(test_each_peer_has_its_own)
{
	struct bundles all = { 0 };
	struct bundle *a = bundle_of(&all, "a"), *b = bundle_of(&all, "b");

	ck_assert_ptr_ne(a, b);
	ck_assert_ptr_eq(bundle_of(&all, "a"), a);
	buf_add(bundle_add(a, 1), "1", 1);
	ck_assert_uint_eq(b->count, 0);
	ck_assert_uint_eq(all.count, 2);
	for (struct bundle **at = &all.first; *at;) {
		if (*at == a)
			bundle_free(&all, at);
		else
			at = &(*at)->next;
	}
	ck_assert_uint_eq(all.count, 1);
	ck_assert_ptr_eq(all.first, b);
	bundles_fini(&all);
}
END_TEST

START_TEST(test_full)
{
	struct bundles all = { 0 };
	struct bundle *b = bundle_of(&all, "a");
	static const uint8_t kib[1024];
	size_t n = 0;

	ck_assert(bundle_fits(b, 1 << 20)); /* one may always */
	for (; bundle_fits(b, sizeof kib); n++)
		buf_add(bundle_add(b, sizeof kib), kib, sizeof kib);
	ck_assert_uint_eq(n, BUNDLE_MAX / (sizeof kib + 4));
	ck_assert_uint_le(bundle_frame(b).len, BUNDLE_MAX);
	bundle_clear(b);
	ck_assert(bundle_fits(b, sizeof kib));
	bundles_fini(&all);
}
END_TEST

/* Each prefix of a frame and each frame with one byte of it changed: never a byte beyond the frame, and an end. */
START_TEST(test_wrong_lengths)
{
	const char *texts[] = { "first", "second", "third" };
	struct bundles all = { 0 };
	struct bytes frame = frame_of(texts, 3, &all), rest, m;
	uint8_t copy[64];
	int whole = 0;

	for (size_t len = 1; len <= frame.len; len++) {
		int rc;

		ck_assert(bundle_open(bytes_of(frame.data, len), &rest));
		while ((rc = bundle_next(&rest, &m)) == 0)
			ck_assert(m.data + m.len <= frame.data + len);
		whole += rc == ERR_NOT_FOUND;
	}
	ck_assert_int_eq(whole, 4); /* behind the mark, and behind each message */
	for (size_t at = 1; at < frame.len; at++) {
		for (unsigned v = 0; v < 256; v++) {
			memcpy(copy, frame.data, frame.len);
			copy[at] = (uint8_t)v;
			ck_assert(bundle_open(bytes_of(copy, frame.len), &rest));
			while (bundle_next(&rest, &m) == 0) {
				ck_assert_uint_gt(m.len, 0);
				ck_assert(m.data + m.len <= copy + frame.len);
			}
		}
	}
	bundles_fini(&all);
}
END_TEST

UNIT_MAIN("bundle", test_what_goes_in_comes_out, test_one_goes_as_it_is, test_each_peer_has_its_own,
    test_full, test_wrong_lengths)
