/* notify_main.c - roost notify: try a receiver, see what is owed */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "channel.h"
#include "clock.h"
#include "err.h"
#include "log.h"
#include "mem.h"
#include "notify_file.h"
#include "notify_text.h"
#include "outbox.h"
#include "route.h"
#include "settings.h"
#include "worker.h"

#define ROWS_MAX 100
#define TURN_US 100000

static _Noreturn void
usage(int code)
{
	fputs(
	    "usage: roost notify [-c FILE] [--set key=value] COMMAND\n"
	    "\n"
	    "  roost notify check           reads notify.yaml and says what is wrong with it\n"
	    "  roost notify test RECEIVER   sends it a made-up alert now, past the outbox; exits 1 "
	    "if it is not accepted\n"
	    "  roost notify outbox          the newest 100 notifications: owed, delivered, dead\n",
	    code == 0 ? stdout : stderr);
	exit(code);
}

static _Noreturn void
fail(int code, const char *what)
{
	fprintf(stderr, "roost notify: %s\n", what);
	exit(code);
}

static struct settings *
read_settings(int argc, char **argv, const char **words, size_t max, size_t *ret_n)
{
	struct settings *s = settings_new();
	struct buf err = { 0 };
	int code = 0;

	/* File, then environment, then --set: as roost run reads them. */
	for (int i = 1; i + 1 < argc && code == 0; i++)
		if (strcmp(argv[i], "-c") == 0)
			code = settings_load_file(s, argv[i + 1], &err);
	if (code == 0)
		code = settings_load_env(s, environ, &err);
	for (int i = 1; i < argc && code == 0; i++) {
		if (strcmp(argv[i], "-c") == 0 && i + 1 < argc)
			i++;
		else if (strcmp(argv[i], "--set") == 0 && i + 1 < argc)
			code = settings_set(s, argv[++i], "--set", &err);
		else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			usage(0);
		else if (argv[i][0] == '-' || *ret_n == max)
			usage(EXIT_USAGE);
		else
			words[(*ret_n)++] = argv[i];
	}
	if (code != 0)
		fail(EXIT_CONFIG, buf_str(&err));
	return s;
}

static struct notify_conf *
load_conf(const struct settings *s)
{
	struct notify_conf *conf = NULL;
	struct stat st;
	struct buf err = { 0 };

	if (notify_file_load(settings_str(s, SET_NOTIFY_FILE), &conf, &st, &err) != 0)
		fail(EXIT_CONFIG, buf_str(&err));
	return conf;
}

struct ended {
	bool ended;
	enum channel_end end;
};

static void
on_end(void *arg, enum channel_end end, const char *why, int64_t wait_us)
{
	struct ended *e = arg;

	(void)wait_us;
	e->ended = true;
	e->end = end;
	if (end == CHANNEL_ACCEPTED)
		puts("accepted");
	else
		printf("%s: %s\n", end == CHANNEL_REJECTED ? "rejected" : "failed", why);
}

static int
test(const struct settings *s, const char *name)
{
	struct notify_conf *conf = load_conf(s);
	int found = notify_conf_find(conf, bytes_of_str(name));
	int64_t now = clock_wall_us();
	char *id = xasprintf("test-%lld", (long long)now), *key = xasprintf("%s/%s", id, name);
	struct msg_alert a = { .id = bytes_of_str(id),
		.alert_id = bytes_of_str(id),
		.rule = bytes_of_str("Test"),
		.group = bytes_of_str("roost"),
		.device = bytes_of_str("test"),
		.state = ALERT_FIRING,
		.severity = bytes_of_str("info"),
		.at = now,
		.since = now,
		.summary = bytes_of_str("a test by `roost notify test`; nothing is wrong") };
	struct ended e = { 0 };
	struct buf body = { 0 };

	if (found < 0) {
		fprintf(stderr, "roost notify: no receiver \"%s\" in %s; it has:", name,
		    settings_str(s, SET_NOTIFY_FILE));
		for (size_t i = 0; i < conf->receiver_count; i++)
			fprintf(stderr, " %s", conf->receivers[i].name);
		fputc('\n', stderr);
		exit(EXIT_USAGE);
	}
	if (conf->receivers[found].channel == CHANNEL_LOG) {
		route_put_text(&body, &a);
		channel_log_send(key, buf_bytes(&body), on_end, &e);
	} else {
		struct loop *loop = loop_new();
		struct webhook *w = webhook_new(loop);

		route_put_json(&body, &a);
		webhook_send(w, &conf->receivers[found], key, buf_bytes(&body), on_end, &e);
		while (!e.ended) /* ends by the receiver's time-out */
			loop_turn(loop, TURN_US);
		webhook_free(&w);
		loop_free(&loop);
	}
	buf_fini(&body);
	free(key);
	free(id);
	notify_conf_free(&conf);
	return e.end == CHANNEL_ACCEPTED ? 0 : 1;
}

static void
print_row(void *arg, const struct outbox_row *row)
{
	static const char *const states[] = { "owed", "delivered", "dead" };
	char created[CLOCK_ISO_MAX], next[CLOCK_ISO_MAX];

	(void)arg;
	printf("%s  %-9s  %s  %s  attempts %llu", clock_iso(row->created, created),
	    states[row->state % 3], row->receiver, row->id, (unsigned long long)row->attempts);
	if (row->state == OUTBOX_OWED && row->next_at != 0)
		printf("  next %s", clock_iso(row->next_at, next));
	if (row->error != NULL)
		printf("  last: %s", row->error);
	putchar('\n');
}

static int
outbox(const struct settings *s)
{
	char *dir = xasprintf("%s/notifier", settings_str(s, SET_DATA_DIR));
	int err = outbox_list(dir, ROWS_MAX, print_row, NULL);

	if (err == ERR_NOT_FOUND)
		fprintf(stderr,
		    "roost notify: there is no outbox in %s; name data_dir with -c FILE or --set "
		    "data_dir=DIR\n",
		    dir);
	free(dir);
	return err == 0 ? 0 : 1;
}

int
main(int argc, char **argv)
{
	const char *words[2] = { NULL, NULL };
	size_t n = 0;
	struct settings *s = read_settings(argc, argv, words, COUNT_OF(words), &n);
	int code = 0;

	log_init("notify", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	if (n == 2 && strcmp(words[0], "test") == 0) {
		code = test(s, words[1]);
	} else if (n == 1 && strcmp(words[0], "outbox") == 0) {
		code = outbox(s);
	} else if (n == 1 && strcmp(words[0], "check") == 0) {
		struct notify_conf *conf = load_conf(s);

		printf("%s: %zu receivers, %zu routes\n", settings_str(s, SET_NOTIFY_FILE),
		    conf->receiver_count, conf->route_count);
		notify_conf_free(&conf);
	} else {
		usage(EXIT_USAGE);
	}
	settings_free(&s);
	return code;
}
