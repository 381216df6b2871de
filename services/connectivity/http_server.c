/* http_server.c - HTTP ingest: what all connections share: requests under way, the budget of their bodies, time */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "clock.h"
#include "err.h"
#include "http_server_impl.h"
#include "mem.h"
#include "metrics.h"

#define MIB ((size_t)1 << 20)
#define SLOT_SHIFT 32
#define SLOT_MASK ((UINT64_C(1) << (INGEST_OWNER_SHIFT - SLOT_SHIFT)) - 1)

struct http_config
http_config_of(const struct settings *st)
{
	static const struct {
		const char *text;
		enum telemetry_metric metric;
	} names[] = { { "field", TELEMETRY_FIELD }, { "measurement", TELEMETRY_MEASUREMENT },
		{ "series", TELEMETRY_SERIES } };
	struct http_config c = {
		.body_max = (size_t)settings_int(st, SET_HTTP_BODY_MAX),
		.buffer_max = (size_t)settings_int(st, SET_HTTP_BUFFER_MIB) * MIB,
		.head_timeout_us = settings_ms(st, SET_HTTP_HEADER_TIMEOUT) * 1000,
		.body_timeout_us = settings_ms(st, SET_HTTP_BODY_TIMEOUT) * 1000,
		.idle_timeout_us = settings_ms(st, SET_HTTP_IDLE_TIMEOUT) * 1000,
		.answer_timeout_us = settings_ms(st, SET_HTTP_ANSWER_TIMEOUT) * 1000,
		.device_tag = settings_str(st, SET_INFLUX_DEVICE_TAG),
	};

	for (size_t i = 0; i < COUNT_OF(names); i++)
		if (strcmp(settings_str(st, SET_INFLUX_METRIC), names[i].text) == 0)
			c.metric = names[i].metric;
	return c;
}

struct http_server *
http_server_new(const struct http_config *config, const struct http_ops *ops)
{
	struct http_server *s = xcalloc(1, sizeof(*s));

	s->config = *config;
	s->ops = *ops;
	s->telemetry = telemetry_new();
	s->date_s = -1;
	if (getrandom(&s->seed, sizeof(s->seed), 0) != sizeof(s->seed))
		s->seed = (uint64_t)clock_wall_us();
	conn_set_init(&s->set);
	return s;
}

void
http_server_free(struct http_server **p_s)
{
	struct http_server *s = *p_s;

	*p_s = NULL;
	if (!s)
		return;
	while (s->conns) {
		struct http_conn *c = s->conns;

		http_conn_free(&c);
	}
	while (s->work.first) {
		struct http_request *r = s->work.first;

		http_request_free(&r);
	}
	telemetry_free(&s->telemetry);
	conn_set_fini(&s->set);
	free(s->slots);
	free(s->free_slots);
	free(s);
}

struct conn_set *
http_server_set(struct http_server *s)
{
	return &s->set;
}

void
http_server_now(struct http_server *s, int64_t now_us, int64_t wall_us)
{
	s->now_us = now_us;
	s->wall_us = wall_us;
	telemetry_latest(s->telemetry, wall_us);
}

const char *
http_server_date(struct http_server *s)
{
	if (s->date_s != s->wall_us / 1000000) {
		s->date_s = s->wall_us / 1000000;
		http_date(s->date_s, s->date);
	}
	return s->date;
}

/* --- requests --- */

bool
http_charge(struct http_request *r, size_t bytes)
{
	struct http_server *s = r->server;

	if (bytes > s->config.buffer_max - s->buffered)
		return false;
	s->buffered += bytes;
	r->charged += bytes;
	return true;
}

struct http_request *
http_request_new(struct http_conn *c, const struct http_route *route)
{
	struct http_request *r = xcalloc(1, sizeof(*r));

	r->server = c->server;
	r->conn = c;
	r->route = route;
	return r;
}

static void
end_work(struct http_request *r)
{
	struct http_server *s = r->server;

	*(r->prev ? &r->prev->next : &s->work.first) = r->next;
	*(r->next ? &r->next->prev : &s->work.last) = r->prev;
	s->slots[r->slot] = NULL;
	s->free_slots[s->free_count++] = r->slot;
	if (r->no_room_us)
		s->waiting--;
	r->in_work = false;
}

void
http_request_free(struct http_request **p_r)
{
	struct http_request *r = *p_r;

	*p_r = NULL;
	if (!r)
		return;
	if (r->in_work)
		end_work(r);
	r->server->buffered -= r->charged;
	auth_grant_unref(&r->grant);
	buf_fini(&r->data);
	free(r->parts);
	free(r);
}

static void
grow_slots(struct http_server *s)
{
	uint32_t cap = s->slot_cap ? s->slot_cap * 2 : 64;

	s->slots = xrealloc(s->slots, cap * sizeof(s->slots[0]));
	s->free_slots = xrealloc(s->free_slots, cap * sizeof(s->free_slots[0]));
	s->slot_cap = cap;
}

bool
http_request_begin_work(struct http_request *r)
{
	struct http_server *s = r->server;

	if (s->free_count == 0) {
		if (s->slot_count == HTTP_REQUESTS_MAX)
			return false;
		if (s->slot_count == s->slot_cap)
			grow_slots(s);
		s->free_slots[s->free_count++] = s->slot_count++;
	}
	r->slot = s->free_slots[--s->free_count];
	s->slots[r->slot] = r;
	r->prev = s->work.last;
	*(r->prev ? &r->prev->next : &s->work.first) = r;
	s->work.last = r;
	r->since_us = s->now_us;
	r->in_work = true;
	return true;
}

void
http_server_answer(struct http_server *s, uint64_t token, uint32_t verdict)
{
	uint64_t slot = token >> SLOT_SHIFT & SLOT_MASK;

	ASSERT(slot < s->slot_count && s->slots[slot]);
	http_ingest_part(s->slots[slot], (uint32_t)token, verdict);
}

void
http_server_room(struct http_server *s)
{
	struct http_request *next;

	for (struct http_request *r = s->work.first; r && s->waiting; r = next) {
		next = r->next;
		if (r->no_room_us)
			http_ingest_go_on(r);
	}
}

void
http_server_tick(struct http_server *s)
{
	struct http_request *next;

	for (struct http_request *r = s->work.first; r; r = next) {
		next = r->next;
		if (r->no_room_us && s->now_us - r->no_room_us >= HTTP_ROOM_WAIT_US)
			http_ingest_give_up(r);
		else if (r->conn && s->now_us - r->since_us >= s->config.answer_timeout_us)
			http_ingest_overdue(r);
		else if (!s->waiting && s->now_us - r->since_us < s->config.answer_timeout_us)
			break; /* those behind it are younger */
	}
	metric_set(M_HTTP_BUFFERED_BYTES, s->buffered);
	metric_set(M_HTTP_REQUESTS_OPEN, s->slot_count - s->free_count);
}

void
http_server_drain(struct http_server *s)
{
	s->draining = true;
	for (struct http_conn *c = s->conns; c; c = c->next)
		if (c->state == HTTP_IDLE)
			conn_close(&c->io);
}

void
http_server_shutdown(struct http_server *s)
{
	for (struct http_conn *c = s->conns; c; c = c->next)
		conn_close(&c->io);
}
