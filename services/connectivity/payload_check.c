/* payload_check.c - is this value possible for a metric of this name? pure
 *
 * The name decides, and only when it leaves no doubt: a possible value that is masked is worse than an impossible one that
 * is kept. Only the last component counts (indoor.temperature_c: temperature_c). It is cut into words at _ - space and
 * where camelCase rises, and matches a limit if it consists of
 *
 *	any words, the quantity, then only words that leave its meaning as it is (min, max, avg, outdoor, 1, ...)
 *
 * with the unit among the latter. A word that says that it is a difference (delta, offset, rate, ...) anywhere means no
 * limit. A temperature without a unit may be in celsius or fahrenheit: only what both forbid for celsius' sake, below
 * -273.15, is refused. Absolute zero bounds every temperature, 0..100 relative humidity and what is named as a
 * percentage of charge; what cannot be negative at all (concentrations, rain, light, air pressure) is bounded by 0. */
#include "payload_check.h"

#include <math.h>
#include <string.h>

#include "err.h"
#include "mem.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define WORD_MAX 16 /* longer ones are cut: none of ours is */

enum limit_id {
	LIMIT_NONE,
	LIMIT_CELSIUS,
	LIMIT_FAHRENHEIT,
	LIMIT_NOT_NEGATIVE,
	LIMIT_PERCENT,
	LIMIT_LATITUDE,
	LIMIT_LONGITUDE,
};

const struct payload_limit payload_limits[] = {
	[LIMIT_NONE] = { -INFINITY, INFINITY },
	[LIMIT_CELSIUS] = { -273.15, INFINITY },
	[LIMIT_FAHRENHEIT] = { -459.67, INFINITY },
	[LIMIT_NOT_NEGATIVE] = { 0, INFINITY },
	[LIMIT_PERCENT] = { 0, 100 },
	[LIMIT_LATITUDE] = { -90, 90 },
	[LIMIT_LONGITUDE] = { -180, 360 }, /* some count 0..360 eastward */
};

enum word_kind {
	WORD_OTHER,
	WORD_PLAIN, /* leaves the meaning as it is */
	WORD_DIFFERENCE,
	WORD_ABSOLUTE, /* "absolute humidity" is no percentage */
	WORD_UNIT_CELSIUS,
	WORD_UNIT_FAHRENHEIT,
	WORD_UNIT_KELVIN,
	WORD_UNIT_PERCENT,
	WORD_AIR, /* "air pressure" is absolute */
	WORD_TEMPERATURE,
	WORD_HUMIDITY,
	WORD_CHARGE,
	WORD_PRESSURE,
	WORD_POSITIVE,
	WORD_LATITUDE,
	WORD_LONGITUDE,
};

static const struct words {
	enum word_kind kind;
	const char *list; /* each between spaces */
} words[] = {
	{ WORD_TEMPERATURE, " temperature temp dewpoint " },
	{ WORD_HUMIDITY, " humidity rh " },
	{ WORD_CHARGE, " battery soc " },
	{ WORD_PLAIN, " level min max avg mean median last in out indoor outdoor inside "
		      "outside value ppm " },
	{ WORD_PRESSURE, " pressure " },
	{ WORD_AIR, " air barometric atmospheric " },
	{ WORD_POSITIVE, " co2 pm1 pm25 pm10 rainfall illuminance lux " },
	{ WORD_LATITUDE, " latitude lat " },
	{ WORD_LONGITUDE, " longitude lon lng " },
	{ WORD_UNIT_CELSIUS, " c celsius degc " },
	{ WORD_UNIT_FAHRENHEIT, " f fahrenheit degf " },
	{ WORD_UNIT_KELVIN, " k kelvin " },
	{ WORD_UNIT_PERCENT, " percent percentage pct " },
	{ WORD_ABSOLUTE, " absolute abs specific " },
	{ WORD_DIFFERENCE, " delta diff difference change error offset deviation correction "
			   "calibration rate trend slope raw log gauge differential " },
};

static bool
is_upper(uint8_t c)
{
	return c >= 'A' && c <= 'Z';
}

static bool
is_separator(uint8_t c)
{
	return c == '_' || c == '-' || c == ' ';
}

/* Takes the next word, lower-cased, off name; 0 at the end. */
static size_t
next_word(struct bytes *name, char *out, size_t size)
{
	size_t i = 0, n = 0;

	while (i < name->len && is_separator(name->data[i]))
		i++;
	for (size_t start = i; i < name->len && !is_separator(name->data[i]); i++) {
		uint8_t c = name->data[i];

		if (is_upper(c) && i > start && !is_upper(name->data[i - 1]))
			break;
		if (n < size)
			out[n++] = (char)(is_upper(c) ? c + ('a' - 'A') : c);
	}
	*name = bytes_of(name->data + i, name->len - i);
	return n;
}

static enum word_kind
word_kind(const char *text, size_t len)
{
	char wanted[WORD_MAX + 3];
	size_t digits = 0;

	while (digits < len && text[digits] >= '0' && text[digits] <= '9')
		digits++;
	if (digits == len)
		return WORD_PLAIN;
	if (memchr(text, '\0', len))
		return WORD_OTHER;
	wanted[0] = ' ';
	memcpy(wanted + 1, text, len);
	memcpy(wanted + 1 + len, " ", 2);
	for (size_t i = 0; i < COUNT_OF(words); i++) {
		if (strstr(words[i].list, wanted))
			return words[i].kind;
	}
	return WORD_OTHER;
}

static enum limit_id
limit_of(enum word_kind quantity, enum word_kind unit, bool absolute, bool air, bool alone)
{
	switch (quantity) {
	case WORD_TEMPERATURE:
		if (unit == WORD_UNIT_FAHRENHEIT)
			return LIMIT_FAHRENHEIT;
		if (unit == WORD_UNIT_KELVIN)
			return LIMIT_NOT_NEGATIVE;
		return unit == WORD_UNIT_PERCENT ? LIMIT_NONE : LIMIT_CELSIUS;
	case WORD_HUMIDITY:
		return absolute ? LIMIT_NOT_NEGATIVE : LIMIT_PERCENT;
	case WORD_CHARGE:
		return unit == WORD_UNIT_PERCENT ? LIMIT_PERCENT : LIMIT_NONE;
	case WORD_PRESSURE:
		return air ? LIMIT_NOT_NEGATIVE : LIMIT_NONE;
	case WORD_POSITIVE:
		return LIMIT_NOT_NEGATIVE;
	case WORD_LATITUDE:
		return alone ? LIMIT_LATITUDE : LIMIT_NONE;
	case WORD_LONGITUDE:
		return alone ? LIMIT_LONGITUDE : LIMIT_NONE;
	case WORD_UNIT_CELSIUS:
	case WORD_UNIT_FAHRENHEIT:
	case WORD_UNIT_KELVIN:
	case WORD_UNIT_PERCENT:
	case WORD_OTHER:
	case WORD_PLAIN:
	case WORD_DIFFERENCE:
	case WORD_ABSOLUTE:
	case WORD_AIR:
		break;
	}
	return LIMIT_NONE;
}

static enum limit_id
limit_of_name(struct bytes name)
{
	enum word_kind quantity = WORD_OTHER, unit = WORD_OTHER;
	bool absolute = false, air = false;
	size_t count = 0, len;
	char word[WORD_MAX];

	for (size_t i = name.len; i > 0; i--) {
		if (name.data[i - 1] == '.') {
			name = bytes_of(name.data + i, name.len - i);
			break;
		}
	}
	while ((len = next_word(&name, word, sizeof(word))) > 0) {
		enum word_kind kind = word_kind(word, len);

		count++;
		switch (kind) {
		case WORD_DIFFERENCE:
			return LIMIT_NONE;
		case WORD_OTHER:
			quantity = WORD_OTHER; /* "temperature_alarm" is no temperature */
			unit = WORD_OTHER;
			break;
		case WORD_UNIT_CELSIUS:
		case WORD_UNIT_FAHRENHEIT:
		case WORD_UNIT_KELVIN:
		case WORD_UNIT_PERCENT:
			unit = kind;
			break;
		case WORD_ABSOLUTE:
			absolute = true;
			break;
		case WORD_AIR:
			air = true;
			break;
		case WORD_PLAIN:
			break;
		case WORD_TEMPERATURE:
		case WORD_HUMIDITY:
		case WORD_CHARGE:
		case WORD_PRESSURE:
		case WORD_POSITIVE:
		case WORD_LATITUDE:
		case WORD_LONGITUDE:
			quantity = kind;
			break;
		}
	}
	return limit_of(quantity, unit, absolute, air, count == 1);
}

uint8_t
payload_check_limit(struct payload_check_cache *cache, struct bytes name)
{
	struct payload_check_slot *slot;

	if (name.len == 0 || name.len > sizeof(slot->name))
		return (uint8_t)limit_of_name(name);
	slot = &cache->slots[XXH3_64bits(name.data, name.len) % PAYLOAD_CHECK_SLOTS];
	if (slot->len != name.len || memcmp(slot->name, name.data, name.len) != 0) {
		memcpy(slot->name, name.data, name.len);
		slot->len = (uint8_t)name.len;
		slot->limit = (uint8_t)limit_of_name(name);
	}
	return slot->limit;
}

uint8_t
payload_check_unit(struct bytes unit)
{
	static const struct {
		const char *name;
		enum limit_id limit;
	} units[] = {
		{ "Cel", LIMIT_CELSIUS },
		{ "K", LIMIT_NOT_NEGATIVE },
		{ "%RH", LIMIT_PERCENT },
		{ "%EL", LIMIT_PERCENT },
		{ "lat", LIMIT_LATITUDE },
		{ "lon", LIMIT_LONGITUDE },
		{ "lx", LIMIT_NOT_NEGATIVE },
	};

	for (size_t i = 0; i < COUNT_OF(units); i++)
		if (bytes_equal_str(unit, units[i].name))
			return (uint8_t)units[i].limit;
	return LIMIT_NONE;
}

enum quarantine_reason
payload_check_value(struct payload_check_cache *cache, struct bytes name, const struct value *v)
{
	double number = 0;

	switch (v->kind) {
	case VALUE_DOUBLE:
		number = v->v.f;
		break;
	case VALUE_INT:
		number = (double)v->v.i;
		break;
	case VALUE_BOOL:
	case VALUE_STRING:
		return QUARANTINE_NONE;
	}
	if (!isfinite(number))
		return QUARANTINE_NOT_FINITE;
	return payload_check_number(payload_check_limit(cache, name), number);
}

bool
payload_check_time(int64_t device_us, int64_t now_us)
{
	return device_us >= PAYLOAD_TIME_MIN_US && device_us <= now_us + PAYLOAD_TIME_AHEAD_US;
}
