/* dedup.h - recognises what a device sent before the worker that held its connection died; pure
 *
 * MQTT clients send an unanswered QoS 1 message again with DUP=1 under the same packet id. Of each accepted message the
 * table remembers (client, packet id) -> payload hash, for a window and up to a number of messages; the oldest go first. */
#ifndef ROOST_STORAGE_DEDUP_H
#define ROOST_STORAGE_DEDUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dedup_entry {
	uint64_t client;
	uint64_t hash;
	int64_t time;
	uint32_t next; /* in its bucket; DEDUP_NONE at the end */
	uint16_t packet_id;
	bool live;
};

#define DEDUP_NONE UINT32_MAX

struct dedup {
	struct dedup_entry *entries; /* a ring in order of insertion */
	uint32_t *buckets;
	uint32_t capacity;
	uint32_t bucket_mask;
	uint32_t at; /* where the next one goes */
	uint32_t count;
	int64_t window_us;
};

/* capacity 0: nothing is remembered. */
void dedup_init(struct dedup *d, uint32_t capacity, int64_t window_us);
void dedup_fini(struct dedup *d);
/* now_us and time_us are journal time. */
bool dedup_has(
    const struct dedup *d, uint64_t client, uint16_t packet_id, uint64_t hash, int64_t now_us);
void dedup_add(
    struct dedup *d, uint64_t client, uint16_t packet_id, uint64_t hash, int64_t time_us);

#endif
