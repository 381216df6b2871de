/* plan.c - which children there are, from settings, in the order of the flow; pure */
#include "plan.h"

#include <stdio.h>

#include "err.h"
#include "mem.h"

static const struct {
	const char *service;
	const char *program;
	enum setting_id replicas;
	unsigned start_stage;
	unsigned drain_stage;
} services[] = {
	{ "storage", "roost-storage", SET_STORAGE_REPLICAS, 1, 5 },
	{ "limiter", "roost-limiter", SET_LIMITER_REPLICAS, 2, 1 },
	{ "rules", "roost-rules", SET_RULES_REPLICAS, 3, 2 },
	{ "notifier", "roost-notifier", SET_NOTIFIER_REPLICAS, 4, 3 },
	{ "registry", "roost-registry", SET_REGISTRY_REPLICAS, 5, 4 },
	{ "sink", "roost-sink", SET_SINK_DRIVERS, 5, 4 },
	{ "connectivity", "roost-connectivity", SET_CONNECTIVITY_REPLICAS, 6, 0 },
};

static struct plan_child *
add(struct plan *plan, const char *service, const char *program)
{
	struct plan_child *c = &plan->children[plan->count++];

	ASSERT(plan->count <= PLAN_CHILDREN_MAX);
	*c = (struct plan_child){ .service = service, .program = program };
	return c;
}

void
plan_make(struct plan *plan, const struct settings *settings)
{
	plan->count = 0;
	if (*settings_str(settings, SET_REDIS_URL) == '\0') {
		struct plan_child *c = add(plan, "redis", "redis-server");

		snprintf(c->name, sizeof(c->name), "redis");
		c->kind = PLAN_REDIS;
		c->start_stage = 0;
		c->drain_stage = 6;
	}
	for (size_t i = 0; i < COUNT_OF(services); i++) {
		enum setting_id id = services[i].replicas;
		bool drivers = id == SET_SINK_DRIVERS;
		size_t n = drivers ? settings_list_count(settings, id)
				   : (size_t)settings_int(settings, id);

		for (size_t k = 0; k < n; k++) {
			struct plan_child *c = add(plan, services[i].service, services[i].program);

			if (drivers)
				snprintf(c->name, sizeof(c->name), "sink-%.30s",
				    settings_list_at(settings, id, k));
			else
				snprintf(
				    c->name, sizeof(c->name), "%.20s-%u", c->service, (unsigned)k);
			c->index = (unsigned)k;
			c->start_stage = services[i].start_stage;
			c->drain_stage = services[i].drain_stage;
			c->listens = id == SET_CONNECTIVITY_REPLICAS;
		}
	}
}
