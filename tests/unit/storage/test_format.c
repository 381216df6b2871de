/* test_format.c - a journal is opened only with the settings it was made with, and by one process a shard */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "err.h"
#include "format.h"
#include "support_dir.h"

static char dir[64];

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

int
main(void)
{
	Suite *s = suite_create("format");
	TCase *tc = tcase_create("format");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_made_once_then_checked);
	tcase_add_test(tc, test_other_contents);
	tcase_add_test(tc, test_one_process_a_shard);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
