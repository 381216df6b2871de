/* state_map.c - the newest value of each metric of each device, gathered until they are written; pure */
#include "state_map.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "mem.h"

#define TABLE_MIN 256 /* a power of two */

void
state_map_init(struct state_map *m)
{
	*m = (struct state_map){ .table_size = TABLE_MIN };
	m->table = xcalloc(m->table_size, sizeof(struct state_device *));
	m->last = &m->first;
}

static size_t
text_bytes(const struct value *v)
{
	return v->kind == VALUE_STRING ? v->v.s.len : 0;
}

static void
set_value(struct state_map *m, struct state_metric *s, const struct value *v)
{
	uint8_t *text = v->kind == VALUE_STRING ? xmemdup(v->v.s.data, v->v.s.len) : NULL;

	m->bytes += text_bytes(v) - text_bytes(&s->value);
	if (s->value.kind == VALUE_STRING)
		free((void *)(uintptr_t)s->value.v.s.data);
	s->value = *v;
	if (text)
		s->value.v.s.data = text;
}

static void
free_device(struct state_map *m, struct state_device *d)
{
	for (size_t i = 0; i < d->n; i++) {
		free(d->metrics[i].name);
		set_value(m, &d->metrics[i], &(struct value){ .kind = VALUE_INT });
	}
	free(d->metrics);
	free(d->id);
	free(d);
}

void
state_map_clear(struct state_map *m)
{
	struct state_device *next;

	for (struct state_device *d = m->first; d != NULL; d = next) {
		next = d->next;
		free_device(m, d);
	}
	memset(m->table, 0, m->table_size * sizeof(struct state_device *));
	m->first = NULL;
	m->last = &m->first;
	m->devices = 0;
	m->bytes = 0;
}

void
state_map_fini(struct state_map *m)
{
	if (m->table == NULL)
		return;
	state_map_clear(m);
	free(m->table);
	*m = (struct state_map){ 0 };
}

static void
insert(struct state_map *m, struct state_device *d)
{
	size_t at = d->hash & (m->table_size - 1);

	while (m->table[at] != NULL)
		at = (at + 1) & (m->table_size - 1);
	m->table[at] = d;
}

struct state_device *
state_map_device(struct state_map *m, struct bytes id)
{
	uint64_t hash = XXH3_64bits(id.data, id.len);
	struct state_device *d;

	for (size_t at = hash & (m->table_size - 1); (d = m->table[at]) != NULL;
	     at = (at + 1) & (m->table_size - 1))
		if (d->hash == hash && bytes_equal(id, bytes_of(d->id, d->id_len)))
			return d;
	d = xcalloc(1, sizeof(*d));
	d->hash = hash;
	d->id = xmemdup(id.data, id.len);
	d->id_len = id.len;
	if (++m->devices > m->table_size / 2) {
		m->table_size *= 2;
		free(m->table);
		m->table = xcalloc(m->table_size, sizeof(struct state_device *));
		for (struct state_device *o = m->first; o != NULL; o = o->next)
			insert(m, o);
	}
	insert(m, d);
	*m->last = d;
	m->last = &d->next;
	m->bytes += sizeof(*d) + id.len;
	return d;
}

bool
state_map_put(struct state_map *m, struct state_device *d, struct bytes metric,
    const struct value *value, int64_t time)
{
	struct state_metric *s;

	for (size_t i = 0; i < d->n; i++) {
		s = &d->metrics[i];
		if (!bytes_equal(metric, bytes_of(s->name, s->name_len)))
			continue;
		if (time < s->time)
			return true;
		s->time = time;
		set_value(m, s, value);
		return true;
	}
	if (d->n == d->cap) {
		d->cap = d->cap == 0 ? 4 : 2 * d->cap;
		d->metrics = xrealloc(d->metrics, d->cap * sizeof(d->metrics[0]));
	}
	s = &d->metrics[d->n++];
	*s = (struct state_metric){
		.name = xmemdup(metric.data, metric.len), .name_len = metric.len, .time = time
	};
	s->value.kind = VALUE_INT;
	set_value(m, s, value);
	m->bytes += sizeof(*s) + metric.len;
	return false;
}
