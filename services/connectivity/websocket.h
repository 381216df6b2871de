/* websocket.h - one client's WebSocket: the handshake, then frames both ways (RFC 6455); no I/O
 *
 * MQTT packets are a stream: they may begin and end anywhere in frames and messages (MQTT 5, 6.0). So input is decoded as
 * it comes, in place, and a frame needs no memory of its own; output becomes a frame where it stands. A connection
 * between two frames holds no reader. */
#ifndef ROOST_WEBSOCKET_H
#define ROOST_WEBSOCKET_H

#include <stdbool.h>

#include "buf.h"
#include "websocket_handshake.h"

#define WEBSOCKET_FRAME_OUT_MAX 65535	/* payload of a frame that we send; control frames go in between */
#define WEBSOCKET_CONTROL_MAX 125	/* RFC 6455, 5.5 */
#define WEBSOCKET_READERS_MAX 16	/* spare ones kept */

struct websocket_reader;

/* What all connections share. */
struct websockets {
	struct websocket_policy policy;
	uint64_t frame_max;		/* payload of a frame that a client sends */
	struct websocket_reader *spare;
	size_t spare_count;
};

struct websocket;

void websockets_fini(struct websockets *all);
struct websocket *websocket_new(struct websockets *all);
void websocket_free(struct websocket **w);

/* Turns what came, in place, into what it carries, which then stands at the front of data; returns how much that is. */
size_t websocket_input(struct websocket *w, uint8_t *data, size_t len);
/* Nothing will come in or go out any more but what websocket_next() says: the peer has closed, or broken the rules. */
bool websocket_ended(const struct websocket *w);
/* NULL, or which rule the peer broke. */
const char *websocket_fault(const struct websocket *w);
/* The handshake is over, and well. */
bool websocket_is_open(const struct websocket *w);
/* All is said: behind what is still to be sent goes a Close frame. */
void websocket_close(struct websocket *w);

/* There is something of its own to be sent. */
bool websocket_has_output(const struct websocket *w);
/* What to send now, if out_len bytes are to go to the peer: *ret_head, then as many of these bytes as it returns. */
size_t websocket_next(struct websocket *w, size_t out_len, struct bytes *ret_head);
/* n bytes of that were sent; returns how many of these were not of *ret_head. */
size_t websocket_sent(struct websocket *w, size_t n);

#endif
