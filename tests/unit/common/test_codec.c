/* test_codec.c - every message round trips; every prefix and every changed byte of a frame is survived; golden frames */
#include "codec.h"

#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "mem.h"
#include "../unit.h"

static struct msg_batch
sample_batch(void)
{
	return (struct msg_batch){
		.stream = 1ull << 48 | 7,
		.seq = 300,
		.partition = 15,
		.kind = 1,
		.retry = true,
		.records = bytes_of_str("records"),
	};
}

START_TEST(test_round_trip)
{
	struct msg_batch in = sample_batch();
	struct buf out = { 0 };
	enum msg_type type;
	union msg_any msg;

	codec_encode(MSG_STREAM_BATCH, &in, &out);
	ck_assert_int_eq(codec_decode(buf_bytes(&out), &type, &msg), 0);
	ck_assert_int_eq(type, MSG_STREAM_BATCH);
	ck_assert_uint_eq(msg.batch.stream, in.stream);
	ck_assert_uint_eq(msg.batch.seq, 300);
	ck_assert(msg.batch.retry);
	ck_assert(bytes_equal_str(msg.batch.records, "records"));
	buf_fini(&out);
}
END_TEST

/* Numbers and lengths around each form's limit. */
START_TEST(test_size_is_known_before)
{
	static const uint64_t sizes[] = { 0, 1, 31, 32, 127, 128, 255, 256, 65535, 65536, 1048576 };
	static const int64_t numbers[] = { 0, 127, 128, 255, 256, 65535, 65536, UINT32_MAX,
		(int64_t)UINT32_MAX + 1, INT64_MAX, -1, -32, -33, -128, -129, -32768, -32769,
		INT32_MIN, (int64_t)INT32_MIN - 1, INT64_MIN };
	uint8_t *data = xcalloc(1, 1048576);
	struct buf out = { 0 };

	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		for (size_t k = 0; k < COUNT_OF(numbers); k++) {
			struct msg_batch b = { .stream = (uint64_t)numbers[k],
				.retry = k % 2,
				.records = bytes_of(data, sizes[i]) };
			struct msg_alert a = { .id = bytes_of(data, sizes[i] / 16),
				.at = numbers[k],
				.summary = bytes_of(data, sizes[i] / 1024) };

			buf_clear(&out);
			codec_encode(MSG_STREAM_BATCH, &b, &out);
			ck_assert_uint_eq(out.len, codec_size(MSG_STREAM_BATCH, &b));
			buf_clear(&out);
			codec_encode(MSG_ALERT, &a, &out);
			ck_assert_uint_eq(out.len, codec_size(MSG_ALERT, &a));
		}
	}
	buf_fini(&out);
	free(data);
}
END_TEST

START_TEST(test_every_prefix_is_malformed)
{
	struct msg_batch in = sample_batch();
	struct buf out = { 0 };
	enum msg_type type;
	union msg_any msg;

	codec_encode(MSG_STREAM_BATCH, &in, &out);
	for (size_t n = 0; n < out.len; n++) {
		/* A heap copy of exactly this size, so that a sanitizer sees one byte too many. */
		uint8_t *copy = xmemdup(out.data, n);

		ck_assert_msg(codec_decode(bytes_of(copy, n), &type, &msg) == ERR_MALFORMED,
		    "prefix of %zu bytes", n);
		free(copy);
	}
	buf_add_u8(&out, 0);
	ck_assert_int_eq(codec_decode(buf_bytes(&out), &type, &msg), ERR_MALFORMED);
	buf_fini(&out);
}
END_TEST

START_TEST(test_every_changed_byte_is_survived)
{
	struct msg_batch in = sample_batch();
	struct buf out = { 0 };
	enum msg_type type;
	union msg_any msg;

	codec_encode(MSG_STREAM_BATCH, &in, &out);
	for (size_t at = 0; at < out.len; at++) {
		uint8_t *copy = xmemdup(out.data, out.len);

		for (unsigned v = 0; v < 256; v++) {
			copy[at] = (uint8_t)v;
			if (codec_decode(bytes_of(copy, out.len), &type, &msg) == 0 &&
			    type == MSG_STREAM_BATCH)
				ck_assert(msg.batch.records.data >= copy &&
					  msg.batch.records.data + msg.batch.records.len <=
					      copy + out.len);
		}
		free(copy);
	}
	buf_fini(&out);
}
END_TEST

/* Builds [COMMIT, {...}] from raw map bytes. */
static int
decode_commit(const char *map, size_t len)
{
	struct buf out = { 0 };
	enum msg_type type;
	union msg_any msg;
	int err;

	buf_add(&out, "\x92\x0e", 2);
	buf_add(&out, map, len);
	err = codec_decode(buf_bytes(&out), &type, &msg);
	buf_fini(&out);
	return err;
}

START_TEST(test_fields)
{
	static const struct {
		const char *label;
		const char *map;
		size_t len;
		int err;
	} cases[] = {
		{ "all there", "\x84\x01\x01\x02\x02\x03\x03\x04\x04", 9, 0 },
		{ "unknown field skipped", "\x85\x01\x01\x02\x02\x03\x03\x04\x04\x63\x92\x01\xa1x",
		    14, 0 },
		{ "must field missing", "\x83\x01\x01\x02\x02\x03\x03", 7, ERR_MALFORMED },
		{ "repeated field", "\x85\x01\x01\x02\x02\x03\x03\x04\x04\x01\x01", 11,
		    ERR_MALFORMED },
		{ "mistyped field", "\x84\x01\xa1x\x02\x02\x03\x03\x04\x04", 10, ERR_MALFORMED },
		{ "negative for unsigned", "\x84\x01\xff\x02\x02\x03\x03\x04\x04", 9,
		    ERR_MALFORMED },
		{ "over the limit", "\x84\x01\x01\x02\x02\x03\xce\x00\x01\x00\x00\x04\x04", 13,
		    ERR_TOO_BIG },
		{ "list of odd length",
		    "\x85\x01\x01\x02\x02\x03\x03\x04\x04\x05\xc4\x03\x00\x00\x00", 15,
		    ERR_MALFORMED },
		{ "map bomb", "\xdf\xff\xff\xff\xff", 5, ERR_MALFORMED },
		{ "array bomb in unknown field",
		    "\x85\x01\x01\x02\x02\x03\x03\x04\x04\x63\xdd\x00\xff\xff\xff", 15,
		    ERR_MALFORMED },
		{ "depth bomb in unknown field",
		    "\x85\x01\x01\x02\x02\x03\x03\x04\x04\x63\x91\x91\x91\x91\x91\x91\x91\x91\x91"
		    "\x91\x01",
		    21, ERR_MALFORMED },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
		ck_assert_msg(decode_commit(cases[i].map, cases[i].len) == cases[i].err, "%s",
		    cases[i].label);
}
END_TEST

START_TEST(test_unknown_message)
{
	enum msg_type type;
	union msg_any msg;

	ck_assert_int_eq(codec_decode(bytes_of("\x92\x3f\x80", 3), &type, &msg), ERR_UNSUPPORTED);
	ck_assert_int_eq(
	    codec_decode(bytes_of("\x92\xcd\xff\xff\x80", 5), &type, &msg), ERR_UNSUPPORTED);
	ck_assert_str_eq(msg_name(MSG_HELLO), "HELLO");
	ck_assert_str_eq(msg_name(63), "?");
	ck_assert_str_eq(msg_name(1000), "?");
}
END_TEST

/* msgpack-c is the oracle: what it packs, the cursor reads. */
START_TEST(test_cursor_reads_what_msgpack_packs)
{
	static const int64_t ints[] = { 0, 1, 127, 128, 255, 256, 65535, 65536, UINT32_MAX,
		INT64_MAX, -1, -32, -33, -128, -129, -32768, -32769, INT32_MIN, INT64_MIN };
	msgpack_sbuffer sbuf;
	msgpack_packer pk;
	struct mp_cursor c;

	msgpack_sbuffer_init(&sbuf);
	msgpack_packer_init(&pk, &sbuf, msgpack_sbuffer_write);
	for (size_t i = 0; i < COUNT_OF(ints); i++)
		msgpack_pack_int64(&pk, ints[i]);
	msgpack_pack_uint64(&pk, UINT64_MAX);
	msgpack_pack_float(&pk, 1.5f);
	msgpack_pack_double(&pk, -2.25);
	msgpack_pack_true(&pk);
	msgpack_pack_str_with_body(&pk, "abc", 3);
	c = mp_cursor_of(bytes_of(sbuf.data, sbuf.size));
	for (size_t i = 0; i < COUNT_OF(ints); i++)
		ck_assert_int_eq(mp_get_int(&c), ints[i]);
	ck_assert_uint_eq(mp_get_uint(&c), UINT64_MAX);
	ck_assert_double_eq(mp_get_double(&c), 1.5);
	ck_assert_double_eq(mp_get_double(&c), -2.25);
	ck_assert(mp_get_bool(&c));
	ck_assert(bytes_equal_str(mp_get_str(&c), "abc"));
	ck_assert(!c.failed && c.at == c.end);
	ck_assert_uint_eq(mp_get_uint(&c), 0);
	ck_assert(c.failed);
	msgpack_sbuffer_destroy(&sbuf);
}
END_TEST

/* Every form of the format, whole: skipped to its end, and failed when a byte is missing. */
START_TEST(test_skip)
{
	static const struct {
		const char *label;
		const char *value;
		size_t len;
	} forms[] = {
		{ "fixint", "\x07", 1 },
		{ "negative fixint", "\xe0", 1 },
		{ "nil", "\xc0", 1 },
		{ "false", "\xc2", 1 },
		{ "true", "\xc3", 1 },
		{ "bin8", "\xc4\x01z", 3 },
		{ "bin16", "\xc5\x00\x01z", 4 },
		{ "bin32", "\xc6\x00\x00\x00\x01z", 6 },
		{ "ext8", "\xc7\x02\x09yz", 5 },
		{ "ext16", "\xc8\x00\x02\x09yz", 6 },
		{ "ext32", "\xc9\x00\x00\x00\x02\x09yz", 8 },
		{ "float32", "\xca\x3f\xc0\x00\x00", 5 },
		{ "float64", "\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00", 9 },
		{ "uint8", "\xcc\xff", 2 },
		{ "uint16", "\xcd\xff\xff", 3 },
		{ "uint32", "\xce\xff\xff\xff\xff", 5 },
		{ "uint64", "\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9 },
		{ "int8", "\xd0\x80", 2 },
		{ "int16", "\xd1\x80\x00", 3 },
		{ "int32", "\xd2\x80\x00\x00\x00", 5 },
		{ "int64", "\xd3\x80\x00\x00\x00\x00\x00\x00\x00", 9 },
		{ "fixext1", "\xd4\x09z", 3 },
		{ "fixext2", "\xd5\x09yz", 4 },
		{ "fixext4", "\xd6\x09wxyz", 6 },
		{ "fixext8", "\xd7\x09stuvwxyz", 10 },
		{ "fixext16", "\xd8\x09klmnopqrstuvwxyz", 18 },
		{ "fixstr", "\xa1z", 2 },
		{ "str8", "\xd9\x01z", 3 },
		{ "str16", "\xda\x00\x01z", 4 },
		{ "str32", "\xdb\x00\x00\x00\x01z", 6 },
		{ "fixarray", "\x92\x01\xc0", 3 },
		{ "array16", "\xdc\x00\x02\x01\xc0", 5 },
		{ "array32", "\xdd\x00\x00\x00\x02\x01\xc0", 7 },
		{ "fixmap", "\x81\xa1k\xc3", 4 },
		{ "map16", "\xde\x00\x01\xa1k\xc3", 6 },
		{ "map32", "\xdf\x00\x00\x00\x01\xa1k\xc3", 8 },
		{ "eight levels", "\x91\x91\x91\x91\x91\x91\x91\x01", 8 },
	};
	static const char *const never[] = { "\xc1", "\x92\xc1\x01",
		"\x91\x91\x91\x91\x91\x91\x91\x91\x01" };
	struct mp_cursor c;

	for (size_t i = 0; i < COUNT_OF(forms); i++) {
		for (size_t n = 0; n <= forms[i].len; n++) {
			/* A heap copy of exactly this size, so that a sanitizer sees one byte too many. */
			uint8_t *copy = xmemdup(forms[i].value, n);

			c = mp_cursor_of(bytes_of(copy, n));
			mp_skip(&c);
			ck_assert_msg(
			    c.failed == (n < forms[i].len), "%s, %zu bytes", forms[i].label, n);
			ck_assert_msg(c.failed || c.at == c.end, "%s", forms[i].label);
			free(copy);
		}
	}
	for (size_t i = 0; i < COUNT_OF(never); i++) {
		c = mp_cursor_of(bytes_of_str(never[i]));
		mp_skip(&c);
		ck_assert(c.failed);
	}
}
END_TEST

/* What is there and is not what is asked for fails the cursor and reads as zero. */
START_TEST(test_other_kinds)
{
	static const char *const values[] = { "\xc0", "\xa1z", "\xc4\x01z", "\x90", "\x80", "\xc3",
		"\xcb\x40\x45\x00\x00\x00\x00\x00\x00", "\x2a", "\xff", "\xd1\xff\xff",
		"\xcf\xff\xff\xff\xff\xff\xff\xff\xff" };
	static const size_t lens[] = { 1, 2, 3, 1, 1, 1, 9, 1, 1, 3, 9 };
	/* Who may be read as uint, int, double, bool, str, bin, array, map. */
	static const char *const reads[] = { "", "s", "b", "a", "m", "o", "d", "uid", "id", "id",
		"ud" };

	for (size_t i = 0; i < COUNT_OF(values); i++) {
		for (const char *as = "uidosbam"; *as; as++) {
			struct mp_cursor c = mp_cursor_of(bytes_of(values[i], lens[i]));
			bool zero = *as == 'u'	 ? mp_get_uint(&c) == 0
				    : *as == 'i' ? mp_get_int(&c) == 0
				    : *as == 'd' ? !(mp_get_double(&c) < 0) && c.failed
				    : *as == 'o' ? !mp_get_bool(&c)
				    : *as == 's' ? mp_get_str(&c).len == 0
				    : *as == 'b' ? mp_get_bin(&c).len == 0
				    : *as == 'a' ? mp_get_array(&c) == 0
						 : mp_get_map(&c) == 0;
			bool fits = strchr(reads[i], *as) != NULL;

			ck_assert_msg(c.failed == !fits, "value %zu as %c", i, *as);
			ck_assert_msg(fits || zero, "value %zu as %c", i, *as);
		}
	}
}
END_TEST

START_TEST(test_alert_keeps_its_signs)
{
	struct msg_alert in = { .at = -1, .since = INT64_MIN };
	struct buf out = { 0 };
	enum msg_type type;
	union msg_any msg;

	codec_encode(MSG_ALERT, &in, &out);
	ck_assert_int_eq(codec_decode(buf_bytes(&out), &type, &msg), 0);
	ck_assert_int_eq(msg.alert.at, -1);
	ck_assert_int_eq(msg.alert.since, INT64_MIN);
	buf_fini(&out);
}
END_TEST

START_TEST(test_lists)
{
	struct buf list = { 0 };

	u64s_add(&list, 1);
	u64s_add(&list, UINT64_MAX);
	ck_assert_uint_eq(u64s_count(buf_bytes(&list)), 2);
	ck_assert_uint_eq(u64s_at(buf_bytes(&list), 1), UINT64_MAX);
	buf_fini(&list);
}
END_TEST

/* Golden frames: tests/vectors/<name>.hex, never edited; a frame that an older release sent must still decode. */
static const struct {
	const char *file;
	enum msg_type type;
} vectors[] = {
	{ "tests/vectors/attribute-1.hex", MSG_ATTRIBUTE },
	{ "tests/vectors/batch-1.hex", MSG_STREAM_BATCH },
	{ "tests/vectors/change-1.hex", MSG_CHANGE },
	{ "tests/vectors/changed-1.hex", MSG_CHANGED },
	{ "tests/vectors/commit-1.hex", MSG_COMMIT },
	{ "tests/vectors/credential-1.hex", MSG_CREDENTIAL },
	{ "tests/vectors/credential-2.hex", MSG_CREDENTIAL },
	{ "tests/vectors/device-1.hex", MSG_DEVICE },
	{ "tests/vectors/forward-wants.hex", MSG_FORWARD },
	{ "tests/vectors/forward-wants_not.hex", MSG_FORWARD },
	{ "tests/vectors/forward-known.hex", MSG_FORWARD },
	{ "tests/vectors/forward-message.hex", MSG_FORWARD },
	{ "tests/vectors/forward-shared.hex", MSG_FORWARD },
	{ "tests/vectors/forward-retain.hex", MSG_FORWARD },
	{ "tests/vectors/forward-release.hex", MSG_FORWARD },
	{ "tests/vectors/forward-takeover.hex", MSG_FORWARD },
	{ "tests/vectors/forward-direct.hex", MSG_FORWARD },
	{ "tests/vectors/forward-direct-2.hex", MSG_FORWARD },
	{ "tests/vectors/forward-placed.hex", MSG_FORWARD },
	{ "tests/vectors/forward-nobody.hex", MSG_FORWARD },
	{ "tests/vectors/forward-clear.hex", MSG_FORWARD },
	{ "tests/vectors/forward-arrived.hex", MSG_FORWARD },
	{ "tests/vectors/forward-late.hex", MSG_FORWARD },
	{ "tests/vectors/forwarded-1.hex", MSG_FORWARDED },
	{ "tests/vectors/hello-1.hex", MSG_HELLO },
	{ "tests/vectors/hello-2.hex", MSG_HELLO },
	{ "tests/vectors/mqtt_message-1.hex", MSG_MQTT_MESSAGE },
	{ "tests/vectors/mqtt_delivery-1.hex", MSG_MQTT_DELIVERY },
	{ "tests/vectors/mqtt_will-1.hex", MSG_MQTT_WILL },
	{ "tests/vectors/profile-1.hex", MSG_PROFILE },
	{ "tests/vectors/subscribe-1.hex", MSG_SUBSCRIBE },
	{ "tests/vectors/subscribe-2.hex", MSG_SUBSCRIBE },
	{ "tests/vectors/subscribe-3.hex", MSG_SUBSCRIBE },
	{ "tests/vectors/lag-1.hex", MSG_LAG },
	{ "tests/vectors/welcome-1.hex", MSG_WELCOME },
};

START_TEST(test_golden_frames)
{
	for (size_t i = 0; i < COUNT_OF(vectors); i++) {
		uint8_t frame[512];
		size_t n = 0;
		unsigned byte;
		enum msg_type type;
		union msg_any msg;
		FILE *f = fopen(vectors[i].file, "r");

		ck_assert_msg(f != NULL, "%s", vectors[i].file);
		while (n < sizeof frame && fscanf(f, "%2x", &byte) == 1)
			frame[n++] = (uint8_t)byte;
		fclose(f);
		ck_assert_msg(
		    codec_decode(bytes_of(frame, n), &type, &msg) == 0, "%s", vectors[i].file);
		ck_assert_int_eq(type, vectors[i].type);
		if (type == MSG_STREAM_BATCH)
			ck_assert(
			    msg.batch.seq == 300 && bytes_equal_str(msg.batch.records, "records"));
		if (type == MSG_FORWARD)
			ck_assert(msg.forward.life == 1764000000 && msg.forward.first == 1 &&
				  msg.forward.kind == msg.forward.seq);
		if (type == MSG_FORWARDED)
			ck_assert(msg.forwarded.seq == 11 && msg.forwarded.mine == 1764000001);
		if (type == MSG_COMMIT)
			ck_assert(msg.commit.upto == 300 && u64s_count(msg.commit.verdicts) == 2);
		if (type == MSG_WELCOME)
			ck_assert(msg.welcome.upto == 300 && msg.welcome.time == 1732233600000000);
		if (type == MSG_HELLO)
			ck_assert(msg.hello.life == 42 && msg.hello.epoch == 0 &&
				  msg.hello.given_up == (strstr(vectors[i].file, "-2") ? 321 : 0));
		if (type == MSG_SUBSCRIBE)
			ck_assert(
			    bytes_equal_str(msg.subscribe.group, "history") &&
			    msg.subscribe.number == 7 &&
			    msg.subscribe.patience == (strstr(vectors[i].file, "-1") ? 0 : 100) &&
			    msg.subscribe.stand_back ==
				(strstr(vectors[i].file, "-3") ? 10000 : 0));
		if (type == MSG_LAG)
			ck_assert(msg.lag.ms == 1000 && msg.lag.stands_back);
		if (type == MSG_MQTT_DELIVERY)
			ck_assert(msg.mqtt_delivery.qos == 2 && msg.mqtt_delivery.retain &&
				  u64s_at(msg.mqtt_delivery.ids, 1) == 268435455);
		if (type == MSG_MQTT_WILL) {
			ck_assert(msg.mqtt_will.life == 42 && msg.mqtt_will.delay == 30);
			ck_assert_int_eq(codec_decode(msg.mqtt_will.message, &type, &msg), 0);
		}
		if (type == MSG_ATTRIBUTE)
			ck_assert(
			    msg.attribute.scope == 3 && bytes_equal_str(msg.attribute.value, "2"));
		if (type == MSG_CHANGED)
			ck_assert(msg.changed.code == 2 && msg.changed.version == 4);
		if (type == MSG_CREDENTIAL)
			ck_assert(msg.credential.version == (msg.credential.revoked ? 1 : 300) &&
				  msg.credential.kind == (msg.credential.revoked ? 2 : 1));
		if (type == MSG_DEVICE)
			ck_assert(msg.device.version == 300 && msg.device.blocked &&
				  msg.device.erase &&
				  bytes_equal_str(msg.device.speaks_for, "gh-1-*\nplc-7"));
		if (type == MSG_PROFILE)
			ck_assert(
			    msg.profile.removed && bytes_equal_str(msg.profile.definition, "{}"));
		if (type == MSG_CHANGE) {
			ck_assert(msg.change.expected == 3 && msg.change.create);
			ck_assert_int_eq(codec_decode(msg.change.body, &type, &msg), 0);
		}
		if (type == MSG_MQTT_MESSAGE)
			ck_assert(msg.mqtt_message.qos == 2 && msg.mqtt_message.retain &&
				  msg.mqtt_message.expires == 1795377346519 &&
				  bytes_equal_str(msg.mqtt_message.publisher, "plc-7") &&
				  msg.mqtt_message.payload.len == 3);
	}
}
END_TEST

UNIT_MAIN("codec", test_round_trip, test_size_is_known_before, test_every_prefix_is_malformed,
    test_every_changed_byte_is_survived, test_fields, test_unknown_message,
    test_cursor_reads_what_msgpack_packs, test_skip, test_other_kinds, test_alert_keeps_its_signs,
    test_lists, test_golden_frames)
