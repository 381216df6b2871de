/* fake_session_state.h - session_state.h over fake_redis.h; part of fake_cluster.h */
#ifndef ROOST_FAKE_SESSION_STATE_H
#define ROOST_FAKE_SESSION_STATE_H

#include "fake_redis.h"

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

static inline int
fake_claim_from(struct session_state *ss, struct bytes id, bool clean, const char *from,
    uint32_t expiry_s, uint64_t token)
{
	struct fake_request *r;

	if (!ss->up)
		return ERR_CLOSED;
	r = fake_request(ss, FAKE_CLAIM, token);
	r->id = fake_copy(id);
	r->clean = clean;
	snprintf(r->from, sizeof(r->from), "%s", from);
	r->expiry_s = expiry_s;
	return 0;
}

int
session_state_claim(struct session_state *ss, struct bytes id, bool clean, uint32_t expiry_s,
    int64_t now_ms, uint64_t token)
{
	(void)now_ms;
	return fake_claim_from(ss, id, clean, "", expiry_s, token);
}

int
session_state_claim_from(struct session_state *ss, struct bytes id, const char *worker,
    uint32_t expiry_s, int64_t now_ms, uint64_t token)
{
	(void)now_ms;
	return fake_claim_from(ss, id, false, worker, expiry_s, token);
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
