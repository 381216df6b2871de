/* charged.c - up to which sequence number each stream's batches were charged; pure
 *
 * An open-addressed table; stream ids are never 0. */
#include "charged.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

#define SLOTS_FIRST 256

struct slot {
	uint64_t stream;
	uint64_t seq;
};

struct charged {
	struct slot *slots;
	uint32_t mask;
	uint32_t count;
};

struct charged *
charged_new(void)
{
	struct charged *s = xcalloc(1, sizeof(*s));

	s->slots = xcalloc(SLOTS_FIRST, sizeof(*s->slots));
	s->mask = SLOTS_FIRST - 1;
	return s;
}

void
charged_free(struct charged **s)
{
	if (!*s)
		return;
	free((*s)->slots);
	free(*s);
	*s = NULL;
}

/* Ids count up within a shard, which is in their top bits: multiplied, they spread over all bits. */
static struct slot *
find(struct slot *slots, uint32_t mask, uint64_t stream)
{
	uint32_t i = (uint32_t)((stream * 0x9e3779b97f4a7c15u) >> 32) & mask;

	while (slots[i].stream && slots[i].stream != stream)
		i = (i + 1) & mask;
	return &slots[i];
}

static void
grow(struct charged *s)
{
	uint32_t mask = s->mask * 2 + 1;
	struct slot *slots = xcalloc((size_t)mask + 1, sizeof(*slots));

	for (uint32_t i = 0; i <= s->mask; i++) {
		if (s->slots[i].stream)
			*find(slots, mask, s->slots[i].stream) = s->slots[i];
	}
	free(s->slots);
	s->slots = slots;
	s->mask = mask;
}

bool
charged_advance(struct charged *s, uint64_t stream, uint64_t seq)
{
	struct slot *slot = find(s->slots, s->mask, stream);

	if (slot->stream) {
		if (seq <= slot->seq)
			return false;
		slot->seq = seq;
		return true;
	}
	if (s->count == CHARGED_STREAMS_MAX) {
		memset(s->slots, 0, ((size_t)s->mask + 1) * sizeof(*s->slots));
		s->count = 0;
	} else if (s->count > s->mask / 2) {
		grow(s);
	}
	*find(s->slots, s->mask, stream) = (struct slot){ .stream = stream, .seq = seq };
	s->count++;
	return true;
}
