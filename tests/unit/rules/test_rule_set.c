/* test_rule_set.c - the rules in force as files come, change, break and go */
#include "rule_set.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../unit.h"
#include "err.h"
#include "mem.h"
#include "rule_file.h"

#define HEAD "version: 1\ngroup: g\nrules:\n"

static char dir[40];
static char accepted[60];

static void
setup(void)
{
	char text[100];

	strcpy(dir, "/tmp/roost-set-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(accepted, sizeof(accepted), "%s/accepted", dir);
	snprintf(text, sizeof(text), "mkdir -p %s/rules", dir);
	ck_assert_int_eq(system(text), 0);
	snprintf(text, sizeof(text), "%s/rules", dir);
}

static void
teardown(struct rule_set **set)
{
	char text[100];

	rule_set_free(set);
	snprintf(text, sizeof(text), "rm -rf %s", dir);
	ck_assert_int_eq(system(text), 0);
}

static struct rule_set *
open_set(void)
{
	char rules[60];

	snprintf(rules, sizeof(rules), "%s/rules", dir);
	return rule_set_new(rules, accepted);
}

static void
put(const char *name, const char *text)
{
	char path[100];

	snprintf(path, sizeof(path), "%s/rules/%s", dir, name);
	ck_assert_int_eq(rule_file_write(path, bytes_of_str(text)), 0);
}

static void
drop(const char *name)
{
	char path[100];

	snprintf(path, sizeof(path), "%s/rules/%s", dir, name);
	ck_assert_int_eq(unlink(path), 0);
}

static int
by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The conditions in force, sorted: "Hot t > 1;Cold t < 1;" */
static const char *
in_force(const struct rule_set *set)
{
	static char text[1000];
	struct rule_index *x = rule_set_index(set);
	char *lines[50] = { NULL };
	uint32_t n = rule_index_count(x);

	ck_assert_uint_eq(n, rule_set_count(set));
	ck_assert_uint_lt(n, COUNT_OF(lines));
	for (uint32_t i = 0; i < n; i++) {
		const struct rule *r = rule_index_at(x, i);
		lines[i] = xasprintf("%s %s;", r->alert, expr_text(r->when));
	}
	qsort(lines, n, sizeof(lines[0]), by_text);
	text[0] = '\0';
	for (uint32_t i = 0; i < n; i++) {
		strcat(text, lines[i]);
		free(lines[i]);
	}
	rule_index_free(&x);
	return text;
}

START_TEST(files_come_change_and_go)
{
	setup();
	struct rule_set *set = open_set();

	put("a.yaml", HEAD "  - { alert: A, when: t > 1 }\n");
	put("notes.txt", "not a rules file");
	put(".hidden.yaml", "not either");
	ck_assert(rule_set_reload(set));
	ck_assert_str_eq(in_force(set), "A t > 1;");
	ck_assert(!rule_set_reload(set));
	put("b.yaml", "version: 1\nrules:\n  - { alert: A, when: u > 1 }\n"); /* group b */
	ck_assert(rule_set_reload(set));
	ck_assert_str_eq(in_force(set), "A t > 1;A u > 1;");
	put("a.yaml", HEAD "  - { alert: A, when: t > 2 }\n");
	ck_assert(rule_set_reload(set));
	ck_assert_str_eq(in_force(set), "A t > 2;A u > 1;");
	put("a.yaml", HEAD "  - { alert: A, when: t > 2 }\n"); /* written again, the same */
	ck_assert(!rule_set_reload(set));
	drop("b.yaml");
	ck_assert(rule_set_reload(set));
	ck_assert_str_eq(in_force(set), "A t > 2;");
	drop("a.yaml");
	ck_assert(rule_set_reload(set));
	ck_assert_str_eq(in_force(set), "");
	teardown(&set);
}
END_TEST

START_TEST(a_mistake_keeps_the_previous_version)
{
	setup();
	struct rule_set *set = open_set();

	put("a.yaml", HEAD "  - { alert: A, when: t > 1 }\n  - { alert: B, when: t > 1 }\n");
	ck_assert(rule_set_reload(set));
	put("a.yaml", HEAD "  - { alert: A, when: t > }\n  - { alert: B, when: t > 2 }\n  - { "
			   "alert: C, when: 't >' }\n");
	ck_assert(rule_set_reload(set));
	ck_assert_str_eq(in_force(set), "A t > 1;B t > 2;");
	ck_assert_uint_eq(rule_set_refused(set), 2);
	put("a.yaml", "version: 1\nrules: [\n");
	ck_assert(!rule_set_reload(set));
	ck_assert_str_eq(in_force(set), "A t > 1;B t > 2;");
	ck_assert_uint_eq(rule_set_refused(set), 1);

	/* over a restart, what was good last as a whole goes on: the first text */
	rule_set_free(&set);
	set = open_set();
	ck_assert(rule_set_reload(set));
	ck_assert_str_eq(in_force(set), "A t > 1;B t > 1;");

	/* a rule that lost its name may be any that is gone */
	put("a.yaml", HEAD "  - { when: t > 5 }\n  - { alert: B, when: t > 3 }\n");
	ck_assert(rule_set_reload(set));
	ck_assert_str_eq(in_force(set), "A t > 1;B t > 3;");
	put("a.yaml", HEAD "  - { alert: B, when: t > 4 }\n");
	ck_assert(rule_set_reload(set));
	ck_assert_str_eq(in_force(set), "B t > 4;");
	ck_assert_uint_eq(rule_set_refused(set), 0);
	drop("a.yaml");
	ck_assert(rule_set_reload(set));
	rule_set_free(&set);
	set = open_set(); /* what was removed does not come back */
	put("a.yaml", "[");
	ck_assert(rule_set_reload(set));
	ck_assert_str_eq(in_force(set), "");
	teardown(&set);
}
END_TEST

START_TEST(one_identity_has_one_rule)
{
	setup();
	struct rule_set *set = open_set();

	put("b.yaml", HEAD "  - { alert: A, when: t > 2 }\n");
	ck_assert(rule_set_reload(set));
	put("a.yaml", HEAD "  - { alert: A, when: t > 1 }\n");
	ck_assert(rule_set_reload(set));
	ck_assert_str_eq(in_force(set), "A t > 1;");
	ck_assert_uint_eq(rule_set_refused(set), 1);
	drop("a.yaml");
	ck_assert(rule_set_reload(set));
	ck_assert_str_eq(in_force(set), "A t > 2;");
	teardown(&set);
}
END_TEST

START_TEST(a_missing_directory_changes_nothing)
{
	setup();
	struct rule_set *set = open_set();
	char from[100], to[100];

	put("a.yaml", HEAD "  - { alert: A, when: t > 1 }\n");
	ck_assert(rule_set_reload(set));
	snprintf(from, sizeof(from), "%s/rules", dir);
	snprintf(to, sizeof(to), "%s/moved", dir);
	ck_assert_int_eq(rename(from, to), 0);
	ck_assert(!rule_set_reload(set));
	ck_assert_str_eq(in_force(set), "A t > 1;");
	rule_set_free(&set);
	set = open_set();
	ck_assert(rule_set_reload(set));
	ck_assert_str_eq(in_force(set), "A t > 1;");
	ck_assert_int_eq(rename(to, from), 0);
	(void)rule_set_reload(set);
	ck_assert_str_eq(in_force(set), "A t > 1;");
	teardown(&set);
}
END_TEST

UNIT_MAIN("rule_set", files_come_change_and_go, a_mistake_keeps_the_previous_version,
    one_identity_has_one_rule, a_missing_directory_changes_nothing)
