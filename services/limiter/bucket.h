/* bucket.h - token bucket arithmetic; pure */
#ifndef ROOST_BUCKET_H
#define ROOST_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

/* How a kind of bucket fills; shared by all buckets of that kind. */
struct bucket_rate {
	double per_us; /* tokens */
	double burst;  /* most tokens; at least 1 */
};

struct bucket {
	double tokens;
	int64_t at_us; /* monotonic; when tokens was right */
};

/* per_s: at least 1. burst 0: one second's worth. */
struct bucket_rate bucket_rate_of(uint64_t per_s, uint64_t burst);
/* A full bucket. */
void bucket_init(struct bucket *b, const struct bucket_rate *rate, int64_t now_us);
/* Takes one token if there is one. */
bool bucket_take(struct bucket *b, const struct bucket_rate *rate, int64_t now_us);
/* Puts back what bucket_take() took. */
void bucket_return(struct bucket *b, const struct bucket_rate *rate);
/* How long until there is a token, rounded up; 0: there is one now. */
uint64_t bucket_wait_ms(const struct bucket *b, const struct bucket_rate *rate);
/* An empty bucket is full again after this long. */
int64_t bucket_fill_us(const struct bucket_rate *rate);

#endif
