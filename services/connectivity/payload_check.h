/* payload_check.h - is this value possible for a metric of this name? pure */
#ifndef ROOST_PAYLOAD_CHECK_H
#define ROOST_PAYLOAD_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "record.h"

/* Device times outside of these are impossible: a clock that was never set, or one that runs ahead. */
#define PAYLOAD_TIME_MIN_US 946684800000000 /* 2000-01-01 */
#define PAYLOAD_TIME_AHEAD_US 86400000000   /* one day ahead of the server */

/* What was learnt about names seen before; {0} is empty. It changes the speed only. */
#define PAYLOAD_CHECK_SLOTS 256 /* power of two */
struct payload_check_cache {
	struct payload_check_slot {
		char name[30];
		uint8_t len;   /* 0: empty */
		uint8_t limit; /* index into the table of limits */
	} slots[PAYLOAD_CHECK_SLOTS];
};

/* Which numbers are possible for a metric of this name: an index for payload_check_number(). */
uint8_t payload_check_limit(struct payload_check_cache *cache, struct bytes name);

/* Which numbers are possible in this unit, by its name in SenML (RFC 8428 section 12.1). */
uint8_t payload_check_unit(struct bytes unit);

extern const struct payload_limit {
	double min;
	double max;
} payload_limits[];

/* A finite number. */
static inline enum quarantine_reason
payload_check_number(uint8_t limit, double number)
{
	return number < payload_limits[limit].min || number > payload_limits[limit].max
		   ? QUARANTINE_PHYSICAL
		   : QUARANTINE_NONE;
}

/* QUARANTINE_NONE, QUARANTINE_NOT_FINITE or QUARANTINE_PHYSICAL. */
enum quarantine_reason payload_check_value(
    struct payload_check_cache *cache, struct bytes name, const struct value *v);
bool payload_check_time(int64_t device_us, int64_t now_us);

#endif
