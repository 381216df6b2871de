/* payload_build.c - the shapes of a payload, whatever its encoding: samples, their time, flattened names; pure */
#include "payload_build.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "err.h"
#include "mem.h"

#define POINTS_FIRST 16

int
payload_fail(struct payload_build *b, int err, const char *fault)
{
	b->fault = fault;
	return err;
}

/* ts by its magnitude: seconds reach 1e11 in the year 5138, milliseconds 1e14, microseconds 1e17. */
static int64_t
time_of_int(int64_t v)
{
	int64_t size = v < 0 ? -(v + 1) : v;

	if (size < 100000000000)
		v *= 1000000;
	else if (size < 100000000000000)
		v *= 1000;
	else if (size >= 100000000000000000)
		v /= 1000;
	return v;
}

static int
time_of_double(struct payload_build *b, double v, int64_t *ret_us)
{
	double size = fabs(v);

	if (!(size < 9.2e18))
		return payload_fail(b, ERR_MALFORMED, "ts is out of range");
	if (size < 1e11)
		v *= 1e6;
	else if (size < 1e14)
		v *= 1e3;
	else if (size >= 1e17)
		v /= 1e3;
	*ret_us = (int64_t)(v < 0 ? v - 0.5 : v + 0.5);
	return 0;
}

static bool
is_boundary(uint8_t c)
{
	return c < 0x80 || c >= 0xc0;
}

void
payload_fault_field(struct payload_build *b, struct bytes name)
{
	size_t prefix = b->prefix_len < sizeof(b->fault_field) ? b->prefix_len : 0;
	size_t len = name.len;

	if (b->fault_field_len || !name.data)
		return;
	if (len > sizeof(b->fault_field) - prefix)
		for (len = sizeof(b->fault_field) - prefix; len && !is_boundary(name.data[len]);)
			len--;
	memcpy(b->fault_field, b->prefix, prefix);
	memcpy(b->fault_field + prefix, name.data, len);
	b->fault_field_len = prefix + len;
}

static int
fail_at(struct payload_build *b, int err, const char *fault, struct bytes name)
{
	payload_fault_field(b, name);
	return payload_fail(b, err, fault);
}

int
payload_time(struct payload_build *b, const struct value *v)
{
	int64_t us = 0;
	int err = 0;

	if (b->sample_timed)
		return fail_at(b, ERR_MALFORMED, "ts is given twice", bytes_of_str("ts"));
	switch (v->kind) {
	case VALUE_INT:
		us = time_of_int(v->v.i);
		break;
	case VALUE_DOUBLE:
		err = time_of_double(b, v->v.f, &us);
		break;
	case VALUE_STRING:
		if (clock_parse_iso(v->v.s, &us) != 0)
			err = payload_fail(b, ERR_MALFORMED, "ts is not an ISO 8601 date and time");
		break;
	case VALUE_BOOL:
		err = payload_fail(b, ERR_MALFORMED, "ts is neither a number nor a text");
		break;
	}
	if (err) {
		payload_fault_field(b, bytes_of_str("ts"));
		return err;
	}
	b->sample_time = us;
	b->sample_timed = true;
	return 0;
}

int
payload_sample_begin(struct payload_build *b)
{
	b->sample_at = b->count;
	b->sample_timed = false;
	b->depth = 0;
	b->prefix_len = 0;
	return 0;
}

/* A time that cannot be stays with its points, quarantined; the record's own stays the server's. */
int
payload_sample_end(struct payload_build *b)
{
	int64_t known_us = b->now_us > b->latest_us ? b->now_us : b->latest_us;
	bool good = b->sample_timed && payload_check_time(b->sample_time, known_us);

	for (uint32_t i = b->sample_at; i < b->count; i++) {
		struct point *p = &b->points[i];

		p->time = b->sample_timed ? b->sample_time : b->now_us;
		if (b->sample_timed && !good) {
			if (p->reason == QUARANTINE_NONE)
				b->quarantined++;
			p->reason = QUARANTINE_TIME;
		}
	}
	if (good) {
		b->time = b->sample_time;
		b->device_time = true;
	}
	return 0;
}

int
payload_enter(
    struct payload_build *b, enum payload_container c, struct bytes name, size_t *ret_mark)
{
	*ret_mark = b->prefix_len;
	if (c == PAYLOAD_OBJECT && b->depth == 0 && bytes_equal_str(name, "values")) {
		b->depth++;
		return 0;
	}
	if (b->depth == 0 && bytes_equal_str(name, "ts"))
		return fail_at(b, ERR_MALFORMED, "ts is neither a number nor a text", name);
	if (b->documents && b->depth == 0 && bytes_equal_str(name, "device"))
		return fail_at(b, ERR_MALFORMED, "device is not a text", name);
	if (b->depth == PAYLOAD_DEPTH_MAX)
		return fail_at(b, ERR_MALFORMED, "objects are nested more than 8 deep", name);
	if (name.len == 0)
		return fail_at(b, ERR_MALFORMED, "a name is empty", name);
	/* A dot and one byte of the name below must fit too, so prefix_len stays under the maximum. */
	if (name.len > METRIC_NAME_MAX - 2 || b->prefix_len > METRIC_NAME_MAX - 2 - name.len)
		return fail_at(
		    b, ERR_TOO_BIG, "a metric's whole name is longer than 128 bytes", name);
	memcpy(b->prefix + b->prefix_len, name.data, name.len);
	b->prefix_len += name.len;
	b->prefix[b->prefix_len++] = '.';
	b->depth++;
	return 0;
}

void
payload_leave(struct payload_build *b, size_t mark)
{
	b->prefix_len = mark;
	b->depth--;
}

static struct bytes
flatten(struct payload_build *b, struct bytes name)
{
	char *at;

	if (!b->names)
		b->names = xmalloc((size_t)RECORD_POINTS_MAX * METRIC_NAME_MAX);
	at = b->names + b->names_len;
	memcpy(at, b->prefix, b->prefix_len);
	memcpy(at + b->prefix_len, name.data, name.len);
	b->names_len += b->prefix_len + name.len;
	return bytes_of(at, b->prefix_len + name.len);
}

int
payload_point(struct payload_build *b, struct bytes name, const struct value *v)
{
	struct point *p;

	if (b->count == RECORD_POINTS_MAX)
		return fail_at(b, ERR_TOO_BIG, "there are more than 4096 values", name);
	if (name.len == 0)
		return fail_at(b, ERR_MALFORMED, "a name is empty", name);
	if (name.len > METRIC_NAME_MAX - b->prefix_len)
		return fail_at(
		    b, ERR_TOO_BIG, "a metric's whole name is longer than 128 bytes", name);
	if (v->kind == VALUE_STRING && v->v.s.len > POINT_STRING_MAX)
		return fail_at(b, ERR_TOO_BIG, "a text is longer than 65535 bytes", name);
	if (b->count == b->cap) {
		b->cap = b->cap ? b->cap * 2 : POINTS_FIRST;
		b->points = xrealloc(b->points, b->cap * sizeof(*b->points));
	}
	p = &b->points[b->count++];
	p->name = b->prefix_len ? flatten(b, name) : name;
	p->value = *v;
	p->reason = payload_check_value(&b->checks, p->name, v);
	if (p->reason != QUARANTINE_NONE)
		b->quarantined++;
	return 0;
}

static int
sample_device(struct payload_build *b, struct bytes name, const struct value *v)
{
	if (v->kind != VALUE_STRING)
		return fail_at(b, ERR_MALFORMED, "device is not a text", name);
	if (b->device.data)
		return fail_at(b, ERR_MALFORMED, "device is given twice", name);
	b->device = v->v.s;
	return 0;
}

int
payload_value(struct payload_build *b, struct bytes name, const struct value *v)
{
	if (b->depth == 0 && name.len == 2 && memcmp(name.data, "ts", 2) == 0)
		return payload_time(b, v);
	if (b->documents && b->depth == 0 && bytes_equal_str(name, "device"))
		return sample_device(b, name, v);
	return payload_point(b, name, v);
}

int
payload_bare(struct payload_build *b, struct bytes metric, const struct value *v)
{
	int err;

	if (metric.len == 0)
		return payload_fail(
		    b, ERR_MALFORMED, "a bare value, but the topic names no metric");
	payload_sample_begin(b);
	err = payload_point(b, metric, v);
	return err ? err : payload_sample_end(b);
}

struct bytes
payload_index(char *text, uint32_t index)
{
	return bytes_of(text, (size_t)snprintf(text, PAYLOAD_INDEX_MAX, "%u", index));
}
