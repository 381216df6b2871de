/* payload_number.c - a decimal number in text; pure */
#include "payload_number.h"

#include <stdlib.h>
#include <string.h>

static size_t
digits(struct bytes text, size_t at)
{
	size_t n = 0;

	while (n < text.len - at && text.data[at + n] >= '0' && text.data[at + n] <= '9')
		n++;
	return n;
}

static bool
is_sign(struct bytes text, size_t at)
{
	return at < text.len && (text.data[at] == '-' || text.data[at] == '+');
}

bool
payload_integer(struct bytes text, int64_t *ret)
{
	bool negative = text.len && text.data[0] == '-';
	size_t at = is_sign(text, 0);
	int64_t v = 0;

	if (at == text.len || digits(text, at) != text.len - at)
		return false;
	for (; at < text.len; at++) {
		int digit = text.data[at] - '0';

		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, negative ? -digit : digit, &v))
			return false;
	}
	*ret = v;
	return true;
}

static enum payload_number
shape(struct bytes text)
{
	size_t at = is_sign(text, 0);
	size_t whole = digits(text, at), fraction = 0, exponent;
	enum payload_number kind = PAYLOAD_INTEGER;

	at += whole;
	if (at < text.len && text.data[at] == '.') {
		kind = PAYLOAD_FRACTION;
		fraction = digits(text, ++at);
		at += fraction;
	}
	if (whole + fraction == 0)
		return PAYLOAD_NO_NUMBER;
	if (at < text.len && (text.data[at] == 'e' || text.data[at] == 'E')) {
		kind = PAYLOAD_FRACTION;
		at++;
		at += is_sign(text, at);
		exponent = digits(text, at);
		if (exponent == 0)
			return PAYLOAD_NO_NUMBER;
		at += exponent;
	}
	return at == text.len ? kind : PAYLOAD_NO_NUMBER;
}

enum payload_number
payload_number(struct bytes text, struct value *ret)
{
	char copy[PAYLOAD_NUMBER_MAX + 1];
	enum payload_number kind;

	if (text.len == 0 || text.len > PAYLOAD_NUMBER_MAX)
		return PAYLOAD_NO_NUMBER;
	kind = shape(text);
	if (kind == PAYLOAD_NO_NUMBER)
		return kind;
	if (kind == PAYLOAD_INTEGER && payload_integer(text, &ret->v.i)) {
		ret->kind = VALUE_INT;
		return kind;
	}
	memcpy(copy, text.data, text.len);
	copy[text.len] = '\0';
	ret->kind = VALUE_DOUBLE;
	ret->v.f = strtod(copy, NULL);
	return kind;
}
