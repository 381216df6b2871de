/* journal.h - one shard's journal: segments on disk, group commit, recovery
 *
 * A shard is a directory, data_dir/journal/shard-<k>/:
 *
 *   <20-digit base offset>.seg	blocks (block.h), one behind the other, then zeros
 *   next.seg			the next segment, preallocated, so that a full disk never hits an append
 *   clean			written last by an orderly stop: base and end of the last segment
 *   cursors			how far the follower groups are (followers.c)
 *   lock			flock of the process that serves the shard
 *
 * An offset is a place in the shard: segment base + place in the file. The base of a segment is the previous one's base
 * plus what that one could have held, so that no offset is ever used twice, whatever was torn. A process appends only to
 * segments that it created itself.
 *
 * A segment begins with its snapshot: ENTRY_SEGMENT (begin), an ENTRY_STREAM for each live stream, ENTRY_SEGMENT (end).
 * Recovery reads the newest segment whose snapshot is whole and all behind it, so old segments can be unlinked.
 *
 * Any failed write or sync ends the process at once (exit 75), without an answer to anybody: a second fsync after an error
 * returns 0 and lies. Unless the stop was clean, the next start writes the last block over itself and syncs that, since
 * what a read returns may be page cache that never reached the disk (journal_recover.c). */
#ifndef ROOST_STORAGE_JOURNAL_H
#define ROOST_STORAGE_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block.h"
#include "buf.h"
#include "entry.h"

#define JOURNAL_NAME_MAX 32
#define JOURNAL_SEGMENT_MIN (1ull << 20)
#define JOURNAL_DAMAGE_SAID 64
#define JOURNAL_WARM_MAX                                                                           \
	(64ull << 20) /* bytes before the last snapshot that are read for the re-send table */

enum journal_replay {
	JOURNAL_REPLAY_WARM, /* before the snapshot, by journal_warm(): only what is remembered for a while */
	JOURNAL_REPLAY_FULL,	/* a snapshot in it replaces what was known */
	JOURNAL_REPLAY_PARTIAL, /* its snapshot is damaged: go on with what is known */
};

struct journal;

struct journal_hooks {
	void (*replay)(void *arg, const struct block *b, enum journal_replay how);
	void (*damaged)(void *arg, uint64_t from, uint64_t to); /* met while replaying */
	/* Calls journal_snapshot_put for each entry of a new segment's snapshot. */
	void (*snapshot)(void *arg, struct journal *j);
	uint64_t (*snapshot_bytes)(void *arg); /* at least what snapshot puts, headers included */
	void (*busy)(void *arg, uint64_t ms);  /* a call that may stall follows */
	void *arg;
};

struct journal_config {
	const char *dir; /* exists */
	uint32_t shard;
	uint64_t segment_bytes;
	int64_t segment_age_us;
	uint64_t quota_bytes;
	int64_t warm_us; /* age up to which journal_warm() replays blocks */
};

struct journal_segment {
	uint64_t base;
	uint64_t end;	    /* offset behind its last block */
	uint64_t size;	    /* bytes that it takes on disk */
	bool end_known;	    /* at recovery: the segment behind it says where it ends */
	int64_t first_time; /* of its first block; 0 while recovering: not known yet */
};

struct journal {
	struct journal_config config;
	struct journal_hooks hooks;
	char *dir;
	int dir_fd;
	struct journal_segment
	    *segments; /* oldest first; the last one is open for appending if fd >= 0 */
	size_t segment_count;
	size_t segment_cap;
	int fd;
	uint64_t capacity; /* of the open segment */
	uint64_t zeroed; /* the open segment's file is written, with blocks or zeros, up to here */
	uint64_t closed_bytes; /* sizes of all segments but the open one */
	uint64_t base_next;    /* of the next segment */
	bool spare;	       /* next.seg is there */
	int spare_fd;	       /* while zeros are written to it; else -1 */
	uint64_t spare_zeroed; /* up to here */
	uint64_t spare_bytes;
	uint64_t prewrite_owed; /* bytes of zeros that next.seg should get */
	uint64_t block_bytes;	/* of the last block */
	uint64_t written_bytes; /* of all blocks since it was opened */
	bool full_said;
	int64_t time;	       /* of the last block */
	uint64_t end;	       /* offset behind the last committed block */
	uint64_t snapshot_end; /* where the open segment's snapshot ends */
	struct buf pending;    /* block being built */
	uint32_t pending_entries;
	struct buf snapshot; /* block of the snapshot being built */
	uint32_t snapshot_entries;
	uint64_t damage_said
	    [JOURNAL_DAMAGE_SAID]; /* offsets of damage that was reported, so that it is counted once */
	size_t damage_said_count;
	uint64_t sync_us;  /* spent in the last fdatasync */
	uint64_t warm_at;  /* journal_warm() goes on here */
	uint64_t warm_to;  /* and ends here */
	uint64_t warm_mid; /* where it began, perhaps inside a block */
};

/* Recovers what is there. 0 even if there is no room for a segment to append to: see journal_is_writable(). ERR_IO,
 * ERR_CONFIG: said in the log. */
int journal_open(const struct journal_config *c, const struct journal_hooks *hooks, int64_t wall_us,
    struct journal **ret_journal);
/* Replays some of what lies before the newest snapshot, oldest first, about so many bytes: journal_open() leaves it for
 * later, because nothing that senders are owed depends on it. True if there is more. */
bool journal_warm(struct journal *j, uint64_t bytes);
/* Commits what is pending, and says on disk that it did. */
void journal_close(struct journal **j, int64_t wall_us);
/* Lets go of everything as a crash would. */
void journal_abandon(struct journal **j);

bool journal_is_writable(const struct journal *j);
/* True if entries of so many bytes, headers included, fit into the block being built and the open segment. */
bool journal_fits(const struct journal *j, size_t bytes);
/* Only if journal_fits(). */
void journal_put(struct journal *j, const struct entry *e);
size_t journal_pending(const struct journal *j);
/* Writes and syncs what is pending; returns when it is durable or not at all. ret_block borrows until the next
 * journal_put(). */
void journal_commit(struct journal *j, int64_t wall_us, struct block *ret_block);
/* Goes on in a new segment that has room for `bytes` of entries. Nothing may be pending. ERR_FULL: no room on disk. */
int journal_roll(struct journal *j, size_t bytes, int64_t wall_us);
bool journal_roll_is_due(const struct journal *j, int64_t wall_us);
/* From the snapshot hook only. */
void journal_snapshot_put(struct journal *j, const struct entry *e);

/* Makes next.seg if it is not there. ERR_FULL: quota or disk. */
int journal_prepare(struct journal *j);
/* Writes some zeros, ahead into the open segment and into next.seg (journal_prewrite.c). idle: there is no other work. */
void journal_prewrite(struct journal *j, bool idle);
/* Frees buffers that a burst has left behind. */
void journal_rest(struct journal *j);
int journal_unlink_oldest(struct journal *j);

uint64_t journal_oldest(const struct journal *j); /* first offset that is kept */
uint64_t journal_bytes(const struct journal *j);  /* on disk, preallocated parts not counted */
uint64_t journal_room(const struct journal *j);	  /* bytes left in the open segment */
/* Bytes of journal between two offsets, without the holes between segments. */
uint64_t journal_distance(const struct journal *j, uint64_t from, uint64_t to);
/* The segment that holds the first block at or behind offset, or NULL. */
const struct journal_segment *journal_segment_at(const struct journal *j, uint64_t offset);
void journal_segment_name(uint64_t base, char out[JOURNAL_NAME_MAX]);
/* Counts and logs damage once. */
void journal_say_damage(struct journal *j, uint64_t from, uint64_t to);

/* For journal_prewrite.c. */
#define JOURNAL_SPARE "next.seg"
void journal_write(const struct journal *j, const char *name, struct bytes data, uint64_t at);
void journal_sync(struct journal *j, const char *name, uint64_t at);
/* A block of so many bytes was written. */
void journal_prewrite_owe(struct journal *j, uint64_t block_bytes);
/* next.seg was taken, or is gone: returns up to where it is zeros. */
uint64_t journal_prewrite_taken(struct journal *j);

/* For journal_recover.c. */
int journal_recover(struct journal *j, int64_t wall_us);
/* What journal_warm() will read: from before segment `full`. */
void journal_warm_begin(struct journal *j, size_t full, int64_t wall_us);
void journal_segment_add(struct journal *j, const struct journal_segment *s);
/* Never returns: a write or sync failed. */
_Noreturn void journal_die(
    const struct journal *j, const char *what, const char *file, uint64_t at, int error);

/* Body of ENTRY_SEGMENT, numbers little-endian: mark u64, version u64, base u64, previous segment's base u64 and end u64. */
enum segment_mark { SEGMENT_MARK_BEGIN = 1, SEGMENT_MARK_END = 2 };
#define SEGMENT_ENTRY_VERSION 1
struct segment_entry {
	enum segment_mark mark;
	uint64_t base;
	uint64_t previous_base;
	uint64_t previous_end;
};
int segment_entry_read(const struct entry *e, struct segment_entry *ret_segment);

#endif
