/* support_dir.c - a private directory for one test */
#include "support_dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"

const char *
test_dir_new(char *out, size_t size)
{
	/* Hundreds of journals are opened and synced; in memory that takes seconds less. */
	snprintf(out, size, "%s/roost-storage-XXXXXX",
	    access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	ASSERT(mkdtemp(out) != NULL);
	return out;
}

void
test_dir_remove(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	if (!d)
		return;
	while ((e = readdir(d))) {
		char path[600];
		struct stat st;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
			test_dir_remove(path);
		else
			unlink(path);
	}
	closedir(d);
	rmdir(dir);
}

size_t
test_file_read(const char *dir, const char *name, uint8_t *out, size_t size)
{
	char path[600];
	int fd;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY);
	ASSERT(fd >= 0);
	n = read(fd, out, size);
	ASSERT(n >= 0);
	close(fd);
	return (size_t)n;
}

void
test_file_write(const char *dir, const char *name, const uint8_t *data, size_t len)
{
	char path[600];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ASSERT(fd >= 0);
	ASSERT(write(fd, data, len) == (ssize_t)len);
	close(fd);
}
