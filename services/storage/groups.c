/* groups.c - which member of a shared follower group owns which partition of a shard; pure */
#include "groups.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "err.h"
#include "mem.h"

void
group_init(struct group *g, const char *name, uint32_t shard, uint32_t shards, uint32_t partitions)
{
	ASSERT(shards > 0);
	*g = (struct group){
		.slot_count = partitions > shard ? (partitions - shard - 1) / shards + 1 : 0,
		.stride = shards,
	};
	snprintf(g->name, sizeof(g->name), "%s", name);
	if (g->slot_count)
		g->slots = xcalloc(g->slot_count, sizeof(*g->slots));
	for (size_t i = 0; i < g->slot_count; i++)
		g->slots[i].partition = shard + (uint32_t)i * shards;
}

void
group_fini(struct group *g)
{
	for (size_t i = 0; i < g->member_count; i++)
		free(g->members[i]);
	free(g->slots);
	*g = (struct group){ 0 };
}

struct group_member *
group_find(const struct group *g, const char *name)
{
	for (size_t i = 0; i < g->member_count; i++)
		if (strcmp(g->members[i]->name, name) == 0)
			return g->members[i];
	return NULL;
}

int
group_join(struct group *g, const char *name, uint64_t life, struct group_member **ret_member)
{
	struct group_member *m = group_find(g, name);

	if (m && m->life != life)
		group_leave(g, &m);
	if (!m) {
		if (g->member_count == GROUP_MEMBERS_MAX)
			return ERR_FULL;
		m = xcalloc(1, sizeof(*m));
		snprintf(m->name, sizeof(m->name), "%s", name);
		m->life = life;
		g->members[g->member_count++] = m;
	}
	m->changed = true;
	g->dirty = true;
	*ret_member = m;
	return 0;
}

void
group_leave(struct group *g, struct group_member **member)
{
	struct group_member *m = *member;

	for (size_t i = 0; i < g->slot_count; i++)
		if (g->slots[i].owner == m)
			g->slots[i].owner = NULL;
	for (size_t i = 0; i < g->member_count; i++) {
		if (g->members[i] != m)
			continue;
		g->members[i] = g->members[--g->member_count];
		break;
	}
	free(m);
	*member = NULL;
	g->dirty = true;
}

static uint64_t
weight(const struct group_member *m, uint32_t partition)
{
	return XXH3_64bits_withSeed(m->name, strlen(m->name), partition);
}

static struct group_member *
pick(const struct group *g, uint32_t partition)
{
	struct group_member *best = NULL;

	for (size_t i = 0; i < g->member_count; i++) {
		struct group_member *m = g->members[i];

		if (!best || weight(m, partition) > weight(best, partition) ||
		    (weight(m, partition) == weight(best, partition) &&
			strcmp(m->name, best->name) < 0))
			best = m;
	}
	return best;
}

void
group_rebalance(struct group *g, uint64_t journal_end)
{
	uint64_t epoch = g->epoch + 1 > journal_end ? g->epoch + 1 : journal_end;

	g->dirty = false;
	g->epoch = epoch;
	for (size_t i = 0; i < g->slot_count; i++) {
		struct group_slot *s = &g->slots[i];
		struct group_member *owner = pick(g, s->partition);

		if (owner == s->owner)
			continue;
		if (s->owner)
			s->owner->changed = true;
		if (owner)
			owner->changed = true;
		s->owner = owner;
		s->since = epoch;
	}
	for (size_t i = 0; i < g->member_count;
	     i++) /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): no member is NULL */
		if (g->members[i]->changed)
			g->members[i]->epoch = epoch;
}

size_t
group_slot_of(const struct group *g, uint32_t partition)
{
	uint32_t first = g->slot_count ? g->slots[0].partition : 0;
	size_t i;

	if (g->slot_count == 0 || partition < first || (partition - first) % g->stride != 0)
		return g->slot_count;
	i = (partition - first) / g->stride;
	return i < g->slot_count ? i : g->slot_count;
}

bool
group_owns(
    const struct group *g, const char *name, uint64_t life, uint32_t partition, uint64_t epoch)
{
	size_t i = group_slot_of(g, partition);
	const struct group_member *m = i < g->slot_count ? g->slots[i].owner : NULL;

	return m && m->life == life && strcmp(m->name, name) == 0 && epoch >= g->slots[i].since &&
	       epoch <= m->epoch;
}
