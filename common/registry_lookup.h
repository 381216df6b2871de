/* registry_lookup.h - who has this credential: asked of the registry's fold in Redis, answered later; never blocks
 *
 * For whoever lets devices in. An answer is as new as the fold is: who follows the journal's CONTEXT entries
 * (registry_decode()) knows changes earlier, and compares versions: an answer with a smaller version than one that was
 * seen in the journal is of the past, and is to be asked for again or taken from there. */
#ifndef ROOST_REGISTRY_LOOKUP_H
#define ROOST_REGISTRY_LOOKUP_H

#include "codec.h"
#include "credential.h"
#include "loop.h"

#define REGISTRY_LOOKUP_WAITING_MAX 4096 /* questions that are not answered; more are ERR_FULL */

struct registry_lookup;

struct registry_answer {
	/* Versions, expires, and what credential_matches() and credential_unseal() want stand in it. It is not revoked; it may have
	 * expired. Zeroed if a device was asked for. */
	struct msg_credential credential;
	/* has_device: the credential's device, or the device asked for. It is not removed; it may be blocked. A credential of a
	 * device that is not there lets nobody in. */
	bool has_device;
	struct msg_device device;
};

/* err 0: here it is, borrowed until fn returns. ERR_NOT_FOUND: there is none. ERR_AGAIN: Redis is away, or the registry is
 * not all in it (yet): nobody knows. */
typedef void (*registry_lookup_fn)(void *arg, int err, const struct registry_answer *answer);

/* url, data_dir: as for redis_new(). ERR_CONFIG: no such url. */
int registry_lookup_new(struct loop *loop, const char *url, const char *data_dir, struct registry_lookup **ret_lookup);
/* No answers any more. */
void registry_lookup_free(struct registry_lookup **l);

/* lookup: as credential.h says for each kind. 0: fn is called once, from the loop, later. ERR_AGAIN: Redis is away;
 * ERR_FULL: too many ask; ERR_TOO_BIG: no credential has such a name. Then fn is not called. */
int registry_lookup_credential(struct registry_lookup *l, enum credential_kind kind, struct bytes lookup, registry_lookup_fn fn,
    void *arg);
int registry_lookup_device(struct registry_lookup *l, struct bytes id, registry_lookup_fn fn, void *arg);
/* Whoever asked with this arg is gone: no answer any more. */
void registry_lookup_forget(struct registry_lookup *l, const void *arg);
bool registry_lookup_is_up(const struct registry_lookup *l);

#endif
