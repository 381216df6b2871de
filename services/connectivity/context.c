/* context.c - changes of the registry, as they come from the journal */
#include "context.h"

#include <stdlib.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"

/* A change may be known this much later, while readings flow; then a delivery without changes comes no more often. */
#define PATIENCE_MS 250

struct listening {
	context_fn fn;
	context_missed_fn missed;
	void *arg;
};

struct context {
	struct follower *follower;
	uint32_t shards;
	uint64_t *seen;
	struct listening listening[CONTEXT_LISTENERS_MAX];
	size_t listening_count;
};

static void
take_entry(struct context *c, uint32_t shard, const struct block_view *v, const struct entry *e)
{
	struct registry_object o;
	const char *why = "";
	int err = registry_decode(e->body, &o, &why);

	/* Of a later release: nothing that is kept here. */
	if (err == ERR_UNSUPPORTED)
		return;
	if (err != 0) {
		metric_add(M_REGISTRY_UNREADABLE, 1);
		log_warn("context.entry", LU("shard", shard), LU("offset", v->offset),
		    LS("fault", why), LS("effect", "it is passed over"));
		return;
	}
	metric_add(M_CONTEXT_CHANGES, 1);
	for (size_t i = 0; i < c->listening_count; i++)
		c->listening[i].fn(c->listening[i].arg, &o);
}

static void
on_block(void *arg, uint32_t shard, const struct block_view *v)
{
	struct context *c = arg;
	struct bytes rest = v->entries;
	struct entry e;

	while (entry_next(&rest, &e) == 0) {
		if (e.kind == ENTRY_CONTEXT)
			take_entry(c, shard, v, &e);
	}
	c->seen[shard] = v->next;
}

static void
on_upto(void *arg, uint32_t shard, uint64_t upto, uint64_t end)
{
	struct context *c = arg;

	(void)end;
	if (c->seen[shard] == FOLLOWER_FROM_END || upto > c->seen[shard])
		c->seen[shard] = upto;
}

static void
on_skipped(void *arg, uint32_t shard, uint64_t from, uint64_t to)
{
	struct context *c = arg;

	(void)from;
	on_upto(arg, shard, to, to);
	for (size_t i = 0; i < c->listening_count; i++)
		if (c->listening[i].missed)
			c->listening[i].missed(c->listening[i].arg);
}

static uint64_t
cursor(void *arg, uint32_t shard)
{
	return ((struct context *)arg)->seen[shard];
}

/* No group: it holds nothing back. */
static const struct follower_spec spec = {
	.group = "",
	.kinds = KIND_BIT(ENTRY_CONTEXT),
	.patience_ms = PATIENCE_MS,
	.on_block = on_block,
	.on_upto = on_upto,
	.on_skipped = on_skipped,
	.cursor = cursor,
};

struct context *
context_new(struct worker *w)
{
	struct context *c = xcalloc(1, sizeof(*c));

	c->shards = (uint32_t)settings_int(w->settings, SET_STORAGE_SHARDS);
	c->seen = xcalloc(c->shards, sizeof(c->seen[0]));
	for (uint32_t i = 0; i < c->shards; i++)
		c->seen[i] = FOLLOWER_FROM_END;
	c->follower = follower_new(w, &spec, c);
	if (!c->follower)
		context_free(&c);
	return c;
}

void
context_free(struct context **p_c)
{
	struct context *c = *p_c;

	if (!c)
		return;
	*p_c = NULL;
	follower_free(&c->follower);
	free(c->seen);
	free(c);
}

void
context_listen(struct context *c, context_fn fn, context_missed_fn missed, void *arg)
{
	ASSERT(c->listening_count < CONTEXT_LISTENERS_MAX);
	c->listening[c->listening_count++] = (struct listening){ fn, missed, arg };
}

struct bus_link *
context_link(struct context *c, uint32_t shard)
{
	return follower_link(c->follower, shard);
}
