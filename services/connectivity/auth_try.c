/* auth_try.c - one who wants in: what it shows, looked at in turn
 *
 * A wrong secret, and a name that nobody has, are the same to whoever asks: the same work (whether a name that nobody has is looked
 * at fast or slowly depends on the name), and an answer on the same beat. */
#include "auth_impl.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "clock.h"
#include "err.h"
#include "mem.h"
#include "metrics.h"

#define BEAT_US 50000 /* refusals leave on it */
#define BUSY_SLOW_MS (AUTH_SLOW_MAX * AUTH_SLOW_EACH_MS)
#define TOKEN_MIN 16 /* bytes; shorter ones are not registered */

#define WHY_WRONG "token, or user name and password, not known here"
#define WHY_UNKNOWN "neither certificate nor key is registered"
#define WHY_AWAY "Redis is away, and this client was not seen since the start"

/* --- what it shows --- */

static struct bytes
keep(struct auth_try *t, struct bytes text)
{
	uint8_t *at = t->text + t->text_len;

	if (text.len)
		memcpy(at, text.data, text.len);
	t->text_len += text.len;
	return bytes_of(at, text.len);
}

static void
show(struct auth_try *t, enum credential_kind kind, struct bytes lookup, bool has_secret,
    struct bytes secret)
{
	struct auth_candidate *c;

	if (lookup.len == 0 || lookup.len > CREDENTIAL_LOOKUP_MAX ||
	    secret.len > CREDENTIAL_SECRET_MAX)
		return;
	c = &t->candidates[t->count++];
	*c = (struct auth_candidate){ .kind = kind, .has_secret = has_secret };
	c->lookup = keep(t, lookup);
	c->secret = keep(t, secret);
}

static void
show_token(struct auth_try *t, struct bytes token)
{
	char lookup[CREDENTIAL_NAME_LEN];

	/* Where nobody needs one it is a name. Else it is wrong, and so treated. */
	if (token.len == 0 || (token.len < TOKEN_MIN && t->may_be_anyone))
		return;
	credential_token_lookup(token, lookup);
	show(t, CREDENTIAL_TOKEN, bytes_of_str(lookup), true, token);
}

static void
show_all(struct auth_try *t, const struct auth_request *q)
{
	const struct bytes none = { 0 };
	char lookup[CREDENTIAL_NAME_LEN];

	show(t, CREDENTIAL_PSK, q->psk_identity, false, none);
	if (q->certificate.len) {
		credential_certificate_lookup(q->certificate, lookup);
		show(t, CREDENTIAL_X509, bytes_of_str(lookup), false, none);
	}
	if (q->certificate.len && q->ca.len) {
		credential_ca_lookup(q->ca, q->subject, lookup);
		show(t, CREDENTIAL_X509, bytes_of_str(lookup), false, none);
	}
	if (q->token.len)
		show_token(t, q->token);
	else if (q->password.len)
		show(t, CREDENTIAL_PASSWORD, q->username, true, q->password);
	else
		show_token(t, q->username);
}

/* As those that the registry makes: it is nothing else. */
static bool
is_like_a_token(struct bytes text)
{
	if (text.len != CREDENTIAL_SECRET_LEN)
		return false;
	for (size_t i = 0; i < text.len; i++)
		if (!((text.data[i] >= 'a' && text.data[i] <= 'z') ||
			(text.data[i] >= '2' && text.data[i] <= '7')))
			return false;
	return true;
}

static struct auth_try **
place_of(struct auth *a, const void *arg)
{
	return &a->tries[XXH3_64bits(&arg, sizeof(arg)) % AUTH_TRY_PLACES];
}

struct auth_try *
auth_try_begin(struct auth *a, const struct auth_request *q, bool anyone)
{
	size_t room = q->psk_identity.len + q->token.len + q->username.len * 2 + q->password.len +
		      3 * (size_t)CREDENTIAL_NAME_LEN;
	struct auth_try *t = xcalloc(1, sizeof(*t) + room);

	t->a = a;
	t->in_check = true;
	if (q->peer)
		t->peer = *q->peer;
	/* Who shows what it thinks a secret is to be told if it is none; but a token may also be the name of a device. */
	t->may_be_anyone = anyone && !(q->username.len && q->password.len) &&
			   !is_like_a_token(q->username) && !is_like_a_token(q->token);
	show_all(t, q);
	return t;
}

/* --- its end --- */

static void
stop_waiting(struct auth_try *t)
{
	loop_timer_clear(t->a->loop, &t->timer);
	if (t->is_slow)
		auth_slow_forget(t->a->slow, t);
	t->is_slow = false;
	if (!t->wait_link)
		return;
	*t->wait_link = t->wait_next;
	if (t->wait_next)
		t->wait_next->wait_link = t->wait_link;
	t->wait_link = NULL;
}

void
auth_try_free(struct auth_try **p_t)
{
	struct auth_try *t = *p_t;

	*p_t = NULL;
	stop_waiting(t);
	for (struct auth_try **at = place_of(t->a, t->arg); *at; at = &(*at)->next) {
		if (*at == t) {
			*at = t->next;
			t->a->try_count--;
			break;
		}
	}
	credential_wipe(t->text, t->text_len);
	free(t);
}

static void
finish(struct auth_try *t, enum auth_verdict verdict, const struct auth_answer *answer)
{
	static const enum metric_id metrics[] = {
		[AUTH_GRANTED] = M_AUTH_GRANTED,
		[AUTH_BAD_CREDENTIALS] = M_AUTH_BAD_CREDENTIALS,
		[AUTH_NOT_AUTHORIZED] = M_AUTH_NOT_AUTHORIZED,
		[AUTH_UNAVAILABLE] = M_AUTH_UNAVAILABLE,
		[AUTH_BUSY] = M_AUTH_BUSY,
	};
	auth_done_fn done = t->done;
	void *arg = t->arg;

	metric_add(
	    verdict == AUTH_GRANTED && !answer->grant->kind ? M_AUTH_ANYONE : metrics[verdict], 1);
	stop_waiting(t);
	if (t->in_check) {
		t->finished = true;
		t->verdict = verdict;
		t->answer = *answer;
		return;
	}
	auth_try_free(&t);
	done(arg, verdict, answer);
}

static void
refuse(struct auth_try *t, enum auth_verdict verdict, const char *why)
{
	const struct auth_answer answer = { .why = why };

	finish(t, verdict, &answer);
}

static void
let_in(struct auth_try *t, struct auth_grant *grant)
{
	const struct auth_answer answer = { .grant = grant };

	finish(t, AUTH_GRANTED, &answer);
}

static void
on_beat(void *arg)
{
	refuse(arg, AUTH_BAD_CREDENTIALS, WHY_WRONG);
}

/* What it tried last with a secret counts against it. */
static void
fail(struct auth_try *t)
{
	int64_t now = loop_now_us(t->a->loop);

	for (size_t i = 0; i < t->count; i++)
		if (t->candidates[i].has_secret)
			auth_limits_failed(&t->a->limits, &t->peer, t->candidates[i].lookup, now);
	loop_timer_set(t->a->loop, &t->timer, BEAT_US + (BEAT_US - now % BEAT_US), on_beat, t);
}

static void
busy(struct auth_try *t, const char *why, int64_t wait_ms)
{
	/* Not all at the same time. */
	uint64_t spread = auth_random(t->a) % (uint64_t)(wait_ms + 1000);
	const struct auth_answer answer = { .why = why,
		.retry_ms = (uint32_t)((uint64_t)wait_ms + spread) };

	finish(t, AUTH_BUSY, &answer);
}

/* --- its way --- */

static void go_on(struct auth_try *t);

static void
prove(struct auth_try *t, struct auth_entry *e)
{
	const struct auth_candidate *c = &t->candidates[t->at];

	if (c->has_secret)
		auth_limits_proven(&t->a->limits, &t->peer, c->lookup, loop_now_us(t->a->loop));
	if (e->blocked)
		refuse(t, AUTH_NOT_AUTHORIZED, "this device is blocked");
	else
		let_in(t, auth_entry_grant(e));
}

static void
on_slow(void *arg, bool matches)
{
	struct auth_try *t = arg;
	const struct auth_candidate *c = &t->candidates[t->at];
	struct auth_entry *e;

	t->is_slow = false;
	if (t->is_nobody) {
		fail(t);
		return;
	}
	e = auth_cache_find(&t->a->cache, c->kind, c->lookup);
	if (!e || e->credential_version != t->version) {
		go_on(t); /* it was changed meanwhile */
		return;
	}
	if (!matches) {
		fail(t);
		return;
	}
	auth_entry_prove(e, c->secret);
	prove(t, e);
}

static void
check_slowly(struct auth_try *t, const struct msg_credential *c, struct bytes secret)
{
	int err = auth_slow_ask(t->a->slow, c, secret, on_slow, t);

	if (err != 0) {
		busy(t, "many passwords are being checked", BUSY_SLOW_MS);
		return;
	}
	t->is_slow = true;
	metric_add(M_AUTH_SLOW, 1);
}

static void
judge(struct auth_try *t, struct auth_entry *e)
{
	const struct auth_candidate *shown = &t->candidates[t->at];
	struct msg_credential c;

	auth_entry_credential(e, &c);
	if (!shown->has_secret || auth_entry_is_proven(e, shown->secret)) {
		prove(t, e);
	} else if (credential_is_slow(&c)) {
		t->version = e->credential_version;
		check_slowly(t, &c, shown->secret);
	} else if (credential_matches(&c, shown->secret)) {
		prove(t, e);
	} else {
		fail(t);
	}
}

/* Nothing that it shows is known. */
static void
be_nobody(struct auth_try *t)
{
	const struct auth_candidate *c = t->count ? &t->candidates[t->count - 1] : NULL;
	bool slow;

	if (t->may_be_anyone) {
		let_in(t, auth_anyone());
		return;
	}
	if (!c || !c->has_secret) {
		refuse(t, AUTH_NOT_AUTHORIZED, WHY_UNKNOWN);
		return;
	}
	slow = c->kind == CREDENTIAL_PASSWORD &&
	       XXH3_64bits_withSeed(c->lookup.data, c->lookup.len, t->a->seed) % 2;
	t->is_nobody = true;
	if (slow) {
		check_slowly(t, credential_nobody(CREDENTIAL_ARGON2ID), c->secret);
		return;
	}
	(void)credential_matches(credential_nobody(CREDENTIAL_SHA256), c->secret);
	fail(t);
}

static void
on_overdue(void *arg)
{
	struct auth_try *t = arg;

	if (t->may_be_anyone)
		let_in(t, auth_anyone());
	else
		refuse(t, AUTH_UNAVAILABLE, WHY_AWAY);
}

static void
wait_for(struct auth_try *t, struct auth_entry *e)
{
	t->wait_next = e->tries;
	t->wait_link = &e->tries;
	if (t->wait_next)
		t->wait_next->wait_link = &t->wait_next;
	e->tries = t;
	if (t->timer.slot == 0)
		loop_timer_set(t->a->loop, &t->timer,
		    t->may_be_anyone ? AUTH_LOOKUP_ANYONE_US : AUTH_LOOKUP_US, on_overdue, t);
	auth_ask(t->a, e);
}

static void
go_on(struct auth_try *t)
{
	struct auth_cache *cache = &t->a->cache;

	while (t->at < t->count) {
		const struct auth_candidate *c = &t->candidates[t->at];
		struct auth_entry *e = auth_cache_find(cache, c->kind, c->lookup);

		if (!e)
			e = auth_cache_add(cache, c->kind, c->lookup);
		if (!auth_entry_is_known(e)) {
			wait_for(t, e);
			return;
		}
		auth_cache_used(cache, e);
		if (!e->expires_us || e->expires_us > clock_wall_us()) {
			loop_timer_clear(t->a->loop, &t->timer);
			judge(t, e);
			return;
		}
		t->at++;
	}
	loop_timer_clear(t->a->loop, &t->timer);
	be_nobody(t);
}

void
auth_tries_go_on(struct auth_try *waiting, bool known)
{
	/* What one does may end others of them. */
	while (waiting) {
		struct auth_try *t = waiting;

		waiting = t->wait_next;
		if (waiting)
			waiting->wait_link = &waiting;
		t->wait_link = NULL;
		if (!known)
			t->at++;
		go_on(t);
	}
}

static void
on_admitted(void *arg)
{
	go_on(arg);
}

/* A token that is known cannot be guessed: it is looked at whatever others at its source have tried. */
static bool
is_beyond_guessing(const struct auth_try *t, const struct auth_candidate *c)
{
	const struct auth_entry *e = auth_cache_find(&t->a->cache, c->kind, c->lookup);

	return c->kind == CREDENTIAL_TOKEN && e && auth_entry_is_known(e);
}

static int64_t
backoff_of(const struct auth_try *t)
{
	int64_t now = loop_now_us(t->a->loop), longest = 0;

	for (size_t i = 0; i < t->count; i++) {
		const struct auth_candidate *c = &t->candidates[i];
		int64_t wait;

		if (!c->has_secret || is_beyond_guessing(t, c))
			continue;
		wait = auth_limits_backoff(&t->a->limits, &t->peer, c->lookup, now);
		longest = wait > longest ? wait : longest;
	}
	return longest;
}

void
auth_try_run(struct auth_try *t, bool admitted)
{
	struct auth *a = t->a;
	int64_t wait = backoff_of(t);

	if (wait) {
		metric_add(M_AUTH_BACKED_OFF, 1);
		busy(t, "too much has failed from here, or for this name", wait / 1000);
		return;
	}
	if (!admitted && !auth_limits_admit(&a->limits, &t->peer, loop_now_us(a->loop), &wait)) {
		busy(t, "many connect just now", wait / 1000);
		return;
	}
	if (wait)
		loop_timer_set(a->loop, &t->timer, wait, on_admitted, t);
	else
		go_on(t);
}

void
auth_try_enter(struct auth_try *t, auth_done_fn done, void *arg)
{
	struct auth_try **at = place_of(t->a, arg);

	t->in_check = false;
	t->done = done;
	t->arg = arg;
	t->next = *at;
	*at = t;
	t->a->try_count++;
}

void
auth_forget(struct auth *a, const void *arg)
{
	struct auth_try *t = *place_of(a, arg), *next;

	for (; t; t = next) {
		next = t->next;
		if (t->arg == arg)
			auth_try_free(&t);
	}
}
