/* test_alert_fsm.c - every state times every event, times, severities, ids */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "../unit.h"
#include "alert_fsm.h"
#include "mem.h"

#define S 1000000ll
#define T (1000 * S)

static const struct alert_terms plain = { 0 };
static const struct alert_terms waits = {
	.for_us = 10 * S, .clear_for_us = 5 * S, .repeat_us = 60 * S
};

/* An alert in each state, as if it had come there. */
static struct alert_fsm
in_state(enum alert_state s)
{
	struct alert_fsm a = { .state = s, .severity = 1 };

	if (s != ALERT_INACTIVE && s != ALERT_PENDING) {
		a.episode = 1;
		a.ordinal = 1;
		a.since = a.fired_at = a.told_at = T - 100 * S;
	}
	return a;
}

struct row {
	enum alert_state from;
	enum alert_event event;
	enum alert_state plain_to, waits_to;
	enum alert_told plain_told, waits_told;
};

START_TEST(table)
{
	static const struct row rows[] = {
		{ ALERT_INACTIVE, ALERT_ON, ALERT_FIRING, ALERT_PENDING, ALERT_TOLD_FIRING,
		    ALERT_TOLD_NOTHING },
		{ ALERT_INACTIVE, ALERT_OFF, ALERT_INACTIVE, ALERT_INACTIVE, 0, 0 },
		{ ALERT_INACTIVE, ALERT_HOLD, ALERT_INACTIVE, ALERT_INACTIVE, 0, 0 },
		{ ALERT_INACTIVE, ALERT_DUE, ALERT_INACTIVE, ALERT_INACTIVE, 0, 0 },
		{ ALERT_INACTIVE, ALERT_GONE, ALERT_INACTIVE, ALERT_INACTIVE, 0, 0 },
		{ ALERT_PENDING, ALERT_ON, ALERT_PENDING, ALERT_PENDING, 0, 0 },
		{ ALERT_PENDING, ALERT_OFF, ALERT_INACTIVE, ALERT_INACTIVE, 0, 0 },
		{ ALERT_PENDING, ALERT_HOLD, ALERT_INACTIVE, ALERT_INACTIVE, 0, 0 },
		{ ALERT_PENDING, ALERT_DUE, ALERT_FIRING, ALERT_FIRING, ALERT_TOLD_FIRING,
		    ALERT_TOLD_FIRING },
		{ ALERT_PENDING, ALERT_GONE, ALERT_INACTIVE, ALERT_INACTIVE, 0, 0 },
		{ ALERT_FIRING, ALERT_ON, ALERT_FIRING, ALERT_FIRING, 0, 0 },
		{ ALERT_FIRING, ALERT_OFF, ALERT_CLEARED, ALERT_CLEARING, ALERT_TOLD_CLEARED,
		    ALERT_TOLD_NOTHING },
		{ ALERT_FIRING, ALERT_HOLD, ALERT_FIRING, ALERT_FIRING, 0, 0 },
		{ ALERT_FIRING, ALERT_DUE, ALERT_FIRING, ALERT_FIRING, ALERT_TOLD_FIRING,
		    ALERT_TOLD_FIRING },
		{ ALERT_FIRING, ALERT_GONE, ALERT_CLEARED, ALERT_CLEARED, ALERT_TOLD_CLEARED,
		    ALERT_TOLD_CLEARED },
		{ ALERT_CLEARED, ALERT_ON, ALERT_FIRING, ALERT_PENDING, ALERT_TOLD_FIRING,
		    ALERT_TOLD_NOTHING },
		{ ALERT_CLEARED, ALERT_OFF, ALERT_CLEARED, ALERT_CLEARED, 0, 0 },
		{ ALERT_CLEARED, ALERT_HOLD, ALERT_CLEARED, ALERT_CLEARED, 0, 0 },
		{ ALERT_CLEARED, ALERT_DUE, ALERT_CLEARED, ALERT_CLEARED, 0, 0 },
		{ ALERT_CLEARED, ALERT_GONE, ALERT_CLEARED, ALERT_CLEARED, 0, 0 },
		{ ALERT_CLEARING, ALERT_ON, ALERT_FIRING, ALERT_FIRING, 0, 0 },
		{ ALERT_CLEARING, ALERT_OFF, ALERT_CLEARING, ALERT_CLEARING, 0, 0 },
		{ ALERT_CLEARING, ALERT_HOLD, ALERT_FIRING, ALERT_FIRING, 0, 0 },
		{ ALERT_CLEARING, ALERT_DUE, ALERT_CLEARED, ALERT_CLEARED, ALERT_TOLD_CLEARED,
		    ALERT_TOLD_CLEARED },
		{ ALERT_CLEARING, ALERT_GONE, ALERT_CLEARED, ALERT_CLEARED, ALERT_TOLD_CLEARED,
		    ALERT_TOLD_CLEARED },
	};

	ck_assert_uint_eq(COUNT_OF(rows), ALERT_STATES * ALERT_EVENTS);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const struct row *r = &rows[i];
		struct alert_fsm a = in_state(r->from), b = a;
		enum alert_told told = alert_step(&a, &plain, r->event, 1, T);

		ck_assert_msg(a.state == r->plain_to && told == r->plain_told,
		    "%s, event %d: %s, told %d", alert_state_name(r->from), (int)r->event,
		    alert_state_name(a.state), (int)told);
		told = alert_step(&b, &waits, r->event, 1, T);
		ck_assert_msg(b.state == r->waits_to && told == r->waits_told,
		    "%s, event %d: %s, told %d", alert_state_name(r->from), (int)r->event,
		    alert_state_name(b.state), (int)told);
		ck_assert_int_eq(
		    alert_is_firing(&b), b.state == ALERT_FIRING || b.state == ALERT_CLEARING);
	}
}
END_TEST

START_TEST(a_whole_life)
{
	struct alert_fsm a = { 0 };

	ck_assert_int_eq(alert_step(&a, &waits, ALERT_ON, 1, T), ALERT_TOLD_NOTHING);
	ck_assert_int_eq(a.due, T + 10 * S);
	ck_assert_int_eq(a.since, T);
	ck_assert_int_eq(alert_step(&a, &waits, ALERT_ON, 1, T + 4 * S), ALERT_TOLD_NOTHING);
	ck_assert_int_eq(a.due, T + 10 * S); /* a further reading does not start it again */
	ck_assert_int_eq(alert_step(&a, &waits, ALERT_DUE, 1, T + 10 * S), ALERT_TOLD_FIRING);
	ck_assert_int_eq(a.since, T);
	ck_assert_int_eq(a.fired_at, T + 10 * S);
	ck_assert_uint_eq(a.episode, 1);
	ck_assert_uint_eq(a.ordinal, 1);
	ck_assert_int_eq(a.due, T + 70 * S);

	/* severity rises and falls; each is told and moves the reminder */
	ck_assert_int_eq(alert_step(&a, &waits, ALERT_ON, 2, T + 20 * S), ALERT_TOLD_FIRING);
	ck_assert_uint_eq(a.severity, 2);
	ck_assert_int_eq(a.due, T + 80 * S);
	ck_assert_int_eq(alert_step(&a, &waits, ALERT_HOLD, 1, T + 21 * S), ALERT_TOLD_FIRING);
	ck_assert_uint_eq(a.ordinal, 3);

	/* clearing, back, clearing, over */
	ck_assert_int_eq(alert_step(&a, &waits, ALERT_OFF, 1, T + 30 * S), ALERT_TOLD_NOTHING);
	ck_assert_int_eq(a.due, T + 35 * S);
	ck_assert_int_eq(alert_step(&a, &waits, ALERT_OFF, 2, T + 31 * S), ALERT_TOLD_NOTHING);
	ck_assert_int_eq(a.due, T + 35 * S);
	ck_assert_int_eq(alert_step(&a, &waits, ALERT_ON, 2, T + 32 * S), ALERT_TOLD_FIRING);
	ck_assert_int_eq(a.state, ALERT_FIRING);
	ck_assert_int_eq(alert_step(&a, &waits, ALERT_OFF, 1, T + 40 * S), ALERT_TOLD_NOTHING);
	ck_assert_int_eq(alert_step(&a, &waits, ALERT_DUE, 1, T + 45 * S), ALERT_TOLD_CLEARED);
	ck_assert_int_eq(a.due, 0);
	ck_assert_uint_eq(a.ordinal, 5);
	ck_assert_uint_eq(a.severity, 2); /* cleared under the severity that was told */

	/* pending after that goes back to cleared, not to inactive: the count of firings stays */
	alert_step(&a, &waits, ALERT_ON, 1, T + 50 * S);
	alert_step(&a, &waits, ALERT_OFF, 1, T + 51 * S);
	ck_assert_int_eq(a.state, ALERT_CLEARED);
	ck_assert_int_eq(a.due, 0);
}
END_TEST

START_TEST(ids)
{
	struct alert_fsm a = {
		.state = ALERT_FIRING, .severity = 1, .fired_at = T, .episode = 1, .ordinal = 1
	};
	char alert_id[ALERT_ID_MAX], id[ALERT_ID_MAX], other_alert[ALERT_ID_MAX],
	    other[ALERT_ID_MAX];

	alert_ids(&a, "group", "alert", "device", 6, alert_id, id);
	alert_ids(&a, "group", "alert", "device", 6, other_alert, other);
	ck_assert_str_eq(alert_id, other_alert);
	ck_assert_str_eq(id, other);
	ck_assert_uint_eq(strlen(id), 32);
	ck_assert_uint_eq(strspn(id, "0123456789abcdef"), 32);
	/* for ever: ids are in journals and in receivers' memories */
	ck_assert_str_eq(alert_id, "430db522d07f7e889c04d6f330e892a9");
	ck_assert_str_eq(id, "ecb01fee0ce973adbc3ee80a8f0651ee");

	/* a later transition of the same firing: same alert, other id */
	a.ordinal = 2;
	alert_ids(&a, "group", "alert", "device", 6, other_alert, other);
	ck_assert_str_eq(alert_id, other_alert);
	ck_assert_str_ne(id, other);

	/* anything else: another alert */
	struct alert_fsm b = {
		.state = ALERT_FIRING, .severity = 1, .fired_at = T, .episode = 1, .ordinal = 1
	};
	b.episode = 2; /* two firings under one block time */
	alert_ids(&b, "group", "alert", "device", 6, other_alert, other);
	ck_assert_str_ne(alert_id, other_alert);
	b.episode = 1;
	b.fired_at = T + 1;
	alert_ids(&b, "group", "alert", "device", 6, other_alert, other);
	ck_assert_str_ne(alert_id, other_alert);
	b.fired_at = T;
	alert_ids(&b, "groupa", "lert", "device", 6, other_alert, other);
	ck_assert_str_ne(alert_id, other_alert);
	alert_ids(&b, "group", "alert", "devicf", 6, other_alert, other);
	ck_assert_str_ne(alert_id, other_alert);
}
END_TEST

int
main(int argc, char **argv)
{
	Suite *s = suite_create("alert_fsm");
	TCase *tc = tcase_create("alert_fsm");

	(void)argc;
	(void)argv;
	tcase_add_test(tc, table);
	tcase_add_test(tc, a_whole_life);
	tcase_add_test(tc, ids);
	suite_add_tcase(s, tc);
	return unit_end(s);
}
