/* engine.c - the rules engine of one partition: readings and time in, alert transitions out; pure */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

#include "engine_impl.h"
#include "err.h"
#include "mem.h"

struct engine *
engine_new(const struct engine_spec *spec, struct rule_index *index)
{
	struct engine *e = xcalloc(1, sizeof(*e));

	e->spec = *spec;
	e->index = index;
	e->mask = 63;
	e->table = xcalloc(e->mask + 1, sizeof(e->table[0]));
	return e;
}

void
engine_free(struct engine **engine)
{
	struct engine *e = *engine;

	*engine = NULL;
	if (e == NULL)
		return;
	while (e->oldest)
		device_free(e, e->oldest);
	timer_heap_fini(&e->timers);
	free(e->table);
	free(e->incoming);
	buf_fini(&e->forgotten);
	buf_fini(&e->summary);
	buf_fini(&e->values);
	free(e);
}

static void
json_string(struct buf *out, struct bytes s)
{
	buf_add_u8(out, '"');
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.data[i];
		if (c == '"' || c == '\\')
			buf_addf(out, "\\%c", c);
		else if (c < 0x20)
			buf_addf(out, "\\u%04x", c);
		else
			buf_add_u8(out, c);
	}
	buf_add_u8(out, '"');
}

/* {"temperature":41.5}; what does not fit any more is left out. */
static void
values_json(
    struct buf *out, const struct rule *r, const struct shape_rule *sr, const struct device *d)
{
	char number[TEMPLATE_NUMBER_MAX];

	buf_add_u8(out, '{');
	for (uint32_t i = 0; sr && i < r->slots.count; i++) {
		const struct expr_value *v = &d->values[sr->columns[i]];
		size_t before = out->len;
		if (v->kind == EXPR_MISSING)
			continue;
		if (out->len > 1)
			buf_add_u8(out, ',');
		json_string(out, bytes_of_str(r->slots.at[i].name));
		buf_add_u8(out, ':');
		if (v->kind == EXPR_NUMBER)
			buf_add_str(out, template_number(v->v.n, number));
		else if (v->kind == EXPR_BOOL)
			buf_add_str(out, v->v.b ? "true" : "false");
		else
			json_string(out, v->v.s);
		if (out->len >= ENGINE_VALUES_JSON_MAX)
			out->len = before;
	}
	buf_add_u8(out, '}');
}

void
alert_tell(struct engine *e, const struct alert_fsm *fsm, const struct rule *r,
    const struct shape_rule *sr, const struct device *d, enum alert_told told, int64_t at)
{
	char id[ALERT_ID_MAX], alert_id[ALERT_ID_MAX];

	if (told == ALERT_TOLD_NOTHING)
		return;
	buf_clear(&e->summary);
	buf_clear(&e->values);
	if (r->summary && sr) {
		struct template_input in = { .values = { .values = d->values,
						 .columns = sr->columns,
						 .device = device_id(d),
						 .now_us = at },
			.alert = r->alert,
			.group = r->group,
			.severity = severity_name((enum severity)fsm->severity),
			.duration_us = at - fsm->since };
		template_render(r->summary, &in, &e->summary);
	}
	values_json(&e->values, r, sr, d);
	alert_ids(fsm, r->group, r->alert, d->id, d->id_len, alert_id, id);
	struct transition t = { .id = id,
		.alert_id = alert_id,
		.alert = r->alert,
		.group = r->group,
		.device = device_id(d),
		.state = fsm->state,
		.severity = (enum severity)fsm->severity,
		.at = at,
		.since = fsm->since,
		.offset = e->offset,
		.summary = buf_bytes(&e->summary),
		.values = buf_bytes(&e->values),
		.runbook = r->runbook ? r->runbook : "",
		.receivers = r->receivers ? r->receivers : "" };
	e->spec.on_transition(e->spec.arg, &t);
}

static struct alert_terms
terms_of(const struct rule *r)
{
	return (struct alert_terms){
		.for_us = r->for_us, .clear_for_us = r->clear_for_us, .repeat_us = r->repeat_us
	};
}

static unsigned
severity_now(const struct rule *r, const struct expr_input *in)
{
	for (unsigned level = SEVERITY_COUNT; level-- > 0;) {
		if (r->levels[level] && expr_truth(r->levels[level], in) == TRUTH_TRUE)
			return level;
	}
	return r->severity;
}

static struct expr_input
input_of(const struct device *d, const struct shape_rule *sr, int64_t now)
{
	return (struct expr_input){
		.values = d->values, .columns = sr->columns, .device = device_id(d), .now_us = now
	};
}

static int64_t
silent_since(const struct engine *e, const struct alert *a, const struct shape_rule *sr)
{
	uint32_t slot = rule_index_at(e->index, a->rule)->absent;
	int64_t arrived = a->device->stamps[sr->columns[slot]].arrived;

	return arrived > e->awake_since ? arrived : e->awake_since;
}

void
alert_arm(struct engine *e, struct alert *a, const struct shape_rule *sr)
{
	const struct rule *r = rule_index_at(e->index, a->rule);
	int64_t due = a->fsm.due;

	if (r->kind == RULE_ABSENCE && !alert_is_firing(&a->fsm))
		due = silent_since(e, a, sr) + r->after_us;
	if (due)
		timer_heap_set(&e->timers, &a->timer, due);
	else
		timer_heap_clear(&e->timers, &a->timer);
}

static void
step(struct engine *e, struct alert *a, const struct shape_rule *sr, enum alert_event event,
    int64_t now)
{
	const struct rule *r = rule_index_at(e->index, a->rule);
	struct expr_input in = input_of(a->device, sr, now);
	struct alert_terms terms = terms_of(r);
	bool was_firing = alert_is_firing(&a->fsm);
	struct alert_fsm before = a->fsm;
	enum alert_told told = alert_step(&a->fsm, &terms, event, severity_now(r, &in), now);

	if (r->kind == RULE_ABSENCE && event == ALERT_ON)
		a->fsm.since = silent_since(e, a, sr);
	e->firing += (size_t)alert_is_firing(&a->fsm) - (size_t)was_firing;
	if (told != ALERT_TOLD_NOTHING || a->fsm.state != before.state ||
	    a->fsm.due != before.due) {
		device_dirty(e, a->device);
		alert_arm(e, a, sr);
	}
	alert_tell(e, &a->fsm, r, sr, a->device, told, now);
}

void
absence_watch(struct engine *e, struct device *d, struct shape_rule *sr)
{
	struct alert *a = device_alert(d, sr->rule);

	if (a == NULL)
		a = device_alert_add(e, d, sr->rule);
	if (alert_is_firing(&a->fsm))
		step(e, a, sr, ALERT_OFF, e->time);
	/* A timer that is set stays: when it is due it looks how long the silence really is, so that a reading costs
	 * nothing here. */
	else if (a->timer.slot == 0)
		alert_arm(e, a, sr);
}

static void
look_at(struct engine *e, struct device *d, struct shape_rule *sr)
{
	const struct rule *r = rule_index_at(e->index, sr->rule);
	struct expr_input in;
	struct alert *a;
	enum expr_truth when, clear;

	e->counts.evaluations++;
	if (r->kind == RULE_ABSENCE) {
		absence_watch(e, d, sr);
		return;
	}
	in = input_of(d, sr, e->time);
	when = expr_truth(r->when, &in);
	a = d->alert_count ? device_alert(d, sr->rule) : NULL;
	if (when != TRUTH_TRUE &&
	    (a == NULL || a->fsm.state == ALERT_INACTIVE || a->fsm.state == ALERT_CLEARED))
		return;
	if (a == NULL)
		a = device_alert_add(e, d, sr->rule);
	if (when == TRUTH_TRUE) {
		step(e, a, sr, ALERT_ON, e->time);
		return;
	}
	/* The condition itself is stronger than clear: what is still too hot is not over. */
	if (r->clear)
		clear = expr_truth(r->clear, &in);
	else
		clear = when == TRUTH_FALSE ? TRUTH_TRUE : TRUTH_FALSE;
	step(e, a, sr, clear == TRUTH_TRUE ? ALERT_OFF : ALERT_HOLD, e->time);
}

/* limit: the time that the journal has reached. */
static void
run_timer(struct engine *e, struct alert *a, int64_t limit)
{
	const struct rule *r = rule_index_at(e->index, a->rule);
	struct shape_rule *sr = shape_find(a->device->shape, a->rule);
	int64_t due = a->timer.due, now = due > e->time ? due : e->time;

	if (r->kind == RULE_ABSENCE && !alert_is_firing(&a->fsm)) {
		if (silent_since(e, a, sr) + r->after_us > due)
			alert_arm(e, a, sr);
		else
			step(e, a, sr, ALERT_ON, now);
		return;
	}
	/* After a gap the reminders that fell into it are one. */
	if (a->fsm.state == ALERT_FIRING && r->repeat_us && (limit - now) / r->repeat_us > 0)
		now += (limit - now) / r->repeat_us * r->repeat_us;
	a->fsm.due = 0;
	timer_heap_clear(&e->timers, &a->timer);
	step(e, a, sr, ALERT_DUE, now);
}

void
engine_advance(struct engine *e, int64_t time, uint64_t offset)
{
	struct heap_timer *t;

	e->offset = offset;
	if (time <= e->time)
		return;
	if (time - e->time > ENGINE_GAP_US)
		e->awake_since = time;
	while ((t = timer_heap_first(&e->timers)) != NULL && t->due <= time)
		run_timer(e, (struct alert *)t, time);
	e->time = time;
}

static void
take_point(struct engine *e, const struct point *p)
{
	struct incoming *in;
	uint32_t operand;

	if (p->reason != QUARANTINE_NONE)
		return;
	operand = rule_index_operand(e->index, EXPR_METRIC, p->name);
	if (operand == OPERAND_NONE)
		return;
	if (e->incoming_count == e->incoming_cap) { /* bounded by RECORD_POINTS_MAX */
		e->incoming_cap = e->incoming_cap ? e->incoming_cap * 2 : 64;
		e->incoming = xrealloc(e->incoming, e->incoming_cap * sizeof(e->incoming[0]));
	}
	in = &e->incoming[e->incoming_count++];
	in->operand = operand;
	in->news = false;
	in->time = p->time < e->time ? p->time : e->time;
	value_of(&p->value, &in->value);
}

static int
by_operand(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* True if there is a column for everything that comes in. */
static bool
find_columns(struct engine *e, const struct device *d)
{
	bool all = true;

	for (size_t i = 0; i < e->incoming_count; i++) {
		e->incoming[i].column = shape_column(d->shape, e->incoming[i].operand);
		all &= e->incoming[i].column != 0;
	}
	return all;
}

/* Gives the device a column for everything that comes in. */
static int
make_columns(struct engine *e, struct device *d)
{
	uint32_t *operands;
	size_t n = 0, unique = 0;
	int err;

	if (find_columns(e, d))
		return 0;
	operands = xmalloc(e->incoming_count * sizeof(operands[0]));
	for (size_t i = 0; i < e->incoming_count; i++) {
		if (e->incoming[i].column == 0)
			operands[n++] = e->incoming[i].operand;
	}
	qsort(operands, n, sizeof(operands[0]), by_operand);
	for (size_t i = 0; i < n; i++) {
		if (unique == 0 || operands[unique - 1] != operands[i])
			operands[unique++] = operands[i];
	}
	err = device_reshape(e, d, operands, unique);
	free(operands);
	if (err)
		return err;
	(void)find_columns(e, d);
	return 0;
}

/* The rule's condition is not true, and there is no alert that this could end. */
static bool
cannot_matter(const struct device *d, const struct shape_trigger *t)
{
	const struct alert *a;

	if (t->mask == 0 || expr_passes(&d->values[t->column], t->number, t->mask))
		return false;
	a = d->alert_count ? device_alert(d, t->rule) : NULL;
	return a == NULL || a->fsm.state == ALERT_INACTIVE || a->fsm.state == ALERT_CLEARED;
}

/* What arrived under one time takes effect together, then the rules that it triggers are looked at, each once. */
static void
apply(struct engine *e, struct device *d, struct incoming *in, size_t n)
{
	uint64_t round = rule_index_round(e->index);

	for (size_t i = 0; i < n; i++) {
		uint16_t c = in[i].column;
		struct stamp *s = &d->stamps[c];

		s->arrived = e->time;
		if (in[i].time < e->time - ENGINE_LATE_US) {
			e->counts.late++;
		} else if (in[i].time >= s->time) {
			in[i].news = true;
			s->time = in[i].time;
			device_set(d, c, &in[i].value);
		}
	}
	for (size_t i = 0; i < n; i++) {
		const struct shape_column *column = &d->shape->columns[in[i].column];

		for (uint32_t k = 0; k < column->trigger_count; k++) {
			const struct shape_trigger *t = &column->triggers[k];
			struct shape_rule *sr;

			if (cannot_matter(d, t)) {
				e->counts.evaluations++;
				continue;
			}
			sr = &d->shape->rules[t->position];
			if (sr->mark == round ||
			    (!in[i].news &&
				rule_index_at(e->index, sr->rule)->kind != RULE_ABSENCE))
				continue;
			sr->mark = round;
			look_at(e, d, sr);
		}
	}
}

static void
apply_all(struct engine *e, struct bytes id)
{
	struct device *d;
	size_t from = 0;

	if (e->incoming_count == 0)
		return;
	d = device_find(e, id);
	if (d == NULL)
		d = device_add(e, id);
	if (d == NULL || make_columns(e, d) != 0) {
		e->counts.refused++;
		return;
	}
	device_used(e, d);
	device_dirty(e, d);
	for (size_t i = 1; i <= e->incoming_count; i++) {
		if (i < e->incoming_count && e->incoming[i].time == e->incoming[from].time)
			continue;
		apply(e, d, e->incoming + from, i - from);
		from = i;
	}
}

int
engine_record(struct engine *e, int64_t time, uint64_t offset, const struct record *r)
{
	struct point_cursor c = point_cursor_of(r);
	struct point p;
	int err;

	engine_advance(e, time, offset);
	if (verdict_code(r->verdict) != VERDICT_ACCEPTED || (r->flags & RECORD_UNDECODABLE))
		return 0;
	e->incoming_count = 0;
	while ((err = point_next(&c, &p)) == 0) {
		/* The device gave no time: it is of when it came. Another clock's, or a wait on the way, does not make it
		 * late. */
		if (!(r->flags & RECORD_DEVICE_TIME) && p.time == r->time)
			p.time = e->time;
		take_point(e, &p);
	}
	if (err != ERR_NOT_FOUND)
		return err;
	apply_all(e, r->device);
	return 0;
}

void
engine_points(struct engine *e, int64_t time, uint64_t offset, struct bytes device,
    const struct point *points, size_t n)
{
	engine_advance(e, time, offset);
	e->incoming_count = 0;
	for (size_t i = 0; i < n; i++)
		take_point(e, &points[i]);
	apply_all(e, device);
}

void
engine_context(struct engine *e, int64_t time, uint64_t offset, struct bytes device,
    enum expr_source source, struct bytes name, const struct value *value)
{
	struct incoming in = { .operand = rule_index_operand(e->index, source, name) };

	value_of(value, &in.value);
	engine_advance(e, time, offset);
	if (in.operand == OPERAND_NONE)
		return;
	in.time = e->time;
	if (e->incoming_cap == 0) {
		e->incoming_cap = 64;
		e->incoming = xmalloc(e->incoming_cap * sizeof(e->incoming[0]));
	}
	e->incoming[0] = in;
	e->incoming_count = 1;
	apply_all(e, device);
}

int64_t
engine_time(const struct engine *e)
{
	return e->time;
}

uint64_t
engine_offset(const struct engine *e)
{
	return e->offset;
}

int64_t
engine_awake_since(const struct engine *e)
{
	return e->awake_since;
}

size_t
engine_devices(const struct engine *e)
{
	return e->device_count;
}

size_t
engine_firing(const struct engine *e)
{
	return e->firing;
}

const struct engine_counts *
engine_counts(const struct engine *e)
{
	return &e->counts;
}

const struct alert_fsm *
engine_alert(const struct engine *e, const char *group, const char *alert, struct bytes device)
{
	const struct device *d = device_find(e, device);

	for (uint32_t i = 0; d && i < d->alert_count; i++) {
		const struct rule *r = rule_index_at(e->index, d->alerts[i]->rule);
		if (strcmp(r->group, group) == 0 && strcmp(r->alert, alert) == 0)
			return &d->alerts[i]->fsm;
	}
	return NULL;
}
