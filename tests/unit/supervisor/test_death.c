/* test_death.c - why a child ended, in words */
#include "death.h"

#include <errno.h>
#include <signal.h>

#include "../unit.h"

START_TEST(test_text)
{
	static const struct {
		struct death d;
		const char *text;
	} cases[] = {
		{ { .at_wall_us = 0 }, "never" },
		{ { .at_wall_us = 1, .exit_code = -1, .signal = SIGKILL, .up_us = 200000000 },
		    "killed by SIGKILL after 3m20s" },
		{ { .at_wall_us = 1, .exit_code = -1, .signal = SIGSEGV, .core = true, .up_us = 0 },
		    "killed by SIGSEGV (core dumped) after 0ms" },
		{ { .at_wall_us = 1,
		      .exit_code = -1,
		      .signal = SIGABRT,
		      .up_us = 5000000,
		      .cause = "no heartbeat" },
		    "no heartbeat: SIGABRT after 5s" },
		{ { .at_wall_us = 1, .exit_code = 78, .up_us = -1 },
		    "exit 78, its configuration is wrong before READY" },
		{ { .at_wall_us = 1, .exit_code = 75, .up_us = 1500 },
		    "exit 75, a dependency is away after 1ms" },
		{ { .at_wall_us = 1, .exit_code = 0, .up_us = 4000000 },
		    "exit 0, without an error after 4s" },
		{ { .at_wall_us = 1, .exit_code = 64, .up_us = -1 },
		    "exit 64, usage before READY" },
		{ { .at_wall_us = 1, .exit_code = 3, .up_us = -1 },
		    "exit 3, a failure of its own before READY" },
		{ { .at_wall_us = 1, .spawn_errno = ENOENT, .program = "roost-rules", .up_us = -1 },
		    "roost-rules could not be started: No such file or directory" },
		{ { .at_wall_us = 1, .exit_code = -1, .signal = 33, .up_us = -1 },
		    "killed by signal 33 before READY" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[DEATH_TEXT_MAX];

		ck_assert_str_eq(death_text(&cases[i].d, text), cases[i].text);
	}
}
END_TEST

START_TEST(test_spans)
{
	static const struct {
		int64_t us;
		const char *text;
	} cases[] = {
		{ 0, "0ms" },
		{ 999999, "999ms" },
		{ 1000000, "1s" },
		{ 59999999, "59s" },
		{ 60000000, "1m00s" },
		{ 3599000000, "59m59s" },
		{ 3600000000, "1h00m" },
		{ 90061000000, "1d01h" },
		{ INT64_MAX, "106751991d04h" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[24];

		ck_assert_str_eq(span_text(cases[i].us, text), cases[i].text);
	}
}
END_TEST

UNIT_MAIN("death", test_text, test_spans)
