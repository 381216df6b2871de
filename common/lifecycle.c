/* lifecycle.c - a worker's side of the control channel */
#include "lifecycle.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"

#define PACKET_MAX 4096

struct lifecycle {
	struct loop *loop;
	int fd;
	int signal_fd;
	struct loop_fd *control;
	struct loop_fd *signals;
	struct loop_timer heartbeat;
	loop_fn on_drain;
	loop_fn on_reload; /* may be NULL */
	void *arg;
	struct buf out;
};

static void
on_control(void *arg, int fd, uint32_t events)
{
	struct lifecycle *lc = arg;
	uint8_t packet[PACKET_MAX];
	enum msg_type type;
	union msg_any msg;
	ssize_t n = recv(fd, packet, sizeof packet, MSG_DONTWAIT);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		log_error("supervisor.gone", LS("action", "exit"));
		_exit(0);
	}
	if (codec_decode(bytes_of(packet, (size_t)n), &type, &msg) != 0 || type != MSG_DRAIN) {
		log_warn("control.reject", LI("bytes", n));
		return;
	}
	lc->on_drain(lc->arg);
}

static void
on_signal(void *arg, int fd, uint32_t events)
{
	struct lifecycle *lc = arg;
	struct signalfd_siginfo info;

	(void)events;
	if (read(fd, &info, sizeof info) != (ssize_t)sizeof info)
		return;
	if (info.ssi_signo != SIGHUP)
		lc->on_drain(lc->arg);
	else if (lc->on_reload)
		lc->on_reload(lc->arg);
}

static int
open_signals(void)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

struct lifecycle *
lifecycle_new(struct loop *loop, int fd, loop_fn on_drain, void *arg)
{
	struct lifecycle *lc = xcalloc(1, sizeof *lc);

	lc->loop = loop;
	lc->fd = fd;
	lc->on_drain = on_drain;
	lc->arg = arg;
	lc->signal_fd = open_signals();
	ASSERT(lc->signal_fd >= 0);
	lc->signals = loop_fd_add(loop, lc->signal_fd, EPOLLIN, on_signal, lc);
	if (fd >= 0)
		lc->control = loop_fd_add(loop, fd, EPOLLIN, on_control, lc);
	return lc;
}

void
lifecycle_on_reload(struct lifecycle *lc, loop_fn on_reload)
{
	lc->on_reload = on_reload;
}

void
lifecycle_free(struct lifecycle **p_lc)
{
	struct lifecycle *lc = *p_lc;

	if (!lc)
		return;
	*p_lc = NULL;
	loop_timer_clear(lc->loop, &lc->heartbeat);
	loop_fd_del(lc->loop, &lc->control);
	loop_fd_del(lc->loop, &lc->signals);
	close(lc->signal_fd);
	buf_fini(&lc->out);
	free(lc);
}

void
lifecycle_send(struct lifecycle *lc, enum msg_type type, const void *msg)
{
	if (lc->fd < 0)
		return;
	buf_clear(&lc->out);
	codec_encode(type, msg, &lc->out);
	/* A supervisor that is behind misses a heartbeat or two; its end is seen by reading. */
	if (send(lc->fd, lc->out.data, lc->out.len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
	    errno != EAGAIN && errno != EPIPE && errno != ECONNRESET)
		log_warn("control.send", LS("message", msg_name(type)), LI("errno", errno));
}

static void
beat(void *arg)
{
	struct lifecycle *lc = arg;
	struct msg_heartbeat msg = { 0 };
	struct buf metrics = { 0 };

	metrics_pack(&metrics);
	msg.metrics = buf_bytes(&metrics);
	lifecycle_send(lc, MSG_HEARTBEAT, &msg);
	buf_fini(&metrics);
	loop_timer_set(lc->loop, &lc->heartbeat, LIFECYCLE_HEARTBEAT_US, beat, lc);
}

void
lifecycle_ready(struct lifecycle *lc)
{
	struct msg_ready msg = { 0 };

	lifecycle_send(lc, MSG_READY, &msg);
	beat(lc);
}
