/* expr_functions.c - the names of functions; pure */
#include "expr_functions.h"

#include <string.h>

#include "mem.h"
#include "suggest.h"

/* Known to the language; what they need (windows, groups, places) is not in this version. */
static const char *const functions[] = {
	"avg",
	"min",
	"max",
	"sum",
	"count",
	"last",
	"first",
	"stddev",
	"percentile",
	"rate",
	"delta",
	"changes",
	"stuck",
	"zscore",
	"predict",
	"age",
	"distance",
	"inside",
	"avg_over",
	"min_over",
	"max_over",
	"sum_over",
	"count_over",
	"share",
};

/* What they are called elsewhere. */
static const struct {
	const char *word;
	const char *name;
} elsewhere[] = {
	{ "average", "avg" },
	{ "mean", "avg" },
	{ "maximum", "max" },
	{ "minimum", "min" },
	{ "total", "sum" },
	{ "quantile", "percentile" },
	{ "median", "percentile" },
	{ "increase", "delta" },
	{ "derivative", "rate" },
	{ "forecast", "predict" },
	{ "latest", "last" },
};

const char *
expr_function_near(struct bytes name)
{
	const char *words[COUNT_OF(elsewhere)],
	    *near = suggest(name, functions, COUNT_OF(functions));

	if (near)
		return near;
	for (size_t i = 0; i < COUNT_OF(elsewhere); i++)
		words[i] = elsewhere[i].word;
	near = suggest(name, words, COUNT_OF(words));
	for (size_t i = 0; near && i < COUNT_OF(elsewhere); i++) {
		if (strcmp(near, elsewhere[i].word) == 0)
			return elsewhere[i].name;
	}
	return NULL;
}
