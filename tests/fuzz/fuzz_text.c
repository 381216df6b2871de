/* fuzz_text.c - times, durations, addresses, UTF-8 and values as text: what is read is written and read the same
 *
 * fuzz: -max_len=256 */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "clock.h"
#include "err.h"
#include "mem.h"
#include "support.h"
#include "utf8.h"
#include "value_text.h"

static void
check_time(struct bytes text)
{
	char iso[CLOCK_ISO_MAX], duration[CLOCK_DURATION_MAX];
	int64_t a = 0, b = 0;

	if (clock_parse_iso(text, &a) == 0) {
		clock_iso(a, iso);
		ASSERT(clock_parse_iso(bytes_of_str(iso), &b) == 0 && a == b);
	}
	if (clock_parse_duration(text, &a) == 0) {
		ASSERT(a >= 0);
		clock_duration(a, duration);
		ASSERT(clock_parse_duration(bytes_of_str(duration), &b) == 0 && a == b);
	}
}

static void
check_address(struct bytes text)
{
	char *s = xstrndup((const char *)text.data, text.len), out[ADDRESS_TEXT_MAX];
	struct address a, again;
	const char *why = NULL;

	if (address_parse(s, &a, &why) == 0) {
		address_text(&a.sa, out);
		ASSERT(address_parse(out, &again, &why) == 0);
		ASSERT(again.sa_len == a.sa_len && memcmp(&a.sa, &again.sa, a.sa_len) == 0);
		ASSERT(again.loopback == a.loopback);
	} else {
		ASSERT(why && why[0]);
	}
	free(s);
}

/* RFC 3629's table, written down plainly. */
static bool
plain_utf8(struct bytes t)
{
	for (size_t i = 0; i < t.len;) {
		uint32_t c = t.data[i], n = c < 0x80   ? 0
					    : c < 0xc0 ? 9
					    : c < 0xe0 ? 1
					    : c < 0xf0 ? 2
						       : 3;
		static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };

		if (n == 9 || c > 0xf7 || n > t.len - i - 1)
			return false;
		c &= n == 0 ? 0x7f : 0x3fu >> n;
		for (uint32_t k = 1; k <= n; k++) {
			if ((t.data[i + k] & 0xc0) != 0x80)
				return false;
			c = c << 6 | (t.data[i + k] & 0x3f);
		}
		if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
			return false;
		i += n + 1;
	}
	return true;
}

/* A JSON string of any bytes has no control character, no bare quote, and is UTF-8. */
static void
check_json(struct bytes text, struct buf *out)
{
	bool escaped = false;

	ASSERT(utf8_valid(text) == plain_utf8(text));
	buf_clear(out);
	json_put_string(out, text);
	ASSERT(out->len >= 2 && out->data[0] == '"' && out->data[out->len - 1] == '"');
	ASSERT(utf8_valid(buf_bytes(out)));
	for (size_t i = 1; i + 1 < out->len; i++) {
		ASSERT(out->data[i] >= 0x20);
		ASSERT(escaped || out->data[i] != '"');
		escaped = !escaped && out->data[i] == '\\';
	}
	ASSERT(!escaped);
}

static void
check_double(struct input in, struct buf *out)
{
	uint64_t bits = input_u64(&in);
	double f, again;
	struct value v;

	memcpy(&f, &bits, sizeof f);
	buf_clear(out);
	double_put(out, f);
	again = strtod(buf_str(out), NULL);
	ASSERT(isnan(f) ? isnan(again) : f == again);
	v = (struct value){ .kind = (enum value_kind)(bits % 3) };
	if (v.kind == VALUE_DOUBLE)
		v.v.f = f;
	else if (v.kind == VALUE_INT)
		v.v.i = (int64_t)bits;
	else
		v.v.b = bits & 8;
	buf_clear(out);
	value_put_json(out, &v);
	ASSERT(out->len > 0 && (out->data[0] == '-' || isalnum(out->data[0])));
	value_put_text(out, &v);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct buf out;
	struct bytes text = bytes_of(data, size);

	check_time(text);
	check_address(text);
	check_json(text, &out);
	check_double(input_of(data, size), &out);
	return 0;
}
