/* state.h - what one partition's engine keeps on disk: one SQLite file, one transaction for cursor and effect
 *
 * <data_dir>/rules/p-<partition>.db, owned by whoever holds the flock of p-<partition>.lock:
 *
 *	position(offset, next, time, awake)		one row: the block last seen, the first not seen, journal time
 *	device(id, latest)				latest values (engine_save.c)
 *	alert(device, rule, state, severity, since, fired_at, told_at, due, episode, ordinal)
 *	rule(identity, grp, alert, meaning)		what alert.rule stands for
 *
 * A snapshot is a transaction that may stay open: rows are written when it begins, it is committed when the alerts that
 * led to it are durable in the journal. WAL, synchronous=FULL: what is told to storage as durable survives a power cut. Only a
 * snapshot of the position alone is not waited for: what a power cut can take back of it, the partition had no part in. */
#ifndef ROOST_STATE_H
#define ROOST_STATE_H

#include "engine.h"

struct state;

/* ERR_AGAIN: another process holds it; ERR_NO_ROOM: the disk is full (not logged); ERR_IO (logged). A damaged file is put aside (logged) and begun anew. */
int state_open(const char *dir, uint32_t partition, struct state **ret_state);
/* Rolls an open snapshot back. */
void state_close(struct state **s);

/* Fills a new engine; next: first offset that it has not seen. ERR_DAMAGED: the file was put aside, the engine is to be
 * made anew and loading tried again; ERR_NO_ROOM; ERR_IO. */
int state_load(struct state *s, struct engine *e, uint64_t *ret_next);

/* Begins a snapshot: everything that changed in e since the last. ERR_IO: nothing was written, and the changes are lost to
 * it: the caller gives the partition up and opens it again. ERR_NO_ROOM: nothing was written, and the next one has it all. */
int state_begin(struct state *s, struct engine *e, const struct rule_index *index, uint64_t next);
/* e: as in state_begin(). */
int state_commit(struct state *s, struct engine *e);
/* Frees the pages that are kept in memory. */
void state_quiet(struct state *s);

#endif
