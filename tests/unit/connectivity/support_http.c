/* support_http.c - an HTTP server between stand-ins */
#include "support_http.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "ingest_record.h"
#include "mem.h"

struct http_stand http_x;

static void
note(const struct ingest_message *m, uint64_t token, uint32_t points)
{
	ck_assert_uint_lt(http_x.offer_count, OFFERS_MAX);
	ck_assert_uint_eq(token >> INGEST_OWNER_SHIFT, INGEST_OF_HTTP);
	http_x.offers[http_x.offer_count].token = token;
	memcpy(http_x.offers[http_x.offer_count].device, m->device.data, m->device.len);
	http_x.offers[http_x.offer_count].device[m->device.len] = '\0';
	http_x.offers[http_x.offer_count].client = m->origin->client;
	http_x.offers[http_x.offer_count].hash = m->origin->topic;
	http_x.offers[http_x.offer_count].packet_id = m->packet_id;
	http_x.offers[http_x.offer_count].dup = m->dup;
	http_x.offers[http_x.offer_count++].points = points;
}

static int
offer_points(
    void *arg, const struct ingest_message *m, const struct payload_result *r, uint64_t token)
{
	(void)arg;
	if (http_x.room == 0)
		return ERR_AGAIN;
	http_x.room--;
	note(m, token, r->count);
	return 0;
}

static int
offer(void *arg, const struct ingest_message *m, uint64_t token, struct buf *reason)
{
	(void)arg;
	if (m->payload.len == 0 || m->payload.data[0] != '{') {
		buf_add_str(reason, "no JSON");
		return ERR_MALFORMED;
	}
	if (http_x.room == 0)
		return ERR_AGAIN;
	http_x.room--;
	note(m, token, 1);
	return 0;
}

static int64_t
stamp(void *arg)
{
	(void)arg;
	return ++http_x.stamp;
}

static void
copy_text(char out[64], struct bytes b)
{
	ck_assert_uint_lt(b.len, 64);
	if (b.len)
		memcpy(out, b.data, b.len);
	out[b.len] = '\0';
}

static enum auth_verdict
check(void *arg, const struct auth_request *q, auth_done_fn done, void *done_arg,
    struct auth_answer *ret)
{
	(void)arg;
	http_x.checks++;
	http_x.done = done;
	http_x.done_arg = done_arg;
	copy_text(http_x.said[0], q->username);
	copy_text(http_x.said[1], q->password);
	copy_text(http_x.said[2], q->token);
	*ret = (struct auth_answer){ .why = "so it is", .retry_ms = 2500 };
	if (http_x.verdict == AUTH_GRANTED)
		ret->grant = auth_grant_ref(&http_x.grant);
	return http_x.verdict;
}

static void
forget(void *arg, const void *done_arg)
{
	(void)arg;
	ck_assert_ptr_eq(done_arg, http_x.done_arg);
	http_x.forgotten++;
}

static bool
may_report(void *arg, const struct auth_grant *grant, struct bytes own, struct bytes device)
{
	(void)arg;
	return auth_speaks_for(grant, own, device);
}

void
http_now(int64_t after_us)
{
	http_x.now_us += after_us;
	http_server_now(http_x.s, http_x.now_us, 784111777 * INT64_C(1000000));
}

void
http_setup(void)
{
	const struct http_config config = {
		.body_max = 100000,
		.buffer_max = 300000,
		.head_timeout_us = 10000000,
		.body_timeout_us = 60000000,
		.idle_timeout_us = 75000000,
		.answer_timeout_us = 30000000,
		.device_tag = "device",
	};

	memset(&http_x, 0, sizeof(http_x));
	http_x.room = OFFERS_MAX;
	http_x.stamp = INT64_C(1700000000000000);
	http_x.verdict = AUTH_GRANTED;
	http_x.grant = (struct auth_grant){ .refs = 1, .any_device = true };
	http_x.s = http_server_new(&config, &(struct http_ops){ .offer_points = offer_points,
						.offer = offer,
						.stamp = stamp,
						.check = check,
						.forget = forget,
						.may_report = may_report });
	http_now(5000000);
}

void
http_teardown(void)
{
	http_server_free(&http_x.s);
	ck_assert_uint_eq(http_x.grant.refs, 1);
}

struct http_conn *
http_dial(void)
{
	return http_conn_of(http_conn_new(http_x.s, true));
}

void
http_send_cut(struct http_conn *c, struct bytes text, size_t each, struct buf *kept)
{
	for (size_t at = 0; at < text.len || kept->len;) {
		size_t n = each < text.len - at ? each : text.len - at, took, need;
		uint8_t *copy;

		buf_add(kept, text.data + at, n);
		at += n;
		copy = xmemdup(kept->data, kept->len ? kept->len : 1);
		took = http_conn_input(c, bytes_of(copy, kept->len), &need);
		free(copy);
		ck_assert_uint_le(took, kept->len);
		buf_consume(kept, took);
		if (n == 0 && took == 0)
			break;
	}
}

void
http_send(struct http_conn *c, const char *text)
{
	struct buf kept = { .max = 0 };

	http_send_cut(c, bytes_of_str(text), SIZE_MAX, &kept);
	buf_fini(&kept);
}

const char *
http_heard(struct http_conn *c)
{
	static struct buf b;

	buf_clear(&b);
	if (c->io.out)
		buf_add(&b, c->io.out->data, c->io.out->len);
	if (c->io.out)
		buf_clear(c->io.out);
	return buf_str(&b);
}

void
http_commit(size_t i, uint32_t verdict)
{
	http_server_answer(http_x.s, http_x.offers[i].token, verdict);
}
