/* worker.h - the life of a worker: settings, log, metrics, bus, start, READY, loop, drain, stop, exit code
 *
 * The heartbeat is sent by the loop and by nothing else, so that a hung worker looks hung. Exit codes: 0 asked to stop,
 * 64 usage, 75 a dependency is away, 78 configuration (not tried again until it changes). */
#ifndef ROOST_WORKER_H
#define ROOST_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "bus.h"
#include "exit_codes.h"
#include "loop.h"
#include "priority.h"
#include "settings.h"

struct worker;

typedef void (*worker_on_fn)(struct worker *w, struct bus_msg *m);

struct worker_spec {
	const char *name; /* the service: "limiter" */
	int (*start)(struct worker *
		w); /* READY goes out when this returns 0; else the process exits: ERR_CONFIG 78, others 75 */
	void (*stop)(struct worker *w);	 /* may be NULL; also after a failed start */
	void (*drain)(struct worker *w); /* may be NULL: asked to stop, take nothing new */
	bool (*drained)(
	    struct worker *w); /* may be NULL: nothing is left; asked each turn while draining */
	void (*turn)(
	    struct worker *w); /* may be NULL: end of each loop turn, flush what was gathered */
	void (*reload)(struct worker *w); /* may be NULL: SIGHUP, look at the files that were read */
	void (*tick)(struct worker *w); /* may be NULL: every tick_ms */
	uint32_t tick_ms;
	void (*quiet)(struct worker *
		w); /* may be NULL: some seconds after a burst; free what only the next one needs */
	struct priority priority; /* from READY on */
	worker_on_fn on[MSG_TYPE_MAX];
	void (*on_link)(struct worker *w, struct bus_link *link, bool up); /* may be NULL */
};

/* A listening socket that the supervisor opened and passed on. */
struct worker_listener {
	char kind[16];	  /* "mqtt" */
	char address[80]; /* "127.0.0.1:1883" as it is bound (a port 0 is resolved) */
	int fd;
};

struct worker {
	const struct worker_spec *spec;
	const struct settings *settings;
	struct loop *loop;
	struct bus *bus;
	char name[BUS_NAME_MAX]; /* "limiter-0"; a sink's is "sink-history" */
	const char *instance;	 /* what stands behind the dash: "0", "history" */
	uint32_t index;		 /* instance as a number; 0 if it is none */
	uint64_t life;		 /* differs between any two starts; grows */
	const char *data_dir;
	struct worker_listener *listeners;
	size_t listener_count;
	bool draining;
	/* follower.c's: it takes its own messages and link changes before the service sees them. */
	struct follower *follower;
	bool (*follower_on_msg)(struct follower *f, struct bus_msg *m);
	void (*follower_on_link)(struct follower *f, struct bus_link *link, bool up);
	struct lifecycle *lifecycle;
	int exit_code;
	void *state; /* the service's own */
};

int worker_main(const struct worker_spec *spec, int argc, char **argv);
/* For tools (roost-query): a loop and a bus without a supervisor. name: "query-<pid>". Ended by worker_tool_stop(). */
int worker_tool_start(struct worker *w, const struct worker_spec *spec, const char *name,
    const struct settings *settings);
void worker_tool_stop(struct worker *w);
/* Tells the supervisor that the loop may stand still for up to ms: a slow disk is no hung worker. */
void worker_busy(struct worker *w, uint64_t ms);
/* Tells the supervisor how far a follower group is behind; storage only. */
void worker_report_lag(struct worker *w, const struct msg_lag *lag);
/* Ends the process after the turn with this exit code; for what cannot be mended by going on. */
void worker_exit(struct worker *w, int code);
/* Fills w->listeners from ROOST_LISTEN's text, "mqtt=5=127.0.0.1:1883,mqtt=6=[::1]:1883", or NULL. ERR_CONFIG, logged. */
int worker_read_listeners(struct worker *w, const char *text);
/* Where the workers' sockets are: <data_dir>/run. */
const char *worker_run_dir(const struct settings *settings, char *out, size_t size);

#endif
