/* utf8.h - is this UTF-8? pure */
#ifndef ROOST_UTF8_H
#define ROOST_UTF8_H

#include "buf.h"

/* Well-formed UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF. Control characters are legal. */
bool utf8_valid(struct bytes text);
/* Holds a C0 or C1 control character (NUL and DEL included). text is valid UTF-8. */
bool utf8_has_control(struct bytes text);

#endif
