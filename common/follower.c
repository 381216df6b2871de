/* follower.c - reading the journal from a cursor, across restarts of both sides
 *
 * What arrives must continue where the last delivery ended; if it does not, something was lost on the way (or is left over
 * from an earlier subscription), and unless the right delivery follows soon the client subscribes again from what it has. */
#include "follower.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"

#define PROGRESS_US 250000
#define RESYNC_US 50000
#define SILENCE_US 3000000 /* storage says something at least once a second */
#define PARTITIONS_MAX 1024
#define SUBSCRIPTION_BITS 24 /* of SUBSCRIBE's number; the rest is the life */

struct shard {
	struct follower *f;
	uint32_t number;
	struct bus_link *link;
	uint64_t epoch;	   /* shared: of the last ASSIGN; else of the last SUBSCRIBE */
	bool resumed;	   /* shared: RESUME was sent for epoch */
	uint64_t expected; /* where the next delivery begins */
	uint64_t received; /* bytes since SUBSCRIBE */
	uint64_t reported; /* of these, told in PROGRESS */
	uint64_t durable;
	int64_t heard_us;
	struct loop_timer resync;
};

struct follower {
	struct worker *w;
	const struct follower_spec *spec;
	void *arg;
	struct shard *shards;
	uint32_t shard_count;
	struct loop_timer progress;
	uint64_t subscriptions;
	bool paused;
};

static struct shard *
shard_of(struct follower *f, const struct bus_link *link)
{
	for (uint32_t i = 0; i < f->shard_count; i++) {
		if (f->shards[i].link == link)
			return &f->shards[i];
	}
	return NULL;
}

static void
subscribe(struct shard *s)
{
	const struct follower_spec *spec = s->f->spec;
	struct msg_subscribe msg = {
		.group = bytes_of_str(spec->group),
		.shared = spec->shared,
		.kinds = spec->kinds,
		.credit = FOLLOWER_CREDIT,
		.life = s->f->w->life,
		.patience = spec->patience_ms,
		.stand_back = spec->stand_back_ms ? spec->stand_back_ms(s->f->arg) : 0,
	};

	loop_timer_clear(s->f->w->loop, &s->resync);
	if (!spec->shared) {
		s->expected = spec->cursor(s->f->arg, s->number);
		msg.from = s->expected;
		/* What storage sends until it has read this is for an earlier one, maybe of an earlier life. */
		s->epoch = msg.number = ++s->f->subscriptions | s->f->w->life << SUBSCRIPTION_BITS;
	}
	s->received = s->reported = 0;
	s->resumed = false;
	s->heard_us = loop_now_us(s->f->w->loop);
	(void)bus_send(s->link, NULL, MSG_SUBSCRIBE, &msg);
}

static void
on_resync(void *arg)
{
	subscribe(arg);
}

static void
resync_soon(struct shard *s)
{
	if (s->resync.slot == 0)
		loop_timer_set(s->f->w->loop, &s->resync, RESYNC_US, on_resync, s);
}

static void
report(struct shard *s)
{
	struct msg_progress msg = {
		.group = bytes_of_str(s->f->spec->group),
		.received = s->f->paused ? s->reported : s->received,
		.cursor = s->durable,
		.epoch = s->epoch,
	};

	if (bus_send(s->link, NULL, MSG_PROGRESS, &msg) == 0)
		s->reported = msg.received;
}

static void
on_progress(void *arg)
{
	struct follower *f = arg;
	int64_t now = loop_now_us(f->w->loop);

	loop_timer_set(f->w->loop, &f->progress, PROGRESS_US, on_progress, f);
	for (uint32_t i = 0; i < f->shard_count; i++) {
		struct shard *s = &f->shards[i];

		if (!bus_link_is_up(s->link))
			continue;
		if (now - s->heard_us > SILENCE_US && !f->paused)
			subscribe(s);
		else
			report(s);
	}
}

static void
take_blocks(struct shard *s, const struct msg_deliver *d)
{
	struct follower *f = s->f;
	struct bytes rest = d->blocks;
	struct block_view v;
	int err;

	while ((err = view_next(&rest, &v)) == 0) {
		if (v.offset < s->expected)
			continue;
		f->spec->on_block(f->arg, s->number, &v);
		s->expected = v.next;
	}
	if (err != ERR_NOT_FOUND) {
		metric_add(M_BUS_REJECTED, 1);
		log_error("follower.malformed", LU("shard", s->number), LU("from", d->from),
		    LS("why", err_name(err)));
		resync_soon(s);
		return;
	}
	if (d->upto > s->expected)
		s->expected = d->upto;
	if (f->spec->on_upto)
		f->spec->on_upto(f->arg, s->number, s->expected, d->end);
}

static void
on_deliver(struct shard *s, const struct msg_deliver *d)
{
	const struct follower_spec *spec = s->f->spec;
	bool any_start = s->expected == FOLLOWER_FROM_OLDEST || s->expected == FOLLOWER_FROM_END;

	s->heard_us = loop_now_us(s->f->w->loop);
	if (d->epoch != s->epoch || (spec->shared && !s->resumed))
		return;
	if (any_start)
		s->expected = d->from;
	if (d->from > s->expected) {
		resync_soon(s);
		return;
	}
	loop_timer_clear(s->f->w->loop, &s->resync);
	s->received += d->blocks.len;
	take_blocks(s, d);
	if (s->received - s->reported > FOLLOWER_CREDIT / 4 && !s->f->paused)
		report(s);
}

static void
on_assign(struct shard *s, const struct msg_assign *a)
{
	uint32_t partitions[PARTITIONS_MAX];
	size_t n = u64s_count(a->partitions);

	s->heard_us = loop_now_us(s->f->w->loop);
	if (!s->f->spec->shared || n > PARTITIONS_MAX)
		return;
	for (size_t i = 0; i < n; i++)
		partitions[i] = (uint32_t)u64s_at(a->partitions, i);
	s->epoch = a->epoch;
	s->resumed = false;
	s->received = s->reported = 0;
	log_info("follower.assign", LS("group", s->f->spec->group), LU("shard", s->number),
	    LU("epoch", a->epoch), LU("partitions", n), LU("end", a->end));
	s->f->spec->on_assign(s->f->arg, s->number, a->epoch, partitions, n, a->end);
}

static void
on_skipped(struct shard *s, const struct msg_skipped *k)
{
	log_error("follower.skipped", LS("group", s->f->spec->group), LU("shard", s->number),
	    LU("from", k->from), LU("to", k->to),
	    LS("why", "removed by retention before it was read"));
	metric_add(M_FOLLOWER_SKIPPED, 1);
	if (k->to > s->expected)
		s->expected = k->to;
	if (s->f->spec->on_skipped)
		s->f->spec->on_skipped(s->f->arg, s->number, k->from, k->to);
}

static bool
on_msg(struct follower *f, struct bus_msg *m)
{
	struct shard *s = shard_of(f, m->link);

	if (!s)
		return false;
	switch ((unsigned)m->type) {
	case MSG_DELIVER:
		on_deliver(s, &m->any->deliver);
		return true;
	case MSG_ASSIGN:
		on_assign(s, &m->any->assign);
		return true;
	case MSG_SKIPPED:
		on_skipped(s, &m->any->skipped);
		return true;
	case MSG_UNKNOWN:
		subscribe(s);
		return true;
	default:
		return false;
	}
}

static void
on_link(struct follower *f, struct bus_link *link, bool up)
{
	struct shard *s = shard_of(f, link);

	if (s && up)
		subscribe(s);
}

struct follower *
follower_new(struct worker *w, const struct follower_spec *spec, void *arg)
{
	struct follower *f = xcalloc(1, sizeof *f);
	char endpoint[BUS_NAME_MAX];

	ASSERT(!w->follower);
	f->w = w;
	f->spec = spec;
	f->arg = arg;
	f->shard_count = (uint32_t)settings_int(w->settings, SET_STORAGE_SHARDS);
	f->shards = xcalloc(f->shard_count, sizeof f->shards[0]);
	for (uint32_t i = 0; i < f->shard_count; i++) {
		f->shards[i] = (struct shard){ .f = f, .number = i };
		snprintf(endpoint, sizeof endpoint, "shard-%u", i);
		if (bus_connect(w->bus, endpoint, &f->shards[i].link) != 0) {
			follower_free(&f);
			return NULL;
		}
	}
	w->follower = f;
	w->follower_on_msg = on_msg;
	w->follower_on_link = on_link;
	loop_timer_set(w->loop, &f->progress, PROGRESS_US, on_progress, f);
	return f;
}

void
follower_free(struct follower **p_f)
{
	struct follower *f = *p_f;

	if (!f)
		return;
	*p_f = NULL;
	f->w->follower = NULL;
	loop_timer_clear(f->w->loop, &f->progress);
	for (uint32_t i = 0; i < f->shard_count; i++) {
		loop_timer_clear(f->w->loop, &f->shards[i].resync);
		bus_close(f->w->bus, &f->shards[i].link);
	}
	free(f->shards);
	free(f);
}

void
follower_resume(struct follower *f, uint32_t shard, uint64_t epoch, const uint32_t *partitions,
    const uint64_t *offsets, size_t n)
{
	struct shard *s = &f->shards[shard];
	struct buf list = { 0 }, at = { 0 };
	struct msg_resume msg = { .epoch = epoch };

	ASSERT(shard < f->shard_count);
	if (epoch != s->epoch)
		return;
	s->expected = UINT64_MAX;
	for (size_t i = 0; i < n; i++) {
		u64s_add(&list, partitions[i]);
		u64s_add(&at, offsets[i]);
		if (offsets[i] < s->expected)
			s->expected = offsets[i];
	}
	/* What was said of other partitions would let retention remove what these still need. */
	s->durable = n ? s->expected : 0;
	msg.partitions = buf_bytes(&list);
	msg.offsets = buf_bytes(&at);
	s->resumed = bus_send(s->link, NULL, MSG_RESUME, &msg) == 0;
	buf_fini(&list);
	buf_fini(&at);
}

void
follower_durable(struct follower *f, uint32_t shard, uint64_t cursor)
{
	ASSERT(shard < f->shard_count);
	f->shards[shard].durable = cursor;
}

void
follower_pause(struct follower *f, bool paused)
{
	f->paused = paused;
}

struct bus_link *
follower_link(struct follower *f, uint32_t shard)
{
	ASSERT(shard < f->shard_count);
	return f->shards[shard].link;
}

void
follower_restart(struct follower *f, uint32_t shard)
{
	ASSERT(shard < f->shard_count);
	subscribe(&f->shards[shard]);
}
