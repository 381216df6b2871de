/* room.c - a process whose files have no room on the disk */
#include "room.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "log.h"
#include "metrics.h"

#define PATH_LEN 512

bool
room_is_lacking(int os_error)
{
	return os_error == ENOSPC || os_error == EDQUOT;
}

void
room_lost(struct room *r, int64_t now_us)
{
	if (r->state == ROOM_THERE)
		r->since_us = now_us;
	if (r->state == ROOM_THERE || now_us >= r->say_us) {
		r->say_us = now_us + ROOM_SAY_US;
		log_error("room.none", LS("dir", r->dir), LI("ms", (now_us - r->since_us) / 1000),
		    LS("why", "the disk is full"),
		    LS("effect", "waits in the journal until there is room"));
	}
	r->state = ROOM_LACKING;
	r->next_us = now_us + ROOM_RETRY_US;
	metric_set(M_NO_ROOM, 1);
	metric_add(M_NO_ROOM_TRIES, 1);
}

/* A file system that cannot say is taken at its word when it is written to. */
static bool
probe(const char *dir)
{
	char path[PATH_LEN];
	bool lacking;
	int fd;

	snprintf(path, sizeof(path), "%s/room.probe", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return !room_is_lacking(errno);
	lacking = fallocate(fd, 0, 0, ROOM_PROBE) != 0 && room_is_lacking(errno);
	close(fd);
	(void)unlink(path);
	return !lacking;
}

bool
room_may_write(struct room *r, int64_t now_us)
{
	if (r->state != ROOM_LACKING)
		return true;
	if (now_us < r->next_us)
		return false;
	if (probe(r->dir))
		r->state = ROOM_TRYING;
	else
		room_lost(r, now_us);
	return r->state == ROOM_TRYING;
}

void
room_wrote(struct room *r, int64_t now_us)
{
	if (r->state == ROOM_THERE)
		return;
	r->state = ROOM_THERE;
	metric_set(M_NO_ROOM, 0);
	log_info("room.there", LS("dir", r->dir), LI("after_ms", (now_us - r->since_us) / 1000));
}
