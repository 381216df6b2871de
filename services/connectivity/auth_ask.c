/* auth_ask.c - what the registry says of a credential: asked of Redis, corrected by the journal
 *
 * Redis may be behind the journal, so what it says counts only if no greater version was heard of (context.h); else it is asked
 * again. Of the journal nothing is known from before the start, and Redis was perhaps a little behind just then: so what was read is read
 * once more soon, and then every minute, in case something was missed. While Redis is away what is known stays. */
#include "auth_impl.h"

#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "clock.h"
#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"

#define AGAIN_US 50000
#define FIRST_REFRESH_US 5000000
#define REFRESH_US 60000000
#define MISSING_US 2000000
#define AWAY_US 1000000
#define TICK_US 500000
#define SWEEP_TICKS 2	   /* each entry is looked at within so many */
#define REFRESHES_MAX 1000 /* of these at a time */
#define ABSENT_US 2000000
#define OF_DEVICE_MAX 64

static void
unlink_tries(struct auth_entry *e, struct auth_try **ret)
{
	*ret = e->tries;
	if (*ret)
		(*ret)->wait_link = ret;
	e->tries = NULL;
}

/* --- versions that the journal had --- */

static uint64_t
key_of(const struct auth *a, const struct registry_object *o)
{
	struct buf key = { 0 };
	uint64_t h;

	registry_put_key(o, &key);
	h = XXH3_64bits_withSeed(key.data, key.len, a->seed);
	buf_fini(&key);
	return h;
}

static struct auth_seen *
seen_ways(const struct auth *a, uint64_t key)
{
	return &a->seen[key % (AUTH_SEEN / AUTH_SEEN_WAYS) * AUTH_SEEN_WAYS];
}

static void
saw(struct auth *a, const struct registry_object *o)
{
	uint64_t key = key_of(a, o), version = registry_version(o);
	struct auth_seen *ways, *to;

	if (!a->seen)
		a->seen = xcalloc(AUTH_SEEN, sizeof(a->seen[0]));
	to = ways = seen_ways(a, key);
	for (size_t i = 0; i < AUTH_SEEN_WAYS; i++) {
		if (ways[i].key == key) {
			to = &ways[i];
			break;
		}
		if ((int32_t)(ways[i].order - to->order) < 0)
			to = &ways[i];
	}
	if (to->key != key || version > to->version)
		*to = (struct auth_seen){ key, version, ++a->seen_count, registry_is_gone(o) };
}

static const struct auth_seen *
seen_of(const struct auth *a, const struct registry_object *o)
{
	uint64_t key = key_of(a, o);

	for (size_t i = 0; a->seen && i < AUTH_SEEN_WAYS; i++)
		if (seen_ways(a, key)[i].key == key)
			return &seen_ways(a, key)[i];
	return NULL;
}

static bool
is_past(const struct auth *a, const struct registry_object *o)
{
	const struct auth_seen *s = seen_of(a, o);

	return s && s->version > registry_version(o);
}

static struct registry_object
credential_object(const struct msg_credential *c)
{
	return (struct registry_object){ .type = MSG_CREDENTIAL, .any = { .credential = *c } };
}

static struct registry_object
device_object(const struct msg_device *d)
{
	return (struct registry_object){ .type = MSG_DEVICE, .any = { .device = *d } };
}

/* Redis does not have it; the journal has had it. */
static bool
is_to_come(const struct auth *a, const struct auth_entry *e)
{
	const struct msg_credential c = { .kind = e->kind, .lookup = auth_entry_lookup(e) };
	const struct registry_object o = credential_object(&c);
	const struct auth_seen *s = seen_of(a, &o);

	return s && !s->gone;
}

/* --- what is known and what is not --- */

static uint64_t
absent_key(const struct auth *a, unsigned kind, struct bytes lookup)
{
	return XXH3_64bits_withSeed(lookup.data, lookup.len, a->seed + kind);
}

bool
auth_is_absent(const struct auth *a, enum credential_kind kind, struct bytes lookup)
{
	uint64_t key = absent_key(a, kind, lookup);
	const struct auth_absent *at = &a->absent[key % AUTH_ABSENT];

	return at->key == key && loop_now_us(a->loop) < at->until_us;
}

/* What let somebody in is not valid any more. */
static void
drop(struct auth *a, struct auth_entry *e)
{
	auth_cut(a, e);
	if (e->asked || e->wanted)
		auth_cache_empty(&a->cache, e);
	else
		auth_cache_remove(&a->cache, e);
}

static void
on_want(void *arg)
{
	struct auth *a = arg;
	struct auth_entry *e = a->want_first, *next;

	a->want_first = NULL;
	a->want_end = &a->want_first;
	a->want_count = 0;
	for (; e; e = next) {
		next = e->want_next;
		e->want_next = NULL;
		e->wanted = false;
		if (e->for_psk && loop_now_us(a->loop) >= e->refresh_us)
			e->for_psk = false;
		if (e->tries || e->for_psk || auth_entry_is_known(e))
			auth_ask(a, e);
		else
			auth_cache_remove(&a->cache, e);
	}
}

static void
again(struct auth *a, struct auth_entry *e)
{
	if (auth_entry_is_known(e)) {
		e->refresh_us = loop_now_us(a->loop) + AWAY_US;
		return;
	}
	if (e->wanted)
		return;
	e->wanted = true;
	*a->want_end = e;
	a->want_end = &e->want_next;
	a->want_count++;
	if (a->want_timer.slot == 0)
		loop_timer_set(a->loop, &a->want_timer, AGAIN_US, on_want, a);
}

static void
not_there(struct auth *a, struct auth_entry *e)
{
	struct auth_try *waiting;
	uint64_t key;

	if (auth_entry_is_known(e)) {
		/* Twice, because Redis may just be another one. */
		e->refresh_us = loop_now_us(a->loop) + MISSING_US;
		if (++e->missing > 1)
			drop(a, e);
		return;
	}
	if (is_to_come(a, e)) {
		again(a, e);
		return;
	}
	key = absent_key(a, e->kind, auth_entry_lookup(e));
	if (e->for_psk)
		a->absent[key % AUTH_ABSENT] =
		    (struct auth_absent){ key, loop_now_us(a->loop) + ABSENT_US };
	unlink_tries(e, &waiting);
	auth_cache_remove(&a->cache, e);
	auth_tries_go_on(waiting, false);
}

/* The same credential in a later state; with the device as it is, or in a later state too. */
static void
update(struct auth *a, struct auth_entry *e, const struct msg_credential *c,
    const struct msg_device *d)
{
	struct msg_credential have;

	auth_entry_credential(e, &have);
	if (c->revoked || (c->device.len && (!d || d->removed)) || have.scheme != c->scheme ||
	    !bytes_equal(have.hash, c->hash) || !bytes_equal(have.salt, c->salt) ||
	    !bytes_equal(have.device, c->device) || !bytes_equal(have.user, c->user)) {
		drop(a, e);
		return;
	}
	auth_cache_fill(&a->cache, e, c, d);
	if (e->blocked)
		auth_cut(a, e);
	else if (auth_entry_regrant(e))
		auth_regranted(a, e);
}

static void
take(struct auth *a, struct auth_entry *e, const struct msg_credential *c,
    const struct msg_device *d)
{
	const struct registry_object co = credential_object(c);
	struct auth_try *waiting;

	if (c->device.len && !d) {
		not_there(a, e);
		return;
	}
	if (is_past(a, &co) || c->version < e->credential_version) {
		again(a, e);
		return;
	}
	if (d) {
		const struct registry_object device = device_object(d);

		if (is_past(a, &device) || d->version < e->device_version) {
			again(a, e);
			return;
		}
	}
	if (auth_entry_is_known(e)) {
		e->refresh_us = loop_now_us(a->loop) + REFRESH_US;
		e->missing = 0;
		update(a, e, c, d);
		return;
	}
	e->refresh_us = loop_now_us(a->loop) + FIRST_REFRESH_US;
	e->for_psk = false;
	auth_cache_fill(&a->cache, e, c, d);
	unlink_tries(e, &waiting);
	auth_tries_go_on(waiting, true);
}

static void
on_answer(void *arg, int err, const struct registry_answer *answer)
{
	struct auth_entry *e = arg;
	struct auth *a = e->owner;

	e->asked = false;
	if (err == ERR_NOT_FOUND)
		not_there(a, e);
	else if (err != 0)
		again(a, e);
	else
		take(a, e, &answer->credential, answer->has_device ? &answer->device : NULL);
}

void
auth_ask(struct auth *a, struct auth_entry *e)
{
	if (e->asked || e->wanted)
		return;
	e->owner = a;
	if (!a->lookup || registry_lookup_credential(
			      a->lookup, e->kind, auth_entry_lookup(e), on_answer, e) != 0) {
		again(a, e);
		return;
	}
	e->asked = true;
	metric_add(M_AUTH_LOOKUPS, 1);
}

/* --- what the journal says --- */

static void
on_credential(struct auth *a, const struct msg_credential *c)
{
	struct auth_entry *e = auth_cache_find(&a->cache, (enum credential_kind)c->kind, c->lookup);
	struct msg_device d;
	bool has_device;

	if (!e || !auth_entry_is_known(e) || c->version <= e->credential_version)
		return;
	has_device = auth_entry_device(e, &d);
	update(a, e, c, has_device ? &d : NULL);
}

static void
on_device(struct auth *a, const struct msg_device *d)
{
	struct auth_entry *of[OF_DEVICE_MAX], *e = NULL;
	size_t n = 0;

	while (n < OF_DEVICE_MAX && (e = auth_cache_of_device(&a->cache, d->id, e)) != NULL)
		of[n++] = e;
	for (size_t i = 0; i < n; i++) {
		struct msg_credential c;

		if (d->version <= of[i]->device_version)
			continue;
		auth_entry_credential(of[i], &c);
		update(a, of[i], &c, d);
	}
}

void
auth_hear(struct auth *a, const struct registry_object *o)
{
	if (o->type != MSG_CREDENTIAL && o->type != MSG_DEVICE)
		return;
	saw(a, o);
	if (o->type == MSG_CREDENTIAL)
		on_credential(a, &o->any.credential);
	else
		on_device(a, &o->any.device);
}

void
auth_missed(struct auth *a)
{
	for (struct auth_entry *e = a->cache.newest; e; e = e->older)
		e->refresh_us = 0;
}

/* --- time --- */

static size_t
look_at(struct auth *a, struct auth_entry *e, int64_t now, int64_t wall)
{
	if (!auth_entry_is_known(e) || e->asked || e->wanted)
		return 0;
	if (e->expires_us && e->expires_us <= wall)
		auth_cut(a, e);
	if (now < e->refresh_us)
		return 0;
	auth_ask(a, e);
	return 1;
}

static void
sweep(struct auth *a)
{
	int64_t now = loop_now_us(a->loop), wall = clock_wall_us();
	size_t places = a->cache.size / SWEEP_TICKS, asked = 0;

	for (size_t i = 0; i < places && asked < REFRESHES_MAX; i++) {
		struct auth_entry *e, *next;

		a->swept = (a->swept + 1) & (a->cache.size - 1);
		for (e = a->cache.by_credential[a->swept]; e; e = next) {
			next = e->next;
			asked += look_at(a, e, now, wall);
		}
	}
}

static void
on_tick(void *arg)
{
	struct auth *a = arg;

	loop_timer_set(a->loop, &a->tick_timer, TICK_US, on_tick, a);
	sweep(a);
	metric_set(M_AUTH_CACHED, a->cache.count);
	metric_set(M_AUTH_WAITING, a->try_count);
	metric_set(M_AUTH_SLOW_WAITING, auth_slow_waiting(a->slow));
}

void
auth_ask_init(struct auth *a)
{
	a->want_end = &a->want_first;
	loop_timer_set(a->loop, &a->tick_timer, TICK_US, on_tick, a);
}

void
auth_ask_fini(struct auth *a)
{
	loop_timer_clear(a->loop, &a->want_timer);
	loop_timer_clear(a->loop, &a->tick_timer);
	registry_lookup_free(&a->lookup);
	free(a->seen);
}
