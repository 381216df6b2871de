/* fuzz_stream.c - both ends of the delivery protocol under any order of calls and any answers
 *
 * The input is a program of one-byte steps with one-byte operands. Answers hold whatever the input says, so the peer may
 * be wrong in every way; what an end keeps must stay in order all the same. Schedules with an honest peer, and what they
 * promise, are in tests/unit/common/test_stream_schedules.c. */
#include <stdbool.h>
#include <stdint.h>

#include "codec.h"
#include "err.h"
#include "mem.h"
#include "stream.h"

#define PUSHED_MAX 512
#define REFUSALS_PER_STEP 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *at;
	const uint8_t *end;
};

static uint64_t
operand(struct input *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

/* Near the values that matter, or far away. */
static uint64_t
near(struct input *in, uint64_t value)
{
	uint64_t v = operand(in);

	return v < 224 ? value + v - 8 : v < 240 ? v - 224 : UINT64_MAX - (v - 240);
}

/* --- sender --- */

static void
check_tx(const struct stream_tx *s)
{
	const struct stream_batch *b;
	size_t batches = 0, bytes = 0, outstanding = 0;
	bool sent = true;
	uint64_t seq = s->committed;

	for (b = s->head; b; b = b->next) {
		if (b == s->unsent)
			sent = false;
		ASSERT(b->seq == ++seq);
		ASSERT(!sent || b->seq <= s->sent_max);
		ASSERT(b->next || b == s->tail);
		batches++;
		bytes += b->records.len;
		outstanding += sent ? b->records.len : 0;
	}
	ASSERT(s->head || !s->tail);
	ASSERT(s->unsent ? !sent : sent);
	ASSERT(s->next_seq == seq + 1);
	ASSERT(s->queued_batches == batches && s->queued_bytes == bytes);
	ASSERT(s->outstanding_bytes == outstanding);
	ASSERT(s->window <= STREAM_WINDOW_BATCHES);
	ASSERT(s->id || !s->rto_at_us);
	ASSERT(!(s->hello_at_us && s->rto_at_us));
	/* whoever waits for an answer is woken */
	ASSERT(s->id == 0 || s->head == s->unsent || stream_tx_deadline(s) != 0);
	ASSERT(s->rto_us <= STREAM_RTO_MAX_US);
}

/* What was committed comes oldest first, each once. */
static void
drop(struct stream_batch *list, uint64_t *pushed_first)
{
	struct stream_batch *next;

	for (; list; list = next) {
		next = list->next;
		ASSERT((uint64_t)(uintptr_t)list->owner_data == ++*pushed_first);
		stream_batch_free(&list);
	}
}

static void
run_tx(struct input *in)
{
	struct stream_tx s;
	struct stream_batch *b, *list;
	uint64_t pushed = 0, answered = 0, id, upto;
	uint32_t window, window_bytes;
	int64_t now = 1;

	stream_tx_init(&s);
	while (in->at < in->end) {
		list = NULL;
		switch (operand(in) % 10) {
		case 0:
			if (pushed == PUSHED_MAX)
				break;
			b = xcalloc(1, sizeof(*b));
			buf_reserve(&b->records, 4096);
			b->records.len = (size_t)operand(in) * 16;
			b->owner_data = (void *)(uintptr_t)++pushed;
			stream_tx_push(&s, &b);
			break;
		case 1:
			stream_tx_reconnect(&s, now);
			break;
		case 2:
			if (stream_tx_hello_due(&s, now))
				ASSERT(s.hello_at_us > now && !stream_tx_hello_due(&s, now));
			break;
		case 3:
		case 4:
			id = near(in, s.id ? s.id : s.last_id + 1);
			upto = near(in, s.id || s.last_id ? s.committed : 0);
			window = (uint32_t)operand(in);
			window_bytes = (uint32_t)operand(in) * 1024;
			if (in->at[-1] % 2
				? stream_tx_welcome(&s, id, upto, window, window_bytes, now, &list)
				: stream_tx_commit(&s, id, upto, window, window_bytes, now, &list))
				ASSERT(!list);
			drop(list, &answered);
			break;
		case 5:
			stream_tx_fenced(&s, near(in, s.id), now);
			break;
		case 6:
			stream_tx_gap(&s, near(in, s.id), near(in, s.committed), now);
			break;
		case 7:
			b = stream_tx_next(&s, now);
			if (b && operand(in) % 4 == 0)
				stream_tx_unsend(&s, b);
			break;
		case 8:
			if (stream_tx_timer(&s, now))
				ASSERT(stream_tx_deadline(&s) > now || s.hello_at_us);
			(void)stream_tx_is_full(&s);
			break;
		case 9:
			now += (int64_t)operand(in) * 4000;
			break;
		}
		check_tx(&s);
	}
	ASSERT(s.queued_batches == pushed - answered);
	stream_tx_fini(&s, NULL);
}

/* --- receiver --- */

static void
check_rx(const struct stream_rx *s)
{
	struct bytes told = stream_rx_refusals(s), all = buf_bytes(&s->refusals);
	size_t i, n = u64s_count(all);
	uint64_t seq, index, last_seq = 0, last_index = 0;

	ASSERT(s->committed <= s->appended && n % 2 == 0 && told.len <= all.len);
	for (i = 0; i < n; i += 2) {
		seq = u64s_at(all, i);
		index = u64s_at(all, i + 1) >> 32;
		ASSERT(seq > s->acked && seq <= s->appended);
		ASSERT(i == 0 || seq > last_seq || (seq == last_seq && index > last_index));
		ASSERT((seq <= s->committed) == (i * 8 < told.len));
		last_seq = seq;
		last_index = index;
	}
}

static void
run_rx(struct input *in)
{
	struct stream_rx s;
	struct bytes list;
	enum stream_verdict_of_seq v;
	uint64_t seq, n, before;
	size_t at;
	uint32_t i;
	int64_t now = 1;

	stream_rx_init(&s, 1, 0, operand(in));
	while (in->at < in->end) {
		switch (operand(in) % 5) {
		case 0:
		case 1:
			seq = operand(in) % 2 ? s.appended + 1 : near(in, s.appended);
			before = s.appended;
			v = stream_rx_offer(&s, seq);
			ASSERT((v == STREAM_NEXT) == (seq == before + 1 && seq != 0));
			ASSERT(v == STREAM_NEXT ? s.appended == seq : s.appended == before);
			if (v == STREAM_GAP && stream_rx_gap_due(&s, now))
				ASSERT(!stream_rx_gap_due(&s, now));
			n = v == STREAM_NEXT ? operand(in) % REFUSALS_PER_STEP : 0;
			for (i = 0; i < n; i++)
				stream_rx_refused(&s, seq, i * 2, i + 1);
			break;
		case 2:
			stream_rx_synced(&s);
			ASSERT(s.committed == s.appended);
			break;
		case 3:
			seq = near(in, s.committed);
			ASSERT((stream_rx_acked(&s, seq) == ERR_DAMAGED) == (seq > s.committed));
			break;
		case 4:
			list = stream_rx_refusals(&s);
			at = 0;
			seq = near(in, s.acked);
			for (i = 0; i < 2 * REFUSALS_PER_STEP; i++) {
				n = stream_verdict(list, &at, seq, i);
				ASSERT(n == 0 || (i % 2 == 0 && n == i / 2 + 1));
			}
			now += (int64_t)operand(in) * 100;
			break;
		}
		check_rx(&s);
	}
	stream_rx_fini(&s);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { .at = data, .end = data + size };

	if (size == 0 || size > 4096)
		return 0;
	if (operand(&in) % 4)
		run_tx(&in);
	else
		run_rx(&in);
	return 0;
}
