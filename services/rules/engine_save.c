/* engine_save.c - what an engine keeps when its rules change and when its process ends; pure
 *
 * latest is a msgpack array of [source, name, value or nil, time, arrived], one for each column. */
#include <stdlib.h>
#include <string.h>

#include "codec.h"
#include "engine_impl.h"
#include "err.h"
#include "mem.h"

struct kept {
	uint32_t operand;
	struct expr_value value;
	struct stamp stamp;
};

static int
by_operand(const void *a, const void *b)
{
	uint32_t x = ((const struct kept *)a)->operand, y = ((const struct kept *)b)->operand;

	return x < y ? -1 : x > y;
}

/* A rule of another meaning starts its waiting anew; what is firing stays so and is looked at by the new text. */
static void
begin_anew(struct alert_fsm *a, const struct rule *r)
{
	if (a->state == ALERT_PENDING)
		a->state = a->episode ? ALERT_CLEARED : ALERT_INACTIVE;
	else if (a->state == ALERT_CLEARING)
		a->state = ALERT_FIRING;
	a->due = a->state == ALERT_FIRING && r->repeat_us ? a->told_at + r->repeat_us : 0;
}

/* The times of a pending or clearing alert are the old rule's; its meaning says that they are the new rule's too. A
 * reminder may have changed. */
static void
go_on(struct alert_fsm *a, const struct rule *r)
{
	if (a->state == ALERT_FIRING)
		a->due = r->repeat_us ? a->told_at + r->repeat_us : 0;
}

/* Every absence rule that means the device waits, every other alert's timer is set. */
static void
arm_all(struct engine *e, struct device *d)
{
	for (uint32_t i = 0; i < d->shape->rule_count; i++) {
		struct shape_rule *sr = &d->shape->rules[i];
		const struct rule *r = rule_index_at(e->index, sr->rule);
		struct alert *a = device_alert(d, sr->rule);

		/* A summary may have given the column; what never came is not missed. */
		if (r->kind == RULE_ABSENCE && a == NULL &&
		    d->stamps[sr->columns[r->absent]].arrived)
			a = device_alert_add(e, d, sr->rule);
		if (a)
			alert_arm(e, a, sr);
	}
}

/* Alerts of d whose rule is gone are told; the others are returned, under their new numbers. */
static struct alert **
part_from(struct engine *e, struct device *d, struct rule_index *to, const struct shape *shape,
    uint32_t *ret_count)
{
	struct alert **kept = xcalloc(d->alert_count ? d->alert_count : 1, sizeof(kept[0]));
	uint32_t count = 0, number;

	for (uint32_t i = 0; i < d->alert_count; i++) {
		struct alert *a = d->alerts[i];
		const struct rule *old = rule_index_at(e->index, a->rule), *r = NULL;

		timer_heap_clear(&e->timers, &a->timer);
		if (rule_index_find(to, old->identity, &number) == 0 && shape_find(shape, number))
			r = rule_index_at(to, number);
		if (r == NULL) {
			struct alert_terms none = { 0 };
			bool was_firing = alert_is_firing(&a->fsm);
			enum alert_told told =
			    alert_step(&a->fsm, &none, ALERT_GONE, a->fsm.severity, e->time);
			e->firing -= was_firing;
			alert_tell(
			    e, &a->fsm, old, shape_find(d->shape, a->rule), d, told, e->time);
			device_dirty(e, d);
			free(a);
			continue;
		}
		if (old->meaning != r->meaning) {
			begin_anew(&a->fsm, r);
			device_dirty(e, d);
		} else {
			go_on(&a->fsm, r);
		}
		a->rule = number;
		kept[count++] = a;
	}
	free(d->alerts);
	d->alerts = NULL;
	d->alert_count = 0;
	*ret_count = count;
	return kept;
}

static int
by_rule(const void *a, const void *b)
{
	uint32_t x = (*(struct alert *const *)a)->rule, y = (*(struct alert *const *)b)->rule;

	return x < y ? -1 : x > y;
}

static size_t
keep_values(struct engine *e, struct device *d, struct rule_index *to, struct kept *kept)
{
	size_t n = 0;

	for (uint32_t c = 1; c < d->shape->column_count; c++) {
		const struct expr_slot *s =
		    rule_index_operand_name(e->index, d->shape->columns[c].operand);
		uint32_t operand = rule_index_operand(to, s->source, bytes_of_str(s->name));

		if (operand != OPERAND_NONE)
			kept[n++] = (struct kept){ operand, d->values[c], d->stamps[c] };
	}
	qsort(kept, n, sizeof(kept[0]), by_operand);
	return n;
}

/* Gives d the kept values in the columns of shape; the others are freed. */
static void
move_values(struct rule_index *from, struct device *d, struct shape *shape, const struct kept *kept)
{
	uint32_t old_columns = d->shape->column_count;
	size_t n = shape->column_count - 1;

	for (uint32_t c = 1; c < old_columns; c++) {
		bool stays = false;
		for (size_t i = 0; i < n && d->values[c].kind == EXPR_STRING; i++)
			stays |= kept[i].value.kind == EXPR_STRING &&
				 kept[i].value.v.s.data == d->values[c].v.s.data;
		if (d->values[c].kind == EXPR_STRING && !stays)
			free((void *)(uintptr_t)d->values[c].v.s.data);
	}
	shape_put(from, &d->shape);
	d->shape = shape;
	free(d->values);
	free(d->stamps);
	d->values = xcalloc(shape->column_count, sizeof(d->values[0]));
	d->stamps = xcalloc(shape->column_count, sizeof(d->stamps[0]));
	for (size_t i = 0; i < n; i++) {
		d->values[i + 1] = kept[i].value;
		d->stamps[i + 1] = kept[i].stamp;
	}
}

static void
adopt_device(struct engine *e, struct device *d, struct rule_index *to)
{
	struct kept *kept = xcalloc(d->shape->column_count, sizeof(kept[0]));
	uint32_t *operands = xcalloc(d->shape->column_count, sizeof(operands[0]));
	size_t n = keep_values(e, d, to, kept);
	struct shape *shape;
	int err;

	for (size_t i = 0; i < n; i++)
		operands[i] = kept[i].operand;
	err = shape_get(to, device_id(d), operands, n, &shape);
	if (err) /* too many shapes for the new rules: this device begins with its next reading */
		err = shape_get(to, device_id(d), NULL, 0, &shape);
	ASSERT(err == 0); /* without operands there is no rule to make room for */
	d->alerts = part_from(e, d, to, shape, &d->alert_count);
	if (d->alert_count)
		qsort(d->alerts, d->alert_count, sizeof(d->alerts[0]), by_rule);
	move_values(e->index, d, shape, kept);
	free(kept);
	free(operands);
}

void
engine_adopt(struct engine *e, struct rule_index *index)
{
	for (struct device *d = e->oldest; d; d = d->newer)
		adopt_device(e, d, index);
	e->index = index;
	for (struct device *d = e->oldest; d; d = d->newer)
		arm_all(e, d);
}

static void
write_latest(const struct engine *e, const struct device *d, struct buf *out)
{
	mp_put_array(out, d->shape->column_count - 1);
	for (uint32_t c = 1; c < d->shape->column_count; c++) {
		const struct expr_slot *s =
		    rule_index_operand_name(e->index, d->shape->columns[c].operand);
		const struct expr_value *v = &d->values[c];

		mp_put_array(out, 5);
		mp_put_uint(out, s->source);
		mp_put_str(out, bytes_of_str(s->name));
		switch (v->kind) {
		case EXPR_MISSING:
			buf_add_u8(out, 0xc0);
			break;
		case EXPR_NUMBER:
			mp_put_double(out, v->v.n);
			break;
		case EXPR_BOOL:
			mp_put_bool(out, v->v.b);
			break;
		case EXPR_STRING:
			mp_put_str(out, v->v.s);
			break;
		}
		mp_put_int(out, d->stamps[c].time);
		mp_put_int(out, d->stamps[c].arrived);
	}
}

void
engine_save(struct engine *e, const struct engine_saver *saver)
{
	struct buf latest = { 0 };
	uint32_t len;

	for (size_t i = 0; i < e->forgotten.len; i += sizeof(len) + len) {
		memcpy(&len, e->forgotten.data + i, sizeof(len));
		saver->on_forgotten(saver->arg, bytes_of(e->forgotten.data + i + sizeof(len), len));
	}
	buf_clear(&e->forgotten);
	while (e->dirty) {
		struct device *d = e->dirty;

		e->dirty = d->dirty_next;
		d->dirty = false;
		d->dirty_next = NULL;
		buf_clear(&latest);
		write_latest(e, d, &latest);
		saver->on_device(saver->arg, device_id(d), buf_bytes(&latest));
		for (uint32_t i = 0; i < d->alert_count; i++) {
			const struct alert *a = d->alerts[i];
			if (a->fsm.state != ALERT_INACTIVE)
				saver->on_alert(saver->arg, device_id(d),
				    rule_index_at(e->index, a->rule)->identity, &a->fsm);
		}
	}
	buf_fini(&latest);
}

void
engine_unsaved(struct engine *e, struct bytes ids)
{
	uint32_t len;

	for (size_t i = 0; i < ids.len; i += sizeof(len) + len) {
		struct device *d;

		memcpy(&len, ids.data + i, sizeof(len));
		d = device_find(e, bytes_of(ids.data + i + sizeof(len), len));
		if (d)
			device_dirty(e, d);
		else
			buf_add(&e->forgotten, ids.data + i, sizeof(len) + len);
	}
}

bool
engine_is_dirty(const struct engine *e)
{
	return e->dirty != NULL || e->forgotten.len > 0;
}

void
engine_load_position(struct engine *e, int64_t time, uint64_t offset, int64_t awake_since)
{
	e->time = time;
	e->offset = offset;
	e->awake_since = awake_since;
}

static struct expr_value
read_value(struct mp_cursor *c)
{
	struct expr_value v = { .kind = EXPR_MISSING };
	uint8_t first = mp_peek(c);

	if (first == 0xc2 || first == 0xc3) {
		v.kind = EXPR_BOOL;
		v.v.b = mp_get_bool(c);
	} else if (first == 0xcb) {
		v.kind = EXPR_NUMBER;
		v.v.n = mp_get_double(c);
	} else if (first == 0xc0) {
		mp_skip(c);
	} else {
		v.kind = EXPR_STRING;
		v.v.s = mp_get_str(c);
	}
	return v;
}

int
engine_load_device(struct engine *e, struct bytes id, struct bytes latest)
{
	struct mp_cursor c = mp_cursor_of(latest);
	uint32_t n = mp_get_array(&c), operand;
	struct device *d;

	if (id.len == 0 || id.len > DEVICE_ID_MAX || device_find(e, id))
		return ERR_MALFORMED;
	d = device_restore(e, id);
	if (d == NULL)
		return ERR_FULL;
	for (uint32_t i = 0; i < n && !c.failed; i++) {
		uint32_t fields = mp_get_array(&c);
		uint64_t source = mp_get_uint(&c);
		struct bytes name = mp_get_str(&c);
		struct expr_value v = read_value(&c);
		struct stamp s = { .time = mp_get_int(&c) };

		s.arrived = mp_get_int(&c);
		if (c.failed || fields != 5 || source > EXPR_TAG)
			return ERR_MALFORMED;
		operand = rule_index_operand(e->index, (enum expr_source)source, name);
		if (operand == OPERAND_NONE)
			continue;
		if (device_reshape(e, d, &operand, 1) != 0)
			return ERR_FULL;
		device_set(d, shape_column(d->shape, operand), &v);
		d->stamps[shape_column(d->shape, operand)] = s;
	}
	return c.failed || c.at != c.end ? ERR_MALFORMED : 0;
}

static void
tell_gone(struct engine *e, const struct device *d, const struct engine_saved_alert *saved)
{
	struct alert_terms none = { 0 };
	struct alert_fsm fsm = saved->fsm;
	struct rule gone = { .group = xstrdup(saved->group), .alert = xstrdup(saved->alert) };
	enum alert_told told = alert_step(&fsm, &none, ALERT_GONE, fsm.severity, e->time);

	alert_tell(e, &fsm, &gone, NULL, d, told, e->time);
	free(gone.group);
	free(gone.alert);
}

int
engine_load_alert(struct engine *e, const struct engine_saved_alert *saved)
{
	struct device *d = device_find(e, saved->device);
	const struct rule *r;
	struct alert *a;
	uint32_t number;

	if (d == NULL || (unsigned)saved->fsm.state >= ALERT_STATES ||
	    saved->fsm.severity >= SEVERITY_COUNT)
		return ERR_MALFORMED;
	if (rule_index_find(e->index, saved->identity, &number) != 0 ||
	    shape_find(d->shape, number) == NULL) {
		tell_gone(e, d, saved);
		device_dirty(e, d);
		return 0;
	}
	if (device_alert(d, number))
		return ERR_MALFORMED;
	r = rule_index_at(e->index, number);
	a = device_alert_add(e, d, number);
	a->fsm = saved->fsm;
	if (saved->meaning != r->meaning) {
		begin_anew(&a->fsm, r);
		/* Or the next start finds the old times under the new meaning. */
		device_dirty(e, d);
	} else {
		go_on(&a->fsm, r);
	}
	if (alert_is_firing(&a->fsm))
		e->firing++;
	return 0;
}

void
engine_load_end(struct engine *e)
{
	for (struct device *d = e->oldest; d; d = d->newer)
		arm_all(e, d);
}
