/* device_state.h - what workers share about devices, in Redis; the keys of devices are known here only
 *
 *	roost:device:{id}:latest	hash: metric -> value as text, and _ts, the time of the newest (ISO 8601)
 *	roost:device:{id}:times		hash: metric -> time of that value in us, and _ts; an older value never replaces a newer
 *	roost:device:{id}:alerts	hash: group/rule -> JSON, of alerts that are pending or firing
 *	roost:alerts			hash: alert id -> JSON, the same of all devices
 *	roost:cursor:{name}		hash: shard -> journal offset; everything before it is in the keys above
 *
 * ({id} stands for the device's id, without braces.) All calls return at once. Commands go out in order over one connection,
 * and a cursor is written after what it covers, so that it is never ahead of its effect. Whatever goes wrong (no answer in
 * time, an error reply, the connection) ends the connection; a new one begins with `up` and the cursors Redis holds. */
#ifndef ROOST_DEVICE_STATE_H
#define ROOST_DEVICE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "codec.h"
#include "loop.h"

struct device_state;

struct device_state_events {
	/* Connected. cursors[shard]: what Redis has; 0 where it has none. */
	void (*up)(void *arg, const uint64_t *cursors);
	void (*down)(void *arg);
	/* The cursors given to device_state_commit() are in Redis, and all that was sent before. lost: they are not, because the
	 * earlier cursors were not there any more (FLUSHALL): so are not the values, begin again. */
	void (*committed)(void *arg, bool lost);
};

struct device_state_metric {
	struct bytes name;
	struct bytes value;	/* as text */
	int64_t time;		/* us since the Unix epoch */
};

/* url: "unix:///path", "redis://host:port", or empty: <data_dir>/run/redis.sock. name: the cursors' owner. ERR_CONFIG: no such url. */
int device_state_new(struct loop *loop, const char *url, const char *data_dir, const char *name, uint32_t shards,
    const struct device_state_events *events, void *arg, struct device_state **ret_state);
void device_state_free(struct device_state **ds);

/* Between up and down; what is said outside of it (a call may end the connection) goes nowhere. */
void device_state_latest(struct device_state *ds, struct bytes device, const struct device_state_metric *metrics, size_t n);
/* A transition: pending and firing are shown, cleared and inactive taken away. */
void device_state_alert(struct device_state *ds, const struct msg_alert *alert);
/* All of these keys that are of the device. */
void device_state_erase(struct device_state *ds, struct bytes device);
/* One at a time: `committed` answers it. */
void device_state_commit(struct device_state *ds, const uint64_t *cursors);

#endif
