/* redis.h - one pipelined connection to Redis; only the redis files know hiredis
 *
 * Who keeps something in Redis (device_state, session_state) builds its keys and scripts; here is how they get there:
 * connect, load scripts, send in order, tell answers, notice silence, begin again with back-off.
 *
 * Each connection begins with `connected`: its user asks what it has to know (REDIS_SETUP) and calls redis_ready(). Then
 * REDIS_REPEAT requests go out: they are kept until they were answered well and sent again, in order, on every new
 * connection, so a request may be carried out twice; whoever sends it makes that harmless. REDIS_ONCE is for questions:
 * taken between redis_ready() and `down` only, and over if the connection ends.
 *
 * Callbacks come from the loop, in the order of the requests, and from redis_fail(). They may send, fail and flush, but not
 * redis_free(). */
#ifndef ROOST_REDIS_H
#define ROOST_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "loop.h"

#define REDIS_TIMEOUT_US 5000000	/* no answer for so long: the connection is over */
#define REDIS_RETRY_MIN_US 100000
#define REDIS_RETRY_MAX_US 5000000
#define REDIS_IN_FLIGHT_MAX (4u << 20)	/* bytes of requests sent and not answered; more wait here */
#define REDIS_SCRIPTS_MAX 8
#define REDIS_ELEMENTS_MAX 65536	/* of one array in an answer; a longer one ends the connection */

struct redis;

struct redis_events {
	void (*connected)(void *arg);	/* scripts are loaded: REDIS_SETUP, then redis_ready() */
	void (*down)(void *arg);	/* the connection ended after `connected` */
	void (*room)(void *arg);	/* may be NULL: after ERR_FULL, half of queue_max is free again */
};

struct redis_options {
	const char *url;	/* "unix:///path", "redis://host:port", or empty: <data_dir>/run/redis.sock */
	const char *data_dir;
	const char *const *scripts;	/* Lua; outlive the connection; redis_script() names them by index */
	size_t script_count;	/* at most REDIS_SCRIPTS_MAX */
	size_t value_max;	/* bytes of one value in an answer; a longer one ends the connection */
	size_t queue_max;	/* bytes of requests that are not answered yet, REDIS_SETUP not counted */
};

enum redis_mode { REDIS_SETUP, REDIS_ONCE, REDIS_REPEAT };

enum redis_kind { REDIS_NIL, REDIS_INTEGER, REDIS_TEXT, REDIS_ARRAY };

/* A value that came from Redis; borrowed, valid during the callback. What is read back is input like any other. */
struct redis_view {
	enum redis_kind kind;
	int64_t integer;
	struct bytes text;
	size_t count;
	const void *elements;
};

/* The element, or NIL if v is no array or has no such element. */
struct redis_view redis_at(const struct redis_view *v, size_t i);
/* An INTEGER, or a TEXT of decimal digits only, of at most max. */
bool redis_uint(const struct redis_view *v, uint64_t max, uint64_t *ret);
bool redis_text(const struct redis_view *v, struct bytes *ret);

/* err 0: answered well. ERR_CLOSED: the connection ended before the answer; it was carried out or not. Else Redis refused
 * and reply's text says why: ERR_FULL (out of memory), ERR_AGAIN (it is loading, busy, a replica, or cannot write),
 * ERR_REFUSED (anything else). REDIS_REPEAT requests see 0 only: a refusal ends the connection, and they are sent again. */
typedef void (*redis_fn)(void *arg, int err, const struct redis_view *reply);

/* ERR_CONFIG: no such url (logged). Connects from the loop's next turn on. */
int redis_new(struct loop *loop, const struct redis_options *options, const struct redis_events *events,
    void *arg, struct redis **ret_redis);
/* For who wants always the same: the url is all that differs. */
struct redis_use {
	const char *const *scripts;
	size_t script_count;
	size_t value_max, queue_max;
	struct redis_events events;
};
int redis_open(struct loop *loop, const char *url, const char *data_dir, const struct redis_use *use, void *arg,
    struct redis **ret_redis);
/* No callbacks any more, whatever waits. */
void redis_free(struct redis **r);

/* A request is built by redis_command() or redis_script(), arguments, redis_send(). */
void redis_command(struct redis *r, const char *name);
void redis_script(struct redis *r, size_t index);	/* EVALSHA of that script, without KEYS */
void redis_arg(struct redis *r, struct bytes value);
void redis_arg_str(struct redis *r, const char *value);
void redis_arg_int(struct redis *r, int64_t value);
void redis_arg_uint(struct redis *r, uint64_t value);
/* Arguments that were built elsewhere: redis_arg_put() appends one to out, redis_args() takes count of them. */
void redis_arg_put(struct buf *out, struct bytes value);
void redis_args(struct redis *r, struct bytes encoded, uint32_t count);
/* 0; ERR_CLOSED: not connected (SETUP), not ready (ONCE); ERR_FULL: over queue_max (`room` will tell). fn may be NULL. */
int redis_send(struct redis *r, enum redis_mode mode, redis_fn fn, void *arg);
/* Requests leave now, not with the loop's next turn (from within an answer: with the next turn). */
void redis_flush(struct redis *r);

/* Everything this user has to know is known. */
void redis_ready(struct redis *r);
bool redis_is_ready(const struct redis *r);
/* Before redis_ready() only: what REDIS_REPEAT keeps is over, fn gets ERR_CLOSED. */
void redis_drop(struct redis *r);
/* Ends the connection; a new one begins with back-off. */
void redis_fail(struct redis *r, const char *why);
size_t redis_waiting_bytes(const struct redis *r);

#endif
