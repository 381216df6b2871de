/* test_telemetry_binary.c - documents of readings as msgpack, CBOR and SenML CBOR */
#include <check.h>
#include <string.h>

#include "mem.h"
#include "support_telemetry.h"
#include "../unit.h"

struct binary_case {
	const char *label;
	enum telemetry_format format;
	const char *body;
	size_t len;
	const char *want;
};
#define BODY(s) s, sizeof(s) - 1

static const struct binary_case binary_cases[] = {
	{ "msgpack map", TELEMETRY_MSGPACK,
	    BODY("\x82\xa6"
		 "device\xa1"
		 "a\xa6"
		 "values\x81\xa1t\x05"),
	    "a: t=5" },
	{ "msgpack array", TELEMETRY_MSGPACK, BODY("\x92\x81\xa1t\x01\x81\xa1t\x02"),
	    "me: t=1 t=2@1" },
	{ "msgpack empty array", TELEMETRY_MSGPACK, BODY("\x90"), "" },
	{ "msgpack number", TELEMETRY_MSGPACK, BODY("\x05"),
	    "malformed: neither a msgpack map nor an array of them (byte 0)" },
	{ "msgpack, behind", TELEMETRY_MSGPACK, BODY("\x81\xa1t\x01\x81"),
	    "me: t=1 | malformed: something follows the document (byte 4)" },
	{ "msgpack, element", TELEMETRY_MSGPACK, BODY("\x91\x05"),
	    "malformed: an element of the outermost array is not a map (byte 1)" },
	{ "msgpack, short", TELEMETRY_MSGPACK, BODY("\x82\xa1t\x01"),
	    "malformed: not msgpack: it ends too early (byte 1)" },
	{ "msgpack, bomb", TELEMETRY_MSGPACK, BODY("\xdd\xff\xff\xff\xff"),
	    "malformed: not msgpack: it ends too early (byte 0)" },
	{ "msgpack, device", TELEMETRY_MSGPACK,
	    BODY("\x81\xa6"
		 "device\x05"),
	    "malformed: device is not a text (field device, byte 9)" },
	{ "CBOR map", TELEMETRY_CBOR,
	    BODY("\xa3\x66"
		 "device\x61"
		 "a\x62ts\x1a\x67\x3f\xc9\x81\x66values\xa2\x61t\x18\x2a\x61u\xf9\x3e\x00"),
	    "a: t=42@1000000 u=1.5d@1000000" },
	{ "CBOR array", TELEMETRY_CBOR, BODY("\x82\xa1\x61t\x01\xa1\x61t\x20"), "me: t=1 t=-1@1" },
	{ "CBOR endless", TELEMETRY_CBOR,
	    BODY("\x9f\xbf\x61t\x01\x61x\x9f\x02\x03\xff\xff\xbf\xff\xff"), "me: t=1 x.0=2 x.1=3" },
	{ "CBOR kinds", TELEMETRY_CBOR,
	    BODY("\xa9\x61"
		 "a\xf5\x61"
		 "b\xf6\x61"
		 "c\xf7\x61"
		 "d\xfa\x3f\xc0\x00\x00\x61"
		 "e\xfb\x3f\xf8\x00\x00\x00\x00\x00\x00"
		 "\x61"
		 "f\x1b\xff\xff\xff\xff\xff\xff\xff\xff\x61"
		 "g\x3b\xff\xff\xff\xff\xff\xff\xff\xff\x61"
		 "h\xc4\x82\x21\x19\x6a\xb3\x61"
		 "i\xc5\x82\x20\x03"),
	    "me: a=true d=1.5d e=1.5d f=1.84467440737096e+19d g=-1.84467440737096e+19d "
	    "h=273.15d i=1.5d" },
	{ "CBOR half floats", TELEMETRY_CBOR,
	    BODY("\xa4\x61"
		 "a\xf9\x00\x01\x61"
		 "b\xf9\xc4\x00\x61"
		 "c\xf9\x7c\x00\x61"
		 "d\xf9\x7e\x00"),
	    "me: a=5.96046447753906e-08d b=-4d c=infd!not-finite d=nand!not-finite" },
	{ "CBOR tags", TELEMETRY_CBOR,
	    BODY("\xd9\xd9\xf7\xa2\x62ts\xc1\x1a\x67\x3f\xc9\x81\x61t\xc1\x01"),
	    "me: t=1@1000000" },
	{ "CBOR text", TELEMETRY_CBOR, BODY("\xa1\x61t\x62\xc3\xa9"), "me: t=\"\xc3\xa9\"" },
	{ "CBOR bytes", TELEMETRY_CBOR, BODY("\xa1\x61t\x41\x01"),
	    "malformed: a value is a byte string (field t, byte 5)" },
	{ "CBOR bad text", TELEMETRY_CBOR, BODY("\xa1\x61t\x61\xff"),
	    "malformed: a text is not UTF-8 (field t, byte 4)" },
	{ "CBOR endless text", TELEMETRY_CBOR, BODY("\xa1\x61t\x7f\x61x\xff"),
	    "malformed: a CBOR text has no length of its own (field t, byte 4)" },
	{ "CBOR short", TELEMETRY_CBOR, BODY("\xa1\x61t\x1b\x01"),
	    "malformed: not CBOR: it ends too early (field t, byte 3)" },
	{ "CBOR bomb", TELEMETRY_CBOR, BODY("\x9a\xff\xff\xff\xfe"),
	    "malformed: not CBOR: it ends too early (byte 5)" },
	{ "CBOR map bomb", TELEMETRY_CBOR, BODY("\xbb\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
	    "malformed: not CBOR: it ends too early (byte 9)" },
	{ "CBOR deep", TELEMETRY_CBOR, BODY("\xa1\x61t\x81\x81\x81\x81\x81\x81\x81\x81\x81\x01"),
	    "malformed: objects are nested more than 8 deep (field t.0.0.0.0.0.0.0.0, byte 12)" },
	{ "CBOR reserved", TELEMETRY_CBOR, BODY("\xa1\x61t\x1c"),
	    "malformed: not CBOR: a reserved length (field t, byte 3)" },
	{ "CBOR break", TELEMETRY_CBOR, BODY("\xa1\x61t\xff"),
	    "malformed: not CBOR: a break where a value should be (field t, byte 4)" },
	{ "CBOR key", TELEMETRY_CBOR, BODY("\xa1\x01\x01"),
	    "malformed: a CBOR map's key is not a text (byte 2)" },
	{ "CBOR simple", TELEMETRY_CBOR, BODY("\xa1\x61t\xf0"),
	    "malformed: a CBOR value is neither null, boolean, number, text, array nor map (field "
	    "t, byte 4)" },
	{ "CBOR decimal of what", TELEMETRY_CBOR, BODY("\xa1\x61t\xc4\x01"),
	    "malformed: a decimal fraction is not an array of two integers (field t, byte 5)" },
	{ "CBOR exponent", TELEMETRY_CBOR, BODY("\xa1\x61t\xc4\x82\x1a\x7f\xff\xff\xff\x01"),
	    "malformed: the exponent of a decimal fraction is out of range (field t, byte 11)" },
	{ "CBOR number", TELEMETRY_CBOR, BODY("\x05"),
	    "malformed: neither a CBOR map nor an array of them (byte 0)" },
	{ "CBOR, behind", TELEMETRY_CBOR, BODY("\xa1\x61t\x01\x01"),
	    "me: t=1 | malformed: something follows the document (byte 4)" },
	{ "CBOR nothing", TELEMETRY_CBOR, BODY(""), "malformed: the document is empty (byte 0)" },
	/* RFC 8428 section 6, the first example, and one of its own */
	{ "SenML CBOR", TELEMETRY_SENML_CBOR,
	    BODY("\x82\xa7\x21\x65"
		 "gh-1:\x22\xfb\x41\xd9\xcf\xf2\x60\x40\x00\x00\x23\x61"
		 "A\x20\x05\x00\x67voltage\x01\x61V\x02\xfb\x40\x5e\x06\x66\x66\x66\x66\x66"
		 "\xa3\x00\x67"
		 "current\x06\x24\x02\xfb\x3f\xf3\x33\x33\x33\x33\x33\x33"),
	    "gh-1: voltage=120.1d@1000000 current=1.2d@-4000000" },
	{ "SenML CBOR data", TELEMETRY_SENML_CBOR,
	    BODY("\x83\xa2\x00\x61"
		 "a\x08\x41\xff\xa2\x00\x61"
		 "b\x08\x42\xfb\xff\xa2\x00\x61"
		 "c\x08\x43\x00\x01\x02"),
	    "me: a=\"_w\" b=\"-_8\" c=\"AAEC\"" },
	{ "SenML CBOR unknown", TELEMETRY_SENML_CBOR,
	    BODY("\x81\xa4\x00\x61"
		 "a\x04\xf5\x18\x63\x01\x61x\xf6"),
	    "me: a=true" },
	{ "SenML CBOR must", TELEMETRY_SENML_CBOR, BODY("\x81\xa2\x04\xf5\x62x_\x01"),
	    "malformed: a label that ends with an underscore must be understood, and is not known "
	    "(field x_, byte 8)" },
	{ "SenML CBOR bytes", TELEMETRY_SENML_CBOR, BODY("\x81\xa1\x02\x41\x01"),
	    "malformed: it is a byte string (field v, byte 5)" },
	{ "SenML CBOR no bytes", TELEMETRY_SENML_CBOR, BODY("\x81\xa1\x08\x61x"),
	    "malformed: it is not a byte string (field vd, byte 5)" },
	{ "SenML CBOR nested", TELEMETRY_SENML_CBOR, BODY("\x81\xa1\x02\x81\x01"),
	    "malformed: a member is neither a number, a boolean nor a text (byte 4)" },
	{ "SenML CBOR label", TELEMETRY_SENML_CBOR, BODY("\x81\xa1\xf5\x01"),
	    "malformed: a label is neither a whole number nor a text (byte 3)" },
	{ "SenML CBOR element", TELEMETRY_SENML_CBOR, BODY("\x81\x01"),
	    "malformed: an element of the outermost array is not a map (byte 2)" },
};

START_TEST(test_binary)
{
	struct telemetry_options o = options_of("me");

	for (size_t i = 0; i < COUNT_OF(binary_cases); i++) {
		const struct binary_case *t = &binary_cases[i];
		struct buf out = { 0 };

		stamps = 0;
		decode(t->format, bytes_of(t->body, t->len), &o, &out);
		ck_assert_msg(strcmp(buf_str(&out), t->want) == 0, "%s: got  %s\nwant %s", t->label,
		    buf_str(&out), t->want);
		buf_fini(&out);
		check_prefixes(t->format, bytes_of(t->body, t->len), &o);
	}
}
END_TEST

UNIT_MAIN_IN("telemetry_binary", telemetry_setup, telemetry_teardown, test_binary)
