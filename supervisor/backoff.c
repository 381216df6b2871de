/* backoff.c - how long to wait before a failing child is started again; pure */
#include "backoff.h"

void
backoff_init(struct backoff *b, uint64_t seed)
{
	*b = (struct backoff){ .random = seed };
}

/* splitmix64 */
static uint64_t
next_random(struct backoff *b)
{
	uint64_t z = b->random += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

int64_t
backoff_fail(struct backoff *b)
{
	uint64_t wait = BACKOFF_FIRST_US;
	uint32_t before = b->failures;

	if (b->failures < UINT32_MAX)
		b->failures++;
	if (before < BACKOFF_FREE)
		return 0;
	for (uint32_t i = BACKOFF_FREE; i < before && wait < BACKOFF_MAX_US; i++)
		wait *= 2;
	if (wait > BACKOFF_MAX_US)
		wait = BACKOFF_MAX_US;
	return (int64_t)(wait - next_random(b) % (wait / 2 + 1));
}

void
backoff_was_up(struct backoff *b, int64_t up_us)
{
	if (up_us >= BACKOFF_FORGIVEN_US)
		b->failures = 0;
	else if (up_us >= BACKOFF_STEADY_US)
		b->failures /= 2;
}
