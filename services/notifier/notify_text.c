/* notify_text.c - the text of notify.yaml -> notify_conf, every fault with its place; pure */
#include "notify_text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "clock.h"
#include "err.h"
#include "mem.h"

#define FAULTS_MAX 20
#define TIMEOUT_DEFAULT_MS 10000
#define TIMEOUT_MAX_MS 120000
#define WORD_MAX 64

struct reader {
	yaml_document_t doc;
	const char *path;
	struct buf *err;
	unsigned faults;
	struct notify_conf *conf;
};

typedef void (*key_fn)(
    struct reader *r, void *arg, size_t key, yaml_node_t *name, yaml_node_t *value);

static void
fault(struct reader *r, yaml_mark_t mark, const char *what, const char *detail, const char *hint)
{
	if (r->faults++ >= FAULTS_MAX)
		return;
	if (r->err->len > 0)
		buf_add_u8(r->err, '\n');
	buf_addf(r->err, "%s:%zu:%zu: %s", r->path, mark.line + 1, mark.column + 1, what);
	if (detail != NULL)
		buf_addf(r->err, " \"%.100s\"", detail);
	if (hint != NULL)
		buf_addf(r->err, ", did you mean \"%s\"?", hint);
}

/* Edits from a to b; words longer than WORD_MAX are far from everything. */
static unsigned
distance(const char *a, const char *b)
{
	unsigned row[WORD_MAX + 1], diagonal, up;
	size_t n = strlen(a), m = strlen(b);

	if (n > WORD_MAX || m > WORD_MAX)
		return WORD_MAX;
	for (size_t j = 0; j <= m; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= n; i++) {
		diagonal = row[0];
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= m; j++) {
			up = row[j];
			row[j] = diagonal + (a[i - 1] != b[j - 1]);
			if (up + 1 < row[j])
				row[j] = up + 1;
			if (row[j - 1] + 1 < row[j])
				row[j] = row[j - 1] + 1;
			diagonal = up;
		}
	}
	return row[m];
}

static const char *
nearest(const char *word, const char *const *words, size_t n)
{
	unsigned best = (unsigned)strlen(word) / 3 + 1;
	const char *found = NULL;

	for (size_t i = 0; i < n; i++) {
		unsigned d = distance(word, words[i]);

		if (d <= best) {
			best = d;
			found = words[i];
		}
	}
	return found;
}

/* The text of a scalar, or NULL after a fault. */
static const char *
scalar(struct reader *r, yaml_node_t *node, const char *what)
{
	if (node->type != YAML_SCALAR_NODE || node->data.scalar.length == 0 ||
	    strlen((char *)node->data.scalar.value) != node->data.scalar.length) {
		fault(r, node->start_mark, what, NULL, NULL);
		return NULL;
	}
	return (const char *)node->data.scalar.value;
}

/* Calls fn for each key that is among keys, once. */
static void
walk_map(struct reader *r, yaml_node_t *node, const char *what, const char *const *keys, size_t n,
    key_fn fn, void *arg)
{
	uint64_t seen = 0;

	if (node->type != YAML_MAPPING_NODE) {
		fault(r, node->start_mark, what, NULL, NULL);
		return;
	}
	for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top;
	     p++) {
		yaml_node_t *name = yaml_document_get_node(&r->doc, p->key),
			    *value = yaml_document_get_node(&r->doc, p->value);
		const char *text = scalar(r, name, "a key is wanted");
		size_t i;

		if (text == NULL)
			continue;
		for (i = 0; i < n && strcmp(text, keys[i]) != 0; i++)
			;
		if (i == n) {
			fault(r, name->start_mark, "unknown key", text, nearest(text, keys, n));
			continue;
		}
		if ((seen & (1ull << i)) != 0)
			fault(r, name->start_mark, "given twice:", text, NULL);
		seen |= 1ull << i;
		fn(r, arg, i, name, value);
	}
}

static void
set_text(struct reader *r, char **text, yaml_node_t *value, const char *what)
{
	const char *v = scalar(r, value, what);

	if (v == NULL)
		return;
	free(*text);
	*text = xstrdup(v);
}

/* --- receivers --- */

static bool
is_url(const char *s)
{
	size_t scheme = strncmp(s, "http://", 7) == 0 ? 7 : strncmp(s, "https://", 8) == 0 ? 8 : 0;

	if (scheme == 0 || s[scheme] == '\0' || s[scheme] == '/')
		return false;
	for (; *s != '\0'; s++)
		if ((unsigned char)*s <= ' ' || *s == 0x7f)
			return false;
	return true;
}

static bool
is_header(const char *name, const char *value)
{
	for (const char *c = name; *c != '\0'; c++)
		if (!isalnum((unsigned char)*c) && strchr("-_.!#$%&'*+^`|~", *c) == NULL)
			return false;
	for (const char *c = value; *c != '\0'; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			return false;
	return true;
}

static void
take_headers(struct reader *r, struct receiver *receiver, yaml_node_t *node)
{
	if (node->type != YAML_MAPPING_NODE) {
		fault(r, node->start_mark, "headers: a mapping of names to values is wanted", NULL,
		    NULL);
		return;
	}
	for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top;
	     p++) {
		yaml_node_t *name = yaml_document_get_node(&r->doc, p->key),
			    *value = yaml_document_get_node(&r->doc, p->value);
		const char *n = scalar(r, name, "a header's name is wanted"),
			   *v = scalar(r, value, "a header's value is wanted");

		if (n == NULL || v == NULL)
			continue;
		if (!is_header(n, v))
			fault(r, name->start_mark, "no header that HTTP allows:", n, NULL);
		else if (receiver->header_count == HEADERS_MAX)
			fault(r, name->start_mark, "more than 16 headers", NULL, NULL);
		else
			receiver->headers[receiver->header_count++] = xasprintf("%s: %s", n, v);
	}
}

static void
take_webhook_key(struct reader *r, void *arg, size_t key, yaml_node_t *name, yaml_node_t *value)
{
	struct receiver *receiver = arg;
	const char *text;
	int64_t us;

	(void)name;
	switch (key) {
	case 0:
		set_text(r, &receiver->url, value, "url: an address is wanted");
		if (receiver->url != NULL && !is_url(receiver->url))
			fault(r, value->start_mark,
			    "url: an http:// or https:// address is wanted, not", receiver->url,
			    NULL);
		return;
	case 1:
		text = scalar(r, value, "timeout: a duration like 10s is wanted");
		if (text == NULL)
			return;
		if (clock_parse_duration(bytes_of_str(text), &us) != 0 || us < 100000 ||
		    us / 1000 > TIMEOUT_MAX_MS)
			fault(r, value->start_mark,
			    "timeout: a duration from 100ms to 2m is wanted, not", text, NULL);
		else
			receiver->timeout_ms = us / 1000;
		return;
	default:
		take_headers(r, receiver, value);
		return;
	}
}

static void
nothing_inside(struct reader *r, void *arg, size_t key, yaml_node_t *name, yaml_node_t *value)
{
	(void)r, (void)arg, (void)key, (void)name, (void)value;
}

struct receiver_reader {
	struct receiver *receiver;
	unsigned channels;
};

static void
take_receiver_key(struct reader *r, void *arg, size_t key, yaml_node_t *name, yaml_node_t *value)
{
	static const char *const webhook_keys[] = { "url", "timeout", "headers" };
	struct receiver_reader *rr = arg;

	switch (key) {
	case 0:
		set_text(r, &rr->receiver->name, value, "name: a word is wanted");
		return;
	case 1:
		rr->channels++;
		rr->receiver->channel = CHANNEL_WEBHOOK;
		walk_map(r, value, "webhook: { url: ... } is wanted", webhook_keys,
		    COUNT_OF(webhook_keys), take_webhook_key, rr->receiver);
		if (rr->receiver->url == NULL)
			fault(r, name->start_mark, "webhook: has no url", NULL, NULL);
		return;
	default:
		rr->channels++;
		rr->receiver->channel = CHANNEL_LOG;
		if (value->type == YAML_SCALAR_NODE && value->data.scalar.length == 0)
			return;
		walk_map(r, value, "log: {} is wanted", NULL, 0, nothing_inside, NULL);
		return;
	}
}

static bool
is_name(const char *s)
{
	size_t n = strlen(s);

	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)s[i]) && strchr("-_.", s[i]) == NULL)
			return false;
	return n > 0 && n <= RECEIVER_NAME_MAX;
}

static void
take_receiver(struct reader *r, yaml_node_t *node)
{
	static const char *const keys[] = { "name", "webhook", "log" };
	struct receiver *receiver = &r->conf->receivers[r->conf->receiver_count];
	struct receiver_reader rr = { receiver, 0 };

	if (r->conf->receiver_count == RECEIVERS_MAX) {
		fault(r, node->start_mark, "more than 64 receivers", NULL, NULL);
		return;
	}
	receiver->timeout_ms = TIMEOUT_DEFAULT_MS;
	walk_map(r, node, "a receiver is wanted: { name: ..., webhook: ... }", keys, COUNT_OF(keys),
	    take_receiver_key, &rr);
	if (receiver->name == NULL)
		fault(r, node->start_mark, "this receiver has no name", NULL, NULL);
	else if (!is_name(receiver->name))
		fault(r, node->start_mark,
		    "a name has letters, digits, - _ . and at most 64 of them:", receiver->name,
		    NULL);
	else if (notify_conf_find(r->conf, bytes_of_str(receiver->name)) >= 0)
		fault(r, node->start_mark, "there are two receivers of this name:", receiver->name,
		    NULL);
	if (rr.channels != 1)
		fault(r, node->start_mark, "a receiver has one of webhook: and log:", NULL, NULL);
	r->conf->receiver_count++;
}

/* --- routes --- */

static void
take_match_key(struct reader *r, void *arg, size_t key, yaml_node_t *name, yaml_node_t *value)
{
	struct route *route = arg;
	char **fields[] = { &route->alert, &route->group, &route->device, &route->severity };

	(void)name;
	set_text(r, fields[key], value, "a name is wanted; * stands for any characters");
}

static void
take_route_receivers(struct reader *r, struct route *route, yaml_node_t *node)
{
	const char *names[RECEIVERS_MAX];
	size_t count = r->conf->receiver_count;

	if (node->type != YAML_SEQUENCE_NODE) {
		fault(r, node->start_mark, "receivers: a list of names is wanted", NULL, NULL);
		return;
	}
	for (size_t i = 0; i < count; i++)
		names[i] = r->conf->receivers[i].name != NULL ? r->conf->receivers[i].name : "";
	for (yaml_node_item_t *item = node->data.sequence.items.start;
	     item < node->data.sequence.items.top; item++) {
		yaml_node_t *value = yaml_document_get_node(&r->doc, *item);
		const char *name = scalar(r, value, "a receiver's name is wanted");
		int found;

		if (name == NULL)
			continue;
		found = notify_conf_find(r->conf, bytes_of_str(name));
		if (found < 0)
			fault(r, value->start_mark, "no such receiver:", name,
			    nearest(name, names, count));
		else
			route->receivers |= 1ull << found;
	}
}

static void
take_route_key(struct reader *r, void *arg, size_t key, yaml_node_t *name, yaml_node_t *value)
{
	static const char *const match_keys[] = { "alert", "group", "device", "severity" };
	struct route *route = arg;
	const char *text;

	(void)name;
	switch (key) {
	case 0:
		walk_map(r, value, "match: { alert: ..., device: ... } is wanted", match_keys,
		    COUNT_OF(match_keys), take_match_key, route);
		return;
	case 1:
		take_route_receivers(r, route, value);
		return;
	default:
		text = scalar(r, value, "continue: true or false is wanted");
		if (text != NULL && strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
			fault(r, value->start_mark, "continue: true or false is wanted, not", text,
			    NULL);
		route->go_on = text != NULL && strcmp(text, "true") == 0;
		return;
	}
}

static void
take_route(struct reader *r, yaml_node_t *node)
{
	static const char *const keys[] = { "match", "receivers", "continue" };
	struct route *route = &r->conf->routes[r->conf->route_count];

	if (r->conf->route_count == ROUTES_MAX) {
		fault(r, node->start_mark, "more than 256 routes", NULL, NULL);
		return;
	}
	r->conf->route_count++;
	walk_map(r, node, "a route is wanted: { match: ..., receivers: [...] }", keys,
	    COUNT_OF(keys), take_route_key, route);
}

/* --- the whole --- */

struct top {
	yaml_node_t *version;
	yaml_node_t *receivers;
	yaml_node_t *routes;
};

static void
take_top_key(struct reader *r, void *arg, size_t key, yaml_node_t *name, yaml_node_t *value)
{
	struct top *top = arg;
	yaml_node_t **nodes[] = { &top->version, &top->receivers, &top->routes };

	(void)r, (void)name;
	*nodes[key] = value;
}

static void
take_list(struct reader *r, yaml_node_t *node, const char *what,
    void (*take)(struct reader *r, yaml_node_t *node))
{
	if (node == NULL || (node->type == YAML_SCALAR_NODE && node->data.scalar.length == 0))
		return;
	if (node->type != YAML_SEQUENCE_NODE) {
		fault(r, node->start_mark, what, NULL, NULL);
		return;
	}
	for (yaml_node_item_t *item = node->data.sequence.items.start;
	     item < node->data.sequence.items.top; item++)
		take(r, yaml_document_get_node(&r->doc, *item));
}

static void
take_document(struct reader *r)
{
	static const char *const keys[] = { "version", "receivers", "routes" };
	yaml_node_t *root = yaml_document_get_root_node(&r->doc);
	struct top top = { 0 };
	const char *version;

	if (root == NULL) {
		fault(r, (yaml_mark_t){ 0 }, "the file is empty; at least `version: 1` is wanted",
		    NULL, NULL);
		return;
	}
	walk_map(r, root, "keys are wanted: version, receivers, routes", keys, COUNT_OF(keys),
	    take_top_key, &top);
	if (top.version == NULL)
		fault(r, root->start_mark, "`version: 1` is missing", NULL, NULL);
	else if ((version = scalar(r, top.version, "version: 1 is wanted")) != NULL &&
		 strcmp(version, "1") != 0)
		fault(r, top.version->start_mark, "version: 1 is wanted, not", version, NULL);
	take_list(r, top.receivers, "receivers: a list is wanted", take_receiver);
	take_list(r, top.routes, "routes: a list is wanted", take_route);
}

int
notify_text_parse(
    struct bytes text, const char *path, struct notify_conf **ret_conf, struct buf *err)
{
	struct reader r = { .path = path, .err = err };
	yaml_parser_t parser;

	if (text.len > NOTIFY_TEXT_MAX) {
		buf_addf(err, "%s: larger than 1 MiB", path);
		return ERR_CONFIG;
	}
	yaml_parser_initialize(&parser);
	yaml_parser_set_input_string(&parser, text.data, text.len);
	if (!yaml_parser_load(&parser, &r.doc)) {
		fault(&r, parser.problem_mark, parser.problem != NULL ? parser.problem : "not YAML",
		    NULL, NULL);
		yaml_parser_delete(&parser);
		return ERR_CONFIG;
	}
	r.conf = xcalloc(1, sizeof(*r.conf));
	take_document(&r);
	yaml_document_delete(&r.doc);
	yaml_parser_delete(&parser);
	if (r.faults > 0) {
		notify_conf_free(&r.conf);
		return ERR_CONFIG;
	}
	*ret_conf = r.conf;
	return 0;
}

void
notify_conf_free(struct notify_conf **p_conf)
{
	struct notify_conf *conf = *p_conf;

	if (conf == NULL)
		return;
	for (size_t i = 0; i < RECEIVERS_MAX; i++) {
		free(conf->receivers[i].name);
		free(conf->receivers[i].url);
		for (size_t j = 0; j < conf->receivers[i].header_count; j++)
			free(conf->receivers[i].headers[j]);
	}
	for (size_t i = 0; i < ROUTES_MAX; i++) {
		free(conf->routes[i].alert);
		free(conf->routes[i].group);
		free(conf->routes[i].device);
		free(conf->routes[i].severity);
	}
	free(conf);
	*p_conf = NULL;
}

int
notify_conf_find(const struct notify_conf *conf, struct bytes name)
{
	for (size_t i = 0; i < conf->receiver_count; i++)
		if (conf->receivers[i].name != NULL &&
		    bytes_equal_str(name, conf->receivers[i].name))
			return (int)i;
	return -1;
}
