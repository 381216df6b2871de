/* fake_store.h - what Redis holds of MQTT sessions, and what the writes of a unit do to it; part of fake_cluster.h */
#ifndef ROOST_FAKE_STORE_H
#define ROOST_FAKE_STORE_H

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

static inline void
fake_row_fini(struct fake_row *row)
{
	buf_fini(&row->owner);
	buf_fini(&row->key);
	buf_fini(&row->message);
	buf_fini(&row->delivery);
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
fake_op(struct bytes worker, struct fake_unit *u, struct fake_op *op, struct buf *message)
{
	struct bytes id = buf_bytes(&op->id), none = { 0 };
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

#endif
