/* acl_text.c - the text of roles -> struct acl, every fault with its place; pure */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "acl_impl.h"
#include "err.h"
#include "mem.h"
#include "mqtt_codec.h"
#include "utf8.h"

#define FAULTS_MAX 20

struct reader {
	yaml_document_t doc;
	const char *path;
	struct buf *err;
	unsigned faults;
	struct acl *acl;
};

/* A line as it is read. */
struct draft {
	bool has_action;
	struct acl_line line;
	yaml_node_t *topic;
};

static void
fault(struct reader *r, yaml_mark_t mark, const char *what, const char *detail)
{
	if (r->faults++ >= FAULTS_MAX)
		return;
	if (r->err->len > 0)
		buf_add_u8(r->err, '\n');
	buf_addf(r->err, "%s:%zu:%zu: %s", r->path, mark.line + 1, mark.column + 1, what);
	if (detail)
		buf_addf(r->err, " \"%.100s\"", detail);
}

/* NULL after a fault. */
static const char *
text_of(struct reader *r, yaml_node_t *node, const char *wanted)
{
	if (node->type != YAML_SCALAR_NODE || node->data.scalar.length == 0 ||
	    strlen((char *)node->data.scalar.value) != node->data.scalar.length) {
		fault(r, node->start_mark, wanted, NULL);
		return NULL;
	}
	return (const char *)node->data.scalar.value;
}

static yaml_node_t *
node_at(struct reader *r, int index)
{
	return yaml_document_get_node(&r->doc, index);
}

/* --- patterns --- */

static const char *
level_fault(const char *level, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (level[i] != '%')
			continue;
		if (++i == len || !strchr("cudg%", level[i]))
			return "% is followed by c, u, d, g or %";
		if (level[i] == 'g' && len != 2)
			return "%g is a whole level";
	}
	return NULL;
}

static const char *
pattern_fault(const char *text)
{
	struct bytes pattern = bytes_of_str(text);

	if (pattern.len > ACL_PATTERN_MAX)
		return "a topic is longer than 1024 bytes";
	if (!mqtt_filter_valid(pattern))
		return "it is no filter of MQTT: + and # are whole levels, # is the last one";
	if (strncmp(text, "$share/", 7) == 0)
		return "the filter of a shared subscription is written without $share and group";
	for (const char *at = text;; at++) {
		size_t len = strcspn(at, "/");
		const char *why = level_fault(at, len);

		if (why)
			return why;
		at += len;
		if (!*at)
			return NULL;
	}
}

static void
add_line(struct reader *r, struct acl_role *role, const struct acl_line *line, yaml_node_t *node)
{
	const char *text = text_of(r, node, "a topic is wanted; one with # stands in quotes");
	const char *why = text ? pattern_fault(text) : NULL;
	struct acl_line *l;

	if (!text)
		return;
	if (why) {
		fault(r, node->start_mark, why, text);
		return;
	}
	if (r->acl->line_count == ACL_LINES_MAX) {
		fault(r, node->start_mark, "there are more than 20000 topics", NULL);
		return;
	}
	r->acl->line_count++;
	if ((role->count & (role->count - 1)) == 0)
		role->lines = xrealloc(
		    role->lines, (role->count ? 2 * role->count : 1) * sizeof(role->lines[0]));
	l = &role->lines[role->count++];
	*l = *line;
	l->len = (uint16_t)strlen(text);
	l->pattern = xstrdup(text);
}

/* --- lines --- */

static uint8_t
rights_of(struct reader *r, yaml_node_t *node)
{
	static const char *const words[] = { [ACL_PUBLISH] = "publish",
		[ACL_SUBSCRIBE] = "subscribe",
		[ACL_PUBLISH | ACL_SUBSCRIBE] = "both" };
	const char *text = text_of(r, node, "publish, subscribe or both is wanted");

	for (uint8_t i = 1; text && i < COUNT_OF(words); i++)
		if (strcmp(text, words[i]) == 0)
			return i;
	if (text)
		fault(r, node->start_mark, "neither publish, subscribe nor both:", text);
	return 0;
}

static bool
flag_of(struct reader *r, yaml_node_t *node)
{
	const char *text = text_of(r, node, "true or false is wanted");

	if (text && strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
		fault(r, node->start_mark, "neither true nor false:", text);
	return text && strcmp(text, "true") == 0;
}

static void
set(struct reader *r, struct draft *d, yaml_node_t *name, yaml_node_t *value)
{
	const char *key = text_of(r, name, "allow, deny, topic or gateway is wanted");

	if (!key)
		return;
	if (strcmp(key, "allow") == 0 || strcmp(key, "deny") == 0) {
		if (d->has_action)
			fault(r, name->start_mark, "a line has one of allow and deny, once", NULL);
		d->has_action = true;
		d->line.allow = key[0] == 'a';
		d->line.rights = rights_of(r, value);
	} else if (strcmp(key, "topic") == 0) {
		if (d->topic)
			fault(r, name->start_mark, "given twice:", key);
		d->topic = value;
	} else if (strcmp(key, "gateway") == 0) {
		d->line.gateway = flag_of(r, value);
	} else {
		fault(r, name->start_mark,
		    "unknown key; there are allow, deny, topic, gateway:", key);
	}
}

static void
read_line(struct reader *r, struct acl_role *role, yaml_node_t *node)
{
	struct draft d = { .topic = NULL };

	if (node->type != YAML_MAPPING_NODE) {
		fault(r, node->start_mark, "a line is { allow: publish, topic: \"a/b\" }", NULL);
		return;
	}
	for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top;
	     p++)
		set(r, &d, node_at(r, p->key), node_at(r, p->value));
	if (!d.has_action)
		fault(r, node->start_mark, "a line has neither allow nor deny", NULL);
	if (!d.topic) {
		fault(r, node->start_mark, "a line has no topic", NULL);
	} else if (d.topic->type == YAML_SEQUENCE_NODE) {
		for (yaml_node_item_t *i = d.topic->data.sequence.items.start;
		     i < d.topic->data.sequence.items.top; i++)
			add_line(r, role, &d.line, node_at(r, *i));
	} else {
		add_line(r, role, &d.line, d.topic);
	}
}

/* --- roles --- */

static void
read_role(struct reader *r, yaml_node_t *name, yaml_node_t *lines)
{
	const char *text = text_of(r, name, "the name of a role is wanted");
	struct acl *acl = r->acl;
	struct acl_role *role;

	if (!text)
		return;
	if (strlen(text) > ACL_ROLE_NAME_MAX || strpbrk(text, ", \t\n")) {
		fault(r, name->start_mark, "this cannot be the name of a role:", text);
		return;
	}
	if (acl_has_role(acl, bytes_of_str(text))) {
		fault(r, name->start_mark, "given twice:", text);
		return;
	}
	if (acl->count == ACL_ROLES_MAX) {
		fault(r, name->start_mark, "there are more than 1000 roles", NULL);
		return;
	}
	if (lines->type != YAML_SEQUENCE_NODE) {
		fault(r, lines->start_mark, "a role is a list of lines", NULL);
		return;
	}
	if ((acl->count & (acl->count - 1)) == 0)
		acl->roles =
		    xrealloc(acl->roles, (acl->count ? 2 * acl->count : 1) * sizeof(acl->roles[0]));
	role = &acl->roles[acl->count++];
	*role = (struct acl_role){ .name = xstrdup(text) };
	for (yaml_node_item_t *i = lines->data.sequence.items.start;
	     i < lines->data.sequence.items.top; i++)
		read_line(r, role, node_at(r, *i));
}

static void
read_roles(struct reader *r, yaml_node_t *node)
{
	/* `roles:` with all of it commented out. */
	if (node->type == YAML_SCALAR_NODE && node->data.scalar.length == 0)
		return;
	if (node->type != YAML_MAPPING_NODE) {
		fault(r, node->start_mark, "roles are names, each with a list of lines", NULL);
		return;
	}
	for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top;
	     p++)
		read_role(r, node_at(r, p->key), node_at(r, p->value));
}

static void
read_root(struct reader *r, yaml_node_t *root)
{
	bool version = false, roles = false;

	if (root->type != YAML_MAPPING_NODE) {
		fault(r, root->start_mark, "version and roles are wanted", NULL);
		return;
	}
	for (yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top;
	     p++) {
		yaml_node_t *name = node_at(r, p->key), *value = node_at(r, p->value);
		const char *key = text_of(r, name, "version or roles is wanted");

		if (!key)
			continue;
		if ((strcmp(key, "version") == 0 && version) ||
		    (strcmp(key, "roles") == 0 && roles)) {
			fault(r, name->start_mark, "given twice:", key);
		} else if (strcmp(key, "version") == 0) {
			const char *text = text_of(r, value, "a number is wanted");

			version = true;
			if (text && strcmp(text, "1") != 0)
				fault(r, value->start_mark, "this release reads version 1, not",
				    text);
		} else if (strcmp(key, "roles") == 0) {
			roles = true;
			read_roles(r, value);
		} else {
			fault(
			    r, name->start_mark, "unknown key; there are version and roles:", key);
		}
	}
	if (!version)
		fault(r, root->start_mark, "version: 1 is missing", NULL);
}

static void
read_document(struct reader *r, yaml_parser_t *parser)
{
	yaml_node_t *root;
	bool empty;

	if (!yaml_parser_load(parser, &r->doc)) {
		yaml_mark_t mark = parser->problem_mark;

		/* Of bytes that are no text there is an offset only. */
		fault(r, mark, parser->problem ? parser->problem : "this is no YAML", NULL);
		return;
	}
	root = yaml_document_get_root_node(&r->doc);
	empty = root == NULL;
	if (!empty)
		read_root(r, root);
	yaml_document_delete(&r->doc);
	if (empty || r->faults)
		return;
	if (!yaml_parser_load(parser, &r->doc)) {
		fault(r, parser->problem_mark,
		    parser->problem ? parser->problem : "this is no YAML", NULL);
		return;
	}
	root = yaml_document_get_root_node(&r->doc);
	if (root)
		fault(r, root->start_mark, "there is a second document", NULL);
	yaml_document_delete(&r->doc);
}

static void
read_text(struct reader *r, struct bytes text)
{
	yaml_parser_t parser;

	if (text.len > ACL_TEXT_MAX) {
		fault(r, (yaml_mark_t){ 0 }, "the file is larger than 1 MiB", NULL);
		return;
	}
	if (!yaml_parser_initialize(&parser))
		abort(); /* out of memory, as in mem.c */
	yaml_parser_set_input_string(&parser, text.data, text.len);
	read_document(r, &parser);
	yaml_parser_delete(&parser);
}

int
acl_parse(struct bytes text, const char *path, struct acl **ret_acl, struct buf *err)
{
	struct reader r = { .path = path, .err = err, .acl = xcalloc(1, sizeof(struct acl)) };

	if (text.len)
		read_text(&r, text);
	if (!r.faults && !acl_has_role(r.acl, bytes_of_str("device")))
		read_text(&r, bytes_of_str(ACL_DEVICE));
	if (r.faults) {
		acl_free(&r.acl);
		return ERR_CONFIG;
	}
	*ret_acl = r.acl;
	return 0;
}
