/* tls_datagrams.h - DTLS 1.2 (RFC 6347) for those who send datagrams to us: cookies, handshakes, records; no I/O
 *
 * Contexts, certificates, CAs, CRLs and reload are those of tls.h, and so are a connection's facts and its end (tls_conn_facts(),
 * tls_conn_free()). Nothing is kept of whoever has not shown that he gets what is sent to his address: a first ClientHello is
 * answered by a cookie, and that is shorter. There are no tickets: a session is resumed by going on with it. */
#ifndef ROOST_TLS_DATAGRAMS_H
#define ROOST_TLS_DATAGRAMS_H

#include "tls.h"

#define TLS_DATAGRAM_MAX 1400 /* of a handshake, sent */
#define TLS_COOKIE_PEER_MAX 64

/* As tls_new(); without a certificate only pre-shared keys are spoken. psk_arg is tls_set_psk()'s. */
int tls_datagrams_new(const struct settings *s, struct tls **ret, struct buf *err);

/* Each call is one datagram. */
typedef void (*tls_datagram_fn)(void *arg, struct bytes datagram);

/* Might it begin a session: is it a ClientHello? */
bool tls_datagram_is_hello(struct bytes datagram);
/* A ClientHello of whom the bytes of peer stand for. 0: it shows our cookie, *ret is its connection: tls_datagram_to(), then
 * tls_datagram_input() of nothing. ERR_AGAIN: he was sent one.
 * ERR_MALFORMED: neither. send is for the cookie. */
int tls_datagram_hello(struct tls *t, struct bytes peer, struct bytes datagram, tls_datagram_fn send, void *arg,
    struct tls_conn **ret);
/* Where its datagrams go from now on; peer as before, and stays where it is until the handshake is over. */
void tls_datagram_to(struct tls_conn *c, struct bytes peer, tls_datagram_fn send, void *arg);
/* One datagram; each record of it that holds plain text becomes a call of plain. ERR_AGAIN: nothing was taken, its pre-shared key
 * is being looked up: to be tried again soon. */
int tls_datagram_input(struct tls_conn *c, struct bytes datagram, tls_datagram_fn plain, void *arg);
/* One datagram of plain text; false: it is lost. */
bool tls_datagram_seal(struct tls_conn *c, struct bytes plain);
/* While the handshake lasts: sends again what got lost, if it is time. */
void tls_datagram_due(struct tls_conn *c);

#endif
