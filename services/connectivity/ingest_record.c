/* ingest_record.c - a device message as a record of a batch; pure */
#include "ingest_record.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

static void
write_head(struct record_writer *w, struct buf *out, const struct ingest_message *m, int64_t time,
    uint32_t flags)
{
	struct record head = {
		.time = time,
		.flags = flags | (m->dup ? (uint32_t)RECORD_DUP : 0) |
			 (m->qos << RECORD_QOS_SHIFT & RECORD_QOS_MASK),
		.device = m->device,
		.packet_id = m->packet_id,
	};

	if (m->qos > 0) {
		/* QoS 0 is never sent again, so nothing needs to recognise it. */
		head.hash = XXH3_64bits_withSeed(
		    m->payload.data, m->payload.len, XXH3_64bits(m->topic.data, m->topic.len));
		if (m->client.len)
			head.client = XXH3_64bits(m->client.data, m->client.len) | 1;
	}
	record_begin(w, out, &head);
}

void
ingest_record_points(
    struct buf *out, const struct ingest_message *m, const struct payload_result *r)
{
	struct record_writer w;

	write_head(&w, out, m, r->time, r->device_time ? RECORD_DEVICE_TIME : 0);
	for (uint32_t i = 0; i < r->count; i++)
		record_add(&w, &r->points[i]);
	record_end(&w);
}

void
ingest_record_undecodable(struct buf *out, const struct ingest_message *m, int64_t time)
{
	struct point p = {
		.name = bytes_of_str("payload"), .time = time, .reason = QUARANTINE_UNDECODABLE
	};
	struct record_writer w;
	size_t at = 0;

	write_head(&w, out, m, time, RECORD_UNDECODABLE);
	p.value.kind = VALUE_STRING;
	do {
		size_t n =
		    m->payload.len - at < POINT_STRING_MAX ? m->payload.len - at : POINT_STRING_MAX;

		p.value.v.s = bytes_of(m->payload.data + at, n);
		record_add(&w, &p);
		at += n;
	} while (at < m->payload.len);
	record_end(&w);
}
