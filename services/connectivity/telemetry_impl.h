/* telemetry_impl.h - what the readers of documents share; pure
 *
 * A reader decodes the sample at c->at into t->build and sets c->at behind it. 0; ERR_NOT_FOUND at the end; ERR_MALFORMED or
 * ERR_TOO_BIG with the fault in t->build, its byte counted from the body's first. It may be called again from the same place. */
#ifndef ROOST_TELEMETRY_IMPL_H
#define ROOST_TELEMETRY_IMPL_H

#include "payload_build.h"
#include "payload_flat.h"
#include "telemetry.h"

/* Texts that are not in the body as they are: with escapes taken off, or put together. A sample's are no longer than the sample
 * and, for CSV, its header; what is kept of a reading no longer than TELEMETRY_BYTES and a sample. */
#define TELEMETRY_TEXT_MAX (PAYLOAD_BYTES_MAX + (TELEMETRY_BYTES * 4))

struct telemetry {
	struct payload_build build;
	struct payload_flat flat;
	struct payload_json *json;
	char *text; /* of TELEMETRY_TEXT_MAX; never moves */
	size_t text_len;
	size_t sample_at; /* where the sample begins; set by its reader */
	int64_t stamp;	  /* if fresh: for the next sample that gives no time */
	bool stamp_fresh;
	uint64_t serial; /* of calls of telemetry_next() */
	struct {	 /* a sample that was decoded and belongs to the next reading */
		struct telemetry_cursor cursor; /* behind it */
		uint32_t first;			/* its points */
		bool timed, device_time;
		int64_t time;
	} ahead;
	char device[DEVICE_ID_MAX];	   /* of the reading */
	char sample_device[DEVICE_ID_MAX]; /* of the sample */
	size_t device_len, sample_device_len;
};

int telemetry_json_sample(struct telemetry *t, struct telemetry_cursor *c);
int telemetry_msgpack_sample(struct telemetry *t, struct telemetry_cursor *c);
int telemetry_cbor_sample(struct telemetry *t, struct telemetry_cursor *c);
int telemetry_csv_sample(struct telemetry *t, struct telemetry_cursor *c);
int telemetry_line_sample(struct telemetry *t, struct telemetry_cursor *c);
int telemetry_senml_json_sample(struct telemetry *t, struct telemetry_cursor *c);
int telemetry_senml_cbor_sample(struct telemetry *t, struct telemetry_cursor *c);

/* c->at goes to the first byte of the next object of a JSON document, or to the next element of a CBOR one. ERR_NOT_FOUND at the end. */
int telemetry_json_seek(struct telemetry *t, struct telemetry_cursor *c);
int telemetry_cbor_seek(struct telemetry *t, struct telemetry_cursor *c);
/* The object that begins at c->at, up to the bracket that closes it, or up to the end. */
struct bytes telemetry_json_span(const struct telemetry_cursor *c);

/* What the decoder of the part of the body that begins at byte `start` says, with the place counted from the body's first. */
int telemetry_fail_in(struct telemetry *t, size_t start, int err);
int telemetry_fail(struct telemetry *t, int err, size_t at, const char *fault);
/* Room for len bytes of text, or NULL and the fault (ERR_TOO_BIG). */
char *telemetry_text(struct telemetry *t, size_t len);

#endif
