/* status.c - what is known of the supervisor and each child, as JSON and as metrics */
#include "status.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "mem.h"
#include "version.h"

static uint64_t
proc_value(const char *path, const char *label)
{
	char line[256];
	unsigned long long kib = 0;
	FILE *f = fopen(path, "re");

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, label, strlen(label)) == 0 &&
		    sscanf(line + strlen(label), "%15llu", &kib) == 1)
			break;
	fclose(f);
	return kib * 1024;
}

uint64_t
status_memory(pid_t pid)
{
	char path[64];
	uint64_t bytes;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	bytes = proc_value(path, "Pss:");
	if (bytes != 0)
		return bytes;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	return proc_value(path, "VmRSS:");
}

static int64_t
uptime_ms(const struct supervisor *sup, const struct child *c)
{
	return c->state == CHILD_UP ? (loop_now_us(sup->loop) - c->ready_us) / 1000 : 0;
}

static uint64_t
restarts(const struct child *c)
{
	return c->starts > 0 ? c->starts - 1 : 0;
}

static json_t *
death_json(const struct child *c)
{
	char text[DEATH_TEXT_MAX], at[CLOCK_ISO_MAX];

	if (c->last_death.at_wall_us == 0)
		return json_null();
	return json_pack("{s:s, s:s}", "text", death_text(&c->last_death, text), "at",
	    clock_iso(c->last_death.at_wall_us, at));
}

static json_t *
child_json(const struct supervisor *sup, const struct child *c)
{
	int64_t left = c->deadline_us - loop_now_us(sup->loop);
	json_t *o = json_object();

	json_object_set_new(o, "name", json_string(c->plan->name));
	json_object_set_new(o, "service", json_string(c->plan->service));
	json_object_set_new(o, "state", json_string(child_state_name(c->state)));
	json_object_set_new(o, "held", json_boolean(c->held));
	json_object_set_new(o, "pid", c->pid ? json_integer(c->pid) : json_null());
	json_object_set_new(o, "life", json_integer((json_int_t)c->life));
	json_object_set_new(o, "uptime_ms", json_integer((json_int_t)uptime_ms(sup, c)));
	json_object_set_new(o, "restarts", json_integer((json_int_t)restarts(c)));
	json_object_set_new(o, "failures", json_integer((json_int_t)c->backoff.failures));
	json_object_set_new(o, "last_death", death_json(c));
	json_object_set_new(o, "next_try_ms",
	    c->state == CHILD_BACKOFF ? json_integer((json_int_t)(left > 0 ? left / 1000 : 0))
				      : json_null());
	json_object_set_new(o, "readings_per_s", json_real(c->readings_per_s));
	json_object_set_new(o, "readings", json_integer((json_int_t)c->metrics[M_READINGS]));
	json_object_set_new(
	    o, "memory_bytes", json_integer(c->pid ? (json_int_t)status_memory(c->pid) : 0));
	return o;
}

static bool
lag_is_fresh(const struct supervisor *sup, const struct supervisor_lag *lag)
{
	return loop_now_us(sup->loop) - lag->at_us <= SUPERVISOR_LAG_FRESH_US;
}

static json_t *
lags_json(const struct supervisor *sup)
{
	json_t *list = json_array();

	for (size_t i = 0; i < sup->lag_count; i++) {
		const struct supervisor_lag *lag = &sup->lags[i];

		if (lag_is_fresh(sup, lag))
			json_array_append_new(list,
			    json_pack("{s:s, s:I, s:I, s:I, s:I, s:b}", "group", lag->group,
				"shard", (json_int_t)lag->shard, "lag_bytes",
				(json_int_t)lag->bytes, "lag_ms", (json_int_t)lag->ms, "members",
				(json_int_t)lag->members, "stands_back", (int)lag->stands_back));
	}
	return list;
}

static json_t *
mqtt_json(const struct supervisor *sup)
{
	static const struct {
		const char *key;
		enum metric_id metric;
	} counts[] = {
		{ "connections", M_MQTT_CONNECTIONS },
		{ "sessions", M_MQTT_SESSIONS },
		{ "subscriptions", M_MQTT_SUBSCRIPTIONS },
		{ "retained", M_MQTT_RETAINED },
		{ "waiting", M_MQTT_QUEUED },
		{ "waiting_bytes", M_MQTT_QUEUED_BYTES },
	};
	json_t *list = json_array();

	for (size_t i = 0; i < sup->plan.count; i++) {
		const struct child *c = &sup->children[i];
		json_t *o;

		if (strcmp(c->plan->service, "connectivity") != 0)
			continue;
		o = json_pack("{s:s}", "name", c->plan->name);
		for (size_t k = 0; k < COUNT_OF(counts); k++)
			json_object_set_new(o, counts[k].key,
			    json_integer((json_int_t)c->metrics[counts[k].metric]));
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *
supervisor_json(const struct supervisor *sup)
{
	static const char *const phases[] = { "starting", "running", "draining" };
	char *real = realpath(sup->data_dir, NULL);
	json_t *o = json_pack("{s:s, s:i, s:I, s:I, s:s, s:s}", "version", ROOST_VERSION, "pid",
	    (int)getpid(), "uptime_ms",
	    (json_int_t)(loop_now_us(sup->loop) - sup->started_us) / 1000, "memory_bytes",
	    (json_int_t)status_memory(getpid()), "data_dir", real ? real : sup->data_dir, "phase",
	    phases[sup->phase]);

	free(real);
	return o;
}

json_t *
status_json(const struct supervisor *sup)
{
	json_t *listeners = json_array(), *processes = json_array();
	bool healthy = sup->phase != PHASE_DRAINING;

	for (size_t i = 0; i < sup->listeners.count; i++)
		if (listener_is_of(&sup->listeners.list[i], 0))
			json_array_append_new(
			    listeners, json_pack("{s:s, s:s}", "kind", sup->listeners.list[i].kind,
					   "address", sup->listeners.list[i].address));
	for (size_t i = 0; i < sup->plan.count; i++) {
		healthy = healthy && sup->children[i].state == CHILD_UP;
		json_array_append_new(processes, child_json(sup, &sup->children[i]));
	}
	return json_pack("{s:b, s:b, s:o, s:o, s:o, s:o, s:o}", "ok", 1, "healthy", healthy ? 1 : 0,
	    "supervisor", supervisor_json(sup), "listeners", listeners, "processes", processes,
	    "mqtt", mqtt_json(sup), "followers", lags_json(sup));
}

/* --- metrics --- */

static void
head(struct buf *out, const char *name, const char *type, const char *help)
{
	buf_addf(out, "# HELP roost_%s %s\n# TYPE roost_%s %s\n", name, help, name, type);
}

static void
worker_metrics(const struct supervisor *sup, struct buf *out)
{
	for (int m = 0; m < METRIC_COUNT; m++) {
		const struct metric_info *info = &metric_infos[m];
		bool begun = false;

		for (size_t i = 0; i < sup->plan.count; i++) {
			const struct child *c = &sup->children[i];

			if (c->metrics[m] == 0)
				continue;
			if (!begun)
				head(out, info->name,
				    info->kind == METRIC_COUNTER ? "counter" : "gauge",
				    info->meaning);
			begun = true;
			buf_addf(out, "roost_%s{service=\"%s\",worker=\"%s\"} %" PRIu64 "\n",
			    info->name, c->plan->service, c->plan->name, c->metrics[m]);
		}
	}
}

enum child_metric { CM_UP, CM_RESTARTS, CM_MEMORY, CM_UPTIME };

static double
child_metric(const struct supervisor *sup, const struct child *c, enum child_metric m)
{
	switch (m) {
	case CM_UP:
		return c->state == CHILD_UP;
	case CM_RESTARTS:
		return (double)restarts(c);
	case CM_MEMORY:
		return c->pid ? (double)status_memory(c->pid) : 0;
	case CM_UPTIME:
		return (double)uptime_ms(sup, c) / 1000;
	}
	return 0;
}

static void
process_metrics(const struct supervisor *sup, struct buf *out)
{
	static const struct {
		enum child_metric metric;
		const char *name, *type, *help;
	} rows[] = {
		{ CM_UP, "process_up", "gauge", "1 while the process is UP" },
		{ CM_RESTARTS, "process_restarts_total", "counter", "starts after the first" },
		{ CM_MEMORY, "process_memory_bytes", "gauge", "proportional set size" },
		{ CM_UPTIME, "process_uptime_seconds", "gauge", "since it was READY" },
	};

	for (size_t r = 0; r < COUNT_OF(rows); r++) {
		head(out, rows[r].name, rows[r].type, rows[r].help);
		for (size_t i = 0; i < sup->plan.count; i++)
			buf_addf(out, "roost_%s{service=\"%s\",worker=\"%s\"} %.15g\n",
			    rows[r].name, sup->children[i].plan->service,
			    sup->children[i].plan->name,
			    child_metric(sup, &sup->children[i], rows[r].metric));
	}
}

/* A group's name comes from outside: quotes, backslashes and newlines are escaped. */
static void
add_label(struct buf *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			buf_add_u8(out, '\\');
		if (*text == '\n')
			buf_add_str(out, "\\n");
		else
			buf_add_u8(out, (uint8_t)*text);
	}
}

static void
lag_metrics(const struct supervisor *sup, bool bytes, struct buf *out)
{
	const char *name = bytes ? "follower_lag_bytes" : "follower_lag_ms";

	head(out, name, "gauge",
	    bytes ? "journal bytes not yet durable at the follower group"
		  : "age of the oldest record not yet delivered");
	for (size_t i = 0; i < sup->lag_count; i++) {
		const struct supervisor_lag *lag = &sup->lags[i];

		if (!lag_is_fresh(sup, lag))
			continue;
		buf_addf(out, "roost_%s{group=\"", name);
		add_label(out, lag->group);
		buf_addf(out, "\",shard=\"%" PRIu64 "\"} %" PRIu64 "\n", lag->shard,
		    bytes ? lag->bytes : lag->ms);
	}
}

void
status_metrics(const struct supervisor *sup, struct buf *out)
{
	process_metrics(sup, out);
	head(out, "supervisor_memory_bytes", "gauge", "proportional set size of the supervisor");
	buf_addf(out, "roost_supervisor_memory_bytes %" PRIu64 "\n", status_memory(getpid()));
	head(out, "supervisor_reaped_total", "counter",
	    "processes reaped that were no children of the plan");
	buf_addf(out, "roost_supervisor_reaped_total %" PRIu64 "\n", sup->reaped);
	head(out, "supervisor_lags_dropped_total", "counter",
	    "follower reports beyond the table's size");
	buf_addf(out, "roost_supervisor_lags_dropped_total %" PRIu64 "\n", sup->lags_dropped);
	lag_metrics(sup, true, out);
	lag_metrics(sup, false, out);
	worker_metrics(sup, out);
}
