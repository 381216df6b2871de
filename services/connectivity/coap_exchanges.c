/* coap_exchanges.c - which requests came already, and how they were answered; pure */
#include "coap_exchanges.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "err.h"
#include "mem.h"

#define BUCKETS_MIN 1024u
#define SLOTS_MIN 256u
#define GENERATION_MASK ((1u << 30) - 1)

void
coap_exchanges_init(struct coap_exchanges *x, uint32_t max)
{
	*x = (struct coap_exchanges){ .max = max, .early_us = -COAP_LIFETIME_US };
	x->bucket_count = BUCKETS_MIN;
	x->buckets = xcalloc(x->bucket_count, sizeof(x->buckets[0]));
}

static bool
is_inline(const struct coap_exchange *e)
{
	return e->answer_len <= COAP_ANSWER_INLINE;
}

static void
exchange_free(struct coap_exchange *e)
{
	if (!is_inline(e))
		free(e->answer.out);
	free(e);
}

void
coap_exchanges_fini(struct coap_exchanges *x)
{
	for (uint32_t i = 0; i < x->slot_count; i++)
		if (x->slots[i])
			exchange_free(x->slots[i]);
	free(x->slots);
	free(x->free_slots);
	free(x->generations);
	free(x->buckets);
	*x = (struct coap_exchanges){ 0 };
}

/* --- lists, of which an exchange is in one at most --- */

static void
list_add(struct coap_exchange_list *l, struct coap_exchange *e)
{
	e->older = l->newest;
	e->newer = NULL;
	if (l->newest)
		l->newest->newer = e;
	else
		l->oldest = e;
	l->newest = e;
}

static void
list_remove(struct coap_exchange_list *l, struct coap_exchange *e)
{
	if (e->older)
		e->older->newer = e->newer;
	else
		l->oldest = e->newer;
	if (e->newer)
		e->newer->older = e->older;
	else
		l->newest = e->older;
	e->older = e->newer = NULL;
}

static void
leave_list(struct coap_exchanges *x, struct coap_exchange *e)
{
	if (e->state != COAP_WAITS)
		list_remove(&x->answered, e);
	else if (e->confirmable && !e->acknowledged)
		list_remove(&x->unacknowledged, e);
}

/* --- the table --- */

static uint64_t
key_of(const struct coap_endpoint *from, uint16_t id)
{
	return XXH3_64bits_withSeed(from, sizeof(*from), id);
}

static struct coap_exchange **
bucket_of(const struct coap_exchanges *x, uint64_t key)
{
	return &x->buckets[key & (x->bucket_count - 1)];
}

uint64_t
coap_datagram_hash(struct bytes d)
{
	return XXH3_64bits(d.data, d.len);
}

struct coap_exchange *
coap_exchanges_find(
    struct coap_exchanges *x, const struct coap_endpoint *from, uint16_t id, uint64_t hash)
{
	struct coap_exchange *e = *bucket_of(x, key_of(from, id));

	while (e && (e->id != id || e->hash != hash || memcmp(&e->from, from, sizeof(*from)) != 0))
		e = e->bucket_next;
	return e;
}

static void
grow(struct coap_exchanges *x)
{
	struct coap_exchange **old = x->buckets;
	uint32_t n = x->bucket_count;

	x->bucket_count = n * 2;
	x->buckets = xcalloc(x->bucket_count, sizeof(x->buckets[0]));
	for (uint32_t i = 0; i < n; i++) {
		struct coap_exchange *e = old[i], *next, **to;

		for (; e; e = next) {
			next = e->bucket_next;
			to = bucket_of(x, key_of(&e->from, e->id));
			e->bucket_next = *to;
			*to = e;
		}
	}
	free(old);
}

static uint32_t
take_slot(struct coap_exchanges *x)
{
	if (x->free_count > 0)
		return x->free_slots[--x->free_count];
	if (x->slot_count == x->slot_cap) {
		x->slot_cap = x->slot_cap ? x->slot_cap * 2 : SLOTS_MIN;
		x->slots = xrealloc(x->slots, x->slot_cap * sizeof(x->slots[0]));
		x->free_slots = xrealloc(x->free_slots, x->slot_cap * sizeof(x->free_slots[0]));
		x->generations = xrealloc(x->generations, x->slot_cap * sizeof(x->generations[0]));
	}
	x->generations[x->slot_count] = 0;
	return x->slot_count++;
}

void
coap_exchanges_remove(struct coap_exchanges *x, struct coap_exchange *e)
{
	struct coap_exchange **at = bucket_of(x, key_of(&e->from, e->id));

	while (*at != e)
		at = &(*at)->bucket_next;
	*at = e->bucket_next;
	leave_list(x, e);
	if (e->state == COAP_WAITS)
		x->waiting--;
	x->count--;
	x->slots[e->slot] = NULL;
	x->free_slots[x->free_count++] = e->slot;
	exchange_free(e);
}

struct coap_exchange *
coap_exchanges_add(struct coap_exchanges *x, const struct coap_endpoint *from,
    const struct coap_message *m, uint64_t hash, size_t received, int64_t now_us)
{
	struct coap_exchange *e, **to;

	if (x->waiting >= x->max / 2)
		return NULL;
	if (x->count >= x->max) {
		if (now_us - x->answered.oldest->at_us < COAP_SPAN_US) {
			x->early++;
			x->early_us = now_us;
		}
		coap_exchanges_remove(x, x->answered.oldest);
	}
	if (x->count >= x->bucket_count)
		grow(x);
	e = xcalloc(1, sizeof(*e));
	*e = (struct coap_exchange){
		.from = *from,
		.hash = hash,
		.at_us = now_us,
		.slot = take_slot(x),
		.received = (uint32_t)received,
		.id = m->id,
		.state = COAP_WAITS,
		.confirmable = m->type == COAP_CON,
		.token_len = (uint8_t)m->token.len,
	};
	if (m->token.len)
		memcpy(e->token, m->token.data, m->token.len);
	x->generations[e->slot] = (x->generations[e->slot] + 1) & GENERATION_MASK;
	e->generation = x->generations[e->slot];
	x->slots[e->slot] = e;
	to = bucket_of(x, key_of(from, e->id));
	e->bucket_next = *to;
	*to = e;
	x->count++;
	x->waiting++;
	if (e->confirmable)
		list_add(&x->unacknowledged, e);
	return e;
}

void
coap_exchanges_acknowledged(struct coap_exchanges *x, struct coap_exchange *e)
{
	if (e->state != COAP_WAITS || e->acknowledged)
		return;
	leave_list(x, e);
	e->acknowledged = true;
}

void
coap_exchanges_answered(struct coap_exchanges *x, struct coap_exchange *e,
    enum coap_exchange_state state, struct bytes answer, int64_t now_us)
{
	ASSERT(e->state == COAP_WAITS && state != COAP_WAITS);
	ASSERT(answer.len <= COAP_MESSAGE_MAX);
	leave_list(x, e);
	x->waiting--;
	e->state = (uint8_t)state;
	e->at_us = now_us;
	e->answer_len = (uint16_t)answer.len;
	if (!is_inline(e))
		e->answer.out = xmemdup(answer.data, answer.len);
	else if (answer.len)
		memcpy(e->answer.in, answer.data, answer.len);
	list_add(&x->answered, e);
}

struct bytes
coap_exchange_answer(const struct coap_exchange *e)
{
	return bytes_of(is_inline(e) ? e->answer.in : e->answer.out, e->answer_len);
}

struct bytes
coap_exchange_token(const struct coap_exchange *e)
{
	return bytes_of(e->token, e->token_len);
}

void
coap_exchanges_expire(struct coap_exchanges *x, int64_t now_us)
{
	while (x->answered.oldest && now_us - x->answered.oldest->at_us >= COAP_LIFETIME_US)
		coap_exchanges_remove(x, x->answered.oldest);
}

/* --- tickets --- */

uint64_t
coap_exchange_ticket(const struct coap_exchange *e)
{
	return (uint64_t)e->generation << 32 | e->slot;
}

struct coap_exchange *
coap_exchanges_of_ticket(const struct coap_exchanges *x, uint64_t ticket)
{
	uint32_t slot = (uint32_t)ticket;
	struct coap_exchange *e = slot < x->slot_count ? x->slots[slot] : NULL;

	return e && e->generation == ticket >> 32 ? e : NULL;
}
