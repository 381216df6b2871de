/* test_sim.c - what roost sim publishes: models are plausible and repeatable, recordings are read or refused with a place */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../unit.h"
#include "err.h"
#include "mem.h"
#include "sim_model.h"
#include "sim_replay.h"

#define NOON_US 1795350000000000ll /* 2026-11-22 12:20 UTC */

START_TEST(test_same_seed_same_readings)
{
	struct sim_device a, b;
	struct buf x = { 0 }, y = { 0 };

	for (uint32_t i = 0; i < 8; i++) {
		sim_device_init(&a, i, 42);
		sim_device_init(&b, i, 42);
		for (int n = 0; n < 1000; n++) {
			buf_clear(&x);
			buf_clear(&y);
			sim_device_reading(&a, NOON_US + n * 1000000ll, &x);
			sim_device_reading(&b, NOON_US + n * 1000000ll, &y);
			ck_assert_str_eq(buf_str(&x), buf_str(&y));
		}
	}
	buf_fini(&x);
	buf_fini(&y);
}
END_TEST

START_TEST(test_times_never_repeat)
{
	struct sim_device d;
	struct buf out = { 0 };
	long long last = 0, ts;

	sim_device_init(&d, 0, 1);
	for (int n = 0; n < 1000; n++) {
		buf_clear(&out);
		sim_device_reading(&d, NOON_US + n * 100, &out); /* ten readings a millisecond */
		ck_assert_int_eq(sscanf(buf_str(&out), "{\"ts\":%lld,", &ts), 1);
		ck_assert_int_gt(ts, last);
		last = ts;
	}
	buf_fini(&out);
}
END_TEST

START_TEST(test_a_day_is_plausible_and_has_faults)
{
	struct sim_device d;
	struct buf out = { 0 };
	double t, low = 1000, high = -1000;
	int missing = 0;

	sim_device_init(&d, 0, 7);
	for (int n = 0; n < 86400; n++) {
		const char *at;

		buf_clear(&out);
		sim_device_reading(&d, NOON_US + n * 1000000ll, &out);
		at = strstr(buf_str(&out), "\"temperature\":");
		if (at == NULL) {
			missing++;
			continue;
		}
		t = strtod(at + strlen("\"temperature\":"), NULL);
		low = t < low ? t : low;
		high = t > high ? t : high;
	}
	ck_assert_double_gt(low, -10); /* the curve alone spans 10 degrees around 21 */
	ck_assert_double_lt(low, 20);
	ck_assert_double_gt(high, 40); /* a drift or a spike */
	ck_assert_double_lt(high, 200);
	ck_assert_int_gt(missing, 0);
	ck_assert_int_lt(missing, 86400 / 10);
	buf_fini(&out);
}
END_TEST

static int
load_text(const char *text, struct sim_recording *ret, struct buf *err)
{
	char path[] = "/tmp/roost-test-sim-XXXXXX";
	int fd = mkstemp(path);
	int rc;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	rc = sim_recording_load(path, ret, err);
	unlink(path);
	return rc;
}

static const struct {
	const char *label;
	const char *text;
	size_t count;
	int64_t first_us;
	double last;
} good[] = {
	{ "a space between day and time",
	    "timestamp,value\n2015-07-10 14:24:00,564\n2015-07-10 14:38:00,730.5\n", 2,
	    1436538240000000, 730.5 },
	{ "ISO, CRLF, blank line", "t,v\r\n2015-07-10T14:24:00Z,-1e3\r\n\r\n", 1, 1436538240000000,
	    -1000 },
	{ "out of order is sorted", "t,v\n2015-07-10 14:25:00,2\n2015-07-10 14:24:00,1\n", 2,
	    1436538240000000, 2 },
	{ "more columns", "t,v,w\n2015-07-10 14:24:00,2,x\n", 1, 1436538240000000, 2 },
};

START_TEST(test_recording_is_read)
{
	struct sim_recording r;
	struct buf err = { 0 };

	ck_assert_msg(
	    load_text(good[_i].text, &r, &err) == 0, "%s: %s", good[_i].label, buf_str(&err));
	ck_assert_msg(r.count == good[_i].count, "%s", good[_i].label);
	ck_assert_msg(r.points[0].time_us == good[_i].first_us, "%s", good[_i].label);
	ck_assert_msg(r.points[r.count - 1].value == good[_i].last, "%s", good[_i].label);
	sim_recording_fini(&r);
	buf_fini(&err);
}
END_TEST

static const struct {
	const char *label;
	const char *text;
	const char *says;
} bad[] = {
	{ "no comma", "t,v\n2015-07-10 14:24:00\n", ":2: " },
	{ "no number", "t,v\n2015-07-10 14:24:00,1\n2015-07-10 14:24:00,x\n", ":3: " },
	{ "no time", "t,v\nyesterday,1\n", ":2: " },
	{ "not finite", "t,v\n2015-07-10 14:24:00,nan\n", ":2: " },
	{ "only a header", "t,v\n", "no points" },
	{ "nothing", "", "no points" },
};

START_TEST(test_recording_is_refused)
{
	struct sim_recording r;
	struct buf err = { 0 };

	ck_assert_msg(load_text(bad[_i].text, &r, &err) == ERR_CONFIG, "%s", bad[_i].label);
	ck_assert_msg(
	    strstr(buf_str(&err), bad[_i].says) != NULL, "%s: %s", bad[_i].label, buf_str(&err));
	buf_fini(&err);
}
END_TEST

START_TEST(test_recording_that_is_not_there)
{
	struct sim_recording r;
	struct buf err = { 0 };

	ck_assert_int_eq(sim_recording_load("/nonexistent/recording.csv", &r, &err), ERR_IO);
	ck_assert_ptr_nonnull(strstr(buf_str(&err), "/nonexistent/recording.csv"));
	buf_fini(&err);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("sim");
	TCase *tc = tcase_create("sim");

	tcase_add_test(tc, test_same_seed_same_readings);
	tcase_add_test(tc, test_times_never_repeat);
	tcase_add_test(tc, test_a_day_is_plausible_and_has_faults);
	tcase_add_loop_test(tc, test_recording_is_read, 0, COUNT_OF(good));
	tcase_add_loop_test(tc, test_recording_is_refused, 0, COUNT_OF(bad));
	tcase_add_test(tc, test_recording_that_is_not_there);
	suite_add_tcase(suite, tc);
	return unit_end(suite);
}
