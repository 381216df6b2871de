/* engine_impl.h - what engine.c, engine_device.c and engine_save.c share */
#ifndef ROOST_ENGINE_IMPL_H
#define ROOST_ENGINE_IMPL_H

#include "engine.h"
#include "timer_heap.h"

struct device;

struct alert {
	struct heap_timer timer;	/* first: the heap gives it back */
	struct device *device;
	uint32_t rule;			/* number in the index */
	struct alert_fsm fsm;
};

struct stamp {
	int64_t time;		/* of the value; at most the journal's */
	int64_t arrived;	/* journal time of the last sign of it */
};

struct device {
	struct device *older, *newer;	/* by last reading */
	struct device *dirty_next;
	bool dirty;
	uint64_t hash;
	struct shape *shape;
	struct expr_value *values;	/* by column; strings are owned */
	struct stamp *stamps;
	struct alert **alerts;		/* by rule; only those that are, or were, anything */
	uint32_t alert_count;
	uint32_t id_len;
	uint8_t id[];
};

struct incoming {
	uint32_t operand;
	uint16_t column;	/* of the device, for operand */
	bool news;		/* it was not late */
	struct expr_value value;
	int64_t time;
};

struct engine {
	struct engine_spec spec;
	struct rule_index *index;
	struct timer_heap timers;
	int64_t time;
	uint64_t offset;
	int64_t awake_since;		/* end of the last gap in journal time */

	struct device **table;		/* open addressing, linear */
	size_t mask;
	size_t device_count;
	struct device *oldest, *newest;
	struct device *dirty;
	struct buf forgotten;		/* ids of forgotten devices, each length u32 and bytes */
	size_t firing;

	struct incoming *incoming;	/* of the reading at hand */
	size_t incoming_count;
	size_t incoming_cap;
	struct engine_counts counts;
	struct buf summary;
	struct buf values;
};

static inline struct bytes
device_id(const struct device *d)
{
	return bytes_of(d->id, d->id_len);
}

/* engine_device.c */
struct device *device_find(const struct engine *e, struct bytes id);
/* One that was let in before: no bound is asked. */
struct device *device_restore(struct engine *e, struct bytes id);
/* Makes room if it must. NULL: there is none. */
struct device *device_add(struct engine *e, struct bytes id);
void device_free(struct engine *e, struct device *d);
void device_used(struct engine *e, struct device *d);
void device_dirty(struct engine *e, struct device *d);
/* Adds columns for operands (ascending) that it lacks. ERR_FULL: no shape, nothing changed. */
int device_reshape(struct engine *e, struct device *d, const uint32_t *operands, size_t n);
void device_set(struct device *d, uint16_t column, const struct expr_value *v);
/* NULL if it has none. */
struct alert *device_alert(const struct device *d, uint32_t rule);
struct alert *device_alert_add(struct engine *e, struct device *d, uint32_t rule);
void device_alerts_free(struct engine *e, struct device *d);
void value_of(const struct value *v, struct expr_value *ret);

/* engine.c */
/* Sets the alert's timer to what its state and rule ask for. */
void alert_arm(struct engine *e, struct alert *a, const struct shape_rule *sr);
/* Lets a rule of kind ABSENCE wait from the last sign of its metric. */
void absence_watch(struct engine *e, struct device *d, struct shape_rule *sr);
void alert_tell(struct engine *e, const struct alert_fsm *fsm, const struct rule *r, const struct shape_rule *sr, const struct device *d, enum alert_told told, int64_t at);

#endif
