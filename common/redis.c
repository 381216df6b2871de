/* redis.c - one pipelined connection to Redis: begins, is fed, ends, begins again
 *
 * Requests are kept here as the bytes that go out, in two queues: SETUP of this connection, and work. hiredis is given no
 * more than FEED_BYTES at a time, because it moves what it could not write to the front of its buffer after every write. */
#include "redis_impl.h"

#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <hiredis/sds.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"

#define CHECK_US 500000
#define FEED_BYTES 262144
#define READ_BYTES 16384 /* what hiredis reads at a time ... */
#define READS_MAX 16	 /* ... and how often in a turn */
#define STEADY_US 1000000

static redisReplyObjectFunctions *default_replies;

static void connect_now(void *arg);
static void feed(struct redis *r);

/* --- what Redis says is bounded, and was asked for --- */

/* hiredis aborts the process if an answer comes that nobody asked for, and reserves room for as many elements as an answer
 * claims to have. */
static void *
create_array(const redisReadTask *task, int elements)
{
	return elements > REDIS_ELEMENTS_MAX ? NULL : default_replies->createArray(task, elements);
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
speaks_unasked(const struct redis *r, int fd)
{
	char byte;

	return r->unanswered == 0 && recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static void
on_readable(struct redis *r, int fd)
{
	redisAsyncContext *ac = r->ac;
	int more = 1;

	/* The context may end in a callback. */
	for (int i = 0; i < READS_MAX && more > 0 && r->ac == ac; i++) {
		if (speaks_unasked(r, fd)) {
			redis_fail(r, "an answer that nobody asked for");
			return;
		}
		redisAsyncHandleRead(ac);
		if (r->ac != ac)
			return;
		if (ac->c.reader->len - ac->c.reader->pos > r->value_max + READ_BYTES) {
			redis_fail(r, "an answer without end");
			return;
		}
		if (ioctl(fd, FIONREAD, &more) != 0)
			more = 0;
	}
}

/* --- descriptors: hiredis says what it waits for --- */

static void
on_fd(void *arg, int fd, uint32_t events)
{
	struct redis *r = arg;
	redisAsyncContext *ac = r->ac;

	if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0 && (r->want & EPOLLIN) != 0)
		on_readable(r, fd);
	/* The context may have ended in a callback, or another taken its place. */
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

/* --- the connection ends --- */

static void
retry(struct redis *r)
{
	loop_timer_set(r->loop, &r->timer, r->retry_us, connect_now, r);
	r->retry_us *= 2;
	if (r->retry_us > REDIS_RETRY_MAX_US)
		r->retry_us = REDIS_RETRY_MAX_US;
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
	struct redis_request *lost = NULL, **tail = &lost;
	bool was_connected = r->connected;

	/* A connection that only ever ended in refusals is no reason to try again at once. */
	if (r->worked || (r->ready && loop_now_us(r->loop) - r->ready_us > STEADY_US))
		r->retry_us = REDIS_RETRY_MIN_US;
	want(r, 0);
	r->established = r->connected = r->ready = r->worked = false;
	r->unanswered = 0;
	r->in_flight_bytes = 0;
	tail = redis_take_lost(r, &r->setup, tail);
	redis_take_lost(r, &r->work, tail);
	metric_set(M_REDIS_UP, 0);
	retry(r);
	while (lost != NULL) {
		struct redis_request *req = lost;

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
answered(struct redis *r, struct redis_request *req, const redisReply *reply)
{
	struct redis_view v = redis_view_of(reply);
	int err = reply->type == REDIS_REPLY_ERROR ? redis_err_of(reply->str) : 0;
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
	redis_queue_pop(req->in);
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
	struct redis_request *req = arg;

	/* NULL: the connection is ending; ended() deals with all requests. */
	if (r == NULL || r->ac != ac || reply == NULL)
		return;
	r->unanswered--;
	r->in_flight_bytes -= req->len;
	r->heard_us = loop_now_us(r->loop);
	r->in_reply = true;
	answered(r, req, reply);
	r->in_reply = false;
	if (r->ac == ac && r->unanswered == 0 && ac->c.reader->pos < ac->c.reader->len)
		redis_fail(r, "an answer that nobody asked for");
}

static void
hand_over(struct redis *r, struct redis_queue *q)
{
	while (q->unsent != NULL && sdslen(r->ac->c.obuf) < FEED_BYTES &&
	       r->in_flight_bytes < REDIS_IN_FLIGHT_MAX) {
		struct redis_request *req = q->unsent;

		q->unsent = req->next;
		if (req->script >= 0)
			memcpy(req->bytes + req->sha_at, r->shas[req->script], REDIS_SHA_LEN);
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
	struct redis_request *req;

	if ((mode == REDIS_SETUP && r->ac == NULL) || (mode == REDIS_ONCE && !r->ready))
		return ERR_CLOSED;
	if (mode != REDIS_SETUP && r->waiting_bytes > 0 &&
	    (r->waiting_bytes >= r->queue_max || r->args.len > r->queue_max - r->waiting_bytes)) {
		r->refused = true;
		return ERR_FULL;
	}
	req = redis_request_new(r, mode, fn, arg);
	redis_queue_add(mode == REDIS_SETUP ? &r->setup : &r->work, req);
	if (mode != REDIS_SETUP)
		r->waiting_bytes += req->len;
	metric_add(M_REDIS_REQUESTS, 1);
	feed(r);
	return 0;
}

void
redis_flush(struct redis *r)
{
	/* A write that fails frees the context, which hiredis still uses while it hands out replies: then it waits for the turn. */
	if (r->in_reply) {
		feed(r);
		return;
	}
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
	if (err != 0 || reply->kind != REDIS_TEXT || reply->text.len != REDIS_SHA_LEN) {
		redis_fail(r, "script refused");
		return;
	}
	memcpy(r->shas[r->scripts_loaded], reply->text.data, REDIS_SHA_LEN);
	if (++r->scripts_loaded < r->script_count)
		return;
	r->connected = true;
	r->events->connected(r->arg);
}

static void
check(void *arg)
{
	struct redis *r = arg;

	if (r->unanswered > 0 && loop_now_us(r->loop) - r->heard_us > REDIS_TIMEOUT_US)
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
	bound_replies(ac);
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
	struct redis_request *dropped = r->work.head;

	ASSERT(!r->ready);
	redis_queue_init(&r->work);
	r->waiting_bytes = 0;
	while (dropped != NULL) {
		struct redis_request *req = dropped;

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
	r->value_max = options->value_max;
	r->queue_max = options->queue_max;
	r->retry_us = REDIS_RETRY_MIN_US;
	redis_queue_init(&r->setup);
	redis_queue_init(&r->work);
	if (redis_parse_url(r, options->url, options->data_dir) != 0) {
		log_error("redis.url", LS("url", options->url),
		    LS("remedy", "unix:///path or redis://host:port"));
		redis_free(&r);
		return ERR_CONFIG;
	}
	loop_timer_set(loop, &r->timer, 0, connect_now, r);
	*ret_redis = r;
	return 0;
}

int
redis_open(struct loop *loop, const char *url, const char *data_dir, const struct redis_use *use,
    void *arg, struct redis **ret_redis)
{
	const struct redis_options options = {
		.url = url,
		.data_dir = data_dir,
		.scripts = use->scripts,
		.script_count = use->script_count,
		.value_max = use->value_max,
		.queue_max = use->queue_max,
	};

	return redis_new(loop, &options, &use->events, arg, ret_redis);
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
	redis_queue_clear(&r->setup);
	redis_queue_clear(&r->work);
	free(r->path);
	buf_fini(&r->args);
	free(r);
}
