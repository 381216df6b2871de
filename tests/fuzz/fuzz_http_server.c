/* fuzz_http_server.c - anything on a connection of the HTTP server: readings are offered to somebody who takes some of them, and
 * refuses, waits or answers late as the input says; every request gets one answer, and nothing is left in the end
 * fuzz: -max_len=4096 */
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "http_server_impl.h"
#include "support.h"

#define TOKENS_MAX 64

static struct {
	struct http_server *s;
	uint64_t tokens[TOKENS_MAX];
	size_t token_count;
	uint8_t mood; /* the bits of what others do */
	unsigned offers;
	struct auth_grant grant;
	auth_done_fn done;
	void *done_arg;
} x;

static int
take(uint64_t token)
{
	if (x.token_count == TOKENS_MAX || (x.mood & 1 && x.offers++ % 3 == 2))
		return ERR_AGAIN;
	x.tokens[x.token_count++] = token;
	return 0;
}

static int
offer_points(
    void *arg, const struct ingest_message *m, const struct payload_result *r, uint64_t token)
{
	(void)arg;
	ASSERT(m->device.len > 0 && r->count > 0);
	ASSERT(m->dup == (m->origin->client != 0));
	return take(token);
}

static int
offer(void *arg, const struct ingest_message *m, uint64_t token, struct buf *reason)
{
	(void)arg;
	if (m->payload.len == 0) {
		buf_add_str(reason, "nothing");
		return ERR_MALFORMED;
	}
	return take(token);
}

static int64_t
stamp(void *arg)
{
	(void)arg;
	return INT64_C(1700000000000000);
}

static enum auth_verdict
check(void *arg, const struct auth_request *q, auth_done_fn done, void *done_arg,
    struct auth_answer *ret)
{
	static const enum auth_verdict verdicts[] = { AUTH_GRANTED, AUTH_PENDING,
		AUTH_BAD_CREDENTIALS, AUTH_BUSY };
	enum auth_verdict v = verdicts[q->token.len ? x.mood >> 1 & 3 : 0];

	(void)arg;
	*ret = (struct auth_answer){ .why = "no" };
	if (v == AUTH_GRANTED)
		ret->grant = auth_grant_ref(&x.grant);
	if (v == AUTH_PENDING) {
		x.done = done;
		x.done_arg = done_arg;
	}
	return v;
}

static void
forget(void *arg, const void *done_arg)
{
	(void)arg;
	ASSERT(x.done && x.done_arg == done_arg);
	x.done = NULL;
}

static bool
may_report(void *arg, const struct auth_grant *grant, struct bytes own, struct bytes device)
{
	(void)arg;
	return auth_speaks_for(grant, own, device);
}

static void
let_in(void)
{
	auth_done_fn done = x.done;
	struct auth_answer a = { .grant = auth_grant_ref(&x.grant) };

	x.done = NULL;
	done(x.done_arg, AUTH_GRANTED, &a);
}

static void
answer_one(size_t i, uint32_t verdict)
{
	uint64_t token = x.tokens[i];

	x.tokens[i] = x.tokens[--x.token_count];
	http_server_answer(x.s, token, verdict);
}

/* Something that others do between two pieces of input. */
static void
others(struct input *in, struct http_conn *c)
{
	unsigned what = input_u8(in);

	switch (what % 8) {
	case 0:
		x.mood = (uint8_t)input_u8(in);
		break;
	case 1:
		http_server_room(x.s);
		break;
	case 2:
		if (x.done)
			let_in();
		break;
	case 3:
		http_server_now(x.s, (int64_t)(what / 8) * 2000000 + 1, 1);
		http_server_tick(x.s);
		break;
	case 4:
		if (c->io.closing == CONN_OPEN && what >= 128)
			http_conn_on_deadline(c);
		break;
	default:
		if (x.token_count)
			answer_one(what / 8 % x.token_count,
			    what % 8 == 5   ? verdict_make(VERDICT_DEVICE_LIMIT, what)
			    : what % 8 == 6 ? verdict_make(VERDICT_COPY, 0)
					    : VERDICT_ACCEPTED);
		break;
	}
}

static void
speak(struct http_conn *c, struct bytes text, size_t each, struct input *how)
{
	struct buf kept = { .max = 0 };
	size_t at = 0, need;

	for (int idle = 0; c->io.closing == CONN_OPEN && idle < 40; idle++) {
		size_t n = each < text.len - at ? each : text.len - at, took;
		uint8_t *copy;

		others(how, c);
		if (c->io.closing != CONN_OPEN)
			break;
		if (c->io.paused & HTTP_PAUSED_OUTPUT) {
			buf_clear(c->io.out);
			http_conn_on_sent(c);
		}
		if (c->io.paused) {
			if (!x.done && x.token_count)
				answer_one(0, VERDICT_ACCEPTED);
			continue;
		}
		buf_add(&kept, text.data + at, n);
		at += n;
		copy = malloc(kept.len ? kept.len : 1);
		ASSERT(copy);
		memcpy(copy, kept.data, kept.len);
		took = http_conn_input(c, bytes_of(copy, kept.len), &need);
		free(copy);
		ASSERT(took <= kept.len);
		buf_consume(&kept, took);
		if (n || took)
			idle = 0;
	}
	buf_fini(&kept);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct http_config config = { .body_max = 3000,
		.buffer_max = 8000,
		.head_timeout_us = 1000000,
		.body_timeout_us = 1000000,
		.idle_timeout_us = 1000000,
		.answer_timeout_us = 3000000,
		.device_tag = "device" };
	const struct http_ops ops = { .offer_points = offer_points,
		.offer = offer,
		.stamp = stamp,
		.check = check,
		.forget = forget,
		.may_report = may_report };
	struct input in = input_of(data, size), how;
	size_t each = input_u8(&in) + 1u;
	struct bytes mine = input_bytes(&in, input_u8(&in) % 64);
	struct http_conn *c;

	fuzz_quiet();
	memset(&x, 0, sizeof(x));
	x.grant = (struct auth_grant){ .refs = 1, .any_device = true };
	x.s = http_server_new(&config, &ops);
	http_server_now(x.s, 1, 1);
	how = input_of(mine.data, mine.len);
	c = http_conn_of(http_conn_new(x.s, true));
	speak(c, input_rest(&in), each, &how);
	http_conn_free(&c);
	ASSERT(!x.done);
	while (x.token_count)
		answer_one(0, VERDICT_ACCEPTED);
	ASSERT(x.s->slot_count == x.s->free_count);
	ASSERT(x.s->buffered == 0 && x.s->waiting == 0 && !x.s->work.first);
	http_server_free(&x.s);
	ASSERT(x.grant.refs == 1);
	return 0;
}
