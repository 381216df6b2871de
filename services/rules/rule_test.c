/* rule_test.c - the tests: of a rules file, run on virtual time; pure */
#include "rule_test.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "engine.h"
#include "err.h"
#include "mem.h"
#include "rule_fields.h"

#define START_US 1700000000000000 /* virtual time begins here: any time that is no special one */
#define TICK_US 1000000
#define FEEDS_MAX 64
#define EXPECTS_MAX 1000

struct sample {
	int64_t at; /* since the start */
	const char *metric;
	struct value value;
};

struct expectation {
	const struct yaml_node *node;
	int64_t at;
	const char *alert;
	enum alert_state state;
	int severity; /* -1: any */
};

struct test {
	const char *name;
	struct bytes device;
	const struct yaml_node *attr, *tags;
	struct sample *samples;
	size_t sample_count;
	struct expectation *expects;
	size_t expect_count;
	int64_t end;
};

static struct value
value_of_text(const char *text, size_t len)
{
	struct value v = { .kind = VALUE_STRING, .v = { .s = bytes_of(text, len) } };
	char copy[64], *end;

	if (len < sizeof(copy)) {
		memcpy(copy, text, len);
		copy[len] = '\0';
		double n = strtod(copy, &end);
		if (*end == '\0' && end != copy)
			v = (struct value){ .kind = VALUE_DOUBLE, .v = { .f = n } };
		else if (strcmp(copy, "true") == 0 || strcmp(copy, "false") == 0)
			v = (struct value){ .kind = VALUE_BOOL, .v = { .b = copy[0] == 't' } };
	}
	return v;
}

static bool
add_samples(struct test *t, struct problems *p, const struct yaml_node *n, const char *word,
    size_t len, int64_t every, int64_t *at)
{
	size_t count = 1, value_len = len, digits = 0;

	/* value x count, where the count is the digits behind the last x */
	while (digits < len && word[len - 1 - digits] >= '0' && word[len - 1 - digits] <= '9')
		digits++;
	if (digits > 0 && digits < len - 1 && word[len - 1 - digits] == 'x') {
		count = digits > 7 ? SIZE_MAX : (size_t)strtoul(word + len - digits, NULL, 10);
		value_len = len - digits - 1;
	}
	if (count == 0 || count > TEST_SAMPLES_MAX - t->sample_count ||
	    every > (TEST_LENGTH_MAX_US - *at) / (int64_t)count)
		return text_error(p, n, "a feed has 1 to 1000000 samples and lasts 366d at most");
	bool none = value_len == 1 && word[0] == '_';
	if (!none)
		t->samples =
		    xrealloc(t->samples, (t->sample_count + count) * sizeof(t->samples[0]));
	for (size_t i = 0; i < count; i++, *at += every) {
		if (!none)
			t->samples[t->sample_count++] = (struct sample){ *at,
				(const char *)n->key.data, value_of_text(word, value_len) };
	}
	return true;
}

static bool
read_feed(struct test *t, struct problems *p, const struct yaml_node *n)
{
	static const char shape[] = "samples are expected here, like \"every 1m: 29 31x12 _x3\"";
	const char *s = (const char *)n->text.data, *colon;
	int64_t every, at = 0;

	if (!text_is(n, YAML_SCALAR, shape, p))
		return false;
	colon = strchr(s, ':');
	if (strncmp(s, "every ", 6) != 0 || colon == NULL ||
	    clock_parse_duration(bytes_of(s + 6, (size_t)(colon - s) - 6), &every) != 0 ||
	    every <= 0)
		return text_error(p, n, shape);
	for (s = colon + 1; *s;) {
		size_t space = strspn(s, " "), len = strcspn(s + space, " ");
		if (len && !add_samples(t, p, n, s + space, len, every, &at))
			return false;
		s += space + len;
	}
	if (at > t->end)
		t->end = at;
	return true;
}

static bool
read_device(struct test *t, struct problems *p, const struct yaml_node *n)
{
	static const char *const known[] = { "id", "attr", "tags" };
	const struct yaml_node *id;

	if (!text_is(n, YAML_MAP, "the device is expected here: { id: gh-1 }", p) ||
	    !text_keys(n, known, COUNT_OF(known), "device", p))
		return false;
	id = yaml_child(n, "id");
	if (id && !text_string(id, p, &t->device))
		return false;
	if (t->device.len == 0 || t->device.len > DEVICE_ID_MAX)
		return text_error(p, n, "a device id has 1 to 128 bytes");
	t->attr = yaml_child(n, "attr");
	t->tags = yaml_child(n, "tags");
	return (!t->attr || text_is(t->attr, YAML_MAP, "names and values are expected here", p)) &&
	       (!t->tags || text_is(t->tags, YAML_MAP, "names and values are expected here", p));
}

static bool
read_state(struct problems *p, const struct yaml_node *n, enum alert_state *ret_state)
{
	for (int s = 0; s < ALERT_STATES; s++) {
		if (n->kind == YAML_SCALAR &&
		    bytes_equal_str(n->text, alert_state_name((enum alert_state)s))) {
			*ret_state = (enum alert_state)s;
			return true;
		}
	}
	return text_error(
	    p, n, "a state is expected here: inactive, pending, firing, clearing or cleared");
}

static bool
read_expectation(
    struct test *t, struct problems *p, const struct yaml_node *n, const struct rule_file *file)
{
	static const char *const known[] = { "at", "alert", "state", "severity" };
	const struct yaml_node *at, *alert, *state, *severity;
	struct expectation x = { .node = n, .severity = -1 };
	enum severity level;
	struct bytes name;
	bool found = false;

	if (!text_is(n, YAML_MAP, "{ at: 11m, alert: Name, state: firing } is expected here", p) ||
	    !text_keys(n, known, COUNT_OF(known), "an expectation", p))
		return false;
	at = yaml_child(n, "at");
	alert = yaml_child(n, "alert");
	state = yaml_child(n, "state");
	severity = yaml_child(n, "severity");
	if (at == NULL || alert == NULL || state == NULL)
		return text_error(p, n, "an expectation needs at, alert and state");
	if (!text_duration(at, p, &x.at) || !text_string(alert, p, &name) ||
	    !read_state(p, state, &x.state))
		return false;
	for (size_t i = 0; i < file->count; i++)
		found |= file->entries[i].alert && bytes_equal_str(name, file->entries[i].alert);
	if (!found)
		return text_error(p, alert, "no rule of this file has that name");
	if (severity && (severity->kind != YAML_SCALAR || severity_of(severity->text, &level) != 0))
		return text_error(
		    p, severity, "a severity is expected here: info, warning or critical");
	if (severity)
		x.severity = (int)level;
	x.alert = (const char *)name.data;
	t->expects = xrealloc(t->expects, (t->expect_count + 1) * sizeof(t->expects[0]));
	t->expects[t->expect_count++] = x;
	if (x.at > t->end)
		t->end = x.at;
	return true;
}

static int
by_time(const void *a, const void *b)
{
	const struct sample *x = a, *y = b;

	return x->at < y->at ? -1 : x->at > y->at ? 1 : strcmp(x->metric, y->metric);
}

static int
by_expected_time(const void *a, const void *b)
{
	const struct expectation *x = a, *y = b;

	return x->at < y->at ? -1 : x->at > y->at;
}

static bool
read_test(
    struct test *t, struct problems *p, const struct yaml_node *n, const struct rule_file *file)
{
	static const char *const known[] = { "name", "device", "feed", "expect" };
	const struct yaml_node *name, *device, *feed, *expect;
	struct bytes text;
	size_t count = 0;

	if (!text_is(n, YAML_MAP, "a test is expected here, beginning with name:", p) ||
	    !text_keys(n, known, COUNT_OF(known), "a test", p))
		return false;
	name = yaml_child(n, "name");
	device = yaml_child(n, "device");
	feed = yaml_child(n, "feed");
	expect = yaml_child(n, "expect");
	if (name == NULL || feed == NULL || expect == NULL)
		return text_error(p, n, "a test needs name, feed and expect");
	if (!text_string(name, p, &text) || (device && !read_device(t, p, device)) ||
	    !text_is(feed, YAML_MAP, "metrics and their samples are expected here", p) ||
	    !text_is(expect, YAML_LIST, "a list of expectations is expected here", p))
		return false;
	t->name = (const char *)text.data;
	for (const struct yaml_node *c = feed->first; c; c = c->next) {
		if (++count > FEEDS_MAX)
			return text_error(p, c, "a test feeds 64 metrics at most");
		if (!read_feed(t, p, c))
			return false;
	}
	for (const struct yaml_node *c = expect->first; c; c = c->next) {
		if (t->expect_count == EXPECTS_MAX)
			return text_error(p, c, "a test has 1000 expectations at most");
		if (!read_expectation(t, p, c, file))
			return false;
	}
	if (t->expect_count == 0)
		return text_error(p, n, "a test without an expectation tests nothing");
	if (t->sample_count)
		qsort(t->samples, t->sample_count, sizeof(t->samples[0]), by_time);
	qsort(t->expects, t->expect_count, sizeof(t->expects[0]), by_expected_time);
	return true;
}

static void
on_transition(void *arg, const struct transition *t)
{
	(void)arg; /* the states are looked at */
	(void)t;
}

static void
set_context(
    struct engine *e, const struct test *t, const struct yaml_node *map, enum expr_source source)
{
	for (const struct yaml_node *c = map ? map->first : NULL; c; c = c->next) {
		struct value v = value_of_text((const char *)c->text.data, c->text.len);
		if (source == EXPR_TAG || c->quoted)
			v = (struct value){ .kind = VALUE_STRING, .v = { .s = c->text } };
		engine_context(e, START_US, 0, t->device, source, c->key, &v);
	}
}

static bool
look(const struct engine *e, const struct rule_file *file, const struct test *t,
    const struct expectation *x, const struct rule_test_report *report)
{
	const struct alert_fsm *a = engine_alert(e, file->group, x->alert, t->device);
	enum alert_state state = a ? a->state : ALERT_INACTIVE;
	char at[CLOCK_DURATION_MAX], text[300];
	/* clearing is firing, too */
	bool same = state == x->state || (x->state == ALERT_FIRING && state == ALERT_CLEARING);

	if (same && (x->severity < 0 || (a && (int)a->severity == x->severity)))
		return true;
	snprintf(text, sizeof(text), "at %s %s is %s%s%s, expected %s%s%s",
	    clock_duration(x->at, at), x->alert, alert_state_name(state),
	    a && a->episode ? " " : "",
	    a && a->episode ? severity_name((enum severity)a->severity) : "",
	    alert_state_name(x->state), x->severity >= 0 ? " " : "",
	    x->severity >= 0 ? severity_name((enum severity)x->severity) : "");
	report->on_difference(report->arg, x->node->line, x->node->column, text);
	return false;
}

static bool
run(const struct test *t, const struct rule_file *file, struct rule_index *index,
    const struct rule_test_report *report)
{
	struct engine_spec spec = { .on_transition = on_transition, .devices_max = 16 };
	struct engine *e = engine_new(&spec, index);
	size_t s = 0, x = 0;
	uint64_t offset = 0;
	bool passed = true;

	engine_advance(e, START_US, offset);
	set_context(e, t, t->attr, EXPR_ATTR);
	set_context(e, t, t->tags, EXPR_TAG);
	for (int64_t now = 0; x < t->expect_count;) {
		engine_advance(e, START_US + now, offset++);
		/* Samples of one time are one message. */
		while (s < t->sample_count && t->samples[s].at <= now) {
			struct point points[FEEDS_MAX];
			size_t n = 0;
			for (; s < t->sample_count && n < FEEDS_MAX && t->samples[s].at <= now; s++)
				points[n++] =
				    (struct point){ .name = bytes_of_str(t->samples[s].metric),
					    .value = t->samples[s].value,
					    .time = START_US + t->samples[s].at };
			engine_points(e, START_US + now, offset++, t->device, points, n);
		}
		for (; x < t->expect_count && t->expects[x].at <= now; x++)
			passed &= look(e, file, t, &t->expects[x], report);
		int64_t next = now - now % TICK_US + TICK_US;
		if (s < t->sample_count && t->samples[s].at < next)
			next = t->samples[s].at;
		if (x < t->expect_count && t->expects[x].at < next)
			next = t->expects[x].at;
		now = next;
	}
	engine_free(&e);
	return passed;
}

int
rule_test_run(const struct rule_file *file, struct rule_index *index, struct problems *problems,
    const struct rule_test_report *report, size_t *ret_failed)
{
	size_t failed = 0;
	int err = 0;

	if (file->tests == NULL) {
		*ret_failed = 0;
		return 0;
	}
	if (!text_is(file->tests, YAML_LIST, "a list of tests is expected here", problems))
		return ERR_CONFIG;
	for (const struct yaml_node *n = file->tests->first; n; n = n->next) {
		struct test t = { .device = bytes_of_str("device") };

		if (!read_test(&t, problems, n, file)) {
			err = ERR_CONFIG;
		} else {
			bool passed = run(&t, file, index, report);
			failed += !passed;
			report->on_result(report->arg, t.name, passed);
		}
		free(t.samples);
		free(t.expects);
	}
	if (err == 0)
		*ret_failed = failed;
	return err;
}
