/* dedup.h - recognises what a device sent before the worker that held its connection died; pure
 *
 * MQTT clients send an unanswered QoS 1 message again with DUP=1 under the same packet id. Of each accepted message the
 * table remembers (client, packet id) -> payload hash, for a window and up to a number of messages; the oldest go first.
 *
 * Every message is added and hardly any is asked for. So adding only writes the next entry of a ring, and the index over
 * the ring catches up with it when somebody asks: an entry that is pushed out before that was never looked at again. The
 * ring is made of chunks, which are freed when what they hold is older than the window, as the index is when nobody asks. */
#ifndef ROOST_STORAGE_DEDUP_H
#define ROOST_STORAGE_DEDUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dedup_chunk;

struct dedup {
	struct dedup_chunk **chunks; /* of entry n: (n / entries of a chunk) % chunk_count; NULL: none */
	struct dedup_chunk *spare;
	uint32_t chunk_count;
	uint32_t capacity;
	uint64_t head; /* entries that were ever added; the next one's number */
	uint64_t tail; /* number of the oldest that is kept */
	uint32_t *buckets; /* the index, or NULL: newest entry of each bucket, as number - index_from */
	uint32_t bucket_mask;
	uint64_t index_from;
	uint64_t indexed; /* entries before this one are in the index */
	int64_t asked_us;
	int64_t window_us;
};

/* capacity 0: nothing is remembered. */
void dedup_init(struct dedup *d, uint32_t capacity, int64_t window_us);
void dedup_fini(struct dedup *d);
enum dedup_answer {
	DEDUP_UNKNOWN,	/* nothing is known under this packet id */
	DEDUP_OTHER,	/* the newest under it has another payload, or is older than the window */
	DEDUP_SAME,
};
/* now_us and time_us are journal time. */
enum dedup_answer dedup_ask(
    struct dedup *d, uint64_t client, uint16_t packet_id, uint64_t hash, int64_t now_us);
void dedup_add(
    struct dedup *d, uint64_t client, uint16_t packet_id, uint64_t hash, int64_t time_us);
/* Lets go of memory that holds nothing younger than the window. */
void dedup_expire(struct dedup *d, int64_t now_us);
/* Messages that are held, repeated ones included. */
uint64_t dedup_count(const struct dedup *d);

#endif
