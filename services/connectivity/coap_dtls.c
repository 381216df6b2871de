/* coap_dtls.c - DTLS sessions of CoAP */
#include "coap_dtls.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "tls_datagrams.h"

#define LOOK_US 100000 /* at handshakes that lost something, or wait for a key */
#define STEPS_US 10000
#define SLOT_BITS 16 /* of a session's number; the rest is its slot's generation */

struct session {
	struct coap_dtls *dtls;
	struct coap_endpoint peer; /* session 0 */
	struct tls_conn *conn;
	struct session *bucket_next;
	struct session *newer, *older; /* by the last message */
	struct session *next, **at;    /* of those whose handshake lasts */
	int64_t since_us, at_us;
	uint32_t number;
	struct tls_facts facts;
	bool has_facts;
	bool opened;
	struct buf waits; /* a datagram that waits for its key */
};

struct coap_dtls {
	struct loop *loop;
	struct coap_dtls_ops ops;
	struct tls *tls;
	struct session **slots;
	uint16_t *generations;
	uint32_t *free_slots;
	uint32_t slot_count, free_count, max;
	struct session **buckets;
	uint32_t bucket_count;
	struct session *oldest, *newest;
	struct session *shaking;
	struct loop_timer timer;
	int64_t idle_us;
	int64_t steps_since_us;
	unsigned steps;
};

static void look(void *arg);

struct coap_dtls *
coap_dtls_new(struct loop *loop, const struct settings *st, const struct coap_dtls_ops *ops)
{
	struct coap_dtls *d = xcalloc(1, sizeof(*d));
	struct buf err = { .max = 0 };

	d->loop = loop;
	d->ops = *ops;
	d->max = (uint32_t)settings_int(st, SET_COAPS_SESSIONS_MAX);
	d->idle_us = settings_ms(st, SET_COAPS_IDLE_TIMEOUT) * 1000;
	if (tls_datagrams_new(st, &d->tls, &err) != 0) {
		log_error("coap.dtls", LS("fault", buf_str(&err)));
		buf_fini(&err);
		free(d);
		return NULL;
	}
	buf_fini(&err);
	for (d->bucket_count = 256; d->bucket_count < d->max; d->bucket_count *= 2)
		;
	d->buckets = xcalloc(d->bucket_count, sizeof(d->buckets[0]));
	d->slots = xcalloc(d->max, sizeof(d->slots[0]));
	d->generations = xcalloc(d->max, sizeof(d->generations[0]));
	d->free_slots = xcalloc(d->max, sizeof(d->free_slots[0]));
	return d;
}

void
coap_dtls_set_psk(struct coap_dtls *d, tls_psk_fn fn, void *arg)
{
	tls_set_psk(d->tls, fn, arg);
}

/* --- the table --- */

static struct session **
bucket_of(struct coap_dtls *d, const struct coap_endpoint *peer)
{
	return &d->buckets[XXH3_64bits(peer, sizeof(*peer)) & (d->bucket_count - 1)];
}

static struct session *
find(struct coap_dtls *d, const struct coap_endpoint *peer)
{
	struct session *s = *bucket_of(d, peer);

	while (s && memcmp(&s->peer, peer, sizeof(*peer)) != 0)
		s = s->bucket_next;
	return s;
}

static struct session *
of_number(struct coap_dtls *d, uint32_t number)
{
	uint32_t slot = number & ((1u << SLOT_BITS) - 1);
	struct session *s = slot < d->slot_count ? d->slots[slot] : NULL;

	return s && s->number == number ? s : NULL;
}

static void
leave_age(struct coap_dtls *d, struct session *s)
{
	if (s->older)
		s->older->newer = s->newer;
	else
		d->oldest = s->newer;
	if (s->newer)
		s->newer->older = s->older;
	else
		d->newest = s->older;
}

static void
enter_age(struct coap_dtls *d, struct session *s)
{
	s->at_us = loop_now_us(d->loop);
	s->older = d->newest;
	s->newer = NULL;
	if (d->newest)
		d->newest->newer = s;
	else
		d->oldest = s;
	d->newest = s;
}

static void
leave_shaking(struct session *s)
{
	if (!s->at)
		return;
	*s->at = s->next;
	if (s->next)
		s->next->at = s->at;
	s->at = NULL;
}

static void
session_free(struct session *s)
{
	struct coap_dtls *d = s->dtls;
	struct session **at = bucket_of(d, &s->peer);

	while (*at != s)
		at = &(*at)->bucket_next;
	*at = s->bucket_next;
	leave_age(d, s);
	leave_shaking(s);
	d->slots[s->number & ((1u << SLOT_BITS) - 1)] = NULL;
	d->free_slots[d->free_count++] = s->number & ((1u << SLOT_BITS) - 1);
	tls_conn_free(&s->conn);
	if (s->has_facts)
		tls_facts_fini(&s->facts);
	buf_fini(&s->waits);
	free(s);
	metric_set(M_COAPS_SESSIONS, d->slot_count - d->free_count);
}

void
coap_dtls_free(struct coap_dtls **p_d)
{
	struct coap_dtls *d = *p_d;

	*p_d = NULL;
	if (!d)
		return;
	while (d->oldest)
		session_free(d->oldest);
	loop_timer_clear(d->loop, &d->timer);
	tls_free(&d->tls);
	free(d->buckets);
	free(d->slots);
	free(d->generations);
	free(d->free_slots);
	free(d);
}

static bool
has_room(struct coap_dtls *d)
{
	if (d->free_count > 0 || d->slot_count < d->max)
		return true;
	if (loop_now_us(d->loop) - d->oldest->at_us < COAP_DTLS_SPARE_US) {
		metric_add(M_COAPS_NO_ROOM, 1);
		return false;
	}
	session_free(d->oldest);
	return true;
}

static struct session *
session_new(struct coap_dtls *d, const struct coap_endpoint *peer)
{
	struct session *s = xcalloc(1, sizeof(*s)), **to = bucket_of(d, peer);
	uint32_t slot = d->free_count ? d->free_slots[--d->free_count] : d->slot_count++;

	s->dtls = d;
	s->peer = *peer;
	/* Never 0: that is no session. */
	if (++d->generations[slot] == 0)
		d->generations[slot] = 1;
	s->number = (uint32_t)d->generations[slot] << SLOT_BITS | slot;
	d->slots[slot] = s;
	s->bucket_next = *to;
	*to = s;
	s->since_us = loop_now_us(d->loop);
	enter_age(d, s);
	s->next = d->shaking;
	s->at = &d->shaking;
	if (s->next)
		s->next->at = &s->next;
	else
		loop_timer_set(d->loop, &d->timer, LOOK_US, look, d);
	d->shaking = s;
	metric_set(M_COAPS_SESSIONS, d->slot_count - d->free_count);
	return s;
}

/* --- datagrams --- */

/* A cookie goes to whom is not a session yet. */
struct stranger {
	struct coap_dtls *dtls;
	const struct coap_endpoint *peer;
};

static void
send_to_stranger(void *arg, struct bytes datagram)
{
	const struct stranger *s = arg;

	s->dtls->ops.send(s->dtls->ops.arg, s->peer, datagram);
}

static void
send_of_session(void *arg, struct bytes datagram)
{
	const struct session *s = arg;

	s->dtls->ops.send(s->dtls->ops.arg, &s->peer, datagram);
}

static void
on_plain(void *arg, struct bytes message)
{
	struct session *s = arg;
	struct coap_endpoint from = s->peer;

	from.session = s->number;
	s->dtls->ops.receive(s->dtls->ops.arg, &from, message);
}

static void
input(struct session *s, struct bytes datagram)
{
	struct coap_dtls *d = s->dtls;
	const char *fault;

	if (tls_datagram_input(s->conn, datagram, on_plain, s) == ERR_AGAIN) {
		buf_clear(&s->waits);
		buf_add(&s->waits, datagram.data, datagram.len);
		return;
	}
	fault = tls_conn_fault(s->conn);
	if (fault)
		log_debug("coap.dtls", LS("fault", fault));
	if (tls_conn_ended(s->conn)) {
		session_free(s);
		return;
	}
	if (!tls_conn_is_open(s->conn))
		return;
	if (!s->opened) {
		s->opened = true;
		leave_shaking(s);
	}
	leave_age(d, s);
	enter_age(d, s);
}

/* Handshakes cost what a hundred messages do: they are not let in by the way of all others. */
static bool
may_step(struct coap_dtls *d)
{
	int64_t now_us = loop_now_us(d->loop);

	if (now_us - d->steps_since_us >= STEPS_US) {
		d->steps_since_us = now_us;
		d->steps = 0;
	}
	if (d->steps >= COAP_DTLS_STEPS) {
		metric_add(M_TLS_WAITED, 1);
		return false;
	}
	d->steps++;
	return true;
}

static void
hello(struct coap_dtls *d, const struct coap_endpoint *from, struct bytes datagram)
{
	struct stranger stranger = { .dtls = d, .peer = from };
	struct session *s = find(d, from);
	struct tls_conn *conn;

	_Static_assert(sizeof(*from) <= TLS_COOKIE_PEER_MAX, "an endpoint makes a cookie");
	if (tls_datagram_hello(d->tls, bytes_of(from, sizeof(*from)), datagram, send_to_stranger,
		&stranger, &conn) != 0)
		return;
	/* From the same address and port, and proven so: its device began anew (RFC 6347, 4.2.8). */
	if (s)
		session_free(s);
	if (!has_room(d)) {
		tls_conn_free(&conn);
		return;
	}
	s = session_new(d, from);
	s->conn = conn;
	tls_datagram_to(conn, bytes_of(&s->peer, sizeof(s->peer)), send_of_session, s);
	input(s, bytes_of(NULL, 0));
}

void
coap_dtls_input(struct coap_dtls *d, const struct coap_endpoint *from, struct bytes datagram)
{
	bool is_hello = tls_datagram_is_hello(datagram);
	struct session *s = is_hello ? NULL : find(d, from);

	if ((!s && !is_hello) || ((is_hello || !s->opened) && !may_step(d)))
		return;
	if (is_hello)
		hello(d, from, datagram);
	else
		input(s, datagram);
}

void
coap_dtls_send(struct coap_dtls *d, const struct coap_endpoint *to, struct bytes message)
{
	struct session *s = of_number(d, to->session);

	if (s)
		(void)tls_datagram_seal(s->conn, message);
}

bool
coap_dtls_facts(struct coap_dtls *d, const struct coap_endpoint *from, const struct tls_facts **ret)
{
	struct session *s = of_number(d, from->session);

	if (!s)
		return false;
	if (!s->has_facts) {
		tls_conn_facts(s->conn, &s->facts);
		s->has_facts = true;
	}
	*ret = &s->facts;
	return true;
}

/* --- time --- */

static void
look(void *arg)
{
	struct coap_dtls *d = arg;
	int64_t now_us = loop_now_us(d->loop);
	struct session *next;

	for (struct session *s = d->shaking; s; s = next) {
		struct buf again = s->waits;

		next = s->next;
		if (now_us - s->since_us >= COAP_DTLS_HANDSHAKE_US) {
			session_free(s);
			continue;
		}
		tls_datagram_due(s->conn);
		if (again.len == 0)
			continue;
		s->waits = (struct buf){ .max = 0 };
		input(s, buf_bytes(&again));
		buf_fini(&again);
	}
	if (d->shaking)
		loop_timer_set(d->loop, &d->timer, LOOK_US, look, d);
}

void
coap_dtls_tick(struct coap_dtls *d)
{
	int64_t now_us = loop_now_us(d->loop);

	while (d->oldest && now_us - d->oldest->at_us >= d->idle_us)
		session_free(d->oldest);
	tls_look(d->tls, now_us, false);
}

void
coap_dtls_reload(struct coap_dtls *d)
{
	tls_look(d->tls, loop_now_us(d->loop), true);
}
