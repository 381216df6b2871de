/* supervisor.h - `roost run`: starts the children in the order of the flow, keeps them alive, drains them
 *
 * One thread, one epoll set. It never sees a reading, and links neither ZeroMQ nor a Redis client nor TLS. */
#ifndef ROOST_SUPERVISOR_H
#define ROOST_SUPERVISOR_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "child.h"
#include "control.h"
#include "data_dir.h"
#include "listeners.h"
#include "lives.h"
#include "loop.h"
#include "plan.h"
#include "settings.h"

#define SUPERVISOR_STAGE_US 5000000	/* the start order waits no longer for one stage */
#define SUPERVISOR_LAGS_MAX 256		/* (group, shard) pairs shown; more are counted */
#define SUPERVISOR_LAG_FRESH_US 5000000 /* an older report is not shown */

struct supervisor_lag {
	char group[64];
	uint64_t shard;
	uint64_t bytes;
	uint64_t ms;
	uint64_t members;
	bool stands_back;
	int64_t at_us;
};

enum supervisor_phase { PHASE_STARTING, PHASE_RUNNING, PHASE_DRAINING };

struct supervisor {
	struct loop *loop;
	const struct settings *settings;
	const char *hint; /* options that find this supervisor again: " --set data_dir=x" or "" */
	char data_dir[DATA_DIR_MAX];
	char bin_dir[512];
	enum supervisor_phase phase;
	unsigned stage;
	bool stop_wanted;
	bool kill_wanted;
	int64_t stage_us; /* since when this stage starts */
	int64_t stop_us;  /* when everything must be over */
	int64_t started_us;
	struct plan plan;
	struct child *children; /* as in plan */
	struct child_env env;
	struct listeners listeners;
	struct lives lives;
	struct control *control;
	struct supervisor_lag lags[SUPERVISOR_LAGS_MAX];
	size_t lag_count;
	uint64_t lags_dropped;
	int lock_fd;
	int signal_fd;
	struct loop_fd *signal_watch;
	struct loop_timer stage_timer;
	struct loop_timer config_timer;
	uint64_t config_seen; /* fingerprint of what held children may be waiting for */
	uint64_t reaped;      /* processes that were not ours: orphans, as PID 1 gets them */
};

/* Runs until it is asked to stop. The exit code. */
int supervisor_run(const struct settings *settings, const char *hint);

#endif
