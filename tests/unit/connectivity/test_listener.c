/* test_listener.c - the listener with real sockets, and a protocol that the test plays */
#include "../unit.h"
#include "listener.h"

#include <arpa/inet.h>
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "err.h"
#include "mem.h"

#define HELD 1u
#define TURNS_MAX 20000

struct caller { /* a connection of the protocol */
	struct conn io;
	struct caller *next; /* all of them, newest first */
	struct caller **at;
	size_t got;
	size_t taken;
	bool quiet; /* takes everything */
	bool whole; /* takes nothing before the last byte, '!', and does not know when that comes */
};

static struct {
	struct loop *loop;
	struct conn_set set;
	struct worker w;
	struct worker_listener wl;
	struct listener *l;
	struct transport_doors doors;
	struct transport_door door; /* plain */
	struct sockaddr_in address;
	struct caller *last;
	struct caller *all;
	size_t peers;
	size_t answer; /* bytes put out when input comes first */
} x;

static struct conn *
on_open(void *arg, bool loopback)
{
	struct caller *p = xcalloc(1, sizeof(*p));

	(void)arg;
	(void)loopback;
	conn_init(&p->io, &x.set);
	p->next = x.all;
	p->at = &x.all;
	if (p->next)
		p->next->at = &p->next;
	x.all = x.last = p;
	x.peers++;
	return &p->io;
}

/* The first input is answered and held; what comes after that is taken. */
static size_t
on_input(struct conn *c, struct bytes in, size_t *ret_need)
{
	struct caller *p = (struct caller *)(void *)c;

	*ret_need = 0;
	if (p->whole) {
		p->taken = in.data[in.len - 1] == '!' ? in.len : 0;
		return p->taken;
	}
	p->got += in.len;
	if (p->got == in.len && !p->quiet) {
		struct buf *out = conn_out(c);

		if (x.answer) {
			memset(buf_reserve(out, x.answer), 'a', x.answer);
			out->len += x.answer;
		}
		conn_pause(c, HELD);
		return 0;
	}
	p->taken += in.len;
	return in.len;
}

static void
on_deadline(struct conn *c)
{
	(void)c;
}

static void
on_gone(struct conn *c)
{
	struct caller *p = (struct caller *)(void *)c;

	*p->at = p->next;
	if (p->next)
		p->next->at = p->at;
	conn_fini(c);
	free(p);
	x.peers--;
}

static void
on_now(void *arg, int64_t now_us)
{
	(void)arg;
	(void)now_us;
}

static void
setup(void)
{
	const struct listener_protocol protocol = {
		.metrics = { M_MQTT_OVER_LIMIT, M_MQTT_OVER_ADDRESS_LIMIT, M_MQTT_INPUT_BYTES,
		    M_MQTT_OUTPUT_BYTES },
		.connections_max = 5000,
		.open = on_open,
		.input = on_input,
		.deadline = on_deadline,
		.gone = on_gone,
		.now = on_now,
	};
	socklen_t len = sizeof(x.address);

	memset(&x, 0, sizeof(x));
	x.address.sin_family = AF_INET;
	x.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	x.wl = (struct worker_listener){ .kind = "mqtt", .address = "127.0.0.1:1883" };
	x.wl.fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(x.wl.fd, (struct sockaddr *)&x.address, len), 0);
	ck_assert_int_eq(listen(x.wl.fd, 1024), 0);
	ck_assert_int_eq(getsockname(x.wl.fd, (struct sockaddr *)&x.address, &len), 0);
	x.loop = loop_new();
	x.w = (struct worker){ .loop = x.loop, .listeners = &x.wl, .listener_count = 1 };
	conn_set_init(&x.set);
	x.doors = (struct transport_doors){ .doors = &x.door, .count = 1 };
	x.l = listener_new(&x.w, &protocol, &x.doors, &x.set);
}

static void turn(void);

static void
teardown(void)
{
	for (struct caller *p = x.all; p; p = p->next)
		conn_close(&p->io);
	for (int i = 0; i < TURNS_MAX && x.peers; i++)
		turn();
	ck_assert_uint_eq(x.peers, 0);
	listener_free(&x.l);
	conn_set_fini(&x.set);
	loop_free(&x.loop);
	close(x.wl.fd);
}

static void
turn(void)
{
	loop_turn(x.loop, 1000);
	listener_turn(x.l);
}

/* Returns the client's descriptor; its connection is x.last. */
static int
dial(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	size_t before = x.peers;

	ck_assert_int_ge(fd, 0);
	(void)connect(fd, (struct sockaddr *)&x.address, sizeof(x.address));
	for (int i = 0; i < TURNS_MAX && x.peers == before; i++)
		turn();
	ck_assert_uint_eq(x.peers, before + 1);
	return fd;
}

static void
hang_up(const int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++)
		close(fds[i]);
}

/* Held back for two reasons at once: input must be looked at again when the second one ends, whichever it is. */
START_TEST(goes_on_when_output_is_read_last)
{
	static char sink[1 << 20];
	int fd = dial();
	struct caller *p = x.last;

	x.answer = 32u << 20; /* more than the sockets' buffers take */
	ck_assert_int_eq(send(fd, "hello", 5, 0), 5);
	for (int i = 0; i < TURNS_MAX && !(p->io.paused & CONN_PAUSED_OUT); i++)
		turn();
	ck_assert_uint_eq(p->io.paused, HELD | CONN_PAUSED_OUT);
	conn_resume(&p->io, HELD);
	turn();
	ck_assert_uint_eq(p->taken, 0);
	for (int i = 0; i < TURNS_MAX && p->taken == 0; i++) {
		while (recv(fd, sink, sizeof(sink), 0) > 0)
			continue;
		turn();
	}
	ck_assert_uint_eq(p->taken, 5);
	close(fd);
	for (int i = 0; i < TURNS_MAX && x.peers; i++)
		turn();
	ck_assert_uint_eq(x.peers, 0);
}
END_TEST

/* Many that send much and are held back leave the others their place. */
START_TEST(those_held_back_do_not_stop_the_others)
{
	enum { MANY = 1200, CHUNK = 65536 };
	static const char chunk[CHUNK];
	struct rlimit r;
	int calm, *fds = xcalloc(MANY, sizeof(*fds));
	struct caller *p;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &r), 0);
	r.rlim_cur = r.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &r), 0);
	calm = dial();
	p = x.last;
	p->quiet = true;
	for (size_t i = 0; i < MANY; i++) {
		fds[i] = dial();
		for (int k = 0; k < 4; k++)
			(void)send(fds[i], chunk, CHUNK, MSG_NOSIGNAL);
	}
	for (int i = 0; i < 100; i++)
		turn();
	ck_assert_int_eq(send(calm, "hello", 5, 0), 5);
	for (int i = 0; i < 100 && p->taken == 0; i++)
		turn();
	ck_assert_uint_eq(p->taken, 5);
	hang_up(fds, MANY);
	close(calm);
	free(fds);
}
END_TEST

/* A protocol that learns only from the bytes where its message ends gets each as it comes, however much is kept. */
START_TEST(who_knows_no_length_is_shown_all_there_is)
{
	static char text[60000];
	int fd = dial();
	struct caller *p = x.last;

	p->whole = true;
	memset(text, 'a', sizeof(text));
	text[sizeof(text) - 1] = '!';
	for (size_t at = 0; at < sizeof(text);) {
		size_t n = at < 5000 ? 5000 : sizeof(text) - at;
		ssize_t sent = send(fd, text + at, n, MSG_NOSIGNAL);

		if (sent > 0)
			at += (size_t)sent;
		ck_assert_uint_eq(p->taken, 0);
		turn();
	}
	for (int i = 0; i < TURNS_MAX && p->taken == 0; i++)
		turn();
	ck_assert_uint_eq(p->taken, sizeof(text));
	ck_assert_ptr_null(p->io.in);
	close(fd);
}
END_TEST

/* Behind another door another protocol is spoken. */
START_TEST(serves_its_own_doors_only)
{
	const struct listener_protocol other = { .serves = TRANSPORT_HTTP, .connections_max = 1 };
	struct listener *l = listener_new(&x.w, &other, &x.doors, &x.set);
	int fd = dial();

	ck_assert(listener_is_empty(l));
	listener_free(&l);
	close(fd);
}
END_TEST

UNIT_MAIN_IN("listener", setup, teardown, goes_on_when_output_is_read_last,
    those_held_back_do_not_stop_the_others, who_knows_no_length_is_shown_all_there_is,
    serves_its_own_doors_only)
