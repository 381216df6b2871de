/* watch.c - tells when a directory may have changed: inotify, and a slow poll for what inotify does not see */
#include "watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "log.h"
#include "mem.h"

struct watch {
	struct loop *loop;
	char *dir;
	int fd;
	int descriptor; /* of the directory; -1: it is not there (yet) */
	struct loop_fd *lfd;
	struct loop_timer settle;
	struct loop_timer poll;
	loop_fn fn;
	void *arg;
};

static void
add(struct watch *w)
{
	/* A directory that was replaced has another inode: adding is repeated with each poll. */
	if (w->fd >= 0)
		w->descriptor = inotify_add_watch(w->fd, w->dir,
		    IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE |
			IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF);
}

static void
on_settled(void *arg)
{
	struct watch *w = arg;

	w->fn(w->arg);
}

static void
on_poll(void *arg)
{
	struct watch *w = arg;

	loop_timer_set(w->loop, &w->poll, WATCH_POLL_US, on_poll, w);
	add(w);
	w->fn(w->arg);
}

static void
on_events(void *arg, int fd, uint32_t events)
{
	struct watch *w = arg;
	char dump[4096];

	(void)events;
	while (read(fd, dump, sizeof(dump)) > 0)
		continue;
	loop_timer_set(w->loop, &w->settle, WATCH_SETTLE_US, on_settled, w);
}

struct watch *
watch_new(struct loop *loop, const char *dir, loop_fn fn, void *arg)
{
	struct watch *w = xcalloc(1, sizeof(*w));

	w->loop = loop;
	w->dir = xstrdup(dir);
	w->fn = fn;
	w->arg = arg;
	w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (w->fd >= 0)
		w->lfd = loop_fd_add(loop, w->fd, EPOLLIN, on_events, w);
	else
		log_warn("rules.no_inotify", LS("why", strerror(errno)),
		    LS("now", "changes are seen by polling"));
	add(w);
	loop_timer_set(loop, &w->poll, WATCH_POLL_US, on_poll, w);
	return w;
}

void
watch_free(struct watch **watch)
{
	struct watch *w = *watch;

	*watch = NULL;
	if (w == NULL)
		return;
	loop_timer_clear(w->loop, &w->settle);
	loop_timer_clear(w->loop, &w->poll);
	if (w->lfd)
		loop_fd_del(w->loop, &w->lfd);
	if (w->fd >= 0)
		close(w->fd);
	free(w->dir);
	free(w);
}
