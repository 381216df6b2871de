/* unreleased.h - QoS 2 messages whose PUBREL has not come: a repeat of one is a copy, however late it comes; pure
 *
 * A packet id belongs to one message until its sender has released it (MQTT-4.3.3). Whoever sends a message again says so
 * (DUP=1, MQTT-3.3.1-1), so DUP=0 under an id that is not released is the first message of a new session of that client: the old
 * one was given up by its sender, and is replaced. The exception is an original that its own repeat has overtaken on the way
 * from another worker.
 *
 * Nothing is forgotten to make room: a message that finds none is refused. What is older than any session may become is over.
 *
 * In the journal: records of QoS 2 and PUBREL entries say what happened; the first blocks of a segment hold all there are, as
 * ENTRY_UNRELEASED: items of 36 bytes, client u64, hash u64, stream u64, time u64, packet id u16, flags u16, little-endian. */
#ifndef ROOST_STORAGE_UNRELEASED_H
#define ROOST_STORAGE_UNRELEASED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "entry.h"

struct unreleased_item {
	uint64_t client; /* as in the record; 0: a free place */
	uint64_t hash;
	uint64_t stream; /* it came in */
	int64_t time;	 /* journal time */
	uint16_t packet_id;
	bool dup;
};

struct unreleased {
	struct unreleased_item *slots; /* open addressing, linear; NULL: nothing was ever there */
	size_t slot_count;	       /* a power of 2, at least twice count */
	size_t count;
	size_t capacity;
	int64_t age_us;
	size_t swept; /* unreleased_expire() goes on here */
};

enum unreleased_answer { UNRELEASED_NEW, UNRELEASED_COPY, UNRELEASED_FULL };

void unreleased_init(struct unreleased *u, size_t capacity, int64_t age_us);
void unreleased_fini(struct unreleased *u);
void unreleased_clear(struct unreleased *u);
/* A QoS 2 message came: NEW, it is kept as unreleased; COPY; FULL, nothing is kept. */
enum unreleased_answer unreleased_offer(struct unreleased *u, const struct unreleased_item *m);
/* From the journal: it was NEW, whatever room there is now. */
void unreleased_restore(struct unreleased *u, const struct unreleased_item *m);
/* True if there was such a message. */
bool unreleased_release(struct unreleased *u, uint64_t client, uint16_t packet_id);
/* Looks at so many places; returns how many messages were too old. */
size_t unreleased_expire(struct unreleased *u, int64_t now_us, size_t places);

typedef void (*unreleased_put_fn)(void *arg, const struct entry *e);
void unreleased_put_all(const struct unreleased *u, unreleased_put_fn put, void *arg);
uint64_t unreleased_put_bytes(const struct unreleased *u);
/* Replays an ENTRY_UNRELEASED. ERR_MALFORMED: nothing of it was taken. */
int unreleased_replay(struct unreleased *u, const struct entry *e);

#endif
