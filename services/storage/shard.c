/* shard.c - one shard served: group commit, answers after it, credit, retention */
#include "shard.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "subscriber.h"

#define TICK_US 1000000
#define REGRANTS                                                                                   \
	10 /* a reopened window is told this often, once a second, until the sender uses it */
#define SLOW_TURN_US 500000
#define CLOCK_BACK_US 5000000 /* less is not worth a word */
#define IDLE_US 2000000
#define UNRELEASED_SWEEP 16384 /* places looked at in a tick */
#define WARM_SLICE 131072      /* bytes of old blocks a turn: about a millisecond */

static void
on_damaged(void *arg, uint64_t from, uint64_t to)
{
	struct shard *s = arg;

	stream_table_lost(&s->streams, to - from);
	s->replay_damage += to - from;
}

static void
snapshot_entry(void *arg, const struct entry *e)
{
	journal_snapshot_put(arg, e);
}

static void
on_snapshot(void *arg, struct journal *j)
{
	struct shard *s = arg;

	stream_table_put_all(&s->streams, snapshot_entry, j);
	unreleased_put_all(&s->unreleased, snapshot_entry, j);
}

static uint64_t
on_snapshot_bytes(void *arg)
{
	struct shard *s = arg;

	return stream_table_put_bytes(&s->streams) + unreleased_put_bytes(&s->unreleased);
}

static void
on_busy(void *arg, uint64_t ms)
{
	struct shard *s = arg;

	if (s->config.busy)
		s->config.busy(s->config.arg, ms);
}

int
shard_open(const struct shard_config *c, int64_t wall_us, int64_t mono_us, struct shard **ret_shard)
{
	struct shard *s = xcalloc(1, sizeof(*s));
	struct journal_config jc = {
		.dir = c->dir,
		.shard = c->shard,
		.segment_bytes = c->segment_bytes,
		.segment_age_us = c->segment_age_us,
		.quota_bytes = c->quota_bytes,
		.warm_us = c->dedup_entries ? c->dedup_window_us : 0,
	};
	struct journal_hooks hooks = {
		.replay = shard_replay,
		.damaged = on_damaged,
		.snapshot = on_snapshot,
		.snapshot_bytes = on_snapshot_bytes,
		.busy = on_busy,
		.arg = s,
	};
	int r;

	s->config = *c;
	shard_clock(s, wall_us, mono_us);
	s->tick_us = mono_us;
	stream_table_init(&s->streams, c->shard, c->partitions);
	dedup_init(&s->dedup, c->dedup_entries, c->dedup_window_us);
	dedup_init(&s->dedup_before, c->dedup_entries, c->dedup_window_us);
	unreleased_init(&s->unreleased, c->unreleased_max, c->unreleased_age_us);
	r = journal_open(&jc, &hooks, wall_us, &s->journal);
	if (r != 0) {
		shard_abandon(&s);
		return r;
	}
	if (s->time_us < s->journal->time) {
		s->time_us = s->journal->time;
		if (s->journal->time - wall_us > CLOCK_BACK_US)
			log_warn("storage.clock_back", LU("shard", c->shard),
			    LI("s", (s->journal->time - wall_us) / 1000000),
			    LS("means", "journal time goes on at half its pace until the clock has "
					"caught up"));
	}
	recent_init(&s->recent, s->journal->end);
	s->followers = (struct followers){
		.shard = c->shard,
		.shards = c->shards,
		.partitions = c->partitions,
		.journal = s->journal,
		.recent = &s->recent,
		.send = c->send,
		.send_arg = c->arg,
		.stand_back_bytes = c->quota_bytes / 8,
	};
	cursors_init(&s->followers.cursors, c->dir, c->mandatory ? c->mandatory : "");
	for (size_t i = 0; i < s->streams.owner_count; i++)
		s->streams.owners[i]->seen_us = mono_us;
	log_info("storage.shard", LU("shard", c->shard), LU("streams", s->streams.count),
	    LU("remembered", dedup_count(&s->dedup)), LU("unreleased", s->unreleased.count),
	    LU("to_remember_bytes", s->journal->warm_to - s->journal->warm_at),
	    LU("damaged_bytes", s->replay_damage));
	*ret_shard = s;
	return 0;
}

static void
shard_free(struct shard **sp)
{
	struct shard *s = *sp;

	*sp = NULL;
	if (!s)
		return;
	followers_fini(&s->followers);
	recent_fini(&s->recent);
	journal_abandon(&s->journal);
	stream_table_fini(&s->streams);
	dedup_fini(&s->dedup);
	dedup_fini(&s->dedup_before);
	unreleased_fini(&s->unreleased);
	free(s);
}

void
shard_close(struct shard **sp, int64_t wall_us)
{
	if (!*sp)
		return;
	shard_clock(*sp, wall_us, (*sp)->mono_us);
	shard_commit(*sp);
	/* Readers of the journal go before it does. */
	followers_fini(&(*sp)->followers);
	journal_close(&(*sp)->journal, wall_us);
	shard_free(sp);
}

void
shard_abandon(struct shard **sp)
{
	shard_free(sp);
}

void
shard_clock(struct shard *s, int64_t wall_us, int64_t mono_us)
{
	/* A clock that was put back is waited for at half its pace: timers of rules must go on. */
	if (s->mono_us && mono_us > s->mono_us)
		s->time_us += (mono_us - s->mono_us) / 2;
	if (s->time_us < wall_us)
		s->time_us = wall_us;
	s->wall_us = wall_us;
	s->mono_us = mono_us;
}

int64_t
shard_now(const struct shard *s)
{
	return s->journal->time > s->wall_us ? s->journal->time : s->wall_us;
}

void
shard_answer(struct shard *s, struct stream *st)
{
	if (st->answer)
		return;
	st->answer = true;
	st->answer_next = s->answers;
	s->answers = st;
}

static bool
is_ordinary(const struct stream *st)
{
	return strncmp(st->owner->name, "connectivity-", 13) == 0;
}

static void
answer_one(struct shard *s, struct stream *st)
{
	bool closed = s->closed && is_ordinary(st);
	uint32_t window = closed ? 0 : STREAM_WINDOW_BATCHES;
	uint32_t window_bytes = closed ? 0 : STREAM_WINDOW_BYTES;

	if (st->hello) {
		struct msg_welcome m = {
			.life = st->owner->life,
			.partition = st->rx.partition,
			.stream = st->rx.id,
			.upto = st->rx.committed,
			.window = window,
			.window_bytes = window_bytes,
			.verdicts = stream_rx_refusals(&st->rx),
			.time = (uint64_t)shard_now(
			    s), /* never before 1970: the journal's begins there */
		};

		(void)s->config.send(s->config.arg, st->owner->name, MSG_WELCOME, &m);
	} else {
		struct msg_commit m = {
			.stream = st->rx.id,
			.upto = st->rx.committed,
			.window = window,
			.window_bytes = window_bytes,
			.verdicts = stream_rx_refusals(&st->rx),
		};

		(void)s->config.send(s->config.arg, st->owner->name, MSG_COMMIT, &m);
	}
	st->answer = false;
	st->hello = false;
}

void
shard_commit(struct shard *s)
{
	struct block b;

	if (journal_pending(s->journal)) {
		journal_commit(s->journal, s->time_us, &b);
		recent_add(&s->recent, &b, &s->journal->pending);
		followers_committed(&s->followers, &b, s->mono_us);
	}
	if (!s->answers)
		return;
	while (s->answers) {
		struct stream *st = s->answers;

		s->answers = st->answer_next;
		stream_rx_synced(&st->rx);
		answer_one(s, st);
	}
	s->config.answered(s->config.arg);
}

void
shard_append(struct shard *s, const struct entry *e)
{
	journal_put(s->journal, e);
}

static uint64_t
reserve_bytes(const struct shard *s)
{
	return s->config.quota_bytes / 20;
}

/* Ordinary senders stop where the reserve begins: of the quota, or of the last segment if there will be no next one. */
static bool
reserve_is_reached(const struct shard *s)
{
	uint64_t last = s->config.segment_bytes / 4;

	if (!journal_is_writable(s->journal))
		return true;
	if (journal_bytes(s->journal) + reserve_bytes(s) >= s->config.quota_bytes)
		return true;
	return !s->journal->spare && s->journal->full_said &&
	       journal_room(s->journal) < (reserve_bytes(s) < last ? reserve_bytes(s) : last);
}

/* Tells all ordinary senders when credit ends and when it is there again. */
static void
update_credit(struct shard *s)
{
	bool closed = reserve_is_reached(s);

	if (closed == s->closed)
		return;
	s->closed = closed;
	if (closed)
		log_error("storage.credit_closed", LU("shard", s->config.shard),
		    LU("journal_bytes", journal_bytes(s->journal)),
		    LU("quota_bytes", s->config.quota_bytes),
		    LU("hold", cursors_hold(&s->followers.cursors)),
		    LS("means", "no more readings are taken until there is room"));
	else
		log_info("storage.credit_open", LU("shard", s->config.shard),
		    LU("journal_bytes", journal_bytes(s->journal)));
	for (size_t i = 0; i < s->streams.owner_count; i++) {
		for (uint32_t p = 0; p < s->config.partitions; p++) {
			struct stream *st = s->streams.owners[i]->by_partition[p];

			if (!st || !is_ordinary(st))
				continue;
			st->regrants = closed ? 0 : REGRANTS;
			shard_answer(s, st);
		}
	}
}

bool
shard_make_room(struct shard *s, bool internal, size_t bytes)
{
	update_credit(s);
	if (s->closed && !internal)
		return false;
	if (journal_is_writable(s->journal)) {
		if (journal_fits(s->journal, bytes))
			return true;
		shard_commit(s);
		if (journal_fits(s->journal, bytes))
			return true;
	}
	if (journal_roll(s->journal, bytes, s->time_us) == 0)
		return true;
	update_credit(s);
	return false;
}

void
shard_on_subscribe(struct shard *s, const char *from, const struct msg_subscribe *m)
{
	followers_on_subscribe(&s->followers, from, m, s->mono_us);
}

void
shard_on_resume(struct shard *s, const char *from, const struct msg_resume *m)
{
	followers_on_resume(&s->followers, from, m, s->mono_us);
}

void
shard_on_progress(struct shard *s, const char *from, const struct msg_progress *m)
{
	followers_on_progress(&s->followers, from, m, s->mono_us);
}

int64_t
shard_turn(struct shard *s)
{
	bool idle = journal_pending(s->journal) == 0 && !s->answers;
	int64_t next;

	shard_commit(s);
	/* What earlier owners sent is committed or refused by now: the end is fenced. */
	if (followers_assign_is_due(&s->followers))
		followers_assign(&s->followers);
	journal_prewrite(s->journal, idle && s->mono_us - s->batch_us > FOLLOWERS_GATHER_US);
	next = followers_turn(&s->followers, s->mono_us);
	return journal_warm(s->journal, WARM_SLICE) ? 0 : next;
}

/* Old segments go when every mandatory group has passed them and they are old enough, or room is short. */
static void
retain(struct shard *s)
{
	struct journal *j = s->journal;
	uint64_t hold = cursors_hold(&s->followers.cursors);

	while (j->segment_count > 1 && j->segments[0].end <= hold) {
		bool is_old = j->time - j->segments[1].first_time >= s->config.retention_us;
		bool is_short = j->full_said ||
				journal_bytes(j) + reserve_bytes(s) + 2 * s->config.segment_bytes >
				    s->config.quota_bytes;

		if (!is_old && !is_short)
			break;
		log_info("journal.unlink", LU("shard", s->config.shard),
		    LU("base", j->segments[0].base), LS("why", is_old ? "age" : "room"));
		if (journal_unlink_oldest(j) != 0)
			break;
	}
}

/* Workers that are gone for good leave their streams behind. */
static void
expire_owners(struct shard *s)
{
	for (size_t i = s->streams.owner_count; i-- > 0;) {
		struct stream_owner *o = s->streams.owners[i];

		if (s->mono_us - o->seen_us < STREAM_SILENT_US)
			continue;
		log_info("storage.owner_expired", LS("owner", o->name), LU("life", o->life),
		    LU("streams", o->streams));
		for (uint32_t p = 0; p < s->config.partitions; p++) {
			struct msg_fenced m = { .partition = p, .life = o->life };

			if (!o->by_partition[p])
				continue;
			m.stream = o->by_partition[p]->rx.id;
			(void)s->config.send(s->config.arg, o->name, MSG_FENCED, &m);
		}
		stream_table_drop_owner(&s->streams, o);
	}
}

static void
regrant(struct shard *s)
{
	for (size_t i = 0; i < s->streams.owner_count; i++) {
		for (uint32_t p = 0; p < s->config.partitions; p++) {
			struct stream *st = s->streams.owners[i]->by_partition[p];

			if (!st || st->regrants == 0)
				continue;
			st->regrants--;
			shard_answer(s, st);
		}
	}
}

/* Nothing came for a while: what every reader has is not kept in memory. */
static void
rest(struct shard *s)
{
	uint64_t least = s->journal->end;

	for (size_t i = 0; i < s->followers.count; i++) {
		if (s->followers.all[i]->at < least)
			least = s->followers.all[i]->at;
		subscriber_rest(s->followers.all[i]);
	}
	recent_forget(&s->recent, least);
	journal_rest(s->journal);
}

void
shard_tick(struct shard *s)
{
	int64_t late = s->mono_us - s->tick_us - TICK_US;

	s->tick_us = s->mono_us;
	shard_commit(s);
	expire_owners(s);
	dedup_expire(&s->dedup, shard_now(s));
	dedup_expire(&s->dedup_before, shard_now(s));
	metric_add(M_STORAGE_UNRELEASED_EXPIRED,
	    unreleased_expire(&s->unreleased, shard_now(s), UNRELEASED_SWEEP));
	retain(s);
	if (!s->journal->spare)
		(void)journal_prepare(s->journal);
	if (journal_roll_is_due(s->journal, s->time_us))
		(void)journal_roll(s->journal, 0, s->time_us);
	update_credit(s);
	regrant(s);
	if (shard_make_room(s, true, ENTRY_HEADER_SIZE))
		shard_append(
		    s, &(struct entry){ .kind = ENTRY_TICK, .partition = ENTRY_ALL_PARTITIONS });
	shard_commit(s);
	followers_tick(&s->followers, s->mono_us, late > SLOW_TURN_US ? late : 0);
	if (s->mono_us - s->batch_us > IDLE_US)
		rest(s);
}

bool
shard_is_quiet(const struct shard *s)
{
	return journal_pending(s->journal) == 0 && !s->answers &&
	       followers_are_at_tail(&s->followers);
}
