/* value_text.c - values and strings as people and JSON read them; pure */
#include "value_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "mem.h"

/* %.15g of a double that is a decimal of 15 digits or less, without the printf: most measured values are. Such a decimal
 * comes back from the double that is nearest to it (DBL_DIG), so it is what printf would say. False if it is none, or if
 * printf would take an exponent. */
static bool
put_decimal(struct buf *out, double f)
{
	static const double power[] = { 1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10 };
	double abs = fabs(f);
	char text[24], *at = text + sizeof(text);
	unsigned scale, digits = 0;
	uint64_t m = 0;

	if (!(abs >= 1e-4 && abs < 1e15)) /* not 0 either, which has a sign */
		return false;
	for (scale = 0; scale < COUNT_OF(power); scale++) {
		double x = abs * power[scale];

		if (x >= 1e15)
			return false;
		m = (uint64_t)(x + 0.5);
		if ((double)m / power[scale] == abs)
			break;
	}
	if (scale == COUNT_OF(power) || m >= 1000000000000000)
		return false;
	for (; m > 0 || digits <= scale; digits++, m /= 10) {
		if (digits == scale && scale > 0)
			*--at = '.';
		*--at = (char)('0' + m % 10);
	}
	if (f < 0)
		*--at = '-';
	buf_add(out, at, (size_t)(text + sizeof(text) - at));
	return true;
}

/* The digits of v. */
static void
put_int(struct buf *out, int64_t v)
{
	char text[24], *at = text + sizeof(text);
	uint64_t rest = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;

	do
		*--at = (char)('0' + rest % 10);
	while ((rest /= 10) > 0);
	if (v < 0)
		*--at = '-';
	buf_add(out, at, (size_t)(text + sizeof(text) - at));
}

void
double_put(struct buf *out, double f)
{
	char text[40];

	if (isnan(f)) {
		buf_add_str(out, "nan");
		return;
	}
	if (put_decimal(out, f))
		return;
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, f);
		if (isinf(f) || strtod(text, NULL) == f)
			break;
	}
	buf_add_str(out, text);
}

void
value_put_text(struct buf *out, const struct value *v)
{
	switch (v->kind) {
	case VALUE_DOUBLE:
		double_put(out, v->v.f);
		return;
	case VALUE_INT:
		put_int(out, v->v.i);
		return;
	case VALUE_BOOL:
		buf_add_str(out, v->v.b ? "true" : "false");
		return;
	case VALUE_STRING:
		buf_add(out, v->v.s.data, v->v.s.len);
		return;
	}
}

void
value_put_json(struct buf *out, const struct value *v)
{
	if (v->kind == VALUE_STRING)
		json_put_string(out, v->v.s);
	else if (v->kind == VALUE_DOUBLE && !isfinite(v->v.f))
		buf_add_str(out, "null");
	else
		value_put_text(out, v);
}

/* Length of the well-formed UTF-8 sequence at s (RFC 3629), or 0. */
static size_t
utf8_length(const uint8_t *s, size_t len)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n = s[0] < 0x80			 ? 1
		   : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
		   : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
		   : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
						 : 0;
	uint32_t c;

	if (n <= 1 || n > len)
		return n > len ? 0 : n;
	c = s[0] & (0xffu >> (n + 1));
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3fu);
	}
	return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n;
}

void
json_put_string(struct buf *out, struct bytes s)
{
	size_t n;

	buf_add_u8(out, '"');
	for (size_t i = 0; i < s.len; i += n) {
		uint8_t c = s.data[i];

		n = utf8_length(s.data + i, s.len - i);
		if (n == 0) {
			buf_add_str(out, "\xef\xbf\xbd");
			n = 1;
		} else if (c == '"' || c == '\\') {
			buf_add_u8(out, '\\');
			buf_add_u8(out, c);
		} else if (c < 0x20) {
			buf_addf(out, "\\u%04x", c);
		} else {
			buf_add(out, s.data + i, n);
		}
	}
	buf_add_u8(out, '"');
}
