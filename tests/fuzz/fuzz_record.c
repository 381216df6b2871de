/* fuzz_record.c - batches of any bytes through the record cursor, and through the limiter, which writes into them */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "admit.h"
#include "err.h"
#include "mem.h"
#include "record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is read can be written, and reads the same. */
static void
check_again(const struct record *r, struct buf *out)
{
	struct point_cursor c = point_cursor_of(r), again_c;
	struct point p, again_p;
	struct record_cursor again;
	struct record_writer w;
	struct record copy;
	int err;

	buf_clear(out);
	record_begin(&w, out, r);
	while ((err = point_next(&c, &p)) == 0)
		record_add(&w, &p);
	if (err != ERR_NOT_FOUND) {
		record_abandon(&w);
		return;
	}
	record_end(&w);
	again = record_cursor_of(buf_bytes(out));
	ASSERT(record_next(&again, &copy) == 0);
	ASSERT(copy.verdict == r->verdict && copy.flags == r->flags && copy.time == r->time);
	ASSERT(bytes_equal(copy.device, r->device) && copy.client == r->client);
	ASSERT(copy.packet_id == r->packet_id && copy.hash == r->hash);
	ASSERT(copy.point_count == r->point_count);
	c = point_cursor_of(r);
	again_c = point_cursor_of(&copy);
	while (point_next(&c, &p) == 0) {
		ASSERT(point_next(&again_c, &again_p) == 0);
		ASSERT(bytes_equal(p.name, again_p.name) && p.value.kind == again_p.value.kind);
		ASSERT(p.time == again_p.time && p.reason == again_p.reason);
	}
	ASSERT(point_next(&again_c, &again_p) == ERR_NOT_FOUND);
}

static void
check_limiter(const uint8_t *data, size_t size, int whole)
{
	static struct budgets *budgets;
	struct budgets_limits limits = { .device_rate = 1, .global_rate = 1, .devices_max = 1000 };
	struct admit_counts counts;
	uint8_t *batch = xmemdup(data, size);
	uint32_t records = 0;
	int err;

	if (!budgets)
		budgets = budgets_new(&limits, 0);
	err = admit_batch(budgets, batch, size, 0, &counts);
	if (whole == 0) {
		ASSERT(err == 0);
		ASSERT(record_check_batch(bytes_of(batch, size), &records, NULL) == 0);
		ASSERT(records == counts.messages);
	}
	free(batch);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct buf out;
	struct record_cursor c = record_cursor_of(bytes_of(data, size));
	struct record r;
	uint32_t records = 0, points = 0, seen = 0;
	int whole = record_check_batch(bytes_of(data, size), &records, &points);
	int err;

	while ((err = record_next(&c, &r)) == 0) {
		ASSERT(r.device.len > 0 && r.device.len <= DEVICE_ID_MAX);
		check_again(&r, &out);
		seen++;
	}
	if (whole == 0)
		ASSERT(err == ERR_NOT_FOUND && seen == records);
	check_limiter(data, size, whole);
	return 0;
}
