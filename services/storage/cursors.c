/* cursors.c - how far each follower group is, kept over restarts, so that retention waits for those it must wait for */
#include "cursors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"
#include "log.h"
#include "mem.h"

static struct cursor *
find(struct cursors *c, const char *group)
{
	for (size_t i = 0; i < c->count; i++)
		if (strcmp(c->all[i].group, group) == 0)
			return &c->all[i];
	return NULL;
}

struct cursor *
cursors_get(struct cursors *c, const char *group)
{
	struct cursor *k = find(c, group);

	if (k || group[0] == '\0' || strlen(group) >= GROUP_NAME_MAX)
		return k;
	if (c->count == CURSORS_MAX)
		return NULL;
	k = &c->all[c->count++];
	*k = (struct cursor){ 0 };
	snprintf(k->group, sizeof(k->group), "%s", group);
	return k;
}

static void
load(struct cursors *c)
{
	FILE *f = fopen(c->path, "re");
	char group[GROUP_NAME_MAX], offset[24];

	if (!f)
		return;
	/* Twenty digits are an offset too, and strtoull() knows what to do with more. */
	while (fscanf(f, "%64s %23s", group, offset) == 2) {
		struct cursor *k = cursors_get(c, group);

		if (k)
			k->offset = strtoull(offset, NULL, 10);
	}
	fclose(f);
}

void
cursors_init(struct cursors *c, const char *dir, const char *mandatory)
{
	char *names = xstrdup(mandatory), *save = NULL, *name;

	*c = (struct cursors){ .path = xasprintf("%s/cursors", dir) };
	for (name = strtok_r(names, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
		struct cursor *k = cursors_get(c, name);

		if (k)
			k->mandatory = true;
	}
	free(names);
	load(c);
}

void
cursors_fini(struct cursors *c)
{
	free(c->path);
	c->path = NULL;
}

void
cursors_advance(struct cursors *c, const char *group, uint64_t offset)
{
	struct cursor *k = cursors_get(c, group);

	if (!k || offset <= k->offset)
		return;
	k->offset = offset;
	c->changed = true;
}

uint64_t
cursors_hold(const struct cursors *c)
{
	uint64_t least = UINT64_MAX;

	for (size_t i = 0; i < c->count; i++)
		if (c->all[i].mandatory && c->all[i].offset < least)
			least = c->all[i].offset;
	return least;
}

static bool
write_text(const char *path, const char *text, size_t len)
{
	int fd = file_open(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC), error;

	if (fd < 0)
		return false;
	error = file_write(fd, bytes_of(text, len), 0);
	close(fd);
	errno = error;
	return error == 0;
}

void
cursors_save(struct cursors *c)
{
	char text[CURSORS_MAX * (GROUP_NAME_MAX + 24)];
	size_t len = 0;
	char *tmp;

	if (!c->changed)
		return;
	for (size_t i = 0; i < c->count; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s %" PRIu64 "\n",
		    c->all[i].group, c->all[i].offset);
	tmp = xasprintf("%s.tmp", c->path);
	if (write_text(tmp, text, len) && rename(tmp, c->path) == 0)
		c->changed = c->failed = false;
	else if (!c->failed)
		log_warn(
		    "storage.cursors_not_saved", LS("file", c->path), LS("error", strerror(errno)));
	if (c->changed)
		c->failed = true;
	free(tmp);
}
