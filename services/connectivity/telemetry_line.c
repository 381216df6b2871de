/* telemetry_line.c - InfluxDB line protocol, line by line; pure
 *
 *	measurement[,tag=value...] field=value[,field=value...] [time]
 *
 * In measurements a backslash takes the meaning from comma and space, in tags and names of fields from the equals sign too, in texts
 * ("...") from quote and backslash; before anything else it is a backslash. Texts may go over line ends. Lines that are empty or
 * begin with # are skipped. Values: 1.5, 1 (both doubles), 1i, 1u, t, f, true, False, "text". The time is a whole number of
 * options.unit_ns.
 *
 * The tag options.device_tag is the device; a line without it is of options.device. Each field is a metric; one named `value`
 * stands for its measurement, as most collectors with one field a measurement mean it. Two measurements of a device may have fields
 * of one name: TELEMETRY_MEASUREMENT and TELEMETRY_SERIES tell them apart. */
#include "telemetry_impl.h"

#include <string.h>

#include "err.h"
#include "payload_number.h"
#include "utf8.h"

struct line {
	struct telemetry *t;
	struct bytes body;
	size_t at;
	const struct telemetry_options *options;
	char prefix[METRIC_NAME_MAX]; /* of the metrics, without a dot at its end */
	size_t prefix_len;
	struct bytes measurement;
};

static int
fault(struct line *l, int err, const char *sentence)
{
	return telemetry_fail(l->t, err, l->at, sentence);
}

static int
fault_of(struct line *l, struct bytes name, size_t at, int err, const char *sentence)
{
	if (utf8_valid(name))
		payload_fault_field(&l->t->build, name);
	return telemetry_fail(l->t, err, at, sentence);
}

static uint8_t
peek(const struct line *l)
{
	return l->at < l->body.len ? l->body.data[l->at] : '\n';
}

/* A line feed, one behind a carriage return, or the end of the body. */
static bool
at_end(const struct line *l)
{
	return peek(l) == '\n' ||
	       (peek(l) == '\r' && (l->at + 1 == l->body.len || l->body.data[l->at + 1] == '\n'));
}

static void
take_end(struct line *l)
{
	if (peek(l) == '\r')
		l->at++;
	if (l->at < l->body.len)
		l->at++;
}

static void
skip_spaces(struct line *l)
{
	while (l->at < l->body.len && (peek(l) == ' ' || peek(l) == '\t'))
		l->at++;
}

/* Without the backslashes before any of `special`. */
static int
unescape(struct line *l, struct bytes raw, const char *special, struct bytes *ret)
{
	char *out;
	size_t n = 0;

	*ret = raw;
	if (!raw.len || !memchr(raw.data, '\\', raw.len))
		return 0;
	out = telemetry_text(l->t, raw.len);
	if (!out)
		return fault(l, ERR_TOO_BIG, l->t->build.fault);
	for (size_t i = 0; i < raw.len; i++) {
		if (raw.data[i] == '\\' && i + 1 < raw.len && raw.data[i + 1] &&
		    strchr(special, raw.data[i + 1]))
			i++;
		out[n++] = (char)raw.data[i];
	}
	*ret = bytes_of(out, n);
	return 0;
}

/* A measurement, a tag's or a field's name, a tag's value: up to one of `ends` or the line's end. */
static int
word(struct line *l, const char *ends, const char *special, struct bytes *ret)
{
	size_t from = l->at;
	int err;

	while (!at_end(l) && !(peek(l) && strchr(ends, peek(l)))) {
		if (peek(l) == '\\' && l->at + 1 < l->body.len && l->body.data[l->at + 1] &&
		    strchr(special, l->body.data[l->at + 1]))
			l->at++;
		l->at++;
	}
	err = unescape(l, bytes_of(l->body.data + from, l->at - from), special, ret);
	if (!err && (!utf8_valid(*ret) || utf8_has_control(*ret)))
		err = telemetry_fail(l->t, ERR_MALFORMED, from,
		    "a name or tag is not UTF-8 without control characters");
	return err;
}

/* --- measurement and tags --- */

static int
add_prefix(struct line *l, struct bytes part, size_t at)
{
	size_t dot = l->prefix_len > 0;

	/* A dot and one byte of the field's name must fit too. */
	if (part.len + dot > sizeof(l->prefix) - 2 - l->prefix_len)
		return fault_of(
		    l, part, at, ERR_TOO_BIG, "a metric's whole name is longer than 128 bytes");
	if (dot)
		l->prefix[l->prefix_len++] = '.';
	memcpy(l->prefix + l->prefix_len, part.data, part.len);
	l->prefix_len += part.len;
	return 0;
}

static int
tag(struct line *l)
{
	struct bytes name = { 0 }, value = { 0 };
	size_t at = l->at;
	int err = word(l, "=, ", "=, ", &name);

	if (err)
		return err;
	if (name.len == 0 || peek(l) != '=')
		return fault_of(l, name, at, ERR_MALFORMED, "a tag is not name=value");
	l->at++;
	err = word(l, "=, ", "=, ", &value);
	if (err)
		return err;
	if (value.len == 0 || peek(l) == '=')
		return fault_of(l, name, at, ERR_MALFORMED, "a tag is not name=value");
	if (bytes_equal(name, l->options->device_tag)) {
		if (l->t->build.device.data)
			return fault_of(l, name, at, ERR_MALFORMED, "a tag is given twice");
		l->t->build.device = value;
		return 0;
	}
	return l->options->metric == TELEMETRY_SERIES ? add_prefix(l, value, at) : 0;
}

static int
series(struct line *l)
{
	size_t at = l->at;
	int err = word(l, ", ", ", ", &l->measurement);

	if (err)
		return err;
	if (l->measurement.len == 0)
		return fault(l, ERR_MALFORMED, "the measurement is missing");
	if (l->options->metric != TELEMETRY_FIELD)
		err = add_prefix(l, l->measurement, at);
	while (!err && peek(l) == ',') {
		l->at++;
		err = tag(l);
	}
	if (!err && (at_end(l) || peek(l) != ' '))
		err = fault(l, ERR_MALFORMED, "the fields are missing");
	return err;
}

/* --- fields --- */

static int
text_value(struct line *l, struct bytes name, struct value *ret)
{
	size_t from = l->at++;

	while (l->at < l->body.len && peek(l) != '"')
		l->at += peek(l) == '\\' && l->at + 1 < l->body.len ? 2 : 1;
	if (l->at >= l->body.len)
		return fault_of(l, name, from, ERR_MALFORMED, "a quote is not closed");
	ret->kind = VALUE_STRING;
	if (unescape(l, bytes_of(l->body.data + from + 1, l->at - from - 1), "\"\\", &ret->v.s) !=
	    0)
		return ERR_TOO_BIG;
	l->at++;
	if (!utf8_valid(ret->v.s))
		return fault_of(l, name, from, ERR_MALFORMED, "a text is not UTF-8");
	return 0;
}

static bool
is_any(struct bytes text, const char *a, const char *b, const char *c, const char *d, const char *e)
{
	return bytes_equal_str(text, a) || bytes_equal_str(text, b) || bytes_equal_str(text, c) ||
	       bytes_equal_str(text, d) || bytes_equal_str(text, e);
}

/* 1i: 64 bits. 1u: as large as 2^64 - 1; beyond int64 it is a double, as in JSON. */
static bool
suffixed(struct bytes text, struct value *ret)
{
	struct bytes number = bytes_of(text.data, text.len - 1);

	if (payload_number(number, ret) != PAYLOAD_INTEGER || number.data[0] == '+')
		return false;
	if (text.data[text.len - 1] == 'i')
		return ret->kind == VALUE_INT;
	return number.data[0] != '-' && (ret->kind == VALUE_INT || ret->v.f <= 0x1p64) &&
	       number.len <= 20;
}

static bool
plain_value(struct bytes text, struct value *ret)
{
	uint8_t last = text.len ? text.data[text.len - 1] : 0;

	if (last == 'i' || last == 'u')
		return text.len > 1 && suffixed(text, ret);
	if (is_any(text, "t", "T", "true", "True", "TRUE") ||
	    is_any(text, "f", "F", "false", "False", "FALSE")) {
		ret->kind = VALUE_BOOL;
		ret->v.b = text.data[0] == 't' || text.data[0] == 'T';
		return true;
	}
	if (payload_number(text, ret) == PAYLOAD_NO_NUMBER)
		return false;
	if (ret->kind == VALUE_INT) {
		ret->kind = VALUE_DOUBLE;
		ret->v.f = (double)ret->v.i;
	}
	return true;
}

static int
value(struct line *l, struct bytes name, struct value *ret)
{
	size_t from = l->at;

	if (peek(l) == '"')
		return text_value(l, name, ret);
	while (!at_end(l) && peek(l) != ',' && peek(l) != ' ')
		l->at++;
	if (!plain_value(bytes_of(l->body.data + from, l->at - from), ret))
		return fault_of(l, name, from, ERR_MALFORMED,
		    "a value is neither a number, a boolean nor a text in quotes");
	return 0;
}

/* The metric's name: prefix.field, or without the field if that is `value`. */
static int
add(struct line *l, struct bytes name, const struct value *v)
{
	struct payload_build *b = &l->t->build;
	bool unnamed = bytes_equal_str(name, "value");

	b->prefix_len = 0;
	if (l->options->metric == TELEMETRY_FIELD)
		return payload_point(b, unnamed ? l->measurement : name, v);
	memcpy(b->prefix, l->prefix, l->prefix_len);
	b->prefix_len = l->prefix_len;
	if (unnamed && l->prefix_len == 1) {
		b->prefix_len = 0;
		name = l->measurement;
	} else if (unnamed) {
		/* The last byte is the name, so that both halves are there. */
		b->prefix_len--;
		name = bytes_of(l->prefix + b->prefix_len, 1);
	} else {
		b->prefix[b->prefix_len++] = '.';
	}
	return payload_point(b, name, v);
}

static int
field(struct line *l)
{
	struct bytes name = { 0 };
	struct value v;
	size_t at = l->at;
	int err = word(l, "=, ", "=, ", &name);

	if (err)
		return err;
	if (name.len == 0 || peek(l) != '=')
		return fault_of(l, name, at, ERR_MALFORMED, "a field is not name=value");
	l->at++;
	err = value(l, name, &v);
	if (err)
		return err;
	if (!at_end(l) && peek(l) != ',' && peek(l) != ' ')
		return fault_of(l, name, l->at, ERR_MALFORMED, "something follows a value");
	err = add(l, name, &v);
	return err ? telemetry_fail(l->t, err, at, l->t->build.fault) : 0;
}

/* --- the time --- */

static int
time_of(struct line *l)
{
	struct payload_build *b = &l->t->build;
	size_t from = l->at;
	int64_t time, unit = l->options->unit_ns;

	while (!at_end(l) && peek(l) != ' ')
		l->at++;
	if (!payload_integer(bytes_of(l->body.data + from, l->at - from), &time))
		return fault_of(
		    l, bytes_of_str("time"), from, ERR_MALFORMED, "the time is not a whole number");
	if (unit < 1000)
		time = time / 1000 * unit;
	else if (__builtin_mul_overflow(time, unit / 1000, &time))
		return fault_of(
		    l, bytes_of_str("time"), from, ERR_MALFORMED, "the time is out of range");
	b->sample_time = time;
	b->sample_timed = true;
	return 0;
}

static int
line(struct line *l)
{
	int err = series(l);

	if (err)
		return err;
	skip_spaces(l);
	err = field(l);
	while (!err && peek(l) == ',') {
		l->at++;
		err = field(l);
	}
	if (err)
		return err;
	skip_spaces(l);
	if (!at_end(l))
		err = time_of(l);
	if (err)
		return err;
	skip_spaces(l);
	if (!at_end(l))
		return fault(l, ERR_MALFORMED, "something follows the time");
	return 0;
}

int
telemetry_line_sample(struct telemetry *t, struct telemetry_cursor *c)
{
	struct line l = { .t = t, .body = c->body, .at = c->at, .options = c->options };
	size_t from;
	int err;

	for (;;) {
		skip_spaces(&l);
		if (l.at == l.body.len)
			break;
		if (peek(&l) == '#')
			while (!at_end(&l))
				l.at++;
		else if (!at_end(&l))
			break;
		take_end(&l);
	}
	c->at = l.at;
	if (l.at == l.body.len)
		return ERR_NOT_FOUND;
	from = l.at;
	t->sample_at = from;
	payload_sample_begin(&t->build);
	err = line(&l);
	if (err)
		return err;
	if (l.at - from > PAYLOAD_BYTES_MAX)
		return telemetry_fail(t, ERR_TOO_BIG, from, "a line is longer than 1000000 bytes");
	take_end(&l);
	c->at = l.at;
	return payload_sample_end(&t->build);
}
