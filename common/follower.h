/* follower.h - reading the journal from a cursor, shard after shard, block after block, across restarts of both sides
 *
 * The follower says where to begin and which kinds it wants; storage pushes blocks within credit. Blocks arrive in order,
 * without holes (a lost message makes the client subscribe again from what it has). A follower keeps its cursor with its
 * effect, in one transaction, and tells it here only so that retention may let go of segments. */
#ifndef ROOST_FOLLOWER_H
#define ROOST_FOLLOWER_H

#include <stdbool.h>
#include <stdint.h>

#include "entry.h"
#include "worker.h"

#define FOLLOWER_GROUP_MAX 64
#define FOLLOWER_CREDIT (8u << 20) /* bytes under way */
#define FOLLOWER_FROM_OLDEST 0
#define FOLLOWER_FROM_END UINT64_MAX

#define KIND_BIT(kind) (1ull << (kind))

struct follower;

struct follower_spec {
	const char *group; /* "rules"; "" reads in passing and holds nothing back */
	bool shared;	   /* the group's members divide the partitions */
	uint64_t kinds;	   /* KIND_BIT(ENTRY_READINGS) | ... */
	/* At the end of the journal it rather has one delivery in so many milliseconds (at most 500) than many small ones, each
	 * of which costs a wake-up here and there. The first after a pause comes without this delay. */
	unsigned patience_ms;
	/* While readings come faster than the processors do all that follows from them, it may be kept so many milliseconds behind
	 * (at most 60,000); 0: never. NULL: 0. */
	unsigned (*stand_back_ms)(void *arg);
	/* Each block in turn. v->entries holds only the kinds (and partitions) asked for. */
	void (*on_block)(void *arg, uint32_t shard, const struct block_view *v);
	/* After the blocks of one delivery: everything before upto was seen; end is the journal's end. May be NULL. */
	void (*on_upto)(void *arg, uint32_t shard, uint64_t upto, uint64_t end);
	/* shared only: what this member owns in the shard now. It lets go of the rest at once, takes hold of the new ones (its
	 * state file's lock) and then calls follower_resume(), now or later. */
	void (*on_assign)(void *arg, uint32_t shard, uint64_t epoch, const uint32_t *partitions,
	    size_t n, uint64_t end);
	/* Records from..to were removed before they were read (retention). May be NULL; it is logged in any case. */
	void (*on_skipped)(void *arg, uint32_t shard, uint64_t from, uint64_t to);
	/* Not shared: where to go on in this shard; asked at each subscription. */
	uint64_t (*cursor)(void *arg, uint32_t shard);
};

/* Connects to all shards; messages flow once the loop runs. spec is kept by reference. */
struct follower *follower_new(struct worker *w, const struct follower_spec *spec, void *arg);
void follower_free(struct follower **f);
/* Shared: the state of these partitions is held; deliver from these offsets (parallel arrays). */
void follower_resume(struct follower *f, uint32_t shard, uint64_t epoch, const uint32_t *partitions,
    const uint64_t *offsets, size_t n);
/* Everything before cursor is durable with its effect. */
void follower_durable(struct follower *f, uint32_t shard, uint64_t cursor);
/* Stops giving credit, for a follower whose own way out is blocked; what is under way still arrives. */
void follower_pause(struct follower *f, bool paused);
/* The bus link of a shard: rules sends its ALERT batches by it. */
struct bus_link *follower_link(struct follower *f, uint32_t shard);
/* Starts the subscription again from the cursor (after a failed transaction). */
void follower_restart(struct follower *f, uint32_t shard);

#endif
