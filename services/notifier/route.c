/* route.c - which receivers are told about an alert, and what they are told; pure */
#include "route.h"

#include <string.h>
#include <xxhash.h>

#include "clock.h"
#include "notify_text.h"
#include "value_text.h"

#define BACKOFF_MIN_US 1000000ll
#define BACKOFF_MAX_US 300000000ll

static const char *const state_names[] = { "inactive", "pending", "firing", "cleared" };

bool
route_is_told(const struct msg_alert *alert)
{
	return alert->state == ALERT_FIRING || alert->state == ALERT_CLEARED;
}

bool
route_id_is_good(struct bytes id)
{
	for (size_t i = 0; i < id.len; i++)
		if (id.data[i] <= ' ' || id.data[i] > '~')
			return false;
	return id.len > 0 && id.len <= ROUTE_ID_MAX;
}

bool
route_match(const char *pattern, struct bytes text)
{
	const char *star = NULL;
	size_t at = 0, star_at = 0;

	while (at < text.len) {
		if (*pattern == '*') {
			star = pattern++;
			star_at = at;
		} else if (*pattern != '\0' && (uint8_t)*pattern == text.data[at]) {
			pattern++;
			at++;
		} else if (star != NULL) { /* the star takes one more */
			pattern = star + 1;
			at = ++star_at;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}

static bool
matches(const struct route *r, const struct msg_alert *a)
{
	return (r->alert == NULL || route_match(r->alert, a->rule)) &&
	       (r->group == NULL || route_match(r->group, a->group)) &&
	       (r->device == NULL || route_match(r->device, a->device)) &&
	       (r->severity == NULL || route_match(r->severity, a->severity));
}

/* The names in the alert: comma separated, blanks around them allowed. */
static uint64_t
named(const struct notify_conf *conf, struct bytes names, bool *ret_unknown)
{
	uint64_t set = 0;
	size_t from = 0;

	for (size_t i = 0; i <= names.len; i++) {
		size_t end = i;
		int found;

		if (i < names.len && names.data[i] != ',')
			continue;
		while (from < end && names.data[from] == ' ')
			from++;
		while (end > from && names.data[end - 1] == ' ')
			end--;
		if (end > from) {
			found = notify_conf_find(conf, bytes_of(names.data + from, end - from));
			if (found < 0)
				*ret_unknown = true;
			else
				set |= 1ull << found;
		}
		from = i + 1;
	}
	return set;
}

uint64_t
route_receivers(const struct notify_conf *conf, const struct msg_alert *alert, bool *ret_unknown)
{
	bool unknown = false;
	uint64_t set = named(conf, alert->receivers, &unknown);

	if (ret_unknown != NULL)
		*ret_unknown = unknown;
	if (set != 0 && !unknown)
		return set;
	for (size_t i = 0; i < conf->route_count; i++) {
		if (!matches(&conf->routes[i], alert))
			continue;
		set |= conf->routes[i].receivers;
		if (!conf->routes[i].go_on)
			break;
	}
	return set;
}

static void
put_bytes(struct buf *out, struct bytes b)
{
	buf_add(out, b.data, b.len);
}

void
route_put_text(struct buf *out, const struct msg_alert *a)
{
	buf_addf(out, "%s ", state_names[a->state & 3]);
	put_bytes(out, a->severity);
	buf_add_u8(out, ' ');
	put_bytes(out, a->rule);
	buf_add_u8(out, ' ');
	put_bytes(out, a->device);
	if (a->summary.len > 0) {
		buf_add_str(out, ": ");
		put_bytes(out, a->summary);
	}
	if (a->runbook.len > 0) {
		buf_add_str(out, " (");
		put_bytes(out, a->runbook);
		buf_add_u8(out, ')');
	}
}

static void
put_field(struct buf *out, const char *name, struct bytes value)
{
	buf_addf(out, ",\"%s\":", name);
	json_put_string(out, value);
}

void
route_put_json(struct buf *out, const struct msg_alert *a)
{
	char iso[CLOCK_ISO_MAX];

	buf_add_str(out, "{\"version\":1");
	put_field(out, "id", a->id);
	put_field(out, "alert_id", a->alert_id);
	put_field(out, "alert", a->rule);
	put_field(out, "group", a->group);
	put_field(out, "device", a->device);
	put_field(out, "state", bytes_of_str(state_names[a->state & 3]));
	put_field(out, "severity", a->severity);
	put_field(out, "at", bytes_of_str(clock_iso(a->at, iso)));
	put_field(out, "since", bytes_of_str(clock_iso(a->since, iso)));
	put_field(out, "summary", a->summary);
	if (a->runbook.len > 0)
		put_field(out, "runbook", a->runbook);
	/* A JSON object by its definition in messages.def; anything else goes as the string it is. */
	if (a->values.len >= 2 && a->values.data[0] == '{' &&
	    a->values.data[a->values.len - 1] == '}') {
		buf_add_str(out, ",\"values\":");
		put_bytes(out, a->values);
	} else if (a->values.len > 0) {
		put_field(out, "values", a->values);
	}
	buf_add_u8(out, '}');
}

int64_t
route_backoff_us(uint64_t attempts, uint64_t seed)
{
	uint64_t words[2] = { attempts, seed };
	int64_t us = BACKOFF_MAX_US;

	if (attempts >= 1 && attempts <= 8)
		us = BACKOFF_MIN_US << (attempts - 1);
	else if (attempts == 0)
		us = BACKOFF_MIN_US;
	us += us / 100 * (int64_t)(XXH3_64bits(words, sizeof(words)) % 51) - us / 4;
	return us;
}
