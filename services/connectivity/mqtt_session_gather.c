/* mqtt_session_gather.c - readings that come while sessions of an earlier life are loaded: passed on when all are
 *
 * A reading never waits: it is stored and acknowledged at once. But who subscribed to it may be a session that is not loaded yet. So
 * what would be passed on to subscribers is kept, in order, until all sessions are loaded, and goes to everybody then. That is bounded in
 * time and bytes; beyond it readings go on to those who are here, and are counted. */
#include "mqtt_session_impl.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"
#include "metrics.h"

struct mqtt_gathered {
	struct mqtt_gathered *next;
	struct mqtt_message *message;
	bool retain;
	bool repeat;
	uint16_t packet_id;
	uint16_t client_len;
	uint8_t client[];
};

static size_t
bytes_of_one(const struct mqtt_gathered *g)
{
	return sizeof(*g) + g->client_len + mqtt_message_bytes(g->message);
}

static void
drop_first(struct mqtt_broker *b)
{
	struct mqtt_gathered *g = b->gathered;

	b->gathered = g->next;
	if (!b->gathered)
		b->gathered_end = &b->gathered;
	b->gathered_bytes -= bytes_of_one(g);
	mqtt_message_unref(&g->message);
	free(g);
}

void
mqtt_gather_end(struct mqtt_broker *b)
{
	b->gather_over = true;
	while (b->gathered) {
		struct mqtt_gathered *g = b->gathered;
		struct bytes client = bytes_of(g->client, g->client_len);
		struct mqtt_arrival a = {
			.view = *g->message,
			.retain = g->retain,
			.from = mqtt_store_find(b, client),
			.client = client,
			.packet_id = g->packet_id,
			.repeat = g->repeat,
			.kept = mqtt_message_ref(g->message),
		};

		if (b->loading)
			metric_add(M_MQTT_EARLY, 1);
		(void)mqtt_route(b, &a);
		mqtt_arrival_fini(&a);
		drop_first(b);
	}
	metric_set(M_MQTT_GATHERED_BYTES, 0);
}

void
mqtt_gather_begin(struct mqtt_broker *b)
{
	b->gather_over = false;
	b->gather_until_us = b->now_us + MQTT_GATHER_US;
}

void
mqtt_gather_tick(struct mqtt_broker *b)
{
	if (!b->loading || b->gather_over || b->now_us < b->gather_until_us)
		return;
	log_warn("mqtt.gather", LS("fault", "sessions take long to be loaded"),
	    LU("bytes", b->gathered_bytes),
	    LS("effect", "those that are not here yet miss readings"));
	mqtt_gather_end(b);
}

bool
mqtt_gather(struct mqtt_broker *b, const struct mqtt_arrival *a)
{
	struct mqtt_gathered *g;

	if (b->gathered_bytes >= MQTT_GATHER_BYTES)
		b->gather_until_us = b->now_us;
	mqtt_gather_tick(b);
	if (b->gather_over) {
		metric_add(M_MQTT_EARLY, 1);
		return false;
	}
	g = xcalloc(1, sizeof(*g) + a->client.len);
	g->message = mqtt_message_new(&a->view);
	g->retain = a->retain;
	g->repeat = a->repeat;
	g->packet_id = a->packet_id;
	g->client_len = (uint16_t)a->client.len;
	memcpy(g->client, a->client.data, a->client.len);
	*b->gathered_end = g;
	b->gathered_end = &g->next;
	b->gathered_bytes += bytes_of_one(g);
	metric_set(M_MQTT_GATHERED_BYTES, b->gathered_bytes);
	return true;
}

void
mqtt_gather_fini(struct mqtt_broker *b)
{
	while (b->gathered)
		drop_first(b);
}
