/* utf8.c - is this UTF-8? pure */
#include "utf8.h"

/* Length of the sequence that starts here, 0 if it is none. */
static size_t
sequence(const uint8_t *p, size_t left)
{
	uint8_t low = 0x80, high = 0xbf; /* range of the second byte */
	size_t len;

	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (left < len)
		return 0;
	switch (p[0]) {
	case 0xe0:
		low = 0xa0; /* overlong below */
		break;
	case 0xed:
		high = 0x9f; /* surrogates above */
		break;
	case 0xf0:
		low = 0x90;
		break;
	case 0xf4:
		high = 0x8f;
		break;
	default:
		break;
	}
	if (p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	}
	return len;
}

bool
utf8_valid(struct bytes text)
{
	size_t at = 0;

	while (at < text.len) {
		size_t len = sequence(text.data + at, text.len - at);

		if (len == 0)
			return false;
		at += len;
	}
	return true;
}

bool
utf8_has_control(struct bytes text)
{
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.data[i];

		if (c < 0x20 || c == 0x7f)
			return true;
		if (c == 0xc2 && text.len - i > 1 && text.data[i + 1] < 0xa0)
			return true;
	}
	return false;
}
