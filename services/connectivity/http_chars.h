/* http_chars.h - which characters may stand where (RFC 9110, 5.6.2; RFC 3986); pure */
#ifndef ROOST_HTTP_CHARS_H
#define ROOST_HTTP_CHARS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline bool
http_is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static inline bool
http_is_alnum(uint8_t c)
{
	return http_is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static inline bool
http_is_control(uint8_t c)
{
	return c < ' ' || c == 0x7f;
}

static inline bool
http_is_tchar(uint8_t c)
{
	return http_is_alnum(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* What may stand in a request target: unreserved, reserved without #, and the percent sign. */
static inline bool
http_is_uri_char(uint8_t c)
{
	return http_is_alnum(c) || (c && strchr("-._~:/?[]@!$&'()*+,;=%", c));
}

/* Of a name: unreserved and sub-delims, and the percent sign. */
static inline bool
http_is_host_char(uint8_t c)
{
	return http_is_alnum(c) || (c && strchr("-._~!$&'()*+,;=%", c));
}

static inline uint8_t
http_lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

/* The value of a hexadecimal digit, or -1. */
static inline int
http_hex(uint8_t c)
{
	if (http_is_digit(c))
		return c - '0';
	c = http_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

#endif
