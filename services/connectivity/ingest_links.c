/* ingest_links.c - the limiters and shards that batches go through, and which limiter is a partition's */
#include "ingest_links.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "follower.h"
#include "mem.h"

/* Rendezvous hashing: when the list of limiters changes, only the partitions of those that came or went move. */
uint32_t
ingest_limiter_of(uint32_t partition, uint32_t count)
{
	uint64_t best = 0;
	uint32_t chosen = 0;
	char name[BUS_NAME_MAX];

	for (uint32_t i = 0; i < count; i++) {
		int n = snprintf(name, sizeof(name), "limiter-%u", i);
		uint64_t score = XXH3_64bits_withSeed(name, (size_t)n, partition);

		if (i == 0 || score > best) {
			best = score;
			chosen = i;
		}
	}
	return chosen;
}

struct bus_link **
ingest_links_new(struct worker *w, const char *service, uint32_t count)
{
	struct bus_link **links = xcalloc(count, sizeof(struct bus_link *));
	char endpoint[BUS_NAME_MAX];

	for (uint32_t i = 0; i < count; i++) {
		/* A shard knows each process by one link. */
		if (w->follower && strcmp(service, "shard") == 0) {
			links[i] = follower_link(w->follower, i);
			continue;
		}
		snprintf(endpoint, sizeof(endpoint), "%s-%u", service, i);
		if (bus_connect(w->bus, endpoint, &links[i]) != 0) {
			free(links);
			return NULL;
		}
	}
	return links;
}
