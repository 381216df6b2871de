/* main.c - connectivity: devices in, batches out; COMMIT in, acknowledgement out */
#include <stdlib.h>
#include <sys/random.h>

#include "access.h"
#include "clock.h"
#include "coap_server.h"
#include "context.h"
#include "enrol.h"
#include "err.h"
#include "exit_codes.h"
#include "http_service.h"
#include "ingest.h"
#include "listener.h"
#include "log.h"
#include "mem.h"
#include "mqtt_cluster.h"
#include "mqtt_copy.h"
#include "mqtt_session.h"
#include "worker.h"

#define MIB ((size_t)1 << 20)

struct connectivity {
	struct loop *loop;
	struct ingest *ingest;
	struct auth *auth;
	struct access *access;
	struct context *context;
	struct enrol *enrol;
	struct mqtt_broker mqtt;
	struct mqtt_copy *copy;
	struct mqtt_cluster *cluster; /* NULL: no other worker has clients */
	struct listener *mqtt_listener;
	struct coap_server *coap;  /* NULL: it listens nowhere */
	struct http_service *http; /* NULL: it listens nowhere */
	struct transport_doors doors;
	bool told_to_go;
};

/* --- what the parts know of each other --- */

static void
mqtt_now(void *arg, int64_t now_us)
{
	struct connectivity *s = arg;

	s->mqtt.now_us = now_us;
}

static void
on_answer(void *arg, uint64_t token, uint32_t verdict, const struct bytes *record)
{
	struct connectivity *s = arg;

	switch ((enum ingest_owner)(token >> INGEST_OWNER_SHIFT)) {
	case INGEST_OF_HTTP:
		http_service_answer(s->http, token, verdict);
		break;
	case INGEST_OF_COAP:
		coap_server_answer(s->coap, token & INGEST_TOKEN_MASK, verdict);
		break;
	case INGEST_OF_MQTT:
	case INGEST_OF_ATTRIBUTES:
		mqtt_now(s, loop_now_us(s->loop));
		mqtt_broker_answer(&s->mqtt, token, verdict, record);
		break;
	}
}

static void
on_room(void *arg)
{
	struct connectivity *s = arg;

	mqtt_now(s, loop_now_us(s->loop));
	mqtt_broker_room(&s->mqtt);
	http_service_room(s->http);
}

static int
offer(void *arg, const struct ingest_message *m, uint64_t token, struct buf *reason)
{
	struct connectivity *s = arg;

	return ingest_offer(s->ingest, m, token, reason);
}

static int
reoffer(void *arg, struct bytes record, uint64_t token)
{
	struct connectivity *s = arg;

	return ingest_reoffer(s->ingest, record, token);
}

static int
release(void *arg, struct bytes client, uint16_t packet_id, int32_t partition, uint64_t token)
{
	struct connectivity *s = arg;

	return ingest_release(s->ingest, client, packet_id, partition, token);
}

static int32_t
partition(void *arg, struct bytes device)
{
	struct connectivity *s = arg;

	return ingest_partition(s->ingest, device);
}

static uint64_t
change(void *arg, const struct mqtt_change *what)
{
	struct connectivity *s = arg;

	return mqtt_copy_change(s->copy, what);
}

static bool
claim(void *arg, const struct mqtt_claim *what, uint64_t token)
{
	struct connectivity *s = arg;

	return mqtt_copy_claim(s->copy, what, token);
}

static enum auth_verdict
identify(void *arg, const struct auth_request *q, auth_done_fn done, struct mqtt_conn *c,
    struct auth_answer *ret)
{
	struct connectivity *s = arg;
	struct auth_request with_tls = *q;
	enum auth_verdict verdict;
	struct tls_facts facts;

	transport_facts(c->io.transport, &facts);
	with_tls.tls = c->io.transport && transport_is_tls(c->io.transport);
	with_tls.certificate = facts.certificate;
	with_tls.ca = facts.ca;
	with_tls.subject = facts.subject;
	with_tls.psk_identity = facts.psk_identity;
	verdict = auth_check(s->auth, &with_tls, done, c, ret);
	tls_facts_fini(&facts);
	return verdict;
}

static int
psk(void *arg, struct bytes identity, uint8_t *key, size_t max)
{
	return auth_psk(arg, identity, key, max);
}

static void
unidentify(void *arg, const struct mqtt_conn *c)
{
	struct connectivity *s = arg;

	auth_forget(s->auth, c);
}

static bool
may(void *arg, const struct mqtt_actor *who, enum mqtt_right right, struct bytes what)
{
	const struct connectivity *s = arg;

	return access_may(s->access, who->grant, who->client, who->username,
	    right == MQTT_MAY_PUBLISH ? ACL_PUBLISH : ACL_SUBSCRIBE, what);
}

static void
on_change(void *arg, const struct registry_object *o)
{
	auth_hear(((struct connectivity *)arg)->auth, o);
}

static void
on_missed(void *arg)
{
	auth_missed(((struct connectivity *)arg)->auth);
}

static void
on_regranted(void *arg)
{
	struct connectivity *s = arg;

	mqtt_now(s, loop_now_us(s->loop));
	mqtt_broker_regranted(&s->mqtt);
}

struct enrolling {
	struct connectivity *s;
	uint64_t token;
};

static void
on_enrolled(void *arg, struct bytes answer)
{
	struct enrolling *e = arg;

	mqtt_now(e->s, loop_now_us(e->s->loop));
	mqtt_broker_enrolled(&e->s->mqtt, e->token, answer);
	free(e);
}

static void
enrol(void *arg, struct bytes request, const struct peer *peer, uint64_t token)
{
	struct connectivity *s = arg;
	struct enrolling *e = xcalloc(1, sizeof(*e));

	*e = (struct enrolling){ s, token };
	enrol_ask(s->enrol, request, peer, on_enrolled, e);
}

static uint64_t
forward(void *arg, const struct mqtt_arrival *a, struct mqtt_group *const *groups, size_t count)
{
	struct connectivity *s = arg;

	return mqtt_cluster_forward(s->cluster, a, groups, count);
}

static void
direct(void *arg, const struct mqtt_session *to, struct mqtt_arrival *a, const struct mqtt_how *how)
{
	struct connectivity *s = arg;

	mqtt_cluster_direct(s->cluster, to, a, how);
}

static bool
share(void *arg, const struct mqtt_arrival *a, struct bytes group)
{
	struct connectivity *s = arg;

	return mqtt_cluster_share(s->cluster, a, group);
}

static bool
is_new(void *arg, const struct mqtt_session *to, uint64_t route)
{
	struct connectivity *s = arg;

	return mqtt_cluster_is_new(s->cluster, to, route);
}

static void
on_newer_life(void *arg)
{
	/* Its clients are served by another process. */
	worker_exit(arg, EXIT_DEPENDENCY);
}

static struct conn *
mqtt_open(void *arg, bool loopback)
{
	struct connectivity *s = arg;

	return &mqtt_conn_new(&s->mqtt, loopback)->io;
}

/* struct conn is the first member of struct mqtt_conn. */
static struct mqtt_conn *
mqtt_of(struct conn *c)
{
	return (struct mqtt_conn *)(void *)c;
}

static size_t
mqtt_input(struct conn *c, struct bytes in, size_t *ret_need)
{
	return mqtt_conn_input(mqtt_of(c), in, ret_need);
}

static void
mqtt_announced(struct conn *c, bool loopback)
{
	mqtt_of(c)->loopback = mqtt_of(c)->loopback && loopback;
}

static void
mqtt_cut(struct conn *c)
{
	mqtt_conn_cut(mqtt_of(c));
}

static void
mqtt_deadline(struct conn *c)
{
	mqtt_conn_on_deadline(mqtt_of(c));
}

static void
mqtt_sent(struct conn *c)
{
	mqtt_conn_on_sent(mqtt_of(c));
}

static void
mqtt_gone(struct conn *c)
{
	struct mqtt_conn *mc = mqtt_of(c);

	mqtt_conn_free(&mc);
}

/* --- the worker --- */

static struct mqtt_config
mqtt_config_of(const struct settings *st)
{
	struct mqtt_config c = {
		.packet_max = (size_t)settings_int(st, SET_MQTT_PACKET_MAX),
		.receive_maximum = (uint32_t)settings_int(st, SET_MQTT_RECEIVE_MAXIMUM),
		.connect_timeout_us = settings_ms(st, SET_MQTT_CONNECT_TIMEOUT) * 1000,
		.outbound_max = (size_t)settings_int(st, SET_MQTT_OUTBOUND_MAX),
		.outbound_bytes_max = (size_t)settings_int(st, SET_MQTT_OUTBOUND_MIB) * MIB,
		.sessions_max = (size_t)settings_int(st, SET_MQTT_SESSIONS_MAX),
		.session_expiry_max_s = settings_ms(st, SET_MQTT_SESSION_EXPIRY_MAX) / 1000,
		.subscriptions_max = (size_t)settings_int(st, SET_MQTT_SUBSCRIPTIONS_MAX),
		.subscriptions_bytes_max =
		    (size_t)settings_int(st, SET_MQTT_SUBSCRIPTIONS_MIB) * MIB,
		.retained_max = (size_t)settings_int(st, SET_MQTT_RETAINED_MAX),
		.retained_bytes_max = (size_t)settings_int(st, SET_MQTT_RETAINED_MIB) * MIB,
		.offline_bytes_max = (size_t)settings_int(st, SET_MQTT_OFFLINE_MIB) * MIB,
		.wills_bytes_max = (size_t)settings_int(st, SET_MQTT_WILLS_MIB) * MIB,
		.queue_max = (size_t)settings_int(st, SET_MQTT_QUEUE_MAX),
		.queue_bytes_max = (size_t)settings_int(st, SET_MQTT_QUEUE_KIB) * 1024,
		.received_bytes_max = (size_t)settings_int(st, SET_MQTT_RECEIVED_MIB) * MIB,
		.aliases_max = (uint16_t)settings_int(st, SET_MQTT_TOPIC_ALIASES),
		.keep_alive_max_s = (uint16_t)settings_int(st, SET_MQTT_KEEP_ALIVE_MAX),
		.response_information = settings_str(st, SET_MQTT_RESPONSE_INFORMATION),
		.sys_interval_us = settings_ms(st, SET_MQTT_SYS_INTERVAL) * 1000,
		.shared_wait_us = settings_ms(st, SET_MQTT_REDIS_WAIT) * 1000,
	};

	if (getrandom(&c.id_seed, sizeof(c.id_seed), 0) != sizeof(c.id_seed))
		c.id_seed = (uint64_t)clock_wall_us();
	return c;
}

static int
copy_new(struct connectivity *s, struct worker *w)
{
	const struct settings *st = w->settings;
	const struct mqtt_copy_options options = {
		.loop = w->loop,
		.broker = &s->mqtt,
		.redis_url = settings_str(st, SET_REDIS_URL),
		.data_dir = settings_str(st, SET_DATA_DIR),
		.worker = w->name,
		.life = w->life,
		.packet_max = (size_t)settings_int(st, SET_MQTT_PACKET_MAX),
		.queue_max = (size_t)settings_int(st, SET_MQTT_REDIS_QUEUE_MIB) * MIB,
		.hooks = mqtt_cluster_hooks(s->cluster),
		.alone = !s->cluster,
		.workers = (unsigned)settings_int(st, SET_CONNECTIVITY_REPLICAS),
		.wait_us = settings_ms(st, SET_MQTT_REDIS_WAIT) * 1000,
		.will_grace_us = settings_ms(st, SET_MQTT_WILL_GRACE) * 1000,
		.fenced = on_newer_life,
		.arg = w,
	};

	return mqtt_copy_new(&options, &s->copy);
}

static int
connectivity_start(struct worker *w)
{
	struct connectivity *s = xcalloc(1, sizeof(*s));
	const struct mqtt_ops ops = {
		.offer = offer,
		.reoffer = reoffer,
		.release = release,
		.partition = partition,
		.change = change,
		.claim = claim,
		.identify = identify,
		.unidentify = unidentify,
		.may = may,
		.enrol = enrol,
		.arg = s,
	};
	const struct mqtt_config config = mqtt_config_of(w->settings);
	const struct listener_protocol mqtt = {
		.serves = TRANSPORT_MQTT,
		.metrics = { M_MQTT_OVER_LIMIT, M_MQTT_OVER_ADDRESS_LIMIT, M_MQTT_INPUT_BYTES,
		    M_MQTT_OUTPUT_BYTES },
		.per_address_setting = "mqtt.connections_per_address",
		.connections_max = (size_t)settings_int(w->settings, SET_MQTT_CONNECTIONS_MAX),
		.connections_per_address =
		    (uint32_t)settings_int(w->settings, SET_MQTT_CONNECTIONS_PER_ADDRESS),
		.open = mqtt_open,
		.input = mqtt_input,
		.announced = mqtt_announced,
		.cut = mqtt_cut,
		.deadline = mqtt_deadline,
		.sent = mqtt_sent,
		.gone = mqtt_gone,
		.now = mqtt_now,
		.arg = s,
	};

	w->state = s;
	s->loop = w->loop;
	if (auth_new(w->loop, w->settings, &s->auth) != 0 ||
	    access_new(w->settings, &s->access) != 0)
		return ERR_CONFIG;
	mqtt_broker_init(&s->mqtt, &config, &ops);
	auth_listen(s->auth, on_regranted, s);
	mqtt_now(s, loop_now_us(w->loop));
	s->cluster = mqtt_cluster_new(w, &s->mqtt);
	if (s->cluster) {
		s->mqtt.ops.forward = forward;
		s->mqtt.ops.direct = direct;
		s->mqtt.ops.share = share;
		s->mqtt.ops.is_new = is_new;
	}
	if (copy_new(s, w) != 0 || mqtt_cluster_start(s->cluster, s->copy) != 0)
		return ERR_CONFIG;
	s->context = context_new(w); /* before ingest, which sends by its links */
	if (!s->context)
		return ERR_IO;
	context_listen(s->context, on_change, on_missed, s);
	s->enrol = enrol_new(w, s->auth);
	if (!s->enrol)
		return ERR_IO;
	s->ingest = ingest_new(w, on_answer, on_room, s);
	if (transport_doors_init(&s->doors, w) != 0)
		return ERR_CONFIG;
	if (s->doors.tls)
		tls_set_psk(s->doors.tls, psk, s->auth);
	s->coap = coap_server_new(w, s->auth, s->access, s->ingest);
	s->mqtt_listener = listener_new(w, &mqtt, &s->doors, &s->mqtt.set);
	s->http = http_service_new(w, &s->doors, s->auth, s->access, s->ingest);
	for (size_t i = 0; i < w->listener_count; i++)
		log_info("connectivity.listen", LS("kind", w->listeners[i].kind),
		    LS("address", w->listeners[i].address));
	return 0;
}

static void
connectivity_stop(struct worker *w)
{
	struct connectivity *s = w->state;

	if (!s)
		return;
	coap_server_free(&s->coap);
	enrol_free(&s->enrol);
	mqtt_broker_fini(&s->mqtt);
	http_service_free(&s->http);
	mqtt_copy_free(&s->copy);
	mqtt_cluster_free(&s->cluster);
	listener_free(&s->mqtt_listener);
	transport_doors_fini(&s->doors);
	ingest_free(&s->ingest);
	context_free(&s->context);
	auth_free(&s->auth);
	access_free(&s->access);
	free(s);
	w->state = NULL;
}

static void
connectivity_turn(struct worker *w)
{
	struct connectivity *s = w->state;

	/* Connections first: input that waited for room may fill the batches that ingest then sends. */
	listener_turn(s->mqtt_listener);
	http_service_turn(s->http);
	ingest_turn(s->ingest);
	coap_server_turn(s->coap);
	if (mqtt_broker_turn(&s->mqtt))
		loop_wake(w->loop);
	if (w->draining && !s->told_to_go && ingest_idle(s->ingest)) {
		mqtt_broker_shutdown(&s->mqtt);
		s->told_to_go = true;
		listener_turn(s->mqtt_listener);
		http_service_shutdown(s->http);
	}
	mqtt_cluster_turn(s->cluster);
	/* Last, so that what this turn changed leaves with it. */
	mqtt_copy_turn(s->copy);
}

static void
connectivity_tick(struct worker *w)
{
	struct connectivity *s = w->state;

	mqtt_now(s, loop_now_us(w->loop));
	mqtt_broker_tick(&s->mqtt);
	coap_server_tick(s->coap);
	http_service_tick(s->http);
	mqtt_cluster_tick(s->cluster);
	mqtt_copy_tick(s->copy);
	if (s->doors.tls)
		tls_look(s->doors.tls, loop_now_us(w->loop), false);
}

static void
connectivity_reload(struct worker *w)
{
	struct connectivity *s = w->state;

	if (s->doors.tls)
		tls_look(s->doors.tls, loop_now_us(w->loop), true);
	if (access_reload(s->access)) {
		mqtt_now(s, loop_now_us(w->loop));
		mqtt_broker_reruled(&s->mqtt);
	}
	coap_server_reload(s->coap);
}

static void
connectivity_drain(struct worker *w)
{
	struct connectivity *s = w->state;

	listener_stop_accepting(s->mqtt_listener);
	coap_server_drain(s->coap);
	mqtt_broker_drain(&s->mqtt);
	http_service_drain(s->http);
}

static bool
connectivity_drained(struct worker *w)
{
	struct connectivity *s = w->state;

	/* What cannot be written now is what a death would leave, too: it is not waited for without end. */
	return s->told_to_go && listener_is_empty(s->mqtt_listener) &&
	       http_service_is_empty(s->http) && mqtt_copy_is_idle(s->copy);
}

static void
on_welcome(struct worker *w, struct bus_msg *m)
{
	ingest_on_welcome(((struct connectivity *)w->state)->ingest, m);
}

static void
on_fenced(struct worker *w, struct bus_msg *m)
{
	ingest_on_fenced(((struct connectivity *)w->state)->ingest, m);
}

static void
on_changed(struct worker *w, struct bus_msg *m)
{
	enrol_on_changed(((struct connectivity *)w->state)->enrol, &m->any->changed);
}

static void
on_commit(struct worker *w, struct bus_msg *m)
{
	ingest_on_commit(((struct connectivity *)w->state)->ingest, m);
}

static void
on_gap(struct worker *w, struct bus_msg *m)
{
	ingest_on_gap(((struct connectivity *)w->state)->ingest, m);
}

static void
on_forward(struct worker *w, struct bus_msg *m)
{
	mqtt_cluster_on_forward(((struct connectivity *)w->state)->cluster, m);
}

static void
on_forwarded(struct worker *w, struct bus_msg *m)
{
	mqtt_cluster_on_forwarded(((struct connectivity *)w->state)->cluster, m);
}

static void
on_link(struct worker *w, struct bus_link *link, bool up)
{
	mqtt_cluster_on_link(((struct connectivity *)w->state)->cluster, link, up);
	ingest_on_link(((struct connectivity *)w->state)->ingest, link, up);
}

static void
connectivity_quiet(struct worker *w)
{
	ingest_quiet(((struct connectivity *)w->state)->ingest);
}

static const struct worker_spec spec = {
	.name = "connectivity",
	.start = connectivity_start, /* READY: connections that waited in the kernel are accepted now */
	.stop = connectivity_stop,
	.drain = connectivity_drain,
	.drained = connectivity_drained,
	.turn = connectivity_turn,
	.reload = connectivity_reload,
	.tick = connectivity_tick,
	.tick_ms = 1000,
	.quiet = connectivity_quiet,
	.on = {
		[MSG_WELCOME] = on_welcome,
		[MSG_FENCED] = on_fenced,
		[MSG_COMMIT] = on_commit,
		[MSG_CHANGED] = on_changed,
		[MSG_GAP] = on_gap,
		[MSG_FORWARD] = on_forward,
		[MSG_FORWARDED] = on_forwarded,
	},
	.on_link = on_link,
};

int
main(int argc, char **argv)
{
	return worker_main(&spec, argc, argv);
}
