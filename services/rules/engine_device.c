/* engine_device.c - the devices of a partition: values, alerts, who is forgotten first; pure */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "engine_impl.h"
#include "err.h"
#include "mem.h"

#define FORGET_TRIES 64 /* devices looked at, from the longest idle on, for one without an alert */

/* A number is stored where it stays: copied at once it would be waited for. */
void
value_of(const struct value *v, struct expr_value *ret)
{
	ret->kind = EXPR_MISSING;
	switch (v->kind) {
	case VALUE_DOUBLE:
		if (v->v.f - v->v.f != 0) /* NaN and infinities are no measurement */
			break;
		ret->kind = EXPR_NUMBER;
		ret->v.n = v->v.f;
		break;
	case VALUE_INT:
		ret->kind = EXPR_NUMBER;
		ret->v.n = (double)v->v.i;
		break;
	case VALUE_BOOL:
		ret->kind = EXPR_BOOL;
		ret->v.b = v->v.b;
		break;
	case VALUE_STRING:
		if (v->v.s.len > EXPR_STRING_MAX)
			break;
		ret->kind = EXPR_STRING;
		ret->v.s = v->v.s;
		break;
	}
}

static size_t
table_slot(const struct engine *e, uint64_t hash, struct bytes id)
{
	size_t i = hash & e->mask;

	while (
	    e->table[i] && (e->table[i]->hash != hash || !bytes_equal(device_id(e->table[i]), id)))
		i = (i + 1) & e->mask;
	return i;
}

struct device *
device_find(const struct engine *e, struct bytes id)
{
	return e->table[table_slot(e, XXH3_64bits(id.data, id.len), id)];
}

static void
table_grow(struct engine *e)
{
	struct device **old = e->table;
	size_t old_mask = e->mask;

	e->mask = e->mask * 2 + 1;
	e->table = xcalloc(e->mask + 1, sizeof(e->table[0]));
	for (size_t i = 0; i <= old_mask; i++) {
		if (old[i])
			e->table[table_slot(e, old[i]->hash, device_id(old[i]))] = old[i];
	}
	free(old);
}

/* Linear probing without tombstones: what stands behind the hole moves up. */
static void
table_remove(struct engine *e, const struct device *d)
{
	size_t hole = table_slot(e, d->hash, device_id(d)), i = hole;

	e->table[hole] = NULL;
	for (;;) {
		i = (i + 1) & e->mask;
		if (e->table[i] == NULL)
			return;
		size_t home = e->table[i]->hash & e->mask;
		if (((i - home) & e->mask) >= ((i - hole) & e->mask)) {
			e->table[hole] = e->table[i];
			e->table[i] = NULL;
			hole = i;
		}
	}
}

static void
unlink_age(struct engine *e, struct device *d)
{
	*(d->older ? &d->older->newer : &e->oldest) = d->newer;
	*(d->newer ? &d->newer->older : &e->newest) = d->older;
}

static void
link_newest(struct engine *e, struct device *d)
{
	d->older = e->newest;
	d->newer = NULL;
	*(e->newest ? &e->newest->newer : &e->oldest) = d;
	e->newest = d;
}

void
device_used(struct engine *e, struct device *d)
{
	if (e->newest == d)
		return;
	unlink_age(e, d);
	link_newest(e, d);
}

void
device_dirty(struct engine *e, struct device *d)
{
	if (d->dirty)
		return;
	d->dirty = true;
	d->dirty_next = e->dirty;
	e->dirty = d;
}

static bool
may_be_forgotten(const struct device *d)
{
	if (d->dirty)
		return false;
	for (uint32_t i = 0; i < d->alert_count; i++) {
		const struct alert_fsm *a = &d->alerts[i]->fsm;
		if (alert_is_firing(a) || a->state == ALERT_PENDING)
			return false;
	}
	return true;
}

static bool
make_room(struct engine *e)
{
	struct device *d = e->oldest;
	uint32_t len;

	for (unsigned i = 0; d && i < FORGET_TRIES; i++, d = d->newer) {
		if (!may_be_forgotten(d))
			continue;
		len = d->id_len;
		buf_add(&e->forgotten, &len, sizeof(len));
		buf_add(&e->forgotten, d->id, len);
		device_free(e, d);
		e->counts.forgotten++;
		return true;
	}
	return false;
}

struct device *
device_restore(struct engine *e, struct bytes id)
{
	struct device *d;

	if ((e->device_count + 1) * 2 > e->mask)
		table_grow(e);
	d = xcalloc(1, sizeof(*d) + id.len);
	d->id_len = (uint32_t)id.len;
	memcpy(d->id, id.data, id.len);
	d->hash = XXH3_64bits(id.data, id.len);
	e->table[table_slot(e, d->hash, id)] = d;
	e->device_count++;
	link_newest(e, d);
	if (device_reshape(e, d, NULL, 0) != 0) {
		device_free(e, d);
		return NULL;
	}
	return d;
}

struct device *
device_add(struct engine *e, struct bytes id)
{
	if (e->device_count >= e->spec.devices_max && !make_room(e))
		return NULL;
	return device_restore(e, id);
}

void
device_alerts_free(struct engine *e, struct device *d)
{
	for (uint32_t i = 0; i < d->alert_count; i++) {
		timer_heap_clear(&e->timers, &d->alerts[i]->timer);
		if (alert_is_firing(&d->alerts[i]->fsm))
			e->firing--;
		free(d->alerts[i]);
	}
	free(d->alerts);
	d->alerts = NULL;
	d->alert_count = 0;
}

static void
free_values(struct expr_value *values, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (values[i].kind == EXPR_STRING)
			free((void *)(uintptr_t)values[i].v.s.data);
	}
	free(values);
}

/* d is not dirty, or the whole engine goes. */
void
device_free(struct engine *e, struct device *d)
{
	device_alerts_free(e, d);
	table_remove(e, d);
	unlink_age(e, d);
	e->device_count--;
	free_values(d->values, d->shape ? d->shape->column_count : 0);
	free(d->stamps);
	shape_put(e->index, &d->shape);
	free(d);
}

/* The union of d's operands and more (both ascending); malloc'd. */
static uint32_t *
merge(const struct shape *s, const uint32_t *more, size_t n, size_t *ret_count)
{
	uint32_t have = s ? s->column_count : 1, c = 1;
	uint32_t *all = xmalloc((have + n) * sizeof(all[0]));
	size_t count = 0, i = 0;

	while (c < have || i < n) {
		uint32_t a = c < have ? s->columns[c].operand : OPERAND_NONE;
		uint32_t b = i < n ? more[i] : OPERAND_NONE;
		all[count++] = a < b ? a : b;
		c += a <= b;
		i += b <= a;
	}
	*ret_count = count;
	return all;
}

int
device_reshape(struct engine *e, struct device *d, const uint32_t *operands, size_t n)
{
	size_t count;
	uint32_t *all = merge(d->shape, operands, n, &count);
	struct shape *s, *old = d->shape;
	int err = shape_get(e->index, device_id(d), all, count, &s);

	free(all);
	if (err)
		return err;
	struct expr_value *values = xcalloc(s->column_count, sizeof(values[0]));
	struct stamp *stamps = xcalloc(s->column_count, sizeof(stamps[0]));
	for (uint32_t c = 1; old && c < old->column_count; c++) {
		uint16_t to = shape_column(s, old->columns[c].operand);
		values[to] = d->values[c];
		stamps[to] = d->stamps[c];
	}
	free(d->values);
	free(d->stamps);
	d->values = values;
	d->stamps = stamps;
	d->shape = s;
	shape_put(e->index, &old);
	return 0;
}

void
device_set(struct device *d, uint16_t column, const struct expr_value *v)
{
	struct expr_value *to = &d->values[column];

	if (to->kind == EXPR_STRING && v->kind == EXPR_STRING && bytes_equal(to->v.s, v->v.s))
		return;
	if (to->kind == EXPR_STRING)
		free((void *)(uintptr_t)to->v.s.data);
	if (v->kind == EXPR_NUMBER) {
		to->kind = EXPR_NUMBER;
		to->v.n = v->v.n;
		return;
	}
	*to = *v;
	if (v->kind == EXPR_STRING)
		to->v.s.data = xmemdup(
		    v->v.s.data ? v->v.s.data : (const uint8_t *)"", v->v.s.len ? v->v.s.len : 1);
}

static uint32_t
alert_position(const struct device *d, uint32_t rule)
{
	uint32_t low = 0, high = d->alert_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (d->alerts[middle]->rule < rule)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct alert *
device_alert(const struct device *d, uint32_t rule)
{
	uint32_t i = alert_position(d, rule);

	return i < d->alert_count && d->alerts[i]->rule == rule ? d->alerts[i] : NULL;
}

struct alert *
device_alert_add(struct engine *e, struct device *d, uint32_t rule)
{
	uint32_t i = alert_position(d, rule);
	struct alert *a = xcalloc(1, sizeof(*a));

	a->device = d;
	a->rule = rule;
	a->timer.order = d->hash ^ rule_index_at(e->index, rule)->identity;
	d->alerts = xrealloc(d->alerts, (d->alert_count + 1) * sizeof(d->alerts[0]));
	memmove(d->alerts + i + 1, d->alerts + i, (d->alert_count - i) * sizeof(d->alerts[0]));
	d->alerts[i] = a;
	d->alert_count++;
	return a;
}
