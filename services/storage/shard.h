/* shard.h - one shard served: batches in, group commit, COMMIT out; its journal, streams and followers
 *
 * Nothing here knows of sockets or clocks: messages go out through send, times come in as arguments. A turn of the loop is:
 * any number of shard_on_*(), then shard_turn(), which writes all that was taken as one block, syncs once, and only then
 * answers. */
#ifndef ROOST_STORAGE_SHARD_H
#define ROOST_STORAGE_SHARD_H

#include <stdbool.h>
#include <stdint.h>

#include "codec.h"
#include "dedup.h"
#include "followers.h"
#include "journal.h"
#include "stream_table.h"
#include "unreleased.h"

struct shard_config {
	const char *dir; /* exists; its flock is held */
	uint32_t shard;
	uint32_t shards;
	uint32_t partitions;
	uint64_t segment_bytes;
	int64_t segment_age_us;
	uint64_t quota_bytes; /* of this shard */
	int64_t retention_us;
	uint32_t dedup_entries;
	int64_t dedup_window_us;
	uint32_t unreleased_max;
	int64_t unreleased_age_us; /* no session of a client becomes older without it */
	const char *mandatory; /* follower groups that hold retention back, comma separated */
	followers_send_fn send;
	void (*answered)(
	    void *arg); /* what was sent should go now: more work of this turn is to come */
	void (*busy)(void *arg, uint64_t ms); /* may be NULL */
	void *arg;			      /* for send, answered and busy */
};

struct shard {
	struct shard_config config;
	struct journal *journal;
	struct stream_table streams;
	struct dedup dedup;
	struct dedup dedup_before; /* of blocks before the snapshot that the start read: older than all in dedup */
	struct unreleased unreleased;
	struct recent recent;
	struct followers followers;
	struct stream *answers; /* to be answered after the commit */
	bool closed;		/* no credit for ordinary senders */
	int64_t wall_us;
	int64_t
	    time_us; /* the wall clock, that never goes back and never stands: for the journal */
	int64_t mono_us;
	int64_t tick_us;
	int64_t batch_us; /* the last batch came then */
	uint64_t replay_damage;
};

/* Recovers the journal. The shard may be served when this returned 0. */
int shard_open(
    const struct shard_config *c, int64_t wall_us, int64_t mono_us, struct shard **ret_shard);
/* Commits what is pending and marks the journal as closed in order. */
void shard_close(struct shard **s, int64_t wall_us);
/* As a crash would leave it. */
void shard_abandon(struct shard **s);

/* Before the messages of each turn. */
void shard_clock(struct shard *s, int64_t wall_us, int64_t mono_us);
void shard_on_hello(struct shard *s, const char *from, const struct msg_hello *m);
void shard_on_batch(struct shard *s, const char *from, const struct msg_batch *m);
void shard_on_subscribe(struct shard *s, const char *from, const struct msg_subscribe *m);
void shard_on_resume(struct shard *s, const char *from, const struct msg_resume *m);
void shard_on_progress(struct shard *s, const char *from, const struct msg_progress *m);
/* Commits, answers, delivers. Returns the monotonic time of its next call at the latest: 0 at once, INT64_MAX none. */
int64_t shard_turn(struct shard *s);
/* Once a second: TICK, segments, retention, quota, silent followers. */
void shard_tick(struct shard *s);
/* Nothing waits to be committed, answered or delivered. */
bool shard_is_quiet(const struct shard *s);

/* For shard_*.c: the time of what is taken now. */
int64_t shard_now(const struct shard *s);
/* For shard_*.c: writes and syncs what is pending, then answers. */
void shard_commit(struct shard *s);
/* Room for so many bytes of entries of this sender? Commits and goes on in a new segment if need be. */
bool shard_make_room(struct shard *s, bool internal, size_t bytes);
void shard_append(struct shard *s, const struct entry *e);
/* Replays a block into streams and dedup. */
void shard_replay(void *arg, const struct block *b, enum journal_replay how);
/* Marks a stream to be answered after the commit of this turn. */
void shard_answer(struct shard *s, struct stream *st);

#endif
