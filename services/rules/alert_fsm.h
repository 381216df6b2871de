/* alert_fsm.h - the life of one alert: one rule, one device
 *
 * inactive -> pending -> firing <-> clearing -> cleared -> pending ...; pending and clearing are skipped where the rule
 * has no for and clear_for. Time is journal time and passed in. */
#ifndef ROOST_ALERT_FSM_H
#define ROOST_ALERT_FSM_H

#include <stdbool.h>
#include <stdint.h>

enum alert_state {	/* the first four are MSG_ALERT's state; append only: they are kept on disk */
	ALERT_INACTIVE = 0,
	ALERT_PENDING = 1,	/* the condition holds, not yet for long enough */
	ALERT_FIRING = 2,
	ALERT_CLEARED = 3,	/* over; as inactive, but it remembers */
	ALERT_CLEARING = 4,	/* firing; the clearing condition holds, not yet for long enough */
};
#define ALERT_STATES 5

enum alert_event {
	ALERT_ON,	/* the condition holds */
	ALERT_OFF,	/* it does not, and the clearing condition holds */
	ALERT_HOLD,	/* neither, or unknown */
	ALERT_DUE,	/* the timer is due */
	ALERT_GONE,	/* the rule no longer exists or no longer means this device */
};
#define ALERT_EVENTS 5

enum alert_told {	/* what is to be told */
	ALERT_TOLD_NOTHING,
	ALERT_TOLD_FIRING,	/* it fires; or fires with another severity; or is said again */
	ALERT_TOLD_CLEARED,
};

/* The rule's part. */
struct alert_terms {
	int64_t for_us;
	int64_t clear_for_us;
	int64_t repeat_us;	/* 0: not said again */
};

struct alert_fsm {
	enum alert_state state;
	unsigned severity;	/* as told last */
	int64_t since;		/* when the condition began to hold */
	int64_t fired_at;	/* of this or the last firing */
	int64_t told_at;	/* last told */
	int64_t due;		/* when ALERT_DUE is wanted; 0: never */
	uint64_t episode;	/* firings so far */
	uint64_t ordinal;	/* transitions told of this firing, from 1 */
};

const char *alert_state_name(enum alert_state s);
bool alert_is_firing(const struct alert_fsm *a);	/* firing or clearing */

/* now: journal time of the event; for ALERT_DUE the due time. severity: what the rule's levels say now. */
enum alert_told alert_step(struct alert_fsm *a, const struct alert_terms *terms, enum alert_event event, unsigned severity, int64_t now);

#define ALERT_ID_MAX 33
/* The id of this firing, and of its transition with this ordinal: functions of rule, device, time and count only, the
 * same however often and wherever they are computed. */
void alert_ids(const struct alert_fsm *a, const char *group, const char *alert, const void *device, uint32_t device_len, char ret_alert_id[ALERT_ID_MAX], char ret_id[ALERT_ID_MAX]);

#endif
