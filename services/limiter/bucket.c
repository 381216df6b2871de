/* bucket.c - token bucket arithmetic; pure
 *
 * Refills on the monotonic clock: a step of wall time would hand every device a full burst. */
#include "bucket.h"

struct bucket_rate
bucket_rate_of(uint64_t per_s, uint64_t burst)
{
	return (struct bucket_rate){
		.per_us = (double)per_s / 1e6,
		.burst = (double)(burst ? burst : per_s),
	};
}

void
bucket_init(struct bucket *b, const struct bucket_rate *rate, int64_t now_us)
{
	b->tokens = rate->burst;
	b->at_us = now_us;
}

static void
refill(struct bucket *b, const struct bucket_rate *rate, int64_t now_us)
{
	if (now_us <= b->at_us)
		return;
	b->tokens += (double)(now_us - b->at_us) * rate->per_us;
	if (b->tokens > rate->burst)
		b->tokens = rate->burst;
	b->at_us = now_us;
}

bool
bucket_take(struct bucket *b, const struct bucket_rate *rate, int64_t now_us)
{
	refill(b, rate, now_us);
	if (b->tokens < 1)
		return false;
	b->tokens -= 1;
	return true;
}

void
bucket_return(struct bucket *b, const struct bucket_rate *rate)
{
	b->tokens += 1;
	if (b->tokens > rate->burst)
		b->tokens = rate->burst;
}

uint64_t
bucket_wait_ms(const struct bucket *b, const struct bucket_rate *rate)
{
	double ms;
	uint64_t whole;

	if (b->tokens >= 1)
		return 0;
	ms = (1 - b->tokens) / rate->per_us / 1e3;
	whole = (uint64_t)ms;
	return (double)whole < ms ? whole + 1 : whole;
}

int64_t
bucket_fill_us(const struct bucket_rate *rate)
{
	return (int64_t)(rate->burst / rate->per_us) + 1;
}
