/* delivery.c - what the outbox owes goes out: in order per receiver, receivers independent of each other */
#include "delivery.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "channel.h"
#include "clock.h"
#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "route.h"

#define ERROR_MAX 200

/* One receiver. Lanes of receivers that notify.yaml does not know any more wait for it to know them again. */
struct lane {
	struct delivery *d;
	char *name;
	int receiver;	/* index in conf, -1: unknown */
	bool owed;	/* something may be owed */
	bool busy;	/* item is under way */
	int64_t due_us; /* monotonic; 0: not tried by this process yet */
	/* How the last try ended, as long as the outbox has no room for it: nothing else goes out before that is written. */
	struct {
		bool waits;
		enum outbox_state state; /* OWED: to be tried again */
		uint64_t attempts;
		int64_t next_at;
		char why[ERROR_MAX];
	} note;
	struct outbox_item item;
};

struct delivery {
	struct loop *loop;
	struct outbox *outbox;
	const struct notify_conf *conf;
	void (*failed)(void *arg, int err);
	void *arg;
	bool writable; /* false while the disk is full */
	struct webhook *webhook;
	struct lane **lanes;
	size_t lane_count;
	bool over;
};

static struct lane *
lane_of(struct delivery *d, const char *name)
{
	struct lane *lane;

	for (size_t i = 0; i < d->lane_count; i++)
		if (strcmp(d->lanes[i]->name, name) == 0)
			return d->lanes[i];
	lane = xcalloc(1, sizeof(*lane));
	lane->d = d;
	lane->name = xstrdup(name);
	lane->receiver = -1;
	d->lanes = xrealloc(d->lanes, (d->lane_count + 1) * sizeof(struct lane *));
	d->lanes[d->lane_count++] = lane;
	return lane;
}

static void
add_owed_lane(void *arg, const char *receiver)
{
	lane_of(arg, receiver)->owed = true;
}

void
delivery_set_conf(struct delivery *d, const struct notify_conf *conf)
{
	d->conf = conf;
	for (size_t i = 0; i < d->lane_count; i++)
		d->lanes[i]->receiver = -1;
	for (size_t i = 0; i < conf->receiver_count; i++) {
		struct lane *lane = lane_of(d, conf->receivers[i].name);

		lane->receiver = (int)i;
		if (lane->due_us != 0)
			lane->due_us = 1; /* now: what kept failing may have been mended */
	}
	for (size_t i = 0; i < d->lane_count; i++)
		if (d->lanes[i]->receiver < 0 && d->lanes[i]->owed)
			log_warn("notifier.receiver", LS("name", d->lanes[i]->name),
			    LS("fault",
				"notifications are owed to it, but notify.yaml has it not"));
}

struct delivery *
delivery_new(struct loop *loop, struct outbox *outbox, const struct notify_conf *conf,
    void (*failed)(void *arg, int err), void *arg)
{
	struct delivery *d = xcalloc(1, sizeof(*d));

	d->loop = loop;
	d->outbox = outbox;
	d->failed = failed;
	d->arg = arg;
	d->writable = true;
	d->webhook = webhook_new(loop);
	d->over = outbox_receivers(outbox, add_owed_lane, d) != 0;
	delivery_set_conf(d, conf);
	return d;
}

void
delivery_free(struct delivery **p_d)
{
	struct delivery *d = *p_d;

	if (d == NULL)
		return;
	*p_d = NULL;
	webhook_free(&d->webhook);
	for (size_t i = 0; i < d->lane_count; i++) {
		outbox_item_fini(&d->lanes[i]->item);
		free(d->lanes[i]->name);
		free(d->lanes[i]);
	}
	free(d->lanes);
	free(d);
}

static void
fail(struct delivery *d, int err)
{
	if (!d->over)
		d->failed(d->arg, err);
	d->over |= err != ERR_NO_ROOM;
}

static void
write_note(struct lane *lane)
{
	struct outbox *o = lane->d->outbox;
	int64_t seq = lane->item.seq;
	int err = 0;

	switch (lane->note.state) {
	case OUTBOX_OWED:
		err = outbox_retry(o, seq, lane->note.attempts, lane->note.next_at, lane->note.why);
		break;
	case OUTBOX_DELIVERED:
		err = outbox_delivered(o, seq, lane->note.attempts);
		break;
	case OUTBOX_DEAD:
		err = outbox_dead(o, seq, lane->note.attempts, lane->note.why);
		break;
	}
	lane->note.waits = err == ERR_NO_ROOM;
	if (err != 0)
		fail(lane->d, err);
	metric_set(M_NOTIFIER_OUTBOX, outbox_owed(o));
}

static void
note(
    struct lane *lane, enum outbox_state state, uint64_t attempts, int64_t next_at, const char *why)
{
	lane->note.state = state;
	lane->note.attempts = attempts;
	lane->note.next_at = next_at;
	snprintf(lane->note.why, sizeof(lane->note.why), "%s", why);
	write_note(lane);
}

static void
bury(struct lane *lane, uint64_t attempts, const char *why)
{
	log_error("notifier.dead", LS("receiver", lane->name), LS("key", lane->item.key),
	    LU("attempts", attempts), LS("why", why), LS("remedy", "roost notify outbox lists it"));
	metric_add(M_NOTIFIER_DEAD, 1);
	note(lane, OUTBOX_DEAD, attempts, 0, why);
}

static void
try_again(struct lane *lane, uint64_t attempts, const char *why, int64_t wait_us)
{
	int64_t backoff = route_backoff_us(attempts, (uint64_t)lane->item.seq);

	if (wait_us > backoff)
		backoff = wait_us;
	lane->due_us = loop_now_us(lane->d->loop) + backoff;
	log_warn("notifier.retry", LS("receiver", lane->name), LS("key", lane->item.key),
	    LU("attempts", attempts), LI("wait_ms", backoff / 1000), LS("why", why));
	metric_add(M_NOTIFIER_RETRIES, 1);
	note(lane, OUTBOX_OWED, attempts, clock_wall_us() + backoff, why);
}

static void
on_end(void *arg, enum channel_end end, const char *why, int64_t wait_us)
{
	struct lane *lane = arg;
	uint64_t attempts = lane->item.attempts + 1;

	lane->busy = false;
	switch (end) {
	case CHANNEL_ACCEPTED:
		metric_add(M_NOTIFIER_DELIVERED, 1);
		note(lane, OUTBOX_DELIVERED, attempts, 0, "");
		break;
	case CHANNEL_REJECTED:
		if (attempts >= DELIVERY_REJECTED_MAX)
			bury(lane, attempts, why);
		else
			try_again(lane, attempts, why, wait_us);
		break;
	case CHANNEL_FAILED:
		try_again(lane, attempts, why, wait_us);
		break;
	}
	loop_wake(lane->d->loop);
}

/* After a restart the first try waits as long as was left of it; what a jump of the clock made of that is bounded. */
static bool
must_wait(struct lane *lane, int64_t now)
{
	int64_t left = lane->item.next_at - clock_wall_us();

	if (lane->due_us != 0 || left <= 0)
		return false;
	lane->due_us = now + (left > WEBHOOK_WAIT_MAX_US ? WEBHOOK_WAIT_MAX_US : left);
	return true;
}

static void
run_lane(struct lane *lane)
{
	struct delivery *d = lane->d;
	int64_t now = loop_now_us(d->loop);
	int err;

	if (lane->note.waits && d->writable)
		write_note(lane);
	if (lane->note.waits || !lane->owed || lane->busy || lane->receiver < 0 ||
	    now < lane->due_us)
		return;
	err = outbox_next(d->outbox, lane->name, &lane->item);
	if (err == ERR_NOT_FOUND) {
		lane->owed = false;
		return;
	}
	if (err != 0) {
		fail(d, err);
		return;
	}
	if (must_wait(lane, now))
		return;
	lane->due_us = now;
	if (lane->item.attempts > 0 && clock_wall_us() - lane->item.created > DELIVERY_AGE_MAX_US) {
		bury(lane, lane->item.attempts, "not accepted for three days");
		loop_wake(d->loop);
		return;
	}
	lane->busy = true;
	switch (d->conf->receivers[lane->receiver].channel) {
	case CHANNEL_LOG:
		channel_log_send(lane->item.key, buf_bytes(&lane->item.body), on_end, lane);
		return;
	case CHANNEL_WEBHOOK:
		webhook_send(d->webhook, &d->conf->receivers[lane->receiver], lane->item.key,
		    buf_bytes(&lane->item.body), on_end, lane);
		return;
	}
}

void
delivery_owed(struct delivery *d, size_t receiver)
{
	lane_of(d, d->conf->receivers[receiver].name)->owed = true;
}

void
delivery_writable(struct delivery *d, bool writable)
{
	d->writable = writable;
}

void
delivery_run(struct delivery *d)
{
	for (size_t i = 0; i < d->lane_count && !d->over; i++)
		run_lane(d->lanes[i]);
}

bool
delivery_idle(const struct delivery *d)
{
	for (size_t i = 0; i < d->lane_count; i++)
		if (d->lanes[i]->busy)
			return false;
	return true;
}
