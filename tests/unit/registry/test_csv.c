/* test_csv.c - fields of a CSV file and where each begins */
#include "csv.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "../unit.h"
#include "err.h"
#include "mem.h"

/* Fields as "[a][b]@line:columns;" each record, or "!line: why" */
static void
show(const char *text, char *out, size_t size)
{
	struct csv c = csv_of(bytes_of_str(text));
	struct csv_record r;
	const char *why = "";
	size_t n = 0;
	int err;

	out[0] = '\0';
	while ((err = csv_next(&c, &r, &why)) == 0) {
		for (size_t i = 0; i < r.count; i++)
			n += (size_t)snprintf(out + n, size - n, "[%.*s]", (int)r.fields[i].len,
			    r.fields[i].len ? (const char *)r.fields[i].data : "");
		n += (size_t)snprintf(out + n, size - n, "@%u:", r.line);
		for (size_t i = 0; i < r.count; i++)
			n += (size_t)snprintf(out + n, size - n, "%u,", r.columns[i]);
		n += (size_t)snprintf(out + n, size - n, ";");
	}
	if (err != ERR_NOT_FOUND)
		snprintf(out + n, size - n, "!%u:%u %s", r.line, r.columns[r.count], why);
	csv_fini(&c);
}

START_TEST(test_records)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{ "", "" },
		{ "\n\r\n\n", "" },
		{ "id", "[id]@1:1,;" },
		{ "id\n", "[id]@1:1,;" },
		{ "a,b\n1,2\n", "[a][b]@1:1,3,;[1][2]@2:1,3,;" },
		{ "a,b\r\n\r\n1,2", "[a][b]@1:1,3,;[1][2]@3:1,3,;" },
		{ "\xef\xbb\xbf"
		  "a",
		    "[a]@1:1,;" },
		{ ",\n", "[][]@1:1,2,;" },
		{ "a,", "[a][]@1:1,3,;" },
		{ "\"a,b\",c", "[a,b][c]@1:1,7,;" },
		{ "\"a\"\"b\",c", "[a\"b][c]@1:1,8,;" },
		{ "\"a\nb\",c\nd", "[a\nb][c]@1:1,4,;[d]@3:1,;" },
		{ "\"\"", "[]@1:1,;" },
		{ "a\rb", "[a\rb]@1:1,;" },
		{ "\"a", "!1:1 a quoted field has no end" },
		{ "b\na,\"x\ny\n", "[b]@1:1,;!2:3 a quoted field has no end" },
		{ "x\ny,\"a\"b", "[x]@1:1,;!2:6 something stands behind the closing quote" },
		{ "a\"b", "!1:2 a quote within a field that is not quoted" },
		{ ",,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,", "!1:0 more fields than may be" },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char got[256];

		if (strchr(cases[i].want, '!') && strstr(cases[i].want, "more fields")) {
			struct csv c = csv_of(bytes_of_str(cases[i].text));
			struct csv_record r;
			const char *why;

			ck_assert_int_eq(csv_next(&c, &r, &why), ERR_TOO_BIG);
			csv_fini(&c);
			continue;
		}
		show(cases[i].text, got, sizeof(got));
		ck_assert_str_eq(got, cases[i].want);
	}
}
END_TEST

START_TEST(test_long_field)
{
	struct buf text = { 0 };
	struct csv c;
	struct csv_record r;
	const char *why;

	for (int i = 0; i <= CSV_FIELD_MAX; i++)
		buf_add_u8(&text, 'x');
	c = csv_of(buf_bytes(&text));
	ck_assert_int_eq(csv_next(&c, &r, &why), ERR_TOO_BIG);
	csv_fini(&c);
	text.len--;
	c = csv_of(buf_bytes(&text));
	ck_assert_int_eq(csv_next(&c, &r, &why), 0);
	ck_assert_uint_eq(r.fields[0].len, CSV_FIELD_MAX);
	csv_fini(&c);
	buf_fini(&text);
}
END_TEST

/* What is put is read the same. */
START_TEST(test_put)
{
	static const char *const fields[] = { "", "a", "a,b", "\"", "a\nb", "\r", "{\"a\":\"b\"}",
		" a " };

	for (size_t i = 0; i < COUNT_OF(fields); i++) {
		struct buf out = { 0 };
		struct csv c;
		struct csv_record r;
		const char *why;

		csv_put(&out, bytes_of_str(fields[i]));
		buf_add_str(&out, ",x\n");
		c = csv_of(buf_bytes(&out));
		ck_assert_int_eq(csv_next(&c, &r, &why), 0);
		ck_assert(r.count == 2 && bytes_equal_str(r.fields[0], fields[i]) &&
			  bytes_equal_str(r.fields[1], "x"));
		ck_assert_int_eq(csv_next(&c, &r, &why), ERR_NOT_FOUND);
		csv_fini(&c);
		buf_fini(&out);
	}
}
END_TEST

UNIT_MAIN("csv", test_records, test_long_field, test_put)
