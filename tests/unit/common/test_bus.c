/* test_bus.c - messages cross real ipc sockets; flow.def is enforced; links tell when the other side comes and goes */
#include "bus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../unit.h"
#include "err.h"
#include "metrics.h"

#define DEADLINE_US 5000000
#define ORDERED 20000 /* more than one bundle of them, and more than one turn takes */

struct side {
	struct bus *bus;
	int messages;
	uint64_t last_seq;
	size_t last_len;
	char from[BUS_NAME_MAX];
	int ups;
	int downs;
	uint64_t expect_seq; /* 0: any */
	struct bus_link *forward_to;
};

static uint8_t large[5000];

static void
on_msg(void *arg, struct bus_msg *m)
{
	struct side *s = arg;

	s->messages++;
	snprintf(s->from, sizeof s->from, "%s", m->from);
	if (m->type != MSG_STREAM_BATCH)
		return;
	s->last_seq = m->any->batch.seq;
	if (s->expect_seq)
		ck_assert_uint_eq(s->last_seq, s->expect_seq++);
	s->last_len = m->any->batch.records.len;
	if (s->forward_to) {
		frame_writable(*m->frame, m->any->batch.records)[0] = 'X';
		ck_assert_int_eq(bus_forward(s->forward_to, NULL, m->frame), 0);
		/* Large ones change hands, small ones are gathered. */
		ck_assert_int_eq(*m->frame == NULL, m->any->batch.records.len == sizeof large);
	} else {
		ck_assert(m->any->batch.records.data[0] == 'X');
	}
}

static void
on_link(void *arg, struct bus_link *link, bool up)
{
	struct side *s = arg;

	(void)link;
	s->ups += up;
	s->downs += !up;
}

static void
wait_for(struct loop *loop, const int *value, int at_least)
{
	int64_t deadline = loop_now_us(loop) + DEADLINE_US;

	while (*value < at_least && loop_now_us(loop) < deadline)
		loop_turn(loop, 10000);
	ck_assert_int_ge(*value, at_least);
}

static char dir[] = "/tmp/roost-bus-XXXXXX";

static void
make_dir(void)
{
	strcpy(dir, "/tmp/roost-bus-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void
remove_dir(void)
{
	char path[64];

	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, i == 0 ? "limiter-0" : "shard-0");
		ck_assert_int_eq(unlink(path), 0);
	}
	ck_assert_int_eq(rmdir(dir), 0);
}

static struct msg_batch
batch_of(uint64_t seq)
{
	return (struct msg_batch){
		.stream = 1, .seq = seq, .kind = 1, .records = bytes_of_str("records")
	};
}

START_TEST(test_flow)
{
	struct loop *loop = loop_new();
	struct side connectivity = { 0 }, limiter = { 0 }, storage = { 0 };
	struct bus_link *to_limiter, *limiter_in, *storage_in;
	struct msg_batch b = batch_of(5);
	struct msg_commit commit = { .stream = 1, .upto = 5 };
	struct msg_batch large_batch = { .stream = 1, .records = bytes_of(large, sizeof large) };
	uint64_t rejected = metric_get(M_BUS_REJECTED), dropped;

	make_dir();
	connectivity.bus = bus_new(loop, "connectivity-0", dir, on_msg, on_link, &connectivity);
	limiter.bus = bus_new(loop, "limiter-0", dir, on_msg, on_link, &limiter);
	storage.bus = bus_new(loop, "storage-0", dir, on_msg, on_link, &storage);
	/* The connecting side may come first. */
	ck_assert_int_eq(bus_connect(connectivity.bus, "limiter-0", &to_limiter), 0);
	ck_assert_int_eq(bus_bind(limiter.bus, "limiter-0", &limiter_in), 0);
	ck_assert_int_eq(bus_bind(storage.bus, "shard-0", &storage_in), 0);
	ck_assert_int_eq(bus_connect(limiter.bus, "shard-0", &limiter.forward_to), 0);
	wait_for(loop, &connectivity.ups, 1);
	wait_for(loop, &limiter.ups, 1);
	ck_assert(bus_link_is_up(to_limiter));

	ck_assert_int_eq(bus_send(to_limiter, NULL, MSG_STREAM_BATCH, &b), 0);
	wait_for(loop, &storage.messages, 1);
	ck_assert_str_eq(limiter.from, "connectivity-0");
	ck_assert_str_eq(storage.from, "limiter-0");
	ck_assert_uint_eq(storage.last_seq, 5);

	/* Large ones are encoded in place; many at once wake the other side as one does. */
	b.seq = 6;
	b.records = bytes_of(large, sizeof large);
	for (int i = 0; i < 300; i++)
		ck_assert_int_eq(bus_send(to_limiter, NULL, MSG_STREAM_BATCH, &b), 0);
	wait_for(loop, &storage.messages, 301);
	ck_assert_uint_eq(storage.last_len, sizeof large);
	b = batch_of(5);

	/* Not an edge: connectivity sends no COMMIT to a limiter. */
	ck_assert_int_eq(bus_send(to_limiter, NULL, MSG_COMMIT, &commit), 0);
	ck_assert_int_eq(bus_send(to_limiter, NULL, MSG_STREAM_BATCH, &b), 0);
	wait_for(loop, &storage.messages, 302);
	ck_assert_uint_eq(metric_get(M_BUS_REJECTED), rejected + 1);
	ck_assert_int_eq(limiter.messages, 302);

	/* Small ones wait for the end of the turn, and for nothing else: they come in order with the large ones. */
	limiter.messages = 0;
	for (b.seq = 10; b.seq < 10 + ORDERED; b.seq++) {
		b.records =
		    b.seq % 100 == 99 ? bytes_of(large, sizeof large) : bytes_of_str("records");
		ck_assert_int_eq(bus_send(to_limiter, NULL, MSG_STREAM_BATCH, &b), 0);
	}
	limiter.expect_seq = 10;
	wait_for(loop, &limiter.messages, ORDERED);
	ck_assert_uint_eq(limiter.last_seq, 10 + ORDERED - 1);
	ck_assert_uint_eq(limiter.expect_seq, 10 + ORDERED);
	b = batch_of(5);

	/* A receiver that is not there is told apart from one that is behind, and small messages to it are counted. */
	dropped = metric_get(M_BUS_DROPPED);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(bus_send(storage_in, "connectivity-9", MSG_COMMIT, &commit), 0);
	bus_flush(storage.bus);
	ck_assert_uint_eq(metric_get(M_BUS_DROPPED), dropped + 3);
	ck_assert_int_eq(
	    bus_send(storage_in, "connectivity-9", MSG_STREAM_BATCH, &large_batch), ERR_NOT_FOUND);
	ck_assert_uint_eq(metric_get(M_BUS_DROPPED), dropped + 4);

	bus_close(limiter.bus, &limiter_in);
	wait_for(loop, &connectivity.downs, 1);
	ck_assert_int_eq(bus_bind(limiter.bus, "limiter-0", &limiter_in), 0);
	wait_for(loop, &connectivity.ups, 2);
	bus_free(&connectivity.bus);
	bus_free(&limiter.bus);
	bus_free(&storage.bus);
	loop_free(&loop);
	remove_dir();
}
END_TEST

START_TEST(test_long_path_is_refused)
{
	struct loop *loop = loop_new();
	struct side s = { 0 };
	struct bus_link *link;
	char path[120];

	memset(path, 'd', sizeof path - 1);
	path[sizeof path - 1] = '\0';
	s.bus = bus_new(loop, "limiter-0", path, on_msg, on_link, &s);
	ck_assert_int_eq(bus_bind(s.bus, "limiter-0", &link), ERR_TOO_BIG);
	bus_free(&s.bus);
	loop_free(&loop);
}
END_TEST

UNIT_MAIN("bus", test_flow, test_long_path_is_refused)
