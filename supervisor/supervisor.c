/* supervisor.c - `roost run`: starts the children in the order of the flow, keeps them alive, drains them */
#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "data_dir.h"
#include "err.h"
#include "exit_codes.h"
#include "held.h"
#include "log.h"
#include "mem.h"
#include "status.h"

#define DRAIN_LEAST_US 100000 /* a stage gets at least this of what is left */

/* --- start and drain order --- */

static void
on_change(void *arg)
{
	struct supervisor *sup = arg;

	loop_wake(sup->loop);
}

static void
on_stage_timer(void *arg)
{
	on_change(arg);
}

/* What it speaks, and how its address is written. */
static void
print_listener(const struct listener *l)
{
	static const struct {
		const char *kind, *name, *scheme;
	} spoken[] = {
		{ "mqtt", "MQTT", "" },
		{ "mqtts", "MQTT", "mqtts://" },
		{ "mqtt-ws", "MQTT", "ws://" },
		{ "mqtt-wss", "MQTT", "wss://" },
		{ "http", "HTTP", "http://" },
		{ "https", "HTTP", "https://" },
		{ "coap", "CoAP", "coap://" },
		{ "coaps", "CoAP", "coaps://" },
	};

	for (size_t i = 0; i < COUNT_OF(spoken); i++)
		if (strcmp(l->kind, spoken[i].kind) == 0)
			printf("  %-8s %s%s\n", spoken[i].name, spoken[i].scheme, l->address);
}

static void
print_banner(const struct supervisor *sup)
{
	char *real = realpath(sup->data_dir, NULL);
	const char *mqtt = "";

	printf("\nRoost is %s.\n", sup->phase == PHASE_RUNNING ? "up" : "starting");
	for (size_t i = 0; i < sup->listeners.count; i++) {
		const struct listener *l = &sup->listeners.list[i];
		bool plain = strcmp(l->kind, "mqtt") == 0;

		if (!listener_is_of(l, 0))
			continue;
		print_listener(l);
		if (plain && !*mqtt)
			mqtt = l->address;
	}
	printf("  data     %s\n", real ? real : sup->data_dir);
	free(real);
	if (*mqtt) {
		size_t host = (size_t)(strrchr(mqtt, ':') - mqtt);
		bool brackets = mqtt[0] == '[';

		printf("  publish  mosquitto_pub -h %.*s -p %s -t roost/gh-1/telemetry -q 1 -m "
		       "'{\"temperature\":41.5,\"humidity\":40}'\n",
		    (int)host - (brackets ? 2 : 0), mqtt + (brackets ? 1 : 0), mqtt + host + 1);
	}
	printf("  status   %s/roost status%s\n", sup->bin_dir, sup->hint);
	printf("  stop     Ctrl-C, or %s/roost stop%s\n\n", sup->bin_dir, sup->hint);
	fflush(stdout);
}

static bool
start_stage_settled(const struct supervisor *sup)
{
	for (size_t i = 0; i < sup->plan.count; i++)
		if (sup->plan.children[i].start_stage == sup->stage &&
		    !child_settled(&sup->children[i]))
			return false;
	return true;
}

static void
begin_start_stage(struct supervisor *sup)
{
	sup->stage_us = loop_now_us(sup->loop);
	loop_timer_set(sup->loop, &sup->stage_timer, SUPERVISOR_STAGE_US, on_stage_timer, sup);
	for (size_t i = 0; i < sup->plan.count; i++)
		if (sup->plan.children[i].start_stage == sup->stage)
			child_start(&sup->children[i]);
}

static void
advance_start(struct supervisor *sup)
{
	while (start_stage_settled(sup) ||
	       loop_now_us(sup->loop) - sup->stage_us >= SUPERVISOR_STAGE_US) {
		if (++sup->stage < PLAN_STAGES) {
			begin_start_stage(sup);
			continue;
		}
		loop_timer_clear(sup->loop, &sup->stage_timer);
		sup->phase = PHASE_RUNNING;
		log_info("roost.running", LU("processes", sup->plan.count),
		    LI("ms", (loop_now_us(sup->loop) - sup->started_us) / 1000));
		print_banner(sup);
		return;
	}
}

/* Half of what is left for each stage, all of it for the last: a stage that hangs leaves time to those after it. */
static void
begin_drain_stage(struct supervisor *sup)
{
	int64_t now = loop_now_us(sup->loop), left = sup->stop_us - now;

	if (sup->stage < PLAN_STAGES - 1)
		left /= 2;
	if (left < DRAIN_LEAST_US)
		left = DRAIN_LEAST_US;
	for (size_t i = 0; i < sup->plan.count; i++)
		if (sup->plan.children[i].drain_stage == sup->stage)
			child_stop(&sup->children[i], now + left);
}

static bool
drain_stage_over(const struct supervisor *sup)
{
	for (size_t i = 0; i < sup->plan.count; i++)
		if (sup->plan.children[i].drain_stage == sup->stage &&
		    sup->children[i].state != CHILD_DOWN)
			return false;
	return true;
}

static void
advance_drain(struct supervisor *sup)
{
	while (drain_stage_over(sup)) {
		if (++sup->stage < PLAN_STAGES) {
			begin_drain_stage(sup);
			continue;
		}
		loop_stop(sup->loop);
		return;
	}
}

static void
begin_drain(struct supervisor *sup)
{
	log_info("roost.drain", LI("ms", settings_ms(sup->settings, SET_SUPERVISOR_STOP_TIMEOUT)));
	loop_timer_clear(sup->loop, &sup->stage_timer);
	sup->phase = PHASE_DRAINING;
	sup->stage = 0;
	sup->stop_us =
	    loop_now_us(sup->loop) + settings_ms(sup->settings, SET_SUPERVISOR_STOP_TIMEOUT) * 1000;
	begin_drain_stage(sup);
}

static void
on_turn(void *arg)
{
	struct supervisor *sup = arg;

	if (sup->stop_wanted && sup->phase != PHASE_DRAINING)
		begin_drain(sup);
	if (sup->kill_wanted) {
		sup->kill_wanted = false;
		for (size_t i = 0; i < sup->plan.count; i++)
			child_kill(&sup->children[i]);
	}
	if (sup->phase == PHASE_STARTING)
		advance_start(sup);
	else if (sup->phase == PHASE_DRAINING)
		advance_drain(sup);
}

/* --- signals --- */

/* Children are reaped by their pidfd; here, whatever else has become ours: PID 1's orphans, grandchildren. */
static void
reap(struct supervisor *sup)
{
	siginfo_t info;

	for (;;) {
		struct child *ours = NULL;

		info.si_pid = 0;
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
			return;
		for (size_t i = 0; !ours && i < sup->plan.count; i++)
			if (sup->children[i].pid == info.si_pid)
				ours = &sup->children[i];
		if (ours) {
			child_reap(ours);
			continue;
		}
		(void)waitpid(info.si_pid, NULL, 0);
		sup->reaped++;
		log_debug("orphan.reaped", LI("pid", info.si_pid));
	}
}

/* Whoever waits for another configuration tries again; the others look at the files that they have read. */
static void
reload_all(struct supervisor *sup)
{
	for (size_t i = 0; i < sup->plan.count; i++) {
		child_retry(&sup->children[i]);
		child_reload(&sup->children[i]);
	}
}

static void
on_signal(void *arg, int fd, uint32_t events)
{
	struct supervisor *sup = arg;
	struct signalfd_siginfo info;
	char text[24];

	(void)events;
	if (read(fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	if (info.ssi_signo == SIGCHLD) {
		reap(sup);
		return;
	}
	log_info("roost.signal", LS("signal", signal_text((int)info.ssi_signo, text)));
	if (info.ssi_signo == SIGHUP) {
		/* A terminal that closes sends it too, maybe while everything ends. */
		if (!sup->stop_wanted)
			reload_all(sup);
		return;
	}
	sup->kill_wanted = sup->stop_wanted;
	sup->stop_wanted = true;
}

static int
open_signals(struct supervisor *sup)
{
	static const int wanted[] = { SIGINT, SIGTERM, SIGHUP, SIGCHLD };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < COUNT_OF(wanted); i++)
		sigaddset(&set, wanted[i]);
	signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
		return ERR_IO;
	sup->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (sup->signal_fd < 0)
		return ERR_IO;
	sup->signal_watch = loop_fd_add(sup->loop, sup->signal_fd, EPOLLIN, on_signal, sup);
	return 0;
}

/* --- what children and the command line ask --- */

static void
on_lag(void *arg, const struct msg_lag *msg)
{
	struct supervisor *sup = arg;
	struct supervisor_lag *lag = NULL;
	char group[sizeof(lag->group)];

	snprintf(group, sizeof(group), "%.*s", (int)msg->group.len, (const char *)msg->group.data);
	for (size_t i = 0; !lag && i < sup->lag_count; i++)
		if (sup->lags[i].shard == msg->shard && strcmp(sup->lags[i].group, group) == 0)
			lag = &sup->lags[i];
	if (!lag && sup->lag_count == SUPERVISOR_LAGS_MAX) {
		sup->lags_dropped++;
		return;
	}
	if (!lag)
		lag = &sup->lags[sup->lag_count++];
	*lag = (struct supervisor_lag){ .shard = msg->shard,
		.bytes = msg->bytes,
		.ms = msg->ms,
		.members = msg->members,
		.stands_back = msg->stands_back,
		.at_us = loop_now_us(sup->loop) };
	memcpy(lag->group, group, sizeof(group));
}

static json_t *
metrics_answer(const struct supervisor *sup)
{
	struct buf text = { .max = CONTROL_REPLY_MAX / 2 };
	json_t *out;

	status_metrics(sup, &text);
	out = json_pack("{s:b, s:s}", "ok", 1, "text", buf_str(&text));
	buf_fini(&text);
	return out;
}

static json_t *
on_command(void *arg, const char *command)
{
	struct supervisor *sup = arg;

	if (strcmp(command, "status") == 0)
		return status_json(sup);
	if (strcmp(command, "metrics") == 0)
		return metrics_answer(sup);
	if (strcmp(command, "stop") == 0) {
		log_info("roost.stop", LS("by", "command"));
		sup->stop_wanted = true;
		loop_wake(sup->loop);
		return json_pack("{s:b}", "ok", 1);
	}
	return NULL;
}

/* Looks once a second while a child is held, and remembers what it saw last while none is. */
static void
on_config_timer(void *arg)
{
	struct supervisor *sup = arg;
	uint64_t now = held_fingerprint(sup->settings);

	loop_timer_set(sup->loop, &sup->config_timer, HELD_LOOK_US, on_config_timer, sup);
	if (now == sup->config_seen || sup->phase == PHASE_DRAINING)
		return;
	sup->config_seen = now;
	for (size_t i = 0; i < sup->plan.count; i++) {
		if (sup->children[i].held) {
			log_info("child.retry", LS("name", sup->plan.children[i].name),
			    LS("why", "a file that settings name has changed"));
			child_retry(&sup->children[i]);
		}
	}
}

/* --- setting up --- */

static int
open_data_dir(struct supervisor *sup, struct buf *err)
{
	int rc;

	snprintf(
	    sup->data_dir, sizeof(sup->data_dir), "%s", settings_str(sup->settings, SET_DATA_DIR));
	if ((rc = data_dir_open(sup->data_dir, sup->hint, &sup->lock_fd, err)) != 0 ||
	    (rc = data_dir_check_format(sup->data_dir, sup->settings, err)) != 0)
		return rc;
	return lives_open(&sup->lives, sup->data_dir, err);
}

/* Where this program is, there are the others. */
static int
find_bin_dir(struct supervisor *sup, struct buf *err)
{
	ssize_t n = readlink("/proc/self/exe", sup->bin_dir, sizeof(sup->bin_dir) - 1);
	char *slash;

	if (n <= 0 || !(slash = strrchr(sup->bin_dir, '/'))) {
		buf_addf(err, "/proc/self/exe: %s", n < 0 ? strerror(errno) : "no path");
		return ERR_IO;
	}
	*slash = '\0';
	return 0;
}

/* Workers read their settings here, and nobody can change them afterwards. */
static int
seal_settings(struct supervisor *sup, struct buf *err)
{
	struct buf text = { .max = 0 };
	int fd = memfd_create("settings", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	bool ok;

	settings_write(sup->settings, &text);
	ok = fd >= 0 && write(fd, text.data, text.len) == (ssize_t)text.len &&
	     fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0;
	buf_fini(&text);
	sup->env.settings_fd = fd;
	if (!ok)
		buf_addf(err, "memfd: %s", strerror(errno));
	return ok ? 0 : ERR_IO;
}

/* Settings reach workers by the memfd alone, and an outer service manager is none of their business. */
static bool
keep_env(const char *entry)
{
	static const char *const dropped[] = { "NOTIFY_SOCKET=", "LISTEN_", "WATCHDOG_" };

	if (strncmp(entry, "ROOST_", 6) == 0)
		return strncmp(entry, "ROOST_TEST_", 11) == 0;
	for (size_t i = 0; i < COUNT_OF(dropped); i++)
		if (strncmp(entry, dropped[i], strlen(dropped[i])) == 0)
			return false;
	return true;
}

static char **
make_base_env(void)
{
	size_t n = 0, kept = 0;
	char **env;

	while (environ[n])
		n++;
	env = xcalloc(n + 1, sizeof(*env));
	for (size_t i = 0; i < n; i++)
		if (keep_env(environ[i]))
			env[kept++] = environ[i];
	return env;
}

static int
prepare(struct supervisor *sup, struct buf *err)
{
	char path[128];
	int rc;

	if ((rc = open_data_dir(sup, err)) != 0 || (rc = find_bin_dir(sup, err)) != 0 ||
	    (rc = listeners_open(&sup->listeners, sup->settings, err)) != 0 ||
	    (rc = seal_settings(sup, err)) != 0)
		return rc;
	if (*settings_str(sup->settings, SET_REDIS_URL) == '\0' &&
	    (rc = redis_prepare(sup->data_dir, err)) != 0)
		return rc;
	snprintf(path, sizeof(path), "%s/run/control.sock", sup->data_dir);
	if ((rc = control_open(sup->loop, path, on_command, sup, &sup->control, err)) != 0)
		return rc;
	if ((rc = open_signals(sup)) != 0)
		buf_addf(err, "signals: %s", strerror(errno));
	return rc;
}

/* 0, 1 and 2 are never to be given to a socket. */
static int
open_std_fds(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	while (fd >= 0 && fd <= 2)
		fd = open("/dev/null", O_RDWR | (fd == 2 ? O_CLOEXEC : 0));
	return fd;
}

static void
run_children(struct supervisor *sup)
{
	sup->children = xcalloc(sup->plan.count, sizeof(*sup->children));
	for (size_t i = 0; i < sup->plan.count; i++)
		child_init(&sup->children[i], &sup->plan.children[i], &sup->env);
	sup->config_seen = held_fingerprint(sup->settings);
	loop_timer_set(sup->loop, &sup->config_timer, HELD_LOOK_US, on_config_timer, sup);
	loop_on_turn(sup->loop, on_turn, sup);
	begin_start_stage(sup);
	loop_wake(sup->loop);
	loop_run(sup->loop);
	log_info(
	    "roost.stopped", LI("uptime_ms", (loop_now_us(sup->loop) - sup->started_us) / 1000));
	for (size_t i = 0; i < sup->plan.count; i++)
		child_fini(&sup->children[i]);
	loop_timer_clear(sup->loop, &sup->config_timer);
	free(sup->children);
}

static void
fini(struct supervisor *sup)
{
	control_close(&sup->control);
	if (sup->loop)
		loop_fd_del(sup->loop, &sup->signal_watch);
	listeners_close(&sup->listeners);
	loop_free(&sup->loop);
	free(sup->env.base_env);
	/* lock_fd, signal_fd, settings_fd and null_fd end with the process, the lock last of all. */
}

int
supervisor_run(const struct settings *settings, const char *hint)
{
	/* Large, and once: the plan and the table of lags are in it. */
	static struct supervisor sup;
	struct buf err = { .max = 0 };
	int rc;

	umask(077);
	sup.settings = settings;
	sup.hint = hint;
	sup.env.null_fd = open_std_fds();
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);
	sup.loop = loop_new();
	sup.started_us = loop_now_us(sup.loop);
	rc = prepare(&sup, &err);
	if (rc != 0) {
		log_error("roost.start", LS("fault", buf_str(&err)));
	} else {
		plan_make(&sup.plan, settings);
		sup.env.loop = sup.loop;
		sup.env.settings = settings;
		sup.env.listeners = &sup.listeners;
		sup.env.lives = &sup.lives;
		sup.env.data_dir = sup.data_dir;
		sup.env.bin_dir = sup.bin_dir;
		sup.env.base_env = make_base_env();
		sup.env.on_change = on_change;
		sup.env.on_lag = on_lag;
		sup.env.arg = &sup;
		log_info("roost.start", LI("pid", getpid()), LS("data_dir", sup.data_dir));
		run_children(&sup);
	}
	fini(&sup);
	buf_fini(&err);
	return rc == 0 ? 0 : rc == ERR_CONFIG || rc == ERR_DAMAGED ? EXIT_CONFIG : EXIT_DEPENDENCY;
}
