/* auth_limits.h - how many may connect, and who has to wait because of what failed before; pure
 *
 * Admission: a bucket for all and one for each source (IPv4 address, IPv6 /64), by virtual scheduling: who comes too early gets
 * a time at which it is admitted, in the order of arrival; who would wait for longer than it may is told when to come back.
 *
 * Back-off: what fails is counted by source and by identity (what was tried), and from some failures on each further one
 * doubles the time until the next try is looked at. A source that has proven an identity before waits for neither of the two, only for
 * what it failed at that identity itself, and that not for long: so nobody can lock a device out from elsewhere.
 *
 * All of it is in one table of fixed size: what was used longest ago of four is forgotten. */
#ifndef ROOST_AUTH_LIMITS_H
#define ROOST_AUTH_LIMITS_H

#include "buf.h"
#include "peer.h"

#define AUTH_MARKS 16384	/* sources, identities, and identities proven by sources, that are remembered */
#define AUTH_BURST_US 1000000	/* what the rate gives in so long may come at once */
#define AUTH_SOURCE_FREE 10	/* failures of a source without delay */
#define AUTH_IDENTITY_FREE 5
#define AUTH_BACKOFF_MIN_US 1000000
#define AUTH_KNOWN_MAX_US 2000000	/* longest for a source that has proven the identity before */
#define AUTH_FORGIVE_US 60000000	/* without a failure for so long: half of them are forgotten */

struct auth_mark;

struct auth_limits {
	uint32_t rate;		/* connects a second, of all and ... */
	uint32_t source_rate;	/* ... of one source; 0: no limit */
	int64_t wait_max_us;
	int64_t backoff_max_us;
	uint64_t seed;		/* so that nobody can choose what shares a place */
	int64_t tat_us;
	struct auth_mark *marks;
};

void auth_limits_init(struct auth_limits *l, uint64_t seed);
void auth_limits_fini(struct auth_limits *l);

/* source: NULL or not known: only what counts all. True: it is admitted when ret_wait_us is over; false: not now, it may try
 * again then. */
bool auth_limits_admit(struct auth_limits *l, const struct peer *source, int64_t now_us, int64_t *ret_wait_us);
/* 0, or how long this is not to be looked at. */
int64_t auth_limits_backoff(struct auth_limits *l, const struct peer *source, struct bytes identity, int64_t now_us);
void auth_limits_failed(struct auth_limits *l, const struct peer *source, struct bytes identity, int64_t now_us);
void auth_limits_proven(struct auth_limits *l, const struct peer *source, struct bytes identity, int64_t now_us);

#endif
