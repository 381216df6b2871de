/* http_ingest.c - the readings of a request: all of them are looked at, then offered one after the other, then answered as one
 *
 * A part is a reading: samples of one device that follow each other. Its token is slot and number, so whatever became of the
 * connection, a verdict finds its request. Where there is no room the cursor stays before the part that found none, and the body is
 * kept until there is.
 *
 * Idempotency-Key: storage recognises a record by (client, packet id) and the hash of what it says (RECORD_DUP, see
 * storage/dedup.h). Here the client stands for sender, key, device and the upper bits of the part's number, the packet id for the
 * lower ones, the hash for the whole body. So a repeat is recognised by whichever worker it comes to, also after a crash of any,
 * for storage.dedup_window; and a part that a limit refused is new when it comes again. */
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "device_id.h"
#include "err.h"
#include "http_server_impl.h"
#include "inflate_bounded.h"
#include "ingest_record.h"
#include "mem.h"
#include "metrics.h"

#define EXPANSION_MAX 200 /* times its compressed size, see inflate_bounded.h */
#define PART_SHIFT 16

/* --- answers --- */

static void
problem(struct http_request *r, unsigned status, const char *detail, uint32_t retry_ms)
{
	const struct http_problem p = {
		.status = status, .dialect = r->route->dialect, .detail = detail
	};

	http_conn_problem(r->conn, &p, NULL, retry_ms, HTTP_REST_NONE);
}

static void
decode_problem(struct http_request *r, const struct telemetry_problem *t)
{
	const struct http_problem p = {
		.status = t->err == ERR_TOO_BIG ? 413 : 400,
		.dialect = r->route->dialect,
		.detail = t->sentence,
		.field = t->field,
		.has_offset = true,
		.offset = t->offset,
		.line = t->line,
	};

	metric_add(M_INGEST_UNDECODABLE, 1);
	http_conn_problem(r->conn, &p, NULL, 0, HTTP_REST_NONE);
}

static bool
was_stored(const struct http_request *r, uint32_t part)
{
	uint32_t verdict = r->parts ? r->parts[part].verdict : r->worst;

	return !verdict_is_refusal(verdict);
}

/* Which samples were not stored, neighbours as one range. */
static size_t
ranges_of(const struct http_request *r, struct http_range *ranges, bool *ret_more)
{
	size_t n = 0;

	*ret_more = false;
	for (uint32_t i = 0; i < r->part_count; i++) {
		uint32_t first = r->parts ? r->parts[i].sample : 0;
		uint32_t end =
		    r->parts && i + 1 < r->part_count ? r->parts[i + 1].sample : r->samples;

		if (was_stored(r, i) || end == first)
			continue;
		if (n && ranges[n - 1].last + 1 == first) {
			ranges[n - 1].last = end - 1;
		} else if (n < HTTP_RANGES_MAX) {
			ranges[n++] = (struct http_range){ .first = first, .last = end - 1 };
		} else {
			*ret_more = true;
			break;
		}
	}
	return n;
}

static void
answer_refused(struct http_request *r)
{
	struct http_range ranges[HTTP_RANGES_MAX];
	struct http_problem p = { .dialect = r->route->dialect, .ranges = ranges };
	uint32_t retry_ms = HTTP_RETRY_MS;

	p.has_parts = true;
	p.range_count = ranges_of(r, ranges, &p.more_ranges);
	p.not_stored = r->not_stored;
	p.stored = r->samples - r->not_stored;
	if (r->worst == HTTP_NO_ROOM) {
		p.status = 503;
		p.detail = "there is no room for more readings just now";
	} else if (r->worst == HTTP_TOO_BIG) {
		p.status = 413;
		p.detail = "a reading takes more than 1 MiB";
		retry_ms = 0;
	} else {
		p.status = 429;
		p.detail = verdict_name(r->worst);
		retry_ms = verdict_retry_ms(r->worst) ? verdict_retry_ms(r->worst) : HTTP_RETRY_MS;
	}
	http_conn_problem(r->conn, &p, NULL, retry_ms, HTTP_REST_NONE);
}

static void
answer_stored(struct http_request *r)
{
	struct http_answer a = { .status = 204 };
	struct buf body = { .max = 0 };

	if (r->route->serves == HTTP_TELEMETRY) {
		a.status = 200;
		a.type = "application/json";
		buf_addf(&body, "{\"stored\":%u}\n", r->samples);
		a.body = buf_bytes(&body);
	} else if (r->route->serves == HTTP_DEVICE_TELEMETRY) {
		a.status = 200;
	}
	http_conn_answer(r->conn, &a, HTTP_REST_NONE);
	buf_fini(&body);
}

/* Once all was offered, or given up, and the last verdict is there. */
static void
answer_if_done(struct http_request *r)
{
	if (!r->all_offered || r->pending)
		return;
	if (!r->conn)
		http_request_free(&r);
	else if (r->worst)
		answer_refused(r);
	else
		answer_stored(r);
}

/* --- parts --- */

/* Too large is for ever; a limit that says when is graver than no room. */
static uint64_t
gravity(uint32_t verdict)
{
	if (verdict == 0)
		return 0;
	if (verdict == HTTP_NO_ROOM)
		return 1;
	return verdict == HTTP_TOO_BIG ? UINT64_MAX : (uint64_t)verdict_retry_ms(verdict) + 2;
}

static void
set_verdict(struct http_request *r, uint32_t part, uint32_t verdict)
{
	uint32_t first = r->parts ? r->parts[part].sample : 0;
	uint32_t end =
	    r->parts && part + 1 < r->part_count ? r->parts[part + 1].sample : r->samples;

	if (r->parts)
		r->parts[part].verdict = verdict;
	if (!verdict_is_refusal(verdict))
		return;
	r->not_stored += end - first;
	if (gravity(verdict) > gravity(r->worst))
		r->worst = verdict;
}

void
http_ingest_part(struct http_request *r, uint32_t part, uint32_t verdict)
{
	r->pending--;
	set_verdict(r, part, verdict);
	answer_if_done(r);
}

static uint64_t
token_of(const struct http_request *r, uint32_t part)
{
	return (uint64_t)INGEST_OF_HTTP << INGEST_OWNER_SHIFT | (uint64_t)r->slot << 32 | part;
}

/* What storage is to recognise a repeat by. */
static void
identify_part(const struct http_request *r, uint32_t part, struct ingest_message *m,
    struct ingest_origin *origin)
{
	struct bytes who = auth_identity(r->grant, r->own);
	uint64_t h = XXH3_64bits_withSeed(who.data, who.len, r->key);

	*origin = ingest_origin_of(m->device, bytes_of(NULL, 0), bytes_of(NULL, 0));
	m->origin = origin;
	m->qos = 1;
	if (!r->has_key)
		return;
	h = XXH3_64bits_withSeed(m->device.data, m->device.len, h + (part >> PART_SHIFT));
	origin->client = h | 1;
	origin->topic = r->body_hash;
	m->packet_id = (uint16_t)part;
	m->dup = true;
}

static int
offer(struct http_request *r, uint32_t part, const struct telemetry_reading *reading)
{
	struct http_server *s = r->server;
	struct ingest_message m = { .device = reading->device };
	struct ingest_origin origin;

	identify_part(r, part, &m, &origin);
	return s->ops.offer_points(s->ops.arg, &m, &reading->result, token_of(r, part));
}

static void
wait_for_room(struct http_request *r, bool waits)
{
	if (waits && !r->no_room_us) {
		r->no_room_us = r->server->now_us;
		r->server->waiting++;
	} else if (!waits && r->no_room_us) {
		r->no_room_us = 0;
		r->server->waiting--;
	}
}

/* ThingsBoard's: what it may hold is what the same device may publish by MQTT. */
static int
offer_payload(struct http_request *r, struct buf *reason)
{
	struct http_server *s = r->server;
	struct ingest_message m = {
		.device = r->options.device,
		.payload = r->cursor.body,
		.format = PAYLOAD_ANY,
	};
	struct ingest_origin origin;

	identify_part(r, 0, &m, &origin);
	return s->ops.offer(s->ops.arg, &m, token_of(r, 0), reason);
}

/* From the cursor on, as far as there is room. */
static int
offer_some(struct http_request *r)
{
	struct telemetry_problem ignored;
	struct telemetry_reading reading;

	while (r->offered < r->part_count) {
		struct telemetry_cursor before = r->cursor;
		int err = telemetry_next(r->server->telemetry, &r->cursor, &reading, &ignored);

		ASSERT(err == 0); /* it was looked at */
		if (reading.result.count > 0)
			err = offer(r, r->offered, &reading);
		if (err == ERR_AGAIN) {
			r->cursor = before;
			return ERR_AGAIN;
		}
		if (reading.result.count > 0 && err == 0)
			r->pending++;
		else if (err)
			set_verdict(r, r->offered, HTTP_TOO_BIG);
		r->offered++;
	}
	return 0;
}

/* --- the whole --- */

/* It was checked that it can be read, and whose readings these are. */
static bool
add_part(struct http_request *r, const struct telemetry_reading *reading)
{
	if (r->part_count == HTTP_PARTS_MAX) {
		problem(
		    r, 413, "more than 65536 readings, of devices in turn; sort them by device", 0);
		return false;
	}
	if (r->part_count > 0 && r->part_count >= r->part_cap) {
		uint32_t cap = r->part_cap < 16 ? 16 : r->part_cap * 2;

		if (!http_charge(r, (cap - r->part_cap) * sizeof(r->parts[0]))) {
			metric_add(M_HTTP_OVER_BUFFER, 1);
			problem(r, 503, "too many bodies are under way (http.buffer_mib)",
			    HTTP_RETRY_MS);
			return false;
		}
		r->parts = xrealloc(r->parts, cap * sizeof(r->parts[0]));
		r->parts[0] = r->part_cap ? r->parts[0] : (struct http_part){ 0 };
		r->part_cap = cap;
	}
	if (r->parts)
		r->parts[r->part_count] = (struct http_part){ .sample = r->samples };
	r->part_count++;
	r->samples += reading->samples;
	return true;
}

static bool
may_report(const struct http_request *r, struct bytes device)
{
	const struct http_ops *ops = &r->server->ops;

	return ops->may_report(ops->arg, r->grant, r->own, device);
}

static bool
look_through(struct http_request *r)
{
	struct telemetry_cursor c = r->cursor;
	struct telemetry_problem p;
	struct telemetry_reading reading;
	int err;

	while ((err = telemetry_next(r->server->telemetry, &c, &reading, &p)) == 0) {
		if (!may_report(r, reading.device)) {
			const struct http_problem foreign = { .status = 403,
				.dialect = r->route->dialect,
				.detail = "these credentials may not send readings of this device",
				.field = "device",
				.has_offset = true,
				.offset = reading.offset };

			http_conn_problem(r->conn, &foreign, NULL, 0, HTTP_REST_NONE);
			return false;
		}
		if (!add_part(r, &reading))
			return false;
	}
	if (err != ERR_NOT_FOUND) {
		decode_problem(r, &p);
		return false;
	}
	return true;
}

/* The body is needed beyond this turn. */
static bool
keep_body(struct http_request *r)
{
	size_t cap = r->data.cap;

	if (r->cursor.body.data == r->data.data)
		return true;
	buf_clear(&r->data);
	buf_add(&r->data, r->cursor.body.data, r->cursor.body.len);
	r->cursor.body = buf_bytes(&r->data);
	r->cursor.ahead = 0; /* the decoder's sample borrows from where it was */
	return http_charge(r, r->data.cap - cap);
}

/* In place of what was compressed. False: it was answered. */
static bool
inflate(struct http_request *r, struct bytes body, struct buf *out)
{
	struct inflate *z =
	    inflate_new(r->content.encoding == HTTP_GZIP ? INFLATE_GZIP : INFLATE_ZSTD,
		r->server->config.body_max, EXPANSION_MAX);
	const char *why = "";
	int err = inflate_feed(z, body, out, &why);

	if (!err)
		err = inflate_end(z, &why);
	inflate_free(&z);
	if (err)
		problem(r, err == ERR_TOO_BIG ? 413 : 400, why, 0);
	return err == 0;
}

/* The cursor stands at the beginning, the parts are known. */
static void
begin_work(struct http_request *r, struct bytes body)
{
	if (!http_request_begin_work(r)) {
		problem(r, 503, "too many requests are under way", HTTP_RETRY_MS);
		return;
	}
	if (r->has_key)
		r->body_hash = XXH3_64bits(body.data, body.len);
	http_ingest_go_on(r);
}

static void
begin(struct http_request *r, struct bytes body)
{
	struct http_server *s = r->server;
	struct bytes device = auth_device(r->grant, r->own);

	r->options = (struct telemetry_options){
		.device = device_id_fault(device) ? bytes_of(NULL, 0) : device,
		.one_device = r->grant->is_device && r->grant->speaks_for.len == 0,
		.device_tag = bytes_of_str(s->config.device_tag),
		.metric = s->config.metric,
		.unit_ns = r->content.unit_ns,
		.stamp = s->ops.stamp,
		.arg = s->ops.arg,
	};
	r->cursor = telemetry_cursor_of(r->content.format, body, &r->options);
	if (r->route->serves != HTTP_DEVICE_TELEMETRY) {
		if (look_through(r))
			begin_work(r, body);
		return;
	}
	r->part_count = r->samples = 1;
	if (r->options.device.len == 0)
		problem(r, 403, "these credentials are not those of a device", 0);
	else if (!may_report(r, r->options.device))
		problem(r, 403, "this device may not send readings", 0);
	else
		begin_work(r, body);
}

void
http_ingest_begin(struct http_request *r, struct bytes body)
{
	struct buf plain = { .max = 0 };

	if (r->content.encoding == HTTP_IDENTITY) {
		begin(r, body);
		return;
	}
	if (inflate(r, body, &plain))
		begin(r, buf_bytes(&plain));
	buf_fini(&plain);
}

/* As far as there is room. 0, ERR_AGAIN, or ERR_REFUSED: the request was answered. */
static int
offer_all(struct http_request *r)
{
	struct buf reason = { .max = 1024 };
	int err;

	if (r->route->serves != HTTP_DEVICE_TELEMETRY)
		return offer_some(r);
	err = offer_payload(r, &reason);
	if (!err)
		r->offered = r->pending = 1;
	if (err && err != ERR_AGAIN) {
		problem(r, err == ERR_TOO_BIG ? 413 : 400, buf_str(&reason), 0);
		err = ERR_REFUSED;
	}
	buf_fini(&reason);
	return err;
}

void
http_ingest_go_on(struct http_request *r)
{
	int err = offer_all(r);

	if (err == ERR_REFUSED)
		return;
	if (err == ERR_AGAIN) {
		wait_for_room(r, true);
		if (!keep_body(r))
			http_ingest_give_up(r);
		return;
	}
	wait_for_room(r, false);
	r->all_offered = true;
	answer_if_done(r);
}

void
http_ingest_give_up(struct http_request *r)
{
	wait_for_room(r, false);
	metric_add(M_HTTP_NO_ROOM, 1);
	for (; r->offered < r->part_count; r->offered++)
		set_verdict(r, r->offered, HTTP_NO_ROOM);
	r->all_offered = true;
	answer_if_done(r);
}

void
http_ingest_detach(struct http_request *r)
{
	r->conn = NULL;
	if (r->no_room_us)
		http_ingest_give_up(r);
}

void
http_ingest_overdue(struct http_request *r)
{
	const struct http_problem p = {
		.status = 503,
		.dialect = r->route->dialect,
		.detail =
		    "no answer from storage in time (http.answer_timeout): whether these readings "
		    "are "
		    "stored is not known; sent again with the same Idempotency-Key, or with their "
		    "times, they are there once",
	};
	struct http_conn *c = r->conn;

	metric_add(M_HTTP_OVERDUE, 1);
	c->request = NULL;
	http_conn_problem(c, &p, NULL, HTTP_RETRY_MS, HTTP_REST_NONE);
	http_ingest_detach(r);
}
