/* ingest_batch.h - a growing batch of records with the tokens that its COMMIT answers; pure */
#ifndef ROOST_INGEST_BATCH_H
#define ROOST_INGEST_BATCH_H

#include "record.h"
#include "stream.h"

/* A batch is closed at this size; it may be larger by one record, never larger than BATCH_BYTES_MAX. */
#define INGEST_BATCH_RECORDS 1000
#define INGEST_BATCH_BYTES 262144
/* Memory of committed batches that is kept for the next ones. */
#define INGEST_POOL_BYTES (16u << 20)

struct ingest_pool {
	struct stream_batch *free;
	size_t bytes;
};

struct ingest_tokens { /* a batch's owner_data */
	uint32_t cap;
	uint64_t token[]; /* record_count of them */
};

/* An empty batch of that kind (enum entry_kind), heap. */
struct stream_batch *ingest_batch_new(struct ingest_pool *pool, unsigned kind);
/* Takes *b back. */
void ingest_batch_recycle(struct ingest_pool *pool, struct stream_batch **b);
void ingest_pool_fini(struct ingest_pool *pool);

/* The record that was just written to b->records is answered with this token. */
void ingest_batch_token(struct stream_batch *b, uint64_t token);
uint64_t ingest_batch_token_at(const struct stream_batch *b, uint32_t index);
bool ingest_batch_is_ripe(const struct stream_batch *b);
/* Moves everything from byte `at` of from's records, which no token covers yet, to to. */
void ingest_batch_split(struct stream_batch *from, size_t at, struct stream_batch *to);

#endif
