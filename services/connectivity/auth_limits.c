/* auth_limits.c - how many may connect, and who has to wait because of what failed before; pure */
#include "auth_limits.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "mem.h"

#define WAYS 4
#define SECOND_US 1000000

enum mark_kind { MARK_SOURCE = 1, MARK_IDENTITY, MARK_PROVEN };

struct auth_mark {
	uint64_t key; /* 0: free */
	int64_t used_us;
	int64_t until_us; /* not looked at before */
	int64_t failed_us;
	int64_t tat_us; /* of a source: when the next would be on time */
	uint32_t failures;
};

void
auth_limits_init(struct auth_limits *l, uint64_t seed)
{
	*l = (struct auth_limits){ .seed = seed };
	l->marks = xcalloc(AUTH_MARKS, sizeof(l->marks[0]));
}

void
auth_limits_fini(struct auth_limits *l)
{
	free(l->marks);
	l->marks = NULL;
}

/* --- marks --- */

/* Of IPv6 the first 64 bits count: who has one address there has all of them. */
static void
source_of(const struct peer *p, uint8_t out[16])
{
	static const uint8_t v4_prefix[12] = { [10] = 0xff, [11] = 0xff };

	memcpy(out, p->ip, 16);
	if (memcmp(p->ip, v4_prefix, sizeof(v4_prefix)) != 0)
		memset(out + 8, 0, 8);
}

static uint64_t
key_of(const struct auth_limits *l, enum mark_kind kind, const struct peer *source,
    struct bytes identity)
{
	uint8_t ip[16] = { 0 };
	uint64_t h = l->seed + kind;

	if (source && kind != MARK_IDENTITY)
		source_of(source, ip);
	h = XXH3_64bits_withSeed(ip, sizeof(ip), h);
	if (kind != MARK_SOURCE && identity.len)
		h = XXH3_64bits_withSeed(identity.data, identity.len, h);
	return h | 1;
}

/* NULL: there is none. */
static struct auth_mark *
mark_find(struct auth_limits *l, uint64_t key)
{
	struct auth_mark *set = &l->marks[(key >> 8) % (AUTH_MARKS / WAYS) * WAYS];

	for (size_t i = 0; i < WAYS; i++)
		if (set[i].key == key)
			return &set[i];
	return NULL;
}

static struct auth_mark *
mark_take(struct auth_limits *l, uint64_t key, int64_t now_us)
{
	struct auth_mark *set = &l->marks[(key >> 8) % (AUTH_MARKS / WAYS) * WAYS];
	struct auth_mark *m = mark_find(l, key);

	if (!m) {
		m = set;
		for (size_t i = 1; i < WAYS; i++)
			if (set[i].used_us < m->used_us)
				m = &set[i];
		*m = (struct auth_mark){ .key = key };
	}
	m->used_us = now_us;
	return m;
}

static bool
is_known(const struct peer *source)
{
	return source && source->known;
}

/* --- admission --- */

/* How long until it is its turn; the bucket is not changed. */
static int64_t
wait_of(int64_t tat_us, int64_t now_us)
{
	int64_t ahead = tat_us - now_us - AUTH_BURST_US;

	return ahead > 0 ? ahead : 0;
}

static int64_t
next_of(int64_t tat_us, uint32_t rate, int64_t now_us)
{
	return (tat_us > now_us ? tat_us : now_us) + SECOND_US / rate;
}

bool
auth_limits_admit(
    struct auth_limits *l, const struct peer *source, int64_t now_us, int64_t *ret_wait_us)
{
	struct auth_mark *m = NULL;
	int64_t wait = 0;

	if (l->rate)
		wait = wait_of(next_of(l->tat_us, l->rate, now_us), now_us);
	if (l->source_rate && is_known(source)) {
		int64_t own;

		m = mark_take(l, key_of(l, MARK_SOURCE, source, bytes_of("", 0)), now_us);
		own = wait_of(next_of(m->tat_us, l->source_rate, now_us), now_us);
		wait = own > wait ? own : wait;
	}
	*ret_wait_us = wait;
	if (wait > l->wait_max_us)
		return false;
	if (l->rate)
		l->tat_us = next_of(l->tat_us, l->rate, now_us);
	if (m)
		m->tat_us = next_of(m->tat_us, l->source_rate, now_us);
	return true;
}

/* --- back-off --- */

static int64_t
left_of(const struct auth_mark *m, int64_t now_us)
{
	return m && m->until_us > now_us ? m->until_us - now_us : 0;
}

int64_t
auth_limits_backoff(
    struct auth_limits *l, const struct peer *source, struct bytes identity, int64_t now_us)
{
	const struct auth_mark *proven = NULL;
	int64_t of_source = 0, of_identity;

	if (is_known(source)) {
		proven = mark_find(l, key_of(l, MARK_PROVEN, source, identity));
		of_source = left_of(mark_find(l, key_of(l, MARK_SOURCE, source, identity)), now_us);
	}
	if (proven)
		return left_of(proven, now_us);
	of_identity = left_of(mark_find(l, key_of(l, MARK_IDENTITY, NULL, identity)), now_us);
	return of_source > of_identity ? of_source : of_identity;
}

static void
count_failure(struct auth_mark *m, uint32_t free_failures, int64_t max_us, int64_t now_us)
{
	int64_t delay = AUTH_BACKOFF_MIN_US;

	for (int64_t at = m->failed_us; m->failures && now_us - at >= AUTH_FORGIVE_US;
	     at += AUTH_FORGIVE_US)
		m->failures /= 2;
	m->failed_us = now_us;
	if (m->failures < UINT32_MAX)
		m->failures++;
	if (m->failures <= free_failures)
		return;
	for (uint32_t i = free_failures + 1; i < m->failures && delay < max_us; i++)
		delay *= 2;
	m->until_us = now_us + (delay < max_us ? delay : max_us);
}

void
auth_limits_failed(
    struct auth_limits *l, const struct peer *source, struct bytes identity, int64_t now_us)
{
	struct auth_mark *proven =
	    is_known(source) ? mark_find(l, key_of(l, MARK_PROVEN, source, identity)) : NULL;
	int64_t known_max =
	    l->backoff_max_us < AUTH_KNOWN_MAX_US ? l->backoff_max_us : AUTH_KNOWN_MAX_US;

	if (proven)
		count_failure(proven, AUTH_IDENTITY_FREE, known_max, now_us);
	count_failure(mark_take(l, key_of(l, MARK_IDENTITY, NULL, identity), now_us),
	    AUTH_IDENTITY_FREE, l->backoff_max_us, now_us);
	if (is_known(source))
		count_failure(mark_take(l, key_of(l, MARK_SOURCE, source, identity), now_us),
		    AUTH_SOURCE_FREE, l->backoff_max_us, now_us);
}

void
auth_limits_proven(
    struct auth_limits *l, const struct peer *source, struct bytes identity, int64_t now_us)
{
	struct auth_mark *m;

	if (!is_known(source))
		return;
	m = mark_take(l, key_of(l, MARK_PROVEN, source, identity), now_us);
	m->failures = 0;
	m->until_us = 0;
	m = mark_find(l, key_of(l, MARK_SOURCE, source, identity));
	if (m)
		m->failures /= 2;
}
