/* auth.c - who is this, and may it speak: the door for every protocol
 *
 * What is shown becomes a try (auth_try): admitted (auth_limits), looked up in what is known (auth_cache), else asked for
 * (auth_ask), its secret compared here or in the slow thread (auth_slow), answered. */
#include "auth.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "auth_impl.h"
#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"

/* Many changes at once are one look at the sessions. */
#define TELL_US 20000

uint64_t
auth_random(struct auth *a)
{
	uint64_t n = ++a->draws;

	return XXH3_64bits_withSeed(&n, sizeof(n), a->seed);
}

/* --- grants that change --- */

static void
on_tell(void *arg)
{
	struct auth *a = arg;
	struct auth_grant **changed = a->changed;
	size_t n = a->changed_count;

	a->changed = NULL;
	a->changed_count = a->changed_size = 0;
	for (size_t i = 0; i < a->listening_count; i++)
		a->listening[i].fn(a->listening[i].arg);
	for (size_t i = 0; i < n; i++) {
		changed[i]->changed = false;
		auth_grant_unref(&changed[i]);
	}
	free(changed);
}

static void
tell(struct auth *a, struct auth_grant *g)
{
	if (a->tell_timer.slot == 0)
		loop_timer_set(a->loop, &a->tell_timer, TELL_US, on_tell, a);
	if (g->changed)
		return;
	g->changed = true;
	if (a->changed_count == a->changed_size) {
		a->changed_size = a->changed_size ? a->changed_size * 2 : 16;
		a->changed = xrealloc(a->changed, a->changed_size * sizeof(a->changed[0]));
	}
	a->changed[a->changed_count++] = auth_grant_ref(g);
}

void
auth_cut(struct auth *a, struct auth_entry *e)
{
	if (!e->grant)
		return;
	e->grant->cut = true;
	metric_add(M_AUTH_CUT, 1);
	tell(a, e->grant);
	auth_grant_unref(&e->grant);
}

void
auth_regranted(struct auth *a, struct auth_entry *e)
{
	tell(a, e->grant);
}

void
auth_listen(struct auth *a, auth_listen_fn fn, void *arg)
{
	ASSERT(a->listening_count < AUTH_LISTENERS_MAX);
	a->listening[a->listening_count++] = (struct auth_listening){ fn, arg };
}

/* --- life --- */

static enum auth_anonymous
anonymous_of(const struct settings *settings)
{
	const char *text = settings_str(settings, SET_AUTH_ANONYMOUS);

	return strcmp(text, "true") == 0    ? AUTH_EVERYONE
	       : strcmp(text, "false") == 0 ? AUTH_NOBODY
					    : AUTH_LOOPBACK;
}

int
auth_new(struct loop *loop, const struct settings *settings, struct auth **ret_auth)
{
	struct auth *a = xcalloc(1, sizeof(*a));
	const char *seal = settings_str(settings, SET_REGISTRY_SEAL_KEY);
	const char *data_dir = settings_str(settings, SET_DATA_DIR);

	a->loop = loop;
	a->anonymous = anonymous_of(settings);
	a->guests = settings_bool(settings, SET_AUTH_ENROLMENT_GUESTS);
	credential_random((uint8_t *)&a->seed, sizeof(a->seed));
	auth_limits_init(&a->limits, a->seed);
	a->limits.rate = (uint32_t)settings_int(settings, SET_AUTH_CONNECTS_PER_SECOND);
	a->limits.source_rate = (uint32_t)settings_int(settings, SET_AUTH_CONNECTS_PER_SOURCE);
	a->limits.wait_max_us = settings_ms(settings, SET_AUTH_CONNECTS_WAIT) * 1000;
	a->limits.backoff_max_us = settings_ms(settings, SET_AUTH_BACKOFF_MAX) * 1000;
	auth_cache_init(&a->cache, (size_t)settings_int(settings, SET_AUTH_CACHE_MAX), a->seed);
	a->slow = auth_slow_new(loop);
	a->seal_path = *seal ? xstrdup(seal) : xasprintf("%s/registry/seal.key", data_dir);
	auth_ask_init(a);
	if (registry_lookup_new(
		loop, settings_str(settings, SET_REDIS_URL), data_dir, &a->lookup) != 0) {
		auth_free(&a);
		return ERR_CONFIG;
	}
	*ret_auth = a;
	return 0;
}

void
auth_free(struct auth **p_a)
{
	struct auth *a = *p_a;

	*p_a = NULL;
	if (!a)
		return;
	loop_timer_clear(a->loop, &a->tell_timer);
	for (size_t i = 0; i < AUTH_TRY_PLACES; i++)
		while (a->tries[i]) {
			struct auth_try *t = a->tries[i];

			auth_try_free(&t);
		}
	auth_ask_fini(a);
	auth_slow_free(&a->slow);
	for (size_t i = 0; i < a->changed_count; i++)
		auth_grant_unref(&a->changed[i]);
	free(a->changed);
	auth_cache_fini(&a->cache);
	auth_limits_fini(&a->limits);
	credential_wipe(a->seal, sizeof(a->seal));
	free(a->seal_path);
	free(a);
}

/* --- the door --- */

static enum auth_verdict
refuse(enum auth_verdict verdict, const char *why, uint32_t retry_ms, struct auth_answer *ret)
{
	metric_add(verdict == AUTH_BUSY		     ? M_AUTH_BUSY
		   : verdict == AUTH_BAD_CREDENTIALS ? M_AUTH_BAD_CREDENTIALS
						     : M_AUTH_NOT_AUTHORIZED,
	    1);
	*ret = (struct auth_answer){ .why = why, .retry_ms = retry_ms };
	return verdict;
}

/* For guests nobody waits. */
static enum auth_verdict
admit_guest(struct auth *a, const struct auth_request *q, struct auth_answer *ret)
{
	int64_t wait;

	if (!auth_limits_admit(&a->limits, q->peer, loop_now_us(a->loop), &wait) || wait)
		return refuse(AUTH_BUSY, "many connect just now",
		    (uint32_t)((uint64_t)wait / 1000 + auth_random(a) % 4000), ret);
	metric_add(M_AUTH_GUESTS, 1);
	*ret = (struct auth_answer){ .grant = auth_guest() };
	return AUTH_GRANTED;
}

static bool
is_guest(const struct auth_request *q)
{
	return bytes_equal_str(q->username, AUTH_GUEST) && !q->password.len && !q->token.len &&
	       !q->certificate.len && !q->psk_identity.len;
}

enum auth_verdict
auth_check(struct auth *a, const struct auth_request *q, auth_done_fn done, void *arg,
    struct auth_answer *ret)
{
	bool anyone =
	    a->anonymous == AUTH_EVERYONE || (a->anonymous == AUTH_LOOPBACK && q->loopback);
	enum auth_verdict verdict;
	struct auth_try *t;

	if (q->username.len > AUTH_NAME_MAX)
		return refuse(AUTH_BAD_CREDENTIALS, "user name is longer than 256 bytes", 0, ret);
	if (a->try_count >= AUTH_PENDING_MAX)
		return refuse(AUTH_BUSY, "many connect just now",
		    (uint32_t)(AUTH_LOOKUP_US / 1000 + auth_random(a) % 4000), ret);
	if (a->guests && !anyone && is_guest(q))
		return admit_guest(a, q, ret);
	t = auth_try_begin(a, q, anyone);
	if (t->count == 0 && !t->may_be_anyone) {
		auth_try_free(&t);
		return refuse(AUTH_NOT_AUTHORIZED,
		    a->anonymous == AUTH_NOBODY
			? "without credentials nobody is let in (auth.anonymous)"
			: "without credentials only this machine is let in (auth.anonymous)",
		    0, ret);
	}
	auth_try_run(t, anyone && q->loopback);
	if (!t->finished) {
		auth_try_enter(t, done, arg);
		return AUTH_PENDING;
	}
	verdict = t->verdict;
	*ret = t->answer;
	auth_try_free(&t);
	return verdict;
}
