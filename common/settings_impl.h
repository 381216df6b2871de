/* settings_impl.h - what the settings_*.c files share; nobody else includes it */
#ifndef ROOST_SETTINGS_IMPL_H
#define ROOST_SETTINGS_IMPL_H

#include "settings.h"

#define SETTINGS_LIST_MAX 64 /* entries of a list */
#define SETTINGS_VALUE_MAX 512 /* bytes of one value or list entry */
#define SETTINGS_KEY_MAX 128 /* bytes of a key in a file */

/* Text of one value as it goes into a setting; count is 1 but for lists. */
struct setting_text {
	size_t count;
	struct bytes items[SETTINGS_LIST_MAX];
};

/* The id of a key; ERR_NOT_FOUND. */
int settings_find(const char *key, enum setting_id *ret_id);
/* True if some keys lie below it: "mqtt". */
bool settings_is_group(const char *key);
/* Appends `place: unknown key "...", did you mean "..."?` */
void settings_unknown(const char *place, const char *key, struct buf *err);
/* The same for "MQTT_LISTEN", as in the environment behind ROOST_. */
int settings_find_env(const char *name, enum setting_id *ret_id);
void settings_unknown_env(const char *name, struct buf *err);
/* ERR_CONFIG with the reason in err; s unchanged then. */
int settings_assign(struct settings *s, enum setting_id id, const struct setting_text *text,
    const char *place, struct buf *err);
struct settings *settings_copy(const struct settings *s);
/* Takes over what from holds, and frees it. */
void settings_move(struct settings *to, struct settings **from);

#endif
