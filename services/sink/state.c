/* state.c - sink driver: latest values and alerts into Redis
 *
 * Values gather in a map, the newest of each metric; every tick, if Redis has answered the last lot, they go out together,
 * the cursors behind them: so a device costs Redis one write a tick however much it says. While Redis is away nothing is gathered: the journal keeps it, and when Redis is back reading goes
 * on at the cursors found there (none: from the oldest kept). So memory is bounded by one lot and what is under way. */
#include <stdlib.h>
#include <string.h>

#include "codec.h"
#include "device_state.h"
#include "err.h"
#include "follower.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "record.h"
#include "registry_change.h"
#include "sink.h"
#include "state_map.h"
#include "value_text.h"

#define MAP_BYTES_MAX 4194304 /* above it no more is taken until Redis has answered */
#define CURSOR_US 1000000     /* cursors alone are written this often */
#define ALERTS_MAX 10000      /* transitions in one lot */
#define METRIC_TS "_ts"

struct state {
	struct worker *w;
	struct follower *follower;
	struct device_state *redis;
	struct state_map map;
	struct buf alerts; /* encoded MSG_ALERTs, each behind its length u32 */
	size_t alert_count;
	uint32_t shards;
	uint64_t *seen;
	uint64_t *sent; /* in the commit under way */
	bool up;
	bool committing;
	bool paused;
	int64_t cursor_at;
	struct device_state_metric *metrics;
	size_t metrics_cap;
	struct buf text;
};

static bool
is_full(const struct state *s)
{
	return s->map.bytes >= MAP_BYTES_MAX || s->alert_count >= ALERTS_MAX;
}

static void
pause_if_needed(struct state *s)
{
	bool pause = !s->up || (s->committing && is_full(s));

	if (s->follower != NULL && pause != s->paused) {
		s->paused = pause;
		follower_pause(s->follower, pause);
	}
}

static void
forget(struct state *s)
{
	state_map_clear(&s->map);
	buf_clear(&s->alerts);
	s->alert_count = 0;
	s->committing = false;
}

/* --- to Redis --- */

static void
send_devices(struct state *s)
{
	for (const struct state_device *d = s->map.first; d != NULL; d = d->next) {
		if (d->n > s->metrics_cap) {
			s->metrics_cap = d->n;
			s->metrics = xrealloc(s->metrics, d->n * sizeof(s->metrics[0]));
		}
		buf_clear(&s->text);
		for (size_t i = 0; i < d->n; i++) {
			size_t before = s->text.len;

			value_put_text(&s->text, &d->metrics[i].value);
			s->metrics[i] = (struct device_state_metric){
				.name = bytes_of(d->metrics[i].name, d->metrics[i].name_len),
				.value = bytes_of(NULL, s->text.len - before),
				.time = d->metrics[i].time
			};
		}
		for (size_t i = 0, at = 0; i < d->n; at += s->metrics[i++].value.len)
			s->metrics[i].value.data = s->text.data + at;
		device_state_latest(s->redis, bytes_of(d->id, d->id_len), s->metrics, d->n);
	}
	metric_add(M_STATE_WRITES, s->map.devices);
	state_map_clear(&s->map);
}

static void
send_alerts(struct state *s)
{
	struct bytes rest = buf_bytes(&s->alerts);
	union msg_any any;
	enum msg_type type;
	uint32_t len;

	while (rest.len > 0) {
		memcpy(&len, rest.data, sizeof(len));
		if (codec_decode(bytes_of(rest.data + sizeof(len), len), &type, &any) == 0 &&
		    type == MSG_ALERT)
			device_state_alert(s->redis, &any.alert);
		else
			log_error("state.alert",
			    LS("fault", "an alert in the journal cannot be decoded"));
		rest.data += sizeof(len) + len;
		rest.len -= sizeof(len) + len;
	}
	buf_clear(&s->alerts);
	s->alert_count = 0;
}

static void
send_lot(struct state *s)
{
	int64_t now = loop_now_us(s->w->loop);

	if (!s->up || s->committing)
		return;
	if (s->map.devices == 0 && s->alert_count == 0 &&
	    (now < s->cursor_at || memcmp(s->seen, s->sent, s->shards * sizeof(s->seen[0])) == 0))
		return;
	s->cursor_at = now + CURSOR_US;
	send_devices(s);
	send_alerts(s);
	memcpy(s->sent, s->seen, s->shards * sizeof(s->seen[0]));
	s->committing = true;
	device_state_commit(s->redis, s->sent);
}

static void
begin_at(struct state *s, const uint64_t *cursors)
{
	forget(s);
	for (uint32_t i = 0; i < s->shards; i++) {
		s->seen[i] = s->sent[i] = cursors[i];
		follower_durable(s->follower, i, cursors[i]);
		follower_restart(s->follower, i);
	}
	pause_if_needed(s);
}

static uint64_t
cursor(void *arg, uint32_t shard)
{
	return ((struct state *)arg)->seen[shard];
}

static void on_block(void *arg, uint32_t shard, const struct block_view *v);

static void
on_upto(void *arg, uint32_t shard, uint64_t upto, uint64_t end)
{
	struct state *s = arg;

	(void)end;
	if (s->up && upto > s->seen[shard])
		s->seen[shard] = upto;
}

static void
on_skipped(void *arg, uint32_t shard, uint64_t from, uint64_t to)
{
	(void)from;
	on_upto(arg, shard, to, to);
}

static unsigned
stand_back_ms(void *arg)
{
	const struct state *s = arg;

	return (unsigned)settings_ms(s->w->settings, SET_SINK_STAND_BACK);
}

static const struct follower_spec follower = {
	.group = "state",
	.kinds = KIND_BIT(ENTRY_READINGS) | KIND_BIT(ENTRY_ALERT) | KIND_BIT(ENTRY_CONTEXT),
	.patience_ms = SINK_PATIENCE_MS,
	.stand_back_ms = stand_back_ms,
	.on_block = on_block,
	.on_upto = on_upto,
	.on_skipped = on_skipped,
	.cursor = cursor,
};

static void
on_up(void *arg, const uint64_t *cursors)
{
	struct state *s = arg;

	s->up = true;
	metric_set(M_STATE_REDIS_UP, 1);
	if (s->follower == NULL) {
		memcpy(s->seen, cursors, s->shards * sizeof(cursors[0]));
		s->follower = follower_new(s->w, &follower, s);
		ASSERT(s->follower != NULL);
	}
	begin_at(s, cursors);
}

static void
on_down(void *arg)
{
	struct state *s = arg;

	s->up = false;
	metric_set(M_STATE_REDIS_UP, 0);
	forget(s);
	pause_if_needed(s);
}

static void
on_committed(void *arg, bool lost)
{
	struct state *s = arg;
	uint64_t none[64] = { 0 };

	s->committing = false;
	if (lost) {
		log_warn("state.rebuild", LS("why", "Redis was emptied"),
		    LS("remedy", "reading the journal from the oldest kept"));
		ASSERT(s->shards <= COUNT_OF(none));
		begin_at(s, none);
		return;
	}
	for (uint32_t i = 0; i < s->shards; i++)
		follower_durable(s->follower, i, s->sent[i]);
	pause_if_needed(s);
	loop_wake(s->w->loop);
}

static const struct device_state_events events = {
	.up = on_up, .down = on_down, .committed = on_committed
};

/* --- from the journal --- */

static void
take_record(struct state *s, const struct record *r)
{
	struct point_cursor c = point_cursor_of(r);
	struct state_device *d = NULL;
	struct point p;

	if (verdict_code(r->verdict) != VERDICT_ACCEPTED || (r->flags & RECORD_UNDECODABLE) != 0)
		return;
	metric_add(M_READINGS, r->point_count);
	while (point_next(&c, &p) == 0) {
		if (p.reason != QUARANTINE_NONE || bytes_equal_str(p.name, METRIC_TS))
			continue;
		if (d == NULL)
			d = state_map_device(&s->map, r->device);
		if (state_map_put(&s->map, d, p.name, &p.value, p.time))
			metric_add(M_STATE_COALESCED, 1);
	}
}

static void
take_alert(struct state *s, struct bytes body)
{
	uint32_t len = (uint32_t)body.len;

	buf_add(&s->alerts, &len, sizeof(len));
	buf_add(&s->alerts, body.data, body.len);
	s->alert_count++;
}

/* What was gathered goes out before, so that nothing of the device comes behind. */
static void
take_context(struct state *s, struct bytes body)
{
	struct registry_object o;

	if (registry_decode(body, &o, NULL) != 0 || o.type != MSG_DEVICE || !o.any.device.erase)
		return;
	send_devices(s);
	send_alerts(s);
	device_state_erase(s->redis, o.any.device.id);
}

static void
on_block(void *arg, uint32_t shard, const struct block_view *v)
{
	struct state *s = arg;
	struct bytes rest = v->entries;
	struct entry e;
	struct record r;

	if (!s->up)
		return;
	while (entry_next(&rest, &e) == 0) {
		struct record_cursor c = record_cursor_of(e.body);

		if (e.kind == ENTRY_ALERT)
			take_alert(s, e.body);
		else if (e.kind == ENTRY_CONTEXT)
			take_context(s, e.body);
		else if (e.kind == ENTRY_READINGS)
			while (record_next(&c, &r) == 0)
				take_record(s, &r);
	}
	s->seen[shard] = v->next;
	if (is_full(s))
		send_lot(s);
	pause_if_needed(s);
}

/* --- the driver --- */

static int
start(struct worker *w)
{
	struct state *s = xcalloc(1, sizeof(*s));

	w->state = s;
	s->w = w;
	s->shards = (uint32_t)settings_int(w->settings, SET_STORAGE_SHARDS);
	s->seen = xcalloc(s->shards, sizeof(s->seen[0]));
	s->sent = xcalloc(s->shards, sizeof(s->sent[0]));
	state_map_init(&s->map);
	return device_state_new(w->loop, settings_str(w->settings, SET_REDIS_URL), w->data_dir,
	    follower.group, s->shards, &events, s, &s->redis);
}

static void
stop(struct worker *w)
{
	struct state *s = w->state;

	if (s == NULL)
		return;
	follower_free(&s->follower);
	device_state_free(&s->redis);
	state_map_fini(&s->map);
	buf_fini(&s->alerts);
	buf_fini(&s->text);
	free(s->seen);
	free(s->sent);
	free(s->metrics);
	free(s);
	w->state = NULL;
}

static void
turn(struct worker *w)
{
	struct state *s = w->state;

	if (is_full(s))
		send_lot(s);
}

static void
tick(struct worker *w)
{
	struct state *s = w->state;

	send_lot(s);
	/* Nothing waits: Redis lacks nothing of what was seen, though its cursors may be a second behind. */
	if (s->up && !s->committing && s->map.devices == 0 && s->alert_count == 0)
		for (uint32_t i = 0; i < s->shards; i++)
			follower_durable(s->follower, i, s->seen[i]);
}

const struct sink_driver state_driver = {
	.name = "state",
	.start = start,
	.stop = stop,
	.turn = turn,
	.tick = tick,
};
