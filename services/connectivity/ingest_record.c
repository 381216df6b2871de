/* ingest_record.c - a device message as a record of a batch; pure */
#include "ingest_record.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t
ingest_client_of(struct bytes client_id)
{
	return client_id.len ? XXH3_64bits(client_id.data, client_id.len) | 1 : 0;
}

struct ingest_origin
ingest_origin_of(struct bytes device, struct bytes topic, struct bytes client_id)
{
	return (struct ingest_origin){
		.device = XXH3_64bits(device.data, device.len),
		.topic = XXH3_64bits(topic.data, topic.len),
		.client = ingest_client_of(client_id),
	};
}

struct ingest_message
ingest_message_known(const struct ingest_message *m, struct ingest_origin *origin)
{
	struct ingest_message known = *m;

	if (!m->origin) {
		*origin = ingest_origin_of(m->device, m->topic, m->client);
		known.origin = origin;
	}
	return known;
}

static inline struct record
head_of(const struct ingest_message *m, int64_t time, uint32_t flags)
{
	struct record head = {
		.time = time,
		.flags = flags | (m->dup ? (uint32_t)RECORD_DUP : 0) |
			 (m->qos << RECORD_QOS_SHIFT & RECORD_QOS_MASK),
		.device = m->device,
		.packet_id = m->packet_id,
	};

	/* QoS 0 is never sent again, so nothing needs to recognise it. */
	if (m->qos > 0) {
		head.hash = XXH3_64bits_withSeed(m->payload.data, m->payload.len, m->origin->topic);
		head.client = m->origin->client;
	}
	return head;
}

void
ingest_record_points(
    struct buf *out, const struct ingest_message *m, const struct payload_result *r)
{
	struct record head = head_of(m, r->time, r->device_time ? RECORD_DEVICE_TIME : 0);

	record_put(out, &head, r->points, r->count);
}

void
ingest_record_undecodable(struct buf *out, const struct ingest_message *m, int64_t time)
{
	struct point p = {
		.name = bytes_of_str("payload"), .time = time, .reason = QUARANTINE_UNDECODABLE
	};
	struct record head = head_of(m, time, RECORD_UNDECODABLE);
	struct record_writer w;
	size_t at = 0;

	record_begin(&w, out, &head);
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
