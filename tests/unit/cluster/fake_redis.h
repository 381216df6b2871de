/* fake_redis.h - session_state.h without Redis: one store, and a pipe to it and back for each worker; part of fake_cluster.h */
#ifndef ROOST_FAKE_REDIS_H
#define ROOST_FAKE_REDIS_H

enum fake_op_kind {
	FAKE_SUBSCRIBE,
	FAKE_UNSUBSCRIBE,
	FAKE_MESSAGE,
	FAKE_ENQUEUE,
	FAKE_ACKED,
	FAKE_PUBREC,
	FAKE_PUBCOMP,
	FAKE_SENT,
	FAKE_INCOMING,
	FAKE_INCOMING_DONE,
	FAKE_AWAY,
	FAKE_BACK,
	FAKE_ENDED,
	FAKE_WILL,
	FAKE_NO_WILL,
	FAKE_RETAIN,
	FAKE_UNRETAIN,
	FAKE_EXPIRED,
	FAKE_TAKEN,
	FAKE_ORIGIN,
	FAKE_ORIGIN_RELEASED,
};

/* A write; and its result on the way back. */
struct fake_op {
	enum fake_op_kind kind;
	struct buf id; /* client id, topic, or peer */
	struct buf a;  /* filter, message, delivery, will, origin */
	uint64_t epoch;
	uint64_t n;
	uint64_t x;
	int64_t since_ms;
	int err;
};

struct fake_unit {
	uint64_t token;
	struct fake_op *ops;
	size_t count;
	size_t cap;
	uint64_t retained_seq;
};

/* A row of the store; rows of one kind and owner are what Redis has under one key. */
struct fake_row {
	enum session_state_kind kind;
	struct buf owner; /* client id, or worker */
	struct buf key;
	uint64_t n;
	uint64_t x;
	uint64_t life;
	struct buf message;
	struct buf delivery;
};

struct fake_session {
	struct buf id;
	char owner[BUS_NAME_MAX];
	uint64_t life;
	uint64_t epoch;
	uint32_t expiry_s;
	int64_t since_ms;
	uint64_t sent;
	uint64_t top;
};

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

static struct fake_store {
	struct fake_session *sessions;
	size_t session_count;
	struct fake_row *rows;
	size_t row_count;
	size_t row_cap;
	uint64_t epoch;
	uint64_t seq;
} fake_store;

static inline bool
fake_is(const struct buf *b, struct bytes text)
{
	return bytes_equal(buf_bytes(b), text);
}

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
fake_row_fini(struct fake_row *row)
{
	buf_fini(&row->owner);
	buf_fini(&row->key);
	buf_fini(&row->message);
	buf_fini(&row->delivery);
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

/* --- the store --- */

static inline struct fake_session *
fake_session(struct bytes id)
{
	for (size_t i = 0; i < fake_store.session_count; i++)
		if (fake_is(&fake_store.sessions[i].id, id))
			return &fake_store.sessions[i];
	return NULL;
}

static inline struct fake_row *
fake_row(enum session_state_kind kind, struct bytes owner, struct bytes key, uint64_t n)
{
	for (size_t i = 0; i < fake_store.row_count; i++) {
		struct fake_row *r = &fake_store.rows[i];

		if (r->kind == kind && r->n == n && fake_is(&r->owner, owner) &&
		    fake_is(&r->key, key))
			return r;
	}
	return NULL;
}

static inline void
fake_row_remove(struct fake_row *row)
{
	size_t at;

	if (!row)
		return;
	at = (size_t)(row - fake_store.rows);
	fake_row_fini(row);
	memmove(row, row + 1, (fake_store.row_count - at - 1) * sizeof(*row));
	fake_store.row_count--;
}

static inline struct fake_row *
fake_row_set(enum session_state_kind kind, struct bytes owner, struct bytes key, uint64_t n)
{
	struct fake_row *row;

	fake_row_remove(fake_row(kind, owner, key, n));
	if (fake_store.row_count == fake_store.row_cap) {
		fake_store.row_cap = fake_store.row_cap ? 2 * fake_store.row_cap : 256;
		fake_store.rows =
		    xrealloc(fake_store.rows, fake_store.row_cap * sizeof(fake_store.rows[0]));
	}
	row = &fake_store.rows[fake_store.row_count++];
	*row = (struct fake_row){
		.kind = kind, .owner = fake_copy(owner), .key = fake_copy(key), .n = n
	};
	return row;
}

/* All that a session has. */
static inline void
fake_wipe(struct bytes id)
{
	for (size_t i = fake_store.row_count; i-- > 0;) {
		struct fake_row *row = &fake_store.rows[i];

		if ((row->kind <= SESSION_STATE_QUEUED || row->kind == SESSION_STATE_ORIGIN) &&
		    fake_is(&row->owner, id))
			fake_row_remove(row);
	}
}

static inline void
fake_session_remove(struct bytes id)
{
	struct fake_session *s = fake_session(id);
	size_t at = s ? (size_t)(s - fake_store.sessions) : 0;

	if (!s)
		return;
	buf_fini(&s->id);
	memmove(s, s + 1, (fake_store.session_count - at - 1) * sizeof(*s));
	fake_store.session_count--;
}

static inline void
fake_redis_forget(void)
{
	while (fake_store.row_count)
		fake_row_remove(&fake_store.rows[fake_store.row_count - 1]);
	while (fake_store.session_count)
		buf_fini(&fake_store.sessions[--fake_store.session_count].id);
	free(fake_store.rows);
	free(fake_store.sessions);
	fake_store = (struct fake_store){ .epoch = 0 };
}

/* --- carried out --- */

static inline void
fake_session_op(struct fake_op *op, const struct buf *message)
{
	struct bytes id = buf_bytes(&op->id), a = buf_bytes(&op->a), none = { 0 };
	struct fake_session *s = fake_session(id);
	struct fake_row *row;

	if (!s || s->epoch != op->epoch) {
		op->err = ERR_FENCED;
		return;
	}
	switch (op->kind) {
	case FAKE_SUBSCRIBE:
		fake_row_set(SESSION_STATE_SUBSCRIPTION, id, a, 0)->x = op->x;
		break;
	case FAKE_UNSUBSCRIBE:
		fake_row_remove(fake_row(SESSION_STATE_SUBSCRIPTION, id, a, 0));
		break;
	case FAKE_ENQUEUE:
		/* XADD wants numbers to grow. */
		if (op->n <= s->top) {
			op->err = ERR_REFUSED;
			break;
		}
		s->top = op->n;
		row = fake_row_set(SESSION_STATE_QUEUED, id, none, op->n);
		row->message = fake_copy(buf_bytes(message));
		row->delivery = fake_copy(a);
		break;
	case FAKE_PUBREC:
		fake_row_set(SESSION_STATE_RELEASED, id, none, op->n);
		fake_row_remove(fake_row(SESSION_STATE_QUEUED, id, none, op->n));
		break;
	case FAKE_ACKED:
		fake_row_remove(fake_row(SESSION_STATE_QUEUED, id, none, op->n));
		break;
	case FAKE_PUBCOMP:
		fake_row_remove(fake_row(SESSION_STATE_RELEASED, id, none, op->n));
		break;
	case FAKE_SENT:
		s->sent = op->n;
		break;
	case FAKE_INCOMING:
		fake_row_set(SESSION_STATE_INCOMING, id, none, op->n)->x = op->x;
		break;
	case FAKE_INCOMING_DONE:
		fake_row_remove(fake_row(SESSION_STATE_INCOMING, id, none, op->n));
		break;
	case FAKE_AWAY:
	case FAKE_BACK:
		s->expiry_s = (uint32_t)op->x;
		s->since_ms = op->kind == FAKE_AWAY ? op->since_ms : 0;
		break;
	case FAKE_ENDED:
		fake_wipe(id);
		fake_session_remove(id);
		break;
	case FAKE_ORIGIN:
		fake_row_set(SESSION_STATE_ORIGIN, id, a, 0)->x = op->x;
		break;
	case FAKE_ORIGIN_RELEASED:
		fake_row_remove(fake_row(SESSION_STATE_ORIGIN, id, a, 0));
		break;
	case FAKE_MESSAGE:
	case FAKE_WILL:
	case FAKE_NO_WILL:
	case FAKE_RETAIN:
	case FAKE_UNRETAIN:
	case FAKE_EXPIRED:
	case FAKE_TAKEN:
		break;
	}
}

static inline void
fake_op(
    const struct session_state *ss, struct fake_unit *u, struct fake_op *op, struct buf *message)
{
	struct bytes worker = bytes_of_str(ss->worker), id = buf_bytes(&op->id), none = { 0 };
	struct fake_row *row;

	switch (op->kind) {
	case FAKE_MESSAGE:
		buf_clear(message);
		buf_add(message, op->a.data, op->a.len);
		break;
	case FAKE_WILL:
		if (op->epoch && (!fake_session(id) || fake_session(id)->epoch != op->epoch)) {
			op->err = ERR_FENCED;
			break;
		}
		row = fake_row_set(SESSION_STATE_WILL, worker, id, 0);
		row->message = fake_copy(buf_bytes(&op->a));
		break;
	case FAKE_NO_WILL:
		fake_row_remove(fake_row(SESSION_STATE_WILL, worker, id, 0));
		break;
	case FAKE_RETAIN:
		u->retained_seq = ++fake_store.seq;
		row = fake_row_set(SESSION_STATE_RETAINED, none, id, 0);
		row->x = fake_store.seq;
		row->message = fake_copy(buf_bytes(&op->a));
		break;
	case FAKE_UNRETAIN:
		u->retained_seq = ++fake_store.seq;
		fake_row_remove(fake_row(SESSION_STATE_RETAINED, none, id, 0));
		break;
	case FAKE_EXPIRED:
		row = fake_row(SESSION_STATE_RETAINED, none, id, 0);
		if (row && row->x == op->n)
			fake_row_remove(row);
		break;
	case FAKE_TAKEN:
		row = fake_row_set(SESSION_STATE_FORWARD, worker, id, 0);
		row->life = op->x;
		row->x = op->n;
		break;
	case FAKE_SUBSCRIBE:
	case FAKE_UNSUBSCRIBE:
	case FAKE_ENQUEUE:
	case FAKE_ACKED:
	case FAKE_PUBREC:
	case FAKE_PUBCOMP:
	case FAKE_SENT:
	case FAKE_INCOMING:
	case FAKE_INCOMING_DONE:
	case FAKE_AWAY:
	case FAKE_BACK:
	case FAKE_ENDED:
	case FAKE_ORIGIN:
	case FAKE_ORIGIN_RELEASED:
		fake_session_op(op, message);
		break;
	}
}

static inline uint32_t
fake_count(enum session_state_kind kind, struct bytes owner)
{
	uint32_t n = 0;

	for (size_t i = 0; i < fake_store.row_count; i++)
		n += fake_store.rows[i].kind == kind && fake_is(&fake_store.rows[i].owner, owner);
	return n;
}

static inline void
fake_do_claim(const struct session_state *ss, struct fake_request *r)
{
	struct bytes id = buf_bytes(&r->id);
	struct fake_session *s = fake_session(id);

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
				fake_op(ss, &r->units[i], &r->units[i].ops[k], &message);
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
		ss->events->claimed(ss->arg, r->token, 0, &r->claim);
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

/* --- session_state.h --- */

int
session_state_new(struct loop *loop, const struct session_state_options *options,
    const struct session_state_events *events, void *arg, struct session_state **ret_state)
{
	struct session_state *ss = xcalloc(1, sizeof(*ss));

	for (unsigned i = 0; i < FAKE_WORKERS; i++)
		if (&fake_workers[i].loop == loop)
			fake_workers[i].ss = ss;
	ss->events = events;
	ss->arg = arg;
	snprintf(ss->worker, sizeof(ss->worker), "%s", options->worker);
	ss->life = options->life;
	(void)fake_request(ss, FAKE_BEGIN, 0);
	*ret_state = ss;
	return 0;
}

void
session_state_free(struct session_state **p_ss)
{
	struct session_state *ss = *p_ss;

	*p_ss = NULL;
	if (!ss)
		return;
	fake_pipe_fini(&ss->to);
	fake_pipe_fini(&ss->from);
	fake_units_free(ss->units, ss->unit_count);
	free(ss);
}

bool
session_state_is_up(const struct session_state *ss)
{
	return ss->up;
}

void
session_state_flush(struct session_state *ss)
{
	struct fake_request *r;

	if (!ss->unit_count)
		return;
	r = fake_request(ss, FAKE_BATCH, 0);
	r->units = ss->units;
	r->unit_count = ss->unit_count;
	ss->units = NULL;
	ss->unit_count = 0;
}

void
session_state_unit_anew(struct session_state *ss, uint64_t token)
{
	ss->units = xrealloc(ss->units, (ss->unit_count + 1) * sizeof(ss->units[0]));
	ss->units[ss->unit_count++] = (struct fake_unit){ .token = token };
}

int
session_state_unit(struct session_state *ss, uint64_t token)
{
	session_state_unit_anew(ss, token);
	return 0;
}

uint32_t
session_state_unit_ops(const struct session_state *ss)
{
	return (uint32_t)ss->units[ss->unit_count - 1].count;
}

static inline void
fake_write(struct session_state *ss, struct fake_op op, struct bytes id, struct bytes a)
{
	struct fake_unit *u;

	ASSERT(ss->unit_count > 0);
	u = &ss->units[ss->unit_count - 1];
	if (u->count == u->cap) {
		u->cap = u->cap ? 2 * u->cap : 4;
		u->ops = xrealloc(u->ops, u->cap * sizeof(u->ops[0]));
	}
	op.id = fake_copy(id);
	op.a = fake_copy(a);
	u->ops[u->count++] = op;
}

#define FAKE_WRITE(ss, id, a, ...) fake_write((ss), (struct fake_op){ __VA_ARGS__ }, (id), (a))
#define FAKE_NOTHING ((struct bytes){ 0 })

int
session_state_claim(struct session_state *ss, struct bytes id, bool clean, uint32_t expiry_s,
    int64_t now_ms, uint64_t token)
{
	struct fake_request *r;

	(void)now_ms;
	if (!ss->up)
		return ERR_CLOSED;
	r = fake_request(ss, FAKE_CLAIM, token);
	r->id = fake_copy(id);
	r->clean = clean;
	r->expiry_s = expiry_s;
	return 0;
}

int
session_state_load(struct session_state *ss, struct bytes id, uint64_t token)
{
	if (!ss->up)
		return ERR_CLOSED;
	fake_request(ss, FAKE_LOAD, token)->id = fake_copy(id);
	return 0;
}

int
session_state_list(
    struct session_state *ss, enum session_state_kind kind, const char *worker, uint64_t token)
{
	struct fake_request *r;

	if (!ss->up)
		return ERR_CLOSED;
	r = fake_request(ss, FAKE_LIST, token);
	r->kind = kind;
	if (kind != SESSION_STATE_RETAINED)
		r->id = fake_copy(bytes_of_str(worker));
	return 0;
}

void
session_state_subscribe(struct session_state *ss, struct bytes id, uint64_t epoch,
    struct bytes filter, uint8_t options, uint32_t subscription_id)
{
	FAKE_WRITE(ss, id, filter, .kind = FAKE_SUBSCRIBE, .epoch = epoch,
	    .x = (uint64_t)subscription_id << 8 | options);
}

void
session_state_unsubscribe(
    struct session_state *ss, struct bytes id, uint64_t epoch, struct bytes filter)
{
	FAKE_WRITE(ss, id, filter, .kind = FAKE_UNSUBSCRIBE, .epoch = epoch);
}

void
session_state_message(struct session_state *ss, struct bytes message)
{
	FAKE_WRITE(ss, FAKE_NOTHING, message, .kind = FAKE_MESSAGE);
}

void
session_state_enqueue(struct session_state *ss, struct bytes id, uint64_t epoch, uint64_t n,
    const struct msg_mqtt_delivery *delivery)
{
	struct buf frame = { 0 };

	codec_encode(MSG_MQTT_DELIVERY, delivery, &frame);
	FAKE_WRITE(ss, id, buf_bytes(&frame), .kind = FAKE_ENQUEUE, .epoch = epoch, .n = n);
	buf_fini(&frame);
}

void
session_state_acked(struct session_state *ss, struct bytes id, uint64_t epoch, uint64_t n)
{
	FAKE_WRITE(ss, id, FAKE_NOTHING, .kind = FAKE_ACKED, .epoch = epoch, .n = n);
}

void
session_state_pubrec(struct session_state *ss, struct bytes id, uint64_t epoch, uint64_t n)
{
	FAKE_WRITE(ss, id, FAKE_NOTHING, .kind = FAKE_PUBREC, .epoch = epoch, .n = n);
}

void
session_state_pubcomp(struct session_state *ss, struct bytes id, uint64_t epoch, uint64_t n)
{
	FAKE_WRITE(ss, id, FAKE_NOTHING, .kind = FAKE_PUBCOMP, .epoch = epoch, .n = n);
}

void
session_state_sent(struct session_state *ss, struct bytes id, uint64_t epoch, uint64_t n)
{
	FAKE_WRITE(ss, id, FAKE_NOTHING, .kind = FAKE_SENT, .epoch = epoch, .n = n);
}

void
session_state_incoming(struct session_state *ss, struct bytes id, uint64_t epoch,
    uint16_t packet_id, int32_t partition)
{
	FAKE_WRITE(ss, id, FAKE_NOTHING, .kind = FAKE_INCOMING, .epoch = epoch, .n = packet_id,
	    .x = (uint64_t)(int64_t)partition);
}

void
session_state_incoming_done(
    struct session_state *ss, struct bytes id, uint64_t epoch, uint16_t packet_id)
{
	FAKE_WRITE(
	    ss, id, FAKE_NOTHING, .kind = FAKE_INCOMING_DONE, .epoch = epoch, .n = packet_id);
}

void
session_state_away(
    struct session_state *ss, struct bytes id, uint64_t epoch, uint32_t expiry_s, int64_t now_ms)
{
	FAKE_WRITE(ss, id, FAKE_NOTHING, .kind = FAKE_AWAY, .epoch = epoch, .x = expiry_s,
	    .since_ms = now_ms);
}

void
session_state_back(struct session_state *ss, struct bytes id, uint64_t epoch, uint32_t expiry_s)
{
	FAKE_WRITE(ss, id, FAKE_NOTHING, .kind = FAKE_BACK, .epoch = epoch, .x = expiry_s);
}

void
session_state_ended(struct session_state *ss, struct bytes id, uint64_t epoch)
{
	FAKE_WRITE(ss, id, FAKE_NOTHING, .kind = FAKE_ENDED, .epoch = epoch);
}

void
session_state_will(
    struct session_state *ss, struct bytes id, uint64_t epoch, const struct msg_mqtt_will *will)
{
	struct msg_mqtt_will mine = *will;
	struct buf frame = { 0 };

	mine.life = ss->life;
	codec_encode(MSG_MQTT_WILL, &mine, &frame);
	FAKE_WRITE(ss, id, buf_bytes(&frame), .kind = FAKE_WILL, .epoch = epoch);
	buf_fini(&frame);
}

void
session_state_no_will(struct session_state *ss, struct bytes id)
{
	FAKE_WRITE(ss, id, FAKE_NOTHING, .kind = FAKE_NO_WILL);
}

void
session_state_retain(struct session_state *ss, struct bytes topic, struct bytes message)
{
	FAKE_WRITE(ss, topic, message, .kind = FAKE_RETAIN);
}

void
session_state_unretain(struct session_state *ss, struct bytes topic)
{
	FAKE_WRITE(ss, topic, FAKE_NOTHING, .kind = FAKE_UNRETAIN);
}

void
session_state_retained_expired(struct session_state *ss, struct bytes topic, uint64_t seq)
{
	FAKE_WRITE(ss, topic, FAKE_NOTHING, .kind = FAKE_EXPIRED, .n = seq);
}

void
session_state_forward_taken(
    struct session_state *ss, struct bytes peer, uint64_t life, uint64_t seq)
{
	FAKE_WRITE(ss, peer, FAKE_NOTHING, .kind = FAKE_TAKEN, .x = life, .n = seq);
}

void
session_state_session_origin(
    struct session_state *ss, struct bytes id, uint64_t epoch, struct bytes origin, int64_t now_ms)
{
	FAKE_WRITE(ss, id, origin, .kind = FAKE_ORIGIN, .epoch = epoch, .x = (uint64_t)now_ms);
}

void
session_state_origin_released(
    struct session_state *ss, struct bytes id, uint64_t epoch, struct bytes origin)
{
	FAKE_WRITE(ss, id, origin, .kind = FAKE_ORIGIN_RELEASED, .epoch = epoch);
}

#endif
