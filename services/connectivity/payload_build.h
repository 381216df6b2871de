/* payload_build.h - the shapes of a payload, whatever its encoding: samples, their time, flattened names; pure
 *
 * A decoder walks its input and calls this; what is wrong is said once, in fault. C linkage: payload_json.cc uses it. */
#ifndef ROOST_PAYLOAD_BUILD_H
#define ROOST_PAYLOAD_BUILD_H

#include "payload.h"
#include "payload_check.h"

#define PAYLOAD_FIELD_MAX 160

enum payload_container { PAYLOAD_OBJECT, PAYLOAD_ARRAY };

struct payload_build {
	struct point *points;
	uint32_t count;
	uint32_t cap;
	uint32_t quarantined;
	int64_t now_us;
	int64_t latest_us; /* journal time, as far as it is known */
	int64_t time;	   /* of the record to be */
	bool device_time;

	/* the open sample */
	uint32_t sample_at; /* its first point */
	int64_t sample_time;
	bool sample_timed;
	unsigned depth; /* levels below the sample */
	size_t prefix_len;
	char prefix[METRIC_NAME_MAX + 1];

	bool documents; /* a member `device` of a sample is who it is of, no metric (telemetry.h) */
	struct bytes device; /* of the sample; borrows as the points do */

	char *names; /* flattened names; RECORD_POINTS_MAX of the largest */
	size_t names_len;

	struct payload_check_cache checks;

	const char *fault; /* of the last failure: a sentence without its place */
	size_t fault_at;   /* byte, if known */
	bool fault_placed;
	char fault_field[PAYLOAD_FIELD_MAX]; /* the whole name of what it is about, if known */
	size_t fault_field_len;
};

#ifdef __cplusplus
extern "C" {
#endif

/* All return 0, ERR_MALFORMED or ERR_TOO_BIG; then fault is set. */
int payload_sample_begin(struct payload_build *b);
int payload_sample_end(struct payload_build *b);
/* An object or array inside the sample; ret_mark goes to payload_leave(). name borrows until the next payload. */
int payload_enter(
    struct payload_build *b, enum payload_container c, struct bytes name, size_t *ret_mark);
void payload_leave(struct payload_build *b, size_t mark);
int payload_value(struct payload_build *b, struct bytes name, const struct value *v);
/* The two halves of it: a metric, whatever its name, and the sample's time. */
int payload_point(struct payload_build *b, struct bytes name, const struct value *v);
int payload_time(struct payload_build *b, const struct value *v);
/* A bare value is a whole sample. */
int payload_bare(struct payload_build *b, struct bytes metric, const struct value *v);
int payload_fail(struct payload_build *b, int err, const char *fault);
/* Which member the failure is in: the first that is said counts. name is copied. */
void payload_fault_field(struct payload_build *b, struct bytes name);
/* Name of an array's element, in text (of PAYLOAD_INDEX_MAX). */
#define PAYLOAD_INDEX_MAX 16
struct bytes payload_index(char *text, uint32_t index);

struct mp_cursor;
/* One map as a sample. On failure c stands near to what is wrong. */
int payload_msgpack_sample(struct payload_build *b, struct mp_cursor *c);

struct payload_json;
struct payload_json *payload_json_new(void);
void payload_json_free(struct payload_json *j);
int payload_json_decode(
    struct payload_json *j, struct payload_build *b, struct bytes payload, struct bytes metric);
/* One object whose members are no objects or arrays: fn is told each; v NULL: null. Texts borrow until the next call. */
typedef int (*payload_json_fn)(void *arg, struct bytes name, const struct value *v);
int payload_json_walk(struct payload_json *j, struct payload_build *b, struct bytes text,
    payload_json_fn fn, void *arg);

int payload_msgpack_decode(struct payload_build *b, struct bytes payload, struct bytes metric);

#ifdef __cplusplus
}
#endif

#endif
