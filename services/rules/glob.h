/* glob.h - patterns of device ids: * any text, ? any one character; pure */
#ifndef ROOST_GLOB_H
#define ROOST_GLOB_H

#include <stdbool.h>

#include "buf.h"

bool glob_match(struct bytes pattern, struct bytes text);
/* list: patterns separated by line feeds; one that matches is enough. */
bool glob_match_any(const char *list, struct bytes text);

#endif
