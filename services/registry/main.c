/* main.c - registry: which devices there are and what lets them in; the only one that changes it
 *
 * A change that is asked for goes into the journal, comes back from it into registry.db, is answered, and goes to Redis. One
 * keeps it, a second stands by: the lock on registry.db decides. */
#include <stdlib.h>
#include <string.h>

#include "answers.h"
#include "changes.h"
#include "clock.h"
#include "credential.h"
#include "err.h"
#include "follower.h"
#include "journal_out.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "redis_fold.h"
#include "room.h"
#include "store.h"
#include "worker.h"

#define TICK_MS 100
#define STANDBY_US 500000  /* how often the lock is tried */
#define CURSOR_US 60000000 /* cursors without changes are written this rarely */
#define DRAIN_US 2000000   /* what is under way may end before we do */

struct registry {
	struct worker *w;
	char *dir;
	uint32_t shards;
	struct store *store; /* NULL: standing by */
	struct changes *changes;
	struct answers *answers;
	struct journal_out *out;
	struct redis_fold *redis;
	struct follower *follower;
	struct bus_link *endpoint;
	uint64_t *seen;
	uint64_t *safe;	 /* seen, as of the last transaction */
	bool *caught_up; /* the shard was read to its end once */
	struct room room;
	bool waits;   /* for room on the disk; nothing is taken from the journal */
	bool writing; /* a transaction is open */
	bool failed;
	int64_t standby_at;
	int64_t cursor_at;
	int64_t drain_at;
};

static void
fail(struct registry *r, int err)
{
	if (err != ERR_NO_ROOM) {
		r->failed = true;
		worker_exit(r->w, err == ERR_DAMAGED ? EXIT_CONFIG : EXIT_DEPENDENCY);
		return;
	}
	/* What was open is rolled back: those blocks are read again. */
	room_lost(&r->room, loop_now_us(r->w->loop));
	r->waits = true;
	r->writing = false;
	changes_undone(r->changes);
	memcpy(r->seen, r->safe, r->shards * sizeof(r->seen[0]));
	follower_pause(r->follower, true);
}

/* --- from the journal --- */

static void
take_entry(struct registry *r, uint32_t shard, const struct block_view *v, const struct entry *e)
{
	struct registry_object o;
	const char *why = "";
	int err;

	err = registry_decode(e->body, &o, &why);
	if (err != 0) {
		metric_add(M_REGISTRY_UNREADABLE, 1);
		log_warn("registry.entry", LU("shard", shard), LU("offset", v->offset),
		    LS("fault", why), LS("effect", "it is passed over"));
		return;
	}
	if (!r->writing && (err = store_begin(r->store)) != 0) {
		fail(r, err);
		return;
	}
	r->writing = true;
	err = store_apply(r->store, &o, e->body);
	if (err == 0 || err == ERR_EXISTS || err == ERR_NOT_FOUND)
		changes_folded(r->changes, e->partition, e->body, err);
	else
		fail(r, err);
}

static void
on_block(void *arg, uint32_t shard, const struct block_view *v)
{
	struct registry *r = arg;
	struct bytes rest = v->entries;
	struct entry e;

	while (!r->failed && !r->waits && entry_next(&rest, &e) == 0) {
		if (e.kind == ENTRY_CONTEXT)
			take_entry(r, shard, v, &e);
	}
	if (!r->failed && !r->waits)
		r->seen[shard] = v->next;
}

static void
save(struct registry *r)
{
	int64_t now = loop_now_us(r->w->loop);
	int err = 0;

	if (!r->writing)
		err = store_begin(r->store);
	if (err == 0)
		err = store_commit(r->store, r->seen);
	if (err != 0) {
		fail(r, err);
		return;
	}
	r->writing = false;
	r->cursor_at = now + CURSOR_US;
	room_wrote(&r->room, now);
	changes_committed(r->changes);
}

static void
on_upto(void *arg, uint32_t shard, uint64_t upto, uint64_t end)
{
	struct registry *r = arg;

	if (r->failed || r->waits)
		return;
	if (upto > r->seen[shard])
		r->seen[shard] = upto;
	if (r->writing)
		save(r);
	if (r->failed || r->waits)
		return;
	r->safe[shard] = r->seen[shard];
	if (upto >= end)
		r->caught_up[shard] = true;
	/* Nothing before seen changes anything that is not in registry.db, though the cursor there may be a minute behind. */
	follower_durable(r->follower, shard, r->seen[shard]);
}

static void
on_skipped(void *arg, uint32_t shard, uint64_t from, uint64_t to)
{
	(void)from;
	on_upto(arg, shard, to, UINT64_MAX);
}

static uint64_t
cursor(void *arg, uint32_t shard)
{
	return ((struct registry *)arg)->seen[shard];
}

/* TICKs are asked for so that an idle journal, too, is known to be read to its end. */
static const struct follower_spec follower = {
	.group = "registry",
	.kinds = KIND_BIT(ENTRY_CONTEXT) | KIND_BIT(ENTRY_TICK),
	.on_block = on_block,
	.on_upto = on_upto,
	.on_skipped = on_skipped,
	.cursor = cursor,
};

/* --- changes --- */

static void
append(void *arg, uint32_t partition, struct bytes body)
{
	journal_out_push(((struct registry *)arg)->out, partition, body);
}

static void
say_changed(void *arg, const char *peer, const struct msg_changed *m)
{
	/* One that is gone asks again. */
	(void)bus_send(((struct registry *)arg)->endpoint, peer, MSG_CHANGED, m);
}

/* What was done is said when Redis has it, too. */
static void
answer(void *arg, const char *peer, const struct msg_changed *m)
{
	struct registry *r = arg;

	if (m->code == CHANGE_DONE)
		answers_hold(r->answers, peer, m, store_last(r->store), loop_now_us(r->w->loop));
	else
		say_changed(r, peer, m);
}

static const struct changes_spec changes_spec = { append, answer };

/* NULL if changes are taken. */
static const char *
why_not(const struct registry *r)
{
	if (r->w->draining)
		return "the registry ends";
	if (r->waits)
		return "the disk is full";
	for (uint32_t i = 0; i < r->shards; i++) {
		if (!r->caught_up[i])
			return "the registry reads the journal";
	}
	return NULL;
}

static void
on_change(struct worker *w, struct bus_msg *m)
{
	struct registry *r = w->state;
	const struct msg_change *change = &m->any->change;
	const char *why;

	if (r->store == NULL || r->failed)
		return;
	why = why_not(r);
	if (why != NULL)
		say_changed(r, m->from,
		    &(struct msg_changed){ .number = change->number,
			.code = CHANGE_BUSY,
			.reason = bytes_of_str(why) });
	else
		changes_ask(r->changes, m->from, change, clock_wall_us());
}

static void
on_stream(struct worker *w, struct bus_msg *m)
{
	struct registry *r = w->state;

	if (r->out != NULL)
		journal_out_on_msg(r->out, m);
}

static void
on_link(struct worker *w, struct bus_link *link, bool up)
{
	struct registry *r = w->state;

	if (up && r->out != NULL)
		journal_out_link_up(r->out, link);
}

/* --- life --- */

/* ERR_AGAIN: another one is at work. ERR_NO_ROOM: said. */
static int
take_over(struct registry *r)
{
	const struct settings *s = r->w->settings;
	int64_t now = loop_now_us(r->w->loop);
	int err = ERR_NO_ROOM;

	if (room_may_write(&r->room, now) &&
	    (err = store_open(r->dir, r->shards, &r->store)) == ERR_NO_ROOM)
		room_lost(&r->room, now);
	if (err == ERR_DAMAGED)
		log_error("registry.damaged", LS("dir", r->dir),
		    LS("effect", "no changes; who is known goes on being let in, as Redis has it"),
		    LS("remedy", "stop Roost, move registry.db away, start: what the journal still "
				 "has is read again; the rest comes "
				 "from roost device import"));
	if (err != 0)
		return err == ERR_DAMAGED ? ERR_CONFIG : err;
	for (uint32_t i = 0; i < r->shards; i++)
		r->seen[i] = r->safe[i] = store_cursor(r->store, i);
	r->changes = changes_new(r->store, (uint32_t)settings_int(s, SET_PARTITIONS),
	    (size_t)settings_int(s, SET_REGISTRY_DEVICES_MAX), &changes_spec, r);
	r->answers = answers_new(say_changed, r);
	if ((err = redis_fold_new(r->w, r->store, &r->redis)) != 0)
		return err;
	if ((err = bus_bind(r->w->bus, "registry", &r->endpoint)) != 0)
		return err;
	if ((r->follower = follower_new(r->w, &follower, r)) == NULL)
		return ERR_IO;
	r->out = journal_out_new(r->w, r->follower);
	for (uint32_t i = 0; i < r->shards; i++)
		follower_durable(r->follower, i, r->seen[i]);
	log_info("registry.active", LU("devices", store_devices(r->store)),
	    LU("credentials", store_credentials(r->store)));
	return 0;
}

static int
make_seal_key(const struct registry *r)
{
	const char *set = settings_str(r->w->settings, SET_REGISTRY_SEAL_KEY);
	char *path = *set ? xstrdup(set) : xasprintf("%s/seal.key", r->dir);
	uint8_t key[CREDENTIAL_KEY_LEN];
	int err = credential_key_load(path, true, key);

	credential_wipe(key, sizeof(key));
	free(path);
	return err;
}

static int
start(struct worker *w)
{
	struct registry *r = xcalloc(1, sizeof(*r));
	int err;

	w->state = r;
	r->w = w;
	r->shards = (uint32_t)settings_int(w->settings, SET_STORAGE_SHARDS);
	r->seen = xcalloc(r->shards, sizeof(r->seen[0]));
	r->safe = xcalloc(r->shards, sizeof(r->safe[0]));
	r->caught_up = xcalloc(r->shards, sizeof(r->caught_up[0]));
	r->dir = xasprintf("%s/registry", w->data_dir);
	r->room.dir = r->dir;
	err = take_over(r);
	if (err == 0)
		return make_seal_key(r);
	if (err == ERR_AGAIN)
		log_info("registry.standby", LS("why", "another registry has registry.db"));
	return err == ERR_AGAIN || err == ERR_NO_ROOM ? 0 : err;
}

static void
stop(struct worker *w)
{
	struct registry *r = w->state;

	if (r == NULL)
		return;
	if (r->store != NULL && r->follower != NULL && w->draining && !r->waits && !r->failed)
		save(r);
	answers_free(&r->answers);
	bus_flush(w->bus);
	journal_out_free(&r->out);
	follower_free(&r->follower);
	redis_fold_free(&r->redis);
	changes_free(&r->changes);
	bus_close(w->bus, &r->endpoint);
	store_close(&r->store);
	free(r->seen);
	free(r->safe);
	free(r->caught_up);
	free(r->dir);
	free(r);
	w->state = NULL;
}

static void
turn(struct worker *w)
{
	struct registry *r = w->state;

	if (r->out == NULL || r->failed)
		return;
	journal_out_pump(r->out);
	if (!r->writing)
		redis_fold_run(r->redis);
	answers_release(r->answers, redis_fold_upto(r->redis), loop_now_us(w->loop));
}

static void
stand_by(struct registry *r, int64_t now)
{
	int err;

	if (now < r->standby_at)
		return;
	r->standby_at = now + STANDBY_US;
	err = take_over(r);
	if (err == 0)
		err = make_seal_key(r);
	if (err == 0 || err == ERR_AGAIN || err == ERR_NO_ROOM)
		return;
	r->failed = true;
	worker_exit(r->w, err == ERR_CONFIG ? EXIT_CONFIG : EXIT_DEPENDENCY);
}

/* There seems to be room again: the cursors are a first try, then on from them. */
static void
go_on(struct registry *r)
{
	r->waits = false;
	save(r);
	if (r->failed || r->waits)
		return;
	follower_pause(r->follower, false);
	for (uint32_t i = 0; i < r->shards; i++)
		follower_restart(r->follower, i);
}

static void
tick(struct worker *w)
{
	struct registry *r = w->state;
	int64_t now = loop_now_us(w->loop);

	if (r->failed || w->draining)
		return;
	if (r->store == NULL) {
		stand_by(r, now);
		return;
	}
	if (r->waits && room_may_write(&r->room, now))
		go_on(r);
	else if (!r->waits && now >= r->cursor_at)
		save(r);
	metric_set(M_REGISTRY_WAITING, changes_waiting(r->changes));
	metric_set(M_REGISTRY_DEVICES, store_devices(r->store));
	metric_set(M_REGISTRY_CREDENTIALS, store_credentials(r->store));
	metric_set(M_REGISTRY_REDIS_BEHIND, redis_fold_behind(r->redis));
}

static void
drain(struct worker *w)
{
	struct registry *r = w->state;

	r->drain_at = loop_now_us(w->loop) + DRAIN_US;
}

static bool
drained(struct worker *w)
{
	struct registry *r = w->state;

	return r->changes == NULL || changes_waiting(r->changes) == 0 ||
	       loop_now_us(w->loop) >= r->drain_at;
}

static const struct worker_spec spec = {
	.name = "registry",
	.start = start, /* READY goes out when this returns 0, standing by included */
	.stop = stop,
	.turn = turn,
	.tick = tick, /* lock, room, cursors, gauges */
	.tick_ms = TICK_MS,
	.drain = drain,
	.drained = drained,
	.on_link = on_link,
	.on = {
		[MSG_CHANGE] = on_change,
		[MSG_WELCOME] = on_stream,
		[MSG_FENCED] = on_stream,
		[MSG_COMMIT] = on_stream,
		[MSG_GAP] = on_stream,
	},
};

int
main(int argc, char **argv)
{
	return worker_main(&spec, argc, argv);
}
