/* rule_set.h - the rules in force: every *.yaml of rules_dir, replaced as a whole when a file changes
 *
 * A rule that cannot be read keeps its previous version running, and so does a whole file. The last text of each file that was
 * entirely good is kept in <data_dir>/rules/accepted/, so that this holds over a restart too. */
#ifndef ROOST_RULE_SET_H
#define ROOST_RULE_SET_H

#include "rule_index.h"

#define RULE_SET_FILES_MAX 1000

struct rule_set;

/* accepted_dir: created if need be; NULL: nothing is kept (tools). Logs what is wrong. */
struct rule_set *rule_set_new(const char *dir, const char *accepted_dir);
void rule_set_free(struct rule_set **set);

/* Reads the directory if anything in it changed. True if other rules are in force now: take rule_set_index(). */
bool rule_set_reload(struct rule_set *set);
/* A new index of the rules in force; the caller's. */
struct rule_index *rule_set_index(const struct rule_set *set);
size_t rule_set_count(const struct rule_set *set);
/* Rules and files that are refused as they stand. */
size_t rule_set_refused(const struct rule_set *set);

#endif
