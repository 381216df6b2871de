/* coap_pending.c - CoAP requests that wait until it is known who sends them; no I/O */
#include <stdlib.h>
#include <string.h>

#include "coap_impl.h"
#include "err.h"
#include "mem.h"

struct coap_pending {
	struct coap *c;
	struct coap_pending *next, **at;
	struct coap_endpoint from;
	uint64_t ticket;
	size_t len;
	uint8_t datagram[];
};

static void
pending_free(struct coap_pending *p)
{
	*p->at = p->next;
	if (p->next)
		p->next->at = p->at;
	p->c->pending_count--;
	free(p);
}

void
coap_pending_fini(struct coap *c)
{
	while (c->pending) {
		c->ops.unidentify(c->ops.arg, c->pending);
		pending_free(c->pending);
	}
	free(c->spare);
	c->spare = NULL;
}

static void
refuse(struct coap *c, const struct coap_incoming *in, enum auth_verdict verdict,
    const struct auth_answer *a, bool has_credential)
{
	struct coap_reply r = {
		.code = COAP_FORBIDDEN,
		.text = bytes_of_str(a->why ? a->why : ""),
	};

	switch (verdict) {
	case AUTH_GRANTED:
	case AUTH_PENDING:
		return;
	case AUTH_BAD_CREDENTIALS:
		r.code = COAP_UNAUTHORIZED;
		break;
	case AUTH_NOT_AUTHORIZED:
		r.code = has_credential ? COAP_FORBIDDEN : COAP_UNAUTHORIZED;
		break;
	case AUTH_UNAVAILABLE:
		coap_refuse(c, in, COAP_UNAVAILABLE, a->why ? a->why : "");
		return;
	case AUTH_BUSY:
		r.code = COAP_TOO_MANY_REQUESTS;
		r.has_max_age = true;
		r.max_age = (a->retry_ms + 999) / 1000;
		break;
	}
	coap_reply(c, in, &r);
}

static void
on_identified(void *arg, enum auth_verdict verdict, const struct auth_answer *a)
{
	struct coap_pending *p = arg;
	struct coap *c = p->c;
	struct coap_endpoint from = p->from;
	struct coap_incoming in = {
		.from = &from,
		.datagram = bytes_of(p->datagram, p->len),
		.exchange = coap_exchanges_of_ticket(&c->exchanges, p->ticket),
		.grant = verdict == AUTH_GRANTED ? a->grant : NULL,
	};
	const char *why;

	/* They were read once already. */
	ASSERT(in.exchange && coap_parse(in.datagram, &in.message) == 0 &&
	       coap_request_read(&in.message, &in.request, &why) == 0);
	in.hash = in.exchange->hash;
	if (verdict == AUTH_GRANTED)
		coap_serve(c, &in);
	else
		refuse(c, &in, verdict, a, true);
	auth_grant_unref(&in.grant);
	pending_free(p);
}

/* Most are known at once: what asks for them is used again. */
static struct coap_pending *
spare_of(struct coap *c)
{
	if (!c->spare)
		c->spare = xmalloc(sizeof(*c->spare) + COAP_DATAGRAM_MAX);
	*c->spare = (struct coap_pending){ .c = c };
	return c->spare;
}

static void
keep(struct coap *c, const struct coap_incoming *in)
{
	struct coap_pending *p = c->spare;

	ASSERT(in->datagram.len <= COAP_DATAGRAM_MAX);
	c->spare = NULL;
	p->next = c->pending;
	p->at = &c->pending;
	if (p->next)
		p->next->at = &p->next;
	c->pending = p;
	c->pending_count++;
	p->from = *in->from;
	p->ticket = coap_exchange_ticket(in->exchange);
	p->len = in->datagram.len;
	memcpy(p->datagram, in->datagram.data, in->datagram.len);
}

bool
coap_identify(struct coap *c, struct coap_incoming *in, struct bytes credential)
{
	const struct coap_who who = { .from = in->from, .credential = credential };
	struct auth_answer a = { 0 };
	enum auth_verdict verdict;

	if (in->grant)
		return true;
	if (c->pending_count >= COAP_PENDING_MAX) {
		coap_refuse(c, in, COAP_UNAVAILABLE, "too many are being identified");
		return false;
	}
	verdict = c->ops.identify(c->ops.arg, &who, on_identified, spare_of(c), &a);
	if (verdict == AUTH_PENDING) {
		if (coap_begin(c, in))
			keep(c, in);
		else
			c->ops.unidentify(c->ops.arg, c->spare);
		return false;
	}
	if (verdict == AUTH_GRANTED)
		in->grant = a.grant;
	else
		refuse(c, in, verdict, &a, credential.len > 0 || in->from->session);
	return verdict == AUTH_GRANTED;
}
