/* redis_impl.h - what the redis files share */
#ifndef ROOST_REDIS_IMPL_H
#define ROOST_REDIS_IMPL_H

#include "redis.h"

#define REDIS_HOST_MAX 256
#define REDIS_SHA_LEN 40

struct redisAsyncContext;
struct redisReply;

struct redis_request {
	struct redis_request *next;
	struct redis_queue *in;
	redis_fn fn;
	void *arg;
	enum redis_mode mode;
	int script;    /* index; -1: it is none */
	size_t sha_at; /* the script's name in bytes: it is filled in when the request leaves */
	size_t len;
	char bytes[];
};

struct redis_queue {
	struct redis_request *head;
	struct redis_request **tail; /* NULL: empty and never used */
	struct redis_request *unsent;
};

struct redis {
	struct loop *loop;
	const struct redis_events *events;
	void *arg;
	char *path; /* unix socket, or NULL */
	char host[REDIS_HOST_MAX];
	int port;
	const char *const *scripts;
	char shas[REDIS_SCRIPTS_MAX][REDIS_SHA_LEN + 1];
	size_t script_count;
	size_t scripts_loaded;
	size_t value_max;
	size_t queue_max;
	struct redisAsyncContext *ac;
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
	bool in_reply; /* hiredis is handing out a reply */
	struct redis_queue setup;
	struct redis_queue work;
	size_t waiting_bytes;	/* of work */
	size_t in_flight_bytes; /* of both */
	uint64_t unanswered;
	int64_t heard_us;
	struct buf args; /* the request being built, without its first line */
	uint32_t arg_count;
	int script;
	size_t sha_at;
};

/* redis_view.c */
struct redis_view redis_view_of(const struct redisReply *reply);
int redis_err_of(const char *text);	/* what an error reply is in our terms */

/* redis_request.c */
void redis_queue_init(struct redis_queue *q);
void redis_queue_add(struct redis_queue *q, struct redis_request *req);
void redis_queue_pop(struct redis_queue *q);	/* the oldest; it stays the caller's */
void redis_queue_clear(struct redis_queue *q);
/* Takes what does not outlive the connection out of q and appends it to *tail; returns the new tail. */
struct redis_request **redis_take_lost(struct redis *r, struct redis_queue *q, struct redis_request **tail);
int redis_parse_url(struct redis *r, const char *url, const char *data_dir);
struct redis_request *redis_request_new(const struct redis *r, enum redis_mode mode, redis_fn fn, void *arg);	/* of what was built */

#endif
