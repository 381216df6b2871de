/* state_map.h - the newest value of each metric of each device, gathered until they are written; pure */
#ifndef ROOST_STATE_MAP_H
#define ROOST_STATE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "record.h"

struct state_metric {
	char *name;
	size_t name_len;
	struct value value; /* a string is the map's */
	int64_t time;
};

struct state_device {
	struct state_device *next;	/* in order of first touch */
	uint64_t hash;
	char *id;
	size_t id_len;
	struct state_metric *metrics;
	size_t n;
	size_t cap;
};

struct state_map {
	struct state_device **table;
	size_t table_size;
	struct state_device *first;
	struct state_device **last;
	size_t devices;
	size_t bytes;		/* about what it holds */
};

void state_map_init(struct state_map *m);
void state_map_fini(struct state_map *m);
void state_map_clear(struct state_map *m);
/* Found or made; to be given a value next. */
struct state_device *state_map_device(struct state_map *m, struct bytes id);
/* Keeps the newer of this and what is there (this one, if they are of one time). True if a value was replaced or dropped. */
bool state_map_put(struct state_map *m, struct state_device *d, struct bytes metric, const struct value *value, int64_t time);

#endif
