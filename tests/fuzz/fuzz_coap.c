/* fuzz_coap.c - datagrams of several clients, verdicts and time, in any order: bounds hold, a request is taken once, nobody is
 * sent more than three times what came from there
 * fuzz: -max_len=4096 */
#include <stdlib.h>
#include <string.h>

#include "coap_impl.h"
#include "err.h"
#include "mem.h"
#include "support.h"

enum { CLIENTS = 4, TICKETS = 64, BODIES_MAX = 32768 };

static struct coap c;
static uint64_t received[CLIENTS], sent[CLIENTS];
static uint64_t tickets[TICKETS];
static unsigned ticket_count;
static unsigned next;
static auth_done_fn waiting_done;
static void *waiting;

static void
on_send(void *arg, const struct coap_endpoint *to, struct bytes message)
{
	struct coap_message m;

	(void)arg;
	ASSERT(message.len <= COAP_MESSAGE_MAX && coap_parse(message, &m) == 0);
	sent[to->port] += message.len;
	ASSERT(sent[to->port] <= received[to->port] * COAP_AMPLIFICATION);
}

static enum auth_verdict
on_identify(
    void *arg, const struct coap_who *who, auth_done_fn done, void *asker, struct auth_answer *ret)
{
	(void)arg;
	(void)who;
	ret->why = "no";
	switch (next++ % 8) {
	case 0:
		if (waiting)
			return AUTH_UNAVAILABLE;
		waiting_done = done;
		waiting = asker;
		return AUTH_PENDING;
	case 1:
		return AUTH_BAD_CREDENTIALS;
	case 2:
		return AUTH_BUSY;
	default:
		ret->grant = auth_anyone();
		return AUTH_GRANTED;
	}
}

static void
on_unidentify(void *arg, const void *asker)
{
	(void)arg;
	ASSERT(asker == waiting);
	waiting = NULL;
}

static int
on_telemetry(void *arg, const struct coap_telemetry *t, struct coap_taken *ret, struct buf *why)
{
	(void)arg;
	buf_add(why, t->payload.data, t->payload.len < 200 ? t->payload.len : 200);
	if (ticket_count == TICKETS || next++ % 5 == 0)
		return next % 2 ? COAP_UNAVAILABLE : COAP_BAD_REQUEST;
	ret->parts = 1;
	tickets[ticket_count++] = t->ticket;
	return 0;
}

static void
one_datagram(struct input *in)
{
	struct coap_endpoint from;
	unsigned client = input_u8(in) % CLIENTS;
	struct bytes d = input_block(in);
	uint8_t *exact = malloc(d.len ? d.len : 1);

	ASSERT(exact);
	memset(&from, 0, sizeof(from));
	from.port = (uint16_t)client;
	d.len = d.len < COAP_DATAGRAM_MAX ? d.len : COAP_DATAGRAM_MAX;
	if (d.len)
		memcpy(exact, d.data, d.len);
	received[client] += d.len;
	coap_receive(&c, &from, bytes_of(exact, d.len), false);
	free(exact);
}

static void
step(struct input *in)
{
	struct auth_answer a = { .why = "later" };

	switch (input_u8(in) % 4) {
	case 0:
		if (ticket_count > 0)
			coap_committed(&c, tickets[--ticket_count],
			    input_u8(in) % 2 ? verdict_make(VERDICT_GROUP_LIMIT, 77) : 0);
		break;
	case 1:
		c.now_us += (int64_t)input_u8(in) * 300000;
		ASSERT(coap_due(&c) >= 0);
		coap_tick(&c);
		break;
	case 2:
		if (waiting) {
			a.grant = auth_anyone();
			waiting_done(waiting, AUTH_GRANTED, &a);
			waiting = NULL;
		}
		break;
	default:
		one_datagram(in);
		break;
	}
	ASSERT(c.bodies.bytes <= BODIES_MAX && c.exchanges.count <= 32);
	ASSERT(c.exchanges.waiting <= 16);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct coap_config config = {
		.exchanges_max = 32,
		.bodies_bytes_max = BODIES_MAX,
		.body_max = 4096,
		.ack_delay_us = 500000,
		.seed = 42,
		.now_us = 1000000,
	};
	const struct coap_ops ops = {
		.send = on_send,
		.identify = on_identify,
		.unidentify = on_unidentify,
		.telemetry = on_telemetry,
	};
	struct input in = input_of(data, size);

	memset(received, 0, sizeof(received));
	memset(sent, 0, sizeof(sent));
	ticket_count = 0;
	next = input_u8(&in);
	waiting = NULL;
	coap_init(&c, &config, &ops);
	while (!input_is_over(&in))
		step(&in);
	coap_fini(&c);
	return 0;
}
