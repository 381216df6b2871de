/* registry_change.h - what the registry knows, as CHANGE asks for it and as the journal keeps it; pure
 *
 * An entry of kind CONTEXT is one message: DEVICE, CREDENTIAL, PROFILE or ATTRIBUTE (messages.def), the whole new state of one
 * object. What a fold (registry.db, Redis, a cache) holds is, of each object, the one with the greatest version: the same
 * whatever it read twice and wherever it began. Only an ATTRIBUTE may be without a version: then the device said it, and the
 * later one wins. An object that is removed, revoked or empty keeps its version, so that an older state never comes back.
 *
 * When a device is removed, its credentials are revoked before it in the journal; its attributes go with it without a word. */
#ifndef ROOST_REGISTRY_CHANGE_H
#define ROOST_REGISTRY_CHANGE_H

#include "codec.h"

enum change_code {
	CHANGE_DONE = 0,
	CHANGE_UNCHANGED = 1, /* it was so already */
	CHANGE_CONFLICT = 2,  /* it has another version than expected */
	CHANGE_EXISTS = 3,    /* it was to be new */
	CHANGE_NOT_FOUND = 4, /* no such object, or no such device for it */
	CHANGE_INVALID = 5,
	CHANGE_BUSY = 6, /* the registry reads the journal, or has too much under way: ask again */
	CHANGE_FULL = 7, /* as many devices as may be */
};
const char *change_code_name(uint64_t code); /* "conflict" */

enum attribute_scope { ATTRIBUTE_CLIENT = 1, ATTRIBUTE_SHARED = 2, ATTRIBUTE_SERVER = 3 };
const char *attribute_scope_name(uint64_t scope); /* "client"; "?" */

struct registry_object {
	enum msg_type type;  /* MSG_DEVICE, MSG_CREDENTIAL, MSG_PROFILE or MSG_ATTRIBUTE */
	union msg_any any; /* fields borrow from the body */
};

/* ERR_UNSUPPORTED: of another kind, perhaps of a later release: skip it. ERR_MALFORMED, ERR_TOO_BIG: no sound object; why, if it
 * is not NULL, becomes a sentence. */
int registry_decode(struct bytes body, struct registry_object *ret_object, const char **why);
void registry_encode(const struct registry_object *o, struct buf *out);
/* NULL if it is sound, else what is wrong with it. */
const char *registry_fault(const struct registry_object *o);

uint64_t registry_version(const struct registry_object *o);
int64_t registry_at(const struct registry_object *o);
void registry_stamp(struct registry_object *o, uint64_t version, int64_t at, struct bytes actor);
/* Removed, revoked, or an attribute without a value. */
bool registry_is_gone(const struct registry_object *o);
/* The same in all but version, at and actor (and created). */
bool registry_is_same(const struct registry_object *a, const struct registry_object *b);
/* Whose partition its changes go to. */
struct bytes registry_partition_key(const struct registry_object *o);
/* "device/gh-1", "credential/1/3f...", "attribute/gh-1/3/floor", "profile/air": one for each object. Appended. */
void registry_put_key(const struct registry_object *o, struct buf *out);
/* May a device whose DEVICE.speaks_for this is speak for this device? */
bool registry_speaks_for(struct bytes speaks_for, struct bytes device);

#endif
