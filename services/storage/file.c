/* file.c - file calls that go on after an interruption, or after a part of the work */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int
file_open(int dir_fd, const char *path, int flags)
{
	int fd;

	do
		fd = openat(dir_fd, path, flags | O_CLOEXEC, 0600);
	while (fd < 0 && errno == EINTR);
	return fd;
}

int
file_write(int fd, struct bytes data, uint64_t at)
{
	size_t done = 0;

	while (done < data.len) {
		ssize_t n = pwrite(fd, data.data + done, data.len - done, (off_t)(at + done));

		if (n > 0)
			done += (size_t)n;
		else if (n == 0)
			return ENOSPC;
		else if (errno != EINTR)
			return errno;
	}
	return 0;
}

int
file_sync(int fd)
{
	int r;

	do
		r = fsync(fd);
	while (r != 0 && errno == EINTR);
	return r == 0 ? 0 : errno;
}

int
file_sync_data(int fd)
{
	int r;

	do
		r = fdatasync(fd);
	while (r != 0 && errno == EINTR);
	return r == 0 ? 0 : errno;
}

int
file_set_size(int fd, uint64_t size)
{
	int r;

	do
		r = ftruncate(fd, (off_t)size);
	while (r != 0 && errno == EINTR);
	return r == 0 ? 0 : errno;
}

int
file_allocate(int fd, uint64_t size)
{
	int error;

	do
		error = posix_fallocate(fd, 0, (off_t)size);
	while (error == EINTR);
	return error;
}
