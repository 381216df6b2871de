/* test_engine.c - readings and time in, transitions out: thresholds, absence, lateness, reload, restart, determinism */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* --- reload --- */

START_TEST(reload_keeps_what_means_the_same)
{
	world_init(&w,
	    HEAD "  - { alert: Hot, when: t > 35, for: 10s }\n  - { alert: Other, when: u > 1 }\n");
	world_read(&w, 1, "d", "t=40 u=2");
	ck_assert_str_eq(world_told(&w), "Other d firing warning @1;");
	/* other text, order, summary, severity and neighbours; the same meaning */
	world_rules(&w, HEAD "  - { alert: New, when: 't>0 and a > 1' }\n  - { alert: Other, when: "
			     "'u > 1', severity: info }\n"
			     "  - { alert: Hot, when: '(t) > 35.0', for: 10s, summary: '{t}' }\n");
	ck_assert_str_eq(world_told(&w), "");
	world_tick_to(&w, 20);
	ck_assert_str_eq(world_told(&w), "Hot d firing warning @11;");
	world_read(&w, 21, "d", "a=2"); /* the new rule knows t from before */
	ck_assert_str_eq(world_told(&w), "New d firing warning @21;");
	world_read(&w, 22, "d", "u=0 t=0");
	ck_assert_str_eq(world_told(&w),
	    "Other d cleared warning @22;New d cleared warning @22;Hot d cleared warning @22;");
}
END_TEST

START_TEST(reload_of_changed_rules)
{
	world_init(
	    &w, HEAD "  - { alert: P, when: t > 35, for: 10s }\n  - { alert: F, when: t > 30 }\n");
	world_read(&w, 1, "d", "t=40");
	ck_assert_str_eq(world_told(&w), "F d firing warning @1;");
	world_rules(
	    &w, HEAD "  - { alert: P, when: t > 36, for: 10s }\n  - { alert: F, when: t > 50 }\n");
	ck_assert_str_eq(world_state(&w, "P", "d"), "inactive"); /* begins anew */
	ck_assert_str_eq(world_state(&w, "F", "d"), "firing");	 /* stays until it is looked at */
	world_tick_to(&w, 15);
	ck_assert_str_eq(world_told(&w), "");
	world_read(&w, 16, "d", "t=40");
	ck_assert_str_eq(world_told(&w), "F d cleared warning @16;");
	world_tick_to(&w, 30);
	ck_assert_str_eq(world_told(&w), "P d firing warning @26;");
}
END_TEST

START_TEST(reload_that_removes)
{
	world_init(&w, HEAD "  - { alert: A, when: 'm == \"x\"', summary: 'm is {m}' }\n  - { "
			    "alert: B, when: t > 1, for: 9s }\n"
			    "  - { alert: C, when: t > 1 }\n");
	world_read(&w, 1, "d", "m=x t=2");
	ck_assert_str_eq(world_told(&w), "A d firing warning @1;C d firing warning @1;");
	world_rules(&w, "version: 1\ngroup: g\nmatch: { device: 'other-*' }\nrules:\n  - { alert: "
			"C, when: t > 1 }\n");
	const char *told = world_told(&w);
	ck_assert(
	    strstr(told, "A d cleared warning @1;") && strstr(told, "C d cleared warning @1;"));
	ck_assert(strstr(told, "B") == NULL);
	ck_assert_uint_eq(engine_firing(w.engine), 0);
	world_tick_to(&w, 30);
	world_rules(&w, HEAD "  - { alert: A, when: 'm == \"x\"' }\n");
	world_read(&w, 31, "d", "m=x"); /* a new life of the same rule */
	ck_assert_str_eq(world_told(&w), "A d firing warning @31;");
}
END_TEST

START_TEST(reload_that_adds_an_absence)
{
	world_init(&w, HEAD "  - { alert: A, when: t > 1 }\n");
	world_read(&w, 1, "d", "t=0");
	world_tick_to(&w, 100);
	world_rules(&w, HEAD "  - { alert: S, missing: t, after: 10s }\n");
	world_tick_to(&w, 105);
	ck_assert_str_eq(world_told(&w), "S d firing warning @100;");
}
END_TEST

/* --- restart --- */

static const char *const restart_rules =
    HEAD "  - { alert: Hot, when: t > 35, for: 10s, clear: t < 30, clear_for: 7s, severity: { "
	 "critical: t > 60 }, repeat: 25s }\n"
	 "  - { alert: M, when: 'm == \"x\"', for: 3s }\n"
	 "  - { alert: S, missing: t, after: 15s }\n"
	 "  - { alert: R, when: a / b > t, for: 2s, clear_for: 4s }\n";

/* 600 seconds of readings from a seed; a restart (or a reload to the same meaning) at each of the given seconds. */
static void
live(struct world *world, unsigned seed, const bool *restart)
{
	static const char *const modes[] = { "x", "y", "1", "true" };
	unsigned x = seed * 2654435761u + 1;

	world_init(world, restart_rules);
	for (int s = 1; s < 600; s++) {
		char device[8], points[80];
		x = x * 1664525u + 1013904223u;
		snprintf(device, sizeof(device), "d%u", x >> 16 & 3);
		snprintf(
		    points, sizeof(points), "t=%u m=%s", (x >> 20 & 7) * 10, modes[x >> 24 & 3]);
		if ((x >> 18 & 3) == 0)
			snprintf(points, sizeof(points), "a=%u b=%u", x >> 20 & 15, x >> 26 & 3);
		if ((x >> 28) != 0 && s % 50 < 30)
			world_read(world, s, device, points);
		else
			world_tick_to(world, s);
		if (restart && restart[s])
			world_restart(world);
	}
}

START_TEST(a_restart_at_any_moment_changes_nothing)
{
	size_t transitions = 0;

	for (unsigned seed = 0; seed < 30; seed++) {
		struct world straight = { 0 }, broken = { 0 };
		bool restart[600] = { false };
		unsigned x = seed + 7;

		for (int i = 0; i < 40; i++) {
			x = x * 1664525u + 1013904223u;
			restart[x >> 16 & 511] = true;
		}
		for (int s = 0; s < 600; s++)
			restart[s] |= seed == 0; /* each second once */
		live(&straight, seed, NULL);
		live(&broken, seed, restart);
		size_t same = 0;
		const char *a = buf_str(&straight.told), *b = buf_str(&broken.told);
		while (a[same] && a[same] == b[same])
			same++;
		ck_assert_msg(
		    strcmp(a, b) == 0, "seed %u:\n%.200s\n%.200s", seed, a + same, b + same);
		ck_assert_str_eq(buf_str(&straight.ids), buf_str(&broken.ids));
		for (size_t i = 0; i < straight.told.len; i++)
			transitions += straight.told.data[i] == ';';
		world_fini(&straight);
		world_fini(&broken);
	}
	ck_assert_uint_gt(transitions, 1000);
	world_init(&w, HEAD "  - { alert: A, when: t > 1 }\n");
}
END_TEST

START_TEST(restart_under_other_rules)
{
	struct rule_index *other;

	world_init(&w, HEAD "  - { alert: A, when: t > 1 }\n  - { alert: B, when: t > 1 }\n  - { "
			    "alert: C, when: t > 1, for: 5s }\n");
	world_read(&w, 1, "d", "t=2");
	(void)world_told(&w);
	struct engine_saved_alert a = { .device = bytes_of_str("d"),
		.group = "g",
		.alert = "A",
		.identity = 1,
		.meaning = 2,
		.fsm = *engine_alert(w.engine, "g", "A", bytes_of_str("d")) };
	other = index_of_text(HEAD "  - { alert: B, when: t > 5 }\n");
	struct world n = { .index = other };
	world_init(&n, HEAD "  - { alert: B, when: t > 5 }\n");
	rule_index_free(&other);
	engine_load_position(n.engine, T0 + 9 * S, 9, 0);
	static const uint8_t latest[] = { 0x91, 0x95, 0x00, 0xa1, 't', 0xcb, 0x40, 0, 0, 0, 0, 0, 0,
		0, 0x01, 0x01 };
	ck_assert_int_eq(
	    engine_load_device(n.engine, bytes_of_str("d"), bytes_of(latest, sizeof(latest))), 0);
	ck_assert_int_eq(engine_load_alert(n.engine, &a), 0);
	ck_assert_str_eq(world_told(&n), "A d cleared warning @9;");
	world_fini(&n);
}
END_TEST

/* What a changed rule resets is written with the rule's new meaning, or the start after this one takes it for the new
 * rule's. */
START_TEST(restart_under_a_changed_rule_is_saved)
{
	struct rule_index *index;
	uint64_t identity = 0;

	world_init(&w, HEAD "  - { alert: A, when: t > 1, for: 5s }\n");
	world_read(&w, 1, "d", "t=2");
	ck_assert_str_eq(world_state(&w, "A", "d"), "pending");
	index = w.index;
	identity = rule_index_at(index, 0)->identity;
	struct engine_saved_alert a = { .device = bytes_of_str("d"),
		.group = "g",
		.alert = "A",
		.identity = identity,
		.meaning = rule_index_at(index, 0)->meaning,
		.fsm = *engine_alert(w.engine, "g", "A", bytes_of_str("d")) };
	struct world n = { 0 };
	world_init(&n, HEAD "  - { alert: A, when: t > 1, for: 1h }\n");
	engine_load_position(n.engine, T0 + 2 * S, 9, 0);
	static const uint8_t latest[] = { 0x91, 0x95, 0x00, 0xa1, 't', 0xcb, 0x40, 0, 0, 0, 0, 0, 0,
		0, 0x01, 0x01 };
	ck_assert_int_eq(
	    engine_load_device(n.engine, bytes_of_str("d"), bytes_of(latest, sizeof(latest))), 0);
	ck_assert_int_eq(engine_load_alert(n.engine, &a), 0);
	engine_load_end(n.engine);
	ck_assert(engine_is_dirty(n.engine));
	world_restart(&n);
	world_tick_to(&n, 60);
	ck_assert_str_eq(world_told(&n), "");
	world_fini(&n);
}
END_TEST

START_TEST(bad_saved_state_is_refused)
{
	/* every prefix of a good latest, and wrong shapes */
	static const uint8_t good[] = { 0x91, 0x95, 0x00, 0xa1, 't', 0xa2, 'h', 'i', 0x01, 0x01 };

	world_init(&w, HEAD "  - { alert: A, when: t > 1 }\n");
	for (size_t len = 0; len < sizeof(good); len++) {
		char id[16];
		uint8_t *copy = xmemdup(good, len ? len : 1);
		snprintf(id, sizeof(id), "p%zu", len);
		ck_assert_int_eq(
		    engine_load_device(w.engine, bytes_of_str(id), bytes_of(copy, len)),
		    ERR_MALFORMED);
		free(copy);
	}
	ck_assert_int_eq(
	    engine_load_device(w.engine, bytes_of_str("d"), bytes_of(good, sizeof(good))), 0);
	ck_assert_int_eq(
	    engine_load_device(w.engine, bytes_of_str("d"), bytes_of(good, sizeof(good))),
	    ERR_MALFORMED);
	ck_assert_int_eq(
	    engine_load_device(w.engine, bytes_of(NULL, 0), bytes_of(good, sizeof(good))),
	    ERR_MALFORMED);
	struct engine_saved_alert a = {
		.device = bytes_of_str("nobody"), .group = "g", .alert = "A"
	};
	ck_assert_int_eq(engine_load_alert(w.engine, &a), ERR_MALFORMED);
	a.device = bytes_of_str("d");
	a.fsm.severity = 3;
	ck_assert_int_eq(engine_load_alert(w.engine, &a), ERR_MALFORMED);
	a.fsm.severity = 0;
	a.fsm.state = (enum alert_state)5;
	ck_assert_int_eq(engine_load_alert(w.engine, &a), ERR_MALFORMED);
}
END_TEST

START_TEST(room_is_made_for_new_devices)
{
	char id[16];

	w.devices_max = 50;
	world_init(&w, HEAD "  - { alert: Hot, when: t > 35 }\n");
	for (int i = 0; i < 50; i++) {
		snprintf(id, sizeof(id), "d%d", i);
		world_read(&w, 1, id, i < 10 ? "t=40" : "t=1");
	}
	world_read(&w, 2, "n1", "t=1"); /* nothing was saved yet: nobody may be forgotten */
	ck_assert_uint_eq(engine_counts(w.engine)->refused, 1);
	struct engine_saver saver = { .on_device = NULL };
	(void)saver;
	(void)world_told(&w);
	world_restart(&w);
	world_read(&w, 3, "n1", "t=40"); /* d10, the longest idle without an alert */
	ck_assert_uint_eq(engine_devices(w.engine), 50);
	ck_assert_uint_eq(engine_counts(w.engine)->forgotten, 1);
	ck_assert_str_eq(world_told(&w), "Hot n1 firing warning @3;");
	for (int i = 0; i < 10; i++) {
		snprintf(id, sizeof(id), "d%d", i);
		ck_assert_str_eq(world_state(&w, "Hot", id), "firing");
	}
}
END_TEST

/* rules.devices_max bounds who comes new; what is on disk was let in by an earlier one. */
START_TEST(a_smaller_bound_loses_nothing_at_a_restart)
{
	char id[16];

	w.devices_max = 50;
	world_init(&w, HEAD "  - { alert: Hot, when: t > 35 }\n");
	for (int i = 0; i < 30; i++) {
		snprintf(id, sizeof(id), "d%d", i);
		world_read(&w, 1, id, "t=40");
	}
	w.devices_max = 10;
	world_restart(&w);
	ck_assert_uint_eq(engine_devices(w.engine), 30);
	ck_assert_uint_eq(engine_firing(w.engine), 30);
	(void)world_told(&w);
	world_read(&w, 2, "d29", "t=20");
	ck_assert_str_eq(world_told(&w), "Hot d29 cleared warning @2;");
	world_read(&w, 3, "n1", "t=40"); /* d29 was heard last, but is not saved; the others fire */
	ck_assert_str_eq(world_told(&w), "");
	ck_assert_uint_eq(engine_counts(w.engine)->refused, 1);
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
	tcase_add_test(tc, what_is_refused_copied_or_quarantined_does_not_exist);
	tcase_add_test(tc, strings_are_kept_within_bounds);
	tcase_add_test(tc, values_are_json);
	tcase_add_test(tc, absence);
	tcase_add_test(tc, nobody_is_silent_while_nobody_listens);
	tcase_add_test(tc, attributes_and_tags);
	tcase_add_test(tc, reload_keeps_what_means_the_same);
	tcase_add_test(tc, reload_of_changed_rules);
	tcase_add_test(tc, reload_that_removes);
	tcase_add_test(tc, reload_that_adds_an_absence);
	tcase_add_test(tc, a_restart_at_any_moment_changes_nothing);
	tcase_add_test(tc, restart_under_other_rules);
	tcase_add_test(tc, restart_under_a_changed_rule_is_saved);
	tcase_add_test(tc, bad_saved_state_is_refused);
	tcase_add_test(tc, room_is_made_for_new_devices);
	tcase_add_test(tc, a_smaller_bound_loses_nothing_at_a_restart);
	tcase_add_test(tc, many_devices_and_rules);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
