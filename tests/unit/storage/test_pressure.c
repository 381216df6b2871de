/* test_pressure.c - both signs bring it, less of both keeps it, either one's end ends it */
#include <check.h>

#include "../unit.h"
#include "pressure.h"

#define ABOVE 10000000u

static struct pressure p;
static int64_t now = 5000000;
static uint64_t bytes, waited;

/* Looks after so many ms, at so many bytes a second and percent of waiting. */
static bool
look(int64_t ms, uint64_t bytes_s, uint64_t percent)
{
	now += ms * 1000;
	bytes += bytes_s * (uint64_t)ms / 1000;
	waited += (uint64_t)ms * 10 * percent;
	pressure_look(&p, now, bytes, waited);
	return p.on;
}

START_TEST(test_both_signs_together)
{
	static const struct {
		const char *label;
		uint64_t bytes_s, percent;
		bool on;
	} cases[] = {
		{ "idle", 0, 0, false },
		{ "many readings, processors enough", 2 * ABOVE, PRESSURE_WAIT_PERCENT - 1, false },
		{ "few readings, others take the processors", ABOVE - 100, 90, false },
		{ "both", ABOVE, PRESSURE_WAIT_PERCENT, true },
		{ "a little less of both", ABOVE / 4 * 3, PRESSURE_STILL_PERCENT, true },
		{ "fewer readings", ABOVE / 2, 90, false },
		{ "not yet again", ABOVE / 4 * 3, PRESSURE_STILL_PERCENT, false },
		{ "both again", ABOVE, PRESSURE_WAIT_PERCENT, true },
		{ "no waiting", 2 * ABOVE, PRESSURE_STILL_PERCENT - 1, false },
	};

	p = (struct pressure){ .above = ABOVE };
	bytes = waited = 123456789; /* what was before the first look says nothing */
	ck_assert(!look(1000, 10 * ABOVE, 90));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ck_assert_msg(look(100, cases[i].bytes_s, cases[i].percent) == cases[i].on, "%s",
		    cases[i].label);
}
END_TEST

START_TEST(test_looks_are_not_too_close)
{
	p = (struct pressure){ .above = ABOVE };
	ck_assert(pressure_look_is_due(&p, now));
	look(100, 0, 0);
	ck_assert(!pressure_look_is_due(&p, now + PRESSURE_LOOK_US - 1));
	ck_assert(!look(99, 3 * ABOVE, 90));
	ck_assert(look(1, 3 * ABOVE, 90));
	/* After a long silence the whole of it counts. */
	ck_assert(!look(1000, ABOVE / 10, 20));
	p = (struct pressure){ .above = 0 };
	ck_assert(!pressure_look_is_due(&p, now));
	ck_assert(!look(1000, 10 * ABOVE, 90));
}
END_TEST

UNIT_MAIN("pressure", test_both_signs_together, test_looks_are_not_too_close)
