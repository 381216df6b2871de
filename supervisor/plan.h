/* plan.h - which children there are, from settings, in the order of the flow; pure
 *
 * Start order is the order of the list: redis, storage, limiter, rules, notifier, registry and sinks, connectivity. The door opens
 * last, when there is somebody behind it. A stage waits for the one before it, but never for a child that fails.
 *
 * Drain order: connectivity (takes nothing new, answers what it has), limiter, rules, notifier, registry and sinks (each still
 * needs storage to commit or to read to the end), storage, redis. */
#ifndef ROOST_PLAN_H
#define ROOST_PLAN_H

#include <stdbool.h>
#include <stddef.h>

#include "settings.h"

#define PLAN_CHILDREN_MAX 400 /* five services of 64, two notifiers and registries, 16 sinks, Redis */
#define PLAN_NAME_MAX 40

enum plan_kind {
	PLAN_WORKER, /* speaks the control channel */
	PLAN_REDIS,  /* a foreign program: ready when it answers, stopped by SIGTERM, no heartbeat */
};

struct plan_child {
	char name[PLAN_NAME_MAX]; /* "limiter-0", "sink-history", "redis" */
	const char *service;	  /* "limiter" */
	const char *program;	  /* "roost-limiter", beside this program; "redis-server", in PATH */
	enum plan_kind kind;
	unsigned start_stage; /* 0 .. PLAN_STAGES - 1 */
	unsigned drain_stage;
	unsigned index; /* among its service's */
	bool listens; /* is given the listening sockets */
};

#define PLAN_STAGES 7

struct plan {
	struct plan_child children[PLAN_CHILDREN_MAX];
	size_t count;
};

void plan_make(struct plan *plan, const struct settings *settings);

#endif
