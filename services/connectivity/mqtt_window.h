/* mqtt_window.h - QoS 1 messages on their way of which nothing but the number is kept; pure
 *
 * A session that ends with its connection never sends a message again: what is to be known of it until its PUBACK comes is
 * that it was sent. Its number (mqtt_delivery.n) says so by a bit: adding, looking and taking cost O(1), MQTT_WINDOW_MAX of
 * them 2 KiB, and a session that never had one nothing. */
#ifndef ROOST_MQTT_WINDOW_H
#define ROOST_MQTT_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#define MQTT_WINDOW_MAX 16384	/* from the oldest to the newest; a power of two */

struct mqtt_window {
	uint64_t *bits;			/* of number n: bit n % 64 of bits[n / 64 & (words - 1)] */
	uint64_t first;			/* the oldest; meaningful while count > 0 */
	uint64_t end;			/* behind the newest */
	uint32_t words;			/* a power of two, or 0 */
	uint32_t count;
};

/* Numbers count from 1, packet ids too: they go round, without 0. */
static inline uint16_t
mqtt_packet_id_of(uint64_t n)
{
	return (uint16_t)((n - 1) % UINT16_MAX + 1);
}

void mqtt_window_fini(struct mqtt_window *w);
/* false: it is too far from the oldest, or not behind the newest. */
bool mqtt_window_fits(const struct mqtt_window *w, uint64_t n);
void mqtt_window_add(struct mqtt_window *w, uint64_t n);	/* it fits */
bool mqtt_window_has(const struct mqtt_window *w, uint16_t packet_id);
/* false: it was not there. */
bool mqtt_window_take(struct mqtt_window *w, uint16_t packet_id);
/* Gives memory back if nothing is on its way. */
void mqtt_window_trim(struct mqtt_window *w);

#endif
