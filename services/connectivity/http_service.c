/* http_service.c - the HTTP server among the other parts of the worker: listener, authentication, ingest */
#include "http_service.h"

#include <stdlib.h>

#include "clock.h"
#include "http_server.h"
#include "listener.h"
#include "mem.h"
#include "metrics.h"

struct http_service {
	struct loop *loop;
	struct auth *auth;
	const struct access *access;
	struct ingest *ingest;
	struct http_server *server;
	struct listener *listener;
};

static int
offer_points(
    void *arg, const struct ingest_message *m, const struct payload_result *r, uint64_t token)
{
	struct http_service *h = arg;

	return ingest_offer_points(h->ingest, m, r, token, NULL);
}

static int
offer(void *arg, const struct ingest_message *m, uint64_t token, struct buf *reason)
{
	struct http_service *h = arg;

	return ingest_offer(h->ingest, m, token, reason);
}

static int64_t
stamp(void *arg)
{
	struct http_service *h = arg;

	return ingest_stamp(h->ingest);
}

static enum auth_verdict
check(void *arg, const struct auth_request *q, auth_done_fn done, void *done_arg,
    struct auth_answer *ret)
{
	struct http_service *h = arg;

	return auth_check(h->auth, q, done, done_arg, ret);
}

static void
forget(void *arg, const void *done_arg)
{
	struct http_service *h = arg;

	auth_forget(h->auth, done_arg);
}

static bool
may_report(void *arg, const struct auth_grant *grant, struct bytes own, struct bytes device)
{
	const struct http_service *h = arg;

	return access_may_report(h->access, grant, own, device);
}

static void
tell_now(void *arg, int64_t now_us)
{
	struct http_service *h = arg;

	http_server_now(h->server, now_us, clock_wall_us());
}

static struct conn *
on_open(void *arg, bool loopback)
{
	struct http_service *h = arg;

	return http_conn_new(h->server, loopback);
}

static size_t
on_input(struct conn *c, struct bytes in, size_t *ret_need)
{
	return http_conn_input(http_conn_of(c), in, ret_need);
}

static void
on_announced(struct conn *c, bool loopback)
{
	http_conn_announced(http_conn_of(c), loopback);
}

static void
on_deadline(struct conn *c)
{
	http_conn_on_deadline(http_conn_of(c));
}

static void
on_sent(struct conn *c)
{
	http_conn_on_sent(http_conn_of(c));
}

static void
on_cut(struct conn *c)
{
	conn_close(c);
}

static void
on_gone(struct conn *c)
{
	struct http_conn *hc = http_conn_of(c);

	http_conn_free(&hc);
}

static bool
is_wanted(const struct transport_doors *doors)
{
	for (size_t i = 0; i < doors->count; i++)
		if (doors->doors[i].protocol == TRANSPORT_HTTP)
			return true;
	return false;
}

struct http_service *
http_service_new(struct worker *w, const struct transport_doors *doors, struct auth *auth,
    const struct access *access, struct ingest *ingest)
{
	const struct http_config config = http_config_of(w->settings);
	struct http_service *h;

	if (!is_wanted(doors))
		return NULL;
	h = xcalloc(1, sizeof(*h));
	h->loop = w->loop;
	h->auth = auth;
	h->access = access;
	h->ingest = ingest;
	h->server = http_server_new(&config, &(struct http_ops){ .offer_points = offer_points,
						 .offer = offer,
						 .stamp = stamp,
						 .check = check,
						 .forget = forget,
						 .may_report = may_report,
						 .arg = h });
	tell_now(h, loop_now_us(w->loop));
	h->listener = listener_new(w,
	    &(struct listener_protocol){ .serves = TRANSPORT_HTTP,
		.metrics = { M_HTTP_OVER_LIMIT, M_HTTP_OVER_ADDRESS_LIMIT, M_HTTP_INPUT_BYTES,
		    M_HTTP_OUTPUT_BYTES },
		.per_address_setting = "http.connections_per_address",
		.connections_max = (size_t)settings_int(w->settings, SET_HTTP_CONNECTIONS_MAX),
		.connections_per_address =
		    (uint32_t)settings_int(w->settings, SET_HTTP_CONNECTIONS_PER_ADDRESS),
		.open = on_open,
		.input = on_input,
		.announced = on_announced,
		.deadline = on_deadline,
		.sent = on_sent,
		.cut = on_cut,
		.gone = on_gone,
		.now = tell_now,
		.arg = h },
	    doors, http_server_set(h->server));
	return h;
}

void
http_service_free(struct http_service **p_h)
{
	struct http_service *h = *p_h;

	*p_h = NULL;
	if (!h)
		return;
	http_server_free(&h->server);
	listener_free(&h->listener);
	free(h);
}

void
http_service_answer(struct http_service *h, uint64_t token, uint32_t verdict)
{
	if (!h)
		return;
	tell_now(h, loop_now_us(h->loop));
	http_server_answer(h->server, token, verdict);
}

void
http_service_room(struct http_service *h)
{
	if (!h)
		return;
	tell_now(h, loop_now_us(h->loop));
	http_server_room(h->server);
}

void
http_service_turn(struct http_service *h)
{
	if (h)
		listener_turn(h->listener);
}

void
http_service_tick(struct http_service *h)
{
	if (!h)
		return;
	tell_now(h, loop_now_us(h->loop));
	http_server_tick(h->server);
}

void
http_service_drain(struct http_service *h)
{
	if (!h)
		return;
	listener_stop_accepting(h->listener);
	http_server_drain(h->server);
}

void
http_service_shutdown(struct http_service *h)
{
	if (!h)
		return;
	http_server_shutdown(h->server);
	listener_turn(h->listener);
}

bool
http_service_is_empty(const struct http_service *h)
{
	return !h || listener_is_empty(h->listener);
}
