/* mqtt_copy_client.c - the clients that have something in the copy: table, what is to be done about them */
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "clock.h"
#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "mqtt_copy_impl.h"

#define TABLE_MIN 64
#define STALE_RETRY_US 1000000

struct bytes
copy_id(const struct copy_client *c)
{
	return bytes_of(c->id, c->id_len);
}

int64_t
copy_wall_ms(void)
{
	return clock_wall_us() / 1000;
}

static struct copy_client **
slot_of(const struct mqtt_copy *k, struct bytes id)
{
	return &k->table[XXH3_64bits(id.data, id.len) & (k->table_size - 1)];
}

static void
resize(struct mqtt_copy *k, size_t size)
{
	free(k->table);
	k->table = xcalloc(size, sizeof(k->table[0]));
	k->table_size = size;
	for (struct copy_client *c = k->first; c; c = c->next) {
		struct copy_client **slot = slot_of(k, copy_id(c));

		c->hash_next = *slot;
		*slot = c;
	}
}

struct copy_client *
copy_find(const struct mqtt_copy *k, struct bytes id)
{
	struct copy_client *c = k->table_size ? *slot_of(k, id) : NULL;

	while (c && !bytes_equal(copy_id(c), id))
		c = c->hash_next;
	return c;
}

struct copy_client *
copy_get(struct mqtt_copy *k, struct bytes id)
{
	struct copy_client *c = copy_find(k, id);
	struct copy_client **slot;

	if (c)
		return c;
	if (k->count >= k->table_size)
		resize(k, k->table_size ? 2 * k->table_size : TABLE_MIN);
	c = xcalloc(1, sizeof(*c) + id.len + 1);
	c->id_len = (uint16_t)id.len;
	memcpy(c->id, id.data, id.len);
	slot = slot_of(k, id);
	c->hash_next = *slot;
	*slot = c;
	c->next = k->first;
	c->link = &k->first;
	if (c->next)
		c->next->link = &c->next;
	k->first = c;
	k->count++;
	return c;
}

void
copy_fresh(struct mqtt_copy *k, struct copy_client *c, bool fresh)
{
	k->fresh += (size_t)fresh - (size_t)c->fresh;
	c->fresh = fresh;
}

void
copy_unfence(struct mqtt_copy *k, struct copy_client *c)
{
	k->fenced -= c->fenced;
	c->fenced = false;
}

/* --- what clients wait for --- */

void
copy_request_add(
    struct mqtt_copy *k, struct copy_client *c, const struct mqtt_claim *claim, uint64_t token)
{
	struct copy_request *r = xcalloc(1, sizeof(*r));
	struct copy_request **at = &c->requests;

	*r = (struct copy_request){
		.client = c,
		.later_link = k->waiting_end,
		.token = token,
		.until_us = loop_now_us(k->loop) + k->options.wait_us,
		.clean = claim->clean,
		.keep = claim->keep,
	};
	while (*at)
		at = &(*at)->next;
	*at = r;
	c->life_epoch = 0; /* a claim writes what will do until the session is there */
	*k->waiting_end = r;
	k->waiting_end = &r->later;
}

void
copy_request_told(struct mqtt_copy *k, struct copy_request *r)
{
	if (!r->later_link)
		return;
	*r->later_link = r->later;
	if (r->later)
		r->later->later_link = r->later_link;
	else
		k->waiting_end = r->later_link;
	r->later_link = NULL;
}

void
copy_request_done(struct mqtt_copy *k, struct copy_client *c)
{
	struct copy_request *r = c->requests;

	c->requests = r->next;
	copy_request_told(k, r);
	free(r);
}

void
copy_told(struct mqtt_copy *k, struct copy_client *c)
{
	copy_told_done(k, c);
	c->told_us = loop_now_us(k->loop);
	c->told_next = NULL;
	c->told_link = k->told_end;
	*k->told_end = c;
	k->told_end = &c->told_next;
}

void
copy_told_done(struct mqtt_copy *k, struct copy_client *c)
{
	if (!c->told_link)
		return;
	*c->told_link = c->told_next;
	if (c->told_next)
		c->told_next->told_link = c->told_link;
	else
		k->told_end = c->told_link;
	c->told_link = NULL;
}

void
copy_client_free(struct mqtt_copy *k, struct copy_client *c)
{
	struct copy_client **slot = slot_of(k, copy_id(c));

	while (*slot != c)
		slot = &(*slot)->hash_next;
	*slot = c->hash_next;
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	k->count--;
	copy_todo_done(k, c);
	while (c->requests)
		copy_request_done(k, c);
	copy_load_free(c);
	copy_told_done(k, c);
	copy_away_done(k, c);
	copy_fresh(k, c, false);
	copy_unfence(k, c);
	free(c);
}

void
copy_drop(struct mqtt_copy *k, struct copy_client *c)
{
	if (c->asked || c->requests) {
		/* Whoever waits for it gets a session of its own. */
		c->over = c->asked;
		c->epoch = 0;
		c->has_will = false;
		copy_unfence(k, c);
		copy_todo_done(k, c);
		return;
	}
	copy_client_free(k, c);
}

/* --- what is written anew --- */

void
copy_todo(struct copy_todo *list, struct copy_client *c)
{
	ASSERT(!c->todo_link);
	c->todo_next = NULL;
	c->todo_link = list->end;
	*list->end = c;
	list->end = &c->todo_next;
}

void
copy_todo_done(struct mqtt_copy *k, struct copy_client *c)
{
	struct copy_todo *list = c->owned ? &k->load : &k->anew;

	if (c->todo_link) {
		*c->todo_link = c->todo_next;
		if (c->todo_next)
			c->todo_next->todo_link = c->todo_link;
		else
			list->end = c->todo_link;
		c->todo_link = NULL;
	}
	if (c->owned)
		k->to_load--;
	c->owned = false;
	c->adopted = 0;
}

static void
copy_hold(struct mqtt_copy *k)
{
	if (!k->hold)
		k->hold_us = loop_now_us(k->loop);
	k->hold = true;
	copy_wait(k);
}

void
copy_dirty(struct mqtt_copy *k, struct copy_client *c)
{
	copy_hold(k);
	c->epoch = 0;
	c->life_epoch = 0;
	if (!c->todo_link)
		copy_todo(&k->anew, c);
}

void
copy_stale(struct mqtt_copy *k, const char *why)
{
	if (k->stale_us == 0 || !k->hold) {
		log_warn("mqtt.copy_stale", LS("why", why), LU("sessions", k->count),
		    LS("remedy", "sessions are written anew when Redis takes them"));
		metric_add(M_MQTT_COPY_ANEW, 1);
	}
	copy_hold(k);
	k->rewrite_retained = true;
	k->stale_us = loop_now_us(k->loop) + STALE_RETRY_US;
	/* It may be said again at every change until Redis has room. */
	for (struct copy_client *c = k->all_stale ? NULL : k->first; c; c = c->next) {
		if (c->epoch)
			copy_dirty(k, c);
		c->has_will = false;
	}
	k->all_stale = true;
}
