/* mqtt_copy.c - the copy of MQTT sessions in Redis: claims, answers, what is written anew */
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "mqtt_copy_impl.h"

#define FENCED_US 5000000
#define WAIT_STEP_US 50000
#define STALE_RETRY_US 1000000
#define RETAINED_SWEEP_US 600000000ll

/* All is in units: what was told waits for the last of them. */
static void
hold_is_over(struct mqtt_copy *k)
{
	if (!copy_unit(k))
		return;
	k->hold = false;
	k->stale_us = 0;
	k->barrier = k->issued;
}

/* --- claims --- */

static const struct mqtt_session *
session_of(const struct mqtt_copy *k, const struct copy_client *c)
{
	return mqtt_store_find(k->broker, copy_id(c));
}

void
copy_answer(struct mqtt_copy *k, struct copy_client *c, uint8_t reason)
{
	struct copy_request *r = c->requests;

	c->requests = r->next;
	k->waiting--;
	mqtt_broker_claimed(k->broker, r->token, reason);
	free(r);
}

static bool
is_idle(const struct copy_client *c)
{
	return !c->epoch && !c->asked && !c->requests && !c->owned && !c->has_will && !c->todo_link;
}

/* Nothing is asked about it: its next request, or nothing. */
static void
next_request(struct mqtt_copy *k, struct copy_client *c)
{
	while (c->requests && !c->asked) {
		if (c->epoch && !c->requests->clean && k->options.alone) {
			copy_answer(k, c, MQTT_SUCCESS);
			continue;
		}
		if (!session_state_is_up(k->ss))
			return;
		copy_ask(k, c);
	}
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
static void
checked(struct mqtt_copy *k, uint64_t number, int err)
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
			copy_answer(k, c, MQTT_SUCCESS);
		next_request(k, c);
		at = &k->checks;
	}
}

void
copy_ask(struct mqtt_copy *k, struct copy_client *c)
{
	const struct copy_request *r = c->requests;
	bool anew = c->todo_link && !c->owned && !r;
	bool clean = anew || (r && r->clean);
	uint32_t expiry = SESSION_STATE_EXPIRY_NEVER;

	if (r && !r->keep)
		expiry = 0;
	else if (c->owned)
		expiry = c->expiry_s;
	if (r && !r->clean && check(k, c))
		return;
	/* What was told before is behind us. */
	copy_unit_end(k);
	if (session_state_claim(
		k->ss, copy_id(c), clean, expiry, copy_wall_ms(), (uint64_t)(uintptr_t)c) != 0)
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

/* Its new epoch: from here on changes are written. */
static void
claimed_anew(struct mqtt_copy *k, struct copy_client *c, uint64_t epoch)
{
	const struct mqtt_session *s = session_of(k, c);

	copy_todo_done(k, c);
	if (!s || !s->shared) {
		ended_meanwhile(k, c, epoch);
		return;
	}
	c->epoch = epoch;
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
	c->epoch = epoch;
	c->has_will = false;
	/* Of the one before, if it is still here, nothing is written any more. */
	if (s && c->requests->clean)
		copy_fresh(k, c, true);
	else if (s && s->shared)
		copy_write_session(k, c, s);
	copy_answer(k, c, MQTT_SUCCESS);
}

static void
claimed_present(struct mqtt_copy *k, struct copy_client *c, const struct session_state_claim *claim)
{
	c->epoch = claim->epoch;
	if (session_of(k, c)) { /* as it is there */
		copy_todo_done(k, c);
		if (c->requests)
			copy_answer(k, c, MQTT_SUCCESS);
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

static void
claim_failed(struct mqtt_copy *k, struct copy_client *c, int err)
{
	if (err == ERR_CLOSED)
		return;
	log_error("mqtt.claim", LB("client", copy_id(c)), LS("why", err_name(err)));
	if (c->requests)
		copy_answer(k, c,
		    c->requests->keep ? (uint8_t)MQTT_SERVER_UNAVAILABLE : (uint8_t)MQTT_SUCCESS);
	else
		k->stale_us = loop_now_us(k->loop) + STALE_RETRY_US;
}

static void
on_claimed(void *arg, uint64_t token, int err, const struct session_state_claim *claim)
{
	struct mqtt_copy *k = arg;
	struct copy_client *c = (struct copy_client *)(uintptr_t)token;

	k->asked--;
	k->broker->now_us = loop_now_us(k->loop);
	copy_unfence(k, c);
	/* What another worker had meanwhile is not what is here. The end of the session lets go of whoever is not asked about. */
	if (err == 0 && claim->owner.len && !bytes_equal_str(claim->owner, k->worker)) {
		bool over = c->over;

		mqtt_broker_fenced(k->broker, copy_id(c));
		c->over = over;
		if (k->options.hooks)
			k->options.hooks->claimed(
			    k->options.hooks->arg, copy_id(c), claim->owner, claim->epoch);
	}
	c->asked = false;
	if (err)
		claim_failed(k, c, err);
	else if (c->over)
		ended_meanwhile(k, c, claim->epoch);
	else if (c->anew)
		claimed_anew(k, c, claim->epoch);
	else if (claim->present)
		claimed_present(k, c, claim);
	else
		claimed_new(k, c, claim->epoch);
	next_request(k, c);
	copy_go_on(k);
}

static void
load_is_over(struct mqtt_copy *k, struct copy_client *c, int err)
{
	c->asked = false;
	k->asked--;
	k->broker->now_us = loop_now_us(k->loop);
	if (err == 0 && !c->over) {
		copy_load_end(k, c);
		copy_todo_done(k, c);
		if (c->requests)
			copy_answer(k, c, MQTT_SUCCESS);
	} else {
		c->epoch = 0;
		c->over = false;
		if (err != 0 && err != ERR_CLOSED && c->requests)
			copy_answer(k, c, MQTT_SERVER_UNAVAILABLE);
	}
	copy_load_free(c);
	next_request(k, c);
	copy_go_on(k);
}

static void
on_end(void *arg, uint64_t token, int err)
{
	struct mqtt_copy *k = arg;

	if (token < COPY_LISTS)
		copy_on_list_end(k, (enum copy_list)token, err);
	else
		load_is_over(k, (struct copy_client *)(uintptr_t)token, err);
}

static void
do_some(struct mqtt_copy *k, const struct copy_todo *list)
{
	struct copy_client *next;

	for (struct copy_client *c = list->first; c && k->asked < MQTT_COPY_LOADS_MAX; c = next) {
		next = c->todo_next;
		if (!c->asked && !c->requests)
			copy_ask(k, c);
	}
}

static void
say_loading(struct mqtt_copy *k)
{
	const struct mqtt_copy_hooks *hooks = k->options.hooks;

	mqtt_broker_loading(
	    k->broker, !mqtt_copy_is_loaded(k) || (hooks && !hooks->ready(hooks->arg)));
}

/* Sessions to be written anew, or to be loaded, as many at a time as may be. */
void
copy_go_on(struct mqtt_copy *k)
{
	bool may_write = loop_now_us(k->loop) >= k->stale_us;

	if (k->listed && session_state_is_up(k->ss)) {
		if (may_write)
			do_some(k, &k->anew);
		do_some(k, &k->load);
		if (k->hold && !k->anew.first && may_write) {
			if (k->rewrite_retained)
				copy_write_retained(k);
			hold_is_over(k);
		}
	}
	say_loading(k);
}

static void
waited(void *arg)
{
	struct mqtt_copy *k = arg;
	int64_t now = loop_now_us(k->loop);
	struct copy_client *next;

	k->broker->now_us = now;
	for (struct copy_client *c = k->first; c && k->waiting > 0; c = next) {
		next = c->next;
		while (c->requests && !c->asked && c->requests->until_us <= now)
			copy_answer(k, c,
			    c->requests->keep ? (uint8_t)MQTT_SERVER_UNAVAILABLE
					      : (uint8_t)MQTT_SUCCESS);
		if (is_idle(c))
			copy_client_free(k, c);
	}
	say_loading(k);
	if (k->waiting > 0 || !mqtt_copy_is_loaded(k))
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
	struct copy_request *r, **at;

	copy_will_forget(k, claim->client);
	if (needs_no_claim(k, c, claim))
		return true;
	c = copy_get(k, claim->client);
	r = xcalloc(1, sizeof(*r));
	*r = (struct copy_request){
		.token = token,
		.clean = claim->clean,
		.keep = claim->keep,
		.until_us = loop_now_us(k->loop) + k->options.wait_us,
	};
	for (at = &c->requests; *at; at = &(*at)->next)
		;
	*at = r;
	k->waiting++;
	if (!c->asked && session_state_is_up(k->ss))
		copy_ask(k, c);
	else if (k->waiting == 1)
		loop_timer_set(k->loop, &k->timer, WAIT_STEP_US, waited, k);
	return false;
}

/* --- Redis --- */

static void
on_up(void *arg, bool lost)
{
	struct mqtt_copy *k = arg;
	struct copy_client *next;

	k->broker->now_us = loop_now_us(k->loop);
	if (lost) {
		copy_stale(k, "Redis does not have what it had");
		k->stale_us = 0;
	}
	k->losing = false;
	if (!k->listed)
		copy_list(k);
	for (struct copy_client *c = k->first; c; c = next) {
		next = c->next;
		if (c->requests && !c->asked)
			next_request(k, c);
	}
	copy_go_on(k);
}

static void
on_down(void *arg)
{
	struct mqtt_copy *k = arg;

	if (k->waiting > 0)
		loop_timer_set(k->loop, &k->timer, WAIT_STEP_US, waited, k);
}

static void
on_fenced(void *arg)
{
	struct mqtt_copy *k = arg;

	k->options.fenced(k->options.arg);
}

static void
on_refused(void *arg, uint64_t token, const struct session_state_refusal *r)
{
	struct mqtt_copy *k = arg;
	struct copy_client *c = copy_find(k, r->id);

	k->broker->now_us = loop_now_us(k->loop);
	if (r->err == ERR_FULL) {
		copy_stale(k, "Redis is out of memory");
	} else if (r->epoch == 0) {
		log_error("mqtt.copy_refused", LB("what", r->id), LS("why", err_name(r->err)));
	} else if (r->err == ERR_FENCED && k->options.hooks) {
		/* Its new owner says so to us, and gets what it did not. */
		if (c && c->epoch == r->epoch && !c->fenced) {
			c->fenced = true;
			c->fenced_us = loop_now_us(k->loop);
			k->fenced++;
		}
		/* One of ours that was claimed clean meanwhile ends. */
		if (r->n && (!c || !c->epoch || c->epoch == r->epoch))
			k->options.hooks->refused(k->options.hooks->arg, r->id, r->n, token);
	} else if (c && c->epoch == r->epoch && r->err == ERR_FENCED) {
		copy_drop(k, c);
		mqtt_broker_fenced(k->broker, r->id);
	} else if (c && c->epoch == r->epoch) {
		log_warn("mqtt.copy_anew", LB("client", r->id), LU("n", r->n));
		metric_add(M_MQTT_COPY_ANEW, 1);
		copy_dirty(k, c);
	}
}

static void
retained_is_numbered(struct mqtt_copy *k, uint64_t token, uint64_t seq)
{
	while (k->retained && k->retained->number <= token) {
		struct copy_retained *r = k->retained;

		k->retained = r->next;
		if (!k->retained)
			k->retained_end = &k->retained;
		if (r->number == token && seq)
			k->options.hooks->retained(k->options.hooks->arg, r->message, seq);
		mqtt_message_unref(&r->message);
		free(r);
	}
}

void
mqtt_copy_look(struct mqtt_copy *k)
{
	const struct mqtt_copy_hooks *hooks = k->options.hooks;
	/* What Redis was not given is done with what was before it. */
	uint64_t upto = k->done >= k->last ? k->issued : k->done;

	if (k->hold || upto < k->barrier)
		return;
	if (hooks) {
		uint64_t waits = hooks->waits_for(hooks->arg);

		hooks->written(hooks->arg, upto);
		if (upto >= waits)
			upto = waits - 1;
	}
	if (upto <= k->said)
		return;
	k->said = upto;
	mqtt_broker_written(k->broker, upto);
}

uint64_t
mqtt_copy_number(struct mqtt_copy *k)
{
	/* One that is not said to be done yet. */
	if (!k->open && k->issued <= k->said)
		k->issued++;
	return k->issued;
}

static void
on_done(void *arg, uint64_t token, int err, uint64_t retained_seq)
{
	struct mqtt_copy *k = arg;

	k->broker->now_us = loop_now_us(k->loop);
	k->done = token;
	retained_is_numbered(k, token, retained_seq);
	checked(k, token, err);
	if (err && !k->losing)
		copy_stale(k, "Redis does not have what it had");
	if (err)
		k->losing = true;
	else
		mqtt_copy_look(k);
}

static void
on_room(void *arg)
{
	struct mqtt_copy *k = arg;

	k->stale_us = 0;
	copy_go_on(k);
}

static const struct session_state_events events = {
	.up = on_up,
	.down = on_down,
	.fenced = on_fenced,
	.room = on_room,
	.refused = on_refused,
	.done = on_done,
	.claimed = on_claimed,
	.item = copy_on_item,
	.end = on_end,
};

/* --- life --- */

int
mqtt_copy_new(const struct mqtt_copy_options *o, struct mqtt_copy **ret_copy)
{
	struct mqtt_copy *k = xcalloc(1, sizeof(*k));
	const struct session_state_options options = {
		.url = o->redis_url,
		.data_dir = o->data_dir,
		.worker = o->worker,
		.life = o->life,
		.message_max = o->packet_max,
		.queue_max = o->queue_max,
	};

	k->options = *o;
	k->loop = o->loop;
	k->broker = o->broker;
	k->worker = xstrdup(o->worker);
	k->load.end = &k->load.first;
	k->anew.end = &k->anew.first;
	k->retained_end = &k->retained;
	k->started_us = loop_now_us(o->loop);
	k->swept_us = k->started_us;
	if (session_state_new(o->loop, &options, &events, k, &k->ss) != 0) {
		mqtt_copy_free(&k);
		return ERR_CONFIG;
	}
	mqtt_broker_loading(k->broker, true);
	loop_timer_set(k->loop, &k->timer, WAIT_STEP_US, waited, k);
	*ret_copy = k;
	return 0;
}

void
mqtt_copy_free(struct mqtt_copy **p_copy)
{
	struct mqtt_copy *k = *p_copy;

	*p_copy = NULL;
	if (!k)
		return;
	loop_timer_clear(k->loop, &k->timer);
	session_state_free(&k->ss);
	while (k->first)
		copy_client_free(k, k->first);
	copy_wills_fini(k);
	retained_is_numbered(k, UINT64_MAX, 0);
	mqtt_message_unref(&k->message);
	free(k->table);
	free(k->worker);
	buf_fini(&k->scratch);
	free(k);
}

void
mqtt_copy_turn(struct mqtt_copy *k)
{
	copy_unit_end(k);
	session_state_flush(k->ss);
	mqtt_copy_look(k);
}

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

void
mqtt_copy_tick(struct mqtt_copy *k)
{
	struct copy_client *next;

	k->broker->now_us = loop_now_us(k->loop);
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
	copy_wills_tick(k);
	copy_unit_end(k);
	if (k->listed && loop_now_us(k->loop) - k->swept_us >= RETAINED_SWEEP_US &&
	    session_state_list(k->ss, SESSION_STATE_RETAINED, "", COPY_SWEEP) == 0)
		k->swept_us = loop_now_us(k->loop);
	copy_go_on(k);
	metric_set(M_MQTT_COPY_SESSIONS, k->count);
	metric_set(M_MQTT_COPY_TO_LOAD, k->to_load);
}

bool
mqtt_copy_is_loaded(const struct mqtt_copy *k)
{
	if (k->listed)
		return k->to_load == 0;
	/* What is there is not known: those who are here go on among themselves. */
	return !session_state_is_up(k->ss) &&
	       loop_now_us(k->loop) - k->started_us >= k->options.wait_us;
}

bool
mqtt_copy_is_idle(const struct mqtt_copy *k)
{
	return k->done >= k->last && !k->hold;
}
