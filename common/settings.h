/* settings.h - the settings in force: settings.def over a YAML file, ROOST_* and --set
 *
 * Errors are for people: `deploy/roost.yaml:7:3: unknown key "mqtt.lisen", did you mean "mqtt.listen"?` */
#ifndef ROOST_SETTINGS_H
#define ROOST_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

enum setting_id {
#define SETTING(ID, key, KIND, def, min, max, unit, meaning) SET_##ID,
#include "settings.def"
#undef SETTING
	SETTING_COUNT
};

enum setting_kind {
	SETTING_STR,
	SETTING_INT,
	SETTING_BOOL,
	SETTING_LIST,
	SETTING_DURATION,
	SETTING_ENUM
};

struct setting_info {
	const char *key;
	enum setting_kind kind;
	const char *def;
	int64_t min;
	int64_t max;
	const char *unit;
	const char *meaning;
};

extern const struct setting_info setting_infos[SETTING_COUNT];

struct settings;

struct settings *settings_new(void); /* all defaults */
void settings_free(struct settings **s);

/* Each returns 0 or ERR_CONFIG with a whole sentence in err (place, fault, remedy); s is then unchanged by that call. */
int settings_load_file(struct settings *s, const char *path, struct buf *err);
int settings_load_env(struct settings *s, char *const *environ,
    struct buf *
	err); /* ROOST_<KEY>; a ROOST_ name that is no key is ignored only if listed in settings.c */
int settings_set(struct settings *s, const char *assignment, const char *place,
    struct buf *err); /* "key=value"; place names it in errors: "--set" */
/* What no single key can show: replicas above shards, ... */
int settings_check(const struct settings *s, struct buf *err);

/* For workers: the supervisor hands every worker the settings it runs by, as `key=value` lines in a sealed memfd. */
void settings_write(const struct settings *s, struct buf *out);
int settings_read(struct settings *s, struct bytes text, struct buf *err);

const char *settings_str(const struct settings *s, enum setting_id id); /* STR, ENUM */
int64_t settings_int(const struct settings *s, enum setting_id id);
bool settings_bool(const struct settings *s, enum setting_id id);
int64_t settings_ms(const struct settings *s, enum setting_id id); /* DURATION */
size_t settings_list_count(const struct settings *s, enum setting_id id);
const char *settings_list_at(const struct settings *s, enum setting_id id, size_t i);

/* Every setting with its default, range and meaning, as a commented YAML file (deploy/roost.yaml is this text). */
void settings_doc(struct buf *out);

#endif
