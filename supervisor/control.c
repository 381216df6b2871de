/* control.c - the command line's door: a unix socket, one JSON object a line in, one a line out */
#include "control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "err.h"
#include "log.h"
#include "mem.h"

struct client {
	struct control *control;
	int fd; /* -1: free slot */
	struct loop_fd *watch;
	struct loop_timer idle;
	struct buf in;
	struct buf out;
};

struct control {
	struct loop *loop;
	int fd;
	struct loop_fd *watch;
	control_fn fn;
	void *arg;
	char path[112];
	struct client clients[CONTROL_CLIENTS_MAX];
};

static void
client_close(struct client *cl)
{
	if (cl->fd < 0)
		return;
	loop_timer_clear(cl->control->loop, &cl->idle);
	loop_fd_del(cl->control->loop, &cl->watch);
	close(cl->fd);
	cl->fd = -1;
	buf_fini(&cl->in);
	buf_fini(&cl->out);
}

static void
on_idle(void *arg)
{
	client_close(arg);
}

static void
client_flush(struct client *cl)
{
	while (cl->out.len > 0) {
		ssize_t n = send(cl->fd, cl->out.data, cl->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n < 0) {
			client_close(cl);
			return;
		}
		buf_consume(&cl->out, (size_t)n);
	}
	loop_fd_mod(cl->control->loop, cl->watch, cl->out.len > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static json_t *
answer(struct control *control, const char *line, size_t len)
{
	json_error_t error;
	json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
	const char *command = json_string_value(json_object_get(request, "command"));
	json_t *out = NULL;

	if (command)
		out = control->fn(control->arg, command);
	if (!out)
		out = json_pack("{s:b, s:s}", "ok", 0, "error",
		    command ? "no such command" : "expected one JSON object with \"command\"");
	json_decref(request);
	return out;
}

static void
client_lines(struct client *cl)
{
	uint8_t *end;

	while (cl->fd >= 0 && (end = memchr(cl->in.data, '\n', cl->in.len))) {
		size_t len = (size_t)(end - cl->in.data);
		json_t *out = answer(cl->control, (const char *)cl->in.data, len);
		char *text = json_dumps(out, JSON_COMPACT);

		json_decref(out);
		buf_consume(&cl->in, len + 1);
		if (text) {
			buf_add_str(&cl->out, text);
			buf_add_u8(&cl->out, '\n');
		}
		free(text);
		if (!text || cl->out.failed)
			client_close(cl);
		else
			client_flush(cl);
	}
}

static void
on_client(void *arg, int fd, uint32_t events)
{
	struct client *cl = arg;
	uint8_t *at;
	ssize_t n;

	if (events & EPOLLOUT)
		client_flush(cl);
	if (cl->fd != fd || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	at = buf_reserve(&cl->in, CONTROL_LINE_MAX - cl->in.len);
	n = at && cl->in.len < CONTROL_LINE_MAX
		? recv(fd, at, CONTROL_LINE_MAX - cl->in.len, MSG_DONTWAIT)
		: 0;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_close(cl);
		return;
	}
	cl->in.len += (size_t)n;
	loop_timer_set(cl->control->loop, &cl->idle, CONTROL_IDLE_US, on_idle, cl);
	if (cl->in.len > 0)
		client_lines(cl);
}

static bool
peer_allowed(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

static void
on_accept(void *arg, int fd, uint32_t events)
{
	struct control *control = arg;
	struct client *cl = NULL;
	int one = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (one < 0)
		return;
	for (size_t i = 0; !cl && i < CONTROL_CLIENTS_MAX; i++)
		if (control->clients[i].fd < 0)
			cl = &control->clients[i];
	if (!cl || !peer_allowed(one)) {
		log_warn("control.refused", LS("why", cl ? "another user" : "too many clients"));
		close(one);
		return;
	}
	*cl = (struct client){ .control = control, .fd = one };
	buf_init(&cl->in, CONTROL_LINE_MAX);
	buf_init(&cl->out, CONTROL_REPLY_MAX);
	cl->watch = loop_fd_add(control->loop, one, EPOLLIN, on_client, cl);
	loop_timer_set(control->loop, &cl->idle, CONTROL_IDLE_US, on_idle, cl);
}

static int
sun_of(const char *path, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(ret->sun_path))
		return ERR_TOO_BIG;
	memcpy(ret->sun_path, path, strlen(path));
	return 0;
}

int
control_open(struct loop *loop, const char *path, control_fn fn, void *arg, struct control **ret,
    struct buf *err)
{
	struct control *control = xcalloc(1, sizeof(*control));
	struct sockaddr_un sun;

	control->loop = loop;
	control->fn = fn;
	control->arg = arg;
	snprintf(control->path, sizeof(control->path), "%s", path);
	for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
		control->clients[i].fd = -1;
	control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	(void)unlink(path);
	if (control->fd < 0 || sun_of(path, &sun) != 0 ||
	    bind(control->fd, (struct sockaddr *)&sun, sizeof(sun)) != 0 ||
	    chmod(path, 0600) != 0 || listen(control->fd, CONTROL_CLIENTS_MAX) != 0) {
		buf_addf(err, "%s: %s", path, strerror(errno));
		control_close(&control);
		return ERR_IO;
	}
	control->watch = loop_fd_add(loop, control->fd, EPOLLIN, on_accept, control);
	*ret = control;
	return 0;
}

void
control_close(struct control **p_control)
{
	struct control *control = *p_control;

	if (!control)
		return;
	*p_control = NULL;
	/* The name goes first: whoever finds it missing knows, and nobody waits on a dying socket. */
	if (control->watch)
		(void)unlink(control->path);
	loop_fd_del(control->loop, &control->watch);
	for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
		client_close(&control->clients[i]);
	if (control->fd >= 0)
		close(control->fd);
	free(control);
}
