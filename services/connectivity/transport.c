/* transport.c - what lies between a socket's bytes and the protocol's; no I/O */
#include "transport.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "mem.h"

struct transport {
	struct buf header; /* PROXY, as far as it has come */
	struct websocket *ws;
	const char *fault;
	enum proxy_accept proxy; /* PROXY_OFF: it has come, or none is asked for */
	bool ended;
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

void
transport_doors_init(struct transport_doors *d, const struct worker *w)
{
	const struct settings *s = w->settings;
	struct websocket_policy *policy = &d->websockets.policy;
	size_t plain = 0, ws = 0;
	const char *why;

	*d = (struct transport_doors){ .count = w->listener_count };
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
	d->doors = xcalloc(d->count + 1, sizeof(d->doors[0]));
	for (size_t i = 0; i < d->count; i++) {
		if (strncmp(w->listeners[i].kind, "coap", 4) == 0) {
			d->doors[i].protocol = TRANSPORT_DATAGRAMS;
		} else if (strcmp(w->listeners[i].kind, "mqtt-ws") == 0) {
			d->doors[i].proxy = proxy_of(s, SET_MQTT_WS_PROXY_PROTOCOL, ws++);
			d->doors[i].websockets = &d->websockets;
		} else {
			d->doors[i].proxy = proxy_of(s, SET_MQTT_PROXY_PROTOCOL, plain++);
		}
	}
}

void
transport_doors_fini(struct transport_doors *d)
{
	websockets_fini(&d->websockets);
	free(d->doors);
	d->doors = NULL;
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

	if (door->proxy == PROXY_OFF && !door->websockets)
		return NULL;
	t = xcalloc(1, sizeof(*t));
	t->proxy = door->proxy;
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
	return !t->ws && t->proxy == PROXY_OFF;
}

bool
transport_ended(const struct transport *t)
{
	return t->ended || (t->ws && websocket_ended(t->ws));
}

const char *
transport_fault(const struct transport *t)
{
	if (t->fault)
		return t->fault;
	return t->ws ? websocket_fault(t->ws) : NULL;
}

void
transport_close(struct transport *t)
{
	if (t->ws)
		websocket_close(t->ws);
}

bool
transport_has_output(const struct transport *t)
{
	return t->ws && websocket_has_output(t->ws);
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
