/* device_state.c - what workers share about devices, in Redis; the keys of devices are known here only */
#include "device_state.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "err.h"
#include "mem.h"
#include "redis.h"
#include "value_text.h"

/* More than the largest lot a sink has under way; beyond it the connection begins again at the cursors. */
#define QUEUE_MAX (256u << 20)
#define VALUE_MAX (1u << 20)

/* ARGV: keys of latest and times, newest time, the same as text, then metric, value, time of each. */
static const char latest_script[] =
    "local function newer(field, time)"
    " local have = redis.call('HGET', ARGV[2], field)"
    " if have and tonumber(have) > tonumber(time) then return false end"
    " redis.call('HSET', ARGV[2], field, time) return true end "
    "if newer('_ts', ARGV[3]) then redis.call('HSET', ARGV[1], '_ts', ARGV[4]) end "
    "for i = 5, #ARGV, 3 do if newer(ARGV[i], ARGV[i + 2]) then redis.call('HSET', ARGV[1], "
    "ARGV[i], ARGV[i + 1]) end end";

/* ARGV: keys of latest, times and alerts, key of all alerts, "device":"ID" as it stands in them. */
static const char erase_script[] =
    "redis.call('UNLINK', ARGV[1], ARGV[2], ARGV[3]) "
    "local all = redis.call('HGETALL', ARGV[4]) "
    "for i = 1, #all, 2 do if string.find(all[i + 1], ARGV[5], 1, true) then "
    "redis.call('HDEL', ARGV[4], all[i]) end end";

/* ARGV: the cursors' key, how many must be there, shard and cursor of each. 1: they were not there, and nothing is written: who
 * comes next is to see that, too. */
static const char commit_script[] =
    "if redis.call('HLEN', ARGV[1]) < tonumber(ARGV[2]) then return 1 end\n"
    "redis.call('HSET', ARGV[1], unpack(ARGV, 3))\n"
    "return 0";

enum { LATEST_SCRIPT, ERASE_SCRIPT, COMMIT_SCRIPT };
static const char *const scripts[] = { [LATEST_SCRIPT] = latest_script,
	[ERASE_SCRIPT] = erase_script,
	[COMMIT_SCRIPT] = commit_script };

struct device_state {
	struct redis *redis;
	const struct device_state_events *events;
	void *arg;
	char *cursor_key;
	uint32_t shards;
	bool up;
	bool has_cursors; /* Redis held all cursors when last asked */
	bool committing;
	uint64_t *cursors;
};

/* --- requests --- */

/* "roost:device:{id}:{what}" */
static void
arg_device_key(struct device_state *ds, struct bytes device, const char *what)
{
	struct buf key = { 0 };

	buf_add_str(&key, "roost:device:");
	buf_add(&key, device.data, device.len);
	buf_addf(&key, ":%s", what);
	redis_arg(ds->redis, buf_bytes(&key));
	buf_fini(&key);
}

/* True if the reply is a good one; else the connection is over, or will be. */
static bool
accept_reply(struct device_state *ds, int err, const struct redis_view *reply)
{
	if (err == ERR_FULL || err == ERR_REFUSED)
		redis_fail(ds->redis, "refused");
	(void)reply;
	return err == 0;
}

static void
on_plain(void *arg, int err, const struct redis_view *reply)
{
	(void)accept_reply(arg, err, reply);
}

static void
send_request(struct device_state *ds, redis_fn fn)
{
	if (redis_send(ds->redis, REDIS_ONCE, fn, ds) == ERR_FULL)
		redis_fail(ds->redis, "more waits than may");
}

/* --- connection --- */

static void
on_cursors(void *arg, int err, const struct redis_view *reply)
{
	struct device_state *ds = arg;
	size_t found = 0;

	if (!accept_reply(ds, err, reply))
		return;
	if (reply->kind != REDIS_ARRAY) {
		redis_fail(ds->redis, "unexpected reply");
		return;
	}
	memset(ds->cursors, 0, ds->shards * sizeof(ds->cursors[0]));
	for (size_t i = 0; i + 1 < reply->count; i += 2) {
		struct redis_view shard = redis_at(reply, i), upto = redis_at(reply, i + 1);
		uint64_t k, offset;

		if (!redis_uint(&shard, ds->shards - 1, &k) ||
		    !redis_uint(&upto, UINT64_MAX, &offset))
			continue;
		ds->cursors[k] = offset;
		found++;
	}
	ds->has_cursors = found == ds->shards;
	/* Part of the cursors is none: what is missing would be read from the oldest on, the rest not. */
	if (!ds->has_cursors)
		memset(ds->cursors, 0, ds->shards * sizeof(ds->cursors[0]));
	ds->up = true;
	redis_ready(ds->redis);
	ds->events->up(ds->arg, ds->cursors);
}

static void
on_connected(void *arg)
{
	struct device_state *ds = arg;

	redis_command(ds->redis, "HGETALL");
	redis_arg_str(ds->redis, ds->cursor_key);
	(void)redis_send(ds->redis, REDIS_SETUP, on_cursors, ds);
}

static void
on_down(void *arg)
{
	struct device_state *ds = arg;
	bool was_up = ds->up;

	ds->up = false;
	ds->committing = false;
	if (was_up)
		ds->events->down(ds->arg);
}

static const struct redis_use use = {
	.scripts = scripts,
	.script_count = COUNT_OF(scripts),
	.value_max = VALUE_MAX,
	.queue_max = QUEUE_MAX,
	.events = { .connected = on_connected, .down = on_down },
};

/* --- the rest of the interface --- */

int
device_state_new(struct loop *loop, const char *url, const char *data_dir, const char *name,
    uint32_t shards, const struct device_state_events *events, void *arg,
    struct device_state **ret_state)
{
	struct device_state *ds = xcalloc(1, sizeof(*ds));

	ds->events = events;
	ds->arg = arg;
	ds->shards = shards;
	ds->cursors = xcalloc(shards, sizeof(ds->cursors[0]));
	ds->cursor_key = xasprintf("roost:cursor:%s", name);
	if (redis_open(loop, url, data_dir, &use, ds, &ds->redis) != 0) {
		device_state_free(&ds);
		return ERR_CONFIG;
	}
	*ret_state = ds;
	return 0;
}

void
device_state_free(struct device_state **p_ds)
{
	struct device_state *ds = *p_ds;

	if (ds == NULL)
		return;
	*p_ds = NULL;
	redis_free(&ds->redis);
	free(ds->cursor_key);
	free(ds->cursors);
	free(ds);
}

void
device_state_latest(struct device_state *ds, struct bytes device,
    const struct device_state_metric *metrics, size_t n)
{
	char iso[CLOCK_ISO_MAX];
	int64_t newest = INT64_MIN;

	ASSERT(n > 0);
	if (!ds->up)
		return;
	for (size_t i = 0; i < n; i++)
		newest = metrics[i].time > newest ? metrics[i].time : newest;
	redis_script(ds->redis, LATEST_SCRIPT);
	arg_device_key(ds, device, "latest");
	arg_device_key(ds, device, "times");
	redis_arg_int(ds->redis, newest);
	redis_arg_str(ds->redis, clock_iso(newest, iso));
	for (size_t i = 0; i < n; i++) {
		redis_arg(ds->redis, metrics[i].name);
		redis_arg(ds->redis, metrics[i].value);
		redis_arg_int(ds->redis, metrics[i].time);
	}
	send_request(ds, on_plain);
}

static void
put_alert(struct buf *out, const struct msg_alert *a)
{
	static const char *const states[] = { "inactive", "pending", "firing", "cleared" };
	char iso[CLOCK_ISO_MAX];

	buf_add_str(out, "{\"alert\":");
	json_put_string(out, a->rule);
	buf_add_str(out, ",\"group\":");
	json_put_string(out, a->group);
	buf_add_str(out, ",\"device\":");
	json_put_string(out, a->device);
	buf_addf(out, ",\"state\":\"%s\",\"severity\":", states[a->state & 3]);
	json_put_string(out, a->severity);
	buf_addf(out, ",\"since\":\"%s\"", clock_iso(a->since, iso));
	buf_addf(out, ",\"at\":\"%s\",\"summary\":", clock_iso(a->at, iso));
	json_put_string(out, a->summary);
	buf_add_u8(out, '}');
}

void
device_state_alert(struct device_state *ds, const struct msg_alert *a)
{
	bool shown = a->state == 1 || a->state == 2;
	struct buf field = { 0 }, json = { 0 };

	if (!ds->up)
		return;
	buf_add(&field, a->group.data, a->group.len);
	buf_add_u8(&field, '/');
	buf_add(&field, a->rule.data, a->rule.len);
	put_alert(&json, a);
	redis_command(ds->redis, shown ? "HSET" : "HDEL");
	arg_device_key(ds, a->device, "alerts");
	redis_arg(ds->redis, buf_bytes(&field));
	if (shown)
		redis_arg(ds->redis, buf_bytes(&json));
	send_request(ds, on_plain);
	redis_command(ds->redis, shown ? "HSET" : "HDEL");
	redis_arg_str(ds->redis, "roost:alerts");
	redis_arg(ds->redis, a->alert_id);
	if (shown)
		redis_arg(ds->redis, buf_bytes(&json));
	send_request(ds, on_plain);
	buf_fini(&field);
	buf_fini(&json);
}

void
device_state_erase(struct device_state *ds, struct bytes device)
{
	struct buf mark = { 0 };

	if (!ds->up)
		return;
	buf_add_str(&mark, "\"device\":");
	json_put_string(&mark, device);
	redis_script(ds->redis, ERASE_SCRIPT);
	arg_device_key(ds, device, "latest");
	arg_device_key(ds, device, "times");
	arg_device_key(ds, device, "alerts");
	redis_arg_str(ds->redis, "roost:alerts");
	redis_arg(ds->redis, buf_bytes(&mark));
	send_request(ds, on_plain);
	buf_fini(&mark);
}

static void
on_commit(void *arg, int err, const struct redis_view *reply)
{
	struct device_state *ds = arg;
	bool lost;

	if (!accept_reply(ds, err, reply))
		return;
	if (reply->kind != REDIS_INTEGER) {
		redis_fail(ds->redis, "unexpected reply");
		return;
	}
	lost = reply->integer > 0;
	ds->has_cursors = !lost;
	ds->committing = false;
	ds->events->committed(ds->arg, lost);
}

void
device_state_commit(struct device_state *ds, const uint64_t *cursors)
{
	ASSERT(!ds->committing);
	if (!ds->up)
		return;
	ds->committing = true;
	redis_script(ds->redis, COMMIT_SCRIPT);
	redis_arg_str(ds->redis, ds->cursor_key);
	redis_arg_uint(ds->redis, ds->has_cursors ? ds->shards : 0);
	for (uint32_t i = 0; i < ds->shards; i++) {
		redis_arg_uint(ds->redis, i);
		redis_arg_uint(ds->redis, cursors[i]);
	}
	send_request(ds, on_commit);
	redis_flush(ds->redis);
}
