/* support_telemetry.c - documents of readings, decoded and written down */
#include "support_telemetry.h"

#include <check.h>
#include <inttypes.h>
#include <stdlib.h>

#include "err.h"
#include "mem.h"

struct telemetry *decoder;
int64_t stamps;

static int64_t
stamp(void *arg)
{
	(void)arg;
	return NOW + stamps++;
}

struct telemetry_options
options_of(const char *device)
{
	return (struct telemetry_options){ .device = bytes_of_str(device),
		.device_tag = bytes_of_str("device"),
		.unit_ns = 1,
		.stamp = stamp };
}

void
telemetry_setup(void)
{
	decoder = telemetry_new();
	stamps = 0;
}

void
telemetry_teardown(void)
{
	telemetry_free(&decoder);
	ck_assert_ptr_null(decoder);
	telemetry_free(&decoder);
}

static void
render_point(const struct point *p, struct buf *out)
{
	buf_add_u8(out, ' ');
	buf_add(out, p->name.data, p->name.len);
	buf_add_u8(out, '=');
	switch (p->value.kind) {
	case VALUE_DOUBLE:
		buf_addf(out, "%.15gd", p->value.v.f);
		break;
	case VALUE_INT:
		buf_addf(out, "%" PRId64, p->value.v.i);
		break;
	case VALUE_BOOL:
		buf_add_str(out, p->value.v.b ? "true" : "false");
		break;
	case VALUE_STRING:
		buf_add_u8(out, '"');
		buf_add(out, p->value.v.s.data, p->value.v.s.len);
		buf_add_u8(out, '"');
		break;
	}
	if (p->time != NOW)
		buf_addf(out, "@%" PRId64, p->time - NOW);
	if (p->reason)
		buf_addf(out, "!%s", quarantine_name(p->reason));
}

void
render(const struct telemetry_reading *r, struct buf *out)
{
	uint32_t quarantined = 0;

	ck_assert_uint_le(r->offset, r->end);
	if (out->len)
		buf_add_str(out, " | ");
	buf_add(out, r->device.data, r->device.len);
	buf_add_u8(out, ':');
	for (uint32_t i = 0; i < r->result.count; i++) {
		render_point(&r->result.points[i], out);
		quarantined += r->result.points[i].reason != QUARANTINE_NONE;
	}
	ck_assert_uint_eq(quarantined, r->result.quarantined);
}

int
decode(enum telemetry_format format, struct bytes body, const struct telemetry_options *o,
    struct buf *out)
{
	struct telemetry_problem problem;
	struct telemetry_reading r;
	uint8_t *copy = xmemdup(body.data, body.len);
	struct telemetry_cursor c = telemetry_cursor_of(format, bytes_of(copy, body.len), o);
	size_t end = 0;
	int err;

	while ((err = telemetry_next(decoder, &c, &r, &problem)) == 0) {
		ck_assert_uint_ge(r.offset, end);
		end = r.end;
		render(&r, out);
	}
	if (err != ERR_NOT_FOUND) {
		ck_assert_int_eq(problem.err, err);
		ck_assert_uint_le(problem.offset, body.len);
		ck_assert_int_eq(telemetry_next(decoder, &c, &r, &problem), err);
		if (out->len)
			buf_add_str(out, " | ");
		buf_addf(out, "%s: ", err_name(err));
		telemetry_problem_text(&problem, out);
	}
	free(copy);
	return err;
}

void
check_prefixes(enum telemetry_format format, struct bytes body, const struct telemetry_options *o)
{
	struct buf out = { 0 };

	for (size_t n = 0; n <= body.len; n++) {
		buf_clear(&out);
		decode(format, bytes_of(body.data, n), o, &out);
	}
	buf_fini(&out);
}
