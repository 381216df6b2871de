/* mqtt_ids.h - a set of packet ids, each with a small value; pure
 *
 * Holds what is between PUBLISH and PUBREL of QoS 2 (section 4.3.3): adding, finding and removing cost O(1), an entry 8
 * bytes, and an empty set none. */
#ifndef ROOST_MQTT_IDS_H
#define ROOST_MQTT_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mqtt_id_entry {
	uint16_t id;			/* 0: free */
	uint16_t flags;			/* the owner's */
	uint32_t value;			/* the owner's */
};

struct mqtt_ids {
	struct mqtt_id_entry *table;
	uint32_t size;			/* a power of two, or 0 */
	uint32_t count;
};

void mqtt_ids_fini(struct mqtt_ids *s);
/* NULL if it is not there. Good until the next change. */
struct mqtt_id_entry *mqtt_ids_find(const struct mqtt_ids *s, uint16_t id);
/* It is not there yet; id is not 0. Good until the next change. */
struct mqtt_id_entry *mqtt_ids_add(struct mqtt_ids *s, uint16_t id);
void mqtt_ids_remove(struct mqtt_ids *s, uint16_t id);
/* What its table takes. */
static inline size_t
mqtt_ids_bytes(const struct mqtt_ids *s)
{
	return s->size * sizeof(s->table[0]);
}
/* The next one added makes it twice as large. */
static inline bool
mqtt_ids_grows(const struct mqtt_ids *s)
{
	return s->count >= s->size / 2;
}
/* Goes through all: start with *at 0; NULL at the end. Nothing may change meanwhile. */
struct mqtt_id_entry *mqtt_ids_next(const struct mqtt_ids *s, uint32_t *at);

#endif
