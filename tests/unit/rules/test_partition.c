/* test_partition.c - state, engine and alerts of a partition against a shard played by the test over a real ipc socket
 *
 * The shard keeps what a journal would: the ids of the ALERT records that it took. */
#include "partition.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "codec.h"
#include "err.h"
#include "mem.h"
#include "support_rules.h"

#define DEADLINE_US 5000000
#define STREAM 7

static const char rules[] = "version: 1\ngroup: g\nrules:\n  - { alert: Hot, when: t > 35 }\n"
			    "  - { alert: Slow, when: t > 35, for: 10s }\n";

struct fixture {
	char dir[32];
	char state_dir[48];
	struct settings *settings;
	struct worker w;
	struct room room;
	struct bus_link *link;
	struct rule_index *index;
	struct partition *p;
	/* the shard's side */
	struct bus *bus;
	struct bus_link *shard;
	int hellos, batches;
	uint64_t hello_stream, hello_epoch, welcome_stream, upto, seq;
	bool welcomes, commits;
	char ids[20][33];
	uint64_t states[20];
	struct buf last; /* the last ALERT record */
	int id_count;
};

static void
welcome(struct fixture *x, const struct msg_hello *h)
{
	struct msg_welcome m = { .life = h->life,
		.partition = h->partition,
		.stream = x->welcome_stream,
		.upto = h->stream == x->welcome_stream ? x->upto : 0,
		.window = 64,
		.window_bytes = 1 << 20 };

	if (h->stream != x->welcome_stream)
		x->upto = 0;
	ck_assert_int_eq(bus_send(x->shard, "rules-0", MSG_WELCOME, &m), 0);
}

static void
commit(struct fixture *x)
{
	struct msg_commit m = {
		.stream = x->welcome_stream, .upto = x->upto, .window = 64, .window_bytes = 1 << 20
	};

	ck_assert_int_eq(bus_send(x->shard, "rules-0", MSG_COMMIT, &m), 0);
}

static void
take_batch(struct fixture *x, const struct msg_batch *b)
{
	enum msg_type type;
	union msg_any any;

	x->batches++;
	ck_assert_uint_eq(b->kind, ENTRY_ALERT);
	ck_assert_int_eq(codec_decode(b->records, &type, &any), 0);
	ck_assert_int_eq(type, MSG_ALERT);
	if (b->seq == x->upto + 1) {
		x->upto = b->seq;
		ck_assert_int_lt(x->id_count, (int)COUNT_OF(x->ids));
		buf_clear(&x->last);
		buf_add(&x->last, b->records.data, b->records.len);
		x->states[x->id_count] = any.alert.state;
		snprintf(x->ids[x->id_count++], 33, "%.*s", (int)any.alert.id.len,
		    (const char *)any.alert.id.data);
	}
	if (x->commits)
		commit(x);
}

static void
shard_on_msg(void *arg, struct bus_msg *m)
{
	struct fixture *x = arg;

	if (m->type == MSG_HELLO) {
		x->hellos++;
		x->hello_stream = m->any->hello.stream;
		x->hello_epoch = m->any->hello.epoch;
		if (x->welcomes)
			welcome(x, &m->any->hello);
	} else if (m->type == MSG_STREAM_BATCH) {
		take_batch(x, &m->any->batch);
	}
}

static struct fixture *the_fixture;

static void
on_welcome(struct worker *w, struct bus_msg *m)
{
	(void)w;
	emit_welcome(the_fixture->p->emit, &m->any->welcome);
}

static void
on_commit(struct worker *w, struct bus_msg *m)
{
	(void)w;
	emit_commit(the_fixture->p->emit, &m->any->commit);
}

static void
on_fenced(struct worker *w, struct bus_msg *m)
{
	(void)w;
	emit_fenced(the_fixture->p->emit, &m->any->fenced);
}

static const struct worker_spec tool = {
	.name = "rules",
	.on = { [MSG_WELCOME] = on_welcome, [MSG_COMMIT] = on_commit, [MSG_FENCED] = on_fenced },
};

static void
open_partition(struct fixture *x, uint64_t epoch, uint64_t end)
{
	ck_assert_int_eq(partition_open(&x->w, x->state_dir, 3, 0, &x->room, x->link, x->index,
			     epoch, end, &x->p),
	    0);
}

static void
setup(struct fixture *x)
{
	char text[160];
	struct buf err = { 0 };

	*x = (struct fixture){ .dir = "/tmp/roost-part-XXXXXX",
		.welcomes = true,
		.commits = true,
		.welcome_stream = STREAM };
	the_fixture = x;
	ck_assert_ptr_nonnull(mkdtemp(x->dir));
	snprintf(x->state_dir, sizeof(x->state_dir), "%s/rules", x->dir);
	snprintf(text, sizeof(text), "mkdir -p %s/run %s/rules", x->dir, x->dir);
	ck_assert_int_eq(system(text), 0);
	x->settings = settings_new();
	snprintf(text, sizeof(text), "data_dir=%s", x->dir);
	ck_assert_int_eq(settings_set(x->settings, text, "test", &err), 0);
	ck_assert_int_eq(worker_tool_start(&x->w, &tool, "rules-0", x->settings), 0);
	char run[64];
	x->bus = bus_new(x->w.loop, "storage-0", worker_run_dir(x->settings, run, sizeof(run)),
	    shard_on_msg, NULL, x);
	ck_assert_int_eq(bus_bind(x->bus, "shard-0", &x->shard), 0);
	ck_assert_int_eq(bus_connect(x->w.bus, "shard-0", &x->link), 0);
	int64_t deadline = loop_now_us(x->w.loop) + DEADLINE_US;
	while (!bus_link_is_up(x->link) && loop_now_us(x->w.loop) < deadline)
		loop_turn(x->w.loop, 10000);
	ck_assert(bus_link_is_up(x->link));
	x->index = index_of_text(rules);
}

static void
teardown(struct fixture *x)
{
	char text[160];

	partition_close(&x->p);
	rule_index_free(&x->index);
	buf_fini(&x->last);
	bus_free(&x->bus);
	worker_tool_stop(&x->w);
	settings_free(&x->settings);
	snprintf(text, sizeof(text), "rm -rf %s", x->dir);
	ck_assert_int_eq(system(text), 0);
}

static void
turn(struct fixture *x)
{
	ck_assert_int_eq(partition_turn(x->p), 0);
	loop_turn(x->w.loop, 5000);
}

static void
wait_for(struct fixture *x, const int *value, int at_least)
{
	int64_t deadline = loop_now_us(x->w.loop) + DEADLINE_US;

	while (*value < at_least && loop_now_us(x->w.loop) < deadline)
		turn(x);
	ck_assert_int_ge(*value, at_least);
}

static void
wait_idle(struct fixture *x)
{
	int64_t deadline = loop_now_us(x->w.loop) + DEADLINE_US;

	while (emit_waiting(x->p->emit) && loop_now_us(x->w.loop) < deadline)
		turn(x);
	ck_assert_uint_eq(emit_waiting(x->p->emit), 0);
}

/* A reading of t in the block at offset, second by second. */
static void
reading(struct fixture *x, uint64_t offset, double seconds, int t)
{
	struct block_view v = {
		.offset = offset, .next = offset + 100, .time = T0 + (int64_t)(seconds * S)
	};
	struct record head = { .time = v.time, .device = bytes_of_str("d") };
	struct point point = { .name = bytes_of_str("t"),
		.time = v.time,
		.value = { .kind = VALUE_INT, .v = { .i = t } } };
	struct record_writer w;
	struct buf batch = { 0 };

	record_begin(&w, &batch, &head);
	record_add(&w, &point);
	record_end(&w);
	struct entry e = { .kind = ENTRY_READINGS, .partition = 3, .body = buf_bytes(&batch) };
	partition_entry(x->p, &v, &e);
	partition_reached(x->p, v.next, offset + 100);
	buf_fini(&batch);
}

static void
tick(struct fixture *x, uint64_t offset, double seconds)
{
	struct block_view v = {
		.offset = offset, .next = offset + 100, .time = T0 + (int64_t)(seconds * S)
	};
	struct entry e = { .kind = ENTRY_TICK, .partition = ENTRY_ALL_PARTITIONS };

	partition_entry(x->p, &v, &e);
	partition_reached(x->p, v.next, offset + 100);
}

/* The ALERT record with this id in the block at offset. */
static void
alert_in_journal(struct fixture *x, uint64_t offset, const char *id, uint64_t end)
{
	struct block_view v = { .offset = offset, .next = offset + 100, .time = T0 };
	struct msg_alert m = { .id = bytes_of_str(id),
		.alert_id = bytes_of_str(id),
		.rule = bytes_of_str("Hot"),
		.group = bytes_of_str("g"),
		.device = bytes_of_str("d"),
		.severity = bytes_of_str("warning") };
	struct buf body = { 0 };

	codec_encode(MSG_ALERT, &m, &body);
	struct entry e = { .kind = ENTRY_ALERT, .partition = 3, .body = buf_bytes(&body) };
	partition_entry(x->p, &v, &e);
	partition_reached(x->p, v.next, end);
	buf_fini(&body);
}

static void
reopen(struct fixture *x, uint64_t epoch, uint64_t end)
{
	partition_close(&x->p);
	open_partition(x, epoch, end);
	/* a new life would have another stream; the played shard begins one */
	x->welcome_stream++;
	x->upto = 0;
}

START_TEST(an_alert_is_sent_once_and_kept)
{
	struct fixture x;

	setup(&x);
	open_partition(&x, 5, 0);
	partition_reached(x.p, 0, 0);
	reading(&x, 100, 1, 40);
	wait_for(&x, &x.id_count, 1);
	wait_idle(&x);
	ck_assert_uint_eq(x.hello_epoch, 5);
	ck_assert_uint_eq(x.hello_stream, 0);
	partition_flush(x.p);
	ck_assert_uint_eq(x.p->durable, 200);

	/* after a restart nothing is told again, and what waited goes on */
	reopen(&x, 6, 200);
	ck_assert_uint_eq(x.p->next, 200);
	ck_assert_uint_eq(engine_firing(x.p->engine), 1);
	partition_reached(x.p, 200, 200);
	reading(&x, 150, 2, 20); /* a block from before: skipped */
	for (int s = 2; s <= 12; s++)
		tick(&x, 100 + (uint64_t)s * 100, s);
	wait_for(&x, &x.id_count, 2);
	wait_idle(&x);
	ck_assert_int_eq(x.id_count, 2);
	ck_assert_str_ne(x.ids[0], x.ids[1]);
	teardown(&x);
}
END_TEST

START_TEST(no_snapshot_passes_an_alert_that_is_not_durable)
{
	struct fixture x;

	setup(&x);
	x.commits = false;
	open_partition(&x, 5, 0);
	partition_reached(x.p, 0, 0);
	reading(&x, 100, 1, 20);
	partition_flush(x.p);
	ck_assert_uint_eq(x.p->durable, 200);
	reading(&x, 200, 2, 40);
	wait_for(&x, &x.id_count, 1);
	partition_flush(x.p);
	ck_assert_uint_eq(x.p->durable, 200);
	ck_assert_uint_eq(partition_settled(x.p), 200);

	/* killed here: the alert is computed again, under the same id */
	reopen(&x, 6, 300);
	ck_assert_uint_eq(x.p->next, 200);
	ck_assert_uint_eq(engine_firing(x.p->engine), 0);
	x.commits = true;
	reading(&x, 200, 2, 40);
	wait_for(&x, &x.id_count, 2);
	ck_assert_str_eq(x.ids[0], x.ids[1]);
	wait_idle(&x);
	partition_flush(x.p);
	ck_assert_uint_eq(x.p->durable, 300);
	/* a tick changes nothing that would have to be kept: an idle system is behind nobody */
	tick(&x, 300, 3);
	ck_assert_uint_eq(x.p->durable, 300);
	ck_assert_uint_eq(partition_settled(x.p), 400);
	teardown(&x);
}
END_TEST

START_TEST(a_snapshot_under_way_is_committed_with_its_alerts)
{
	struct fixture x;

	setup(&x);
	x.commits = false;
	open_partition(&x, 5, 0);
	partition_reached(x.p, 0, 0);
	reading(&x, 100, 1, 40);
	wait_for(&x, &x.id_count, 1);
	x.p->snapshot_us -= 10000000; /* due */
	turn(&x);
	ck_assert(x.p->writing);
	partition_quiet(x.p);	 /* what is not committed stays */
	reading(&x, 200, 2, 20); /* the next one is caused after it */
	turn(&x);
	ck_assert_uint_eq(x.p->durable, 0);
	x.upto = 1;
	commit(&x);
	int64_t deadline = loop_now_us(x.w.loop) + DEADLINE_US;
	while (x.p->writing && loop_now_us(x.w.loop) < deadline)
		turn(&x);
	ck_assert_uint_eq(x.p->durable, 200);
	teardown(&x);
}
END_TEST

START_TEST(what_is_in_the_journal_is_not_sent_again)
{
	struct fixture x;
	char id[33];

	setup(&x);
	open_partition(&x, 5, 0);
	partition_reached(x.p, 0, 0);
	reading(&x, 100, 1, 40);
	wait_for(&x, &x.id_count, 1);
	strcpy(id, x.ids[0]);

	/* another owner, without the state, reads all of it up to the end of the fenced journal */
	reopen(&x, 9, 1000);
	ck_assert_uint_eq(x.p->next, 0);
	reading(&x, 100, 1, 40);
	reading(&x, 300, 3, 20);
	turn(&x);
	ck_assert_int_eq(x.id_count, 1); /* held back */
	ck_assert_uint_eq(emit_waiting(x.p->emit), 2);
	alert_in_journal(&x, 400, id, 1000);
	ck_assert_uint_eq(emit_waiting(x.p->emit), 1);
	alert_in_journal(&x, 500, "0123456789abcdef0123456789abcdef", 1000); /* somebody else's */
	ck_assert_int_eq(x.hellos, 1);
	partition_reached(x.p, 1000, 1000);
	wait_for(&x, &x.id_count, 2); /* only the one that was missing */
	wait_idle(&x);
	ck_assert_int_eq(x.id_count, 2);
	ck_assert_str_ne(x.ids[1], id);
	ck_assert_uint_eq(x.hello_epoch, 9);
	teardown(&x);
}
END_TEST

static void
last_in_journal(struct fixture *x, uint64_t offset)
{
	struct block_view v = { .offset = offset, .next = offset + 100, .time = T0 };
	struct entry e = { .kind = ENTRY_ALERT, .partition = 3, .body = buf_bytes(&x->last) };

	partition_entry(x->p, &v, &e);
}

/* The rules changed and the process was killed before a snapshot: nobody computes the firing any more. */
START_TEST(a_firing_that_does_not_come_again_is_cleared)
{
	struct buf firing = { 0 };
	struct fixture x;
	char id[33];

	setup(&x);
	open_partition(&x, 5, 0);
	partition_reached(x.p, 0, 0);
	reading(&x, 100, 1, 40);
	wait_for(&x, &x.id_count, 1);
	wait_idle(&x);
	buf_add(&firing, x.last.data, x.last.len);

	partition_close(&x.p);
	rule_index_free(&x.index);
	x.index =
	    index_of_text("version: 1\ngroup: g\nrules:\n  - { alert: Other, when: t > 90 }\n");
	for (int round = 0; round < 2; round++) { /* the second is killed before a snapshot, too */
		open_partition(&x, 6, 300);
		x.welcome_stream++;
		x.upto = 0;
		reading(&x, 100, 1, 40);
		last_in_journal(&x, 200);
		partition_flush(x.p);
		ck_assert_uint_eq(x.p->durable, 0);
		ck_assert_int_eq(x.id_count, 1 + round);
		partition_reached(x.p, 300, 300);
		wait_for(&x, &x.id_count, 2 + round);
		ck_assert_uint_eq(x.states[1 + round], ALERT_CLEARED);
		strcpy(id, x.ids[1]);
		ck_assert_str_eq(x.ids[1 + round], id);
		wait_idle(&x);
		if (round == 0)
			partition_close(&x.p);
		buf_clear(&x.last);
		buf_add(&x.last, firing.data, firing.len);
	}
	partition_flush(x.p);
	ck_assert_uint_eq(x.p->durable, 300);
	buf_fini(&firing);
	teardown(&x);
}
END_TEST

START_TEST(a_fenced_stream_looks_before_it_sends_again)
{
	struct fixture x;
	struct msg_fenced fenced = { .partition = 3, .stream = STREAM };
	int64_t deadline;

	setup(&x);
	x.commits = false;
	open_partition(&x, 5, 0);
	partition_reached(x.p, 0, 0);
	reading(&x, 100, 1, 40);
	reading(&x, 200, 2, 20);
	wait_for(&x, &x.id_count, 2);
	ck_assert_int_eq(bus_send(x.shard, "rules-0", MSG_FENCED, &fenced), 0);
	deadline = loop_now_us(x.w.loop) + DEADLINE_US;
	while (emit_sent(x.p->emit) && loop_now_us(x.w.loop) < deadline)
		turn(&x);
	ck_assert_uint_eq(emit_sent(x.p->emit), 0);
	ck_assert_uint_eq(emit_waiting(x.p->emit), 2);
	x.commits = true;
	x.welcome_stream = STREAM + 1;
	/* the first had reached the journal all the same */
	alert_in_journal(&x, 300, x.ids[0], 500);
	partition_reached(x.p, 400, 500);
	turn(&x);
	ck_assert_int_eq(x.id_count, 2);
	partition_reached(x.p, 500, 500);
	wait_for(&x, &x.id_count, 3);
	wait_idle(&x);
	ck_assert_int_eq(x.id_count, 3);
	ck_assert_str_eq(x.ids[2], x.ids[1]);
	teardown(&x);
}
END_TEST

START_TEST(a_partition_has_one_owner)
{
	struct fixture x;
	struct partition *second = NULL;

	setup(&x);
	open_partition(&x, 5, 0);
	ck_assert_int_eq(
	    partition_open(&x.w, x.state_dir, 3, 0, &x.room, x.link, x.index, 5, 0, &second),
	    ERR_AGAIN);
	ck_assert_ptr_null(second);
	partition_close(&x.p);
	open_partition(&x, 5, 0);
	teardown(&x);
}
END_TEST

static int64_t
in_file(struct fixture *x, const char *sql)
{
	char *path = xasprintf("%s/p-3.db", x->state_dir);
	sqlite3 *db;
	sqlite3_stmt *q;
	int64_t v = -1;

	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_prepare_v2(db, sql, -1, &q, NULL), SQLITE_OK);
	if (sqlite3_step(q) == SQLITE_ROW)
		v = sqlite3_column_int64(q, 0);
	ck_assert_int_eq(sqlite3_finalize(q), SQLITE_OK);
	sqlite3_close(db);
	free(path);
	return v;
}

/* As on a full disk: SQLite ends the transaction by itself, and what comes after would be one of its own. */
START_TEST(a_snapshot_is_whole_or_not_there)
{
	struct fixture x;

	setup(&x);
	open_partition(&x, 5, 0);
	partition_reached(x.p, 0, 0);
	reading(&x, 100, 1, 20);
	partition_flush(x.p);
	ck_assert_int_eq(in_file(&x, "SELECT next FROM position"), 200);
	(void)in_file(&x, "CREATE TRIGGER full BEFORE INSERT ON device BEGIN SELECT "
			  "RAISE(ROLLBACK, 'full'); END");
	reading(&x, 200, 2, 40);
	wait_for(&x, &x.id_count, 1);
	wait_idle(&x);
	partition_flush(x.p);
	partition_flush(x.p);
	ck_assert_uint_eq(x.p->durable, 200);
	ck_assert_int_eq(in_file(&x, "SELECT next FROM position"), 200);
	ck_assert_int_eq(in_file(&x, "SELECT count(*) FROM alert"), 0);
	(void)in_file(&x, "DROP TRIGGER full");
	x.p->snapshot_us -= 10000000;
	ck_assert_int_eq(
	    partition_turn(x.p), ERR_IO); /* what was to be saved is not known any more */
	teardown(&x);
}
END_TEST

static void
damage(struct fixture *x, size_t at)
{
	char *path = xasprintf("%s/p-3.db", x->state_dir);
	FILE *f = fopen(path, "r+");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fseek(f, (long)at, SEEK_SET), 0);
	for (int i = 0; i < 3000; i++)
		fputc(0x5a, f);
	fclose(f);
	free(path);
}

START_TEST(a_damaged_file_is_put_aside)
{
	struct fixture x;
	char first[33];

	for (int round = 0; round < 2; round++) {
		setup(&x);
		open_partition(&x, 5, 0);
		partition_reached(x.p, 0, 0);
		reading(&x, 100, 1, 40);
		wait_for(&x, &x.id_count, 1);
		strcpy(first, x.ids[0]);
		wait_idle(&x);
		partition_flush(x.p);
		partition_close(&x.p);
		damage(&x, round == 0 ? 0 : 4096); /* the header; or pages of a table */
		open_partition(&x, 6, 300);
		ck_assert_uint_eq(x.p->next, 0);
		ck_assert_uint_eq(engine_devices(x.p->engine), 0);
		reading(&x, 100, 1, 40);
		alert_in_journal(&x, 200, first, 300);
		partition_reached(x.p, 300, 300);
		turn(&x);
		ck_assert_uint_eq(emit_waiting(x.p->emit), 0);
		ck_assert_int_eq(x.id_count, 1);
		teardown(&x);
	}
}
END_TEST

UNIT_MAIN("partition", an_alert_is_sent_once_and_kept,
    no_snapshot_passes_an_alert_that_is_not_durable,
    a_snapshot_under_way_is_committed_with_its_alerts, what_is_in_the_journal_is_not_sent_again,
    a_firing_that_does_not_come_again_is_cleared, a_fenced_stream_looks_before_it_sends_again,
    a_partition_has_one_owner, a_snapshot_is_whole_or_not_there, a_damaged_file_is_put_aside)
