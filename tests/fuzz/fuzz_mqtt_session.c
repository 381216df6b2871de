/* fuzz_mqtt_session.c - three clients that send anything, lose their connection, wait, and are answered in any order
 *
 * Input is a list of steps: client and kind (one byte), a number of 9 bits (two bytes, low first), for SEND that many
 * bytes to send. */
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "log.h"
#include "mqtt_session.h"

#define CLIENTS 3
#define TOKENS_MAX 4096
#define SECOND 1000000ll

enum step { SEND, SEND_TOO, SEND_ALSO, SEND_MORE, LOSE, ANSWER, WAIT, ROOM, STEP_COUNT };

struct client {
	struct mqtt_conn *conn;
	struct buf unsent;
};

static uint64_t tokens[TOKENS_MAX];
static size_t token_count;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The payload's first byte decides what ingest says to it. */
static int
offer(void *arg, const struct ingest_message *m, uint64_t token, struct buf *reason)
{
	unsigned first = m->payload.len ? m->payload.data[0] % 5u : 2;

	(void)arg;
	if (first == 0)
		return ERR_AGAIN;
	if (first == 1 && m->undecodable == INGEST_REFUSE) {
		buf_add_str(reason, "no");
		return ERR_MALFORMED;
	}
	if (token && token_count < TOKENS_MAX)
		tokens[token_count++] = token;
	return 0;
}

static int
reoffer(void *arg, struct bytes record, uint64_t token)
{
	(void)arg;
	ASSERT(bytes_equal_str(record, "record"));
	if (token_count < TOKENS_MAX)
		tokens[token_count++] = token;
	return 0;
}

/* Answered like an offer. */
static int
release(void *arg, struct bytes client, uint16_t packet_id, int32_t partition, uint64_t token)
{
	(void)arg;
	(void)client;
	(void)partition;
	if (packet_id % 7 == 0)
		return ERR_AGAIN;
	if (token && token_count < TOKENS_MAX)
		tokens[token_count++] = token;
	return 0;
}

/* Sessions that are kept are told of; ROOM says that all of it is written. */
static uint64_t told;

static uint64_t
change(void *arg, const struct mqtt_change *c)
{
	(void)arg;
	(void)c;
	return ++told;
}

static const struct mqtt_config config = {
	.packet_max = 65536,
	.receive_maximum = 8,
	.connect_timeout_us = 5 * SECOND,
	.outbound_max = 4000,
	.sessions_max = 4,
	.session_expiry_max_s = 1000,
	.subscriptions_max = 5,
	.subscriptions_bytes_max = 4096,
	.retained_max = 5,
	.retained_bytes_max = 10000,
	.offline_bytes_max = 10000,
	.wills_bytes_max = 1000,
	.outbound_bytes_max = 10000,
	.queue_max = 20,
	.queue_bytes_max = 4000,
	.received_bytes_max = 256,
	.aliases_max = 10,
};

/* As the listener does. */
static void
give(struct client *c)
{
	size_t need, took;

	if (!c->conn || c->conn->io.closing != CONN_OPEN || c->conn->io.paused)
		return;
	took = mqtt_conn_input(c->conn, buf_bytes(&c->unsent), &need);
	ASSERT(took <= c->unsent.len);
	buf_consume(&c->unsent, took);
}

static void
lose(struct client *c)
{
	if (c->conn)
		mqtt_conn_free(&c->conn);
	buf_clear(&c->unsent);
}

static void
answer(struct mqtt_broker *b, size_t number)
{
	struct bytes record = bytes_of_str("record");
	bool refused = number & 256;

	if (token_count == 0)
		return;
	mqtt_broker_answer(b, tokens[number % token_count],
	    refused ? verdict_make(VERDICT_DEVICE_LIMIT, number & 255) : 0,
	    refused ? &record : NULL);
}

static void
wait_seconds(struct mqtt_broker *b, struct client *clients, size_t seconds)
{
	b->now_us += (int64_t)seconds * SECOND;
	mqtt_broker_tick(b);
	for (size_t i = 0; i < CLIENTS; i++) {
		struct mqtt_conn *c = clients[i].conn;

		if (c && c->io.deadline_us && b->now_us >= c->io.deadline_us)
			mqtt_conn_on_deadline(c);
	}
}

static void
check(const struct mqtt_broker *b, struct client *clients)
{
	for (size_t i = 0; i < CLIENTS; i++) {
		struct mqtt_conn *c = clients[i].conn;

		if (!c)
			continue;
		ASSERT(c->ring_tail - c->ring_head <= MQTT_RING_MAX);
		ASSERT(c->out_unacked <= c->out_receive_max || c->state != MQTT_UP);
		ASSERT(!c->session || c->session->queued_bytes <= config.queue_bytes_max);
		conn_buf_give(c->io.set, &c->io.out);
	}
	ASSERT(b->queued_bytes <= config.offline_bytes_max);
	/* A few of each session are always taken. */
	ASSERT(b->received_bytes <= config.received_bytes_max + b->session_count * 128);
	ASSERT(b->session_count <= config.sessions_max);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct mqtt_ops ops = {
		.offer = offer, .reoffer = reoffer, .release = release, .change = change
	};
	struct client clients[CLIENTS] = { 0 };
	struct mqtt_broker b;

	log_init("fuzz", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	mqtt_broker_init(&b, &config, &ops);
	b.now_us = 1000 * SECOND;
	token_count = 0;
	told = 0;
	while (size >= 3) {
		struct client *c = &clients[data[0] % CLIENTS];
		enum step step = (enum step)(data[0] / CLIENTS % STEP_COUNT);
		size_t number = data[1] | (size_t)(data[2] & 1) << 8;

		data += 3;
		size -= 3;
		switch (step) {
		case SEND:
		case SEND_TOO:
		case SEND_ALSO:
		case SEND_MORE:
			number = number < size ? number : size;
			if (!c->conn)
				c->conn = mqtt_conn_new(&b, true);
			buf_add(&c->unsent, data, number);
			data += number;
			size -= number;
			give(c);
			break;
		case LOSE:
			lose(c);
			break;
		case ANSWER:
			answer(&b, number);
			break;
		case WAIT:
			wait_seconds(&b, clients, number);
			break;
		case ROOM:
			mqtt_broker_written(&b, told);
			mqtt_broker_room(&b);
			for (size_t i = 0; i < CLIENTS; i++)
				give(&clients[i]);
			break;
		case STEP_COUNT:
			break;
		}
		check(&b, clients);
	}
	for (size_t i = 0; i < CLIENTS; i++) {
		lose(&clients[i]);
		buf_fini(&clients[i].unsent);
	}
	mqtt_broker_fini(&b);
	ASSERT(b.held_bytes == 0 && b.queued_bytes == 0 && b.queued_count == 0);
	return 0;
}
