/* yaml_tree.c - YAML text -> a tree of nodes that know their places in the text; pure */
#include "yaml_tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "err.h"
#include "mem.h"

#define CHUNK_SIZE 65536
#define MAP_KEYS_MAX 256

struct chunk {
	struct chunk *next;
	size_t used;
	size_t size;
};

struct builder {
	yaml_parser_t parser;
	yaml_event_t event; /* the one that is looked at */
	struct bytes source;
	size_t source_at;   /* a line's start */
	size_t source_line; /* and its number */
	struct yaml_tree *tree;
	struct problems *problems;
};

void
problems_fini(struct problems *p)
{
	for (uint32_t i = 0; i < p->count; i++)
		free(p->at[i].text);
	p->count = p->errors = 0;
}

void
problem_add(struct problems *p, bool warning, uint32_t line, uint32_t column, const char *fmt, ...)
{
	char text[512];
	va_list args;

	if (!warning)
		p->errors++;
	if (p->count == YAML_PROBLEMS_MAX)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	p->at[p->count++] = (struct problem){
		.warning = warning, .line = line, .column = column, .text = xstrdup(text)
	};
}

static void *
take(struct yaml_tree *tree, size_t size)
{
	struct chunk *c = tree->chunks;
	void *p;

	size = (size + 15) & ~(size_t)15;
	if (c == NULL || size > c->size - c->used) {
		size_t room = size > CHUNK_SIZE ? size : CHUNK_SIZE;
		c = xmalloc(sizeof(*c) + 16 + room);
		*c = (struct chunk){ .next = tree->chunks, .size = room };
		tree->chunks = c;
	}
	p = (uint8_t *)(c + 1) + ((16 - sizeof(*c) % 16) % 16) + c->used;
	c->used += size;
	return p;
}

void
yaml_tree_fini(struct yaml_tree *tree)
{
	struct chunk *c = tree->chunks, *next;

	for (; c; c = next) {
		next = c->next;
		free(c);
	}
	*tree = (struct yaml_tree){ 0 };
}

static int
fail(struct builder *b, yaml_mark_t mark, const char *text)
{
	problem_add(
	    b->problems, false, (uint32_t)mark.line + 1, (uint32_t)mark.column + 1, "%s", text);
	return ERR_MALFORMED;
}

/* Looks at the next event. */
static int
advance(struct builder *b)
{
	yaml_event_delete(&b->event);
	if (yaml_parser_parse(&b->parser, &b->event))
		return 0;
	yaml_mark_t mark = b->parser.problem_mark;
	if (b->parser.error == YAML_READER_ERROR)
		mark = b->parser.mark;
	memset(&b->event, 0, sizeof(b->event));
	problem_add(b->problems, false, (uint32_t)mark.line + 1, (uint32_t)mark.column + 1,
	    "not YAML: %s%s%s", b->parser.problem ? b->parser.problem : "unreadable",
	    b->parser.context ? ", " : "", b->parser.context ? b->parser.context : "");
	return ERR_MALFORMED;
}

static struct bytes
keep(struct builder *b, const yaml_char_t *text, size_t len)
{
	uint8_t *copy = take(b->tree, len + 1);

	if (len)
		memcpy(copy, text, len);
	copy[len] = '\0';
	return bytes_of(copy, len);
}

/* Where a place of the parser, which counts characters, is in the source. Places come in order. */
static struct bytes
source_from(struct builder *b, yaml_mark_t mark)
{
	const uint8_t *s = b->source.data;
	size_t at;

	while (b->source_line < mark.line && b->source_at < b->source.len) {
		const uint8_t *nl = memchr(s + b->source_at, '\n', b->source.len - b->source_at);
		b->source_at = nl ? (size_t)(nl - s) + 1 : b->source.len;
		b->source_line++;
	}
	at = b->source_at;
	for (size_t column = 0; column < mark.column && at < b->source.len; column++) {
		at++;
		while (at < b->source.len && (s[at] & 0xc0) == 0x80)
			at++;
	}
	return bytes_of(s + at, b->source.len - at);
}

static int
check_plain(struct builder *b, yaml_mark_t mark, const yaml_char_t *anchor, const yaml_char_t *tag)
{
	if (anchor)
		return fail(
		    b, mark, "anchors are not supported: write the value where it is needed");
	if (tag)
		return fail(b, mark, "tags are not supported: write the value without it");
	return 0;
}

static int build(struct builder *b, unsigned depth, struct yaml_node **ret_node);

static int
build_scalar(struct builder *b, struct yaml_node *n)
{
	const yaml_event_t *e = &b->event;
	yaml_scalar_style_t style = e->data.scalar.style;
	struct bytes source;

	if (memchr(e->data.scalar.value, '\0', e->data.scalar.length))
		return fail(b, e->start_mark, "a NUL character is not allowed");
	n->kind = YAML_SCALAR;
	n->quoted = style != YAML_PLAIN_SCALAR_STYLE;
	n->text = keep(b, e->data.scalar.value, e->data.scalar.length);
	bool marks =
	    style == YAML_SINGLE_QUOTED_SCALAR_STYLE || style == YAML_DOUBLE_QUOTED_SCALAR_STYLE;
	n->content_column = n->column + (marks ? 1 : 0);
	source = source_from(b, e->start_mark);
	size_t skip = marks ? 1 : 0;
	n->literal = n->text.len <= source.len - (skip <= source.len ? skip : source.len) &&
		     memcmp(n->text.data, source.data + skip, n->text.len) == 0;
	return 0;
}

static int
build_list(struct builder *b, unsigned depth, struct yaml_node *n)
{
	struct yaml_node **link = &n->first;
	int err;

	n->kind = YAML_LIST;
	while ((err = advance(b)) == 0 && b->event.type != YAML_SEQUENCE_END_EVENT) {
		if ((err = build(b, depth + 1, link)))
			return err;
		link = &(*link)->next;
	}
	return err;
}

static int
build_map(struct builder *b, unsigned depth, struct yaml_node *n)
{
	struct yaml_node **link = &n->first;
	size_t keys = 0;
	int err;

	n->kind = YAML_MAP;
	while ((err = advance(b)) == 0 && b->event.type != YAML_MAPPING_END_EVENT) {
		yaml_mark_t mark = b->event.start_mark;
		if (b->event.type != YAML_SCALAR_EVENT)
			return fail(b, mark, "a key must be a word");
		struct bytes key = keep(b, b->event.data.scalar.value, b->event.data.scalar.length);
		if (strlen((const char *)key.data) != key.len)
			return fail(b, mark, "a NUL character is not allowed");
		if ((err = check_plain(
			 b, mark, b->event.data.scalar.anchor, b->event.data.scalar.tag)))
			return err;
		if (++keys > MAP_KEYS_MAX)
			return fail(b, mark, "more keys than any section knows");
		for (const struct yaml_node *c = n->first; c; c = c->next) {
			if (!bytes_equal(c->key, key))
				continue;
			problem_add(b->problems, false, (uint32_t)mark.line + 1,
			    (uint32_t)mark.column + 1,
			    "key \"%.60s\" is here twice, first in line %u", (const char *)key.data,
			    c->key_line);
			return ERR_MALFORMED;
		}
		if ((err = advance(b)) || (err = build(b, depth + 1, link)))
			return err;
		(*link)->key = key;
		(*link)->key_line = (uint32_t)mark.line + 1;
		(*link)->key_column = (uint32_t)mark.column + 1;
		link = &(*link)->next;
	}
	return err;
}

/* The node that the looked-at event begins; leaves its last event looked at. */
static int
build(struct builder *b, unsigned depth, struct yaml_node **ret_node)
{
	const yaml_event_t *e = &b->event;
	struct yaml_node *n = take(b->tree, sizeof(*n));
	int err;

	*n = (struct yaml_node){ .line = (uint32_t)e->start_mark.line + 1,
		.column = (uint32_t)e->start_mark.column + 1 };
	if (depth > YAML_DEPTH_MAX)
		return fail(b, e->start_mark, "nested too deeply");
	if (e->type == YAML_SCALAR_EVENT) {
		bool typed = !e->data.scalar.plain_implicit && !e->data.scalar.quoted_implicit;
		if ((err = check_plain(b, e->start_mark, e->data.scalar.anchor,
			 typed || e->data.scalar.tag ? e->data.scalar.tag : NULL)) ||
		    (err = build_scalar(b, n)))
			return err;
	} else if (e->type == YAML_SEQUENCE_START_EVENT) {
		if ((err = check_plain(b, e->start_mark, e->data.sequence_start.anchor,
			 e->data.sequence_start.tag)) ||
		    (err = build_list(b, depth, n)))
			return err;
	} else if (e->type == YAML_MAPPING_START_EVENT) {
		if ((err = check_plain(b, e->start_mark, e->data.mapping_start.anchor,
			 e->data.mapping_start.tag)) ||
		    (err = build_map(b, depth, n)))
			return err;
	} else {
		return fail(b, e->start_mark,
		    "aliases are not supported: write the value where it is needed");
	}
	*ret_node = n;
	return 0;
}

static int
build_document(struct builder *b)
{
	int err;

	if ((err = advance(b))) /* STREAM-START */
		return err;
	if ((err = advance(b))) /* DOCUMENT-START */
		return err;
	if (b->event.type == YAML_STREAM_END_EVENT)
		return 0;
	if ((err = advance(b)) || (err = build(b, 0, &b->tree->root)) || (err = advance(b)))
		return err;
	if ((err = advance(b))) /* behind DOCUMENT-END */
		return err;
	if (b->event.type != YAML_STREAM_END_EVENT)
		return fail(
		    b, b->event.start_mark, "a second document begins here; a file holds one");
	return 0;
}

int
yaml_tree_parse(struct bytes text, struct yaml_tree *ret_tree, struct problems *problems)
{
	struct yaml_tree tree = { 0 };
	struct builder b = { .source = text, .tree = &tree, .problems = problems };
	int err;

	if (text.len > YAML_TEXT_MAX) {
		problem_add(
		    problems, false, 1, 1, "the file is larger than %u MiB", YAML_TEXT_MAX >> 20);
		return ERR_TOO_BIG;
	}
	if (!yaml_parser_initialize(&b.parser))
		abort(); /* out of memory, as in xmalloc */
	yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(
	    &b.parser, text.data ? text.data : (const uint8_t *)"", text.len);
	err = build_document(&b);
	yaml_event_delete(&b.event);
	yaml_parser_delete(&b.parser);
	if (err) {
		yaml_tree_fini(&tree);
		return err;
	}
	*ret_tree = tree;
	return 0;
}

const struct yaml_node *
yaml_child(const struct yaml_node *map, const char *key)
{
	if (map->kind != YAML_MAP)
		return NULL;
	for (const struct yaml_node *c = map->first; c; c = c->next) {
		if (bytes_equal_str(c->key, key))
			return c;
	}
	return NULL;
}

void
yaml_place(const struct yaml_node *scalar, size_t at, uint32_t *ret_line, uint32_t *ret_column)
{
	*ret_line = scalar->line;
	*ret_column = scalar->column;
	if (!scalar
		 ->literal) /* folded or escaped: the place of the whole is as near as can be said */
		return;
	*ret_column = scalar->content_column;
	for (size_t i = 0; i < at && i < scalar->text.len; i++)
		*ret_column += (scalar->text.data[i] & 0xc0) != 0x80;
}
