/* test_stream.c - both ends of the delivery protocol, by table */
#include <check.h>
#include <stdlib.h>

#include "../unit.h"
#include "codec.h"
#include "err.h"
#include "mem.h"
#include "stream.h"

#define KIB64 65536u
#define ID 77u

static int owners_freed;

static void
free_owner(void *owner)
{
	if (owner)
		owners_freed++;
}

static void
push(struct stream_tx *s, size_t size)
{
	struct stream_batch *b = xcalloc(1, sizeof(*b));
	static const uint8_t zeros[KIB64 * 2];

	buf_add(&b->records, zeros, size);
	b->owner_data = &owners_freed;
	stream_tx_push(s, &b);
	ck_assert_ptr_null(b);
}

/* Frees the list and returns how many there were; they must start at first. */
static unsigned
drop(struct stream_batch *list, uint64_t first)
{
	struct stream_batch *next;
	unsigned n = 0;

	for (; list; list = next, n++) {
		next = list->next;
		ck_assert_uint_eq(list->seq, first + n);
		stream_batch_free(&list);
		ck_assert_ptr_null(list);
	}
	return n;
}

static unsigned
send_all(struct stream_tx *s, int64_t now)
{
	unsigned n = 0;

	while (stream_tx_next(s, now))
		n++;
	return n;
}

/* A stream that stands, with n batches of 100 bytes. */
static void
standing(struct stream_tx *s, unsigned n, uint32_t window)
{
	struct stream_batch *list;

	stream_tx_init(s);
	while (n--)
		push(s, 100);
	stream_tx_reconnect(s, 1);
	ck_assert(stream_tx_hello_due(s, 1));
	ck_assert_int_eq(stream_tx_welcome(s, ID, 0, window, KIB64, 2, &list), 0);
	ck_assert_ptr_null(list);
}

START_TEST(nothing_before_welcome)
{
	struct stream_tx s;
	struct stream_batch *list;

	stream_tx_init(&s);
	ck_assert_int_eq(stream_tx_deadline(&s), 0);
	push(&s, 10);
	ck_assert_ptr_null(stream_tx_next(&s, 1));
	ck_assert(!stream_tx_hello_due(&s, 1));
	ck_assert(!stream_tx_timer(&s, 1));
	stream_tx_reconnect(&s, 5);
	ck_assert_int_eq(stream_tx_deadline(&s), 5);
	ck_assert(stream_tx_timer(&s, 5));
	ck_assert(stream_tx_hello_due(&s, 5));
	ck_assert(!stream_tx_hello_due(&s, 6));
	ck_assert_ptr_null(stream_tx_next(&s, 6));
	ck_assert_int_eq(stream_tx_welcome(&s, 0, 0, 4, KIB64, 7, &list), ERR_MALFORMED);
	ck_assert_int_eq(stream_tx_welcome(&s, ID, 1, 4, KIB64, 7, &list), ERR_MALFORMED);
	ck_assert_int_eq(stream_tx_welcome(&s, ID, 0, 4, KIB64, 7, &list), 0);
	ck_assert_ptr_nonnull(stream_tx_next(&s, 8));
	ck_assert_ptr_null(stream_tx_next(&s, 8));
	stream_tx_fini(&s, free_owner);
}
END_TEST

START_TEST(hello_is_repeated_and_slows_down)
{
	struct stream_tx s;
	int64_t now = 1, waited, last = 0;
	int i;

	stream_tx_init(&s);
	stream_tx_reconnect(&s, now);
	for (i = 0; i < 12; i++) {
		ck_assert(stream_tx_hello_due(&s, now));
		waited = stream_tx_deadline(&s) - now;
		ck_assert_int_ge(waited, last);
		ck_assert_int_le(waited, STREAM_RTO_MAX_US);
		last = waited;
		now = stream_tx_deadline(&s);
	}
	ck_assert_int_eq(last, STREAM_RTO_MAX_US);
	stream_tx_fini(&s, NULL);
}
END_TEST

START_TEST(window_counts_from_the_last_commit)
{
	struct stream_tx s;
	struct stream_batch *list;

	standing(&s, 10, 4);
	ck_assert_uint_eq(send_all(&s, 10), 4);
	ck_assert_int_eq(stream_tx_commit(&s, ID, 2, 4, KIB64, 20, &list), 0);
	ck_assert_uint_eq(drop(list, 1), 2);
	ck_assert_uint_eq(send_all(&s, 21), 2);
	/* the same grant again is no more credit, and an older one is not heard */
	ck_assert_int_eq(stream_tx_commit(&s, ID, 2, 4, KIB64, 22, &list), 0);
	ck_assert_ptr_null(list);
	ck_assert_int_eq(stream_tx_commit(&s, ID, 1, 64, KIB64, 22, &list), 0);
	ck_assert_ptr_null(list);
	ck_assert_int_eq(stream_tx_welcome(&s, ID, 1, 64, KIB64, 22, &list), ERR_MALFORMED);
	ck_assert_uint_eq(send_all(&s, 23), 0);
	ck_assert_uint_eq(s.outstanding_bytes, 400);
	ck_assert_uint_eq(s.queued_batches, 8);
	ck_assert_uint_eq(s.queued_bytes, 800);
	stream_tx_fini(&s, NULL);
}
END_TEST

START_TEST(bytes_bound_what_is_outstanding)
{
	struct stream_tx s;
	struct stream_batch *list;

	standing(&s, 0, 64);
	push(&s, KIB64 + 1); /* larger than the window: goes alone */
	push(&s, KIB64 - 1);
	push(&s, 1);
	push(&s, 1);
	ck_assert_uint_eq(send_all(&s, 10), 1);
	ck_assert_int_eq(stream_tx_commit(&s, ID, 1, 64, KIB64, 11, &list), 0);
	ck_assert_uint_eq(drop(list, 1), 1);
	ck_assert_uint_eq(send_all(&s, 12), 2);
	ck_assert_uint_eq(s.outstanding_bytes, KIB64);
	stream_tx_fini(&s, NULL);
}
END_TEST

START_TEST(answers_that_are_not_ours_change_nothing)
{
	static const struct {
		const char *label;
		uint64_t id, upto;
	} cases[] = {
		{ "another stream", ID + 1, 1 },
		{ "stream 0", 0, 1 },
		{ "never sent", ID, 4 },
		{ "never pushed", ID, 1000 },
		{ "end of the numbers", ID, UINT64_MAX },
	};
	struct stream_tx s;
	struct stream_batch *list;
	size_t i;

	standing(&s, 5, 3);
	ck_assert_uint_eq(send_all(&s, 10), 3);
	for (i = 0; i < COUNT_OF(cases); i++) {
		ck_assert_msg(stream_tx_commit(&s, cases[i].id, cases[i].upto, 64, KIB64, 11,
				  &list) == ERR_MALFORMED,
		    "%s", cases[i].label);
		ck_assert_msg(stream_tx_welcome(&s, cases[i].id, cases[i].upto, 64, KIB64, 11,
				  &list) == ERR_MALFORMED,
		    "%s", cases[i].label);
		ck_assert_uint_eq(s.committed, 0);
		ck_assert_uint_eq(s.window, 3);
	}
	stream_tx_gap(&s, ID + 1, 1, 12);
	stream_tx_gap(&s, ID, 0, 12);
	stream_tx_gap(&s, ID, 4, 12);
	stream_tx_gap(&s, ID, UINT64_MAX, 12);
	stream_tx_fenced(&s, ID + 1, 12);
	stream_tx_fenced(&s, 0, 12);
	ck_assert_uint_eq(send_all(&s, 13), 0);
	ck_assert_uint_eq(s.id, ID);
	stream_tx_fini(&s, NULL);
}
END_TEST

START_TEST(gap_sends_again_once)
{
	struct stream_tx s;
	struct stream_batch *b;

	standing(&s, 6, 64);
	ck_assert_uint_eq(send_all(&s, 10), 6);
	stream_tx_gap(&s, ID, 3, 20);
	ck_assert_uint_eq(s.outstanding_bytes, 200);
	b = stream_tx_next(&s, 20);
	ck_assert_uint_eq(b->seq, 3);
	ck_assert(b->resent);
	ck_assert_uint_eq(send_all(&s, 20), 3);
	/* said again before 3 got there */
	stream_tx_gap(&s, ID, 3, 20 + STREAM_GAP_QUIET_US - 1);
	ck_assert_uint_eq(send_all(&s, 30), 0);
	/* got lost again */
	stream_tx_gap(&s, ID, 3, 20 + STREAM_GAP_QUIET_US);
	ck_assert_uint_eq(send_all(&s, 20 + STREAM_GAP_QUIET_US), 4);
	ck_assert_uint_eq(s.resent_total, 8);
	stream_tx_fini(&s, NULL);
}
END_TEST

START_TEST(gap_behind_all_that_was_sent_changes_nothing)
{
	struct stream_tx s;

	standing(&s, 3, 64);
	ck_assert_uint_eq(send_all(&s, 10), 3);
	stream_tx_gap(&s, ID, 4, 20);
	ck_assert_uint_eq(send_all(&s, 20), 0);
	ck_assert_uint_eq(s.outstanding_bytes, 300);
	stream_tx_fini(&s, NULL);
}
END_TEST

START_TEST(a_clock_at_zero_or_behind_is_survived)
{
	struct stream_batch *list, *none = NULL;
	struct stream_tx s;

	standing(&s, 2, 64);
	/* sent at 0, which would mean never */
	ck_assert_uint_eq(send_all(&s, 0), 2);
	ck_assert_int_eq(s.head->sent_us, 1);
	ck_assert_int_eq(stream_tx_commit(&s, ID, 1, 64, KIB64, 1, &list), 0);
	ck_assert_uint_eq(drop(list, 1), 1);
	ck_assert_int_eq(s.srtt_us, 1);
	ck_assert_int_eq(stream_tx_commit(&s, ID, 2, 64, KIB64, -5, &list), 0);
	ck_assert_uint_eq(drop(list, 2), 1);
	ck_assert_int_eq(s.srtt_us, 1);
	stream_batch_free(&none);
	stream_tx_fini(&s, NULL);
}
END_TEST

START_TEST(timeout_probes_then_asks)
{
	struct stream_tx s;
	struct stream_batch *list;
	int64_t now;

	standing(&s, 6, 64);
	ck_assert_uint_eq(send_all(&s, 10), 6);
	now = stream_tx_deadline(&s);
	ck_assert(!stream_tx_timer(&s, now - 1));
	ck_assert(stream_tx_timer(&s, now));
	ck_assert_uint_eq(send_all(&s, now), 1);
	/* storage was only slow: it commits more than this pass has sent */
	ck_assert_int_eq(stream_tx_commit(&s, ID, 4, 64, KIB64, now + 1, &list), 0);
	ck_assert_uint_eq(drop(list, 1), 4);
	ck_assert_uint_eq(s.outstanding_bytes, 0);
	ck_assert_uint_eq(send_all(&s, now + 2), 2);
	now = stream_tx_deadline(&s);
	ck_assert(stream_tx_timer(&s, now));
	ck_assert_uint_eq(send_all(&s, now), 1);
	now = stream_tx_deadline(&s);
	ck_assert(stream_tx_timer(&s, now));
	ck_assert(stream_tx_hello_due(&s, now));
	ck_assert_uint_eq(send_all(&s, now), 0);
	ck_assert_int_eq(stream_tx_welcome(&s, ID, 5, 64, KIB64, now + 1, &list), 0);
	ck_assert_uint_eq(drop(list, 5), 1);
	ck_assert_uint_eq(send_all(&s, now + 2), 1);
	stream_tx_fini(&s, NULL);
}
END_TEST

START_TEST(rto_follows_what_is_measured)
{
	struct stream_tx s;
	struct stream_batch *list;
	int64_t now = 10;
	uint64_t i;

	standing(&s, 0, 64);
	for (i = 1; i <= 100; i++) {
		push(&s, 1);
		ck_assert_uint_eq(send_all(&s, now), 1);
		now += 2000;
		ck_assert_int_eq(stream_tx_commit(&s, ID, i, 64, KIB64, now, &list), 0);
		ck_assert_uint_eq(drop(list, i), 1);
		ck_assert_int_eq(stream_tx_deadline(&s), 0);
	}
	ck_assert_int_eq(s.rto_us, STREAM_RTO_MIN_US);
	ck_assert_int_ge(s.srtt_us, 1900);
	ck_assert_int_le(s.srtt_us, 2100);
	/* an answer to a batch that was sent twice measures nothing */
	push(&s, 1);
	ck_assert_uint_eq(send_all(&s, now), 1);
	stream_tx_gap(&s, ID, 101, now + 20000);
	ck_assert_uint_eq(send_all(&s, now + 20000), 1);
	ck_assert_int_eq(stream_tx_commit(&s, ID, 101, 64, KIB64, now + 900000, &list), 0);
	ck_assert_uint_eq(drop(list, 101), 1);
	ck_assert_int_eq(s.rto_us, STREAM_RTO_MIN_US);
	/* a slow one counts, up to the limit */
	push(&s, 1);
	ck_assert_uint_eq(send_all(&s, now), 1);
	ck_assert_int_eq(stream_tx_commit(&s, ID, 102, 64, KIB64, now + 9000000, &list), 0);
	ck_assert_uint_eq(drop(list, 102), 1);
	ck_assert_int_eq(s.rto_us, STREAM_RTO_MAX_US);
	stream_tx_fini(&s, NULL);
}
END_TEST

START_TEST(no_credit_stops_input_and_is_asked_about)
{
	static const struct {
		uint32_t window, bytes;
	} closed[] = { { 0, KIB64 }, { 8, 0 } };
	struct stream_tx s;
	struct stream_batch *list;
	int64_t now;
	size_t i;

	for (i = 0; i < COUNT_OF(closed); i++) {
		standing(&s, 0, 8);
		ck_assert(!stream_tx_is_full(&s));
		ck_assert_int_eq(
		    stream_tx_commit(&s, ID, 0, closed[i].window, closed[i].bytes, 10, &list), 0);
		ck_assert(stream_tx_is_full(&s));
		push(&s, 1);
		ck_assert_uint_eq(send_all(&s, 11), 0);
		/* the grant may get lost: ask by HELLO */
		now = stream_tx_deadline(&s);
		ck_assert_int_gt(now, 10);
		ck_assert(stream_tx_timer(&s, now));
		ck_assert(stream_tx_hello_due(&s, now));
		ck_assert_int_eq(
		    stream_tx_welcome(&s, ID, 0, closed[i].window, closed[i].bytes, now + 1, &list),
		    0);
		ck_assert_int_gt(stream_tx_deadline(&s), now + 1);
		ck_assert_int_eq(stream_tx_commit(&s, ID, 0, 8, KIB64, now + 2, &list), 0);
		ck_assert(!stream_tx_is_full(&s));
		ck_assert_int_eq(stream_tx_deadline(&s), 0);
		ck_assert_uint_eq(send_all(&s, now + 3), 1);
		stream_tx_fini(&s, NULL);
	}
}
END_TEST

START_TEST(queue_is_bounded)
{
	struct stream_tx s;
	unsigned i;

	stream_tx_init(&s);
	for (i = 0; i < STREAM_WINDOW_BATCHES; i++) {
		ck_assert(!stream_tx_is_full(&s));
		push(&s, 1);
	}
	ck_assert(stream_tx_is_full(&s));
	stream_tx_fini(&s, NULL);
	stream_tx_init(&s);
	for (i = 0; i < STREAM_WINDOW_BYTES / KIB64; i++) {
		ck_assert(!stream_tx_is_full(&s));
		push(&s, KIB64);
	}
	ck_assert(stream_tx_is_full(&s));
	owners_freed = 0;
	stream_tx_fini(&s, free_owner);
	ck_assert_int_eq(owners_freed, STREAM_WINDOW_BYTES / KIB64);
}
END_TEST

START_TEST(window_is_capped)
{
	struct stream_tx s;

	standing(&s, 100, 65535);
	ck_assert_uint_eq(send_all(&s, 10), STREAM_WINDOW_BATCHES);
	stream_tx_fini(&s, NULL);
}
END_TEST

START_TEST(unsend_takes_back)
{
	struct stream_tx s;
	struct stream_batch *b, *list;

	standing(&s, 2, 64);
	b = stream_tx_next(&s, 10);
	stream_tx_unsend(&s, b);
	ck_assert_int_eq(stream_tx_commit(&s, ID, 1, 64, KIB64, 11, &list), ERR_MALFORMED);
	ck_assert_uint_eq(s.outstanding_bytes, 0);
	ck_assert_ptr_eq(stream_tx_next(&s, 12), b);
	ck_assert(!b->resent);
	stream_tx_gap(&s, ID, 1, 13);
	ck_assert_ptr_eq(stream_tx_next(&s, 14), b);
	ck_assert(b->resent);
	stream_tx_unsend(&s, b);
	ck_assert_uint_eq(s.resent_total, 0);
	ck_assert_ptr_eq(stream_tx_next(&s, 15), b);
	ck_assert_uint_eq(s.outstanding_bytes, 100);
	stream_tx_fini(&s, NULL);
}
END_TEST

START_TEST(fenced_keeps_its_numbers_until_the_id_is_new)
{
	struct stream_tx s;
	struct stream_batch *list;

	standing(&s, 5, 64);
	ck_assert_uint_eq(send_all(&s, 10), 5);
	ck_assert_int_eq(stream_tx_commit(&s, ID, 1, 64, KIB64, 11, &list), 0);
	ck_assert_uint_eq(drop(list, 1), 1);
	stream_tx_fenced(&s, ID, 12);
	ck_assert_uint_eq(s.id, 0);
	ck_assert(stream_tx_hello_due(&s, 12));
	/* it was not over after all, and stands further */
	ck_assert_int_eq(stream_tx_welcome(&s, ID, 3, 64, KIB64, 13, &list), 0);
	ck_assert_uint_eq(drop(list, 2), 2);
	ck_assert_uint_eq(s.head->seq, 4);
	ck_assert_uint_eq(send_all(&s, 14), 2);
	/* now it is */
	stream_tx_fenced(&s, ID, 15);
	ck_assert_int_eq(stream_tx_commit(&s, ID, 4, 64, KIB64, 15, &list), ERR_MALFORMED);
	ck_assert_int_eq(stream_tx_welcome(&s, ID - 1, 0, 64, KIB64, 16, &list), ERR_MALFORMED);
	ck_assert_int_eq(stream_tx_welcome(&s, ID + 9, 2, 64, KIB64, 16, &list), ERR_MALFORMED);
	ck_assert_int_eq(stream_tx_welcome(&s, ID + 9, 0, 64, KIB64, 16, &list), 0);
	ck_assert_uint_eq(s.head->seq, 1);
	ck_assert_uint_eq(s.next_seq, 3);
	ck_assert_uint_eq(s.committed, 0);
	push(&s, 1);
	ck_assert_uint_eq(s.tail->seq, 3);
	ck_assert_int_eq(stream_tx_commit(&s, ID, 4, 64, KIB64, 17, &list), ERR_MALFORMED);
	ck_assert_uint_eq(send_all(&s, 18), 3);
	ck_assert(s.head->resent);
	ck_assert(!s.tail->resent);
	/* an answer of the old id's time */
	ck_assert_int_eq(stream_tx_welcome(&s, ID, 3, 64, KIB64, 19, &list), ERR_MALFORMED);
	stream_tx_fini(&s, NULL);
}
END_TEST

START_TEST(reconnect_asks_before_it_sends)
{
	struct stream_tx s;
	struct stream_batch *list;

	standing(&s, 4, 64);
	ck_assert_uint_eq(send_all(&s, 10), 4);
	stream_tx_reconnect(&s, 11);
	push(&s, 100);
	ck_assert_uint_eq(send_all(&s, 12), 0);
	/* what arrives meanwhile counts */
	ck_assert_int_eq(stream_tx_commit(&s, ID, 1, 64, KIB64, 13, &list), 0);
	ck_assert_uint_eq(drop(list, 1), 1);
	stream_tx_gap(&s, ID, 2, 13);
	ck_assert_uint_eq(send_all(&s, 14), 0);
	ck_assert_int_eq(stream_tx_welcome(&s, ID, 2, 64, KIB64, 15, &list), 0);
	ck_assert_uint_eq(drop(list, 2), 1);
	ck_assert_uint_eq(send_all(&s, 16), 3);
	/* the answer to a HELLO that was repeated does not send again */
	ck_assert_int_eq(stream_tx_welcome(&s, ID, 2, 64, KIB64, 17, &list), 0);
	ck_assert_uint_eq(send_all(&s, 18), 0);
	stream_tx_fini(&s, NULL);
}
END_TEST

START_TEST(rx_takes_what_is_next)
{
	static const struct {
		const char *label;
		uint64_t seq;
		enum stream_verdict_of_seq want;
	} cases[] = {
		{ "first", 11, STREAM_NEXT },
		{ "same again", 11, STREAM_REPEAT },
		{ "committed", 10, STREAM_REPEAT },
		{ "never a number", 0, STREAM_REPEAT },
		{ "one missing", 13, STREAM_GAP },
		{ "far ahead", UINT64_MAX, STREAM_GAP },
		{ "next", 12, STREAM_NEXT },
		{ "ahead no more", 13, STREAM_NEXT },
	};
	struct stream_rx s;
	size_t i;

	stream_rx_init(&s, ID, 3, 10);
	for (i = 0; i < COUNT_OF(cases); i++)
		ck_assert_msg(
		    stream_rx_offer(&s, cases[i].seq) == cases[i].want, "%s", cases[i].label);
	ck_assert_uint_eq(s.committed, 10);
	stream_rx_synced(&s);
	ck_assert_uint_eq(s.committed, 13);
	stream_rx_fini(&s);
}
END_TEST

START_TEST(rx_says_gap_rarely)
{
	struct stream_rx s;

	stream_rx_init(&s, ID, 3, 0);
	ck_assert(stream_rx_gap_due(&s, 100));
	ck_assert(!stream_rx_gap_due(&s, 100 + STREAM_GAP_QUIET_US - 1));
	ck_assert(stream_rx_gap_due(&s, 100 + STREAM_GAP_QUIET_US));
	ck_assert_int_eq(stream_rx_offer(&s, 1), STREAM_NEXT);
	ck_assert(stream_rx_gap_due(&s, 101 + STREAM_GAP_QUIET_US));
	stream_rx_fini(&s);
}
END_TEST

START_TEST(refusals_stay_until_acked)
{
	struct stream_rx s;
	struct bytes list;
	size_t at = 0;

	stream_rx_init(&s, ID, 3, 0);
	ck_assert_uint_eq(stream_rx_refusals(&s).len, 0);
	ck_assert_int_eq(stream_rx_offer(&s, 1), STREAM_NEXT);
	stream_rx_refused(&s, 1, 0, 5);
	stream_rx_refused(&s, 1, 7, 0xff000001u);
	ck_assert_int_eq(stream_rx_offer(&s, 2), STREAM_NEXT);
	ck_assert_uint_eq(stream_rx_refusals(&s).len, 0); /* not durable: not to be told */
	stream_rx_synced(&s);
	ck_assert_int_eq(stream_rx_offer(&s, 3), STREAM_NEXT);
	stream_rx_refused(&s, 3, 4095, 6);
	list = stream_rx_refusals(&s);
	ck_assert_uint_eq(u64s_count(list), 4);
	ck_assert_uint_eq(stream_verdict(list, &at, 1, 0), 5);
	ck_assert_uint_eq(stream_verdict(list, &at, 1, 3), 0);
	ck_assert_uint_eq(stream_verdict(list, &at, 1, 7), 0xff000001u);
	ck_assert_uint_eq(stream_verdict(list, &at, 1, 8), 0);
	ck_assert_uint_eq(stream_verdict(list, &at, 2, 0), 0);
	stream_rx_synced(&s);
	ck_assert_uint_eq(u64s_count(stream_rx_refusals(&s)), 6);
	ck_assert_int_eq(stream_rx_acked(&s, 2), 0);
	list = stream_rx_refusals(&s);
	ck_assert_uint_eq(u64s_count(list), 2);
	at = 0;
	ck_assert_uint_eq(stream_verdict(list, &at, 3, 4095), 6);
	/* an older word from the sender brings nothing back */
	ck_assert_int_eq(stream_rx_acked(&s, 1), 0);
	ck_assert_uint_eq(s.acked, 2);
	ck_assert_int_eq(stream_rx_acked(&s, 4), ERR_DAMAGED);
	ck_assert_uint_eq(s.acked, 2);
	stream_rx_fini(&s);
}
END_TEST

START_TEST(refusals_are_bounded_by_the_window)
{
	struct stream_rx s;
	uint64_t seq;
	uint32_t i;

	/* a sender that never says what it has seen, every record refused */
	stream_rx_init(&s, ID, 3, 0);
	for (seq = 1; seq <= 3 * STREAM_WINDOW_BATCHES; seq++) {
		ck_assert_int_eq(stream_rx_offer(&s, seq), STREAM_NEXT);
		for (i = 0; i < 4096; i++)
			stream_rx_refused(&s, seq, i, 1);
	}
	stream_rx_synced(&s);
	ck_assert_uint_eq(stream_rx_refusals(&s).len, (size_t)STREAM_REFUSALS_MAX * 16);
	ck_assert_uint_eq(u64s_at(stream_rx_refusals(&s), 0), 2 * STREAM_WINDOW_BATCHES + 1);
	stream_rx_fini(&s);
}
END_TEST

START_TEST(recovery_rebuilds_over_damage)
{
	struct stream_rx s;

	stream_rx_init(&s, ID, 3, 4);
	stream_rx_restore(&s, 5);
	stream_rx_refused(&s, 5, 1, 9);
	stream_rx_restore(&s, 8); /* 6 and 7 were in a damaged block */
	stream_rx_refused(&s, 8, 0, 9);
	ck_assert_uint_eq(s.committed, 8);
	ck_assert_uint_eq(u64s_count(stream_rx_refusals(&s)), 4);
	ck_assert_int_eq(stream_rx_offer(&s, 9), STREAM_NEXT);
	ck_assert_int_eq(stream_rx_acked(&s, 8), 0);
	ck_assert_uint_eq(stream_rx_refusals(&s).len, 0);
	stream_rx_fini(&s);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("stream");
	TCase *tx = tcase_create("sender");
	TCase *rx = tcase_create("receiver");

	tcase_add_test(tx, nothing_before_welcome);
	tcase_add_test(tx, hello_is_repeated_and_slows_down);
	tcase_add_test(tx, window_counts_from_the_last_commit);
	tcase_add_test(tx, bytes_bound_what_is_outstanding);
	tcase_add_test(tx, answers_that_are_not_ours_change_nothing);
	tcase_add_test(tx, gap_sends_again_once);
	tcase_add_test(tx, gap_behind_all_that_was_sent_changes_nothing);
	tcase_add_test(tx, a_clock_at_zero_or_behind_is_survived);
	tcase_add_test(tx, timeout_probes_then_asks);
	tcase_add_test(tx, rto_follows_what_is_measured);
	tcase_add_test(tx, no_credit_stops_input_and_is_asked_about);
	tcase_add_test(tx, queue_is_bounded);
	tcase_add_test(tx, window_is_capped);
	tcase_add_test(tx, unsend_takes_back);
	tcase_add_test(tx, fenced_keeps_its_numbers_until_the_id_is_new);
	tcase_add_test(tx, reconnect_asks_before_it_sends);
	tcase_add_test(rx, rx_takes_what_is_next);
	tcase_add_test(rx, rx_says_gap_rarely);
	tcase_add_test(rx, refusals_stay_until_acked);
	tcase_add_test(rx, refusals_are_bounded_by_the_window);
	tcase_add_test(rx, recovery_rebuilds_over_damage);
	suite_add_tcase(suite, tx);
	suite_add_tcase(suite, rx);
	return unit_end(suite);
}
