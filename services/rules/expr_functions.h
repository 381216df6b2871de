/* expr_functions.h - the names of functions; pure */
#ifndef ROOST_EXPR_FUNCTIONS_H
#define ROOST_EXPR_FUNCTIONS_H

#include "buf.h"

/* The function of the language that a name is or nearly is, or what it is called elsewhere; NULL if there is none. */
const char *expr_function_near(struct bytes name);

#endif
