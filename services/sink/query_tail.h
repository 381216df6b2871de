/* query_tail.h - what is in the journal and not in history's files yet */
#ifndef ROOST_QUERY_TAIL_H
#define ROOST_QUERY_TAIL_H

#include <stdint.h>

#include "history_points.h"
#include "settings.h"

/* A point of the tail. Strings are the tail's. */
struct tail_point {
	char *device;
	char *metric;
	uint32_t shard;
	uint64_t offset;	/* of its block: at or after a day file's cursor, the file has it not */
	size_t at;		/* in points */
	bool masked;
};

struct tail {
	struct bytes device;	/* only of this one; empty: of all */
	struct bytes metric;	/* as device */
	uint64_t *from;		/* by shard: where history stands */
	struct tail_point *info;	/* parallel to points */
	struct history_points points;
	size_t cap;
};

/* Reads from tail->from to the journal's end as it is now. ERR_TIMEOUT: storage does not answer (is it running?), what there
 * is may lack the last seconds. */
int tail_read(struct tail *tail, const struct settings *settings);
void tail_fini(struct tail *tail);

#endif
