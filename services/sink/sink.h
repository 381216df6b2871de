/* sink.h - what a sink's driver provides; one driver a process, named by the worker's instance: "sink-history"
 *
 * A driver is a follower with a way out of its own. It keeps its cursor with its effect. */
#ifndef ROOST_SINK_H
#define ROOST_SINK_H

#include <stdbool.h>

#include "worker.h"

struct sink_driver {
	const char *name;			/* as in sink.drivers */
	int (*start)(struct worker *w);		/* sets w->state, makes its follower */
	void (*stop)(struct worker *w);		/* w->state may be NULL */
	void (*turn)(struct worker *w);		/* may be NULL */
	void (*tick)(struct worker *w);		/* every SINK_TICK_MS */
	void (*quiet)(struct worker *w);	/* may be NULL */
	void (*drain)(struct worker *w);	/* may be NULL */
	bool (*drained)(struct worker *w);	/* may be NULL */
};

#define SINK_TICK_MS 100
#define SINK_PATIENCE_MS 100 /* nobody waits for a sink */

extern const struct sink_driver history_driver;
extern const struct sink_driver state_driver;

#endif
