/* session_state_impl.h - what the session_state files share */
#ifndef ROOST_SESSION_STATE_IMPL_H
#define ROOST_SESSION_STATE_IMPL_H

#include "redis.h"
#include "session_state.h"
#include "session_state_scripts.h"

/* A write of the batch being built or waited for: what a refusal has to say. */
struct session_op {
	uint64_t epoch;
	uint64_t n;
	size_t id_at;		/* in batch.ids */
	uint32_t id_len;
	bool queues;
};

struct session_unit {
	uint64_t token;
	uint32_t ops_end;	/* its writes end before this one */
};

struct session_batch {
	struct session_batch *next;	/* left after this one */
	struct session_state *ss;
	uint64_t number;
	struct session_unit *units;
	size_t unit_count;
	size_t unit_cap;
	struct session_op *ops;
	size_t op_count;
	size_t op_cap;
	struct buf ids;
	struct buf args;	/* until it leaves */
	uint32_t arg_count;
};

struct session_state {
	struct loop *loop;
	const struct session_state_events *events;
	void *arg;
	struct redis *redis;
	char *worker;
	char *log_key;
	uint64_t life;
	size_t queue_max;
	size_t value_max;	/* bytes of a value that is asked for; Redis leaves out longer ones */
	bool up;
	bool begun;		/* in this life, once */
	bool full;		/* ERR_FULL was said */
	uint64_t number;	/* of the last batch that left */
	uint64_t acked;		/* of the last that was answered */
	uint64_t epoch;		/* highest seen */
	struct session_batch *open;	/* NULL: no unit is open */
	struct session_batch *waiting;	/* left, not answered, oldest first */
	struct session_batch **waiting_end;
	uint64_t *known;	/* batches whose results Redis may forget */
	size_t known_count;
	size_t known_cap;
	struct session_read *reads;
	struct loop_timer check;
	struct buf scratch;
};

/* session_state.c */
void session_send_batch(struct session_state *ss);	/* what is open; flush to have it leave now */

/* session_state_entry.c */
/* The frame holds a message of that type; its views are into the frame. */
bool session_frame(struct bytes frame, enum msg_type type, union msg_any *ret);
/* What an entry of those kinds that have a key and a value says. msg holds what item points to. */
bool session_entry(enum session_state_kind kind, struct bytes key, struct bytes value, struct session_state_item *item,
    union msg_any msg[2]);

/* session_state_read.c */
void session_reads_free(struct session_state *ss);	/* no callbacks */
/* The answer to a question; what ends the connection is dealt with. */
int session_answer(struct session_state *ss, int err, const struct redis_view *reply);

#endif
