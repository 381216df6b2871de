/* coap_resources.c - what a CoAP client may ask for: telemetry, .well-known/core; no I/O */
#include <string.h>

#include "coap_impl.h"
#include "err.h"
#include "mem.h"

static const char links[] = "</v1/telemetry>;rt=\"roost.telemetry\";ct=\"50 60 110 112\","
			    "</v1/attributes>;rt=\"roost.attributes\";ct=50";

static bool
is_known_format(uint32_t format)
{
	switch (format) {
	case COAP_FORMAT_NONE:
	case COAP_FORMAT_TEXT: /* what some clients say of whatever they send */
	case COAP_FORMAT_JSON:
	case COAP_FORMAT_CBOR:
	case COAP_FORMAT_SENML_JSON:
	case COAP_FORMAT_SENML_CBOR:
		return true;
	default:
		return false;
	}
}

/* Who sent this request, and its token: the address and port stay the same when this worker is replaced. */
#define CLIENT_MAX (16 + 2 + COAP_TOKEN_MAX)
static struct bytes
client_of(const struct coap_incoming *in, uint8_t out[CLIENT_MAX])
{
	const struct coap_endpoint *from = in->from;
	struct bytes token = in->message.token;

	memcpy(out, from->ip, sizeof(from->ip));
	memcpy(out + 16, &from->port, sizeof(from->port));
	if (token.len)
		memcpy(out + 18, token.data, token.len);
	return bytes_of(out, 18 + token.len);
}

static void
offer(struct coap *c, struct coap_incoming *in, struct coap_telemetry *t, struct coap_body *body)
{
	struct coap_taken taken = { .parts = 0 };
	int code = COAP_UNAVAILABLE;
	bool begun = coap_begin(c, in);

	buf_clear(&c->why);
	if (begun) {
		t->ticket = coap_exchange_ticket(in->exchange);
		code = c->ops.telemetry(c->ops.arg, t, &taken, &c->why);
		in->exchange->parts = taken.parts;
		in->exchange->rest = taken.code;
	}
	if (code == COAP_UNAVAILABLE && body)
		coap_bodies_take_back(&c->bodies, body, in->message.payload.len);
	else
		coap_bodies_done(&c->bodies, &body);
	if (code && begun)
		coap_refuse_begun(c, in, (unsigned)code, buf_str(&c->why));
}

static void
post(struct coap *c, struct coap_incoming *in, const char *path, struct bytes credential)
{
	uint8_t client[CLIENT_MAX];
	struct coap_telemetry t = {
		.from = in->from,
		.own = credential.len ? credential : coap_query(&in->request, "device"),
		.path = bytes_of_str(path),
		.client = client_of(in, client),
		.id = in->message.id,
		.dup = coap_may_be_repeat(c),
		.format = in->request.format,
		.attributes = strstr(path, "attributes") != NULL,
	};
	struct coap_body *body;
	int code;

	if (!is_known_format(t.format)) {
		coap_refuse(c, in, COAP_UNSUPPORTED_FORMAT,
		    "JSON (50), CBOR (60), SenML-JSON (110) and SenML-CBOR (112) are understood");
		return;
	}
	if (!coap_identify(c, in, credential))
		return;
	t.grant = in->grant;
	code = coap_bodies_add(&c->bodies, in->from, &in->request, c->now_us, &body, &t.payload);
	switch (code) {
	case 0:
		offer(c, in, &t, body);
		return;
	case COAP_CONTINUE:
		coap_reply(c, in, &(struct coap_reply){ .code = COAP_CONTINUE });
		return;
	case COAP_INCOMPLETE:
		coap_refuse(
		    c, in, COAP_INCOMPLETE, "a block before this one is missing: begin anew");
		return;
	case COAP_TOO_LARGE:
		coap_refuse(c, in, COAP_TOO_LARGE, "more than coap.body_max");
		return;
	case COAP_BAD_REQUEST:
		coap_refuse(c, in, COAP_BAD_REQUEST, "a block is not as long as it says");
		return;
	default:
		coap_refuse(c, in, COAP_UNAVAILABLE, "too many payloads are coming in blocks");
		return;
	}
}

static void
get_links(struct coap *c, const struct coap_incoming *in)
{
	uint32_t accept = in->request.accept;

	if (accept != COAP_FORMAT_NONE && accept != COAP_FORMAT_LINKS)
		coap_refuse(c, in, COAP_NOT_ACCEPTABLE, "this is in link format (40)");
	else
		coap_reply_content(c, in, COAP_FORMAT_LINKS, bytes_of_str(links));
}

void
coap_serve(struct coap *c, struct coap_incoming *in)
{
	const struct coap_request *r = &in->request;
	struct bytes credential = { 0 };
	uint8_t allowed;

	if (coap_path_is(r, "v1/telemetry", &credential) ||
	    coap_path_is(r, "api/v1/{}/telemetry", &credential)) {
		allowed = COAP_POST;
		if (in->message.code == allowed)
			post(c, in, credential.data ? "api/v1/telemetry" : "v1/telemetry",
			    credential);
	} else if (coap_path_is(r, "v1/attributes", &credential) ||
		   coap_path_is(r, "api/v1/{}/attributes", &credential)) {
		allowed = COAP_POST;
		if (in->message.code == allowed)
			post(c, in, credential.data ? "api/v1/attributes" : "v1/attributes",
			    credential);
	} else if (coap_path_is(r, ".well-known/core", &credential)) {
		allowed = COAP_GET;
		if (in->message.code == allowed)
			get_links(c, in);
	} else {
		coap_refuse(c, in, COAP_NOT_FOUND, "");
		return;
	}
	if (in->message.code != allowed)
		coap_refuse(c, in, COAP_METHOD_NOT_ALLOWED, "");
}
