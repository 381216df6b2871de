/* coap_server.h - the UDP sockets of CoAP: datagrams in and out of coap.h's server
 *
 * The supervisor opens a socket for each worker, all with SO_REUSEPORT: the kernel gives all datagrams of one address and port to
 * the same one, so what belongs together (repeats, blocks, a DTLS session) comes to one worker; and while that is replaced
 * they wait in its socket. */
#ifndef ROOST_COAP_SERVER_H
#define ROOST_COAP_SERVER_H

#include "access.h"
#include "auth.h"
#include "ingest.h"
#include "worker.h"

struct coap_server;

/* NULL: the worker has no such socket. */
struct coap_server *coap_server_new(struct worker *w, struct auth *auth, const struct access *access, struct ingest *ingest);
void coap_server_free(struct coap_server **s);
/* All of these take NULL. */
/* The answer to what was offered, without its owner's bits. */
void coap_server_answer(struct coap_server *s, uint64_t token, uint32_t verdict);
/* Sends what was gathered; from the worker's turn. */
void coap_server_turn(struct coap_server *s);
void coap_server_tick(struct coap_server *s);
/* Certificates are read again. */
void coap_server_reload(struct coap_server *s);
/* Takes nothing new. */
void coap_server_drain(struct coap_server *s);
/* All that was taken is answered. */
bool coap_server_is_idle(const struct coap_server *s);

#endif
