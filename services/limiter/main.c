/* main.c - limiter: batches in, the same batches with verdicts out */
#include <stdio.h>
#include <stdlib.h>

#include "admit.h"
#include "budgets.h"
#include "entry.h"
#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "charged.h"
#include "worker.h"

/* Bytes that may wait in a shard's link while the shard is away; senders hold back a window each, so this is rarely met. */
#define HELD_BYTES_MAX (64u << 20)
/* How long a new limiter waits for its shards before it lets senders connect: what it got earlier would be dropped. */
#define SHARDS_WAIT_US 250000
#define EXPIRE_MAX 100000 /* devices forgotten a tick: a few milliseconds */

struct limiter {
	struct budgets *budgets;
	struct charged *charged;
	struct bus_link *in; /* NULL until the shards are there, or SHARDS_WAIT_US */
	struct loop_timer listen_timer;
	struct limiter_shard {
		struct bus_link *link;
		size_t held; /* bytes sent to the link since it went down */
	} * shards;
	uint32_t shard_count;
	uint32_t partitions;
};

static uint64_t
setting(const struct worker *w, enum setting_id id)
{
	return (uint64_t)settings_int(w->settings, id);
}

static void
reject(const struct bus_msg *m, const char *why)
{
	metric_add(M_BUS_REJECTED, 1);
	log_warn("limiter.reject", LS("from", m->from), LS("why", why),
	    LU("partition", m->any->batch.partition));
}

/* The same frame goes on whatever the verdicts: no sequence gets a hole here. While the shard is away the link keeps a
 * bounded amount for it: most restarts take less time than a sender's time-out. What is dropped is sent again. */
static void
forward(struct limiter *l, struct bus_msg *m)
{
	struct limiter_shard *shard = &l->shards[m->any->batch.partition % l->shard_count];
	size_t len = m->any->batch.records.len;

	if (!bus_link_is_up(shard->link)) {
		if (len > HELD_BYTES_MAX - shard->held) {
			metric_add(M_LIMITER_DROPPED, 1);
			return;
		}
		shard->held += len;
	}
	if (bus_forward(shard->link, NULL, m->frame) != 0)
		metric_add(M_LIMITER_DROPPED, 1);
}

static void
on_batch(struct worker *w, struct bus_msg *m)
{
	struct limiter *l = w->state;
	const struct msg_batch *batch = &m->any->batch;
	struct admit_counts counts = { 0 };

	if (batch->partition >= l->partitions || batch->stream == 0 ||
	    (batch->kind != ENTRY_READINGS && batch->kind != ENTRY_PUBREL &&
		batch->kind != ENTRY_CONTEXT)) {
		reject(m, "no batch of readings, releases or context of our partitions");
		return;
	}
	if (charged_advance(l->charged, batch->stream, batch->seq) && !batch->retry &&
	    batch->kind == ENTRY_READINGS) {
		uint8_t *records = frame_writable(*m->frame, batch->records);
		int err = admit_batch(
		    l->budgets, records, batch->records.len, loop_now_us(w->loop), &counts);

		if (err) {
			reject(m, err_name(err));
			return;
		}
		metric_add(M_MESSAGES, counts.messages);
		metric_add(M_READINGS, counts.readings);
		metric_add(M_LIMITER_REFUSED_DEVICE, counts.refused_device);
		metric_add(M_LIMITER_REFUSED_GLOBAL, counts.refused_global);
	}
	forward(l, m);
}

static void
on_tick(struct worker *w)
{
	struct limiter *l = w->state;

	budgets_expire(l->budgets, loop_now_us(w->loop), EXPIRE_MAX);
	metric_set(M_LIMITER_DEVICES, budgets_devices(l->budgets));
}

static void
listen_now(void *arg)
{
	struct worker *w = arg;
	struct limiter *l = w->state;

	loop_timer_clear(w->loop, &l->listen_timer);
	if (!l->in && bus_bind(w->bus, w->name, &l->in) != 0)
		worker_exit(w, EXIT_DEPENDENCY);
}

static void
on_link(struct worker *w, struct bus_link *link, bool up)
{
	struct limiter *l = w->state;
	bool all_up = true;

	for (uint32_t i = 0; i < l->shard_count; i++) {
		if (l->shards[i].link == link && up)
			l->shards[i].held = 0;
		if (!l->shards[i].link || !bus_link_is_up(l->shards[i].link))
			all_up = false;
	}
	if (all_up)
		listen_now(w);
}

static int
limiter_start(struct worker *w)
{
	struct limiter *l = xcalloc(1, sizeof(*l));
	struct budgets_limits limits = {
		.device_rate = setting(w, SET_LIMITER_DEVICE_RATE),
		.device_burst = setting(w, SET_LIMITER_DEVICE_BURST),
		.global_rate = setting(w, SET_LIMITER_GLOBAL_RATE),
		.global_burst = setting(w, SET_LIMITER_GLOBAL_BURST),
		.devices_max = setting(w, SET_LIMITER_DEVICES_MAX),
	};
	char endpoint[BUS_NAME_MAX];
	int err;

	w->state = l;
	l->budgets = budgets_new(&limits, loop_now_us(w->loop));
	l->charged = charged_new();
	l->partitions = (uint32_t)setting(w, SET_PARTITIONS);
	l->shard_count = (uint32_t)setting(w, SET_STORAGE_SHARDS);
	l->shards = xcalloc(l->shard_count, sizeof(l->shards[0]));
	for (uint32_t i = 0; i < l->shard_count; i++) {
		snprintf(endpoint, sizeof(endpoint), "shard-%u", i);
		err = bus_connect(w->bus, endpoint, &l->shards[i].link);
		if (err)
			return err;
	}
	loop_timer_set(w->loop, &l->listen_timer, SHARDS_WAIT_US, listen_now, w);
	return 0;
}

static void
limiter_stop(struct worker *w)
{
	struct limiter *l = w->state;

	loop_timer_clear(w->loop, &l->listen_timer);
	budgets_free(&l->budgets);
	charged_free(&l->charged);
	free(l->shards);
	free(l);
	w->state = NULL;
}

static const struct worker_spec spec = {
	.name = "limiter",
	.priority = { .prompt = true },
	.start = limiter_start,
	.stop = limiter_stop,
	.on = { [MSG_STREAM_BATCH] = on_batch },
	.on_link = on_link,
	.tick = on_tick, /* forgets idle devices */
	.tick_ms = 1000,
};

int
main(int argc, char **argv)
{
	return worker_main(&spec, argc, argv);
}
