/* budgets.h - device and global budgets: who may send one more message now; pure
 *
 * Devices are remembered in a bounded table, found and placed in constant time; at the maximum the longest idle one is
 * forgotten (it returns with a full bucket). A device is known by the 64-bit hash of its id: two that collide share a budget. */
#ifndef ROOST_BUDGETS_H
#define ROOST_BUDGETS_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "record.h"

struct budgets;

struct budgets_limits {
	uint64_t device_rate;  /* messages/s; 0: no limit */
	uint64_t device_burst; /* 0: one second's worth */
	uint64_t global_rate;
	uint64_t global_burst;
	size_t devices_max;
};

struct budgets *budgets_new(const struct budgets_limits *limits, int64_t now_us);
void budgets_free(struct budgets **b);
/* Charges one message of this device. VERDICT_ACCEPTED, or a refusal with the time after which it may be tried again;
 * a refused message is charged to nobody. */
uint32_t budgets_charge(struct budgets *b, struct bytes device, int64_t now_us);
/* Forgets devices whose buckets have been full again for long, longest idle first, at most max of them: they lose nothing. */
size_t budgets_expire(struct budgets *b, int64_t now_us, size_t max);
size_t budgets_devices(const struct budgets *b);

#endif
