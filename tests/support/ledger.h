/* ledger.h - what the load generator sent and what was acknowledged: one file, kept even if the generator dies
 *
 * A header, then devices * per_device entries, all little-endian as the machine writes them; the file is mapped, so an
 * entry counts from the moment it is set. Reading n of device d was sent if its sends is not 0; its time is unique within the
 * device, its value is ledger_value(n). verify.py reads the same layout.
 *
 * deaf makes a power cut exact: it is set right before the cut, and read after each receive, so that no acknowledgement counts
 * that left after the power did. What is not counted is sent again. */
#ifndef ROOST_TEST_LEDGER_H
#define ROOST_TEST_LEDGER_H

#include <stdint.h>

#define LEDGER_MAGIC "ROOSTLG1"
#define LEDGER_PREFIX_MAX 32

struct ledger_header {
	char magic[8];
	uint32_t devices;
	uint32_t per_device;
	uint32_t flip;	/* every flip readings the value crosses 0; 0: never */
	uint32_t deaf; /* set by powercut.c: PUBACKs read from now on are thrown away */
	char prefix[LEDGER_PREFIX_MAX]; /* device d is "<prefix>-%04u" */
	uint64_t acked;			/* so far, of all devices */
};

struct ledger_entry {
	int64_t time_us; /* the reading's own, since the Unix epoch */
	uint32_t sends;	 /* transmissions, DUP=1 included */
	uint32_t acked;	 /* PUBACKs */
};

/* High stretches are positive, low ones negative: each reading of a device has its own value. */
static inline int64_t
ledger_value(uint32_t flip, uint32_t n)
{
	int64_t v = (int64_t)n + 1000;

	return flip == 0 || (n / flip) % 2 == 0 ? -v : v;
}

#endif
