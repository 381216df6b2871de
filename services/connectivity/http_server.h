/* http_server.h - HTTP ingest: requests in, readings to ingest, answers when these are durable
 *
 * A connection has one request at a time: what a client sends behind it waits, so answers come in the order of requests. A
 * request is answered when the last of its readings is. Nothing of a body that cannot be decoded, or that speaks of a device
 * that its sender may not speak for, is stored. */
#ifndef ROOST_HTTP_SERVER_H
#define ROOST_HTTP_SERVER_H

#include "auth.h"
#include "conn.h"
#include "ingest.h"
#include "settings.h"
#include "telemetry.h"

#define HTTP_REQUESTS_MAX 65536	/* whose readings are under way, those without a connection any more included */
#define HTTP_PARTS_MAX 65536	/* readings of a request: samples of one device that follow each other */

/* What the server asks others to do; in tests these are stand-ins. */
struct http_ops {
	/* ingest_offer_points(), ingest_offer(), ingest_stamp() */
	int (*offer_points)(void *arg, const struct ingest_message *m, const struct payload_result *r, uint64_t token);
	int (*offer)(void *arg, const struct ingest_message *m, uint64_t token, struct buf *reason);
	int64_t (*stamp)(void *arg);
	/* auth_check(), auth_forget() */
	enum auth_verdict (*check)(void *arg, const struct auth_request *q, auth_done_fn done, void *done_arg, struct auth_answer *ret);
	void (*forget)(void *arg, const void *done_arg);
	/* access_may_report() */
	bool (*may_report)(void *arg, const struct auth_grant *grant, struct bytes own, struct bytes device);
	void *arg;
};

struct http_config {
	size_t body_max;		/* bytes of a body, as it comes and decompressed */
	size_t buffer_max;		/* bytes of all bodies */
	int64_t head_timeout_us, body_timeout_us, idle_timeout_us, answer_timeout_us;
	const char *device_tag;		/* line protocol */
	enum telemetry_metric metric;
};

struct http_server;
struct http_conn;

struct http_config http_config_of(const struct settings *settings);
struct http_server *http_server_new(const struct http_config *config, const struct http_ops *ops);
/* And what connections there are. */
void http_server_free(struct http_server **s);
struct conn_set *http_server_set(struct http_server *s);
void http_server_now(struct http_server *s, int64_t now_us, int64_t wall_us);
/* What ingest says of a token of INGEST_OF_HTTP; that there is room. */
void http_server_answer(struct http_server *s, uint64_t token, uint32_t verdict);
void http_server_room(struct http_server *s);
/* About once a second: requests that have waited too long. */
void http_server_tick(struct http_server *s);
/* Idle connections are closed, the others after their answer. */
void http_server_drain(struct http_server *s);
/* All of them are closed. */
void http_server_shutdown(struct http_server *s);

struct conn *http_conn_new(struct http_server *s, bool loopback);
void http_conn_free(struct http_conn **c);
struct http_conn *http_conn_of(struct conn *c);
/* As listener_protocol's. */
size_t http_conn_input(struct http_conn *c, struct bytes in, size_t *ret_need);
void http_conn_announced(struct http_conn *c, bool loopback);
void http_conn_on_deadline(struct http_conn *c);
void http_conn_on_sent(struct http_conn *c);

#endif
