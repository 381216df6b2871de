/* coap_sendings.c - confirmable messages on their way, sent again until they are acknowledged; pure */
#include "coap_sendings.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "mem.h"

void
coap_sendings_init(struct coap_sendings *s, uint64_t seed, int64_t now_us)
{
	memset(s, 0, sizeof(*s));
	s->seed = seed | 1;
	s->tick = now_us / COAP_WHEEL_TICK_US;
}

void
coap_sendings_fini(struct coap_sendings *s)
{
	for (uint32_t i = 0; i < COAP_WHEEL_SLOTS; i++) {
		while (s->wheel[i]) {
			struct coap_sending *one = s->wheel[i];

			coap_sendings_remove(s, &one);
		}
	}
}

static struct coap_sending **
bucket_of(struct coap_sendings *s, const struct coap_endpoint *to, uint16_t id)
{
	return &s->buckets[XXH3_64bits_withSeed(to, sizeof(*to), id) % COAP_SENDING_BUCKETS];
}

static uint64_t
draw(struct coap_sendings *s)
{
	s->seed ^= s->seed << 13;
	s->seed ^= s->seed >> 7;
	s->seed ^= s->seed << 17;
	return s->seed;
}

static void
leave_wheel(struct coap_sending *one)
{
	*one->at = one->next;
	if (one->next)
		one->next->at = one->at;
}

/* In the tick after its time is up, never in one that is done. */
static void
enter_wheel(struct coap_sendings *s, struct coap_sending *one, int64_t now_us)
{
	int64_t tick = (now_us + one->wait_us) / COAP_WHEEL_TICK_US + 1;
	struct coap_sending **to;

	if (tick <= s->tick)
		tick = s->tick + 1;
	to = &s->wheel[(uint64_t)tick % COAP_WHEEL_SLOTS];
	one->due = tick;
	one->at = to;
	one->next = *to;
	if (*to)
		(*to)->at = &one->next;
	*to = one;
}

struct coap_sending *
coap_sendings_add(struct coap_sendings *s, const struct coap_endpoint *to, uint16_t id,
    struct bytes message, uint64_t owner, int64_t now_us)
{
	struct coap_sending *one, **bucket = bucket_of(s, to, id);

	if (s->count >= COAP_SENDINGS_MAX)
		return NULL;
	one = xmalloc(sizeof(*one) + message.len);
	*one = (struct coap_sending){
		.to = *to,
		.owner = owner,
		.bucket_next = *bucket,
		.id = id,
		.len = (uint32_t)message.len,
		/* ACK_RANDOM_FACTOR 1.5 */
		.wait_us =
		    COAP_ACK_TIMEOUT_US + (int64_t)(draw(s) % (uint64_t)(COAP_ACK_TIMEOUT_US / 2)),
	};
	memcpy(one->data, message.data, message.len);
	*bucket = one;
	if (s->count++ == 0)
		s->tick = now_us / COAP_WHEEL_TICK_US;
	enter_wheel(s, one, now_us);
	return one;
}

struct coap_sending *
coap_sendings_find(struct coap_sendings *s, const struct coap_endpoint *to, uint16_t id)
{
	struct coap_sending *one = *bucket_of(s, to, id);

	while (one && (one->id != id || memcmp(&one->to, to, sizeof(*to)) != 0))
		one = one->bucket_next;
	return one;
}

void
coap_sendings_remove(struct coap_sendings *s, struct coap_sending **p_one)
{
	struct coap_sending *one = *p_one, **at = bucket_of(s, &one->to, one->id);

	*p_one = NULL;
	while (*at != one)
		at = &(*at)->bucket_next;
	*at = one->bucket_next;
	leave_wheel(one);
	s->count--;
	free(one);
}

struct coap_sending *
coap_sendings_due(struct coap_sendings *s, int64_t now_us, bool *ret_given_up)
{
	int64_t now = now_us / COAP_WHEEL_TICK_US;

	/* A long stall is not gone through slot by slot more than once. */
	if (now - s->tick > COAP_WHEEL_SLOTS)
		s->tick = now - COAP_WHEEL_SLOTS;
	while (s->count > 0 && s->tick < now) {
		struct coap_sending *one = s->wheel[(uint64_t)(s->tick + 1) % COAP_WHEEL_SLOTS];

		while (one && one->due > now)
			one = one->next;
		if (!one) {
			s->tick++;
			continue;
		}
		*ret_given_up = one->tries == COAP_RETRANSMIT_MAX;
		one->tries++;
		one->wait_us *= 2;
		leave_wheel(one);
		enter_wheel(s, one, now_us);
		return one;
	}
	return NULL;
}

int64_t
coap_sendings_deadline(const struct coap_sendings *s)
{
	return s->count ? (s->tick + 1) * COAP_WHEEL_TICK_US : 0;
}
