/* emit.h - alert transitions of one partition on their way into the journal
 *
 * A transition is kept here until it is durable: until COMMIT, or until its ALERT is met in the journal. What a new owner
 * computes again while it catches up is held back until the end at which earlier owners were fenced, and dropped if
 * its ALERT comes by on the way; so each is in the journal once. */
#ifndef ROOST_EMIT_H
#define ROOST_EMIT_H

#include "engine.h"
#include "worker.h"

#define EMIT_HELD_MAX 65536	/* more are sent without having looked: the id makes repeats harmless */

struct emit;

/* end: as in ASSIGN. */
struct emit *emit_new(struct worker *w, uint32_t partition, struct bus_link *link, uint64_t epoch, uint64_t end);
void emit_free(struct emit **e);

/* The partition stays here under a newer assignment. */
void emit_assign(struct emit *e, uint64_t epoch, uint64_t end);
void emit_link_up(struct emit *e);
void emit_add(struct emit *e, const struct transition *t);
/* An ALERT with this id is in the journal. */
void emit_seen(struct emit *e, struct bytes id);
/* What is computed now may be in the journal already. */
bool emit_is_holding(const struct emit *e);
/* Everything before upto was read; end: the journal's. */
void emit_reached(struct emit *e, uint64_t upto, uint64_t end);

/* Each ignores what is not its own; true if it was. */
bool emit_welcome(struct emit *e, const struct msg_welcome *m);
bool emit_commit(struct emit *e, const struct msg_commit *m);
bool emit_gap(struct emit *e, const struct msg_gap *m);
bool emit_fenced(struct emit *e, const struct msg_fenced *m);

/* Sends what may be sent now; false: nothing is waiting, it need not be called before the next emit_ call. */
bool emit_pump(struct emit *e);

size_t emit_waiting(const struct emit *e);	/* not known to be durable */
size_t emit_sent(const struct emit *e);		/* of these, waiting for COMMIT */
/* Transitions added so far: a mark for emit_is_durable(). */
uint64_t emit_mark(const struct emit *e);
/* Everything added before mark is durable. */
bool emit_is_durable(const struct emit *e, uint64_t mark);

#endif
