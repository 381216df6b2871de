/* child.c - one supervised child: its process, its control channel, its deadlines */
#include "child.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "err.h"
#include "log.h"
#include "mem.h"
#include "spawn.h"

#define CHILD_ENV_MAX 8 /* names added to base_env */

static void raise_event(struct child *c, enum child_event event, const char *why);

#define STOOD_STILL_US 1000000 /* no timer is so late while the supervisor runs */

/* --- deadlines: one lazy timer; a heartbeat only moves deadline_us --- */

static void on_timer(void *arg);
static void read_control(struct child *c, uint32_t events);

static void
set_deadline(struct child *c, int64_t at_us)
{
	struct loop *loop = c->env->loop;
	int64_t now = loop_now_us(loop);

	c->deadline_us = at_us;
	if (c->timer.slot == 0 || c->timer.at_us > at_us)
		loop_timer_set(loop, &c->timer, at_us > now ? at_us - now : 0, on_timer, c);
}

static void
clear_deadline(struct child *c)
{
	loop_timer_clear(c->env->loop, &c->timer);
}

static int64_t
from_now(const struct child *c, int64_t us)
{
	return loop_now_us(c->env->loop) + us;
}

static int64_t
setting_us(const struct child *c, enum setting_id id)
{
	return settings_ms(c->env->settings, id) * 1000;
}

static void
on_timer(void *arg)
{
	struct child *c = arg;

	/* If it was us who stood still, its heartbeats lie in the channel: look before condemning it. */
	if (c->control_watch)
		read_control(c, 0);
	if (loop_now_us(c->env->loop) < c->deadline_us)
		set_deadline(c, c->deadline_us);
	else if (c->state == CHILD_UP && !c->escalated &&
		 loop_now_us(c->env->loop) - c->deadline_us > STOOD_STILL_US)
		/* We are late ourselves: maybe the machine stood still, and it has not had its turn yet. */
		set_deadline(c, from_now(c, setting_us(c, SET_SUPERVISOR_WATCHDOG)));
	else
		raise_event(c, c->escalated ? CHILD_EV_STILL_THERE : CHILD_EV_OVERDUE,
		    c->state == CHILD_BACKOFF ? "the wait is over" : NULL);
}

/* --- the process --- */

static void
send_signal(struct child *c, int sig)
{
	if (c->pid && syscall(SYS_pidfd_send_signal, c->pidfd, sig, NULL, 0) != 0 && errno != ESRCH)
		log_error("child.signal", LS("name", c->plan->name), LI("signal", sig),
		    LS("fault", strerror(errno)));
}

static void
close_control(struct child *c)
{
	loop_fd_del(c->env->loop, &c->control_watch);
	if (c->control_fd >= 0)
		close(c->control_fd);
	c->control_fd = -1;
}

static void
send_drain(struct child *c)
{
	int64_t left = c->drain_deadline_us - loop_now_us(c->env->loop);
	struct msg_drain msg = { .ms = left > 0 ? (uint64_t)left / 1000 : 0 };
	struct buf out = { .max = 0 };

	if (c->plan->kind == PLAN_REDIS || c->control_fd < 0) {
		send_signal(c, SIGTERM);
		return;
	}
	codec_encode(MSG_DRAIN, &msg, &out);
	/* A full channel means a worker that does not read: SIGTERM says the same. */
	if (send(c->control_fd, out.data, out.len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		send_signal(c, SIGTERM);
	buf_fini(&out);
}

static void
note_metrics(struct child *c, struct bytes list)
{
	int64_t now = loop_now_us(c->env->loop);
	uint64_t readings;

	memset(c->metrics, 0, sizeof(c->metrics));
	for (size_t i = 0; i + 1 < u64s_count(list); i += 2)
		if (u64s_at(list, i) < METRIC_COUNT)
			c->metrics[u64s_at(list, i)] = u64s_at(list, i + 1);
	readings = c->metrics[M_READINGS];
	if (now - c->rate_us < CHILD_RATE_US)
		return;
	if (c->rate_us != 0 && readings >= c->rate_readings)
		c->readings_per_s =
		    (double)(readings - c->rate_readings) * 1e6 / (double)(now - c->rate_us);
	c->rate_us = now;
	c->rate_readings = readings;
}

void
child_on_packet(struct child *c, struct bytes packet)
{
	enum msg_type type;
	union msg_any msg;
	int rc = codec_decode(packet, &type, &msg);

	if (rc == 0 && type == MSG_HEARTBEAT)
		note_metrics(c, msg.heartbeat.metrics);
	if (rc == 0 && type == MSG_LAG)
		c->env->on_lag(c->env->arg, &msg.lag);
	/* Condemned: a last word changes nothing. */
	if (rc == 0 && c->escalated)
		return;
	if (rc == 0 && type == MSG_READY)
		raise_event(c, CHILD_EV_READY, NULL);
	else if (rc == 0 && type == MSG_HEARTBEAT)
		raise_event(c, CHILD_EV_HEARTBEAT, NULL);
	else if (rc == 0 && type == MSG_BUSY) {
		int64_t until = from_now(
		    c, (int64_t)msg.busy.ms * 1000 + setting_us(c, SET_SUPERVISOR_WATCHDOG));

		if (until > c->deadline_us)
			c->deadline_us = until;
		raise_event(c, CHILD_EV_BUSY, NULL);
	} else if (rc != 0 || type != MSG_LAG)
		log_warn("child.reject", LS("name", c->plan->name), LU("bytes", packet.len),
		    LS("fault", rc ? err_name(rc) : "unexpected message"));
}

/* All that lies in the channel, but not for ever: whoever sends without end takes one turn of the loop after another, and
 * the other children have theirs in between. */
static void
read_control(struct child *c, uint32_t events)
{
	static uint8_t packet[CHILD_PACKET_MAX];
	int fd = c->control_fd, left = CHILD_PACKETS_A_TURN;
	ssize_t n = 0;

	while (left-- > 0 && (n = recv(fd, packet, sizeof(packet), MSG_DONTWAIT)) > 0) {
		child_on_packet(c, bytes_of(packet, (size_t)n));
		if (c->control_fd != fd)
			return;
	}
	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return;
	/* An empty packet looks like the end; only EPOLLHUP is one. Who closed its end and lives on has the watchdog. */
	if (n == 0 && !(events & EPOLLHUP))
		return;
	loop_fd_del(c->env->loop, &c->control_watch);
}

static void
on_control(void *arg, int fd, uint32_t events)
{
	(void)fd;
	read_control(arg, events);
}

static void
on_pidfd(void *arg, int fd, uint32_t events)
{
	(void)fd;
	(void)events;
	child_reap(arg);
}

static void
on_redis_answer(void *arg, bool ready)
{
	struct child *c = arg;

	if (ready)
		raise_event(c, CHILD_EV_READY, NULL);
	else {
		/* It reads its file, which takes as long as it takes. */
		c->deadline_us = from_now(c, setting_us(c, SET_SUPERVISOR_START_TIMEOUT));
		raise_event(c, CHILD_EV_BUSY, NULL);
	}
}

/* base_env and the names that make a worker; strings from xasprintf are freed by free_env(). */
static char **
make_env(const struct child *c, int control_fd, size_t *ret_own)
{
	size_t n = 0;
	char **env;
	struct buf listen = { .max = 0 };

	while (c->env->base_env[n])
		n++;
	env = xcalloc(n + CHILD_ENV_MAX, sizeof(*env));
	memcpy(env, c->env->base_env, n * sizeof(*env));
	*ret_own = n;
	if (c->plan->kind == PLAN_WORKER) {
		env[n++] = xasprintf("ROOST_NAME=%s", c->plan->name);
		env[n++] = xasprintf("ROOST_LIFE=%" PRIu64, c->life);
		env[n++] = xasprintf("ROOST_CONTROL_FD=%d", control_fd);
		env[n++] = xasprintf("ROOST_SETTINGS_FD=%d", c->env->settings_fd);
		/* Maybe it did not hang, but found no time to run. */
		env[n++] = xasprintf("ROOST_STARVED=%d", c->last_death.cause != NULL);
	}
	if (c->plan->listens) {
		listeners_text(c->env->listeners, c->plan->index, &listen);
		env[n++] = xasprintf("ROOST_LISTEN=%s", buf_str(&listen));
	}
	buf_fini(&listen);
	return env;
}

static void
free_env(char **env, size_t own)
{
	for (; env[own]; own++)
		free(env[own]);
	free(env);
}

static int
spawn_worker(struct child *c, int control_fd, struct spawned *ret)
{
	char *path = xasprintf("%s/%s", c->env->bin_dir, c->plan->program);
	char *argv[] = { path, NULL };
	int fds[LISTENERS_MAX + 2] = { control_fd, c->env->settings_fd };
	size_t own;
	struct spawn_spec spec = { .path = path, .argv = argv, .fds = fds, .fd_count = 2 };
	char **env = make_env(c, control_fd, &own);
	int rc, saved;

	spec.envp = env;
	spec.null_fd = c->env->null_fd;
	for (size_t i = 0; c->plan->listens && i < c->env->listeners->count; i++)
		if (listener_is_of(&c->env->listeners->list[i], c->plan->index))
			fds[spec.fd_count++] = c->env->listeners->list[i].fd;
	rc = spawn(&spec, ret);
	saved = errno;
	free_env(env, own);
	free(path);
	errno = saved;
	return rc;
}

static int
spawn_redis(struct child *c, struct spawned *ret)
{
	char *dir, *path, *argv[] = { NULL, (char[]){ REDIS_CONFIG }, NULL };
	char *repair[] = { (char[]){ "/bin/sh" }, (char[]){ "-c" }, NULL, (char[]){ "redis" }, NULL,
		NULL };
	struct spawn_spec spec = { .argv = argv, .null_fd = c->env->null_fd };
	int rc, saved;

	if (spawn_find(c->plan->program, &path) != 0) {
		log_warn("redis.missing", LS("fault", "redis-server is not in PATH"),
		    LS("remedy", "install it, or set redis.url"));
		errno = ENOENT;
		return ERR_IO;
	}
	dir = xasprintf("%s/redis", c->env->data_dir);
	argv[0] = path;
	spec.path = path;
	spec.envp = c->env->base_env;
	spec.chdir = dir;
	if (c->backoff.failures > 0) {
		log_info("redis.check", LS("dir", dir),
		    LS("means", "it died before: its file is checked first, and cut where it is "
				"damaged"));
		repair[2] = xstrdup(redis_repair_script);
		repair[4] = path;
		spec.argv = repair;
		spec.path = repair[0];
	}
	rc = spawn(&spec, ret);
	saved = errno;
	free(repair[2]);
	free(dir);
	free(path);
	errno = saved;
	return rc;
}

/* A process with its channel, or errno. */
static int
start_process(struct child *c)
{
	int pair[2] = { -1, -1 }, saved, rc;
	struct spawned s;

	if (lives_next(c->env->lives, &c->life) != 0)
		return ERR_IO;
	if (c->plan->kind == PLAN_REDIS)
		rc = spawn_redis(c, &s);
	else {
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
			return ERR_IO;
		rc = spawn_worker(c, pair[1], &s);
	}
	saved = errno;
	if (pair[1] >= 0)
		close(pair[1]);
	if (rc != 0) {
		if (pair[0] >= 0)
			close(pair[0]);
		errno = saved;
		return rc;
	}
	c->pid = s.pid;
	c->pidfd = s.pidfd;
	c->control_fd = pair[0];
	c->pid_watch = loop_fd_add(c->env->loop, c->pidfd, EPOLLIN, on_pidfd, c);
	if (c->control_fd >= 0)
		c->control_watch = loop_fd_add(c->env->loop, c->control_fd, EPOLLIN, on_control, c);
	return 0;
}

static void
do_spawn(struct child *c)
{
	char text[DEATH_TEXT_MAX];

	c->held = c->escalated = false;
	c->cause = NULL;
	c->ready_us = -1;
	c->readings_per_s = 0;
	c->rate_us = 0;
	memset(c->metrics, 0, sizeof(c->metrics));
	if (start_process(c) != 0) {
		c->last_death = (struct death){ .at_wall_us = clock_wall_us(),
			.up_us = -1,
			.program = c->plan->program,
			.spawn_errno = errno ? errno : EIO };
		death_text(&c->last_death, text);
		log_warn("child.spawn", LS("name", c->plan->name), LS("fault", text));
		raise_event(c, CHILD_EV_SPAWN_FAILED, text);
		return;
	}
	c->spawned_us = loop_now_us(c->env->loop);
	c->starts++;
	if (c->plan->kind == PLAN_REDIS)
		redis_probe_start(&c->probe, c->env->loop, c->env->data_dir, on_redis_answer, c);
	set_deadline(c, from_now(c, setting_us(c, SET_SUPERVISOR_START_TIMEOUT)));
}

/* --- the table's actions --- */

static void
do_watch(struct child *c)
{
	if (c->ready_us < 0) {
		c->ready_us = loop_now_us(c->env->loop);
		log_debug("child.ready", LS("name", c->plan->name),
		    LI("us", c->ready_us - c->spawned_us));
	}
	if (c->plan->kind == PLAN_REDIS)
		clear_deadline(c); /* it has no heartbeat: only its exit is watched */
	else
		set_deadline(c, from_now(c, setting_us(c, SET_SUPERVISOR_WATCHDOG)));
}

static void
do_wait(struct child *c)
{
	int64_t wait = backoff_fail(&c->backoff);

	log_info("child.backoff", LS("name", c->plan->name), LI("ms", wait / 1000),
	    LU("failures", c->backoff.failures));
	set_deadline(c, from_now(c, wait));
}

static void
do_abort(struct child *c)
{
	c->cause = c->state == CHILD_STARTING ? "not READY in time" : "no heartbeat";
	log_warn(
	    "child.overdue", LS("name", c->plan->name), LS("cause", c->cause), LI("pid", c->pid));
	c->escalated = true;
	send_signal(c, SIGABRT);
	/* A stopped process takes no SIGABRT; continued, it takes it before anything else. */
	send_signal(c, SIGCONT);
	set_deadline(c, from_now(c, CHILD_KILL_US));
}

static void
do_kill(struct child *c)
{
	if (c->state == CHILD_DRAINING && !c->cause)
		c->cause = "did not stop in time";
	c->escalated = true;
	send_signal(c, SIGKILL);
	set_deadline(c, from_now(c, CHILD_KILL_US));
}

static void
do_hold(struct child *c)
{
	c->held = true;
	clear_deadline(c);
	log_error("child.held", LS("name", c->plan->name),
	    LS("why",
		"it says that its configuration is wrong (exit 78); its own lines above say what"),
	    LS("remedy", "mend it: a change in rules_dir or notify.file is noticed; for settings "
			 "restart Roost"));
}

static void
act(struct child *c, enum child_action action)
{
	switch (action) {
	case CHILD_ACT_NONE:
		break;
	case CHILD_ACT_SPAWN:
		do_spawn(c);
		break;
	case CHILD_ACT_WATCH:
		do_watch(c);
		break;
	case CHILD_ACT_EXTEND:
		set_deadline(c, c->deadline_us);
		break;
	case CHILD_ACT_WAIT:
		do_wait(c);
		break;
	case CHILD_ACT_HOLD:
		do_hold(c);
		break;
	case CHILD_ACT_DRAIN:
		c->escalated = false;
		send_drain(c);
		set_deadline(c, c->drain_deadline_us);
		break;
	case CHILD_ACT_ABORT:
		do_abort(c);
		break;
	case CHILD_ACT_KILL:
		do_kill(c);
		break;
	case CHILD_ACT_GONE:
		clear_deadline(c);
		break;
	case CHILD_ACTION_COUNT:
		break;
	}
}

static void
enter(struct child *c, enum child_state state, const char *why)
{
	log_info("child.state", LS("name", c->plan->name), LS("from", child_state_name(c->state)),
	    LS("to", child_state_name(state)), LS("why", why), LI("pid", c->pid));
	c->state = state;
	if (state != CHILD_STARTING)
		redis_probe_stop(&c->probe);
	c->env->on_change(c->env->arg);
}

/* why: NULL for the event's name */
static void
raise_event(struct child *c, enum child_event event, const char *why)
{
	struct child_step step = child_fsm_step(c->state, event);

	if (step.next != c->state)
		enter(c, step.next, why ? why : child_event_name(event));
	act(c, step.action);
}

/* --- death --- */

static void
note_death(struct child *c, const siginfo_t *info)
{
	struct death *d = &c->last_death;
	int64_t now = loop_now_us(c->env->loop);
	char text[DEATH_TEXT_MAX];

	*d = (struct death){ .at_wall_us = clock_wall_us(),
		.exit_code = info->si_code == CLD_EXITED ? info->si_status : -1,
		.signal = info->si_code == CLD_EXITED ? 0 : info->si_status,
		.core = info->si_code == CLD_DUMPED,
		.up_us = c->ready_us < 0 ? -1 : now - c->ready_us,
		.cause = c->cause };
	death_text(d, text);
	if (c->state == CHILD_DRAINING && d->exit_code == 0)
		log_info("child.stopped", LS("name", c->plan->name), LI("pid", c->pid));
	else
		log_warn(
		    "child.died", LS("name", c->plan->name), LI("pid", c->pid), LS("how", text));
}

static void
forget_process(struct child *c)
{
	close_control(c);
	loop_fd_del(c->env->loop, &c->pid_watch);
	if (c->pidfd >= 0)
		close(c->pidfd);
	c->pidfd = -1;
	c->pid = 0;
}

void
child_reap(struct child *c)
{
	siginfo_t info = { .si_pid = 0 };
	char text[DEATH_TEXT_MAX];

	if (!c->pid || waitid(P_PIDFD, (id_t)c->pidfd, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
	    info.si_pid == 0)
		return;
	/* Its number is ours until the next wait: what it left of its process group goes with it. */
	(void)kill(-c->pid, SIGKILL);
	(void)waitid(P_PIDFD, (id_t)c->pidfd, &info, WEXITED | WNOHANG);
	/* Its last words: READY may still lie in the channel. */
	if (c->control_watch)
		read_control(c, 0);
	note_death(c, &info);
	forget_process(c);
	if (c->last_death.up_us >= 0)
		backoff_was_up(&c->backoff, c->last_death.up_us);
	death_text(&c->last_death, text);
	raise_event(c, child_fsm_death(c->state, c->last_death.up_us, c->last_death.exit_code),
	    c->state == CHILD_DRAINING && c->last_death.exit_code == 0 ? "stopped" : text);
}

/* --- the outside --- */

void
child_init(struct child *c, const struct plan_child *plan, const struct child_env *env)
{
	*c = (struct child){
		.plan = plan, .env = env, .pidfd = -1, .control_fd = -1, .ready_us = -1
	};
	backoff_init(&c->backoff, (uint64_t)clock_wall_us() ^ (uint64_t)(uintptr_t)c);
}

void
child_fini(struct child *c)
{
	send_signal(c, SIGKILL);
	redis_probe_stop(&c->probe);
	clear_deadline(c);
	forget_process(c);
}

void
child_start(struct child *c)
{
	raise_event(c, CHILD_EV_START, NULL);
}

void
child_stop(struct child *c, int64_t deadline_us)
{
	c->drain_deadline_us = deadline_us;
	raise_event(c, CHILD_EV_STOP, NULL);
}

void
child_kill(struct child *c)
{
	if (c->pid && !c->cause)
		c->cause = "the operator would not wait";
	raise_event(c, CHILD_EV_KILL, NULL);
}

void
child_retry(struct child *c)
{
	if (c->held || c->state == CHILD_BACKOFF)
		raise_event(c, CHILD_EV_CONFIG, NULL);
}

void
child_reload(struct child *c)
{
	/* Earlier it may not listen to signals yet; then it reads its files anyway. */
	if (c->state == CHILD_UP && c->plan->kind != PLAN_REDIS)
		send_signal(c, SIGHUP);
}

bool
child_settled(const struct child *c)
{
	return c->state == CHILD_UP || c->state == CHILD_BACKOFF || c->held;
}
