/* worker.c - the life of a worker, the same in every service */
#include "worker.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "err.h"
#include "lifecycle.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"

#define SETTINGS_MAX (1 << 20)
#define LISTENERS_MAX 64

/* A second with less work is quiet; after so many of them what a burst left behind is given back to the system. */
#define QUIET_US 1000000
#define QUIET_CPU_US 20000
#define QUIET_SECONDS 3

struct ticker {
	struct loop_timer timer;
	struct worker *w;
};

struct quiet {
	struct loop_timer timer;
	struct worker *w;
	int64_t cpu_us;
	unsigned seconds; /* of quiet after a burst, counted down; 0: there was none */
};

static void
dispatch(void *arg, struct bus_msg *m)
{
	struct worker *w = arg;

	if (w->follower && w->follower_on_msg(w->follower, m))
		return;
	if (w->spec->on[m->type])
		w->spec->on[m->type](w, m);
}

static void
link_changed(void *arg, struct bus_link *link, bool up)
{
	struct worker *w = arg;

	if (w->follower)
		w->follower_on_link(w->follower, link, up);
	if (w->spec->on_link)
		w->spec->on_link(w, link, up);
}

static void
on_turn(void *arg)
{
	struct worker *w = arg;

	if (w->spec->turn)
		w->spec->turn(w);
	if (w->draining && (!w->spec->drained || w->spec->drained(w)))
		loop_stop(w->loop);
}

static void
on_drain(void *arg)
{
	struct worker *w = arg;

	if (w->draining)
		return;
	log_info("worker.drain", LS("service", w->spec->name));
	w->draining = true;
	if (w->spec->drain)
		w->spec->drain(w);
	loop_wake(w->loop);
}

static void
on_reload(void *arg)
{
	struct worker *w = arg;

	w->spec->reload(w);
}

static void
on_tick(void *arg)
{
	struct ticker *t = arg;

	loop_timer_set(t->w->loop, &t->timer, (int64_t)t->w->spec->tick_ms * 1000, on_tick, t);
	t->w->spec->tick(t->w);
}

static void
on_quiet(void *arg)
{
	struct quiet *q = arg;
	int64_t cpu_us = clock_cpu_us();

	loop_timer_set(q->w->loop, &q->timer, QUIET_US, on_quiet, q);
	if (cpu_us - q->cpu_us > QUIET_CPU_US) {
		q->seconds = QUIET_SECONDS;
	} else if (q->seconds > 0 && --q->seconds == 0) {
		if (q->w->spec->quiet)
			q->w->spec->quiet(q->w);
		malloc_trim(0);
	}
	q->cpu_us = cpu_us;
}

void
worker_busy(struct worker *w, uint64_t ms)
{
	struct msg_busy msg = { .ms = ms };

	if (w->lifecycle)
		lifecycle_send(w->lifecycle, MSG_BUSY, &msg);
}

void
worker_report_lag(struct worker *w, const struct msg_lag *lag)
{
	if (w->lifecycle)
		lifecycle_send(w->lifecycle, MSG_LAG, lag);
}

void
worker_exit(struct worker *w, int code)
{
	w->exit_code = code;
	loop_stop(w->loop);
}

const char *
worker_run_dir(const struct settings *settings, char *out, size_t size)
{
	snprintf(out, size, "%s/run", settings_str(settings, SET_DATA_DIR));
	return out;
}

/* A descriptor number or another number from the environment; -1 if it is not there. */
static int64_t
env_number(const char *key)
{
	const char *text = getenv(key);
	char *end = NULL;
	long long v;

	if (!text || !*text)
		return -1;
	v = strtoll(text, &end, 10);
	return *end == '\0' && v >= 0 ? v : -1;
}

static int
read_settings(struct settings *s)
{
	int fd = (int)env_number("ROOST_SETTINGS_FD");
	struct buf text, err = { 0 };
	uint8_t *at;
	ssize_t n = -1;
	int rc = ERR_CONFIG;

	buf_init(&text, SETTINGS_MAX);
	at = buf_reserve(&text, SETTINGS_MAX);
	if (fd >= 0)
		n = pread(fd, at, SETTINGS_MAX, 0);
	if (n >= 0)
		rc = settings_read(s, bytes_of(at, (size_t)n), &err);
	if (n < 0)
		log_error("worker.settings", LS("fault", "ROOST_SETTINGS_FD cannot be read"));
	else if (rc)
		log_error("worker.settings", LS("fault", buf_str(&err)));
	if (fd >= 0)
		close(fd);
	buf_fini(&text);
	buf_fini(&err);
	return rc;
}

static void
start_log(const struct worker *w)
{
	static const char *const levels[] = { "debug", "info", "warn", "error" };
	const char *level = settings_str(w->settings, SET_LOG_LEVEL);
	enum log_level found = LOG_LEVEL_INFO;

	for (unsigned i = 0; i < COUNT_OF(levels); i++) {
		if (strcmp(level, levels[i]) == 0)
			found = (enum log_level)i;
	}
	log_init(w->name, found,
	    strcmp(settings_str(w->settings, SET_LOG_FORMAT), "json") == 0 ? LOG_FORMAT_JSON
									   : LOG_FORMAT_TEXT);
}

int
worker_read_listeners(struct worker *w, const char *text)
{
	char *copy, *save = NULL;
	int err = 0;

	if (!text || !*text)
		return 0;
	copy = xstrdup(text);
	w->listeners = xcalloc(LISTENERS_MAX, sizeof w->listeners[0]);
	for (char *one = strtok_r(copy, ",", &save); one; one = strtok_r(NULL, ",", &save)) {
		struct worker_listener l;

		/* A descriptor has six digits at most: more are no number that %d could hold. */
		if (w->listener_count == LISTENERS_MAX ||
		    sscanf(one, "%15[^=]=%6d=%79s", l.kind, &l.fd, l.address) != 3 || l.fd < 0) {
			log_error("worker.listen", LS("fault", "ROOST_LISTEN is malformed"),
			    LS("at", one));
			err = ERR_CONFIG;
			break;
		}
		w->listeners[w->listener_count++] = l;
	}
	free(copy);
	return err;
}

static void
set_name(struct worker *w, const char *name)
{
	const char *dash = strchr(name, '-');

	snprintf(w->name, sizeof w->name, "%s", name);
	w->instance = dash ? w->name + (dash - name) + 1 : "0";
	w->index = (uint32_t)strtoul(w->instance, NULL, 10);
}

static void
worker_fini(struct worker *w)
{
	lifecycle_free(&w->lifecycle);
	bus_free(&w->bus);
	loop_free(&w->loop);
	free(w->listeners);
	w->listeners = NULL;
}

/* Whoever was taken for hung does not wait for others any more: where other programs leave nothing of the processors, that
 * is all that a process of SCHED_IDLE may have been. */
static struct priority
priority_of(const struct worker *w)
{
	struct priority p = w->spec->priority;

	p.idle_only = p.idle_only && env_number("ROOST_STARVED") <= 0;
	return p;
}

static int
run(struct worker *w)
{
	struct priority priority = priority_of(w);
	struct ticker ticker = { .w = w };
	struct quiet quiet = { .w = w, .seconds = QUIET_SECONDS }; /* a start is a burst */
	char run_dir[128];
	int err;

	w->loop = loop_new();
	w->lifecycle = lifecycle_new(w->loop, (int)env_number("ROOST_CONTROL_FD"), on_drain, w);
	w->bus = bus_new(w->loop, w->name, worker_run_dir(w->settings, run_dir, sizeof run_dir),
	    dispatch, link_changed, w);
	err = w->spec->start(w);
	if (err) {
		log_error("worker.start", LS("fault", err_name(err)));
		w->exit_code = err == ERR_CONFIG ? EXIT_CONFIG : EXIT_DEPENDENCY;
	} else {
		loop_on_turn(w->loop, on_turn, w);
		if (w->spec->tick)
			loop_timer_set(w->loop, &ticker.timer, (int64_t)w->spec->tick_ms * 1000,
			    on_tick, &ticker);
		loop_timer_set(w->loop, &quiet.timer, QUIET_US, on_quiet, &quiet);
		if (w->spec->reload)
			lifecycle_on_reload(w->lifecycle, on_reload);
		lifecycle_ready(w->lifecycle);
		log_info("worker.ready", LS("service", w->spec->name), LU("life", w->life));
		/* Not before: a start is no work to wait with. */
		priority_take(&priority);
		loop_run(w->loop);
	}
	if (w->spec->stop)
		w->spec->stop(w);
	loop_timer_clear(w->loop, &ticker.timer);
	loop_timer_clear(w->loop, &quiet.timer);
	return w->exit_code;
}

int
worker_main(const struct worker_spec *spec, int argc, char **argv)
{
	const char *name = getenv("ROOST_NAME");
	int64_t life = env_number("ROOST_LIFE");
	struct settings *settings;
	struct worker w = { .spec = spec };
	int code = EXIT_CONFIG;

	(void)argv;
	if (argc != 1 || !name || life < 0) {
		fprintf(stderr, "roost-%s is a worker: it is started by `roost run`\n", spec->name);
		return EXIT_USAGE;
	}
	/* One arena for both threads: nothing gives back the top of a second one, and ZeroMQ's thread takes little time. */
	(void)mallopt(M_ARENA_MAX, 1);
	umask(077);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	settings = settings_new();
	set_name(&w, name);
	log_init(w.name, LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	w.life = (uint64_t)life;
	if (read_settings(settings) == 0) {
		w.settings = settings;
		w.data_dir = settings_str(settings, SET_DATA_DIR);
		start_log(&w);
		if (worker_read_listeners(&w, getenv("ROOST_LISTEN")) == 0)
			code = run(&w);
	}
	worker_fini(&w);
	settings_free(&settings);
	return code;
}

int
worker_tool_start(struct worker *w, const struct worker_spec *spec, const char *name,
    const struct settings *settings)
{
	char run_dir[128];

	*w = (struct worker){
		.spec = spec, .settings = settings, .life = (uint64_t)clock_wall_us()
	};
	w->data_dir = settings_str(settings, SET_DATA_DIR);
	set_name(w, name);
	w->loop = loop_new();
	w->bus = bus_new(w->loop, w->name, worker_run_dir(settings, run_dir, sizeof run_dir),
	    dispatch, link_changed, w);
	return 0;
}

void
worker_tool_stop(struct worker *w)
{
	worker_fini(w);
}
