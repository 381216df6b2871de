/* journal_warm.c - what lies before the newest snapshot and is remembered for a while, read while the shard is served */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "err.h"
#include "file.h"
#include "log.h"
#include "segment.h"

/* Where the blocks begin that may be young enough: somewhere inside a block, perhaps, since nothing depends on the first. */
void
journal_warm_begin(struct journal *j, size_t full, int64_t wall_us)
{
	uint64_t left = JOURNAL_WARM_MAX;

	j->warm_at = j->warm_to = j->segments[full].base;
	for (size_t i = full; i > 0 && left > 0; i--) {
		const struct journal_segment *s = &j->segments[i - 1];
		uint64_t bytes = s->end - s->base;

		/* All blocks of s are older than the first of the segment behind it. */
		if (j->segments[i].first_time != 0 &&
		    j->segments[i].first_time <= wall_us - j->config.warm_us)
			break;
		j->warm_at = s->base;
		if (bytes > left)
			j->warm_at += (bytes - left) / BLOCK_ALIGN * BLOCK_ALIGN;
		left -= bytes < left ? bytes : left;
	}
	j->warm_mid = j->warm_at;
}

/* One segment from warm_at on, until so many bytes are read. */
static void
warm_segment(struct journal *j, const struct journal_segment *s, uint64_t bytes)
{
	char name[JOURNAL_NAME_MAX];
	struct segment_reader r;
	struct block b;
	uint64_t until = bytes < s->end - j->warm_at ? j->warm_at + bytes : s->end;
	int fd, rc;

	journal_segment_name(s->base, name);
	fd = file_open(j->dir_fd, name, O_RDONLY);
	if (fd < 0) {
		log_error("journal.open_failed", LS("dir", j->dir), LS("file", name),
		    LS("error", strerror(errno)));
		j->warm_at = s->end;
		return;
	}
	segment_reader_init(&r, fd, s->base, s->end - s->base, SEGMENT_LIMIT_EXACT);
	r.at = j->warm_at - s->base;
	while (j->warm_at < until) {
		rc = segment_next(&r, &b);
		/* What is no block up to the end is damage, so the end is met before it is said. */
		ASSERT(rc != ERR_NOT_FOUND);
		if (rc == 0)
			j->hooks.replay(j->hooks.arg, &b, JOURNAL_REPLAY_WARM);
		else if (b.offset != j->warm_mid) /* else it is the rest of a block */
			journal_say_damage(j, b.offset, b.next);
		j->warm_at = b.next;
	}
	segment_reader_fini(&r);
	close(fd);
}

bool
journal_warm(struct journal *j, uint64_t bytes)
{
	const struct journal_segment *s;

	while (j->warm_at < j->warm_to) {
		uint64_t before;

		s = journal_segment_at(j, j->warm_at);
		if (!s || s->base >= j->warm_to) {
			j->warm_at = j->warm_to;
			break;
		}
		if (s->base > j->warm_at)
			j->warm_at = s->base;
		before = j->warm_at;
		warm_segment(j, s, bytes);
		if (j->warm_at - before >= bytes)
			break;
		bytes -= j->warm_at - before;
	}
	return j->warm_at < j->warm_to;
}
