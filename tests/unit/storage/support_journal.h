/* support_journal.h - a journal whose blocks say which they are, and what of it was read */
#ifndef ROOST_TEST_SUPPORT_JOURNAL_H
#define ROOST_TEST_SUPPORT_JOURNAL_H

#include "journal.h"

#define WALL 1700000000000000ll
#define SEEN_MAX 4096

struct seen {
	uint64_t seqs[SEEN_MAX];
	size_t count;
	uint64_t bad_from;
	uint64_t bad_to;
	unsigned bad;
	unsigned wrong;
	unsigned warm;
};

/* Of the last open_at() or read_all(). */
extern struct seen seen;
extern const struct journal_hooks hooks; /* fill it */

struct journal *open_at(const char *path, int64_t wall_us);
/* Room for many segments, and an hour of them is read again. */
struct journal_config warm_config(const char *path);
int try_open(const char *path, const struct journal_hooks *h, struct journal **ret_journal);
struct block append(struct journal *j, uint64_t seq);
void read_all(struct journal *j);
/* Sequence numbers first to last, but for one, each once and nothing else. */
void check_seen(const char *what, size_t at, uint64_t first, uint64_t last, uint64_t without);
void see_block(const struct block *b);
void on_damaged(void *arg, uint64_t from, uint64_t to);

#endif
