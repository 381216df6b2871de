/* outbox.h - what is owed to whom, on disk: <data_dir>/notifier/outbox.db
 *
 *	owed(seq, id, receiver, body, state, attempts, created, next_at, error)
 *	cursor(shard, upto)
 *
 * What a stretch of the journal owes and the cursor behind it are one transaction (synchronous=FULL): after a crash nothing
 * is owed twice and nothing forgotten. A row is one transition (id) for one receiver, delivered in the order of seq under
 * the key "id/receiver"; it stays, as delivered or dead, for OUTBOX_KEEP_US. All times are wall clock, us. */
#ifndef ROOST_OUTBOX_H
#define ROOST_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

#define OUTBOX_OWED_MAX 100000	/* then no more is taken from the journal */
#define OUTBOX_KEEP_US (7 * 86400000000ll)
#define OUTBOX_KEY_MAX 128

enum outbox_state { OUTBOX_OWED = 0, OUTBOX_DELIVERED = 1, OUTBOX_DEAD = 2 };

struct outbox;

struct outbox_item {
	int64_t seq;
	char key[OUTBOX_KEY_MAX];
	struct buf body;
	uint64_t attempts;
	int64_t created;
	int64_t next_at;
};

/* A damaged file is renamed to outbox.db.damaged-<time>, logged and counted, as soon as there is a new one with what could be read
 * of it, and without cursors, so that the journal is read from its oldest record: nothing owed is forgotten, and what is known
 * to be delivered is not repeated. Damage that shows later (ERR_DAMAGED, logged) leaves a mark for the next outbox_open().
 * dir is created. Only one process at a time: ERR_AGAIN while another has it. ERR_IO, ERR_UNSUPPORTED: logged; ERR_NO_ROOM, here
 * and below, is the caller's to say: the disk is full, and what was to be written is to be tried again. */
int outbox_open(const char *dir, uint32_t shards, struct outbox **ret_outbox);
void outbox_close(struct outbox **o);
/* When it was rebuilt last, because it was damaged (wall clock, us); 0: never. */
int64_t outbox_rebuilt_at(const struct outbox *o);
uint64_t outbox_cursor(const struct outbox *o, uint32_t shard);
size_t outbox_owed(const struct outbox *o);

/* begin, owe ..., commit: errors are logged and leave nothing of it; close it and begin again from the cursors. */
int outbox_begin(struct outbox *o);
/* ERR_EXISTS: it was owed before. */
int outbox_owe(struct outbox *o, struct bytes id, const char *receiver, struct bytes body, int64_t now);
int outbox_commit(struct outbox *o, const uint64_t *cursors);

/* The first thing owed to this receiver; ERR_NOT_FOUND. ret_item is zeroed or was used before; outbox_item_fini frees it. */
int outbox_next(struct outbox *o, const char *receiver, struct outbox_item *ret_item);
void outbox_item_fini(struct outbox_item *item);
int outbox_delivered(struct outbox *o, int64_t seq, uint64_t attempts);
int outbox_retry(struct outbox *o, int64_t seq, uint64_t attempts, int64_t next_at, const char *error);
int outbox_dead(struct outbox *o, int64_t seq, uint64_t attempts, const char *error);
/* Forgets what is over and older than OUTBOX_KEEP_US. */
int outbox_prune(struct outbox *o, int64_t now);

struct outbox_row {
	int64_t seq;
	const char *id;
	const char *receiver;
	enum outbox_state state;
	uint64_t attempts;
	int64_t created;
	int64_t next_at;
	const char *error;
};
typedef void (*outbox_row_fn)(void *arg, const struct outbox_row *row);
/* For people, while the notifier runs or not: the newest max rows, newest first. ERR_NOT_FOUND: there is no outbox. */
int outbox_list(const char *dir, size_t max, outbox_row_fn fn, void *arg);
/* Names that something is owed to, also those that notify.yaml does not know any more. */
int outbox_receivers(struct outbox *o, void (*fn)(void *arg, const char *receiver), void *arg);

#endif
