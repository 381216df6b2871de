/* main.c - storage: batches in, COMMIT back after the sync, followers served
 *
 * Worker i serves the shards k with k % storage.replicas == i and holds their locks. Each turn of the loop takes all batches
 * that are waiting, writes them as one block a shard, syncs once, and answers: the sync is the clock. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "err.h"
#include "format.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "pressure.h"
#include "shard.h"
#include "worker.h"

#define TICK_MS 1000
#define LOCK_WAIT_MS 20000
#define BUSY_START_MS 60000
#define DRAIN_QUIET_US 150000	   /* no batch came for so long: the senders are gone */
#define DRAIN_FOLLOWERS_US 2000000 /* followers get so long to take what is committed */
#define DIR_SIZE 256

struct served {
	struct worker *w;
	struct shard *shard;
	struct bus_link *link;
	int lock_fd;
	struct loop_timer timer; /* the next turn that followers need */
};

struct storage {
	struct served *served;
	size_t count;
	int64_t drain_us; /* asked to stop then; 0: not yet */
	struct pressure pressure;
};

static int
send_msg(void *arg, const char *peer, enum msg_type type, const void *msg)
{
	struct served *v = arg;

	return v->link ? bus_send(v->link, peer, type, msg) : ERR_NOT_FOUND;
}

static void
answered(void *arg)
{
	struct served *v = arg;

	bus_flush(v->w->bus);
}

static void
busy(void *arg, uint64_t ms)
{
	struct served *v = arg;

	worker_busy(v->w, ms);
}

/* Retention waits for those who must see every record: people's alerts, registry and history. */
static char *
mandatory_groups(const struct settings *s)
{
	bool history = false;

	for (size_t i = 0; i < settings_list_count(s, SET_SINK_DRIVERS); i++)
		history |= strcmp(settings_list_at(s, SET_SINK_DRIVERS, i), "history") == 0;
	return xasprintf("%s%s%s%s", settings_int(s, SET_RULES_REPLICAS) > 0 ? "rules," : "",
	    settings_int(s, SET_NOTIFIER_REPLICAS) > 0 ? "notifier," : "",
	    settings_int(s, SET_REGISTRY_REPLICAS) > 0 ? "registry," : "",
	    history ? "history," : "");
}

/* Within a third of the quota, so that an old segment, the open one and the next one fit. */
static uint64_t
segment_bytes(const struct settings *s, uint64_t quota)
{
	uint64_t bytes = (uint64_t)settings_int(s, SET_STORAGE_SEGMENT_MIB) << 20;

	if (bytes > quota / 3)
		bytes = quota / 3 / 4096 * 4096;
	return bytes < JOURNAL_SEGMENT_MIN ? JOURNAL_SEGMENT_MIN : bytes;
}

static int
serve(struct worker *w, struct served *v, uint32_t number)
{
	const struct settings *s = w->settings;
	uint32_t shards = (uint32_t)settings_int(s, SET_STORAGE_SHARDS);
	uint64_t quota = ((uint64_t)settings_int(s, SET_STORAGE_QUOTA_MIB) << 20) / shards;
	char dir[DIR_SIZE], endpoint[32], *mandatory;
	struct shard_config c = {
		.dir = dir,
		.shard = number,
		.shards = shards,
		.partitions = (uint32_t)settings_int(s, SET_PARTITIONS),
		.segment_bytes = segment_bytes(s, quota),
		.segment_age_us = settings_ms(s, SET_STORAGE_SEGMENT_AGE) * 1000,
		.quota_bytes = quota > 3 * JOURNAL_SEGMENT_MIN ? quota : 3 * JOURNAL_SEGMENT_MIN,
		.retention_us = settings_ms(s, SET_STORAGE_RETENTION) * 1000,
		.dedup_entries = (uint32_t)settings_int(s, SET_STORAGE_DEDUP_ENTRIES),
		.dedup_window_us = settings_ms(s, SET_STORAGE_DEDUP_WINDOW) * 1000,
		.unreleased_max = (uint32_t)settings_int(s, SET_STORAGE_UNRELEASED_MAX),
		.unreleased_age_us = settings_ms(s, SET_MQTT_SESSION_EXPIRY_MAX) * 1000,
		.send = send_msg,
		.answered = answered,
		.busy = busy,
		.arg = v,
	};
	int r;

	v->w = w;
	worker_busy(w, LOCK_WAIT_MS + BUSY_START_MS);
	r = format_lock_shard(w->data_dir, number, LOCK_WAIT_MS, dir, sizeof(dir), &v->lock_fd);
	if (r != 0)
		return r;
	mandatory = mandatory_groups(s);
	c.mandatory = mandatory;
	r = shard_open(&c, clock_wall_us(), clock_mono_us(), &v->shard);
	free(mandatory);
	if (r != 0)
		return r;
	/* Nobody can ask before everything is recovered. */
	snprintf(endpoint, sizeof(endpoint), "shard-%u", number);
	r = bus_bind(w->bus, endpoint, &v->link);
	if (r == 0)
		bus_link_set_data(v->link, v);
	return r;
}

static int
storage_start(struct worker *w)
{
	uint32_t shards = (uint32_t)settings_int(w->settings, SET_STORAGE_SHARDS);
	uint32_t replicas = (uint32_t)settings_int(w->settings, SET_STORAGE_REPLICAS);
	struct storage *st = xcalloc(1, sizeof(*st));
	int r;

	w->state = st;
	st->served = xcalloc(shards, sizeof(*st->served));
	if (settings_ms(w->settings, SET_SINK_STAND_BACK) > 0)
		st->pressure.above = (uint64_t)settings_int(w->settings, SET_SINK_STAND_BACK_ABOVE)
				     << 20;
	for (uint32_t k = 0; k < shards; k++)
		st->served[k].lock_fd = -1;
	r = format_check(w->data_dir, (uint32_t)settings_int(w->settings, SET_PARTITIONS), shards);
	for (uint32_t k = w->index; k < shards && r == 0; k += replicas ? replicas : 1)
		r = serve(w, &st->served[st->count++], k);
	return r;
}

static void
storage_stop(struct worker *w)
{
	struct storage *st = w->state;

	for (size_t i = 0; i < st->count; i++) {
		struct served *v = &st->served[i];

		loop_timer_clear(w->loop, &v->timer);
		if (v->shard)
			shard_close(&v->shard, clock_wall_us());
		if (v->link)
			bus_close(w->bus, &v->link);
		if (v->lock_fd >= 0)
			close(v->lock_fd);
	}
	free(st->served);
	free(st);
	w->state = NULL;
}

static struct shard *
shard_of(const struct bus_msg *m)
{
	struct served *v = bus_link_data(m->link);

	shard_clock(v->shard, clock_wall_us(), loop_now_us(v->w->loop));
	return v->shard;
}

static void
on_hello(struct worker *w, struct bus_msg *m)
{
	(void)w;
	shard_on_hello(shard_of(m), m->from, &m->any->hello);
}

static void
on_batch(struct worker *w, struct bus_msg *m)
{
	(void)w;
	shard_on_batch(shard_of(m), m->from, &m->any->batch);
}

static void
on_subscribe(struct worker *w, struct bus_msg *m)
{
	(void)w;
	shard_on_subscribe(shard_of(m), m->from, &m->any->subscribe);
}

static void
on_resume(struct worker *w, struct bus_msg *m)
{
	(void)w;
	shard_on_resume(shard_of(m), m->from, &m->any->resume);
}

static void
on_progress(struct worker *w, struct bus_msg *m)
{
	(void)w;
	shard_on_progress(shard_of(m), m->from, &m->any->progress);
}

static void
on_timer(void *arg)
{
	(void)arg; /* the turn that follows does the work */
}

static void
look_at_pressure(struct storage *st)
{
	int64_t now = clock_mono_us();
	bool before = st->pressure.on;
	uint64_t bytes = 0;

	if (!pressure_look_is_due(&st->pressure, now))
		return;
	for (size_t i = 0; i < st->count; i++)
		bytes += st->served[i].shard->journal->written_bytes;
	pressure_look(&st->pressure, now, bytes, (uint64_t)clock_waited_us());
	/* Whoever is asked to stop lets the followers have all of it. */
	st->pressure.on &= st->drain_us == 0;
	if (st->pressure.on == before)
		return;
	metric_set(M_STORAGE_PRESSURE, st->pressure.on);
	for (size_t i = 0; i < st->count; i++)
		st->served[i].shard->followers.pressure = st->pressure.on;
}

static void
storage_turn(struct worker *w)
{
	struct storage *st = w->state;

	look_at_pressure(st);
	for (size_t i = 0; i < st->count; i++) {
		struct served *v = &st->served[i];
		int64_t next;

		shard_clock(v->shard, clock_wall_us(), clock_mono_us());
		next = shard_turn(v->shard);
		loop_timer_clear(w->loop, &v->timer);
		if (next == 0)
			loop_wake(w->loop);
		else if (next != INT64_MAX)
			loop_timer_set(w->loop, &v->timer,
			    next > clock_mono_us() ? next - clock_mono_us() : 0, on_timer, v);
	}
}

static void
report_lag(void *arg, const struct msg_lag *lag)
{
	worker_report_lag(arg, lag);
}

static void
storage_tick(struct worker *w)
{
	struct storage *st = w->state;
	uint64_t bytes = 0, segments = 0, streams = 0, followers = 0, remembered = 0, closed = 0;
	uint64_t unreleased = 0, back = 0;

	for (size_t i = 0; i < st->count; i++) {
		struct shard *s = st->served[i].shard;

		/* Before the TICK, which nobody can have yet. */
		followers_lag(&s->followers, report_lag, w);
		shard_clock(s, clock_wall_us(), clock_mono_us());
		shard_tick(s);
		bytes += journal_bytes(s->journal);
		segments += s->journal->segment_count;
		streams += s->streams.count;
		followers += s->followers.count;
		unreleased += s->unreleased.count;
		back += followers_standing_back(&s->followers);
		remembered += dedup_count(&s->dedup) + dedup_count(&s->dedup_before);
		closed |= s->closed;
	}
	metric_set(M_STORAGE_JOURNAL_BYTES, bytes);
	metric_set(M_STORAGE_SEGMENTS, segments);
	metric_set(M_STORAGE_STREAMS, streams);
	metric_set(M_STORAGE_FOLLOWERS, followers);
	metric_set(M_STORAGE_REMEMBERED, remembered);
	metric_set(M_STORAGE_UNRELEASED, unreleased);
	metric_set(M_STORAGE_STANDING_BACK, back);
	metric_set(M_STORAGE_CREDIT_CLOSED, closed);
}

static void
storage_drain(struct worker *w)
{
	struct storage *st = w->state;

	st->drain_us = clock_mono_us();
	for (size_t i = 0; i < st->count; i++)
		loop_timer_set(
		    w->loop, &st->served[i].timer, DRAIN_QUIET_US, on_timer, &st->served[i]);
}

/* The supervisor drains in the order of the flow: whoever sends batches is gone, what they sent may still be on its way. */
static bool
storage_drained(struct worker *w)
{
	struct storage *st = w->state;
	int64_t now = clock_mono_us();
	bool patient = now - st->drain_us < DRAIN_FOLLOWERS_US;

	for (size_t i = 0; i < st->count; i++) {
		const struct shard *s = st->served[i].shard;

		if (now - st->drain_us < DRAIN_QUIET_US || now - s->batch_us < DRAIN_QUIET_US ||
		    (patient && !shard_is_quiet(s))) {
			loop_timer_set(w->loop, &st->served[i].timer, DRAIN_QUIET_US / 3, on_timer,
			    &st->served[i]);
			return false;
		}
	}
	return true;
}

static const struct worker_spec spec = {
	.name = "storage",
	.priority = { .prompt = true },
	.start = storage_start,
	.stop = storage_stop,
	.drain = storage_drain,
	.drained = storage_drained,
	.turn = storage_turn,
	.tick = storage_tick,
	.tick_ms = TICK_MS,
	.on = {
		[MSG_HELLO] = on_hello,
		[MSG_STREAM_BATCH] = on_batch,
		[MSG_SUBSCRIBE] = on_subscribe,
		[MSG_RESUME] = on_resume,
		[MSG_PROGRESS] = on_progress,
	},
};

int
main(int argc, char **argv)
{
	return worker_main(&spec, argc, argv);
}
