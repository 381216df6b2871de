/* test_route.c - who is told, what, and how long until the next try */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "channel.h"
#include "err.h"
#include "mem.h"
#include "notify_text.h"
#include "route.h"

static const char text[] = "version: 1\n"
			   "receivers:\n"
			   "  - { name: a, log: {} }\n"
			   "  - { name: b, log: {} }\n"
			   "  - { name: c, log: {} }\n"
			   "routes:\n"
			   "  - { match: { severity: critical }, receivers: [a], continue: true }\n"
			   "  - { match: { device: \"gh-*\", group: green }, receivers: [b] }\n"
			   "  - { match: { alert: \"*Hot\" }, receivers: [c] }\n";

static struct msg_alert
alert(const char *rule, const char *group, const char *device, const char *severity,
    const char *names)
{
	return (struct msg_alert){ .id = bytes_of_str("0123"),
		.alert_id = bytes_of_str("89ab"),
		.rule = bytes_of_str(rule),
		.group = bytes_of_str(group),
		.device = bytes_of_str(device),
		.state = ALERT_FIRING,
		.severity = bytes_of_str(severity),
		.receivers = bytes_of_str(names),
		.at = 1763820000000000,
		.since = 1763819999000000 };
}

START_TEST(routes)
{
	static const struct {
		const char *label;
		const char *rule, *group, *device, *severity, *names;
		uint64_t set;
		bool unknown;
	} cases[] = {
		{ "nothing matches", "Silent", "x", "y", "warning", "", 0, false },
		{ "first and on", "TooHot", "green", "gh-1", "critical", "", 1 | 2, false },
		{ "second ends it", "TooHot", "green", "gh-1", "warning", "", 2, false },
		{ "all keys of a match", "TooHot", "red", "gh-1", "warning", "", 4, false },
		{ "names beat routes", "TooHot", "green", "gh-1", "critical", "c", 4, false },
		{ "several names", "TooHot", "green", "gh-1", "critical", " a , c,", 1 | 4, false },
		{ "unknown name: routes too", "TooHot", "red", "d", "warning", "ops-mail", 4,
		    true },
		{ "known and unknown", "TooHot", "red", "d", "warning", "b,nobody", 2 | 4, true },
	};
	struct notify_conf *conf;
	struct buf err = { 0 };

	ck_assert_int_eq(notify_text_parse(bytes_of_str(text), "n", &conf, &err), 0);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct msg_alert a = alert(cases[i].rule, cases[i].group, cases[i].device,
		    cases[i].severity, cases[i].names);
		bool unknown;

		ck_assert_msg(
		    route_receivers(conf, &a, &unknown) == cases[i].set, "%s", cases[i].label);
		ck_assert_msg(unknown == cases[i].unknown, "%s", cases[i].label);
	}
	notify_conf_free(&conf);
	buf_fini(&err);
}
END_TEST

START_TEST(patterns)
{
	static const struct {
		const char *pattern, *text;
		bool match;
	} cases[] = { { "", "", true }, { "", "a", false }, { "a", "a", true },
		{ "a", "ab", false }, { "*", "", true }, { "*", "anything", true },
		{ "gh-*", "gh-", true }, { "gh-*", "g", false }, { "*Hot", "TooHot", true },
		{ "*Hot", "TooHotter", false }, { "a*b*c", "a-b-b-c", true },
		{ "a*b*c", "a-c-b", false }, { "**x", "aax", true },
		{ "a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false } };

	for (size_t i = 0; i < COUNT_OF(cases); i++)
		ck_assert_msg(
		    route_match(cases[i].pattern, bytes_of_str(cases[i].text)) == cases[i].match,
		    "%s ~ %s", cases[i].text, cases[i].pattern);
}
END_TEST

START_TEST(only_firing_and_cleared_are_told)
{
	struct msg_alert a = alert("r", "g", "d", "info", "");

	for (uint64_t state = 0; state <= 3; state++) {
		a.state = state;
		ck_assert(route_is_told(&a) == (state >= ALERT_FIRING));
	}
}
END_TEST

START_TEST(texts)
{
	struct msg_alert a = alert("TooHot", "green", "gh-\"1", "critical", "");
	struct buf b = { 0 };

	route_put_text(&b, &a);
	ck_assert_str_eq(buf_str(&b), "firing critical TooHot gh-\"1");
	a.summary = bytes_of_str("41.5 C");
	a.runbook = bytes_of_str("https://x/");
	a.values = bytes_of_str("{\"temperature\":41.5}");
	buf_clear(&b);
	route_put_text(&b, &a);
	ck_assert_str_eq(buf_str(&b), "firing critical TooHot gh-\"1: 41.5 C (https://x/)");
	buf_clear(&b);
	route_put_json(&b, &a);
	ck_assert_str_eq(buf_str(&b),
	    "{\"version\":1,\"id\":\"0123\",\"alert_id\":\"89ab\",\"alert\":\"TooHot\",\"group\":"
	    "\"green\","
	    "\"device\":\"gh-\\\"1\",\"state\":\"firing\",\"severity\":\"critical\","
	    "\"at\":\"2025-11-22T14:00:00.000000Z\",\"since\":\"2025-11-22T13:59:59.000000Z\","
	    "\"summary\":\"41.5 C\",\"runbook\":\"https://x/\",\"values\":{\"temperature\":41.5}}");
	buf_fini(&b);
}
END_TEST

/* An id goes into a header of the request: what could end the header is no id. */
START_TEST(ids_that_could_be_keys)
{
	ck_assert(route_id_is_good(bytes_of_str("0123456789abcdef0123456789abcdef")));
	ck_assert(!route_id_is_good(bytes_of_str("")));
	ck_assert(!route_id_is_good(bytes_of_str("a\r\nX-Evil: 1")));
	ck_assert(!route_id_is_good(bytes_of_str("a b")));
	ck_assert(!route_id_is_good(bytes_of("a\0b", 3)));
	ck_assert(!route_id_is_good(bytes_of_str("\xc3\xa9")));
	ck_assert(!route_id_is_good(
	    bytes_of_str("0123456789012345678901234567890123456789012345678901234567890123")));
}
END_TEST

START_TEST(backoff_doubles_to_five_minutes)
{
	ck_assert_int_eq(route_backoff_us(3, 7), route_backoff_us(3, 7));
	for (uint64_t n = 0; n < 100; n++) {
		int64_t base = n == 0 ? 1000000 : n <= 8 ? 1000000ll << (n - 1) : 300000000;

		for (uint64_t seed = 0; seed < 50; seed++) {
			int64_t us = route_backoff_us(n, seed);

			ck_assert_msg(us >= base * 3 / 4 && us <= base * 5 / 4, "%d", (int)n);
		}
	}
	ck_assert(route_backoff_us(5, 1) != route_backoff_us(5, 2) ||
		  route_backoff_us(5, 2) != route_backoff_us(5, 3));
}
END_TEST

START_TEST(http_status_decides)
{
	static const struct {
		long status;
		enum channel_end end;
	} cases[] = { { 200, CHANNEL_ACCEPTED }, { 204, CHANNEL_ACCEPTED },
		{ 302, CHANNEL_REJECTED }, { 400, CHANNEL_REJECTED }, { 404, CHANNEL_REJECTED },
		{ 408, CHANNEL_FAILED }, { 429, CHANNEL_FAILED }, { 500, CHANNEL_FAILED },
		{ 503, CHANNEL_FAILED }, { 0, CHANNEL_FAILED } };

	for (size_t i = 0; i < COUNT_OF(cases); i++)
		ck_assert_msg(
		    webhook_judge(cases[i].status) == cases[i].end, "%ld", cases[i].status);
}
END_TEST

UNIT_MAIN("route", routes, patterns, only_firing_and_cleared_are_told, texts,
    ids_that_could_be_keys, backoff_doubles_to_five_minutes, http_status_decides)
