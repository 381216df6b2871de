/* journal_out.c - changes on their way into the journal: a stream a partition, kept and sent again until COMMIT */
#include "journal_out.h"

#include <stdlib.h>

#include "entry.h"
#include "mem.h"
#include "stream.h"

struct journal_out {
	struct worker *w;
	struct follower *follower;
	uint32_t partitions;
	uint32_t shards;
	struct stream_tx *streams; /* by partition; opened by its first change */
	struct loop_timer timer;
	size_t waiting;
};

static void
on_timer(void *arg)
{
	journal_out_pump(arg);
}

struct journal_out *
journal_out_new(struct worker *w, struct follower *f)
{
	struct journal_out *j = xcalloc(1, sizeof(*j));

	j->w = w;
	j->follower = f;
	j->partitions = (uint32_t)settings_int(w->settings, SET_PARTITIONS);
	j->shards = (uint32_t)settings_int(w->settings, SET_STORAGE_SHARDS);
	j->streams = xcalloc(j->partitions, sizeof(j->streams[0]));
	for (uint32_t p = 0; p < j->partitions; p++)
		stream_tx_init(&j->streams[p]);
	return j;
}

void
journal_out_free(struct journal_out **p_j)
{
	struct journal_out *j = *p_j;

	if (j == NULL)
		return;
	*p_j = NULL;
	loop_timer_clear(j->w->loop, &j->timer);
	for (uint32_t p = 0; p < j->partitions; p++)
		stream_tx_fini(&j->streams[p], NULL);
	free(j->streams);
	free(j);
}

static struct bus_link *
link_of(const struct journal_out *j, uint32_t partition)
{
	return follower_link(j->follower, partition % j->shards);
}

void
journal_out_push(struct journal_out *j, uint32_t partition, struct bytes body)
{
	struct stream_tx *tx = &j->streams[partition];
	struct stream_batch *b = xcalloc(1, sizeof(*b));

	b->kind = ENTRY_CONTEXT;
	b->record_count = 1;
	buf_add(&b->records, body.data, body.len);
	stream_tx_push(tx, &b);
	j->waiting++;
	if (tx->id == 0 && tx->hello_at_us == 0)
		stream_tx_reconnect(tx, loop_now_us(j->w->loop));
}

void
journal_out_link_up(struct journal_out *j, const struct bus_link *link)
{
	for (uint32_t p = 0; p < j->partitions; p++) {
		struct stream_tx *tx = &j->streams[p];

		if (link_of(j, p) == link && (tx->id || tx->hello_at_us))
			stream_tx_reconnect(tx, loop_now_us(j->w->loop));
	}
}

static void
take_committed(struct journal_out *j, struct stream_batch *b)
{
	struct stream_batch *next;

	for (; b; b = next) {
		next = b->next;
		j->waiting--;
		stream_batch_free(&b);
	}
}

static void
on_welcome(struct journal_out *j, const struct msg_welcome *m)
{
	struct stream_batch *committed = NULL;

	if (m->partition < j->partitions && m->life == j->w->life &&
	    stream_tx_welcome(&j->streams[m->partition], m->stream, m->upto, (uint32_t)m->window,
		(uint32_t)m->window_bytes, loop_now_us(j->w->loop), &committed) == 0)
		take_committed(j, committed);
}

static struct stream_tx *
stream_of(struct journal_out *j, uint64_t id)
{
	for (uint32_t p = 0; id && p < j->partitions; p++) {
		if (j->streams[p].id == id)
			return &j->streams[p];
	}
	return NULL;
}

static void
on_commit(struct journal_out *j, const struct msg_commit *m)
{
	struct stream_tx *tx = stream_of(j, m->stream);
	struct stream_batch *committed = NULL;

	if (tx && stream_tx_commit(tx, m->stream, m->upto, (uint32_t)m->window,
		      (uint32_t)m->window_bytes, loop_now_us(j->w->loop), &committed) == 0)
		take_committed(j, committed);
}

void
journal_out_on_msg(struct journal_out *j, const struct bus_msg *m)
{
	int64_t now = loop_now_us(j->w->loop);
	struct stream_tx *tx;

	if (m->type == MSG_WELCOME) {
		on_welcome(j, &m->any->welcome);
	} else if (m->type == MSG_COMMIT) {
		on_commit(j, &m->any->commit);
	} else if (m->type == MSG_GAP) {
		if ((tx = stream_of(j, m->any->gap.stream)) != NULL)
			stream_tx_gap(tx, m->any->gap.stream, m->any->gap.next, now);
	} else if (m->type == MSG_FENCED) {
		if (m->any->fenced.partition < j->partitions)
			stream_tx_fenced(
			    &j->streams[m->any->fenced.partition], m->any->fenced.stream, now);
	}
}

static void
send_hello(struct journal_out *j, uint32_t partition)
{
	const struct stream_tx *tx = &j->streams[partition];
	struct msg_hello hello = {
		.life = j->w->life,
		.partition = partition,
		.stream = tx->id,
		.acked = tx->id ? tx->committed : 0,
	};

	(void)bus_send(
	    link_of(j, partition), NULL, MSG_HELLO, &hello); /* lost: said again at its time-out */
}

static void
pump(struct journal_out *j, uint32_t partition)
{
	struct stream_tx *tx = &j->streams[partition];
	int64_t now = loop_now_us(j->w->loop);
	struct stream_batch *b;

	(void)stream_tx_timer(tx, now);
	if (stream_tx_hello_due(tx, now))
		send_hello(j, partition);
	while ((b = stream_tx_next(tx, now)) != NULL) {
		struct msg_batch m = {
			.stream = tx->id,
			.seq = b->seq,
			.partition = partition,
			.kind = b->kind,
			.retry = b->resent,
			.records = buf_bytes(&b->records),
			.acked = tx->committed,
		};

		if (bus_send(link_of(j, partition), NULL, MSG_STREAM_BATCH, &m) != 0) {
			stream_tx_unsend(tx, b);
			break;
		}
	}
}

void
journal_out_pump(struct journal_out *j)
{
	int64_t at = 0, now = loop_now_us(j->w->loop);

	for (uint32_t p = 0; p < j->partitions; p++) {
		struct stream_tx *tx = &j->streams[p];

		if (tx->head == NULL || !bus_link_is_up(link_of(j, p)))
			continue;
		pump(j, p);
		if (stream_tx_deadline(tx) && (at == 0 || stream_tx_deadline(tx) < at))
			at = stream_tx_deadline(tx);
	}
	if (at)
		loop_timer_set(j->w->loop, &j->timer, at > now ? at - now : 1, on_timer, j);
	else
		loop_timer_clear(j->w->loop, &j->timer);
}

size_t
journal_out_waiting(const struct journal_out *j)
{
	return j->waiting;
}
