/* subscriber.h - one reader of the shard: what it asked for and how far it is */
#ifndef ROOST_STORAGE_SUBSCRIBER_H
#define ROOST_STORAGE_SUBSCRIBER_H

#include "buf.h"
#include "followers.h"
#include "journal_read.h"

#define NOT_ITS_PARTITION UINT64_MAX

struct subscriber {
	char name[BUS_NAME_MAX];
	char group[GROUP_NAME_MAX]; /* "": a passing reader */
	uint64_t life;
	bool shared;
	bool resumed;	  /* shared: RESUME came for this epoch */
	bool assign_due;  /* shared: ASSIGN is to be sent (again) */
	uint64_t epoch;	  /* of its assignment; 0: not shared */
	uint64_t *wanted; /* shared: by slot, the first offset wanted, or NOT_ITS_PARTITION */
	uint64_t kinds;
	uint64_t credit;
	uint64_t sent;	   /* bytes since SUBSCRIBE or ASSIGN */
	uint64_t received; /* of these */
	uint64_t at;	   /* first block that was not looked at for it */
	uint64_t told;	   /* upto of the last delivery */
	uint64_t cursor;   /* durable there */
	bool cursor_known;
	int64_t at_time; /* journal time of the last block looked at */
	int64_t seen_us;
	int64_t said_us;
	int64_t assigned_us;
	int64_t retry_us; /* the receiver was behind or away: not before this time */
	int64_t patience_us;
	int64_t stand_back_us; /* it may be kept so far behind under pressure */
	bool stands_back;
	bool stood_enough;	 /* it was kept so far behind: not again before it has caught up */
	int64_t gave_us;	 /* when what was gathered was offered last */
	int64_t gather_since_us; /* the first block that was not offered since; 0: none */
	uint64_t gather_from;	 /* where it starts */
	uint64_t gather_bytes;
	struct buf out;
	struct journal_reader *reader;
};

struct subscriber *subscriber_new(const char *name, const char *group);
void subscriber_free(struct subscriber **s);
/* Under pressure, may it get nothing? Says so in s->stands_back, and counts. */
bool subscriber_stands_back(const struct followers *f, struct subscriber *s);
/* Nothing came for a while: frees what only the next blocks need. */
void subscriber_rest(struct subscriber *s);
void subscriber_rewind(struct subscriber *s, uint64_t at);
/* Delivers from s->at on. True if there is more for it now. */
bool subscriber_pump(struct followers *f, struct subscriber *s, int64_t now_us);
/* An empty delivery: a sign of life that also shows the follower whether it missed something. */
void subscriber_keep_alive(struct followers *f, struct subscriber *s, int64_t now_us);
/* Takes a start before the oldest segment to the oldest, and says so. from 0 asks for the oldest. */
uint64_t subscriber_clamp(struct followers *f, struct subscriber *s, uint64_t from);

#endif
