/* private_redis.c - the private redis-server: its configuration, and whether it answers */
#include "private_redis.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "data_dir.h"
#include "err.h"

void
redis_config(struct buf *out)
{
	buf_add_str(out,
	    "# Written at each start of Roost; changes made here are lost. Another Redis: set "
	    "redis.url.\n"
	    "port 0\n"
	    "unixsocket ../run/redis.sock\n"
	    "unixsocketperm 700\n"
	    "protected-mode yes\n"
	    "dir .\n"
	    "appendonly yes\n"
	    "appendfsync everysec\n"
	    "aof-load-truncated yes\n"
	    "save \"\"\n"
	    "daemonize no\n"
	    "supervised no\n"
	    "databases 1\n"
	    /* A queue of one MQTT message would take 4 KiB. */
	    "stream-node-max-bytes 512\n"
	    "logfile \"\"\n"
	    "loglevel warning\n"
	    "shutdown-timeout 2\n");
}

const char redis_repair_script[] =
    "d=appendonlydir; m=$d/appendonly.aof.manifest\n"
    "if [ -e $m ] && ! echo y | redis-check-aof --fix $m; then\n"
    "	echo \"redis.damaged: its file cannot be mended and is put aside\" >&2\n"
    "	mv $d $d.damaged-$(date +%s)\n"
    "fi\n"
    "exec \"$1\" " REDIS_CONFIG "\n";

int
redis_prepare(const char *data_dir, struct buf *err)
{
	char path[160];
	struct buf text = { .max = 0 };
	int rc = 0;

	snprintf(path, sizeof(path), "%s/redis", data_dir);
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		rc = ERR_IO;
	redis_config(&text);
	if (rc == 0)
		rc = data_dir_write(path, REDIS_CONFIG, buf_bytes(&text));
	if (rc != 0)
		buf_addf(err, "%s: %s", path, strerror(errno));
	buf_fini(&text);
	return rc;
}

static void try_again(void *arg);

static void
hang_up(struct redis_probe *p)
{
	loop_fd_del(p->loop, &p->watch);
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
}

static void
later(struct redis_probe *p)
{
	hang_up(p);
	loop_timer_set(p->loop, &p->timer, REDIS_PROBE_US, try_again, p);
}

static void
on_readable(void *arg, int fd, uint32_t events)
{
	struct redis_probe *p = arg;
	ssize_t n = recv(
	    fd, p->answer + p->answer_len, sizeof(p->answer) - 1 - p->answer_len, MSG_DONTWAIT);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		later(p);
		return;
	}
	p->answer_len += (size_t)n;
	p->answer[p->answer_len] = '\0';
	if (!strchr(p->answer, '\n') && p->answer_len < sizeof(p->answer) - 1)
		return;
	if (strncmp(p->answer, "+PONG", 5) == 0) {
		redis_probe_stop(p);
		p->on_answer(p->arg, true);
		return;
	}
	later(p);
	if (strncmp(p->answer, "-LOADING", 8) == 0)
		p->on_answer(p->arg, false);
}

static void
try_again(void *arg)
{
	struct redis_probe *p = arg;
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	hang_up(p);
	memcpy(sun.sun_path, p->path,
	    strlen(p->path) < sizeof(sun.sun_path) ? strlen(p->path) : sizeof(sun.sun_path) - 1);
	p->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	p->answer_len = 0;
	if (p->fd < 0 || connect(p->fd, (struct sockaddr *)&sun, sizeof(sun)) != 0 ||
	    send(p->fd, "PING\r\n", 6, MSG_NOSIGNAL) != 6) {
		later(p);
		return;
	}
	p->watch = loop_fd_add(p->loop, p->fd, EPOLLIN, on_readable, p);
	/* It may accept and then not answer: ask anew after a second. */
	loop_timer_set(p->loop, &p->timer, 1000000, try_again, p);
}

void
redis_probe_start(struct redis_probe *p, struct loop *loop, const char *data_dir,
    void (*on_answer)(void *arg, bool ready), void *arg)
{
	redis_probe_stop(p);
	*p = (struct redis_probe){ .loop = loop, .fd = -1, .on_answer = on_answer, .arg = arg };
	snprintf(p->path, sizeof(p->path), "%s/run/redis.sock", data_dir);
	try_again(p);
}

void
redis_probe_stop(struct redis_probe *p)
{
	if (!p->loop)
		return;
	loop_timer_clear(p->loop, &p->timer);
	hang_up(p);
}
