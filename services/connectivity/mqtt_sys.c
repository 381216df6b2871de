/* mqtt_sys.c - the $SYS topics: what monitoring made for mosquitto reads of a broker, under mosquitto's names
 *
 * Counters are since the start of this worker. Each load is a moving average, per minute, over 1, 5 and 15 minutes, of how fast its
 * counter grows. A topic is published when its text changes. */
#include "mqtt_sys.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "mqtt_session_impl.h"
#include "version.h"

#define PREFIX "$SYS/broker/"
#define TEXT_MAX 32
#define MINUTE_US 60000000ll

enum number {
	N_BYTES_IN,
	N_BYTES_OUT,
	N_CONNECTED,
	N_DISCONNECTED,
	N_EXPIRED,
	N_MAXIMUM,
	N_TOTAL,
	N_PACKETS_IN,
	N_PACKETS_OUT,
	N_PUBLISH_BYTES_IN,
	N_PUBLISH_BYTES_OUT,
	N_PUBLISH_DROPPED,
	N_PUBLISH_IN,
	N_PUBLISH_OUT,
	N_RETAINED,
	N_STORE_BYTES,
	N_STORE_COUNT,
	N_SUBSCRIPTIONS,
	N_SHARED,
	N_CONNECTS,
	N_SOCKETS,
	NUMBER_COUNT,
};

/* Some have an older name too, which is still read. */
static const struct {
	const char *name;
	enum number number;
} counts[] = {
	{ "bytes/received", N_BYTES_IN },
	{ "bytes/sent", N_BYTES_OUT },
	{ "clients/active", N_CONNECTED },
	{ "clients/connected", N_CONNECTED },
	{ "clients/disconnected", N_DISCONNECTED },
	{ "clients/expired", N_EXPIRED },
	{ "clients/inactive", N_DISCONNECTED },
	{ "clients/maximum", N_MAXIMUM },
	{ "clients/total", N_TOTAL },
	{ "messages/received", N_PACKETS_IN },
	{ "messages/sent", N_PACKETS_OUT },
	{ "messages/stored", N_STORE_COUNT },
	{ "publish/bytes/received", N_PUBLISH_BYTES_IN },
	{ "publish/bytes/sent", N_PUBLISH_BYTES_OUT },
	{ "publish/messages/dropped", N_PUBLISH_DROPPED },
	{ "publish/messages/received", N_PUBLISH_IN },
	{ "publish/messages/sent", N_PUBLISH_OUT },
	{ "retained messages/count", N_RETAINED },
	{ "shared_subscriptions/count", N_SHARED },
	{ "store/messages/bytes", N_STORE_BYTES },
	{ "store/messages/count", N_STORE_COUNT },
	{ "subscriptions/count", N_SUBSCRIPTIONS },
};

static const struct {
	const char *name;
	enum number number;
} loads[] = {
	{ "load/bytes/received", N_BYTES_IN },
	{ "load/bytes/sent", N_BYTES_OUT },
	{ "load/connections", N_CONNECTS },
	{ "load/messages/received", N_PACKETS_IN },
	{ "load/messages/sent", N_PACKETS_OUT },
	{ "load/publish/dropped", N_PUBLISH_DROPPED },
	{ "load/publish/received", N_PUBLISH_IN },
	{ "load/publish/sent", N_PUBLISH_OUT },
	{ "load/sockets", N_SOCKETS },
};

static const int spans[] = { 1, 5, 15 }; /* minutes */

#define COUNTS COUNT_OF(counts)
#define LOADS COUNT_OF(loads)
#define SPANS COUNT_OF(spans)

struct mqtt_sys {
	int64_t started_us;
	int64_t at_us; /* published last */
	uint64_t before[LOADS];
	double load[LOADS][SPANS];
	char version[TEXT_MAX]; /* as they were published */
	char uptime[TEXT_MAX];
	char count_text[COUNTS][TEXT_MAX];
	char load_text[LOADS][SPANS][TEXT_MAX];
};

bool
mqtt_sys_is_ours(struct bytes topic)
{
	static const char before[] = PREFIX "connection/", after[] = "/state";
	const size_t before_len = sizeof(before) - 1, after_len = sizeof(after) - 1;
	size_t name_len;

	if (topic.len < 4 || memcmp(topic.data, "$SYS", 4) != 0)
		return false;
	if (topic.len <= before_len + after_len || memcmp(topic.data, before, before_len) != 0 ||
	    memcmp(topic.data + topic.len - after_len, after, after_len) != 0)
		return true;
	name_len = topic.len - before_len - after_len;
	return memchr(topic.data + before_len, '/', name_len) != NULL;
}

void
mqtt_sys_free(struct mqtt_sys **p_sys)
{
	free(*p_sys);
	*p_sys = NULL;
}

static void
measure(const struct mqtt_broker *b, uint64_t n[NUMBER_COUNT])
{
	const struct mqtt_passed *p = &b->passed;

	n[N_BYTES_IN] = p->bytes_in;
	n[N_BYTES_OUT] = b->set.bytes_sent;
	n[N_CONNECTED] = b->connected_count;
	n[N_DISCONNECTED] = b->session_count - b->connected_count;
	n[N_EXPIRED] = b->expired_count;
	n[N_MAXIMUM] = b->connected_max;
	n[N_TOTAL] = b->session_count;
	n[N_PACKETS_IN] = p->packets_in;
	n[N_PACKETS_OUT] = p->packets_out;
	n[N_PUBLISH_BYTES_IN] = p->publish_bytes_in;
	n[N_PUBLISH_BYTES_OUT] = p->publish_bytes_out;
	n[N_PUBLISH_DROPPED] = p->publish_dropped;
	n[N_PUBLISH_IN] = p->publish_in;
	n[N_PUBLISH_OUT] = p->publish_out;
	n[N_RETAINED] = b->retained.count;
	n[N_STORE_BYTES] = b->retained.bytes + b->queued_bytes;
	n[N_STORE_COUNT] = b->retained.count + b->queued_count;
	n[N_SUBSCRIPTIONS] = b->router.sub_count;
	n[N_SHARED] = b->router.shared_count;
	n[N_CONNECTS] = p->connects;
	n[N_SOCKETS] = p->sockets;
}

static void
publish(struct mqtt_broker *b, const char *name, char was[TEXT_MAX], const char *text)
{
	char topic[128];
	struct mqtt_arrival a = { .view = { .own = true }, .retain = true };

	if (strcmp(was, text) == 0)
		return;
	snprintf(was, TEXT_MAX, "%s", text);
	snprintf(topic, sizeof(topic), PREFIX "%s", name);
	a.view.topic = bytes_of_str(topic);
	a.view.payload = bytes_of_str(was);
	(void)mqtt_route(b, &a);
	mqtt_arrival_fini(&a);
}

/* The rate of this interval, per minute, blended with what was before by how long the interval is. */
static double
blend(double before, double rate, int64_t interval_us, int span)
{
	double weight = exp(-(double)interval_us / (double)(span * MINUTE_US));

	return rate + weight * (before - rate);
}

static void
publish_loads(struct mqtt_broker *b, struct mqtt_sys *sys, const uint64_t *n, int64_t interval_us)
{
	char name[64], text[TEXT_MAX];

	for (size_t i = 0; i < LOADS; i++) {
		uint64_t now = n[loads[i].number];
		double rate =
		    (double)(now - sys->before[i]) * (double)MINUTE_US / (double)interval_us;

		sys->before[i] = now;
		for (size_t k = 0; k < SPANS; k++) {
			sys->load[i][k] = blend(sys->load[i][k], rate, interval_us, spans[k]);
			snprintf(name, sizeof(name), "%s/%dmin", loads[i].name, spans[k]);
			snprintf(text, sizeof(text), "%.2f", sys->load[i][k]);
			publish(b, name, sys->load_text[i][k], text);
		}
	}
}

void
mqtt_sys_tick(struct mqtt_broker *b)
{
	struct mqtt_sys *sys = b->sys;
	uint64_t n[NUMBER_COUNT];
	char text[TEXT_MAX];
	int64_t interval_us;

	if (b->config.sys_interval_us == 0)
		return;
	if (!sys) {
		sys = b->sys = xcalloc(1, sizeof(*sys));
		sys->started_us = sys->at_us = b->now_us;
	} else if (b->now_us - sys->at_us < b->config.sys_interval_us) {
		return;
	}
	interval_us = b->now_us - sys->at_us;
	sys->at_us = b->now_us;
	measure(b, n);
	publish(b, "version", sys->version, "roost version " ROOST_VERSION);
	snprintf(
	    text, sizeof(text), "%" PRId64 " seconds", (b->now_us - sys->started_us) / 1000000);
	publish(b, "uptime", sys->uptime, text);
	for (size_t i = 0; i < COUNTS; i++) {
		snprintf(text, sizeof(text), "%" PRIu64, n[counts[i].number]);
		publish(b, counts[i].name, sys->count_text[i], text);
	}
	if (interval_us > 0)
		publish_loads(b, sys, n, interval_us);
}
