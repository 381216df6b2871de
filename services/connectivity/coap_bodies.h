/* coap_bodies.h - payloads that come in blocks (Block1, RFC 7959), until they are whole; pure
 *
 * A body is known by who sends it and by the request that it is of. It begins with block 0, which replaces one that was not
 * finished, and grows in order. All of them together have one bound; when that is reached, those that nothing was added to for
 * COAP_BODY_PATIENCE_US make room, and else there is none. */
#ifndef ROOST_COAP_BODIES_H
#define ROOST_COAP_BODIES_H

#include "coap_exchanges.h"

#define COAP_BODY_IDLE_US 93000000ll /* MAX_TRANSMIT_WAIT, RFC 7252, 4.8.2 */
#define COAP_BODY_PATIENCE_US 5000000ll
#define COAP_BODY_AGE_US 300000000ll /* from its first block on */

struct coap_body {
	struct coap_endpoint from;
	uint64_t request;
	struct coap_body *bucket_next;
	struct coap_body *newer, *older; /* by the last block */
	int64_t since_us, at_us;
	struct buf data;
	size_t counted;
};

#define COAP_BODY_BUCKETS 1024u
struct coap_bodies {
	struct coap_body *buckets[COAP_BODY_BUCKETS];
	struct coap_body *oldest, *newest;
	size_t bytes, bytes_max;
	size_t body_max;
	size_t count;
	uint64_t dropped; /* unfinished */
};

void coap_bodies_init(struct coap_bodies *b, size_t bytes_max, size_t body_max);
void coap_bodies_fini(struct coap_bodies *b);

/* 0: it is whole, *ret_whole until coap_bodies_done() or coap_bodies_take_back(). Else the code for the answer: COAP_CONTINUE, COAP_INCOMPLETE,
 * COAP_TOO_LARGE, COAP_BAD_REQUEST, COAP_UNAVAILABLE. A request without Block1 is whole by itself: *ret_body is NULL. */
int coap_bodies_add(struct coap_bodies *b, const struct coap_endpoint *from,
    const struct coap_request *r, int64_t now_us, struct coap_body **ret_body,
    struct bytes *ret_whole);
/* body may be NULL. */
void coap_bodies_done(struct coap_bodies *b, struct coap_body **body);
/* The last block, of so many bytes, was not taken: it may come again. */
void coap_bodies_take_back(struct coap_bodies *b, struct coap_body *body, size_t len);
void coap_bodies_expire(struct coap_bodies *b, int64_t now_us);

#endif
