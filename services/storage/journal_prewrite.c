/* journal_prewrite.c - zeros written where blocks will be, so that a sync has less to do
 *
 * A sync of what was written into preallocated space commits the file system's journal too, and waits there for whatever
 * other processes wrote; into space that was written before it does not. The next segment gets its zeros in pace with the
 * blocks of the open one, twice as fast, and nobody waits for them. The open segment gets what it has not got as next.seg
 * (the first one, and one that was opened soon) when there is no other work, or before small blocks run out. */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "log.h"

#define CHUNK 262144u
#define CHUNK_BUSY (1u << 20) /* seldom: what commits next waits for it */
#define AHEAD_IDLE (4u << 20)
#define AHEAD_LOW 65536u
#define SYNC_MAX_US 3000 /* a slower disk is left alone */

static const uint8_t zeros[CHUNK_BUSY];

void
journal_prewrite_owe(struct journal *j, uint64_t block_bytes)
{
	j->block_bytes = block_bytes;
	j->prewrite_owed += 2 * block_bytes;
}

uint64_t
journal_prewrite_taken(struct journal *j)
{
	uint64_t zeroed = j->spare_zeroed;

	if (j->spare_fd >= 0)
		close(j->spare_fd);
	j->spare_fd = -1;
	j->spare_zeroed = j->spare_bytes = j->prewrite_owed = 0;
	return zeroed;
}

static bool
open_spare(struct journal *j)
{
	struct stat st;

	if (j->spare_fd >= 0)
		return true;
	j->spare_fd = file_open(j->dir_fd, JOURNAL_SPARE, O_RDWR);
	if (j->spare_fd < 0 || fstat(j->spare_fd, &st) != 0)
		return false;
	j->spare_bytes = (uint64_t)st.st_size;
	return true;
}

static uint64_t
spare_chunk(const struct journal *j)
{
	return j->config.segment_bytes / 4 < CHUNK ? j->config.segment_bytes / 4 : CHUNK;
}

/* Its blocks are allocated, so nothing is lost when a write fails: it stays as it is. */
static void
prewrite_spare(struct journal *j)
{
	uint64_t chunk = spare_chunk(j);
	int error = 0;

	j->prewrite_owed -= chunk;
	if (!open_spare(j))
		error = errno;
	else if (chunk > j->spare_bytes - j->spare_zeroed)
		chunk = j->spare_bytes - j->spare_zeroed;
	if (!error && chunk)
		error = file_write(j->spare_fd, bytes_of(zeros, (size_t)chunk), j->spare_zeroed);
	if (error) {
		log_warn("journal.prewrite_failed", LS("file", JOURNAL_SPARE),
		    LS("error", strerror(error)));
		j->prewrite_owed = 0;
		return;
	}
	/* The disk begins now: what waited for the end of the segment would all come at once. */
	if (chunk)
		(void)sync_file_range(
		    j->spare_fd, (off_t)j->spare_zeroed, (off_t)chunk, SYNC_FILE_RANGE_WRITE);
	j->spare_zeroed += chunk;
}

/* Large blocks gain little, and what is behind them waits for the zeros. */
static bool
is_low(const struct journal *j, uint64_t ahead)
{
	return ahead < AHEAD_LOW && j->block_bytes > 0 && j->block_bytes <= AHEAD_LOW;
}

void
journal_prewrite(struct journal *j, bool idle)
{
	char name[JOURNAL_NAME_MAX];
	const struct journal_segment *s;
	uint64_t chunk = idle ? CHUNK : CHUNK_BUSY, ahead;

	if (j->fd < 0 || j->pending_entries || j->sync_us > SYNC_MAX_US)
		return;
	s = &j->segments[j->segment_count - 1];
	ahead = j->zeroed - s->size;
	if (j->zeroed < j->capacity && (idle ? ahead < AHEAD_IDLE : is_low(j, ahead))) {
		if (chunk > j->capacity - j->zeroed)
			chunk = j->capacity - j->zeroed;
		journal_segment_name(s->base, name);
		journal_write(j, name, bytes_of(zeros, (size_t)chunk), j->zeroed);
		journal_sync(j, name, j->zeroed);
		j->zeroed += chunk;
	} else if (j->spare && j->prewrite_owed >= spare_chunk(j)) {
		prewrite_spare(j);
	}
}
