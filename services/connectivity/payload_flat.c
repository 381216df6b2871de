/* payload_flat.c - the JSON that most devices send, read in one pass; pure
 *
 * Every loop below stops at a zero, and zeros follow the text: so none asks where the end is, and only the last step looks
 * whether it got there. */
#include "payload_flat.h"

#include <endian.h>
#include <float.h>
#include <string.h>

#include "err.h"

#define DIGITS_MAX 18		 /* any number of so many digits fits 64 bits */
#define DOUBLE_EXACT (1ll << 53) /* integers up to here are doubles */

struct scan {
	const uint8_t *at;
	struct payload_flat *flat;
	struct payload_build *build;
	unsigned members; /* so far: the place in the shape */
};

/* A quotient of two doubles that are exact is the double nearest to the decimal number. */
static const double power_of_10[] = { 1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18 };

static const uint32_t power_of_10_u32[] = { 1, 10, 100, 1000, 10000, 100000, 1000000, 10000000 };

static inline uint8_t
skip_space(struct scan *s)
{
	if (*s->at <= ' ')
		while (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r')
			s->at++;
	return *s->at;
}

static inline uint64_t
load_le64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

/* Of eight bytes that are 0..9, the first in the lowest: neighbours become pairs, pairs fours, fours the eight. */
static inline uint64_t
value_of_8_digits(uint64_t v)
{
	v = v * 10 + (v >> 8);
	return (((v & 0x000000ff000000ff) * 0x000f424000000064 +
		   ((v >> 16) & 0x000000ff000000ff) * 0x0000271000000001)) >>
	       32;
}

/* By words of eight, and no branch depends on how many of the last word are digits: a sensor's numbers differ in that. */
static inline uint64_t
digits(struct scan *s, uint64_t value)
{
	for (;;) {
		uint64_t v = load_le64(s->at) ^ 0x3030303030303030;
		/* The high bit of the first byte that is no digit, and perhaps of some behind it. */
		uint64_t other = (v | (v + 0x7676767676767676)) & 0x8080808080808080;
		unsigned bits;

		if (other == 0) {
			value = value * 100000000 + value_of_8_digits(v);
			s->at += 8;
			continue;
		}
		bits = (unsigned)__builtin_ctzll(other) & ~7u;
		if (bits == 0)
			return value;
		s->at += bits / 8;
		return value * power_of_10_u32[bits / 8] + value_of_8_digits(v << (64 - bits));
	}
}

/* A number without exponent. What comes behind it is checked by the caller. */
static inline bool
number(struct scan *s, struct value *ret)
{
	bool negative = *s->at == '-';
	const uint8_t *first = s->at += negative;
	uint64_t value = digits(s, 0);
	size_t count = (size_t)(s->at - first), fraction;

	if (count == 0 || (count > 1 && *first == '0'))
		return false;
	if (*s->at != '.') {
		/* -0 is for payload_json to say. */
		if (count > DIGITS_MAX || (negative && value == 0))
			return false;
		ret->kind = VALUE_INT;
		ret->v.i = negative ? -(int64_t)value : (int64_t)value;
		return true;
	}
	first = ++s->at;
	value = digits(s, value);
	fraction = (size_t)(s->at - first);
	if (fraction == 0 || count + fraction > DIGITS_MAX || value > DOUBLE_EXACT ||
	    FLT_EVAL_METHOD != 0)
		return false;
	ret->kind = VALUE_DOUBLE;
	ret->v.f = (double)value / power_of_10[fraction];
	if (negative)
		ret->v.f = -ret->v.f;
	return true;
}

/* The text behind an opening quote, up to the closing one, which is taken too. */
static inline bool
plain_text(struct scan *s, struct bytes *ret)
{
	const uint8_t *first = s->at;

	while (*s->at >= 0x20 && *s->at < 0x7f && *s->at != '"' && *s->at != '\\')
		s->at++;
	*ret = bytes_of(first, (size_t)(s->at - first));
	return *s->at++ == '"';
}

/* Both may be read up to the end of the word in which the last of n bytes is. */
static inline bool
same(const uint8_t *a, const uint8_t *b, size_t n)
{
	for (; n > 8; n -= 8, a += 8, b += 8)
		if (load_le64(a) != load_le64(b))
			return false;
	return (load_le64(a) ^ load_le64(b)) << (64 - 8 * n) == 0;
}

static void
remember(struct scan *s, struct payload_flat_name *n, struct bytes text)
{
	memcpy(n->text, text.data, text.len);
	memcpy(n->text + text.len, "\":", 2);
	n->len = (uint8_t)text.len;
	n->limit = payload_check_limit(&s->build->checks, text);
	n->is_ours = bytes_equal_str(text, "ts") || bytes_equal_str(text, "device");
}

/* Behind an opening quote, up to the colon, which is taken too: as the name at this place of the last payload, or read and
 * remembered. ret_known NULL: too long to remember. */
static inline bool
name(struct scan *s, struct bytes *ret, const struct payload_flat_name **ret_known)
{
	struct payload_flat_name *n = &s->flat->shape[s->members++ % PAYLOAD_FLAT_SHAPE];

	*ret_known = n;
	if (n->len && same(s->at, n->text, n->len + 2u)) {
		*ret = bytes_of(s->at, n->len);
		s->at += n->len + 2u;
		return true;
	}
	if (!plain_text(s, ret))
		return false;
	if (ret->len > 0 && ret->len <= PAYLOAD_FLAT_NAME)
		remember(s, n, *ret);
	else
		*ret_known = NULL;
	if (skip_space(s) != ':')
		return false;
	s->at++;
	return true;
}

static inline bool
word(struct scan *s, const char *text, size_t len)
{
	bool is = memcmp(s->at, text, len) == 0;

	s->at += len;
	return is;
}

static bool members(struct scan *s);

/* A number of the sample itself, whose name is known: what payload_value() does, without asking for the limit again. */
static inline bool
add_number(struct scan *s, struct bytes n, const struct value *v, uint8_t limit)
{
	struct payload_build *b = s->build;
	double f = v->kind == VALUE_INT ? (double)v->v.i : v->v.f;
	struct point *p;

	if (b->count == b->cap)
		return payload_value(b, n, v) == 0;
	p = &b->points[b->count++];
	p->name = n;
	p->value = *v;
	p->reason = payload_check_number(limit, f);
	b->quarantined += p->reason != QUARANTINE_NONE;
	return true;
}

static bool
object(struct scan *s, struct bytes n)
{
	size_t mark;

	if (payload_enter(s->build, PAYLOAD_OBJECT, n, &mark) != 0 || !members(s))
		return false;
	payload_leave(s->build, mark);
	return true;
}

static inline bool
member(struct scan *s)
{
	const struct payload_flat_name *known;
	struct bytes n;
	struct value v;

	if (*s->at++ != '"' || !name(s, &n, &known))
		return false;
	switch (skip_space(s)) {
	case '{':
		s->at++;
		return object(s, n);
	case '"':
		s->at++;
		v.kind = VALUE_STRING;
		if (!plain_text(s, &v.v.s))
			return false;
		break;
	case 't':
	case 'f':
		v.kind = VALUE_BOOL;
		v.v.b = *s->at == 't';
		if (!(v.v.b ? word(s, "true", 4) : word(s, "false", 5)))
			return false;
		break;
	case 'n':
		return word(s, "null", 4);
	default:
		if (!number(s, &v))
			return false;
		if (known && s->build->prefix_len == 0 && !known->is_ours)
			return add_number(s, n, &v, known->limit);
		break;
	}
	return payload_value(s->build, n, &v) == 0;
}

/* Behind an opening brace, up to the closing one, which is taken too. */
static bool
members(struct scan *s)
{
	if (skip_space(s) == '}') {
		s->at++;
		return true;
	}
	for (;;) {
		uint8_t c;

		if (!member(s))
			return false;
		c = skip_space(s);
		s->at++;
		if (c != ',')
			return c == '}';
		(void)skip_space(s);
	}
}

bool
payload_flat_decode(struct payload_flat *f, struct payload_build *b, struct bytes payload)
{
	struct scan s = { .at = f->text + 1, .flat = f, .build = b };

	if (payload.len == 0 || payload.len > PAYLOAD_FLAT_MAX || payload.data[0] != '{')
		return false;
	memcpy(f->text, payload.data, payload.len);
	memset(f->text + payload.len, 0, PAYLOAD_FLAT_PAD);
	payload_sample_begin(b);
	if (!members(&s))
		return false;
	(void)skip_space(&s);
	return s.at == f->text + payload.len && payload_sample_end(b) == 0;
}

bool
payload_flat_first(
    struct payload_flat *f, struct payload_build *b, struct bytes text, size_t *ret_used)
{
	struct scan s = { .at = f->text + 1, .flat = f, .build = b };
	size_t len = text.len < PAYLOAD_FLAT_MAX ? text.len : PAYLOAD_FLAT_MAX;

	if (text.len == 0 || text.data[0] != '{')
		return false;
	memcpy(f->text, text.data, len);
	memset(f->text + len, 0, PAYLOAD_FLAT_PAD);
	payload_sample_begin(b);
	/* A number that ends with the copy may go on behind it, but no object does. */
	if (!members(&s) || payload_sample_end(b) != 0)
		return false;
	*ret_used = (size_t)(s.at - f->text);
	return true;
}
