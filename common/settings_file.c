/* settings_file.c - settings from a YAML file: dots of a key are levels, every fault has its line and column */
#include "settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "err.h"
#include "mem.h"
#include "settings_impl.h"

#define FILE_BYTES_MAX 1048576
#define FILE_DEPTH_MAX 8  /* levels of mappings */
#define FILE_KEYS_MAX 256 /* keys of one mapping */
#define PLACE_MAX 640

/* One file while it is read. The first fault fills err; everything returns ERR_CONFIG from then on. */
struct reader {
	yaml_parser_t parser;
	struct settings *s;
	const char *path;
	struct buf *err;
	size_t set_at[SETTING_COUNT]; /* line + 1 where a key was set; 0: not yet */
};

static const char *
place_of(const struct reader *r, yaml_mark_t mark, char out[PLACE_MAX])
{
	snprintf(out, PLACE_MAX, "%.500s:%zu:%zu", r->path, mark.line + 1, mark.column + 1);
	return out;
}

static int
fault(struct reader *r, yaml_mark_t mark, const char *text)
{
	char place[PLACE_MAX];

	buf_addf(r->err, "%s: %s", place_of(r, mark, place), text);
	return ERR_CONFIG;
}

/* The next event; the caller deletes it on success. */
static int
next(struct reader *r, yaml_event_t *ret_event)
{
	yaml_parser_t *p = &r->parser;
	char text[256];

	if (yaml_parser_parse(p, ret_event)) {
		if (ret_event->type != YAML_ALIAS_EVENT)
			return 0;
		fault(r, ret_event->start_mark, "aliases (*name) are not used here");
		yaml_event_delete(ret_event);
		return ERR_CONFIG;
	}
	if (p->error == YAML_READER_ERROR)
		snprintf(text, sizeof(text), "%s (at byte %zu)", p->problem, p->problem_offset);
	else
		snprintf(text, sizeof(text), "%s%s%s", p->problem ? p->problem : "not YAML",
		    p->context ? ", " : "", p->context ? p->context : "");
	return fault(r, p->error == YAML_READER_ERROR ? p->mark : p->problem_mark, text);
}

static struct bytes
scalar_of(const yaml_event_t *e)
{
	return bytes_of(e->data.scalar.value, e->data.scalar.length);
}

/* `key:` with nothing behind it. */
static bool
is_null(const yaml_event_t *e)
{
	struct bytes text = scalar_of(e);

	return e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	       (text.len == 0 || bytes_equal_str(text, "~") || bytes_equal_str(text, "null"));
}

/* The entries of a list; the events that own their bytes are kept in *events until the value is assigned. */
static int
read_list(struct reader *r, const char *key, yaml_event_t *events, size_t *count)
{
	char text[SETTINGS_KEY_MAX + 64];
	yaml_event_t e;

	while (next(r, &e) == 0) {
		if (e.type == YAML_SEQUENCE_END_EVENT) {
			yaml_event_delete(&e);
			return 0;
		}
		if (e.type != YAML_SCALAR_EVENT)
			snprintf(text, sizeof(text), "%s: an entry must be one value", key);
		else if (*count == SETTINGS_LIST_MAX)
			snprintf(
			    text, sizeof(text), "%s: more than %d entries", key, SETTINGS_LIST_MAX);
		else {
			events[(*count)++] = e;
			continue;
		}
		fault(r, e.start_mark, text);
		yaml_event_delete(&e);
		return ERR_CONFIG;
	}
	return ERR_CONFIG;
}

static int
set_list(struct reader *r, enum setting_id id, yaml_mark_t mark)
{
	yaml_event_t *events = xcalloc(SETTINGS_LIST_MAX, sizeof(*events));
	struct setting_text text = { .count = 0 };
	char place[PLACE_MAX];
	int rc = read_list(r, setting_infos[id].key, events, &text.count);

	for (size_t i = 0; i < text.count; i++)
		text.items[i] = scalar_of(&events[i]);
	if (rc == 0)
		rc = settings_assign(r->s, id, &text, place_of(r, mark, place), r->err);
	for (size_t i = 0; i < text.count; i++)
		yaml_event_delete(&events[i]);
	free(events);
	return rc;
}

static int
set_scalar(struct reader *r, enum setting_id id, const yaml_event_t *e)
{
	struct setting_text text = { .count = 1 };
	char message[SETTINGS_KEY_MAX + 64], place[PLACE_MAX];

	if (is_null(e)) {
		snprintf(message, sizeof(message), "%s has no value (write \"\" for an empty text)",
		    setting_infos[id].key);
		return fault(r, e->start_mark, message);
	}
	/* One value where a list is expected is a list of one. */
	text.items[0] = scalar_of(e);
	return settings_assign(r->s, id, &text, place_of(r, e->start_mark, place), r->err);
}

/* The value of a key that is a setting; e is its first event. */
static int
set_value(struct reader *r, enum setting_id id, const yaml_event_t *e, yaml_mark_t key_mark)
{
	const struct setting_info *info = &setting_infos[id];
	char text[SETTINGS_KEY_MAX + 64];

	if (r->set_at[id]) {
		snprintf(text, sizeof(text), "%s is set twice, first in line %zu", info->key,
		    r->set_at[id]);
		return fault(r, key_mark, text);
	}
	r->set_at[id] = key_mark.line + 1;
	if (e->type == YAML_SCALAR_EVENT)
		return set_scalar(r, id, e);
	if (e->type == YAML_SEQUENCE_START_EVENT && info->kind == SETTING_LIST)
		return set_list(r, id, e->start_mark);
	snprintf(text, sizeof(text), "%s must be %s, not a %s", info->key,
	    info->kind == SETTING_LIST ? "a list" : "one value",
	    e->type == YAML_SEQUENCE_START_EVENT ? "list" : "mapping");
	return fault(r, e->start_mark, text);
}

static int read_mapping(struct reader *r, const char *prefix, int depth);

/* The value of a key that is a group of settings, or of one that is unknown. */
static int
read_group(
    struct reader *r, const char *key, const yaml_event_t *e, yaml_mark_t key_mark, int depth)
{
	char place[PLACE_MAX], text[SETTINGS_KEY_MAX + 64];

	if (!settings_is_group(key)) {
		settings_unknown(place_of(r, key_mark, place), key, r->err);
		return ERR_CONFIG;
	}
	if (e->type == YAML_MAPPING_START_EVENT)
		return read_mapping(r, key, depth + 1);
	if (e->type == YAML_SCALAR_EVENT && is_null(e))
		return 0;
	snprintf(text, sizeof(text), "%s is a group of settings: write its keys below it", key);
	return fault(r, e->start_mark, text);
}

static int
read_pair(struct reader *r, const char *prefix, const yaml_event_t *key_event, int depth)
{
	char key[SETTINGS_KEY_MAX];
	struct bytes name = scalar_of(key_event);
	enum setting_id id;
	yaml_event_t e;
	int rc;

	if (name.len == 0 || name.len > 60 || memchr(name.data, 0, name.len))
		return fault(r, key_event->start_mark, "a key must be 1 to 60 characters");
	snprintf(key, sizeof(key), "%s%s%.*s", prefix, *prefix ? "." : "", (int)name.len,
	    (const char *)name.data);
	if (next(r, &e) != 0)
		return ERR_CONFIG;
	if (settings_find(key, &id) == 0)
		rc = set_value(r, id, &e, key_event->start_mark);
	else
		rc = read_group(r, key, &e, key_event->start_mark, depth);
	yaml_event_delete(&e);
	return rc;
}

static int
check_repeat(struct reader *r, const yaml_event_t *keys, size_t count, const yaml_event_t *e)
{
	char text[128];

	if (e->type != YAML_SCALAR_EVENT)
		return fault(r, e->start_mark, "a key must be a plain name");
	if (count == FILE_KEYS_MAX)
		return fault(r, e->start_mark, "too many keys");
	for (size_t i = 0; i < count; i++) {
		if (bytes_equal(scalar_of(&keys[i]), scalar_of(e))) {
			snprintf(text, sizeof(text),
			    "\"%.60s\" is written twice, first in line %zu",
			    (const char *)e->data.scalar.value, keys[i].start_mark.line + 1);
			return fault(r, e->start_mark, text);
		}
	}
	return 0;
}

/* After a mapping's start: its pairs, to its end. */
static int
read_mapping(struct reader *r, const char *prefix, int depth)
{
	yaml_event_t *keys, e;
	size_t count = 0;
	int rc;

	if (depth > FILE_DEPTH_MAX)
		return fault(r, r->parser.mark, "nested too deeply");
	keys = xcalloc(FILE_KEYS_MAX, sizeof(*keys));
	while ((rc = next(r, &e)) == 0) {
		if (e.type == YAML_MAPPING_END_EVENT) {
			yaml_event_delete(&e);
			break;
		}
		rc = check_repeat(r, keys, count, &e);
		if (rc != 0) {
			yaml_event_delete(&e);
			break;
		}
		keys[count++] = e;
		rc = read_pair(r, prefix, &keys[count - 1], depth);
		if (rc != 0)
			break;
	}
	for (size_t i = 0; i < count; i++)
		yaml_event_delete(&keys[i]);
	free(keys);
	return rc;
}

/* Stream start, then nothing or one document that is a mapping. */
static int
read_stream(struct reader *r)
{
	bool seen = false;
	yaml_event_t e;
	int rc;

	while ((rc = next(r, &e)) == 0) {
		yaml_event_type_t type = e.type;

		if (type == YAML_DOCUMENT_START_EVENT && seen)
			rc = fault(r, e.start_mark, "a second document (---) in one file");
		else if (type == YAML_DOCUMENT_START_EVENT)
			seen = true;
		else if (type == YAML_MAPPING_START_EVENT)
			rc = read_mapping(r, "", 1);
		else if (type == YAML_SEQUENCE_START_EVENT ||
			 (type == YAML_SCALAR_EVENT && !is_null(&e)))
			rc = fault(r, e.start_mark, "settings are `key: value` lines");
		yaml_event_delete(&e);
		if (rc != 0 || type == YAML_STREAM_END_EVENT)
			break;
	}
	return rc;
}

static int
read_text(const char *path, struct buf *text, struct buf *err)
{
	FILE *f = fopen(path, "re");
	size_t n = 1;

	buf_init(text, FILE_BYTES_MAX);
	while (f && n > 0 && !text->failed) {
		uint8_t *at = buf_reserve(text, 4096);

		n = at ? fread(at, 1, 4096, f) : 0;
		text->len += n;
	}
	if (!f || ferror(f))
		buf_addf(err, "%s: %s", path, strerror(errno));
	else if (text->failed)
		buf_addf(err, "%s: larger than %d bytes", path, FILE_BYTES_MAX);
	if (f)
		fclose(f);
	return err->len > 0 ? ERR_CONFIG : 0;
}

int
settings_load_file(struct settings *s, const char *path, struct buf *err)
{
	struct reader r = { .s = settings_copy(s), .path = path, .err = err };
	struct buf text;
	int rc;

	ASSERT(err->len == 0);
	rc = read_text(path, &text, err);
	if (rc == 0) {
		if (!yaml_parser_initialize(&r.parser))
			abort();
		yaml_parser_set_input_string(&r.parser, text.data, text.len);
		rc = read_stream(&r);
		yaml_parser_delete(&r.parser);
	}
	if (rc == 0)
		settings_move(s, &r.s);
	settings_free(&r.s);
	buf_fini(&text);
	return rc;
}
