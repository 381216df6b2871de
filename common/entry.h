/* entry.h - what a journal block contains, as storage writes it and followers read it
 *
 * A block's body is a concatenation of entries, all numbers little-endian:
 *
 *   kind u8, flags u8 (0), partition u16, length u32 of the body, stream u64, seq u64, body
 *
 * A follower gets blocks as views: offset u64, next u64, time i64, length u32 of the entries, entries (only those it asked
 * for). offset is where the block starts in its shard, next where the block after it starts: a cursor. Offsets grow and
 * are never reused. time is journal time, us since the Unix epoch; it never goes back within a shard. */
#ifndef ROOST_ENTRY_H
#define ROOST_ENTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"

enum entry_kind {
	ENTRY_READINGS = 1,   /* body: records with verdicts (record.h) */
	ENTRY_QUARANTINE = 2, /* values found impossible afterwards */
	ENTRY_ALERT = 3,      /* body: MSG_ALERT */
	ENTRY_PARTIAL = 4,
	ENTRY_PUBREL = 5,     /* body: QoS 2 packet ids that their senders released (pubrel_put) */
	ENTRY_TICK = 6, /* no body, partition ENTRY_ALL_PARTITIONS: once a second */
	ENTRY_CONTEXT = 7,
	/* storage's own, never delivered */
	ENTRY_STREAM =
	    32, /* a stream's id was issued, or (first block of a segment) where it stands */
	ENTRY_SEGMENT = 33, /* first entry of a segment */
	ENTRY_UNRELEASED = 34, /* QoS 2 packet ids that are not released (first blocks of a segment) */
};

#define ENTRY_ALL_PARTITIONS 0xffffu
#define ENTRY_HEADER_SIZE 24
#define ENTRY_BODY_MAX 4194304
#define VIEW_HEADER_SIZE 28
#define PUBREL_SIZE 10

struct entry {
	unsigned kind; /* may be one this release does not know: skip it */
	uint32_t partition;
	uint64_t stream; /* 0: storage's own */
	uint64_t seq;
	struct bytes body;
};

struct block_view {
	uint64_t offset;
	uint64_t next;
	int64_t time;
	struct bytes entries;
};

void entry_put(struct buf *out, const struct entry *e);
/* Takes the next one off the front of rest. 0; ERR_NOT_FOUND at the end; ERR_MALFORMED, ERR_TOO_BIG. */
int entry_next(struct bytes *rest, struct entry *ret_entry);

/* The body of ENTRY_PUBREL: client u64 (as in the record), packet id u16, as often as there are ids. pubrel_next() takes one off
 * the front; false at the end, or if less than one is left. */
struct pubrel {
	uint64_t client;
	uint16_t packet_id;
};
void pubrel_put(struct buf *out, struct pubrel r);
bool pubrel_next(struct bytes *rest, struct pubrel *ret_pubrel);

void view_put(struct buf *out, const struct block_view *v);
/* As entry_next(). next lies behind offset. */
int view_next(struct bytes *rest, struct block_view *ret_view);

#endif
