/* settings_doc.c - every setting with its default, range and meaning, as a YAML file; pure */
#include "settings.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"

#define COLUMNS 100

/* Adds text as comment lines, broken at blanks. */
static void
add_comment(struct buf *out, const char *indent, const char *text)
{
	size_t room = COLUMNS - strlen(indent) - 2;

	while (*text) {
		size_t len = strlen(text);

		if (len > room) {
			len = room;
			while (len > 1 && text[len] != ' ')
				len--;
		}
		buf_addf(out, "%s# %.*s\n", indent, (int)len, text);
		text += len;
		while (*text == ' ')
			text++;
	}
}

static void
add_range(struct buf *out, const struct setting_info *info)
{
	char min[CLOCK_DURATION_MAX], max[CLOCK_DURATION_MAX];

	switch (info->kind) {
	case SETTING_STR:
		buf_addf(out, "%s; at most %lld characters", info->unit, (long long)info->max);
		break;
	case SETTING_INT:
		buf_addf(
		    out, "%lld..%lld %s", (long long)info->min, (long long)info->max, info->unit);
		break;
	case SETTING_BOOL:
		buf_add_str(out, "true or false");
		break;
	case SETTING_LIST:
		buf_addf(out, "list of %s; at most %lld", info->unit, (long long)info->max);
		break;
	case SETTING_DURATION:
		buf_addf(out, "%s..%s", clock_duration(info->min * 1000, min),
		    clock_duration(info->max * 1000, max));
		break;
	case SETTING_ENUM:
		for (const char *c = info->unit; *c; c++) {
			if (*c == '|')
				buf_add_str(out, ", ");
			else
				buf_add_u8(out, (uint8_t)*c);
		}
		break;
	}
}

/* Plain where YAML reads plain text as it stands; quoted else. */
static void
add_scalar(struct buf *out, const char *text, size_t len)
{
	bool plain = len > 0;

	for (size_t i = 0; i < len; i++)
		plain = plain && (isalnum((unsigned char)text[i]) || strchr("._/-", text[i])) &&
			!(i == 0 && text[i] == '-');
	buf_addf(out, plain ? "%.*s" : "\"%.*s\"", (int)len, text);
}

static void
add_value(struct buf *out, const struct setting_info *info)
{
	const char *text = info->def;

	if (info->kind != SETTING_LIST) {
		add_scalar(out, text, strlen(text));
		return;
	}
	buf_add_u8(out, '[');
	while (*text) {
		size_t len = strcspn(text, ",");

		add_scalar(out, text, len);
		text += len;
		if (*text == ',') {
			buf_add_str(out, ", ");
			text++;
		}
	}
	buf_add_u8(out, ']');
}

static void
add_setting(struct buf *out, const struct setting_info *info, const char *indent, const char *name)
{
	struct buf comment = { .max = 0 };

	buf_addf(&comment, "%s [", info->meaning);
	add_range(&comment, info);
	buf_add_u8(&comment, ']');
	add_comment(out, indent, buf_str(&comment));
	buf_fini(&comment);
	buf_addf(out, "%s%s: ", indent, name);
	add_value(out, info);
	buf_add_u8(out, '\n');
}

static bool
same_group(const char *a, const char *b)
{
	size_t len = strcspn(a, ".");

	return a[len] == '.' && strncmp(a, b, len + 1) == 0;
}

void
settings_doc(struct buf *out)
{
	buf_add_str(out,
	    "# Every setting of Roost, with its default: this file changes nothing until a value "
	    "is "
	    "changed.\n"
	    "# `roost run -c FILE` reads it. ROOST_<KEY> in the environment (mqtt.listen is "
	    "ROOST_MQTT_LISTEN) goes\n"
	    "# over the file, `--set key=value` over both. Written by `roost settings --doc`.\n");
	for (int i = 0; i < SETTING_COUNT; i++) {
		const char *key = setting_infos[i].key, *dot = strchr(key, '.');
		bool first = true;

		if (!dot) {
			buf_add_u8(out, '\n');
			add_setting(out, &setting_infos[i], "", key);
			continue;
		}
		for (int k = 0; k < i; k++)
			first = first && !same_group(key, setting_infos[k].key);
		if (!first)
			continue;
		buf_addf(out, "\n%.*s:\n", (int)(dot - key), key);
		for (int k = i; k < SETTING_COUNT; k++)
			if (same_group(key, setting_infos[k].key))
				add_setting(out, &setting_infos[k], "  ",
				    strchr(setting_infos[k].key, '.') + 1);
	}
}
