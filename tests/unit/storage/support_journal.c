/* support_journal.c - a journal whose blocks say which they are, and what of it was read */
#include "support_journal.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "err.h"
#include "journal_read.h"

struct seen seen;

static void
body_of(uint64_t seq, char out[64])
{
	snprintf(out, 64, "reading number %llu is %llu degrees", (unsigned long long)seq,
	    (unsigned long long)seq * 3);
}

void
see_block(const struct block *b)
{
	struct bytes rest = b->body;
	struct entry e;
	char expected[64];
	int rc;

	while ((rc = entry_next(&rest, &e)) == 0) {
		if (e.kind != ENTRY_READINGS)
			continue;
		body_of(e.seq, expected);
		if (!bytes_equal_str(e.body, expected) || seen.count == SEEN_MAX)
			seen.wrong++;
		else
			seen.seqs[seen.count++] = e.seq;
	}
	if (rc != ERR_NOT_FOUND)
		seen.wrong++;
}

static void
on_replay(void *arg, const struct block *b, enum journal_replay how)
{
	(void)arg;
	if (how == JOURNAL_REPLAY_WARM)
		seen.warm++;
	see_block(b);
}

void
on_damaged(void *arg, uint64_t from, uint64_t to)
{
	(void)arg;
	seen.bad++;
	seen.bad_from = from;
	seen.bad_to = to;
}

const struct journal_hooks hooks = { .replay = on_replay, .damaged = on_damaged };

struct journal *
open_at(const char *path, int64_t wall_us)
{
	struct journal_config c = {
		.dir = path,
		.segment_bytes = JOURNAL_SEGMENT_MIN,
		.segment_age_us = 3600000000ll,
		.quota_bytes = 64ull << 20,
	};
	struct journal *j = NULL;

	seen = (struct seen){ 0 };
	ck_assert_int_eq(journal_open(&c, &hooks, wall_us, &j), 0);
	return j;
}

struct journal_config
warm_config(const char *path)
{
	return (struct journal_config){
		.dir = path,
		.segment_bytes = JOURNAL_SEGMENT_MIN,
		.segment_age_us = 3600000000ll,
		.quota_bytes = 256ull << 20,
		.warm_us = 3600000000ll,
	};
}

int
try_open(const char *path, const struct journal_hooks *h, struct journal **ret_journal)
{
	struct journal_config c = warm_config(path);

	seen = (struct seen){ 0 };
	return journal_open(&c, h, WALL, ret_journal);
}

struct block
append(struct journal *j, uint64_t seq)
{
	char text[64];
	struct block b;

	body_of(seq, text);
	ck_assert(journal_fits(j, ENTRY_HEADER_SIZE + strlen(text)));
	journal_put(
	    j, &(struct entry){
		   .kind = ENTRY_READINGS, .stream = 1, .seq = seq, .body = bytes_of_str(text) });
	journal_commit(j, WALL + (int64_t)seq, &b);
	return b;
}

void
read_all(struct journal *j)
{
	struct journal_reader *r = journal_reader_new(j);
	uint64_t at = 0;
	struct block b;
	int rc;

	seen = (struct seen){ 0 };
	while ((rc = journal_reader_next(r, at, &b)) != ERR_NOT_FOUND) {
		ck_assert(rc == 0 || rc == ERR_DAMAGED);
		ck_assert_uint_ge(b.offset, at);
		ck_assert_uint_gt(b.next, b.offset);
		at = b.next;
		if (rc == 0)
			see_block(&b);
		else
			on_damaged(NULL, b.offset, b.next);
	}
	journal_reader_free(&r);
}

void
check_seen(const char *what, size_t at, uint64_t first, uint64_t last, uint64_t without)
{
	uint64_t seq;
	size_t i = 0;

	ck_assert_msg(seen.wrong == 0, "%s at %zu: something wrong was delivered", what, at);
	for (seq = first; seq <= last; seq++) {
		if (seq == without)
			continue;
		ck_assert_msg(i < seen.count && seen.seqs[i] == seq,
		    "%s at %zu: block %llu is not there", what, at, (unsigned long long)seq);
		i++;
	}
	ck_assert_msg(
	    i == seen.count, "%s at %zu: %zu instead of %zu blocks", what, at, seen.count, i);
}
