/* fuzz_rules.c - any text as a rules file: it is read or refused, and what is read runs
 *
 * The text up to a NUL is the file; every two bytes behind it are a reading: which metric of the first rule, and its value. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "err.h"
#include "mem.h"
#include "rule_test.h"
#include "rule_text.h"

#define START_US 1700000000000000
#define RULES_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
on_transition(void *arg, const struct transition *t)
{
	(void)arg;
	ASSERT(strlen(t->id) == 32 && strlen(t->alert_id) == 32);
	ASSERT(t->state == ALERT_FIRING || t->state == ALERT_CLEARED);
	ASSERT(t->summary.len <= TEMPLATE_TEXT_MAX && t->values.len <= ENGINE_VALUES_JSON_MAX + 1);
}

static void
on_result(void *arg, const char *name, bool passed)
{
	(void)arg;
	(void)name;
	(void)passed;
}

static void
on_difference(void *arg, uint32_t line, uint32_t column, const char *text)
{
	(void)arg;
	(void)line;
	(void)column;
	(void)text;
}

static struct value
value_of_byte(uint8_t b)
{
	if ((b & 3) == 0)
		return (struct value){ .kind = VALUE_BOOL, .v = { .b = b & 4 } };
	if ((b & 3) == 1)
		return (
		    struct value){ .kind = VALUE_STRING, .v = { .s = bytes_of("auto", b >> 6) } };
	return (struct value){ .kind = VALUE_DOUBLE, .v = { .f = (double)(b >> 2) - 20 } };
}

static void
feed(struct rule_index *index, const struct rule *r, const uint8_t *data, size_t size)
{
	struct engine_spec spec = { .on_transition = on_transition, .devices_max = 4 };
	struct engine *e = engine_new(&spec, index);
	int64_t now = START_US;

	for (size_t i = 0; i + 1 < size && r->slots.count; i += 2) {
		const struct expr_slot *s = &r->slots.at[data[i] % r->slots.count];
		struct value v = value_of_byte(data[i + 1]);
		struct point p = { .name = bytes_of_str(s->name),
			.value = v,
			.time = now - (data[i] >> 6) * 200000000ll };

		now += (int64_t)(data[i] >> 4) * 700000;
		if (s->source == EXPR_METRIC)
			engine_points(e, now, i, bytes_of("dev", 1 + data[i] % 3), &p, 1);
		else
			engine_context(e, now, i, bytes_of("dev", 1), s->source, p.name, &v);
	}
	engine_adopt(e, index);
	engine_advance(e, now + 4000000000000, size);
	engine_free(&e);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct rule_test_report report = { on_result, on_difference, NULL };
	const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
	size_t len = nul ? (size_t)(nul - data) : size, n = 0, failed;
	struct problems *problems = xcalloc(1, sizeof(*problems));
	struct rule *rules[RULES_MAX];
	struct rule_index *index;
	struct rule_file file;

	if (rule_file_parse("fuzz.yaml", bytes_of(data, len), &file, problems) == 0) {
		for (size_t i = 0; i < file.count && n < RULES_MAX; i++) {
			if (file.entries[i].rule)
				rules[n++] = file.entries[i].rule;
		}
		index = rule_index_new(rules, n);
		if (n > 0 && len < size)
			feed(index, rules[0], nul + 1, size - len - 1);
		/* A test may ask for a year of virtual time: only short ones here. */
		if (file.tests && size < 2048 && memmem(data, len, "d ", 2) == NULL)
			(void)rule_test_run(&file, index, problems, &report, &failed);
		rule_index_free(&index);
		rule_file_fini(&file);
	} else {
		ASSERT(problems->errors > 0);
	}
	problems_fini(problems);
	free(problems);
	return 0;
}
