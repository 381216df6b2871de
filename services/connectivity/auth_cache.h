/* auth_cache.h - credentials that somebody has shown lately, as the registry has them
 *
 * An entry is begun when its credential is asked for (no credential in it yet) and is complete when the registry has answered. It keeps
 * the objects as they are encoded, with their versions: whatever comes later, from Redis or from the journal, counts only if its
 * version is greater. Bounded: who was not used for longest goes first, but never one whose sessions live (they are to be cut
 * when something changes) or that is being asked for. */
#ifndef ROOST_AUTH_CACHE_H
#define ROOST_AUTH_CACHE_H

#include "auth.h"
#include "credential.h"

struct auth;
struct auth_try;

struct auth_entry {
	struct auth_entry *next;	/* of those with the same place by credential */
	struct auth_entry *device_next;	/* ... by device */
	struct auth_entry *newer, *older;
	struct auth *owner;
	struct auth_entry *want_next;	/* of those that are to be asked for; the asker's */
	struct auth_try *tries;		/* that wait for it; the door's */
	struct auth_grant *grant;	/* NULL: nobody has it */
	struct buf credential;		/* CREDENTIAL, encoded; empty: not known yet */
	struct buf device;		/* its DEVICE; empty: it is a user's */
	uint8_t *proof;			/* a fast hash of the password that a slow one has proven, with its salt; or NULL */
	uint64_t credential_version, device_version;
	int64_t refresh_us;		/* asked for again then */
	int64_t expires_us;		/* wall clock; 0: never */
	bool blocked;
	bool asked;			/* an answer is on its way */
	bool wanted;			/* in the list of the asker */
	bool for_psk;			/* a handshake may come again for it */
	uint8_t missing;		/* times in a row that Redis did not have it, though it was there before */
	uint8_t kind;			/* enum credential_kind */
	uint16_t lookup_len;
	uint8_t lookup[];
};

struct auth_cache {
	size_t max;
	uint64_t seed;
	struct auth_entry **by_credential, **by_device;
	size_t size;			/* places: a power of two */
	size_t count;
	struct auth_entry *newest, *oldest;
};

void auth_cache_init(struct auth_cache *c, size_t max, uint64_t seed);
void auth_cache_fini(struct auth_cache *c);
struct auth_entry *auth_cache_find(const struct auth_cache *c, enum credential_kind kind, struct bytes lookup);
/* One that is not there; others may go for it. */
struct auth_entry *auth_cache_add(struct auth_cache *c, enum credential_kind kind, struct bytes lookup);
/* Without tries, and not asked or wanted. */
void auth_cache_remove(struct auth_cache *c, struct auth_entry *e);
void auth_cache_used(struct auth_cache *c, struct auth_entry *e);
/* The first, or the next behind e, of a device. */
struct auth_entry *auth_cache_of_device(const struct auth_cache *c, struct bytes device, const struct auth_entry *e);
bool auth_entry_is_known(const struct auth_entry *e);
/* It has a device; borrowed. */
bool auth_entry_device(const struct auth_entry *e, struct msg_device *ret);
struct bytes auth_entry_lookup(const struct auth_entry *e);

/* What the registry has; device is NULL for a user's. Borrowed. */
void auth_cache_fill(struct auth_cache *c, struct auth_entry *e, const struct msg_credential *credential, const struct msg_device *device);
/* What was known is not valid any more; it is as if it had just been added. */
void auth_cache_empty(struct auth_cache *c, struct auth_entry *e);
/* Borrowed from the entry. */
void auth_entry_credential(const struct auth_entry *e, struct msg_credential *ret);
/* The grant of whoever has proven it: a reference, the caller's. */
struct auth_grant *auth_entry_grant(struct auth_entry *e);
/* Is the grant as the entry says? If roles or speaks_for are others, it is made so, and true returned. */
bool auth_entry_regrant(struct auth_entry *e);
/* The password that matched, so that the next time is fast. */
void auth_entry_prove(struct auth_entry *e, struct bytes secret);
bool auth_entry_is_proven(const struct auth_entry *e, struct bytes secret);

#endif
