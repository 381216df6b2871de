/* main.c - roost: runs the system, and asks about it
 *
 * Every command takes -c FILE and --set key=value, because they say where data_dir is. A command that is none of ours is
 * the program roost-<command> beside this one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control.h"
#include "err.h"
#include "exit_codes.h"
#include "log.h"
#include "mem.h"
#include "settings.h"
#include "status.h"
#include "supervisor.h"
#include "version.h"

#define ANSWER_MS 5000 /* a supervisor that does not answer by then is stuck */
#define STOP_SLACK_MS 3000

struct options {
	struct settings *settings;
	struct buf hint; /* the options that name data_dir, to be shown again */
	bool json;
	bool doc;
};

static const char usage[] =
    "usage: roost COMMAND [-c FILE] [--set key=value]...\n"
    "\n"
    "  run               start everything and keep it running, until Ctrl-C\n"
    "  status [--json]   every process, why it last died, and how far followers are behind;\n"
    "                    exit 0: all UP, 1: not all, 69: no Roost here, 75: no answer\n"
    "  metrics           all counters, as Prometheus text\n"
    "  stop              drain and stop, and wait for it\n"
    "  settings [--doc]  the settings in force; --doc: all of them, explained\n"
    "  version           of Roost\n"
    "  help              this text\n"
    "  device, user      what devices, applications and people there are, and what lets them in\n"
    "  certs             a CA of your own, certificates for the server and devices; what is wrong "
    "with those in use\n"
    "  query, sim, ...   roost-COMMAND beside this program; each has its own --help\n"
    "\n"
    "Settings come from FILE, then ROOST_<KEY>, then --set. No FILE: the built-in defaults.\n";

static int
usage_error(const char *fault, const char *what)
{
	fprintf(stderr, "roost: %s%s%s\n\n%s", fault, what ? ": " : "", what ? what : "", usage);
	return EXIT_USAGE;
}

/* Two passes, because the file comes first wherever -c stands. 0 or an exit code. */
static int
load_settings(struct options *o, const char *file, char *const *sets, size_t set_count)
{
	struct buf err = { .max = 0 };
	int rc = 0;

	o->settings = settings_new();
	if (file)
		rc = settings_load_file(o->settings, file, &err);
	if (rc == 0)
		rc = settings_load_env(o->settings, environ, &err);
	for (size_t i = 0; rc == 0 && i < set_count; i++)
		rc = settings_set(o->settings, sets[i], "--set", &err);
	if (rc == 0)
		rc = settings_check(o->settings, &err);
	if (rc != 0)
		fprintf(stderr, "roost: %s\n", buf_str(&err));
	buf_fini(&err);
	return rc == 0 ? 0 : EXIT_CONFIG;
}

static int
parse_options(struct options *o, int argc, char **argv)
{
	char **sets = xcalloc((size_t)argc + 1, sizeof(*sets));
	const char *file = NULL;
	size_t n = 0;
	int rc = 0;

	for (int i = 0; rc == 0 && i < argc; i++) {
		bool more = i + 1 < argc;

		if (strcmp(argv[i], "-c") == 0 && more)
			file = argv[++i];
		else if (strcmp(argv[i], "--set") == 0 && more)
			sets[n++] = argv[++i];
		else if (strncmp(argv[i], "--set=", 6) == 0)
			sets[n++] = argv[i] + 6;
		else if (strcmp(argv[i], "--json") == 0)
			o->json = true;
		else if (strcmp(argv[i], "--doc") == 0)
			o->doc = true;
		else if (strcmp(argv[i], "-c") == 0 || strcmp(argv[i], "--set") == 0)
			rc = usage_error("a value is missing behind", argv[i]);
		else
			rc = usage_error("unknown option", argv[i]);
	}
	if (rc == 0)
		rc = load_settings(o, file, sets, n);
	if (rc == 0 && strcmp(settings_str(o->settings, SET_DATA_DIR), "data") != 0)
		buf_addf(&o->hint, " --set data_dir=%s", settings_str(o->settings, SET_DATA_DIR));
	free(sets);
	return rc;
}

static void
start_log(const struct settings *s)
{
	static const char *const levels[] = { "debug", "info", "warn", "error" };
	enum log_level level = LOG_LEVEL_INFO;

	for (size_t i = 0; i < COUNT_OF(levels); i++)
		if (strcmp(levels[i], settings_str(s, SET_LOG_LEVEL)) == 0)
			level = (enum log_level)i;
	log_init("roost", level,
	    strcmp(settings_str(s, SET_LOG_FORMAT), "json") == 0 ? LOG_FORMAT_JSON
								 : LOG_FORMAT_TEXT);
}

static int
command_run(struct options *o)
{
	start_log(o->settings);
	return supervisor_run(o->settings, buf_str(&o->hint));
}

/* Asks the supervisor of this data_dir; 0 and its answer, or an exit code after saying why. */
static int
ask(const struct options *o, const char *command, int timeout_ms, bool until_closed, json_t **ret)
{
	const char *data_dir = settings_str(o->settings, SET_DATA_DIR);
	char path[128];
	json_t *answer = NULL;
	int rc;

	snprintf(path, sizeof(path), "%s/run/control.sock", data_dir);
	rc = control_call(path, command, timeout_ms, until_closed, &answer);
	if (rc == ERR_NOT_FOUND) {
		fprintf(stderr,
		    "roost: no Roost runs on data_dir %s (started elsewhere? name its data_dir "
		    "with "
		    "--set data_dir=...)\n",
		    data_dir);
		return EXIT_UNAVAILABLE;
	}
	if (rc != 0) {
		fprintf(stderr, "roost: %s: no answer: %s\n", path, err_name(rc));
		return EXIT_DEPENDENCY;
	}
	if (!json_is_true(json_object_get(answer, "ok"))) {
		const char *why = json_string_value(json_object_get(answer, "error"));

		fprintf(stderr, "roost: refused: %s\n", why ? why : "?");
		json_decref(answer);
		return EXIT_DEPENDENCY;
	}
	*ret = answer;
	return 0;
}

static int
command_status(struct options *o)
{
	struct buf text = { .max = 0 };
	json_t *answer;
	int rc = ask(o, "status", ANSWER_MS, false, &answer);

	if (rc != 0)
		return rc;
	if (o->json) {
		json_dumpf(answer, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
		putchar('\n');
	} else {
		status_table(answer, &text);
		fputs(buf_str(&text), stdout);
	}
	rc = json_is_true(json_object_get(answer, "healthy")) ? 0 : 1;
	buf_fini(&text);
	json_decref(answer);
	return rc;
}

static int
command_metrics(struct options *o)
{
	json_t *answer;
	const char *text;
	int rc = ask(o, "metrics", ANSWER_MS, false, &answer);

	if (rc != 0)
		return rc;
	text = json_string_value(json_object_get(answer, "text"));
	fputs(text ? text : "", stdout);
	json_decref(answer);
	return 0;
}

static int
command_stop(struct options *o)
{
	int64_t ms = settings_ms(o->settings, SET_SUPERVISOR_STOP_TIMEOUT) + STOP_SLACK_MS;
	json_t *answer;
	int rc = ask(o, "stop", (int)ms, true, &answer);

	if (rc == 0)
		json_decref(answer);
	return rc;
}

static int
command_settings(struct options *o)
{
	struct buf text = { .max = 0 };

	if (o->doc)
		settings_doc(&text);
	else
		settings_write(o->settings, &text);
	fputs(buf_str(&text), stdout);
	buf_fini(&text);
	return 0;
}

static int
command_version(struct options *o)
{
	(void)o;
	puts("roost " ROOST_VERSION);
	return 0;
}

static int
command_help(struct options *o)
{
	(void)o;
	fputs(usage, stdout);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(struct options *o);
	bool takes_options;
} commands[] = {
	{ "run", command_run, true },
	{ "status", command_status, true },
	{ "metrics", command_metrics, true },
	{ "stop", command_stop, true },
	{ "settings", command_settings, true },
	{ "version", command_version, false },
	{ "help", command_help, false },
	{ "--version", command_version, false },
	{ "--help", command_help, false },
	{ "-h", command_help, false },
};

/* Only returns if there is no such program. */
static int
exec_beside(char **argv)
{
	char self[512], *path, *slash;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n > 0 ? n : 0] = '\0';
	slash = strrchr(self, '/');
	if (slash && !strchr(argv[1], '/')) {
		*slash = '\0';
		path = xasprintf("%s/roost-%s", self, argv[1]);
		argv[1] = path;
		execv(path, argv + 1);
		if (errno != ENOENT) {
			fprintf(stderr, "roost: %s: %s\n", path, strerror(errno));
			return EXIT_USAGE;
		}
		argv[1] = strrchr(path, '/') + strlen("/roost-");
	}
	return usage_error("no such command", argv[1]);
}

int
main(int argc, char **argv)
{
	struct options o = { .json = false };
	int rc;

	if (argc < 2)
		return usage_error("what shall be done?", NULL);
	for (size_t i = 0; i < COUNT_OF(commands); i++) {
		if (strcmp(commands[i].name, argv[1]) != 0)
			continue;
		rc = commands[i].takes_options ? parse_options(&o, argc - 2, argv + 2) : 0;
		if (rc == 0)
			rc = commands[i].run(&o);
		settings_free(&o.settings);
		buf_fini(&o.hint);
		return rc;
	}
	return exec_beside(argv);
}
