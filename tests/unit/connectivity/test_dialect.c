/* test_dialect.c - topics, and the device ids and metrics in them */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "dialect.h"
#include "err.h"
#include "mem.h"
#include "utf8.h"

#define LONG_128                                                                                   \
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef01234567" \
	"89abcdef0123456789abcdef0123456789abcdef"

static const struct {
	const char *topic;
	const char *identity;
	int want;
	const char *device;
	const char *metric;
	enum payload_format format;
	bool names_device;
} cases[] = {
	{ "roost/gh-1/telemetry", "", 0, "gh-1", "telemetry", PAYLOAD_ANY, true },
	{ "roost/gh-1/telemetry", "other", 0, "gh-1", "telemetry", PAYLOAD_ANY, true },
	{ "roost/gh-1/telemetry/temperature", "", 0, "gh-1", "temperature", PAYLOAD_TEXT, true },
	{ "roost/w\xc3\xa4rme 1/telemetry", "", 0, "w\xc3\xa4rme 1", "telemetry", PAYLOAD_ANY,
	    true },
	{ "roost/" LONG_128 "/telemetry", "", 0, LONG_128, "telemetry", PAYLOAD_ANY, true },
	{ "v1/devices/me/telemetry", "gh-2", 0, "gh-2", "telemetry", PAYLOAD_ANY, false },
	{ "v2/t", "gh-2", 0, "gh-2", "t", PAYLOAD_ANY, false },
	{ "v1/devices/me/telemetry", "", ERR_REFUSED, NULL, NULL, PAYLOAD_ANY, false },
	{ "v1/devices/me/telemetry", "a/b", ERR_REFUSED, NULL, NULL, PAYLOAD_ANY, false },
	{ "roost//telemetry", "x", ERR_MALFORMED, NULL, NULL, PAYLOAD_ANY, false },
	{ "roost/" LONG_128 "x/telemetry", "", ERR_MALFORMED, NULL, NULL, PAYLOAD_ANY, false },
	{ "roost/a+/telemetry", "", ERR_MALFORMED, NULL, NULL, PAYLOAD_ANY, false },
	{ "roost/a#/telemetry", "", ERR_MALFORMED, NULL, NULL, PAYLOAD_ANY, false },
	{ "roost/a\x01/telemetry", "", ERR_MALFORMED, NULL, NULL, PAYLOAD_ANY, false },
	{ "roost/a\x7f/telemetry", "", ERR_MALFORMED, NULL, NULL, PAYLOAD_ANY, false },
	{ "roost/a\xc2\x80/telemetry", "", ERR_MALFORMED, NULL, NULL, PAYLOAD_ANY, false },
	{ "roost/a\xff/telemetry", "", ERR_MALFORMED, NULL, NULL, PAYLOAD_ANY, false },
	{ "roost/a/telemetry/", "", ERR_MALFORMED, NULL, NULL, PAYLOAD_ANY, false },
	{ "roost/a/telemetry/" LONG_128 "x", "", ERR_MALFORMED, NULL, NULL, PAYLOAD_ANY, false },
	{ "roost/a/telemetry/b\x01", "", ERR_MALFORMED, NULL, NULL, PAYLOAD_ANY, false },
	{ "roost/a/telemetry/b/c", "", ERR_NOT_FOUND, NULL, NULL, PAYLOAD_ANY, false },
	{ "roost/a/telemetr", "", ERR_NOT_FOUND, NULL, NULL, PAYLOAD_ANY, false },
	{ "roost/a/telemetryx", "", ERR_NOT_FOUND, NULL, NULL, PAYLOAD_ANY, false },
	{ "/roost/a/telemetry", "", ERR_NOT_FOUND, NULL, NULL, PAYLOAD_ANY, false },
	{ "roost/a", "", ERR_NOT_FOUND, NULL, NULL, PAYLOAD_ANY, false },
	{ "roost", "", ERR_NOT_FOUND, NULL, NULL, PAYLOAD_ANY, false },
	{ "v1/devices/you/telemetry", "", ERR_NOT_FOUND, NULL, NULL, PAYLOAD_ANY, false },
	{ "v1/devices/me/attributes", "a", ERR_NOT_FOUND, NULL, NULL, PAYLOAD_ANY, false },
	{ "", "", ERR_NOT_FOUND, NULL, NULL, PAYLOAD_ANY, false },
	{ "/", "", ERR_NOT_FOUND, NULL, NULL, PAYLOAD_ANY, false },
};

START_TEST(match)
{
	struct dialect_target t = { 0 };
	size_t len = strlen(cases[_i].topic);
	char *topic = xmemdup(cases[_i].topic, len);
	int err = dialect_match(bytes_of(topic, len), bytes_of_str(cases[_i].identity), &t);

	ck_assert_msg(err == cases[_i].want, "%s: %s", cases[_i].topic, err_name(err));
	ck_assert((t.reason != NULL) == (err == ERR_MALFORMED || err == ERR_REFUSED));
	if (!err) {
		ck_assert(bytes_equal_str(t.device, cases[_i].device));
		ck_assert(bytes_equal_str(t.metric, cases[_i].metric));
		ck_assert_int_eq(t.format, cases[_i].format);
		ck_assert_int_eq(t.names_device, cases[_i].names_device);
		ck_assert_ptr_nonnull(t.dialect);
	}
	/* every prefix, in memory of exactly its size */
	for (size_t n = 0; n < len; n++) {
		char *prefix = xmemdup(topic, n);

		dialect_match(bytes_of(prefix, n), bytes_of_str("a"), &t);
		free(prefix);
	}
	free(topic);
}
END_TEST

START_TEST(no_topic)
{
	struct dialect_target t = { 0 };

	ck_assert_int_eq(
	    dialect_match((struct bytes){ 0 }, (struct bytes){ 0 }, &t), ERR_NOT_FOUND);
}
END_TEST

START_TEST(nul_in_device)
{
	struct dialect_target t = { 0 };

	ck_assert_int_eq(
	    dialect_match(bytes_of("roost/a\0b/telemetry", 19), (struct bytes){ 0 }, &t),
	    ERR_MALFORMED);
}
END_TEST

static const struct {
	const char *text;
	bool valid;
	bool control;
} texts[] = {
	{ "", true, false },
	{ "plain", true, false },
	{ "\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x94", true, false },
	{ "a\tb", true, true },
	{ "\xc2\x9f", true, true },
	{ "\xc2\xa0", true, false },
	{ "\x80", false, false },
	{ "\xc0\x80", false, false },
	{ "\xc1\xbf", false, false },
	{ "\xe0\x9f\xbf", false, false },
	{ "\xe0\xa0\x80", true, false },
	{ "\xed\x9f\xbf", true, false },
	{ "\xed\xa0\x80", false, false },
	{ "\xf0\x8f\xbf\xbf", false, false },
	{ "\xf0\x90\x80\x80", true, false },
	{ "\xf4\x8f\xbf\xbf", true, false },
	{ "\xf4\x90\x80\x80", false, false },
	{ "\xf5\x80\x80\x80", false, false },
	{ "\xc3", false, false },
	{ "\xe2\x82", false, false },
	{ "\xe2\x82x", false, false },
	{ "\xf0\x9f\x90", false, false },
};

START_TEST(utf8)
{
	ck_assert_int_eq(utf8_valid(bytes_of_str(texts[_i].text)), texts[_i].valid);
	if (texts[_i].valid)
		ck_assert_int_eq(utf8_has_control(bytes_of_str(texts[_i].text)), texts[_i].control);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("dialect");
	TCase *t = tcase_create("dialect");

	tcase_add_loop_test(t, match, 0, (int)COUNT_OF(cases));
	tcase_add_test(t, no_topic);
	tcase_add_test(t, nul_in_device);
	tcase_add_loop_test(t, utf8, 0, (int)COUNT_OF(texts));
	suite_add_tcase(s, t);
	return unit_end(s);
}
