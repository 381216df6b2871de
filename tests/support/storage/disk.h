/* disk.h - the disk below a storage process under test: every call counted, failed, shortened, or the last that is made
 *
 * The functions by which storage changes its files are defined here instead of in libc. What they did is written into a log in
 * shared memory, from which any state is made that a power cut may leave: data that no sync covered is there, missing, or
 * there in some sectors; names that no sync of their directory covered likewise, the older before the younger. */
#ifndef ROOST_TEST_DISK_H
#define ROOST_TEST_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SECTOR 512u
#define STREAMS 3

enum call {
	CALL_OPEN,
	CALL_WRITE,
	CALL_PWRITE,
	CALL_FDATASYNC,
	CALL_FSYNC,
	CALL_RENAME,
	CALL_FTRUNCATE,
	CALL_FALLOCATE,
	CALL_UNLINK,
	CALL_LINK,
	CALL_MKDIR,
	CALL_FLOCK,
	CALL_PREAD,
	CALL_COUNT,
};

enum fault {
	FAULT_NONE,
	FAULT_KILL_BEFORE, /* the process ends before the call */
	FAULT_KILL_AFTER,
	FAULT_FAIL,	  /* the call does nothing and returns an error */
	FAULT_SHORT,	  /* reads and writes do a part of their work, truly */
	FAULT_SHORT_FAIL, /* the same, and the next call of the kind fails: a disk that gets full */
};

enum op_kind {
	OP_CREATE, /* inode in dir under name, empty */
	OP_MKDIR,
	OP_WRITE,
	OP_SIZE, /* of the file, at */
	OP_SYNC,
	OP_SYNC_FAILED, /* what was not durable is not, and no later sync of it makes it so */
	OP_SYNC_DIR,
	OP_RENAME, /* name in dir becomes to */
	OP_UNLINK,
	OP_LINK, /* name in dir is also to */
	OP_ACK,	 /* the sender of stream `inode` was told that `at` is durable; len: 1 for the id itself */
	OP_PASSED, /* every follower is past `at` of stream `inode` */
};

struct op {
	enum op_kind kind;
	uint32_t len; /* of the data behind it */
	uint64_t inode;
	uint64_t dir;
	uint64_t at;
	char name[40], to[40];
};

struct disk_shared {
	uint64_t used; /* bytes of the log */
	uint32_t ops;
	uint32_t calls;
	uint32_t fault_at; /* number of the call, from 1 */
	enum fault fault;
	int fault_errno;
	bool fault_met;	    /* the call came */
	bool fault_fits;    /* and the fault means something to it */
	bool unreadable;    /* every read fails */
	bool short_pending; /* FAULT_SHORT_FAIL: the next one fails */
	enum call call_met;
	uint32_t acks_after; /* answers that left after the fault */
	uint32_t by_call[CALL_COUNT];
};

extern struct disk_shared *disk;
extern const char *const call_names[CALL_COUNT];

/* Maps the shared log, once. */
void disk_init(void);
/* From here on calls on files below root count. The log begins anew with the files that are there, all durable. */
void disk_begin(const char *root);
/* Calls are counted and may fail; off: they pass. */
void disk_watch(bool on);
void disk_note(enum op_kind kind, uint64_t inode, uint64_t at, uint32_t flag);

/* What is acknowledged, and passed by followers, in the first n operations. */
struct disk_known {
	uint64_t id[STREAMS];
	uint64_t acked[STREAMS];
	uint64_t passed[STREAMS];
};
struct disk_known disk_known_at(uint32_t n);

/* How much of what no sync covered is there. */
enum disk_survival { SURVIVE_NONE, SURVIVE_ALL, SURVIVE_RANDOM, SURVIVE_HEAD, SURVIVE_HOLE };
struct disk_cut {
	uint32_t ops; /* the power goes behind so many */
	enum disk_survival survival;
	uint64_t seed;
	uint32_t sector; /* HEAD: so many sectors of the last write; HOLE: all but this one; the rest as with ALL */
	bool no_data_sync; /* planted: syncs of files that do nothing */
	bool no_dir_sync;  /* planted: syncs of directories that do nothing */
};
/* Writes the state to a folder that is empty. */
void disk_materialise(const struct disk_cut *cut, const char *to);
const struct op *disk_op(uint32_t n);
/* Sectors of the write that is operation n, counted from 0; 0 if it is none. */
uint32_t disk_sectors(uint32_t n);

#endif
