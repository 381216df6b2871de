/* coap_server.c - the UDP sockets of CoAP, and what its server knows of the rest of this worker */
#include "coap_server_impl.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>

#include "address.h"
#include "clock.h"
#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"

#define MIB ((size_t)1 << 20)

static void
on_readable(void *arg, int fd, uint32_t events)
{
	struct coap_socket *socket = arg;
	struct coap_server *s = socket->server;

	(void)fd;
	(void)events;
	s->coap.now_us = loop_now_us(s->w->loop);
	for (unsigned i = 0; i < COAP_READS_MAX; i++)
		if (coap_io_read(s, socket) < COAP_READ_BATCH)
			break;
}

static void
on_timer(void *arg)
{
	struct coap_server *s = arg;

	/* The turn that follows does the work. */
	s->timer_at_us = 0;
}

/* --- what the server asks for --- */

static void
server_send(void *arg, const struct coap_endpoint *to, struct bytes message)
{
	struct coap_server *s = arg;

	if (to->session)
		coap_dtls_send(s->dtls, to, message);
	else
		coap_io_send(s, to, message);
}

static void
dtls_send(void *arg, const struct coap_endpoint *to, struct bytes datagram)
{
	coap_io_send(arg, to, datagram);
}

static void
dtls_receive(void *arg, const struct coap_endpoint *from, struct bytes message)
{
	struct coap_server *s = arg;
	bool cut = message.len > COAP_DATAGRAM_MAX;

	coap_receive(
	    &s->coap, from, bytes_of(message.data, cut ? COAP_DATAGRAM_MAX : message.len), cut);
}

static int
psk_of(void *arg, struct bytes identity, uint8_t *key, size_t max)
{
	struct coap_server *s = arg;

	return auth_psk(s->auth, identity, key, max);
}

static enum auth_verdict
identify(
    void *arg, const struct coap_who *who, auth_done_fn done, void *asker, struct auth_answer *ret)
{
	struct coap_server *s = arg;
	const struct coap_endpoint *from = who->from;
	struct peer peer = peer_of_v6(from->ip, from->port);
	struct auth_request q = {
		.protocol = AUTH_COAP,
		.peer = &peer,
		.loopback = s->sockets[from->socket].loopback,
		.tls = from->session != 0,
		.token = who->credential,
	};
	const struct tls_facts *facts;

	if (from->session && coap_dtls_facts(s->dtls, from, &facts)) {
		q.certificate = facts->certificate;
		q.ca = facts->ca;
		q.subject = facts->subject;
		q.psk_identity = facts->psk_identity;
	}
	return auth_check(s->auth, &q, done, asker, ret);
}

static void
unidentify(void *arg, const void *asker)
{
	struct coap_server *s = arg;

	auth_forget(s->auth, asker);
}

/* --- life --- */

static bool
open_dtls(struct coap_server *s)
{
	const struct coap_dtls_ops ops = { .send = dtls_send, .receive = dtls_receive, .arg = s };

	s->dtls = coap_dtls_new(s->w->loop, s->w->settings, &ops);
	if (s->dtls)
		coap_dtls_set_psk(s->dtls, psk_of, s);
	return s->dtls != NULL;
}

static bool
add_socket(struct coap_server *s, const struct worker_listener *l)
{
	struct coap_socket *socket = &s->sockets[s->socket_count];
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	struct address address;
	const char *why;
	int on = 1;

	if (s->socket_count == COAP_SOCKETS_MAX || address_parse(l->address, &address, &why) != 0 ||
	    getsockname(l->fd, (struct sockaddr *)&sa, &len) != 0)
		return false;
	*socket = (struct coap_socket){
		.server = s,
		.fd = l->fd,
		.family = sa.ss_family,
		.loopback = address.loopback,
		.secure = strcmp(l->kind, "coaps") == 0,
	};
	if (socket->secure && !s->dtls && !open_dtls(s))
		return false;
	if (sa.ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)&sa;

		socket->wildcard = in->sin_addr.s_addr == htonl(INADDR_ANY);
	} else {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&sa;

		socket->wildcard = IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
	}
	if (socket->wildcard &&
	    setsockopt(l->fd, sa.ss_family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6,
		sa.ss_family == AF_INET ? IP_PKTINFO : IPV6_RECVPKTINFO, &on, sizeof(on)) != 0)
		return false;
	socket->watch = loop_fd_add(s->w->loop, l->fd, EPOLLIN, on_readable, socket);
	s->socket_count++;
	return true;
}

struct coap_server *
coap_server_new(
    struct worker *w, struct auth *auth, const struct access *access, struct ingest *ingest)
{
	const struct settings *st = w->settings;
	struct coap_server *s = xcalloc(1, sizeof(*s));
	struct coap_config config = {
		.exchanges_max = (uint32_t)settings_int(st, SET_COAP_EXCHANGES_MAX),
		.bodies_bytes_max = (size_t)settings_int(st, SET_COAP_BODIES_MIB) * MIB,
		.body_max = (size_t)settings_int(st, SET_COAP_BODY_MAX),
		.ack_delay_us = settings_ms(st, SET_COAP_ACK_DELAY) * 1000,
		.now_us = loop_now_us(w->loop),
	};
	const struct coap_ops ops = {
		.send = server_send,
		.identify = identify,
		.unidentify = unidentify,
		.telemetry = coap_server_telemetry,
		.arg = s,
	};

	*s = (struct coap_server){ .w = w, .auth = auth, .access = access, .ingest = ingest };
	if (getrandom(&config.seed, sizeof(config.seed), 0) != sizeof(config.seed))
		config.seed = (uint64_t)clock_wall_us() * 0x9e3779b97f4a7c15u;
	for (size_t i = 0; i < w->listener_count; i++)
		if (strncmp(w->listeners[i].kind, "coap", 4) == 0 &&
		    !add_socket(s, &w->listeners[i]))
			log_error("coap.listen", LS("address", w->listeners[i].address),
			    LS("fault", "is no socket for it"));
	if (s->socket_count == 0) {
		free(s);
		return NULL;
	}
	s->io = coap_io_new();
	s->telemetry = telemetry_new();
	s->attributes = attributes_new(ingest);
	coap_init(&s->coap, &config, &ops);
	return s;
}

void
coap_server_drain(struct coap_server *s)
{
	for (unsigned i = 0; s && i < s->socket_count; i++)
		if (s->sockets[i].watch)
			loop_fd_del(s->w->loop, &s->sockets[i].watch);
}

void
coap_server_free(struct coap_server **p_s)
{
	struct coap_server *s = *p_s;

	*p_s = NULL;
	if (!s)
		return;
	coap_server_drain(s);
	loop_timer_clear(s->w->loop, &s->timer);
	coap_fini(&s->coap);
	coap_dtls_free(&s->dtls);
	coap_io_free(&s->io);
	telemetry_free(&s->telemetry);
	attributes_free(&s->attributes);
	free(s);
}

void
coap_server_answer(struct coap_server *s, uint64_t token, uint32_t verdict)
{
	if (!s)
		return;
	s->coap.now_us = loop_now_us(s->w->loop);
	coap_committed(&s->coap, token, verdict);
}

void
coap_server_turn(struct coap_server *s)
{
	int64_t now_us, at;

	if (!s)
		return;
	now_us = s->coap.now_us = loop_now_us(s->w->loop);
	at = coap_due(&s->coap);
	coap_io_flush(s);
	if (at && (s->timer_at_us == 0 || at < s->timer_at_us)) {
		s->timer_at_us = at;
		loop_timer_set(s->w->loop, &s->timer, at > now_us ? at - now_us : 0, on_timer, s);
	}
}

void
coap_server_tick(struct coap_server *s)
{
	if (!s)
		return;
	s->coap.now_us = loop_now_us(s->w->loop);
	coap_tick(&s->coap);
	if (s->dtls)
		coap_dtls_tick(s->dtls);
}

void
coap_server_reload(struct coap_server *s)
{
	if (s && s->dtls)
		coap_dtls_reload(s->dtls);
}

bool
coap_server_is_idle(const struct coap_server *s)
{
	return !s || coap_is_idle(&s->coap);
}
