/* test_engine_keep.c - what an engine keeps over a reload of its rules and over a restart; who is forgotten */
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

static void
put_id(void *arg, struct bytes device)
{
	uint32_t len = (uint32_t)device.len;

	buf_add(arg, &len, sizeof(len));
	buf_add(arg, device.data, len);
}

static void
put_device(void *arg, struct bytes device, struct bytes latest)
{
	(void)latest;
	put_id(arg, device);
}

static void
put_alert(void *arg, struct bytes device, uint64_t identity, const struct alert_fsm *a)
{
	(void)arg;
	(void)device;
	(void)identity;
	(void)a;
}

/* The disk had no room for a snapshot: the next has the same in it, changes and the forgotten. */
START_TEST(what_was_not_written_is_saved_again)
{
	struct buf first = { 0 }, second = { 0 }, third = { 0 };
	struct engine_saver saver = { .on_device = put_device,
		.on_alert = put_alert,
		.on_forgotten = put_id,
		.arg = &first };
	char id[16];

	w.devices_max = 20;
	world_init(&w, HEAD "  - { alert: Hot, when: t > 35 }\n");
	for (int i = 0; i < 20; i++) {
		snprintf(id, sizeof(id), "d%02d", i);
		world_read(&w, 1, id, "t=1");
	}
	world_restart(&w);
	world_read(&w, 2, "d07", "t=40");
	world_read(&w, 3, "n1", "t=1"); /* d00 makes room */
	ck_assert_uint_eq(engine_counts(w.engine)->forgotten, 1);
	engine_save(w.engine, &saver);
	ck_assert(!engine_is_dirty(w.engine));
	ck_assert_uint_eq(first.len, 3 * 4 + 3 + 3 + 2); /* d00, d07, n1 */
	world_read(&w, 4, "d08", "t=1");
	engine_unsaved(w.engine, buf_bytes(&first));
	ck_assert(engine_is_dirty(w.engine));
	saver.arg = &second;
	engine_save(w.engine, &saver);
	ck_assert_uint_eq(second.len, first.len + 4 + 3);
	ck_assert_mem_eq(second.data, first.data, 4 + 3); /* the forgotten come first */
	ck_assert(!engine_is_dirty(w.engine));
	saver.arg = &third;
	engine_save(w.engine, &saver);
	ck_assert_uint_eq(third.len, 0);
	buf_fini(&first);
	buf_fini(&second);
	buf_fini(&third);
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

int
main(int argc, char **argv)
{
	Suite *s = suite_create("engine_keep");
	TCase *tc = tcase_create("engine_keep");

	(void)argc;
	(void)argv;
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, reload_keeps_what_means_the_same);
	tcase_add_test(tc, reload_of_changed_rules);
	tcase_add_test(tc, reload_that_removes);
	tcase_add_test(tc, reload_that_adds_an_absence);
	tcase_add_test(tc, a_restart_at_any_moment_changes_nothing);
	tcase_add_test(tc, restart_under_other_rules);
	tcase_add_test(tc, restart_under_a_changed_rule_is_saved);
	tcase_add_test(tc, bad_saved_state_is_refused);
	tcase_add_test(tc, room_is_made_for_new_devices);
	tcase_add_test(tc, what_was_not_written_is_saved_again);
	tcase_add_test(tc, a_smaller_bound_loses_nothing_at_a_restart);
	suite_add_tcase(s, tc);
	return unit_end(s);
}
