/* main.c - rules: journal in, ALERT records out */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"
#include "err.h"
#include "follower.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "partition.h"
#include "room.h"
#include "rule_set.h"
#include "watch.h"
#include "worker.h"

#define PARTITIONS_MAX 1024
#define SHARDS_MAX 64
#define LOCK_RETRY_US 20000 /* an earlier owner is about to let go */
#define PATIENCE_MS 20	    /* of an alert's way, when readings follow each other closely */
#define TURN_US 5000	    /* while alerts are on their way */
#define SENT_MAX 8192	    /* alerts waiting for COMMIT at which no more readings are taken */

/* An assignment whose state files are not all held yet. */
struct taking {
	bool active;
	uint64_t epoch;
	uint64_t end;
	uint32_t partitions[PARTITIONS_MAX];
	size_t count;
	struct loop_timer retry;
};

struct rules {
	struct worker *w;
	char *state_dir;
	struct room room;
	struct rule_set *set;
	struct rule_index *index;
	struct watch *watch;
	struct follower *follower;
	struct partition *owned[PARTITIONS_MAX];
	uint32_t partitions;
	uint32_t shards;
	struct taking taking[SHARDS_MAX];
	struct loop_timer turn;
	bool paused;
};

struct shard_arg {
	struct rules *r;
	uint32_t shard;
};

static struct shard_arg shard_args[SHARDS_MAX];

static void try_to_take(struct rules *r, uint32_t shard);

static void
on_retry(void *arg)
{
	struct shard_arg *a = arg;

	try_to_take(a->r, a->shard);
}

static void
on_turn_timer(void *arg)
{
	(void)arg; /* it is enough that the loop turns: turn() does the work */
}

/* Holds every state file of the assignment, then lets the journal flow. */
static void
try_to_take(struct rules *r, uint32_t shard)
{
	struct taking *t = &r->taking[shard];
	uint64_t offsets[PARTITIONS_MAX];
	int err = 0;

	if (!t->active)
		return;
	for (size_t i = 0; i < t->count && err == 0; i++) {
		uint32_t n = t->partitions[i];
		if (r->owned[n] == NULL)
			err = partition_open(r->w, r->state_dir, n, shard, &r->room,
			    follower_link(r->follower, shard), r->index, t->epoch, t->end,
			    &r->owned[n]);
	}
	if (err == ERR_AGAIN || err == ERR_NO_ROOM) {
		loop_timer_set(r->w->loop, &t->retry,
		    err == ERR_AGAIN ? LOCK_RETRY_US : ROOM_RETRY_US, on_retry, &shard_args[shard]);
		return;
	}
	if (err) {
		worker_exit(r->w, EXIT_DEPENDENCY);
		return;
	}
	t->active = false;
	for (size_t i = 0; i < t->count; i++)
		offsets[i] = r->owned[t->partitions[i]]->next;
	follower_resume(r->follower, shard, t->epoch, t->partitions, offsets, t->count);
}

static bool
contains(const uint32_t *list, size_t n, uint32_t value)
{
	for (size_t i = 0; i < n; i++) {
		if (list[i] == value)
			return true;
	}
	return false;
}

static void
on_assign(
    void *arg, uint32_t shard, uint64_t epoch, const uint32_t *partitions, size_t n, uint64_t end)
{
	struct rules *r = arg;
	struct taking *t = &r->taking[shard];

	for (uint32_t p = shard; p < r->partitions; p += r->shards) {
		if (r->owned[p] == NULL)
			continue;
		if (contains(partitions, n, p)) {
			emit_assign(r->owned[p]->emit, epoch, end);
		} else {
			partition_flush(r->owned[p]);
			partition_close(&r->owned[p]);
		}
	}
	t->count = 0;
	for (size_t i = 0; i < n; i++) {
		if (partitions[i] < r->partitions && partitions[i] % r->shards == shard)
			t->partitions[t->count++] = partitions[i];
	}
	t->active = true;
	t->epoch = epoch;
	t->end = end;
	try_to_take(r, shard);
}

static void
on_block(void *arg, uint32_t shard, const struct block_view *v)
{
	struct rules *r = arg;
	struct bytes rest = v->entries;
	struct entry e;
	int err;

	while ((err = entry_next(&rest, &e)) == 0) {
		if (e.partition == ENTRY_ALL_PARTITIONS) {
			for (uint32_t p = shard; p < r->partitions; p += r->shards) {
				if (r->owned[p])
					partition_entry(r->owned[p], v, &e);
			}
		} else if (e.partition < r->partitions && e.partition % r->shards == shard &&
			   r->owned[e.partition]) {
			partition_entry(r->owned[e.partition], v, &e);
		}
	}
	if (err != ERR_NOT_FOUND)
		log_error("rules.bad_block", LU("shard", shard), LU("offset", v->offset),
		    LS("why", err_name(err)), LS("now", "the rest of it is skipped"));
	for (uint32_t p = shard; p < r->partitions; p += r->shards) {
		if (r->owned[p] && v->next > r->owned[p]->next)
			r->owned[p]->next = v->next;
	}
}

static void
on_upto(void *arg, uint32_t shard, uint64_t upto, uint64_t end)
{
	struct rules *r = arg;

	for (uint32_t p = shard; p < r->partitions; p += r->shards) {
		if (r->owned[p])
			partition_reached(r->owned[p], upto, end);
	}
}

static const struct follower_spec follower_spec = {
	.group = "rules",
	.shared = true,
	.kinds = KIND_BIT(ENTRY_READINGS) | KIND_BIT(ENTRY_ALERT) | KIND_BIT(ENTRY_TICK),
	.patience_ms = PATIENCE_MS,
	.on_block = on_block,
	.on_upto = on_upto,
	.on_assign = on_assign,
};

/* All engines change over between two readings. */
static void
on_rules_changed(void *arg)
{
	struct rules *r = arg;
	struct rule_index *index;

	if (rule_set_reload(r->set)) {
		index = rule_set_index(r->set);
		for (uint32_t p = 0; p < r->partitions; p++) {
			if (r->owned[p])
				partition_adopt(r->owned[p], index);
		}
		rule_index_free(&r->index);
		r->index = index;
	}
	metric_set(M_RULES_LOADED, rule_set_count(r->set));
	metric_set(M_RULES_REFUSED, rule_set_refused(r->set));
}

static int
rules_start(struct worker *w)
{
	struct rules *r = xcalloc(1, sizeof(*r));
	char *accepted;

	w->state = r;
	r->w = w;
	r->partitions = (uint32_t)settings_int(w->settings, SET_PARTITIONS);
	r->shards = (uint32_t)settings_int(w->settings, SET_STORAGE_SHARDS);
	r->state_dir = xasprintf("%s/rules", w->data_dir);
	r->room.dir = r->state_dir;
	for (uint32_t i = 0; i < r->shards; i++)
		shard_args[i] = (struct shard_arg){ r, i };
	if (mkdir(r->state_dir, 0700) != 0 && errno != EEXIST) {
		log_error(
		    "rules.state_failed", LS("path", r->state_dir), LS("why", strerror(errno)));
		return ERR_IO;
	}
	accepted = xasprintf("%s/accepted", r->state_dir);
	r->set = rule_set_new(settings_str(w->settings, SET_RULES_DIR), accepted);
	free(accepted);
	(void)rule_set_reload(r->set);
	r->index = rule_set_index(r->set);
	metric_set(M_RULES_LOADED, rule_set_count(r->set));
	metric_set(M_RULES_REFUSED, rule_set_refused(r->set));
	r->watch =
	    watch_new(w->loop, settings_str(w->settings, SET_RULES_DIR), on_rules_changed, r);
	r->follower = follower_new(w, &follower_spec, r);
	return r->follower ? 0 : ERR_IO;
}

static void
rules_stop(struct worker *w)
{
	struct rules *r = w->state;

	if (r == NULL)
		return;
	for (uint32_t p = 0; p < r->partitions; p++) {
		if (r->owned[p])
			partition_flush(r->owned[p]);
		partition_close(&r->owned[p]);
	}
	for (uint32_t i = 0; i < r->shards; i++)
		loop_timer_clear(w->loop, &r->taking[i].retry);
	loop_timer_clear(w->loop, &r->turn);
	follower_free(&r->follower);
	watch_free(&r->watch);
	rule_index_free(&r->index);
	rule_set_free(&r->set);
	free(r->state_dir);
	free(r);
	w->state = NULL;
}

/* Counts of the engines, as they grew since last time. */
static void
add_counts(struct partition *p)
{
	const struct engine_counts *c = engine_counts(p->engine);

	metric_add(M_RULES_EVALUATIONS, c->evaluations - p->reported.evaluations);
	metric_add(M_RULES_LATE, c->late - p->reported.late);
	metric_add(M_RULES_DEVICES_REFUSED, c->refused - p->reported.refused);
	metric_add(M_RULES_DEVICES_FORGOTTEN, c->forgotten - p->reported.forgotten);
	p->reported = *c;
}

static void
rules_turn(struct worker *w)
{
	struct rules *r = w->state;
	uint64_t durable[SHARDS_MAX];
	size_t sent = 0;
	bool again = false, full;

	memset(durable, 0xff, sizeof(durable));
	for (uint32_t n = 0; n < r->partitions; n++) {
		struct partition *p = r->owned[n];
		if (p == NULL)
			continue;
		if (partition_turn(p) != 0) {
			/* What it cannot write it must not forget: another start reads it from the journal again. */
			worker_exit(w, EXIT_DEPENDENCY);
			return;
		}
		again |= partition_wants_turn(p);
		sent += emit_sent(p->emit);
		if (partition_settled(p) < durable[p->shard])
			durable[p->shard] = partition_settled(p);
	}
	for (uint32_t s = 0; s < r->shards; s++) {
		if (durable[s] != UINT64_MAX && !r->taking[s].active)
			follower_durable(r->follower, s, durable[s]);
	}
	if (again && r->turn.slot == 0)
		loop_timer_set(w->loop, &r->turn, TURN_US, on_turn_timer, r);
	/* Only those that wait for COMMIT: what is held back until the journal is read must not stop its reading. */
	full = sent > (r->paused ? SENT_MAX / 2 : SENT_MAX);
	if (full != r->paused) {
		r->paused = full;
		follower_pause(r->follower, full);
	}
}

/* Alerts on their way are waited for, while there is somebody to take them; what is left is computed again at the next start. */
static bool
rules_drained(struct worker *w)
{
	struct rules *r = w->state;

	for (uint32_t n = 0; n < r->partitions; n++) {
		const struct partition *p = r->owned[n];
		if (p && emit_sent(p->emit) && bus_link_is_up(follower_link(r->follower, p->shard)))
			return false;
	}
	return true;
}

static void
rules_tick(struct worker *w)
{
	struct rules *r = w->state;
	size_t devices = 0, firing = 0, waiting = 0;

	for (uint32_t n = 0; n < r->partitions; n++) {
		struct partition *p = r->owned[n];
		if (p == NULL)
			continue;
		add_counts(p);
		devices += engine_devices(p->engine);
		firing += engine_firing(p->engine);
		waiting += emit_waiting(p->emit);
	}
	metric_set(M_RULES_DEVICES, devices);
	metric_set(M_RULES_ALERTS_FIRING, firing);
	metric_set(M_RULES_ALERTS_WAITING, waiting);
}

static void
on_link(struct worker *w, struct bus_link *link, bool up)
{
	struct rules *r = w->state;

	for (uint32_t n = 0; up && n < r->partitions; n++) {
		if (r->owned[n] && follower_link(r->follower, r->owned[n]->shard) == link)
			emit_link_up(r->owned[n]->emit);
	}
}

static void
on_welcome(struct worker *w, struct bus_msg *m)
{
	struct rules *r = w->state;
	uint64_t n = m->any->welcome.partition;

	if (n < r->partitions && r->owned[n])
		(void)emit_welcome(r->owned[n]->emit, &m->any->welcome);
}

static void
on_fenced(struct worker *w, struct bus_msg *m)
{
	struct rules *r = w->state;
	uint64_t n = m->any->fenced.partition;

	if (n < r->partitions && r->owned[n])
		(void)emit_fenced(r->owned[n]->emit, &m->any->fenced);
}

static void
on_commit(struct worker *w, struct bus_msg *m)
{
	struct rules *r = w->state;

	for (uint32_t n = 0; n < r->partitions; n++) {
		if (r->owned[n] && emit_commit(r->owned[n]->emit, &m->any->commit))
			return;
	}
}

static void
on_gap(struct worker *w, struct bus_msg *m)
{
	struct rules *r = w->state;

	for (uint32_t n = 0; n < r->partitions; n++) {
		if (r->owned[n] && emit_gap(r->owned[n]->emit, &m->any->gap))
			return;
	}
}

static void
rules_quiet(struct worker *w)
{
	const struct rules *r = w->state;

	for (uint32_t n = 0; n < r->partitions; n++)
		if (r->owned[n])
			partition_quiet(r->owned[n]);
}

static const struct worker_spec spec = {
	.name = "rules",
	.start = rules_start,
	.stop = rules_stop,
	.turn = rules_turn,
	.drained = rules_drained,
	.tick = rules_tick,
	.tick_ms = 1000,
	.quiet = rules_quiet,
	.priority = { .nice = 5 },
	.on_link = on_link,
	.on = {
		[MSG_WELCOME] = on_welcome,
		[MSG_FENCED] = on_fenced,
		[MSG_COMMIT] = on_commit,
		[MSG_GAP] = on_gap,
	},
};

int
main(int argc, char **argv)
{
	/* `roost rules check FILE` runs this program too; the supervisor names the workers it starts. */
	if (getenv("ROOST_NAME") == NULL && argc > 1)
		return cli_main(argc - 1, argv + 1);
	return worker_main(&spec, argc, argv);
}
