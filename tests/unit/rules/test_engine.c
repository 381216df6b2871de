/* test_engine.c - readings and time in, transitions out: thresholds, absence, lateness */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "err.h"
#include "mem.h"
#include "support_rules.h"

#define HEAD "version: 1\ngroup: g\nrules:\n"

static struct world w;

static void
setup(void)
{
	w = (struct world){ 0 };
}

static void
teardown(void)
{
	world_fini(&w);
}

START_TEST(fires_at_once_and_clears_with_hysteresis)
{
	world_init(&w,
	    HEAD "  - { alert: Hot, when: temperature > 35, clear: temperature < 33, summary: "
		 "'{device}: "
		 "{temperature|1} C {duration}', runbook: 'http://x', notify: [a, b] }\n");
	world_read(&w, 1, "d", "temperature=30");
	ck_assert_str_eq(world_told(&w), "");
	world_read(&w, 2, "d", "temperature=41.5");
	ck_assert_str_eq(world_told(&w), "Hot d firing warning @2;");
	ck_assert_str_eq(buf_str(&w.detail), "d: 41.5 C 0s|{\"temperature\":41.5}|http://x|a,b");
	world_read(&w, 3, "d", "temperature=50");
	world_read(&w, 4, "d", "temperature=34"); /* neither hot nor over */
	ck_assert_str_eq(world_told(&w), "");
	ck_assert_uint_eq(engine_firing(w.engine), 1);
	world_read(&w, 62, "d", "temperature=32");
	ck_assert_str_eq(world_told(&w), "Hot d cleared warning @62;");
	ck_assert_str_eq(buf_str(&w.detail), "d: 32.0 C 1m|{\"temperature\":32}|http://x|a,b");
	ck_assert_uint_eq(engine_firing(w.engine), 0);
	world_read(&w, 63, "d", "temperature=36");
	ck_assert_str_eq(world_told(&w), "Hot d firing warning @63;");
}
END_TEST

START_TEST(the_condition_is_stronger_than_clear)
{
	world_init(&w, HEAD "  - { alert: Hot, when: t > 35, clear: t < 40 }\n");
	world_read(&w, 1, "d", "t=37");
	world_read(&w, 2, "d", "t=38");
	ck_assert_str_eq(world_told(&w), "Hot d firing warning @1;");
	world_read(&w, 3, "d", "t=34");
	ck_assert_str_eq(world_told(&w), "Hot d cleared warning @3;");
}
END_TEST

START_TEST(for_and_clear_for_run_on_journal_time)
{
	world_init(&w, HEAD "  - { alert: Hot, when: t > 35, for: 10s, clear_for: 5s }\n");
	world_read(&w, 1, "d", "t=40");
	world_read(&w, 5, "d", "t=41");
	world_tick_to(&w, 10);
	ck_assert_str_eq(world_told(&w), "");
	ck_assert_str_eq(world_state(&w, "Hot", "d"), "pending");
	world_tick_to(&w, 12); /* no reading is needed for it to fire */
	ck_assert_str_eq(world_told(&w), "Hot d firing warning @11;");
	ck_assert_int_eq(w.last_since, T0 + 1 * S);
	world_read(&w, 13, "d", "t=30");
	world_read(&w, 16, "d", "t=40");
	world_read(&w, 20, "d", "t=30");
	world_tick_to(&w, 24);
	ck_assert_str_eq(world_told(&w), "");
	world_tick_to(&w, 60);
	ck_assert_str_eq(world_told(&w), "Hot d cleared warning @25;");
	world_read(&w, 61, "d", "t=40"); /* too short */
	world_read(&w, 70, "d", "t=30");
	world_tick_to(&w, 90);
	ck_assert_str_eq(world_told(&w), "");
}
END_TEST

START_TEST(a_timer_fires_at_its_own_time_even_if_the_journal_leaps)
{
	world_init(&w, HEAD "  - { alert: Hot, when: t > 35, for: 10s }\n  - { alert: Cold, when: "
			    "t > 36, for: 7s }\n");
	world_read(&w, 1, "d", "t=40");
	engine_advance(w.engine, T0 + 500 * S, 99);
	ck_assert_str_eq(world_told(&w), "Cold d firing warning @8;Hot d firing warning @11;");
}
END_TEST

START_TEST(severity_rises_and_falls)
{
	world_init(&w, HEAD
	    "  - { alert: Hot, when: t > 35, severity: { critical: t > 45, info: t < 36 } }\n");
	world_read(&w, 1, "d", "t=36");
	world_read(&w, 2, "d", "t=46");
	world_read(&w, 3, "d", "t=47");
	world_read(&w, 4, "d", "t=40");
	world_read(&w, 5, "d", "t=35.5");
	world_read(&w, 6, "d", "t=30");
	ck_assert_str_eq(world_told(&w), "Hot d firing warning @1;Hot d firing critical @2;Hot d "
					 "firing warning @4;Hot d firing info @5;"
					 "Hot d cleared info @6;");
	/* five transitions of one alert: one alert id, five ids */
	char *lines = xstrdup(buf_str(&w.ids)), *save = NULL, first[33] = "", seen[5][33];
	size_t n = 0;
	for (char *line = strtok_r(lines, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save), n++) {
		char alert_id[33], id[33];
		ck_assert_int_eq(sscanf(line, "%32s %32s", alert_id, id), 2);
		if (n == 0)
			strcpy(first, alert_id);
		ck_assert_str_eq(alert_id, first);
		for (size_t i = 0; i < n; i++)
			ck_assert_str_ne(seen[i], id);
		strcpy(seen[n], id);
	}
	ck_assert_uint_eq(n, 5);
	free(lines);
}
END_TEST

START_TEST(repeats_while_it_lasts)
{
	world_init(&w, HEAD "  - { alert: Hot, when: t > 35, repeat: 10s }\n");
	world_read(&w, 1, "d", "t=40");
	world_tick_to(&w, 35);
	ck_assert_str_eq(world_told(&w),
	    "Hot d firing warning @1;Hot d firing warning @11;Hot d firing warning @21;"
	    "Hot d firing warning @31;");
	engine_advance(
	    w.engine, T0 + 100000 * S, 99); /* nobody wants ten thousand reminders of a gap */
	ck_assert_str_eq(world_told(&w), "Hot d firing warning @99991;");
	world_read(&w, 100001, "d", "t=30");
	world_tick_to(&w, 100100);
	ck_assert_str_eq(
	    world_told(&w), "Hot d firing warning @100001;Hot d cleared warning @100001;");
}
END_TEST

START_TEST(only_what_matches)
{
	world_init(&w, "version: 1\ngroup: g\nmatch: { device: ['gh-*', 'x?'] }\nrules:\n"
		       "  - { alert: Hot, when: t > 35 }\n  - { alert: One, when: t > 35, match: { "
		       "device: gh-1 } }\n");
	world_read(&w, 1, "gh-1", "t=40");
	world_read(&w, 2, "gh-2", "t=40");
	world_read(&w, 3, "xy", "t=40");
	world_read(&w, 4, "xyz", "t=40");
	world_read(&w, 5, "other", "t=40");
	ck_assert_str_eq(world_told(&w),
	    "Hot gh-1 firing warning @1;One gh-1 firing warning @1;Hot gh-2 firing "
	    "warning @2;Hot xy firing warning @3;");
}
END_TEST

START_TEST(metrics_arrive_in_any_order_and_message)
{
	world_init(&w, HEAD "  - { alert: Both, when: a > 1 and b > 1 }\n  - { alert: S, when: "
			    "'mode == \"off\" or open' }\n");
	world_read(&w, 1, "d", "a=2");
	world_read(&w, 2, "e", "b=2 zz=5 a=2");
	world_read(&w, 3, "d", "b=2");
	world_read(&w, 4, "d", "mode=off");
	world_read(&w, 5, "d", "mode=on");
	world_read(&w, 6, "d", "open=true mode=a-rather-long-mode-of-operation");
	ck_assert_str_eq(world_told(&w),
	    "Both e firing warning @2;Both d firing warning @3;S d firing warning @4;");
	ck_assert_str_eq(world_state(&w, "S", "d"), "firing");
}
END_TEST

/* (S fires at 4; at 5 its second operand is missing: neither true nor false, so it stays.) */

START_TEST(missing_is_neither_true_nor_false)
{
	world_init(&w, HEAD "  - { alert: R, when: a / b > 1, for: 5s }\n  - { alert: N, when: not "
			    "(a / b > 1) }\n");
	world_read(&w, 1, "d", "a=2 b=1");
	world_read(&w, 2, "d", "b=0"); /* no ratio: the pending one is dropped */
	ck_assert_str_eq(world_state(&w, "R", "d"), "inactive");
	world_tick_to(&w, 20);
	ck_assert_str_eq(world_told(&w), "");
	world_read(&w, 21, "d", "b=1");
	world_tick_to(&w, 30);
	world_read(&w, 31, "d", "b=0"); /* and a firing one goes on */
	ck_assert_str_eq(world_told(&w), "R d firing warning @26;");
	ck_assert_str_eq(world_state(&w, "R", "d"), "firing");
}
END_TEST

START_TEST(several_times_in_one_message_are_looked_at_in_turn)
{
	struct point points[3];

	world_init(&w, HEAD "  - { alert: Hot, when: t > 35 }\n");
	for (int i = 0; i < 3; i++)
		points[i] = (struct point){ .name = bytes_of_str("t"),
			.time = T0 + i * S,
			.value = { .kind = VALUE_INT, .v = { .i = i == 1 ? 40 : 30 } } };
	engine_points(w.engine, T0 + 5 * S, 1, bytes_of_str("d"), points, 3);
	ck_assert_str_eq(world_told(&w), "Hot d firing warning @5;Hot d cleared warning @5;");
	/* again under the same block time: another firing, other ids */
	points[1].time = points[2].time = T0 + 3 * S;
	engine_points(w.engine, T0 + 5 * S, 1, bytes_of_str("d"), points + 1, 1);
	char a[33], b[33], c[33], d[33], e[33], f[33];
	ck_assert_int_eq(
	    sscanf(buf_str(&w.ids), "%32s %32s %32s %32s %32s %32s", a, b, c, d, e, f), 6);
	ck_assert_str_eq(a, c);
	ck_assert_str_ne(a, e);
	ck_assert_str_ne(b, f);
}
END_TEST

START_TEST(late_and_old_values_page_nobody)
{
	world_init(&w, HEAD "  - { alert: Hot, when: t > 35 }\n");
	world_tick_to(&w, 1000);
	world_read_at(&w, 1000, 1000 - 301, "d", "t=40");
	ck_assert_str_eq(world_told(&w), "");
	ck_assert_uint_eq(engine_counts(w.engine)->late, 1);
	world_read_at(&w, 1000, 1000 - 299, "d", "t=41");
	ck_assert_str_eq(world_told(&w), "Hot d firing warning @1000;");
	world_read_at(&w, 1001, 1001, "d", "t=42");
	world_read_at(&w, 1002, 900, "d", "t=10"); /* older than what is known */
	ck_assert_str_eq(world_told(&w), "");
	world_read_at(
	    &w, 1003, 5000, "d", "t=43"); /* a clock that is ahead does not shut the door */
	world_read_at(&w, 1004, 1004, "d", "t=11");
	ck_assert_str_eq(world_told(&w), "Hot d cleared warning @1004;");
}
END_TEST

/* The clock was put back, or the reading waited: the journal is hours ahead of what connectivity says. */
START_TEST(a_reading_without_a_time_is_never_late)
{
	struct record_writer writer;
	struct buf batch = { 0 };
	struct record head = { .time = T0 - 7200 * S, .device = bytes_of_str("d") }, r;
	struct point p = { .name = bytes_of_str("t"),
		.time = head.time,
		.value = { .kind = VALUE_INT, .v = { .i = 99 } } };
	struct record_cursor c;

	world_init(&w, HEAD "  - { alert: Hot, when: t > 35 }\n");
	world_read(&w, 1, "d", "t=20");
	record_begin(&writer, &batch, &head);
	record_add(&writer, &p);
	record_end(&writer);
	c = record_cursor_of(buf_bytes(&batch));
	ck_assert_int_eq(record_next(&c, &r), 0);
	ck_assert_int_eq(engine_record(w.engine, T0 + 2 * S, 9, &r), 0);
	ck_assert_str_eq(world_told(&w), "Hot d firing warning @2;");
	buf_fini(&batch);
}
END_TEST

START_TEST(what_is_refused_copied_or_quarantined_does_not_exist)
{
	struct record_writer writer;
	struct point p = { .name = bytes_of_str("t"),
		.time = T0,
		.value = { .kind = VALUE_INT, .v = { .i = 99 } } };
	uint32_t verdicts[] = { verdict_make(VERDICT_DEVICE_LIMIT, 100),
		verdict_make(VERDICT_COPY, 0), VERDICT_ACCEPTED, VERDICT_ACCEPTED };

	world_init(&w, HEAD "  - { alert: Hot, when: t > 35 }\n");
	for (size_t i = 0; i < COUNT_OF(verdicts); i++) {
		struct buf batch = { 0 };
		struct record head = { .verdict = verdicts[i],
			.time = T0,
			.device = bytes_of_str("d"),
			.flags = i == 2 ? RECORD_UNDECODABLE : 0 },
			      r;
		p.reason = i == 3 ? QUARANTINE_PHYSICAL : QUARANTINE_NONE;
		record_begin(&writer, &batch, &head);
		record_add(&writer, &p);
		record_end(&writer);
		struct record_cursor c = record_cursor_of(buf_bytes(&batch));
		ck_assert_int_eq(record_next(&c, &r), 0);
		ck_assert_int_eq(engine_record(w.engine, T0 + S, i, &r), 0);
		buf_fini(&batch);
	}
	ck_assert_str_eq(world_told(&w), "");
	ck_assert_uint_eq(engine_devices(w.engine), 0);
}
END_TEST

START_TEST(strings_are_kept_within_bounds)
{
	struct buf text = { 0 };

	world_init(&w, HEAD "  - { alert: A, when: 'm != \"x\"' }\n");
	buf_add_str(&text, "m=");
	for (int i = 0; i < EXPR_STRING_MAX; i++)
		buf_add_u8(&text, 'a');
	world_read(&w, 1, "d", buf_str(&text));
	ck_assert_str_eq(world_told(&w), "A d firing warning @1;");
	ck_assert_uint_le(w.detail.len, ENGINE_VALUES_JSON_MAX + 16);
	buf_add_u8(&text, 'a');
	world_read(&w, 2, "e", buf_str(&text)); /* one byte more: missing */
	ck_assert_str_eq(world_told(&w), "");
	buf_fini(&text);
}
END_TEST

START_TEST(values_are_json)
{
	world_init(
	    &w, HEAD "  - { alert: A, when: 'm != \"x\" and b and n > 0.1 and absent ?? true' }\n");
	world_read(&w, 1, "d", "m=\"q\\\x01 b=true n=0.30000000000000004");
	ck_assert_str_eq(world_told(&w), "A d firing warning @1;");
	ck_assert_str_eq(buf_str(&w.detail),
	    "|{\"m\":\"\\\"q\\\\\\u0001\",\"b\":true,\"n\":0.30000000000000004}||");
}
END_TEST

START_TEST(absence)
{
	world_init(&w, HEAD "  - { alert: Silent, missing: t, after: 10s, repeat: 100s }\n");
	world_tick_to(&w, 100); /* what never came is not missed */
	world_read(&w, 101, "d", "t=1");
	world_read(&w, 105, "d", "t=1");
	world_read(&w, 106, "d", "u=1");
	world_tick_to(&w, 114);
	ck_assert_str_eq(world_told(&w), "");
	world_tick_to(&w, 120);
	ck_assert_str_eq(world_told(&w), "Silent d firing warning @115;");
	ck_assert_int_eq(w.last_since, T0 + 105 * S);
	world_tick_to(&w, 220);
	ck_assert_str_eq(world_told(&w), "Silent d firing warning @215;");
	world_read_at(&w, 221, -1000, "d", "t=1"); /* late, but alive */
	ck_assert_str_eq(world_told(&w), "Silent d cleared warning @221;");
	world_tick_to(&w, 240);
	ck_assert_str_eq(world_told(&w), "Silent d firing warning @231;");
	ck_assert_int_eq(w.last_since, T0 + 221 * S);
}
END_TEST

START_TEST(nobody_is_silent_while_nobody_listens)
{
	world_init(&w, HEAD "  - { alert: Silent, missing: t, after: 20s }\n");
	world_read(&w, 1, "d", "t=1");
	world_tick_to(&w, 5);
	engine_advance(w.engine, T0 + 1000 * S, 99); /* the machine was off */
	world_tick_to(&w, 1019);
	ck_assert_str_eq(world_told(&w), "");
	world_tick_to(&w, 1025);
	ck_assert_str_eq(world_told(&w), "Silent d firing warning @1020;");
}
END_TEST

START_TEST(attributes_and_tags)
{
	struct value v = { .kind = VALUE_INT, .v = { .i = 50 } };

	world_init(&w, HEAD "  - { alert: Hot, when: t > attr.max ?? 35 }\n");
	world_read(&w, 1, "d", "t=40");
	ck_assert_str_eq(world_told(&w), "Hot d firing warning @1;");
	engine_context(
	    w.engine, T0 + 2 * S, 2, bytes_of_str("d"), EXPR_ATTR, bytes_of_str("max"), &v);
	ck_assert_str_eq(world_told(&w), "Hot d cleared warning @2;");
	world_read(&w, 3, "d", "max=1"); /* a metric of that name is something else */
	world_read(&w, 4, "d", "t=51");
	ck_assert_str_eq(world_told(&w), "Hot d firing warning @4;");
}
END_TEST

START_TEST(many_devices_and_rules)
{
	struct buf text = { 0 };

	buf_add_str(&text, HEAD);
	for (int i = 0; i < 300; i++)
		buf_addf(&text,
		    "  - { alert: A%d, when: m%d > 10 and shared > 0, match: { device: 'k%d-*' } "
		    "}\n",
		    i, i % 40, i % 7);
	world_init(&w, buf_str(&text));
	buf_fini(&text);
	for (int i = 0; i < 700; i++) {
		char id[16], points[64];
		snprintf(id, sizeof(id), "k%d-%d", i % 7, i);
		snprintf(points, sizeof(points), "m%d=%d shared=1", i % 40, i % 3 == 0 ? 11 : 9);
		world_read(&w, 1, id, points);
	}
	/* rules of metric m and kind k: those numbers i < 300 with i % 40 == m and i % 7 == k */
	size_t expected = 0;
	for (int d = 0; d < 700; d += 3) {
		for (int i = 0; i < 300; i++)
			expected += i % 40 == d % 40 && i % 7 == d % 7;
	}
	ck_assert_uint_eq(engine_firing(w.engine), expected);
	ck_assert_uint_gt(expected, 100);
	world_restart(&w);
	ck_assert_uint_eq(engine_firing(w.engine), expected);
}
END_TEST

int
main(int argc, char **argv)
{
	Suite *s = suite_create("engine");
	TCase *tc = tcase_create("engine");

	(void)argc;
	(void)argv;
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, fires_at_once_and_clears_with_hysteresis);
	tcase_add_test(tc, the_condition_is_stronger_than_clear);
	tcase_add_test(tc, for_and_clear_for_run_on_journal_time);
	tcase_add_test(tc, a_timer_fires_at_its_own_time_even_if_the_journal_leaps);
	tcase_add_test(tc, severity_rises_and_falls);
	tcase_add_test(tc, repeats_while_it_lasts);
	tcase_add_test(tc, only_what_matches);
	tcase_add_test(tc, metrics_arrive_in_any_order_and_message);
	tcase_add_test(tc, missing_is_neither_true_nor_false);
	tcase_add_test(tc, several_times_in_one_message_are_looked_at_in_turn);
	tcase_add_test(tc, late_and_old_values_page_nobody);
	tcase_add_test(tc, a_reading_without_a_time_is_never_late);
	tcase_add_test(tc, what_is_refused_copied_or_quarantined_does_not_exist);
	tcase_add_test(tc, strings_are_kept_within_bounds);
	tcase_add_test(tc, values_are_json);
	tcase_add_test(tc, absence);
	tcase_add_test(tc, nobody_is_silent_while_nobody_listens);
	tcase_add_test(tc, attributes_and_tags);
	tcase_add_test(tc, many_devices_and_rules);
	suite_add_tcase(s, tc);
	return unit_end(s);
}
