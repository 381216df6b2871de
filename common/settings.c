/* settings.c - the settings in force: defaults, environment, --set, and the text that workers are given */
#include "settings.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "err.h"
#include "mem.h"
#include "settings_impl.h"

const struct setting_info setting_infos[SETTING_COUNT] = {
#define SETTING(ID, key, KIND, def, min, max, unit, meaning)                                       \
	[SET_##ID] = { key, SETTING_##KIND, def, min, max, unit, meaning },
#include "settings.def"
#undef SETTING
};

/* ROOST_ names that are no settings: what the supervisor gives a worker, ... */
static const char *const env_known[] = {
	"ROOST_NAME",
	"ROOST_LIFE",
	"ROOST_STARVED",
	"ROOST_CONTROL_FD",
	"ROOST_SETTINGS_FD",
	"ROOST_LISTEN",
};
/* ... and by beginning: tests, and what Kubernetes and container links invent for a service named roost. */
static const char *const env_known_prefix[] = { "ROOST_TEST_", "ROOST_SERVICE_", "ROOST_PORT" };

struct setting_value {
	char *text;	/* STR, ENUM, and the text form of every other kind */
	int64_t number; /* INT, DURATION (ms), BOOL */
	char **items;	/* LIST */
	size_t count;
};

struct settings {
	struct setting_value values[SETTING_COUNT];
};

static void
value_fini(struct setting_value *v)
{
	for (size_t i = 0; i < v->count; i++)
		free(v->items[i]);
	free(v->items);
	free(v->text);
	*v = (struct setting_value){ .text = NULL };
}

/* --- values --- */

static int
bad(struct buf *err, const char *place, const struct setting_info *info, struct bytes got,
    const char *fault)
{
	int len = got.len > 64 ? 64 : (int)got.len;

	buf_addf(err, "%s: %s: \"%.*s\" %s", place, info->key, len, (const char *)got.data, fault);
	return ERR_CONFIG;
}

/* Control characters would break the line form and the log; nothing here needs them. */
static int
check_text(const struct setting_info *info, struct bytes text, const char *place, struct buf *err)
{
	char fault[64];

	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] < 0x20 || text.data[i] == 0x7f) {
			buf_addf(
			    err, "%s: %s: a control character is not allowed", place, info->key);
			return ERR_CONFIG;
		}
	}
	if (text.len > SETTINGS_VALUE_MAX) {
		snprintf(fault, sizeof(fault), "is too long (over %d bytes)", SETTINGS_VALUE_MAX);
		return bad(err, place, info, text, fault);
	}
	return 0;
}

static int
parse_int(const struct setting_info *info, struct bytes text, const char *place, struct buf *err,
    int64_t *ret)
{
	char digits[32] = "", fault[160], *end = digits;
	long long n = 0;

	if (text.len > 0 && text.len < sizeof(digits)) {
		memcpy(digits, text.data, text.len);
		digits[text.len] = '\0';
		n = strtoll(digits, &end, 10);
	}
	if (text.len == 0 || text.len >= sizeof(digits) || end != digits + text.len ||
	    text.data[0] == '+' || isspace(text.data[0])) {
		snprintf(fault, sizeof(fault), "is not a whole number (%lld..%lld %s)",
		    (long long)info->min, (long long)info->max, info->unit);
		return bad(err, place, info, text, fault);
	}
	if (n < info->min || n > info->max) {
		snprintf(fault, sizeof(fault), "is out of range, allowed is %lld..%lld %s",
		    (long long)info->min, (long long)info->max, info->unit);
		return bad(err, place, info, text, fault);
	}
	*ret = n;
	return 0;
}

static int
parse_duration(const struct setting_info *info, struct bytes text, const char *place,
    struct buf *err, int64_t *ret)
{
	char fault[160], min[CLOCK_DURATION_MAX], max[CLOCK_DURATION_MAX];
	int64_t us;

	if (clock_parse_duration(text, &us) != 0)
		return bad(err, place, info, text,
		    "is not a duration: write a number and a unit, as in 250ms, 30s, 1h30m");
	if (us / 1000 < info->min || us / 1000 > info->max) {
		clock_duration(info->min * 1000, min);
		clock_duration(info->max * 1000, max);
		snprintf(fault, sizeof(fault), "is out of range, allowed is %s..%s", min, max);
		return bad(err, place, info, text, fault);
	}
	*ret = us / 1000;
	return 0;
}

static int
parse_bool(const struct setting_info *info, struct bytes text, const char *place, struct buf *err,
    int64_t *ret)
{
	if (!bytes_equal_str(text, "true") && !bytes_equal_str(text, "false"))
		return bad(err, place, info, text, "is neither true nor false");
	*ret = bytes_equal_str(text, "true");
	return 0;
}

/* Walks "a|b|c"; true and the next choice while there is one. */
static bool
choice_next(const char **rest, struct bytes *ret_choice)
{
	size_t len = strcspn(*rest, "|");

	if (len == 0)
		return false;
	*ret_choice = bytes_of(*rest, len);
	*rest += len + ((*rest)[len] == '|');
	return true;
}

static int
check_enum(const struct setting_info *info, struct bytes text, const char *place, struct buf *err)
{
	const char *rest = info->unit;
	struct bytes choice;
	char fault[160];

	while (choice_next(&rest, &choice))
		if (bytes_equal(choice, text))
			return 0;
	snprintf(fault, sizeof(fault), "is none of %s", info->unit);
	return bad(err, place, info, text, fault);
}

static int
parse_list(const struct setting_info *info, const struct setting_text *text, const char *place,
    struct buf *err, struct setting_value *v)
{
	struct buf joined = { .max = 0 };

	if (text->count < (size_t)info->min || text->count > (size_t)info->max) {
		buf_addf(err, "%s: %s: %zu entries, allowed is %lld..%lld", place, info->key,
		    text->count, (long long)info->min, (long long)info->max);
		return ERR_CONFIG;
	}
	for (size_t i = 0; i < text->count; i++) {
		struct bytes item = text->items[i];

		if (check_text(info, item, place, err) != 0)
			return ERR_CONFIG;
		if (item.len == 0 || memchr(item.data, ',', item.len))
			return bad(err, place, info, item,
			    "is no entry of a list: empty, or with a comma");
	}
	v->items = xcalloc(text->count, sizeof(*v->items));
	v->count = text->count;
	for (size_t i = 0; i < text->count; i++) {
		v->items[i] = xstrndup((const char *)text->items[i].data, text->items[i].len);
		buf_addf(&joined, "%s%s", i ? "," : "", v->items[i]);
	}
	v->text = xstrdup(buf_str(&joined));
	buf_fini(&joined);
	return 0;
}

static int
parse_value(const struct setting_info *info, const struct setting_text *text, const char *place,
    struct buf *err, struct setting_value *v)
{
	struct bytes one = text->items[0];
	int rc = 0;

	if (info->kind == SETTING_LIST)
		return parse_list(info, text, place, err, v);
	if (check_text(info, one, place, err) != 0)
		return ERR_CONFIG;
	switch (info->kind) {
	case SETTING_STR:
		if (one.len < (size_t)info->min || one.len > (size_t)info->max) {
			char fault[96];

			snprintf(fault, sizeof(fault), "has %zu characters, allowed is %lld..%lld",
			    one.len, (long long)info->min, (long long)info->max);
			rc = bad(err, place, info, one, fault);
		}
		break;
	case SETTING_ENUM:
		rc = check_enum(info, one, place, err);
		break;
	case SETTING_INT:
		rc = parse_int(info, one, place, err, &v->number);
		break;
	case SETTING_BOOL:
		rc = parse_bool(info, one, place, err, &v->number);
		break;
	case SETTING_DURATION:
		rc = parse_duration(info, one, place, err, &v->number);
		break;
	case SETTING_LIST:
		break;
	}
	if (rc == 0)
		v->text = xstrndup((const char *)one.data, one.len);
	return rc;
}

int
settings_assign(struct settings *s, enum setting_id id, const struct setting_text *text,
    const char *place, struct buf *err)
{
	struct setting_value v = { .text = NULL };
	int rc = parse_value(&setting_infos[id], text, place, err, &v);

	if (rc != 0)
		return rc;
	value_fini(&s->values[id]);
	s->values[id] = v;
	return 0;
}

/* The text form: lists are comma separated, blanks around entries do not count. */
static int
assign_text(
    struct settings *s, enum setting_id id, const char *value, const char *place, struct buf *err)
{
	struct setting_text text = { .count = 1 };

	text.items[0] = bytes_of_str(value);
	if (setting_infos[id].kind != SETTING_LIST)
		return settings_assign(s, id, &text, place, err);
	text.count = 0;
	while (*value) {
		size_t len = strcspn(value, ","), from = 0, to = len;

		while (from < to && value[from] == ' ')
			from++;
		while (to > from && value[to - 1] == ' ')
			to--;
		if (text.count == SETTINGS_LIST_MAX) {
			buf_addf(err, "%s: %s: more than %d entries", place, setting_infos[id].key,
			    SETTINGS_LIST_MAX);
			return ERR_CONFIG;
		}
		text.items[text.count++] = bytes_of(value + from, to - from);
		value += len + (value[len] == ',');
	}
	return settings_assign(s, id, &text, place, err);
}

/* --- whole sets --- */

struct settings *
settings_new(void)
{
	struct settings *s = xcalloc(1, sizeof(*s));
	struct buf err = { .max = 0 };

	for (int i = 0; i < SETTING_COUNT; i++) {
		int rc = assign_text(s, (enum setting_id)i, setting_infos[i].def, "default", &err);

		if (rc != 0)
			fprintf(stderr, "%s\n", buf_str(&err));
		ASSERT(rc == 0);
	}
	return s;
}

void
settings_free(struct settings **s)
{
	if (!*s)
		return;
	for (int i = 0; i < SETTING_COUNT; i++)
		value_fini(&(*s)->values[i]);
	free(*s);
	*s = NULL;
}

struct settings *
settings_copy(const struct settings *s)
{
	struct settings *copy = xcalloc(1, sizeof(*copy));

	for (int i = 0; i < SETTING_COUNT; i++) {
		const struct setting_value *from = &s->values[i];
		struct setting_value *to = &copy->values[i];

		*to = (struct setting_value){ .text = xstrdup(from->text), .number = from->number };
		to->items = xcalloc(from->count, sizeof(*to->items));
		to->count = from->count;
		for (size_t k = 0; k < from->count; k++)
			to->items[k] = xstrdup(from->items[k]);
	}
	return copy;
}

void
settings_move(struct settings *to, struct settings **from)
{
	struct settings old = *to;

	*to = **from;
	**from = old;
	settings_free(from);
}

static bool
env_is_known(const char *name, size_t len)
{
	for (size_t i = 0; i < COUNT_OF(env_known); i++)
		if (strlen(env_known[i]) == len && strncmp(env_known[i], name, len) == 0)
			return true;
	for (size_t i = 0; i < COUNT_OF(env_known_prefix); i++)
		if (strncmp(env_known_prefix[i], name, strlen(env_known_prefix[i])) == 0)
			return true;
	return false;
}

static int
load_env_one(struct settings *s, const char *entry, struct buf *err)
{
	const char *equals = strchr(entry, '=');
	size_t len = equals ? (size_t)(equals - entry) : 0;
	char name[SETTINGS_KEY_MAX] = "", place[SETTINGS_KEY_MAX + 8];
	enum setting_id id;

	if (len < 6 || strncmp(entry, "ROOST_", 6) != 0 || env_is_known(entry, len))
		return 0;
	snprintf(name, sizeof(name), "%.*s", (int)(len - 6 < 120 ? len - 6 : 120), entry + 6);
	snprintf(place, sizeof(place), "ROOST_%s", name);
	if (settings_find_env(name, &id) == 0)
		return assign_text(s, id, equals + 1, place, err);
	settings_unknown_env(name, err);
	return ERR_CONFIG;
}

int
settings_load_env(struct settings *s, char *const *environ, struct buf *err)
{
	struct settings *copy = settings_copy(s);
	int rc = 0;

	for (; rc == 0 && *environ; environ++)
		rc = load_env_one(copy, *environ, err);
	if (rc == 0)
		settings_move(s, &copy);
	settings_free(&copy);
	return rc;
}

int
settings_set(struct settings *s, const char *assignment, const char *place, struct buf *err)
{
	size_t len = strcspn(assignment, "=");
	char key[SETTINGS_KEY_MAX], where[SETTINGS_KEY_MAX * 2];
	enum setting_id id;

	if (!assignment[len] || len == 0) {
		buf_addf(err, "%s %.64s: write key=value", place, assignment);
		return ERR_CONFIG;
	}
	snprintf(key, sizeof(key), "%.*s", (int)(len < 120 ? len : 120), assignment);
	snprintf(where, sizeof(where), "%.100s", place);
	if (settings_find(key, &id) != 0) {
		if (settings_is_group(key))
			buf_addf(err, "%s: \"%s\" is a group of settings: write %s.<name>=value",
			    where, key, key);
		else
			settings_unknown(where, key, err);
		return ERR_CONFIG;
	}
	return assign_text(s, id, assignment + len + 1, where, err);
}

void
settings_write(const struct settings *s, struct buf *out)
{
	for (int i = 0; i < SETTING_COUNT; i++)
		buf_addf(out, "%s=%s\n", setting_infos[i].key, s->values[i].text);
}

int
settings_read(struct settings *s, struct bytes text, struct buf *err)
{
	struct settings *copy = settings_copy(s);
	char *all = xstrndup((const char *)text.data, text.len), *rest = all, *line;
	unsigned number = 0;
	char place[32];
	int rc = 0;

	while (rc == 0 && (line = strsep(&rest, "\n"))) {
		snprintf(place, sizeof(place), "settings:%u", ++number);
		if (*line)
			rc = settings_set(copy, line, place, err);
	}
	if (rc == 0)
		settings_move(s, &copy);
	settings_free(&copy);
	free(all);
	return rc;
}

/* --- reading --- */

static const struct setting_value *
value_of(
    const struct settings *s, enum setting_id id, enum setting_kind kind, enum setting_kind other)
{
	ASSERT(setting_infos[id].kind == kind || setting_infos[id].kind == other);
	return &s->values[id];
}

const char *
settings_str(const struct settings *s, enum setting_id id)
{
	return value_of(s, id, SETTING_STR, SETTING_ENUM)->text;
}

int64_t
settings_int(const struct settings *s, enum setting_id id)
{
	return value_of(s, id, SETTING_INT, SETTING_INT)->number;
}

bool
settings_bool(const struct settings *s, enum setting_id id)
{
	return value_of(s, id, SETTING_BOOL, SETTING_BOOL)->number != 0;
}

int64_t
settings_ms(const struct settings *s, enum setting_id id)
{
	return value_of(s, id, SETTING_DURATION, SETTING_DURATION)->number;
}

size_t
settings_list_count(const struct settings *s, enum setting_id id)
{
	return value_of(s, id, SETTING_LIST, SETTING_LIST)->count;
}

const char *
settings_list_at(const struct settings *s, enum setting_id id, size_t i)
{
	const struct setting_value *v = value_of(s, id, SETTING_LIST, SETTING_LIST);

	ASSERT(i < v->count);
	return v->items[i];
}
