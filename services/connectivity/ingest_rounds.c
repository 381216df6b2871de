/* ingest_rounds.c - what goes to one shard, in rounds of batches; pure */
#include "ingest_rounds.h"

#include <string.h>

void
ingest_rounds_look(struct ingest_rounds *r, uint64_t waiting)
{
	r->may_push = r->ends[0] <= r->pushed - waiting;
}

void
ingest_rounds_close(struct ingest_rounds *r)
{
	if (!r->may_push || r->ends[ROUNDS_AHEAD - 1] == r->pushed)
		return;
	memmove(r->ends, r->ends + 1, (ROUNDS_AHEAD - 1) * sizeof(r->ends[0]));
	r->ends[ROUNDS_AHEAD - 1] = r->pushed;
}
