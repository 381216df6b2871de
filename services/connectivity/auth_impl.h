/* auth_impl.h - what the auth files share */
#ifndef ROOST_AUTH_IMPL_H
#define ROOST_AUTH_IMPL_H

#include "auth.h"
#include "auth_cache.h"
#include "auth_limits.h"
#include "auth_slow.h"
#include "loop.h"
#include "registry_change.h"
#include "registry_lookup.h"

#define AUTH_PENDING_MAX 16384	/* questions without an answer; more are told that we are busy */
#define AUTH_LOOKUP_US 1000000	/* as long as Redis is waited for ... */
#define AUTH_LOOKUP_ANYONE_US 250000	/* ... for who may do without a credential */
#define AUTH_SEEN 16384		/* objects whose last version in the journal is remembered, ... */
#define AUTH_SEEN_WAYS 8	/* ... each in one of so many places: the one heard of longest ago makes room */
#define AUTH_ABSENT 256		/* PSK identities that were not found lately */
#define AUTH_CANDIDATES_MAX 5
#define AUTH_TRY_PLACES 1024

enum auth_anonymous { AUTH_LOOPBACK, AUTH_EVERYONE, AUTH_NOBODY };

struct auth_listening {
	auth_listen_fn fn;
	void *arg;
};

/* A credential that is shown. */
struct auth_candidate {
	enum credential_kind kind;
	bool has_secret;
	struct bytes lookup, secret;
};

/* Somebody who wants in. */
struct auth_try {
	struct auth *a;
	struct auth_try *next;		/* in its place by arg */
	struct auth_try *wait_next;	/* of those that wait for the same entry */
	struct auth_try **wait_link;	/* NULL: it waits for none */
	auth_done_fn done;
	void *arg;
	struct loop_timer timer;
	struct peer peer;
	bool may_be_anyone;		/* if none of its credentials is known */
	bool in_check;			/* auth_check() has not returned yet: ... */
	bool finished;			/* ... its answer is in these */
	bool is_slow;			/* a password is being checked, ... */
	bool is_nobody;			/* ... of nobody; */
	uint64_t version;		/* else of this version */
	enum auth_verdict verdict;
	struct auth_answer answer;
	size_t at, count;
	struct auth_candidate candidates[AUTH_CANDIDATES_MAX];
	size_t text_len;
	uint8_t text[];			/* what candidates borrow from */
};

struct auth_seen {
	uint64_t key;
	uint64_t version;
	uint32_t order;			/* as auth.seen_count was */
	bool gone;
};

struct auth_absent {
	uint64_t key;
	int64_t until_us;
};

struct auth {
	struct loop *loop;
	enum auth_anonymous anonymous;
	bool guests;
	uint64_t seed;
	uint64_t draws;			/* random numbers so far */
	struct auth_limits limits;
	struct auth_cache cache;
	struct auth_slow *slow;
	struct registry_lookup *lookup;
	struct auth_try *tries[AUTH_TRY_PLACES];
	size_t try_count;
	/* auth_ask.c */
	struct auth_entry *want_first, **want_end;
	size_t want_count;
	struct loop_timer want_timer, tick_timer, tell_timer;
	struct auth_seen *seen;		/* NULL: nothing has changed yet */
	uint32_t seen_count;
	struct auth_absent absent[AUTH_ABSENT];
	size_t swept;			/* places of the cache looked at for what is to be asked again */
	/* auth.c */
	struct auth_listening listening[AUTH_LISTENERS_MAX];
	size_t listening_count;
	struct auth_grant **changed;	/* references: listeners are told of these next */
	size_t changed_count, changed_size;
	/* auth_psk.c */
	char *seal_path;
	uint8_t seal[CREDENTIAL_KEY_LEN];
	bool has_seal;
	int64_t seal_again_us;
};

/* auth.c: listeners are told soon */
void auth_cut(struct auth *a, struct auth_entry *e);
void auth_regranted(struct auth *a, struct auth_entry *e);
uint64_t auth_random(struct auth *a);

/* auth_try.c: these waited for an entry: it is known now, or nobody has such a credential */
void auth_tries_go_on(struct auth_try *waiting, bool known);
struct auth_try *auth_try_begin(struct auth *a, const struct auth_request *q, bool anyone);
void auth_try_enter(struct auth_try *t, auth_done_fn done, void *arg);	/* its answer comes later */
void auth_try_run(struct auth_try *t, bool admitted);
void auth_try_free(struct auth_try **t);

/* auth_ask.c */
void auth_ask_init(struct auth *a);
void auth_ask_fini(struct auth *a);
void auth_ask(struct auth *a, struct auth_entry *e);
bool auth_is_absent(const struct auth *a, enum credential_kind kind, struct bytes lookup);

#endif
