/* mqtt_peers.c - what connectivity workers tell each other: in order, and once in each life of the receiver; pure */
#include "mqtt_peers.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "mem.h"

#define WAITS_MIN 64

/* --- what waits --- */

static struct mqtt_peer_wait *
first_wait(const struct mqtt_peer_waits *w)
{
	return w->head != w->tail ? &w->ring[w->head & (w->size - 1)] : NULL;
}

static void
wait_for(struct mqtt_peer_waits *w, uint64_t seq, uint64_t number)
{
	if (w->tail - w->head == w->size) {
		uint32_t size = w->size ? 2 * w->size : WAITS_MIN;
		struct mqtt_peer_wait *ring = xmalloc(size * sizeof(*ring));

		for (uint32_t i = w->head; i != w->tail; i++)
			ring[i & (size - 1)] = w->ring[i & (w->size - 1)];
		free(w->ring);
		w->ring = ring;
		w->size = size;
	}
	if (w->head == w->tail)
		w->mixed = false;
	else if (number < w->ring[(w->tail - 1) & (w->size - 1)].number)
		w->mixed = true;
	w->ring[w->tail++ & (w->size - 1)] =
	    (struct mqtt_peer_wait){ .seq = seq, .number = number };
}

/* --- items --- */

static void
copy_to(uint8_t **at, struct bytes *view)
{
	if (view->len)
		memcpy(*at, view->data, view->len);
	view->data = *at;
	*at += view->len;
}

struct mqtt_peer_item *
mqtt_peer_item_new(const struct msg_forward *f)
{
	size_t extra = f->message.len + f->key.len + f->delivery.len + f->origin.len;
	struct mqtt_peer_item *item = xmalloc(sizeof(*item) + extra);
	uint8_t *at = (uint8_t *)(item + 1);

	*item = (struct mqtt_peer_item){ .bytes = sizeof(*item) + extra, .msg = *f };
	copy_to(&at, &item->msg.message);
	copy_to(&at, &item->msg.key);
	copy_to(&at, &item->msg.delivery);
	copy_to(&at, &item->msg.origin);
	return item;
}

static void
drop_first(struct mqtt_peer *q)
{
	struct mqtt_peer_item *item = q->head;

	q->head = item->next;
	if (!q->head)
		q->end = &q->head;
	if (q->unsent == item)
		q->unsent = item->next;
	else
		q->on_way--;
	q->bytes -= item->bytes;
	free(item);
}

void
mqtt_peers_init(struct mqtt_peers *p, unsigned self, unsigned count, uint64_t life,
    size_t bytes_max, const struct mqtt_peers_ops *ops)
{
	ASSERT(count <= MQTT_PEERS_MAX);
	*p = (struct mqtt_peers){
		.ops = *ops, .self = self, .count = count, .life = life, .bytes_max = bytes_max
	};
	for (unsigned i = 0; i < count; i++) {
		p->peer[i].end = &p->peer[i].head;
		p->peer[i].rto_us = MQTT_PEERS_RTO_MIN_US;
	}
}

void
mqtt_peers_fini(struct mqtt_peers *p)
{
	for (unsigned i = 0; i < p->count; i++) {
		while (p->peer[i].head)
			drop_first(&p->peer[i]);
		free(p->peer[i].out.ring);
		free(p->peer[i].in.ring);
	}
	p->count = 0;
}

void
mqtt_peers_restore(struct mqtt_peers *p, unsigned peer, uint64_t life, uint64_t seq)
{
	struct mqtt_peer *q = &p->peer[peer];

	q->restored_life = life;
	q->restored = seq;
	/* Its acknowledgements may have been heard before this was known; of its items none was taken yet. */
	if (q->life == life && q->taken < seq)
		q->taken = q->acked = seq;
}

void
mqtt_peers_open(struct mqtt_peers *p)
{
	p->open = true;
}

void
mqtt_peers_push(struct mqtt_peers *p, unsigned peer, const struct msg_forward *f, uint64_t number)
{
	struct mqtt_peer *q = &p->peer[peer];
	struct mqtt_peer_item *item = mqtt_peer_item_new(f);

	item->seq = item->msg.seq = ++q->last;
	item->msg.life = p->life;
	*q->end = item;
	q->end = &item->next;
	if (!q->unsent)
		q->unsent = item;
	q->bytes += item->bytes;
	if (number)
		wait_for(&q->out, item->seq, number);
}

void
mqtt_peers_aside(struct mqtt_peers *p, unsigned peer, const struct msg_forward *f)
{
	struct msg_forward msg = *f;

	msg.life = p->life;
	msg.seq = 0;
	if (p->peer[peer].up)
		(void)p->ops.send(p->ops.arg, peer, MSG_FORWARD, &msg);
}

bool
mqtt_peers_is_full(const struct mqtt_peers *p)
{
	for (unsigned i = 0; i < p->count; i++)
		if (p->peer[i].bytes > p->bytes_max)
			return true;
	return false;
}

uint64_t
mqtt_peers_waits_for(const struct mqtt_peers *p)
{
	uint64_t least = UINT64_MAX;

	for (unsigned i = 0; i < p->count; i++) {
		const struct mqtt_peer_waits *w = &p->peer[i].out;

		for (uint32_t at = w->head; at != w->tail && (at == w->head || w->mixed); at++)
			if (w->ring[at & (w->size - 1)].number < least)
				least = w->ring[at & (w->size - 1)].number;
	}
	return least;
}

uint64_t
mqtt_peers_number_of(const struct mqtt_peers *p, unsigned peer, uint64_t seq)
{
	const struct mqtt_peer_waits *w = &p->peer[peer].out;

	for (uint32_t at = w->head; at != w->tail; at++)
		if (w->ring[at & (w->size - 1)].seq == seq)
			return w->ring[at & (w->size - 1)].number;
	return 0;
}

/* --- what comes --- */

static void
send_again(struct mqtt_peer *q)
{
	q->unsent = q->head;
	q->on_way = 0;
	q->rto_at_us = 0;
}

/* False: it is of a life that is over. */
static bool
heard(struct mqtt_peers *p, unsigned peer, uint64_t life)
{
	struct mqtt_peer *q = &p->peer[peer];

	if (life < q->life || life == 0)
		return false;
	if (life == q->life)
		return true;
	q->life = life;
	q->taken = life == q->restored_life ? q->restored : 0;
	q->acked = q->taken;
	q->in.head = q->in.tail = 0;
	send_again(q);
	p->ops.begun(p->ops.arg, peer);
	return true;
}

static void
acknowledge(struct mqtt_peers *p, struct mqtt_peer *q)
{
	const struct mqtt_peer_wait *w;

	while ((w = first_wait(&q->in)) && w->number <= p->written) {
		q->acked = w->seq;
		q->in.head++;
		q->say = true;
	}
}

void
mqtt_peers_on_forward(struct mqtt_peers *p, unsigned peer, const struct msg_forward *f)
{
	struct mqtt_peer *q = &p->peer[peer];
	uint64_t number;

	/* What may be lost, and what nothing has to be written of, need not wait. */
	if (!p->open && f->seq != 0 && f->kind > MQTT_PEER_KNOWN)
		return;
	if (!heard(p, peer, f->life))
		return;
	if (f->seq == 0) {
		(void)p->ops.take(p->ops.arg, peer, f);
		return;
	}
	if (f->first > q->taken + 1) {
		q->taken = f->first - 1;
		if (!first_wait(&q->in))
			q->acked = q->taken;
	}
	q->say = true;
	/* A gap: what is missing comes again. */
	if (f->seq != q->taken + 1)
		return;
	q->taken = f->seq;
	/* One that was said to our life before comes ahead of what is said to this one. */
	if (f->kind == MQTT_PEER_KNOWN && f->number == p->life)
		q->known = true;
	number = p->ops.take(p->ops.arg, peer, f);
	wait_for(&q->in, f->seq, number);
	acknowledge(p, q);
}

void
mqtt_peers_on_forwarded(struct mqtt_peers *p, unsigned peer, const struct msg_forwarded *f)
{
	struct mqtt_peer *q = &p->peer[peer];
	const struct mqtt_peer_wait *w;

	if (f->life != p->life || !heard(p, peer, f->mine))
		return;
	while (q->head && q->head->seq <= f->seq) {
		drop_first(q);
		q->rto_us = MQTT_PEERS_RTO_MIN_US;
		q->rto_at_us = 0;
	}
	while ((w = first_wait(&q->out)) && w->seq <= f->seq)
		q->out.head++;
}

void
mqtt_peers_written(struct mqtt_peers *p, uint64_t number)
{
	p->written = number;
	for (unsigned i = 0; i < p->count; i++)
		acknowledge(p, &p->peer[i]);
}

void
mqtt_peers_on_link(struct mqtt_peers *p, unsigned peer, bool up)
{
	p->peer[peer].up = up;
	send_again(&p->peer[peer]);
}

/* --- what goes --- */

static void
send_items(struct mqtt_peers *p, unsigned peer, int64_t now_us)
{
	struct mqtt_peer *q = &p->peer[peer];

	while (q->unsent && q->on_way < MQTT_PEERS_WINDOW) {
		q->unsent->msg.first = q->head->seq;
		if (p->ops.send(p->ops.arg, peer, MSG_FORWARD, &q->unsent->msg) != 0)
			break;
		q->unsent = q->unsent->next;
		q->on_way++;
		if (!q->rto_at_us)
			q->rto_at_us = now_us + q->rto_us;
	}
}

int64_t
mqtt_peers_turn(struct mqtt_peers *p, int64_t now_us)
{
	int64_t next = 0;

	for (unsigned i = 0; i < p->count; i++) {
		struct mqtt_peer *q = &p->peer[i];

		if (i == p->self || !q->up)
			continue;
		if (q->rto_at_us && now_us >= q->rto_at_us) {
			send_again(q);
			q->rto_us = q->rto_us < MQTT_PEERS_RTO_MAX_US / 2 ? 2 * q->rto_us
									  : MQTT_PEERS_RTO_MAX_US;
		}
		send_items(p, i, now_us);
		if (q->head && !q->rto_at_us)
			q->rto_at_us = now_us + q->rto_us;
		if (q->say) {
			struct msg_forwarded msg = {
				.life = q->life, .seq = q->acked, .mine = p->life
			};

			q->say = p->ops.send(p->ops.arg, i, MSG_FORWARDED, &msg) != 0;
		}
		if (q->rto_at_us && (!next || q->rto_at_us < next))
			next = q->rto_at_us;
	}
	return next;
}
