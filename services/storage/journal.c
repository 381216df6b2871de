/* journal.c - appending to a shard's journal: group commit, new segments, old ones unlinked */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "clock.h"
#include "err.h"
#include "file.h"
#include "le.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "worker.h"

#define SNAPSHOT_BLOCK 262144u
#define SEGMENT_ENTRY_SIZE 40
#define SNAPSHOT_SLACK 4096
#define BUSY_SYNC_MS 30000
#define SLOW_SYNC_US 100000
#define BUSY_ALLOCATE_MS 60000

static const char spare_name[] = JOURNAL_SPARE;
static const char spare_tmp[] = "next.tmp";

void
journal_segment_name(uint64_t base, char out[JOURNAL_NAME_MAX])
{
	snprintf(out, JOURNAL_NAME_MAX, "%020" PRIu64 ".seg", base);
}

/* Nobody is told anything: after this all that is known of the last block is that it was not promised to anyone. */
_Noreturn void
journal_die(const struct journal *j, const char *what, const char *file, uint64_t at, int error)
{
	log_error("journal.write_failed", LS("call", what), LI("errno", error),
	    LS("error", strerror(error)), LS("dir", j->dir), LS("file", file), LU("at", at),
	    LS("then", "exit without an answer"));
	_exit(EXIT_DEPENDENCY);
}

int
segment_entry_read(const struct entry *e, struct segment_entry *ret_segment)
{
	const uint8_t *b = e->body.data;

	if (e->kind != ENTRY_SEGMENT || e->body.len < SEGMENT_ENTRY_SIZE)
		return ERR_MALFORMED;
	if (le_get64(b + 8) != SEGMENT_ENTRY_VERSION)
		return ERR_UNSUPPORTED;
	if (le_get64(b) != SEGMENT_MARK_BEGIN && le_get64(b) != SEGMENT_MARK_END)
		return ERR_MALFORMED;
	*ret_segment = (struct segment_entry){
		.mark = (enum segment_mark)le_get64(b),
		.base = le_get64(b + 16),
		.previous_base = le_get64(b + 24),
		.previous_end = le_get64(b + 32),
	};
	return 0;
}

void
journal_write(const struct journal *j, const char *name, struct bytes data, uint64_t at)
{
	int error = file_write(j->fd, data, at);

	if (error)
		journal_die(j, "pwrite", name, at, error);
}

void
journal_sync(struct journal *j, const char *name, uint64_t at)
{
	int64_t before = clock_mono_us();
	int error;

	/* Not before each: a hung process must still look hung. The first, and those after a slow one, may be slow. */
	if (j->hooks.busy && (j->sync_us == 0 || j->sync_us >= SLOW_SYNC_US))
		j->hooks.busy(j->hooks.arg, BUSY_SYNC_MS);
	error = file_sync_data(j->fd);
	if (error)
		journal_die(j, "fdatasync", name, at, error);
	j->sync_us = (uint64_t)(clock_mono_us() - before) + 1; /* 0 is: never yet */
	metric_add(M_STORAGE_SYNC_US, j->sync_us);
}

static struct journal_segment *
open_segment(const struct journal *j)
{
	ASSERT(j->fd >= 0 && j->segment_count > 0);
	return &j->segments[j->segment_count - 1];
}

static uint64_t
place(const struct journal *j)
{
	return j->end - open_segment(j)->base;
}

bool
journal_is_writable(const struct journal *j)
{
	return j->fd >= 0;
}

uint64_t
journal_room(const struct journal *j)
{
	return j->fd >= 0 ? j->capacity - place(j) : 0;
}

size_t
journal_pending(const struct journal *j)
{
	return j->pending_entries ? j->pending.len - BLOCK_HEADER_SIZE : 0;
}

bool
journal_fits(const struct journal *j, size_t bytes)
{
	size_t body = journal_pending(j);

	if (bytes > BLOCK_BODY_MAX - body)
		return false;
	return block_size(body + bytes) <= journal_room(j);
}

void
journal_put(struct journal *j, const struct entry *e)
{
	ASSERT(journal_fits(j, ENTRY_HEADER_SIZE + e->body.len));
	if (j->pending_entries == 0)
		block_begin(&j->pending);
	entry_put(&j->pending, e);
	j->pending_entries++;
}

static int64_t
next_time(struct journal *j, int64_t wall_us)
{
	if (wall_us > j->time)
		j->time = wall_us;
	return j->time;
}

void
journal_commit(struct journal *j, int64_t wall_us, struct block *ret_block)
{
	char name[JOURNAL_NAME_MAX];
	struct journal_segment *s = open_segment(j);
	size_t body = journal_pending(j);
	uint64_t at = place(j);
	uint64_t size = block_size(body);

	ASSERT(j->pending_entries > 0 && size <= j->capacity - at);
	journal_segment_name(s->base, name);
	block_seal(&j->pending, j->end, next_time(j, wall_us), j->pending_entries);
	journal_write(j, name, buf_bytes(&j->pending), at);
	journal_sync(j, name, at);
	*ret_block = (struct block){
		.offset = j->end,
		.next = j->end + size,
		.time = j->time,
		.entries = j->pending_entries,
		.body = bytes_of(j->pending.data + BLOCK_HEADER_SIZE, body),
	};
	j->pending_entries = 0;
	j->end += size;
	s->end = j->end;
	s->size = j->end - s->base;
	if (j->zeroed < s->size)
		j->zeroed = s->size;
	journal_prewrite_owe(j, size);
	metric_add(M_STORAGE_COMMITS, 1);
	metric_add(M_STORAGE_COMMIT_BYTES, size);
	j->written_bytes += size;
}

static void
snapshot_flush(struct journal *j)
{
	char name[JOURNAL_NAME_MAX];
	struct journal_segment *s = open_segment(j);
	uint64_t at = place(j);

	if (j->snapshot_entries == 0)
		return;
	journal_segment_name(s->base, name);
	block_seal(&j->snapshot, j->end, j->time, j->snapshot_entries);
	journal_write(j, name, buf_bytes(&j->snapshot), at);
	j->end += j->snapshot.len;
	s->end = j->end;
	s->size = j->end - s->base;
	if (j->zeroed < s->size)
		j->zeroed = s->size;
	j->snapshot_entries = 0;
	block_begin(&j->snapshot);
}

void
journal_snapshot_put(struct journal *j, const struct entry *e)
{
	entry_put(&j->snapshot, e);
	j->snapshot_entries++;
	if (j->snapshot.len >= SNAPSHOT_BLOCK)
		snapshot_flush(j);
}

static void
snapshot_mark(struct journal *j, enum segment_mark mark, const struct journal_segment *previous)
{
	uint8_t body[SEGMENT_ENTRY_SIZE];

	le_put64(body, mark);
	le_put64(body + 8, SEGMENT_ENTRY_VERSION);
	le_put64(body + 16, open_segment(j)->base);
	le_put64(body + 24, previous ? previous->base : 0);
	le_put64(body + 32, previous ? previous->end : 0);
	journal_snapshot_put(j, &(struct entry){ .kind = ENTRY_SEGMENT,
				    .partition = ENTRY_ALL_PARTITIONS,
				    .body = bytes_of(body, sizeof(body)) });
}

void
journal_segment_add(struct journal *j, const struct journal_segment *s)
{
	if (j->segment_count == j->segment_cap) {
		j->segment_cap = j->segment_cap ? j->segment_cap * 2 : 64;
		j->segments = xrealloc(j->segments, j->segment_cap * sizeof(*j->segments));
	}
	j->segments[j->segment_count++] = *s;
}

/* The end of the open segment: gives back what was preallocated behind the last block. A file that stays longer than its
 * blocks does no harm, so a failure is only told. */
static void
finish_segment(struct journal *j)
{
	struct journal_segment *s = open_segment(j);
	int error = file_set_size(j->fd, s->size);

	if (error)
		log_warn(
		    "journal.truncate_failed", LU("base", s->base), LS("error", strerror(error)));
	close(j->fd);
	j->fd = -1;
	j->closed_bytes += s->size;
}

static uint64_t
allocated_bytes(const struct journal *j)
{
	uint64_t bytes = journal_bytes(j);

	return j->fd >= 0 ? bytes - open_segment(j)->size + j->capacity : bytes;
}

static int
say_full(struct journal *j, const char *why, int error)
{
	if (!j->full_said)
		log_error("journal.full", LS("why", why),
		    LS("error", error ? strerror(error) : "none"), LS("dir", j->dir),
		    LU("journal_bytes", journal_bytes(j)),
		    LU("quota_bytes", j->config.quota_bytes));
	j->full_said = true;
	return ERR_FULL;
}

static void
say_room(struct journal *j)
{
	if (j->full_said)
		log_info("journal.room_again", LS("dir", j->dir));
	j->full_said = false;
}

/* A disk that is nearly full is not asked: until the allocation fails it would take what room there is from everybody else,
 * each second again. What cannot be told is tried. */
static bool
has_room(const struct journal *j, uint64_t bytes)
{
	struct statvfs fs;
	uint64_t blocks;

	if (fstatvfs(j->dir_fd, &fs) != 0)
		return true;
	blocks = geteuid() == 0 ? fs.f_bfree : fs.f_bavail;
	return blocks * fs.f_frsize >= bytes + bytes / 16;
}

/* A file of that many preallocated bytes, durable with its name. */
static int
make_spare(struct journal *j, uint64_t bytes)
{
	int fd, error;

	if (!has_room(j, bytes))
		return say_full(j, "no room for the next segment", ENOSPC);
	if (j->hooks.busy)
		j->hooks.busy(j->hooks.arg, BUSY_ALLOCATE_MS);
	fd = file_open(j->dir_fd, spare_tmp, O_RDWR | O_CREAT | O_TRUNC);
	if (fd < 0)
		return say_full(j, "open next segment", errno);
	error = file_allocate(fd, bytes);
	if (error == 0)
		error = file_sync(fd);
	close(fd);
	if (error == 0 && renameat(j->dir_fd, spare_tmp, j->dir_fd, spare_name) != 0)
		error = errno;
	if (error) {
		unlinkat(j->dir_fd, spare_tmp, 0);
		return say_full(j, "no room for the next segment", error);
	}
	(void)journal_prewrite_taken(j); /* of one that is gone */
	j->spare = true;
	return 0;
}

int
journal_prepare(struct journal *j)
{
	int r;

	if (j->spare)
		return 0;
	if (allocated_bytes(j) + j->config.segment_bytes > j->config.quota_bytes)
		return say_full(j, "quota", 0);
	r = make_spare(j, j->config.segment_bytes);
	if (r == 0)
		say_room(j);
	return r;
}

/* What will be written at least, blocks of the snapshot and the first one behind it, may be more than a whole segment. */
static int
open_spare(struct journal *j, size_t bytes, int *ret_fd, uint64_t *ret_capacity)
{
	uint64_t want = block_size(bytes) + SNAPSHOT_SLACK;
	struct stat st;
	int fd, error;

	if (j->hooks.snapshot_bytes)
		want += j->hooks.snapshot_bytes(j->hooks.arg) / 8 * 9;
	fd = file_open(j->dir_fd, spare_name, O_RDWR);
	if (fd < 0 || fstat(fd, &st) != 0) {
		error = errno;
		if (fd >= 0)
			close(fd);
		j->spare = false;
		(void)journal_prewrite_taken(j);
		return say_full(j, "open next.seg", error);
	}
	*ret_capacity = (uint64_t)st.st_size;
	if (want > *ret_capacity) {
		error = file_allocate(fd, want);
		if (error) {
			close(fd);
			return say_full(j, "no room for a large block", error);
		}
		*ret_capacity = want;
	}
	*ret_fd = fd;
	return 0;
}

static void
write_snapshot(struct journal *j, const struct journal_segment *previous)
{
	char name[JOURNAL_NAME_MAX];

	block_begin(&j->snapshot);
	j->snapshot_entries = 0;
	snapshot_mark(j, SEGMENT_MARK_BEGIN, previous);
	if (j->hooks.snapshot)
		j->hooks.snapshot(j->hooks.arg, j);
	snapshot_mark(j, SEGMENT_MARK_END, previous);
	snapshot_flush(j);
	journal_segment_name(open_segment(j)->base, name);
	journal_sync(j, name, 0);
	j->snapshot_end = j->end;
}

int
journal_roll(struct journal *j, size_t bytes, int64_t wall_us)
{
	char name[JOURNAL_NAME_MAX];
	struct journal_segment previous = { 0 };
	bool has_previous = j->segment_count > 0;
	uint64_t capacity = 0;
	int fd = -1, error, r;

	ASSERT(j->pending_entries == 0);
	r = journal_prepare(j);
	if (r == 0)
		r = open_spare(j, bytes, &fd, &capacity);
	if (r != 0)
		return r;
	journal_segment_name(j->base_next, name);
	if (renameat(j->dir_fd, spare_name, j->dir_fd, name) != 0) {
		r = say_full(j, "rename next.seg", errno);
		close(fd);
		return r;
	}
	j->spare = false;
	error = file_sync(j->dir_fd);
	if (error)
		journal_die(j, "fsync directory", name, 0, error);
	if (j->fd >= 0)
		finish_segment(j);
	if (has_previous)
		previous = j->segments[j->segment_count - 1];
	j->fd = fd;
	j->capacity = capacity;
	j->zeroed = journal_prewrite_taken(j);
	j->end = j->base_next;
	journal_segment_add(j,
	    &(struct journal_segment){
		.base = j->base_next, .end = j->base_next, .first_time = next_time(j, wall_us) });
	j->base_next += capacity;
	write_snapshot(j, has_previous ? &previous : NULL);
	say_room(j);
	log_info("journal.segment", LU("shard", j->config.shard), LU("base", open_segment(j)->base),
	    LU("segments", j->segment_count));
	return 0;
}

bool
journal_roll_is_due(const struct journal *j, int64_t wall_us)
{
	if (j->fd < 0)
		return true;
	return j->end > j->snapshot_end &&
	       wall_us - open_segment(j)->first_time >= j->config.segment_age_us;
}

void
journal_rest(struct journal *j)
{
	if (j->pending_entries == 0)
		buf_fini(&j->pending);
	buf_fini(&j->snapshot);
}

int
journal_unlink_oldest(struct journal *j)
{
	char name[JOURNAL_NAME_MAX];

	if (j->segment_count < 2)
		return ERR_NOT_FOUND; /* the last one's snapshot is what a start reads */
	journal_segment_name(j->segments[0].base, name);
	if (unlinkat(j->dir_fd, name, 0) != 0 && errno != ENOENT) {
		log_warn("journal.unlink_failed", LS("file", name), LS("error", strerror(errno)));
		return ERR_IO;
	}
	j->closed_bytes -= j->segments[0].size;
	j->segment_count--;
	memmove(j->segments, j->segments + 1, j->segment_count * sizeof(*j->segments));
	return 0;
}

uint64_t
journal_oldest(const struct journal *j)
{
	return j->segment_count ? j->segments[0].base : j->end;
}

uint64_t
journal_bytes(const struct journal *j)
{
	return j->closed_bytes + (j->fd >= 0 ? open_segment(j)->size : 0);
}

uint64_t
journal_distance(const struct journal *j, uint64_t from, uint64_t to)
{
	uint64_t bytes = 0;
	size_t i;

	for (i = 0; i < j->segment_count; i++) {
		uint64_t a = j->segments[i].base, b = j->segments[i].end;

		if (a < from)
			a = from;
		if (b > to)
			b = to;
		if (a < b)
			bytes += b - a;
	}
	return bytes;
}

const struct journal_segment *
journal_segment_at(const struct journal *j, uint64_t offset)
{
	size_t i, lo = 0, hi = j->segment_count;

	while (lo < hi) {
		i = lo + (hi - lo) / 2;
		if (j->segments[i].end <= offset)
			lo = i + 1;
		else
			hi = i;
	}
	return lo < j->segment_count ? &j->segments[lo] : NULL;
}

void
journal_say_damage(struct journal *j, uint64_t from, uint64_t to)
{
	const struct journal_segment *s = journal_segment_at(j, from);
	char name[JOURNAL_NAME_MAX] = "?";
	size_t i;

	for (i = 0; i < j->damage_said_count && i < JOURNAL_DAMAGE_SAID; i++)
		if (j->damage_said[i] == from)
			return;
	j->damage_said[j->damage_said_count++ % JOURNAL_DAMAGE_SAID] = from;
	if (s)
		journal_segment_name(s->base, name);
	metric_add(M_STORAGE_DAMAGED_BLOCKS, 1);
	log_error("journal.damaged_block", LS("dir", j->dir), LS("file", name), LU("from", from),
	    LU("to", to), LU("at", s ? from - s->base : 0));
}

int
journal_open(const struct journal_config *c, const struct journal_hooks *hooks, int64_t wall_us,
    struct journal **ret_journal)
{
	struct journal *j = xcalloc(1, sizeof(*j));
	int r;

	j->config = *c;
	j->hooks = *hooks;
	j->dir = xstrdup(c->dir);
	j->config.dir = j->dir;
	j->fd = -1;
	j->spare_fd = -1;
	j->dir_fd = file_open(AT_FDCWD, c->dir, O_RDONLY | O_DIRECTORY);
	if (j->dir_fd < 0) {
		log_error("journal.open_failed", LS("dir", c->dir), LS("error", strerror(errno)));
		journal_abandon(&j);
		return ERR_IO;
	}
	r = journal_recover(j, wall_us);
	if (r != 0) {
		journal_abandon(&j);
		return r;
	}
	*ret_journal = j;
	return 0;
}

void
journal_abandon(struct journal **jp)
{
	struct journal *j = *jp;

	*jp = NULL;
	if (!j)
		return;
	(void)journal_prewrite_taken(j);
	if (j->fd >= 0)
		close(j->fd);
	if (j->dir_fd >= 0)
		close(j->dir_fd);
	buf_fini(&j->pending);
	buf_fini(&j->snapshot);
	free(j->segments);
	free(j->dir);
	free(j);
}
