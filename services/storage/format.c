/* format.c - what a data_dir's journal was made for, and the lock of each shard */
#include "format.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "err.h"
#include "file.h"
#include "log.h"

#define PATH_SIZE 512
#define LOCK_POLL_MS 5
#define LOCK_SAY_US 1000000

static int
io_error(const char *what, const char *path)
{
	log_error(
	    "storage.format", LS("call", what), LS("path", path), LS("error", strerror(errno)));
	return ERR_IO;
}

static int
make_dir(const char *path)
{
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return io_error("mkdir", path);
	return 0;
}

static int
sync_dir(const char *path)
{
	int fd = file_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
	int error = fd < 0 ? errno : file_sync(fd);

	if (fd >= 0)
		close(fd);
	errno = error;
	return error ? io_error("fsync", path) : 0;
}

/* Several storage workers may start at once: a file of one's own, linked to the name unless it is there. */
static int
make_format(const char *dir, const char *path, uint32_t partitions, uint32_t shards)
{
	char own[PATH_SIZE + 32], text[128];
	int n = snprintf(text, sizeof(text), "roost-journal %d\npartitions %u\nshards %u\n",
	    FORMAT_VERSION, partitions, shards);
	int fd, error, r = 0;

	snprintf(own, sizeof(own), "%s/FORMAT.%d", dir, (int)getpid());
	fd = file_open(AT_FDCWD, own, O_WRONLY | O_CREAT | O_TRUNC);
	error = fd < 0 ? errno : file_write(fd, bytes_of(text, (size_t)n), 0);
	if (error == 0)
		error = file_sync(fd);
	if (fd >= 0)
		close(fd);
	errno = error;
	if (error)
		r = io_error("write", own);
	if (r == 0 && link(own, path) != 0 && errno != EEXIST)
		r = io_error("link", path);
	unlink(own);
	return r == 0 ? sync_dir(dir) : r;
}

int
format_check(const char *data_dir, uint32_t partitions, uint32_t shards)
{
	char dir[PATH_SIZE], path[PATH_SIZE + 16], text[256] = "";
	unsigned version, have_partitions, have_shards;
	int fd, r;
	ssize_t n;

	snprintf(dir, sizeof(dir), "%s/journal", data_dir);
	snprintf(path, sizeof(path), "%s/FORMAT", dir);
	r = make_dir(dir);
	if (r == 0 && access(path, F_OK) != 0)
		r = make_format(dir, path, partitions, shards);
	if (r == 0)
		r = sync_dir(data_dir);
	if (r != 0)
		return r;
	fd = file_open(AT_FDCWD, path, O_RDONLY);
	if (fd < 0)
		return io_error("open", path);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n < 0 || sscanf(text, "roost-journal %9u partitions %9u shards %9u", &version,
			 &have_partitions, &have_shards) != 3) {
		log_error("storage.format", LS("path", path),
		    LS("fault", "cannot be read as a journal's FORMAT"),
		    LS("remedy",
			"restore it: three lines, roost-journal 1, partitions N, shards N"));
		return ERR_CONFIG;
	}
	if (version != FORMAT_VERSION) {
		log_error("storage.format", LS("path", path),
		    LS("fault", "this journal was written by a newer release"),
		    LU("version", version), LU("known", FORMAT_VERSION));
		return ERR_CONFIG;
	}
	if (have_partitions == partitions && have_shards == shards)
		return 0;
	log_error("storage.format", LS("path", path),
	    LS("fault", "partitions and storage.shards are fixed when data_dir is created, the "
			"settings say otherwise"),
	    LU("partitions", have_partitions), LU("settings_partitions", partitions),
	    LU("shards", have_shards), LU("settings_shards", shards),
	    LS("remedy", "set them back, or choose another data_dir"));
	return ERR_CONFIG;
}

int
format_lock_shard(const char *data_dir, uint32_t shard, int64_t wait_ms, char *ret_dir,
    size_t dir_size, int *ret_fd)
{
	int64_t start = clock_mono_us();
	char path[PATH_SIZE];
	bool said = false;
	int fd, r;

	snprintf(ret_dir, dir_size, "%s/journal/shard-%u", data_dir, shard);
	snprintf(path, sizeof(path), "%s/journal", data_dir);
	r = make_dir(ret_dir);
	/* Each time: whoever made it may have died before the sync. */
	if (r == 0)
		r = sync_dir(path);
	if (r != 0)
		return r;
	snprintf(path, sizeof(path), "%s/lock", ret_dir);
	fd = file_open(AT_FDCWD, path, O_RDWR | O_CREAT);
	if (fd < 0)
		return io_error("open", path);
	/* flock has no time-out. */
	while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		int64_t waited = clock_mono_us() - start;

		if (errno != EWOULDBLOCK && errno != EINTR) {
			close(fd);
			return io_error("flock", path);
		}
		if (waited > wait_ms * 1000) {
			log_error("storage.lock", LS("path", path),
			    LS("fault", "another process holds the shard"));
			close(fd);
			return ERR_TIMEOUT;
		}
		if (waited > LOCK_SAY_US && !said) {
			log_warn("storage.lock", LS("path", path),
			    LS("state", "waiting for another process to let go"));
			said = true;
		}
		poll(NULL, 0, LOCK_POLL_MS);
	}
	*ret_fd = fd;
	return 0;
}
