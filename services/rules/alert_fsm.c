/* alert_fsm.c - the life of one alert: state x event table; pure
 *
 *              ON          OFF            HOLD      DUE        GONE
 *  inactive    rise        -              -         -          -
 *  pending     -           drop           drop      fire       drop
 *  firing      tell*       fall           tell*     repeat     clear
 *  cleared     rise        -              -         -          -
 *  clearing    back        -              back      clear      clear
 *
 * rise: pending, or firing at once without for. fall: clearing, or cleared at once without clear_for. tell*: tells only if
 * the severity has changed. A clearing alert that comes back was firing all the time: nothing is told but a new severity. */
#include "alert_fsm.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

enum action {
	NOTHING,
	RISE,
	DROP,
	FIRE,
	TELL,
	FALL,
	BACK,
	REPEAT,
	CLEAR,
};

static const uint8_t table[ALERT_STATES][ALERT_EVENTS] = {
	[ALERT_INACTIVE] = { [ALERT_ON] = RISE,
	    [ALERT_OFF] = NOTHING,
	    [ALERT_HOLD] = NOTHING,
	    [ALERT_DUE] = NOTHING,
	    [ALERT_GONE] = NOTHING },
	[ALERT_PENDING] = { [ALERT_ON] = NOTHING,
	    [ALERT_OFF] = DROP,
	    [ALERT_HOLD] = DROP,
	    [ALERT_DUE] = FIRE,
	    [ALERT_GONE] = DROP },
	[ALERT_FIRING] = { [ALERT_ON] = TELL,
	    [ALERT_OFF] = FALL,
	    [ALERT_HOLD] = TELL,
	    [ALERT_DUE] = REPEAT,
	    [ALERT_GONE] = CLEAR },
	[ALERT_CLEARED] = { [ALERT_ON] = RISE,
	    [ALERT_OFF] = NOTHING,
	    [ALERT_HOLD] = NOTHING,
	    [ALERT_DUE] = NOTHING,
	    [ALERT_GONE] = NOTHING },
	[ALERT_CLEARING] = { [ALERT_ON] = BACK,
	    [ALERT_OFF] = NOTHING,
	    [ALERT_HOLD] = BACK,
	    [ALERT_DUE] = CLEAR,
	    [ALERT_GONE] = CLEAR },
};

static const char *const names[ALERT_STATES] = { "inactive", "pending", "firing", "cleared",
	"clearing" };

const char *
alert_state_name(enum alert_state s)
{
	return names[s];
}

bool
alert_is_firing(const struct alert_fsm *a)
{
	return a->state == ALERT_FIRING || a->state == ALERT_CLEARING;
}

static int64_t
repeat_due(const struct alert_fsm *a, const struct alert_terms *terms)
{
	return terms->repeat_us ? a->told_at + terms->repeat_us : 0;
}

static enum alert_told
fire(struct alert_fsm *a, const struct alert_terms *terms, unsigned severity, int64_t now)
{
	a->state = ALERT_FIRING;
	a->severity = severity;
	a->fired_at = a->told_at = now;
	a->episode++;
	a->ordinal = 1;
	a->due = repeat_due(a, terms);
	return ALERT_TOLD_FIRING;
}

static enum alert_told
tell(struct alert_fsm *a, const struct alert_terms *terms, unsigned severity, int64_t now)
{
	a->severity = severity;
	a->told_at = now;
	a->ordinal++;
	a->due = repeat_due(a, terms);
	return ALERT_TOLD_FIRING;
}

static enum alert_told
clear(struct alert_fsm *a)
{
	a->state = ALERT_CLEARED;
	a->due = 0;
	a->ordinal++;
	return ALERT_TOLD_CLEARED;
}

enum alert_told
alert_step(struct alert_fsm *a, const struct alert_terms *terms, enum alert_event event,
    unsigned severity, int64_t now)
{
	switch ((enum action)table[a->state][event]) {
	case NOTHING:
		break;
	case RISE:
		a->since = now;
		if (terms->for_us == 0)
			return fire(a, terms, severity, now);
		a->state = ALERT_PENDING;
		a->due = now + terms->for_us;
		break;
	case DROP:
		a->state = a->episode ? ALERT_CLEARED : ALERT_INACTIVE;
		a->due = 0;
		break;
	case FIRE:
		return fire(a, terms, severity, now);
	case TELL:
		if (severity != a->severity)
			return tell(a, terms, severity, now);
		break;
	case REPEAT:
		return tell(a, terms, severity, now);
	case FALL:
		if (terms->clear_for_us == 0)
			return clear(a);
		a->state = ALERT_CLEARING;
		a->due = now + terms->clear_for_us;
		break;
	case BACK:
		a->state = ALERT_FIRING;
		a->due = repeat_due(a, terms);
		if (severity != a->severity)
			return tell(a, terms, severity, now);
		break;
	case CLEAR:
		return clear(a);
	}
	return ALERT_TOLD_NOTHING;
}

static void
hex(XXH128_hash_t h, char out[ALERT_ID_MAX])
{
	snprintf(out, ALERT_ID_MAX, "%016llx%016llx", (unsigned long long)h.high64,
	    (unsigned long long)h.low64);
}

/* Lengths are hashed with the texts, numbers as little-endian: nothing depends on the machine. */
static void
add_number(XXH3_state_t *h, uint64_t n)
{
	uint8_t le[8];

	for (unsigned i = 0; i < 8; i++)
		le[i] = (uint8_t)(n >> (8 * i));
	XXH3_128bits_update(h, le, sizeof(le));
}

static void
add_text(XXH3_state_t *h, const void *text, size_t len)
{
	add_number(h, len);
	XXH3_128bits_update(h, text, len);
}

void
alert_ids(const struct alert_fsm *a, const char *group, const char *alert, const void *device,
    uint32_t device_len, char ret_alert_id[ALERT_ID_MAX], char ret_id[ALERT_ID_MAX])
{
	XXH3_state_t *h = XXH3_createState();
	XXH128_hash_t firing;

	XXH3_128bits_reset(h);
	add_text(h, group, strlen(group));
	add_text(h, alert, strlen(alert));
	add_text(h, device, device_len);
	add_number(h, (uint64_t)a->fired_at);
	add_number(h, a->episode);
	firing = XXH3_128bits_digest(h);
	hex(firing, ret_alert_id);
	add_number(h, a->ordinal);
	add_number(h, a->state);
	add_number(h, a->severity);
	hex(XXH3_128bits_digest(h), ret_id);
	XXH3_freeState(h);
}
