/* mqtt_copy_life.c - what the copy says of a session's life: connected, or away since when, and its will
 *
 * That a client has gone is written up to COPY_AWAY_US late, many at a time; if it is back before that, neither is written: a
 * client that comes and goes costs Redis nothing. Nobody waits for this write. If the worker dies before it,
 *
 *	the session stands there as connected. The next life takes what it finds so as away since its own start, as it does
 *	with all that were connected when the worker died: the session lasts longer than it should by the time from the end of
 *	its connection to that start, never shorter, and its keys do not end by themselves meanwhile;
 *	who owns it is not touched: a claim goes by epoch, and looks at `away since` only to see whether the session has
 *	expired. One whose expiry is shorter than COPY_AWAY_US ends from memory, and that is written at once.
 *
 * Written at once is whatever else changes: another expiry (5.0 may give one in DISCONNECT: a longer one must hold), a will (its
 * delay runs from then), that a client is back whose absence was written (it would expire while it is connected), all of it when
 * the worker drains, and with several workers everything: who comes is asked for in Redis there, whose answer is a write. */
#include "metrics.h"
#include "mqtt_copy_impl.h"

#define AWAY_STEP_US 250000
#define AWAY_UNIT_OPS 256 /* of one unit: Redis does nothing else meanwhile */

static const struct mqtt_will *
will_of(const struct mqtt_session *s)
{
	return s->conn ? s->conn->will : s->will;
}

static void
write_will(struct mqtt_copy *k, struct copy_client *c, const struct mqtt_session *s)
{
	const struct mqtt_will *will = will_of(s);
	int64_t since = 0;

	if (!will) {
		if (c->has_will)
			session_state_no_will(k->ss, copy_id(c));
		c->has_will = false;
		return;
	}
	/* Its delay runs from when the connection ended. */
	if (!s->conn)
		since = copy_wall_ms() + (will->due_us - k->broker->now_us) / 1000 -
			(int64_t)will->delay_s * 1000;
	copy_will_put(k, copy_id(c), c->epoch, will, since < 0 ? 1 : since);
	c->has_will = true;
	k->all_stale = false;
}

void
copy_write_life(struct mqtt_copy *k, struct copy_client *c, const struct mqtt_session *s)
{
	copy_away_done(k, c);
	if (s->shared && s->conn)
		session_state_back(k->ss, copy_id(c), c->epoch, s->expiry_s);
	else if (s->shared)
		session_state_away(k->ss, copy_id(c), c->epoch, s->expiry_s,
		    copy_wall_ms() + (s->expires_us - k->broker->now_us) / 1000 -
			(int64_t)s->expiry_s * 1000);
	c->life_epoch = c->epoch;
	c->life_expiry_s = s->expiry_s;
	c->life_away = !s->conn;
	write_will(k, c, s);
}

/* --- those whose absence is to be written --- */

static void
on_away_timer(void *arg)
{
	struct mqtt_copy *k = arg;

	k->broker->now_us = loop_now_us(k->loop);
	copy_aways_write(k, k->broker->now_us - COPY_AWAY_US + AWAY_STEP_US);
	if (k->aways)
		loop_timer_set(k->loop, &k->away_timer, AWAY_STEP_US, on_away_timer, k);
}

static void
away_later(struct mqtt_copy *k, struct copy_client *c)
{
	copy_away_done(k, c);
	if (!k->aways)
		loop_timer_set(k->loop, &k->away_timer, AWAY_STEP_US, on_away_timer, k);
	c->away_us = loop_now_us(k->loop);
	c->away_next = NULL;
	c->away_link = k->aways_end;
	*k->aways_end = c;
	k->aways_end = &c->away_next;
	k->away_count++;
}

void
copy_away_done(struct mqtt_copy *k, struct copy_client *c)
{
	if (!c->away_link)
		return;
	*c->away_link = c->away_next;
	if (c->away_next)
		c->away_next->away_link = c->away_link;
	else
		k->aways_end = c->away_link;
	c->away_link = NULL;
	k->away_count--;
}

void
copy_aways_write(struct mqtt_copy *k, int64_t until_us)
{
	for (size_t n = k->away_count; n > 0 && k->aways && k->aways->away_us <= until_us; n--) {
		struct copy_client *c = k->aways;
		const struct mqtt_session *s = mqtt_store_find(k->broker, copy_id(c));

		copy_away_done(k, c);
		if (!s || s->conn || !s->shared || s->moved_to || !c->epoch || c->fresh ||
		    c->fenced)
			continue;
		/* A claim of ours may be there already: it would be refused under the epoch before. */
		if (c->asked || c->requests) {
			away_later(k, c);
			continue;
		}
		if (k->open && session_state_unit_ops(k->ss) >= AWAY_UNIT_OPS)
			copy_unit_end(k);
		if (!copy_unit(k))
			return;
		copy_write_life(k, c, s);
	}
}

/* --- what has changed --- */

/* As connected, with this expiry, and there is no will to be written or forgotten. */
static bool
stands_connected(const struct copy_client *c, const struct mqtt_session *s)
{
	return s->shared && c->epoch && c->life_epoch == c->epoch && !c->life_away &&
	       c->life_expiry_s == s->expiry_s && !c->has_will && !will_of(s);
}

void
copy_life(struct mqtt_copy *k, struct copy_client *c, const struct mqtt_session *s)
{
	bool may_wait = k->options.alone && stands_connected(c, s) && !k->broker->draining;

	if (may_wait && !s->conn) {
		away_later(k, c);
	} else if (may_wait) {
		if (c->away_link)
			metric_add(M_MQTT_COPY_SPARED, 1);
		copy_away_done(k, c);
	} else if (copy_unit(k)) {
		copy_write_life(k, c, s);
	}
}
