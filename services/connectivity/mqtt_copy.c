/* mqtt_copy.c - the copy of MQTT sessions in Redis: its life, and what Redis answers */
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "mqtt_copy_impl.h"

#define RETAINED_SWEEP_US 600000000ll

static void
on_up(void *arg, bool lost)
{
	struct mqtt_copy *k = arg;
	struct copy_client *next;

	k->broker->now_us = loop_now_us(k->loop);
	if (lost) {
		/* Epochs begin anew. */
		for (struct copy_client *c = k->first; c; c = c->next)
			c->overtaken = 0;
		copy_stale(k, "Redis does not have what it had");
		k->stale_us = 0;
	}
	k->losing = false;
	k->down_us = 0;
	k->progress_us = k->broker->now_us;
	if (!k->listed)
		copy_list(k);
	for (struct copy_client *c = k->first; c; c = next) {
		next = c->next;
		if (c->requests && !c->asked)
			copy_next_request(k, c);
	}
	copy_go_on(k);
	/* Behind that, which says what has to be waited for still. */
	copy_say_away(k);
}

static void
on_down(void *arg)
{
	struct mqtt_copy *k = arg;

	k->broker->now_us = loop_now_us(k->loop);
	k->down_us = k->broker->now_us;
	copy_wait(k);
	copy_say_away(k);
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
	const struct mqtt_session *s;

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
			/* Before what waits for this write is said to be done. */
			mqtt_broker_overtaken(k->broker, r->id);
		}
		s = mqtt_store_find(k->broker, r->id);
		/* Of one that we have claimed again since it is told until that is loaded; of one claimed clean it ends. */
		if (r->queues && (!c || !c->epoch || c->epoch == r->epoch || (s && s->moved_to)))
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
		uint64_t waits;

		hooks->written(hooks->arg, upto);
		waits = hooks->waits_for(hooks->arg);
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
	k->progress_us = k->broker->now_us;
	retained_is_numbered(k, token, retained_seq);
	copy_checked(k, token, err);
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

static void
on_end(void *arg, uint64_t token, int err)
{
	struct mqtt_copy *k = arg;

	if (token >= COPY_PEERS && token < COPY_ADOPTED)
		copy_on_peer_end(k, (unsigned)(token - COPY_PEERS), err);
	else if (token < COPY_LISTS)
		copy_on_list_end(k, (enum copy_list)token, err);
	else
		copy_load_is_over(k, (struct copy_client *)(uintptr_t)token, err);
}

static const struct session_state_events events = {
	.up = on_up,
	.down = on_down,
	.fenced = on_fenced,
	.room = on_room,
	.refused = on_refused,
	.done = on_done,
	.claimed = copy_on_claimed,
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
	k->waiting_end = &k->waiting;
	k->told_end = &k->told;
	k->aways_end = &k->aways;
	k->started_us = loop_now_us(o->loop);
	k->down_us = k->started_us;
	k->swept_us = k->started_us;
	if (session_state_new(o->loop, &options, &events, k, &k->ss) != 0) {
		mqtt_copy_free(&k);
		return ERR_CONFIG;
	}
	mqtt_broker_loading(k->broker, true);
	copy_wait(k);
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
	loop_timer_clear(k->loop, &k->away_timer);
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
	if (k->broker->draining)
		copy_aways_write(k, INT64_MAX);
	copy_unit_end(k);
	session_state_flush(k->ss);
	mqtt_copy_look(k);
	if (k->last > k->done && !k->ticking)
		copy_wait(k);
}

void
mqtt_copy_tick(struct mqtt_copy *k)
{
	k->broker->now_us = loop_now_us(k->loop);
	copy_claims_tick(k);
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
mqtt_copy_has_loaded(const struct mqtt_copy *k)
{
	return k->listed && k->to_load == 0;
}

bool
mqtt_copy_is_up(const struct mqtt_copy *k)
{
	return session_state_is_up(k->ss);
}

void
mqtt_copy_mark(struct mqtt_copy *k)
{
	k->marked = 0;
	for (struct copy_client *c = k->first; c; c = c->next) {
		c->marked = c->asked && !c->check;
		k->marked += c->marked;
	}
}

void
copy_unmark(struct mqtt_copy *k, struct copy_client *c)
{
	k->marked -= c->marked;
	c->marked = false;
}

bool
mqtt_copy_is_marked(const struct mqtt_copy *k)
{
	return k->marked > 0;
}

void
mqtt_copy_ask_owned(struct mqtt_copy *k, unsigned peer, const char *worker)
{
	uint64_t bit = 1ull << peer;

	if (k->peers_asked & bit)
		return;
	copy_unit_end(k); /* a question ends it */
	k->peers_own &= ~bit;
	if (session_state_list(k->ss, SESSION_STATE_OWNED, worker, COPY_PEERS + peer) == 0)
		k->peers_asked |= bit;
}

bool
mqtt_copy_is_idle(const struct mqtt_copy *k)
{
	return k->done >= k->last && !k->hold;
}
