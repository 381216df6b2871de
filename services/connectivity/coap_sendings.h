/* coap_sendings.h - confirmable messages on their way, sent again until they are acknowledged (RFC 7252, 4.2); pure */
#ifndef ROOST_COAP_SENDINGS_H
#define ROOST_COAP_SENDINGS_H

#include "coap_exchanges.h"

#define COAP_ACK_TIMEOUT_US 2000000ll
#define COAP_RETRANSMIT_MAX 4u
#define COAP_SENDINGS_MAX 65536u
#define COAP_WHEEL_TICK_US 100000ll
#define COAP_WHEEL_SLOTS 512u /* of a tick each: more than the longest wait, 48 s */
#define COAP_SENDING_BUCKETS 4096u

struct coap_sending {
	struct coap_endpoint to;
	uint64_t owner; /* the caller's */
	struct coap_sending *bucket_next;
	struct coap_sending *next, **at; /* in its slot of the wheel */
	int64_t due;			 /* tick */
	int64_t wait_us;
	uint16_t id;
	uint16_t tries;
	uint32_t len;
	uint8_t data[];
};

struct coap_sendings {
	struct coap_sending *buckets[COAP_SENDING_BUCKETS];
	struct coap_sending *wheel[COAP_WHEEL_SLOTS];
	int64_t tick; /* done */
	uint64_t seed;
	uint32_t count;
};

void coap_sendings_init(struct coap_sendings *s, uint64_t seed, int64_t now_us);
void coap_sendings_fini(struct coap_sendings *s);
/* It has been sent once. NULL: COAP_SENDINGS_MAX are on their way. message is copied. */
struct coap_sending *coap_sendings_add(struct coap_sendings *s, const struct coap_endpoint *to,
    uint16_t id, struct bytes message, uint64_t owner, int64_t now_us);
struct coap_sending *coap_sendings_find(
    struct coap_sendings *s, const struct coap_endpoint *to, uint16_t id);
void coap_sendings_remove(struct coap_sendings *s, struct coap_sending **one);
/* The next that is to be sent again now, its next time already set; with *ret_given_up it was sent often enough, and is to be
 * removed. NULL: no more. */
struct coap_sending *coap_sendings_due(struct coap_sendings *s, int64_t now_us, bool *ret_given_up);
/* When to ask again; 0: never. */
int64_t coap_sendings_deadline(const struct coap_sendings *s);

#endif
