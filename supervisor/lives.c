/* lives.c - the numbers that tell two starts of one worker apart */
#include "lives.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "data_dir.h"
#include "err.h"

static int
read_bound(const struct lives *l, uint64_t *ret_bound)
{
	char text[32] = "";
	int fd = open(l->path, O_RDONLY | O_CLOEXEC);
	ssize_t n;
	uint64_t bound = 0;

	if (fd < 0)
		return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n < 0)
		return ERR_IO;
	if (n < 2 || n > 21 || text[n - 1] != '\n')
		return ERR_DAMAGED;
	for (ssize_t i = 0; i < n - 1; i++) {
		if (text[i] < '0' || text[i] > '9')
			return ERR_DAMAGED;
		if (__builtin_mul_overflow(bound, 10u, &bound) ||
		    __builtin_add_overflow(bound, (uint64_t)(text[i] - '0'), &bound))
			return ERR_DAMAGED;
	}
	*ret_bound = bound;
	return 0;
}

static int
reserve(struct lives *l)
{
	char text[32];
	/* Always of one length, so that a full disk does not stop a restart. */
	int len = snprintf(text, sizeof(text), "%020" PRIu64 "\n", l->bound + LIVES_RESERVED);
	int rc = data_dir_write(l->dir, "lives", bytes_of(text, (size_t)len));

	if (rc == 0)
		l->bound += LIVES_RESERVED;
	return rc;
}

int
lives_open(struct lives *l, const char *data_dir, struct buf *err)
{
	uint64_t bound = 1;
	int rc;

	snprintf(l->dir, sizeof(l->dir), "%s", data_dir);
	snprintf(l->path, sizeof(l->path), "%s/lives", data_dir);
	rc = read_bound(l, &bound);
	if (rc == ERR_DAMAGED) {
		buf_addf(err,
		    "%s does not hold a number; write one into it that is larger than every life "
		    "in the "
		    "logs",
		    l->path);
		return rc;
	}
	if (rc == 0 || rc == ERR_NOT_FOUND) {
		l->next = l->bound = bound;
		rc = reserve(l);
	}
	if (rc != 0)
		buf_addf(err, "%s: %s", l->path, strerror(errno));
	return rc;
}

int
lives_next(struct lives *l, uint64_t *ret_life)
{
	int rc;

	if (l->next == l->bound && (rc = reserve(l)) != 0)
		return rc;
	*ret_life = l->next++;
	return 0;
}
