/* session_state.c - MQTT sessions in Redis: units, batches, the worker's log */
#include "session_state_impl.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"

static void on_batch(void *arg, int err, const struct redis_view *reply);

/* --- batches --- */

static struct session_batch *
batch_new(struct session_state *ss)
{
	struct session_batch *b = xcalloc(1, sizeof(*b));

	b->ss = ss;
	return b;
}

static void
batch_free(struct session_batch *b)
{
	if (b == NULL)
		return;
	free(b->units);
	free(b->ops);
	buf_fini(&b->ids);
	buf_fini(&b->args);
	free(b);
}

static void
close_unit(struct session_batch *b)
{
	if (b->unit_count > 0)
		b->units[b->unit_count - 1].ops_end = (uint32_t)b->op_count;
}

/* The open batch leaves, or waits for Redis to come back. */
void
session_send_batch(struct session_state *ss)
{
	struct session_batch *b = ss->open;
	int err;

	if (b == NULL)
		return;
	close_unit(b);
	ss->open = NULL;
	b->number = ++ss->number;
	redis_script(ss->redis, SCRIPT_BATCH);
	redis_arg_str(ss->redis, ss->worker);
	redis_arg_uint(ss->redis, ss->life);
	redis_arg_uint(ss->redis, b->number);
	redis_arg_uint(ss->redis, ss->known_count);
	for (size_t i = 0; i < ss->known_count; i++)
		redis_arg_uint(ss->redis, ss->known[i]);
	ss->known_count = 0;
	redis_args(ss->redis, buf_bytes(&b->args), b->arg_count);
	buf_fini(&b->args);
	*ss->waiting_end = b;
	ss->waiting_end = &b->next;
	err = redis_send(ss->redis, REDIS_REPEAT, on_batch, b);
	ASSERT(err == 0); /* the connection has no bound of its own */
}

void
session_state_unit_anew(struct session_state *ss, uint64_t token)
{
	struct session_batch *b = ss->open;

	if (b != NULL &&
	    (b->op_count >= SESSION_STATE_BATCH_OPS || b->args.len >= SESSION_STATE_BATCH_BYTES))
		session_send_batch(ss);
	if (ss->open == NULL)
		ss->open = batch_new(ss);
	b = ss->open;
	close_unit(b);
	if (b->unit_count == b->unit_cap) {
		b->unit_cap = b->unit_cap == 0 ? 16 : 2 * b->unit_cap;
		b->units = xrealloc(b->units, b->unit_cap * sizeof(b->units[0]));
	}
	b->units[b->unit_count++] = (struct session_unit){ .token = token };
	metric_add(M_SESSION_STATE_UNITS, 1);
}

int
session_state_unit(struct session_state *ss, uint64_t token)
{
	const struct session_batch *b = ss->open;
	size_t waiting = redis_waiting_bytes(ss->redis) + (b != NULL ? b->args.len : 0);

	if (waiting >= ss->queue_max) {
		ss->full = true;
		return ERR_FULL;
	}
	session_state_unit_anew(ss, token);
	return 0;
}

uint32_t
session_state_unit_ops(const struct session_state *ss)
{
	const struct session_batch *b = ss->open;

	if (b == NULL || b->unit_count == 0)
		return 0;
	return (uint32_t)b->op_count -
	       (b->unit_count > 1 ? b->units[b->unit_count - 2].ops_end : 0);
}

void
session_state_flush(struct session_state *ss)
{
	session_send_batch(ss);
	redis_flush(ss->redis);
}

/* --- answers --- */

/* What the script had to tell of one write. */
struct result {
	uint64_t index;
	bool refused;
	int err;
	uint64_t value;
};

static uint64_t
take_number(struct bytes *text, bool *ret_ok)
{
	uint64_t n = 0;
	size_t i = 0;

	while (i < text->len && i < 16 && text->data[i] >= '0' && text->data[i] <= '9')
		n = n * 10 + (uint64_t)(text->data[i++] - '0');
	*ret_ok = *ret_ok && i > 0;
	*text = bytes_of(text->data + i, text->len - i);
	return n;
}

static bool
take_char(struct bytes *text, char c)
{
	if (text->len == 0 || text->data[0] != (uint8_t)c)
		return false;
	*text = bytes_of(text->data + 1, text->len - 1);
	return true;
}

/* "index value", separated by blanks: value 0 fenced, -1 refused, -2 no memory, above 0 a retained message's number. */
static bool
next_result(struct bytes *text, struct result *ret)
{
	static const int errs[] = { ERR_FENCED, ERR_REFUSED, ERR_FULL };
	struct result r = { 0 };
	bool ok = true, minus;

	(void)take_char(text, ' ');
	r.index = take_number(text, &ok);
	ok = ok && take_char(text, ' ');
	minus = ok && take_char(text, '-');
	r.value = take_number(text, &ok);
	r.refused = minus || r.value == 0;
	if (!ok || (minus && (r.value == 0 || r.value >= COUNT_OF(errs))))
		return false;
	if (r.refused)
		r.err = errs[r.value];
	*ret = r;
	return true;
}

static void
tell_refused(struct session_batch *b, const struct session_unit *u, const struct result *r)
{
	const struct session_op *o = &b->ops[r->index];
	struct session_state_refusal refusal = {
		.err = r->err,
		.id = bytes_of(b->ids.data + o->id_at, o->id_len),
		.epoch = o->epoch,
		.n = o->n,
		.queues = o->queues,
	};

	if (r->err == ERR_FENCED)
		metric_add(M_SESSION_STATE_FENCED, 1);
	b->ss->events->refused(b->ss->arg, u->token, &refusal);
}

static void
answer_units(struct session_batch *b, int err, struct bytes text)
{
	struct session_state *ss = b->ss;
	struct result r = { 0 };
	bool have = text.len > 0 && next_result(&text, &r);

	for (size_t i = 0; i < b->unit_count; i++) {
		const struct session_unit *u = &b->units[i];
		uint64_t seq = 0;

		while (have && r.index < u->ops_end) {
			if (r.refused)
				tell_refused(b, u, &r);
			else
				seq = r.value;
			have = text.len > 0 && next_result(&text, &r);
		}
		ss->events->done(ss->arg, u->token, err, seq);
	}
	if (have || text.len > 0)
		log_error("session_state.results",
		    LS("fault", "Redis told of writes that were not made"));
}

static void
on_batch(void *arg, int err, const struct redis_view *reply)
{
	struct session_batch *b = arg;
	struct session_state *ss = b->ss;
	struct bytes text = { 0 };

	ASSERT(ss->waiting == b);
	ss->waiting = b->next;
	if (ss->waiting == NULL)
		ss->waiting_end = &ss->waiting;
	if (err == 0) {
		ss->acked = b->number;
		(void)redis_text(reply, &text);
	}
	if (text.len > 0) {
		if (ss->known_count == ss->known_cap) {
			ss->known_cap = ss->known_cap == 0 ? 16 : 2 * ss->known_cap;
			ss->known = xrealloc(ss->known, ss->known_cap * sizeof(ss->known[0]));
		}
		ss->known[ss->known_count++] = b->number;
	}
	answer_units(b, err, text);
	batch_free(b);
	if (ss->full && redis_waiting_bytes(ss->redis) <= ss->queue_max / 2) {
		ss->full = false;
		ss->events->room(ss->arg);
	}
}

/* --- the connection --- */

static void
go_up(struct session_state *ss, bool lost)
{
	ss->begun = true;
	ss->up = true;
	if (lost) {
		metric_add(M_SESSION_STATE_LOST, 1);
		log_warn("session_state.lost",
		    LS("fault", "Redis does not have what it acknowledged"),
		    LS("remedy", "this worker's sessions are written again"));
	}
	redis_ready(ss->redis);
	ss->events->up(ss->arg, lost);
}

/* What waits belongs to epochs that Redis does not know any more. */
static void
drop_all(struct session_state *ss)
{
	struct session_batch *open = ss->open;

	ss->open = NULL;
	ss->number = ss->acked = ss->epoch = 0;
	ss->known_count = 0;
	redis_drop(ss->redis);
	if (open != NULL) {
		close_unit(open);
		answer_units(open, ERR_CLOSED, (struct bytes){ 0 });
		batch_free(open);
	}
}

static void
on_begin(void *arg, int err, const struct redis_view *reply)
{
	struct session_state *ss = arg;
	struct redis_view what = redis_at(reply, 0);
	uint64_t found;

	if (err == ERR_CLOSED || err == ERR_AGAIN)
		return;
	if (err != 0 || !redis_uint(&what, BEGIN_FENCED, &found)) {
		redis_fail(ss->redis, "the worker's log cannot be read");
		return;
	}
	switch ((enum session_begin)found) {
	case BEGIN_NEW:
	case BEGIN_SAME:
		go_up(ss, false);
		break;
	case BEGIN_LOST:
		drop_all(ss);
		go_up(ss, true);
		break;
	case BEGIN_FENCED:
		log_error("session_state.fenced", LS("worker", ss->worker), LU("life", ss->life));
		ss->events->fenced(ss->arg);
		break;
	}
}

static void
on_connected(void *arg)
{
	struct session_state *ss = arg;

	redis_script(ss->redis, SCRIPT_BEGIN);
	redis_arg_str(ss->redis, ss->worker);
	redis_arg_uint(ss->redis, ss->life);
	redis_arg_uint(ss->redis, ss->acked);
	redis_arg_str(ss->redis, ss->begun ? "1" : "0");
	redis_arg_uint(ss->redis, ss->epoch);
	(void)redis_send(ss->redis, REDIS_SETUP, on_begin, ss);
}

static void
on_down(void *arg)
{
	struct session_state *ss = arg;
	bool was_up = ss->up;

	ss->up = false;
	if (was_up)
		ss->events->down(ss->arg);
}

static const struct redis_events redis_events = { .connected = on_connected, .down = on_down };

static void
on_log(void *arg, int err, const struct redis_view *reply)
{
	struct session_state *ss = arg;
	uint64_t life;

	if (session_answer(ss, err, reply) == 0 &&
	    (!redis_uint(reply, UINT64_MAX, &life) || life != ss->life))
		redis_fail(ss->redis, "the worker's log is gone");
}

static void
check(void *arg)
{
	struct session_state *ss = arg;

	if (session_state_is_up(ss) && ss->waiting == NULL) {
		redis_command(ss->redis, "HGET");
		redis_arg_str(ss->redis, ss->log_key);
		redis_arg_str(ss->redis, "l");
		(void)redis_send(ss->redis, REDIS_ONCE, on_log, ss);
	}
	loop_timer_set(ss->loop, &ss->check, SESSION_STATE_CHECK_MS * 1000, check, ss);
}

int
session_state_new(struct loop *loop, const struct session_state_options *options,
    const struct session_state_events *events, void *arg, struct session_state **ret_state)
{
	struct session_state *ss = xcalloc(1, sizeof(*ss));
	struct redis_options redis = {
		.url = options->url,
		.data_dir = options->data_dir,
		.scripts = session_scripts,
		.script_count = SCRIPT_COUNT,
		.value_max = options->message_max + SESSION_STATE_VALUE_EXTRA,
		.queue_max = SIZE_MAX, /* session_state_unit() keeps the bound */
	};

	ASSERT(strlen(options->worker) <= SESSION_STATE_WORKER_MAX);
	ss->loop = loop;
	ss->events = events;
	ss->arg = arg;
	ss->worker = xstrdup(options->worker);
	ss->log_key = xasprintf("roost:mqtt:log:%s", options->worker);
	ss->life = options->life;
	ss->queue_max = options->queue_max;
	ss->value_max = redis.value_max;
	ss->waiting_end = &ss->waiting;
	if (redis_new(loop, &redis, &redis_events, ss, &ss->redis) != 0) {
		session_state_free(&ss);
		return ERR_CONFIG;
	}
	loop_timer_set(loop, &ss->check, SESSION_STATE_CHECK_MS * 1000, check, ss);
	*ret_state = ss;
	return 0;
}

void
session_state_free(struct session_state **p_ss)
{
	struct session_state *ss = *p_ss;

	if (ss == NULL)
		return;
	*p_ss = NULL;
	loop_timer_clear(ss->loop, &ss->check);
	redis_free(&ss->redis);
	while (ss->waiting != NULL) {
		struct session_batch *b = ss->waiting;

		ss->waiting = b->next;
		batch_free(b);
	}
	batch_free(ss->open);
	session_reads_free(ss);
	free(ss->known);
	free(ss->worker);
	free(ss->log_key);
	buf_fini(&ss->scratch);
	free(ss);
}

bool
session_state_is_up(const struct session_state *ss)
{
	/* What was asked is answered with ERR_CLOSED before `down` is told: nothing can be asked then either. */
	return ss->up && redis_is_ready(ss->redis);
}
