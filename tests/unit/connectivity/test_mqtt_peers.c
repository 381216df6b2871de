/* test_mqtt_peers.c - streams between workers: in order and once, over loss, links that break, and workers that die */
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "err.h"
#include "mem.h"
#include "mqtt_peers.h"

#define WORKERS 3
#define WIRE_MAX 4096
#define STEPS 4000

/* What a worker keeps beyond its life, as Redis would. */
struct kept {
	uint64_t life[WORKERS];	 /* of the peer whose stream this is ... */
	uint64_t taken[WORKERS]; /* ... and how far it was written */
	uint64_t last[WORKERS];	 /* the last value that was written of it */
};

struct wire {
	unsigned to;
	enum msg_type type;
	union msg_any msg;
};

struct worker_of_test {
	struct mqtt_peers peers;
	struct kept kept;
	struct kept now; /* not written yet */
	uint64_t number; /* of the unit now */
	uint64_t written;
	uint64_t life;
	uint64_t pushed[WORKERS]; /* values, which grow over lives */
	unsigned begun[WORKERS];
	struct wire wires[WORKERS][WIRE_MAX]; /* to each, in order */
	size_t wire_count[WORKERS];
};

static struct worker_of_test w[WORKERS];
static int64_t now_us;

static int
send(void *arg, unsigned peer, enum msg_type type, const void *msg)
{
	struct worker_of_test *me = arg;
	struct wire *x;

	if (me->wire_count[peer] == WIRE_MAX)
		return ERR_AGAIN;
	x = &me->wires[peer][me->wire_count[peer]++];
	x->type = type;
	if (type == MSG_FORWARD)
		x->msg.forward = *(const struct msg_forward *)msg;
	else
		x->msg.forwarded = *(const struct msg_forwarded *)msg;
	return 0;
}

static uint64_t
take(void *arg, unsigned peer, const struct msg_forward *f)
{
	struct worker_of_test *me = arg;

	if (f->seq == 0 || f->kind <= MQTT_PEER_KNOWN)
		return 0;
	ck_assert_uint_eq(f->kind, MQTT_PEER_MESSAGE);
	/* Of a life that is over nothing comes; of this one nothing comes again, not even after our own death. */
	ck_assert_uint_ge(f->life, me->now.life[peer]);
	if (f->life == me->now.life[peer])
		ck_assert_uint_gt(f->seq, me->now.taken[peer]);
	ck_assert_msg(f->number > me->now.last[peer], "value %llu came after %llu",
	    (unsigned long long)f->number, (unsigned long long)me->now.last[peer]);
	me->now.life[peer] = f->life;
	me->now.taken[peer] = f->seq;
	me->now.last[peer] = f->number;
	return me->number;
}

static void
begun(void *arg, unsigned peer)
{
	((struct worker_of_test *)arg)->begun[peer]++;
}

static void
start(unsigned i)
{
	struct mqtt_peers_ops ops = { .send = send, .take = take, .begun = begun, .arg = &w[i] };

	w[i].life++;
	w[i].number = 1;
	w[i].written = 0;
	w[i].now = w[i].kept;
	memset(w[i].wire_count, 0, sizeof(w[i].wire_count));
	mqtt_peers_init(&w[i].peers, i, WORKERS, w[i].life, 1 << 20, &ops);
	for (unsigned p = 0; p < WORKERS; p++) {
		mqtt_peers_restore(&w[i].peers, p, w[i].kept.life[p], w[i].kept.taken[p]);
		if (p != i)
			mqtt_peers_on_link(&w[i].peers, p, true);
	}
	mqtt_peers_open(&w[i].peers);
}

/* The unit of now is written, with all before it. */
static void
write_all(unsigned i)
{
	w[i].kept = w[i].now;
	w[i].written = w[i].number++;
	mqtt_peers_written(&w[i].peers, w[i].written);
}

static void
push(unsigned from, unsigned to)
{
	struct msg_forward f = { .kind = MQTT_PEER_MESSAGE,
		.number = ++w[from].pushed[to],
		.key = bytes_of_str("key"),
		.message = bytes_of_str("message") };

	mqtt_peers_push(&w[from].peers, to, &f, w[from].number);
}

/* The first on the wire arrives, or is lost. */
static void
pass(unsigned from, unsigned to, bool lost)
{
	struct wire x;

	if (w[from].wire_count[to] == 0)
		return;
	x = w[from].wires[to][0];
	w[from].wire_count[to]--;
	memmove(w[from].wires[to], w[from].wires[to] + 1,
	    w[from].wire_count[to] * sizeof(w[from].wires[to][0]));
	if (lost)
		return;
	if (x.type == MSG_FORWARD)
		mqtt_peers_on_forward(&w[to].peers, from, &x.msg.forward);
	else
		mqtt_peers_on_forwarded(&w[to].peers, from, &x.msg.forwarded);
}

static void
die(unsigned i)
{
	/* Items on the wire are what they show no more: nobody gets them. */
	mqtt_peers_fini(&w[i].peers);
	start(i);
	for (unsigned p = 0; p < WORKERS; p++) {
		w[p].wire_count[i] = 0;
		if (p != i)
			mqtt_peers_on_link(&w[p].peers, i, true);
	}
}

static void
turn_all(void)
{
	for (unsigned i = 0; i < WORKERS; i++)
		(void)mqtt_peers_turn(&w[i].peers, now_us);
}

static bool
is_quiet(void)
{
	for (unsigned i = 0; i < WORKERS; i++)
		for (unsigned p = 0; p < WORKERS; p++)
			if (w[i].peers.peer[p].head)
				return false;
	return true;
}

static void
step(void)
{
	unsigned from = (unsigned)rand() % WORKERS,
		 to = (from + 1 + (unsigned)rand() % 2) % WORKERS;

	now_us += rand() % 2000;
	switch (rand() % 100) {
	case 0:
		die(from);
		break;
	case 1:
		w[from].wire_count[to] = 0;
		mqtt_peers_on_link(&w[from].peers, to, false);
		mqtt_peers_on_link(&w[from].peers, to, true);
		break;
	case 2:
	case 3:
	case 4:
		write_all(from);
		break;
	default:
		if (rand() % 3 == 0)
			push(from, to);
		if (rand() % 3 == 0)
			turn_all();
		pass(from, to, rand() % 20 == 0);
	}
}

static void
run(unsigned seed)
{
	srand(seed);
	memset(w, 0, sizeof(w));
	for (unsigned i = 0; i < WORKERS; i++)
		start(i);
	for (unsigned n = 0; n < STEPS; n++) {
		step();
		for (unsigned i = 0; i < WORKERS; i++)
			ck_assert_uint_ge(mqtt_peers_waits_for(&w[i].peers), 1);
	}
	/* All that was pushed in the lives of now arrives. */
	for (unsigned n = 0; n < 20000 && !is_quiet(); n++) {
		now_us += 20000;
		turn_all();
		for (unsigned i = 0; i < WORKERS; i++) {
			for (unsigned p = 0; p < WORKERS; p++)
				while (p != i && w[i].wire_count[p])
					pass(i, p, false);
			write_all(i);
		}
	}
	ck_assert_msg(is_quiet(), "seed %u", seed);
	for (unsigned i = 0; i < WORKERS; i++) {
		ck_assert_uint_eq(mqtt_peers_waits_for(&w[i].peers), UINT64_MAX);
		for (unsigned p = 0; p < WORKERS; p++)
			if (p != i && w[i].peers.peer[p].last > 0)
				ck_assert_uint_eq(w[p].kept.last[i], w[i].pushed[p]);
		mqtt_peers_fini(&w[i].peers);
	}
}

START_TEST(in_order_and_once)
{
	for (unsigned seed = 1; seed <= 60; seed++)
		run(seed);
}
END_TEST

/* Whoever waits for an item does so until it is written there, whatever was acknowledged before. */
START_TEST(an_item_is_acknowledged_when_it_is_written)
{
	memset(w, 0, sizeof(w));
	for (unsigned i = 0; i < WORKERS; i++)
		start(i);
	push(0, 1);
	ck_assert_uint_eq(mqtt_peers_waits_for(&w[0].peers), 1);
	turn_all();
	pass(0, 1, false);
	turn_all();
	pass(1, 0, false);
	ck_assert_uint_eq(mqtt_peers_waits_for(&w[0].peers), 1);
	write_all(1);
	turn_all();
	pass(1, 0, false);
	ck_assert_uint_eq(mqtt_peers_waits_for(&w[0].peers), UINT64_MAX);
	ck_assert_ptr_null(w[0].peers.peer[1].head);
	for (unsigned i = 0; i < WORKERS; i++)
		mqtt_peers_fini(&w[i].peers);
}
END_TEST

START_TEST(bounded)
{
	memset(w, 0, sizeof(w));
	start(0);
	w[0].peers.bytes_max = 100000;
	ck_assert(!mqtt_peers_is_full(&w[0].peers));
	while (!mqtt_peers_is_full(&w[0].peers))
		push(0, 1);
	ck_assert_uint_lt(w[0].peers.peer[1].last, 2000);
	(void)mqtt_peers_turn(&w[0].peers, 1);
	ck_assert_uint_le(w[0].wire_count[1], MQTT_PEERS_WINDOW);
	mqtt_peers_aside(&w[0].peers, 2, &(struct msg_forward){ .kind = MQTT_PEER_MESSAGE });
	ck_assert_uint_eq(w[0].wires[2][0].msg.forward.seq, 0);
	mqtt_peers_fini(&w[0].peers);
}
END_TEST

/* It is told everything when it is heard. */
START_TEST(a_new_life_is_noticed)
{
	memset(w, 0, sizeof(w));
	for (unsigned i = 0; i < WORKERS; i++)
		start(i);
	push(0, 1);
	turn_all();
	pass(0, 1, false);
	ck_assert_uint_eq(w[1].begun[0], 1);
	die(0);
	push(0, 1);
	turn_all();
	pass(0, 1, false);
	ck_assert_uint_eq(w[1].begun[0], 2);
	for (unsigned i = 0; i < WORKERS; i++)
		mqtt_peers_fini(&w[i].peers);
}
END_TEST

/* What was said to the life before may come first. */
START_TEST(known_is_said_to_a_life)
{
	struct msg_forward known = { .kind = MQTT_PEER_KNOWN, .life = 7, .first = 1, .seq = 1 };

	memset(w, 0, sizeof(w));
	start(0);
	mqtt_peers_on_forward(&w[0].peers, 1, &known);
	ck_assert(!w[0].peers.peer[1].known);
	known.seq = 2;
	known.number = w[0].life + 1;
	mqtt_peers_on_forward(&w[0].peers, 1, &known);
	ck_assert(!w[0].peers.peer[1].known);
	known.seq = 3;
	known.number = w[0].life;
	mqtt_peers_on_forward(&w[0].peers, 1, &known);
	ck_assert(w[0].peers.peer[1].known);
	/* Of its next life nothing is known yet, but what this one wanted is. */
	known = (struct msg_forward){ .kind = MQTT_PEER_WANTS, .life = 8, .first = 1, .seq = 1 };
	mqtt_peers_on_forward(&w[0].peers, 1, &known);
	ck_assert_uint_eq(w[0].begun[1], 2);
	ck_assert(w[0].peers.peer[1].known);
	mqtt_peers_fini(&w[0].peers);
}
END_TEST

/* Before it is open: what others want, but no message; and what it had taken may be learnt last. */
START_TEST(messages_are_taken_when_it_is_open)
{
	struct msg_forward f = { .kind = MQTT_PEER_WANTS, .life = 7, .first = 1, .seq = 1 };
	struct mqtt_peer *q = &w[0].peers.peer[1];

	memset(w, 0, sizeof(w));
	start(0);
	w[0].peers.open = false;
	mqtt_peers_on_forward(&w[0].peers, 1, &f);
	ck_assert_uint_eq(q->taken, 1);
	f.kind = MQTT_PEER_MESSAGE;
	f.seq = 2;
	mqtt_peers_on_forward(&w[0].peers, 1, &f);
	ck_assert_uint_eq(q->taken, 1);
	mqtt_peers_restore(&w[0].peers, 1, 7, 2);
	mqtt_peers_open(&w[0].peers);
	mqtt_peers_on_forward(&w[0].peers, 1, &f);
	ck_assert_uint_eq(q->taken, 2);
	ck_assert_uint_eq(q->acked, 2);
	ck_assert_uint_eq(w[0].now.taken[1], 0);
	f.number = f.seq = 3;
	mqtt_peers_on_forward(&w[0].peers, 1, &f);
	ck_assert_uint_eq(q->taken, 3);
	mqtt_peers_fini(&w[0].peers);
}
END_TEST

static void
no_setup(void)
{
}

UNIT_MAIN_IN("mqtt_peers", no_setup, no_setup, in_order_and_once,
    an_item_is_acknowledged_when_it_is_written, bounded, a_new_life_is_noticed,
    known_is_said_to_a_life, messages_are_taken_when_it_is_open)
