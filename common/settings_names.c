/* settings_names.c - from the name of a setting, in a file or the environment, to the setting; pure */
#include "settings_impl.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "err.h"

int
settings_find(const char *key, enum setting_id *ret_id)
{
	for (int i = 0; i < SETTING_COUNT; i++) {
		if (strcmp(setting_infos[i].key, key) == 0) {
			*ret_id = (enum setting_id)i;
			return 0;
		}
	}
	return ERR_NOT_FOUND;
}

bool
settings_is_group(const char *key)
{
	size_t len = strlen(key);

	for (int i = 0; i < SETTING_COUNT; i++) {
		const char *k = setting_infos[i].key;

		if (strncmp(k, key, len) == 0 && k[len] == '.')
			return true;
	}
	return false;
}

/* Edits (insert, delete, replace, swap of neighbours) from a to b; both under SETTINGS_KEY_MAX. */
static unsigned
edit_distance(const char *a, const char *b)
{
	static unsigned rows[3][SETTINGS_KEY_MAX + 1];
	size_t n = strlen(b);

	for (size_t j = 0; j <= n; j++)
		rows[0][j] = (unsigned)j;
	for (size_t i = 1; a[i - 1]; i++) {
		unsigned *row = rows[i % 3], *up = rows[(i + 2) % 3], *upup = rows[(i + 1) % 3];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= n; j++) {
			unsigned best = up[j - 1] + (a[i - 1] != b[j - 1]);

			if (up[j] + 1 < best)
				best = up[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    upup[j - 2] + 1 < best)
				best = upup[j - 2] + 1;
			row[j] = best;
		}
	}
	return rows[strlen(a) % 3][n];
}

/* "MQTT_LISTEN" for mqtt.listen, as in the environment without ROOST_. */
static void
env_name(const char *key, char out[SETTINGS_KEY_MAX])
{
	size_t i;

	for (i = 0; key[i] && i + 1 < SETTINGS_KEY_MAX; i++)
		out[i] = (char)(key[i] == '.' ? '_' : toupper((unsigned char)key[i]));
	out[i] = '\0';
}

/* The setting whose name (as spell() writes it) is nearest, if it is near enough to be what was meant. */
static const char *
nearest(const char *key, void (*spell)(const char *key, char out[SETTINGS_KEY_MAX]),
    char out[SETTINGS_KEY_MAX])
{
	unsigned best = (unsigned)strlen(key) / 3 + 1;
	bool found = false;

	if (strlen(key) >= SETTINGS_KEY_MAX)
		return NULL;
	for (int i = 0; i < SETTING_COUNT; i++) {
		const char *dot = strrchr(setting_infos[i].key, '.');
		char name[SETTINGS_KEY_MAX] = "";
		unsigned d;

		spell(setting_infos[i].key, name);
		d = edit_distance(key, name);
		/* The right name, but of a group: "listen" is meant as "mqtt.listen". */
		if (dot && strcmp(dot + 1, key) == 0)
			d = 1;
		if (d < best) {
			best = d;
			found = true;
			memcpy(out, name, SETTINGS_KEY_MAX);
		}
	}
	return found ? out : NULL;
}

static void
spell_key(const char *key, char out[SETTINGS_KEY_MAX])
{
	snprintf(out, SETTINGS_KEY_MAX, "%s", key);
}

void
settings_unknown(const char *place, const char *key, struct buf *err)
{
	char name[SETTINGS_KEY_MAX];

	if (nearest(key, spell_key, name))
		buf_addf(err, "%s: unknown key \"%.64s\", did you mean \"%s\"?", place, key, name);
	else
		buf_addf(err, "%s: unknown key \"%.64s\"; `roost settings --doc` lists them all",
		    place, key);
}

int
settings_find_env(const char *name, enum setting_id *ret_id)
{
	char known[SETTINGS_KEY_MAX];

	for (int i = 0; i < SETTING_COUNT; i++) {
		env_name(setting_infos[i].key, known);
		if (strcmp(known, name) == 0) {
			*ret_id = (enum setting_id)i;
			return 0;
		}
	}
	return ERR_NOT_FOUND;
}

void
settings_unknown_env(const char *name, struct buf *err)
{
	char known[SETTINGS_KEY_MAX];

	if (nearest(name, env_name, known))
		buf_addf(err, "ROOST_%s in the environment is no setting, did you mean ROOST_%s?",
		    name, known);
	else
		buf_addf(err,
		    "ROOST_%s in the environment is no setting; `roost settings --doc` lists them "
		    "all",
		    name);
}
