/* telemetry.c - a document of readings -> one reading of one device after another; pure
 *
 * Samples of one device that follow each other are gathered. What a sample's points borrow from the decoder, and not from the body,
 * the next sample overwrites: so it is copied when a reading goes on. A sample that turns out to be the next reading's stays
 * decoded for the next call, unless another document is decoded between. */
#include "telemetry.h"

#include <stdlib.h>
#include <string.h>

#include "device_id.h"
#include "err.h"
#include "mem.h"
#include "telemetry_impl.h"

typedef int (*sample_fn)(struct telemetry *t, struct telemetry_cursor *c);

static const struct {
	sample_fn sample;
	bool lines;	    /* its places have lines */
	bool documents;	    /* `device` is a member */
	bool one_stamp;	    /* all samples of a reading without a time are of one moment */
	const char *device; /* who says it; NULL: the options tell */
} formats[] = {
	[TELEMETRY_JSON] = { telemetry_json_sample, true, true, false, "device" },
	[TELEMETRY_MSGPACK] = { telemetry_msgpack_sample, false, true, false, "device" },
	[TELEMETRY_CBOR] = { telemetry_cbor_sample, false, true, false, "device" },
	[TELEMETRY_CSV] = { telemetry_csv_sample, true, false, false, "device" },
	[TELEMETRY_LINE] = { telemetry_line_sample, true, false, false, NULL },
	[TELEMETRY_SENML_JSON] = { telemetry_senml_json_sample, true, false, true, "bn" },
	[TELEMETRY_SENML_CBOR] = { telemetry_senml_cbor_sample, false, false, true, "bn" },
};

/* The reading so far. */
struct gathered {
	uint32_t count, quarantined, samples;
	size_t names_len, text_len;
	int64_t time;
	bool timed;
	bool device_time;
};

struct telemetry *
telemetry_new(void)
{
	struct telemetry *t = xcalloc(1, sizeof(*t));

	t->json = payload_json_new();
	t->text = xmalloc(TELEMETRY_TEXT_MAX);
	return t;
}

void
telemetry_free(struct telemetry **t)
{
	if (!*t)
		return;
	payload_json_free((*t)->json);
	free((*t)->build.points);
	free((*t)->build.names);
	free((*t)->text);
	free(*t);
	*t = NULL;
}

void
telemetry_latest(struct telemetry *t, int64_t latest_us)
{
	if (latest_us > t->build.latest_us)
		t->build.latest_us = latest_us;
}

struct telemetry_cursor
telemetry_cursor_of(
    enum telemetry_format format, struct bytes body, const struct telemetry_options *options)
{
	return (struct telemetry_cursor){ .format = format, .options = options, .body = body };
}

int
telemetry_fail(struct telemetry *t, int err, size_t at, const char *fault)
{
	t->build.fault_at = at;
	t->build.fault_placed = true;
	return payload_fail(&t->build, err, fault);
}

int
telemetry_fail_in(struct telemetry *t, size_t start, int err)
{
	t->build.fault_at = t->build.fault_placed ? start + t->build.fault_at : start;
	t->build.fault_placed = true;
	return err;
}

char *
telemetry_text(struct telemetry *t, size_t len)
{
	char *at = t->text + t->text_len;

	if (len > TELEMETRY_TEXT_MAX - t->text_len) {
		payload_fail(&t->build, ERR_TOO_BIG, "the names and texts are too long together");
		return NULL;
	}
	t->text_len += len;
	return at;
}

/* --- one sample --- */

static int
sample_device(struct telemetry *t, const struct telemetry_cursor *c)
{
	struct payload_build *b = &t->build;
	struct bytes id = b->device.data ? b->device : c->options->device;
	const char *fault;

	if (id.len == 0 && !b->device.data)
		fault = "the device is missing, and the sender has no identity of its own";
	else
		fault = device_id_fault(id);
	if (fault) {
		payload_fault_field(b, formats[c->format].device
					   ? bytes_of_str(formats[c->format].device)
					   : c->options->device_tag);
		return payload_fail(b, ERR_MALFORMED, fault);
	}
	memcpy(t->sample_device, id.data, id.len);
	t->sample_device_len = id.len;
	return 0;
}

static int
sample(struct telemetry *t, struct telemetry_cursor *c)
{
	struct payload_build *b = &t->build;
	int err;

	if (!t->stamp_fresh)
		t->stamp = c->options->stamp(c->options->arg);
	t->stamp_fresh = true;
	b->now_us = t->stamp;
	b->time = t->stamp;
	b->device_time = false;
	b->device = (struct bytes){ 0 };
	b->depth = 0;
	b->prefix_len = 0;
	b->sample_timed = false;
	b->fault_placed = false;
	b->fault_field_len = 0;
	t->sample_at = c->at;
	err = formats[c->format].sample(t, c);
	if (!err)
		err = sample_device(t, c);
	if (!err && !b->sample_timed && !formats[c->format].one_stamp)
		t->stamp_fresh = false;
	return err;
}

static bool
borrows(struct bytes from, struct bytes part)
{
	return (uintptr_t)part.data - (uintptr_t)from.data < from.len;
}

static bool
keep_text(struct telemetry *t, const struct telemetry_cursor *c, struct bytes *text)
{
	struct bytes names = bytes_of(t->build.names, t->build.names_len);
	struct bytes texts = bytes_of(t->text, t->text_len);
	char *at;

	if (text->len == 0 || borrows(c->body, *text) || borrows(names, *text) ||
	    borrows(texts, *text))
		return true;
	at = telemetry_text(t, text->len);
	if (!at)
		return false;
	memcpy(at, text->data, text->len);
	text->data = (const uint8_t *)at;
	return true;
}

/* Makes the last sample's points last until the reading is given. */
static bool
keep(struct telemetry *t, const struct telemetry_cursor *c, uint32_t first)
{
	for (uint32_t i = first; i < t->build.count; i++) {
		struct point *p = &t->build.points[i];

		if (!keep_text(t, c, &p->name) ||
		    (p->value.kind == VALUE_STRING && !keep_text(t, c, &p->value.v.s)))
			return false;
	}
	return true;
}

/* --- a reading --- */

/* The sample that the last call left, as the first of this reading. */
static void
resume(struct telemetry *t, struct telemetry_cursor *c, struct gathered *g)
{
	struct payload_build *b = &t->build;
	uint32_t first = t->ahead.first;

	*c = t->ahead.cursor;
	b->count -= first;
	memmove(b->points, b->points + first, b->count * sizeof(*b->points));
	b->quarantined = 0;
	for (uint32_t i = 0; i < b->count; i++)
		b->quarantined += b->points[i].reason != QUARANTINE_NONE;
	g->samples = 1;
	g->timed = t->ahead.timed;
	g->device_time = t->ahead.device_time;
	g->time = t->ahead.time;
}

static void
open_reading(struct telemetry *t, struct telemetry_cursor *c, struct gathered *g)
{
	struct payload_build *b = &t->build;
	bool ahead = c->ahead && c->ahead == t->serial;

	c->ahead = 0;
	t->serial++;
	t->stamp_fresh = false;
	t->text_len = 0;
	b->names_len = 0;
	b->documents = formats[c->format].documents;
	if (ahead) {
		resume(t, c, g);
		return;
	}
	b->count = 0;
	b->quarantined = 0;
}

static void
take_device(struct telemetry *t)
{
	memcpy(t->device, t->sample_device, t->sample_device_len);
	t->device_len = t->sample_device_len;
}

static bool
belongs(const struct telemetry *t, const struct gathered *g)
{
	return g->timed == t->build.sample_timed &&
	       bytes_equal(bytes_of(t->device, t->device_len),
		   bytes_of(t->sample_device, t->sample_device_len));
}

static void
gather(struct telemetry *t, struct gathered *g)
{
	const struct payload_build *b = &t->build;

	if (g->samples++ == 0) {
		g->timed = b->sample_timed;
		g->time = b->time;
	}
	if (b->device_time) {
		g->time = b->time;
		g->device_time = true;
	}
}

/* The reading ends before the sample that was decoded last, from *before on. */
static void
put_aside(struct telemetry *t, struct telemetry_cursor *c, const struct telemetry_cursor *before,
    const struct gathered *g)
{
	const struct payload_build *b = &t->build;

	if (b->names_len == g->names_len && t->text_len == g->text_len) {
		t->ahead.cursor = *c;
		t->ahead.first = g->count;
		t->ahead.timed = b->sample_timed;
		t->ahead.device_time = b->device_time;
		t->ahead.time = b->time;
		*c = *before;
		c->ahead = t->serial;
		return;
	}
	*c = *before;
}

static void
problem_of(const struct telemetry *t, const struct telemetry_cursor *c, int err,
    struct telemetry_problem *ret)
{
	const struct payload_build *b = &t->build;
	size_t field = b->fault_field_len < sizeof(ret->field) - 1 ? b->fault_field_len
								   : sizeof(ret->field) - 1;

	*ret = (struct telemetry_problem){ .err = err,
		.sentence = b->fault,
		.offset = b->fault_placed ? b->fault_at : t->sample_at };
	memcpy(ret->field, b->fault_field, field);
	if (ret->offset > c->body.len)
		ret->offset = c->body.len;
	if (!formats[c->format].lines)
		return;
	ret->line = 1;
	for (size_t i = 0; i < ret->offset; i++)
		ret->line += c->body.data[i] == '\n';
}

static void
give(const struct telemetry *t, const struct telemetry_cursor *c, const struct gathered *g,
    size_t offset, struct telemetry_reading *ret)
{
	*ret = (struct telemetry_reading){
		.device = bytes_of(t->device, t->device_len),
		.result = { .points = t->build.points,
		    .count = g->count,
		    .quarantined = g->quarantined,
		    .time = g->time,
		    .device_time = g->device_time },
		.offset = offset,
		.end = c->at,
		.samples = g->samples,
	};
}

static bool
is_full(const struct telemetry_cursor *c, const struct gathered *g, size_t offset)
{
	return g->count >= TELEMETRY_POINTS || c->at - offset >= TELEMETRY_BYTES;
}

int
telemetry_next(struct telemetry *t, struct telemetry_cursor *c, struct telemetry_reading *ret,
    struct telemetry_problem *ret_problem)
{
	struct payload_build *b = &t->build;
	struct gathered g = { 0 };
	size_t offset = c->at;

	open_reading(t, c, &g);
	if (g.samples)
		take_device(t);
	for (;;) {
		struct telemetry_cursor before;
		uint32_t last = g.count;
		int err;

		g.count = b->count;
		g.quarantined = b->quarantined;
		if (g.samples && (is_full(c, &g, offset) || !keep(t, c, last)))
			break;
		g.names_len = b->names_len;
		g.text_len = t->text_len;
		before = *c;
		err = sample(t, c);
		if (err && !g.samples) {
			if (err != ERR_NOT_FOUND)
				problem_of(t, &before, err, ret_problem);
			*c = before;
			return err;
		}
		/* What is wrong is said by the next call. */
		if (err) {
			*c = before;
			break;
		}
		if (g.samples == 0) {
			take_device(t);
		} else if (!belongs(t, &g)) {
			put_aside(t, c, &before, &g);
			break;
		}
		gather(t, &g);
	}
	give(t, c, &g, offset, ret);
	return 0;
}

int
telemetry_check(struct telemetry *t, struct telemetry_cursor c, uint32_t *ret_readings,
    struct telemetry_problem *ret_problem)
{
	struct telemetry_reading r;
	uint32_t n = 0;
	int err;

	while ((err = telemetry_next(t, &c, &r, ret_problem)) == 0)
		n++;
	if (err != ERR_NOT_FOUND)
		return err;
	*ret_readings = n;
	return 0;
}

void
telemetry_problem_text(const struct telemetry_problem *p, struct buf *out)
{
	buf_addf(out, "%s (", p->sentence);
	if (p->field[0])
		buf_addf(out, "field %s, ", p->field);
	if (p->line)
		buf_addf(out, "line %zu, ", p->line);
	buf_addf(out, "byte %zu)", p->offset);
}
