/* coap_server_impl.h - what the files of the CoAP sockets share */
#ifndef ROOST_COAP_SERVER_IMPL_H
#define ROOST_COAP_SERVER_IMPL_H

#include <sys/socket.h>

#include "attributes.h"
#include "coap.h"
#include "coap_dtls.h"
#include "coap_server.h"
#include "loop.h"
#include "telemetry.h"

#define COAP_SOCKETS_MAX 32u
#define COAP_READ_BATCH 32u
#define COAP_READS_MAX 4u /* batches of one socket a turn */
#define COAP_SEND_BATCH 64u

struct coap_socket {
	struct coap_server *server;
	struct loop_fd *watch;
	int fd;
	sa_family_t family;
	bool loopback;
	bool secure;
	bool wildcard; /* the address a datagram came to is that of the answer */
};

struct coap_server {
	struct worker *w;
	struct auth *auth;
	const struct access *access;
	struct ingest *ingest;
	struct coap coap;
	struct coap_socket sockets[COAP_SOCKETS_MAX];
	unsigned socket_count;
	struct loop_timer timer;
	int64_t timer_at_us;
	struct coap_io *io;
	struct telemetry *telemetry;
	struct attributes *attributes;
	struct coap_dtls *dtls; /* NULL: no socket asks for it */
};

/* coap_io.c: datagrams of the sockets */
struct coap_io *coap_io_new(void);
void coap_io_free(struct coap_io **io);
/* At most COAP_READ_BATCH datagrams into coap_receive(); how many there were. */
unsigned coap_io_read(struct coap_server *s, struct coap_socket *socket);
/* Copied; leaves with the batch. */
void coap_io_send(struct coap_server *s, const struct coap_endpoint *to, struct bytes message);
void coap_io_flush(struct coap_server *s);

/* coap_telemetry.c */
int coap_server_telemetry(
    void *arg, const struct coap_telemetry *t, struct coap_taken *ret_taken, struct buf *why);

#endif
