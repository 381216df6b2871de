/* rule_file.c - the text of a rules file, from and to disk */
#include "rule_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "err.h"
#include "mem.h"
#include "yaml_tree.h"

#define READ_SIZE 65536

int
rule_file_read(const char *path, struct buf *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = 0;
	size_t total = 0;
	ssize_t n;

	if (fd < 0)
		return ERR_IO;
	do {
		n = read(fd, buf_reserve(out, READ_SIZE), READ_SIZE);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			err = ERR_IO;
		else
			total += (size_t)n;
		out->len += n > 0 ? (size_t)n : 0;
		if (total > YAML_TEXT_MAX) {
			err = ERR_TOO_BIG;
			errno = EFBIG;
		}
	} while (n != 0 && err == 0);
	int kept = errno;
	close(fd);
	errno = kept;
	return err;
}

int
rule_file_write(const char *path, struct bytes text)
{
	char *temporary = xasprintf("%s.%ld.tmp", path, (long)getpid());
	int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), err = 0;
	size_t at = 0;

	while (fd >= 0 && at < text.len && err == 0) {
		ssize_t n = write(fd, text.data + at, text.len - at);
		if (n > 0)
			at += (size_t)n;
		else if (n < 0 && errno != EINTR)
			err = ERR_IO;
	}
	if (fd < 0 || err || fsync(fd) != 0 || rename(temporary, path) != 0)
		err = ERR_IO;
	int kept = errno;
	if (fd >= 0)
		close(fd);
	if (err)
		unlink(temporary);
	errno = kept;
	free(temporary);
	return err;
}
