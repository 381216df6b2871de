/* ingest.c - the one door: authenticated input of any protocol -> stream of batches -> answers from COMMIT
 *
 * Each partition is a lane: a growing batch, the stream it goes into, the limiter and the shard of that stream. A batch is
 * closed when it is ripe, or at the end of a turn while fewer than ROUNDS_AHEAD are under way: what the open batches of a
 * shard's lanes hold goes out together, in a round, and a busy shard's lanes gather until a round has come back. Each
 * batch costs every process on the way a wake-up, so that many small ones make all of them late. Batches go to the limiter; HELLO, and all answers, are between us and the shard. */
#include "ingest_impl.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "entry.h"
#include "err.h"
#include "ingest_batch.h"
#include "ingest_links.h"
#include "ingest_record.h"
#include "ingest_releases.h"
#include "ingest_rounds.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "stream.h"

#define ROUND_WAIT_US 5000 /* no lane is held up longer by others, whose limiter may be away */
#define BYTES_MAX ((size_t)64 << 20) /* of records in all lanes */
#define CLOCK_CREEP_US 1000000 /* server times may run this far ahead of the clock to differ */

/* --- construction --- */

struct ingest *
ingest_new(struct worker *w, ingest_answer_fn answer, ingest_room_fn room, void *arg)
{
	struct ingest *in = xcalloc(1, sizeof(*in));
	int64_t limiters = settings_int(w->settings, SET_LIMITER_REPLICAS);

	*in = (struct ingest){ .w = w, .answer = answer, .room = room, .arg = arg };
	in->partitions = (uint32_t)settings_int(w->settings, SET_PARTITIONS);
	in->shard_count = (uint32_t)settings_int(w->settings, SET_STORAGE_SHARDS);
	in->limiter_count = limiters > 0 ? (uint32_t)limiters : 1;
	in->decoder = payload_decoder_new();
	in->lanes = xcalloc(in->partitions, sizeof(*in->lanes));
	in->shards = ingest_links_new(w, "shard", in->shard_count);
	in->rounds = xcalloc(in->shard_count, sizeof(*in->rounds));
	in->limiters = in->shards ? ingest_links_new(w, "limiter", in->limiter_count) : NULL;
	if (!in->limiters) {
		ingest_free(&in);
		return NULL;
	}
	for (uint32_t i = 0; i < in->partitions; i++) {
		in->lanes[i].partition = i;
		in->lanes[i].shard = in->shards[i % in->shard_count];
		in->lanes[i].limiter = in->limiters[ingest_limiter_of(i, in->limiter_count)];
		stream_tx_init(&in->lanes[i].tx);
	}
	return in;
}

void
ingest_free(struct ingest **p_in)
{
	struct ingest *in = *p_in;

	if (!in)
		return;
	for (uint32_t i = 0; i < in->partitions; i++) {
		if (in->lanes[i].open)
			ingest_batch_recycle(&in->pool, &in->lanes[i].open);
		if (in->lanes[i].releases)
			ingest_batch_recycle(&in->pool, &in->lanes[i].releases);
		stream_tx_fini(&in->lanes[i].tx, free);
	}
	loop_timer_clear(in->w->loop, &in->timer);
	ingest_pool_fini(&in->pool);
	ingest_releases_fini(&in->releases);
	payload_decoder_free(&in->decoder);
	free(in->lanes);
	free(in->shards);
	free(in->rounds);
	free(in->limiters);
	free(in);
	*p_in = NULL;
}

void
ingest_quiet(struct ingest *in)
{
	ingest_pool_fini(&in->pool);
}

/* --- out --- */

static void
lane_hello(struct ingest *in, struct lane *lane, int64_t now_us)
{
	struct msg_hello hello = {
		.life = in->w->life,
		.partition = lane->partition,
		.stream = lane->tx.id,
		.acked = lane->tx.id ? lane->tx.committed : 0,
	};

	/* What cannot be sent is asked again at the next time-out, or when the link is up. */
	if (bus_link_is_up(lane->shard) && stream_tx_hello_due(&lane->tx, now_us))
		(void)bus_send(lane->shard, NULL, MSG_HELLO, &hello);
}

static void
lane_send(struct lane *lane, int64_t now_us)
{
	struct stream_batch *b;

	while (bus_link_is_up(lane->limiter) && (b = stream_tx_next(&lane->tx, now_us)) != NULL) {
		struct msg_batch msg = {
			.stream = lane->tx.id,
			.seq = b->seq,
			.partition = lane->partition,
			.kind = b->kind,
			.retry = b->resent,
			.records = buf_bytes(&b->records),
			.acked = lane->tx.committed,
		};

		if (bus_send(lane->limiter, NULL, MSG_STREAM_BATCH, &msg) != 0) {
			stream_tx_unsend(&lane->tx, b);
			return;
		}
		if (b->resent)
			metric_add(M_INGEST_RESENT, 1);
	}
}

static void
lane_push(struct ingest *in, struct lane *lane, struct stream_batch **batch)
{
	stream_tx_push(&lane->tx, batch);
	in->rounds[lane->partition % in->shard_count].pushed++;
	lane->open_us = 0;
}

void
ingest_lane_close(struct ingest *in, struct lane *lane, struct stream_batch **batch)
{
	lane_push(in, lane, batch);
	lane_send(lane, loop_now_us(in->w->loop));
}

/* --- in --- */

static bool
lane_is_full(const struct ingest *in, const struct lane *lane)
{
	return in->bytes >= BYTES_MAX || stream_tx_is_full(&lane->tx);
}

/* Room is said with a quarter of it free, not for each batch. */
static bool
lane_has_room(const struct ingest *in, const struct lane *lane)
{
	return !lane_is_full(in, lane) && in->bytes < BYTES_MAX * 3 / 4 &&
	       lane->tx.queued_batches <= STREAM_WINDOW_BATCHES * 3 / 4 &&
	       lane->tx.queued_bytes <= STREAM_WINDOW_BYTES * 3 / 4;
}

struct lane *
ingest_lane_for(struct ingest *in, uint32_t partition)
{
	struct lane *lane = &in->lanes[partition];

	if (lane_is_full(in, lane)) {
		lane->blocked = true;
		in->blocked = true;
		return NULL;
	}
	return lane;
}

/* Server times differ from each other while they are close to the clock, so that history keeps each. */
static int64_t
server_time(struct ingest *in)
{
	int64_t turn_us = loop_now_us(in->w->loop);

	if (in->wall_turn_us != turn_us) {
		in->wall_turn_us = turn_us;
		in->wall_us = clock_wall_us();
		payload_decoder_latest(in->decoder, in->wall_us);
	}
	if (in->wall_us > in->stamp_us || in->stamp_us - in->wall_us > CLOCK_CREEP_US)
		in->stamp_us = in->wall_us;
	else
		in->stamp_us++;
	return in->stamp_us;
}

/* The record from byte `start` of the lane's open batch on is complete. ERR_TOO_BIG: it fits in no batch, it is gone. */
static int
lane_added(struct ingest *in, struct lane *lane, size_t start, uint64_t token)
{
	size_t len = lane->open->records.len - start;

	if (len > BATCH_BYTES_MAX) {
		lane->open->records.len = start;
		if (start == 0)
			ingest_batch_recycle(&in->pool, &lane->open);
		return ERR_TOO_BIG;
	}
	if (lane->open->records.len > BATCH_BYTES_MAX) {
		struct stream_batch *next = ingest_batch_new(&in->pool, ENTRY_READINGS);

		ingest_batch_split(lane->open, start, next);
		ingest_lane_close(in, lane, &lane->open);
		lane->open = next;
	}
	ingest_batch_token(lane->open, token);
	in->bytes += len;
	in->messages++;
	if (ingest_batch_is_ripe(lane->open))
		ingest_lane_close(in, lane, &lane->open);
	return 0;
}

static struct buf *
lane_open(struct ingest *in, struct lane *lane)
{
	if (!lane->open)
		lane->open = ingest_batch_new(&in->pool, ENTRY_READINGS);
	return &lane->open->records;
}

static int
offer_undecodable(struct ingest *in, struct lane *lane, const struct ingest_message *m,
    uint64_t token, int64_t time)
{
	struct buf *out = lane_open(in, lane);
	size_t start = out->len;

	ingest_record_undecodable(out, m, time);
	metric_add(M_READINGS, 1);
	return lane_added(in, lane, start, token);
}

static inline int
offer_points(struct ingest *in, struct lane *lane, const struct ingest_message *m,
    const struct payload_result *r, uint64_t token, struct buf *reason)
{
	struct buf *out = lane_open(in, lane);
	size_t start = out->len;
	int err;

	ingest_record_points(out, m, r);
	err = lane_added(in, lane, start, token);
	if (err) {
		if (reason)
			buf_add_str(reason, "the readings take more than 1 MiB");
		return err;
	}
	metric_add(M_READINGS, r->count);
	metric_add(M_INGEST_QUARANTINED, r->quarantined);
	return 0;
}

static int
offer(struct ingest *in, const struct ingest_message *m, uint64_t token, struct buf *reason)
{
	struct lane *lane = ingest_lane_for(in, (uint32_t)(m->origin->device % in->partitions));
	struct payload_result r;
	int64_t time;
	int err;

	if (!lane)
		return ERR_AGAIN;
	time = server_time(in);
	err = payload_decode(in->decoder, m->format, m->payload, m->metric, time, &r, reason);
	if (!err)
		err = offer_points(in, lane, m, &r, token, reason);
	if (err) {
		metric_add(M_INGEST_UNDECODABLE, 1);
		if (m->undecodable == INGEST_QUARANTINE && m->payload.len <= PAYLOAD_BYTES_MAX)
			err = offer_undecodable(in, lane, m, token, time);
	}
	metric_add(M_MESSAGES, 1);
	return err;
}

int
ingest_offer(struct ingest *in, const struct ingest_message *m, uint64_t token, struct buf *reason)
{
	struct ingest_message known;
	struct ingest_origin origin;

	if (m->origin)
		return offer(in, m, token, reason);
	known = ingest_message_known(m, &origin);
	return offer(in, &known, token, reason);
}

int
ingest_offer_points(struct ingest *in, const struct ingest_message *m,
    const struct payload_result *r, uint64_t token, struct buf *reason)
{
	struct ingest_origin origin;
	struct ingest_message known = ingest_message_known(m, &origin);
	struct lane *lane = ingest_lane_for(in, (uint32_t)(known.origin->device % in->partitions));
	int err;

	if (!lane)
		return ERR_AGAIN;
	err = offer_points(in, lane, &known, r, token, reason);
	if (err)
		metric_add(M_INGEST_UNDECODABLE, 1);
	metric_add(M_MESSAGES, 1);
	return err;
}

int64_t
ingest_stamp(struct ingest *in)
{
	return server_time(in);
}

int64_t
ingest_latest(const struct ingest *in)
{
	return payload_decoder_known(in->decoder);
}

int
ingest_reoffer(struct ingest *in, struct bytes record, uint64_t token)
{
	struct record_cursor c = record_cursor_of(record);
	struct lane *lane;
	struct record r;
	struct buf *out;
	size_t start;
	int err = record_next(&c, &r);

	if (err || c.at != record.len)
		return err ? err : ERR_MALFORMED;
	lane = ingest_lane_for(in, partition_of(r.device, in->partitions));
	if (!lane)
		return ERR_AGAIN;
	out = lane_open(in, lane);
	start = out->len;
	buf_add(out, record.data, record.len);
	record_set_verdict(out->data, start, VERDICT_ACCEPTED);
	return lane_added(in, lane, start, token);
}

/* --- answers --- */

static void
answer_batch(
    struct ingest *in, const struct stream_batch *b, struct bytes verdicts, size_t *verdicts_at)
{
	struct record_cursor c = record_cursor_of(buf_bytes(&b->records));
	struct bytes record = { 0 };
	struct record r;
	uint32_t at = 0, refused = 0; /* at: records the cursor has passed */

	for (uint32_t i = 0; i < b->record_count; i++) {
		uint32_t verdict = verdicts.len ? stream_verdict(verdicts, verdicts_at, b->seq, i)
						: VERDICT_ACCEPTED;

		if (!verdict_is_refusal(verdict)) {
			in->answer(in->arg, ingest_batch_token_at(b, i), verdict, NULL);
			continue;
		}
		for (; at <= i; at++) {
			size_t start = c.at;
			int err = record_next(&c, &r);

			ASSERT(err == 0);
			record = bytes_of(b->records.data + start, c.at - start);
		}
		refused++;
		in->answer(in->arg, ingest_batch_token_at(b, i), verdict, &record);
	}
	metric_add(M_INGEST_ANSWERED, b->record_count);
	metric_add(M_INGEST_REFUSED, refused);
}

/* Answers may offer again, into other batches than these. */
static void
answer_all(struct ingest *in, struct stream_batch *committed, struct bytes verdicts)
{
	size_t at = 0;

	for (const struct stream_batch *b = committed; b; b = b->next) {
		in->bytes -= b->records.len;
		in->messages -= b->record_count;
	}
	while (committed) {
		struct stream_batch *b = committed;

		committed = b->next;
		if (b->kind == ENTRY_PUBREL || b->kind == ENTRY_CONTEXT)
			ingest_answer_parts(in, b);
		else
			answer_batch(in, b, verdicts, &at);
		ingest_batch_recycle(&in->pool, &b);
	}
}

/* The lane whose stream this is, if the message came from its shard. */
static struct lane *
lane_of_stream(struct ingest *in, const struct bus_msg *m, uint64_t stream)
{
	for (uint32_t i = 0; stream && i < in->partitions; i++) {
		if (in->lanes[i].tx.id == stream)
			return in->lanes[i].shard == m->link ? &in->lanes[i] : NULL;
	}
	return NULL;
}

void
ingest_on_welcome(struct ingest *in, struct bus_msg *m)
{
	const struct msg_welcome *msg = &m->any->welcome;
	int64_t now_us = loop_now_us(in->w->loop);
	struct stream_batch *committed = NULL;
	struct lane *lane;
	uint64_t before;

	if (msg->life != in->w->life || msg->partition >= in->partitions)
		return;
	lane = &in->lanes[msg->partition];
	before = lane->tx.id;
	if (lane->shard != m->link ||
	    stream_tx_welcome(&lane->tx, msg->stream, msg->upto, (uint32_t)msg->window,
		(uint32_t)msg->window_bytes, now_us, &committed) != 0)
		return;
	if (before != lane->tx.id)
		log_debug(
		    "ingest.stream", LU("partition", lane->partition), LU("stream", lane->tx.id));
	payload_decoder_latest(in->decoder, (int64_t)msg->time);
	answer_all(in, committed, msg->verdicts);
	lane_send(lane, now_us);
}

void
ingest_on_commit(struct ingest *in, struct bus_msg *m)
{
	const struct msg_commit *msg = &m->any->commit;
	int64_t now_us = loop_now_us(in->w->loop);
	struct lane *lane = lane_of_stream(in, m, msg->stream);
	struct stream_batch *committed = NULL;

	if (!lane || stream_tx_commit(&lane->tx, msg->stream, msg->upto, (uint32_t)msg->window,
			 (uint32_t)msg->window_bytes, now_us, &committed) != 0)
		return;
	answer_all(in, committed, msg->verdicts);
	lane_send(lane, now_us);
}

void
ingest_on_fenced(struct ingest *in, struct bus_msg *m)
{
	const struct msg_fenced *msg = &m->any->fenced;
	int64_t now_us = loop_now_us(in->w->loop);
	struct lane *lane = lane_of_stream(in, m, msg->stream);

	if (!lane)
		return;
	log_info("ingest.fenced", LU("partition", lane->partition), LU("stream", msg->stream));
	stream_tx_fenced(&lane->tx, msg->stream, now_us);
	lane_hello(in, lane, now_us);
}

void
ingest_on_gap(struct ingest *in, struct bus_msg *m)
{
	const struct msg_gap *msg = &m->any->gap;
	int64_t now_us = loop_now_us(in->w->loop);
	struct lane *lane = lane_of_stream(in, m, msg->stream);

	if (!lane)
		return;
	stream_tx_gap(&lane->tx, msg->stream, msg->next, now_us);
	lane_send(lane, now_us);
}

/* A shard that is back is asked where its streams stand. A limiter that is back may have lost what was on its way through
 * it: storage is asked what has arrived. */
void
ingest_on_link(struct ingest *in, struct bus_link *link, bool up)
{
	int64_t now_us = loop_now_us(in->w->loop);

	for (uint32_t i = 0; up && i < in->partitions; i++) {
		struct lane *lane = &in->lanes[i];
		bool lost = lane->limiter == link && lane->tx.head != lane->tx.unsent;

		if (lane->shard == link || lost) {
			stream_tx_reconnect(&lane->tx, now_us);
			lane_hello(in, lane, now_us);
		}
	}
}

/* --- each turn --- */

static void
say_room(struct ingest *in)
{
	bool any = false;

	in->blocked = false;
	for (uint32_t i = 0; i < in->partitions; i++) {
		struct lane *lane = &in->lanes[i];

		if (lane->blocked && lane_has_room(in, lane)) {
			lane->blocked = false;
			any = true;
		}
		if (lane->blocked)
			in->blocked = true;
	}
	if (any)
		in->room(in->arg);
}

/* Before the lanes push: which shards take a round more. */
static void
rounds_look(struct ingest *in)
{
	for (uint32_t s = 0; s < in->shard_count; s++) {
		uint64_t waiting = 0;

		for (uint32_t p = s; p < in->partitions; p += in->shard_count)
			waiting += in->lanes[p].tx.queued_batches;
		ingest_rounds_look(&in->rounds[s], waiting);
	}
}

static bool
lane_may_push(const struct ingest *in, struct lane *lane, int64_t now_us)
{
	if (lane->tx.queued_batches >= ROUNDS_AHEAD)
		return false;
	if (lane->open_us == 0)
		lane->open_us = now_us;
	return in->rounds[lane->partition % in->shard_count].may_push ||
	       now_us - lane->open_us >= ROUND_WAIT_US;
}

/* When the lane wants to be looked at again; 0: only when something arrives. */
static int64_t
lane_deadline(const struct lane *lane)
{
	if ((lane->open || lane->releases) && lane->open_us)
		return lane->open_us + ROUND_WAIT_US;
	if (lane->tx.hello_at_us && !bus_link_is_up(lane->shard))
		return 0;
	return stream_tx_deadline(&lane->tx);
}

/* The turn that follows does the work. */
static void
on_timer(void *arg)
{
	struct ingest *in = arg;

	in->timer_at_us = 0;
}

void
ingest_turn(struct ingest *in)
{
	int64_t now_us = loop_now_us(in->w->loop), first = 0;

	if (in->blocked)
		say_room(in);
	rounds_look(in);
	for (uint32_t i = 0; i < in->partitions; i++) {
		struct lane *lane = &in->lanes[i];
		int64_t at;

		if (stream_tx_timer(&lane->tx, now_us))
			lane_hello(in, lane, now_us);
		if ((lane->open || lane->releases) && lane_may_push(in, lane, now_us)) {
			if (lane->open)
				lane_push(in, lane, &lane->open);
			if (lane->releases)
				lane_push(in, lane, &lane->releases);
		}
		lane_send(lane, now_us);
		at = lane_deadline(lane);
		if (at && (!first || at < first))
			first = at;
	}
	for (uint32_t i = 0; i < in->shard_count; i++)
		ingest_rounds_close(&in->rounds[i]);
	metric_set(M_INGEST_IN_FLIGHT, in->messages);
	if (first && first != in->timer_at_us) {
		in->timer_at_us = first;
		loop_timer_set(
		    in->w->loop, &in->timer, first > now_us ? first - now_us : 0, on_timer, in);
	}
}

bool
ingest_idle(const struct ingest *in)
{
	return in->messages == 0;
}
