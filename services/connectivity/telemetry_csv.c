/* telemetry_csv.c - CSV documents (RFC 4180), row by row; pure
 *
 * The header row is read again beside each row, field by field: so nothing has to be remembered of it. */
#include "telemetry_impl.h"

#include <math.h>
#include <string.h>
#include <strings.h>

#include "err.h"
#include "payload_number.h"
#include "utf8.h"

enum csv_state { CSV_START, CSV_ROWS };

struct row {
	size_t at; /* the next field begins here */
	bool more; /* there is one */
};

struct field {
	struct bytes
	    text; /* without quotes and the spaces around it; doubled quotes are still two */
	size_t at;
	bool doubled;
};

static size_t
header_at(struct bytes body)
{
	return body.len >= 3 && memcmp(body.data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

static struct bytes
trimmed(const uint8_t *first, const uint8_t *end)
{
	while (first < end && (*first == ' ' || *first == '\t'))
		first++;
	while (first < end && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	return bytes_of(first, (size_t)(end - first));
}

/* Behind a field: a comma, or the row's end, which is taken. */
static int
field_end(struct telemetry *t, struct bytes body, struct row *r, size_t at)
{
	r->more = at < body.len && body.data[at] == ',';
	if (at < body.len && body.data[at] == '\r') {
		at++;
		if (at == body.len || body.data[at] != '\n')
			return telemetry_fail(t, ERR_MALFORMED, at - 1,
			    "a carriage return without a line feed behind it");
	} else if (at < body.len && body.data[at] != ',' && body.data[at] != '\n') {
		return telemetry_fail(t, ERR_MALFORMED, at, "something follows a closing quote");
	}
	r->at = at < body.len ? at + 1 : at;
	return 0;
}

static int
quoted(struct telemetry *t, struct bytes body, struct row *r, struct field *ret)
{
	size_t at = r->at + 1;

	ret->doubled = false;
	for (;;) {
		const uint8_t *quote = memchr(body.data + at, '"', body.len - at);

		if (!quote)
			return telemetry_fail(t, ERR_MALFORMED, r->at, "a quote is not closed");
		at = (size_t)(quote - body.data);
		if (at + 1 == body.len || body.data[at + 1] != '"')
			break;
		ret->doubled = true;
		at += 2;
	}
	ret->text = bytes_of(body.data + r->at + 1, at - r->at - 1);
	return field_end(t, body, r, at + 1);
}

static int
next_field(struct telemetry *t, struct bytes body, struct row *r, struct field *ret)
{
	size_t at = r->at;

	ret->at = at;
	if (at < body.len && body.data[at] == '"')
		return quoted(t, body, r, ret);
	while (at < body.len && body.data[at] != ',' && body.data[at] != '\n' &&
	       body.data[at] != '\r' && body.data[at] != '"')
		at++;
	if (at < body.len && body.data[at] == '"')
		return telemetry_fail(
		    t, ERR_MALFORMED, at, "a quote within a field that does not begin with one");
	ret->text = trimmed(body.data + r->at, body.data + at);
	ret->doubled = false;
	return field_end(t, body, r, at);
}

/* Doubled quotes become one. */
static int
plain(struct telemetry *t, const struct field *f, struct bytes *ret)
{
	char *out;
	size_t n = 0;

	*ret = f->text;
	if (!f->doubled)
		return 0;
	out = telemetry_text(t, f->text.len);
	if (!out)
		return telemetry_fail(t, ERR_TOO_BIG, f->at, t->build.fault);
	for (size_t i = 0; i < f->text.len; i++) {
		out[n++] = (char)f->text.data[i];
		i += f->text.data[i] == '"';
	}
	*ret = bytes_of(out, n);
	return 0;
}

static bool
is_word(struct bytes text, const char *word)
{
	return text.len == strlen(word) &&
	       strncasecmp((const char *)text.data, word, text.len) == 0;
}

static void
value_of(struct bytes text, struct value *ret)
{
	bool negative = text.len && text.data[0] == '-';

	if (payload_number(text, ret) != PAYLOAD_NO_NUMBER)
		return;
	ret->kind = VALUE_DOUBLE;
	if (is_word(text, "nan")) {
		ret->v.f = (double)NAN;
	} else if (is_word(text, "inf") || is_word(text, "+inf") || is_word(text, "-inf")) {
		ret->v.f = negative ? -(double)INFINITY : (double)INFINITY;
	} else if (is_word(text, "true") || is_word(text, "false")) {
		ret->kind = VALUE_BOOL;
		ret->v.b = text.len == 4;
	} else {
		ret->kind = VALUE_STRING;
		ret->v.s = text;
	}
}

/* --- the header --- */

static int
column_fault(struct telemetry *t, struct bytes name, size_t at, int err, const char *fault)
{
	if (utf8_valid(name))
		payload_fault_field(&t->build, name);
	return telemetry_fail(t, err, at, fault);
}

static int
check_column(struct telemetry *t, struct bytes name, size_t at, unsigned *devices, unsigned *times)
{
	*devices += bytes_equal_str(name, "device");
	*times += bytes_equal_str(name, "ts");
	if (name.len == 0)
		return column_fault(t, name, at, ERR_MALFORMED, "a column has no name");
	if (name.len > METRIC_NAME_MAX)
		return column_fault(
		    t, name, at, ERR_TOO_BIG, "a column's name is longer than 128 bytes");
	if (!utf8_valid(name))
		return column_fault(t, name, at, ERR_MALFORMED, "a column's name is not UTF-8");
	if (*devices > 1 || *times > 1)
		return column_fault(t, name, at, ERR_MALFORMED, "a column is there twice");
	return 0;
}

static int
check_header(struct telemetry *t, struct telemetry_cursor *c)
{
	struct row r = { .at = header_at(c->body), .more = true };
	unsigned devices = 0, times = 0, columns = 0;
	struct field f = { 0 };
	struct bytes name = { 0 };
	int err = 0;

	if (r.at == c->body.len)
		return telemetry_fail(t, ERR_MALFORMED, r.at, "the document is empty");
	for (; r.more && !err; columns++) {
		err = next_field(t, c->body, &r, &f);
		if (!err)
			err = plain(t, &f, &name);
		if (!err)
			err = check_column(t, name, f.at, &devices, &times);
	}
	if (err)
		return err;
	if (columns == 1 && (memchr(name.data, ';', name.len) || memchr(name.data, '\t', name.len)))
		return telemetry_fail(
		    t, ERR_MALFORMED, f.at, "columns are separated by commas only");
	if (columns == devices + times)
		return telemetry_fail(t, ERR_MALFORMED, f.at, "no column is a metric");
	c->at = r.at;
	c->state = CSV_ROWS;
	return 0;
}

/* --- rows --- */

static int
take(struct telemetry *t, struct bytes column, const struct field *f)
{
	struct payload_build *b = &t->build;
	struct bytes text = { 0 };
	struct value v;
	int err = plain(t, f, &text);

	if (err || text.len == 0)
		return err;
	if (!utf8_valid(text))
		return column_fault(t, column, f->at, ERR_MALFORMED, "a field is not UTF-8");
	if (bytes_equal_str(column, "device")) {
		b->device = text;
		return 0;
	}
	value_of(text, &v);
	err = bytes_equal_str(column, "ts") ? payload_time(b, &v) : payload_point(b, column, &v);
	return err ? telemetry_fail(t, err, f->at, b->fault) : 0;
}

static int
row(struct telemetry *t, struct telemetry_cursor *c)
{
	struct row head = { .at = header_at(c->body), .more = true };
	struct row r = { .at = c->at, .more = true };
	struct field name = { 0 }, f = { 0 };
	struct bytes column;
	int err = 0;

	while (r.more && !err) {
		if (!head.more)
			return telemetry_fail(t, ERR_MALFORMED, r.at,
			    "the row has more fields than the header has columns");
		err = next_field(t, c->body, &head, &name);
		if (!err)
			err = next_field(t, c->body, &r, &f);
		if (!err)
			err = plain(t, &name, &column);
		if (!err)
			err = take(t, column, &f);
	}
	if (err)
		return err;
	if (head.more)
		return telemetry_fail(
		    t, ERR_MALFORMED, f.at, "the row has fewer fields than the header has columns");
	if (r.at - c->at > PAYLOAD_BYTES_MAX)
		return telemetry_fail(t, ERR_TOO_BIG, c->at, "a row is longer than 1000000 bytes");
	c->at = r.at;
	return payload_sample_end(&t->build);
}

int
telemetry_csv_sample(struct telemetry *t, struct telemetry_cursor *c)
{
	int err = c->state == CSV_START ? check_header(t, c) : 0;

	if (err)
		return err;
	while (c->at < c->body.len && (c->body.data[c->at] == '\n' || c->body.data[c->at] == '\r'))
		c->at++;
	if (c->at == c->body.len)
		return ERR_NOT_FOUND;
	t->sample_at = c->at;
	payload_sample_begin(&t->build);
	return row(t, c);
}
