/* emit.c - alert transitions of one partition on their way into the journal
 *
 *	held     computed, its cause is before the end at which earlier owners were fenced: it may be in the journal already
 *	pushed   in the stream, waiting for COMMIT
 *
 * While `holding`, new transitions are held; when everything before hold_until was read, what is still held is pushed. */
#include "emit.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "codec.h"
#include "entry.h"
#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "stream.h"

struct pending {
	struct pending *older, *newer; /* by number */
	struct pending *next;	       /* in its hash chain */
	uint64_t number;	       /* of all that were added */
	bool pushed;
	bool durable; /* met in the journal; COMMIT is still to come */
	char id[ALERT_ID_MAX];
	struct buf encoded;
	char *label; /* for the log */
};

struct emit {
	struct worker *w;
	struct bus_link *link;
	uint32_t partition;
	uint64_t epoch;
	bool assigned; /* epoch is of this connection */
	bool holding;
	bool end_unknown; /* the stream was fenced: hold until the end as it is said next */
	uint64_t hold_until;
	struct stream_tx tx;
	struct pending *oldest, *newest;
	size_t count;
	size_t held;
	uint64_t added;
	struct pending **table;
	size_t mask;
};

struct emit *
emit_new(struct worker *w, uint32_t partition, struct bus_link *link, uint64_t epoch, uint64_t end)
{
	struct emit *e = xcalloc(1, sizeof(*e));

	e->w = w;
	e->partition = partition;
	e->link = link;
	e->mask = 63;
	e->table = xcalloc(e->mask + 1, sizeof(struct pending *));
	stream_tx_init(&e->tx);
	emit_assign(e, epoch, end);
	return e;
}

static struct pending **
chain_of(const struct emit *e, const char *id)
{
	return &e->table[XXH3_64bits(id, strlen(id)) & e->mask];
}

static void
pending_free(struct emit *e, struct pending *p)
{
	struct pending **link = chain_of(e, p->id);

	while (*link != p)
		link = &(*link)->next;
	*link = p->next;
	*(p->older ? &p->older->newer : &e->oldest) = p->newer;
	*(p->newer ? &p->newer->older : &e->newest) = p->older;
	e->count--;
	e->held -= !p->pushed;
	buf_fini(&p->encoded);
	free(p->label);
	free(p);
}

void
emit_free(struct emit **emit)
{
	struct emit *e = *emit;

	*emit = NULL;
	if (e == NULL)
		return;
	stream_tx_fini(&e->tx, NULL);
	while (e->oldest)
		pending_free(e, e->oldest);
	free(e->table);
	free(e);
}

static void
table_grow(struct emit *e)
{
	free(e->table);
	e->mask = e->mask * 2 + 1;
	e->table = xcalloc(e->mask + 1, sizeof(struct pending *));
	for (struct pending *p = e->oldest; p; p = p->newer) {
		struct pending **link = chain_of(e, p->id);
		p->next = *link;
		*link = p;
	}
}

static void
push(struct emit *e, struct pending *p)
{
	struct stream_batch *b = xcalloc(1, sizeof(*b));

	b->kind = ENTRY_ALERT;
	b->record_count = 1;
	buf_add(&b->records, p->encoded.data, p->encoded.len);
	b->owner_data = p;
	p->pushed = true;
	e->held--;
	metric_add(M_RULES_TRANSITIONS, 1);
	log_info("rules.transition", LS("alert", p->label), LS("id", p->id));
	stream_tx_push(&e->tx, &b);
	/* The first alert opens the stream. */
	if (e->tx.id == 0 && e->tx.hello_at_us == 0)
		stream_tx_reconnect(&e->tx, loop_now_us(e->w->loop));
}

static void
push_held(struct emit *e)
{
	for (struct pending *p = e->oldest; p; p = p->newer) {
		if (!p->pushed)
			push(e, p);
	}
}

void
emit_assign(struct emit *e, uint64_t epoch, uint64_t end)
{
	e->epoch = epoch;
	e->assigned = true;
	e->holding = true;
	e->end_unknown = false;
	if (end > e->hold_until)
		e->hold_until = end;
	if (e->tx.id || e->tx.hello_at_us)
		stream_tx_reconnect(&e->tx, loop_now_us(e->w->loop));
}

void
emit_link_up(struct emit *e)
{
	/* Storage knows its assignments again only after it made them again: HELLO waits for ASSIGN. */
	e->assigned = false;
}

void
emit_add(struct emit *e, const struct transition *t)
{
	struct pending *p = xcalloc(1, sizeof(*p)), **link;
	struct msg_alert m = {
		.id = bytes_of_str(t->id),
		.alert_id = bytes_of_str(t->alert_id),
		.rule = bytes_of_str(t->alert),
		.group = bytes_of_str(t->group),
		.device = t->device,
		.state = t->state,
		.severity = bytes_of_str(severity_name(t->severity)),
		.at = t->at,
		.since = t->since,
		.summary = t->summary,
		.runbook = bytes_of_str(t->runbook),
		.receivers = bytes_of_str(t->receivers),
		.values = t->values,
		.offset = t->offset,
	};

	codec_encode(MSG_ALERT, &m, &p->encoded);
	p->label = xasprintf("%s %.*s %s %s: %.*s", t->alert, (int)t->device.len,
	    (const char *)t->device.data, alert_state_name(t->state), severity_name(t->severity),
	    (int)t->summary.len, (const char *)t->summary.data);
	memcpy(p->id, t->id, sizeof(p->id));
	p->number = e->added++;
	p->older = e->newest;
	*(e->newest ? &e->newest->newer : &e->oldest) = p;
	e->newest = p;
	e->held++;
	if (++e->count > e->mask) {
		table_grow(e);
	} else {
		link = chain_of(e, p->id);
		p->next = *link;
		*link = p;
	}
	if (!e->holding || e->held > EMIT_HELD_MAX)
		push_held(e);
}

void
emit_seen(struct emit *e, struct bytes id)
{
	char text[ALERT_ID_MAX];
	struct pending *p;

	if (e->count == 0 || id.len >= sizeof(text))
		return;
	memcpy(text, id.data, id.len);
	text[id.len] = '\0';
	for (p = *chain_of(e, text); p && strcmp(p->id, text) != 0;)
		p = p->next;
	if (p == NULL)
		return;
	if (p->pushed)
		p->durable = true;
	else
		pending_free(e, p);
}

bool
emit_is_holding(const struct emit *e)
{
	return e->holding;
}

void
emit_reached(struct emit *e, uint64_t upto, uint64_t end)
{
	if (!e->holding)
		return;
	if (e->end_unknown) {
		e->end_unknown = false;
		e->hold_until = end > e->hold_until ? end : e->hold_until;
	}
	if (upto < e->hold_until)
		return;
	e->holding = false;
	push_held(e);
}

static void
take_committed(struct emit *e, struct stream_batch *b)
{
	struct stream_batch *next;

	for (; b; b = next) {
		next = b->next;
		pending_free(e, b->owner_data);
		stream_batch_free(&b);
	}
}

bool
emit_welcome(struct emit *e, const struct msg_welcome *m)
{
	struct stream_batch *committed = NULL;

	if (m->partition != e->partition)
		return false;
	if (m->life == e->w->life &&
	    stream_tx_welcome(&e->tx, m->stream, m->upto, (uint32_t)m->window,
		(uint32_t)m->window_bytes, loop_now_us(e->w->loop), &committed) == 0)
		take_committed(e, committed);
	return true;
}

bool
emit_commit(struct emit *e, const struct msg_commit *m)
{
	struct stream_batch *committed = NULL;

	if (e->tx.id == 0 || m->stream != e->tx.id)
		return false;
	if (stream_tx_commit(&e->tx, m->stream, m->upto, (uint32_t)m->window,
		(uint32_t)m->window_bytes, loop_now_us(e->w->loop), &committed) == 0)
		take_committed(e, committed);
	return true;
}

bool
emit_gap(struct emit *e, const struct msg_gap *m)
{
	if (e->tx.id == 0 || m->stream != e->tx.id)
		return false;
	stream_tx_gap(&e->tx, m->stream, m->next, loop_now_us(e->w->loop));
	return true;
}

/* The stream is over. What it did not answer may be in the journal all the same: back to held, and look. */
bool
emit_fenced(struct emit *e, const struct msg_fenced *m)
{
	struct stream_tx over = e->tx;
	struct pending *p, *newer;

	if (m->partition != e->partition)
		return false;
	if (m->stream != e->tx.id || m->stream == 0)
		return true; /* of the past; or not the owner (yet): HELLO is repeated until ASSIGN says more */
	log_info("rules.fenced", LU("partition", e->partition), LU("stream", m->stream),
	    LU("alerts", over.queued_batches));
	stream_tx_fini(&e->tx, NULL);
	stream_tx_init(&e->tx);
	e->tx.last_id = over.id;
	for (p = e->oldest; p; p = newer) {
		newer = p->newer;
		if (!p->pushed)
			continue;
		p->pushed = false;
		e->held++;
		if (p->durable)
			pending_free(e, p);
	}
	e->holding = true;
	e->end_unknown = true;
	return true;
}

static void
send_hello(struct emit *e)
{
	struct msg_hello hello = {
		.life = e->w->life,
		.partition = e->partition,
		.stream = e->tx.id,
		.acked = e->tx.id ? e->tx.committed : 0,
		.epoch = e->epoch,
		/* Its numbers went with the stream: only a later id will do. */
		.given_up = e->tx.id ? 0 : e->tx.last_id,
	};

	(void)bus_send(e->link, NULL, MSG_HELLO, &hello); /* lost: said again at its time-out */
}

bool
emit_pump(struct emit *e)
{
	int64_t now = loop_now_us(e->w->loop);
	struct stream_batch *b;

	if (e->tx.head == NULL)
		return false;
	if (!e->assigned || !bus_link_is_up(e->link))
		return true;
	(void)stream_tx_timer(&e->tx, now);
	if (stream_tx_hello_due(&e->tx, now))
		send_hello(e);
	while ((b = stream_tx_next(&e->tx, now)) != NULL) {
		struct msg_batch m = {
			.stream = e->tx.id,
			.seq = b->seq,
			.partition = e->partition,
			.kind = b->kind,
			.retry = b->resent,
			.records = buf_bytes(&b->records),
			.acked = e->tx.committed,
		};
		if (bus_send(e->link, NULL, MSG_STREAM_BATCH, &m) != 0) {
			stream_tx_unsend(&e->tx, b);
			break;
		}
	}
	return true;
}

size_t
emit_waiting(const struct emit *e)
{
	return e->count;
}

size_t
emit_sent(const struct emit *e)
{
	return e->count - e->held;
}

uint64_t
emit_mark(const struct emit *e)
{
	return e->added;
}

bool
emit_is_durable(const struct emit *e, uint64_t mark)
{
	for (const struct pending *p = e->oldest; p && p->number < mark; p = p->newer) {
		if (!p->durable)
			return false;
	}
	return true;
}
