/* listener_tls.c - sealed bytes between sockets and transports; how much of a turn handshakes may take
 *
 * A step of a handshake takes a thousand times what a message does. Those of a storm of connections that come at once would
 * let all others wait for seconds: a turn gives them a fixed time, in the order in which they came; who comes later is not read
 * until it is his turn, and his connection holds nothing meanwhile but what lies in the kernel. */
#include "listener_impl.h"

#include <errno.h>
#include <sys/socket.h>

#include "clock.h"
#include "metrics.h"

#define HANDSHAKES_US 2000 /* of a turn; one that has begun is ended */
#define SEALED_LOW 16384   /* below it more is sealed, to go with it */
#define KEYLESS_LOOKS 64   /* whether a key has come, of a turn */

ssize_t
listener_tls_read(struct listener *l, struct conn *c, uint8_t *to, size_t *ret_len)
{
	size_t most = listener_read_max(l);
	ssize_t n = 1;

	_Static_assert(TLS_PLAIN_MAX <= LISTENER_READ_BYTES, "what comes of it fits");
	if (transport_waits(c->transport)) {
		*ret_len = transport_again(c->transport, to);
	} else {
		n = recv(c->fd, l->sealed, most < TLS_INPUT_MAX ? most : TLS_INPUT_MAX, 0);
		*ret_len =
		    n > 0 ? transport_unseal(c->transport, l->sealed, (size_t)n, to, &c->peer) : 0;
	}
	if (transport_waits(c->transport)) {
		transport_enqueue(&l->keyless, c->transport, c);
		conn_pause(c, CONN_PAUSED_TLS);
	}
	return n;
}

/* Some records at a time: no more is sealed before those are sent. */
void
listener_tls_send(struct listener *l, struct conn *c)
{
	for (;;) {
		struct bytes sealed = transport_sealed(c->transport);
		ssize_t n;

		if (sealed.len < SEALED_LOW) {
			struct bytes out = c->out
					       ? bytes_of(c->out->data + c->out_at, conn_out_len(c))
					       : bytes_of(NULL, 0);

			listener_took(l, c, transport_seal(c->transport, out));
			sealed = transport_sealed(c->transport);
		}
		if (sealed.len == 0)
			return;
		n = send(c->fd, sealed.data, sealed.len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			listener_lost(c);
		if (n <= 0)
			return;
		l->set->bytes_sent += (uint64_t)n;
		transport_sealed_sent(c->transport, (size_t)n);
		if ((size_t)n < sealed.len)
			return;
	}
}

static void
step(struct listener *l, struct conn *c)
{
	int64_t before = clock_mono_us();

	listener_read(l, c);
	l->handshaken_us += clock_mono_us() - before;
}

void
listener_handshake(struct listener *l, struct conn *c)
{
	if (!c->transport || c->lingering || !transport_in_handshake(c->transport)) {
		listener_read(l, c);
	} else if (l->handshakes.count == 0 && l->handshaken_us < HANDSHAKES_US) {
		step(l, c);
	} else {
		metric_add(M_TLS_WAITED, 1);
		transport_enqueue(&l->handshakes, c->transport, c);
		conn_pause(c, CONN_PAUSED_TLS);
	}
}

/* Takes the first of q out of it, and goes on with it; it may be in it again. */
static void
go_on(struct listener *l, const struct transport_queue *q)
{
	struct conn *c = transport_first(q);

	transport_dequeue(c->transport);
	conn_resume(c, CONN_PAUSED_TLS);
	if (c->closing == CONN_OPEN)
		step(l, c);
}

void
listener_handshakes(struct listener *l)
{
	size_t keyless = l->keyless.count;

	while (l->handshakes.count && l->handshaken_us < HANDSHAKES_US)
		go_on(l, &l->handshakes);
	/* A turn that brought the answer to one has woken us. */
	for (size_t n = keyless < KEYLESS_LOOKS ? keyless : KEYLESS_LOOKS; n; n--)
		go_on(l, &l->keyless);
	l->handshaken_us = 0;
	if (l->handshakes.count || l->keyless.count < keyless)
		loop_wake(l->loop);
}
