/* coap.c - a CoAP server's messages: requests, repeats, acknowledgements, what is due; no I/O */
#include "coap.h"

#include <string.h>

#include "coap_impl.h"
#include "err.h"
#include "mem.h"
#include "metrics.h"

#define WORK_MAX 1024u	       /* messages that one call of coap_due() sends */
#define RESTART_US 120000000ll /* what a life before this one took may come again for so long */

void
coap_init(struct coap *c, const struct coap_config *config, const struct coap_ops *ops)
{
	*c = (struct coap){ .config = *config, .ops = *ops };
	c->now_us = c->started_us = config->now_us;
	c->next_id = (uint16_t)(config->seed >> 48);
	coap_exchanges_init(&c->exchanges, config->exchanges_max);
	coap_bodies_init(&c->bodies, config->bodies_bytes_max, config->body_max);
	coap_sendings_init(&c->sendings, config->seed, config->now_us);
}

void
coap_fini(struct coap *c)
{
	coap_pending_fini(c);
	coap_exchanges_fini(&c->exchanges);
	coap_bodies_fini(&c->bodies);
	coap_sendings_fini(&c->sendings);
	buf_fini(&c->why);
}

bool
coap_is_idle(const struct coap *c)
{
	return c->exchanges.waiting == 0;
}

/* --- out --- */

static void
send_bytes(struct coap *c, const struct coap_endpoint *to, struct bytes message)
{
	metric_add(M_COAP_SENT, 1);
	c->ops.send(c->ops.arg, to, message);
}

static size_t
bound_of(const struct coap_endpoint *to, size_t received)
{
	return to->session || received > COAP_MESSAGE_MAX / COAP_AMPLIFICATION
		   ? COAP_MESSAGE_MAX
		   : received * COAP_AMPLIFICATION;
}

/* Within what the exchange's sender may be sent. */
static bool
send_for(struct coap *c, struct coap_exchange *e, struct bytes message)
{
	uint64_t sent = (uint64_t)e->sent + message.len;

	if (!e->from.session && sent > (uint64_t)e->received * COAP_AMPLIFICATION) {
		metric_add(M_COAP_WITHHELD, 1);
		return false;
	}
	e->sent = (uint32_t)sent;
	send_bytes(c, &e->from, message);
	return true;
}

static struct bytes
empty(struct coap *c, enum coap_type type, uint16_t id)
{
	coap_write_begin(&c->writer, type, COAP_EMPTY, id, (struct bytes){ 0 });
	return bytes_of(c->writer.data, c->writer.len);
}

static void
acknowledge(struct coap *c, struct coap_exchange *e)
{
	(void)send_for(c, e, empty(c, COAP_ACK, e->id));
	coap_exchanges_acknowledged(&c->exchanges, e);
}

/* Where an answer goes, and as what. */
struct target {
	const struct coap_endpoint *to;
	struct coap_exchange *exchange; /* may be NULL */
	struct bytes token;
	struct coap_block block1;
	size_t max; /* bytes */
	enum coap_type type;
	uint16_t id;
	uint32_t no_response;
};

static struct target
target_of_exchange(struct coap *c, struct coap_exchange *e)
{
	size_t max = bound_of(&e->from, e->received);
	struct target t = {
		.to = &e->from,
		.exchange = e,
		.token = coap_exchange_token(e),
		.block1 = e->block1,
		.max = max,
		.type = COAP_ACK,
		.id = e->id,
		.no_response = e->no_response,
	};

	if (!e->confirmable) {
		t.type = COAP_NON;
		t.id = c->next_id++;
	} else if (e->acknowledged) {
		t.type = COAP_CON;
		t.id = c->next_id++;
		/* It may have to be sent again, and all of that counts. */
		if (!e->from.session)
			t.max = max / (COAP_RETRANSMIT_MAX + 2);
	}
	return t;
}

static struct target
target_of(struct coap *c, const struct coap_incoming *in)
{
	bool confirmable = in->message.type == COAP_CON;

	if (in->exchange)
		return target_of_exchange(c, in->exchange);
	return (struct target){
		.to = in->from,
		.token = in->message.token,
		.block1 = in->request.block1,
		.max = bound_of(in->from, in->datagram.len),
		.type = confirmable ? COAP_ACK : COAP_NON,
		.id = confirmable ? in->message.id : c->next_id++,
		.no_response = in->request.no_response,
	};
}

static void
deliver(struct coap *c, const struct target *t, struct bytes message)
{
	struct coap_exchange *e = t->exchange;

	if (!e) {
		if (message.len > t->max)
			metric_add(M_COAP_WITHHELD, 1);
		else
			send_bytes(c, t->to, message);
		return;
	}
	if (t->type == COAP_CON) {
		metric_add(M_COAP_SEPARATE, 1);
		/* Without room for its repeats it is sent once; the device asks again. */
		(void)coap_sendings_add(
		    &c->sendings, t->to, t->id, message, coap_exchange_ticket(e), c->now_us);
	}
	(void)send_for(c, e, message);
	coap_exchanges_answered(&c->exchanges, e,
	    t->type == COAP_CON ? COAP_SEPARATED : COAP_ANSWERED, message, c->now_us);
}

/* The client does not want this answer (RFC 7967). */
static bool
suppress(struct coap *c, const struct target *t, unsigned code)
{
	struct coap_exchange *e = t->exchange;

	if ((t->no_response & 1u << ((code >> 5) - 1)) == 0)
		return false;
	if (t->type == COAP_ACK && e)
		acknowledge(c, e);
	else if (t->type == COAP_ACK)
		send_bytes(c, t->to, empty(c, COAP_ACK, t->id));
	if (e)
		coap_exchanges_answered(
		    &c->exchanges, e, COAP_SEPARATED, (struct bytes){ 0 }, c->now_us);
	return true;
}

/* A text for people is cut to what may be sent; it ends before a character that is not whole. */
static struct bytes
cut_text(struct bytes text, size_t room)
{
	if (text.len <= room)
		return text;
	while (room > 0 && (text.data[room] & 0xc0u) == 0x80u)
		room--;
	text.len = room;
	return text;
}

static void
answer(struct coap *c, const struct target *t, const struct coap_reply *r)
{
	struct coap_writer *w = &c->writer;
	struct coap_block block1 = t->block1;

	if (r->code >= COAP_BAD_REQUEST)
		metric_add(M_COAP_REFUSED, 1);
	if (suppress(c, t, r->code))
		return;
	if (r->code == COAP_TOO_LARGE && !block1.there) /* in blocks it may fit */
		block1 = (struct coap_block){ .there = true, .size = COAP_BLOCK_MAX };
	block1.more = r->code == COAP_CONTINUE;
	coap_write_begin(w, t->type, r->code, t->id, t->token);
	if (r->has_max_age)
		coap_write_uint(w, COAP_MAX_AGE, r->max_age);
	if (block1.there)
		coap_write_block(w, COAP_BLOCK1, &block1);
	if (r->size1)
		coap_write_uint(w, COAP_SIZE1, r->size1);
	coap_write_payload(w, cut_text(r->text, t->max > w->len + 1 ? t->max - w->len - 1 : 0));
	ASSERT(!w->failed);
	deliver(c, t, bytes_of(w->data, w->len));
}

void
coap_reply(struct coap *c, const struct coap_incoming *in, const struct coap_reply *r)
{
	struct target t = target_of(c, in);

	answer(c, &t, r);
}

void
coap_refuse(struct coap *c, const struct coap_incoming *in, unsigned code, const char *why)
{
	struct coap_reply r = { .code = (uint8_t)code, .text = bytes_of_str(why) };

	if (code == COAP_TOO_LARGE)
		r.size1 = (uint32_t)c->config.body_max;
	if (code == COAP_UNAVAILABLE) {
		r.has_max_age = true;
		r.max_age = 1 + (uint32_t)(in->hash % 4); /* not all of them at once */
	}
	coap_reply(c, in, &r);
}

void
coap_finish(struct coap *c, struct coap_exchange *e, const struct coap_reply *r)
{
	struct target t = target_of_exchange(c, e);

	answer(c, &t, r);
}

/* The largest block, not larger than asked for, that begins where the one asked for does and fits. */
static bool
choose_block(struct coap_block *b, size_t content, size_t room)
{
	size_t at, left;

	if (!b->there)
		b->size = COAP_BLOCK_MAX;
	at = (size_t)b->number * b->size;
	if (at > content || (at == content && at > 0))
		return false;
	left = content - at;
	while (b->size > 16 && (left < b->size ? left : b->size) > room)
		b->size /= 2;
	if ((left < b->size ? left : b->size) > room)
		return false;
	b->there = b->there || left > b->size;
	b->number = (uint32_t)(at / b->size);
	b->more = left > b->size;
	return true;
}

void
coap_reply_content(
    struct coap *c, const struct coap_incoming *in, uint32_t format, struct bytes content)
{
	struct target t = target_of(c, in);
	struct coap_block b = in->request.block2;
	struct coap_writer *w = &c->writer;
	uint64_t etag = coap_datagram_hash(content);
	size_t at, left;

	if (suppress(c, &t, COAP_CONTENT))
		return;
	coap_write_begin(w, t.type, COAP_CONTENT, t.id, t.token);
	coap_write_option(w, COAP_ETAG, bytes_of(&etag, 4));
	coap_write_uint(w, COAP_CONTENT_FORMAT, format);
	/* Block2 takes 4 bytes, the marker of the payload one. */
	if (!choose_block(&b, content.len, t.max > w->len + 5 ? t.max - w->len - 5 : 0)) {
		coap_refuse(c, in, COAP_BAD_OPTION, "no such block, or none so small");
		return;
	}
	if (b.there)
		coap_write_block(w, COAP_BLOCK2, &b);
	at = (size_t)b.number * b.size;
	left = content.len - at;
	coap_write_payload(w, bytes_of(content.data + at, left < b.size ? left : b.size));
	ASSERT(!w->failed);
	deliver(c, &t, bytes_of(w->data, w->len));
}

/* --- exchanges --- */

bool
coap_begin(struct coap *c, struct coap_incoming *in)
{
	struct coap_exchange *e;

	if (in->exchange)
		return true;
	e = coap_exchanges_add(
	    &c->exchanges, in->from, &in->message, in->hash, in->datagram.len, c->now_us);
	if (!e) {
		coap_refuse(c, in, COAP_UNAVAILABLE, "too many requests wait for their answer");
		return false;
	}
	e->no_response = (uint8_t)in->request.no_response;
	e->block1 = in->request.block1;
	in->exchange = e;
	return true;
}

void
coap_refuse_begun(struct coap *c, struct coap_incoming *in, unsigned code, const char *why)
{
	if (!in->exchange->acknowledged) {
		coap_exchanges_remove(&c->exchanges, in->exchange);
		in->exchange = NULL;
	}
	coap_refuse(c, in, code, why);
}

/* A refusal of one part is that of all; the longest time to wait counts. */
static uint32_t
worse(uint32_t a, uint32_t b)
{
	if (!verdict_is_refusal(a) || !verdict_is_refusal(b))
		return verdict_is_refusal(a) ? a : b;
	return verdict_retry_ms(a) > verdict_retry_ms(b) ? a : b;
}

void
coap_committed(struct coap *c, uint64_t ticket, uint32_t verdict)
{
	struct coap_exchange *e = coap_exchanges_of_ticket(&c->exchanges, ticket);
	struct coap_reply r = { .code = COAP_CHANGED };

	if (!e || e->state != COAP_WAITS || e->parts == 0)
		return;
	e->verdict = worse(e->verdict, verdict);
	if (--e->parts > 0)
		return;
	if (verdict_is_refusal(e->verdict)) {
		r.code = COAP_TOO_MANY_REQUESTS;
		r.has_max_age = true;
		r.max_age = (verdict_retry_ms(e->verdict) + 999) / 1000;
		r.text = bytes_of_str(verdict_name(e->verdict));
	} else if (e->rest) {
		r.code = e->rest;
		r.has_max_age = r.code == COAP_UNAVAILABLE;
		r.max_age = 1;
		r.text = bytes_of_str("a part of it is stored");
	}
	coap_finish(c, e, &r);
}

/* --- in --- */

/* The answer has not come there, or it is not sent again any more because it did. */
static void
repeat_separate(struct coap *c, struct coap_exchange *e)
{
	struct bytes answer = coap_exchange_answer(e);
	uint16_t id;

	acknowledge(c, e);
	if (e->delivered || answer.len < 4)
		return;
	id = (uint16_t)(answer.data[2] << 8 | answer.data[3]);
	if (!coap_sendings_find(&c->sendings, &e->from, id) && send_for(c, e, answer))
		(void)coap_sendings_add(
		    &c->sendings, &e->from, id, answer, coap_exchange_ticket(e), c->now_us);
}

static void
on_repeat(struct coap *c, struct coap_exchange *e, size_t received)
{
	metric_add(M_COAP_REPEATS, 1);
	if (e->received < UINT32_MAX / 4)
		e->received += (uint32_t)received;
	switch ((enum coap_exchange_state)e->state) {
	case COAP_WAITS:
		if (e->confirmable)
			acknowledge(c, e);
		break;
	case COAP_ANSWERED:
		(void)send_for(c, e, coap_exchange_answer(e));
		break;
	case COAP_SEPARATED:
		if (e->confirmable)
			repeat_separate(c, e);
		break;
	}
}

static void
on_request(struct coap *c, struct coap_incoming *in, bool cut)
{
	struct coap_exchange *e;
	const char *why;
	int code;

	in->hash = coap_datagram_hash(in->datagram);
	e = coap_exchanges_find(&c->exchanges, in->from, in->message.id, in->hash);
	if (e) {
		on_repeat(c, e, in->datagram.len);
		return;
	}
	metric_add(M_COAP_REQUESTS, 1);
	code = coap_request_read(&in->message, &in->request, &why);
	if (code)
		coap_refuse(c, in, (unsigned)code, why);
	else if (cut)
		coap_refuse(c, in, COAP_TOO_LARGE, "send it in blocks");
	else
		coap_serve(c, in);
	auth_grant_unref(&in->grant);
}

/* An answer of ours arrived, or is not wanted. */
static void
on_acknowledged(struct coap *c, const struct coap_endpoint *from, uint16_t id)
{
	struct coap_sending *one = coap_sendings_find(&c->sendings, from, id);
	struct coap_exchange *e;

	if (!one)
		return;
	e = coap_exchanges_of_ticket(&c->exchanges, one->owner);
	if (e)
		e->delivered = true;
	coap_sendings_remove(&c->sendings, &one);
}

void
coap_receive(struct coap *c, const struct coap_endpoint *from, struct bytes datagram, bool cut)
{
	struct coap_incoming in = { .from = from, .datagram = datagram };
	struct coap_message *m = &in.message;
	int err = coap_parse(datagram, m);

	metric_add(M_COAP_RECEIVED, 1);
	if (err) {
		metric_add(M_COAP_MALFORMED, 1);
		if (err == ERR_MALFORMED && m->type == COAP_CON)
			send_bytes(c, from, empty(c, COAP_RST, m->id));
		return;
	}
	if (m->type == COAP_ACK || m->type == COAP_RST) {
		on_acknowledged(c, from, m->id);
		return;
	}
	/* Requests are of class 0. A CON without code asks whether somebody is there: RST says so. */
	if (m->code == COAP_EMPTY || m->code >> 5 != 0) {
		if (m->type == COAP_CON)
			send_bytes(c, from, empty(c, COAP_RST, m->id));
		return;
	}
	on_request(c, &in, cut);
}

/* --- time --- */

static int64_t
due_acknowledgements(struct coap *c, unsigned *work)
{
	struct coap_exchange *e;

	while ((e = c->exchanges.unacknowledged.oldest) != NULL) {
		int64_t at = e->at_us + c->config.ack_delay_us;

		if (at > c->now_us || *work == 0)
			return at;
		--*work;
		acknowledge(c, e);
	}
	return 0;
}

static void
due_sendings(struct coap *c, unsigned *work)
{
	struct coap_exchange *e;
	struct coap_sending *one;
	bool given_up = false;

	while (*work > 0 && (one = coap_sendings_due(&c->sendings, c->now_us, &given_up)) != NULL) {
		--*work;
		e = coap_exchanges_of_ticket(&c->exchanges, one->owner);
		if (given_up)
			metric_add(M_COAP_GIVEN_UP, 1);
		if (given_up || !e) {
			coap_sendings_remove(&c->sendings, &one);
			continue;
		}
		metric_add(M_COAP_RETRANSMITTED, 1);
		(void)send_for(c, e, bytes_of(one->data, one->len));
	}
}

int64_t
coap_due(struct coap *c)
{
	unsigned work = WORK_MAX;
	int64_t first = due_acknowledgements(c, &work), other;

	due_sendings(c, &work);
	other = coap_sendings_deadline(&c->sendings);
	return other && (!first || other < first) ? other : first;
}

void
coap_tick(struct coap *c)
{
	coap_exchanges_expire(&c->exchanges, c->now_us);
	coap_bodies_expire(&c->bodies, c->now_us);
	metric_set(M_COAP_EXCHANGES, c->exchanges.count);
	metric_set(M_COAP_FORGOTTEN, c->exchanges.early);
	metric_set(M_COAP_BODY_BYTES, c->bodies.bytes);
	metric_set(M_COAP_BODIES_DROPPED, c->bodies.dropped);
}

bool
coap_may_be_repeat(const struct coap *c)
{
	return c->now_us - c->started_us < RESTART_US ||
	       c->now_us - c->exchanges.early_us < RESTART_US;
}
