/* device_state.c - what workers share about devices, in Redis; the only place that knows hiredis and the keys */
#include "device_state.h"

#include <errno.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "clock.h"
#include "err.h"
#include "log.h"
#include "mem.h"
#include "value_text.h"

#define URL_HOST_MAX 256
#define CHECK_US 500000
#define SHA_LEN 40
#define REPLY_BYTES_MAX (1u << 20)
#define REPLY_ELEMENTS_MAX 4096 /* a cursor is two; there are 64 shards at most */

/* KEYS: latest, times. ARGV: newest time, the same as text, then metric, value, time of each. */
static const char latest_script[] =
    "local function newer(field, time)"
    " local have = redis.call('HGET', KEYS[2], field)"
    " if have and tonumber(have) > tonumber(time) then return false end"
    " redis.call('HSET', KEYS[2], field, time) return true end "
    "if newer('_ts', ARGV[1]) then redis.call('HSET', KEYS[1], '_ts', ARGV[2]) end "
    "for i = 3, #ARGV, 3 do if newer(ARGV[i], ARGV[i + 2]) then redis.call('HSET', KEYS[1], "
    "ARGV[i], ARGV[i + 1]) end end";

struct device_state {
	struct loop *loop;
	const struct device_state_events *events;
	void *arg;
	char *path; /* unix socket, or NULL */
	char host[URL_HOST_MAX];
	int port;
	char *cursor_key;
	uint32_t shards;
	redisAsyncContext *ac;
	struct loop_fd *lfd;
	uint32_t want; /* EPOLL* */
	struct loop_timer timer;
	int64_t retry_us;
	bool up;
	bool has_cursors; /* Redis held all cursors when last asked */
	bool committing;
	char sha[SHA_LEN + 1];
	uint64_t *cursors;
	uint64_t unanswered;
	int64_t heard_us;
	struct buf args; /* the command being built: its arguments' bytes ... */
	size_t *ends;	 /* ... and where each ends */
	size_t arg_count;
	size_t arg_cap;
	const char **argv;
	size_t *lens;
};

static redisReplyObjectFunctions *default_replies;

static void connect_now(void *arg);
static void disconnect(struct device_state *ds, const char *why);

/* --- what Redis says is bounded, and was asked for --- */

/* hiredis aborts the process if an answer comes that nobody asked for, and reserves room for as many elements as an answer
 * claims to have. */
static void *
create_array(const redisReadTask *task, int elements)
{
	return elements > REPLY_ELEMENTS_MAX ? NULL : default_replies->createArray(task, elements);
}

static void
bound_replies(redisAsyncContext *ac)
{
	static redisReplyObjectFunctions replies;

	default_replies = ac->c.reader->fn;
	replies = *default_replies;
	replies.createArray = create_array;
	ac->c.reader->fn = &replies;
}

static bool
speaks_unasked(const struct device_state *ds, int fd)
{
	char byte;

	return ds->unanswered == 0 && recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* --- descriptors: hiredis says what it waits for --- */

static void
on_readable(struct device_state *ds, int fd)
{
	redisAsyncContext *ac = ds->ac;

	if (speaks_unasked(ds, fd)) {
		disconnect(ds, "an answer that nobody asked for");
		return;
	}
	redisAsyncHandleRead(ac);
	if (ds->ac == ac && ac->c.reader->len > REPLY_BYTES_MAX)
		disconnect(ds, "an answer without end");
}

static void
on_fd(void *arg, int fd, uint32_t events)
{
	struct device_state *ds = arg;
	redisAsyncContext *ac = ds->ac;

	if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0 && (ds->want & EPOLLIN) != 0)
		on_readable(ds, fd);
	/* The context may have ended in a callback, or another taken its place. */
	if (ds->ac == ac && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0 &&
	    (ds->want & EPOLLOUT) != 0)
		redisAsyncHandleWrite(ac);
}

static void
want(struct device_state *ds, uint32_t events)
{
	if (events == ds->want)
		return;
	ds->want = events;
	if (events == 0)
		loop_fd_del(ds->loop, &ds->lfd);
	else if (ds->lfd == NULL)
		ds->lfd = loop_fd_add(ds->loop, ds->ac->c.fd, events, on_fd, ds);
	else
		loop_fd_mod(ds->loop, ds->lfd, events);
}

static void
add_read(void *arg)
{
	struct device_state *ds = arg;

	want(ds, ds->want | EPOLLIN);
}

static void
del_read(void *arg)
{
	struct device_state *ds = arg;

	want(ds, ds->want & ~(uint32_t)EPOLLIN);
}

static void
add_write(void *arg)
{
	struct device_state *ds = arg;

	want(ds, ds->want | EPOLLOUT);
}

static void
del_write(void *arg)
{
	struct device_state *ds = arg;

	want(ds, ds->want & ~(uint32_t)EPOLLOUT);
}

static void
cleanup(void *arg)
{
	want(arg, 0);
}

/* --- commands --- */

static void
arg_bytes(struct device_state *ds, struct bytes b)
{
	buf_add(&ds->args, b.data, b.len);
	if (ds->arg_count == ds->arg_cap) {
		ds->arg_cap = ds->arg_cap == 0 ? 64 : 2 * ds->arg_cap;
		ds->ends = xrealloc(ds->ends, ds->arg_cap * sizeof(ds->ends[0]));
		ds->argv = xrealloc(ds->argv, ds->arg_cap * sizeof(ds->argv[0]));
		ds->lens = xrealloc(ds->lens, ds->arg_cap * sizeof(ds->lens[0]));
	}
	ds->ends[ds->arg_count++] = ds->args.len;
}

static void
arg_str(struct device_state *ds, const char *s)
{
	arg_bytes(ds, bytes_of_str(s));
}

static void
arg_number(struct device_state *ds, int64_t v)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRId64, v);
	arg_str(ds, text);
}

/* "roost:device:{id}:{what}" */
static void
arg_device_key(struct device_state *ds, struct bytes device, const char *what)
{
	struct buf key = { 0 };

	buf_add_str(&key, "roost:device:");
	buf_add(&key, device.data, device.len);
	buf_addf(&key, ":%s", what);
	arg_bytes(ds, buf_bytes(&key));
	buf_fini(&key);
}

static void
command(struct device_state *ds, const char *name)
{
	buf_clear(&ds->args);
	ds->arg_count = 0;
	arg_str(ds, name);
}

/* fn gets NULL if the connection ends first. */
static void
send_command(struct device_state *ds, redisCallbackFn *fn)
{
	size_t start = 0;

	for (size_t i = 0; i < ds->arg_count; i++) {
		ds->argv[i] = ds->args.len == 0 ? "" : (const char *)ds->args.data + start;
		ds->lens[i] = ds->ends[i] - start;
		start = ds->ends[i];
	}
	if (ds->unanswered++ == 0)
		ds->heard_us = loop_now_us(ds->loop);
	/* It only fails on a context that is ending; that is told by on_disconnect. */
	(void)redisAsyncCommandArgv(ds->ac, fn, NULL, (int)ds->arg_count, ds->argv, ds->lens);
}

/* The reply if it is a good one; else the connection is over. */
static const redisReply *
accept_reply(redisAsyncContext *ac, void *reply)
{
	struct device_state *ds = ac->data;
	const redisReply *r = reply;

	if (ds == NULL || ds->ac != ac || r == NULL)
		return NULL;
	ds->unanswered--;
	ds->heard_us = loop_now_us(ds->loop);
	if (r->type == REDIS_REPLY_ERROR) {
		disconnect(ds, r->str);
		return NULL;
	}
	if (ds->unanswered == 0 && ac->c.reader->pos < ac->c.reader->len) {
		disconnect(ds, "an answer that nobody asked for");
		return NULL;
	}
	return r;
}

static void
on_plain(redisAsyncContext *ac, void *reply, void *arg)
{
	(void)arg;
	(void)accept_reply(ac, reply);
}

/* --- connection --- */

static void
retry(struct device_state *ds)
{
	loop_timer_set(ds->loop, &ds->timer, ds->retry_us, connect_now, ds);
	ds->retry_us *= 2;
	if (ds->retry_us > DEVICE_STATE_RETRY_MAX_US)
		ds->retry_us = DEVICE_STATE_RETRY_MAX_US;
}

static void
disconnect(struct device_state *ds, const char *why)
{
	redisAsyncContext *ac = ds->ac;
	bool was_up = ds->up;

	if (ac == NULL)
		return;
	log_warn("redis.down", LS("at", ds->path != NULL ? ds->path : ds->host), LS("why", why));
	want(ds, 0);
	ds->ac = NULL;
	ds->up = false;
	ds->committing = false;
	ds->unanswered = 0;
	ac->data = NULL;
	/* In a callback this only marks it; hiredis frees it when the callback returns. */
	redisAsyncFree(ac);
	retry(ds);
	if (was_up)
		ds->events->down(ds->arg);
}

static void
check(void *arg)
{
	struct device_state *ds = arg;

	if (ds->unanswered > 0 && loop_now_us(ds->loop) - ds->heard_us > DEVICE_STATE_TIMEOUT_US)
		disconnect(ds, "no answer");
	else
		loop_timer_set(ds->loop, &ds->timer, CHECK_US, check, ds);
}

static void
on_cursors(redisAsyncContext *ac, void *reply, void *arg)
{
	const redisReply *r = accept_reply(ac, reply);
	struct device_state *ds = ac->data;
	size_t found = 0;

	(void)arg;
	if (r == NULL)
		return;
	if (r->type != REDIS_REPLY_ARRAY) {
		disconnect(ds, "unexpected reply");
		return;
	}
	memset(ds->cursors, 0, ds->shards * sizeof(ds->cursors[0]));
	for (size_t i = 0; i + 1 < r->elements; i += 2) {
		const redisReply *shard = r->element[i], *upto = r->element[i + 1];
		unsigned long k;

		if (shard->type != REDIS_REPLY_STRING || upto->type != REDIS_REPLY_STRING)
			continue;
		k = strtoul(shard->str, NULL, 10);
		if (k >= ds->shards)
			continue;
		ds->cursors[k] = strtoull(upto->str, NULL, 10);
		found++;
	}
	ds->has_cursors = found == ds->shards;
	/* Part of the cursors is none: what is missing would be read from the oldest on, the rest not. */
	if (!ds->has_cursors)
		memset(ds->cursors, 0, ds->shards * sizeof(ds->cursors[0]));
	ds->up = true;
	ds->retry_us = DEVICE_STATE_RETRY_MIN_US;
	log_info("redis.up", LS("at", ds->path != NULL ? ds->path : ds->host));
	ds->events->up(ds->arg, ds->cursors);
}

static void
on_script(redisAsyncContext *ac, void *reply, void *arg)
{
	const redisReply *r = accept_reply(ac, reply);
	struct device_state *ds = ac->data;

	(void)arg;
	if (r == NULL)
		return;
	if (r->type != REDIS_REPLY_STRING || (size_t)r->len != SHA_LEN) {
		disconnect(ds, "unexpected reply");
		return;
	}
	memcpy(ds->sha, r->str, SHA_LEN);
}

static void
on_connect(const redisAsyncContext *ac, int status)
{
	struct device_state *ds = ac->data;

	if (ds == NULL || ds->ac != ac || status == REDIS_OK)
		return;
	/* hiredis frees the context itself after this. */
	ds->ac = NULL;
	want(ds, 0);
	ds->unanswered = 0;
	log_warn("redis.connect", LS("at", ds->path != NULL ? ds->path : ds->host),
	    LS("why", ac->errstr));
	retry(ds);
}

static void
on_disconnect(const redisAsyncContext *ac, int status)
{
	struct device_state *ds = ac->data;
	bool was_up;

	(void)status;
	if (ds == NULL || ds->ac != ac)
		return;
	was_up = ds->up;
	log_warn("redis.down", LS("at", ds->path != NULL ? ds->path : ds->host),
	    LS("why", ac->err != 0 ? ac->errstr : "closed"));
	ds->ac = NULL;
	ds->up = false;
	ds->committing = false;
	ds->unanswered = 0;
	want(ds, 0);
	retry(ds);
	if (was_up)
		ds->events->down(ds->arg);
}

static void
connect_now(void *arg)
{
	struct device_state *ds = arg;
	redisAsyncContext *ac = ds->path != NULL ? redisAsyncConnectUnix(ds->path)
						 : redisAsyncConnect(ds->host, ds->port);

	if (ac == NULL || ac->err != 0) {
		log_warn("redis.connect", LS("at", ds->path != NULL ? ds->path : ds->host),
		    LS("why", ac == NULL ? "no memory" : ac->errstr));
		if (ac != NULL)
			redisAsyncFree(ac);
		retry(ds);
		return;
	}
	bound_replies(ac);
	ds->ac = ac;
	ds->want = 0;
	ac->data = ds;
	ac->ev.data = ds;
	ac->ev.addRead = add_read;
	ac->ev.delRead = del_read;
	ac->ev.addWrite = add_write;
	ac->ev.delWrite = del_write;
	ac->ev.cleanup = cleanup;
	redisAsyncSetConnectCallback(ac, on_connect);
	redisAsyncSetDisconnectCallback(ac, on_disconnect);
	command(ds, "SCRIPT");
	arg_str(ds, "LOAD");
	arg_str(ds, latest_script);
	send_command(ds, on_script);
	command(ds, "HGETALL");
	arg_str(ds, ds->cursor_key);
	send_command(ds, on_cursors);
	loop_timer_set(ds->loop, &ds->timer, CHECK_US, check, ds);
}

/* --- the rest of the interface --- */

/* HOST[:PORT][/...] */
static int
parse_host(struct device_state *ds, const char *text)
{
	const char *colon = strrchr(text, ':');
	size_t len = colon != NULL ? (size_t)(colon - text) : strcspn(text, "/");
	char *end = NULL;
	long port = colon != NULL ? strtol(colon + 1, &end, 10) : 6379;

	if (len == 0 || len >= sizeof(ds->host) || port <= 0 || port > 65535 ||
	    (end != NULL && *end != '\0' && *end != '/'))
		return ERR_CONFIG;
	memcpy(ds->host, text, len);
	ds->host[len] = '\0';
	ds->port = (int)port;
	return 0;
}

static int
parse_url(struct device_state *ds, const char *url, const char *data_dir)
{
	if (url[0] == '\0') {
		ds->path = xasprintf("%s/run/redis.sock", data_dir);
		return 0;
	}
	if (strncmp(url, "unix://", 7) == 0 && url[7] != '\0') {
		ds->path = xstrdup(url + 7);
		return 0;
	}
	if (strncmp(url, "redis://", 8) != 0)
		return ERR_CONFIG;
	return parse_host(ds, url + 8);
}

int
device_state_new(struct loop *loop, const char *url, const char *data_dir, const char *name,
    uint32_t shards, const struct device_state_events *events, void *arg,
    struct device_state **ret_state)
{
	struct device_state *ds = xcalloc(1, sizeof(*ds));

	ds->loop = loop;
	ds->events = events;
	ds->arg = arg;
	ds->shards = shards;
	ds->cursors = xcalloc(shards, sizeof(ds->cursors[0]));
	ds->cursor_key = xasprintf("roost:cursor:%s", name);
	ds->retry_us = DEVICE_STATE_RETRY_MIN_US;
	if (parse_url(ds, url, data_dir) != 0) {
		log_error(
		    "redis.url", LS("url", url), LS("remedy", "unix:///path or redis://host:port"));
		device_state_free(&ds);
		return ERR_CONFIG;
	}
	loop_timer_set(loop, &ds->timer, 0, connect_now, ds);
	*ret_state = ds;
	return 0;
}

void
device_state_free(struct device_state **p_ds)
{
	struct device_state *ds = *p_ds;

	if (ds == NULL)
		return;
	*p_ds = NULL;
	loop_timer_clear(ds->loop, &ds->timer);
	if (ds->ac != NULL) {
		redisAsyncContext *ac = ds->ac;

		want(ds, 0);
		ds->ac = NULL;
		ac->data = NULL;
		redisAsyncFree(ac);
	}
	free(ds->path);
	free(ds->cursor_key);
	free(ds->cursors);
	buf_fini(&ds->args);
	free(ds->ends);
	free(ds->argv);
	free(ds->lens);
	free(ds);
}

void
device_state_latest(struct device_state *ds, struct bytes device,
    const struct device_state_metric *metrics, size_t n)
{
	char iso[CLOCK_ISO_MAX];
	int64_t newest = INT64_MIN;

	ASSERT(ds->up && n > 0);
	for (size_t i = 0; i < n; i++)
		newest = metrics[i].time > newest ? metrics[i].time : newest;
	command(ds, "EVALSHA");
	arg_str(ds, ds->sha);
	arg_str(ds, "2");
	arg_device_key(ds, device, "latest");
	arg_device_key(ds, device, "times");
	arg_number(ds, newest);
	arg_str(ds, clock_iso(newest, iso));
	for (size_t i = 0; i < n; i++) {
		arg_bytes(ds, metrics[i].name);
		arg_bytes(ds, metrics[i].value);
		arg_number(ds, metrics[i].time);
	}
	send_command(ds, on_plain);
}

static void
put_alert(struct buf *out, const struct msg_alert *a)
{
	static const char *const states[] = { "inactive", "pending", "firing", "cleared" };
	char iso[CLOCK_ISO_MAX];

	buf_add_str(out, "{\"alert\":");
	json_put_string(out, a->rule);
	buf_add_str(out, ",\"group\":");
	json_put_string(out, a->group);
	buf_add_str(out, ",\"device\":");
	json_put_string(out, a->device);
	buf_addf(out, ",\"state\":\"%s\",\"severity\":", states[a->state & 3]);
	json_put_string(out, a->severity);
	buf_addf(out, ",\"since\":\"%s\"", clock_iso(a->since, iso));
	buf_addf(out, ",\"at\":\"%s\",\"summary\":", clock_iso(a->at, iso));
	json_put_string(out, a->summary);
	buf_add_u8(out, '}');
}

void
device_state_alert(struct device_state *ds, const struct msg_alert *a)
{
	bool shown = a->state == 1 || a->state == 2;
	struct buf field = { 0 }, json = { 0 };

	ASSERT(ds->up);
	buf_add(&field, a->group.data, a->group.len);
	buf_add_u8(&field, '/');
	buf_add(&field, a->rule.data, a->rule.len);
	put_alert(&json, a);
	command(ds, shown ? "HSET" : "HDEL");
	arg_device_key(ds, a->device, "alerts");
	arg_bytes(ds, buf_bytes(&field));
	if (shown)
		arg_bytes(ds, buf_bytes(&json));
	send_command(ds, on_plain);
	command(ds, shown ? "HSET" : "HDEL");
	arg_str(ds, "roost:alerts");
	arg_bytes(ds, a->alert_id);
	if (shown)
		arg_bytes(ds, buf_bytes(&json));
	send_command(ds, on_plain);
	buf_fini(&field);
	buf_fini(&json);
}

static void
on_commit(redisAsyncContext *ac, void *reply, void *arg)
{
	const redisReply *r = accept_reply(ac, reply);
	struct device_state *ds = ac->data;
	bool lost;

	(void)arg;
	if (r == NULL)
		return;
	if (r->type != REDIS_REPLY_INTEGER) {
		disconnect(ds, "unexpected reply");
		return;
	}
	/* HSET says how many fields are new. */
	lost = ds->has_cursors && r->integer > 0;
	ds->has_cursors = true;
	ds->committing = false;
	ds->events->committed(ds->arg, lost);
}

void
device_state_commit(struct device_state *ds, const uint64_t *cursors)
{
	ASSERT(ds->up && !ds->committing);
	ds->committing = true;
	command(ds, "HSET");
	arg_str(ds, ds->cursor_key);
	for (uint32_t i = 0; i < ds->shards; i++) {
		arg_number(ds, i);
		arg_number(ds, (int64_t)cursors[i]);
	}
	send_command(ds, on_commit);
}
