/* fuzz_csv.c - files of devices: fields lie where they are said to lie, and are the same when they are written and read again */
#include <stdint.h>
#include <string.h>

#include "csv.h"
#include "err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_again(const struct csv_record *r)
{
	struct buf out = { 0 };
	struct csv_record again;
	const char *why = "";
	struct csv c;

	for (size_t i = 0; i < r->count; i++) {
		if (i)
			buf_add_u8(&out, ',');
		csv_put(&out, r->fields[i]);
	}
	/* One empty field is an empty line, one with a byte order mark begins a file. */
	c = csv_of(buf_bytes(&out));
	if (out.len > 0 && c.rest.len == out.len) {
		ASSERT(csv_next(&c, &again, &why) == 0 && again.count == r->count);
		for (size_t i = 0; i < r->count; i++)
			ASSERT(bytes_equal(again.fields[i], r->fields[i]));
		ASSERT(csv_next(&c, &again, &why) == ERR_NOT_FOUND);
	}
	csv_fini(&c);
	buf_fini(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct csv c = csv_of(bytes_of(data, size));
	struct csv_record r;
	const char *why = NULL;
	unsigned line = 1;
	int err;

	while ((err = csv_next(&c, &r, &why)) == 0) {
		ASSERT(r.count >= 1 && r.count <= CSV_FIELDS_MAX && r.line >= line);
		line = r.line;
		for (size_t i = 1; i < r.count; i++)
			ASSERT(r.columns[i] > 0);
		check_again(&r);
	}
	ASSERT(err == ERR_NOT_FOUND || why != NULL);
	csv_fini(&c);
	return 0;
}
