/* flood_relay_open.c - connections of the relay mode come up one after the other: CONNECT, CONNACK, SUBSCRIBE */
#include "flood_relay.h"

#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define ANSWER_S 30

size_t
put_length(uint8_t *at, size_t len)
{
	size_t n = 0;

	do {
		at[n++] = (uint8_t)((len & 127) | (len > 127 ? 128 : 0));
		len >>= 7;
	} while (len);
	return n;
}

static void
read_exactly(struct link *l, uint8_t *at, size_t len)
{
	if (recv(l->fd, at, len, MSG_WAITALL) != (ssize_t)len) {
		fprintf(stderr, "flood: no answer to a CONNECT\n");
		exit(1);
	}
}

static size_t
property_len(const uint8_t *p, size_t len)
{
	size_t one, two;

	switch (p[0]) {
	case 0x24: /* maximum QoS */
	case 0x25:
	case 0x28:
	case 0x29:
	case 0x2a:
		return 2;
	case 0x13:
	case 0x21:
	case 0x22:
		return 3;
	case 0x11:
	case 0x27:
		return 5;
	case 0x26: /* user property */
		one = len >= 3 ? (size_t)(p[1] << 8 | p[2]) : len;
		if (one > len || len - one < 5)
			return len;
		two = (size_t)(p[3 + one] << 8 | p[4 + one]);
		return 5 + one + two;
	default: /* a string, or binary */
		return len >= 3 ? 3 + (size_t)(p[1] << 8 | p[2]) : len;
	}
}

/* The server's receive maximum bounds the window. */
static void
read_connack(struct relay *r, struct link *l)
{
	uint8_t head[2], body[128];
	uint32_t maximum = 65535;

	read_exactly(l, head, 2);
	if (head[0] != 0x20 || head[1] < 2 || head[1] > sizeof(body)) {
		fprintf(stderr, "flood: a CONNACK was expected, not %02x %02x\n", head[0], head[1]);
		exit(1);
	}
	read_exactly(l, body, head[1]);
	if (body[1] != 0) {
		fprintf(stderr, "flood: refused: CONNACK %u\n", body[1]);
		exit(1);
	}
	for (size_t at = 3, step; r->f->protocol == 5 && at < head[1]; at += step) {
		step = property_len(body + at, head[1] - at);
		if (body[at] == 0x21 && head[1] - at >= 3)
			maximum = (uint32_t)(body[at + 1] << 8 | body[at + 2]);
	}
	l->window = r->f->window < maximum ? r->f->window : maximum;
}

static size_t
put_text(uint8_t *at, const char *text, size_t len)
{
	at[0] = (uint8_t)(len >> 8);
	at[1] = (uint8_t)len;
	memcpy(at + 2, text, len);
	return len + 2;
}

static void
link_open(struct relay *r, struct link *l)
{
	const struct flood *f = r->f;
	static const uint8_t head[] = { 0, 4, 'M', 'Q', 'T', 'T' };
	uint8_t body[512], packet[600] = { 0x10 };
	char id[128];
	size_t at = sizeof(head), len = 1;
	int one = 1;
	struct timeval wait = { .tv_sec = ANSWER_S };

	l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (l->fd < 0)
		die("socket");
	setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(l->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	if (connect(l->fd, (const struct sockaddr *)&f->server, sizeof(f->server)) != 0)
		die("connect");
	memcpy(body, head, sizeof(head));
	body[at++] = (uint8_t)f->protocol;
	body[at++] =
	    (uint8_t)((f->persistent ? 0 : 2) | (f->user ? 0x80 : 0) | (f->password ? 0x40 : 0));
	body[at++] = (uint8_t)(f->keep_alive >> 8);
	body[at++] = (uint8_t)f->keep_alive;
	if (f->protocol == 5) {
		uint8_t properties[] = { 8, 0x21, (uint8_t)(f->receive_maximum >> 8),
			(uint8_t)f->receive_maximum, 0x11, 0, 0, f->persistent ? 0x0e : 0,
			f->persistent ? 0x10 : 0 };

		memcpy(body + at, properties, sizeof(properties));
		at += sizeof(properties);
	}
	snprintf(id, sizeof(id), "%s-%s-%07u", f->prefix, l->publisher ? "p" : "s", l->index);
	at += put_text(body + at, id, strlen(id));
	if (f->user)
		at += put_text(body + at, f->user, strlen(f->user));
	if (f->password)
		at += put_text(body + at, f->password, strlen(f->password));
	len += put_length(packet + len, at);
	memcpy(packet + len, body, at);
	len += at;
	if (send(l->fd, packet, len, MSG_NOSIGNAL) != (ssize_t)len)
		die("send");
	read_connack(r, l);
	relay_watch(r, l);
}

/* A packet of n filters: those of the numbers from first on where the filter has a hole. */
void
link_subscribe(struct relay *r, struct link *l, uint32_t first, uint32_t n)
{
	const char *hole = strstr(r->f->filter, "{}");
	uint8_t packet[8 + FILTERS_MAX * 512] = { 0x82 }, *body = packet + 8;
	char filter[500];
	size_t at = 0, len = 1;
	int got;

	l->next_id = l->next_id % 65535 + 1;
	body[at++] = (uint8_t)(l->next_id >> 8);
	body[at++] = (uint8_t)l->next_id;
	if (r->f->protocol == 5)
		body[at++] = 0;
	for (uint32_t i = 0; i < n; i++) {
		if (hole)
			got = snprintf(filter, sizeof(filter), "%.*s%s-%07u%s",
			    (int)(hole - r->f->filter), r->f->filter, r->f->prefix, first + i,
			    hole + 2);
		else
			got = snprintf(filter, sizeof(filter), "%s", r->f->filter);
		if (got < 0 || (size_t)got >= sizeof(filter))
			die("filter too long");
		at += put_text(body + at, filter, (size_t)got);
		body[at++] = (uint8_t)r->f->sub_qos;
	}
	len += put_length(packet + len, at);
	memmove(packet + len, body, at);
	l->suback_left += n;
	link_send(r, l, packet, len + at);
}

/* The ready packet of a publisher: what changes from message to message is written over. */
static void
make_message(struct relay *r, struct link *l)
{
	const struct flood *f = r->f;
	const char *hole = strstr(f->topic, "{}");
	uint8_t head[8], *p;
	char topic[512];
	size_t topic_len = topic_of(f, l->index, topic, sizeof(topic)), head_len;
	size_t payload = f->size > STAMP_LEN ? f->size : STAMP_LEN, rest;

	rest = 2 + topic_len + (f->qos ? 2 : 0) + (f->protocol == 5) + payload;
	head[0] = (uint8_t)(0x30 | f->qos << 1 | f->retain);
	head_len = 1 + put_length(head + 1, rest);
	l->packet_len = head_len + rest;
	l->packet = p = must(calloc(1, l->packet_len));
	memcpy(p, head, head_len);
	p += head_len;
	p += put_text(p, topic, topic_len);
	l->digits_at = hole ? (size_t)(p - l->packet) - topic_len + (size_t)(hole - f->topic) +
				  strlen(f->prefix) + 1
			    : 0;
	l->id_at = (size_t)(p - l->packet);
	l->stamp_at = l->packet_len - STAMP_LEN;
	memset(l->packet + l->packet_len - payload, ' ', payload);
}

/* Subscribers first: what is published has somebody to go to. */
void
relay_open(struct relay *r)
{
	struct flood *f = r->f;

	for (uint32_t i = r->n_links; i-- > 0;) {
		struct link *l = &r->links[i];

		l->publisher = i < f->publishers;
		l->index = l->publisher ? i : i - f->publishers;
		if (l->publisher) {
			make_message(r, l);
			l->open = must(calloc(IDS, 1));
		} else {
			l->next = must(calloc(f->publishers + 1, sizeof(*l->next)));
			l->unreleased = f->sub_qos == 2 ? must(calloc(IDS, 1)) : NULL;
		}
		link_open(r, l);
	}
	f->packet_len = f->publishers ? r->links[0].packet_len : 0;
	f->payload_len = f->size > STAMP_LEN ? f->size : STAMP_LEN;
}
