/* partition.h - one partition that this worker owns: its state file, its engine, its alerts on their way
 *
 * A snapshot holds the engine as it stood at one block. It is written when due and committed when every alert that was
 * caused before it is durable in the journal: after a crash the engine goes on from there and computes the same alerts again. */
#ifndef ROOST_PARTITION_H
#define ROOST_PARTITION_H

#include "emit.h"
#include "entry.h"
#include "follower.h"
#include "orphan.h"
#include "room.h"
#include "state.h"

struct partition {
	struct worker *w;
	uint32_t number;
	uint32_t shard;
	struct state *state;
	struct engine *engine;
	struct emit *emit;
	struct orphans *orphans;	/* until it has caught up */
	struct rule_index *index;	/* in force; borrowed */
	struct room *room;		/* for state files; borrowed */
	uint64_t next;			/* first offset that the engine has not seen */
	uint64_t durable;		/* as next, of the last committed snapshot */
	bool writing;			/* a snapshot waits for its alerts */
	uint64_t writing_next;
	uint64_t writing_mark;
	int64_t snapshot_us;		/* loop time of the last */
	struct engine_counts reported;
};

/* dir: of the state files. end: as in ASSIGN. ERR_AGAIN: another process still holds it; ERR_NO_ROOM: said; ERR_IO (logged). */
int partition_open(struct worker *w, const char *dir, uint32_t number, uint32_t shard, struct room *room, struct bus_link *link, struct rule_index *index, uint64_t epoch, uint64_t end, struct partition **ret_partition);
/* Without a last snapshot: call partition_flush() before, where it may be wanted. */
void partition_close(struct partition **p);

/* An entry of a block, in order; entries of blocks that it has seen are skipped. */
void partition_entry(struct partition *p, const struct block_view *v, const struct entry *e);
/* Everything before upto was seen; end: of the journal. */
void partition_reached(struct partition *p, uint64_t upto, uint64_t end);
/* Sends, and takes snapshots when due, and while there is room for them: alerts go on without. ERR_IO: its state cannot be
 * written. */
int partition_turn(struct partition *p);
bool partition_wants_turn(const struct partition *p);
/* Everything before it is in the state file, or changed nothing there: ticks do not. */
uint64_t partition_settled(const struct partition *p);
/* A last snapshot, if its alerts are durable. */
void partition_flush(struct partition *p);
/* Frees what only the next snapshot needs. */
void partition_quiet(struct partition *p);
void partition_adopt(struct partition *p, struct rule_index *index);

#endif
