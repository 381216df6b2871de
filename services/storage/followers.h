/* followers.h - who reads the shard, from where, within which credit
 *
 * A subscriber at the tail is served from memory (recent.h), one behind it from the files. What is delivered is gathered
 * for up to FOLLOWERS_GATHER_US or FOLLOWERS_GATHER_BYTES, so that a follower is not woken by each commit; for one that is
 * patient up to its patience after the delivery before, or FOLLOWERS_PATIENT_BYTES. Under pressure (pressure.h) one that
 * said it may stand back gets nothing until it is as far behind as it allowed. A subscriber that says nothing for FOLLOWERS_SILENT_US is forgotten. The members of a shared group divide the partitions (groups.h). */
#ifndef ROOST_STORAGE_FOLLOWERS_H
#define ROOST_STORAGE_FOLLOWERS_H

#include <stdbool.h>
#include <stdint.h>

#include "codec.h"
#include "cursors.h"
#include "groups.h"
#include "journal.h"
#include "recent.h"

#define FOLLOWERS_MAX 256
#define FOLLOWERS_GROUPS_MAX 8 /* shared ones */
#define FOLLOWERS_GATHER_US 5000
#define FOLLOWERS_GATHER_BYTES 262144
#define FOLLOWERS_PATIENT_BYTES (4u << 20) /* less than half of what is in memory: recent.h */
#define FOLLOWERS_TURN_BYTES (1u << 20)	   /* read for one follower in one turn of the loop */
#define FOLLOWERS_SILENT_US 3000000

/* 0, ERR_AGAIN or ERR_NOT_FOUND, as bus_send(). */
typedef int (*followers_send_fn)(void *arg, const char *peer, enum msg_type type, const void *msg);

struct subscriber;

struct followers {
	uint32_t shard;
	uint32_t shards;
	uint32_t partitions;
	struct journal *journal;
	struct recent *recent;
	struct cursors cursors;
	struct subscriber *all[FOLLOWERS_MAX];
	size_t count;
	struct group groups[FOLLOWERS_GROUPS_MAX];
	size_t group_count;
	bool pressure;		   /* who may stand back gets nothing: pressure.h */
	uint64_t stand_back_bytes; /* of the journal, that it is kept behind at most */
	followers_send_fn send;
	void *send_arg;
};

void followers_fini(struct followers *f);
void followers_on_subscribe(
    struct followers *f, const char *from, const struct msg_subscribe *m, int64_t now_us);
void followers_on_resume(
    struct followers *f, const char *from, const struct msg_resume *m, int64_t now_us);
void followers_on_progress(
    struct followers *f, const char *from, const struct msg_progress *m, int64_t now_us);

/* A block was committed and is in recent. */
void followers_committed(struct followers *f, const struct block *b, int64_t now_us);
/* True if members came or went: commit what is pending, then call followers_assign. */
bool followers_assign_is_due(const struct followers *f);
void followers_assign(struct followers *f);
/* Delivers what is due. Returns when it wants to be called again: 0 at once, INT64_MAX not before something happens. */
int64_t followers_turn(struct followers *f, int64_t now_us);
/* Once a second: forgets the silent, says something to the others. stalled_us: this process stood still for so long. */
void followers_tick(struct followers *f, int64_t now_us, int64_t stalled_us);
/* May this worker append to this partition under this assignment? */
bool followers_owns(
    const struct followers *f, const char *name, uint64_t life, uint32_t partition, uint64_t epoch);
/* True if no subscriber that takes deliveries is behind. */
bool followers_are_at_tail(const struct followers *f);
size_t followers_standing_back(const struct followers *f);
/* One report for each group that has a name. */
void followers_lag(
    const struct followers *f, void (*report)(void *arg, const struct msg_lag *lag), void *arg);

#endif
