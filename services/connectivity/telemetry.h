/* telemetry.h - a document of readings, as HTTP and CoAP carry it -> one reading of one device after another; pure
 *
 * JSON, msgpack and CBOR: one sample or an array of them, JSON also several behind each other (NDJSON). A sample is
 * {"device": ..., "ts": ..., "values": {...}}, where device and ts may be missing, and metrics may stand in it directly; values are
 * read as payload.h says.
 *
 * CSV (RFC 4180): the header row names the columns: device, ts, the rest are metrics. Lines end with LF or CRLF; empty lines
 * are skipped, and so are empty fields. Spaces around an unquoted field do not count. A field is a number, true or false (in
 * any case), or else a text, quoted or not. ts as in JSON.
 *
 * InfluxDB line protocol: measurement,tag=value field=value,field=value time. See telemetry_line.c.
 *
 * SenML (RFC 8428) as JSON and CBOR. See telemetry_senml.c.
 *
 * Samples of one device that follow each other are one reading, up to TELEMETRY_POINTS or TELEMETRY_BYTES. */
#ifndef ROOST_TELEMETRY_H
#define ROOST_TELEMETRY_H

#include "payload.h"

#define TELEMETRY_POINTS                                                                           \
	1000 /* a reading that has so many is full; one sample may have RECORD_POINTS_MAX */
#define TELEMETRY_BYTES                                                                            \
	65536 /* of the document, the same way; one sample may have PAYLOAD_BYTES_MAX */
#define TELEMETRY_FIELD_MAX 160

enum telemetry_format {
	TELEMETRY_JSON, /* NDJSON too */
	TELEMETRY_MSGPACK,
	TELEMETRY_CBOR,
	TELEMETRY_CSV,
	TELEMETRY_LINE,
	TELEMETRY_SENML_JSON,
	TELEMETRY_SENML_CBOR,
};

/* How a metric of the line protocol is named. A field `value` is named by its measurement in all of them. */
enum telemetry_metric {
	TELEMETRY_FIELD,       /* usage_idle */
	TELEMETRY_MEASUREMENT, /* cpu.usage_idle */
	TELEMETRY_SERIES, /* cpu.cpu0.usage_idle: the values of all tags but the device's, as they come */
};

/* Borrowed until the last telemetry_next() of the document. */
struct telemetry_options {
	struct bytes device; /* of samples that name none; empty: they are refused */
	bool
	    one_device; /* the sender speaks for that device alone: SenML's base name is then part of the metric */
	struct bytes device_tag; /* line protocol: the tag that names the device */
	enum telemetry_metric metric;
	int64_t unit_ns; /* line protocol: of its times: 1, 1000, ... */
	/* The server's time, of a sample that gives none: each call gives another one. */
	int64_t (*stamp)(void *arg);
	void *arg;
};

/* Where in a document one is. To be copied freely: to look through a document before anything of it is offered, walk a copy. */
struct telemetry_cursor {
	enum telemetry_format format;
	const struct telemetry_options *options;
	struct bytes body;
	size_t at;
	uint64_t ahead; /* the decoder still has the sample that ends at `at` */
	uint32_t left;	/* elements of the array; UINT32_MAX: up to its end */
	uint8_t state;
	struct telemetry_senml {
		double time, value, sum;
		uint16_t name_len, unit_len;
		char name[DEVICE_ID_MAX + METRIC_NAME_MAX];
		char unit[32];
	} base;
};

struct telemetry_reading {
	struct bytes device; /* valid as a device id. It borrows as the points do */
	struct payload_result
	    result;	    /* borrowed from decoder and body until the next call, whoever's */
	size_t offset, end; /* bytes of the body that it came from */
	uint32_t samples;
};

/* What is wrong: for a problem document. */
struct telemetry_problem {
	int err;	      /* ERR_MALFORMED or ERR_TOO_BIG */
	const char *sentence; /* static, without the place */
	char field
	    [TELEMETRY_FIELD_MAX]; /* name of the member, column, tag or metric; UTF-8; "": none */
	size_t offset;		   /* byte of the body */
	size_t line;		   /* from 1; 0: the format has none */
};

struct telemetry;
struct telemetry *telemetry_new(void);
void telemetry_free(struct telemetry **t);
/* As payload_decoder_latest(). */
void telemetry_latest(struct telemetry *t, int64_t latest_us);

struct telemetry_cursor telemetry_cursor_of(
    enum telemetry_format format, struct bytes body, const struct telemetry_options *options);
/* 0 and the next reading; ERR_NOT_FOUND at the end; ERR_MALFORMED or ERR_TOO_BIG and the problem: the cursor stays before what is
 * wrong. A sample without a single value is a reading without points. One decoder serves any number of cursors in turn; its
 * memory is bounded (about 10 MiB, for samples as large as they may be) and kept. */
int telemetry_next(struct telemetry *t, struct telemetry_cursor *c,
    struct telemetry_reading *ret_reading, struct telemetry_problem *ret_problem);
/* The whole document, nothing kept: 0 and how many readings, or as telemetry_next(). */
int telemetry_check(struct telemetry *t, struct telemetry_cursor c, uint32_t *ret_readings,
    struct telemetry_problem *ret_problem);
/* "ts is given twice (field ts, line 3, byte 117)" */
void telemetry_problem_text(const struct telemetry_problem *p, struct buf *out);

#endif
