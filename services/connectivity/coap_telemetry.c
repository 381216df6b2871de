/* coap_telemetry.c - a CoAP request's readings: all of them are looked at, then offered one after the other
 *
 * If there is no room for one behind the first, what was offered is stored, and the answer, when it is, says 5.03: whoever sends
 * it again with times of its own stores nothing twice. */
#include "coap_server_impl.h"

#include <string.h>

#include "device_id.h"
#include "err.h"
#include "metrics.h"

#define CLIENT_MAX 64

static int64_t
stamp(void *arg)
{
	return ingest_stamp(arg);
}

static enum telemetry_format
format_of(uint32_t format)
{
	switch (format) {
	case COAP_FORMAT_CBOR:
		return TELEMETRY_CBOR;
	case COAP_FORMAT_SENML_JSON:
		return TELEMETRY_SENML_JSON;
	case COAP_FORMAT_SENML_CBOR:
		return TELEMETRY_SENML_CBOR;
	default:
		return TELEMETRY_JSON;
	}
}

/* The place first: the rest may be cut. */
static void
explain(const struct telemetry_problem *p, struct buf *why)
{
	buf_addf(why, "byte %zu: ", p->offset);
	if (p->field[0])
		buf_addf(why, "%s: ", p->field);
	buf_add_str(why, p->sentence);
}

static int
look_through(struct coap_server *s, const struct coap_telemetry *t, struct telemetry_cursor c,
    struct buf *why)
{
	struct telemetry_problem p;
	struct telemetry_reading r;
	uint32_t count = 0;
	int err;

	while ((err = telemetry_next(s->telemetry, &c, &r, &p)) == 0) {
		count += r.result.count > 0;
		if (!access_may_report(s->access, t->grant, t->own, r.device)) {
			buf_addf(why, "byte %zu: not a device of these credentials", r.offset);
			return COAP_FORBIDDEN;
		}
	}
	if (err != ERR_NOT_FOUND) {
		metric_add(M_INGEST_UNDECODABLE, 1);
		explain(&p, why);
		return p.err == ERR_TOO_BIG ? COAP_TOO_LARGE : COAP_BAD_REQUEST;
	}
	if (count == 0) {
		buf_add_str(why, "there is no value in it");
		return COAP_BAD_REQUEST;
	}
	return 0;
}

/* The same request makes the same records: storage recognises each of them when it comes again. */
static int
offer(struct coap_server *s, const struct coap_telemetry *t, const struct telemetry_reading *r,
    uint32_t part)
{
	uint8_t client[CLIENT_MAX];
	struct ingest_message m = {
		.device = r->device,
		.topic = t->path,
		.payload = bytes_of(t->payload.data + r->offset, r->end - r->offset),
		.client = bytes_of(client, t->client.len + sizeof(part)),
		.packet_id = t->id,
		.qos = 1,
		.dup = t->dup,
	};

	ASSERT(t->client.len <= sizeof(client) - sizeof(part));
	memcpy(client, t->client.data, t->client.len);
	memcpy(client + t->client.len, &part, sizeof(part));
	return ingest_offer_points(s->ingest, &m, &r->result,
	    (uint64_t)INGEST_OF_COAP << INGEST_OWNER_SHIFT | t->ticket, NULL);
}

/* The client attributes of its device. */
static int
post_attributes(struct coap_server *s, const struct coap_telemetry *t, struct coap_taken *ret_taken,
    struct buf *why)
{
	struct bytes device = auth_device(t->grant, t->own);
	const char *fault = device_id_fault(device);

	if (fault) {
		buf_add_str(why, device.len ? fault : "it is not said which device: ?device=ID");
		return COAP_BAD_REQUEST;
	}
	if (t->format != COAP_FORMAT_JSON && t->format != COAP_FORMAT_TEXT &&
	    t->format != COAP_FORMAT_NONE) {
		buf_add_str(why, "attributes are JSON (50)");
		return COAP_UNSUPPORTED_FORMAT;
	}
	ret_taken->parts = 1;
	switch (attributes_post(s->attributes, device, PAYLOAD_JSON, t->payload,
	    (uint64_t)INGEST_OF_COAP << INGEST_OWNER_SHIFT | t->ticket, why)) {
	case 0:
		return 0;
	case ERR_AGAIN:
		buf_add_str(why, "the journal takes no more now");
		return COAP_UNAVAILABLE;
	case ERR_TOO_BIG:
		return COAP_TOO_LARGE;
	default:
		return COAP_BAD_REQUEST;
	}
}

int
coap_server_telemetry(
    void *arg, const struct coap_telemetry *t, struct coap_taken *ret_taken, struct buf *why)
{
	struct coap_server *s = arg;
	struct bytes device = auth_device(t->grant, t->own);
	const struct telemetry_options options = {
		.device = device_id_fault(device) ? bytes_of(NULL, 0) : device,
		.one_device = t->grant->is_device && t->grant->speaks_for.len == 0,
		.stamp = stamp,
		.arg = s->ingest,
	};
	struct telemetry_cursor c = telemetry_cursor_of(format_of(t->format), t->payload, &options);
	struct telemetry_problem ignored;
	struct telemetry_reading r;
	uint32_t part = 0;
	int err;

	if (t->attributes)
		return post_attributes(s, t, ret_taken, why);
	telemetry_latest(s->telemetry, ingest_latest(s->ingest));
	if ((err = look_through(s, t, c, why)) != 0)
		return err;
	while (telemetry_next(s->telemetry, &c, &r, &ignored) == 0) {
		if (r.result.count == 0)
			continue;
		err = offer(s, t, &r, part++);
		if (err == 0)
			ret_taken->parts++;
		else if (err == ERR_AGAIN && ret_taken->parts == 0)
			break;
		else
			ret_taken->code = err == ERR_AGAIN ? COAP_UNAVAILABLE : COAP_TOO_LARGE;
		if (err == ERR_AGAIN)
			break;
	}
	if (ret_taken->parts > 0)
		return 0;
	buf_add_str(why, err == ERR_AGAIN ? "the journal takes no more now"
					  : "the readings take more than 1 MiB");
	return err == ERR_AGAIN ? COAP_UNAVAILABLE : COAP_TOO_LARGE;
}
