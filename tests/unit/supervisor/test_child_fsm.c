/* test_child_fsm.c - every cell of the table, and the properties that make it supervision */
#include "child_fsm.h"

#include "exit_codes.h"
#include "../unit.h"

/* The whole table again, written by hand from supervisor/README.md: "state action", one row a state, one column an
 * event: START STOP KILL CONFIG SPAWN_FAILED READY HEARTBEAT BUSY OVERDUE STILL_THERE DIED DIED_EARLY DIED_CONFIG. */
#define D(action)                                                                                  \
	{                                                                                          \
		CHILD_DOWN, CHILD_ACT_##action                                                     \
	}
#define S(action)                                                                                  \
	{                                                                                          \
		CHILD_STARTING, CHILD_ACT_##action                                                 \
	}
#define U(action)                                                                                  \
	{                                                                                          \
		CHILD_UP, CHILD_ACT_##action                                                       \
	}
#define R(action)                                                                                  \
	{                                                                                          \
		CHILD_DRAINING, CHILD_ACT_##action                                                 \
	}
#define B(action)                                                                                  \
	{                                                                                          \
		CHILD_BACKOFF, CHILD_ACT_##action                                                  \
	}

/* clang-format off */
static const struct child_step wanted[CHILD_STATE_COUNT][CHILD_EVENT_COUNT] = {
	/* DOWN */
	{ S(SPAWN), D(NONE), D(NONE), S(SPAWN), D(NONE), D(NONE), D(NONE), D(NONE), D(NONE), D(NONE), D(NONE), D(NONE), D(NONE) },
	/* STARTING */
	{ S(NONE), R(DRAIN), R(KILL), S(NONE), B(WAIT), U(WATCH), S(NONE), S(EXTEND), S(ABORT), S(KILL), B(WAIT), B(WAIT), D(HOLD) },
	/* UP */
	{ U(NONE), R(DRAIN), R(KILL), U(NONE), U(NONE), U(NONE), U(WATCH), U(EXTEND), U(ABORT), U(KILL), S(SPAWN), B(WAIT), D(HOLD) },
	/* DRAINING */
	{ R(NONE), R(NONE), R(KILL), R(NONE), D(GONE), R(NONE), R(NONE), R(NONE), R(KILL), R(KILL), D(GONE), D(GONE), D(GONE) },
	/* BACKOFF */
	{ B(NONE), D(GONE), D(GONE), S(SPAWN), B(NONE), B(NONE), B(NONE), B(NONE), S(SPAWN), S(SPAWN), B(NONE), B(NONE), B(NONE) },
};
/* clang-format on */

START_TEST(test_every_cell)
{
	for (int s = 0; s < CHILD_STATE_COUNT; s++) {
		for (int e = 0; e < CHILD_EVENT_COUNT; e++) {
			struct child_step got =
			    child_fsm_step((enum child_state)s, (enum child_event)e);

			ck_assert_msg(
			    got.next == wanted[s][e].next && got.action == wanted[s][e].action,
			    "%s x %s -> %s, action %d", child_state_name((enum child_state)s),
			    child_event_name((enum child_event)e), child_state_name(got.next),
			    got.action);
		}
	}
}
END_TEST

/* A process exists in STARTING, UP and DRAINING only: it is made exactly on the way in, from states without one. */
START_TEST(test_spawn_only_without_a_process)
{
	for (int s = 0; s < CHILD_STATE_COUNT; s++) {
		for (int e = 0; e < CHILD_EVENT_COUNT; e++) {
			struct child_step got =
			    child_fsm_step((enum child_state)s, (enum child_event)e);
			bool died = e == CHILD_EV_DIED || e == CHILD_EV_DIED_EARLY ||
				    e == CHILD_EV_DIED_CONFIG || e == CHILD_EV_SPAWN_FAILED;
			bool had =
			    (s == CHILD_STARTING || s == CHILD_UP || s == CHILD_DRAINING) && !died;
			bool has = got.next == CHILD_STARTING || got.next == CHILD_UP ||
				   got.next == CHILD_DRAINING;

			if (got.action == CHILD_ACT_SPAWN)
				ck_assert(!had && got.next == CHILD_STARTING);
			else if (s == CHILD_UP && e == CHILD_EV_SPAWN_FAILED)
				ck_assert(got.next == CHILD_UP); /* cannot be; changes nothing */
			else
				ck_assert(had == has);
		}
	}
}
END_TEST

/* Permanent: a death leads to DOWN only when asked to stop, or for configuration. */
START_TEST(test_never_abandoned)
{
	static const enum child_event deaths[] = { CHILD_EV_DIED, CHILD_EV_DIED_EARLY,
		CHILD_EV_SPAWN_FAILED, CHILD_EV_OVERDUE, CHILD_EV_STILL_THERE };
	static const enum child_state alive[] = { CHILD_STARTING, CHILD_UP, CHILD_BACKOFF };

	for (size_t s = 0; s < sizeof(alive) / sizeof(alive[0]); s++)
		for (size_t e = 0; e < sizeof(deaths) / sizeof(deaths[0]); e++)
			ck_assert(child_fsm_step(alive[s], deaths[e]).next != CHILD_DOWN);
}
END_TEST

/* However events come, STOP (or KILL) and the deaths that follow end in DOWN, and DOWN stays until START. */
START_TEST(test_stop_always_ends)
{
	uint32_t random = 1;

	for (int run = 0; run < 100000; run++) {
		enum child_state s = CHILD_DOWN;

		for (int i = 0; i < 20; i++) {
			random = random * 1664525u + 1013904223u;
			s = child_fsm_step(
			    s, (enum child_event)((random >> 16) % CHILD_EVENT_COUNT))
				.next;
		}
		s = child_fsm_step(s, run % 2 ? CHILD_EV_STOP : CHILD_EV_KILL).next;
		s = child_fsm_step(s, CHILD_EV_OVERDUE).next;
		s = child_fsm_step(s, CHILD_EV_STILL_THERE).next;
		s = child_fsm_step(s, CHILD_EV_DIED_EARLY).next;
		ck_assert_int_eq(s, CHILD_DOWN);
	}
}
END_TEST

START_TEST(test_which_death)
{
	static const struct {
		enum child_state state;
		int64_t up_us;
		int exit_code;
		enum child_event event;
	} cases[] = {
		{ CHILD_STARTING, -1, 0, CHILD_EV_DIED_EARLY },
		{ CHILD_STARTING, -1, -1, CHILD_EV_DIED_EARLY },
		{ CHILD_STARTING, -1, EXIT_DEPENDENCY, CHILD_EV_DIED_EARLY },
		{ CHILD_STARTING, -1, EXIT_CONFIG, CHILD_EV_DIED_CONFIG },
		{ CHILD_UP, 0, -1, CHILD_EV_DIED_EARLY },
		{ CHILD_UP, CHILD_EARLY_US - 1, 1, CHILD_EV_DIED_EARLY },
		{ CHILD_UP, CHILD_EARLY_US, 1, CHILD_EV_DIED },
		{ CHILD_UP, CHILD_EARLY_US, -1, CHILD_EV_DIED },
		{ CHILD_UP, CHILD_EARLY_US, 0, CHILD_EV_DIED },
		{ CHILD_UP, INT64_MAX, EXIT_CONFIG, CHILD_EV_DIED_CONFIG },
		{ CHILD_DRAINING, INT64_MAX, 0, CHILD_EV_DIED_EARLY },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ck_assert_int_eq(
		    child_fsm_death(cases[i].state, cases[i].up_us, cases[i].exit_code),
		    cases[i].event);
}
END_TEST

START_TEST(test_names)
{
	for (int s = 0; s < CHILD_STATE_COUNT; s++)
		for (int k = 0; k < s; k++)
			ck_assert_str_ne(child_state_name((enum child_state)s),
			    child_state_name((enum child_state)k));
	for (int e = 0; e < CHILD_EVENT_COUNT; e++)
		for (int k = 0; k < e; k++)
			ck_assert_str_ne(child_event_name((enum child_event)e),
			    child_event_name((enum child_event)k));
	ck_assert_str_eq(child_state_name(CHILD_STATE_COUNT), "?");
	ck_assert_str_eq(child_event_name(CHILD_EVENT_COUNT), "?");
}
END_TEST

UNIT_MAIN("child_fsm", test_every_cell, test_spawn_only_without_a_process, test_never_abandoned,
    test_stop_always_ends, test_which_death, test_names)
