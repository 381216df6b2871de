/* stream.h - the delivery protocol's two ends: sequence, credit, re-send, verdicts; pure
 *
 * A stream is (sender's life, partition). The sender owns a batch until COMMIT. Go-back-N: on a gap, a time-out, or a
 * reconnect it sends again from the first uncommitted batch. Storage appends what is next, drops repeats and
 * answers them with the COMMIT they missed, and says GAP for what is ahead. Credit is a window over the last commit, in
 * batches and bytes, so that a lost or repeated grant is harmless.
 *
 * Any message may be lost, repeated or late. What makes that safe (tests/model/ checks each of these by leaving it out):
 *  - Ids only grow within a shard and are durable before WELCOME; an answer with another id than ours is ignored.
 *  - COMMIT and WELCOME carry the refusals of everything after the sender's own `acked` (HELLO and BATCH say it), not
 *    after what was reported before: a COMMIT that got lost must not turn a refusal into an acceptance.
 *  - FENCED does not renumber anything. The sender asks with id 0, and storage answers with the id that this (worker, life,
 *    partition, epoch) has, if it has one. Only an id that is new lets the sender number its batches again.
 *  - Only the process that holds the shard's flock, and has finished recovery, answers anything. */
#ifndef ROOST_STREAM_H
#define ROOST_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"

#define STREAM_WINDOW_BATCHES 64 /* storage never grants more, the sender never uses more */
#define STREAM_WINDOW_BYTES (4u << 20)
#define STREAM_RTO_MIN_US 20000
#define STREAM_RTO_MAX_US 1000000
#define STREAM_GAP_QUIET_US 10000 /* GAP for the same next is said, and heeded, once in this time */

/* --- sender --- */

struct stream_batch { /* owned by the stream from push to commit */
	struct stream_batch *next;
	uint64_t seq;
	unsigned kind; /* enum entry_kind */
	struct buf records;
	uint32_t record_count;
	int64_t sent_us;  /* last sending; 0: never */
	bool resent;	  /* this sending is not the first: STREAM_BATCH.retry */
	void *owner_data; /* the sender's own: who is to be answered */
};

struct stream_tx {
	uint64_t id;	    /* 0: not issued yet, or over */
	uint64_t last_id;   /* what id was before FENCED; ids below it are of the past */
	uint64_t committed; /* STREAM_BATCH.acked; HELLO.acked too, but 0 there while id is 0 */
	uint64_t next_seq;  /* of the next push */
	uint64_t sent_max;  /* highest seq ever sent under this id */
	uint32_t window;
	uint32_t window_bytes;
	struct stream_batch *head; /* first uncommitted */
	struct stream_batch *tail;
	struct stream_batch *unsent; /* first not sent in this pass */
	size_t queued_batches;
	size_t queued_bytes;
	size_t outstanding_bytes; /* sent in this pass and uncommitted */
	int64_t srtt_us;	  /* 0: not measured yet */
	int64_t rttvar_us;
	int64_t rto_us;
	int64_t rto_at_us;     /* 0: nothing is waited for */
	int64_t hello_at_us;   /* when to say HELLO (again); 0: the stream stands */
	int64_t hello_wait_us; /* time to the HELLO after the next */
	bool probing;	       /* after a time-out: one batch only, until the receiver is heard */
	unsigned timeouts;     /* in a row */
	uint64_t resent_total;
};

void stream_tx_init(struct stream_tx *s);
/* free_owner frees owner_data of what is left; may be NULL. */
void stream_tx_fini(struct stream_tx *s, void (*free_owner)(void *owner_data));
/* Takes b (heap) over and numbers it. */
void stream_tx_push(struct stream_tx *s, struct stream_batch **b);
/* The link came up or the stream must be asked about again: HELLO now, nothing is sent before WELCOME. */
void stream_tx_reconnect(struct stream_tx *s, int64_t now_us);
/* True if HELLO is due now; then counts it as sent (repeated, at RTO and slower, until WELCOME). */
bool stream_tx_hello_due(struct stream_tx *s, int64_t now_us);
/* WELCOME of our life and partition: the stream stands at upto. With a new id the uncommitted batches are numbered again
 * from 1. Returns the batches that are committed by it, oldest first, as a list the caller frees. ERR_MALFORMED: an
 * answer of the past or an impossible one, ignore it. */
int stream_tx_welcome(struct stream_tx *s, uint64_t id, uint64_t upto, uint32_t window,
    uint32_t window_bytes, int64_t now_us, struct stream_batch **ret_committed);
/* FENCED: the id is over. Next HELLO asks with id 0, and may get the same id. A sender that re-derives its batches (rules)
 * drops them instead: fini, init, last_id = the id that is over, and HELLO.given_up = last_id while id is 0. For the numbers
 * are gone with the batches, and the old id would never fit again. */
void stream_tx_fenced(struct stream_tx *s, uint64_t id, int64_t now_us);
/* The next batch that may be sent now, or NULL: call until NULL. Counts it as sent at now_us. */
struct stream_batch *stream_tx_next(struct stream_tx *s, int64_t now_us);
/* The send failed (ERR_AGAIN): take the last stream_tx_next() back. The next turn or time-out tries again. */
void stream_tx_unsend(struct stream_tx *s, struct stream_batch *b);
/* As stream_tx_welcome; a repeated or old COMMIT is 0 and an empty list. */
int stream_tx_commit(struct stream_tx *s, uint64_t id, uint64_t upto, uint32_t window,
    uint32_t window_bytes, int64_t now_us, struct stream_batch **ret_committed);
void stream_tx_gap(struct stream_tx *s, uint64_t id, uint64_t next, int64_t now_us);
/* Time-outs: true if batches are to be sent again (call stream_tx_next) or HELLO is due (stream_tx_hello_due). */
bool stream_tx_timer(struct stream_tx *s, int64_t now_us);
/* When stream_tx_timer wants to be called; 0: never. */
int64_t stream_tx_deadline(const struct stream_tx *s);
/* No credit or too much waiting: the sender should stop taking input. */
bool stream_tx_is_full(const struct stream_tx *s);
void stream_batch_free(struct stream_batch **b);
/* The verdict of one record by the list of a COMMIT or WELCOME; 0 (accepted) if it is not in it. Ask in ascending order of
 * (seq, index); *at starts at 0 for each list. Call it for the batches of ret_committed only: the list may say more. */
uint32_t stream_verdict(struct bytes verdicts, size_t *at, uint64_t seq, uint32_t index);

/* --- receiver --- */

enum stream_verdict_of_seq { STREAM_NEXT, STREAM_REPEAT, STREAM_GAP };

#define STREAM_REFUSALS_MAX (STREAM_WINDOW_BATCHES * 4096)

struct stream_rx {
	uint64_t id;
	uint32_t partition;
	uint64_t committed; /* durable */
	uint64_t appended;  /* in the block being built; >= committed */
	uint64_t acked;	    /* the sender has seen COMMITs up to here */
	struct buf
	    refusals; /* U64S pairs (seq, index << 32 | verdict), ascending, of refused records after acked */
	int64_t gap_said_us;
	uint64_t gap_said_next; /* 0: none */
};

/* A stream that stands at committed. */
void stream_rx_init(struct stream_rx *s, uint64_t id, uint32_t partition, uint64_t committed);
void stream_rx_fini(struct stream_rx *s);
/* What to do with this sequence number. NEXT advances appended: ask only when the batch can be appended (credit, room).
 * REPEAT: answer COMMIT{committed, refusals}, once a turn is enough. GAP: see stream_rx_gap_due. */
enum stream_verdict_of_seq stream_rx_offer(struct stream_rx *s, uint64_t seq);
/* True if GAP{appended + 1} should be said. */
bool stream_rx_gap_due(struct stream_rx *s, int64_t now_us);
/* A record of the batch that was NEXT (or restored) last is refused. index < 4096 and ascending. */
void stream_rx_refused(struct stream_rx *s, uint64_t seq, uint32_t index, uint32_t verdict);
/* The sync returned 0: appended is durable. */
void stream_rx_synced(struct stream_rx *s);
/* HELLO or BATCH says what the sender has seen: forget older refusals. ERR_DAMAGED: more than committed, so the journal lost
 * what was durable (a damaged block): drop the stream and its id, say FENCED, report it loudly. */
int stream_rx_acked(struct stream_rx *s, uint64_t acked);
/* Recovery: batch seq is on disk, the ones before it too or they were damaged. Its refusals follow by stream_rx_refused. */
void stream_rx_restore(struct stream_rx *s, uint64_t seq);
/* Refusals after acked, up to committed, for COMMIT and WELCOME; a U64S list borrowed until the next call on s. */
struct bytes stream_rx_refusals(const struct stream_rx *s);

#endif
