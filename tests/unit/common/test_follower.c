/* test_follower.c - the follower's end of the protocol against a shard played by the test over a real ipc socket */
#include "follower.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "err.h"

#define DEADLINE_US 5000000

struct fixture {
	const char *name;
	char dir[32];
	struct settings *settings;
	struct worker w;
	struct follower *f;
	/* the shard's side */
	struct bus *bus;
	struct bus_link *shard;
	int subscribes, resumes, progresses;
	uint64_t last_from, last_number, last_cursor, last_received;
	/* what the follower saw */
	uint64_t cursor;
	int blocks, uptos, skips, assigns;
	uint64_t last_block, last_upto;
};

static void
shard_on_msg(void *arg, struct bus_msg *m)
{
	struct fixture *x = arg;

	ck_assert_str_eq(m->from, x->name);
	if (m->type == MSG_SUBSCRIBE) {
		x->subscribes++;
		x->last_from = m->any->subscribe.from;
		x->last_number = m->any->subscribe.number;
		ck_assert(bytes_equal_str(m->any->subscribe.group, "test"));
	} else if (m->type == MSG_RESUME) {
		x->resumes++;
	} else if (m->type == MSG_PROGRESS) {
		x->progresses++;
		x->last_cursor = m->any->progress.cursor;
		x->last_received = m->any->progress.received;
	}
}

static void
on_block(void *arg, uint32_t shard, const struct block_view *v)
{
	struct fixture *x = arg;

	ck_assert_uint_eq(shard, 0);
	x->blocks++;
	x->last_block = v->offset;
	x->cursor = v->next;
}

static void
on_upto(void *arg, uint32_t shard, uint64_t upto, uint64_t end)
{
	struct fixture *x = arg;

	(void)shard;
	(void)end;
	x->uptos++;
	x->last_upto = upto;
	x->cursor = upto;
}

static void
on_skipped(void *arg, uint32_t shard, uint64_t from, uint64_t to)
{
	struct fixture *x = arg;

	(void)shard;
	(void)from;
	(void)to;
	x->skips++;
}

static uint64_t
cursor(void *arg, uint32_t shard)
{
	(void)shard;
	return ((struct fixture *)arg)->cursor;
}

static const struct follower_spec spec = {
	.group = "test",
	.kinds = KIND_BIT(ENTRY_READINGS),
	.on_block = on_block,
	.on_upto = on_upto,
	.on_skipped = on_skipped,
	.cursor = cursor,
};

static const struct worker_spec tool = { .name = "sink" };

static void
wait_for(struct fixture *x, const int *value, int at_least)
{
	int64_t deadline = loop_now_us(x->w.loop) + DEADLINE_US;

	while (*value < at_least && loop_now_us(x->w.loop) < deadline)
		loop_turn(x->w.loop, 10000);
	ck_assert_int_ge(*value, at_least);
}

static void
open_shard(struct fixture *x)
{
	char run[64];

	x->bus = bus_new(x->w.loop, "storage-0", worker_run_dir(x->settings, run, sizeof run),
	    shard_on_msg, NULL, x);
	ck_assert_int_eq(bus_bind(x->bus, "shard-0", &x->shard), 0);
}

static void
setup(struct fixture *x, const struct follower_spec *with)
{
	char text[80];
	struct buf err = { 0 };

	*x = (struct fixture){ .dir = "/tmp/roost-fol-XXXXXX",
		.name = with->shared ? "rules-0" : "sink-test" };
	ck_assert_ptr_nonnull(mkdtemp(x->dir));
	snprintf(text, sizeof text, "mkdir -p %s/run", x->dir);
	ck_assert_int_eq(system(text), 0);
	x->settings = settings_new();
	snprintf(text, sizeof text, "data_dir=%s", x->dir);
	ck_assert_int_eq(settings_set(x->settings, text, "test", &err), 0);
	ck_assert_int_eq(worker_tool_start(&x->w, &tool, x->name, x->settings), 0);
	open_shard(x);
	x->f = follower_new(&x->w, with, x);
	ck_assert_ptr_nonnull(x->f);
	wait_for(x, &x->subscribes, 1);
}

static void
teardown(struct fixture *x)
{
	char text[80];

	follower_free(&x->f);
	bus_free(&x->bus);
	worker_tool_stop(&x->w);
	settings_free(&x->settings);
	snprintf(text, sizeof text, "rm -rf %s", x->dir);
	ck_assert_int_eq(system(text), 0);
}

/* Blocks of 100 bytes each: at from, from + 100, ... epoch 0: the number of the last SUBSCRIBE. */
static void
deliver(struct fixture *x, uint64_t from, unsigned count, uint64_t epoch)
{
	struct buf blocks = { 0 };
	struct msg_deliver d = {
		.epoch = epoch ? epoch : x->last_number,
		.from = from,
		.upto = from + 100ull * count,
		.end = 10000,
	};

	for (unsigned i = 0; i < count; i++)
		view_put(&blocks,
		    &(struct block_view){ .offset = from + 100 * i, .next = from + 100 * i + 100 });
	d.blocks = buf_bytes(&blocks);
	ck_assert_int_eq(bus_send(x->shard, x->name, MSG_DELIVER, &d), 0);
	buf_fini(&blocks);
}

START_TEST(test_in_order_and_progress)
{
	struct fixture x;

	setup(&x, &spec);
	ck_assert_uint_eq(x.last_from, FOLLOWER_FROM_OLDEST);
	deliver(&x, 500, 3, 0);
	wait_for(&x, &x.blocks, 3);
	ck_assert_uint_eq(x.last_block, 700);
	ck_assert_uint_eq(x.last_upto, 800);
	follower_durable(x.f, 0, 700);
	x.progresses = 0;
	wait_for(&x, &x.progresses, 2);
	ck_assert_uint_eq(x.last_cursor, 700);
	ck_assert_uint_eq(x.last_received, 3 * VIEW_HEADER_SIZE);
	teardown(&x);
}
END_TEST

START_TEST(test_hole_and_repeat)
{
	struct fixture x;

	setup(&x, &spec);
	deliver(&x, 500, 2, 0);
	wait_for(&x, &x.blocks, 2);
	deliver(&x, 900, 1, 0); /* 700..900 got lost */
	wait_for(&x, &x.subscribes, 2);
	ck_assert_uint_eq(x.last_from, 700);
	ck_assert_int_eq(x.blocks, 2);
	deliver(&x, 600, 3, 0); /* 600 is known */
	wait_for(&x, &x.blocks, 4);
	ck_assert_uint_eq(x.last_block, 800);
	teardown(&x);
}
END_TEST

/* Of a subscription that is over, by this process or the one before it: storage sends on until it has read SUBSCRIBE. */
START_TEST(test_earlier_subscription)
{
	struct fixture x;

	setup(&x, &spec);
	ck_assert_uint_eq(x.last_from, FOLLOWER_FROM_OLDEST);
	deliver(&x, 5000, 1, x.last_number + 1000);
	deliver(&x, 100, 2, 0);
	wait_for(&x, &x.blocks, 2);
	ck_assert_int_eq(x.blocks, 2);
	ck_assert_uint_eq(x.last_block, 200);
	follower_restart(x.f, 0);
	wait_for(&x, &x.subscribes, 2);
	deliver(&x, 300, 1, x.last_number - 1);
	deliver(&x, 300, 1, 0);
	wait_for(&x, &x.blocks, 3);
	ck_assert_uint_eq(x.last_upto, 400);
	teardown(&x);
}
END_TEST

START_TEST(test_storage_restarts)
{
	struct fixture x;

	setup(&x, &spec);
	deliver(&x, 500, 1, 0);
	wait_for(&x, &x.blocks, 1);
	bus_free(&x.bus);
	open_shard(&x);
	wait_for(&x, &x.subscribes, 2);
	ck_assert_uint_eq(x.last_from, 600);
	ck_assert_int_eq(bus_send(x.shard, x.name, MSG_UNKNOWN,
			     &(struct msg_unknown){ .group = bytes_of_str("test") }),
	    0);
	wait_for(&x, &x.subscribes, 3);
	teardown(&x);
}
END_TEST

START_TEST(test_skipped)
{
	struct fixture x;

	setup(&x, &spec);
	deliver(&x, 500, 1, 0);
	wait_for(&x, &x.blocks, 1);
	ck_assert_int_eq(bus_send(x.shard, x.name, MSG_SKIPPED,
			     &(struct msg_skipped){ .from = 600, .to = 5000 }),
	    0);
	wait_for(&x, &x.skips, 1);
	deliver(&x, 5000, 1, 0);
	wait_for(&x, &x.blocks, 2);
	teardown(&x);
}
END_TEST

static void
on_assign(
    void *arg, uint32_t shard, uint64_t epoch, const uint32_t *partitions, size_t n, uint64_t end)
{
	struct fixture *x = arg;
	uint64_t offsets[2] = { 700, 500 };

	x->assigns++;
	ck_assert(n == 2 && partitions[0] == 3 && partitions[1] == 9 && end == 10000);
	if (epoch != 99) /* 99: its state is not free yet */
		follower_resume(x->f, shard, epoch, partitions, offsets, n);
}

static void
assign(struct fixture *x, uint64_t epoch)
{
	struct buf list = { 0 };
	struct msg_assign a = { .epoch = epoch, .end = 10000 };

	u64s_add(&list, 3);
	u64s_add(&list, 9);
	a.partitions = buf_bytes(&list);
	ck_assert_int_eq(bus_send(x->shard, x->name, MSG_ASSIGN, &a), 0);
	buf_fini(&list);
}

START_TEST(test_shared)
{
	struct follower_spec shared = spec;
	struct fixture x;

	shared.shared = true;
	shared.on_assign = on_assign;
	setup(&x, &shared);
	assign(&x, 4);
	wait_for(&x, &x.resumes, 1);
	deliver(&x, 500, 1, 3); /* of an assignment that is over */
	deliver(&x, 500, 2, 4);
	wait_for(&x, &x.blocks, 2);
	ck_assert_int_eq(x.blocks, 2);
	assign(&x, 99);
	wait_for(&x, &x.assigns, 2);
	deliver(&x, 700, 1, 99); /* not resumed: ignored */
	assign(&x, 100);
	wait_for(&x, &x.resumes, 2);
	deliver(&x, 500, 1, 100);
	wait_for(&x, &x.blocks, 3);
	ck_assert_uint_eq(x.last_block, 500);
	/* What was durable of other partitions is not durable of these. */
	follower_durable(x.f, 0, 5000);
	assign(&x, 101);
	wait_for(&x, &x.resumes, 3);
	x.progresses = 0;
	wait_for(&x, &x.progresses, 1);
	ck_assert_uint_eq(x.last_cursor, 500);
	teardown(&x);
}
END_TEST

UNIT_MAIN("follower", test_in_order_and_progress, test_hole_and_repeat, test_earlier_subscription,
    test_storage_restarts, test_skipped, test_shared)
