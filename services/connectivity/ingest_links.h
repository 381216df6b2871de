/* ingest_links.h - the limiters and shards that batches go through, and which limiter is a partition's */
#ifndef ROOST_INGEST_LINKS_H
#define ROOST_INGEST_LINKS_H

#include "worker.h"

/* "<service>-0" to count - 1; heap. Those to shards are the follower's, if this worker has one. NULL: that was logged. */
struct bus_link **ingest_links_new(struct worker *w, const char *service, uint32_t count);
uint32_t ingest_limiter_of(uint32_t partition, uint32_t count);

#endif
