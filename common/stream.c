/* stream.c - the delivery protocol's two ends; pure
 *
 * The sender keeps its uncommitted batches in one list, head to tail. `unsent` splits it: what is before it was sent in
 * this pass and is waited for, what is from it on may be sent as the window allows. To send again is to move `unsent`
 * back; a COMMIT cuts the list at its front. A time-out sends one batch only (probing) and the next one in a row asks
 * with HELLO, so that a storage that is busy for seconds is not buried in repeats. */
#include "stream.h"

#include <stdlib.h>

#include "codec.h"
#include "err.h"
#include "mem.h"

/* --- sender: the queue --- */

void
stream_tx_init(struct stream_tx *s)
{
	*s = (struct stream_tx){
		.next_seq = 1,
		.rto_us = STREAM_RTO_MAX_US / 5, /* until measured */
		.hello_wait_us = STREAM_RTO_MIN_US,
	};
}

void
stream_batch_free(struct stream_batch **b)
{
	if (!*b)
		return;
	buf_fini(&(*b)->records);
	free(*b);
	*b = NULL;
}

void
stream_tx_fini(struct stream_tx *s, void (*free_owner)(void *owner_data))
{
	struct stream_batch *b, *next;

	for (b = s->head; b; b = next) {
		next = b->next;
		if (free_owner)
			free_owner(b->owner_data);
		stream_batch_free(&b);
	}
	*s = (struct stream_tx){ 0 };
}

void
stream_tx_push(struct stream_tx *s, struct stream_batch **b)
{
	struct stream_batch *batch = *b;

	*b = NULL;
	batch->next = NULL;
	batch->seq = s->next_seq++;
	batch->sent_us = 0;
	batch->resent = false;
	if (s->tail)
		s->tail->next = batch;
	else
		s->head = batch;
	s->tail = batch;
	if (!s->unsent)
		s->unsent = batch;
	s->queued_batches++;
	s->queued_bytes += batch->records.len;
}

bool
stream_tx_is_full(const struct stream_tx *s)
{
	if (s->id && !s->hello_at_us && (s->window == 0 || s->window_bytes == 0))
		return true;
	return s->queued_batches >= STREAM_WINDOW_BATCHES || s->queued_bytes >= STREAM_WINDOW_BYTES;
}

/* Cuts the batches up to and with seq off the front; NULL if there are none. */
static struct stream_batch *
tx_cut(struct stream_tx *s, uint64_t upto)
{
	struct stream_batch *first = s->head;
	struct stream_batch *last = NULL;
	bool outstanding = true;

	while (s->head && s->head->seq <= upto) {
		last = s->head;
		/* A batch can be committed by an earlier pass before this one reaches it. */
		if (last == s->unsent)
			outstanding = false;
		if (outstanding)
			s->outstanding_bytes -= last->records.len;
		s->queued_batches--;
		s->queued_bytes -= last->records.len;
		s->head = last->next;
	}
	if (!last)
		return NULL;
	last->next = NULL;
	if (!outstanding)
		s->unsent = s->head;
	if (!s->head)
		s->tail = NULL;
	return first;
}

/* Everything from b (NULL: nothing) on is to be sent again. */
static void
tx_rewind(struct stream_tx *s, struct stream_batch *b)
{
	const struct stream_batch *at;

	for (at = b; at && at != s->unsent; at = at->next)
		s->outstanding_bytes -= at->records.len;
	s->unsent = b;
}

/* --- sender: timers --- */

static bool
tx_is_closed(const struct stream_tx *s)
{
	return s->window == 0 || s->window_bytes == 0;
}

/* Waits for an answer to what is outstanding, or for credit. */
static void
tx_rearm(struct stream_tx *s, int64_t now_us)
{
	bool waits = s->head != s->unsent || tx_is_closed(s);

	s->rto_at_us = !s->hello_at_us && waits ? now_us + s->rto_us : 0;
}

/* RFC 6298, on batches that were sent once (Karn): oldest is the first of a commit, which waited longest. */
static void
tx_measure(struct stream_tx *s, const struct stream_batch *oldest, int64_t now_us)
{
	int64_t rtt, off, rto;

	if (oldest->resent)
		return;
	rtt = now_us > oldest->sent_us ? now_us - oldest->sent_us : 1;
	if (s->srtt_us == 0) {
		s->srtt_us = rtt;
		s->rttvar_us = rtt / 2;
	} else {
		off = rtt > s->srtt_us ? rtt - s->srtt_us : s->srtt_us - rtt;
		s->rttvar_us += (off - s->rttvar_us) / 4;
		s->srtt_us += (rtt - s->srtt_us) / 8; /* both are 1 at least, so this stays so */
	}
	rto = s->srtt_us + 4 * s->rttvar_us;
	s->rto_us = rto < STREAM_RTO_MIN_US   ? STREAM_RTO_MIN_US
		    : rto > STREAM_RTO_MAX_US ? STREAM_RTO_MAX_US
					      : rto;
}

static void
tx_ask(struct stream_tx *s, int64_t now_us)
{
	s->hello_at_us = now_us ? now_us : 1;
	s->hello_wait_us = s->rto_us;
	s->rto_at_us = 0;
}

void
stream_tx_reconnect(struct stream_tx *s, int64_t now_us)
{
	tx_ask(s, now_us);
}

bool
stream_tx_hello_due(struct stream_tx *s, int64_t now_us)
{
	if (s->hello_at_us == 0 || now_us < s->hello_at_us)
		return false;
	s->hello_at_us = now_us + s->hello_wait_us;
	s->hello_wait_us *= 2;
	if (s->hello_wait_us > STREAM_RTO_MAX_US)
		s->hello_wait_us = STREAM_RTO_MAX_US;
	return true;
}

bool
stream_tx_timer(struct stream_tx *s, int64_t now_us)
{
	if (s->hello_at_us)
		return now_us >= s->hello_at_us;
	if (s->rto_at_us == 0 || now_us < s->rto_at_us)
		return false;
	s->rto_us = s->rto_us * 2 > STREAM_RTO_MAX_US ? STREAM_RTO_MAX_US : s->rto_us * 2;
	s->timeouts++;
	/* Two in a row: the limiter may be away, or FENCED or the grant of credit got lost. Storage itself knows. */
	if (s->timeouts >= 2 || tx_is_closed(s)) {
		s->timeouts = 0;
		tx_ask(s, now_us);
		return true;
	}
	tx_rewind(s, s->head);
	s->probing = true;
	s->rto_at_us = now_us + s->rto_us;
	return true;
}

int64_t
stream_tx_deadline(const struct stream_tx *s)
{
	return s->hello_at_us ? s->hello_at_us : s->rto_at_us;
}

/* --- sender: out --- */

struct stream_batch *
stream_tx_next(struct stream_tx *s, int64_t now_us)
{
	struct stream_batch *b = s->unsent;

	if (!b || !s->id || s->hello_at_us || tx_is_closed(s))
		return NULL;
	if (b->seq - s->committed > s->window)
		return NULL;
	/* A batch larger than the window of bytes goes alone. */
	if (b != s->head) {
		if (s->probing || s->outstanding_bytes >= s->window_bytes)
			return NULL;
		if (b->records.len > s->window_bytes - s->outstanding_bytes)
			return NULL;
	}
	b->resent = b->sent_us != 0;
	b->sent_us = now_us ? now_us : 1;
	if (b->resent)
		s->resent_total++;
	if (b->seq > s->sent_max)
		s->sent_max = b->seq;
	s->outstanding_bytes += b->records.len;
	s->unsent = b->next;
	if (s->rto_at_us == 0)
		s->rto_at_us = now_us + s->rto_us;
	return b;
}

void
stream_tx_unsend(struct stream_tx *s, struct stream_batch *b)
{
	ASSERT(b->next == s->unsent);
	s->unsent = b;
	s->outstanding_bytes -= b->records.len;
	if (b->resent) {
		s->resent_total--;
	} else {
		b->sent_us = 0;
		s->sent_max = b->seq - 1;
	}
}

/* --- sender: in --- */

/* Credit counts only from an answer that is not older than what we know. */
static struct stream_batch *
tx_advance(
    struct stream_tx *s, uint64_t upto, uint32_t window, uint32_t window_bytes, int64_t now_us)
{
	struct stream_batch *list = tx_cut(s, upto);
	bool was_closed = tx_is_closed(s);

	s->committed = upto;
	s->window = window < STREAM_WINDOW_BATCHES ? window : STREAM_WINDOW_BATCHES;
	s->window_bytes = window_bytes;
	if (list) {
		tx_measure(s, list, now_us);
		s->probing = false;
		s->timeouts = 0;
	}
	if (list || was_closed != tx_is_closed(s))
		tx_rearm(s, now_us);
	return list;
}

int
stream_tx_commit(struct stream_tx *s, uint64_t id, uint64_t upto, uint32_t window,
    uint32_t window_bytes, int64_t now_us, struct stream_batch **ret_committed)
{
	if (s->id == 0 || id != s->id || upto > s->sent_max)
		return ERR_MALFORMED;
	*ret_committed =
	    upto < s->committed ? NULL : tx_advance(s, upto, window, window_bytes, now_us);
	return 0;
}

static void
tx_renumber(struct stream_tx *s)
{
	struct stream_batch *b;

	s->committed = 0;
	s->sent_max = 0;
	s->next_seq = 1;
	for (b = s->head; b; b = b->next)
		b->seq = s->next_seq++;
}

int
stream_tx_welcome(struct stream_tx *s, uint64_t id, uint64_t upto, uint32_t window,
    uint32_t window_bytes, int64_t now_us, struct stream_batch **ret_committed)
{
	bool asked = s->hello_at_us != 0;
	uint64_t ours = s->id ? s->id : s->last_id;

	if (id == 0)
		return ERR_MALFORMED;
	if (id == ours) {
		if (upto < s->committed || upto > s->sent_max)
			return ERR_MALFORMED;
	} else {
		/* Ids grow: a smaller one is an answer from before. A new one cannot stand anywhere but at its start. */
		if (s->id || id < ours || upto != 0)
			return ERR_MALFORMED;
		tx_renumber(s);
	}
	s->id = id;
	s->last_id = id;
	if (asked) {
		s->hello_at_us = 0;
		s->probing = false;
		tx_rewind(s, s->head);
	}
	*ret_committed = tx_advance(s, upto, window, window_bytes, now_us);
	if (asked)
		tx_rearm(s, now_us);
	return 0;
}

void
stream_tx_fenced(struct stream_tx *s, uint64_t id, int64_t now_us)
{
	if (s->id == 0 || id != s->id)
		return;
	s->id = 0;
	tx_ask(s, now_us);
}

void
stream_tx_gap(struct stream_tx *s, uint64_t id, uint64_t next, int64_t now_us)
{
	struct stream_batch *b;

	if (s->id == 0 || id != s->id || s->hello_at_us || next <= s->committed)
		return;
	for (b = s->head; b && b != s->unsent && b->seq != next; b = b->next)
		continue;
	if (!b || b == s->unsent)
		return;
	/* Said again before the re-sent batch got there. */
	if (b->resent && now_us - b->sent_us < STREAM_GAP_QUIET_US)
		return;
	tx_rewind(s, b);
	s->probing = false;
	s->timeouts = 0;
	s->rto_at_us = now_us + s->rto_us;
}

uint32_t
stream_verdict(struct bytes verdicts, size_t *at, uint64_t seq, uint32_t index)
{
	size_t pairs = u64s_count(verdicts) / 2;
	uint64_t s, v;

	for (; *at < pairs; (*at)++) {
		s = u64s_at(verdicts, *at * 2);
		v = u64s_at(verdicts, *at * 2 + 1);
		if (s > seq || (s == seq && v >> 32 > index))
			break;
		if (s == seq && v >> 32 == index)
			return (uint32_t)v;
	}
	return 0;
}

/* --- receiver --- */

#define REFUSAL_SIZE 16 /* two numbers of a U64S list */

void
stream_rx_init(struct stream_rx *s, uint64_t id, uint32_t partition, uint64_t committed)
{
	*s = (struct stream_rx){
		.id = id,
		.partition = partition,
		.committed = committed,
		.appended = committed,
	};
	buf_init(&s->refusals, (size_t)STREAM_REFUSALS_MAX * REFUSAL_SIZE);
}

void
stream_rx_fini(struct stream_rx *s)
{
	buf_fini(&s->refusals);
}

static uint64_t
refusal_seq(const struct stream_rx *s, size_t i)
{
	return u64s_at(buf_bytes(&s->refusals), i * 2);
}

static void
rx_forget(struct stream_rx *s, uint64_t acked)
{
	size_t n = s->refusals.len / REFUSAL_SIZE;
	size_t i = 0;

	if (acked <= s->acked)
		return;
	s->acked = acked;
	while (i < n && refusal_seq(s, i) <= acked)
		i++;
	if (i)
		buf_consume(&s->refusals, i * REFUSAL_SIZE);
}

/* Whoever sends seq has seen the COMMIT of what lies a window before it: that bounds the refusals kept. */
static void
rx_append(struct stream_rx *s, uint64_t seq)
{
	s->appended = seq;
	if (seq > STREAM_WINDOW_BATCHES)
		rx_forget(s, seq - STREAM_WINDOW_BATCHES);
}

enum stream_verdict_of_seq
stream_rx_offer(struct stream_rx *s, uint64_t seq)
{
	if (seq <= s->appended)
		return STREAM_REPEAT;
	if (seq - s->appended > 1)
		return STREAM_GAP;
	rx_append(s, seq);
	return STREAM_NEXT;
}

bool
stream_rx_gap_due(struct stream_rx *s, int64_t now_us)
{
	uint64_t next = s->appended + 1;

	if (s->gap_said_next == next && now_us - s->gap_said_us < STREAM_GAP_QUIET_US)
		return false;
	s->gap_said_next = next;
	s->gap_said_us = now_us;
	return true;
}

void
stream_rx_refused(struct stream_rx *s, uint64_t seq, uint32_t index, uint32_t verdict)
{
	ASSERT(seq == s->appended);
	u64s_add(&s->refusals, seq);
	u64s_add(&s->refusals, (uint64_t)index << 32 | verdict);
	/* A refusal that is not kept would be told as accepted. */
	ASSERT(!s->refusals.failed);
}

void
stream_rx_synced(struct stream_rx *s)
{
	s->committed = s->appended;
}

int
stream_rx_acked(struct stream_rx *s, uint64_t acked)
{
	if (acked > s->committed)
		return ERR_DAMAGED;
	rx_forget(s, acked);
	return 0;
}

void
stream_rx_restore(struct stream_rx *s, uint64_t seq)
{
	rx_append(s, seq);
	s->committed = seq;
}

struct bytes
stream_rx_refusals(const struct stream_rx *s)
{
	size_t n = s->refusals.len / REFUSAL_SIZE;

	while (n && refusal_seq(s, n - 1) > s->committed)
		n--;
	return bytes_of(s->refusals.data, n * REFUSAL_SIZE);
}
