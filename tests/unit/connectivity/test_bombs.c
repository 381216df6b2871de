/* test_bombs.c - payloads of a few bytes that claim to be gigabytes: what is allocated for them is counted
 *
 * The table is of what made msgpack decoders of others reserve without end (msgpack-c 985, 1013, msgpackr 200, msgpack-java
 * 1014, mpack 123), and JSON that only nests or only begins. A decoder may keep a first amount for its work and twice the
 * input beyond it; a payload nests at most eight deep. */
#include <stdio.h>
#include <string.h>

#include "../unit.h"
#include "codec.h"
#include "err.h"
#include "mem.h"
#include "payload.h"

/* Points of the decoder grow by doubling from 64; a quarter of a MiB is what it keeps for any payload of its largest size. */
#define OWN_MAX (256u << 10)

#if defined(__SANITIZE_ADDRESS__)
#define COUNTED 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define COUNTED 0
#endif
#endif
#ifndef COUNTED
#define COUNTED 1
#endif

/* The largest single request since it was set to 0. */
static size_t largest;

#if COUNTED
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

static void
count(size_t size)
{
	largest = size > largest ? size : largest;
}

void *
malloc(size_t size)
{
	count(size);
	return __libc_malloc(size);
}

void *
calloc(size_t n, size_t size)
{
	count(n * size);
	return __libc_calloc(n, size);
}

void *
realloc(void *old, size_t size)
{
	count(size);
	return __libc_realloc(old, size);
}
#endif

#define BOMB(label, bytes)                                                                         \
	{                                                                                          \
		label, bytes, sizeof(bytes) - 1, 1                                                 \
	}
#define REPEAT(label, bytes, times)                                                                \
	{                                                                                          \
		label, bytes, sizeof(bytes) - 1, times                                             \
	}

static const struct {
	const char *label;
	const char *bytes;
	size_t len;
	size_t times;
} bombs[] = {
	BOMB("array32 of 4 G", "\xdd\xff\xff\xff\xff"),
	BOMB("map32 of 4 G", "\xdf\xff\xff\xff\xff"),
	BOMB("array32 of 2 G", "\xdd\x7f\xff\xff\xff"),
	BOMB("map32 of 2 G", "\xdf\x80\0\0\0"),
	BOMB("array32 of 16 M", "\xdd\0\xff\xff\xff"),
	BOMB("map32 of 16 M", "\xdf\0\xff\xff\xff"),
	BOMB("array16 of 64 k", "\xdc\xff\xff"),
	BOMB("map16 of 64 k", "\xde\xff\xff"),
	BOMB("str32 of 4 G", "\xdb\xff\xff\xff\xff"),
	BOMB("bin32 of 4 G", "\xc6\xff\xff\xff\xff"),
	BOMB("ext32 of 4 G", "\xc9\xff\xff\xff\xff\1"),
	BOMB("str16", "\xda\xff\xff"),
	BOMB("bin16", "\xc5\xff\xff"),
	BOMB("ext8", "\xc7\xff\1"),
	BOMB("fixext16 without it", "\xd8\1"),
	BOMB("a value of 4 G", "\x81\xa1"
			       "a\xdd\xff\xff\xff\xff"),
	BOMB("a string of 4 G in a map", "\x81\xa1"
					 "a\xdb\xff\xff\xff\xff"),
	BOMB("a key of 4 G", "\x81\xdb\xff\xff\xff\xff"),
	BOMB("counts that multiply", "\x81\xa1"
				     "a\xdc\xff\xff\xdc\xff\xff\xdc\xff\xff"),
	BOMB("a map in a map in a map", "\xdf\xff\xff\xff\xff\xa1"
					"a\xdf\xff\xff\xff\xff\xa1"
					"b\xdf\xff\xff\xff\xff"),
	BOMB("one byte more than there is", "\x92\1"),
	BOMB("a key without value", "\x81\xa1"
				    "a"),
	BOMB("never used", "\xc1"),
	BOMB("ts of 4 G", "\x82\xa2ts\xdb\xff\xff\xff\xff\xa6values\x80"),
	BOMB("values of 4 G", "\x82\xa2ts\1\xa6values\xdf\xff\xff\xff\xff"),
	REPEAT("arrays in arrays", "\x91", 1000),
	REPEAT("array32 in array32", "\xdd\0\0\0\1", 1000),
	REPEAT("arrays of two", "\x92", 1000),
	REPEAT("maps in maps",
	    "\x81\xa1"
	    "a",
	    1000),
	REPEAT("map32 in map32",
	    "\xdf\0\0\0\1\xa1"
	    "a",
	    1000),
	REPEAT("empty arrays", "\x90", 1000),
	REPEAT("nils", "\xc0", 1000),
	REPEAT("[ in [", "[", 1000),
	REPEAT("{\"a\": in it", "{\"a\":", 1000),
	REPEAT("[{\"a\":", "[{\"a\":", 500),
	REPEAT("[[], ", "[[],", 500),
	BOMB("a number without end", "{\"a\":1e99999999999999999999"),
	BOMB("a string without end", "{\"a\":\"xxxxxxxxxxxxxxxxxxxxx"),
	BOMB("\\u in the end", "{\"a\":\"\\u"),
	BOMB("nothing but open", "{\""),
};

START_TEST(test_table)
{
	struct payload_decoder *d = payload_decoder_new();
	struct payload_result r;
	struct buf reason = { 0 };

	ck_assert_uint_eq(COUNT_OF(bombs), 40);
	(void)payload_decode(
	    d, PAYLOAD_ANY, bytes_of_str("{\"a\":1}"), bytes_of_str("m"), 1, &r, NULL);
	for (size_t i = 0; i < COUNT_OF(bombs); i++) {
		struct buf bomb = { 0 };

		for (size_t n = 0; n < bombs[i].times; n++)
			buf_add(&bomb, bombs[i].bytes, bombs[i].len);
		for (enum payload_format format = PAYLOAD_ANY; format <= PAYLOAD_MSGPACK;
		     format++) {
			int err;

			buf_clear(&reason);
			largest = 0;
			err = payload_decode(
			    d, format, buf_bytes(&bomb), bytes_of_str("m"), 1, &r, &reason);
			ck_assert_msg(
			    err != 0 || format == PAYLOAD_TEXT, "%s is taken", bombs[i].label);
			ck_assert_msg(largest <= OWN_MAX + 2 * bomb.len,
			    "%s of %zu bytes: %zu allocated", bombs[i].label, bomb.len, largest);
		}
		buf_fini(&bomb);
	}
	buf_fini(&reason);
	payload_decoder_free(&d);
}
END_TEST

/* The messages between processes: what decodes them allocates nothing at all. */
START_TEST(test_messages)
{
	enum msg_type type;
	union msg_any any;
	size_t allocated;
	int whole, alone;

	for (size_t i = 0; i < COUNT_OF(bombs); i++) {
		struct buf bomb = { 0 };

		buf_add(&bomb, "\x92\x0d\x81\6", 4); /* a BATCH whose records are the bomb */
		for (size_t n = 0; n < bombs[i].times; n++)
			buf_add(&bomb, bombs[i].bytes, bombs[i].len);
		largest = 0;
		whole = codec_decode(buf_bytes(&bomb), &type, &any);
		alone = codec_decode(bytes_of(bomb.data + 4, bomb.len - 4), &type, &any);
		allocated = largest;
		ck_assert_int_ne(whole, 0);
		ck_assert_int_ne(alone, 0);
		ck_assert_uint_eq(allocated, 0);
		buf_fini(&bomb);
	}
}
END_TEST

START_TEST(test_depth)
{
	struct payload_decoder *d = payload_decoder_new();
	struct payload_result r;

	for (unsigned depth = 1; depth < 20; depth++) {
		struct buf b = { 0 };
		int err;

		/* The outermost is the payload itself. */
		for (unsigned i = 0; i < depth; i++)
			buf_add(&b,
			    "\x81\xa1"
			    "a",
			    3);
		buf_add_u8(&b, 1);
		err = payload_decode(
		    d, PAYLOAD_MSGPACK, buf_bytes(&b), bytes_of_str("m"), 1, &r, NULL);
		ck_assert_msg(
		    (err == 0) == (depth <= PAYLOAD_DEPTH_MAX + 1), "depth %u: %d", depth, err);
		buf_fini(&b);
	}
	payload_decoder_free(&d);
}
END_TEST

UNIT_MAIN("bombs", test_table, test_messages, test_depth)
