/* mqtt_cluster.c - several connectivity workers as one broker: what is passed on, and what comes */
#include "mqtt_cluster.h"

#include <stdio.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "clock.h"
#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "mqtt_cluster_impl.h"
#include "mqtt_copy_impl.h"

#define ORIGIN_SWEEP_US 600000000ll

static const char prefix[] = "connectivity-";

static bool
number_of(struct bytes name, unsigned *ret_number)
{
	size_t len = sizeof(prefix) - 1;
	unsigned n = 0;

	if (name.len <= len || name.len > len + 3 || memcmp(name.data, prefix, len) != 0)
		return false;
	for (size_t i = len; i < name.len; i++) {
		if (name.data[i] < '0' || name.data[i] > '9')
			return false;
		n = n * 10 + (unsigned)(name.data[i] - '0');
	}
	*ret_number = n;
	return true;
}

bool
cluster_worker(const struct mqtt_cluster *k, struct bytes name, unsigned *ret_worker)
{
	unsigned n;

	if (!number_of(name, &n) || n >= k->peers.count || n == k->peers.self)
		return false;
	*ret_worker = n;
	return true;
}

/* --- out --- */

void
cluster_push(struct mqtt_cluster *k, unsigned peer, const struct msg_forward *f)
{
	uint64_t number = mqtt_copy_number(k->copy);

	mqtt_peers_push(&k->peers, peer, f, number);
	mqtt_unit_needs(k->broker, number);
	metric_add(M_MQTT_FORWARDED, 1);
}

struct bytes
cluster_encoded(struct mqtt_cluster *k, const struct mqtt_message *m, bool retain)
{
	buf_clear(&k->frame);
	copy_message_put(&k->frame, m, retain, copy_wall_ms(), k->broker->now_us);
	return buf_bytes(&k->frame);
}

void
cluster_pass_on(struct mqtt_cluster *k, unsigned peer, const struct msg_forward *f, unsigned qos)
{
	if (qos > 0)
		cluster_push(k, peer, f);
	else
		mqtt_peers_aside(&k->peers, peer, f);
}

uint64_t
mqtt_cluster_forward(
    void *arg, const struct mqtt_arrival *a, struct mqtt_group *const *groups, size_t count)
{
	struct mqtt_cluster *k = arg;
	uint64_t workers = mqtt_interest_match(&k->interest, a->view.topic);
	struct msg_forward f = { .kind = MQTT_PEER_MESSAGE, .number = k->broker->route };
	uint64_t elsewhere = workers ? MQTT_ELSEWHERE : 0;

	if (!workers && !k->interest.group_count)
		return 0;
	f.message = cluster_encoded(k, &a->view, a->retain);
	if (a->packet_id) {
		f.key = a->client;
		f.packet_id = a->packet_id;
		f.repeat = a->repeat;
		f.epoch = mqtt_copy_epoch(k->copy, a->client);
	}
	for (unsigned i = 0; i < k->peers.count; i++)
		if (workers >> i & 1)
			cluster_pass_on(k, i, &f, a->view.qos);
	elsewhere |= cluster_forward_groups(k, &f, a->view.qos, groups, count);
	return elsewhere;
}

/* What comes for our sessions may be taken; not before the others have loaded those that clients took there from our life before,
 * for until then they need what is on its way to us. */
static void
open_up(struct mqtt_cluster *k)
{
	if (!k->peers.open && mqtt_copy_has_loaded(k->copy) && cluster_may_open(k))
		mqtt_peers_open(&k->peers);
}

static void
on_begun(void *arg, unsigned peer)
{
	struct mqtt_cluster *k = arg;

	log_info("mqtt.peer_begun", LU("worker", peer));
	k->idle &= ~(1ull << peer);
	mqtt_interest_doubt(&k->interest, peer);
	cluster_tell_all(k, peer);
	/* A session that its life before had may be among those that are being loaded here: until it is, nobody has it. */
	if (mqtt_copy_is_marked(k->copy))
		mqtt_broker_loading(k->broker, true);
}

static int
send(void *arg, unsigned peer, enum msg_type type, const void *msg)
{
	struct mqtt_cluster *k = arg;

	return bus_send(k->links[peer], NULL, type, msg);
}

/* --- in --- */

bool
cluster_message_of(
    const struct mqtt_cluster *k, const struct msg_forward *f, struct mqtt_arrival *a)
{
	union msg_any any;
	enum msg_type type;

	if (codec_decode(f->message, &type, &any) != 0 || type != MSG_MQTT_MESSAGE)
		return false;
	a->kept = copy_message_get(&any.mqtt_message, copy_wall_ms(), k->broker->now_us);
	a->view = *a->kept;
	a->retain = any.mqtt_message.retain;
	return true;
}

static void
on_message(struct mqtt_cluster *k, const struct msg_forward *f)
{
	struct mqtt_arrival a = { .route = f->number ? f->number : UINT64_MAX,
		.client = f->key,
		.packet_id = (uint16_t)f->packet_id,
		.repeat = f->repeat,
		.epoch = f->epoch };

	if (f->packet_id && cluster_origin_is_over(k, f)) {
		metric_add(M_MQTT_REPEATED, 1);
		return;
	}
	if (!cluster_message_of(k, f, &a))
		return;
	(void)mqtt_route(k->broker, &a);
	mqtt_arrival_fini(&a);
}

/* --- retained --- */

static uint64_t
removed_seq(const struct mqtt_cluster *k, uint64_t topic)
{
	uint64_t seq = 0;

	for (size_t i = 0; i < CLUSTER_REMOVED_MAX; i++)
		if (k->removed[i].topic == topic && k->removed[i].seq > seq)
			seq = k->removed[i].seq;
	return seq;
}

/* The change of the highest number counts, wherever it came from. */
static void
retain_numbered(struct mqtt_cluster *k, struct mqtt_message *m, uint64_t seq)
{
	struct mqtt_retained *r = &k->broker->retained;
	uint64_t topic = XXH3_64bits(m->topic.data, m->topic.len);

	if (mqtt_retained_seq(r, m->topic) > seq || removed_seq(k, topic) > seq)
		return;
	m->seq = seq;
	if (m->payload.len == 0)
		k->removed[k->removed_next++ % CLUSTER_REMOVED_MAX] =
		    (struct cluster_removed){ .topic = topic, .seq = seq };
	if (mqtt_retained_set(r, m) != 0)
		metric_add(M_MQTT_NOT_RETAINED, 1);
}

static void
on_retained(void *arg, struct mqtt_message *m, uint64_t seq)
{
	struct mqtt_cluster *k = arg;
	struct msg_forward f = { .kind = MQTT_PEER_RETAIN, .number = seq };

	retain_numbered(k, m, seq);
	f.message = cluster_encoded(k, m, true);
	for (unsigned i = 0; i < k->peers.count; i++)
		if (i != k->peers.self)
			mqtt_peers_push(&k->peers, i, &f, 0);
}

static void
on_retain(struct mqtt_cluster *k, const struct msg_forward *f)
{
	struct mqtt_arrival a = { .retain = true };

	if (!cluster_message_of(k, f, &a))
		return;
	retain_numbered(k, a.kept, f->number);
	mqtt_arrival_fini(&a);
}

static uint64_t
take(void *arg, unsigned peer, const struct msg_forward *f)
{
	struct mqtt_cluster *k = arg;
	const char *name = bus_link_endpoint(k->links[peer]);

	k->broker->now_us = loop_now_us(k->w->loop);
	switch ((enum mqtt_peer_kind)f->kind) {
	case MQTT_PEER_WANTS:
		mqtt_interest_set(&k->interest, peer, f->key, (uint32_t)f->number);
		return 0;
	case MQTT_PEER_WANTS_NOT:
		mqtt_interest_set(&k->interest, peer, f->key, 0);
		return 0;
	case MQTT_PEER_KNOWN:
		if (f->number != k->peers.life)
			return 0;
		mqtt_interest_settle(&k->interest, peer);
		log_info("mqtt.peer_known", LU("worker", peer), LU("wanted", k->interest.count));
		return 0;
	case MQTT_PEER_CLEAR:
		if (f->number == k->peers.life)
			k->clear |= 1ull << peer;
		return 0;
	case MQTT_PEER_MESSAGE:
		on_message(k, f);
		break;
	case MQTT_PEER_SHARED:
		cluster_on_shared(k, peer, f);
		break;
	case MQTT_PEER_NOBODY:
		cluster_on_nobody(k, peer, f);
		return 0;
	case MQTT_PEER_RETAIN:
		on_retain(k, f);
		return 0;
	case MQTT_PEER_RELEASE:
		cluster_origin_release(k, f);
		break;
	case MQTT_PEER_TAKEOVER:
		cluster_on_takeover(k, peer, f);
		break;
	case MQTT_PEER_DIRECT:
		cluster_on_direct(k, f);
		break;
	case MQTT_PEER_PLACED:
		cluster_on_placed(k, f);
		return 0;
	case MQTT_PEER_ARRIVED:
		cluster_on_arrived(k, peer, f);
		return 0;
	case MQTT_PEER_LATE:
		cluster_on_late(k, f);
		break;
	}
	if (f->seq == 0)
		return 0;
	mqtt_copy_taken(k->copy, bytes_of_str(name), f->life, f->seq);
	return mqtt_copy_number(k->copy);
}

void
mqtt_cluster_on_forward(struct mqtt_cluster *k, struct bus_msg *m)
{
	unsigned peer;

	if (k && cluster_worker(k, bytes_of_str(m->from), &peer))
		mqtt_peers_on_forward(&k->peers, peer, &m->any->forward);
}

void
mqtt_cluster_on_forwarded(struct mqtt_cluster *k, struct bus_msg *m)
{
	unsigned peer;

	if (!k || !cluster_worker(k, bytes_of_str(m->from), &peer))
		return;
	k->broker->now_us = loop_now_us(k->w->loop);
	mqtt_peers_on_forwarded(&k->peers, peer, &m->any->forwarded);
	mqtt_copy_look(k->copy);
}

void
mqtt_cluster_on_link(struct mqtt_cluster *k, struct bus_link *link, bool up)
{
	for (unsigned i = 0; k && i < k->peers.count; i++)
		if (k->links[i] == link)
			mqtt_peers_on_link(&k->peers, i, up);
}

/* --- what the copy tells and asks --- */

static uint64_t
waits_for(void *arg)
{
	const struct mqtt_cluster *k = arg;
	uint64_t peers = mqtt_peers_waits_for(&k->peers), custody = cluster_custody_waits_for(k);

	return peers < custody ? peers : custody;
}

static void
on_written(void *arg, uint64_t number)
{
	struct mqtt_cluster *k = arg;
	uint64_t waits;

	cluster_custody_written(k, number);
	waits = cluster_custody_waits_for(k);
	mqtt_peers_written(&k->peers, number < waits ? number : waits - 1);
}

static void
on_forgotten(void *arg, struct bytes client, uint16_t packet_id)
{
	struct mqtt_cluster *k = arg;
	struct msg_forward f = { .kind = MQTT_PEER_RELEASE,
		.key = client,
		.packet_id = packet_id,
		.number = k->broker->routed,
		.epoch = mqtt_copy_epoch(k->copy, client),
		.repeat = mqtt_copy_has_moved(k->copy, client) };

	cluster_origin_release(k, &f);
	for (unsigned i = 0; i < k->peers.count; i++)
		if (i != k->peers.self)
			mqtt_peers_push(&k->peers, i, &f, 0);
}

static void
on_had(void *arg, struct bytes client, struct bytes origin, int64_t since_ms)
{
	cluster_origin_load(arg, client, origin, since_ms);
}

static void
on_taken(void *arg, struct bytes name, uint64_t life, uint64_t seq)
{
	struct mqtt_cluster *k = arg;
	unsigned peer;

	if (cluster_worker(k, name, &peer))
		mqtt_peers_restore(&k->peers, peer, life, seq);
}

const struct mqtt_copy_hooks *
mqtt_cluster_hooks(struct mqtt_cluster *k)
{
	return k ? &k->hooks : NULL;
}

/* --- life --- */

struct mqtt_cluster *
mqtt_cluster_new(struct worker *w, struct mqtt_broker *broker)
{
	int64_t replicas = settings_int(w->settings, SET_CONNECTIVITY_REPLICAS);
	const struct mqtt_peers_ops ops = { .send = send, .take = take, .begun = on_begun };
	struct mqtt_peers_ops mine = ops;
	struct mqtt_cluster *k;
	unsigned self = 0;

	if (replicas < 2 || !number_of(bytes_of_str(w->name), &self) || self >= replicas)
		return NULL;
	k = xcalloc(1, sizeof(*k));
	k->w = w;
	k->broker = broker;
	k->started_us = loop_now_us(w->loop);
	k->expiry_ms = settings_ms(w->settings, SET_MQTT_SESSION_EXPIRY_MAX);
	mine.arg = k;
	mqtt_peers_init(&k->peers, self, (unsigned)replicas, w->life,
	    (size_t)settings_int(w->settings, SET_MQTT_FORWARD_MIB) << 20, &mine);
	mqtt_interest_init(&k->interest);
	k->hooks = (struct mqtt_copy_hooks){
		.waits_for = waits_for,
		.written = on_written,
		.ready = cluster_is_ready,
		.claimed = cluster_on_claimed,
		.arrives = cluster_on_arrives,
		.loaded = cluster_on_loaded,
		.passed = cluster_on_passed,
		.refused = cluster_on_refused,
		.forgotten = on_forgotten,
		.retained = on_retained,
		.had = on_had,
		.owns = cluster_on_owns,
		.taken = on_taken,
		.arg = k,
	};
	broker->routed = (uint64_t)(self + 1) << MQTT_ROUTE_WORKER_SHIFT |
			 (w->life << 24 & ((1ull << MQTT_ROUTE_WORKER_SHIFT) - 1));
	k->custody_last = broker->routed;
	return k;
}

int
mqtt_cluster_start(struct mqtt_cluster *k, struct mqtt_copy *copy)
{
	char name[BUS_NAME_MAX];

	if (!k)
		return 0;
	k->copy = copy;
	/* To whoever hears it: its life is not known yet, and its answer makes it so. */
	k->untold =
	    ((k->peers.count < 64 ? 1ull << k->peers.count : 0) - 1) & ~(1ull << k->peers.self);
	if (bus_bind(k->w->bus, k->w->name, &k->in) != 0)
		return ERR_CONFIG;
	k->broker->router.changed = cluster_on_changed;
	k->broker->router.changed_arg = k;
	for (unsigned i = 0; i < k->peers.count; i++) {
		if (i == k->peers.self)
			continue;
		snprintf(name, sizeof(name), "%s%u", prefix, i);
		if (bus_connect(k->w->bus, name, &k->links[i]) != 0)
			return ERR_CONFIG;
	}
	return 0;
}

void
mqtt_cluster_free(struct mqtt_cluster **p_k)
{
	struct mqtt_cluster *k = *p_k;

	*p_k = NULL;
	if (!k)
		return;
	loop_timer_clear(k->w->loop, &k->timer);
	cluster_move_fini(k);
	cluster_custody_fini(k);
	mqtt_peers_fini(&k->peers);
	mqtt_interest_fini(&k->interest);
	cluster_origin_fini(k);
	buf_fini(&k->held);
	buf_fini(&k->frame);
	buf_fini(&k->scratch);
	free(k);
}

/* The turn that follows does the work. */
static void
on_timer(void *arg)
{
	struct mqtt_cluster *k = arg;

	k->timer_at_us = 0;
}

void
mqtt_cluster_turn(struct mqtt_cluster *k)
{
	int64_t now_us, next;

	if (!k)
		return;
	cluster_say_all_known(k);
	open_up(k);
	now_us = loop_now_us(k->w->loop);
	next = mqtt_peers_turn(&k->peers, now_us);
	if (next && next != k->timer_at_us) {
		k->timer_at_us = next;
		loop_timer_set(
		    k->w->loop, &k->timer, next > now_us ? next - now_us : 0, on_timer, k);
	}
	if (k->broker->loading || cluster_is_full(k))
		mqtt_broker_loading(
		    k->broker, !mqtt_copy_is_loaded(k->copy) || !cluster_is_ready(k));
}

void
mqtt_cluster_tick(struct mqtt_cluster *k)
{
	size_t bytes = 0;

	if (!k)
		return;
	cluster_move_tick(k);
	cluster_custody_tick(k);
	cluster_ask_for_missed(k);
	if (k->broker->now_us - k->swept_us >= ORIGIN_SWEEP_US) {
		k->swept_us = k->broker->now_us;
		cluster_origin_expire(k, copy_wall_ms() - k->expiry_ms);
	}
	cluster_origin_tick(k);
	for (unsigned i = 0; i < k->peers.count; i++)
		bytes += k->peers.peer[i].bytes;
	metric_set(M_MQTT_FORWARD_BYTES, bytes);
	metric_set(M_MQTT_INTEREST, k->interest.count);
	metric_set(M_MQTT_ORIGINS, k->origin_count);
}
