/* support.c - what several fuzz targets need */
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "log.h"

static char dir[64];

struct input
input_of(const uint8_t *data, size_t size)
{
	return (struct input){ .at = data, .end = size ? data + size : data };
}

bool
input_is_over(const struct input *in)
{
	return in->at == in->end;
}

unsigned
input_u8(struct input *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

unsigned
input_u16(struct input *in)
{
	unsigned low = input_u8(in);

	return low | input_u8(in) << 8;
}

uint64_t
input_u64(struct input *in)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < 64; i += 8)
		v |= (uint64_t)input_u8(in) << i;
	return v;
}

struct bytes
input_bytes(struct input *in, size_t len)
{
	size_t left = (size_t)(in->end - in->at);
	struct bytes b = bytes_of(in->at, len < left ? len : left);

	if (b.len)
		in->at += b.len;
	return b;
}

struct bytes
input_block(struct input *in)
{
	size_t len = input_u16(in);

	return input_bytes(in, len);
}

struct bytes
input_rest(struct input *in)
{
	return input_bytes(in, SIZE_MAX);
}

static void
remove_all(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	char name[512];

	while (d && (e = readdir(d))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		snprintf(name, sizeof name, "%s/%s", path, e->d_name);
		if (unlink(name) != 0 && errno != ENOENT) {
			remove_all(name);
			rmdir(name);
		}
	}
	if (d)
		closedir(d);
}

static void
remove_dir(void)
{
	remove_all(dir);
	rmdir(dir);
}

const char *
fuzz_dir(void)
{
	if (dir[0] == '\0') {
		snprintf(dir, sizeof dir, "/dev/shm/roost-fuzz-XXXXXX");
		ASSERT(mkdtemp(dir));
		atexit(remove_dir);
	}
	return dir;
}

const char *
fuzz_path(const char *name)
{
	static char paths[8][256];
	static unsigned next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof paths[0], "%s/%s", fuzz_dir(), name);
	return path;
}

void
fuzz_write(const char *name, struct bytes content)
{
	int fd = open(fuzz_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ASSERT(fd >= 0);
	ASSERT(write(fd, content.data, content.len) == (ssize_t)content.len);
	close(fd);
}

void
fuzz_clear(const char *below)
{
	remove_all(below ? fuzz_path(below) : fuzz_dir());
}

void
fuzz_quiet(void)
{
	log_init("fuzz", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
}
