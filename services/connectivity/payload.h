/* payload.h - what devices send -> points; pure
 *
 * JSON object of metrics; {"ts": ..., "values": {...}}; arrays of either; a bare number, boolean or string (metric named by
 * the topic's last level); msgpack of the same shapes. Nested objects flatten to a.b. ts: s, ms, us or ns since the Unix
 * epoch, told apart by magnitude, or ISO 8601. null values are skipped. */
#ifndef ROOST_PAYLOAD_H
#define ROOST_PAYLOAD_H

#include "buf.h"
#include "record.h"

#define PAYLOAD_DEPTH_MAX 8

enum payload_format { PAYLOAD_JSON, PAYLOAD_MSGPACK };

/* Decodes payload and adds its points to the open record w (whose time is the server's). metric names a bare value.
 * Impossible values (payload_check.c) get their reason. Returns 0 and how many points there were, of these how many
 * quarantined; ret_device_time: the device gave the (only or last) time. ERR_MALFORMED, ERR_TOO_BIG: reason (may be NULL)
 * gets a sentence with the place; the caller abandons the record. Scratch memory is bounded by the payload's size and kept. */
struct payload_result {
	uint32_t points;
	uint32_t quarantined;
	bool device_time;
};
struct payload_decoder;
struct payload_decoder *payload_decoder_new(void);
void payload_decoder_free(struct payload_decoder **d);
int payload_decode(struct payload_decoder *d, enum payload_format format, struct bytes payload, struct bytes metric,
    struct record_writer *w, struct payload_result *ret, struct buf *reason);

#endif
