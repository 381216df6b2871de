/* transport.c - what lies between a socket's bytes and the protocol's; no I/O */
#include "transport.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "log.h"
#include "mem.h"

struct transport {
	struct buf header; /* PROXY, as far as it has come */
	struct tls_conn *tls;
	struct websocket *ws;
	const char *fault;
	enum proxy_accept proxy; /* PROXY_OFF: it has come, or none is asked for */
	bool ended;
	bool closing; /* all is said: TLS says so, too */
	bool said_close;
	struct conn *conn; /* in queue */
	struct transport_queue *queue;
	struct transport *next, *before;
};

/* --- doors --- */

/* One value for all listening addresses, or one for each (settings_check). */
static enum proxy_accept
proxy_of(const struct settings *s, enum setting_id id, size_t nth)
{
	size_t n = settings_list_count(s, id);
	const char *text;

	if (n == 0)
		return PROXY_OFF;
	text = settings_list_at(s, id, nth < n ? nth : n - 1);
	if (strcmp(text, "v1") == 0)
		return PROXY_V1;
	if (strcmp(text, "v2") == 0)
		return PROXY_V2;
	return strcmp(text, "any") == 0 ? PROXY_ANY : PROXY_OFF;
}

static size_t
strings_of(const struct settings *s, enum setting_id id, const char **to)
{
	size_t n = 0;

	for (; n < WEBSOCKET_LIST_MAX && n < settings_list_count(s, id); n++)
		to[n] = settings_list_at(s, id, n);
	return n;
}

/* What the supervisor's listening sockets are for. */
static const struct kind {
	const char *name;
	enum transport_protocol protocol;
	enum setting_id proxy;
	bool tls;
	bool websocket;
} kinds[] = {
	{ "mqtt", TRANSPORT_MQTT, SET_MQTT_PROXY_PROTOCOL, false, false },
	{ "mqtt-ws", TRANSPORT_MQTT, SET_MQTT_WS_PROXY_PROTOCOL, false, true },
	{ "mqtts", TRANSPORT_MQTT, SET_MQTTS_PROXY_PROTOCOL, true, false },
	{ "mqtt-wss", TRANSPORT_MQTT, SET_MQTT_WSS_PROXY_PROTOCOL, true, true },
	{ "http", TRANSPORT_HTTP, SET_HTTP_PROXY_PROTOCOL, false, false },
	{ "https", TRANSPORT_HTTP, SET_HTTPS_PROXY_PROTOCOL, true, false },
};

static const struct kind *
kind_of(const char *name)
{
	for (size_t k = 0; k < COUNT_OF(kinds); k++)
		if (strcmp(kinds[k].name, name) == 0)
			return &kinds[k];
	return NULL;
}

static void
doors_open(struct transport_doors *d, const struct worker *w)
{
	size_t count[COUNT_OF(kinds)] = { 0 };

	d->count = w->listener_count;
	d->doors = xcalloc(d->count + 1, sizeof(d->doors[0]));
	for (size_t i = 0; i < d->count; i++) {
		const struct kind *k = kind_of(w->listeners[i].kind);

		if (strncmp(w->listeners[i].kind, "coap", 4) == 0) {
			d->doors[i].protocol = TRANSPORT_DATAGRAMS; /* no door of ours */
			continue;
		}
		ASSERT(k); /* the supervisor's list is ours */
		d->doors[i] = (struct transport_door){
			.protocol = k->protocol,
			.proxy = proxy_of(w->settings, k->proxy, count[k - kinds]++),
			.tls = k->tls ? d->tls : NULL,
			.websockets = k->websocket ? &d->websockets : NULL,
		};
	}
}

static int
tls_open(struct transport_doors *d, const struct worker *w)
{
	struct buf err = { .max = 0 };
	char run_dir[128];
	int rc;

	if (!tls_is_configured(w->settings))
		return 0;
	rc = tls_new(
	    w->settings, worker_run_dir(w->settings, run_dir, sizeof(run_dir)), &d->tls, &err);
	if (rc != 0)
		log_error("tls.start", LS("fault", buf_str(&err)));
	buf_fini(&err);
	return rc;
}

int
transport_doors_init(struct transport_doors *d, const struct worker *w)
{
	const struct settings *s = w->settings;
	struct websocket_policy *policy = &d->websockets.policy;
	const char *why;
	int rc;

	*d = (struct transport_doors){ .count = 0 };
	if ((rc = tls_open(d, w)) != 0)
		return rc;
	policy->path_count = strings_of(s, SET_MQTT_WS_PATHS, policy->paths);
	policy->origin_count = strings_of(s, SET_MQTT_WS_ORIGINS, policy->origins);
	/* A frame may hold the largest packet, and whatever small ones a client puts with it. */
	d->websockets.frame_max = (uint64_t)settings_int(s, SET_MQTT_PACKET_MAX) * 2 + (1u << 20);
	for (size_t i = 0; i < settings_list_count(s, SET_PROXY_TRUSTED) &&
			   d->trusted_count < COUNT_OF(d->trusted);
	     i++)
		if (address_net_parse(settings_list_at(s, SET_PROXY_TRUSTED, i),
			&d->trusted[d->trusted_count], &why) == 0)
			d->trusted_count++;
	doors_open(d, w);
	return 0;
}

void
transport_doors_fini(struct transport_doors *d)
{
	websockets_fini(&d->websockets);
	free(d->doors);
	d->doors = NULL;
	tls_free(&d->tls);
}

bool
transport_admits(
    const struct transport_doors *d, const struct transport_door *door, const struct peer *p)
{
	if (door->proxy == PROXY_OFF)
		return true;
	for (size_t i = 0; p->known && i < d->trusted_count; i++)
		if (address_net_has(&d->trusted[i], p->ip))
			return true;
	return false;
}

/* --- a connection's --- */

struct transport *
transport_new(const struct transport_door *door)
{
	struct transport *t;

	if (door->proxy == PROXY_OFF && !door->websockets && !door->tls)
		return NULL;
	t = xcalloc(1, sizeof(*t));
	t->proxy = door->proxy;
	if (door->tls)
		t->tls = tls_conn_new(door->tls,
		    door->protocol == TRANSPORT_HTTP || door->websockets ? TLS_HTTP : TLS_MQTT);
	if (door->websockets)
		t->ws = websocket_new(door->websockets);
	return t;
}

void
transport_free(struct transport **p_t)
{
	struct transport *t = *p_t;

	*p_t = NULL;
	if (!t)
		return;
	buf_fini(&t->header);
	websocket_free(&t->ws);
	tls_conn_free(&t->tls);
	free(t);
}

/* Returns how much of data belonged to the header. */
static size_t
take_proxy(struct transport *t, const uint8_t *data, size_t len, struct peer *peer)
{
	size_t before = t->header.len, room = PROXY_HEADER_MAX - before, whole;
	enum proxy_says says;
	struct peer client;
	int err;

	buf_add(&t->header, data, len < room ? len : room);
	err = proxy_header(buf_bytes(&t->header), t->proxy, &says, &client, &whole, &t->fault);
	if (err == ERR_SHORT)
		return len;
	buf_fini(&t->header);
	if (err) {
		t->ended = true;
		return len;
	}
	t->proxy = PROXY_OFF;
	if (says != PROXY_ITSELF)
		*peer = client;
	return whole - before;
}

size_t
transport_input(struct transport *t, uint8_t *data, size_t len, struct peer *peer)
{
	size_t at = 0;

	if (t->ended)
		return 0;
	if (t->proxy != PROXY_OFF)
		at = take_proxy(t, data, len, peer);
	if (t->ended || at == len)
		return 0;
	if (at)
		memmove(data, data + at, len - at);
	return t->ws ? websocket_input(t->ws, data, len - at) : len - at;
}

size_t
transport_unseal(
    struct transport *t, const uint8_t *data, size_t len, uint8_t *plain, struct peer *peer)
{
	size_t at = 0;

	if (t->ended)
		return 0;
	if (t->proxy != PROXY_OFF)
		at = take_proxy(t, data, len, peer);
	if (t->ended || at == len)
		return 0;
	len = tls_conn_input(t->tls, bytes_of(data + at, len - at), plain);
	return t->ws && len ? websocket_input(t->ws, plain, len) : len;
}

bool
transport_waits(const struct transport *t)
{
	return t->tls && tls_conn_waits(t->tls);
}

size_t
transport_again(struct transport *t, uint8_t *plain)
{
	size_t len = tls_conn_again(t->tls, plain);

	return t->ws && len ? websocket_input(t->ws, plain, len) : len;
}

bool
transport_is_tls(const struct transport *t)
{
	return t->tls != NULL;
}

bool
transport_in_handshake(const struct transport *t)
{
	return t->tls && !tls_conn_is_open(t->tls);
}

void
transport_facts(const struct transport *t, struct tls_facts *ret)
{
	if (t && t->tls)
		tls_conn_facts(t->tls, ret);
	else
		*ret = (struct tls_facts){ .text = { .max = 0 } };
}

bool
transport_awaits_proxy(const struct transport *t)
{
	return t->proxy != PROXY_OFF;
}

bool
transport_is_open(const struct transport *t)
{
	return t->ws && websocket_is_open(t->ws);
}

bool
transport_is_done(const struct transport *t)
{
	return !t->ws && !t->tls && t->proxy == PROXY_OFF;
}

bool
transport_ended(const struct transport *t)
{
	return t->ended || (t->tls && tls_conn_ended(t->tls)) || (t->ws && websocket_ended(t->ws));
}

const char *
transport_fault(const struct transport *t)
{
	if (t->fault)
		return t->fault;
	if (t->tls && tls_conn_fault(t->tls))
		return tls_conn_fault(t->tls);
	return t->ws ? websocket_fault(t->ws) : NULL;
}

void
transport_close(struct transport *t)
{
	if (t->ws)
		websocket_close(t->ws);
	t->closing = true;
}

/* TLS has failed, or has not begun. */
static bool
is_unsealed(const struct transport *t)
{
	return t->tls && (tls_conn_fault(t->tls) || !tls_conn_is_open(t->tls));
}

bool
transport_is_mute(const struct transport *t)
{
	return is_unsealed(t) || transport_ended(t);
}

bool
transport_has_output(const struct transport *t)
{
	if (t->tls && (tls_conn_sealed(t->tls).len || (t->closing && !t->said_close)))
		return true;
	return t->ws && websocket_has_output(t->ws) && !is_unsealed(t);
}

size_t
transport_next(struct transport *t, size_t out_len, struct bytes *ret_head)
{
	if (t->ws)
		return websocket_next(t->ws, out_len, ret_head);
	*ret_head = bytes_of(NULL, 0);
	return transport_ended(t) ? 0 : out_len;
}

size_t
transport_sent(struct transport *t, size_t n)
{
	return t->ws ? websocket_sent(t->ws, n) : n;
}

/* --- sealed output --- */

/* What WebSocket puts around it has to be in one record with it: each record costs 22 bytes and more. */
static size_t
seal_frame(struct transport *t, struct bytes out)
{
	uint8_t chunk[16384];
	struct bytes head;
	size_t n = websocket_next(t->ws, out.len, &head), len;

	len = head.len < sizeof(chunk) ? head.len : sizeof(chunk);
	n = n < sizeof(chunk) - len ? n : sizeof(chunk) - len;
	if (len + n == 0)
		return 0;
	memcpy(chunk, head.data, len);
	/* cppcheck-suppress knownConditionTrueFalse ; there may be a head alone */
	if (n)
		memcpy(chunk + len, out.data, n);
	tls_conn_seal(t->tls, bytes_of(chunk, len + n));
	return websocket_sent(t->ws, len + n);
}

size_t
transport_seal(struct transport *t, struct bytes out)
{
	size_t took = 0, before;

	if (is_unsealed(t)) {
		/* There is nobody to say it to. */
		t->said_close = t->closing;
		return 0;
	}
	if (!t->ws && !transport_ended(t)) {
		took = out.len < TLS_SEALED_MAX ? out.len : TLS_SEALED_MAX;
		tls_conn_seal(t->tls, bytes_of(out.data, took));
	}
	while (t->ws && tls_conn_sealed(t->tls).len < TLS_SEALED_MAX) {
		before = tls_conn_sealed(t->tls).len;
		took += seal_frame(t, bytes_of(out.data + took, out.len - took));
		if (tls_conn_sealed(t->tls).len == before)
			break;
	}
	if (t->closing && !t->said_close && (took == out.len || transport_ended(t)) &&
	    !(t->ws && websocket_has_output(t->ws))) {
		tls_conn_close(t->tls);
		t->said_close = true;
	}
	return took;
}

struct bytes
transport_sealed(const struct transport *t)
{
	return tls_conn_sealed(t->tls);
}

void
transport_sealed_sent(struct transport *t, size_t n)
{
	tls_conn_sent(t->tls, n);
}

/* --- handshakes that wait --- */

void
transport_enqueue(struct transport_queue *q, struct transport *t, struct conn *c)
{
	t->conn = c;
	t->queue = q;
	t->before = q->last;
	t->next = NULL;
	if (q->last)
		q->last->next = t;
	else
		q->first = t;
	q->last = t;
	q->count++;
}

void
transport_dequeue(struct transport *t)
{
	struct transport_queue *q = t->queue;

	if (!q)
		return;
	if (t->before)
		t->before->next = t->next;
	else
		q->first = t->next;
	if (t->next)
		t->next->before = t->before;
	else
		q->last = t->before;
	t->queue = NULL;
	q->count--;
}

struct conn *
transport_first(const struct transport_queue *q)
{
	return q->first ? q->first->conn : NULL;
}
