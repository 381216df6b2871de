/* metrics.c - counters and gauges of this process */
#include "metrics.h"

#include "codec.h"

const struct metric_info metric_infos[METRIC_COUNT] = {
#define METRIC(ID, name, KIND, meaning) [M_##ID] = { name, METRIC_##KIND, meaning },
#include "metrics.def"
#undef METRIC
};

uint64_t metric_values[METRIC_COUNT];

void
metrics_pack(struct buf *out)
{
	for (unsigned i = 0; i < METRIC_COUNT; i++) {
		if (metric_values[i]) {
			u64s_add(out, i);
			u64s_add(out, metric_values[i]);
		}
	}
}
