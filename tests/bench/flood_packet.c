/* flood_packet.c - ready PUBLISH packets: topics, walks of values, times */
#include "flood.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Walks of values as sensors give them: one step of the last digit or two at a time, always the same number of digits. */
static const struct metric {
	const char *name;
	int low, high, start, step; /* in units of the last digit */
	int decimals;
} metrics[METRICS_MAX] = {
	{ "temperature", 1000, 3999, 2137, 7, 2 },
	{ "humidity", 200, 899, 402, 3, 1 },
	{ "pressure", 10000, 10999, 10132, 2, 1 },
	{ "battery", 300, 419, 371, 1, 2 },
	{ "co2", 400, 999, 612, 9, 0 },
	{ "voltage", 2200, 2399, 2304, 6, 1 },
	{ "power", 10000, 99999, 48210, 90, 2 },
	{ "rssi", 30, 99, 67, 2, 0 },
};

static size_t
render_values(const struct flood *f, const int *values, char *at, size_t room)
{
	size_t n = 0;
	int divisor;

	for (uint32_t m = 0; m < f->metrics; m++) {
		divisor = metrics[m].decimals == 2 ? 100 : metrics[m].decimals == 1 ? 10 : 1;
		n += (size_t)snprintf(at + n, room - n, "%s\"%s\":%d", m ? "," : "",
		    metrics[m].name, values[m] / divisor);
		if (metrics[m].decimals)
			n += (size_t)snprintf(
			    at + n, room - n, ".%0*d", metrics[m].decimals, values[m] % divisor);
	}
	n += (size_t)snprintf(at + n, room - n, "}");
	return n;
}

void
make_pool(struct flood *f)
{
	char line[1024];
	int values[METRICS_MAX];
	uint32_t seed = 12345;
	size_t len;

	for (int m = 0; m < METRICS_MAX; m++)
		values[m] = metrics[m].start;
	f->values_len = render_values(f, values, line, sizeof(line));
	f->pool = must(malloc(POOL * f->values_len));
	for (int i = 0; i < POOL; i++) {
		for (int m = 0; m < METRICS_MAX; m++) {
			seed = seed * 1664525u + 1013904223u;
			values[m] +=
			    (int)(seed >> 16) % (2 * metrics[m].step + 1) - metrics[m].step;
			if (values[m] < metrics[m].low)
				values[m] = metrics[m].low;
			if (values[m] > metrics[m].high)
				values[m] = metrics[m].high;
		}
		len = render_values(f, values, line, sizeof(line));
		if (len != f->values_len)
			die("a payload of another length");
		memcpy(f->pool + (size_t)i * f->values_len, line, len);
	}
}

size_t
topic_of(const struct flood *f, uint32_t device, char *topic, size_t room)
{
	const char *hole = strstr(f->topic, "{}");
	int n;

	if (!hole)
		n = snprintf(topic, room, "%s", f->topic);
	else
		n = snprintf(topic, room, "%.*s%s-%07u%s", (int)(hole - f->topic), f->topic,
		    f->prefix, device, hole + 2);
	if (n < 0 || (size_t)n >= room)
		die("topic too long");
	return (size_t)n;
}

/* Puts a packet without its values together; all packets have one length. */
static void
make_packet(struct flood *f, uint32_t device, uint32_t packet_id, uint8_t *packet)
{
	char topic[512];
	size_t topic_len = topic_of(f, device, topic, sizeof(topic)), rest, at = 0;
	size_t time_len = f->device_time ? 6 + TIME_DIGITS : 0; /* "ts":<digits>, */

	f->payload_len = 1 + time_len + f->values_len;
	if (f->payload_len < f->size)
		f->payload_len = f->size;
	rest = 2 + topic_len + (f->qos ? 2 : 0) + f->payload_len;
	packet[at++] = (uint8_t)(0x30 | f->qos << 1);
	for (size_t left = rest;; left >>= 7) {
		packet[at++] = (uint8_t)((left & 127) | (left > 127 ? 128 : 0));
		if (left <= 127)
			break;
	}
	packet[at++] = (uint8_t)(topic_len >> 8);
	packet[at++] = (uint8_t)topic_len;
	memcpy(packet + at, topic, topic_len);
	at += topic_len;
	if (f->qos) {
		packet[at++] = (uint8_t)(packet_id >> 8);
		packet[at++] = (uint8_t)packet_id;
	}
	f->payload_at = at;
	memset(packet + at, ' ', f->payload_len);
	packet[at] = '{';
	if (f->device_time) {
		static const uint8_t key[] = { '"', 't', 's', '"', ':' };

		memcpy(packet + at + 1, key, sizeof(key));
		packet[at + 6 + TIME_DIGITS] = ',';
	}
	f->time_at = at + 6;
	f->values_at = at + 1 + time_len;
	f->packet_len = at + f->payload_len;
}

/* Where the bytes of the image's message n begin; a PINGREQ stands behind every group of --ping. */
size_t
image_at(const struct flood *f, uint64_t n)
{
	return n * f->packet_len + (f->ping ? n / f->ping * 2 : 0);
}

void
make_image(struct flood *f, struct conn *c)
{
	uint8_t packet[PAYLOAD_MAX + 1024];
	uint32_t device;

	make_packet(f, 0, 1, packet);
	c->image = must(malloc(image_at(f, f->slots) + 2));
	c->since_ns = must(calloc(f->slots, sizeof(*c->since_ns)));
	c->pool_at = (c->index * 769) % POOL;
	for (uint32_t s = 0; s < f->slots; s++) {
		device = c->index * f->devices + s % f->devices;
		make_packet(f, device, s + 1, packet);
		memcpy(c->image + image_at(f, s), packet, f->packet_len);
		if (f->ping && (s + 1) % f->ping == 0)
			memcpy(c->image + image_at(f, s) + f->packet_len, "\xc0\0", 2);
	}
}

static char three_digits[1000][3];

void
write_time(uint8_t *at, int64_t us)
{
	static int64_t seconds_now = -1;
	static char seconds_text[TIME_DIGITS];
	int64_t seconds = us / 1000000;
	unsigned int rest = (unsigned int)(us % 1000000);

	if (seconds != seconds_now) {
		seconds_now = seconds;
		for (int i = 9; i >= 0; i--, seconds /= 10)
			seconds_text[i] = (char)('0' + seconds % 10);
	}
	memcpy(at, seconds_text, 10);
	memcpy(at + 10, three_digits[rest / 1000], 3);
	memcpy(at + 13, three_digits[rest % 1000], 3);
}

void
make_digits(void)
{
	for (int i = 0; i < 1000; i++) {
		three_digits[i][0] = (char)('0' + i / 100);
		three_digits[i][1] = (char)('0' + i / 10 % 10);
		three_digits[i][2] = (char)('0' + i % 10);
	}
}

/* A last message of the connection at QoS 1: its PUBACK speaks for all before it. Returns the packet's length. */
size_t
make_proof(struct flood *f, struct conn *c, uint8_t *packet)
{
	f->qos = 1;
	make_packet(f, c->index * f->devices, 1, packet);
	f->qos = 0;
	memcpy(packet + f->values_at, f->pool, f->values_len);
	if (f->device_time)
		write_time(packet + f->time_at, c->time_us + f->step_us);
	return f->packet_len;
}
