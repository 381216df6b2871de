/* main.c - notifier: alert transitions in, people told
 *
 * One delivers, a second stands by: the lock on the outbox decides. Alerts of the journal become rows of the outbox together
 * with the cursor; delivery.c empties it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "clock.h"
#include "delivery.h"
#include "err.h"
#include "follower.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "notify_file.h"
#include "notify_text.h"
#include "outbox.h"
#include "room.h"
#include "route.h"
#include "worker.h"

#define TICK_MS 100
#define STANDBY_US 500000  /* how often the lock is tried */
#define FILE_US 1000000	   /* how often notify.yaml is looked at */
#define CURSOR_US 60000000 /* cursors without alerts are written this rarely */
#define PRUNE_US 3600000000ll
#define DRAIN_US 2000000 /* what is under way may end before we do */

struct notifier {
	struct worker *w;
	const char *file;
	struct notify_conf *conf;
	struct stat file_stat;
	struct outbox *outbox; /* NULL: standing by */
	struct delivery *delivery;
	struct follower *follower;
	uint32_t shards;
	uint64_t *seen;
	uint64_t *safe; /* seen, as of the last delivery of blocks that is in the outbox */
	char *dir;
	struct room room;
	bool waits;   /* for room on the disk; nothing is taken from the journal */
	bool writing; /* a transaction is open */
	bool paused;
	bool failed;
	int64_t standby_at;
	int64_t file_at;
	int64_t cursor_at;
	int64_t prune_at;
	int64_t drain_at;
	struct buf body;
};

static void
fail(void *arg, int err)
{
	struct notifier *n = arg;

	if (err != ERR_NO_ROOM) {
		n->failed = true;
		worker_exit(n->w, EXIT_DEPENDENCY);
		return;
	}
	/* The outbox has rolled back what was open: those blocks are read again. */
	room_lost(&n->room, loop_now_us(n->w->loop));
	n->waits = true;
	n->writing = false;
	memcpy(n->seen, n->safe, n->shards * sizeof(n->seen[0]));
	delivery_writable(n->delivery, false);
	follower_pause(n->follower, true);
}

/* --- notify.yaml --- */

static int
load_conf(struct notifier *n)
{
	struct notify_conf *conf = NULL;
	struct buf err = { 0 };
	int code = notify_file_load(n->file, &conf, &n->file_stat, &err);

	if (code == ERR_NOT_FOUND && n->conf == NULL) {
		log_warn("notifier.config", LS("fault", buf_str(&err)),
		    LS("effect", "alerts go to the log only"));
		n->conf = xcalloc(1, sizeof(*n->conf));
		code = 0;
	} else if (code != 0) {
		log_error("notifier.config", LS("fault", buf_str(&err)),
		    LS("effect", n->conf != NULL ? "the version before stays in force" : "none"));
	} else {
		struct notify_conf *old = n->conf;

		n->conf = conf;
		if (n->delivery != NULL)
			delivery_set_conf(n->delivery, conf);
		notify_conf_free(&old);
		log_info("notifier.config", LS("file", n->file),
		    LU("receivers", conf->receiver_count), LU("routes", conf->route_count));
	}
	buf_fini(&err);
	return code;
}

static void
look_at_file(struct notifier *n, int64_t now)
{
	struct stat st = { 0 };

	if (now < n->file_at)
		return;
	n->file_at = now + FILE_US;
	if (stat(n->file, &st) != 0 ||
	    (st.st_ino == n->file_stat.st_ino && st.st_size == n->file_stat.st_size &&
		st.st_mtim.tv_sec == n->file_stat.st_mtim.tv_sec &&
		st.st_mtim.tv_nsec == n->file_stat.st_mtim.tv_nsec))
		return;
	(void)load_conf(n);
	n->file_stat = st; /* a bad file is reported once */
}

/* --- from the journal --- */

static void
owe(struct notifier *n, const struct msg_alert *a, size_t receiver)
{
	const struct receiver *r = &n->conf->receivers[receiver];
	int err;

	buf_clear(&n->body);
	if (r->channel == CHANNEL_LOG)
		route_put_text(&n->body, a);
	else
		route_put_json(&n->body, a);
	err = outbox_owe(n->outbox, a->id, r->name, buf_bytes(&n->body), clock_wall_us());
	if (err == 0)
		delivery_owed(n->delivery, receiver);
	else if (err != ERR_EXISTS)
		fail(n, err);
}

static void
take_alert(struct notifier *n, uint32_t shard, const struct block_view *v, struct bytes body)
{
	int64_t rebuilt_at = outbox_rebuilt_at(n->outbox);
	union msg_any any;
	enum msg_type type;
	bool unknown;
	uint64_t set;

	if (codec_decode(body, &type, &any) != 0 || type != MSG_ALERT) {
		log_error("notifier.alert", LU("shard", shard), LU("offset", v->offset),
		    LS("fault", "an alert in the journal cannot be decoded"));
		return;
	}
	if (!route_is_told(&any.alert))
		return;
	/* Read again because the outbox was lost: by then it was delivered or dead. */
	if (rebuilt_at != 0 && any.alert.at < rebuilt_at - DELIVERY_AGE_MAX_US)
		return;
	if (!route_id_is_good(any.alert.id)) {
		log_error("notifier.alert", LU("shard", shard), LU("offset", v->offset),
		    LS("fault", "its id is none that could be a key"), LB("id", any.alert.id));
		return;
	}
	set = route_receivers(n->conf, &any.alert, &unknown);
	buf_clear(&n->body);
	route_put_text(&n->body, &any.alert);
	log_info("notifier.alert", LB("text", buf_bytes(&n->body)), LB("id", any.alert.id),
	    LU("receivers", (uint64_t)__builtin_popcountll(set)));
	if (unknown)
		log_warn("notifier.receiver", LB("names", any.alert.receivers),
		    LB("alert", any.alert.rule), LS("fault", "not all of them are in notify.yaml"),
		    LS("effect", "the routes decide too"));
	if (set == 0)
		log_warn("notifier.unrouted", LB("alert", any.alert.rule),
		    LB("device", any.alert.device),
		    LS("remedy", "a last route without match: catches all"));
	for (size_t i = 0; i < n->conf->receiver_count && !n->failed && !n->waits; i++)
		if ((set & (1ull << i)) != 0)
			owe(n, &any.alert, i);
}

static void
on_block(void *arg, uint32_t shard, const struct block_view *v)
{
	struct notifier *n = arg;
	struct bytes rest = v->entries;
	struct entry e;
	int err;

	while (!n->failed && !n->waits && entry_next(&rest, &e) == 0) {
		if (e.kind != ENTRY_ALERT)
			continue;
		if (!n->writing && (err = outbox_begin(n->outbox)) != 0) {
			fail(n, err);
			return;
		}
		n->writing = true;
		take_alert(n, shard, v, e.body);
	}
	if (!n->failed && !n->waits)
		n->seen[shard] = v->next;
}

static void
save(struct notifier *n)
{
	int64_t now = loop_now_us(n->w->loop);
	int err = 0;

	if (n->failed)
		return;
	if (!n->writing)
		err = outbox_begin(n->outbox);
	if (err == 0)
		err = outbox_commit(n->outbox, n->seen);
	if (err != 0) {
		fail(n, err);
		return;
	}
	n->writing = false;
	n->cursor_at = now + CURSOR_US;
	room_wrote(&n->room, now);
}

static void
on_upto(void *arg, uint32_t shard, uint64_t upto, uint64_t end)
{
	struct notifier *n = arg;

	(void)end;
	if (n->failed || n->waits)
		return;
	if (upto > n->seen[shard])
		n->seen[shard] = upto;
	if (n->writing)
		save(n);
	if (n->failed || n->waits)
		return;
	n->safe[shard] = n->seen[shard];
	/* Nothing before seen is owed and not in the outbox, though the cursor on disk may be a minute behind. */
	follower_durable(n->follower, shard, n->seen[shard]);
	metric_set(M_NOTIFIER_OUTBOX, outbox_owed(n->outbox));
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
	return ((struct notifier *)arg)->seen[shard];
}

static const struct follower_spec follower = {
	.group = "notifier",
	.kinds = KIND_BIT(ENTRY_ALERT),
	.on_block = on_block,
	.on_upto = on_upto,
	.on_skipped = on_skipped,
	.cursor = cursor,
};

/* --- life --- */

/* ERR_AGAIN: another one is at work. ERR_NO_ROOM: said. */
static int
take_over(struct notifier *n)
{
	int64_t now = loop_now_us(n->w->loop);
	int err = ERR_NO_ROOM;

	if (room_may_write(&n->room, now) &&
	    (err = outbox_open(n->dir, n->shards, &n->outbox)) == ERR_NO_ROOM)
		room_lost(&n->room, now);
	if (err != 0)
		return err;
	for (uint32_t i = 0; i < n->shards; i++)
		n->seen[i] = n->safe[i] = outbox_cursor(n->outbox, i);
	n->delivery = delivery_new(n->w->loop, n->outbox, n->conf, fail, n);
	n->follower = follower_new(n->w, &follower, n);
	if (n->follower == NULL)
		return ERR_IO;
	for (uint32_t i = 0; i < n->shards; i++)
		follower_durable(n->follower, i, n->seen[i]);
	metric_set(M_NOTIFIER_OUTBOX, outbox_owed(n->outbox));
	log_info("notifier.active", LU("owed", outbox_owed(n->outbox)));
	return 0;
}

static int
start(struct worker *w)
{
	struct notifier *n = xcalloc(1, sizeof(*n));
	int err;

	w->state = n;
	n->w = w;
	n->file = settings_str(w->settings, SET_NOTIFY_FILE);
	n->shards = (uint32_t)settings_int(w->settings, SET_STORAGE_SHARDS);
	n->seen = xcalloc(n->shards, sizeof(n->seen[0]));
	n->safe = xcalloc(n->shards, sizeof(n->safe[0]));
	n->dir = xasprintf("%s/notifier", w->data_dir);
	n->room.dir = n->dir;
	if (load_conf(n) != 0)
		return ERR_CONFIG;
	err = take_over(n);
	if (err != ERR_AGAIN)
		return err == ERR_NO_ROOM ? 0 : err;
	log_info("notifier.standby", LS("why", "another notifier has the outbox"));
	return 0;
}

static void
stop(struct worker *w)
{
	struct notifier *n = w->state;

	if (n == NULL)
		return;
	if (n->outbox != NULL && n->follower != NULL && w->draining && !n->waits)
		save(n);
	follower_free(&n->follower);
	delivery_free(&n->delivery);
	outbox_close(&n->outbox);
	notify_conf_free(&n->conf);
	buf_fini(&n->body);
	free(n->seen);
	free(n->safe);
	free(n->dir);
	free(n);
	w->state = NULL;
}

static void
turn(struct worker *w)
{
	struct notifier *n = w->state;

	if (n->delivery != NULL && !n->failed && !w->draining)
		delivery_run(n->delivery);
}

static void
stand_by(struct notifier *n, int64_t now)
{
	int err;

	if (now < n->standby_at)
		return;
	n->standby_at = now + STANDBY_US;
	err = take_over(n);
	if (err != 0 && err != ERR_AGAIN && err != ERR_NO_ROOM)
		fail(n, err);
}

/* There seems to be room again: the cursors are a first try, then on from them. */
static void
go_on(struct notifier *n)
{
	n->waits = false;
	save(n);
	if (n->failed || n->waits)
		return;
	delivery_writable(n->delivery, true);
	follower_pause(n->follower, n->paused);
	for (uint32_t i = 0; i < n->shards; i++)
		follower_restart(n->follower, i);
}

static void
tick(struct worker *w)
{
	struct notifier *n = w->state;
	int64_t now = loop_now_us(w->loop);
	bool pause;
	int err;

	if (n->failed || w->draining)
		return;
	look_at_file(n, now);
	if (n->outbox == NULL) {
		stand_by(n, now);
		return;
	}
	if (n->waits) {
		if (room_may_write(&n->room, now))
			go_on(n);
		return;
	}
	pause = outbox_owed(n->outbox) >= OUTBOX_OWED_MAX;
	if (pause != n->paused) {
		n->paused = pause;
		follower_pause(n->follower, pause);
		if (pause)
			log_error("notifier.full", LU("owed", outbox_owed(n->outbox)),
			    LS("effect", "alerts wait in the journal"));
	}
	if (now >= n->cursor_at)
		save(n);
	if (now >= n->prune_at && !n->failed) {
		n->prune_at = now + PRUNE_US;
		err = outbox_prune(n->outbox, clock_wall_us());
		if (err != 0)
			fail(n, err);
	}
}

static void
drain(struct worker *w)
{
	struct notifier *n = w->state;

	n->drain_at = loop_now_us(w->loop) + DRAIN_US;
}

static bool
drained(struct worker *w)
{
	struct notifier *n = w->state;

	return n->delivery == NULL || delivery_idle(n->delivery) ||
	       loop_now_us(w->loop) >= n->drain_at;
}

static const struct worker_spec spec = {
	.name = "notifier",
	.start = start, /* READY goes out when this returns 0, standing by included */
	.stop = stop,
	.turn = turn,
	.tick = tick, /* lock, notify.yaml, time-outs of tries */
	.tick_ms = TICK_MS,
	.drain = drain,
	.drained = drained,
};

int
main(int argc, char **argv)
{
	return worker_main(&spec, argc, argv);
}
