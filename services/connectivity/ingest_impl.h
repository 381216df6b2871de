/* ingest_impl.h - what the ingest files share; nobody else includes it */
#ifndef ROOST_INGEST_IMPL_H
#define ROOST_INGEST_IMPL_H

#include "ingest.h"
#include "ingest_batch.h"
#include "ingest_releases.h"
#include "stream.h"

#define ROUNDS_AHEAD 2

struct lane {
	uint32_t partition;
	struct stream_tx tx;
	struct stream_batch *open; /* NULL or with at least one record */
	struct stream_batch *
	    releases; /* NULL or with at least one PUBREL; in no order with open: see ingest_release() */
	struct bus_link *shard;
	struct bus_link *limiter;
	int64_t open_us; /* the open batch's first turn */
	bool blocked;	 /* ERR_AGAIN was said, room is owed */
};

struct ingest {
	struct worker *w;
	ingest_answer_fn answer;
	ingest_room_fn room;
	void *arg;
	struct lane *lanes;
	uint32_t partitions;
	struct bus_link **shards;
	struct ingest_rounds *rounds; /* of each shard */
	uint32_t shard_count;
	struct bus_link **limiters;
	uint32_t limiter_count;
	struct ingest_pool pool;
	struct ingest_releases releases;
	struct payload_decoder *decoder;
	struct loop_timer timer;
	int64_t timer_at_us;
	size_t bytes;	      /* of records, open and under way */
	size_t messages;      /* to be answered */
	bool blocked;	      /* some lane is */
	int64_t wall_turn_us; /* loop time at which wall_us was read */
	int64_t wall_us;
	int64_t stamp_us; /* last server time given */
};

/* Where there is no room: NULL, and it is said when there is. */
struct lane *ingest_lane_for(struct ingest *in, uint32_t partition);
void ingest_lane_close(struct ingest *in, struct lane *lane, struct stream_batch **batch);

/* ingest_others.c: a batch whose tokens are numbers of parts is committed */
void ingest_answer_parts(struct ingest *in, const struct stream_batch *b);

#endif
