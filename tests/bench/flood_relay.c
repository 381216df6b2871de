/* flood_relay.c - publishers and subscribers in one process: what was published, what of it came, and when
 *
 * A payload ends with 24 bytes: when it was sent, its publisher and its number, from 0 without a gap. What a subscriber misses
 * between two numbers is missing, whatever the server says; what comes again is a repeat. The server must forward each
 * publisher's messages in order, as the standard asks of it.
 *
 * Closed loop: at most --window messages of a publisher are not acknowledged (QoS 1 and 2), and at most --ahead messages of all
 * have neither come nor been found missing, so that at QoS 0 too a server is not drowned, and what is measured is what comes.
 * Where messages at the very end of what is ahead are dropped, nothing tells: after STALL_NS without a message those are given
 * up, counted as a stall, and publishing goes on. --rate: open loop, latency counts from the moment a message was due.
 *
 * One thread, one clock. Its share of a processor is in the report: near 1 the generator is the limit, not the server. */
#include "flood_relay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define STALL_NS (NS / 5)
#define QUIET_NS (NS / 2) /* without a message: nothing comes any more */

/* Messages that may be on their way. */
static uint64_t
room(const struct relay *r)
{
	uint64_t gone = r->accounted / r->fan + r->forgiven, under_way;

	if (r->f->subscribers == 0 || r->f->ahead == 0)
		return UINT64_MAX;
	under_way = r->sent > gone ? r->sent - gone : 0;
	return under_way < r->f->ahead ? r->f->ahead - under_way : 0;
}

static int64_t
relay_due_ns(const struct flood *f, const struct link *l, uint64_t n)
{
	return f->begin_ns +
	       (int64_t)((double)(n * f->publishers + l->index) / f->rate * (double)NS);
}

static uint64_t
may_publish(const struct relay *r, const struct link *l, int64_t now)
{
	const struct flood *f = r->f;
	uint64_t n = room(r), in_flight = l->sent - l->acked;

	if (l->broken || l->out_at != l->out_len)
		return 0;
	if (f->qos && n > l->window - in_flight)
		n = l->window - in_flight;
	if (f->count && n > f->count - r->sent)
		n = f->count - r->sent;
	if (f->rate > 0 && n > 0) {
		uint64_t due;

		for (due = 0; due < n && relay_due_ns(f, l, l->sent + due) <= now; due++)
			;
		n = due;
	}
	return n;
}

static void
put_digits(uint8_t *at, uint64_t number)
{
	for (int i = 6; i >= 0; i--, number /= 10)
		at[i] = (uint8_t)('0' + number % 10);
}

static void
put_message(struct relay *r, struct link *l, uint8_t *at, int64_t now)
{
	const struct flood *f = r->f;
	const uint32_t mark = MARK;

	memcpy(at, l->packet, l->packet_len);
	if (f->topics && l->digits_at)
		put_digits(at + l->digits_at, (l->sent * f->publishers + l->index) % f->topics);
	if (f->qos) {
		at[l->id_at] = (uint8_t)(l->next_id >> 8);
		at[l->id_at + 1] = (uint8_t)l->next_id;
		l->open[l->next_id] = 1;
	}
	at += l->stamp_at;
	memcpy(at, &now, 8);
	memcpy(at + 8, &l->sent, 8);
	memcpy(at + 16, &l->index, 4);
	memcpy(at + 20, &mark, 4);
	l->sent++;
	r->sent++;
}

/* Returns whether anything was sent. */
static bool
publish_some(struct relay *r, struct link *l, int64_t now)
{
	static uint8_t batch[BATCH_MAX + CARRY_ROOM];
	uint64_t n = may_publish(r, l, now), i;
	size_t len = 0;

	for (i = 0; i < n && len < BATCH_MAX; i++) {
		if (r->f->qos) {
			l->next_id = l->next_id % 65535 + 1;
			if (l->open[l->next_id]) { /* not answered for a whole round of ids */
				l->next_id = l->next_id == 1 ? 65535 : l->next_id - 1;
				break;
			}
		}
		put_message(
		    r, l, batch + len, r->f->rate > 0 ? relay_due_ns(r->f, l, l->sent) : now);
		len += l->packet_len;
		if (r->f->small_writes) {
			link_send(r, l, batch, len);
			len = 0;
			if (l->out_at != l->out_len)
				break;
		}
	}
	if (len)
		link_send(r, l, batch, len);
	return i > 0;
}

/* All publishers in turn, beginning behind the one that began last time. */
static bool
publish_round(struct relay *r)
{
	int64_t now = now_ns();
	bool any = false;

	for (uint32_t i = 0; i < r->f->publishers && room(r) > 0; i++) {
		uint32_t at = r->turn++ % r->f->publishers;

		any |= publish_some(r, &r->links[at], now);
	}
	return any;
}

static void
begin_measuring(struct relay *r, int64_t now)
{
	struct flood *f = r->f;

	if (f->measured_once || now < f->measure_ns)
		return;
	f->measuring = f->measured_once = true;
	f->measure_ns = now;
	r->delivered_before = r->delivered;
	r->published_before = f->qos ? r->acked : r->sent;
	getrusage(RUSAGE_SELF, &f->usage_before);
}

static void
end_measuring(struct relay *r, int64_t now)
{
	struct flood *f = r->f;

	f->measuring = false;
	f->end_ns = now;
	f->relay_published = (f->qos ? r->acked : r->sent) - r->published_before;
	f->relay_delivered = r->delivered - r->delivered_before;
	getrusage(RUSAGE_SELF, &f->usage_after);
}

static void
forgive(struct relay *r, int64_t now)
{
	uint64_t gone = r->accounted / r->fan + r->forgiven;

	if (r->f->qos && r->f->sub_qos)
		return; /* these must come: nothing is given up */
	if (now - r->last_ns < STALL_NS || r->sent <= gone || room(r) > 0)
		return;
	r->forgiven += r->sent - gone;
	r->stalls++;
	r->last_ns = now;
}

static bool
all_came(const struct relay *r)
{
	return r->accounted >= r->sent * r->fan;
}

/* A PINGRESP says that what stands before its PINGREQ was read; then what was read is waited for. */
static void
drain(struct relay *r)
{
	struct flood *f = r->f;
	int64_t now = now_ns(), deadline = now + (int64_t)(f->drain * (double)NS);
	uint32_t pings = 0;
	bool must_come = f->qos && f->sub_qos;

	for (bool sent = false; !sent && now < deadline; now = now_ns()) {
		sent = true;
		for (uint32_t i = 0; i < f->publishers; i++)
			sent &= r->links[i].broken || r->links[i].out_at == r->links[i].out_len;
		if (!sent)
			relay_turn(r, now + NS / 100);
	}
	for (uint32_t i = 0; i < f->publishers; i++) {
		if (!r->links[i].broken) {
			link_send(r, &r->links[i], (const uint8_t *)"\xc0\0", 2);
			pings++;
		}
	}
	while ((r->pongs < pings || (f->qos && r->acked < r->sent)) && now < deadline &&
	       r->disconnected == 0) {
		relay_turn(r, now + NS / 100);
		now = now_ns();
	}
	r->last_ns = now;
	while (f->subscribers && !all_came(r) && now < deadline && r->disconnected == 0 &&
	       (must_come || now - r->last_ns < QUIET_NS)) {
		relay_turn(r, now + NS / 100);
		now = now_ns();
	}
}

static void
relay_publish(struct relay *r)
{
	struct flood *f = r->f;
	int64_t now = now_ns(), end;

	f->begin_ns = r->last_ns = now;
	f->measure_ns = now + (int64_t)(f->warmup * (double)NS);
	end = f->measure_ns + (int64_t)(f->seconds * (double)NS);
	begin_measuring(r, now);
	while (now < end && !asked_to_stop && !(f->count && r->sent >= f->count) &&
	       r->disconnected == 0) {
		bool sent = publish_round(r);
		int64_t pause = f->rate > 0 ? NS / 20000 : NS / 20;

		relay_turn(r, sent && f->rate <= 0 ? 0 : now + pause);
		now = now_ns();
		begin_measuring(r, now);
		if (f->subscribers)
			forgive(r, now);
	}
	if (!f->count)
		end_measuring(r, now);
	drain(r);
	if (f->count) /* all of it: until the last one came */
		end_measuring(
		    r, f->subscribers && r->last_ns > f->measure_ns ? r->last_ns : now_ns());
}

/* Messages that are there already, retained ones: from SUBSCRIBE to the last of them. */
static void
relay_expect(struct relay *r)
{
	struct flood *f = r->f;
	int64_t now = now_ns(), end = now + (int64_t)(f->seconds * (double)NS);

	r->last_ns = now;
	while (r->delivered < f->expect * f->subscribers && now < end && r->disconnected == 0 &&
	       !asked_to_stop) {
		relay_turn(r, now + NS / 20);
		now = now_ns();
	}
	end_measuring(r, r->last_ns);
}

static void
relay_make(struct relay *r, struct flood *f)
{
	*r = (struct relay){ .f = f, .n_links = f->publishers + f->subscribers };
	r->fan = strstr(f->filter, "{}") || f->subscribers == 0 ? 1 : f->subscribers;
	r->links = must(calloc(r->n_links, sizeof(*r->links)));
	r->seen = f->expect ? must(calloc(f->expect / 8 + 1, 1)) : NULL;
}

static void
relay_result(struct relay *r)
{
	struct flood *f = r->f;
	uint64_t expected =
	    f->expect ? f->expect * f->subscribers : r->sent * (f->subscribers ? r->fan : 0);

	f->sent = r->sent;
	f->acked = f->qos ? r->acked : r->pongs == f->publishers ? r->sent : 0;
	f->relay_total = r->delivered;
	f->relay_expected = expected;
	f->relay_absent = expected > r->delivered ? expected - r->delivered : 0;
	f->repeated = r->repeated;
	f->stalls = r->stalls;
	f->over_maximum = r->over_maximum;
	f->refused = r->refused;
	f->disconnected = r->disconnected;
	f->unexpected = r->wrong;
	f->connects = r->n_links;
}

/* Returns how many messages came in the measured time; without subscribers, how many were published. */
uint64_t
relay_run(struct flood *f)
{
	static struct relay relay; /* whose connections end with the process */
	struct relay *r = &relay;
	int64_t begun;

	relay_make(r, f);
	relay_open(r);
	begun = now_ns();
	f->measure_ns = begun;
	if (f->expect)
		begin_measuring(r, begun);
	for (uint32_t i = 0; i < f->subscribers; i++)
		link_subscribe(r, &r->links[f->publishers + i], i, 1);
	while (r->subscribed + r->refused < f->subscribers && now_ns() < begun + 30 * NS &&
	       r->disconnected == 0)
		relay_turn(r, now_ns() + NS / 100);
	if (r->subscribed < f->subscribers) {
		fprintf(stderr, "flood: %llu of %u subscribed\n", (unsigned long long)r->subscribed,
		    f->subscribers);
		exit(1);
	}
	if (f->expect)
		relay_expect(r);
	else
		relay_publish(r);
	relay_result(r);
	for (uint32_t i = 0; i < r->n_links; i++)
		link_send(r, &r->links[i], (const uint8_t *)"\xe0\0", 2);
	return f->subscribers ? f->relay_delivered : f->relay_published;
}

/* --subscriptions filters on each connection, --filters of them to a packet, --window packets not answered. Returns how many
 * were granted; the clock stops at the last SUBACK. */
uint64_t
subscribe_run(struct flood *f)
{
	static struct relay relay; /* whose connections end with the process */
	struct relay *r = &relay;
	uint64_t all = (uint64_t)f->subscribers * f->subscriptions;
	uint32_t *done;
	int64_t now;

	relay_make(r, f);
	done = must(calloc(f->subscribers, sizeof(*done)));
	relay_open(r);
	f->begin_ns = f->measure_ns = now = now_ns();
	begin_measuring(r, now);
	while (r->subscribed + r->refused < all && !asked_to_stop && r->disconnected == 0 &&
	       now < f->begin_ns + (int64_t)(f->seconds * (double)NS)) {
		for (uint32_t i = 0; i < f->subscribers; i++) {
			struct link *l = &r->links[i];

			while (done[i] < f->subscriptions &&
			       l->suback_left + f->filters <= f->window * f->filters) {
				uint32_t n = f->subscriptions - done[i];

				if (n > f->filters)
					n = f->filters;
				link_subscribe(r, l, i * f->subscriptions + done[i], n);
				done[i] += n;
			}
		}
		relay_turn(r, now + NS / 20);
		now = now_ns();
	}
	end_measuring(r, now);
	f->sent = all;
	f->acked = r->subscribed;
	f->refused = r->refused;
	f->disconnected = r->disconnected;
	f->unexpected = r->wrong;
	f->connects = f->up = f->subscribers;
	return r->subscribed;
}
