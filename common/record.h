/* record.h - the hot record: one device message with its points, inside a batch and inside the journal
 *
 * A batch of kind READINGS is a concatenation of records. Each is a msgpack bin32 whose content is the msgpack array
 *
 *   [verdict, flags, time, device, client, packet_id, hash, points]
 *
 * verdict is always written as uint32 and is the first element, so that the limiter and storage set it in place. points is
 * an array of point arrays [name, value], [name, value, time] or [name, value, time or nil, reason]: time when it differs
 * from the record's, reason when the value is quarantined. So any msgpack tool can read a journal.
 *
 * Reading goes through a hand-written, bounds-checked cursor; nothing is allocated; everything borrows from the batch. */
#ifndef ROOST_RECORD_H
#define ROOST_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"

#define DEVICE_ID_MAX 128
#define METRIC_NAME_MAX 128
#define POINT_STRING_MAX 65535 /* bytes of a string value */
#define RECORD_POINTS_MAX 4096
#define BATCH_RECORDS_MAX 4096
#define BATCH_BYTES_MAX 1048576

/* Verdict: code in the top 8 bits, retry_ms (at most 16777215) below. 0 is accepted. */
enum verdict_code {
	VERDICT_ACCEPTED = 0,
	VERDICT_DEVICE_LIMIT = 1, /* over the device's budget */
	VERDICT_GLOBAL_LIMIT = 2, /* over the budget of all */
	VERDICT_GROUP_LIMIT = 3,
	VERDICT_UNRELEASED_LIMIT = 4, /* too many QoS 2 messages whose PUBREL has not come */
	VERDICT_COPY = 64, /* accepted, but the device had sent it before: followers skip it */
};

uint32_t verdict_make(enum verdict_code code, uint64_t retry_ms); /* retry_ms is capped */
enum verdict_code verdict_code(uint32_t verdict);
uint32_t verdict_retry_ms(uint32_t verdict);
bool verdict_is_refusal(uint32_t verdict);  /* neither accepted nor copy */
const char *verdict_name(uint32_t verdict); /* "device-limit" */

enum record_flag {
	RECORD_DUP = 1,	      /* the device said that it may have sent this before (MQTT DUP) */
	RECORD_QOS_SHIFT = 1, /* two bits: 0, 1, 2 */
	RECORD_QOS_MASK = 6,
	RECORD_DEVICE_TIME = 8, /* time is the device's, not the server's */
	RECORD_UNDECODABLE =
	    16, /* quarantined whole: one point, named "payload", holds the raw bytes as a string */
};

enum quarantine_reason {
	QUARANTINE_NONE = 0,
	QUARANTINE_NOT_FINITE = 1,
	QUARANTINE_PHYSICAL =
	    2, /* impossible for its metric: below absolute zero, humidity of 140 % */
	QUARANTINE_PROFILE = 3, /* outside the profile's range */
	QUARANTINE_UNDECODABLE = 4,
	QUARANTINE_TIME = 5, /* a device time that cannot be */
};
const char *quarantine_name(unsigned reason);

enum value_kind { VALUE_DOUBLE, VALUE_INT, VALUE_BOOL, VALUE_STRING };

struct value {
	enum value_kind kind;
	union {
		double f;
		int64_t i;
		bool b;
		struct bytes s;
	} v;
};

struct point {
	struct bytes name;
	struct value value;
	int64_t time;	 /* us since the Unix epoch */
	unsigned reason; /* enum quarantine_reason; QUARANTINE_NONE for a good value */
};

struct record {
	uint32_t verdict;
	uint32_t flags;
	int64_t time; /* us since the Unix epoch */
	struct bytes device;
	uint64_t client; /* XXH3 of the MQTT client id, or 0: no re-send can be recognised */
	uint16_t packet_id;
	uint64_t hash; /* XXH3 of topic and payload */
	uint32_t point_count;
	struct bytes points; /* encoded; walk with point_next() */
	size_t at;	     /* where the record starts in the batch; for record_set_verdict() */
};

struct record_cursor {
	struct bytes batch;
	size_t at;
};

struct record_cursor record_cursor_of(struct bytes batch);
/* 0 and the next record; ERR_NOT_FOUND at the end; ERR_MALFORMED or ERR_TOO_BIG. Checks the header only: points are
 * checked as they are walked. */
int record_next(struct record_cursor *c, struct record *ret_record);

struct point_cursor {
	struct bytes rest;
	uint32_t left;
	int64_t time;
};

struct point_cursor point_cursor_of(const struct record *r);
/* 0 and the next point; ERR_NOT_FOUND at the end; ERR_MALFORMED or ERR_TOO_BIG. */
int point_next(struct point_cursor *c, struct point *ret_point);

/* Walks a whole batch, points included; 0 if all of it is well formed. ret_records may be NULL. */
int record_check_batch(struct bytes batch, uint32_t *ret_records, uint32_t *ret_points);

/* at: struct record's. The batch was read with record_next() before. */
void record_set_verdict(uint8_t *batch, size_t at, uint32_t verdict);

/* Writing: begin, one call a point, end. Only one record is open at a time. */
struct record_writer {
	struct buf *out;
	size_t start;
	size_t count_at;
	uint32_t points;
	int64_t time;
};

/* head's verdict, flags, time, device, client, packet_id and hash are written. */
void record_begin(struct record_writer *w, struct buf *out, const struct record *head);
void record_add(struct record_writer *w, const struct point *p);
/* Closes the record. A record without points is legal. */
void record_end(struct record_writer *w);
/* Takes back everything since record_begin. */
void record_abandon(struct record_writer *w);

/* A whole record at once: begin, add for each point, end. */
void record_put(
    struct buf *out, const struct record *head, const struct point *points, uint32_t count);

/* xxh3(device) % partitions */
uint32_t partition_of(struct bytes device, uint32_t partitions);

#endif
