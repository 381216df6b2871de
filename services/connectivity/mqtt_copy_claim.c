/* mqtt_copy_claim.c - clients that come: whose their session is, loaded or written anew, and what they are told */
#include <string.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "mqtt_copy_impl.h"

#define FENCED_US 5000000
#define TOLD_US 2000000 /* a CONNECT goes on in the turn in which its claim is answered */
#define WAIT_STEP_US 50000
#define SLOW_US 250000 /* Redis takes so long for nothing that is usual */
#define STALE_RETRY_US 1000000

static void ask(struct mqtt_copy *k, struct copy_client *c);

/* NULL: it is not here, or not any more. */
static const struct mqtt_session *
session_of(const struct mqtt_copy *k, const struct copy_client *c)
{
	const struct mqtt_session *s = mqtt_store_find(k->broker, copy_id(c));

	return s && !s->moved_to ? s : NULL;
}

static void
answer(struct mqtt_copy *k, struct copy_client *c, uint8_t reason)
{
	uint64_t token = c->requests->token;

	copy_request_done(k, c);
	if (c->epoch)
		copy_told(k, c);
	mqtt_broker_claimed(k->broker, token, reason);
}

static bool
is_gone(const struct mqtt_copy *k, const struct copy_request *r)
{
	const struct mqtt_conn *conn = mqtt_conn_of(k->broker, r->token);

	return !conn || conn->state != MQTT_AWAIT_CONNECT;
}

static bool
is_idle(const struct copy_client *c)
{
	return !c->epoch && !c->told_link && !c->asked && !c->requests && !c->owned &&
	       !c->has_will && !c->todo_link;
}

/* Nothing is asked about it: its next request, or nothing. */
void
copy_next_request(struct mqtt_copy *k, struct copy_client *c)
{
	while (c->requests && !c->asked) {
		if (is_gone(k, c->requests))
			copy_request_done(k, c);
		else if (c->epoch && !c->requests->clean && k->options.alone)
			answer(k, c, MQTT_SUCCESS);
		else
			break;
	}
	if (c->requests && !c->asked && session_state_is_up(k->ss))
		ask(k, c);
	if (is_idle(c))
		copy_client_free(k, c);
}

/* It is here, unless another worker has claimed it: a write tells. A claim of our own would fence what is under way. */
static bool
check(struct mqtt_copy *k, struct copy_client *c)
{
	if (k->options.alone || !c->epoch || c->fenced || c->fresh || !session_of(k, c) ||
	    !copy_unit(k))
		return false;
	session_state_back(k->ss, copy_id(c), c->epoch, SESSION_STATE_EXPIRY_NEVER);
	c->check = k->issued;
	c->check_next = k->checks;
	k->checks = c;
	c->asked = true;
	k->asked++;
	return true;
}

/* After the writes up to this number. */
void
copy_checked(struct mqtt_copy *k, uint64_t number, int err)
{
	for (struct copy_client **at = &k->checks; *at;) {
		struct copy_client *c = *at;

		if (c->check > number) {
			at = &c->check_next;
			continue;
		}
		*at = c->check_next;
		c->check = 0;
		c->asked = false;
		c->over = false;
		k->asked--;
		if (err == 0 && c->epoch && !c->fenced && c->requests)
			answer(k, c, MQTT_SUCCESS);
		copy_next_request(k, c);
		at = &k->checks;
	}
}

static void
ask(struct mqtt_copy *k, struct copy_client *c)
{
	const struct copy_request *r = c->requests;
	bool anew = c->todo_link && !c->owned && !r;
	bool clean = anew || (r && r->clean);
	uint32_t expiry = r && !r->keep ? 0 : SESSION_STATE_EXPIRY_NEVER;

	if (r && !r->clean && check(k, c))
		return;
	/* What was told before is behind us. */
	copy_unit_end(k);
	if (c->owned && !r ? copy_claim_owned(k, c) != 0
			   : session_state_claim(k->ss, copy_id(c), clean, expiry, copy_wall_ms(),
				 (uint64_t)(uintptr_t)c) != 0)
		return;
	c->asked = true;
	c->anew = anew;
	c->over = false;
	k->asked++;
}

static void
ended_meanwhile(struct mqtt_copy *k, struct copy_client *c, uint64_t epoch)
{
	c->over = false;
	if (copy_unit(k))
		session_state_ended(k->ss, copy_id(c), epoch);
}

/* From here on its changes are written. */
static void
owns(struct mqtt_copy *k, struct copy_client *c, uint64_t epoch)
{
	c->epoch = epoch;
	k->all_stale = false;
}

static void
claimed_anew(struct mqtt_copy *k, struct copy_client *c, uint64_t epoch)
{
	const struct mqtt_session *s = session_of(k, c);

	copy_todo_done(k, c);
	if (!s || !s->shared) {
		ended_meanwhile(k, c, epoch);
		return;
	}
	owns(k, c, epoch);
	copy_write_session(k, c, s);
}

/* There was nothing, or nothing was wanted of it. */
static void
claimed_new(struct mqtt_copy *k, struct copy_client *c, uint64_t epoch)
{
	const struct mqtt_session *s = session_of(k, c);

	copy_todo_done(k, c);
	if (!c->requests) { /* an owned one that had expired */
		ended_meanwhile(k, c, epoch);
		return;
	}
	owns(k, c, epoch);
	c->has_will = false;
	mqtt_broker_arrived(k->broker, copy_id(c));
	/* Of the one before, if it is still here, nothing is written any more. */
	if (s && c->requests->clean)
		copy_fresh(k, c, true);
	else if (s && s->shared)
		copy_write_session(k, c, s);
	answer(k, c, MQTT_SUCCESS);
}

static void
claimed_present(struct mqtt_copy *k, struct copy_client *c, const struct session_state_claim *claim)
{
	owns(k, c, claim->epoch);
	if (session_of(k, c)) { /* as it is there */
		copy_todo_done(k, c);
		if (c->requests)
			answer(k, c, MQTT_SUCCESS);
		return;
	}
	copy_load_begin(c, claim);
	copy_unit_end(k); /* a question ends it */
	if (session_state_load(k->ss, copy_id(c), (uint64_t)(uintptr_t)c) == 0) {
		c->asked = true;
		k->asked++;
		return;
	}
	c->epoch = 0;
	copy_load_free(c);
}

/* What Redis has under an owned one's keys is no session: nobody waits for that, or all would wait for ever. */
static void
claim_failed(struct mqtt_copy *k, struct copy_client *c, int err)
{
	if (err == ERR_CLOSED)
		return;
	/* Its client has gone to another worker, which has it. */
	if (err == ERR_NOT_FOUND) {
		copy_todo_done(k, c);
		copy_will_drop(k, copy_id(c));
		return;
	}
	log_error("mqtt.claim", LB("client", copy_id(c)), LS("why", err_name(err)));
	if (c->requests)
		answer(k, c,
		    c->requests->keep ? (uint8_t)MQTT_SERVER_UNAVAILABLE : (uint8_t)MQTT_SUCCESS);
	else if (c->owned && err != ERR_FULL)
		copy_todo_done(k, c);
	else
		k->stale_us = loop_now_us(k->loop) + STALE_RETRY_US;
}

/* Another worker has claimed it since: the client has been there, or is. */
static void
claim_is_late(struct mqtt_copy *k, struct copy_client *c)
{
	log_info("mqtt.claim_overtaken", LB("client", copy_id(c)));
	c->epoch = 0;
	c->over = false;
	copy_todo_done(k, c);
	if (c->requests)
		answer(k, c, MQTT_SERVER_UNAVAILABLE);
}

void
copy_on_claimed(void *arg, uint64_t token, int err, const struct session_state_claim *claim)
{
	struct mqtt_copy *k = arg;
	struct copy_client *c = (struct copy_client *)(uintptr_t)token;
	bool late = err == 0 && claim->epoch < c->overtaken;

	k->asked--;
	k->broker->now_us = loop_now_us(k->loop);
	copy_unfence(k, c);
	if (err == 0)
		c->moved = claim->owner.len && (!bytes_equal_str(claim->owner, k->worker) ||
						   claim->life != k->options.life);
	/* What another worker had meanwhile is not what is here. The end of the session lets go of whoever is not asked about. */
	if (err == 0 && claim->owner.len && !bytes_equal_str(claim->owner, k->worker)) {
		const struct mqtt_copy_hooks *hooks = k->options.hooks;
		bool over = c->over;

		if (!hooks)
			mqtt_broker_fenced(k->broker, copy_id(c));
		c->over = over;
		if (hooks && late)
			hooks->passed(
			    hooks->arg, copy_id(c), claim->owner, claim->epoch, !claim->present);
		else if (hooks)
			hooks->claimed(
			    hooks->arg, copy_id(c), claim->owner, claim->epoch, !claim->present);
	}
	c->asked = false;
	if (err)
		claim_failed(k, c, err);
	else if (late)
		claim_is_late(k, c);
	else if (c->over)
		ended_meanwhile(k, c, claim->epoch);
	else if (c->anew)
		claimed_anew(k, c, claim->epoch);
	else if (claim->present)
		claimed_present(k, c, claim);
	else
		claimed_new(k, c, claim->epoch);
	if (!c->asked)
		copy_unmark(k, c);
	copy_next_request(k, c);
	copy_go_on(k);
}

void
copy_load_is_over(struct mqtt_copy *k, struct copy_client *c, int err)
{
	c->asked = false;
	k->asked--;
	k->broker->now_us = loop_now_us(k->loop);
	if (err == 0 && c->epoch < c->overtaken) {
		claim_is_late(k, c);
	} else if (err == 0 && !c->over) {
		copy_load_end(k, c);
		copy_todo_done(k, c);
		if (c->requests)
			answer(k, c, MQTT_SUCCESS);
	} else {
		c->epoch = 0;
		c->over = false;
		if (err != 0 && err != ERR_CLOSED)
			claim_failed(k, c, err);
	}
	copy_load_free(c);
	copy_unmark(k, c);
	copy_next_request(k, c);
	copy_go_on(k);
}

static void
do_some(struct mqtt_copy *k, const struct copy_todo *list)
{
	struct copy_client *next;

	for (struct copy_client *c = list->first; c && k->asked < MQTT_COPY_LOADS_MAX; c = next) {
		next = c->todo_next;
		if (!c->asked && !c->requests)
			ask(k, c);
	}
}

static void
say_loading(struct mqtt_copy *k)
{
	const struct mqtt_copy_hooks *hooks = k->options.hooks;

	mqtt_broker_loading(
	    k->broker, !mqtt_copy_is_loaded(k) || (hooks && !hooks->ready(hooks->arg)));
}

/* All is in units: what was told waits for the last of them. */
static void
hold_is_over(struct mqtt_copy *k)
{
	copy_unit_anew(k);
	k->hold = false;
	k->stale_us = 0;
	k->barrier = k->issued;
	copy_say_away(k);
}

/* Sessions to be written anew, or to be loaded, as many at a time as may be. */
void
copy_go_on(struct mqtt_copy *k)
{
	bool may_write = loop_now_us(k->loop) >= k->stale_us;

	if (k->listed && session_state_is_up(k->ss)) {
		if (may_write) {
			do_some(k, &k->anew);
			do_some(k, &k->load);
		}
		if (k->hold && !k->anew.first && may_write) {
			if (k->rewrite_retained)
				copy_write_retained(k);
			hold_is_over(k);
		}
	}
	say_loading(k);
}

/* It may rewrite its file, or be started again: what lasts for less is not worth a word. */
void
copy_say_away(struct mqtt_copy *k)
{
	int64_t now = loop_now_us(k->loop), slow = now - SLOW_US;
	struct mqtt_broker *b = k->broker;

	if (k->down_us)
		mqtt_broker_away(b,
		    k->last > k->done && k->progress_us < k->down_us ? k->progress_us : k->down_us,
		    "Redis is away");
	else if (k->last > k->done && k->progress_us <= slow)
		mqtt_broker_away(b, k->progress_us, "Redis does not answer");
	else if (k->hold && k->hold_us <= slow)
		mqtt_broker_away(
		    b, k->hold_us, "Redis has lost what it had, or has no memory left");
	else
		mqtt_broker_away(b, 0, "");
}

/* Redis has not answered in time. Of what it was asked something may come of yet, so that request stays; who would have no other
 * session than that is accepted when the question is over, for two might have it. */
static void
give_up(struct mqtt_copy *k, struct copy_request *r)
{
	struct copy_client *c = r->client;

	if (!c->asked) {
		answer(k, c,
		    c->requests->keep ? (uint8_t)MQTT_SERVER_UNAVAILABLE : (uint8_t)MQTT_SUCCESS);
		if (is_idle(c))
			copy_client_free(k, c);
		return;
	}
	copy_request_told(k, r);
	if (r->keep)
		mqtt_broker_claimed(k->broker, r->token, MQTT_SERVER_UNAVAILABLE);
}

static void
waited(void *arg)
{
	struct mqtt_copy *k = arg;
	int64_t now = loop_now_us(k->loop);

	k->broker->now_us = now;
	k->ticking = false;
	while (k->waiting && k->waiting->until_us <= now)
		give_up(k, k->waiting);
	say_loading(k);
	copy_say_away(k);
	if (k->waiting || k->down_us || k->hold || k->last > k->done || !mqtt_copy_is_loaded(k))
		copy_wait(k);
}

void
copy_wait(struct mqtt_copy *k)
{
	k->ticking = true;
	loop_timer_set(k->loop, &k->timer, WAIT_STEP_US, waited, k);
}

/* Nobody else may have it, and there is nothing to load: it is kept only here, or not at all. */
static bool
needs_no_claim(
    const struct mqtt_copy *k, const struct copy_client *c, const struct mqtt_claim *claim)
{
	if (c && (c->asked || c->requests))
		return false;
	if (!k->options.alone)
		return !claim->keep && !session_state_is_up(k->ss);
	if (claim->keep)
		return c && c->epoch && !c->fresh && !claim->clean;
	if (c && c->owned)
		return false;
	return claim->clean || c || k->listed || !session_state_is_up(k->ss);
}

bool
mqtt_copy_claim(void *arg, const struct mqtt_claim *claim, uint64_t token)
{
	struct mqtt_copy *k = arg;
	struct copy_client *c = copy_find(k, claim->client);

	copy_will_forget(k, claim->client);
	if (needs_no_claim(k, c, claim))
		return true;
	c = copy_get(k, claim->client);
	if (!k->waiting)
		copy_wait(k);
	copy_request_add(k, c, claim, token);
	if (!c->asked && session_state_is_up(k->ss))
		ask(k, c);
	return false;
}

/* --- what nobody came for --- */

/* Claimed clean for a connection that ended before it was told: the session before ends all the same. */
static void
end_fresh(struct mqtt_copy *k, struct copy_client *c)
{
	uint8_t id[AUTH_NAME_MAX];
	size_t len = c->id_len < sizeof(id) ? c->id_len : sizeof(id);

	memcpy(id, c->id, len);
	copy_fresh(k, c, false);
	if (copy_unit(k))
		session_state_ended(k->ss, copy_id(c), c->epoch);
	/* Before the session, whose end would let go of c. */
	copy_drop(k, c);
	mqtt_broker_fenced(k->broker, bytes_of(id, len));
}

/* Whoever has it has not said so in time. */
static void
end_fenced(struct mqtt_copy *k, struct copy_client *c)
{
	struct mqtt_session *s = mqtt_store_find(k->broker, copy_id(c));
	uint8_t id[AUTH_NAME_MAX];
	size_t len = c->id_len < sizeof(id) ? c->id_len : sizeof(id);

	memcpy(id, c->id, len);
	copy_drop(k, c);
	if (s)
		mqtt_broker_fenced(k->broker, bytes_of(id, len));
}

/* The connection ended between the answer to its claim and its CONNECT: what was begun for it ends, what was loaded is away. */
static void
end_told(struct mqtt_copy *k, struct copy_client *c)
{
	const struct mqtt_session *s = session_of(k, c);

	copy_told_done(k, c);
	if (is_idle(c)) {
		copy_client_free(k, c);
	} else if (c->asked || c->requests || c->fresh || !c->epoch || (s && s->conn)) {
		return;
	} else if (s && copy_unit(k)) {
		copy_write_life(k, c, s);
	} else if (!s) {
		if (copy_unit(k))
			session_state_ended(k->ss, copy_id(c), c->epoch);
		copy_drop(k, c);
	}
}

void
copy_claims_tick(struct mqtt_copy *k)
{
	struct copy_client *next;

	for (struct copy_client *c = k->first; c && k->fresh > 0; c = next) {
		next = c->next;
		if (c->fresh && !c->asked && !c->requests)
			end_fresh(k, c);
	}
	for (struct copy_client *c = k->first; c && k->fenced > 0; c = next) {
		next = c->next;
		if (c->fenced && !c->asked && !c->requests &&
		    k->broker->now_us - c->fenced_us > FENCED_US)
			end_fenced(k, c);
	}
	while (k->told && k->broker->now_us - k->told->told_us > TOLD_US)
		end_told(k, k->told);
}
