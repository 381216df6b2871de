/* journal_recover.c - what a start finds on disk: segments, damage, a torn tail, and whether it can be trusted
 *
 * In this order, all of it before the shard is served:
 *   1. segment files are listed; where each ends is written in the snapshot of the one behind it. If the process died before
 *      that was, the segment is cut to its last block (journal_roll: all its blocks are synced before there is a next one)
 *   2. blocks are replayed from the newest whole snapshot on (what is remembered for a while from before it comes later,
 *      while the shard is served: journal_warm)
 *   3. the last segment: after a clean stop it is cut to its length. After any other, what no sync has vouched for (its
 *      last block, since a process writes none after a sync that failed; or its snapshot) is written over itself and synced:
 *      what a read returns may be page cache that never reached the disk. If the disk does not take that, the whole
 *      written part is copied to a new file, which is synced, named like the old one, and the directory synced
 *   4. appending goes on in a new segment */
#include "journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "err.h"
#include "file.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "segment.h"

#define COPY_CHUNK (1u << 20)
#define COPY_PAGE 4096u
#define SNAPSHOT_CHUNK 16384
#define BUSY_RECOVER_MS 120000

static const char copy_tmp[] = "copy.tmp";
static const char clean_name[] = "clean";
static const char clean_tmp[] = "clean.tmp";

/* The journal's first offset. A journal that was deleted and begun anew must lie behind every cursor into the old one; no
 * journal grows by 16 MiB a second for its whole life. */
static uint64_t
first_base(int64_t wall_us)
{
	return (uint64_t)(wall_us > 0 ? wall_us / 1000000 : 0) << 24;
}

static int
by_base(const void *a, const void *b)
{
	uint64_t x = ((const struct journal_segment *)a)->base;
	uint64_t y = ((const struct journal_segment *)b)->base;

	return x < y ? -1 : x > y;
}

static int
list_segments(struct journal *j)
{
	int fd = dup(j->dir_fd);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *e;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return ERR_IO;
	}
	rewinddir(d);
	while ((e = readdir(d))) {
		char name[JOURNAL_NAME_MAX];
		struct stat st;
		uint64_t base = strtoull(e->d_name, NULL, 10);
		size_t len = strlen(e->d_name);

		if (len > 4 && strcmp(e->d_name + len - 4, ".tmp") == 0)
			unlinkat(j->dir_fd, e->d_name, 0);
		journal_segment_name(base, name);
		if (strcmp(e->d_name, "next.seg") == 0)
			j->spare = true;
		if (strcmp(name, e->d_name) != 0 || fstatat(j->dir_fd, name, &st, 0) != 0)
			continue;
		journal_segment_add(j, &(struct journal_segment){ .base = base,
					   .end = base + (uint64_t)st.st_size,
					   .size = (uint64_t)st.st_size });
	}
	closedir(d);
	if (j->segment_count)
		qsort(j->segments, j->segment_count, sizeof(*j->segments), by_base);
	return 0;
}

static int
open_for_read(const struct journal *j, const struct journal_segment *s)
{
	char name[JOURNAL_NAME_MAX];
	int fd;

	journal_segment_name(s->base, name);
	fd = file_open(j->dir_fd, name, O_RDONLY);
	if (fd < 0)
		log_error("journal.open_failed", LS("dir", j->dir), LS("file", name),
		    LS("error", strerror(errno)));
	return fd;
}

static bool
block_mark(const struct block *b, struct segment_entry *ret_mark, enum segment_mark mark)
{
	struct bytes rest = b->body;
	struct entry e;

	while (entry_next(&rest, &e) == 0)
		if (segment_entry_read(&e, ret_mark) == 0 && ret_mark->mark == mark)
			return true;
	return false;
}

/* From a segment's snapshot come the time it began and the end of the one before it. True if the snapshot is whole; not
 * looked at further than its beginning unless asked_whole. */
static bool
read_snapshot(struct journal *j, size_t i, bool asked_whole)
{
	struct journal_segment *s = &j->segments[i];
	struct segment_reader r;
	struct segment_entry mark;
	struct block b;
	bool begun = false, whole = false;
	int fd = open_for_read(j, s);

	if (fd < 0)
		return false;
	segment_reader_init(&r, fd, s->base, s->size, SEGMENT_LIMIT_OPEN);
	r.chunk = SNAPSHOT_CHUNK;
	while (!whole && segment_next(&r, &b) == 0) {
		if (!begun) {
			begun = block_mark(&b, &mark, SEGMENT_MARK_BEGIN);
			if (!begun)
				break;
			s->first_time = b.time;
			if (i > 0 && mark.previous_base == s[-1].base &&
			    mark.previous_end <= s[-1].end && mark.previous_end >= s[-1].base) {
				s[-1].end = mark.previous_end;
				s[-1].end_known = true;
			}
		}
		if (!asked_whole)
			break;
		whole = block_mark(&b, &mark, SEGMENT_MARK_END);
	}
	segment_reader_fini(&r);
	close(fd);
	return whole;
}

static int
cut_segment(struct journal *j, const struct journal_segment *s, uint64_t len)
{
	char name[JOURNAL_NAME_MAX];
	int fd, error;

	journal_segment_name(s->base, name);
	fd = file_open(j->dir_fd, name, O_RDWR);
	error = fd < 0 ? errno : file_set_size(fd, len);
	if (error == 0)
		error = file_sync_data(fd);
	if (error)
		log_error("journal.cut_failed", LS("dir", j->dir), LS("file", name),
		    LS("error", strerror(error)));
	if (fd >= 0)
		close(fd);
	return error ? ERR_IO : 0;
}

struct scan {
	uint64_t good;	/* end of the last good block */
	uint64_t doubt; /* blocks before this offset were synced: another was written behind them */
	uint64_t bad_from; /* damage behind it */
	uint64_t bad_to;   /* 0: none */
};

static void
scan_damage(struct journal *j, struct scan *sc)
{
	if (sc->bad_to == 0)
		return;
	journal_say_damage(j, sc->bad_from, sc->bad_to);
	if (j->hooks.damaged)
		j->hooks.damaged(j->hooks.arg, sc->bad_from, sc->bad_to);
	sc->bad_to = 0;
}

static int
replay_segment(struct journal *j, size_t i, enum journal_replay how, struct scan *ret_scan)
{
	struct journal_segment *s = &j->segments[i];
	bool last = i + 1 == j->segment_count;
	/* The process died between naming the last segment and saying there where this one ends. */
	bool cut = i + 2 == j->segment_count && !s->end_known;
	struct segment_reader r;
	struct scan sc = { .good = s->base, .doubt = s->base };
	struct segment_entry mark;
	struct block b;
	bool snapshot_over = false; /* its blocks share one sync */
	int fd = open_for_read(j, s);
	int rc;

	if (fd < 0)
		return ERR_IO;
	if (j->hooks.busy)
		j->hooks.busy(j->hooks.arg, BUSY_RECOVER_MS);
	segment_reader_init(&r, fd, s->base, s->end - s->base,
	    last || cut ? SEGMENT_LIMIT_OPEN : SEGMENT_LIMIT_EXACT);
	while ((rc = segment_next(&r, &b)) != ERR_NOT_FOUND) {
		if (rc == ERR_DAMAGED) {
			if (sc.bad_to == 0)
				sc.bad_from = b.offset;
			sc.bad_to = b.next;
			continue;
		}
		scan_damage(j, &sc);
		sc.good = b.next;
		if (snapshot_over)
			sc.doubt = b.offset;
		else
			snapshot_over = block_mark(&b, &mark, SEGMENT_MARK_END);
		if (b.time > j->time)
			j->time = b.time;
		if (j->hooks.replay)
			j->hooks.replay(j->hooks.arg, &b, how);
	}
	if (cut) {
		s->end = sc.bad_to ? sc.bad_to : sc.good;
		s->size = s->end - s->base;
	}
	if (!last)
		scan_damage(j, &sc);
	if (r.unreadable)
		log_error("journal.unreadable", LS("dir", j->dir), LU("base", s->base),
		    LU("bytes", r.unreadable));
	segment_reader_fini(&r);
	close(fd);
	*ret_scan = sc;
	return cut ? cut_segment(j, s, s->size) : 0;
}

static int
replay_all(struct journal *j, int64_t wall_us, struct scan *ret_last)
{
	bool *whole;
	size_t i, full = 0;
	bool found = false;
	int r = 0;

	if (j->segment_count == 0)
		return 0;
	whole = xcalloc(j->segment_count, sizeof(*whole));
	for (i = j->segment_count; i-- > 0;) {
		whole[i] = read_snapshot(j, i, !found);
		if (whole[i]) {
			full = i;
			found = true;
		}
	}
	if (!found)
		log_error("journal.no_snapshot", LS("dir", j->dir),
		    LS("then", "read from the oldest block on"));
	journal_warm_begin(j, full, wall_us);
	for (i = full; i < j->segment_count && r == 0; i++)
		r = replay_segment(
		    j, i, whole[i] ? JOURNAL_REPLAY_FULL : JOURNAL_REPLAY_PARTIAL, ret_last);
	free(whole);
	return r;
}

/* "clean <base> <end>" of the last segment, written by the last orderly stop. */
static bool
was_clean(const struct journal *j, const struct scan *last)
{
	const struct journal_segment *s = &j->segments[j->segment_count - 1];
	char text[96] = "", expected[96];
	int fd = file_open(j->dir_fd, clean_name, O_RDONLY);
	ssize_t n = -1;

	if (fd >= 0) {
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
	}
	snprintf(
	    expected, sizeof(expected), "clean %" PRIu64 " %" PRIu64 "\n", s->base, last->good);
	return n > 0 && strcmp(text, expected) == 0 && last->bad_to == 0;
}

/* Unreadable sectors become zeros in a copy (recovery has reported them as damage); in place they are an error. */
static int
copy_bytes(int from, int to, uint64_t at, uint64_t len)
{
	uint8_t *chunk = xmalloc(COPY_CHUNK);
	int r = 0;

	while (at < len && r == 0) {
		size_t want = len - at < COPY_CHUNK ? (size_t)(len - at) : COPY_CHUNK;
		ssize_t n = pread(from, chunk, want, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EIO && from != to) {
			size_t page = COPY_PAGE - (size_t)(at % COPY_PAGE);

			want = want < page ? want : page;
			n = pread(from, chunk, want, (off_t)at);
			if (n < 0) {
				memset(chunk, 0, want);
				n = (ssize_t)want;
			}
		}
		r = n > 0 && file_write(to, bytes_of(chunk, (size_t)n), at) == 0 ? 0 : ERR_IO;
		at += n > 0 ? (uint64_t)n : 0;
	}
	free(chunk);
	return r;
}

/* The copy is written into next.seg, which has its room already, so a full disk does not stand in the way. */
static int
copy_segment(struct journal *j, const char *name, uint64_t len)
{
	int from = file_open(j->dir_fd, name, O_RDONLY), to = -1, r = ERR_IO;

	if (j->spare && renameat(j->dir_fd, "next.seg", j->dir_fd, copy_tmp) == 0)
		j->spare = false;
	to = file_open(j->dir_fd, copy_tmp, O_RDWR | O_CREAT);
	if (from >= 0 && to >= 0 && copy_bytes(from, to, 0, len) == 0 &&
	    file_set_size(to, len) == 0 && file_sync(to) == 0 &&
	    renameat(j->dir_fd, copy_tmp, j->dir_fd, name) == 0 && file_sync(j->dir_fd) == 0)
		r = 0;
	else
		log_error("journal.copy_failed", LS("dir", j->dir), LS("file", name),
		    LS("error", strerror(errno)));
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
	if (r != 0)
		unlinkat(j->dir_fd, copy_tmp, 0);
	return r;
}

/* Bytes that are written over themselves are dirty again, and a sync that returns 0 has written each. */
static int
rewrite_segment(struct journal *j, const char *name, uint64_t from, uint64_t len)
{
	int fd = file_open(j->dir_fd, name, O_RDWR), r = ERR_IO;

	if (fd >= 0 && copy_bytes(fd, fd, from, len) == 0 && file_set_size(fd, len) == 0 &&
	    file_sync(fd) == 0)
		r = 0;
	else
		log_warn("journal.rewrite_failed", LS("dir", j->dir), LS("file", name),
		    LS("error", strerror(errno)), LS("then", "copy to a new file"));
	if (fd >= 0)
		close(fd);
	return r;
}

static int
renew_segment(struct journal *j, const struct journal_segment *s, uint64_t from, uint64_t len)
{
	char name[JOURNAL_NAME_MAX];
	int r;

	journal_segment_name(s->base, name);
	if (j->hooks.busy)
		j->hooks.busy(j->hooks.arg, BUSY_RECOVER_MS);
	r = rewrite_segment(j, name, from, len);
	if (r != 0)
		r = copy_segment(j, name, len);
	if (r == 0)
		log_info("journal.renewed", LS("dir", j->dir), LU("base", s->base),
		    LU("from", from), LU("bytes", len - from));
	return r;
}

/* Makes the last segment an ordinary closed one. A torn tail stays in its file as it is, behind the end. */
static int
settle_last(struct journal *j, const struct scan *sc)
{
	struct journal_segment *s = &j->segments[j->segment_count - 1];
	uint64_t used = (sc->bad_to ? sc->bad_to : sc->good) - s->base;
	uint64_t size = s->size;
	bool clean = was_clean(j, sc);
	int r;

	if (sc->bad_to)
		log_warn("journal.torn_tail", LS("dir", j->dir), LU("base", s->base),
		    LU("from", sc->bad_from), LU("to", sc->bad_to),
		    LS("means",
			"a block that was not acknowledged to anybody, or damage to the last one"));
	r = clean ? cut_segment(j, s, used) : renew_segment(j, s, sc->doubt - s->base, used);
	s->end = sc->good;
	s->size = used;
	j->base_next = s->base + (size > j->config.segment_bytes ? size : j->config.segment_bytes);
	j->base_next = (j->base_next + 4095) / 4096 * 4096;
	j->end = s->end;
	for (s = j->segments; s < j->segments + j->segment_count; s++)
		j->closed_bytes += s->size;
	return r;
}

/* A segment without a snapshot, since the process died or the power went when it was made, began when what is behind it did:
 * the segment before it must not look as old as time itself, and be let go. */
static void
date_segments(struct journal *j, int64_t wall_us)
{
	int64_t next = j->time > wall_us ? j->time : wall_us;

	for (size_t i = j->segment_count; i-- > 0;) {
		struct journal_segment *s = &j->segments[i];

		if (s->first_time == 0)
			s->first_time = next;
		next = s->first_time;
	}
}

int
journal_recover(struct journal *j, int64_t wall_us)
{
	int64_t before = clock_mono_us();
	struct scan last = { 0 };
	int r;

	r = list_segments(j);
	if (r == 0)
		r = replay_all(j, wall_us, &last);
	if (r != 0)
		return r;
	date_segments(j, wall_us);
	if (j->segment_count > 0) {
		r = settle_last(j, &last);
		if (r != 0)
			return r;
	} else {
		j->base_next = first_base(wall_us);
		j->end = j->base_next;
	}
	unlinkat(j->dir_fd, clean_name, 0);
	log_info("journal.recovered", LS("dir", j->dir), LU("segments", j->segment_count),
	    LU("end", j->end), LI("us", clock_mono_us() - before));
	/* Without room there are still followers to serve, and what they have read can be unlinked. */
	r = journal_roll(j, 0, wall_us);
	return r == ERR_FULL ? 0 : r;
}

static void
write_clean(const struct journal *j)
{
	const struct journal_segment *s = &j->segments[j->segment_count - 1];
	char text[96];
	int n = snprintf(text, sizeof(text), "clean %" PRIu64 " %" PRIu64 "\n", s->base, s->end);
	int fd = file_open(j->dir_fd, clean_tmp, O_WRONLY | O_CREAT | O_TRUNC);

	/* Without the mark the next start copies a segment; nothing else depends on it. */
	if (fd < 0 || file_write(fd, bytes_of(text, (size_t)n), 0) != 0 || file_sync(fd) != 0 ||
	    renameat(j->dir_fd, clean_tmp, j->dir_fd, clean_name) != 0 || file_sync(j->dir_fd) != 0)
		log_warn(
		    "journal.clean_mark_failed", LS("dir", j->dir), LS("error", strerror(errno)));
	if (fd >= 0)
		close(fd);
}

void
journal_close(struct journal **jp, int64_t wall_us)
{
	struct journal *j = *jp;
	struct block b;

	if (j && j->fd >= 0) {
		if (j->pending_entries)
			journal_commit(j, wall_us, &b);
		write_clean(j);
	}
	journal_abandon(jp);
}
