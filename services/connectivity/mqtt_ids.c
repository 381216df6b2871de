/* mqtt_ids.c - a set of packet ids, each with a small value; pure */
#include "mqtt_ids.h"

#include <stdlib.h>

#include "err.h"
#include "mem.h"

#define TABLE_MIN 16

/* Ids are mostly consecutive: side by side they would make one long run, of which a removal looks at each. */
static uint32_t
home(const struct mqtt_ids *s, uint16_t id)
{
	return (id * 2654435769u) >> 12 & (s->size - 1);
}

void
mqtt_ids_fini(struct mqtt_ids *s)
{
	free(s->table);
	*s = (struct mqtt_ids){ .table = NULL };
}

struct mqtt_id_entry *
mqtt_ids_find(const struct mqtt_ids *s, uint16_t id)
{
	if (s->count == 0 || id == 0)
		return NULL;
	for (uint32_t at = home(s, id); s->table[at].id; at = (at + 1) & (s->size - 1))
		if (s->table[at].id == id)
			return &s->table[at];
	return NULL;
}

static struct mqtt_id_entry *
put(struct mqtt_ids *s, uint16_t id)
{
	uint32_t at = home(s, id);

	while (s->table[at].id)
		at = (at + 1) & (s->size - 1);
	return &s->table[at];
}

static void
resize(struct mqtt_ids *s, uint32_t size)
{
	struct mqtt_ids old = *s;

	s->table = xcalloc(size, sizeof(s->table[0]));
	s->size = size;
	for (uint32_t i = 0; i < old.size; i++)
		if (old.table[i].id)
			*put(s, old.table[i].id) = old.table[i];
	free(old.table);
}

struct mqtt_id_entry *
mqtt_ids_add(struct mqtt_ids *s, uint16_t id)
{
	struct mqtt_id_entry *e;

	ASSERT(id != 0);
	if (mqtt_ids_grows(s))
		resize(s, s->size ? 2 * s->size : TABLE_MIN);
	e = put(s, id);
	*e = (struct mqtt_id_entry){ .id = id };
	s->count++;
	return e;
}

/* Closes the gap: those behind it that may move up do, so that a search need not look past a free place. */
void
mqtt_ids_remove(struct mqtt_ids *s, uint16_t id)
{
	struct mqtt_id_entry *e = mqtt_ids_find(s, id);
	uint32_t mask = s->size - 1;
	uint32_t gap, at;

	if (!e)
		return;
	gap = at = (uint32_t)(e - s->table);
	for (;;) {
		at = (at + 1) & mask;
		if (!s->table[at].id)
			break;
		if (((at - home(s, s->table[at].id)) & mask) >= ((at - gap) & mask)) {
			s->table[gap] = s->table[at];
			gap = at;
		}
	}
	s->table[gap].id = 0;
	if (--s->count == 0 && s->size > TABLE_MIN)
		mqtt_ids_fini(s);
}

struct mqtt_id_entry *
mqtt_ids_next(const struct mqtt_ids *s, uint32_t *at)
{
	while (*at < s->size) {
		struct mqtt_id_entry *e = &s->table[(*at)++];

		if (e->id)
			return e;
	}
	return NULL;
}
