/* cursors.h - how far each follower group is, kept over restarts, so that retention waits for those it must wait for
 *
 * <shard dir>/cursors holds a line `group offset` each. It is written without a sync: an older cursor only holds more back. */
#ifndef ROOST_STORAGE_CURSORS_H
#define ROOST_STORAGE_CURSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "groups.h"

#define CURSORS_MAX 64

struct cursor {
	char group[GROUP_NAME_MAX];
	uint64_t offset; /* everything before it is durable at the group; 0: it never said */
	bool mandatory;	 /* retention waits for it, known or not */
};

struct cursors {
	char *path;
	struct cursor all[CURSORS_MAX];
	size_t count;
	bool changed;
	bool failed; /* to be saved: it was said */
};

/* mandatory: names, comma separated. */
void cursors_init(struct cursors *c, const char *dir, const char *mandatory);
void cursors_fini(struct cursors *c);
/* Adds the group if it is not there; NULL if there is no room. */
struct cursor *cursors_get(struct cursors *c, const char *group);
/* A cursor only moves forward. */
void cursors_advance(struct cursors *c, const char *group, uint64_t offset);
/* What is at or behind this offset must be kept. */
uint64_t cursors_hold(const struct cursors *c);
/* Writes them if they changed. */
void cursors_save(struct cursors *c);

#endif
