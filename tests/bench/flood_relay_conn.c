/* flood_relay_conn.c - connections of the relay mode: large reads, whole packets counted, answers gathered
 *
 * A message that comes costs a look at its header and at the 24 bytes at the end of its payload, nothing else; what must be
 * answered is gathered and leaves in one send behind the read. */
#include "flood_relay.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static uint8_t answers[INPUT_MAX * 2]; /* four bytes to a packet of at least two */
static size_t answers_len;

static void
watch(struct relay *r, struct link *l, int operation, bool write)
{
	struct epoll_event e = { .events = EPOLLIN | (write ? EPOLLOUT : 0u), .data.ptr = l };

	if (epoll_ctl(r->f->epoll, operation, l->fd, &e) != 0)
		die("epoll_ctl");
	l->want_write = write;
}

/* Ended by the server: nothing comes of it any more, and the report says so. */
static void
link_broken(struct relay *r, struct link *l)
{
	if (l->broken)
		return;
	l->broken = true;
	r->disconnected++;
	close(l->fd);
	l->fd = -1;
}

static void
keep(struct link *l, const uint8_t *bytes, size_t len)
{
	if (l->out_at == l->out_len)
		l->out_at = l->out_len = 0;
	if (l->out_room - l->out_len < len) {
		while (l->out_room - l->out_len < len)
			l->out_room = l->out_room ? l->out_room * 2 : 4096;
		if (l->out_room > BACKLOG_MAX) {
			errno = ENOBUFS;
			die("the server does not read");
		}
		l->out = must(realloc(l->out, l->out_room));
	}
	memcpy(l->out + l->out_len, bytes, len);
	l->out_len += len;
}

/* What the kernel does not take now is kept, and goes first. */
void
link_send(struct relay *r, struct link *l, const uint8_t *bytes, size_t len)
{
	ssize_t done = 0;

	if (l->broken)
		return;
	if (l->out_at == l->out_len) {
		done = send(l->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		r->f->sends++;
		if (done < 0 && errno != EAGAIN) {
			link_broken(r, l);
			return;
		}
		if (done < 0)
			done = 0;
	}
	if ((size_t)done == len)
		return;
	r->f->partial++;
	keep(l, bytes + done, len - (size_t)done);
	if (!l->want_write)
		watch(r, l, EPOLL_CTL_MOD, true);
}

static void
send_kept(struct relay *r, struct link *l)
{
	ssize_t done =
	    send(l->fd, l->out + l->out_at, l->out_len - l->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (done < 0 && errno != EAGAIN)
		link_broken(r, l);
	if (done <= 0)
		return;
	l->out_at += (size_t)done;
	if (l->out_at == l->out_len)
		watch(r, l, EPOLL_CTL_MOD, false);
}

static void
answer(uint8_t type, uint32_t id)
{
	uint8_t *at = answers + answers_len;

	at[0] = type;
	at[1] = 2;
	at[2] = (uint8_t)(id >> 8);
	at[3] = (uint8_t)id;
	answers_len += 4;
}

/* Messages of one send have one time: their latencies are put down together. */
void
flush_stamps(struct relay *r, int64_t now)
{
	if (r->stamped && r->f->measuring)
		record_many(r->f, now - r->stamp, r->stamped);
	r->stamped = 0;
}

/* With --expect the messages are another process's, and each number is to come once. */
static void
count_expected(struct relay *r, uint64_t number)
{
	if (number >= r->f->expect || r->seen[number >> 3] >> (number & 7) & 1) {
		r->repeated++;
		return;
	}
	r->seen[number >> 3] = (uint8_t)(r->seen[number >> 3] | 1u << (number & 7));
	r->delivered++;
	r->accounted++;
}

static void
count(struct relay *r, struct link *l, const uint8_t *stamp, int64_t now)
{
	uint64_t number, *next;
	int64_t time;
	uint32_t publisher, mark;

	memcpy(&time, stamp, 8);
	memcpy(&number, stamp + 8, 8);
	memcpy(&publisher, stamp + 16, 4);
	memcpy(&mark, stamp + 20, 4);
	if (mark != MARK || (publisher >= r->f->publishers && !r->seen)) {
		r->wrong++;
		return;
	}
	if (r->seen) {
		count_expected(r, number);
		return;
	}
	next = &l->next[publisher];
	if (number < *next) {
		r->repeated++;
		return;
	}
	r->missing += number - *next;
	r->accounted += number - *next + 1;
	r->delivered++;
	*next = number + 1;
	if (time != r->stamp) {
		flush_stamps(r, now);
		r->stamp = time;
	}
	r->stamped++;
}

static void
got_publish(struct relay *r, struct link *l, const uint8_t *p, const uint8_t *end, uint32_t qos,
    int64_t now)
{
	uint32_t topic, id = 0;

	if (end - p < 2 + STAMP_LEN || l->publisher) {
		r->wrong++;
		return;
	}
	topic = (uint32_t)(p[0] << 8 | p[1]);
	p += 2;
	if ((size_t)(end - p) < topic + 2 + STAMP_LEN) {
		r->wrong++;
		return;
	}
	p += topic;
	if (qos) {
		id = (uint32_t)(p[0] << 8 | p[1]);
		l->outstanding++;
		if (l->outstanding > r->f->receive_maximum)
			r->over_maximum++;
		answer(qos == 1 ? 0x40 : 0x50, id);
	}
	if (qos == 2) {
		if (l->unreleased[id]) { /* the same message once more, or an id that is not free */
			r->repeated++;
			return;
		}
		l->unreleased[id] = 1;
	}
	count(r, l, end - STAMP_LEN, now);
}

/* A publisher's message is done with: PUBACK, PUBCOMP, or a PUBREC that refuses it. */
static void
done_with(struct relay *r, struct link *l, uint32_t id)
{
	if (!l->publisher || !l->open[id]) {
		r->wrong++;
		return;
	}
	l->open[id] = 0;
	l->acked++;
	r->acked++;
}

static void
got_suback(struct relay *r, struct link *l, const uint8_t *p, const uint8_t *end)
{
	p += 2;
	if (r->f->protocol == 5 && p < end)
		p += 1 + p[0];
	for (; p < end; p++) {
		if (*p >= 0x80)
			r->refused++;
		else
			r->subscribed++;
		l->suback_left -= l->suback_left > 0;
	}
}

static void
got(struct relay *r, struct link *l, uint8_t head, const uint8_t *p, const uint8_t *end,
    int64_t now)
{
	uint32_t id = end - p >= 2 ? (uint32_t)(p[0] << 8 | p[1]) : 0;
	bool refused = end - p >= 3 && p[2] >= 0x80;

	switch (head >> 4) {
	case 3:
		got_publish(r, l, p, end, head >> 1 & 3, now);
		break;
	case 4: /* PUBACK */
		r->refused += refused;
		done_with(r, l, id);
		break;
	case 5: /* PUBREC */
		r->refused += refused;
		if (refused)
			done_with(r, l, id);
		else
			answer(0x62, id);
		break;
	case 6: /* PUBREL */
		if (!l->publisher && l->unreleased)
			l->unreleased[id] = 0;
		l->completing++;
		answer(0x70, id);
		break;
	case 7: /* PUBCOMP */
		done_with(r, l, id);
		break;
	case 9:
		got_suback(r, l, p, end);
		break;
	case 13:
		r->pongs++;
		break;
	default:
		r->wrong++;
	}
}

/* Whole packets; returns how many bytes they were. */
static size_t
parse(struct relay *r, struct link *l, const uint8_t *p, size_t len, int64_t now)
{
	size_t at = 0;

	while (len - at >= 2) {
		size_t body = p[at + 1], head = 2;

		if (body > 127) {
			body &= 127;
			for (unsigned int shift = 7; shift <= 21; shift += 7) {
				if (at + head >= len)
					return at;
				body |= (size_t)(p[at + head] & 127) << shift;
				if (p[at + head++] < 128)
					break;
			}
		}
		if (head + body > CARRY_ROOM) {
			r->wrong++;
			link_broken(r, l);
			return len;
		}
		if (head + body > len - at)
			break;
		got(r, l, p[at], p + at + head, p + at + head + body, now);
		at += head + body;
	}
	return at;
}

/* What was answered is off the server's receive maximum once it is sent. */
static void
send_answers(struct relay *r, struct link *l)
{
	if (answers_len)
		link_send(r, l, answers, answers_len);
	answers_len = 0;
	l->outstanding = l->unreleased ? l->outstanding - l->completing : 0;
	l->completing = 0;
}

static void
link_read(struct relay *r, struct link *l, int64_t now)
{
	static uint8_t buffer[CARRY_ROOM + INPUT_MAX];
	size_t len, used;
	ssize_t n;

	memcpy(buffer, l->carry, l->carry_len);
	n = recv(l->fd, buffer + l->carry_len, INPUT_MAX, MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		link_broken(r, l);
		return;
	}
	r->last_ns = now;
	len = l->carry_len + (size_t)n;
	used = parse(r, l, buffer, len, now);
	l->carry_len = len - used;
	memcpy(l->carry, buffer + used, l->carry_len);
	flush_stamps(r, now);
	send_answers(r, l);
}

/* Waits until the given moment at most for what the server says, and takes it. */
void
relay_turn(struct relay *r, int64_t until_ns)
{
	struct epoll_event events[EVENTS];
	int64_t wait = until_ns - now_ns();
	struct timespec timeout = { 0 };
	int n;

	if (wait > 0)
		timeout = (struct timespec){ .tv_sec = wait / NS, .tv_nsec = wait % NS };
	n = epoll_pwait2(r->f->epoll, events, EVENTS, &timeout, NULL);
	if (n < 0 && errno != EINTR)
		die("epoll_wait");
	for (int i = 0; i < n; i++) {
		struct link *l = events[i].data.ptr;

		if (!l->broken && events[i].events & EPOLLOUT)
			send_kept(r, l);
		if (!l->broken && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
			link_read(r, l, now_ns());
	}
}

void
relay_watch(struct relay *r, struct link *l)
{
	watch(r, l, EPOLL_CTL_ADD, false);
}
