/* redis.c - one pipelined connection to Redis; the only place that knows hiredis
 *
 * Requests are kept here as the bytes that go out, in two queues: SETUP of this connection, and work. hiredis is given no
 * more than FEED_BYTES at a time, because it moves what it could not write to the front of its buffer after every write. */
#include "redis.h"

#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <hiredis/sds.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"

#define URL_HOST_MAX 256
#define CHECK_US 500000
#define SHA_LEN 40
#define FEED_BYTES 262144
#define READS_MAX 16 /* of 16 KiB each in a turn */
#define STEADY_US 1000000

struct request {
	struct request *next;
	struct queue *in;
	redis_fn fn;
	void *arg;
	enum redis_mode mode;
	int script;    /* index; -1: it is none */
	size_t sha_at; /* the script's name in bytes: it is filled in when the request leaves */
	size_t len;
	char bytes[];
};

struct queue {
	struct request *head;
	struct request **tail; /* NULL: empty and never used */
	struct request *unsent;
};

struct redis {
	struct loop *loop;
	const struct redis_events *events;
	void *arg;
	char *path; /* unix socket, or NULL */
	char host[URL_HOST_MAX];
	int port;
	const char *const *scripts;
	char shas[REDIS_SCRIPTS_MAX][SHA_LEN + 1];
	size_t script_count;
	size_t scripts_loaded;
	size_t queue_max;
	redisAsyncContext *ac;
	struct loop_fd *lfd;
	uint32_t want; /* EPOLL* */
	struct loop_timer timer;
	int64_t retry_us;
	int64_t ready_us;
	bool established;
	bool connected; /* the user was told */
	bool ready;
	bool worked;  /* since the connection began, a request was answered well */
	bool refused; /* ERR_FULL was said */
	struct queue setup;
	struct queue work;
	size_t waiting_bytes;	/* of work */
	size_t in_flight_bytes; /* of both */
	uint64_t unanswered;
	int64_t heard_us;
	struct buf args; /* the request being built, without its first line */
	uint32_t arg_count;
	int script;
	size_t sha_at;
};

static void connect_now(void *arg);
static void feed(struct redis *r);

/* --- replies --- */

static struct redis_view
view_of(const redisReply *reply)
{
	struct redis_view v = { .kind = REDIS_NIL };

	if (reply->type == REDIS_REPLY_INTEGER) {
		v.kind = REDIS_INTEGER;
		v.integer = reply->integer;
	} else if (reply->type == REDIS_REPLY_ARRAY) {
		v.kind = REDIS_ARRAY;
		v.count = reply->elements;
		v.elements = reply->element;
	} else if (reply->type != REDIS_REPLY_NIL) {
		v.kind = REDIS_TEXT;
		v.text = bytes_of(reply->str, (size_t)reply->len);
	}
	return v;
}

struct redis_view
redis_at(const struct redis_view *v, size_t i)
{
	if (v->kind != REDIS_ARRAY || i >= v->count)
		return (struct redis_view){ .kind = REDIS_NIL };
	return view_of(((redisReply *const *)v->elements)[i]);
}

bool
redis_uint(const struct redis_view *v, uint64_t max, uint64_t *ret)
{
	uint64_t n = 0;

	if (v->kind == REDIS_INTEGER) {
		if (v->integer < 0 || (uint64_t)v->integer > max)
			return false;
		*ret = (uint64_t)v->integer;
		return true;
	}
	if (v->kind != REDIS_TEXT || v->text.len == 0)
		return false;
	for (size_t i = 0; i < v->text.len; i++) {
		unsigned digit = v->text.data[i] - (unsigned)'0';

		if (digit > 9 || digit > max || n > (max - digit) / 10)
			return false;
		n = n * 10 + digit;
	}
	*ret = n;
	return true;
}

bool
redis_text(const struct redis_view *v, struct bytes *ret)
{
	if (v->kind != REDIS_TEXT)
		return false;
	*ret = v->text;
	return true;
}

static int
err_of_text(const char *text)
{
	static const struct {
		const char *prefix;
		int err;
	} table[] = {
		{ "OOM", ERR_FULL },
		{ "LOADING", ERR_AGAIN },
		{ "BUSY", ERR_AGAIN },
		{ "READONLY", ERR_AGAIN },
		{ "MASTERDOWN", ERR_AGAIN },
		{ "MISCONF", ERR_AGAIN },
		{ "NOSCRIPT", ERR_AGAIN },
	};

	for (size_t i = 0; i < COUNT_OF(table); i++) {
		if (strncmp(text, table[i].prefix, strlen(table[i].prefix)) == 0)
			return table[i].err;
	}
	return ERR_REFUSED;
}

/* --- descriptors: hiredis says what it waits for --- */

static void
on_fd(void *arg, int fd, uint32_t events)
{
	struct redis *r = arg;
	redisAsyncContext *ac = r->ac;

	if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0 && (r->want & EPOLLIN) != 0) {
		int more = 1;

		/* The context may end in a callback, or another take its place. */
		for (int i = 0; i < READS_MAX && more > 0 && r->ac == ac; i++) {
			redisAsyncHandleRead(ac);
			if (r->ac == ac && ioctl(fd, FIONREAD, &more) != 0)
				more = 0;
		}
	}
	if (r->ac == ac && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0)
		redisAsyncHandleWrite(ac);
	if (r->ac == ac)
		feed(r);
}

static void
want(struct redis *r, uint32_t events)
{
	if (events == r->want)
		return;
	r->want = events;
	if (events == 0)
		loop_fd_del(r->loop, &r->lfd);
	else if (r->lfd == NULL)
		r->lfd = loop_fd_add(r->loop, r->ac->c.fd, events, on_fd, r);
	else
		loop_fd_mod(r->loop, r->lfd, events);
}

static void
add_read(void *arg)
{
	struct redis *r = arg;

	want(r, r->want | EPOLLIN);
}

static void
del_read(void *arg)
{
	struct redis *r = arg;

	want(r, r->want & ~(uint32_t)EPOLLIN);
}

static void
add_write(void *arg)
{
	struct redis *r = arg;

	want(r, r->want | EPOLLOUT);
}

static void
del_write(void *arg)
{
	struct redis *r = arg;

	want(r, r->want & ~(uint32_t)EPOLLOUT);
}

static void
cleanup(void *arg)
{
	want(arg, 0);
}

/* --- queues --- */

static void
queue_init(struct queue *q)
{
	*q = (struct queue){ .tail = &q->head };
}

static void
queue_add(struct queue *q, struct request *req)
{
	req->next = NULL;
	req->in = q;
	*q->tail = req;
	q->tail = &req->next;
	if (q->unsent == NULL)
		q->unsent = req;
}

static void
queue_pop(struct queue *q)
{
	struct request *req = q->head;

	q->head = req->next;
	if (q->head == NULL)
		q->tail = &q->head;
	if (q->unsent == req)
		q->unsent = req->next;
}

static void
queue_clear(struct queue *q)
{
	while (q->head != NULL) {
		struct request *req = q->head;

		queue_pop(q);
		free(req);
	}
}

static void
account(struct redis *r)
{
	metric_set(M_REDIS_WAITING_BYTES, r->waiting_bytes);
	if (r->refused && r->waiting_bytes <= r->queue_max / 2) {
		r->refused = false;
		if (r->events->room != NULL)
			r->events->room(r->arg);
	}
}

/* Takes what does not outlive the connection out of q and appends it to *tail. */
static struct request **
take_lost(struct redis *r, struct queue *q, struct request **tail)
{
	struct queue kept;

	queue_init(&kept);
	while (q->head != NULL) {
		struct request *req = q->head;

		queue_pop(q);
		if (req->mode == REDIS_REPEAT) {
			queue_add(&kept, req);
			continue;
		}
		if (req->mode != REDIS_SETUP)
			r->waiting_bytes -= req->len;
		*tail = req;
		tail = &req->next;
	}
	*tail = NULL;
	queue_init(q);
	while (kept.head != NULL) {
		struct request *req = kept.head;

		queue_pop(&kept);
		queue_add(q, req);
	}
	return tail;
}

/* --- the connection ends --- */

static void
retry(struct redis *r)
{
	loop_timer_set(r->loop, &r->timer, r->retry_us, connect_now, r);
	r->retry_us = r->retry_us * 2 > REDIS_RETRY_MAX_MS * 1000 ? REDIS_RETRY_MAX_MS * 1000
								  : r->retry_us * 2;
}

static const char *
where(const struct redis *r)
{
	return r->path != NULL ? r->path : r->host;
}

/* r->ac is NULL already. */
static void
ended(struct redis *r)
{
	struct request *lost = NULL, **tail = &lost;
	bool was_connected = r->connected;

	/* A connection that only ever ended in refusals is no reason to try again at once. */
	if (r->worked || (r->ready && loop_now_us(r->loop) - r->ready_us > STEADY_US))
		r->retry_us = REDIS_RETRY_MIN_MS * 1000;
	want(r, 0);
	r->established = r->connected = r->ready = r->worked = false;
	r->unanswered = 0;
	r->in_flight_bytes = 0;
	tail = take_lost(r, &r->setup, tail);
	take_lost(r, &r->work, tail);
	metric_set(M_REDIS_UP, 0);
	retry(r);
	while (lost != NULL) {
		struct request *req = lost;

		lost = req->next;
		if (req->fn != NULL)
			req->fn(req->arg, ERR_CLOSED, &(struct redis_view){ .kind = REDIS_NIL });
		free(req);
	}
	if (was_connected)
		r->events->down(r->arg);
	account(r);
}

void
redis_fail(struct redis *r, const char *why)
{
	redisAsyncContext *ac = r->ac;

	if (ac == NULL)
		return;
	log_warn("redis.down", LS("at", where(r)), LS("why", why));
	want(r, 0);
	r->ac = NULL;
	ac->data = NULL;
	/* In a callback this only marks it; hiredis frees it when the callback returns. */
	redisAsyncFree(ac);
	ended(r);
}

static void
on_connect(const redisAsyncContext *ac, int status)
{
	struct redis *r = ac->data;

	if (r == NULL || r->ac != ac)
		return;
	if (status == REDIS_OK) {
		r->established = true;
		return;
	}
	/* hiredis frees the context itself after this. */
	log_warn("redis.connect", LS("at", where(r)), LS("why", ac->errstr));
	r->ac = NULL;
	ended(r);
}

static void
on_disconnect(const redisAsyncContext *ac, int status)
{
	struct redis *r = ac->data;

	(void)status;
	if (r == NULL || r->ac != ac)
		return;
	log_warn("redis.down", LS("at", where(r)), LS("why", ac->err != 0 ? ac->errstr : "closed"));
	r->ac = NULL;
	ended(r);
}

/* --- requests --- */

static void
build_begin(struct redis *r)
{
	buf_clear(&r->args);
	r->arg_count = 0;
	r->script = -1;
}

void
redis_arg_put(struct buf *out, struct bytes value)
{
	char head[24];
	int n = snprintf(head, sizeof(head), "$%zu\r\n", value.len);

	buf_add(out, head, (size_t)n);
	buf_add(out, value.data, value.len);
	buf_add(out, "\r\n", 2);
}

void
redis_arg(struct redis *r, struct bytes value)
{
	redis_arg_put(&r->args, value);
	r->arg_count++;
}

void
redis_args(struct redis *r, struct bytes encoded, uint32_t count)
{
	buf_add(&r->args, encoded.data, encoded.len);
	r->arg_count += count;
}

void
redis_arg_str(struct redis *r, const char *value)
{
	redis_arg(r, bytes_of_str(value));
}

void
redis_arg_int(struct redis *r, int64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRId64, value);
	redis_arg_str(r, text);
}

void
redis_arg_uint(struct redis *r, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	redis_arg_str(r, text);
}

void
redis_command(struct redis *r, const char *name)
{
	build_begin(r);
	redis_arg_str(r, name);
}

void
redis_script(struct redis *r, size_t index)
{
	ASSERT(index < r->script_count);
	build_begin(r);
	redis_arg_str(r, "EVALSHA");
	redis_arg(r, bytes_of(r->shas[index], SHA_LEN));
	r->script = (int)index;
	r->sha_at = r->args.len - SHA_LEN - 2;
	redis_arg_str(r, "0");
}

static void
answered(struct redis *r, struct request *req, const redisReply *reply)
{
	struct redis_view v = view_of(reply);
	int err = reply->type == REDIS_REPLY_ERROR ? err_of_text(reply->str) : 0;
	enum redis_mode mode = req->mode;

	if (err != 0) {
		metric_add(M_REDIS_REFUSED, 1);
		if (mode == REDIS_REPEAT) {
			redis_fail(r, reply->str);
			return;
		}
	} else if (mode != REDIS_SETUP) {
		r->worked = true;
	}
	ASSERT(req->in->head == req);
	queue_pop(req->in);
	if (mode != REDIS_SETUP)
		r->waiting_bytes -= req->len;
	if (req->fn != NULL)
		req->fn(req->arg, err, &v);
	free(req);
	/* These hold for the whole connection, whatever is asked. */
	if (err == ERR_AGAIN)
		redis_fail(r, reply->str);
	else
		account(r);
}

static void
on_reply(redisAsyncContext *ac, void *reply, void *arg)
{
	struct redis *r = ac->data;
	struct request *req = arg;

	/* NULL: the connection is ending; ended() deals with all requests. */
	if (r == NULL || r->ac != ac || reply == NULL)
		return;
	r->unanswered--;
	r->in_flight_bytes -= req->len;
	r->heard_us = loop_now_us(r->loop);
	answered(r, req, reply);
}

static void
hand_over(struct redis *r, struct queue *q)
{
	while (q->unsent != NULL && sdslen(r->ac->c.obuf) < FEED_BYTES &&
	       r->in_flight_bytes < REDIS_IN_FLIGHT_MAX) {
		struct request *req = q->unsent;

		q->unsent = req->next;
		if (req->script >= 0)
			memcpy(req->bytes + req->sha_at, r->shas[req->script], SHA_LEN);
		if (r->unanswered++ == 0)
			r->heard_us = loop_now_us(r->loop);
		r->in_flight_bytes += req->len;
		/* It only fails on a context that is ending; that is told by on_disconnect. */
		(void)redisAsyncFormattedCommand(r->ac, on_reply, req, req->bytes, req->len);
	}
}

static void
feed(struct redis *r)
{
	if (r->ac == NULL)
		return;
	hand_over(r, &r->setup);
	if (r->ready && r->setup.unsent == NULL)
		hand_over(r, &r->work);
}

int
redis_send(struct redis *r, enum redis_mode mode, redis_fn fn, void *arg)
{
	struct request *req;
	char head[16];
	size_t n = (size_t)snprintf(head, sizeof(head), "*%" PRIu32 "\r\n", r->arg_count);
	size_t len = n + r->args.len;

	if ((mode == REDIS_SETUP && r->ac == NULL) || (mode == REDIS_ONCE && !r->ready))
		return ERR_CLOSED;
	if (mode != REDIS_SETUP && r->waiting_bytes > 0 &&
	    (r->waiting_bytes >= r->queue_max || len > r->queue_max - r->waiting_bytes)) {
		r->refused = true;
		return ERR_FULL;
	}
	req = xmalloc(sizeof(*req) + len);
	*req = (struct request){ .fn = fn,
		.arg = arg,
		.mode = mode,
		.script = r->script,
		.sha_at = n + r->sha_at,
		.len = len };
	memcpy(req->bytes, head, n);
	memcpy(req->bytes + n, r->args.data, r->args.len);
	queue_add(mode == REDIS_SETUP ? &r->setup : &r->work, req);
	if (mode != REDIS_SETUP)
		r->waiting_bytes += len;
	metric_add(M_REDIS_REQUESTS, 1);
	feed(r);
	return 0;
}

void
redis_flush(struct redis *r)
{
	/* Again as long as the kernel takes all; ends at REDIS_IN_FLIGHT_MAX. */
	for (feed(r); r->ac != NULL && r->established && (r->want & EPOLLOUT) != 0; feed(r)) {
		redisAsyncHandleWrite(r->ac);
		if (r->ac != NULL && (r->want & EPOLLOUT) != 0)
			break;
	}
	account(r);
}

/* --- the connection begins --- */

static void
on_script(void *arg, int err, const struct redis_view *reply)
{
	struct redis *r = arg;

	if (err == ERR_CLOSED || err == ERR_AGAIN) /* it ends, and that is logged */
		return;
	if (err != 0 || reply->kind != REDIS_TEXT || reply->text.len != SHA_LEN) {
		redis_fail(r, "script refused");
		return;
	}
	memcpy(r->shas[r->scripts_loaded], reply->text.data, SHA_LEN);
	if (++r->scripts_loaded < r->script_count)
		return;
	r->connected = true;
	r->events->connected(r->arg);
}

static void
check(void *arg)
{
	struct redis *r = arg;

	if (r->unanswered > 0 && loop_now_us(r->loop) - r->heard_us > REDIS_TIMEOUT_MS * 1000)
		redis_fail(r, "no answer");
	else
		loop_timer_set(r->loop, &r->timer, CHECK_US, check, r);
}

static void
connect_now(void *arg)
{
	struct redis *r = arg;
	redisAsyncContext *ac =
	    r->path != NULL ? redisAsyncConnectUnix(r->path) : redisAsyncConnect(r->host, r->port);

	if (ac == NULL || ac->err != 0) {
		log_warn("redis.connect", LS("at", where(r)),
		    LS("why", ac == NULL ? "no memory" : ac->errstr));
		if (ac != NULL)
			redisAsyncFree(ac);
		retry(r);
		return;
	}
	r->ac = ac;
	r->want = 0;
	ac->data = r;
	ac->ev.data = r;
	ac->ev.addRead = add_read;
	ac->ev.delRead = del_read;
	ac->ev.addWrite = add_write;
	ac->ev.delWrite = del_write;
	ac->ev.cleanup = cleanup;
	redisAsyncSetConnectCallback(ac, on_connect);
	redisAsyncSetDisconnectCallback(ac, on_disconnect);
	metric_add(M_REDIS_CONNECTS, 1);
	r->scripts_loaded = 0;
	for (size_t i = 0; i < r->script_count; i++) {
		redis_command(r, "SCRIPT");
		redis_arg_str(r, "LOAD");
		redis_arg_str(r, r->scripts[i]);
		(void)redis_send(r, REDIS_SETUP, on_script, r);
	}
	loop_timer_set(r->loop, &r->timer, CHECK_US, check, r);
}

void
redis_ready(struct redis *r)
{
	ASSERT(r->connected);
	r->ready = true;
	r->ready_us = loop_now_us(r->loop);
	metric_set(M_REDIS_UP, 1);
	log_info("redis.up", LS("at", where(r)));
	redis_flush(r);
}

void
redis_drop(struct redis *r)
{
	struct request *dropped = r->work.head;

	ASSERT(!r->ready);
	queue_init(&r->work);
	r->waiting_bytes = 0;
	while (dropped != NULL) {
		struct request *req = dropped;

		dropped = req->next;
		if (req->fn != NULL)
			req->fn(req->arg, ERR_CLOSED, &(struct redis_view){ .kind = REDIS_NIL });
		free(req);
	}
	account(r);
}

bool
redis_is_ready(const struct redis *r)
{
	return r->ready;
}

size_t
redis_waiting_bytes(const struct redis *r)
{
	return r->waiting_bytes;
}

/* --- new and free --- */

static int
parse_url(struct redis *r, const char *url, const char *data_dir)
{
	const char *colon;

	if (url[0] == '\0') {
		r->path = xasprintf("%s/run/redis.sock", data_dir);
		return 0;
	}
	if (strncmp(url, "unix://", 7) == 0 && url[7] != '\0') {
		r->path = xstrdup(url + 7);
		return 0;
	}
	if (strncmp(url, "redis://", 8) != 0)
		return ERR_CONFIG;
	url += 8;
	colon = strrchr(url, ':');
	r->port = colon != NULL ? atoi(colon + 1) : 6379;
	snprintf(r->host, sizeof(r->host), "%.*s",
	    (int)(colon != NULL ? (size_t)(colon - url) : strcspn(url, "/")), url);
	return r->host[0] == '\0' || r->port <= 0 || r->port > 65535 ? ERR_CONFIG : 0;
}

int
redis_new(struct loop *loop, const struct redis_options *options, const struct redis_events *events,
    void *arg, struct redis **ret_redis)
{
	struct redis *r = xcalloc(1, sizeof(*r));

	ASSERT(options->script_count > 0 && options->script_count <= REDIS_SCRIPTS_MAX);
	r->loop = loop;
	r->events = events;
	r->arg = arg;
	r->scripts = options->scripts;
	r->script_count = options->script_count;
	r->queue_max = options->queue_max;
	r->retry_us = REDIS_RETRY_MIN_MS * 1000;
	queue_init(&r->setup);
	queue_init(&r->work);
	if (parse_url(r, options->url, options->data_dir) != 0) {
		log_error("redis.url", LS("url", options->url),
		    LS("remedy", "unix:///path or redis://host:port"));
		redis_free(&r);
		return ERR_CONFIG;
	}
	loop_timer_set(loop, &r->timer, 0, connect_now, r);
	*ret_redis = r;
	return 0;
}

void
redis_free(struct redis **p_r)
{
	struct redis *r = *p_r;

	if (r == NULL)
		return;
	*p_r = NULL;
	loop_timer_clear(r->loop, &r->timer);
	if (r->ac != NULL) {
		redisAsyncContext *ac = r->ac;

		want(r, 0);
		r->ac = NULL;
		ac->data = NULL;
		redisAsyncFree(ac);
	}
	queue_clear(&r->setup);
	queue_clear(&r->work);
	free(r->path);
	buf_fini(&r->args);
	free(r);
}
