/* status.h - what is known of the supervisor and each child, as JSON, as a table, as metrics
 *
 * status_json: {"ok", "healthy": every child is UP, "supervisor": {"version", "pid", "uptime_ms", "memory_bytes", "data_dir",
 * "phase"}, "listeners": [{"kind", "address"}], "processes": [{"name", "service", "state", "held", "pid", "life", "uptime_ms",
 * "restarts", "failures", "last_death": null or {"text", "at"}, "next_try_ms", "readings_per_s", "readings", "memory_bytes"}],
 * "mqtt": [{"name", "connections", "sessions", "subscriptions", "retained", "waiting", "waiting_bytes": messages of sessions, queued
 * or not acknowledged}], of each worker, as it said last; "followers": [{"group", "shard", "lag_bytes", "lag_ms", "members"}]}.
 * memory_bytes is PSS. */
#ifndef ROOST_STATUS_H
#define ROOST_STATUS_H

#include <jansson.h>
#include <sys/types.h>

#include "buf.h"
#include "supervisor.h"

json_t *status_json(const struct supervisor *sup);
/* The table that `roost status` prints, from status_json()'s object; survives an object that lacks fields. */
void status_table(const json_t *status, struct buf *out);
/* Prometheus text exposition. */
void status_metrics(const struct supervisor *sup, struct buf *out);
/* Proportional set size of a process, resident size if that is not to be had, 0 if neither. */
uint64_t status_memory(pid_t pid);

#endif
