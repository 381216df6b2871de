/* changes.h - changes that were asked for: checked, sent into the journal, answered when they came back from it
 *
 * A change is checked against what is in force: registry.db, and over it the changes that are on their way. It gets the next
 * version of its object and waits here until the fold has met it in the journal and registry.db has it; only then it is
 * answered. Had another registry been first with that version, the fold says so, and the answer is a conflict. What is asked
 * for again, because an answer or a registry got lost, finds the object as it is to be: unchanged. */
#ifndef ROOST_REGISTRY_CHANGES_H
#define ROOST_REGISTRY_CHANGES_H

#include "store.h"

#define CHANGES_MAX 4096	  /* on their way; more are told that the registry is busy */
#define CHANGES_CREDENTIALS_MAX 64 /* of one device or user, as registry.db has them */

struct changes;

struct changes_spec {
	void (*append)(void *arg, uint32_t partition, struct bytes body);
	void (*answer)(void *arg, const char *peer, const struct msg_changed *m);
};

struct changes *changes_new(struct store *store, uint32_t partitions, size_t devices_max, const struct changes_spec *spec, void *arg);
void changes_free(struct changes **c);
/* Not while a transaction of the store is open. now: wall clock. */
void changes_ask(struct changes *c, const char *peer, const struct msg_change *m, int64_t now);
/* The fold met this entry; err: what store_apply() said to it. */
void changes_folded(struct changes *c, uint32_t partition, struct bytes body, int err);
void changes_committed(struct changes *c); /* what was folded is in registry.db: it is answered */
void changes_undone(struct changes *c);	   /* it is not, and will be met again */
size_t changes_waiting(const struct changes *c);

#endif
