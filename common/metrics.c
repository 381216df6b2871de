/* metrics.c - counters and gauges of this process */
#include "metrics.h"

#include "codec.h"

const struct metric_info metric_infos[METRIC_COUNT] = {
#define METRIC(ID, name, KIND, meaning) [M_##ID] = { name, METRIC_##KIND, meaning },
#include "metrics.def"
#undef METRIC
};

static uint64_t values[METRIC_COUNT];

void
metric_add(enum metric_id id, uint64_t n)
{
	values[id] += n;
}

void
metric_set(enum metric_id id, uint64_t v)
{
	values[id] = v;
}

uint64_t
metric_get(enum metric_id id)
{
	return values[id];
}

void
metrics_pack(struct buf *out)
{
	for (unsigned i = 0; i < METRIC_COUNT; i++) {
		if (values[i]) {
			u64s_add(out, i);
			u64s_add(out, values[i]);
		}
	}
}
