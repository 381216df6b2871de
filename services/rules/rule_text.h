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

#endif
