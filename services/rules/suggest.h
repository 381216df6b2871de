/* suggest.h - "did you mean": the nearest of a list of known words */
#ifndef ROOST_SUGGEST_H
#define ROOST_SUGGEST_H

#include <stddef.h>

#include "buf.h"

/* The word of words[0..n) that is at most a third of its length (and at least one letter, at most three) away from text
 * by insertions, deletions, changes and swaps of neighbours; NULL if none is that near. */
const char *suggest(struct bytes text, const char *const *words, size_t n);

#endif
