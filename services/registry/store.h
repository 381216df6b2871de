/* store.h - registry.db: the lasting fold of the journal's CONTEXT entries, SQLite
 *
 *	object(key, type, version, n, gone, owner, body)	key: registry_put_key(); owner: the device of a credential or an attribute, the
 *						user of a credential without device; body: the message; n grows with
 *						each change that is applied: Redis is behind by n
 *	cursor(shard, upto)			everything before is in the tables
 *	meta(id)				names this registry.db: another has another
 *
 * What an entry does and the cursor behind it are one transaction. Of an object the greater version wins, of two that are equal the
 * one that came first; what is gone stays as a row with its version, so that nothing older comes back. Lists and shows of people
 * read it beside the registry (read-only). */
#ifndef ROOST_REGISTRY_STORE_H
#define ROOST_REGISTRY_STORE_H

#include "registry_change.h"

#define STORE_VERSION 1
#define STORE_ID_MAX 40

struct store;

/* Takes the lock (ERR_AGAIN: another has it), makes what is missing. ERR_IO, ERR_DAMAGED, ERR_UNSUPPORTED: logged; ERR_NO_ROOM, here
 * and below, is the caller's to say. */
int store_open(const char *dir, uint32_t shards, struct store **ret_store);
/* For tools. ERR_NOT_FOUND: there is none. */
int store_open_readonly(const char *dir, struct store **ret_store);
void store_close(struct store **s);
const char *store_id(const struct store *s);
uint64_t store_cursor(const struct store *s, uint32_t shard);

/* begin, apply ..., commit. Any error but ERR_EXISTS and ERR_NOT_FOUND of apply rolls all of it back. */
int store_begin(struct store *s);
/* 0: it is in force now. ERR_EXISTS: its object has this version or a later one. ERR_NOT_FOUND: an attribute of no device. body: o,
 * encoded. */
int store_apply(struct store *s, const struct registry_object *o, struct bytes body);
int store_commit(struct store *s, const uint64_t *cursors);
void store_rollback(struct store *s);

/* The object with this key, also one that is gone, as a body that is put into ret. ERR_NOT_FOUND. */
int store_get(struct store *s, struct bytes key, struct buf *ret);

typedef int (*store_fn)(void *arg, uint64_t n, struct bytes body); /* 0: go on; else ends the walk, which returns it */
/* In the order of n, at most max behind after. */
int store_changes(struct store *s, uint64_t after, size_t max, store_fn fn, void *arg);
/* Those that are not gone, of this type, in the order of their keys; owner: only of this device or user, if it is not empty. */
int store_list(struct store *s, enum msg_type type, struct bytes owner, store_fn fn, void *arg);

uint64_t store_last(const struct store *s); /* n of the last change */
size_t store_devices(const struct store *s);	/* that are not gone */
size_t store_credentials(const struct store *s);

#endif
