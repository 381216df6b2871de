/* ingest_others.c - what goes the way of readings and is none: releases of QoS 2 packet ids, changes of the registry that devices say */
#include "ingest_impl.h"

#include "entry.h"
#include "err.h"
#include "ingest_record.h"

int32_t
ingest_partition(const struct ingest *in, struct bytes device)
{
	return (int32_t)partition_of(device, in->partitions);
}

static void
lane_release(struct ingest *in, struct lane *lane, struct pubrel r, uint32_t number)
{
	if (!lane->releases)
		lane->releases = ingest_batch_new(&in->pool, ENTRY_PUBREL);
	pubrel_put(&lane->releases->records, r);
	ingest_batch_token(lane->releases, number);
	in->bytes += PUBREL_SIZE;
	in->messages++;
	if (ingest_batch_is_ripe(lane->releases))
		ingest_lane_close(in, lane, &lane->releases);
}

/* Releases stand in no order with readings: a client sends PUBREL after the PUBLISH was committed, and uses the packet id again
 * after the PUBREL was. Partition p < shards belongs to shard p: one of each. */
int
ingest_release(struct ingest *in, struct bytes client_id, uint16_t packet_id, int32_t partition,
    uint64_t token)
{
	struct pubrel r = { .client = ingest_client_of(client_id), .packet_id = packet_id };
	uint32_t first = 0,
		 end = in->shard_count < in->partitions ? in->shard_count : in->partitions;
	uint32_t number;

	if (partition >= 0 && (uint32_t)partition < in->partitions) {
		first = (uint32_t)partition;
		end = first + 1;
	}
	for (uint32_t p = first; p < end; p++)
		if (!ingest_lane_for(in, p))
			return ERR_AGAIN;
	number = ingest_releases_add(&in->releases, token, end - first);
	for (uint32_t p = first; p < end; p++)
		lane_release(in, &in->lanes[p], r, number);
	return 0;
}

void
ingest_answer_parts(struct ingest *in, const struct stream_batch *b)
{
	uint64_t token;

	for (uint32_t i = 0; i < b->record_count; i++)
		if (ingest_releases_part(
			&in->releases, (uint32_t)ingest_batch_token_at(b, i), &token))
			in->answer(in->arg, token, VERDICT_ACCEPTED, NULL);
}

/* --- context --- */

/* Each is an entry, and so a batch, of its own. */
int
ingest_context(struct ingest *in, struct bytes device, const struct bytes *bodies, uint32_t count,
    uint64_t token)
{
	struct lane *lane = ingest_lane_for(in, partition_of(device, in->partitions));
	uint32_t number;

	if (!lane)
		return ERR_AGAIN;
	number = ingest_releases_add(&in->releases, token, count);
	for (uint32_t i = 0; i < count; i++) {
		struct stream_batch *b = ingest_batch_new(&in->pool, ENTRY_CONTEXT);

		buf_add(&b->records, bodies[i].data, bodies[i].len);
		ingest_batch_token(b, number);
		in->bytes += bodies[i].len;
		in->messages++;
		ingest_lane_close(in, lane, &b);
	}
	return 0;
}
