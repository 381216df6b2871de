/* history.c - sink driver: readings into day files, flushed every history.flush
 *
 * Any error of the files ends the process: the next one begins from the cursors, which is what makes a crash harmless. Where
 * the disk is full the same is done without ending: the store is closed, and opened again when there is room. */
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "err.h"
#include "follower.h"
#include "history_erase.h"
#include "history_store.h"
#include "log.h"
#include "mem.h"
#include "room.h"
#include "sink.h"

/* A flush of so much takes about 0.2 s; more waits in memory only for the rest of one delivery. */
#define WAITING_MAX 200000
#define DAYS_WAITING_MAX 64
#define FLUSH_BUSY_MS 60000
#define ERASE_BUSY_MS 600000 /* a year of days is some seconds */
#define RETAIN_US 600000000ll
#define PACK_US 1000000ll /* one month at a time, and a look at the directory this often at most */
#define CURSOR_US 60000000ll /* an idle system writes its cursors this rarely */

struct history {
	struct worker *w;
	char *dir;
	struct room room;
	struct history_store *store; /* NULL: waits for room */
	struct follower *follower;
	uint32_t shards;
	uint64_t *cursors; /* durable ones, while there is no store */
	int64_t flush_us;
	int64_t flush_at;
	int64_t cursor_at;
	int64_t retain_at;
	int64_t retained; /* from when on time counts that retention's clock has not; 0: not yet */
	int64_t pack_at;
	bool failed;
};

static void
fail(struct history *h, int err)
{
	if (err != ERR_NO_ROOM) {
		h->failed = true;
		worker_exit(h->w, EXIT_DEPENDENCY);
		return;
	}
	/* What retention may remove makes room: it has its turn at once, and after that as often as ever. */
	if (h->room.state == ROOM_THERE)
		h->retain_at = 0;
	room_lost(&h->room, loop_now_us(h->w->loop));
	for (uint32_t i = 0; h->store != NULL && i < h->shards; i++)
		h->cursors[i] = history_store_cursor(h->store, i);
	history_store_close(&h->store);
	if (h->follower != NULL)
		follower_pause(h->follower, true);
}

/* ERR_NO_ROOM: said, and tick() tries again. */
static int
open_store(struct history *h)
{
	int err;

	worker_busy(h->w, FLUSH_BUSY_MS);
	if ((err = history_store_open(h->dir, h->shards, &h->store)) != 0) {
		if (err == ERR_NO_ROOM)
			fail(h, err);
		return err;
	}
	for (uint32_t i = 0; i < h->shards; i++)
		h->cursors[i] = history_store_cursor(h->store, i);
	return 0;
}

/* There seems to be room again, or retention is to look for some: on from what is durable. */
static void
go_on(struct history *h, int64_t now)
{
	int err = open_store(h);

	if (err != 0) {
		if (err != ERR_NO_ROOM)
			fail(h, err);
		else if (now >= h->retain_at)
			h->retain_at = now + RETAIN_US;
		return;
	}
	h->flush_at = now + ROOM_RETRY_US;
	follower_pause(h->follower, false);
	for (uint32_t i = 0; i < h->shards; i++) {
		follower_durable(h->follower, i, h->cursors[i]);
		follower_restart(h->follower, i);
	}
}

static void
flush(struct history *h)
{
	int64_t now = loop_now_us(h->w->loop);
	size_t points = history_store_waiting(h->store);
	int err;

	h->flush_at = now + h->flush_us;
	if (h->failed || (points == 0 && now < h->cursor_at && !h->w->draining))
		return;
	h->cursor_at = now + CURSOR_US;
	worker_busy(h->w, FLUSH_BUSY_MS);
	if ((err = history_store_flush(h->store)) != 0) {
		fail(h, err);
		return;
	}
	room_wrote(&h->room, now);
	for (uint32_t i = 0; i < h->shards; i++)
		follower_durable(h->follower, i, history_store_cursor(h->store, i));
	log_debug("history.flush", LU("points", points), LI("us", clock_mono_us() - now));
}

static void
on_block(void *arg, uint32_t shard, const struct block_view *v)
{
	struct history *h = arg;
	int err;

	if (h->failed || h->store == NULL)
		return;
	if (history_view_erases(v))
		worker_busy(h->w, ERASE_BUSY_MS);
	if ((err = history_store_block(h->store, shard, v)) != 0)
		fail(h, err);
	else if (history_store_waiting(h->store) >= WAITING_MAX ||
		 history_store_days_waiting(h->store) >= DAYS_WAITING_MAX)
		flush(h);
}

static void
on_upto(void *arg, uint32_t shard, uint64_t upto, uint64_t end)
{
	struct history *h = arg;

	(void)end;
	if (h->store != NULL)
		history_store_upto(h->store, shard, upto);
}

static void
on_skipped(void *arg, uint32_t shard, uint64_t from, uint64_t to)
{
	(void)from;
	on_upto(arg, shard, to, to);
}

static uint64_t
cursor(void *arg, uint32_t shard)
{
	const struct history *h = arg;

	return h->store != NULL ? history_store_seen(h->store, shard) : h->cursors[shard];
}

static unsigned
stand_back_ms(void *arg)
{
	const struct history *h = arg;

	return (unsigned)settings_ms(h->w->settings, SET_SINK_STAND_BACK);
}

static const struct follower_spec follower = {
	.group = "history",
	.kinds = KIND_BIT(ENTRY_READINGS) | KIND_BIT(ENTRY_CONTEXT),
	.patience_ms = SINK_PATIENCE_MS,
	.stand_back_ms = stand_back_ms,
	.on_block = on_block,
	.on_upto = on_upto,
	.on_skipped = on_skipped,
	.cursor = cursor,
};

static int
start(struct worker *w)
{
	struct history *h = xcalloc(1, sizeof(*h));
	int err;

	w->state = h;
	h->w = w;
	h->shards = (uint32_t)settings_int(w->settings, SET_STORAGE_SHARDS);
	h->flush_us = settings_ms(w->settings, SET_HISTORY_FLUSH) * 1000;
	h->flush_at = loop_now_us(w->loop) + h->flush_us;
	h->dir = xasprintf("%s/history", w->data_dir);
	h->room.dir = h->dir;
	h->cursors = xcalloc(h->shards, sizeof(h->cursors[0]));
	if ((err = open_store(h)) != 0 && err != ERR_NO_ROOM)
		return err;
	h->follower = follower_new(w, &follower, h);
	if (h->follower == NULL)
		return ERR_IO;
	for (uint32_t i = 0; i < h->shards; i++)
		follower_durable(h->follower, i, h->cursors[i]);
	follower_pause(h->follower, h->store == NULL);
	return 0;
}

static void
stop(struct worker *w)
{
	struct history *h = w->state;

	if (h == NULL)
		return;
	if (h->follower != NULL && h->store != NULL && w->draining)
		flush(h);
	follower_free(&h->follower);
	history_store_close(&h->store);
	free(h->cursors);
	free(h->dir);
	free(h);
	w->state = NULL;
}

/* As long as there is something to pack it goes on each second, else it looks again as late as it may. */
static void
pack(struct history *h, int64_t now)
{
	int64_t after = settings_ms(h->w->settings, SET_HISTORY_PACK_AFTER) * 1000;
	int64_t rest = after < RETAIN_US ? after : RETAIN_US;

	worker_busy(h->w, FLUSH_BUSY_MS);
	if (history_store_pack(h->store, clock_wall_us(), after) > 0)
		rest = PACK_US;
	h->pack_at = now + (rest < PACK_US ? PACK_US : rest);
}

static void
tick(struct worker *w)
{
	struct history *h = w->state;
	int64_t now = loop_now_us(w->loop);

	if (h->store == NULL && !h->failed &&
	    (now >= h->retain_at || room_may_write(&h->room, now)))
		go_on(h, now);
	if (h->store != NULL && now >= h->flush_at)
		flush(h);
	if (h->store == NULL)
		return;
	/* Nothing waits: no file lacks anything of what was seen, though the cursors on disk may be a minute behind. */
	for (uint32_t i = 0; history_store_waiting(h->store) == 0 && i < h->shards; i++)
		follower_durable(h->follower, i, history_store_seen(h->store, i));
	if (now >= h->pack_at && !h->failed)
		pack(h, now);
	if (now >= h->retain_at && !h->failed) {
		h->retain_at = now + RETAIN_US;
		history_store_retain(h->store,
		    history_store_clock(
			h->store, clock_wall_us(), h->retained != 0 ? now - h->retained : 0),
		    settings_int(w->settings, SET_HISTORY_RETENTION_DAYS));
		if (h->retained == 0 || history_store_clock_is_kept(h->store))
			h->retained = now;
	}
}

static void
quiet(struct worker *w)
{
	const struct history *h = w->state;

	if (h->store != NULL)
		history_store_quiet(h->store);
}

const struct sink_driver history_driver = {
	.name = "history",
	.start = start,
	.stop = stop,
	.tick = tick,
	.quiet = quiet,
};
