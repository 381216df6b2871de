/* test_mqtt_cluster.c - several workers as one broker, in one process: what clients are promised, over clients that change
 * workers, workers that stand still, and workers that die; SEED=n ROUNDS=n to look for more */
#include "../unit.h"
#include "fake_cluster.h"
#include "../connectivity/support_mqtt.h"

#define CLIENTS_MAX 8
#define SENT_MAX 4096
#define IDS 64 /* packet ids that a client uses */
#define STEP_US 100

/* A connection; what its client sends is read at the worker's next turns, also when the client has gone. */
struct pipe {
	struct pipe *next;
	unsigned worker;
	uint64_t life;
	struct mqtt_conn *conn;
	struct buf up;
	struct buf down;
	bool left;   /* the client has gone */
	bool closed; /* the worker has */
};

struct outgoing {
	unsigned message; /* 1...; 0: free */
	bool released;
	bool sent;
};

/* Keeps its side of the protocol, as mqtt_durable.py. */
struct client {
	char id[16];
	const char *filter;
	unsigned qos;
	bool clean;
	bool slow;	 /* acknowledges nothing */
	unsigned worker; /* where it connects */
	struct pipe *pipe;
	bool up;
	bool subscribed;
	unsigned connects;
	struct outgoing out[IDS + 1];
	bool incoming[65536];
	unsigned sent; /* of its messages */
	unsigned quota;
	int64_t turn_us;
	unsigned got[SENT_MAX]; /* by message */
	unsigned got_count;
};

static struct client *clients[CLIENTS_MAX];
static size_t client_count;
static struct pipe *pipes;
static unsigned published; /* messages; number n is QoS 1 + n % 2 */
static unsigned acked;
static uint32_t still_percent; /* of turns, how many are followed by up to 80 ms of nothing */

static struct client *
client_new(const char *id, unsigned worker, const char *filter, unsigned qos)
{
	struct client *c = xcalloc(1, sizeof(*c));

	snprintf(c->id, sizeof(c->id), "%s", id);
	c->worker = worker;
	c->filter = filter;
	c->qos = qos;
	c->subscribed = !filter;
	c->quota = 20;
	clients[client_count++] = c;
	return c;
}

/* --- a client --- */

static void
leave(struct client *c)
{
	if (c->pipe)
		c->pipe->left = true;
	c->pipe = NULL;
	c->up = false;
}

static void
move(struct client *c, unsigned worker)
{
	leave(c);
	c->worker = worker;
}

static void
ack(struct client *c, unsigned type, unsigned id)
{
	uint8_t body[2] = { (uint8_t)(id >> 8), (uint8_t)id };

	put_packet(&c->pipe->up, type << 4 | (type == MQTT_PUBREL ? 2u : 0u), body, 2);
}

/* Which is told by its payload. */
static void
send_publish(struct client *c, unsigned id)
{
	struct outgoing *o = &c->out[id];
	char payload[16];
	unsigned qos = 1 + o->message % 2;

	snprintf(payload, sizeof(payload), "%u", o->message);
	put_publish(&c->pipe->up, 4, qos << 1 | (o->sent ? 8 : 0), id, qos == 2 ? "t/2/x" : "t/1/x",
	    payload);
	o->sent = true;
}

static void
on_publish(struct client *c, const uint8_t *p, size_t len)
{
	unsigned qos = p[0] >> 1 & 3, id, n;
	size_t topic = (size_t)p[2] << 8 | p[3], at = 4 + topic;
	char payload[16] = "";

	id = (unsigned)p[at] << 8 | p[at + 1];
	memcpy(payload, p + at + 2, len - at - 2);
	n = (unsigned)atoi(payload);
	ck_assert(n > 0 && n < SENT_MAX && qos > 0);
	if (qos == 1 || !c->incoming[id]) {
		c->got[n]++;
		c->got_count++;
	}
	if (c->slow)
		return;
	if (qos == 2)
		c->incoming[id] = true;
	ack(c, qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, id);
}

static void
on_connack(struct client *c, bool present)
{
	c->up = true;
	if (!present) {
		memset(c->incoming, 0, sizeof(c->incoming));
		c->subscribed = !c->filter;
	}
	for (unsigned id = 1; id <= IDS; id++) {
		if (c->out[id].message && c->out[id].released)
			ack(c, MQTT_PUBREL, id);
		else if (c->out[id].message)
			send_publish(c, id);
	}
	if (!c->subscribed)
		put_subscribe(&c->pipe->up, 4, 1000, c->filter, c->qos);
}

static void
on_packet(struct client *c, const uint8_t *p, size_t len)
{
	unsigned type = p[0] >> 4, id = (unsigned)p[2] << 8 | p[3];
	struct outgoing *o = &c->out[id <= IDS ? id : 0];

	switch (type) {
	case MQTT_CONNACK:
		ck_assert_uint_eq(p[3], 0);
		on_connack(c, p[2]);
		break;
	case MQTT_PUBLISH:
		on_publish(c, p, len);
		break;
	case MQTT_PUBACK:
	case MQTT_PUBCOMP:
		acked += o->message != 0;
		*o = (struct outgoing){ .message = 0 };
		break;
	case MQTT_PUBREC:
		if (o->message)
			o->released = true;
		ack(c, MQTT_PUBREL, id);
		break;
	case MQTT_PUBREL:
		c->incoming[id] = false;
		ack(c, MQTT_PUBCOMP, id);
		break;
	default:
		c->subscribed = true;
		break;
	}
}

/* The lowest packet id that is free, as many libraries do. */
static void
publish_some(struct client *c)
{
	unsigned busy = 0;

	for (unsigned id = 1; id <= IDS; id++)
		busy += c->out[id].message != 0;
	for (unsigned id = 1; c->sent && id <= IDS && busy < c->quota; id++) {
		if (c->out[id].message)
			continue;
		c->out[id].message = ++published;
		ck_assert_uint_lt(published, SENT_MAX);
		c->sent--;
		busy++;
		send_publish(c, id);
	}
}

static void
client_turn(struct client *c)
{
	struct pipe *p = c->pipe;

	if (p && p->closed) {
		leave(c);
		p = NULL;
	}
	if (!p && fake_workers[c->worker].alive) {
		p = xcalloc(1, sizeof(*p));
		p->worker = c->worker;
		p->life = fake_workers[c->worker].life;
		p->next = pipes;
		pipes = c->pipe = p;
		c->connects++;
		put_connect(&p->up, 4, c->clean, 0, c->id);
		return;
	}
	while (c->pipe == p && p && p->down.len >= 2 && p->down.len >= 2u + p->down.data[1]) {
		on_packet(c, p->down.data, 2u + p->down.data[1]);
		buf_consume(&p->down, 2u + p->down.data[1]);
	}
	if (c->up)
		publish_some(c);
}

/* --- a worker --- */

static void
pipe_turn(struct fake_worker *f, struct pipe *p)
{
	size_t need, took;

	if (!p->conn && !p->closed && p->life == f->life)
		p->conn = mqtt_conn_new(&f->broker, true);
	if (!p->conn)
		return;
	while (p->up.len && !p->conn->io.paused && p->conn->io.closing == CONN_OPEN) {
		took = mqtt_conn_input(p->conn, buf_bytes(&p->up), &need);
		if (took == 0)
			break;
		buf_consume(&p->up, took);
	}
}

static void
pipe_out(struct pipe *p)
{
	if (!p->conn)
		return;
	if (p->conn->io.out) {
		buf_add(&p->down, p->conn->io.out->data, p->conn->io.out->len);
		conn_buf_give(p->conn->io.set, &p->conn->io.out);
		mqtt_conn_on_sent(p->conn);
	}
	if (p->conn->io.closing == CONN_OPEN && !(p->left && (!p->up.len || p->conn->io.paused)))
		return;
	mqtt_conn_free(&p->conn);
	p->closed = true;
}

static void
pipes_sweep(void)
{
	for (struct pipe **at = &pipes; *at;) {
		struct pipe *p = *at;

		if (!p->closed || !p->left) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		buf_fini(&p->up);
		buf_fini(&p->down);
		free(p);
	}
}

static void
worker_turn(unsigned i)
{
	struct fake_worker *f = &fake_workers[i];

	f->turn_us = fake_now_us + 50 + fake_random(400);
	if (fake_random(100) < still_percent)
		f->turn_us += fake_random(80000);
	fake_turn_in(i);
	for (struct pipe *p = pipes; p; p = p->next)
		if (p->worker == i && fake_random(4))
			pipe_turn(f, p);
	for (struct pipe *p = pipes; p; p = p->next)
		if (p->worker == i)
			pipe_out(p);
	fake_turn_end(i);
	for (struct pipe *p = pipes; p; p = p->next)
		if (p->worker == i)
			pipe_out(p);
}

static void
die(unsigned i)
{
	struct fake_worker *f = &fake_workers[i];

	for (struct pipe *p = pipes; p; p = p->next) {
		if (p->worker != i)
			continue;
		p->conn = NULL; /* the broker frees it */
		p->closed = true;
	}
	fake_kill(i);
	f->turn_us = fake_now_us + 5000 + fake_random(30000);
}

static void
step(void)
{
	fake_now_us += STEP_US;
	for (unsigned i = 0; i < fake_worker_count; i++) {
		struct fake_worker *f = &fake_workers[i];

		if (f->alive)
			fake_redis_run(f->ss);
		if (f->turn_us > fake_now_us)
			continue;
		if (f->alive)
			worker_turn(i);
		else
			fake_start(i);
	}
	for (size_t i = 0; i < client_count; i++) {
		if (clients[i]->turn_us > fake_now_us)
			continue;
		clients[i]->turn_us = fake_now_us + 100 + fake_random(1000);
		client_turn(clients[i]);
	}
	pipes_sweep();
}

static void
run(int64_t us)
{
	for (int64_t end = fake_now_us + us; fake_now_us < end;)
		step();
}

/* Within so many seconds. */
#define RUN_UNTIL(seconds, condition)                                                              \
	do {                                                                                       \
		int64_t run_end = fake_now_us + (seconds)*FAKE_SECOND;                             \
		while (!(condition) && fake_now_us < run_end)                                      \
			step();                                                                    \
		ck_assert_msg((condition), #condition);                                            \
	} while (0)

static bool
all_up(void)
{
	for (size_t i = 0; i < client_count; i++)
		if (!clients[i]->up || !clients[i]->subscribed)
			return false;
	return true;
}

static bool
all_acked(void)
{
	for (size_t i = 0; i < client_count; i++) {
		if (clients[i]->sent)
			return false;
		for (unsigned id = 1; id <= IDS; id++)
			if (clients[i]->out[id].message)
				return false;
	}
	return true;
}

static void
begin(unsigned workers, uint64_t seed)
{
	fake_begin(workers, seed);
	published = acked = 0;
	still_percent = 0;
	client_count = 0;
}

static void
end(void)
{
	for (size_t i = 0; i < client_count; i++)
		leave(clients[i]);
	for (unsigned i = 0; i < fake_worker_count; i++)
		if (fake_workers[i].alive)
			die(i);
	for (struct pipe *p = pipes; p; p = p->next)
		p->closed = p->left = true;
	pipes_sweep();
	fake_end();
	for (size_t i = 0; i < client_count; i++)
		free(clients[i]);
	client_count = 0;
}

/* --- what is promised --- */

static void
check_got(const struct client *s, uint64_t seed)
{
	unsigned lost = 0, twice = 0, first = 0;

	for (unsigned n = 1; n <= published; n++) {
		bool bad = s->got[n] == 0 || (n % 2 && s->got[n] > 1);

		lost += s->got[n] == 0;
		twice += n % 2 && s->got[n] > 1;
		if (bad && !first)
			first = n;
	}
	ck_assert_msg(lost == 0 && twice == 0, "seed %llu: of %u lost %u, QoS 2 twice %u, first %u",
	    (unsigned long long)seed, published, lost, twice, first);
}

struct trouble {
	unsigned workers;
	unsigned subscribers;
	uint32_t publisher_ms; /* changes workers about so often; 0: never */
	uint32_t subscriber_ms;
	uint32_t kill_ms;
	uint32_t lasts_ms; /* all of this; 0: a second */
	uint32_t redis_us; /* how long Redis takes, one way; 0: as usual */
	uint32_t pace_us;  /* a publisher has a message to send about so often; 0: all at once */
	bool flee;	   /* clients of a worker that dies go to the next one */
	bool shared; /* subscribers are a group: the first stays, the others end when they move */
	uint32_t still_percent;
	uint64_t first; /* seed; 0: 1 */
};

static bool
due_us(int64_t *at, uint32_t us)
{
	if (!us || fake_now_us < *at)
		return false;
	*at = fake_now_us + 1 + fake_random(2 * us);
	return true;
}

static bool
due(int64_t *at, uint32_t ms)
{
	if (!ms || fake_now_us < *at)
		return false;
	*at = fake_now_us + (1 + fake_random(2 * ms)) * 1000;
	return true;
}

static void
one_round(const struct trouble *t, uint64_t seed)
{
	struct client *p[2], *s[2];
	const uint32_t usual_us = fake_redis_us;
	int64_t p_at = 0, s_at = 0, kill_at = 0, pace_at = 0;

	begin(t->workers, seed);
	p[0] = client_new("p0", 0, NULL, 0);
	p[1] = client_new("p1", 1, NULL, 0);
	for (unsigned i = 0; i < t->subscribers; i++)
		s[i] = client_new(
		    i ? "s1" : "s0", i % t->workers, t->shared ? "$share/g/t/#" : "t/#", 2);
	RUN_UNTIL(20, all_up());
	due(&p_at, t->publisher_ms);
	due(&s_at, t->subscriber_ms);
	due(&kill_at, t->kill_ms);
	still_percent = t->still_percent;
	if (t->redis_us)
		fake_redis_us = t->redis_us;
	p[0]->sent = p[1]->sent = t->pace_us ? 0 : 300;
	for (int64_t until = fake_now_us + (t->lasts_ms ? t->lasts_ms : 1000) * 1000;
	     fake_now_us < until; step()) {
		if (due_us(&pace_at, t->pace_us))
			p[fake_random(2)]->sent++;
		if (due(&p_at, t->publisher_ms))
			move(p[fake_random(2)], fake_random(t->workers));
		if (due(&s_at, t->subscriber_ms)) {
			struct client *c = s[fake_random(t->subscribers)];

			c->clean = t->shared && c != s[0];
			if (!t->shared || c->clean)
				move(c, fake_random(t->workers));
		}
		if (due(&kill_at, t->kill_ms)) {
			unsigned i = fake_random(t->workers);

			if (fake_workers[i].alive)
				die(i);
			for (size_t c = 0; t->flee && c < client_count; c++)
				if (clients[c]->worker == i)
					move(clients[c], (i + 1) % t->workers);
		}
	}
	still_percent = 0;
	fake_redis_us = usual_us;
	RUN_UNTIL(60, all_up() && all_acked());
	run(12 * FAKE_SECOND);
	ck_assert_uint_eq(acked, published);
	/* One of them has had it; at QoS 2 it was lost if that one has ended, or came to another one too if its worker has died. */
	for (unsigned n = 1; t->shared && n <= published; n++)
		s[0]->got[n] = s[0]->got[n] || s[1]->got[n] || (n % 2 && !t->kill_ms);
	for (unsigned i = 0; i < (t->shared ? 1 : t->subscribers); i++)
		check_got(s[i], seed);
	end();
}

static void
rounds(const struct trouble *t, unsigned count)
{
	const char *seed = getenv("SEED"), *more = getenv("ROUNDS");
	uint64_t first = seed ? strtoull(seed, NULL, 10) : t->first + !t->first;

	if (more)
		count = (unsigned)atoi(more);
	for (uint64_t i = first; i < first + count; i++)
		one_round(t, i);
}

#define ROUNDS(name, count, ...)                                                                   \
	START_TEST(name)                                                                           \
	{                                                                                          \
		const struct trouble t = { __VA_ARGS__ };                                          \
		rounds(&t, count);                                                                 \
	}                                                                                          \
	END_TEST

ROUNDS(nothing_happens, 2, .workers = 2, .subscribers = 2)
ROUNDS(publishers_move, 10, .workers = 2, .subscribers = 1, .publisher_ms = 20, .still_percent = 3)
ROUNDS(
    subscribers_move, 10, .workers = 2, .subscribers = 1, .subscriber_ms = 30, .still_percent = 3)
ROUNDS(all_move, 20, .workers = 2, .subscribers = 2, .publisher_ms = 20, .subscriber_ms = 30,
    .still_percent = 3)
ROUNDS(all_move_between_three, 20, .workers = 3, .subscribers = 2, .publisher_ms = 20,
    .subscriber_ms = 30, .still_percent = 3)
ROUNDS(workers_die, 30, .workers = 2, .subscribers = 1, .kill_ms = 200, .still_percent = 1)
/* It goes on before it has arrived. */
ROUNDS(subscribers_hurry, 10, .workers = 2, .subscribers = 1, .subscriber_ms = 10, .lasts_ms = 500,
    .redis_us = 20000, .pace_us = 600, .still_percent = 1)
ROUNDS(subscribers_scurry, 10, .workers = 2, .subscribers = 1, .subscriber_ms = 6, .lasts_ms = 300,
    .redis_us = 5000, .pace_us = 600, .first = 31)
ROUNDS(all_hurry_between_three, 10, .workers = 3, .subscribers = 2, .publisher_ms = 20,
    .subscriber_ms = 10, .lasts_ms = 500, .redis_us = 20000, .pace_us = 600, .still_percent = 1)
ROUNDS(all_hurry_and_die, 10, .workers = 3, .subscribers = 2, .publisher_ms = 50,
    .subscriber_ms = 50, .kill_ms = 200, .redis_us = 5000, .pace_us = 2000, .still_percent = 1)

ROUNDS(workers_die_and_clients_flee, 20, .workers = 2, .subscribers = 1, .kill_ms = 150,
    .flee = true, .pace_us = 1000, .still_percent = 1)
/* Messages are QoS 1, or no member ends. */
ROUNDS(members_leave, 10, .workers = 2, .subscribers = 2, .subscriber_ms = 20, .shared = true,
    .lasts_ms = 500, .pace_us = 600)
ROUNDS(members_die, 10, .workers = 2, .subscribers = 2, .kill_ms = 200, .shared = true,
    .pace_us = 2000, .still_percent = 1)

/* Three workers, then two: what the third had is another one's. */
START_TEST(workers_are_fewer)
{
	struct client *p, *s;

	begin(3, 1);
	p = client_new("p", 0, NULL, 0);
	s = client_new("s", 2, "t/#", 2);
	RUN_UNTIL(20, all_up());
	p->sent = 10;
	RUN_UNTIL(20, all_acked());
	s->turn_us = INT64_MAX;
	leave(s);
	run(FAKE_SECOND / 10);
	for (unsigned i = 0; i < 3; i++)
		die(i);
	fake_worker_count = 2;
	RUN_UNTIL(20, p->up);
	p->sent = 50;
	RUN_UNTIL(20, all_acked());
	move(s, 1);
	s->turn_us = 0;
	RUN_UNTIL(20, all_up());
	run(FAKE_SECOND);
	ck_assert_uint_eq(published, 60);
	check_got(s, 1);
	fake_worker_count = 3;
	end();
}
END_TEST

int
main(void)
{
	const char *only = getenv("ONLY");
	const TTest *const tests[] = { nothing_happens, publishers_move, subscribers_move, all_move,
		all_move_between_three, workers_die, subscribers_hurry, subscribers_scurry,
		all_hurry_between_three, all_hurry_and_die, members_leave, members_die,
		workers_are_fewer, workers_die_and_clients_flee };

	if (only)
		return unit_run("mqtt_cluster", NULL, NULL, &tests[atoi(only)], 1);
	return unit_run("mqtt_cluster", NULL, NULL, tests, COUNT_OF(tests));
}
