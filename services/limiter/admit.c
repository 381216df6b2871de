/* admit.c - the verdicts of one batch; pure */
#include "admit.h"

#include "err.h"
#include "record.h"

int
admit_batch(
    struct budgets *b, uint8_t *records, size_t len, int64_t now_us, struct admit_counts *ret)
{
	struct record_cursor c = record_cursor_of(bytes_of(records, len));
	struct admit_counts counts = { 0 };
	struct record r;
	uint32_t verdict;
	int err;

	while ((err = record_next(&c, &r)) == 0) {
		counts.messages++;
		counts.readings += r.point_count;
		verdict = budgets_charge(b, r.device, now_us);
		if (verdict == VERDICT_ACCEPTED)
			continue;
		record_set_verdict(records, r.at, verdict);
		if (verdict_code(verdict) == VERDICT_DEVICE_LIMIT)
			counts.refused_device++;
		else
			counts.refused_global++;
	}
	if (err != ERR_NOT_FOUND)
		return err;
	*ret = counts;
	return 0;
}
