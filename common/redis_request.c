/* redis_request.c - requests to Redis: built, queued, taken out when their connection ends; and where Redis is */
#include "redis_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "mem.h"

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
	redis_arg(r, bytes_of(r->shas[index], REDIS_SHA_LEN));
	r->script = (int)index;
	r->sha_at = r->args.len - REDIS_SHA_LEN - 2;
	redis_arg_str(r, "0");
}

/* The request is *count CRLF and the arguments (the RESP protocol). */
struct redis_request *
redis_request_new(const struct redis *r, enum redis_mode mode, redis_fn fn, void *arg)
{
	char head[16];
	size_t n = (size_t)snprintf(head, sizeof(head), "*%" PRIu32 "\r\n", r->arg_count);
	size_t len = n + r->args.len;
	struct redis_request *req = xmalloc(sizeof(*req) + len);

	*req = (struct redis_request){ .fn = fn,
		.arg = arg,
		.mode = mode,
		.script = r->script,
		.sha_at = n + r->sha_at,
		.len = len };
	memcpy(req->bytes, head, n);
	memcpy(req->bytes + n, r->args.data, r->args.len);
	return req;
}

void
redis_queue_init(struct redis_queue *q)
{
	*q = (struct redis_queue){ .tail = &q->head };
}

void
redis_queue_add(struct redis_queue *q, struct redis_request *req)
{
	req->next = NULL;
	req->in = q;
	*q->tail = req;
	q->tail = &req->next;
	if (q->unsent == NULL)
		q->unsent = req;
}

void
redis_queue_pop(struct redis_queue *q)
{
	struct redis_request *req = q->head;

	q->head = req->next;
	if (q->head == NULL)
		q->tail = &q->head;
	if (q->unsent == req)
		q->unsent = req->next;
}

void
redis_queue_clear(struct redis_queue *q)
{
	while (q->head != NULL) {
		struct redis_request *req = q->head;

		redis_queue_pop(q);
		free(req);
	}
}

struct redis_request **
redis_take_lost(struct redis *r, struct redis_queue *q, struct redis_request **tail)
{
	struct redis_queue kept;

	redis_queue_init(&kept);
	while (q->head != NULL) {
		struct redis_request *req = q->head;

		redis_queue_pop(q);
		if (req->mode == REDIS_REPEAT) {
			redis_queue_add(&kept, req);
			continue;
		}
		if (req->mode != REDIS_SETUP)
			r->waiting_bytes -= req->len;
		*tail = req;
		tail = &req->next;
	}
	*tail = NULL;
	redis_queue_init(q);
	while (kept.head != NULL) {
		struct redis_request *req = kept.head;

		redis_queue_pop(&kept);
		redis_queue_add(q, req);
	}
	return tail;
}

/* HOST[:PORT][/...] */
static int
parse_host(struct redis *r, const char *text)
{
	const char *colon = strrchr(text, ':');
	size_t len = colon != NULL ? (size_t)(colon - text) : strcspn(text, "/");
	char *end = NULL;
	long port = colon != NULL ? strtol(colon + 1, &end, 10) : 6379;

	if (len == 0 || len >= sizeof(r->host) || port <= 0 || port > 65535 ||
	    (end != NULL && *end != '\0' && *end != '/'))
		return ERR_CONFIG;
	memcpy(r->host, text, len);
	r->host[len] = '\0';
	r->port = (int)port;
	return 0;
}

int
redis_parse_url(struct redis *r, const char *url, const char *data_dir)
{
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
	return parse_host(r, url + 8);
}
