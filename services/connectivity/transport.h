/* transport.h - what lies between a socket's bytes and the protocol's: a PROXY header, TLS, a WebSocket, in this order; no I/O
 *
 * A door is how connections of one listening socket speak; a connection of a door that asks for nothing has no transport,
 * and one whose PROXY header is all there was to it needs none any more. */
#ifndef ROOST_TRANSPORT_H
#define ROOST_TRANSPORT_H

#include "address.h"
#include "peer.h"
#include "proxy_protocol.h"
#include "settings.h"
#include "tls.h"
#include "websocket.h"
#include "worker.h"

/* What is spoken behind a door. */
enum transport_protocol { TRANSPORT_MQTT, TRANSPORT_HTTP, TRANSPORT_DATAGRAMS };

struct transport_door {
	enum transport_protocol protocol;
	enum proxy_accept proxy;
	struct tls *tls;		/* NULL: bytes go in clear */
	struct websockets *websockets;	/* NULL: plain */
};

/* The doors of a worker's listening sockets, as settings say. */
struct transport_doors {
	struct transport_door *doors;	/* by index of worker.listeners */
	size_t count;
	struct websockets websockets;
	struct tls *tls;		/* of all doors that have it; NULL: none */
	struct address_net trusted[64];	/* whose PROXY headers are believed */
	size_t trusted_count;
};

/* ERR_CONFIG, logged: what tls.* names is wrong. */
int transport_doors_init(struct transport_doors *d, const struct worker *w);
void transport_doors_fini(struct transport_doors *d);
/* Is a connection from there welcome at this door? */
bool transport_admits(const struct transport_doors *d, const struct transport_door *door, const struct peer *p);

struct transport;

/* NULL if there is nothing for it to do. */
struct transport *transport_new(const struct transport_door *door);
void transport_free(struct transport **t);

/* Turns what came, in place, into what the protocol gets, which then stands at the front of data; returns how much that
 * is. *peer becomes who the proxy speaks for. */
size_t transport_input(struct transport *t, uint8_t *data, size_t len, struct peer *peer);
/* The same where there is TLS: of at most TLS_INPUT_MAX bytes into plain, which has room for TLS_PLAIN_MAX. */
size_t transport_unseal(struct transport *t, const uint8_t *data, size_t len, uint8_t *plain, struct peer *peer);
/* Its handshake waits for a pre-shared key; transport_again() instead of more input, when that may be there. */
bool transport_waits(const struct transport *t);
size_t transport_again(struct transport *t, uint8_t *plain);
/* There is TLS, so that transport_unseal() and transport_seal() are the ones to call. */
bool transport_is_tls(const struct transport *t);
/* Its TLS handshake is not over. */
bool transport_in_handshake(const struct transport *t);
/* See tls.h; t may be NULL, then nothing is known. */
void transport_facts(const struct transport *t, struct tls_facts *ret);
/* Bytes are as they come and go from here on. */
bool transport_is_done(const struct transport *t);
/* No input follows, and no output but its own. */
bool transport_ended(const struct transport *t);
/* No output goes but its own; it may have to wait for a handshake. */
bool transport_is_mute(const struct transport *t);
/* NULL, or which rule the peer broke. */
const char *transport_fault(const struct transport *t);
/* Its PROXY header has not come, or was wrong. */
bool transport_awaits_proxy(const struct transport *t);
/* Its WebSocket is open. */
bool transport_is_open(const struct transport *t);

/* As in websocket.h. */
void transport_close(struct transport *t);
bool transport_has_output(const struct transport *t);
size_t transport_next(struct transport *t, size_t out_len, struct bytes *ret_head);
size_t transport_sent(struct transport *t, size_t n);

/* Where there is TLS, instead of the two above: seals what goes to the peer, about TLS_SEALED_MAX at a time; returns how much of
 * out that was. */
size_t transport_seal(struct transport *t, struct bytes out);
/* What to send now, and how much of it was sent. */
struct bytes transport_sealed(const struct transport *t);
void transport_sealed_sent(struct transport *t, size_t n);

/* The listener's: connections whose handshake waits for its turn. */
struct transport_queue {
	struct transport *first, *last;
	size_t count;
};
struct conn;
void transport_enqueue(struct transport_queue *q, struct transport *t, struct conn *c);
void transport_dequeue(struct transport *t); /* from where it is, if anywhere */
/* NULL: none waits. */
struct conn *transport_first(const struct transport_queue *q);

#endif
