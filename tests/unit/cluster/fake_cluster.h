/* fake_cluster.h - connectivity workers in one process: the real broker, copy and cluster of each, between a bus, a Redis and a
 * clock that a test moves
 *
 * To be included in one file of a target; bus, loop and session_state are then not linked. Nothing happens by itself: what is sent
 * waits in its wire, what is asked of Redis in the worker's pipe to it, and the answer on its way back. Wires and pipes keep
 * their order, and a seed decides how long each takes. */
#ifndef ROOST_FAKE_CLUSTER_H
#define ROOST_FAKE_CLUSTER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus.h"
#include "err.h"
#include "log.h"
#include "mem.h"
#include "mqtt_cluster_impl.h"
#include "mqtt_copy.h"
#include "mqtt_session_impl.h"
#include "session_state.h"
#include "worker.h"

#define FAKE_WORKERS 4
#define FAKE_TIMERS 8
#define FAKE_SECOND 1000000ll

static int64_t fake_now_us;
static uint64_t fake_random_state;

static inline uint32_t
fake_random(uint32_t below)
{
	fake_random_state = fake_random_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(fake_random_state >> 33) % below;
}

static inline struct buf
fake_copy(struct bytes b)
{
	struct buf out = { 0 };

	buf_add(&out, b.data, b.len);
	return out;
}

/* --- loop --- */

struct loop {
	struct loop_timer *timers[FAKE_TIMERS];
};

int64_t
loop_now_us(const struct loop *loop)
{
	(void)loop;
	return fake_now_us;
}

void
loop_timer_clear(struct loop *loop, struct loop_timer *t)
{
	for (size_t i = 0; i < FAKE_TIMERS; i++)
		if (loop->timers[i] == t)
			loop->timers[i] = NULL;
	t->slot = 0;
}

void
loop_timer_set(struct loop *loop, struct loop_timer *t, int64_t after_us, loop_fn fn, void *arg)
{
	size_t i = 0;

	loop_timer_clear(loop, t);
	while (loop->timers[i])
		i++;
	ASSERT(i < FAKE_TIMERS);
	loop->timers[i] = t;
	*t =
	    (struct loop_timer){ .fn = fn, .arg = arg, .at_us = fake_now_us + after_us, .slot = 1 };
}

static inline void
fake_timers_run(struct loop *loop)
{
	for (size_t i = 0; i < FAKE_TIMERS; i++) {
		struct loop_timer *t = loop->timers[i];

		if (!t || t->at_us > fake_now_us)
			continue;
		loop->timers[i] = NULL;
		t->slot = 0;
		t->fn(t->arg);
	}
}

/* --- workers --- */

struct bus {
	unsigned worker;
};

struct bus_link {
	unsigned from;
	unsigned to;
	char endpoint[BUS_NAME_MAX];
};

enum fake_on_wire { FAKE_FRAME, FAKE_UP, FAKE_DOWN };

struct fake_wire_item {
	struct fake_wire_item *next;
	enum fake_on_wire what;
	int64_t due_us;
	struct buf frame;
};

struct fake_wire {
	struct fake_wire_item *head;
	struct fake_wire_item **end;
	int64_t last_us;
};

struct fake_worker {
	struct worker w;
	struct mqtt_broker broker;
	struct mqtt_copy *copy;
	struct mqtt_cluster *cluster;
	struct session_state *ss;
	struct loop loop;
	struct bus bus;
	struct bus_link *links[FAKE_WORKERS + 1];
	size_t link_count;
	bool alive;
	bool fenced;
	uint64_t life;
	int64_t tick_us;
	int64_t turn_us; /* when its next turn is */
};

static struct fake_worker fake_workers[FAKE_WORKERS];
static unsigned fake_worker_count;
static struct fake_wire fake_wires[FAKE_WORKERS][FAKE_WORKERS]; /* from, to */
static uint32_t fake_wire_us = 500;				/* at most, one way */
static uint32_t fake_redis_us = 300;
/* Looks at what is sent, and may change it; false: it is lost. May be NULL. */
static bool (*fake_on_send)(unsigned from, unsigned to, enum msg_type type, const void *msg);

static inline void
fake_wire_put(struct fake_wire *wire, enum fake_on_wire what, struct bytes frame)
{
	struct fake_wire_item *item = xcalloc(1, sizeof(*item));
	int64_t due = fake_now_us + fake_random(fake_wire_us + 1);

	if (!wire->end)
		wire->end = &wire->head;
	item->what = what;
	item->frame = fake_copy(frame);
	item->due_us = wire->last_us = due > wire->last_us ? due : wire->last_us;
	*wire->end = item;
	wire->end = &item->next;
}

/* All but the first `keep` are lost. */
static inline void
fake_wire_cut(struct fake_wire *wire, size_t keep)
{
	struct fake_wire_item **at = &wire->head;

	while (*at && keep-- > 0)
		at = &(*at)->next;
	while (*at) {
		struct fake_wire_item *item = *at;

		*at = item->next;
		buf_fini(&item->frame);
		free(item);
	}
	wire->end = at;
}

static struct bus_link *
fake_link(struct bus *bus, const char *endpoint, unsigned to)
{
	struct fake_worker *f = &fake_workers[bus->worker];
	struct bus_link *link = xcalloc(1, sizeof(*link));

	link->from = bus->worker;
	link->to = to;
	snprintf(link->endpoint, sizeof(link->endpoint), "%s", endpoint);
	f->links[f->link_count++] = link;
	return link;
}

int
bus_bind(struct bus *bus, const char *endpoint, struct bus_link **ret_link)
{
	*ret_link = fake_link(bus, endpoint, bus->worker);
	return 0;
}

int
bus_connect(struct bus *bus, const char *endpoint, struct bus_link **ret_link)
{
	*ret_link = fake_link(bus, endpoint, (unsigned)(endpoint[strlen(endpoint) - 1] - '0'));
	return 0;
}

const char *
bus_link_endpoint(const struct bus_link *link)
{
	return link->endpoint;
}

int
bus_send(struct bus_link *link, const char *peer, enum msg_type type, const void *msg)
{
	struct buf frame = { 0 };

	(void)peer;
	if (!fake_workers[link->from].alive || link->to >= fake_worker_count ||
	    !fake_workers[link->to].alive)
		return 0;
	if (fake_on_send && !fake_on_send(link->from, link->to, type, msg))
		return 0;
	codec_encode(type, msg, &frame);
	fake_wire_put(&fake_wires[link->from][link->to], FAKE_FRAME, buf_bytes(&frame));
	buf_fini(&frame);
	return 0;
}

/* A frame as it came from that worker, decoded or dropped as the bus does. */
static inline void
fake_frame(struct fake_worker *f, const char *from, struct bytes frame)
{
	struct bus_msg m = { .from = from };
	union msg_any any;

	m.any = &any;
	if (codec_decode(frame, &m.type, &any) != 0)
		return;
	f->broker.now_us = fake_now_us;
	if (m.type == MSG_FORWARD)
		mqtt_cluster_on_forward(f->cluster, &m);
	else if (m.type == MSG_FORWARDED)
		mqtt_cluster_on_forwarded(f->cluster, &m);
}

static inline struct bus_link *
fake_link_to(const struct fake_worker *f, unsigned to)
{
	/* The first is the one that is bound. */
	for (size_t i = 1; i < f->link_count; i++)
		if (f->links[i]->to == to)
			return f->links[i];
	return NULL;
}

static inline void
fake_wire_take(unsigned from, unsigned to)
{
	struct fake_worker *f = &fake_workers[to];
	struct fake_wire *wire = &fake_wires[from][to];

	while (wire->head && wire->head->due_us <= fake_now_us) {
		struct fake_wire_item *item = wire->head;

		wire->head = item->next;
		if (!wire->head)
			wire->end = &wire->head;
		if (item->what == FAKE_FRAME)
			fake_frame(f, fake_workers[from].w.name, buf_bytes(&item->frame));
		else
			mqtt_cluster_on_link(
			    f->cluster, fake_link_to(f, from), item->what == FAKE_UP);
		buf_fini(&item->frame);
		free(item);
	}
}

#include "fake_session_state.h"

static uint64_t
fake_change(void *arg, const struct mqtt_change *c)
{
	return mqtt_copy_change(((struct fake_worker *)arg)->copy, c);
}

static bool
fake_claim(void *arg, const struct mqtt_claim *claim, uint64_t token)
{
	return mqtt_copy_claim(((struct fake_worker *)arg)->copy, claim, token);
}

static uint64_t
fake_forward(
    void *arg, const struct mqtt_arrival *a, struct mqtt_group *const *groups, size_t count)
{
	return mqtt_cluster_forward(((struct fake_worker *)arg)->cluster, a, groups, count);
}

static void
fake_direct(
    void *arg, const struct mqtt_session *s, struct mqtt_arrival *a, const struct mqtt_how *how)
{
	mqtt_cluster_direct(((struct fake_worker *)arg)->cluster, s, a, how);
}

static bool
fake_share(void *arg, const struct mqtt_arrival *a, struct bytes group)
{
	return mqtt_cluster_share(((struct fake_worker *)arg)->cluster, a, group);
}

static bool
fake_is_new(void *arg, const struct mqtt_session *s, uint64_t route)
{
	return mqtt_cluster_is_new(((struct fake_worker *)arg)->cluster, s, route);
}

static void
fake_on_fenced(void *arg)
{
	((struct fake_worker *)arg)->fenced = true;
}

static const struct mqtt_config fake_config = {
	.packet_max = 65536,
	.receive_maximum = 1024,
	.connect_timeout_us = 60 * FAKE_SECOND,
	.outbound_max = 1 << 20,
	.outbound_bytes_max = 16 << 20,
	.subscriptions_bytes_max = 1 << 20,
	.wills_bytes_max = 1 << 20,
	.shared_wait_us = FAKE_SECOND,
	.sessions_max = 1000,
	.session_expiry_max_s = 100000,
	.subscriptions_max = 100,
	.retained_max = 100,
	.retained_bytes_max = 1 << 20,
	.offline_bytes_max = 16 << 20,
	.queue_max = 10000,
	.queue_bytes_max = 8 << 20,
	.received_bytes_max = 1 << 20,
	.aliases_max = 10,
};

/* A new life of worker i. */
static inline void
fake_start(unsigned i)
{
	struct fake_worker *f = &fake_workers[i];
	const struct mqtt_ops ops = {
		.change = fake_change,
		.claim = fake_claim,
		.forward = fake_forward,
		.direct = fake_direct,
		.share = fake_share,
		.is_new = fake_is_new,
		.arg = f,
	};
	uint64_t life = f->life + 1;
	struct mqtt_copy_options options = { .redis_url = "",
		.data_dir = "",
		.packet_max = 65536,
		.queue_max = 1 << 20,
		.wait_us = FAKE_SECOND,
		.will_grace_us = FAKE_SECOND };
	struct settings *settings = settings_new();
	struct buf err = { 0 };
	char text[64];
	int bad;

	ASSERT(!f->alive);
	snprintf(text, sizeof(text), "connectivity.replicas=%u", fake_worker_count);
	bad = settings_set(settings, text, "test", &err);
	ASSERT(bad == 0);
	buf_fini(&err);
	*f = (struct fake_worker){ .life = life, .alive = true, .tick_us = fake_now_us };
	snprintf(f->w.name, sizeof(f->w.name), "connectivity-%u", i);
	f->w.settings = settings;
	f->w.loop = &f->loop;
	f->w.bus = &f->bus;
	f->w.life = life;
	f->bus.worker = i;
	mqtt_broker_init(&f->broker, &fake_config, &ops);
	f->broker.now_us = fake_now_us;
	f->cluster = mqtt_cluster_new(&f->w, &f->broker);
	options.loop = &f->loop;
	options.broker = &f->broker;
	options.worker = f->w.name;
	options.life = life;
	options.hooks = mqtt_cluster_hooks(f->cluster);
	options.alone = !f->cluster;
	options.workers = fake_worker_count;
	options.fenced = fake_on_fenced;
	options.arg = f;
	bad = mqtt_copy_new(&options, &f->copy);
	ASSERT(bad == 0);
	bad = mqtt_cluster_start(f->cluster, f->copy);
	ASSERT(bad == 0);
	for (unsigned j = 0; j < fake_worker_count; j++) {
		if (j == i || !fake_workers[j].alive)
			continue;
		fake_wire_put(&fake_wires[j][i], FAKE_UP, (struct bytes){ 0 });
		fake_wire_put(&fake_wires[i][j], FAKE_DOWN, (struct bytes){ 0 });
		fake_wire_put(&fake_wires[i][j], FAKE_UP, (struct bytes){ 0 });
	}
}

/* As kill -9: part of what was on its way is lost. */
static inline void
fake_kill(unsigned i)
{
	struct fake_worker *f = &fake_workers[i];
	struct settings *settings;
	union {
		const struct settings *in;
		struct settings *out;
	} s;

	if (!f->alive)
		return;
	f->alive = false;
	fake_redis_cut(f->ss);
	mqtt_broker_fini(&f->broker);
	mqtt_copy_free(&f->copy);
	mqtt_cluster_free(&f->cluster);
	for (size_t k = 0; k < f->link_count; k++)
		free(f->links[k]);
	s.in = f->w.settings;
	settings = s.out;
	settings_free(&settings);
	for (unsigned j = 0; j < FAKE_WORKERS; j++) {
		size_t n = 0;

		fake_wire_cut(&fake_wires[j][i], 0);
		for (struct fake_wire_item *x = fake_wires[i][j].head; x; x = x->next)
			n++;
		fake_wire_cut(&fake_wires[i][j], n - fake_random((uint32_t)(n < 8 ? n : 8) + 1));
	}
}

/* One turn of its loop, behind what its clients said. */
static inline void
fake_turn_in(unsigned i)
{
	struct fake_worker *f = &fake_workers[i];
	unsigned first = fake_random(fake_worker_count);

	f->broker.now_us = fake_now_us;
	for (unsigned j = 0; j < fake_worker_count; j++)
		fake_wire_take((first + j) % fake_worker_count, i);
	fake_redis_answers(f->ss);
	fake_timers_run(&f->loop);
	if (fake_now_us - f->tick_us < FAKE_SECOND)
		return;
	f->tick_us = fake_now_us;
	mqtt_broker_tick(&f->broker);
	mqtt_cluster_tick(f->cluster);
	mqtt_copy_tick(f->copy);
}

static inline void
fake_turn_end(unsigned i)
{
	struct fake_worker *f = &fake_workers[i];

	if (mqtt_broker_turn(&f->broker))
		f->turn_us = fake_now_us;
	mqtt_cluster_turn(f->cluster);
	mqtt_copy_turn(f->copy);
}

static inline void
fake_begin(unsigned workers, uint64_t seed)
{
	log_init("test", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	ASSERT(workers <= FAKE_WORKERS);
	fake_now_us = 1000 * FAKE_SECOND;
	fake_random_state = seed;
	fake_worker_count = workers;
	fake_on_send = NULL;
	for (unsigned i = 0; i < workers; i++)
		fake_workers[i].life = 0;
	for (unsigned i = 0; i < workers; i++)
		fake_start(i);
}

static inline void
fake_end(void)
{
	for (unsigned i = 0; i < fake_worker_count; i++)
		fake_kill(i);
	for (unsigned i = 0; i < FAKE_WORKERS; i++)
		for (unsigned j = 0; j < FAKE_WORKERS; j++) {
			fake_wire_cut(&fake_wires[i][j], 0);
			fake_wires[i][j].last_us = 0;
		}
	fake_redis_forget();
}

#endif
