/* journal_read.c - reading a journal's committed blocks from any cursor, for followers that are behind */
#include "journal_read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "err.h"
#include "file.h"
#include "log.h"
#include "mem.h"
#include "segment.h"

#define RETRY_US 100000

struct journal_reader {
	struct journal *j;
	int fd; /* -1: no segment is open */
	int64_t
	    unreadable_us; /* since then the disk does not give what is at the cursor; 0: it does */
	int64_t retry_us;
	struct segment_reader segment;
};

struct journal_reader *
journal_reader_new(struct journal *j)
{
	struct journal_reader *r = xcalloc(1, sizeof(*r));

	r->j = j;
	r->fd = -1;
	return r;
}

static void
close_segment(struct journal_reader *r)
{
	if (r->fd < 0)
		return;
	segment_reader_fini(&r->segment);
	close(r->fd);
	r->fd = -1;
}

void
journal_reader_free(struct journal_reader **rp)
{
	if (!*rp)
		return;
	close_segment(*rp);
	free(*rp);
	*rp = NULL;
}

static int
open_segment(struct journal_reader *r, const struct journal_segment *s)
{
	char name[JOURNAL_NAME_MAX];

	close_segment(r);
	journal_segment_name(s->base, name);
	r->fd = file_open(r->j->dir_fd, name, O_RDONLY);
	if (r->fd < 0) {
		log_error("journal.open_failed", LS("dir", r->j->dir), LS("file", name),
		    LS("error", strerror(errno)));
		return ERR_IO;
	}
	posix_fadvise(r->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	segment_reader_init(&r->segment, r->fd, s->base, s->end - s->base, SEGMENT_LIMIT_EXACT);
	return 0;
}

/* What the disk does not give may be there: a disk that is away for a moment, or for good, must not make followers pass what
 * they have not seen. Only what stays unreadable while the shard can still be written is taken for damage. */
static bool
may_come_back(struct journal_reader *r, uint64_t offset)
{
	int64_t now = clock_mono_us();

	if (r->segment.unreadable == 0)
		return false;
	if (r->unreadable_us == 0) {
		r->unreadable_us = now;
		log_warn("journal.unreadable", LS("dir", r->j->dir), LU("from", offset),
		    LU("bytes", r->segment.unreadable), LS("then", "tried again for a while"));
	}
	if (now - r->unreadable_us >= JOURNAL_UNREADABLE_US)
		return false;
	r->retry_us = now + RETRY_US;
	close_segment(r);
	return true;
}

int
journal_reader_next(struct journal_reader *r, uint64_t cursor, struct block *ret_block)
{
	if (r->unreadable_us && clock_mono_us() < r->retry_us)
		return ERR_IO;
	for (;;) {
		const struct journal_segment *s = journal_segment_at(r->j, cursor);
		int rc;

		if (!s)
			return ERR_NOT_FOUND;
		if (cursor < s->base)
			cursor = s->base;
		if (r->fd < 0 || r->segment.base != s->base) {
			rc = open_segment(r, s);
			if (rc != 0)
				return rc;
		}
		/* The open segment grows; only what is committed is read. */
		r->segment.limit = s->end - s->base;
		r->segment.at = cursor - s->base;
		rc = segment_next(&r->segment, ret_block);
		if (rc == ERR_DAMAGED && may_come_back(r, ret_block->offset))
			return ERR_IO;
		if (rc == 0)
			r->unreadable_us = 0;
		if (rc == ERR_DAMAGED)
			journal_say_damage(r->j, ret_block->offset, ret_block->next);
		if (rc != ERR_NOT_FOUND)
			return rc;
		cursor = s->end;
	}
}
