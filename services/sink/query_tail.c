/* query_tail.c - what is in the journal and not in history's files yet: a passing follower, from there to the end */
#include "query_tail.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"
#include "err.h"
#include "follower.h"
#include "mem.h"
#include "record.h"
#include "worker.h"

#define CONNECT_US 500000  /* no shard to talk to by then: storage is not running */
#define SILENCE_US 2000000 /* nothing new for so long: storage is not there */
#define ALL_US 60000000	   /* however much there is */
#define TURN_US 50000

struct reader {
	struct tail *tail;
	uint32_t shards;
	uint64_t *end; /* by shard; UINT64_MAX until the first delivery says */
	uint32_t done;
	int64_t heard_us;
};

static void
take_point(struct tail *t, uint32_t shard, const struct block_view *v, const struct record *r,
    const struct point *p)
{
	bool device_time = (r->flags & RECORD_DEVICE_TIME) != 0 || p->time != r->time;

	if (t->metric.len > 0 && !bytes_equal(t->metric, p->name))
		return;
	history_points_add(&t->points, p->time, &p->value, device_time);
	if (t->points.n > t->cap) {
		t->cap = t->points.cap;
		t->info = xrealloc(t->info, t->cap * sizeof(t->info[0]));
	}
	t->info[t->points.n - 1] = (struct tail_point){
		.device = xstrndup((const char *)r->device.data, r->device.len),
		.metric = xstrndup((const char *)p->name.data, p->name.len),
		.shard = shard,
		.offset = v->offset,
		.at = t->points.n - 1,
		.masked = p->reason != QUARANTINE_NONE || (r->flags & RECORD_UNDECODABLE) != 0,
	};
}

static void
take_entry(struct tail *t, uint32_t shard, const struct block_view *v, const struct entry *e)
{
	struct record_cursor c = record_cursor_of(e->body);
	struct record r;
	struct point p;

	while (e->kind == ENTRY_READINGS && record_next(&c, &r) == 0) {
		struct point_cursor pc = point_cursor_of(&r);

		if (verdict_code(r.verdict) != VERDICT_ACCEPTED ||
		    (t->device.len > 0 && !bytes_equal(t->device, r.device)))
			continue;
		while (point_next(&pc, &p) == 0)
			take_point(t, shard, v, &r, &p);
	}
}

static void
on_block(void *arg, uint32_t shard, const struct block_view *v)
{
	struct reader *reader = arg;
	struct bytes rest = v->entries;
	struct entry e;

	if (v->offset >= reader->end[shard])
		return;
	while (entry_next(&rest, &e) == 0)
		take_entry(reader->tail, shard, v, &e);
	reader->tail->from[shard] = v->next;
}

static void
on_upto(void *arg, uint32_t shard, uint64_t upto, uint64_t end)
{
	struct reader *r = arg;

	r->heard_us = clock_mono_us();
	if (upto > r->tail->from[shard])
		r->tail->from[shard] = upto;
	if (r->end[shard] == UINT64_MAX)
		r->end[shard] = end;
	else if (r->end[shard] == 0)
		return;
	if (r->tail->from[shard] >= r->end[shard]) {
		r->end[shard] = 0;
		r->done++;
	}
}

static uint64_t
cursor(void *arg, uint32_t shard)
{
	return ((struct reader *)arg)->tail->from[shard];
}

/* TICKs are asked for so that something comes within a second even if nothing is left to read. */
static const struct follower_spec spec = {
	.group = "",
	.kinds = KIND_BIT(ENTRY_READINGS) | KIND_BIT(ENTRY_TICK),
	.on_block = on_block,
	.on_upto = on_upto,
	.cursor = cursor,
};

static bool
goes_on(const struct reader *r, struct follower *f, int64_t start, int64_t now)
{
	bool up = false;

	for (uint32_t i = 0; i < r->shards; i++)
		up = up || bus_link_is_up(follower_link(f, i));
	return r->done < r->shards && (up || now - start < CONNECT_US) &&
	       now - r->heard_us < SILENCE_US && now - start < ALL_US;
}

int
tail_read(struct tail *tail, const struct settings *settings)
{
	static const struct worker_spec tool = { .name = "query" };
	struct reader r = { .tail = tail,
		.shards = (uint32_t)settings_int(settings, SET_STORAGE_SHARDS) };
	int64_t start = clock_mono_us(), now = start;
	struct follower *f;
	struct worker w;
	char name[32];

	snprintf(name, sizeof(name), "query-%ld", (long)getpid());
	if (worker_tool_start(&w, &tool, name, settings) != 0)
		return ERR_TIMEOUT;
	r.end = xmalloc(r.shards * sizeof(r.end[0]));
	for (uint32_t i = 0; i < r.shards; i++)
		r.end[i] = UINT64_MAX;
	r.heard_us = start;
	f = follower_new(&w, &spec, &r);
	while (f != NULL && goes_on(&r, f, start, now)) {
		loop_turn(w.loop, TURN_US);
		now = clock_mono_us();
	}
	follower_free(&f);
	worker_tool_stop(&w);
	free(r.end);
	return r.done == r.shards ? 0 : ERR_TIMEOUT;
}

void
tail_fini(struct tail *t)
{
	for (size_t i = 0; i < t->points.n; i++) {
		free(t->info[i].device);
		free(t->info[i].metric);
	}
	free(t->info);
	history_points_fini(&t->points);
}
