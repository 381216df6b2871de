/* test_format.c - a journal is opened only with the settings it was made with, and by one process a shard */
#include <check.h>
#include <stdio.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../unit.h"
#include "err.h"
#include "format.h"
#include "support_dir.h"

static char dir[64];

/* The module under test gets these: another process is faster by a moment, and time passes as fast as it is asked for. */
static bool link_is_late;
static bool time_flies;
static int64_t flown_ns;

int
link(const char *from, const char *to)
{
	if (link_is_late)
		ck_assert_int_eq(syscall(SYS_link, from, to), 0);
	return (int)syscall(SYS_link, from, to);
}

int
clock_gettime(clockid_t clock, struct timespec *ret_time)
{
	int r = (int)syscall(SYS_clock_gettime, clock, ret_time);

	if (time_flies) {
		flown_ns += 300000000;
		ret_time->tv_sec += flown_ns / 1000000000;
	}
	return r;
}

static void
setup(void)
{
	test_dir_new(dir, sizeof(dir));
}

static void
teardown(void)
{
	test_dir_remove(dir);
}

START_TEST(test_made_once_then_checked)
{
	ck_assert_int_eq(format_check(dir, 16, 4), 0);
	ck_assert_int_eq(format_check(dir, 16, 4), 0);
	ck_assert_int_eq(format_check(dir, 32, 4), ERR_CONFIG);
	ck_assert_int_eq(format_check(dir, 16, 1), ERR_CONFIG);
	ck_assert_int_eq(format_check("/nonexistent/place", 16, 4), ERR_IO);
}
END_TEST

START_TEST(test_other_contents)
{
	static const struct {
		const char *label;
		const char *text;
		int result;
	} cases[] = {
		{ "as it should be", "roost-journal 1\npartitions 16\nshards 4\n", 0 },
		{ "empty", "", ERR_CONFIG },
		{ "something else", "hello\n", ERR_CONFIG },
		{ "cut", "roost-journal 1\npartitions 16\n", ERR_CONFIG },
		{ "of a later release", "roost-journal 2\npartitions 16\nshards 4\n", ERR_CONFIG },
	};

	ck_assert_int_eq(format_check(dir, 16, 4), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		test_file_write(
		    dir, "journal/FORMAT", (const uint8_t *)cases[i].text, strlen(cases[i].text));
		ck_assert_msg(format_check(dir, 16, 4) == cases[i].result, "%s", cases[i].label);
	}
}
END_TEST

START_TEST(test_one_process_a_shard)
{
	char path[256];
	int first = -1, second = -1, other = -1;

	ck_assert_int_eq(format_check(dir, 16, 4), 0);
	ck_assert_int_eq(format_lock_shard(dir, 0, 0, path, sizeof(path), &first), 0);
	ck_assert(strstr(path, "/journal/shard-0") != NULL);
	ck_assert_int_eq(format_lock_shard(dir, 0, 0, path, sizeof(path), &second), ERR_TIMEOUT);
	ck_assert_int_eq(format_lock_shard(dir, 1, 0, path, sizeof(path), &other), 0);
	close(first);
	ck_assert_int_eq(format_lock_shard(dir, 0, 0, path, sizeof(path), &second), 0);
	close(second);
	close(other);
}
END_TEST

START_TEST(test_two_start_at_once)
{
	link_is_late = true;
	ck_assert_int_eq(format_check(dir, 16, 4), 0);
	link_is_late = false;
	ck_assert_int_eq(format_check(dir, 16, 4), 0);
}
END_TEST

START_TEST(test_a_folder_is_no_format)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/journal", dir);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/journal/FORMAT", dir);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_int_eq(format_check(dir, 16, 4), ERR_CONFIG);
}
END_TEST

START_TEST(test_a_long_wait_is_said)
{
	char path[256];
	int first = -1, second = -1;

	ck_assert_int_eq(format_check(dir, 16, 4), 0);
	ck_assert_int_eq(format_lock_shard(dir, 0, 0, path, sizeof(path), &first), 0);
	time_flies = true;
	ck_assert_int_eq(format_lock_shard(dir, 0, 4000, path, sizeof(path), &second), ERR_TIMEOUT);
	time_flies = false;
	close(first);
}
END_TEST

UNIT_MAIN_IN("format", setup, teardown, test_made_once_then_checked, test_other_contents,
    test_one_process_a_shard, test_two_start_at_once, test_a_folder_is_no_format,
    test_a_long_wait_is_said)
