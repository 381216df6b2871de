/* payload.h - what devices send -> points; pure
 *
 * JSON object of metrics; {"ts": ..., "values": {...}}; arrays of either; a bare number, boolean or string (metric named by
 * the topic's last level); msgpack of the same shapes. Nested objects flatten to a.b, arrays inside a sample to a.0, a.1. ts:
 * s, ms, us or ns since the Unix epoch, told apart by magnitude, or ISO 8601. null values are skipped; a name that comes
 * twice gives two points. */
#ifndef ROOST_PAYLOAD_H
#define ROOST_PAYLOAD_H

#include "buf.h"
#include "record.h"

#define PAYLOAD_DEPTH_MAX 8
#define PAYLOAD_BYTES_MAX 1000000 /* so that its record fits in a batch */

enum payload_format {
	PAYLOAD_ANY,  /* JSON or msgpack: no msgpack map or array begins like a JSON text */
	PAYLOAD_TEXT, /* as ANY; but what begins like a word is a string: ON, open */
	PAYLOAD_JSON,
	PAYLOAD_MSGPACK,
};

struct payload_result {
	const struct point *points; /* borrowed, with the payload and metric, until the next call */
	uint32_t count;
	uint32_t quarantined; /* of these (payload_check.h) */
	int64_t time;	      /* for the record: the last good device time, else now_us */
	bool device_time;     /* the device gave it */
};

struct payload_decoder;
struct payload_decoder *payload_decoder_new(void);
void payload_decoder_free(struct payload_decoder **d);
/* The latest time that the journal has shown: where the wall clock was put back, times until then are still not of the
 * future. It only grows; 0 at first. */
void payload_decoder_latest(struct payload_decoder *d, int64_t latest_us);
int64_t payload_decoder_known(const struct payload_decoder *d);
/* metric names a bare value. now_us: the server's wall clock. ERR_MALFORMED, ERR_TOO_BIG: reason (may be NULL) gets a sentence
 * with the place. Memory is bounded by PAYLOAD_BYTES_MAX and kept for the next call. */
int payload_decode(struct payload_decoder *d, enum payload_format format, struct bytes payload,
    struct bytes metric, int64_t now_us, struct payload_result *ret, struct buf *reason);

#endif
