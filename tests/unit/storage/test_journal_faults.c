/* test_journal_faults.c - a journal whose disk says no, whose files were changed by others, or whose marks are forged */
#undef _FORTIFY_SOURCE
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../unit.h"
#include "err.h"
#include "journal_read.h"
#include "le.h"
#include "mem.h"
#include "segment.h"
#include "support_dir.h"
#include "support_journal.h"

#define PAGE 4096

static char dir[64];

/* What the module under test is told by its system calls; everything else passes. A fault waits for `skip` calls of its
 * kind, counted from the first failed sync on if there is one to come. */
enum call { CALL_NONE, CALL_OPEN, CALL_RENAME, CALL_TRUNCATE, CALL_READ, CALL_SYNC, CALL_ALLOCATE };
static struct {
	unsigned syncs_to_fail;
	enum call call;
	unsigned skip;
	unsigned times;
	off_t bad_from, bad_to; /* of any file: EIO */
	bool disk_full, disk_unknown;
	int64_t seconds_ahead;
} fault;

static bool
fails(enum call call)
{
	if (fault.call != call || fault.syncs_to_fail > 0)
		return false;
	if (fault.skip > 0) {
		fault.skip--;
		return false;
	}
	if (fault.times == 0)
		return false;
	fault.times--;
	errno = ENOMEM;
	return true;
}

int
openat(int at, const char *path, int flags, ...)
{
	mode_t mode;
	va_list args;

	va_start(args, flags);
	mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
	va_end(args);
	return fails(CALL_OPEN) ? -1 : (int)syscall(SYS_openat, at, path, flags, mode);
}

int
renameat(int from, const char *old, int to, const char *new)
{
	return fails(CALL_RENAME) ? -1 : (int)syscall(SYS_renameat, from, old, to, new);
}

int
ftruncate(int fd, off_t len)
{
	return fails(CALL_TRUNCATE) ? -1 : (int)syscall(SYS_ftruncate, fd, len);
}

int
posix_fallocate(int fd, off_t at, off_t len)
{
	if (fails(CALL_ALLOCATE))
		return ENOSPC;
	return syscall(SYS_fallocate, fd, 0, at, len) == 0 ? 0 : errno;
}

int
fsync(int fd)
{
	if (fault.syncs_to_fail > 0) {
		fault.syncs_to_fail--;
		errno = EIO;
		return -1;
	}
	return fails(CALL_SYNC) ? -1 : (int)syscall(SYS_fsync, fd);
}

ssize_t
pread(int fd, void *to, size_t len, off_t at)
{
	if (fails(CALL_READ))
		return -1;
	if (fault.bad_to > at && fault.bad_from < at + (off_t)len) {
		errno = EIO;
		return -1;
	}
	return syscall(SYS_pread64, fd, to, len, at);
}

int
fstatvfs(int fd, struct statvfs *ret_fs)
{
	struct statfs fs;

	if (fault.disk_unknown || syscall(SYS_fstatfs, fd, &fs) != 0)
		return -1;
	*ret_fs =
	    (struct statvfs){ .f_frsize = 4096, .f_bfree = fs.f_bfree + 1, .f_bavail = fs.f_bfree };
	if (fault.disk_full)
		ret_fs->f_bavail = 0;
	return 0;
}

/* Blocks that are kept for root are none of ours. */
uid_t
geteuid(void)
{
	return fault.disk_full ? 1000 : (uid_t)syscall(SYS_geteuid);
}

int
clock_gettime(clockid_t clock, struct timespec *ret_time)
{
	int r = (int)syscall(SYS_clock_gettime, clock, ret_time);

	ret_time->tv_sec += fault.seconds_ahead;
	return r;
}

static void
setup(void)
{
	test_dir_new(dir, sizeof(dir));
	memset(&fault, 0, sizeof(fault));
}

static void
teardown(void)
{
	memset(&fault, 0, sizeof(fault));
	test_dir_remove(dir);
}

/* n blocks in the last segment, which no orderly stop has closed. */
static void
leave_open(uint64_t n)
{
	struct journal *j = open_at(dir, WALL);

	for (uint64_t seq = 1; seq <= n; seq++)
		append(j, seq);
	ck_assert_int_eq(journal_prepare(j), 0);
	journal_abandon(&j);
}

/* After a fault at its start a journal starts again, and has everything. */
static void
check_whole(const char *what, uint64_t n)
{
	struct journal *j;

	memset(&fault, 0, sizeof(fault));
	j = open_at(dir, WALL);
	read_all(j);
	check_seen(what, 0, 1, n, 0);
	journal_close(&j, WALL);
}

START_TEST(test_a_copy_fails_at_each_step)
{
	static const struct {
		const char *label;
		enum call call;
		unsigned skip;
		int result;
	} cases[] = {
		{ "the old file", CALL_OPEN, 0, ERR_IO },
		{ "the copy", CALL_OPEN, 1, ERR_IO },
		{ "reading", CALL_READ, 0, ERR_IO },
		{ "its length", CALL_TRUNCATE, 0, ERR_IO },
		{ "its sync", CALL_SYNC, 0, ERR_IO },
		{ "the spare's name", CALL_RENAME, 0, 0 },
		{ "its own name", CALL_RENAME, 1, ERR_IO },
		{ "the sync of names", CALL_SYNC, 1, ERR_IO },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct journal *j = NULL;
		int r;

		leave_open(5);
		fault.syncs_to_fail = 1; /* of what is written over itself */
		fault.call = cases[i].call;
		fault.skip = cases[i].skip;
		fault.times = 1;
		r = try_open(dir, &hooks, &j);
		ck_assert_msg(r == cases[i].result, "%s: %d", cases[i].label, r);
		ck_assert_msg(fault.times == 0, "%s: not met", cases[i].label);
		journal_abandon(&j);
		check_whole(cases[i].label, 5);
		teardown();
		setup();
	}
}
END_TEST

/* A page of the last segment cannot be read: reported, and the rest is copied to where it can. */
START_TEST(test_unreadable_page)
{
	struct journal *j = NULL;

	leave_open(300);
	fault.bad_from = 2 * PAGE;
	fault.bad_to = 2 * PAGE + 1;
	ck_assert_int_eq(try_open(dir, &hooks, &j), 0);
	ck_assert_uint_eq(seen.bad, 1);
	ck_assert_uint_eq(seen.wrong, 0);
	ck_assert_uint_ge(seen.count, 250);
	memset(&fault, 0, sizeof(fault));
	read_all(j);
	ck_assert_uint_eq(seen.wrong, 0);
	ck_assert_uint_ge(seen.count, 250);
	journal_abandon(&j);
}
END_TEST

/* The same where it is copied because a sync failed, and where it is the page to be written over itself. */
START_TEST(test_unreadable_page_while_renewing)
{
	for (unsigned i = 0; i < 2; i++) {
		struct journal *j = NULL;

		leave_open(300);
		fault.syncs_to_fail = 1 - i;
		fault.bad_from = (i == 0 ? 2 : 7) * PAGE;
		fault.bad_to = i == 0 ? 2 * PAGE + 1 : 1 << 20;
		ck_assert_int_eq(try_open(dir, &hooks, &j), 0);
		ck_assert_uint_eq(seen.wrong, 0);
		memset(&fault, 0, sizeof(fault));
		read_all(j);
		ck_assert_uint_eq(seen.wrong, 0);
		ck_assert_uint_ge(seen.count, 200);
		journal_abandon(&j);
		teardown();
		setup();
	}
}
END_TEST

/* A follower waits for a disk that is away; what stays unreadable is damage, and the rest is read. */
START_TEST(test_follower_waits_for_the_disk)
{
	struct journal *j = open_at(dir, WALL);
	struct journal_reader *r = journal_reader_new(j);
	uint64_t base = j->segments[0].base;
	struct block b;

	for (uint64_t seq = 1; seq <= 300; seq++)
		append(j, seq);
	fault.bad_from = 0;
	fault.bad_to = 1;
	ck_assert_int_eq(journal_reader_next(r, base, &b), ERR_IO);
	ck_assert_int_eq(journal_reader_next(r, base, &b), ERR_IO); /* not asked again at once */
	fault.bad_to = 0;
	ck_assert_int_eq(journal_reader_next(r, base, &b), ERR_IO);
	fault.seconds_ahead = 2;
	ck_assert_int_eq(journal_reader_next(r, base, &b), 0); /* the disk is back */
	journal_reader_free(&r);
	r = journal_reader_new(j);
	fault.bad_from = 2 * PAGE;
	fault.bad_to = 3 * PAGE;
	ck_assert_int_eq(journal_reader_next(r, base + 2 * PAGE + 8, &b), ERR_IO);
	fault.seconds_ahead = 4;
	ck_assert_int_eq(journal_reader_next(r, base + 2 * PAGE + 8, &b), ERR_IO);
	fault.seconds_ahead = 20;
	ck_assert_int_eq(journal_reader_next(r, base + 2 * PAGE + 8, &b), ERR_DAMAGED);
	ck_assert_int_eq(journal_reader_next(r, b.next, &b), 0);
	journal_reader_free(&r);
	journal_abandon(&j);
}
END_TEST

START_TEST(test_a_full_disk_is_not_asked)
{
	struct journal *j = open_at(dir, WALL);

	j->spare = false;
	fault.disk_full = true;
	ck_assert_int_eq(journal_prepare(j), ERR_FULL);
	fault.disk_unknown = true;
	ck_assert_int_eq(journal_prepare(j), 0);
	memset(&fault, 0, sizeof(fault));
	journal_close(&j, WALL);
}
END_TEST

START_TEST(test_no_descriptor_for_the_directory)
{
	struct rlimit before, none;
	struct journal *j = NULL;
	int lowest = dup(0);

	close(lowest);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = (rlim_t)lowest + 1;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	ck_assert_int_eq(try_open(dir, &hooks, &j), ERR_IO);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	ck_assert_int_eq(try_open(dir, &hooks, &j), 0);
	journal_close(&j, WALL);
	journal_close(&j, WALL);
}
END_TEST

/* A name of a segment that leads nowhere is none; a clock before 1970 is no reason not to start. */
START_TEST(test_strange_beginnings)
{
	char path[160], name[JOURNAL_NAME_MAX];
	struct journal *j;

	journal_segment_name(777, name);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	ck_assert_int_eq(symlink("nowhere", path), 0);
	j = open_at(dir, -5);
	ck_assert_uint_eq(journal_oldest(j), 0);
	append(j, 1);
	journal_close(&j, WALL);
	check_whole("after the epoch", 1);
}
END_TEST

/* More segments than fit into the first table, found in any order. */
START_TEST(test_many_segments)
{
	static uint8_t data[1 << 20];
	struct journal *j = open_at(dir, WALL);
	char name[JOURNAL_NAME_MAX], path[160];
	size_t len;

	for (uint64_t seq = 1; seq <= 70; seq++) {
		append(j, seq);
		ck_assert_int_eq(journal_roll(j, 0, WALL), 0);
	}
	/* The youngest file is the oldest segment. */
	journal_segment_name(j->segments[0].base, name);
	journal_close(&j, WALL);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	len = test_file_read(dir, name, data, sizeof(data));
	ck_assert_int_eq(unlink(path), 0);
	test_file_write(dir, name, data, len);
	check_whole("many segments", 70);
}
END_TEST

/* A segment of other hands behind the first one: one block, with this mark or none. */
static void
forge(uint64_t base, const struct segment_entry *mark)
{
	char name[JOURNAL_NAME_MAX];
	struct buf b = { 0 };
	uint8_t body[40];

	le_put64(body, SEGMENT_MARK_BEGIN);
	le_put64(body + 8, SEGMENT_ENTRY_VERSION);
	le_put64(body + 16, base);
	le_put64(body + 24, mark ? mark->previous_base : 0);
	le_put64(body + 32, mark ? mark->previous_end : 0);
	block_begin(&b);
	entry_put(&b, &(struct entry){ .kind = mark ? ENTRY_SEGMENT : ENTRY_TICK,
			  .partition = ENTRY_ALL_PARTITIONS,
			  .body = bytes_of(body, sizeof(body)) });
	block_seal(&b, base, WALL, 1);
	journal_segment_name(base, name);
	test_file_write(dir, name, b.data, b.len);
	buf_fini(&b);
}

START_TEST(test_marks_that_cannot_be_true)
{
	for (unsigned i = 0; i < 4; i++) {
		struct segment_entry mark = { 0 };
		struct journal *j;
		uint64_t base, end;

		leave_open(5);
		j = open_at(dir, WALL);
		base = j->segments[0].base;
		end = j->segments[0].end;
		journal_abandon(&j);
		teardown();
		setup();
		leave_open(5);
		mark.previous_base = i == 0 ? base + 8 : base;
		mark.previous_end = i == 1 ? base - 8 : end + (100ull << 20);
		forge(base + (16ull << 20), i == 3 ? NULL : &mark);
		check_whole("forged mark", 5);
		teardown();
		setup();
	}
}
END_TEST

/* Segments whose snapshots were lost, but not their first marks: all are read from the first on. */
START_TEST(test_snapshots_lost)
{
	for (unsigned i = 0; i < 3; i++) {
		struct segment_entry mark;
		struct journal *j;
		uint64_t second;
		int r;

		leave_open(5);
		j = open_at(dir, WALL);
		mark.previous_base = j->segments[0].base;
		mark.previous_end = j->segments[0].end;
		journal_abandon(&j);
		teardown();
		setup();
		leave_open(5);
		second = mark.previous_base + (16ull << 20);
		forge(second, &mark);
		if (i > 0) {
			mark.previous_base = second;
			mark.previous_end = second + block_size(ENTRY_HEADER_SIZE + 40);
			forge(second + (16ull << 20), &mark);
		}
		if (i == 2) {
			/* the folder, three snapshots, then the first segment */
			fault.call = CALL_OPEN;
			fault.skip = 4;
			fault.times = 1;
			r = try_open(dir, &hooks, &j);
			ck_assert_int_eq(r, ERR_IO);
		}
		check_whole("snapshots lost", 5);
		teardown();
		setup();
	}
}
END_TEST

static void
flip(uint64_t base, size_t at)
{
	static uint8_t data[2 << 20];
	char name[JOURNAL_NAME_MAX];
	size_t len;

	journal_segment_name(base, name);
	len = test_file_read(dir, name, data, sizeof(data));
	ck_assert_uint_lt(at, len);
	data[at] ^= 1;
	test_file_write(dir, name, data, len);
}

/* Two blocks side by side are one place of damage; torn bytes in a segment that was just followed by another too. */
START_TEST(test_damage_side_by_side)
{
	static uint8_t data[2 << 20];
	struct journal *j = open_at(dir, WALL);
	char name[JOURNAL_NAME_MAX];
	struct block b[6];
	uint64_t base;
	size_t len;

	for (uint64_t seq = 1; seq <= 5; seq++)
		b[seq] = append(j, seq);
	base = j->segments[0].base;
	journal_abandon(&j);
	flip(base, b[2].offset - base + 60);
	flip(base, b[3].offset - base + 60);
	journal_segment_name(base, name);
	len = b[5].next - base;
	ck_assert_uint_ge(test_file_read(dir, name, data, sizeof(data)), len);
	memset(data + len, 0x55, 40);
	test_file_write(dir, name, data, len + 40);
	forge(base + (16ull << 20), NULL);
	ck_assert_int_eq(try_open(dir, &hooks, &j), 0);
	ck_assert_uint_eq(seen.wrong, 0);
	ck_assert_uint_eq(seen.count, 3);
	ck_assert_uint_eq(seen.bad, 2);
	journal_abandon(&j);
}
END_TEST

START_TEST(test_nobody_listens)
{
	static const struct journal_hooks none;
	struct journal *j = open_at(dir, WALL);
	struct block b;
	uint64_t base;

	append(j, 1);
	b = append(j, 2);
	append(j, 3);
	base = j->segments[0].base;
	journal_abandon(&j);
	flip(base, b.offset - base + 60);
	ck_assert_int_eq(try_open(dir, &none, &j), 0);
	ck_assert_uint_eq(seen.count, 0);
	journal_abandon(&j);
}
END_TEST

/* The mark of an orderly stop, and bytes behind the end that it names: not as it was left. */
START_TEST(test_clean_mark_and_more_behind)
{
	static uint8_t data[2 << 20];
	struct journal *j = open_at(dir, WALL);
	char name[JOURNAL_NAME_MAX];
	size_t len;

	append(j, 1);
	journal_segment_name(j->segments[0].base, name);
	journal_put(j, &(struct entry){ .kind = ENTRY_TICK });
	journal_close(&j, WALL); /* commits what is pending */
	len = test_file_read(dir, name, data, sizeof(data) - 64);
	memset(data + len, 0x55, 64);
	test_file_write(dir, name, data, len + 64);
	check_whole("bytes behind the clean end", 1);
}
END_TEST

START_TEST(test_warm_reads_around_damage)
{
	struct journal *j = open_at(dir, WALL);
	struct journal_config c = warm_config(dir);
	struct block b[7];
	uint64_t base[3];
	char path[160], name[JOURNAL_NAME_MAX];

	for (uint64_t seq = 1; seq <= 6; seq++) {
		b[seq] = append(j, seq);
		if (seq % 2 == 0)
			ck_assert_int_eq(journal_roll(j, 0, WALL + (int64_t)seq), 0);
	}
	for (size_t i = 0; i < 3; i++)
		base[i] = j->segments[i].base;
	journal_close(&j, WALL);
	flip(base[0], b[1].offset - base[0] + 60);
	seen = (struct seen){ 0 };
	ck_assert_int_eq(journal_open(&c, &hooks, WALL, &j), 0);
	/* The second one is unlinked meanwhile, as retention would. */
	journal_segment_name(base[1], name);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	ck_assert_int_eq(unlink(path), 0);
	while (journal_warm(j, 100))
		;
	ck_assert_uint_eq(j->damage_said_count, 1);
	/* Where reading begins inside a block there is no damage. */
	j->warm_at = j->warm_mid = b[6].offset - 8;
	while (journal_warm(j, 100))
		;
	ck_assert_uint_eq(j->damage_said_count, 1);
	seen.count--;
	ck_assert_uint_eq(seen.wrong, 0);
	ck_assert_uint_eq(seen.count, 3);
	ck_assert(seen.seqs[0] == 2 && seen.seqs[1] == 5 && seen.seqs[2] == 6);
	/* All that was to be read is gone: it is over at once. */
	j->warm_at = j->end + 1;
	j->warm_to = j->end + 100;
	ck_assert(!journal_warm(j, 100));
	journal_abandon(&j);
}
END_TEST

/* The spare is too small for what is to come, and cannot grow. */
START_TEST(test_no_room_for_a_large_block)
{
	struct journal *j = open_at(dir, WALL);

	ck_assert_int_eq(journal_prepare(j), 0);
	fault.call = CALL_ALLOCATE;
	fault.times = 10;
	ck_assert_int_eq(journal_roll(j, 3 << 20, WALL), ERR_FULL);
	memset(&fault, 0, sizeof(fault));
	ck_assert_int_eq(journal_roll(j, 3 << 20, WALL), 0);
	journal_close(&j, WALL);
}
END_TEST

UNIT_MAIN_IN("journal_faults", setup, teardown, test_a_copy_fails_at_each_step,
    test_unreadable_page, test_unreadable_page_while_renewing, test_no_descriptor_for_the_directory,
    test_follower_waits_for_the_disk, test_a_full_disk_is_not_asked, test_strange_beginnings,
    test_many_segments, test_marks_that_cannot_be_true, test_snapshots_lost,
    test_damage_side_by_side, test_nobody_listens, test_clean_mark_and_more_behind,
    test_warm_reads_around_damage, test_no_room_for_a_large_block)
