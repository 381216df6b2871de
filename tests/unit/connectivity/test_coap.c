/* test_coap.c - CoAP messages, repeats, blocks, retransmissions and bounds, with a clock and a network of the test's own */
#include "../unit.h"
#include "coap_impl.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "mem.h"

enum { SENT_MAX = 4096, TICKETS_MAX = 4096 };

static struct {
	struct coap c;
	uint8_t sent[SENT_MAX][COAP_MESSAGE_MAX];
	size_t sent_len[SENT_MAX];
	unsigned sent_count;
	uint64_t bytes_sent;
	uint64_t tickets[TICKETS_MAX];
	unsigned ticket_count;
	uint32_t parts;
	int code; /* what telemetry answers */
	bool dup;
	enum auth_verdict verdict;
	auth_done_fn done;
	void *asker;
	struct buf payload;
} x;

static void
on_send(void *arg, const struct coap_endpoint *to, struct bytes message)
{
	(void)arg;
	(void)to;
	x.bytes_sent += message.len;
	if (x.sent_count == SENT_MAX)
		return;
	memcpy(x.sent[x.sent_count], message.data, message.len);
	x.sent_len[x.sent_count++] = message.len;
}

static enum auth_verdict
on_identify(
    void *arg, const struct coap_who *who, auth_done_fn done, void *asker, struct auth_answer *ret)
{
	(void)arg;
	(void)who;
	x.done = done;
	x.asker = asker;
	if (x.verdict == AUTH_GRANTED)
		ret->grant = auth_anyone();
	ret->why = "because";
	ret->retry_ms = 1500;
	return x.verdict;
}

static void
on_unidentify(void *arg, const void *asker)
{
	(void)arg;
	ck_assert_ptr_eq(asker, x.asker);
	x.asker = NULL;
}

static int
on_telemetry(void *arg, const struct coap_telemetry *t, struct coap_taken *ret, struct buf *why)
{
	(void)arg;
	buf_add_str(why, "not so");
	buf_clear(&x.payload);
	buf_add(&x.payload, t->payload.data, t->payload.len);
	x.dup = t->dup;
	if (x.code)
		return x.code;
	ret->parts = x.parts;
	x.tickets[x.ticket_count++ % TICKETS_MAX] = t->ticket;
	return 0;
}

static struct coap_endpoint
endpoint(unsigned n)
{
	struct coap_endpoint e;

	memset(&e, 0, sizeof(e));
	e.ip[15] = (uint8_t)n;
	e.port = (uint16_t)(1000 + n / 256);
	return e;
}

static void
setup_with(uint32_t exchanges, size_t bodies, size_t body)
{
	const struct coap_config config = {
		.exchanges_max = exchanges,
		.bodies_bytes_max = bodies,
		.body_max = body,
		.ack_delay_us = 1000000,
		.seed = 0x1234567890abcdef,
		.now_us = 1000000000,
	};
	const struct coap_ops ops = {
		.send = on_send,
		.identify = on_identify,
		.unidentify = on_unidentify,
		.telemetry = on_telemetry,
	};

	memset(&x, 0, sizeof(x));
	x.parts = 1;
	coap_init(&x.c, &config, &ops);
}

static void
setup(void)
{
	setup_with(1024, 1 << 20, 65536);
}

static void
teardown(void)
{
	coap_fini(&x.c);
	buf_fini(&x.payload);
}

/* POST api/v1/a/telemetry */
static struct bytes
post(struct coap_writer *w, enum coap_type type, uint16_t id, const char *token,
    const char *payload, const struct coap_block *block1)
{
	static const char *const levels[] = { "api", "v1", "a", "telemetry" };

	coap_write_begin(w, type, COAP_POST, id, bytes_of_str(token));
	for (size_t i = 0; i < COUNT_OF(levels); i++)
		coap_write_option(w, COAP_URI_PATH, bytes_of_str(levels[i]));
	if (block1)
		coap_write_block(w, COAP_BLOCK1, block1);
	coap_write_payload(w, bytes_of_str(payload));
	ck_assert(!w->failed);
	return bytes_of(w->data, w->len);
}

static void
receive(unsigned from, struct bytes datagram)
{
	struct coap_endpoint e = endpoint(from);
	uint8_t *exact = xmemdup(datagram.data, datagram.len ? datagram.len : 1);

	coap_receive(&x.c, &e, bytes_of(exact, datagram.len), false);
	free(exact);
}

static struct coap_message
sent(unsigned n)
{
	struct coap_message m;

	ck_assert_uint_lt(n, x.sent_count);
	ck_assert_int_eq(coap_parse(bytes_of(x.sent[n], x.sent_len[n]), &m), 0);
	return m;
}

static void
commit(unsigned n, uint32_t verdict)
{
	coap_committed(&x.c, x.tickets[n], verdict);
}

static void
wait_us(int64_t us)
{
	for (int64_t end = x.c.now_us + us; x.c.now_us < end;) {
		int64_t at = coap_due(&x.c);

		x.c.now_us = at && at < end ? (at > x.c.now_us ? at : x.c.now_us + 1) : end;
	}
	coap_due(&x.c);
}

/* --- codec --- */

START_TEST(what_is_written_is_read)
{
	struct coap_writer w;
	struct coap_message m;
	struct coap_request r;
	struct coap_block b = { .there = true, .more = true, .number = 70000, .size = 64 };
	const char *why;
	struct bytes any = { 0 };
	char long_value[300];

	memset(long_value, 'q', sizeof(long_value));
	coap_write_begin(&w, COAP_CON, COAP_POST, 0xbeef, bytes_of_str("12345678"));
	coap_write_option(&w, COAP_URI_PATH, bytes_of_str("v1"));
	coap_write_option(&w, COAP_URI_PATH, bytes_of_str("x"));
	coap_write_uint(&w, COAP_CONTENT_FORMAT, COAP_FORMAT_SENML_CBOR);
	coap_write_option(&w, COAP_URI_QUERY, bytes_of_str("device=gh-1"));
	coap_write_option(&w, COAP_URI_QUERY, bytes_of(long_value, sizeof(long_value)));
	coap_write_block(&w, COAP_BLOCK1, &b);
	coap_write_uint(&w, COAP_SIZE1, 1 << 20);
	coap_write_uint(&w, COAP_NO_RESPONSE, 2);
	coap_write_option(&w, COAP_REQUEST_TAG, bytes_of_str("t"));
	coap_write_payload(&w, bytes_of_str("body"));
	ck_assert(!w.failed);
	ck_assert_int_eq(coap_parse(bytes_of(w.data, w.len), &m), 0);
	ck_assert(m.type == COAP_CON && m.code == COAP_POST && m.id == 0xbeef);
	ck_assert(bytes_equal_str(m.token, "12345678") && bytes_equal_str(m.payload, "body"));
	ck_assert_int_eq(coap_request_read(&m, &r, &why), 0);
	ck_assert(coap_path_is(&r, "v1/x", &any) && coap_path_is(&r, "{}/x", &any));
	ck_assert(bytes_equal_str(any, "v1"));
	ck_assert(!coap_path_is(&r, "v1", &any) && !coap_path_is(&r, "v1/x/y", &any) &&
		  !coap_path_is(&r, "v1/y", &any));
	ck_assert_uint_eq(r.format, COAP_FORMAT_SENML_CBOR);
	ck_assert(bytes_equal_str(coap_query(&r, "device"), "gh-1"));
	ck_assert_uint_eq(coap_query(&r, "devic").len, 0);
	ck_assert(
	    r.block1.there && r.block1.more && r.block1.number == 70000 && r.block1.size == 64);
	ck_assert(!r.block2.there && r.size1 == 1 << 20 && r.no_response == 2);
	/* Each beginning of it is malformed, or a message without payload. */
	for (size_t n = 0; n < w.len; n++) {
		uint8_t *cut = xmemdup(w.data, n ? n : 1);
		int err = coap_parse(bytes_of(cut, n), &m);

		ck_assert(err == 0 ? m.payload.len < 4
			  : n < 4  ? err == ERR_SHORT
				   : err == ERR_MALFORMED);
		free(cut);
	}
}
END_TEST

START_TEST(options_out_of_order_or_unknown)
{
	static const struct {
		const char *label;
		uint32_t number;
		const char *value;
		int code;
	} cases[] = {
		{ "If-Match is critical", 1, "", COAP_BAD_OPTION },
		{ "an elective one", 2048, "abc", 0 },
		{ "Proxy-Uri", 35, "coap://x/", COAP_NO_PROXYING },
		{ "Proxy-Scheme", 39, "coap", COAP_NO_PROXYING },
		{ "a block of szx 7", 27, "\x07", COAP_BAD_OPTION },
		{ "a block of 4 bytes", 23, "\x01\x01\x01\x01", COAP_BAD_OPTION },
		{ "a format of 3 bytes", 12, "\x01\x01\x01", COAP_BAD_REQUEST },
		{ "Uri-Host", 3, "localhost", 0 },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct coap_writer w;
		struct coap_message m;
		struct coap_request r;
		const char *why;

		coap_write_begin(&w, COAP_CON, COAP_GET, 1, (struct bytes){ 0 });
		coap_write_option(&w, cases[i].number, bytes_of_str(cases[i].value));
		ck_assert_int_eq(coap_parse(bytes_of(w.data, w.len), &m), 0);
		ck_assert_msg(
		    coap_request_read(&m, &r, &why) == cases[i].code, "%s", cases[i].label);
	}
}
END_TEST

/* --- the server --- */

START_TEST(answered_in_the_acknowledgement)
{
	struct coap_writer w;
	struct coap_message m;

	receive(1, post(&w, COAP_CON, 7, "tk", "{}", NULL));
	ck_assert_uint_eq(x.sent_count, 0);
	ck_assert(!coap_is_idle(&x.c));
	commit(0, VERDICT_ACCEPTED);
	m = sent(0);
	ck_assert(m.type == COAP_ACK && m.code == COAP_CHANGED && m.id == 7);
	ck_assert(bytes_equal_str(m.token, "tk"));
	ck_assert(coap_is_idle(&x.c));
	/* A repeat is answered from memory; a ticket counts once. */
	receive(1, post(&w, COAP_CON, 7, "tk", "{}", NULL));
	commit(0, VERDICT_ACCEPTED);
	ck_assert_uint_eq(x.sent_count, 2);
	ck_assert_uint_eq(x.ticket_count, 1);
	ck_assert(
	    x.sent_len[0] == x.sent_len[1] && memcmp(x.sent[0], x.sent[1], x.sent_len[0]) == 0);
	/* Another client, or another request under the same id, is none. */
	receive(2, post(&w, COAP_CON, 7, "tk", "{}", NULL));
	receive(1, post(&w, COAP_CON, 7, "tk", "{ }", NULL));
	ck_assert_uint_eq(x.ticket_count, 3);
	/* NON is answered by NON. */
	receive(1, post(&w, COAP_NON, 8, "tk", "{}", NULL));
	commit(3, verdict_make(VERDICT_DEVICE_LIMIT, 1200));
	m = sent(2);
	ck_assert(m.type == COAP_NON && m.code == COAP_TOO_MANY_REQUESTS);
}
END_TEST

START_TEST(the_worst_of_several_parts_is_the_answer)
{
	struct coap_writer w;
	struct coap_options at;
	struct coap_option o = { 0 };
	struct coap_message m;

	x.parts = 3;
	receive(1, post(&w, COAP_CON, 7, "", "{}", NULL));
	commit(0, verdict_make(VERDICT_DEVICE_LIMIT, 1200));
	commit(0, VERDICT_ACCEPTED);
	ck_assert_uint_eq(x.sent_count, 0);
	commit(0, verdict_make(VERDICT_GLOBAL_LIMIT, 5001));
	m = sent(0);
	ck_assert_uint_eq(m.code, COAP_TOO_MANY_REQUESTS);
	at = coap_options_of(&m);
	ck_assert(coap_option_next(&at, &o) && o.number == COAP_MAX_AGE && coap_uint(o.value) == 6);
	ck_assert(bytes_equal_str(m.payload, "global-limit"));
}
END_TEST

START_TEST(a_late_answer_is_separate)
{
	struct coap_writer w;
	struct coap_message m;
	unsigned before;

	receive(1, post(&w, COAP_CON, 7, "12345678", "{\"a\":1}", NULL));
	wait_us(999000);
	ck_assert_uint_eq(x.sent_count, 0);
	wait_us(2000);
	m = sent(0);
	ck_assert(m.type == COAP_ACK && m.code == COAP_EMPTY && m.id == 7 && m.token.len == 0);
	commit(0, VERDICT_ACCEPTED);
	m = sent(1);
	ck_assert(
	    m.type == COAP_CON && m.code == COAP_CHANGED && bytes_equal_str(m.token, "12345678"));
	/* Four times more, then never again. */
	wait_us(100000000);
	ck_assert_uint_eq(x.sent_count, 6);
	for (unsigned i = 2; i < 6; i++)
		ck_assert(memcmp(x.sent[1], x.sent[i], x.sent_len[1]) == 0);
	ck_assert_uint_eq(x.c.sendings.count, 0);
	/* Who asks again after that is acknowledged and told again. */
	receive(1, post(&w, COAP_CON, 7, "12345678", "{\"a\":1}", NULL));
	ck_assert_uint_eq(sent(6).code, COAP_EMPTY);
	ck_assert(memcmp(x.sent[1], x.sent[7], x.sent_len[1]) == 0);
	ck_assert_uint_eq(x.ticket_count, 1);
	/* It arrived: silence. */
	coap_write_begin(&w, COAP_ACK, COAP_EMPTY, sent(7).id, (struct bytes){ 0 });
	receive(2, bytes_of(w.data, w.len)); /* not theirs */
	ck_assert_uint_eq(x.c.sendings.count, 1);
	receive(1, bytes_of(w.data, w.len));
	ck_assert_uint_eq(x.c.sendings.count, 0);
	before = x.sent_count;
	wait_us(100000000);
	ck_assert_uint_eq(x.sent_count, before);
}
END_TEST

START_TEST(what_is_remembered_has_a_bound)
{
	struct coap_writer w;

	/* Half may wait. */
	for (uint16_t id = 0; id < 512; id++)
		receive(1, post(&w, COAP_CON, id, "", "{}", NULL));
	ck_assert_uint_eq(x.c.exchanges.waiting, 512);
	receive(1, post(&w, COAP_CON, 999, "", "{}", NULL));
	ck_assert_uint_eq(sent(0).code, COAP_UNAVAILABLE);
	for (unsigned i = 0; i < 512; i++)
		commit(i, VERDICT_ACCEPTED);
	ck_assert(!coap_may_be_repeat(&x.c) || x.c.now_us - x.c.started_us < 120000000);
	x.c.now_us += 121000000;
	ck_assert(!coap_may_be_repeat(&x.c));
	for (uint16_t id = 1000; id < 1512; id++) {
		receive(1, post(&w, COAP_CON, id, "", "{}", NULL));
		commit(512u + id - 1000, VERDICT_ACCEPTED);
	}
	ck_assert_uint_eq(x.c.exchanges.count, 1024);
	ck_assert(!x.dup);
	/* The oldest go, and that is no matter while they are old. */
	receive(1, post(&w, COAP_CON, 2000, "", "{}", NULL));
	ck_assert_uint_eq(x.c.exchanges.count, 1024);
	ck_assert_uint_eq(x.c.exchanges.early, 0);
	for (uint16_t id = 2001; id < 2520; id++) {
		receive(1, post(&w, COAP_CON, id, "", "{}", NULL));
		commit(x.ticket_count - 1, VERDICT_ACCEPTED);
	}
	ck_assert_uint_gt(x.c.exchanges.early, 0);
	receive(1, post(&w, COAP_CON, 3000, "", "{}", NULL));
	ck_assert(x.dup); /* storage looks whether it was there before */
	x.c.now_us += COAP_LIFETIME_US;
	coap_tick(&x.c);
	ck_assert_uint_eq(x.c.exchanges.count, x.c.exchanges.waiting);
}
END_TEST

START_TEST(who_it_is_may_be_known_later)
{
	struct coap_writer w;
	struct auth_answer a = { 0 };
	struct coap_message m;

	x.verdict = AUTH_PENDING;
	receive(1, post(&w, COAP_CON, 1, "", "{\"a\":1}", NULL));
	receive(1, post(&w, COAP_CON, 1, "", "{\"a\":1}", NULL)); /* a repeat meanwhile */
	ck_assert_uint_eq(x.sent_count, 1);
	ck_assert_uint_eq(x.ticket_count, 0);
	a.grant = auth_anyone();
	x.done(x.asker, AUTH_GRANTED, &a);
	ck_assert_uint_eq(x.ticket_count, 1);
	ck_assert(bytes_equal_str(buf_bytes(&x.payload), "{\"a\":1}"));
	commit(0, VERDICT_ACCEPTED);
	m = sent(1);
	ck_assert(m.type == COAP_CON && m.code == COAP_CHANGED);
	receive(2, post(&w, COAP_CON, 1, "", "{\"a\":1}", NULL));
	x.done(x.asker, AUTH_NOT_AUTHORIZED, &a);
	m = sent(2);
	ck_assert(m.type == COAP_ACK && m.code == COAP_FORBIDDEN);
	x.verdict = AUTH_BAD_CREDENTIALS;
	receive(3, post(&w, COAP_CON, 1, "", "{\"a\":1}", NULL));
	ck_assert_uint_eq(sent(3).code, COAP_UNAUTHORIZED);
	x.verdict = AUTH_UNAVAILABLE;
	receive(3, post(&w, COAP_CON, 2, "", "{\"a\":1}", NULL));
	ck_assert_uint_eq(sent(4).code, COAP_UNAVAILABLE);
	x.verdict = AUTH_BUSY;
	receive(3, post(&w, COAP_CON, 3, "", "{\"a\":1}", NULL));
	ck_assert_uint_eq(sent(5).code, COAP_TOO_MANY_REQUESTS);
	ck_assert_uint_eq(x.ticket_count, 1);
	x.verdict = AUTH_PENDING; /* left over at the end */
	receive(3, post(&w, COAP_CON, 4, "", "{\"a\":1}", NULL));
}
END_TEST

START_TEST(bodies_in_blocks_have_a_bound)
{
	char block[1025];
	struct coap_writer w;
	struct coap_block b = { .there = true, .more = true, .size = 1024 };
	uint16_t id = 0;
	unsigned refused = 0;

	teardown();
	setup_with(1024, 65536, 16384);
	memset(block, 'z', 1024);
	block[1024] = '\0';
	for (unsigned n = 0; n < 200; n++) {
		receive(n, post(&w, COAP_CON, id++, "", block, &b));
		refused += sent(x.sent_count - 1).code == COAP_UNAVAILABLE;
		ck_assert_uint_le(x.c.bodies.bytes, 65536);
	}
	ck_assert_uint_gt(refused, 100);
	/* Those that nobody adds to make room; one that is added to stays. */
	x.c.now_us += COAP_BODY_PATIENCE_US;
	b.number = 1;
	receive(3, post(&w, COAP_CON, id++, "", block, &b));
	ck_assert_uint_eq(sent(x.sent_count - 1).code, COAP_CONTINUE);
	b.number = 0;
	for (unsigned n = 200; n < 230; n++) {
		receive(n, post(&w, COAP_CON, id++, "", block, &b));
		ck_assert_uint_eq(sent(x.sent_count - 1).code, COAP_CONTINUE);
	}
	b.number = 2;
	b.more = false;
	x.code = COAP_UNAVAILABLE; /* no room in the journal: the last block may come again */
	receive(3, post(&w, COAP_CON, id++, "", "end", &b));
	ck_assert_uint_eq(sent(x.sent_count - 1).code, COAP_UNAVAILABLE);
	x.code = 0;
	receive(3, post(&w, COAP_CON, id++, "", "end", &b));
	ck_assert_uint_eq(x.payload.len, 2051);
	ck_assert_uint_eq(x.ticket_count, 1);
	x.c.now_us += COAP_BODY_IDLE_US;
	coap_tick(&x.c);
	ck_assert_uint_eq(x.c.bodies.bytes, 0);
	ck_assert_uint_eq(x.c.bodies.count, 0);
}
END_TEST

/* Whatever comes, and whatever is not acknowledged. */
START_TEST(three_times_at_most)
{
	uint64_t r = 88172645463325252ull;
	struct coap_writer w;

	for (unsigned round = 0; round < 3000; round++) {
		uint64_t received = 0;

		teardown();
		setup_with(64, 1 << 16, 4096);
		for (unsigned step = 0; step < 8; step++) {
			struct bytes d = post(&w, (enum coap_type)(r & 1), (uint16_t)(r >> 8 & 3),
			    &"12345678"[r >> 16 & 7], &"{\"temperature\":41.5}"[r >> 20 & 15],
			    NULL);

			r ^= r << 13;
			r ^= r >> 7;
			r ^= r << 17;
			if (r % 7 == 0) { /* another resource, method or option */
				w.data[1] = (uint8_t)(r >> 32);
				w.data[d.len - 1 - (r >> 40) % (d.len - 4)] ^= (uint8_t)(r >> 50);
			}
			if (r % 11 == 0) {
				coap_write_begin(&w, COAP_CON, COAP_GET, 9, (struct bytes){ 0 });
				coap_write_option(&w, COAP_URI_PATH, bytes_of_str(".well-known"));
				coap_write_option(&w, COAP_URI_PATH, bytes_of_str("core"));
				d = bytes_of(w.data, w.len);
			}
			x.code = r % 5 == 0 ? COAP_BAD_REQUEST : 0;
			receive(1, d);
			received += d.len;
			if (r % 3 == 0)
				wait_us(1500000);
			for (unsigned i = 0; i < x.ticket_count; i++)
				if (r >> (20 + i) & 1)
					commit(i, (r >> 30 & 1)
						      ? verdict_make(VERDICT_GROUP_LIMIT, 9)
						      : 0);
			ck_assert_uint_le(x.bytes_sent, received * COAP_AMPLIFICATION);
		}
		wait_us(120000000);
		ck_assert_uint_le(x.bytes_sent, received * COAP_AMPLIFICATION);
	}
}
END_TEST

/* The list of resources, asked for in blocks of whatever size. */
START_TEST(content_in_blocks)
{
	for (uint32_t size = 16; size <= 1024; size *= 2) {
		struct coap_writer w;
		struct coap_block b = { .there = size < 1024, .size = size }, got = b;
		struct buf whole = { 0 };
		uint16_t id = 0;

		do {
			struct coap_message m;
			struct coap_options at;
			struct coap_option o;

			coap_write_begin(&w, COAP_CON, COAP_GET, id++, (struct bytes){ 0 });
			coap_write_option(&w, COAP_URI_PATH, bytes_of_str(".well-known"));
			coap_write_option(&w, COAP_URI_PATH, bytes_of_str("core"));
			if (b.there)
				coap_write_block(&w, COAP_BLOCK2, &b);
			receive(1, bytes_of(w.data, w.len));
			m = sent(x.sent_count - 1);
			ck_assert_uint_eq(m.code, COAP_CONTENT);
			buf_add(&whole, m.payload.data, m.payload.len);
			got.more = false;
			for (at = coap_options_of(&m); coap_option_next(&at, &o);)
				if (o.number == COAP_BLOCK2) {
					uint32_t n = coap_uint(o.value);

					got = (struct coap_block){ .there = true,
						.more = (n & 8) != 0,
						.number = n >> 4,
						.size = 16u << (n & 7) };
					ck_assert_uint_eq(
					    whole.len, got.number * got.size + m.payload.len);
				}
			b = got;
			b.number++;
		} while (got.more);
		ck_assert(whole.len > 20 && memcmp(whole.data, "</v1/telemetry>", 15) == 0);
		buf_fini(&whole);
		b.number = 5000;
		coap_write_begin(&w, COAP_CON, COAP_GET, id++, (struct bytes){ 0 });
		coap_write_option(&w, COAP_URI_PATH, bytes_of_str(".well-known"));
		coap_write_option(&w, COAP_URI_PATH, bytes_of_str("core"));
		coap_write_block(&w, COAP_BLOCK2, &b);
		receive(1, bytes_of(w.data, w.len));
		ck_assert_uint_eq(sent(x.sent_count - 1).code, COAP_BAD_OPTION);
	}
}
END_TEST

UNIT_MAIN_IN("coap", setup, teardown, what_is_written_is_read, options_out_of_order_or_unknown,
    answered_in_the_acknowledgement, the_worst_of_several_parts_is_the_answer,
    a_late_answer_is_separate, what_is_remembered_has_a_bound, who_it_is_may_be_known_later,
    bodies_in_blocks_have_a_bound, three_times_at_most, content_in_blocks)
