/* acl.c - which topics a client may publish and subscribe to: roles; pure */
#include "acl.h"

#include <stdlib.h>
#include <string.h>

#include "acl_impl.h"
#include "mqtt_tree.h"
#include "registry_change.h"

void
acl_free(struct acl **p_acl)
{
	struct acl *acl = *p_acl;

	*p_acl = NULL;
	if (!acl)
		return;
	for (size_t i = 0; i < acl->count; i++) {
		struct acl_role *r = &acl->roles[i];

		for (size_t k = 0; k < r->count; k++)
			free(r->lines[k].pattern);
		free(r->lines);
		free(r->name);
	}
	free(acl->roles);
	free(acl);
}

/* --- one level --- */

static bool
is_usable(struct bytes value, bool first)
{
	for (size_t i = 0; i < value.len; i++)
		if (value.data[i] == '/' || value.data[i] == '+' || value.data[i] == '#')
			return false;
	return value.len > 0 && !(first && value.data[0] == '$');
}

static struct bytes
value_of(const struct acl_who *who, uint8_t letter)
{
	switch (letter) {
	case 'c':
		return who->client;
	case 'u':
		return who->user;
	case 'd':
		return who->device;
	default:
		return bytes_of_str("%");
	}
}

/* pattern: with % as it is written; level: of a topic or filter. */
static bool
is_level(struct bytes pattern, struct bytes level, const struct acl_who *who, bool first)
{
	size_t at = 0;

	if (bytes_equal_str(pattern, "%g"))
		return is_usable(level, first) && registry_speaks_for(who->speaks_for, level);
	for (size_t i = 0; i < pattern.len; i++) {
		struct bytes part = bytes_of(pattern.data + i, 1);

		if (part.data[0] == '%') {
			part = value_of(who, pattern.data[++i]);
			if (!is_usable(part, first && at == 0))
				return false;
		}
		if (part.len > level.len - at || memcmp(level.data + at, part.data, part.len) != 0)
			return false;
		at += part.len;
	}
	return at == level.len;
}

static bool
is_word(struct bytes level, char c)
{
	return level.len == 1 && level.data[0] == c;
}

static bool
is_hidden(struct bytes level, bool first)
{
	return first && level.len > 0 && level.data[0] == '$';
}

/* --- a pattern and a filter --- */

enum relation {
	RELATION_COVERS,     /* the pattern matches every topic that the filter matches */
	RELATION_INTERSECTS, /* it matches one of them at least */
};

/* There is a level that this one matches. */
static bool
can_match(struct bytes pattern, const struct acl_who *who, bool first)
{
	if (bytes_equal_str(pattern, "%g"))
		return who->speaks_for.len > 0;
	for (size_t i = 0; i + 1 < pattern.len; i++) {
		if (pattern.data[i] != '%')
			continue;
		if (!is_usable(value_of(who, pattern.data[i + 1]), first && i == 0))
			return false;
		i++;
	}
	return true;
}

static bool
rest_can_match(struct bytes rest, const struct acl_who *who)
{
	struct bytes level;

	while (mqtt_level_next(&rest, &level))
		if (!can_match(level, who, false))
			return false;
	return true;
}

/* Both have a level: may the walk go on behind them? */
static bool
goes_on(struct bytes p, struct bytes f, const struct acl_who *who, bool first, enum relation want)
{
	if (is_word(p, '+'))
		return !is_hidden(f, first);
	if (is_word(f, '+'))
		return want == RELATION_INTERSECTS && !is_hidden(p, first) &&
		       can_match(p, who, first);
	return is_level(p, f, who, first);
}

static bool
relates(struct bytes pattern, struct bytes filter, const struct acl_who *who, enum relation want)
{
	struct bytes p, f;

	for (bool first = true;; first = false) {
		bool more_p = mqtt_level_next(&pattern, &p), more_f = mqtt_level_next(&filter, &f);

		if (!more_p && !more_f)
			return true;
		/* # stands for the level above it, too. */
		if (more_p && is_word(p, '#'))
			return !more_f || !is_hidden(f, first);
		if (more_f && is_word(f, '#')) {
			/* # is every topic, and every topic has a first level. */
			if (want == RELATION_COVERS)
				return first && more_p && is_word(p, '+') &&
				       bytes_equal_str(pattern, "#");
			return !more_p || (!is_hidden(p, first) && can_match(p, who, first) &&
					      rest_can_match(pattern, who));
		}
		if (!more_p || !more_f || !goes_on(p, f, who, first, want))
			return false;
	}
}

/* --- roles --- */

enum decision { UNDECIDED, ALLOWED, DENIED };

static enum decision
decide(
    const struct acl_role *role, const struct acl_who *who, enum acl_right right, struct bytes what)
{
	for (size_t i = 0; i < role->count; i++) {
		const struct acl_line *l = &role->lines[i];

		if (!(l->rights & right) || (l->gateway && who->speaks_for.len == 0))
			continue;
		if (relates(bytes_of(l->pattern, l->len), what, who,
			l->allow ? RELATION_COVERS : RELATION_INTERSECTS))
			return l->allow ? ALLOWED : DENIED;
	}
	return UNDECIDED;
}

static const struct acl_role *
find(const struct acl *acl, struct bytes name)
{
	for (size_t i = 0; i < acl->count; i++)
		if (bytes_equal_str(name, acl->roles[i].name))
			return &acl->roles[i];
	return NULL;
}

bool
acl_has_role(const struct acl *acl, struct bytes name)
{
	return find(acl, name) != NULL;
}

static struct bytes
next_role(struct bytes *rest)
{
	const uint8_t *comma = rest->len ? memchr(rest->data, ',', rest->len) : NULL;
	size_t len = comma ? (size_t)(comma - rest->data) : rest->len;
	struct bytes name = bytes_of(rest->data, len);

	len += comma != NULL;
	*rest = bytes_of(rest->data + len, rest->len - len);
	return name;
}

bool
acl_may(const struct acl *acl, const struct acl_who *who, enum acl_right right, struct bytes what)
{
	struct bytes rest = who->roles;
	enum decision d = UNDECIDED;
	const struct acl_role *role;

	while (rest.len && d == UNDECIDED) {
		role = find(acl, next_role(&rest));
		if (role)
			d = decide(role, who, right, what);
	}
	if (d == UNDECIDED && who->is_device) {
		role = find(acl, bytes_of_str("device"));
		if (role)
			d = decide(role, who, right, what);
	}
	return d == ALLOWED;
}
