/* metrics.h - counters and gauges of this process, declared in metrics.def
 *
 * They go to the supervisor with each heartbeat; `roost metrics` and `roost status` show them. */
#ifndef ROOST_METRICS_H
#define ROOST_METRICS_H

#include <stdint.h>

#include "buf.h"

enum metric_id {
#define METRIC(ID, name, KIND, meaning) M_##ID,
#include "metrics.def"
#undef METRIC
	METRIC_COUNT
};

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE };

struct metric_info {
	const char *name;
	enum metric_kind kind;
	const char *meaning;
};

extern const struct metric_info metric_infos[METRIC_COUNT];

extern uint64_t metric_values[METRIC_COUNT]; /* for the three below */

static inline void
metric_add(enum metric_id id, uint64_t n)
{
	metric_values[id] += n;
}

static inline void
metric_set(enum metric_id id, uint64_t v)
{
	metric_values[id] = v;
}

static inline uint64_t
metric_get(enum metric_id id)
{
	return metric_values[id];
}

/* Pairs (number, value) of all that are not 0, as a U64S list. */
void metrics_pack(struct buf *out);

#endif
