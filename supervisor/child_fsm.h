/* child_fsm.h - the life of one supervised child as a table: state x event -> next state, action; pure
 *
 *   DOWN      no process, and none is wanted now: not started yet, drained, or held (it exited 78: its configuration
 *             is wrong, and trying again would not mend it)
 *   STARTING  a process that has not said READY
 *   UP        READY, and its heartbeats come
 *   DRAINING  asked to stop
 *   BACKOFF   no process; one will be started when the wait is over
 *
 * Restart is permanent: no row leads from a death to DOWN but for configuration and draining. */
#ifndef ROOST_CHILD_FSM_H
#define ROOST_CHILD_FSM_H

#include <stdbool.h>
#include <stdint.h>

enum child_state {
	CHILD_DOWN,
	CHILD_STARTING,
	CHILD_UP,
	CHILD_DRAINING,
	CHILD_BACKOFF,
	CHILD_STATE_COUNT,
};

enum child_event {
	CHILD_EV_START,		/* its turn in the start order */
	CHILD_EV_STOP,		/* its turn in the drain order */
	CHILD_EV_KILL,		/* now: the operator will not wait */
	CHILD_EV_CONFIG,	/* configuration changed; raised for a held or waiting child only */
	CHILD_EV_SPAWN_FAILED,	/* there is no process: fork or exec said no */
	CHILD_EV_READY,
	CHILD_EV_HEARTBEAT,
	CHILD_EV_BUSY,
	CHILD_EV_OVERDUE,	/* the deadline of the state passed: READY, heartbeat, drain or wait */
	CHILD_EV_STILL_THERE,	/* a second after the action of OVERDUE */
	CHILD_EV_DIED,		/* after at least a second UP */
	CHILD_EV_DIED_EARLY,	/* before that, or before READY: a defect */
	CHILD_EV_DIED_CONFIG,	/* exit 78 */
	CHILD_EVENT_COUNT,
};

enum child_action {
	CHILD_ACT_NONE,
	CHILD_ACT_SPAWN,	/* start a process; deadline: READY */
	CHILD_ACT_WATCH,	/* deadline: next heartbeat */
	CHILD_ACT_EXTEND,	/* deadline: what BUSY asked for, and the usual time after it */
	CHILD_ACT_WAIT,		/* count a failure; deadline: end of the wait */
	CHILD_ACT_HOLD,		/* no deadline; remember why */
	CHILD_ACT_DRAIN,	/* ask it to stop; deadline: the drain's */
	CHILD_ACT_ABORT,	/* SIGABRT, for a core; deadline: a second */
	CHILD_ACT_KILL,		/* SIGKILL; deadline: a second */
	CHILD_ACT_GONE,		/* it is over; no deadline */
	CHILD_ACTION_COUNT,
};

struct child_step {
	enum child_state next;
	enum child_action action;
};

#define CHILD_EARLY_US 1000000

struct child_step child_fsm_step(enum child_state state, enum child_event event);
/* Which of the three deaths it was. exit_code: -1 if a signal ended it. */
enum child_event child_fsm_death(enum child_state state, int64_t up_us, int exit_code);

/* "STARTING" */
const char *child_state_name(enum child_state state);
const char *child_event_name(enum child_event event);

#endif
