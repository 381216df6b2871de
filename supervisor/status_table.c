/* status_table.c - the table that `roost status` prints; pure */
#include "status.h"

#include <stdio.h>
#include <string.h>

#include "death.h"

static const char *
str_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "-";
}

static double
number_of(const json_t *o, const char *key)
{
	return json_number_value(json_object_get(o, key));
}

static const char *
bytes_text(double bytes, char out[24])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	size_t u = 0;

	while (bytes >= 1024 && u < 4) {
		bytes /= 1024;
		u++;
	}
	snprintf(out, 24, u == 0 ? "%.0f %s" : "%.1f %s", bytes, units[u]);
	return out;
}

/* What a reader wants to know besides the state: why it last died, when it is tried again. */
static void
add_why(const json_t *p, struct buf *out)
{
	const json_t *death = json_object_get(p, "last_death");
	const json_t *next = json_object_get(p, "next_try_ms");
	char span[24];

	if (json_is_object(death))
		buf_addf(out, "%s", str_of(death, "text"));
	else
		buf_add_str(out, "-");
	if (json_is_number(next))
		buf_addf(out, "; next try in %s",
		    span_text((int64_t)(json_number_value(next) * 1e3), span));
	if (json_is_true(json_object_get(p, "held")))
		buf_add_str(out, "; held until its configuration changes");
}

static void
add_process(const json_t *p, struct buf *out)
{
	char span[24], memory[24], pid[24] = "-", up[24] = "-";
	const json_t *n = json_object_get(p, "pid");

	if (json_is_integer(n))
		snprintf(pid, sizeof(pid), "%lld", (long long)json_integer_value(n));
	if (number_of(p, "uptime_ms") > 0)
		snprintf(up, sizeof(up), "%s",
		    span_text((int64_t)(number_of(p, "uptime_ms") * 1e3), span));
	buf_addf(out, "%-18.18s %-8.8s %8s %8s %8.0f %11.0f %10s  ", str_of(p, "name"),
	    str_of(p, "state"), pid, up, number_of(p, "restarts"), number_of(p, "readings_per_s"),
	    number_of(p, "memory_bytes") > 0 ? bytes_text(number_of(p, "memory_bytes"), memory)
					     : "-");
	add_why(p, out);
	buf_add_u8(out, '\n');
}

static void
add_mqtt(const json_t *m, struct buf *out)
{
	char bytes[24];

	buf_addf(out, "%-18.18s %11.0f %8.0f %13.0f %8.0f %8.0f %10s\n", str_of(m, "name"),
	    number_of(m, "connections"), number_of(m, "sessions"), number_of(m, "subscriptions"),
	    number_of(m, "retained"), number_of(m, "waiting"),
	    bytes_text(number_of(m, "waiting_bytes"), bytes));
}

static void
add_follower(const json_t *f, struct buf *out)
{
	char bytes[24], span[24];

	buf_addf(out, "%-18.18s %5.0f %12s %10s %8.0f%s\n", str_of(f, "group"),
	    number_of(f, "shard"), bytes_text(number_of(f, "lag_bytes"), bytes),
	    span_text((int64_t)(number_of(f, "lag_ms") * 1e3), span), number_of(f, "members"),
	    json_is_true(json_object_get(f, "stands_back"))
		? "  stands back: the processors do not suffice"
		: "");
}

void
status_table(const json_t *status, struct buf *out)
{
	const json_t *sup = json_object_get(status, "supervisor"), *one;
	char span[24], memory[24];
	size_t i;

	buf_addf(out, "Roost %s, %s for %s, pid %.0f, %s, data in %s\n", str_of(sup, "version"),
	    str_of(sup, "phase"), span_text((int64_t)(number_of(sup, "uptime_ms") * 1e3), span),
	    number_of(sup, "pid"), bytes_text(number_of(sup, "memory_bytes"), memory),
	    str_of(sup, "data_dir"));
	json_array_foreach(json_object_get(status, "listeners"), i, one)
	    buf_addf(out, "%s listens on %s\n", str_of(one, "kind"), str_of(one, "address"));
	buf_addf(out, "\n%-18s %-8s %8s %8s %8s %11s %10s  %s\n", "PROCESS", "STATE", "PID", "UP",
	    "RESTARTS", "READINGS/s", "MEMORY", "LAST DEATH");
	json_array_foreach(json_object_get(status, "processes"), i, one) add_process(one, out);
	if (json_array_size(json_object_get(status, "mqtt")) > 0)
		buf_addf(out, "\n%-18s %11s %8s %13s %8s %8s %10s\n", "MQTT", "CONNECTIONS",
		    "SESSIONS", "SUBSCRIPTIONS", "RETAINED", "WAITING", "BYTES");
	json_array_foreach(json_object_get(status, "mqtt"), i, one) add_mqtt(one, out);
	if (json_array_size(json_object_get(status, "followers")) == 0)
		return;
	buf_addf(
	    out, "\n%-18s %5s %12s %10s %8s\n", "FOLLOWER", "SHARD", "BEHIND", "AGE", "MEMBERS");
	json_array_foreach(json_object_get(status, "followers"), i, one) add_follower(one, out);
}
