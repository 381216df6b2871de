/* telemetry_senml.c - SenML packs (RFC 8428) as JSON and CBOR, record by record; pure
 *
 * A record is resolved as section 4.6 says: base name, time, unit, value and sum of this and all earlier records are put to its own.
 * Then
 *	device	the base name without one : / . - or _ at its end; without a base name the sender's own
 *	metric	the name; `value` if there is none
 *	value	v, vs, vb as number, text, boolean; vd as base64url text; a sum is a metric of its own, <metric>.sum
 *	time	below 2^28 relative to the server's clock, without any the server's clock
 * A sender that speaks for one device alone is that device whatever the base name says; a base name that is not the device's then
 * stays in front of the metric's name, so that the names of section 4.5.1 remain apart. A unit is not kept, but what is impossible in
 * it (Cel, K, %RH, %EL, lat, lon, lx) is quarantined. ut is not kept. Records of base values alone are legal and no reading. A label
 * that ends with an underscore must be understood and is not; others that are unknown are passed over. */
#include "telemetry_impl.h"

#include <math.h>
#include <string.h>

#include "err.h"
#include "payload_cbor.h"
#include "utf8.h"

#define SENML_VERSION 10
#define RELATIVE_BELOW 268435456.0 /* 2^28 seconds */

enum label {
	LABEL_BASE_SUM, /* in the order of their numbers in CBOR, from -6 */
	LABEL_BASE_VALUE,
	LABEL_BASE_UNIT,
	LABEL_BASE_TIME,
	LABEL_BASE_NAME,
	LABEL_BASE_VERSION,
	LABEL_NAME,
	LABEL_UNIT,
	LABEL_VALUE,
	LABEL_STRING,
	LABEL_BOOL,
	LABEL_SUM,
	LABEL_TIME,
	LABEL_UPDATE,
	LABEL_DATA,
	LABEL_COUNT
};
#define LABEL_FIRST_NUMBER (-6)

enum want { WANT_NUMBER, WANT_TEXT, WANT_BOOL, WANT_DATA };

static const struct {
	const char *name;
	enum want want;
} labels[LABEL_COUNT] = {
	[LABEL_BASE_SUM] = { "bs", WANT_NUMBER },
	[LABEL_BASE_VALUE] = { "bv", WANT_NUMBER },
	[LABEL_BASE_UNIT] = { "bu", WANT_TEXT },
	[LABEL_BASE_TIME] = { "bt", WANT_NUMBER },
	[LABEL_BASE_NAME] = { "bn", WANT_TEXT },
	[LABEL_BASE_VERSION] = { "bver", WANT_NUMBER },
	[LABEL_NAME] = { "n", WANT_TEXT },
	[LABEL_UNIT] = { "u", WANT_TEXT },
	[LABEL_VALUE] = { "v", WANT_NUMBER },
	[LABEL_STRING] = { "vs", WANT_TEXT },
	[LABEL_BOOL] = { "vb", WANT_BOOL },
	[LABEL_SUM] = { "s", WANT_NUMBER },
	[LABEL_TIME] = { "t", WANT_NUMBER },
	[LABEL_UPDATE] = { "ut", WANT_NUMBER },
	[LABEL_DATA] = { "vd", WANT_DATA },
};

struct record_read {
	struct telemetry *t;
	bool binary;	/* vd is bytes */
	unsigned given; /* bits of enum label */
	struct value v[LABEL_COUNT];
};

static bool
given(const struct record_read *r, enum label l)
{
	return r->given >> l & 1;
}

static double
double_of(const struct value *v)
{
	return v->kind == VALUE_INT ? (double)v->v.i : v->v.f;
}

static int
fault(struct telemetry *t, enum label l, int err, const char *sentence)
{
	payload_fault_field(&t->build, bytes_of_str(labels[l].name));
	return payload_fail(&t->build, err, sentence);
}

/* --- one member --- */

static const char *
kind_fault(enum want want, const struct value *v)
{
	switch (want) {
	case WANT_NUMBER:
		return v->kind == VALUE_INT || v->kind == VALUE_DOUBLE ? NULL
								       : "it is not a number";
	case WANT_TEXT:
	case WANT_DATA:
		return v->kind == VALUE_STRING ? NULL : "it is not a text";
	case WANT_BOOL:
		return v->kind == VALUE_BOOL ? NULL : "it is not a boolean";
	}
	return NULL;
}

static int
set(struct record_read *r, enum label l, const struct value *v)
{
	const char *wrong;

	if (!v)
		return fault(r->t, l, ERR_MALFORMED, "it is null");
	if (given(r, l))
		return fault(r->t, l, ERR_MALFORMED, "it is given twice");
	wrong = kind_fault(labels[l].want, v);
	if (wrong)
		return fault(r->t, l, ERR_MALFORMED, wrong);
	r->v[l] = *v;
	r->given |= 1u << l;
	return 0;
}

static int
unknown(struct record_read *r, struct bytes name)
{
	if (name.len == 0 || name.data[name.len - 1] != '_')
		return 0;
	payload_fault_field(&r->t->build, name);
	return payload_fail(&r->t->build, ERR_MALFORMED,
	    "a label that ends with an underscore must be understood, and is not known");
}

static int
member(void *arg, struct bytes name, const struct value *v)
{
	struct record_read *r = arg;

	for (unsigned l = 0; l < LABEL_COUNT; l++)
		if (bytes_equal_str(name, labels[l].name))
			return set(r, (enum label)l, v);
	return unknown(r, name);
}

/* --- resolution --- */

static int
take_base_text(
    struct telemetry *t, struct bytes text, char *out, size_t max, uint16_t *ret_len, enum label l)
{
	if (text.len > max)
		return fault(t, l, ERR_TOO_BIG, "it is too long");
	memcpy(out, text.data, text.len);
	*ret_len = (uint16_t)text.len;
	return 0;
}

static int
take_bases(struct record_read *r, struct telemetry_senml *base)
{
	int err = 0;

	if (given(r, LABEL_BASE_VERSION) &&
	    !(double_of(&r->v[LABEL_BASE_VERSION]) >= 1 &&
		double_of(&r->v[LABEL_BASE_VERSION]) <= SENML_VERSION))
		return fault(
		    r->t, LABEL_BASE_VERSION, ERR_MALFORMED, "it is no version from 1 to 10");
	if (given(r, LABEL_BASE_NAME))
		err = take_base_text(r->t, r->v[LABEL_BASE_NAME].v.s, base->name,
		    sizeof(base->name), &base->name_len, LABEL_BASE_NAME);
	if (!err && given(r, LABEL_BASE_UNIT))
		err = take_base_text(r->t, r->v[LABEL_BASE_UNIT].v.s, base->unit,
		    sizeof(base->unit), &base->unit_len, LABEL_BASE_UNIT);
	if (given(r, LABEL_BASE_TIME))
		base->time = double_of(&r->v[LABEL_BASE_TIME]);
	if (given(r, LABEL_BASE_VALUE))
		base->value = double_of(&r->v[LABEL_BASE_VALUE]);
	if (given(r, LABEL_BASE_SUM))
		base->sum = double_of(&r->v[LABEL_BASE_SUM]);
	return err;
}

static int
resolve_time(const struct record_read *r, const struct telemetry_senml *base)
{
	struct payload_build *b = &r->t->build;
	double time = base->time;

	if (given(r, LABEL_TIME))
		time += double_of(&r->v[LABEL_TIME]);
	if (!(fabs(time) < 1e12)) /* of seconds; NaN too */
		return fault(r->t, given(r, LABEL_TIME) ? LABEL_TIME : LABEL_BASE_TIME,
		    ERR_MALFORMED, "the time is out of range");
	if (time == 0)
		return 0;
	b->sample_timed = true;
	b->sample_time = (int64_t)llrint(time * 1e6);
	if (time < RELATIVE_BELOW)
		b->sample_time += b->now_us;
	return 0;
}

static bool
is_joint(uint8_t c)
{
	return c == ':' || c == '/' || c == '.' || c == '-' || c == '_';
}

/* The device, and what of the base name is part of the metric's. */
static struct bytes
split_base(struct telemetry *t, const struct telemetry_cursor *c)
{
	struct bytes base = bytes_of(c->base.name, c->base.name_len), id = base;

	if (base.len == 0)
		return base;
	if (is_joint(id.data[id.len - 1]) && id.len > 1)
		id.len--;
	if (!c->options->one_device) {
		t->build.device = id;
		return bytes_of(NULL, 0);
	}
	return bytes_equal(id, c->options->device) || bytes_equal(base, c->options->device)
		   ? bytes_of(NULL, 0)
		   : base;
}

/* --- the points --- */

static struct bytes
metric_of(struct record_read *r, struct bytes base, const char *suffix)
{
	struct bytes name = given(r, LABEL_NAME) ? r->v[LABEL_NAME].v.s : bytes_of(NULL, 0);
	size_t suffix_len = strlen(suffix), len;
	char *out;

	if (name.len == 0 && base.len == 0)
		name = bytes_of_str("value");
	/* Lengths of one sample, at most 1 MB each. */
	len = base.len + name.len + suffix_len;
	out = telemetry_text(r->t, len);
	if (!out)
		return bytes_of(NULL, 0);
	if (base.len)
		memcpy(out, base.data, base.len);
	if (name.len)
		memcpy(out + base.len, name.data, name.len);
	memcpy(out + base.len + name.len, suffix, suffix_len);
	return bytes_of(out, len);
}

static int
add(struct record_read *r, const struct telemetry_cursor *c, struct bytes base, const char *suffix,
    const struct value *v, enum label l)
{
	struct payload_build *b = &r->t->build;
	struct bytes unit =
	    given(r, LABEL_UNIT) ? r->v[LABEL_UNIT].v.s : bytes_of(c->base.unit, c->base.unit_len);
	struct bytes metric = metric_of(r, base, suffix);
	struct point *p;
	int err;

	if (!metric.data)
		return ERR_TOO_BIG;
	err = payload_point(b, metric, v);
	if (err)
		return err;
	p = &b->points[b->count - 1];
	if (l == LABEL_VALUE && p->reason == QUARANTINE_NONE) {
		p->reason = payload_check_number(payload_check_unit(unit), double_of(v));
		b->quarantined += p->reason != QUARANTINE_NONE;
	}
	return 0;
}

static int
base64url(struct record_read *r, struct value *v)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	struct bytes in = v->v.s;
	char *out = telemetry_text(r->t, in.len + in.len / 3 + 2);
	size_t n = 0;
	uint32_t bits = 0;

	if (!out)
		return ERR_TOO_BIG;
	for (size_t i = 0; i < in.len; i++) {
		bits = bits << 8 | in.data[i];
		if (i % 3 == 0)
			out[n++] = digits[bits >> 2 & 63];
		else if (i % 3 == 1)
			out[n++] = digits[bits >> 4 & 63];
		else
			out[n++] = digits[bits >> 6 & 63];
		if (i % 3 == 2)
			out[n++] = digits[bits & 63];
	}
	if (in.len % 3 == 1)
		out[n++] = digits[bits << 4 & 63];
	else if (in.len % 3 == 2)
		out[n++] = digits[bits << 2 & 63];
	v->v.s = bytes_of(out, n);
	return 0;
}

/* Which of the four it is; LABEL_COUNT: none. */
static int
value_label(const struct record_read *r, enum label *ret)
{
	static const enum label values[] = { LABEL_VALUE, LABEL_STRING, LABEL_BOOL, LABEL_DATA };

	*ret = LABEL_COUNT;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		if (!given(r, values[i]))
			continue;
		if (*ret != LABEL_COUNT)
			return fault(r->t, values[i], ERR_MALFORMED, "there is another value");
		*ret = values[i];
	}
	return 0;
}

static int
add_value(struct record_read *r, const struct telemetry_cursor *c, struct bytes base, enum label l)
{
	struct value v = r->v[l];
	int err = 0;

	if (l == LABEL_VALUE && c->base.value != 0) {
		v.v.f = double_of(&v) + c->base.value;
		v.kind = VALUE_DOUBLE;
	}
	if (l == LABEL_DATA && r->binary)
		err = base64url(r, &v);
	return err ? err : add(r, c, base, "", &v, l);
}

static int
resolve(struct record_read *r, struct telemetry_cursor *c)
{
	const unsigned bases = (1u << LABEL_NAME) - 1;
	struct bytes base;
	enum label l;
	struct value sum = { .kind = VALUE_DOUBLE };
	int err = take_bases(r, &c->base);

	if (!err)
		err = value_label(r, &l);
	if (err)
		return err;
	base = split_base(r->t, c);
	if (l == LABEL_COUNT && !given(r, LABEL_SUM)) {
		if (r->given & ~bases)
			return fault(r->t, LABEL_VALUE, ERR_MALFORMED,
			    "a record has neither a value nor a sum");
		return 0;
	}
	err = resolve_time(r, &c->base);
	if (!err && l != LABEL_COUNT)
		err = add_value(r, c, base, l);
	if (!err && given(r, LABEL_SUM)) {
		sum.v.f = double_of(&r->v[LABEL_SUM]) + c->base.sum;
		err = add(r, c, base, ".sum", &sum, LABEL_SUM);
	}
	return err ? err : payload_sample_end(&r->t->build);
}

/* --- records --- */

static int
json_sample(struct telemetry *t, struct telemetry_cursor *c)
{
	struct record_read r = { .t = t };
	struct bytes text;
	int err = telemetry_json_seek(t, c);

	if (err)
		return err;
	t->sample_at = c->at;
	text = telemetry_json_span(c);
	if (text.len > PAYLOAD_BYTES_MAX)
		return telemetry_fail(
		    t, ERR_TOO_BIG, c->at, "a record is longer than 1000000 bytes");
	payload_sample_begin(&t->build);
	err = payload_json_walk(t->json, &t->build, text, member, &r);
	if (!err)
		err = resolve(&r, c);
	if (err)
		return telemetry_fail_in(t, c->at, err);
	c->at += text.len;
	return 0;
}

static int
cbor_member(struct record_read *r, struct cbor_cursor *cbor, const struct cbor_item *key)
{
	struct cbor_item item = cbor_next(cbor);
	struct value value = item.value;
	enum label l;

	if (item.kind == CBOR_ARRAY || item.kind == CBOR_MAP || item.kind == CBOR_BREAK ||
	    item.kind == CBOR_WRONG)
		return payload_fail(&r->t->build, ERR_MALFORMED,
		    cbor->fault ? cbor->fault
				: "a member is neither a number, a boolean nor a text");
	if (key->value.kind == VALUE_STRING)
		return unknown(r, key->value.v.s);
	if (key->value.v.i < LABEL_FIRST_NUMBER ||
	    key->value.v.i >= LABEL_FIRST_NUMBER + LABEL_COUNT)
		return 0;
	l = (enum label)(key->value.v.i - LABEL_FIRST_NUMBER);
	if ((item.kind == CBOR_BINARY) != (l == LABEL_DATA))
		return fault(r->t, l, ERR_MALFORMED,
		    l == LABEL_DATA ? "it is not a byte string" : "it is a byte string");
	return set(r, l, item.kind == CBOR_NULL ? NULL : &value);
}

static int
cbor_record(struct record_read *r, struct cbor_cursor *cbor)
{
	struct payload_build *b = &r->t->build;
	struct cbor_item map = cbor_next(cbor);
	int err = 0;

	if (map.kind != CBOR_MAP)
		return payload_fail(b, ERR_MALFORMED,
		    cbor->fault ? cbor->fault : "an element of the outermost array is not a map");
	for (uint32_t i = 0; i < map.count && !err; i += map.count != CBOR_ENDLESS) {
		struct cbor_item key = cbor_next(cbor);

		if (key.kind == CBOR_BREAK && map.count == CBOR_ENDLESS)
			break;
		if (key.kind != CBOR_VALUE ||
		    (key.value.kind != VALUE_INT && key.value.kind != VALUE_STRING))
			return payload_fail(b, ERR_MALFORMED,
			    cbor->fault ? cbor->fault
					: "a label is neither a whole number nor a text");
		err = cbor_member(r, cbor, &key);
	}
	return err;
}

/* Records without a value are passed over. */
int
telemetry_senml_json_sample(struct telemetry *t, struct telemetry_cursor *c)
{
	uint32_t count = t->build.count;
	int err = 0;

	while (!err && t->build.count == count)
		err = json_sample(t, c);
	return err;
}

static int
cbor_sample(struct telemetry *t, struct telemetry_cursor *c)
{
	struct record_read r = { .t = t, .binary = true };
	struct cbor_cursor cbor;
	size_t place;
	int err = telemetry_cbor_seek(t, c);

	if (err)
		return err;
	t->sample_at = c->at;
	cbor = cbor_cursor_of(bytes_of(c->body.data + c->at, c->body.len - c->at));
	payload_sample_begin(&t->build);
	err = cbor_record(&r, &cbor);
	if (!err)
		err = resolve(&r, c);
	place = (size_t)(cbor.at - c->body.data);
	if (err)
		return telemetry_fail(t, err, place, t->build.fault);
	if (place - c->at > PAYLOAD_BYTES_MAX)
		return telemetry_fail(
		    t, ERR_TOO_BIG, c->at, "a record is longer than 1000000 bytes");
	c->at = place;
	return 0;
}

int
telemetry_senml_cbor_sample(struct telemetry *t, struct telemetry_cursor *c)
{
	uint32_t count = t->build.count;
	int err = 0;

	while (!err && t->build.count == count)
		err = cbor_sample(t, c);
	return err;
}
