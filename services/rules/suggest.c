/* suggest.c - "did you mean": the nearest of a list of known words; pure */
#include "suggest.h"

#include <ctype.h>
#include <string.h>

#define WORD_MAX 64

static size_t
least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static uint8_t
lower(uint8_t c)
{
	return (uint8_t)tolower(c);
}

/* Damerau-Levenshtein distance (optimal string alignment), case ignored; three rows are enough. */
static size_t
distance(struct bytes a, struct bytes b)
{
	size_t rows[3][WORD_MAX + 1];
	size_t *before = rows[0], *last = rows[1], *row = rows[2];

	for (size_t j = 0; j <= b.len; j++)
		last[j] = j;
	for (size_t i = 1; i <= a.len; i++) {
		row[0] = i;
		for (size_t j = 1; j <= b.len; j++) {
			uint8_t x = lower(a.data[i - 1]), y = lower(b.data[j - 1]);

			row[j] = least(last[j - 1] + (x != y), least(last[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && x == lower(b.data[j - 2]) &&
			    y == lower(a.data[i - 2]))
				row[j] = least(row[j], before[j - 2] + 1);
		}
		size_t *free_row = before;
		before = last;
		last = row;
		row = free_row;
	}
	return last[b.len];
}

const char *
suggest(struct bytes text, const char *const *words, size_t n)
{
	const char *best = NULL;
	size_t best_distance = WORD_MAX;

	if (text.len == 0 || text.len > WORD_MAX)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		struct bytes word = bytes_of_str(words[i]);
		if (word.len > WORD_MAX)
			continue;
		size_t allowed = word.len < 6 ? 1 : word.len < 9 ? 2 : 3;
		size_t d = distance(text, word);
		if (d <= allowed && d < best_distance) {
			best = words[i];
			best_distance = d;
		}
	}
	return best;
}
