/* test_journal.c - what is on disk after any cut or flipped byte is delivered right, or reported, and nothing else changes */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include "../unit.h"
#include "err.h"
#include "journal.h"
#include "journal_read.h"
#include "metrics.h"
#include "support_dir.h"
#include "support_journal.h"
#include "worker.h"

#define BLOCKS 5

static char dir[64];

/* The libraries under test get this one: the disk says no to so many of the next syncs. */
static unsigned fsyncs_to_fail;

int
fsync(int fd)
{
	if (fsyncs_to_fail > 0) {
		fsyncs_to_fail--;
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fsync, fd);
}

/* A small segment: its name, its bytes, and where each block starts; starts[0] is the snapshot's. */
struct sample {
	char name[JOURNAL_NAME_MAX];
	uint64_t base;
	uint8_t data[8192];
	size_t len;
	size_t starts[BLOCKS + 2];
};

static void
make_sample(struct sample *s)
{
	struct journal *j = open_at(dir, WALL);
	uint64_t seq;

	s->base = journal_oldest(j);
	journal_segment_name(s->base, s->name);
	s->starts[0] = 0;
	for (seq = 1; seq <= BLOCKS; seq++)
		s->starts[seq] = (size_t)(append(j, seq).offset - s->base);
	s->starts[BLOCKS + 1] = (size_t)(j->end - s->base);
	s->len = s->starts[BLOCKS + 1];
	journal_abandon(&j);
	ck_assert_uint_eq(test_file_read(dir, s->name, s->data, s->len), s->len);
}

static void
setup(void)
{
	test_dir_new(dir, sizeof(dir));
}

static void
teardown(void)
{
	test_dir_remove(dir);
}

START_TEST(test_every_prefix)
{
	struct sample s;
	size_t n, whole;

	make_sample(&s);
	for (n = 0; n <= s.len; n++) {
		char d[64];
		struct journal *j;
		uint64_t end;

		test_dir_new(d, sizeof(d));
		test_file_write(d, s.name, s.data, n);
		for (whole = 0; whole <= BLOCKS && s.starts[whole + 1] <= n; whole++)
			;
		j = open_at(d, WALL + 1000);
		check_seen("replay of prefix", n, 1, whole ? whole - 1 : 0, 0);
		ck_assert_uint_eq(seen.bad, 0);
		ck_assert(journal_is_writable(j));
		end = j->end;
		ck_assert_uint_ge(end, s.base + JOURNAL_SEGMENT_MIN);
		append(j, whole ? whole : 1);
		read_all(j);
		check_seen("read after prefix", n, 1, whole ? whole : 1, 0);
		ck_assert_uint_eq(seen.bad, 0);
		journal_abandon(&j);
		test_dir_remove(d);
	}
}
END_TEST

START_TEST(test_every_flipped_byte)
{
	struct sample s;
	size_t n, hit;

	make_sample(&s);
	for (n = 0; n < s.len; n++) {
		char d[64];
		struct journal *j;
		bool padding;
		size_t body;

		test_dir_new(d, sizeof(d));
		s.data[n] ^= (uint8_t)(1 + n % 255);
		test_file_write(d, s.name, s.data, s.len);
		s.data[n] ^= (uint8_t)(1 + n % 255);
		for (hit = 0; s.starts[hit + 1] <= n; hit++)
			;
		body = s.starts[hit] + BLOCK_HEADER_SIZE + s.data[s.starts[hit] + 8] +
		       256u * s.data[s.starts[hit] + 9];
		padding = n >= body;
		j = open_at(d, WALL + 1000);
		check_seen("replay with flipped byte", n, 1, BLOCKS, padding ? 0 : hit);
		if (!padding && hit < BLOCKS) {
			ck_assert_msg(seen.bad == 1, "flip at %zu is not reported", n);
			ck_assert_uint_eq(seen.bad_from, s.base + s.starts[hit]);
			ck_assert_uint_eq(seen.bad_to, s.base + s.starts[hit + 1]);
		} else {
			ck_assert_msg(seen.bad == 0, "flip at %zu", n);
		}
		append(j, BLOCKS + 1);
		read_all(j);
		check_seen("read with flipped byte", n, 1, BLOCKS + 1, padding ? 0 : hit);
		journal_abandon(&j);
		/* Once more: the damage is now in a closed segment. */
		j = open_at(d, WALL + 2000);
		read_all(j);
		check_seen("second start with flipped byte", n, 1, BLOCKS + 1, padding ? 0 : hit);
		journal_abandon(&j);
		test_dir_remove(d);
	}
}
END_TEST

START_TEST(test_zeroed_and_repeated_pages)
{
	struct sample s;
	struct journal *j;
	size_t k;

	make_sample(&s);
	for (k = 1; k < BLOCKS; k++) {
		char d[64];
		uint8_t copy[8192];

		/* A block that became zeros, and one that holds another block's bytes. */
		test_dir_new(d, sizeof(d));
		memcpy(copy, s.data, s.len);
		memset(copy + s.starts[k], 0, s.starts[k + 1] - s.starts[k]);
		test_file_write(d, s.name, copy, s.len);
		j = open_at(d, WALL + 1000);
		check_seen("zeroed block", k, 1, BLOCKS, k);
		ck_assert_uint_eq(seen.bad_from, s.base + s.starts[k]);
		ck_assert_uint_eq(seen.bad_to, s.base + s.starts[k + 1]);
		journal_abandon(&j);
		test_dir_remove(d);

		test_dir_new(d, sizeof(d));
		memcpy(copy + s.starts[k], s.data + s.starts[k + 1], s.starts[k + 1] - s.starts[k]);
		test_file_write(d, s.name, copy, s.len);
		j = open_at(d, WALL + 1000);
		check_seen("misplaced block", k, 1, BLOCKS, k);
		ck_assert_uint_eq(seen.bad, 1);
		journal_abandon(&j);
		test_dir_remove(d);
	}
}
END_TEST

/* Bytes that a device chose look like a block: they are never delivered as one, whatever is damaged around them. */
START_TEST(test_block_inside_a_body)
{
	struct journal *j = open_at(dir, WALL);
	struct buf fake = { 0 };
	struct block b;
	char name[JOURNAL_NAME_MAX];
	uint8_t data[8192];
	size_t len;
	uint64_t base = journal_oldest(j), at = j->end + BLOCK_HEADER_SIZE + ENTRY_HEADER_SIZE;

	block_begin(&fake);
	entry_put(&fake,
	    &(struct entry){ .kind = ENTRY_READINGS, .seq = 666, .body = bytes_of_str("forged") });
	block_seal(&fake, at, WALL, 1);
	journal_put(j, &(struct entry){ .kind = ENTRY_ALERT, .body = buf_bytes(&fake) });
	journal_commit(j, WALL, &b);
	append(j, 1);
	len = (size_t)(j->end - base);
	journal_segment_name(base, name);
	journal_abandon(&j);
	test_file_read(dir, name, data, len);
	data[b.next - base - 9] ^= 1;
	test_file_write(dir, name, data, len);
	j = open_at(dir, WALL);
	check_seen("forged block", 0, 1, 1, 0);
	ck_assert_uint_eq(seen.bad_from, b.offset);
	ck_assert_uint_eq(seen.bad_to, b.next);
	journal_abandon(&j);
	buf_fini(&fake);
}
END_TEST

START_TEST(test_segments_roll_and_go)
{
	struct journal *j = open_at(dir, WALL);
	uint64_t seq = 0, oldest = journal_oldest(j);
	size_t i;

	for (i = 0; i < 4; i++) {
		struct block b = append(j, ++seq);

		ck_assert_uint_eq(journal_distance(j, b.offset, b.next), b.next - b.offset);
		ck_assert_int_eq(journal_roll(j, 0, WALL + (int64_t)seq), 0);
	}
	append(j, ++seq);
	ck_assert_uint_eq(j->segment_count, 5);
	read_all(j);
	check_seen("over segments", 0, 1, 5, 0);
	journal_close(&j, WALL);
	j = open_at(dir, WALL + 100);
	ck_assert_uint_eq(j->segment_count, 6);
	check_seen("replay reads the last segment only", 0, 5, 5, 0);
	ck_assert_uint_eq(seen.warm, 0);
	ck_assert_int_eq(journal_unlink_oldest(j), 0);
	ck_assert_uint_gt(journal_oldest(j), oldest);
	read_all(j);
	check_seen("after unlink", 0, 2, 5, 0);
	ck_assert(journal_segment_at(j, 0) == &j->segments[0]);
	ck_assert(journal_segment_at(j, UINT64_MAX) == NULL);
	journal_close(&j, WALL);
}
END_TEST

START_TEST(test_warm_replay_reaches_back)
{
	struct journal_config c = {
		.dir = dir,
		.segment_bytes = JOURNAL_SEGMENT_MIN,
		.segment_age_us = 3600000000ll,
		.quota_bytes = 64ull << 20,
		.warm_us = 1000000,
	};
	struct journal *j = open_at(dir, WALL);

	append(j, 1);
	ck_assert_int_eq(journal_roll(j, 0, WALL + 5000000), 0);
	append(j, 2);
	ck_assert_int_eq(journal_roll(j, 0, WALL + 6000000), 0);
	append(j, 3);
	journal_close(&j, WALL);
	seen = (struct seen){ 0 };
	ck_assert_int_eq(journal_open(&c, &hooks, WALL + 6500000, &j), 0);
	check_seen("what is needed", 0, 3, 3, 0);
	ck_assert_uint_eq(seen.warm, 0);
	seen = (struct seen){ 0 };
	ck_assert(journal_warm(j, 1));
	ck_assert_uint_eq(seen.warm, 1); /* the snapshot of segment 2, a block at a time */
	ck_assert(!journal_warm(j, UINT64_MAX));
	check_seen("what is remembered", 0, 2, 2, 0);
	ck_assert_uint_eq(seen.warm, 2);
	ck_assert(!journal_warm(j, UINT64_MAX));
	ck_assert_uint_eq(seen.warm, 2);
	journal_close(&j, WALL);
	/* It may be gone before it is read. */
	ck_assert_int_eq(journal_open(&c, &hooks, WALL + 6500000, &j), 0);
	while (journal_unlink_oldest(j) == 0)
		continue;
	seen = (struct seen){ 0 };
	ck_assert(!journal_warm(j, UINT64_MAX));
	ck_assert_uint_eq(seen.warm, 0);
	journal_close(&j, WALL);
}
END_TEST

/* The newest segment's snapshot is damaged: state comes from the one before, and nothing is skipped. */
START_TEST(test_damaged_snapshot)
{
	struct journal *j = open_at(dir, WALL);
	char name[JOURNAL_NAME_MAX];
	uint8_t data[8192];
	size_t len;

	append(j, 1);
	ck_assert_int_eq(journal_roll(j, 0, WALL), 0);
	append(j, 2);
	journal_segment_name(j->segments[1].base, name);
	len = (size_t)(j->end - j->segments[1].base);
	journal_abandon(&j);
	test_file_read(dir, name, data, len);
	data[60] ^= 0x10;
	test_file_write(dir, name, data, len);
	j = open_at(dir, WALL);
	check_seen("damaged snapshot", 0, 1, 2, 0);
	ck_assert_uint_eq(seen.bad, 1);
	journal_abandon(&j);
}
END_TEST

START_TEST(test_clean_stop_is_trusted_once)
{
	struct journal *j = open_at(dir, WALL);
	char name[JOURNAL_NAME_MAX], path[160];
	struct stat before, after;

	append(j, 1);
	journal_segment_name(j->segments[0].base, name);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	journal_close(&j, WALL);
	ck_assert_int_eq(stat(path, &before), 0);
	j = open_at(dir, WALL);
	ck_assert_int_eq(stat(path, &after), 0);
	ck_assert(before.st_ino == after.st_ino);
	/* The mark is gone: after a kill the last block of the same file is written again. */
	append(j, 2);
	journal_segment_name(j->segments[1].base, name);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	ck_assert_int_eq(stat(path, &before), 0);
	journal_abandon(&j);
	j = open_at(dir, WALL + 1000);
	check_seen("after a kill", 0, 2, 2, 0);
	ck_assert_int_eq(stat(path, &after), 0);
	ck_assert(before.st_ino == after.st_ino);
	ck_assert(before.st_mtim.tv_sec != after.st_mtim.tv_sec ||
		  before.st_mtim.tv_nsec != after.st_mtim.tv_nsec);
	ck_assert_int_lt(after.st_size, 4096);
	journal_close(&j, WALL);
}
END_TEST

/* The disk does not take the last block where it lies: the segment goes to a new file with the same content. */
START_TEST(test_copy_where_rewriting_fails)
{
	struct journal *j = open_at(dir, WALL);
	char name[JOURNAL_NAME_MAX], path[160];
	struct stat before, after;

	append(j, 1);
	append(j, 2);
	journal_segment_name(j->segments[0].base, name);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	journal_abandon(&j);
	ck_assert_int_eq(stat(path, &before), 0);
	fsyncs_to_fail = 1;
	j = open_at(dir, WALL + 1000);
	ck_assert_uint_eq(fsyncs_to_fail, 0);
	check_seen("copied", 0, 1, 2, 0);
	ck_assert_int_eq(stat(path, &after), 0);
	ck_assert(before.st_ino != after.st_ino);
	ck_assert_int_lt(after.st_size, 4096);
	journal_abandon(&j);
	j = open_at(dir, WALL + 2000);
	read_all(j);
	check_seen("copied, next start", 0, 1, 2, 0);
	journal_close(&j, WALL);
}
END_TEST

/* Nor a new file: there is no start, and nothing is answered. */
START_TEST(test_no_start_where_nothing_can_be_synced)
{
	struct journal *j = open_at(dir, WALL);
	struct journal_config c;

	append(j, 1);
	c = j->config;
	c.dir = dir;
	journal_abandon(&j);
	fsyncs_to_fail = 2;
	ck_assert_int_eq(journal_open(&c, &hooks, WALL + 1000, &j), ERR_IO);
	j = open_at(dir, WALL + 2000);
	check_seen("next start", 0, 1, 1, 0);
	journal_close(&j, WALL);
}
END_TEST

/* There would be no room for a copy: none is needed. */
START_TEST(test_no_copy_possible)
{
	struct journal *j = open_at(dir, WALL);
	char path[160];

	append(j, 1);
	append(j, 2);
	journal_abandon(&j);
	snprintf(path, sizeof(path), "%s/next.seg", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/copy.tmp", dir);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	j = open_at(dir, WALL + 1000);
	check_seen("rewritten", 0, 1, 2, 0);
	read_all(j);
	check_seen("rewritten", 0, 1, 2, 0);
	journal_abandon(&j);
	j = open_at(dir, WALL + 2000);
	read_all(j);
	check_seen("rewritten, next start", 0, 1, 2, 0);
	journal_close(&j, WALL);
}
END_TEST

START_TEST(test_time_never_goes_back)
{
	struct journal *j = open_at(dir, WALL);
	struct block b;

	ck_assert_int_eq(append(j, 100).time, WALL + 100);
	ck_assert_int_eq(append(j, 5).time, WALL + 100);
	journal_abandon(&j);
	j = open_at(dir, 1000);
	b = append(j, 1);
	ck_assert_int_eq(b.time, WALL + 100);
	journal_close(&j, WALL);
}
END_TEST

START_TEST(test_quota_and_large_blocks)
{
	struct journal_config c = {
		.dir = dir,
		.segment_bytes = JOURNAL_SEGMENT_MIN,
		.segment_age_us = 3600000000ll,
		.quota_bytes = 3 * JOURNAL_SEGMENT_MIN,
	};
	struct journal *j = NULL;
	struct buf big = { 0 };
	struct block b;
	unsigned rolls = 0;

	ck_assert_int_eq(journal_open(&c, &hooks, WALL, &j), 0);
	memset(buf_reserve(&big, 1048576), 7, 1048576);
	big.len = 1048576;
	ck_assert(!journal_fits(j, ENTRY_HEADER_SIZE + big.len));
	while (rolls < 8 && journal_roll(j, ENTRY_HEADER_SIZE + big.len, WALL) == 0) {
		ck_assert(journal_fits(j, ENTRY_HEADER_SIZE + big.len));
		journal_put(j, &(struct entry){ .kind = ENTRY_ALERT, .body = buf_bytes(&big) });
		journal_commit(j, WALL, &b);
		rolls++;
	}
	ck_assert_uint_ge(rolls, 1);
	ck_assert_uint_le(rolls, 3);
	ck_assert_uint_le(journal_bytes(j), c.quota_bytes + JOURNAL_SEGMENT_MIN);
	ck_assert_int_eq(journal_unlink_oldest(j), 0);
	ck_assert_int_eq(journal_unlink_oldest(j), rolls > 1 ? 0 : ERR_NOT_FOUND);
	ck_assert_int_eq(journal_roll(j, ENTRY_HEADER_SIZE + big.len, WALL), 0);
	journal_close(&j, WALL);
	buf_fini(&big);
}
END_TEST

/* A write that fails ends the process with code 75, and what had been committed is there afterwards. */
START_TEST(test_write_error_ends_the_process)
{
	struct journal *j;
	pid_t pid = fork();
	int status;

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct rlimit limit = { 4096, 4096 };
		uint64_t seq;

		j = open_at(dir, WALL);
		signal(SIGXFSZ, SIG_IGN);
		setrlimit(RLIMIT_FSIZE, &limit);
		for (seq = 1; seq < 1000; seq++)
			append(j, seq);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), EXIT_DEPENDENCY);
	j = open_at(dir, WALL);
	ck_assert_uint_gt(seen.count, 10);
	check_seen("after a write error", 0, 1, seen.count, 0);
	journal_close(&j, WALL);
}
END_TEST

START_TEST(test_prewrite_changes_nothing)
{
	struct journal *j = open_at(dir, WALL);
	unsigned i;

	append(j, 1);
	for (i = 0; i < 20; i++)
		journal_prewrite(j, true);
	ck_assert_uint_gt(j->zeroed, 500000);
	append(j, 2);
	journal_abandon(&j);
	j = open_at(dir, WALL);
	check_seen("with zeros ahead", 0, 1, 2, 0);
	ck_assert_uint_eq(seen.bad, 0);
	journal_close(&j, WALL);
}
END_TEST

/* Under load the next segment is zeros before it is opened, and after a crash in it everything is read. */
START_TEST(test_next_segment_is_prewritten)
{
	struct journal *j = open_at(dir, WALL);
	uint64_t seq = 0, base = j->segments[j->segment_count - 1].base;

	ck_assert_int_eq(journal_prepare(j), 0);
	while (j->segments[j->segment_count - 1].base == base) {
		append(j, ++seq);
		j->sync_us = 1;
		journal_prewrite(j, false);
		if (!journal_fits(j, 1000)) {
			ck_assert_uint_eq(j->spare_zeroed, j->capacity);
			ck_assert_int_eq(journal_roll(j, 1000, WALL), 0);
		}
	}
	ck_assert_int_eq(j->spare_fd, -1);
	ck_assert_uint_eq(j->zeroed, j->capacity);
	append(j, ++seq);
	journal_abandon(&j);
	j = open_at(dir, WALL);
	check_seen("in a prewritten segment", 0, seq, seq, 0);
	ck_assert_uint_eq(seen.bad, 0);
	journal_close(&j, WALL);
}
END_TEST

UNIT_MAIN_IN("journal", setup, teardown, test_every_prefix, test_every_flipped_byte,
    test_zeroed_and_repeated_pages, test_block_inside_a_body, test_segments_roll_and_go,
    test_warm_replay_reaches_back, test_damaged_snapshot, test_clean_stop_is_trusted_once,
    test_copy_where_rewriting_fails, test_no_start_where_nothing_can_be_synced,
    test_no_copy_possible, test_time_never_goes_back, test_quota_and_large_blocks,
    test_write_error_ends_the_process, test_prewrite_changes_nothing,
    test_next_segment_is_prewritten)
