/* mqtt_copy_wills.c - wills of clients whose worker died, by client id, until they are due or their client is back */
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "mem.h"
#include "mqtt_copy_impl.h"

#define TABLE_MIN 64

static struct bytes
id_of(const struct copy_will *w)
{
	return bytes_of(w->id, w->id_len);
}

static struct copy_will **
slot_of(const struct copy_wills *t, struct bytes id)
{
	return &t->table[XXH3_64bits(id.data, id.len) & (t->size - 1)];
}

static void
put(struct copy_wills *t, struct copy_will *w)
{
	struct copy_will **slot = slot_of(t, id_of(w));

	w->next = *slot;
	*slot = w;
	t->count++;
}

/* Takes those out that are due by then, as a list. */
static struct copy_will *
take_due(struct copy_wills *t, int64_t now_us)
{
	struct copy_will *due = NULL, *next;

	for (size_t i = 0; i < t->size; i++) {
		struct copy_will *all = t->table[i];

		t->table[i] = NULL;
		for (; all; all = next) {
			next = all->next;
			t->count--;
			if (all->due_us > now_us) {
				put(t, all);
				continue;
			}
			all->next = due;
			due = all;
		}
	}
	return due;
}

static void
grow(struct copy_wills *t)
{
	struct copy_will *all = take_due(t, INT64_MAX), *next;

	free(t->table);
	t->size = t->size ? 2 * t->size : TABLE_MIN;
	t->table = xcalloc(t->size, sizeof(struct copy_will *));
	for (; all; all = next) {
		next = all->next;
		put(t, all);
	}
}

static void
will_free(struct copy_will *w)
{
	mqtt_will_free(&w->will);
	free(w);
}

void
copy_will_add(struct mqtt_copy *k, const struct session_state_item *item)
{
	int64_t now_us = k->broker->now_us, delay_us = (int64_t)item->will->delay * 1000000;
	struct copy_will *w;

	/* Of this life: its client is here. */
	if (item->life == k->options.life)
		return;
	/* What a list tells it may tell twice. */
	w = copy_will_take(k, item->key);
	if (w)
		will_free(w);
	w = xcalloc(1, sizeof(*w) + item->key.len + 1);
	w->id_len = (uint16_t)item->key.len;
	memcpy(w->id, item->key.data, item->key.len);
	w->will = copy_will_get(item->will, item->message);
	if (item->since_ms) {
		w->due_us = now_us + (item->since_ms - copy_wall_ms()) * 1000 + delay_us;
	} else {
		/* Its connection ended with its worker: it may be back at once. */
		w->due_us =
		    now_us +
		    (delay_us > k->options.will_grace_us ? delay_us : k->options.will_grace_us);
	}
	if (k->wills.count >= k->wills.size)
		grow(&k->wills);
	put(&k->wills, w);
}

struct copy_will *
copy_will_take(struct mqtt_copy *k, struct bytes id)
{
	struct copy_wills *t = &k->wills;
	struct copy_will **at = t->count ? slot_of(t, id) : NULL;
	struct copy_will *w;

	while (at && *at && !bytes_equal(id_of(*at), id))
		at = &(*at)->next;
	w = at ? *at : NULL;
	if (w) {
		*at = w->next;
		t->count--;
	}
	return w;
}

void
copy_will_drop(struct mqtt_copy *k, struct bytes id)
{
	struct copy_will *w = copy_will_take(k, id);

	if (w)
		will_free(w);
}

void
copy_wills_fini(struct mqtt_copy *k)
{
	struct copy_will *all = take_due(&k->wills, INT64_MAX), *next;

	for (; all; all = next) {
		next = all->next;
		will_free(all);
	}
	free(k->wills.table);
	k->wills = (struct copy_wills){ .size = 0 };
}

void
copy_will_forget(struct mqtt_copy *k, struct bytes id)
{
	struct copy_will *w = copy_will_take(k, id);

	if (!w)
		return;
	if (copy_unit(k))
		session_state_no_will(k->ss, id);
	will_free(w);
}

void
copy_wills_tick(struct mqtt_copy *k)
{
	struct copy_will *due, *next;

	/* Who subscribes is known when all sessions are. */
	if (k->wills.count == 0 || !mqtt_copy_is_loaded(k))
		return;
	for (due = take_due(&k->wills, k->broker->now_us); due; due = next) {
		next = due->next;
		mqtt_will_publish(k->broker, &due->will, NULL);
		if (copy_unit(k))
			session_state_no_will(k->ss, id_of(due));
		will_free(due);
	}
}
