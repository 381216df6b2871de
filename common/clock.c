/* clock.c - the two clocks, and times and durations as text */
#include "clock.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "err.h"
#include "mem.h"

#define US_PER_S 1000000ll
#define YEAR_0_S (-62167219200ll) /* 0000-01-01, of the calendar that has no break */
#define YEAR_10000_S 253402300800ll

static int64_t
clock_us(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return ts.tv_sec * US_PER_S + ts.tv_nsec / 1000;
}

int64_t
clock_mono_us(void)
{
	return clock_us(CLOCK_MONOTONIC);
}

int64_t
clock_wall_us(void)
{
	return clock_us(CLOCK_REALTIME);
}

int64_t
clock_cpu_us(void)
{
	return clock_us(CLOCK_PROCESS_CPUTIME_ID);
}

/* "ran waited slices", in nanoseconds. The file stays open: it is asked ten times a second. */
int64_t
clock_waited_us(void)
{
	static int fd = -1;
	char text[80];
	unsigned long long ran, waited;
	ssize_t n;

	if (fd < 0)
		fd = open("/proc/self/schedstat", O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	return sscanf(text, "%20llu %20llu", &ran, &waited) == 2 ? (int64_t)(waited / 1000) : 0;
}

static char *
put_two(char *at, unsigned v)
{
	at[0] = (char)('0' + v / 10);
	at[1] = (char)('0' + v % 10);
	return at + 2;
}

/* The date of a day since the epoch, years 0..9999: counted in eras of 400 years from 1 March of -400 on, so that a leap
 * day comes last in its year. Most of the time of printing many points went into gmtime and printf. */
static char *
put_date(char *at, int64_t day)
{
	unsigned since = (unsigned)(day + 719468 + 146097), era = since / 146097,
		 of_era = since % 146097;
	unsigned year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	unsigned of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	unsigned march_month = (5 * of_year + 2) / 153;
	unsigned month = march_month < 10 ? march_month + 3 : march_month - 9, year;

	year = era * 400 + year_of_era + (month <= 2) - 400;
	at = put_two(at, year / 100);
	at = put_two(at, year % 100);
	*at++ = '-';
	at = put_two(at, month);
	*at++ = '-';
	return put_two(at, of_year - (153 * march_month + 2) / 5 + 1);
}

const char *
clock_iso(int64_t wall_us, char out[CLOCK_ISO_MAX])
{
	int64_t us = wall_us % US_PER_S, s = wall_us / US_PER_S;
	unsigned of_day;
	char *at;

	if (us < 0) {
		us += US_PER_S;
		s--;
	}
	if (s < YEAR_0_S || s >= YEAR_10000_S) {
		snprintf(out, CLOCK_ISO_MAX, "%lldus", (long long)wall_us);
		return out;
	}
	of_day = (unsigned)((s - YEAR_0_S) % 86400);
	at = put_date(out, (s - of_day) / 86400);
	*at++ = 'T';
	at = put_two(at, of_day / 3600);
	*at++ = ':';
	at = put_two(at, of_day / 60 % 60);
	*at++ = ':';
	at = put_two(at, of_day % 60);
	*at++ = '.';
	at = put_two(at, (unsigned)us / 10000);
	at = put_two(at, (unsigned)us / 100 % 100);
	at = put_two(at, (unsigned)us % 100);
	*at++ = 'Z';
	*at = '\0';
	return out;
}

/* Takes exactly n digits off the front. */
static bool
take_digits(struct bytes *t, size_t n, int *ret)
{
	int v = 0;

	if (t->len < n)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (t->data[i] < '0' || t->data[i] > '9')
			return false;
		v = v * 10 + (t->data[i] - '0');
	}
	*t = bytes_of(t->data + n, t->len - n);
	*ret = v;
	return true;
}

static bool
take_char(struct bytes *t, const char *any_of)
{
	if (t->len == 0 || t->data[0] == '\0' || !strchr(any_of, t->data[0]))
		return false;
	*t = bytes_of(t->data + 1, t->len - 1);
	return true;
}

static bool
take_fraction(struct bytes *t, int64_t *ret_us)
{
	int64_t unit = US_PER_S / 10;
	int digit;

	*ret_us = 0;
	if (!take_char(t, ".,"))
		return true;
	if (t->len == 0 || t->data[0] < '0' || t->data[0] > '9')
		return false;
	while (take_digits(t, 1, &digit)) {
		*ret_us += digit * unit;
		unit /= 10;
	}
	return true;
}

static bool
take_zone(struct bytes *t, int *ret_minutes)
{
	int h, m = 0, sign;

	*ret_minutes = 0;
	if (t->len == 0 || take_char(t, "Zz"))
		return true;
	sign = t->data[0] == '-' ? -1 : 1;
	if (!take_char(t, "+-") || !take_digits(t, 2, &h))
		return false;
	take_char(t, ":");
	if (t->len && !take_digits(t, 2, &m))
		return false;
	*ret_minutes = sign * (h * 60 + m);
	return h <= 14 && m < 60;
}

static bool
is_leap(int year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

int
clock_parse_iso(struct bytes text, int64_t *ret_wall_us)
{
	static const int month_days[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	struct tm tm = { 0 };
	int zone = 0;
	int64_t us = 0;

	if (!take_digits(&text, 4, &tm.tm_year) || !take_char(&text, "-") ||
	    !take_digits(&text, 2, &tm.tm_mon) || !take_char(&text, "-") ||
	    !take_digits(&text, 2, &tm.tm_mday))
		return ERR_MALFORMED;
	if (take_char(&text, "Tt ")) {
		if (!take_digits(&text, 2, &tm.tm_hour) || !take_char(&text, ":") ||
		    !take_digits(&text, 2, &tm.tm_min))
			return ERR_MALFORMED;
		if (take_char(&text, ":") && !take_digits(&text, 2, &tm.tm_sec))
			return ERR_MALFORMED;
		if (!take_fraction(&text, &us) || !take_zone(&text, &zone))
			return ERR_MALFORMED;
	}
	if (tm.tm_mon == 2 && tm.tm_mday == 29 && !is_leap(tm.tm_year))
		return ERR_MALFORMED;
	if (text.len || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 ||
	    tm.tm_mday > month_days[tm.tm_mon - 1] || tm.tm_hour > 23 || tm.tm_min > 59 ||
	    tm.tm_sec > 60)
		return ERR_MALFORMED;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	*ret_wall_us = ((int64_t)timegm(&tm) - zone * 60ll) * US_PER_S + us;
	return 0;
}

static const struct {
	const char *name;
	int64_t us;
} units[] = {
	{ "d", 86400 * US_PER_S },
	{ "h", 3600 * US_PER_S },
	{ "ms", 1000 },
	{ "us", 1 },
	{ "m", 60 * US_PER_S },
	{ "s", US_PER_S },
};

static bool
take_unit(struct bytes *t, int64_t *ret_us)
{
	for (size_t i = 0; i < COUNT_OF(units); i++) {
		size_t n = strlen(units[i].name);

		if (t->len >= n && memcmp(t->data, units[i].name, n) == 0) {
			*t = bytes_of(t->data + n, t->len - n);
			*ret_us = units[i].us;
			return true;
		}
	}
	return false;
}

int
clock_parse_duration(struct bytes text, int64_t *ret_us)
{
	int64_t total = 0, unit, n;
	int digit;

	if (bytes_equal_str(text, "0")) {
		*ret_us = 0;
		return 0;
	}
	if (text.len == 0)
		return ERR_MALFORMED;
	while (text.len) {
		if (!take_digits(&text, 1, &digit))
			return ERR_MALFORMED;
		n = digit;
		while (take_digits(&text, 1, &digit)) {
			if (n > INT32_MAX)
				return ERR_TOO_BIG;
			n = n * 10 + digit;
		}
		if (!take_unit(&text, &unit))
			return ERR_MALFORMED;
		if (n > (INT64_MAX - total) / unit)
			return ERR_TOO_BIG;
		total += n * unit;
	}
	*ret_us = total;
	return 0;
}

const char *
clock_duration(int64_t us, char out[CLOCK_DURATION_MAX])
{
	static const size_t order[] = { 0, 1, 4, 5, 2, 3 };
	size_t len = 0;

	snprintf(out, CLOCK_DURATION_MAX, "0s");
	if (us < 0) {
		out[0] = '-';
		len = 1;
		us = us == INT64_MIN ? INT64_MAX : -us;
	}
	for (size_t i = 0; i < COUNT_OF(order) && us > 0 && len < CLOCK_DURATION_MAX; i++) {
		int64_t unit = units[order[i]].us;

		if (us >= unit) {
			len += (size_t)snprintf(out + len, CLOCK_DURATION_MAX - len, "%lld%s",
			    (long long)(us / unit), units[order[i]].name);
			us %= unit;
		}
	}
	return out;
}
