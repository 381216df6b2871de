/* value_text.c - values and strings as people and JSON read them; pure */
#include "value_text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void
double_put(struct buf *out, double f)
{
	char text[40];

	if (isnan(f)) {
		buf_add_str(out, "nan");
		return;
	}
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
		buf_addf(out, "%" PRId64, v->v.i);
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
