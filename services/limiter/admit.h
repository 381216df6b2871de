/* admit.h - the verdicts of one batch; pure */
#ifndef ROOST_ADMIT_H
#define ROOST_ADMIT_H

#include "budgets.h"

struct admit_counts {
	uint32_t messages;
	uint32_t readings;
	uint32_t refused_device;
	uint32_t refused_global;
};

/* Charges each record of a batch and sets its verdict in place. 0 and the counts, or what record_next() says of a
 * malformed batch: it must be dropped whole. */
int admit_batch(
    struct budgets *b, uint8_t *records, size_t len, int64_t now_us, struct admit_counts *ret);

#endif
