/* test_log.c - outside text cannot break a line; both formats; repeated warnings are counted */
#include "log.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../unit.h"
#include "metrics.h"

static char line[8192];
static int saved, ends[2];

static void
capture(void)
{
	ck_assert_int_eq(pipe(ends), 0);
	saved = dup(STDERR_FILENO);
	dup2(ends[1], STDERR_FILENO);
}

static const char *
captured(void)
{
	ssize_t n;

	dup2(saved, STDERR_FILENO);
	close(saved);
	close(ends[1]);
	n = read(ends[0], line, sizeof line - 1);
	close(ends[0]);
	line[n > 0 ? n : 0] = '\0';
	return line;
}

START_TEST(test_text)
{
	log_init("limiter-0", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	capture();
	log_debug("not.written", LS("k", "v"));
	log_info("device.seen", LS("device", "a b\n\"x\"\x1b[2J"), LI("n", -1), LU("u", 2),
	    LF("f", 1.5), LS("plain", "gh-1"), LS("none", NULL));
	ck_assert_ptr_nonnull(strstr(captured(),
	    "Z info limiter-0 device.seen device=\"a b\\u000a\\\"x\\\"\\u001b[2J\" "
	    "n=-1 u=2 f=1.5 plain=gh-1 none=\"\"\n"));
	ck_assert_ptr_null(strstr(line, "not.written"));
}
END_TEST

START_TEST(test_json)
{
	log_init("limiter-0", LOG_LEVEL_DEBUG, LOG_FORMAT_JSON);
	capture();
	log_debug("e", LB("b", bytes_of("\x01\"", 2)), LF("f", NAN), LI("n", 3));
	ck_assert_ptr_nonnull(
	    strstr(captured(), "\"level\":\"debug\",\"process\":\"limiter-0\",\"event\":\"e\","
			       "\"b\":\"\\u0001\\\"\",\"f\":null,\"n\":3}\n"));
	ck_assert(line[0] == '{');
}
END_TEST

START_TEST(test_long_text_ends_the_line)
{
	static char text[20000];

	memset(text, 'x', sizeof text - 1);
	log_init("p", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	capture();
	log_info("e", LS("a", text), LS("b", text), LS("c", text), LS("d", text), LS("e", text),
	    LS("f", text));
	captured();
	ck_assert_uint_lt(strlen(line), 4100);
	ck_assert(line[strlen(line) - 1] == '\n');
}
END_TEST

START_TEST(test_repeats_are_counted)
{
	unsigned lines = 0;
	uint64_t before = metric_get(M_LOG_SUPPRESSED);

	log_init("p", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	capture();
	for (int i = 0; i < 25; i++)
		log_warn("same", LI("i", i));
	for (const char *p = captured(); *p; p++)
		lines += *p == '\n';
	ck_assert_uint_eq(lines, 10);
	ck_assert_uint_eq(metric_get(M_LOG_SUPPRESSED) - before, 15);
}
END_TEST

UNIT_MAIN("log", test_text, test_json, test_long_text_ends_the_line, test_repeats_are_counted)
