/* unreleased.c - QoS 2 messages whose PUBREL has not come: a repeat of one is a copy, however late it comes; pure */
#include "unreleased.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "le.h"
#include "mem.h"

#define SLOTS_MIN 64
#define ITEM_SIZE ((size_t)36)
#define ITEMS_PER_ENTRY 4096
#define FLAG_DUP 1u

void
unreleased_init(struct unreleased *u, size_t capacity, int64_t age_us)
{
	*u = (struct unreleased){ .capacity = capacity, .age_us = age_us };
}

void
unreleased_clear(struct unreleased *u)
{
	free(u->slots);
	u->slots = NULL;
	u->slot_count = u->count = u->swept = 0;
}

void
unreleased_fini(struct unreleased *u)
{
	unreleased_clear(u);
}

static size_t
home_of(const struct unreleased *u, uint64_t client, uint16_t packet_id)
{
	/* client is a hash already; the packet id is spread over it. */
	uint64_t mixed = client ^ (packet_id * 0x9e3779b97f4a7c15ull);

	return (size_t)(mixed ^ mixed >> 32) & (u->slot_count - 1);
}

/* Its place, or the free one where it belongs. */
static struct unreleased_item *
place_of(const struct unreleased *u, uint64_t client, uint16_t packet_id)
{
	size_t i = home_of(u, client, packet_id);

	while (u->slots[i].client != 0 &&
	       (u->slots[i].client != client || u->slots[i].packet_id != packet_id))
		i = (i + 1) & (u->slot_count - 1);
	return &u->slots[i];
}

static void
resize(struct unreleased *u, size_t slot_count)
{
	struct unreleased_item *old = u->slots;
	size_t old_count = u->slot_count;

	u->slots = xcalloc(slot_count, sizeof(u->slots[0]));
	u->slot_count = slot_count;
	u->swept = 0;
	for (size_t i = 0; i < old_count; i++)
		if (old[i].client != 0)
			*place_of(u, old[i].client, old[i].packet_id) = old[i];
	free(old);
}

void
unreleased_restore(struct unreleased *u, const struct unreleased_item *m)
{
	struct unreleased_item *at;

	if (2 * (u->count + 1) > u->slot_count)
		resize(u, u->slot_count ? 2 * u->slot_count : SLOTS_MIN);
	at = place_of(u, m->client, m->packet_id);
	if (at->client == 0)
		u->count++;
	*at = *m;
}

/* An original that comes after its repeat: that came by another worker, since one worker's messages keep their order. */
static bool
is_overtaken(const struct unreleased_item *have, const struct unreleased_item *m)
{
	return have->dup && !m->dup && have->stream != m->stream;
}

enum unreleased_answer
unreleased_offer(struct unreleased *u, const struct unreleased_item *m)
{
	const struct unreleased_item *have =
	    u->count > 0 ? place_of(u, m->client, m->packet_id) : NULL;

	if (have && have->client != 0) {
		if (have->hash == m->hash && (m->dup || is_overtaken(have, m)))
			return UNRELEASED_COPY;
	} else if (u->count >= u->capacity) {
		return UNRELEASED_FULL;
	}
	unreleased_restore(u, m);
	return UNRELEASED_NEW;
}

/* Frees a place; what stood behind it because of it moves up. */
static void
remove_at(struct unreleased *u, size_t hole)
{
	size_t mask = u->slot_count - 1;

	for (size_t i = (hole + 1) & mask; u->slots[i].client != 0; i = (i + 1) & mask) {
		size_t home = home_of(u, u->slots[i].client, u->slots[i].packet_id);

		if (((i - home) & mask) >= ((i - hole) & mask)) {
			u->slots[hole] = u->slots[i];
			hole = i;
		}
	}
	u->slots[hole] = (struct unreleased_item){ 0 };
	u->count--;
}

bool
unreleased_release(struct unreleased *u, uint64_t client, uint16_t packet_id)
{
	struct unreleased_item *at;

	if (u->count == 0 || client == 0)
		return false;
	at = place_of(u, client, packet_id);
	if (at->client == 0)
		return false;
	remove_at(u, (size_t)(at - u->slots));
	return true;
}

size_t
unreleased_expire(struct unreleased *u, int64_t now_us, size_t places)
{
	size_t expired = 0;

	for (; places > 0 && u->count > 0; places--) {
		struct unreleased_item *at = &u->slots[u->swept];

		/* What moves up into a place that was freed is looked at next. */
		if (at->client != 0 && now_us - at->time > u->age_us) {
			remove_at(u, u->swept);
			expired++;
			continue;
		}
		u->swept = (u->swept + 1) & (u->slot_count - 1);
	}
	if (u->count == 0)
		unreleased_clear(u);
	else if (u->slot_count > SLOTS_MIN && 16 * u->count < u->slot_count)
		resize(u, u->slot_count / 4);
	return expired;
}

static void
put_item(struct buf *out, const struct unreleased_item *m)
{
	uint32_t last = (uint32_t)m->packet_id | (m->dup ? FLAG_DUP << 16 : 0);
	uint8_t *at = buf_reserve(out, ITEM_SIZE);

	le_put64(at, m->client);
	le_put64(at + 8, m->hash);
	le_put64(at + 16, m->stream);
	le_put64(at + 24, (uint64_t)m->time);
	le_put32(at + 32, last);
	out->len += ITEM_SIZE;
}

void
unreleased_put_all(const struct unreleased *u, unreleased_put_fn put, void *arg)
{
	struct buf body = { 0 };

	for (size_t i = 0; i < u->slot_count; i++) {
		if (u->slots[i].client != 0)
			put_item(&body, &u->slots[i]);
		if (body.len == ITEMS_PER_ENTRY * ITEM_SIZE ||
		    (body.len > 0 && i + 1 == u->slot_count)) {
			put(arg, &(struct entry){ .kind = ENTRY_UNRELEASED,
				     .partition = ENTRY_ALL_PARTITIONS,
				     .body = buf_bytes(&body) });
			buf_clear(&body);
		}
	}
	buf_fini(&body);
}

uint64_t
unreleased_put_bytes(const struct unreleased *u)
{
	return u->count * ITEM_SIZE + (u->count / ITEMS_PER_ENTRY + 1) * ENTRY_HEADER_SIZE;
}

int
unreleased_replay(struct unreleased *u, const struct entry *e)
{
	struct bytes rest = e->body;

	if (rest.len % ITEM_SIZE != 0)
		return ERR_MALFORMED;
	for (; rest.len > 0; rest = bytes_of(rest.data + ITEM_SIZE, rest.len - ITEM_SIZE)) {
		uint32_t last = le_get32(rest.data + 32);
		struct unreleased_item m = {
			.client = le_get64(rest.data),
			.hash = le_get64(rest.data + 8),
			.stream = le_get64(rest.data + 16),
			.time = (int64_t)le_get64(rest.data + 24),
			.packet_id = (uint16_t)last,
			.dup = (last >> 16 & FLAG_DUP) != 0,
		};

		if (m.client != 0)
			unreleased_restore(u, &m);
	}
	return 0;
}
