/* rule_text.h - YAML -> rules, errors with their places; pure
 *
 * The language is written down in deploy/rules/greenhouse.yaml. Unknown keys are errors. What is wrong with one rule
 * disables that rule only; what is wrong with the file as a whole disables all of it. */
#ifndef ROOST_RULE_TEXT_H
#define ROOST_RULE_TEXT_H

#include "rule.h"
#include "yaml_tree.h"

#define RULE_FILE_RULES_MAX 100000

struct rule_entry {
	char *alert;		/* NULL: not even its name can be read */
	struct rule *rule;	/* NULL: something is wrong with it */
};

struct rule_file {
	char *name;		/* as given */
	char *group;
	struct rule_entry *entries;
	size_t count;
	struct yaml_tree tree;		/* tests: is read from it by rule_test.c */
	const struct yaml_node *tests;	/* NULL: none */
};

/* name: the path, for errors; without `group:` the group is its last part without .yaml. 0, even if some rules are bad
 * (problems tells); ERR_CONFIG if nothing of the file can be used. */
int rule_file_parse(const char *name, struct bytes text, struct rule_file *ret_file, struct problems *problems);
void rule_file_fini(struct rule_file *file);

/* For the sections that other modules read. Each returns false with a problem added. */
bool text_string(const struct yaml_node *n, struct problems *p, struct bytes *ret_text);
bool text_duration(const struct yaml_node *n, struct problems *p, int64_t *ret_us);
/* Every key of map must be one of known[0..n). */
bool text_keys(const struct yaml_node *map, const char *const *known, size_t n, const char *where, struct problems *p);
bool text_is(const struct yaml_node *n, enum yaml_kind kind, const char *what, struct problems *p);

#endif
