/* cli.c - `roost rules check|test|list`: what a rules author asks before and after editing */
#include "cli.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "err.h"
#include "mem.h"
#include "rule_file.h"
#include "rule_test.h"
#include "rule_text.h"
#include "settings.h"
#include "worker.h"

#define FILES_MAX 1000

struct paths {
	char *at[FILES_MAX];
	size_t count;
};

struct totals {
	const char *path;
	size_t rules;
	size_t errors;
	size_t passed;
	size_t failed;
};

static int
by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A file as it is, a directory as the *.yaml in it. */
static void
add_path(struct paths *paths, const char *path)
{
	size_t first = paths->count;
	struct dirent *entry;
	DIR *d = opendir(path);

	if (d == NULL && paths->count < FILES_MAX)
		paths->at[paths->count++] = xstrdup(path);
	while (d && (entry = readdir(d)) != NULL && paths->count < FILES_MAX) {
		size_t len = strlen(entry->d_name);
		if (entry->d_name[0] != '.' && len > 5 &&
		    strcmp(entry->d_name + len - 5, ".yaml") == 0)
			paths->at[paths->count++] = xasprintf("%s/%s", path, entry->d_name);
	}
	if (d)
		closedir(d);
	qsort(paths->at + first, paths->count - first, sizeof(paths->at[0]), by_text);
}

static void
paths_fini(struct paths *paths)
{
	for (size_t i = 0; i < paths->count; i++)
		free(paths->at[i]);
}

static void
print_problems(const char *path, const struct problems *problems)
{
	for (uint32_t i = 0; i < problems->count; i++) {
		const struct problem *p = &problems->at[i];
		printf("%s:%u:%u: %s%s\n", path, p->line, p->column, p->warning ? "warning: " : "",
		    p->text);
	}
	if (problems->errors > YAML_PROBLEMS_MAX)
		printf("%s: and %u more\n", path, problems->errors - YAML_PROBLEMS_MAX);
}

static int
read_rules(
    const char *path, struct buf *text, struct rule_file *ret_file, struct problems *problems)
{
	if (rule_file_read(path, text) != 0) {
		problem_add(problems, false, 1, 1, "cannot be read: %s", strerror(errno));
		return ERR_IO;
	}
	return rule_file_parse(path, buf_bytes(text), ret_file, problems);
}

static struct rule_index *
index_of(const struct rule_file *file)
{
	struct rule **rules = xcalloc(file->count ? file->count : 1, sizeof(rules[0]));
	struct rule_index *index;
	size_t n = 0;

	for (size_t i = 0; i < file->count; i++) {
		if (file->entries[i].rule)
			rules[n++] = file->entries[i].rule;
	}
	index = rule_index_new(rules, n);
	free(rules);
	return index;
}

static void
on_result(void *arg, const char *name, bool passed)
{
	struct totals *t = arg;

	t->passed += passed;
	t->failed += !passed;
	printf("%s: %s: %s\n", t->path, name, passed ? "passed" : "FAILED");
}

static void
on_difference(void *arg, uint32_t line, uint32_t column, const char *text)
{
	const struct totals *t = arg;

	printf("%s:%u:%u: %s\n", t->path, line, column, text);
}

static void
nothing_result(void *arg, const char *name, bool passed)
{
	(void)arg;
	(void)name;
	(void)passed;
}

static void
nothing_difference(void *arg, uint32_t line, uint32_t column, const char *text)
{
	(void)arg;
	(void)line;
	(void)column;
	(void)text;
}

/* check reads the tests too, without judging what comes of them. */
static void
check_file(const char *path, struct totals *t, bool run_tests)
{
	static const struct rule_test_report quiet = { nothing_result, nothing_difference, NULL };
	struct rule_test_report loud = { on_result, on_difference, t };
	struct problems *problems = xcalloc(1, sizeof(*problems));
	struct rule_file file = { 0 };
	struct buf text = { 0 };
	size_t failed;

	t->path = path;
	if (read_rules(path, &text, &file, problems) == 0) {
		struct rule_index *index = index_of(&file);
		t->rules += rule_index_count(index);
		if (problems->errors == 0)
			(void)rule_test_run(
			    &file, index, problems, run_tests ? &loud : &quiet, &failed);
		rule_index_free(&index);
	}
	print_problems(path, problems);
	t->errors += problems->errors;
	rule_file_fini(&file);
	problems_fini(problems);
	free(problems);
	buf_fini(&text);
}

static int
check(const struct paths *paths, bool run_tests)
{
	struct totals t = { 0 };

	for (size_t i = 0; i < paths->count; i++)
		check_file(paths->at[i], &t, run_tests);
	if (run_tests)
		printf("%zu tests passed, %zu failed\n", t.passed, t.failed);
	printf("%zu files, %zu rules, %zu errors\n", paths->count, t.rules, t.errors);
	return t.errors || t.failed ? 1 : 0;
}

static void
list_rule(const struct rule *r)
{
	char duration[CLOCK_DURATION_MAX];

	printf("%s/%s  %s", r->group, r->alert, severity_name(r->severity));
	for (unsigned i = 0; i < SEVERITY_COUNT; i++) {
		if (r->levels[i])
			printf(
			    " (%s: %s)", severity_name((enum severity)i), expr_text(r->levels[i]));
	}
	if (r->kind == RULE_ABSENCE)
		printf("  missing %s for %s", r->slots.at[r->absent].name,
		    clock_duration(r->after_us, duration));
	else
		printf("  when %s", expr_text(r->when));
	if (r->for_us)
		printf(" for %s", clock_duration(r->for_us, duration));
	if (r->clear)
		printf(", clear when %s", expr_text(r->clear));
	if (r->clear_for_us)
		printf(", clear for %s", clock_duration(r->clear_for_us, duration));
	printf("  %s:%u\n", r->file, r->line);
}

static int
list(const struct paths *paths)
{
	size_t errors = 0;

	for (size_t i = 0; i < paths->count; i++) {
		struct problems *problems = xcalloc(1, sizeof(*problems));
		struct rule_file file = { 0 };
		struct buf text = { 0 };

		if (read_rules(paths->at[i], &text, &file, problems) == 0) {
			for (size_t k = 0; k < file.count; k++) {
				if (file.entries[k].rule)
					list_rule(file.entries[k].rule);
			}
		}
		print_problems(paths->at[i], problems);
		errors += problems->errors;
		rule_file_fini(&file);
		problems_fini(problems);
		free(problems);
		buf_fini(&text);
	}
	return errors ? 1 : 0;
}

static int
usage(void)
{
	fprintf(stderr, "usage: roost rules check FILE|DIRECTORY...   syntax, names, kinds, units; "
			"exit 1 with places\n"
			"       roost rules test FILE|DIRECTORY...    runs the tests: of the files "
			"on virtual time\n"
			"       roost rules list [FILE|DIRECTORY...]  the rules; without a name "
			"those of rules_dir\n");
	return EXIT_USAGE;
}

/* rules_dir as ROOST_RULES_DIR or the default says. */
static int
add_rules_dir(struct paths *paths)
{
	struct settings *s = settings_new();
	struct buf err = { 0 };
	int rc = settings_load_env(s, environ, &err);

	if (rc == 0)
		add_path(paths, settings_str(s, SET_RULES_DIR));
	else
		fprintf(stderr, "%s\n", buf_str(&err));
	buf_fini(&err);
	settings_free(&s);
	return rc;
}

int
cli_main(int argc, char **argv)
{
	struct paths *paths = xcalloc(1, sizeof(*paths));
	int code = -1;

	for (int i = 1; i < argc; i++)
		add_path(paths, argv[i]);
	if (strcmp(argv[0], "list") == 0)
		code = argc == 1 && add_rules_dir(paths) != 0 ? EXIT_CONFIG : list(paths);
	else if (argc > 1 && strcmp(argv[0], "check") == 0)
		code = check(paths, false);
	else if (argc > 1 && strcmp(argv[0], "test") == 0)
		code = check(paths, true);
	paths_fini(paths);
	free(paths);
	return code < 0 ? usage() : code;
}
