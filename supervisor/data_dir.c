/* data_dir.c - the directory that one Roost owns: made private, locked, and recorded what never changes in it */
#include "data_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "log.h"

#define PATH_BYTES (DATA_DIR_MAX + 32)
#define WRITE_MAX 4096 /* bytes of a file that data_dir_write() writes */
#define PID_TEXT 32
#define LOCK_WAIT_MS 2000
#define LOCK_STEP_MS 5
#define OVERWRITE_MAX 512 /* of those, what is overwritten in place when there is no room */

/* One that is there already (a volume, a directory made by hand) may be readable, since all in it is made private; not
 * writable, since others could then put their own in the place of ours. */
static int
make_dir(const char *path, struct buf *err)
{
	struct stat st;

	if (mkdir(path, 0700) == 0)
		return 0;
	if (errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
		if ((st.st_mode & 022) == 0)
			return 0;
		buf_addf(err,
		    "data_dir: %s is writable by others; chmod go-w it, or choose another", path);
		return ERR_CONFIG;
	}
	buf_addf(err, "data_dir: %s: %s", path, strerror(errno));
	return ERR_CONFIG;
}

/* The flock says that it is taken, the number in the file says by whom. A supervisor that was killed while it started a child
 * leaves the lock to that child, until this has become another program: that is waited for. */
static bool
take(int fd, char pid[PID_TEXT])
{
	for (int waited_ms = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; waited_ms += LOCK_STEP_MS) {
		ssize_t n = pread(fd, pid, PID_TEXT - 1, 0);
		long number;
		bool alive;

		pid[n > 0 ? strcspn(pid, " \n") : 0] = '\0';
		number = strtol(pid, NULL, 10);
		alive = number <= 0 || kill((pid_t)number, 0) == 0 || errno != ESRCH;
		if (alive || waited_ms >= LOCK_WAIT_MS)
			return false;
		(void)poll(NULL, 0, LOCK_STEP_MS);
	}
	return true;
}

static int
lock(const char *data_dir, const char *hint, int *ret_fd, struct buf *err)
{
	char path[PATH_BYTES], pid[PID_TEXT] = "";
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/supervisor.lock", data_dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0) {
		buf_addf(err, "data_dir: %s: %s", path, strerror(errno));
		return ERR_CONFIG;
	}
	if (!take(fd, pid)) {
		buf_addf(err,
		    "data_dir %s is served by another Roost already (pid %s); stop that one with "
		    "`roost "
		    "stop%s`, or choose another data_dir",
		    data_dir, *pid ? pid : "unknown", hint);
		close(fd);
		return ERR_AGAIN;
	}
	/* Only for people: without it, on a full disk, the lock is as good. */
	n = snprintf(pid, sizeof(pid), "%-10d\n", (int)getpid());
	if (pwrite(fd, pid, (size_t)n, 0) != n)
		log_warn("data_dir.pid", LS("path", path), LS("fault", strerror(errno)));
	*ret_fd = fd;
	return 0;
}

int
data_dir_open(const char *data_dir, const char *hint, int *ret_lock_fd, struct buf *err)
{
	char run[PATH_BYTES];
	int fd, rc;

	snprintf(run, sizeof(run), "%s/run", data_dir);
	if ((rc = make_dir(data_dir, err)) != 0 || (rc = lock(data_dir, hint, &fd, err)) != 0)
		return rc;
	if ((rc = make_dir(run, err)) != 0) {
		close(fd);
		return rc;
	}
	*ret_lock_fd = fd;
	return 0;
}

static int
sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

	if (fd < 0)
		return ERR_IO;
	rc = fsync(fd);
	close(fd);
	return rc == 0 ? 0 : ERR_IO;
}

static bool
holds(const char *path, struct bytes text)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char have[WRITE_MAX + 1];
	ssize_t n = fd >= 0 ? read(fd, have, sizeof(have)) : -1;

	if (fd >= 0)
		close(fd);
	return n >= 0 && bytes_equal(bytes_of(have, (size_t)n), text);
}

/* New file, synced, renamed over the old one, directory synced: the old or the new is whole at any instant. */
static int
replace(const char *data_dir, const char *path, struct bytes text)
{
	char tmp[PATH_BYTES + 8];
	bool ok;
	int fd, saved;

	snprintf(tmp, sizeof(tmp), "%s.new", path);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return ERR_IO;
	ok = write(fd, text.data, text.len) == (ssize_t)text.len && fsync(fd) == 0;
	saved = errno;
	ok = close(fd) == 0 && ok;
	if (ok && rename(tmp, path) == 0)
		return sync_dir(data_dir);
	(void)unlink(tmp);
	errno = saved;
	return ERR_IO;
}

/* For a full disk: the same bytes' place, which is less than a disk's sector and so written whole or not at all. */
static int
overwrite(const char *path, struct bytes text)
{
	struct stat st;
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok;

	if (fd < 0)
		return ERR_IO;
	ok = fstat(fd, &st) == 0 && st.st_size == (off_t)text.len && text.len <= OVERWRITE_MAX &&
	     pwrite(fd, text.data, text.len, 0) == (ssize_t)text.len && fsync(fd) == 0;
	ok = close(fd) == 0 && ok;
	return ok ? 0 : ERR_IO;
}

int
data_dir_write(const char *data_dir, const char *name, struct bytes text)
{
	char path[PATH_BYTES];
	int saved;

	ASSERT(text.len <= WRITE_MAX);
	snprintf(path, sizeof(path), "%s/%s", data_dir, name);
	if (holds(path, text) || replace(data_dir, path, text) == 0)
		return 0;
	saved = errno;
	if ((errno == ENOSPC || errno == EDQUOT) && overwrite(path, text) == 0)
		return 0;
	errno = saved;
	return ERR_IO;
}

static int
read_format(
    const char *path, unsigned *ret_version, long long *ret_partitions, long long *ret_shards)
{
	FILE *f = fopen(path, "re");
	int n;

	if (!f)
		return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
	n = fscanf(
	    f, "roost %9u partitions %9lld shards %9lld", ret_version, ret_partitions, ret_shards);
	fclose(f);
	return n == 3 ? 0 : ERR_DAMAGED;
}

static int
compare(const char *path, enum setting_id id, long long recorded, long long wanted, struct buf *err)
{
	if (recorded == wanted)
		return 0;
	buf_addf(err,
	    "%s is %lld, but data_dir was created with %lld, which cannot be changed (%s): set "
	    "%s=%lld, or choose another data_dir",
	    setting_infos[id].key, wanted, recorded, path, setting_infos[id].key, recorded);
	return ERR_CONFIG;
}

int
data_dir_check_format(const char *data_dir, const struct settings *settings, struct buf *err)
{
	long long partitions = settings_int(settings, SET_PARTITIONS), was_partitions;
	long long shards = settings_int(settings, SET_STORAGE_SHARDS), was_shards;
	char path[PATH_BYTES], text[128];
	unsigned version;
	int rc;

	snprintf(path, sizeof(path), "%s/format", data_dir);
	rc = read_format(path, &version, &was_partitions, &was_shards);
	if (rc == ERR_NOT_FOUND) {
		snprintf(text, sizeof(text), "roost %d\npartitions %lld\nshards %lld\n",
		    DATA_DIR_FORMAT, partitions, shards);
		rc = data_dir_write(data_dir, "format", bytes_of_str(text));
		if (rc == 0)
			return 0;
	}
	if (rc == ERR_DAMAGED) {
		buf_addf(err,
		    "%s is damaged: expected lines `roost`, `partitions` and `shards`, each with a "
		    "number",
		    path);
		return ERR_CONFIG;
	}
	if (rc != 0) {
		buf_addf(err, "%s: %s", path, strerror(errno));
		return rc;
	}
	if (version != DATA_DIR_FORMAT) {
		buf_addf(err, "%s: format %u is not one that this release knows (%d)", path,
		    version, DATA_DIR_FORMAT);
		return ERR_CONFIG;
	}
	if ((rc = compare(path, SET_PARTITIONS, was_partitions, partitions, err)) != 0)
		return rc;
	return compare(path, SET_STORAGE_SHARDS, was_shards, shards, err);
}
