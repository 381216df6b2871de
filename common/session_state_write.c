/* session_state_write.c - the writes of a unit, as arguments of the batch script */
#include "session_state_impl.h"

#include <stdio.h>

#include "err.h"
#include "mem.h"

static void
put(struct session_batch *b, struct bytes value)
{
	redis_arg_put(&b->args, value);
	b->arg_count++;
}

static void
put_uint(struct session_batch *b, uint64_t value)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "%llu", (unsigned long long)value);

	put(b, bytes_of(text, (size_t)n));
}

/* Begins a write about id, which is the first argument. */
static struct session_batch *
op(struct session_state *ss, const char *code, struct bytes id, uint64_t epoch, uint64_t n)
{
	struct session_batch *b = ss->open;

	ASSERT(b != NULL && b->unit_count > 0);
	if (b->op_count == b->op_cap) {
		b->op_cap = b->op_cap == 0 ? 64 : 2 * b->op_cap;
		b->ops = xrealloc(b->ops, b->op_cap * sizeof(b->ops[0]));
	}
	b->ops[b->op_count++] = (struct session_op){
		.epoch = epoch, .n = n, .id_at = b->ids.len, .id_len = (uint32_t)id.len
	};
	buf_add(&b->ids, id.data, id.len);
	put(b, bytes_of_str(code));
	put(b, id);
	return b;
}

/* The same about a session. */
static struct session_batch *
session_op(struct session_state *ss, const char *code, struct bytes id, uint64_t epoch, uint64_t n)
{
	struct session_batch *b = op(ss, code, id, epoch, n);

	put_uint(b, epoch);
	return b;
}

void
session_state_subscribe(struct session_state *ss, struct bytes id, uint64_t epoch,
    struct bytes filter, uint8_t options, uint32_t subscription_id)
{
	struct session_batch *b = session_op(ss, OP_SUBSCRIBE, id, epoch, 0);

	put(b, filter);
	put_uint(b, (uint64_t)subscription_id << 8 | options);
}

void
session_state_unsubscribe(
    struct session_state *ss, struct bytes id, uint64_t epoch, struct bytes filter)
{
	put(session_op(ss, OP_UNSUBSCRIBE, id, epoch, 0), filter);
}

void
session_state_message(struct session_state *ss, struct bytes message)
{
	ASSERT(ss->open != NULL);
	put(ss->open, bytes_of_str(OP_MESSAGE));
	put(ss->open, message);
}

void
session_state_enqueue(struct session_state *ss, struct bytes id, uint64_t epoch, uint64_t n,
    const struct msg_mqtt_delivery *delivery)
{
	struct session_batch *b = session_op(ss, OP_ENQUEUE, id, epoch, n);

	b->ops[b->op_count - 1].queues = true;
	put_uint(b, n);
	buf_clear(&ss->scratch);
	codec_encode(MSG_MQTT_DELIVERY, delivery, &ss->scratch);
	put(b, buf_bytes(&ss->scratch));
}

static void
numbered(struct session_state *ss, const char *code, struct bytes id, uint64_t epoch, uint64_t n)
{
	put_uint(session_op(ss, code, id, epoch, n), n);
}

void
session_state_acked(struct session_state *ss, struct bytes id, uint64_t epoch, uint64_t n)
{
	numbered(ss, OP_ACKED, id, epoch, n);
}

void
session_state_pubrec(struct session_state *ss, struct bytes id, uint64_t epoch, uint64_t n)
{
	numbered(ss, OP_PUBREC, id, epoch, n);
}

void
session_state_pubcomp(struct session_state *ss, struct bytes id, uint64_t epoch, uint64_t n)
{
	numbered(ss, OP_PUBCOMP, id, epoch, n);
}

void
session_state_sent(struct session_state *ss, struct bytes id, uint64_t epoch, uint64_t n)
{
	numbered(ss, OP_SENT, id, epoch, n);
}

static void
put_int(struct session_batch *b, int64_t value)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "%lld", (long long)value);

	put(b, bytes_of(text, (size_t)n));
}

void
session_state_incoming(struct session_state *ss, struct bytes id, uint64_t epoch,
    uint16_t packet_id, int32_t partition)
{
	struct session_batch *b = session_op(ss, OP_INCOMING, id, epoch, packet_id);

	put_uint(b, packet_id);
	put_int(b, partition);
}

void
session_state_incoming_done(
    struct session_state *ss, struct bytes id, uint64_t epoch, uint16_t packet_id)
{
	numbered(ss, OP_INCOMING_DONE, id, epoch, packet_id);
}

void
session_state_away(
    struct session_state *ss, struct bytes id, uint64_t epoch, uint32_t expiry_s, int64_t now_ms)
{
	struct session_batch *b = session_op(ss, OP_AWAY, id, epoch, 0);

	put_uint(b, expiry_s);
	put_int(b, now_ms);
}

void
session_state_back(struct session_state *ss, struct bytes id, uint64_t epoch, uint32_t expiry_s)
{
	put_uint(session_op(ss, OP_BACK, id, epoch, 0), expiry_s);
}

void
session_state_ended(struct session_state *ss, struct bytes id, uint64_t epoch)
{
	(void)session_op(ss, OP_ENDED, id, epoch, 0);
}

void
session_state_will(
    struct session_state *ss, struct bytes id, uint64_t epoch, const struct msg_mqtt_will *will)
{
	struct session_batch *b =
	    epoch == 0 ? op(ss, OP_WILL, id, 0, 0) : session_op(ss, OP_CLAIMED_WILL, id, epoch, 0);
	struct msg_mqtt_will mine = *will;

	mine.life = ss->life;
	buf_clear(&ss->scratch);
	codec_encode(MSG_MQTT_WILL, &mine, &ss->scratch);
	put(b, buf_bytes(&ss->scratch));
}

void
session_state_no_will(struct session_state *ss, struct bytes id)
{
	(void)op(ss, OP_NO_WILL, id, 0, 0);
}

void
session_state_retain(struct session_state *ss, struct bytes topic, struct bytes message)
{
	put(op(ss, OP_RETAIN, topic, 0, 0), message);
}

void
session_state_unretain(struct session_state *ss, struct bytes topic)
{
	(void)op(ss, OP_UNRETAIN, topic, 0, 0);
}

void
session_state_retained_expired(struct session_state *ss, struct bytes topic, uint64_t seq)
{
	put_uint(op(ss, OP_EXPIRED, topic, 0, seq), seq);
}

void
session_state_forward_taken(
    struct session_state *ss, struct bytes peer, uint64_t life, uint64_t seq)
{
	buf_clear(&ss->scratch);
	buf_addf(&ss->scratch, "%llu:%llu", (unsigned long long)life, (unsigned long long)seq);
	put(op(ss, OP_FORWARD, peer, 0, seq), buf_bytes(&ss->scratch));
}

void
session_state_session_origin(
    struct session_state *ss, struct bytes id, uint64_t epoch, struct bytes origin, int64_t now_ms)
{
	struct session_batch *b = session_op(ss, OP_SESSION_ORIGIN, id, epoch, 0);

	put(b, origin);
	put_int(b, now_ms);
}

void
session_state_origin_released(
    struct session_state *ss, struct bytes id, uint64_t epoch, struct bytes origin)
{
	put(session_op(ss, OP_RELEASED, id, epoch, 0), origin);
}
