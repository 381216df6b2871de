/* ingest_rounds.h - what goes to one shard, in rounds of batches; pure
 *
 * What is pushed between two turns is a round; it is over when all that had been pushed by its end is committed. */
#ifndef ROOST_INGEST_ROUNDS_H
#define ROOST_INGEST_ROUNDS_H

#include <stdbool.h>
#include <stdint.h>

#define ROUNDS_AHEAD 2

struct ingest_rounds {
	uint64_t pushed;	     /* batches */
	uint64_t ends[ROUNDS_AHEAD]; /* the oldest first */
	bool may_push;
};

/* Before the lanes push: does the shard take a round more? waiting: batches that it has not committed. */
void ingest_rounds_look(struct ingest_rounds *r, uint64_t waiting);
/* After it: what was pushed is a round. */
void ingest_rounds_close(struct ingest_rounds *r);

#endif
