/* unit.h - the main() of a unit test: UNIT_MAIN("codec", test_round_trip, ...), or with what stands around each test,
 * UNIT_MAIN_IN("journal", setup, teardown, test_round_trip, ...); a main() of another shape ends with unit_end(suite) */
#ifndef ROOST_UNIT_H
#define ROOST_UNIT_H

#include <check.h>
#include <stdlib.h>

/* Runs the suite; what main() returns. */
static inline int
unit_end(Suite *s)
{
	SRunner *sr = srunner_create(s);
	int failed;

	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

static inline int
unit_run(const char *name, SFun setup, SFun teardown, const TTest *const *tests, size_t count)
{
	Suite *s = suite_create(name);
	TCase *tc = tcase_create(name);

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	for (size_t i = 0; i < count; i++)
		tcase_add_test(tc, tests[i]);
	suite_add_tcase(s, tc);
	return unit_end(s);
}

#define UNIT_MAIN_IN(name, setup, teardown, ...)                                                   \
	int main(void)                                                                             \
	{                                                                                          \
		const TTest *const tests[] = { __VA_ARGS__ };                                      \
		return unit_run(name, setup, teardown, tests, sizeof tests / sizeof tests[0]);     \
	}
#define UNIT_MAIN(name, ...) UNIT_MAIN_IN(name, NULL, NULL, __VA_ARGS__)

#endif
