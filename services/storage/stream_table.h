/* stream_table.h - the streams of one shard: who may append, and how far each one is; pure
 *
 * A stream is (worker name, life, partition, assignment epoch). Its id is shard << 48 | n; n only grows. A stream ends when
 * its worker comes back with a newer life, when its partition is assigned to another member of the worker's group, when its
 * position turns out to be damaged, or when its worker was silent for a day. A batch of an ended stream is refused.
 *
 * In the journal a stream is an ENTRY_STREAM (partition, stream id, seq = last committed) with this body, numbers
 * little-endian: life u64, epoch u64, acked u64, name length u8, name, then pairs (seq u64, index << 32 | verdict u64) of
 * refused records after acked. Entries of the same stream that follow at the same position add pairs. An entry whose
 * stream is shard << 48 | n with an empty name says only that ids up to n were issued. */
#ifndef ROOST_STORAGE_STREAM_TABLE_H
#define ROOST_STORAGE_STREAM_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bus.h"
#include "entry.h"
#include "stream.h"

#define STREAM_OWNERS_MAX 256
#define STREAMS_MAX 65536
#define STREAM_SILENT_US (24ll * 3600 * 1000000)

struct stream_owner {
	char name[BUS_NAME_MAX];
	uint64_t life;
	int64_t seen_us; /* monotonic time of the last sign of it */
	size_t streams;
	struct stream **by_partition;
};

struct stream {
	struct stream_rx rx;
	struct stream_owner *owner;
	uint64_t epoch; /* 0: not of a group */
	struct stream *bucket_next;
	struct stream *answer_next; /* shard.c: to be answered at the end of the turn */
	bool answer;
	bool hello;	   /* the answer is WELCOME */
	unsigned regrants; /* how often the reopened window is told again */
};

struct stream_table {
	uint32_t shard;
	uint32_t partitions;
	uint64_t issued; /* highest n */
	struct stream **buckets;
	size_t bucket_count; /* a power of 2 */
	size_t count;
	struct stream_owner *owners[STREAM_OWNERS_MAX];
	size_t owner_count;
};

void stream_table_init(struct stream_table *s, uint32_t shard, uint32_t partitions);
void stream_table_fini(struct stream_table *s);
/* Forgets all streams, not the ids that were issued. */
void stream_table_clear(struct stream_table *s);

struct stream *stream_table_find(const struct stream_table *s, uint64_t id);
struct stream_owner *stream_table_owner(const struct stream_table *s, const char *name);
/* The stream of this worker, life, partition and epoch, or NULL. */
struct stream *stream_table_of(const struct stream_table *s, const char *name, uint64_t life,
    uint32_t partition, uint64_t epoch);
/* Issues a new id. Older lives of the worker end, and its older stream in the partition. ERR_FENCED: the worker has a newer
 * life; ERR_FULL. */
int stream_table_issue(struct stream_table *s, const char *name, uint64_t life, uint32_t partition,
    uint64_t epoch, int64_t now_us, struct stream **ret_stream);
void stream_table_drop(struct stream_table *s, struct stream **stream);
/* Ends all streams of a worker. */
void stream_table_drop_owner(struct stream_table *s, struct stream_owner *o);

/* Appends the ENTRY_STREAMs of one stream through put. */
typedef void (*stream_table_put_fn)(void *arg, const struct entry *e);
void stream_table_put(const struct stream *st, stream_table_put_fn put, void *arg);
/* All streams, and the ids that were issued. */
void stream_table_put_all(const struct stream_table *s, stream_table_put_fn put, void *arg);
uint64_t stream_table_put_bytes(const struct stream_table *s);
/* Replays an ENTRY_STREAM. ERR_MALFORMED. */
int stream_table_replay(struct stream_table *s, const struct entry *e, int64_t now_us);
/* A sender says this id: it was issued, whatever the journal still knows, and is not issued again. One that lies millions
 * ahead is not believed. */
void stream_table_seen(struct stream_table *s, uint64_t id);
/* So many bytes of journal could not be read: ids that may have been issued in there are never issued again. */
void stream_table_lost(struct stream_table *s, uint64_t bytes);

#endif
