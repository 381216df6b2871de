/* csv.c - comma separated values (RFC 4180), with the line and column of each field; pure */
#include "csv.h"

#include <string.h>

#include "err.h"

struct csv
csv_of(struct bytes text)
{
	/* A byte order mark, as spreadsheets write it. */
	if (text.len >= 3 && memcmp(text.data, "\xef\xbb\xbf", 3) == 0)
		text = bytes_of(text.data + 3, text.len - 3);
	return (struct csv){ .rest = text, .line = 1 };
}

void
csv_fini(struct csv *c)
{
	buf_fini(&c->text);
}

static void
take(struct csv *c, size_t n)
{
	c->rest = bytes_of(c->rest.data + n, c->rest.len - n);
}

/* Bytes of a line's end, 0 if there is none. */
static size_t
end_of_line(struct bytes b)
{
	if (b.len >= 2 && b.data[0] == '\r' && b.data[1] == '\n')
		return 2;
	return b.len >= 1 && b.data[0] == '\n' ? 1 : 0;
}

/* Behind the opening quote. column is moved on. */
static int
quoted(struct csv *c, unsigned *column, const char **why)
{
	for (;;) {
		if (c->rest.len == 0) {
			*why = "a quoted field has no end";
			return ERR_MALFORMED;
		}
		if (c->rest.data[0] == '"') {
			if (c->rest.len < 2 || c->rest.data[1] != '"')
				break;
			take(c, 1);
			++*column;
		}
		++*column;
		if (c->rest.data[0] == '\n') {
			c->line++;
			*column = 1;
		}
		buf_add_u8(&c->text, c->rest.data[0]);
		take(c, 1);
	}
	take(c, 1);
	++*column;
	if (c->rest.len > 0 && c->rest.data[0] != ',' && end_of_line(c->rest) == 0) {
		*why = "something stands behind the closing quote";
		return ERR_MALFORMED;
	}
	return 0;
}

static int
plain(struct csv *c, unsigned *column, const char **why)
{
	while (c->rest.len > 0 && c->rest.data[0] != ',' && end_of_line(c->rest) == 0) {
		if (c->rest.data[0] == '"') {
			*why = "a quote within a field that is not quoted";
			return ERR_MALFORMED;
		}
		buf_add_u8(&c->text, c->rest.data[0]);
		take(c, 1);
		++*column;
	}
	return 0;
}

int
csv_next(struct csv *c, struct csv_record *ret_record, const char **why)
{
	struct csv_record *r = ret_record;
	size_t ends[CSV_FIELDS_MAX], n;
	unsigned column = 1, line;
	int err;

	while ((n = end_of_line(c->rest)) > 0) {
		take(c, n);
		c->line++;
	}
	if (c->rest.len == 0)
		return ERR_NOT_FOUND;
	buf_clear(&c->text);
	*r = (struct csv_record){ .line = c->line };
	for (;;) {
		size_t start = c->text.len;
		bool quote = c->rest.len > 0 && c->rest.data[0] == '"';

		if (r->count == CSV_FIELDS_MAX) {
			*why = "more fields than may be";
			return ERR_TOO_BIG;
		}
		r->columns[r->count] = column;
		if (quote) {
			take(c, 1);
			column++;
		}
		line = c->line;
		err = quote ? quoted(c, &column, why) : plain(c, &column, why);
		if (err != 0) {
			/* A field without end: where it begins. */
			r->line = c->rest.len ? c->line : line;
			r->columns[r->count] = c->rest.len ? column : r->columns[r->count];
			return err;
		}
		if (c->text.len - start > CSV_FIELD_MAX) {
			*why = "a field is longer than may be";
			return ERR_TOO_BIG;
		}
		ends[r->count++] = c->text.len;
		if (c->rest.len == 0 || c->rest.data[0] != ',')
			break;
		take(c, 1);
		column++;
	}
	if ((n = end_of_line(c->rest)) > 0) {
		take(c, n);
		c->line++;
	}
	for (size_t i = 0; i < r->count; i++) {
		size_t from = i ? ends[i - 1] : 0;

		r->fields[i] = bytes_of(c->text.data ? c->text.data + from : NULL, ends[i] - from);
	}
	return 0;
}

void
csv_put(struct buf *out, struct bytes field)
{
	bool quote = false;

	for (size_t i = 0; i < field.len; i++) {
		uint8_t ch = field.data[i];

		quote |= ch == '"' || ch == ',' || ch == '\n' || ch == '\r';
	}
	if (!quote) {
		buf_add(out, field.data, field.len);
		return;
	}
	buf_add_u8(out, '"');
	for (size_t i = 0; i < field.len; i++) {
		if (field.data[i] == '"')
			buf_add_u8(out, '"');
		buf_add_u8(out, field.data[i]);
	}
	buf_add_u8(out, '"');
}
