/* disk.c - the disk below a storage process under test: calls that count and fail, and a log of what they did */
#include "disk.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "err.h"

#define LOG_MAX (96u << 20)
#define OPS_MAX 65536u
#define FDS_MAX 256
#define KILLED 137

struct disk_shared *disk;
static uint32_t *starts; /* of each operation in the log */
static uint8_t *log_bytes;
static bool watching;
static dev_t device;
static char root_path[128];
static bool tracked[FDS_MAX];

const char *const call_names[CALL_COUNT] = { "openat", "write", "pwrite", "fdatasync", "fsync",
	"rename", "ftruncate", "fallocate", "unlink", "link", "mkdir", "flock", "pread" };

void
disk_init(void)
{
	size_t size = sizeof(*disk) + OPS_MAX * sizeof(*starts) + LOG_MAX;
	uint8_t *p = mmap(
	    NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	ASSERT(p != MAP_FAILED);
	disk = (struct disk_shared *)(void *)p;
	starts = (uint32_t *)(void *)(p + sizeof(*disk));
	log_bytes = p + sizeof(*disk) + OPS_MAX * sizeof(*starts);
}

const struct op *
disk_op(uint32_t n)
{
	return (const struct op *)(const void *)(log_bytes + starts[n]);
}

static void
record(const struct op *op, const void *data)
{
	size_t size = (sizeof(*op) + op->len + 7) / 8 * 8;

	ASSERT(disk->ops < OPS_MAX && size <= LOG_MAX - disk->used);
	starts[disk->ops] = (uint32_t)disk->used;
	memcpy(log_bytes + disk->used, op, sizeof(*op));
	if (data)
		memcpy(log_bytes + disk->used + sizeof(*op), data, op->len);
	disk->used += size;
	disk->ops++;
}

void
disk_note(enum op_kind kind, uint64_t inode, uint64_t at, uint32_t flag)
{
	struct op op = { .kind = kind, .inode = inode, .at = at, .dir = flag };

	record(&op, NULL);
}

/* --- names and inodes --- */

static uint64_t
inode_of(int fd)
{
	struct stat st;

	ASSERT(fstat(fd, &st) == 0);
	return st.st_ino;
}

/* The directory that a path's last name is in. False: not below the root. */
static bool
split(int dir_fd, const char *path, uint64_t *ret_dir, char ret_name[40])
{
	const char *slash = strrchr(path, '/');
	char folder[256];
	struct stat st;

	if (slash)
		snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path), path);
	if (slash ? stat(folder, &st) != 0 : dir_fd == AT_FDCWD || fstat(dir_fd, &st) != 0)
		return false;
	snprintf(ret_name, 40, "%s", slash ? slash + 1 : path);
	*ret_dir = st.st_ino;
	return slash ? strncmp(path, root_path, strlen(root_path)) == 0 : st.st_dev == device;
}

static void
record_tree(const char *path, uint64_t dir)
{
	DIR *d = opendir(path);
	struct dirent *e;

	ASSERT(d != NULL);
	while ((e = readdir(d))) {
		char below[512];
		static uint8_t data[4u << 20];
		struct stat st;
		struct op op = { .dir = dir };

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		snprintf(below, sizeof(below), "%s/%s", path, e->d_name);
		ASSERT(stat(below, &st) == 0);
		snprintf(op.name, sizeof(op.name), "%.39s", e->d_name);
		op.inode = st.st_ino;
		op.kind = S_ISDIR(st.st_mode) ? OP_MKDIR : OP_CREATE;
		record(&op, NULL);
		if (S_ISDIR(st.st_mode)) {
			record_tree(below, st.st_ino);
		} else {
			int fd = open(below, O_RDONLY | O_CLOEXEC);
			ssize_t n = read(fd, data, sizeof(data));

			ASSERT(n == st.st_size);
			close(fd);
			op =
			    (struct op){ .kind = OP_WRITE, .inode = st.st_ino, .len = (uint32_t)n };
			record(&op, data);
			op = (struct op){ .kind = OP_SYNC, .inode = st.st_ino };
			record(&op, NULL);
		}
	}
	closedir(d);
	record(&(struct op){ .kind = OP_SYNC_DIR, .inode = dir }, NULL);
}

void
disk_begin(const char *root)
{
	struct stat st;

	watching = false;
	snprintf(root_path, sizeof(root_path), "%s", root);
	ASSERT(stat(root, &st) == 0);
	device = st.st_dev;
	memset(disk, 0, sizeof(*disk));
	memset(tracked, 0, sizeof(tracked));
	record(&(struct op){ .kind = OP_MKDIR, .inode = st.st_ino }, NULL); /* the root: no name */
	record_tree(root, st.st_ino);
}

void
disk_watch(bool on)
{
	watching = on;
}

/* --- calls --- */

static bool
watched(int fd)
{
	return watching && fd >= 0 && fd < FDS_MAX && tracked[fd];
}

static bool
is_transfer(enum call c)
{
	return c == CALL_WRITE || c == CALL_PWRITE || c == CALL_PREAD;
}

/* Counts the call. 0: do it; 1: do a part of it; -1: fail with errno. */
static int
enter(enum call c)
{
	disk->by_call[c]++;
	if (disk->short_pending && c == disk->call_met) {
		disk->short_pending = false;
		errno = disk->fault_errno;
		return -1;
	}
	if (++disk->calls != disk->fault_at)
		return 0;
	disk->fault_met = true;
	disk->call_met = c;
	disk->fault_fits = true;
	switch (disk->fault) {
	case FAULT_NONE:
	case FAULT_KILL_AFTER:
		return 0;
	case FAULT_KILL_BEFORE:
		_exit(KILLED);
	case FAULT_FAIL:
		errno = disk->fault_errno;
		return -1;
	case FAULT_SHORT_FAIL:
		disk->short_pending = is_transfer(c) && c != CALL_PREAD;
		__attribute__((fallthrough));
	case FAULT_SHORT:
		disk->fault_fits = is_transfer(c);
		return is_transfer(c) ? 1 : 0;
	}
	return 0;
}

static void
leave(void)
{
	if (disk->calls == disk->fault_at && disk->fault == FAULT_KILL_AFTER)
		_exit(KILLED);
}

static size_t
part_of(size_t len)
{
	static const size_t parts[] = { 1, 511, 512, 4096 };
	size_t part = disk->fault_at % 5 < 4 ? parts[disk->fault_at % 5] : len / 2;

	return part < len ? part : len / 2;
}

static int
open_at(int dir_fd, const char *path, int flags, mode_t mode)
{
	struct op op = { .kind = OP_CREATE };
	struct stat st;
	bool ours, is_new = false;
	int fd;

	ours = watching && split(dir_fd, path, &op.dir, op.name);
	if (ours && enter(CALL_OPEN) < 0)
		return -1;
	if (ours && (flags & O_CREAT))
		is_new = fstatat(dir_fd, path, &st, 0) != 0;
	fd = (int)syscall(SYS_openat, dir_fd, path, flags, mode);
	if (!ours)
		return fd;
	if (fd < 0) {
		leave();
		return fd;
	}
	ASSERT(fd < FDS_MAX);
	tracked[fd] = true;
	op.inode = inode_of(fd);
	if (is_new)
		record(&op, NULL);
	else if (flags & O_TRUNC)
		record(&(struct op){ .kind = OP_SIZE, .inode = op.inode }, NULL);
	leave();
	return fd;
}

static mode_t
mode_of(int flags, va_list args)
{
	return flags & O_CREAT ? (mode_t)va_arg(args, int) : 0;
}

int
openat(int dir_fd, const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = mode_of(flags, args);
	va_end(args);
	return open_at(dir_fd, path, flags, mode);
}

int
open(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = mode_of(flags, args);
	va_end(args);
	return open_at(AT_FDCWD, path, flags, mode);
}

int
close(int fd)
{
	if (fd >= 0 && fd < FDS_MAX)
		tracked[fd] = false;
	return (int)syscall(SYS_close, fd);
}

static void
record_write(int fd, const void *data, size_t len, uint64_t at)
{
	struct op op = { .kind = OP_WRITE, .inode = inode_of(fd), .at = at, .len = (uint32_t)len };

	record(&op, data);
}

ssize_t
write(int fd, const void *data, size_t len)
{
	off_t at;
	ssize_t n;
	int how;

	if (!watched(fd))
		return syscall(SYS_write, fd, data, len);
	how = enter(CALL_WRITE);
	if (how < 0)
		return -1;
	at = lseek(fd, 0, SEEK_CUR);
	n = syscall(SYS_write, fd, data, how > 0 ? part_of(len) : len);
	if (n > 0)
		record_write(fd, data, (size_t)n, (uint64_t)at);
	leave();
	return n;
}

ssize_t
pwrite(int fd, const void *data, size_t len, off_t at)
{
	ssize_t n;
	int how;

	if (!watched(fd))
		return syscall(SYS_pwrite64, fd, data, len, at);
	how = enter(CALL_PWRITE);
	if (how < 0)
		return -1;
	n = syscall(SYS_pwrite64, fd, data, how > 0 ? part_of(len) : len, at);
	if (n > 0)
		record_write(fd, data, (size_t)n, (uint64_t)at);
	leave();
	return n;
}

ssize_t
pread(int fd, void *data, size_t len, off_t at)
{
	ssize_t n;
	int how;

	if (!watched(fd))
		return syscall(SYS_pread64, fd, data, len, at);
	how = enter(CALL_PREAD);
	if (disk->unreadable) {
		errno = EIO;
		return -1;
	}
	if (how < 0)
		return -1;
	n = syscall(SYS_pread64, fd, data, how > 0 ? part_of(len) : len, at);
	leave();
	return n;
}

/* Nothing is synced in truth: the files lie in memory. */
static int
sync_fd(int fd, enum call c)
{
	struct stat st;
	struct op op = { .kind = OP_SYNC };

	if (!watched(fd))
		return 0;
	ASSERT(fstat(fd, &st) == 0);
	op.inode = st.st_ino;
	if (S_ISDIR(st.st_mode))
		op.kind = OP_SYNC_DIR;
	if (enter(c) < 0) {
		if (op.kind == OP_SYNC && errno != EINTR)
			disk_note(OP_SYNC_FAILED, op.inode, 0, 0);
		return -1;
	}
	record(&op, NULL);
	leave();
	return 0;
}

int
fdatasync(int fd)
{
	return sync_fd(fd, CALL_FDATASYNC);
}

int
fsync(int fd)
{
	return sync_fd(fd, CALL_FSYNC);
}

static int
change_name(enum op_kind kind, enum call c, int dir_fd, const char *from, int to_fd, const char *to)
{
	struct op op = { .kind = kind };
	uint64_t to_dir = 0;
	struct stat st;
	int r;

	if (!watching || !split(dir_fd, from, &op.dir, op.name)) {
		r = kind == OP_RENAME ? (int)syscall(SYS_renameat, dir_fd, from, to_fd, to)
		    : kind == OP_LINK ? (int)syscall(SYS_linkat, dir_fd, from, to_fd, to, 0)
				      : (int)syscall(SYS_unlinkat, dir_fd, from, 0);
		return r;
	}
	if (enter(c) < 0)
		return -1;
	op.inode = fstatat(dir_fd, from, &st, 0) == 0 ? st.st_ino : 0;
	if (to)
		ASSERT(split(to_fd, to, &to_dir, op.to) && to_dir == op.dir);
	r = kind == OP_RENAME ? (int)syscall(SYS_renameat, dir_fd, from, to_fd, to)
	    : kind == OP_LINK ? (int)syscall(SYS_linkat, dir_fd, from, to_fd, to, 0)
			      : (int)syscall(SYS_unlinkat, dir_fd, from, 0);
	if (r == 0)
		record(&op, NULL);
	leave();
	return r;
}

int
renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	return change_name(OP_RENAME, CALL_RENAME, from_fd, from, to_fd, to);
}

int
rename(const char *from, const char *to)
{
	return change_name(OP_RENAME, CALL_RENAME, AT_FDCWD, from, AT_FDCWD, to);
}

int
link(const char *from, const char *to)
{
	return change_name(OP_LINK, CALL_LINK, AT_FDCWD, from, AT_FDCWD, to);
}

int
unlinkat(int dir_fd, const char *path, int flags)
{
	if (flags)
		return (int)syscall(SYS_unlinkat, dir_fd, path, flags);
	return change_name(OP_UNLINK, CALL_UNLINK, dir_fd, path, 0, NULL);
}

int
unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}

int
mkdir(const char *path, mode_t mode)
{
	struct op op = { .kind = OP_MKDIR };
	struct stat st;
	int r;

	if (!watching || !split(AT_FDCWD, path, &op.dir, op.name))
		return (int)syscall(SYS_mkdir, path, mode);
	if (enter(CALL_MKDIR) < 0)
		return -1;
	r = (int)syscall(SYS_mkdir, path, mode);
	if (r == 0) {
		ASSERT(stat(path, &st) == 0);
		op.inode = st.st_ino;
		record(&op, NULL);
	}
	leave();
	return r;
}

int
ftruncate(int fd, off_t size)
{
	int r;

	if (!watched(fd))
		return (int)syscall(SYS_ftruncate, fd, size);
	if (enter(CALL_FTRUNCATE) < 0)
		return -1;
	r = (int)syscall(SYS_ftruncate, fd, size);
	if (r == 0)
		disk_note(OP_SIZE, inode_of(fd), (uint64_t)size, 0);
	leave();
	return r;
}

int
posix_fallocate(int fd, off_t at, off_t len)
{
	struct stat st;

	if (watched(fd) && enter(CALL_FALLOCATE) < 0)
		return errno;
	if (syscall(SYS_fallocate, fd, 0, at, len) != 0)
		return errno;
	if (watched(fd)) {
		ASSERT(fstat(fd, &st) == 0);
		disk_note(OP_SIZE, st.st_ino, (uint64_t)st.st_size, 0);
		leave();
	}
	return 0;
}

int
flock(int fd, int operation)
{
	if (watched(fd) && enter(CALL_FLOCK) < 0)
		return -1;
	if (syscall(SYS_flock, fd, operation) != 0)
		return -1;
	if (watched(fd))
		leave();
	return 0;
}
