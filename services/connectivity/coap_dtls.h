/* coap_dtls.h - DTLS sessions of CoAP: datagrams of coaps sockets in, messages out, and back
 *
 * A session is known by address and port. It begins when its ClientHello shows our cookie, and ends when the peer says so, after
 * coaps.idle_timeout without a message, or, the one idle longest first, when there are coaps.sessions_max: but not before it
 * was idle for COAP_DTLS_SPARE_US; if none is, nobody new is let in. */
#ifndef ROOST_COAP_DTLS_H
#define ROOST_COAP_DTLS_H

#include "coap_exchanges.h"
#include "loop.h"
#include "settings.h"
#include "tls.h"

#define COAP_DTLS_SPARE_US 60000000ll
#define COAP_DTLS_HANDSHAKE_US 20000000ll
#define COAP_DTLS_STEPS 16u /* of handshakes, in 10 ms; what comes beyond is lost and comes again */

struct coap_dtls;

struct coap_dtls_ops {
	void (*send)(void *arg, const struct coap_endpoint *to, struct bytes datagram); /* session 0 */
	void (*receive)(void *arg, const struct coap_endpoint *from, struct bytes message);
	void *arg;
};

/* NULL: logged. */
struct coap_dtls *coap_dtls_new(struct loop *loop, const struct settings *st, const struct coap_dtls_ops *ops);
void coap_dtls_free(struct coap_dtls **d);
void coap_dtls_set_psk(struct coap_dtls *d, tls_psk_fn fn, void *arg);
/* from: session 0. */
void coap_dtls_input(struct coap_dtls *d, const struct coap_endpoint *from, struct bytes datagram);
/* to: as receive() said it. */
void coap_dtls_send(struct coap_dtls *d, const struct coap_endpoint *to, struct bytes message);
/* Who is at the other end; false: it is over. Borrowed until the next call of anything here. */
bool coap_dtls_facts(struct coap_dtls *d, const struct coap_endpoint *from, const struct tls_facts **ret);
void coap_dtls_tick(struct coap_dtls *d);
void coap_dtls_reload(struct coap_dtls *d);

#endif
