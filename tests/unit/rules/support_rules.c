/* support_rules.c - rules from text, readings at a time, and the transitions that came of them, as text */
#include "support_rules.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

struct rule_index *
index_of_text(const char *text)
{
	struct problems *problems = xcalloc(1, sizeof(*problems));
	struct rule_file file;
	struct rule *rules[2000];
	size_t n = 0;
	int err = rule_file_parse("g.yaml", bytes_of_str(text), &file, problems);

	for (uint32_t i = 0; i < problems->count; i++) {
		if (!problems->at[i].warning)
			ck_abort_msg("%u:%u: %s", problems->at[i].line, problems->at[i].column,
			    problems->at[i].text);
	}
	ck_assert_int_eq(err, 0);
	ck_assert_uint_le(file.count, COUNT_OF(rules));
	for (size_t i = 0; i < file.count; i++)
		rules[n++] = file.entries[i].rule;
	struct rule_index *index = rule_index_new(rules, n);
	rule_file_fini(&file);
	problems_fini(problems);
	free(problems);
	return index;
}

static void
on_transition(void *arg, const struct transition *t)
{
	struct world *w = arg;

	buf_addf(&w->told, "%s %.*s %s %s @%g;", t->alert, (int)t->device.len,
	    (const char *)t->device.data, alert_state_name(t->state), severity_name(t->severity),
	    (double)(t->at - T0) / S);
	buf_addf(&w->ids, "%s %s\n", t->alert_id, t->id);
	buf_clear(&w->detail);
	buf_addf(&w->detail, "%.*s|%.*s|%s|%s", (int)t->summary.len, (const char *)t->summary.data,
	    (int)t->values.len, (const char *)t->values.data, t->runbook, t->receivers);
	w->last_since = t->since;
}

static void
new_engine(struct world *w)
{
	struct engine_spec spec = { .on_transition = on_transition,
		.arg = w,
		.devices_max = w->devices_max ? w->devices_max : 1000 };

	w->engine = engine_new(&spec, w->index);
}

void
world_init(struct world *w, const char *rules)
{
	size_t devices_max = w->devices_max;

	*w = (struct world){ .devices_max = devices_max };
	w->index = index_of_text(rules);
	new_engine(w);
	engine_advance(w->engine, T0, 0);
}

static void saved_free(struct saved *s);

void
world_fini(struct world *w)
{
	saved_free(w->saved);
	engine_free(&w->engine);
	rule_index_free(&w->index);
	buf_fini(&w->told);
	buf_fini(&w->ids);
	buf_fini(&w->detail);
	*w = (struct world){ 0 };
}

void
world_tick_to(struct world *w, double seconds)
{
	int64_t to = T0 + (int64_t)(seconds * S);

	while (engine_time(w->engine) + S <= to)
		engine_advance(w->engine, engine_time(w->engine) + S, ++w->offset);
	engine_advance(w->engine, to, ++w->offset);
}

static struct value
value_from(const char *text)
{
	char *end;
	double n = strtod(text, &end);

	if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
		return (struct value){ .kind = VALUE_BOOL, .v = { .b = text[0] == 't' } };
	if (*end == '\0' && strchr(text, '.'))
		return (struct value){ .kind = VALUE_DOUBLE, .v = { .f = n } };
	if (*end == '\0')
		return (struct value){ .kind = VALUE_INT, .v = { .i = (int64_t)n } };
	return (struct value){ .kind = VALUE_STRING, .v = { .s = bytes_of_str(text) } };
}

void
world_read_at(
    struct world *w, double seconds, double point_seconds, const char *device, const char *points)
{
	char *copy = xstrdup(points), *save = NULL;
	struct record head = { .time = T0 + (int64_t)(point_seconds * S),
		.device = bytes_of_str(device),
		.flags = point_seconds == seconds ? 0 : RECORD_DEVICE_TIME },
		      r;
	struct record_writer writer;
	struct buf batch = { 0 };

	record_begin(&writer, &batch, &head);
	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		char *equals = strchr(word, '=');
		if (equals == NULL)
			continue;
		*equals = '\0';
		struct point p = { .name = bytes_of_str(word),
			.value = value_from(equals + 1),
			.time = head.time };
		record_add(&writer, &p);
	}
	record_end(&writer);
	struct record_cursor c = record_cursor_of(buf_bytes(&batch));
	ck_assert_int_eq(record_next(&c, &r), 0);
	ck_assert_int_eq(engine_record(w->engine, T0 + (int64_t)(seconds * S), ++w->offset, &r), 0);
	buf_fini(&batch);
	free(copy);
}

void
world_read(struct world *w, double seconds, const char *device, const char *points)
{
	world_tick_to(w, seconds);
	world_read_at(w, seconds, seconds, device, points);
}

void
world_rules(struct world *w, const char *rules)
{
	struct rule_index *index = index_of_text(rules);

	engine_adopt(w->engine, index);
	rule_index_free(&w->index);
	w->index = index;
}

const char *
world_told(struct world *w)
{
	static char text[65536];

	snprintf(text, sizeof(text), "%s", buf_str(&w->told));
	buf_clear(&w->told);
	return text;
}

const char *
world_state(const struct world *w, const char *alert, const char *device)
{
	const struct alert_fsm *a = engine_alert(w->engine, "g", alert, bytes_of_str(device));

	return a ? alert_state_name(a->state) : "inactive";
}

/* What state.c keeps, in memory. */
struct saved_row {
	char *device;
	struct buf latest;
	struct engine_saved_alert alerts[16];
	size_t alert_count;
};

struct saved {
	struct saved_row rows[1000];
	size_t count;
	struct saved_row *row; /* the device whose alerts follow */
	const struct rule_index *index;
};

static struct saved_row *
row_of(struct saved *s, struct bytes device)
{
	for (size_t i = 0; i < s->count; i++) {
		if (bytes_equal_str(device, s->rows[i].device))
			return &s->rows[i];
	}
	ck_assert_uint_lt(s->count, COUNT_OF(s->rows));
	s->rows[s->count].device = xstrndup((const char *)device.data, device.len);
	return &s->rows[s->count++];
}

static void
save_device(void *arg, struct bytes device, struct bytes latest)
{
	struct saved *s = arg;

	s->row = row_of(s, device);
	s->row->alert_count = 0;
	buf_clear(&s->row->latest);
	buf_add(&s->row->latest, latest.data, latest.len);
}

static void
save_alert(void *arg, struct bytes device, uint64_t identity, const struct alert_fsm *fsm)
{
	struct saved *s = arg;
	uint32_t number;

	ck_assert(bytes_equal_str(device, s->row->device));
	ck_assert_uint_lt(s->row->alert_count, COUNT_OF(s->row->alerts));
	ck_assert_int_eq(rule_index_find(s->index, identity, &number), 0);
	const struct rule *r = rule_index_at(s->index, number);
	s->row->alerts[s->row->alert_count++] =
	    (struct engine_saved_alert){ .device = bytes_of_str(s->row->device),
		    .group = r->group,
		    .alert = r->alert,
		    .identity = identity,
		    .meaning = r->meaning,
		    .fsm = *fsm };
}

static void
save_forgotten(void *arg, struct bytes device)
{
	struct saved_row *row = row_of(arg, device);
	struct saved *s = arg;

	free(row->device);
	buf_fini(&row->latest);
	*row = s->rows[--s->count];
	s->rows[s->count] = (struct saved_row){ 0 };
}

void
world_restart(struct world *w)
{
	struct engine *old = w->engine;
	struct saved *s;

	if (w->saved == NULL)
		w->saved = xcalloc(1, sizeof(*w->saved));
	s = w->saved;
	struct engine_saver saver = { save_device, save_alert, save_forgotten, s };
	s->index = w->index;
	engine_save(old, &saver);
	ck_assert(!engine_is_dirty(old));
	new_engine(w);
	engine_load_position(
	    w->engine, engine_time(old), engine_offset(old), engine_awake_since(old));
	for (size_t i = 0; i < s->count; i++)
		ck_assert_int_eq(engine_load_device(w->engine, bytes_of_str(s->rows[i].device),
				     buf_bytes(&s->rows[i].latest)),
		    0);
	for (size_t i = 0; i < s->count; i++) {
		for (size_t k = 0; k < s->rows[i].alert_count; k++)
			ck_assert_int_eq(engine_load_alert(w->engine, &s->rows[i].alerts[k]), 0);
	}
	engine_load_end(w->engine);
	ck_assert_uint_eq(engine_firing(w->engine), engine_firing(old));
	engine_free(&old);
}

static void
saved_free(struct saved *s)
{
	for (size_t i = 0; s && i < s->count; i++) {
		free(s->rows[i].device);
		buf_fini(&s->rows[i].latest);
	}
	free(s);
}
