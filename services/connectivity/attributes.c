/* attributes.c - what devices say about themselves: client attributes into the registry, by the journal */
#include "attributes.h"

#include <stdlib.h>

#include "err.h"
#include "mem.h"
#include "metrics.h"
#include "registry_change.h"
#include "value_text.h"

struct attributes {
	struct ingest *ingest;
	struct payload_decoder *decoder;
	struct buf bodies;
	struct buf value;
};

struct attributes *
attributes_new(struct ingest *in)
{
	struct attributes *a = xcalloc(1, sizeof(*a));

	a->ingest = in;
	a->decoder = payload_decoder_new();
	return a;
}

void
attributes_free(struct attributes **p_a)
{
	struct attributes *a = *p_a;

	*p_a = NULL;
	if (!a)
		return;
	payload_decoder_free(&a->decoder);
	buf_fini(&a->bodies);
	buf_fini(&a->value);
	free(a);
}

/* NULL, or what is wrong with it. */
static const char *
put_body(struct attributes *a, struct bytes device, const struct point *p, int64_t now_us)
{
	struct registry_object o = { .type = MSG_ATTRIBUTE };
	const char *fault;

	buf_clear(&a->value);
	value_put_json(&a->value, &p->value);
	o.any.attribute = (struct msg_attribute){
		.device = device,
		.scope = ATTRIBUTE_CLIENT,
		.name = p->name,
		.at = now_us,
		.value = buf_bytes(&a->value),
	};
	fault = registry_fault(&o);
	if (!fault)
		registry_encode(&o, &a->bodies);
	return fault;
}

int
attributes_post(struct attributes *a, struct bytes device, enum payload_format format,
    struct bytes payload, uint64_t token, struct buf *why)
{
	struct bytes bodies[INGEST_CONTEXT_MAX];
	size_t ends[INGEST_CONTEXT_MAX], at = 0;
	int64_t now_us = ingest_stamp(a->ingest);
	struct payload_result r;
	const char *fault;
	int err = payload_decode(a->decoder, format, payload, (struct bytes){ 0 }, now_us, &r, why);

	if (err)
		return err;
	if (r.count == 0 || r.count > INGEST_CONTEXT_MAX) {
		buf_addf(
		    why, "%u attributes; 1 to %d may come at once", r.count, INGEST_CONTEXT_MAX);
		return r.count ? ERR_TOO_BIG : ERR_MALFORMED;
	}
	buf_clear(&a->bodies);
	for (uint32_t i = 0; i < r.count; i++) {
		fault = put_body(a, device, &r.points[i], now_us);
		if (fault) {
			buf_add_str(why, fault);
			return ERR_MALFORMED;
		}
		ends[i] = a->bodies.len;
	}
	for (uint32_t i = 0; i < r.count; i++) {
		bodies[i] = bytes_of(a->bodies.data + at, ends[i] - at);
		at = ends[i];
	}
	err = ingest_context(a->ingest, device, bodies, r.count, token);
	if (err == 0)
		metric_add(M_ATTRIBUTES, r.count);
	return err;
}
