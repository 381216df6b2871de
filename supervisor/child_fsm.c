/* child_fsm.c - the life of one supervised child as a table; pure */
#include "child_fsm.h"

#include "err.h"
#include "exit_codes.h"

/* Reads like a matrix: one row a state, every cell written; STAY is the decision that nothing changes. */
/* clang-format off */
#define STAY(state) { CHILD_##state, CHILD_ACT_NONE }
#define GO(state, action) { CHILD_##state, CHILD_ACT_##action }

static const struct child_step table[CHILD_STATE_COUNT][CHILD_EVENT_COUNT] = {
	[CHILD_DOWN] = {
		[CHILD_EV_START]	= GO(STARTING, SPAWN),
		[CHILD_EV_STOP]		= STAY(DOWN),
		[CHILD_EV_KILL]		= STAY(DOWN),
		[CHILD_EV_CONFIG]	= GO(STARTING, SPAWN),
		[CHILD_EV_SPAWN_FAILED]	= STAY(DOWN),
		[CHILD_EV_READY]	= STAY(DOWN),
		[CHILD_EV_HEARTBEAT]	= STAY(DOWN),
		[CHILD_EV_BUSY]		= STAY(DOWN),
		[CHILD_EV_OVERDUE]	= STAY(DOWN),
		[CHILD_EV_STILL_THERE]	= STAY(DOWN),
		[CHILD_EV_DIED]		= STAY(DOWN),
		[CHILD_EV_DIED_EARLY]	= STAY(DOWN),
		[CHILD_EV_DIED_CONFIG]	= STAY(DOWN),
	},
	[CHILD_STARTING] = {
		[CHILD_EV_START]	= STAY(STARTING),
		[CHILD_EV_STOP]		= GO(DRAINING, DRAIN),
		[CHILD_EV_KILL]		= GO(DRAINING, KILL),
		[CHILD_EV_CONFIG]	= STAY(STARTING),
		[CHILD_EV_SPAWN_FAILED]	= GO(BACKOFF, WAIT),
		[CHILD_EV_READY]	= GO(UP, WATCH),
		/* Alive is not ready: only READY ends the start deadline. */
		[CHILD_EV_HEARTBEAT]	= STAY(STARTING),
		[CHILD_EV_BUSY]		= GO(STARTING, EXTEND),
		[CHILD_EV_OVERDUE]	= GO(STARTING, ABORT),
		[CHILD_EV_STILL_THERE]	= GO(STARTING, KILL),
		[CHILD_EV_DIED]		= GO(BACKOFF, WAIT),
		[CHILD_EV_DIED_EARLY]	= GO(BACKOFF, WAIT),
		[CHILD_EV_DIED_CONFIG]	= GO(DOWN, HOLD),
	},
	[CHILD_UP] = {
		[CHILD_EV_START]	= STAY(UP),
		[CHILD_EV_STOP]		= GO(DRAINING, DRAIN),
		[CHILD_EV_KILL]		= GO(DRAINING, KILL),
		[CHILD_EV_CONFIG]	= STAY(UP),
		[CHILD_EV_SPAWN_FAILED]	= STAY(UP),
		[CHILD_EV_READY]	= STAY(UP),
		[CHILD_EV_HEARTBEAT]	= GO(UP, WATCH),
		[CHILD_EV_BUSY]		= GO(UP, EXTEND),
		[CHILD_EV_OVERDUE]	= GO(UP, ABORT),
		[CHILD_EV_STILL_THERE]	= GO(UP, KILL),
		[CHILD_EV_DIED]		= GO(STARTING, SPAWN),
		[CHILD_EV_DIED_EARLY]	= GO(BACKOFF, WAIT),
		[CHILD_EV_DIED_CONFIG]	= GO(DOWN, HOLD),
	},
	[CHILD_DRAINING] = {
		[CHILD_EV_START]	= STAY(DRAINING),
		[CHILD_EV_STOP]		= STAY(DRAINING),
		[CHILD_EV_KILL]		= GO(DRAINING, KILL),
		[CHILD_EV_CONFIG]	= STAY(DRAINING),
		[CHILD_EV_SPAWN_FAILED]	= GO(DOWN, GONE),
		[CHILD_EV_READY]	= STAY(DRAINING),
		[CHILD_EV_HEARTBEAT]	= STAY(DRAINING),
		/* The drain's deadline is the operator's: a slow disk does not move it. */
		[CHILD_EV_BUSY]		= STAY(DRAINING),
		[CHILD_EV_OVERDUE]	= GO(DRAINING, KILL),
		[CHILD_EV_STILL_THERE]	= GO(DRAINING, KILL),
		[CHILD_EV_DIED]		= GO(DOWN, GONE),
		[CHILD_EV_DIED_EARLY]	= GO(DOWN, GONE),
		[CHILD_EV_DIED_CONFIG]	= GO(DOWN, GONE),
	},
	[CHILD_BACKOFF] = {
		[CHILD_EV_START]	= STAY(BACKOFF),
		[CHILD_EV_STOP]		= GO(DOWN, GONE),
		[CHILD_EV_KILL]		= GO(DOWN, GONE),
		[CHILD_EV_CONFIG]	= GO(STARTING, SPAWN),
		[CHILD_EV_SPAWN_FAILED]	= STAY(BACKOFF),
		[CHILD_EV_READY]	= STAY(BACKOFF),
		[CHILD_EV_HEARTBEAT]	= STAY(BACKOFF),
		[CHILD_EV_BUSY]		= STAY(BACKOFF),
		[CHILD_EV_OVERDUE]	= GO(STARTING, SPAWN),
		[CHILD_EV_STILL_THERE]	= GO(STARTING, SPAWN),
		[CHILD_EV_DIED]		= STAY(BACKOFF),
		[CHILD_EV_DIED_EARLY]	= STAY(BACKOFF),
		[CHILD_EV_DIED_CONFIG]	= STAY(BACKOFF),
	},
};
/* clang-format on */

struct child_step
child_fsm_step(enum child_state state, enum child_event event)
{
	ASSERT(state < CHILD_STATE_COUNT && event < CHILD_EVENT_COUNT);
	return table[state][event];
}

enum child_event
child_fsm_death(enum child_state state, int64_t up_us, int exit_code)
{
	if (exit_code == EXIT_CONFIG)
		return CHILD_EV_DIED_CONFIG;
	if (state == CHILD_UP && up_us >= CHILD_EARLY_US)
		return CHILD_EV_DIED;
	return CHILD_EV_DIED_EARLY;
}

const char *
child_state_name(enum child_state state)
{
	switch (state) {
	case CHILD_DOWN:
		return "DOWN";
	case CHILD_STARTING:
		return "STARTING";
	case CHILD_UP:
		return "UP";
	case CHILD_DRAINING:
		return "DRAINING";
	case CHILD_BACKOFF:
		return "BACKOFF";
	case CHILD_STATE_COUNT:
		break;
	}
	return "?";
}

const char *
child_event_name(enum child_event event)
{
	static const char *const names[CHILD_EVENT_COUNT] = {
		[CHILD_EV_START] = "start",
		[CHILD_EV_STOP] = "stop",
		[CHILD_EV_KILL] = "kill",
		[CHILD_EV_CONFIG] = "configuration-changed",
		[CHILD_EV_SPAWN_FAILED] = "spawn-failed",
		[CHILD_EV_READY] = "ready",
		[CHILD_EV_HEARTBEAT] = "heartbeat",
		[CHILD_EV_BUSY] = "busy",
		[CHILD_EV_OVERDUE] = "overdue",
		[CHILD_EV_STILL_THERE] = "still-there",
		[CHILD_EV_DIED] = "died",
		[CHILD_EV_DIED_EARLY] = "died-early",
		[CHILD_EV_DIED_CONFIG] = "configuration-refused",
	};

	return event < CHILD_EVENT_COUNT ? names[event] : "?";
}
