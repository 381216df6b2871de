/* child.h - one supervised child: its process, its control channel, its deadlines
 *
 * What a child says is gossip: a malformed packet is warned about and dropped, a silent one is replaced, and nothing it
 * sends makes the supervisor do more than note it. */
#ifndef ROOST_CHILD_H
#define ROOST_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "backoff.h"
#include "child_fsm.h"
#include "codec.h"
#include "death.h"
#include "listeners.h"
#include "lives.h"
#include "loop.h"
#include "metrics.h"
#include "plan.h"
#include "private_redis.h"
#include "settings.h"

#define CHILD_KILL_US 1000000	/* from SIGABRT to SIGKILL, and between repeats of it */
#define CHILD_PACKET_MAX 32768	/* of the control channel */
#define CHILD_PACKETS_A_TURN 512
#define CHILD_RATE_US 1000000	/* readings per second are taken over at least this */

/* What all children are given. */
struct child_env {
	struct loop *loop;
	const struct settings *settings;
	const struct listeners *listeners;
	struct lives *lives;
	const char *data_dir;
	const char *bin_dir;	/* where roost-* are */
	char **base_env;	/* NULL-terminated; without the supervisor's own names */
	int settings_fd;
	int null_fd;
	void (*on_change)(void *arg); /* a child changed its state */
	void (*on_lag)(void *arg, const struct msg_lag *lag);
	void *arg;
};

struct child {
	const struct plan_child *plan;
	const struct child_env *env;
	enum child_state state;
	bool held;		/* DOWN because its configuration is wrong */
	bool escalated;		/* it was sent SIGABRT or SIGKILL for being overdue */
	const char *cause;	/* what for, to be put into last_death; NULL */
	pid_t pid;		/* 0: no process */
	int pidfd;
	int control_fd;
	struct loop_fd *pid_watch;
	struct loop_fd *control_watch;
	struct loop_timer timer;
	int64_t deadline_us;
	int64_t drain_deadline_us;
	int64_t spawned_us;
	int64_t ready_us;	/* -1: not since it was spawned */
	uint64_t life;
	uint64_t starts;	/* processes so far */
	struct death last_death;
	struct backoff backoff;
	struct redis_probe probe;
	uint64_t metrics[METRIC_COUNT];
	double readings_per_s;
	uint64_t rate_readings;
	int64_t rate_us;
};

/* A packet of its control channel: of any bytes. */
void child_on_packet(struct child *c, struct bytes packet);
void child_init(struct child *c, const struct plan_child *plan, const struct child_env *env);
void child_fini(struct child *c);
void child_start(struct child *c);
/* Asks it to stop; killed at deadline_us. */
void child_stop(struct child *c, int64_t deadline_us);
void child_kill(struct child *c);
/* Tries a held or waiting child again. */
void child_retry(struct child *c);
/* SIGHUP, if it is UP: it looks at the files that it has read. */
void child_reload(struct child *c);
/* Its process may have ended: notes how, and acts. */
void child_reap(struct child *c);
/* It runs, or it is known not to for a while: the start order goes on. */
bool child_settled(const struct child *c);

#endif
