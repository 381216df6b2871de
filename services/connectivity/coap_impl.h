/* coap_impl.h - what the files of the CoAP server share */
#ifndef ROOST_COAP_IMPL_H
#define ROOST_COAP_IMPL_H

#include "coap.h"

/* A request on its way through the server. */
struct coap_incoming {
	const struct coap_endpoint *from;
	struct bytes datagram;
	struct coap_message message;
	struct coap_request request;
	uint64_t hash;
	struct coap_exchange *
	    exchange; /* NULL: nothing is remembered of it, the same answer comes from the same request */
	struct auth_grant *grant; /* whose it is; NULL: not known yet */
};

struct coap_reply {
	uint8_t code;
	bool has_max_age;
	uint32_t max_age;
	struct bytes text; /* for people */
	uint32_t size1;	   /* 0: not said */
};

/* The answer to a request, ... */
void coap_reply(struct coap *c, const struct coap_incoming *in, const struct coap_reply *r);
/* ... one that refuses it, ... */
void coap_refuse(struct coap *c, const struct coap_incoming *in, unsigned code, const char *why);
/* ... and one with a representation, of which the block goes that was asked for and fits. */
void coap_reply_content(
    struct coap *c, const struct coap_incoming *in, uint32_t format, struct bytes content);
/* Nothing came of what was begun: a repeat may come to something else, unless it was acknowledged. */
void coap_refuse_begun(struct coap *c, struct coap_incoming *in, unsigned code, const char *why);
/* The answer to what was begun. */
void coap_finish(struct coap *c, struct coap_exchange *e, const struct coap_reply *r);
/* From here on the request is remembered, and is answered later. false: there is no room for that, and it was answered so. */
bool coap_begin(struct coap *c, struct coap_incoming *in);

/* A request that is new to us may have been taken before: by a life before this one, or by an exchange that was forgotten early. */
bool coap_may_be_repeat(const struct coap *c);

/* coap_pending.c: in->grant is set, or the request goes on when it is known, or it was refused. */
bool coap_identify(struct coap *c, struct coap_incoming *in, struct bytes credential);
void coap_pending_fini(struct coap *c);

/* coap_resources.c */
void coap_serve(struct coap *c, struct coap_incoming *in);

#endif
