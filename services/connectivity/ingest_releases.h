/* ingest_releases.h - PUBRELs under way: each is answered when the last of its parts is durable; pure */
#ifndef ROOST_INGEST_RELEASES_H
#define ROOST_INGEST_RELEASES_H

#include <stdbool.h>
#include <stdint.h>

struct ingest_release {
	uint64_t token;
	uint32_t parts; /* not durable yet */
	uint32_t next;	/* of the free ones: its number + 1 */
};

struct ingest_releases {
	struct ingest_release *all;
	uint32_t cap;
	uint32_t free; /* number + 1 */
};

void ingest_releases_fini(struct ingest_releases *r);
/* The number under which its parts are known; parts >= 1. */
uint32_t ingest_releases_add(struct ingest_releases *r, uint64_t token, uint32_t parts);
/* A part is durable. True if it was the last: ret_token is to be answered. */
bool ingest_releases_part(struct ingest_releases *r, uint32_t number, uint64_t *ret_token);

#endif
