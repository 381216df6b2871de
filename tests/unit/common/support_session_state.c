/* support_session_state.c - session_state clients of a test, and what they were told */
#include "support_session_state.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "err.h"

const struct msg_mqtt_delivery qos1 = { .qos = 1 };

static void
copy(char out[TEXT_MAX], struct bytes b)
{
	snprintf(out, TEXT_MAX, "%.*s", (int)b.len, b.len > 0 ? (const char *)b.data : "");
}

static void
on_up(void *arg, bool lost)
{
	struct client *c = arg;

	c->ups++;
	c->losts += lost;
}

static void
on_down(void *arg)
{
	((struct client *)arg)->downs++;
}

static void
on_fenced(void *arg)
{
	((struct client *)arg)->fenced++;
}

static void
on_room(void *arg)
{
	((struct client *)arg)->rooms++;
}

static void
on_refused(void *arg, uint64_t token, const struct session_state_refusal *r)
{
	struct client *c = arg;
	struct told_refusal *t = &c->refusals[c->refusal_count++ % TOLD_MAX];

	*t = (struct told_refusal){
		.token = token, .err = r->err, .epoch = r->epoch, .n = r->n, .queues = r->queues
	};
	copy(t->id, r->id);
	ck_assert_uint_eq(token, c->done + 1);
}

static void
on_done(void *arg, uint64_t token, int err, uint64_t retained_seq)
{
	struct client *c = arg;

	ck_assert_uint_eq(token, c->done + 1);
	c->done = token;
	c->failed += err != 0;
	c->seqs += retained_seq != 0;
	c->seq = retained_seq;
	if (c->on_done != NULL)
		c->on_done(c, token, err);
}

static void
on_claimed(void *arg, uint64_t token, int err, const struct session_state_claim *claim)
{
	struct client *c = arg;

	(void)token;
	c->claim = *claim;
	copy(c->owner, claim->owner);
	c->claim_err = err;
	c->claim_up = session_state_is_up(c->ss);
	c->claims++;
}

static void
on_item(void *arg, uint64_t token, const struct session_state_item *item)
{
	struct client *c = arg;
	struct told_item *t = &c->items[c->item_count < TOLD_MAX ? c->item_count : TOLD_MAX - 1];

	(void)token;
	c->item_count++;
	memset(t, 0, sizeof(*t));
	t->kind = item->kind;
	t->item = *item;
	copy(t->key, item->key);
	if (item->message != NULL)
		copy(t->payload, item->message->payload);
	if (item->delivery != NULL)
		t->qos = item->delivery->qos;
	if (item->kind == SESSION_STATE_QUEUED) {
		ck_assert_uint_gt(item->n, c->last_n);
		c->last_n = item->n;
	}
}

static void
on_end(void *arg, uint64_t token, int err)
{
	struct client *c = arg;

	(void)token;
	c->ends++;
	c->end_err = err;
}

static const struct session_state_events events = {
	.up = on_up,
	.down = on_down,
	.fenced = on_fenced,
	.room = on_room,
	.refused = on_refused,
	.done = on_done,
	.claimed = on_claimed,
	.item = on_item,
	.end = on_end,
};

void
client_start(
    struct client *c, struct loop *loop, struct test_redis *t, const char *worker, uint64_t life)
{
	struct session_state_options options = {
		.url = t->url,
		.data_dir = "",
		.worker = worker,
		.life = life,
		.message_max = 1 << 18,
		.queue_max = TEST_QUEUE_MAX,
	};

	memset(c, 0, sizeof(*c));
	c->loop = loop;
	ck_assert_int_eq(session_state_new(loop, &options, &events, c, &c->ss), 0);
}

uint64_t
client_unit(struct client *c)
{
	ck_assert_int_eq(session_state_unit(c->ss, ++c->begun), 0);
	return c->begun;
}

void
client_flush(struct client *c)
{
	session_state_flush(c->ss);
	UNTIL(c->loop, c->done == c->begun);
}

uint64_t
client_claim(struct client *c, const char *id, bool clean, uint32_t expiry_s, int64_t now_ms)
{
	int claims = c->claims;

	UNTIL(c->loop, session_state_is_up(c->ss));
	ck_assert_int_eq(
	    session_state_claim(c->ss, bytes_of_str(id), clean, expiry_s, now_ms, 1), 0);
	UNTIL(c->loop, c->claims > claims);
	ck_assert_int_eq(c->claim_err, 0);
	return c->claim.epoch;
}

static void
read_all(struct client *c, int err)
{
	ck_assert_int_eq(err, 0);
	c->ends = 0;
	c->item_count = 0;
	c->last_n = 0;
	UNTIL(c->loop, c->ends == 1);
	ck_assert_int_eq(c->end_err, 0);
}

void
client_load(struct client *c, const char *id)
{
	UNTIL(c->loop, session_state_is_up(c->ss));
	read_all(c, session_state_load(c->ss, bytes_of_str(id), 1));
}

void
client_list(struct client *c, enum session_state_kind kind, const char *worker)
{
	UNTIL(c->loop, session_state_is_up(c->ss));
	read_all(c, session_state_list(c->ss, kind, worker, 1));
}

const struct told_item *
client_told(const struct client *c, enum session_state_kind kind, const char *key, uint64_t n)
{
	for (size_t i = 0; i < c->item_count && i < TOLD_MAX; i++) {
		const struct told_item *t = &c->items[i];

		if (t->kind == kind && (key == NULL || strcmp(t->key, key) == 0) &&
		    (n == 0 || t->item.n == n))
			return t;
	}
	return NULL;
}

struct bytes
message_of(const char *topic, const char *payload)
{
	static struct buf frame;
	struct msg_mqtt_message m = {
		.topic = bytes_of_str(topic), .payload = bytes_of_str(payload), .qos = 1
	};

	buf_clear(&frame);
	codec_encode(MSG_MQTT_MESSAGE, &m, &frame);
	return buf_bytes(&frame);
}
