/* mqtt_window.c - QoS 1 messages on their way of which nothing but the number is kept; pure */
#include "mqtt_window.h"

#include <stdlib.h>

#include "err.h"
#include "mem.h"

#define WORDS_MIN 4u
#define WORDS_MAX (MQTT_WINDOW_MAX / 64u)

void
mqtt_window_fini(struct mqtt_window *w)
{
	free(w->bits);
	*w = (struct mqtt_window){ .bits = NULL };
}

void
mqtt_window_trim(struct mqtt_window *w)
{
	if (w->count == 0)
		mqtt_window_fini(w);
}

static uint64_t *
word_of(const struct mqtt_window *w, uint64_t n)
{
	return &w->bits[n / 64 & (w->words - 1)];
}

bool
mqtt_window_fits(const struct mqtt_window *w, uint64_t n)
{
	/* By words: the first and the last one are never the same. */
	return n >= w->end && (w->count == 0 || n / 64 - w->first / 64 < WORDS_MAX);
}

static void
grow(struct mqtt_window *w, uint64_t n)
{
	uint64_t span = w->count ? n / 64 - w->first / 64 + 1 : 1;
	uint32_t words = w->words ? w->words : WORDS_MIN;
	struct mqtt_window old = *w;

	while (words < span)
		words *= 2;
	ASSERT(words <= WORDS_MAX);
	w->bits = xcalloc(words, sizeof(w->bits[0]));
	w->words = words;
	for (uint64_t at = w->first / 64; w->count && at <= (w->end - 1) / 64; at++)
		*word_of(w, at * 64) = *word_of(&old, at * 64);
	free(old.bits);
}

void
mqtt_window_add(struct mqtt_window *w, uint64_t n)
{
	ASSERT(mqtt_window_fits(w, n));
	if (w->count ? n / 64 - w->first / 64 >= w->words : w->words == 0)
		grow(w, n);
	if (w->count++ == 0)
		w->first = n;
	w->end = n + 1;
	*word_of(w, n) |= 1ull << n % 64;
}

/* The number on its way that has this packet id; 0: there is none. */
static uint64_t
find(const struct mqtt_window *w, uint16_t packet_id)
{
	uint32_t ahead;
	uint64_t n;

	if (w->count == 0 || packet_id == 0)
		return 0;
	ahead = (uint32_t)packet_id + UINT16_MAX - mqtt_packet_id_of(w->first);
	n = w->first + (ahead >= UINT16_MAX ? ahead - UINT16_MAX : ahead);
	return n < w->end && *word_of(w, n) >> n % 64 & 1 ? n : 0;
}

bool
mqtt_window_has(const struct mqtt_window *w, uint16_t packet_id)
{
	return find(w, packet_id) != 0;
}

bool
mqtt_window_take(struct mqtt_window *w, uint16_t packet_id)
{
	uint64_t n = find(w, packet_id);

	if (!n)
		return false;
	*word_of(w, n) &= ~(1ull << n % 64);
	if (--w->count == 0 || n != w->first)
		return true;
	/* The next one that is there: in this word, or in one of those behind it. */
	while (*word_of(w, n) == 0)
		n = (n / 64 + 1) * 64;
	w->first = n / 64 * 64 + (unsigned)__builtin_ctzll(*word_of(w, n));
	return true;
}
