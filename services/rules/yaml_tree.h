/* yaml_tree.h - YAML text -> a tree of nodes that know their places in the text; pure
 *
 * The strict part of YAML that people write by hand: one document; no anchors, aliases, tags or keys that are no plain
 * scalars; no key twice. */
#ifndef ROOST_YAML_TREE_H
#define ROOST_YAML_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"

#define YAML_DEPTH_MAX 16
#define YAML_TEXT_MAX (32u << 20)
#define YAML_PROBLEMS_MAX 200	/* more are counted, not kept */

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAP };

struct yaml_node {
	enum yaml_kind kind;
	bool quoted;			/* SCALAR: 'x', "x", | or > */
	bool literal;			/* SCALAR: its text stands in the file byte for byte */
	uint32_t line, column;		/* from 1; columns are characters */
	uint32_t content_column;	/* SCALAR: of the first character inside the quotes */
	struct bytes text;		/* SCALAR: NUL-terminated too */
	struct bytes key;		/* of a MAP's child; NUL-terminated too */
	uint32_t key_line, key_column;
	struct yaml_node *first;	/* child */
	struct yaml_node *next;		/* sibling */
};

struct problem {
	bool warning;
	uint32_t line, column;
	char *text;		/* a sentence */
};

/* What is wrong with one file. */
struct problems {
	struct problem at[YAML_PROBLEMS_MAX];
	uint32_t count;
	uint32_t errors;	/* of all, kept or not */
};

void problems_fini(struct problems *p);
void problem_add(struct problems *p, bool warning, uint32_t line, uint32_t column, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

struct yaml_tree {
	struct yaml_node *root;		/* NULL for an empty document */
	void *chunks;			/* all memory of it */
};

/* 0, or ERR_MALFORMED with a problem added. */
int yaml_tree_parse(struct bytes text, struct yaml_tree *ret_tree, struct problems *problems);
void yaml_tree_fini(struct yaml_tree *tree);
/* NULL if there is none. */
const struct yaml_node *yaml_child(const struct yaml_node *map, const char *key);
/* The line and column of byte `at` of a scalar's text; exact where the text stands in the file as it is. */
void yaml_place(const struct yaml_node *scalar, size_t at, uint32_t *ret_line, uint32_t *ret_column);

#endif
