/* payload_number.h - a decimal number in text; pure */
#ifndef ROOST_PAYLOAD_NUMBER_H
#define ROOST_PAYLOAD_NUMBER_H

#include "record.h"

#define PAYLOAD_NUMBER_MAX                                                                         \
	400 /* bytes of its text: no double needs more than its sign, 309 digits and some behind the point */

enum payload_number {
	PAYLOAD_NO_NUMBER,
	PAYLOAD_INTEGER,  /* digits alone: an int64, or the nearest double */
	PAYLOAD_FRACTION, /* a point or an exponent: a double, infinite if it is too large */
};

/* The whole of text: [+-] digits [. digits] [e [+-] digits], digits missing on one side of the point at most. */
enum payload_number payload_number(struct bytes text, struct value *ret);
/* [-+] digits that fit 64 bits; false else. */
bool payload_integer(struct bytes text, int64_t *ret);

#endif
