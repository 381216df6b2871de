/* sim_main.c - roost sim: believable telemetry, or a recording, over real MQTT; says what was sent and acknowledged */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <mosquitto.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "err.h"
#include "log.h"
#include "mem.h"
#include "settings.h"
#include "sim_client.h"
#include "sim_model.h"
#include "sim_replay.h"
#include "worker.h"

#define TURN_MS 1
#define PROGRESS_US 1000000
#define DRAIN_US 30000000 /* after the last message is sent, how long answers are waited for */
#define BURST 2000	  /* most messages of one turn */

struct sim {
	uint32_t devices;
	double rate;
	int64_t for_us;
	const char *url;
	int qos;
	const char *replay;
	double speed;
	const char *device;
	char *own_device; /* named after the recording; NULL if --device was said */
	const char *metric;
	bool json;
	uint64_t seed;
	char *host;
	uint16_t port;
	struct sim_device *models;
	struct sim_recording recording;
	struct sim_clients *clients;
	struct buf topic;
	struct buf payload;
	uint32_t turn_of; /* device whose turn it is */
	size_t next_point;
	int64_t start_us;
	int64_t progress_at_us;
	uint64_t progress_sent;
};

static volatile sig_atomic_t stop_asked;

static void
on_signal(int sig)
{
	(void)sig;
	stop_asked = 1;
}

static _Noreturn void
usage(int code)
{
	fprintf(code == 0 ? stdout : stderr,
	    "usage: roost sim [--devices 100] [--rate 1000] [--for 30s] [--qos 1] [--url "
	    "mqtt://HOST:PORT] [--json]\n"
	    "       roost sim --replay FILE.csv [--speed 1000] [--device NAME] [--metric value]\n"
	    "\n"
	    "Publishes telemetry of simulated devices over MQTT, or plays a recording "
	    "(timestamp,value lines) back, and\n"
	    "reports what was sent and acknowledged. Exits 1 if anything sent was not "
	    "acknowledged.\n"
	    "Without --url it publishes to the first address of mqtt.listen (-c FILE and --set "
	    "key=value as for roost run).\n");
	exit(code);
}

static _Noreturn void
fail(int code, const char *what)
{
	fprintf(stderr, "roost sim: %s\n", what);
	exit(code);
}

static double
number_of(const char *option, const char *text, double min, double max)
{
	char *end;
	double v = strtod(text, &end);

	if (end == text || *end != '\0' || !(v >= min && v <= max)) {
		fprintf(stderr, "roost sim: --%s %s: a number from %g to %g is wanted\n", option,
		    text, min, max);
		exit(EXIT_USAGE);
	}
	return v;
}

/* "mqtt://host:port", "host:port", "[::1]:1883" */
static void
take_address(struct sim *s, const char *text)
{
	const char *at = strncmp(text, "mqtt://", 7) == 0 ? text + 7 : text;
	const char *colon = strrchr(at, ':');
	size_t len = colon == NULL ? strlen(at) : (size_t)(colon - at);
	long port = colon == NULL ? 1883 : strtol(colon + 1, NULL, 10);

	if (len > 2 && at[0] == '[' && at[len - 1] == ']') {
		at++;
		len -= 2;
	}
	if (len == 0 || port <= 0 || port > 65535 || strstr(at, "//") != NULL) {
		fprintf(stderr,
		    "roost sim: %s: an address of the form mqtt://host:port is wanted\n", text);
		exit(EXIT_USAGE);
	}
	free(s->host);
	s->host = xstrndup(at, len);
	s->port = (uint16_t)port;
	/* Listening on every address is reached by loopback. */
	if (strcmp(s->host, "0.0.0.0") == 0 || strcmp(s->host, "::") == 0) {
		free(s->host);
		s->host = xstrdup("127.0.0.1");
	}
}

/* The settings in force say where MQTT listens: file, then environment, then --set. */
static void
address_from_settings(struct sim *s, const char *file, char *const *sets, size_t set_count)
{
	struct settings *settings = settings_new();
	struct buf err = { 0 };
	int rc = file == NULL ? 0 : settings_load_file(settings, file, &err);

	if (rc == 0)
		rc = settings_load_env(settings, environ, &err);
	for (size_t i = 0; rc == 0 && i < set_count; i++)
		rc = settings_set(settings, sets[i], "--set", &err);
	if (rc != 0)
		fail(EXIT_CONFIG, buf_str(&err));
	if (s->url != NULL)
		take_address(s, s->url);
	else if (settings_list_count(settings, SET_MQTT_LISTEN) > 0)
		take_address(s, settings_list_at(settings, SET_MQTT_LISTEN, 0));
	else
		fail(EXIT_CONFIG,
		    "mqtt.listen is empty; say where to publish with --url mqtt://host:port");
	buf_fini(&err);
	settings_free(&settings);
}

/* A recording's device is named after its file unless --device says otherwise. */
static char *
device_of_file(const char *path)
{
	const char *base = strrchr(path, '/');
	char *name, *dot;

	name = xstrdup(base == NULL ? path : base + 1);
	dot = strrchr(name, '.');
	if (dot != NULL && dot != name)
		*dot = '\0';
	for (char *c = name; *c != '\0'; c++)
		if (*c == '+' || *c == '#' || *c <= ' ')
			*c = '-';
	return name;
}

static void
device_name(void *arg, uint32_t i, struct buf *out)
{
	const struct sim *s = arg;

	if (s->device != NULL)
		buf_add_str(out, s->device);
	else
		buf_addf(out, "sim-%05u", i);
}

static void
set_topic(struct sim *s, uint32_t i)
{
	buf_clear(&s->topic);
	buf_add_str(&s->topic, "roost/");
	device_name(s, i, &s->topic);
	buf_add_str(&s->topic, "/telemetry");
}

/* Messages that should have been sent by now. */
static uint64_t
due(const struct sim *s, int64_t now)
{
	int64_t elapsed = now - s->start_us;

	if (s->for_us > 0 && elapsed > s->for_us)
		elapsed = s->for_us;
	return (uint64_t)((double)elapsed / 1e6 * s->rate);
}

static bool
send_model(struct sim *s)
{
	for (uint32_t tried = 0; tried < s->devices; tried++) {
		uint32_t i = s->turn_of;

		s->turn_of = (s->turn_of + 1) % s->devices;
		if (!sim_client_ready(s->clients, i))
			continue;
		set_topic(s, i);
		buf_clear(&s->payload);
		sim_device_reading(&s->models[i], clock_wall_us(), &s->payload);
		return sim_client_publish(
		    s->clients, i, buf_str(&s->topic), buf_bytes(&s->payload));
	}
	return false;
}

static bool
send_point(struct sim *s)
{
	const struct sim_point *p = &s->recording.points[s->next_point];

	if (!sim_client_ready(s->clients, 0))
		return false;
	buf_clear(&s->payload);
	buf_addf(&s->payload, "{\"ts\":%lld,\"values\":{\"%s\":%.15g}}", (long long)p->time_us,
	    s->metric, p->value);
	if (!sim_client_publish(s->clients, 0, buf_str(&s->topic), buf_bytes(&s->payload)))
		return false;
	s->next_point++;
	return true;
}

/* True when there is nothing left to send. */
static bool
send_due(struct sim *s, int64_t now)
{
	const struct sim_totals *t = sim_clients_totals(s->clients);

	if (stop_asked)
		return true;
	if (s->replay != NULL) {
		const struct sim_recording *r = &s->recording;
		double played = (double)(now - s->start_us) * s->speed;

		for (int n = 0; n < BURST && s->next_point < r->count; n++)
			if ((double)(r->points[s->next_point].time_us - r->points[0].time_us) >
				played ||
			    !send_point(s))
				break;
		return s->next_point == r->count ||
		       (s->for_us > 0 && now - s->start_us >= s->for_us);
	}
	for (int n = 0; n < BURST && t->sent < due(s, now); n++)
		if (!send_model(s))
			break;
	return s->for_us > 0 && now - s->start_us >= s->for_us;
}

static void
progress(struct sim *s, int64_t now)
{
	const struct sim_totals *t = sim_clients_totals(s->clients);
	bool terminal = isatty(STDERR_FILENO) != 0;

	if (now < s->progress_at_us)
		return;
	fprintf(stderr,
	    "%s%4lld s  sent %llu  acknowledged %llu  %llu/s  p99 %.1f ms  %u connected%s",
	    terminal ? "\r" : "", (long long)((now - s->start_us + PROGRESS_US / 2) / 1000000),
	    (unsigned long long)t->sent, (unsigned long long)t->acked,
	    (unsigned long long)(t->sent - s->progress_sent), sim_totals_percentile_ms(t, 0.99),
	    t->connected, terminal ? "   " : "\n");
	s->progress_sent = t->sent;
	s->progress_at_us = now + PROGRESS_US;
}

static void
report(const struct sim *s, double seconds)
{
	const struct sim_totals *t = sim_clients_totals(s->clients);
	double p50 = sim_totals_percentile_ms(t, 0.5), p90 = sim_totals_percentile_ms(t, 0.9);
	double p99 = sim_totals_percentile_ms(t, 0.99), longest = (double)t->longest_us / 1000.0;

	if (s->json) {
		printf("{\"sent\":%llu,\"acknowledged\":%llu,\"seconds\":%.2f,\"connections_lost\":"
		       "%llu,\"connect_failures\":%llu,"
		       "\"p50_ms\":%.3f,\"p90_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f}\n",
		    (unsigned long long)t->sent, (unsigned long long)t->acked, seconds,
		    (unsigned long long)t->lost, (unsigned long long)t->connect_failures, p50, p90,
		    p99, longest);
		return;
	}
	printf("sent          %llu messages in %.1f s (%.0f/s) to %s:%u\n",
	    (unsigned long long)t->sent, seconds, seconds > 0 ? (double)t->sent / seconds : 0.0,
	    s->host, s->port);
	printf("acknowledged  %llu%s\n", (unsigned long long)t->acked,
	    s->qos == 0 ? " (QoS 0: handed to the network, nobody acknowledges)" : "");
	if (t->acked < t->sent)
		printf("MISSING       %llu were not acknowledged\n",
		    (unsigned long long)(t->sent - t->acked));
	if (s->qos > 0)
		printf("latency       p50 %.2f ms  p90 %.2f ms  p99 %.2f ms  longest %.2f ms\n",
		    p50, p90, p99, longest);
	printf("connections   %llu lost, %llu attempts failed\n", (unsigned long long)t->lost,
	    (unsigned long long)t->connect_failures);
}

static void
connect_all(struct sim *s)
{
	const struct sim_totals *t;
	int64_t until = clock_mono_us() + DRAIN_US;
	uint32_t wanted = s->replay != NULL ? 1 : s->devices;

	s->clients = sim_clients_new(s->host, s->port, wanted, s->qos, device_name, s);
	t = sim_clients_totals(s->clients);
	while (t->connected < wanted && !stop_asked) {
		sim_clients_turn(s->clients, 10);
		if (t->connects == 0 && t->connect_failures >= wanted) {
			fprintf(stderr,
			    "roost sim: nothing accepts MQTT at %s:%u; is roost running?\n",
			    s->host, s->port);
			exit(EXIT_DEPENDENCY);
		}
		if (clock_mono_us() > until) {
			fprintf(stderr, "roost sim: %u of %u devices connected within %d s\n",
			    t->connected, wanted, DRAIN_US / 1000000);
			break;
		}
	}
}

static int
run(struct sim *s)
{
	const struct sim_totals *t;
	int64_t now, until = 0;
	double seconds = 0;

	connect_all(s);
	t = sim_clients_totals(s->clients);
	s->start_us = clock_mono_us();
	s->progress_at_us = s->start_us + PROGRESS_US;
	set_topic(s, 0);
	for (;;) {
		now = clock_mono_us();
		if (until == 0) {
			seconds = (double)(now - s->start_us) / 1e6;
			if (send_due(s, now))
				until = now + DRAIN_US;
		} else if (t->acked == t->sent || now > until) {
			break;
		}
		sim_clients_turn(s->clients, TURN_MS);
		progress(s, now);
	}
	if (isatty(STDERR_FILENO))
		fputc('\n', stderr);
	report(s, seconds);
	return t->acked == t->sent ? 0 : 1;
}

static void
prepare(struct sim *s)
{
	struct buf err = { 0 };

	if (s->replay == NULL) {
		s->models = xcalloc(s->devices, sizeof(*s->models));
		for (uint32_t i = 0; i < s->devices; i++)
			sim_device_init(&s->models[i], i, s->seed);
		return;
	}
	if (sim_recording_load(s->replay, &s->recording, &err) != 0)
		fail(1, buf_str(&err));
	if (s->device == NULL)
		s->device = s->own_device = device_of_file(s->replay);
	buf_fini(&err);
}

struct arguments {
	const char *file;
	char **sets;
	size_t set_count;
};

static void
parse(int argc, char **argv, struct sim *s, struct arguments *a)
{
	enum {
		OPT_DEVICES = 256,
		OPT_RATE,
		OPT_FOR,
		OPT_URL,
		OPT_QOS,
		OPT_REPLAY,
		OPT_SPEED,
		OPT_DEVICE,
		OPT_METRIC,
		OPT_SEED,
		OPT_SET,
		OPT_JSON,
	};
	static const struct option options[] = {
		{ "devices", required_argument, NULL, OPT_DEVICES },
		{ "rate", required_argument, NULL, OPT_RATE },
		{ "for", required_argument, NULL, OPT_FOR },
		{ "url", required_argument, NULL, OPT_URL },
		{ "qos", required_argument, NULL, OPT_QOS },
		{ "replay", required_argument, NULL, OPT_REPLAY },
		{ "speed", required_argument, NULL, OPT_SPEED },
		{ "device", required_argument, NULL, OPT_DEVICE },
		{ "metric", required_argument, NULL, OPT_METRIC },
		{ "seed", required_argument, NULL, OPT_SEED },
		{ "set", required_argument, NULL, OPT_SET },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "config", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	bool for_given = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (opt) {
		case OPT_DEVICES:
			s->devices = (uint32_t)number_of("devices", optarg, 1, SIM_CLIENTS_MAX);
			break;
		case OPT_RATE:
			s->rate = number_of("rate", optarg, 0.001, 10000000);
			break;
		case OPT_FOR:
			if (clock_parse_duration(bytes_of_str(optarg), &s->for_us) != 0)
				fail(EXIT_USAGE,
				    "--for takes a duration with its unit, like 30s or 10m");
			for_given = true;
			break;
		case OPT_URL:
			s->url = optarg;
			break;
		case OPT_QOS:
			s->qos = (int)number_of("qos", optarg, 0, 2);
			break;
		case OPT_REPLAY:
			s->replay = optarg;
			break;
		case OPT_SPEED:
			s->speed = number_of("speed", optarg, 0.001, 1e12);
			break;
		case OPT_DEVICE:
			s->device = optarg;
			break;
		case OPT_METRIC:
			s->metric = optarg;
			break;
		case OPT_SEED:
			s->seed = (uint64_t)number_of("seed", optarg, 0, 9e15);
			break;
		case OPT_SET:
			a->sets[a->set_count++] = optarg;
			break;
		case OPT_JSON:
			s->json = true;
			break;
		case 'c':
			a->file = optarg;
			break;
		case 'h':
			usage(0);
		default:
			usage(EXIT_USAGE);
		}
	}
	if (optind != argc || (s->device != NULL && s->replay == NULL))
		usage(EXIT_USAGE);
	if (s->replay != NULL && !for_given)
		s->for_us = 0; /* to the end of the recording */
}

int
main(int argc, char **argv)
{
	struct sim s = {
		.devices = 100,
		.rate = 1000,
		.for_us = 30000000,
		.qos = 1,
		.speed = 1000,
		.metric = "value",
		.seed = 1,
	};
	struct arguments a = { .sets = xcalloc((size_t)argc, sizeof(char *)) };
	struct sigaction act = { .sa_handler = on_signal };
	int code;

	parse(argc, argv, &s, &a);
	log_init("sim", LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
	address_from_settings(&s, a.file, a.sets, a.set_count);
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	prepare(&s);
	code = run(&s);
	sim_clients_free(&s.clients);
	sim_recording_fini(&s.recording);
	free(s.models);
	free(s.host);
	free(s.own_device);
	free(a.sets);
	buf_fini(&s.topic);
	buf_fini(&s.payload);
	return code;
}
