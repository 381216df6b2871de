/* test_outbox.c - what is owed survives, once, in order, with the cursor behind it */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../folder.h"
#include "../unit.h"
#include "err.h"
#include "mem.h"
#include "metrics.h"
#include "outbox.h"

static char *dir;

static void
setup(void)
{
	dir = unit_folder_new();
}

static void
teardown(void)
{
	unit_folder_free(&dir);
}

static struct outbox *
open_outbox(void)
{
	struct outbox *o;

	ck_assert_int_eq(outbox_open(dir, 2, &o), 0);
	return o;
}

static int
owe(struct outbox *o, const char *id, const char *receiver)
{
	return outbox_owe(o, bytes_of_str(id), receiver, bytes_of_str(id), 1000);
}

START_TEST(owes_with_the_cursor)
{
	struct outbox *o = open_outbox(), *second;
	struct outbox_item item = { 0 };
	const uint64_t cursors[2] = { 500, 7 };

	ck_assert_int_eq(outbox_open(dir, 2, &second), ERR_AGAIN); /* one at a time */
	ck_assert_int_eq(outbox_begin(o), 0);
	ck_assert_int_eq(owe(o, "t1", "a"), 0);
	ck_assert_int_eq(owe(o, "t1", "b"), 0);
	ck_assert_int_eq(owe(o, "t1", "a"), ERR_EXISTS);
	ck_assert_int_eq(owe(o, "t2", "a"), 0);
	ck_assert_int_eq(outbox_commit(o, cursors), 0);
	ck_assert_uint_eq(outbox_owed(o), 3);
	ck_assert_int_eq(outbox_begin(o), 0);
	ck_assert_int_eq(owe(o, "t3", "a"), 0);
	outbox_close(&o); /* not committed: as after a crash */
	o = open_outbox();
	ck_assert_uint_eq(outbox_owed(o), 3);
	ck_assert_uint_eq(outbox_cursor(o, 0), 500);
	ck_assert_uint_eq(outbox_cursor(o, 1), 7);
	ck_assert_int_eq(outbox_next(o, "a", &item), 0);
	ck_assert_str_eq(item.key, "t1/a");
	ck_assert_str_eq(buf_str(&item.body), "t1");
	ck_assert_uint_eq(item.attempts, 0);
	ck_assert_int_eq(outbox_next(o, "nobody", &item), ERR_NOT_FOUND);
	outbox_item_fini(&item);
	outbox_close(&o);
}
END_TEST

START_TEST(in_order_per_receiver)
{
	struct outbox *o = open_outbox();
	struct outbox_item item = { 0 };
	const uint64_t cursors[2] = { 1, 0 };
	char id[16];

	ck_assert_int_eq(outbox_begin(o), 0);
	for (int i = 0; i < 10; i++) {
		snprintf(id, sizeof(id), "t%d", i);
		ck_assert_int_eq(owe(o, id, i % 2 ? "odd" : "even"), 0);
	}
	ck_assert_int_eq(outbox_commit(o, cursors), 0);
	for (int i = 0; i < 10; i += 2) {
		snprintf(id, sizeof(id), "t%d/even", i);
		ck_assert_int_eq(outbox_next(o, "even", &item), 0);
		ck_assert_str_eq(item.key, id);
		/* One that waits for its next try holds those behind it. */
		ck_assert_int_eq(outbox_retry(o, item.seq, 1, 99, "HTTP 500"), 0);
		ck_assert_int_eq(outbox_next(o, "even", &item), 0);
		ck_assert_str_eq(item.key, id);
		ck_assert_uint_eq(item.attempts, 1);
		ck_assert_int_eq(item.next_at, 99);
		ck_assert_int_eq(i == 4 ? outbox_dead(o, item.seq, 2, "HTTP 404")
					: outbox_delivered(o, item.seq, 2),
		    0);
	}
	ck_assert_int_eq(outbox_next(o, "even", &item), ERR_NOT_FOUND);
	ck_assert_uint_eq(outbox_owed(o), 5);
	/* What was delivered is known, so that a repeat of the journal does not owe it again. */
	ck_assert_int_eq(outbox_begin(o), 0);
	ck_assert_int_eq(owe(o, "t2", "even"), ERR_EXISTS);
	ck_assert_int_eq(outbox_commit(o, cursors), 0);
	ck_assert_int_eq(outbox_prune(o, 1000 + OUTBOX_KEEP_US), 0);
	ck_assert_int_eq(outbox_begin(o), 0);
	ck_assert_int_eq(owe(o, "t2", "even"), ERR_EXISTS);
	ck_assert_int_eq(outbox_commit(o, cursors), 0);
	ck_assert_int_eq(outbox_prune(o, 1001 + OUTBOX_KEEP_US), 0);
	ck_assert_uint_eq(outbox_owed(o), 5); /* what is owed is never forgotten */
	outbox_item_fini(&item);
	outbox_close(&o);
}
END_TEST

struct listed {
	int owed, delivered, dead;
};

static void
count(void *arg, const struct outbox_row *row)
{
	struct listed *l = arg;

	l->owed += row->state == OUTBOX_OWED;
	l->delivered += row->state == OUTBOX_DELIVERED;
	l->dead += row->state == OUTBOX_DEAD && strcmp(row->error, "HTTP 404") == 0;
}

static void
count_name(void *arg, const char *receiver)
{
	*(int *)arg += strcmp(receiver, "a") == 0;
}

START_TEST(is_listed_for_people)
{
	struct outbox *o;
	struct outbox_item item = { 0 };
	struct listed l = { 0 };
	const uint64_t cursors[2] = { 1, 0 };
	int names = 0;

	ck_assert_int_eq(outbox_list(dir, 10, count, &l), ERR_NOT_FOUND);
	o = open_outbox();
	ck_assert_int_eq(outbox_begin(o), 0);
	ck_assert_int_eq(owe(o, "t1", "a"), 0);
	ck_assert_int_eq(owe(o, "t2", "a"), 0);
	ck_assert_int_eq(owe(o, "t3", "a"), 0);
	ck_assert_int_eq(outbox_commit(o, cursors), 0);
	ck_assert_int_eq(outbox_next(o, "a", &item), 0);
	ck_assert_int_eq(outbox_delivered(o, item.seq, 1), 0);
	ck_assert_int_eq(outbox_next(o, "a", &item), 0);
	ck_assert_int_eq(outbox_dead(o, item.seq, 3, "HTTP 404"), 0);
	ck_assert_int_eq(outbox_list(dir, 10, count, &l), 0);
	ck_assert(l.owed == 1 && l.delivered == 1 && l.dead == 1);
	ck_assert_int_eq(outbox_receivers(o, count_name, &names), 0);
	ck_assert_int_eq(names, 1);
	outbox_item_fini(&item);
	outbox_close(&o);
}
END_TEST

/* Owes one transition per cursor step, telling each, until it is killed. */
static _Noreturn void
ower(int fd)
{
	struct outbox *o = open_outbox();
	uint64_t cursors[2] = { outbox_cursor(o, 0), 0 };
	char id[24];

	while (cursors[0] < 300) {
		if (outbox_begin(o) != 0)
			_exit(1);
		snprintf(id, sizeof(id), "t%llu", (unsigned long long)cursors[0]++);
		if (owe(o, id, "a") != 0 || outbox_commit(o, cursors) != 0 ||
		    write(fd, "c", 1) != 1)
			_exit(1);
	}
	_exit(0);
}

START_TEST(killed_at_any_moment)
{
	int status = -1;
	struct outbox *o;

	for (unsigned round = 0; status != 0; round++) {
		char c;
		int fds[2];
		pid_t pid;

		ck_assert_int_eq(pipe(fds), 0);
		if ((pid = fork()) == 0)
			ower(fds[1]);
		close(fds[1]);
		/* After some commits, and then some time into the next one. */
		for (unsigned i = 0; i < 1 + round % 7 && read(fds[0], &c, 1) == 1; i++)
			;
		for (volatile unsigned spin = 0; spin < (round * 7919) % 500000; spin++)
			;
		kill(pid, SIGKILL);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		close(fds[0]);
		ck_assert(WIFSIGNALED(status) || status == 0);
		ck_assert_uint_lt(round, 2000);
	}
	o = open_outbox();
	ck_assert_uint_eq(outbox_cursor(o, 0), 300);
	ck_assert_uint_eq(outbox_owed(o), 300);
	outbox_close(&o);
}
END_TEST

/* Bytes of the file at which and how many are overwritten. */
static void
damage(size_t at, size_t n)
{
	char *path = xasprintf("%s/outbox.db", dir);
	FILE *f = fopen(path, "r+");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fseek(f, (long)at, SEEK_SET), 0);
	while (n-- > 0)
		ck_assert_int_ne(fputc(0xa5, f), EOF);
	fclose(f);
	free(path);
}

static void
damage_new(const char *path)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs("no database", f), 0);
	fclose(f);
}

/* As the notifier does when it meets the damage. */
static void
mark(void)
{
	char *path = xasprintf("%s/outbox.db.is-damaged", dir);
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fclose(f);
	free(path);
}

static int
files(const char *begin)
{
	DIR *d = opendir(dir);
	const struct dirent *e;
	int n = 0;

	ASSERT(d);
	while ((e = readdir(d)) != NULL)
		n += strncmp(e->d_name, begin, strlen(begin)) == 0;
	closedir(d);
	return n;
}

/* 1,000 notifications, each second delivered. */
static void
fill_outbox(void)
{
	const uint64_t cursors[2] = { 700, 8 };
	struct outbox_item item = { 0 };
	struct outbox *o = open_outbox();
	char id[16];

	ck_assert_int_eq(outbox_begin(o), 0);
	for (int i = 0; i < 1000; i++) {
		snprintf(id, sizeof(id), "t%d", i);
		ck_assert_int_eq(owe(o, id, i < 500 ? "a" : "b"), 0);
	}
	ck_assert_int_eq(outbox_commit(o, cursors), 0);
	for (int i = 0; i < 500; i++) {
		ck_assert_int_eq(outbox_next(o, "a", &item), 0);
		ck_assert_int_eq(outbox_delivered(o, item.seq, 1), 0);
	}
	outbox_item_fini(&item);
	outbox_close(&o);
}

/* What the journal says again: nothing delivered that is known of, and all that is owed. */
static void
read_journal_again(struct outbox *o, int *ret_again)
{
	const uint64_t cursors[2] = { 700, 8 };
	struct outbox_item item = { 0 };
	char id[16];

	ck_assert_int_ne(outbox_rebuilt_at(o), 0);
	ck_assert_uint_eq(outbox_cursor(o, 0), 0);
	ck_assert_int_eq(outbox_begin(o), 0);
	for (int i = 0; i < 1000; i++) {
		int err;

		snprintf(id, sizeof(id), "t%d", i);
		err = owe(o, id, i < 500 ? "a" : "b");
		ck_assert(err == 0 || err == ERR_EXISTS);
		*ret_again += err == 0 && i < 500;
	}
	ck_assert_int_eq(outbox_commit(o, cursors), 0);
	for (int i = 500; i < 1000; i++) {
		ck_assert_int_eq(outbox_next(o, "b", &item), 0);
		ck_assert_int_eq(outbox_delivered(o, item.seq, 1), 0);
	}
	ck_assert_int_eq(outbox_next(o, "b", &item), ERR_NOT_FOUND);
	outbox_item_fini(&item);
}

START_TEST(a_damaged_file_is_set_aside_and_rebuilt)
{
	static const struct {
		const char *label;
		size_t at, n;
		int again; /* deliveries at most that nothing is known of any more */
	} cases[] = {
		{ "no database", 0, 100, 500 },
		{ "the schema", 100, 500, 500 },
		{ "one page of rows", 4 * 4096, 4096, 200 },
	};
	uint64_t aside = metric_get(M_NOTIFIER_SET_ASIDE);

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct outbox *o;
		struct outbox_item item = { 0 };
		int again = 0;

		fill_outbox();
		damage(cases[i].at, cases[i].n);
		if (outbox_open(dir, 2, &o) == 0 && outbox_rebuilt_at(o) == 0) {
			/* It shows only when it is met: that leaves a mark. */
			while (outbox_next(o, "b", &item) == 0 &&
			       outbox_delivered(o, item.seq, 1) == 0)
				;
			if (files("outbox.db.is-damaged") == 0)
				(void)outbox_prune(o, 2000 + OUTBOX_KEEP_US);
			outbox_close(&o);
			ck_assert_msg(files("outbox.db.is-damaged") == 1, "%s", cases[i].label);
			o = open_outbox();
		}
		ck_assert_msg(files("outbox.db.is-damaged") == 0, "%s", cases[i].label);
		read_journal_again(o, &again);
		ck_assert_msg(again <= cases[i].again, "%s: %d", cases[i].label, again);
		ck_assert_uint_eq(metric_get(M_NOTIFIER_SET_ASIDE), ++aside);
		ck_assert_int_ge(files("outbox.db.damaged-"), 1);
		outbox_item_fini(&item);
		outbox_close(&o);
		o = open_outbox(); /* whole again */
		ck_assert_int_ne(
		    outbox_rebuilt_at(o), 0); /* for those alerts that are still read again */
		ck_assert_uint_eq(outbox_cursor(o, 0), 700);
		outbox_close(&o);
		teardown();
		setup();
	}
}
END_TEST

/* Into an empty buffer, or out of one. */
static void
copy_file(const char *path, struct buf *b)
{
	FILE *f = fopen(path, b->len == 0 ? "r" : "w");
	int c;

	ck_assert_ptr_nonnull(f);
	if (b->len > 0)
		ck_assert_uint_eq(fwrite(b->data, 1, b->len, f), b->len);
	else
		while ((c = fgetc(f)) != EOF)
			buf_add_u8(b, (uint8_t)c);
	fclose(f);
}

/* In a process that ends when a file would be longer than that: how long it became says how far it got. */
static int
open_within(size_t bytes)
{
	const struct rlimit limit = { bytes, bytes };
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		struct outbox *o;

		setrlimit(RLIMIT_FSIZE, &limit);
		_exit(outbox_open(dir, 2, &o) != 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

START_TEST(a_rebuild_may_be_interrupted)
{
	const uint64_t cursors[2] = { 700, 8 };
	char *path = xasprintf("%s/outbox.db", dir);
	struct outbox *o = open_outbox();
	struct buf damaged = { 0 };
	int status = -1;
	size_t pages;

	ck_assert_int_eq(outbox_begin(o), 0);
	for (int i = 0; i < 300; i++) {
		char id[16];

		snprintf(id, sizeof(id), "t%d", i);
		ck_assert_int_eq(owe(o, id, "a"), 0);
	}
	ck_assert_int_eq(outbox_commit(o, cursors), 0);
	outbox_close(&o);
	damage(5 * 4096, 4096);
	copy_file(path, &damaged);
	for (pages = 0; status != 0; pages++) {
		teardown();
		setup();
		free(path);
		path = xasprintf("%s/outbox.db", dir);
		copy_file(path, &damaged);
		mark();
		status = open_within(pages * 4096);
		o = open_outbox();
		ck_assert_msg(
		    outbox_owed(o) >= 100, "ended at page %zu: %zu", pages, outbox_owed(o));
		ck_assert_int_ne(outbox_rebuilt_at(o), 0);
		ck_assert_int_eq(files("outbox.db.is-damaged") + files("outbox.db.rebuil"), 0);
		outbox_close(&o);
		ck_assert_uint_lt(pages, 100);
	}
	ck_assert_uint_gt(pages, 5);
	buf_fini(&damaged);
	free(path);
}
END_TEST

/* The new one is there, and the damaged one too, or a part of it. */
START_TEST(a_rebuilt_file_takes_its_place_at_the_next_start)
{
	char *path = xasprintf("%s/outbox.db", dir), *rebuilt = xasprintf("%s.rebuilt", path);

	for (int i = 0; i < 3; i++) {
		struct outbox *o;

		const uint64_t cursors[2] = { 700, 8 };

		o = open_outbox();
		ck_assert_int_eq(outbox_begin(o), 0);
		ck_assert_int_eq(owe(o, "t1", "a"), 0);
		ck_assert_int_eq(outbox_commit(o, cursors), 0);
		outbox_close(&o);
		ck_assert_int_eq(rename(path, rebuilt), 0);
		if (i > 0)
			mark();
		if (i > 1)
			damage_new(path);
		o = open_outbox();
		ck_assert_uint_eq(outbox_owed(o), 1);
		ck_assert_uint_eq(outbox_cursor(o, 0), 700);
		ck_assert_int_eq(files("outbox.db.is-damaged") + files("outbox.db.rebuil"), 0);
		ck_assert_int_eq(files("outbox.db.damaged-"), i > 1);
		outbox_close(&o);
		teardown();
		setup();
		free(path);
		free(rebuilt);
		path = xasprintf("%s/outbox.db", dir);
		rebuilt = xasprintf("%s.rebuilt", path);
	}
	free(path);
	free(rebuilt);
}
END_TEST

UNIT_MAIN_IN("outbox", setup, teardown, owes_with_the_cursor, in_order_per_receiver,
    is_listed_for_people, killed_at_any_moment, a_damaged_file_is_set_aside_and_rebuilt,
    a_rebuild_may_be_interrupted, a_rebuilt_file_takes_its_place_at_the_next_start)
