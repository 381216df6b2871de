/* ingest_batch.c - a growing batch of records with the tokens that its COMMIT answers; pure */
#include "ingest_batch.h"

#include <stdlib.h>

#include "err.h"
#include "mem.h"

#define TOKENS_FIRST 16

static size_t
memory_of(const struct stream_batch *b)
{
	const struct ingest_tokens *t = b->owner_data;

	return sizeof(*b) + b->records.cap + sizeof(*t) + t->cap * sizeof(t->token[0]);
}

struct stream_batch *
ingest_batch_new(struct ingest_pool *pool, unsigned kind)
{
	struct stream_batch *b = pool->free;
	struct ingest_tokens *t;

	if (b) {
		pool->free = b->next;
		pool->bytes -= memory_of(b);
		b->next = NULL;
		b->record_count = 0;
		b->kind = kind;
		buf_clear(&b->records);
		return b;
	}
	b = xcalloc(1, sizeof(*b));
	t = xmalloc(sizeof(*t) + TOKENS_FIRST * sizeof(t->token[0]));
	t->cap = TOKENS_FIRST;
	b->owner_data = t;
	b->kind = kind;
	return b;
}

void
ingest_batch_recycle(struct ingest_pool *pool, struct stream_batch **p_b)
{
	struct stream_batch *b = *p_b;

	*p_b = NULL;
	if (memory_of(b) > INGEST_POOL_BYTES - pool->bytes) {
		free(b->owner_data);
		stream_batch_free(&b);
		return;
	}
	pool->bytes += memory_of(b);
	b->next = pool->free;
	pool->free = b;
}

void
ingest_pool_fini(struct ingest_pool *pool)
{
	while (pool->free) {
		struct stream_batch *b = pool->free;

		pool->free = b->next;
		free(b->owner_data);
		stream_batch_free(&b);
	}
	pool->bytes = 0;
}

void
ingest_batch_token(struct stream_batch *b, uint64_t token)
{
	struct ingest_tokens *t = b->owner_data;

	ASSERT(b->record_count < BATCH_RECORDS_MAX);
	if (b->record_count == t->cap) {
		t = xrealloc(t, sizeof(*t) + (size_t)t->cap * 2 * sizeof(t->token[0]));
		t->cap *= 2;
		b->owner_data = t;
	}
	t->token[b->record_count++] = token;
}

uint64_t
ingest_batch_token_at(const struct stream_batch *b, uint32_t index)
{
	const struct ingest_tokens *t = b->owner_data;

	return t->token[index];
}

bool
ingest_batch_is_ripe(const struct stream_batch *b)
{
	return b->record_count >= INGEST_BATCH_RECORDS || b->records.len >= INGEST_BATCH_BYTES;
}

void
ingest_batch_split(struct stream_batch *from, size_t at, struct stream_batch *to)
{
	buf_add(&to->records, from->records.data + at, from->records.len - at);
	from->records.len = at;
}
