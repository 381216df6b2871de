/* fake_redis.h - what workers ask of Redis: a pipe to it and back for each, and how long that takes; part of fake_cluster.h */
#ifndef ROOST_FAKE_REDIS_H
#define ROOST_FAKE_REDIS_H

#include "fake_store.h"

enum fake_ask { FAKE_BEGIN, FAKE_BATCH, FAKE_CLAIM, FAKE_LOAD, FAKE_LIST };

/* What was asked, then what is answered. */
struct fake_request {
	struct fake_request *next;
	enum fake_ask ask;
	int64_t due_us;
	uint64_t token;
	struct fake_unit *units;
	size_t unit_count;
	struct buf id; /* client id, or worker */
	bool clean;
	char from[BUS_NAME_MAX];
	uint32_t expiry_s;
	enum session_state_kind kind;
	struct session_state_claim claim;
	char owner[BUS_NAME_MAX];
	struct fake_row *rows; /* copies */
	size_t row_count;
	struct fake_session *sessions; /* of OWNED */
	size_t session_count;
};

struct fake_pipe {
	struct fake_request *head;
	struct fake_request **end;
	int64_t last_us;
};

struct session_state {
	const struct session_state_events *events;
	void *arg;
	char worker[BUS_NAME_MAX];
	uint64_t life;
	bool up;
	struct fake_unit *units;
	size_t unit_count;
	struct fake_pipe to;
	struct fake_pipe from;
};

/* --- the pipes --- */

static inline void
fake_pipe_put(struct fake_pipe *p, struct fake_request *r)
{
	int64_t due = fake_now_us + fake_random(fake_redis_us + 1);

	if (!p->end)
		p->end = &p->head;
	r->next = NULL;
	r->due_us = p->last_us = due > p->last_us ? due : p->last_us;
	*p->end = r;
	p->end = &r->next;
}

static inline struct fake_request *
fake_pipe_take(struct fake_pipe *p)
{
	struct fake_request *r = p->head;

	if (!r || r->due_us > fake_now_us)
		return NULL;
	p->head = r->next;
	if (!p->head)
		p->end = &p->head;
	return r;
}

static inline void
fake_units_free(struct fake_unit *units, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		for (size_t k = 0; k < units[i].count; k++) {
			buf_fini(&units[i].ops[k].id);
			buf_fini(&units[i].ops[k].a);
		}
		free(units[i].ops);
	}
	free(units);
}

static inline void
fake_request_free(struct fake_request *r)
{
	fake_units_free(r->units, r->unit_count);
	for (size_t i = 0; i < r->row_count; i++)
		fake_row_fini(&r->rows[i]);
	for (size_t i = 0; i < r->session_count; i++)
		buf_fini(&r->sessions[i].id);
	free(r->rows);
	free(r->sessions);
	buf_fini(&r->id);
	free(r);
}

static inline void
fake_pipe_fini(struct fake_pipe *p)
{
	while (p->head) {
		struct fake_request *r = p->head;

		p->head = r->next;
		fake_request_free(r);
	}
	p->end = &p->head;
}

static inline struct fake_request *
fake_request(struct session_state *ss, enum fake_ask ask, uint64_t token)
{
	struct fake_request *r = xcalloc(1, sizeof(*r));

	/* Behind all writes made before. */
	if (ask != FAKE_BATCH)
		session_state_flush(ss);
	r->ask = ask;
	r->token = token;
	fake_pipe_put(&ss->to, r);
	return r;
}

/* --- carried out --- */

static inline void
fake_do_claim(const struct session_state *ss, struct fake_request *r)
{
	struct bytes id = buf_bytes(&r->id);
	struct fake_session *s = fake_session(id);

	if (r->from[0] && (!s || strcmp(s->owner, r->from) != 0))
		return;
	r->claim.present = s && !r->clean && s->expiry_s != 0;
	if (s) {
		memcpy(r->owner, s->owner, sizeof(r->owner));
		fake_row_remove(fake_row(SESSION_STATE_WILL, bytes_of_str(s->owner), id, 0));
	}
	r->claim.life = s ? s->life : 0;
	if (!r->claim.present) {
		fake_wipe(id);
		fake_session_remove(id);
		fake_store.sessions = xrealloc(fake_store.sessions,
		    (fake_store.session_count + 1) * sizeof(fake_store.sessions[0]));
		s = &fake_store.sessions[fake_store.session_count++];
		*s = (struct fake_session){ .id = fake_copy(id) };
	}
	s->epoch = r->claim.epoch = ++fake_store.epoch;
	snprintf(s->owner, sizeof(s->owner), "%s", ss->worker);
	s->life = ss->life;
	s->expiry_s = r->expiry_s;
	s->since_ms = 0;
	r->claim.sent = s->sent;
	r->claim.top = s->top;
	r->claim.subscriptions = fake_count(SESSION_STATE_SUBSCRIPTION, id);
	r->claim.queued = fake_count(SESSION_STATE_QUEUED, id);
	r->claim.incoming = fake_count(SESSION_STATE_INCOMING, id);
	r->claim.released = fake_count(SESSION_STATE_RELEASED, id);
}

static inline void
fake_snapshot(struct fake_request *r, const struct fake_row *row)
{
	struct fake_row *to;

	r->rows = xrealloc(r->rows, (r->row_count + 1) * sizeof(r->rows[0]));
	to = &r->rows[r->row_count++];
	*to = (struct fake_row){
		.kind = row->kind,
		.key = fake_copy(buf_bytes(&row->key)),
		.n = row->n,
		.x = row->x,
		.life = row->life,
		.message = fake_copy(buf_bytes(&row->message)),
		.delivery = fake_copy(buf_bytes(&row->delivery)),
	};
}

static inline void
fake_do_read(struct fake_request *r)
{
	struct bytes owner = buf_bytes(&r->id);

	for (size_t i = 0; i < fake_store.row_count; i++) {
		const struct fake_row *row = &fake_store.rows[i];
		bool of_session =
		    row->kind <= SESSION_STATE_QUEUED || row->kind == SESSION_STATE_ORIGIN;

		if (r->ask == FAKE_LOAD ? of_session && fake_is(&row->owner, owner)
					: row->kind == r->kind && fake_is(&row->owner, owner))
			fake_snapshot(r, row);
	}
	if (r->ask != FAKE_LIST || r->kind != SESSION_STATE_OWNED)
		return;
	for (size_t i = 0; i < fake_store.session_count; i++) {
		const struct fake_session *s = &fake_store.sessions[i];

		if (!bytes_equal_str(owner, s->owner))
			continue;
		r->sessions =
		    xrealloc(r->sessions, (r->session_count + 1) * sizeof(r->sessions[0]));
		r->sessions[r->session_count] = *s;
		r->sessions[r->session_count++].id = fake_copy(buf_bytes(&s->id));
	}
}

/* What has come from that worker. */
static inline void
fake_redis_run(struct session_state *ss)
{
	struct fake_request *r;
	struct buf message = { 0 };

	while ((r = fake_pipe_take(&ss->to))) {
		for (size_t i = 0; i < r->unit_count; i++)
			for (size_t k = 0; k < r->units[i].count; k++)
				fake_op(bytes_of_str(ss->worker), &r->units[i], &r->units[i].ops[k],
				    &message);
		if (r->ask == FAKE_CLAIM)
			fake_do_claim(ss, r);
		else if (r->ask == FAKE_LOAD || r->ask == FAKE_LIST)
			fake_do_read(r);
		fake_pipe_put(&ss->from, r);
	}
	buf_fini(&message);
}

/* --- told --- */

static inline bool
fake_decode(const struct buf *frame, enum msg_type want, union msg_any *any)
{
	enum msg_type type;

	return codec_decode(buf_bytes(frame), &type, any) == 0 && type == want;
}

static inline void
fake_tell_row(struct session_state *ss, const struct fake_request *r, const struct fake_row *row)
{
	union msg_any message, delivery;
	struct session_state_item item = {
		.kind = row->kind, .key = buf_bytes(&row->key), .n = row->n
	};

	switch (row->kind) {
	case SESSION_STATE_SUBSCRIPTION:
		item.options = (uint8_t)row->x;
		item.subscription_id = (uint32_t)(row->x >> 8);
		break;
	case SESSION_STATE_INCOMING:
		item.partition = (int32_t)row->x;
		break;
	case SESSION_STATE_QUEUED:
		ASSERT(fake_decode(&row->message, MSG_MQTT_MESSAGE, &message));
		ASSERT(fake_decode(&row->delivery, MSG_MQTT_DELIVERY, &delivery));
		item.message = &message.mqtt_message;
		item.delivery = &delivery.mqtt_delivery;
		break;
	case SESSION_STATE_RETAINED:
		item.n = row->x;
		ASSERT(fake_decode(&row->message, MSG_MQTT_MESSAGE, &message));
		item.message = &message.mqtt_message;
		break;
	case SESSION_STATE_WILL:
		ASSERT(fake_decode(&row->message, MSG_MQTT_WILL, &delivery));
		item.will = &delivery.mqtt_will;
		item.life = delivery.mqtt_will.life;
		item.since_ms = delivery.mqtt_will.since;
		{
			enum msg_type type;

			ASSERT(codec_decode(delivery.mqtt_will.message, &type, &message) == 0);
		}
		item.message = &message.mqtt_message;
		break;
	case SESSION_STATE_FORWARD:
		item.life = row->life;
		item.n = row->x;
		break;
	case SESSION_STATE_ORIGIN:
		item.since_ms = (int64_t)row->x;
		break;
	case SESSION_STATE_RELEASED:
	case SESSION_STATE_OWNED:
	case SESSION_STATE_KINDS:
		break;
	}
	ss->events->item(ss->arg, r->token, &item);
}

static inline void
fake_tell(struct session_state *ss, struct fake_request *r)
{
	switch (r->ask) {
	case FAKE_BEGIN:
		ss->up = true;
		ss->events->up(ss->arg, false);
		break;
	case FAKE_BATCH:
		for (size_t i = 0; i < r->unit_count; i++) {
			struct fake_unit *u = &r->units[i];

			for (size_t k = 0; k < u->count; k++) {
				const struct fake_op *op = &u->ops[k];
				struct session_state_refusal refusal = { .err = op->err,
					.id = buf_bytes(&op->id),
					.epoch = op->epoch,
					.n = op->n,
					.queues = op->kind == FAKE_ENQUEUE };

				if (op->err)
					ss->events->refused(ss->arg, u->token, &refusal);
			}
			ss->events->done(ss->arg, u->token, 0, u->retained_seq);
		}
		break;
	case FAKE_CLAIM:
		r->claim.owner = bytes_of_str(r->owner);
		ss->events->claimed(
		    ss->arg, r->token, r->claim.epoch ? 0 : ERR_NOT_FOUND, &r->claim);
		break;
	case FAKE_LOAD:
	case FAKE_LIST:
		for (size_t i = 0; i < r->row_count; i++)
			fake_tell_row(ss, r, &r->rows[i]);
		for (size_t i = 0; i < r->session_count; i++) {
			const struct fake_session *s = &r->sessions[i];
			struct session_state_item item = { .kind = SESSION_STATE_OWNED,
				.key = buf_bytes(&s->id),
				.epoch = s->epoch,
				.life = s->life,
				.expiry_s = s->expiry_s,
				.since_ms = s->since_ms };

			ss->events->item(ss->arg, r->token, &item);
		}
		ss->events->end(ss->arg, r->token, 0);
		break;
	}
}

static inline void
fake_redis_answers(struct session_state *ss)
{
	struct fake_request *r;

	while ((r = fake_pipe_take(&ss->from))) {
		fake_tell(ss, r);
		fake_request_free(r);
	}
}

/* The worker dies: part of what was on its way arrives. */
static inline void
fake_redis_cut(struct session_state *ss)
{
	while (ss->to.head && fake_random(2)) {
		ss->to.head->due_us = fake_now_us;
		fake_redis_run(ss);
	}
}

#endif
