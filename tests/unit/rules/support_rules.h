/* support_rules.h - rules from text, readings at a time, and the transitions that came of them, as text */
#ifndef ROOST_TEST_SUPPORT_RULES_H
#define ROOST_TEST_SUPPORT_RULES_H

#include "engine.h"
#include "rule_text.h"

#define S 1000000ll
#define T0 (1700000000 * S)	/* journal time at which worlds begin */

/* The index of the rules in text, which must be without errors. */
struct rule_index *index_of_text(const char *text);

struct saved;

struct world {
	struct rule_index *index;
	struct engine *engine;
	struct buf told;	/* "Alert device state severity @seconds;" ... since the last world_told() */
	struct buf ids;		/* every id, a line each */
	struct buf detail;	/* summary and values of the last */
	int64_t last_since;
	uint64_t offset;
	size_t devices_max;
	struct saved *saved;	/* what a restart finds */
};

void world_init(struct world *w, const char *rules);
void world_fini(struct world *w);
/* Time of the journal, seconds after T0; ticks once a second on the way. */
void world_tick_to(struct world *w, double seconds);
/* "temperature=41.5 mode=auto open=true", in one message whose points carry the journal's time; _ is nothing. */
void world_read(struct world *w, double seconds, const char *device, const char *points);
/* The same with points of another time. */
void world_read_at(struct world *w, double seconds, double point_seconds, const char *device, const char *points);
void world_rules(struct world *w, const char *rules);
/* What was told since the last call. */
const char *world_told(struct world *w);
/* "firing", ... of an alert of group g */
const char *world_state(const struct world *w, const char *alert, const char *device);
/* Another world that has only what this one saved. */
void world_restart(struct world *w);

#endif
