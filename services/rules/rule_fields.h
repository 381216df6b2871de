/* rule_fields.h - the values of a rules file: texts, durations, names, lists, expressions; pure
 *
 * Each returns false with a problem added at the value's place; results are untouched then. */
#ifndef ROOST_RULE_FIELDS_H
#define ROOST_RULE_FIELDS_H

#include "rule.h"
#include "yaml_tree.h"

#define RECEIVERS_MAX 1024	/* bytes of the names in notify:, joined */

/* Always false. At a node; at its key; at err's byte of a scalar. */
bool text_error(struct problems *p, const struct yaml_node *n, const char *text);
bool text_error_key(struct problems *p, const struct yaml_node *n, const char *text);
bool text_error_in(struct problems *p, const struct yaml_node *n, const struct expr_error *err);

bool text_is(const struct yaml_node *n, enum yaml_kind kind, const char *what, struct problems *p);
bool text_is_printable(struct bytes text);
/* Every key of map must be one of known[0..n). */
bool text_keys(const struct yaml_node *map, const char *const *known, size_t n, const char *where, struct problems *p);
bool text_string(const struct yaml_node *n, struct problems *p, struct bytes *ret_text);
bool text_duration(const struct yaml_node *n, struct problems *p, int64_t *ret_us);
bool text_name(const struct yaml_node *n, struct problems *p, char **ret_name);
bool text_severity(const struct yaml_node *n, struct problems *p, enum severity *ret_severity);
/* One text or a list of texts, joined by separator; max: bytes. */
bool text_list(const struct yaml_node *n, struct problems *p, char separator, size_t max, char **ret_joined);
/* The value of match: as a glob_match_any() list. */
bool text_match(const struct yaml_node *n, struct problems *p, char **ret_match);
bool text_expr(const struct yaml_node *n, struct problems *p, struct expr_slots *slots, struct expr **ret_expr);

#endif
