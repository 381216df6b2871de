/* certs_main.c - roost certs: a private CA and its certificates, for people who have none; and what is wrong with those in use */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "certs.h"
#include "err.h"
#include "exit_codes.h"
#include "mem.h"
#include "settings.h"
#include "tls.h"

#define EXIT_REFUSED 1
#define ARGUMENTS_MAX 1000

static const char usage[] =
    "usage: roost certs COMMAND\n"
    "\n"
    "  init DIR [--name NAME]... [--days N]    makes a CA of your own in DIR, and the certificate "
    "of a server that\n"
    "                                          devices reach by these host names and addresses\n"
    "                                          (default: localhost, 127.0.0.1, ::1, this machine's "
    "name)\n"
    "  server DIR [--name NAME]... [--days N]  a new certificate of the server (default: 825 "
    "days)\n"
    "  device DIR NAME... [--days N]           DIR/devices/NAME.crt and .key for each device "
    "(default: 10 years)\n"
    "  revoke DIR NAME...                      enters these into DIR/ca.crl, which tls.crl names\n"
    "  check [-c FILE] [--set key=value]...    whether what tls.* names can be used\n"
    "\n"
    "DIR/ca.key makes devices: keep it where the server is not, if you can. The server needs "
    "server.crt and\n"
    "server.key; ca.crt and ca.crl too, if devices show certificates. Keys have mode 0600.\n"
    "Exit codes: 0 done, 1 refused (is there already, is not there), 64 usage, 75 a file cannot be "
    "written,\n"
    "78 what is there cannot be used.\n";

struct arguments {
	const char *words[ARGUMENTS_MAX]; /* command, DIR, NAME... */
	size_t count;
	const char *names[CERTS_NAMES_MAX];
	size_t name_count;
	const char *sets[CERTS_NAMES_MAX];
	size_t set_count;
	const char *file;
	int days; /* 0: not said */
};

static _Noreturn void
usage_error(const char *fault, const char *what)
{
	fprintf(stderr, "roost certs: %s%s%s\n\n%s", fault, *what ? ": " : "", what, usage);
	exit(EXIT_USAGE);
}

static int
days_of(const char *text)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || n < 1 || n > CERTS_DAYS_MAX)
		usage_error("--days wants a number from 1 to 36500", text);
	return (int)n;
}

static void
put(const char **list, size_t *count, size_t max, const char *what)
{
	if (*count == max)
		usage_error("too many", what);
	list[(*count)++] = what;
}

static void
parse(struct arguments *a, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *word = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
			fputs(usage, stdout);
			exit(0);
		}
		if (word[0] != '-') {
			put(a->words, &a->count, COUNT_OF(a->words), word);
			continue;
		}
		if (strncmp(word, "--set=", 6) == 0) {
			put(a->sets, &a->set_count, COUNT_OF(a->sets), word + 6);
			continue;
		}
		if (!value)
			usage_error("a value is missing behind", word);
		i++;
		if (strcmp(word, "--name") == 0)
			put(a->names, &a->name_count, COUNT_OF(a->names), value);
		else if (strcmp(word, "--set") == 0)
			put(a->sets, &a->set_count, COUNT_OF(a->sets), value);
		else if (strcmp(word, "--days") == 0)
			a->days = days_of(value);
		else if (strcmp(word, "-c") == 0)
			a->file = value;
		else
			usage_error("unknown option", word);
	}
}

static int
ended(int rc, struct buf *err)
{
	if (rc != 0)
		fprintf(stderr, "roost certs: %s\n", buf_str(err));
	buf_fini(err);
	if (rc == 0)
		return 0;
	if (rc == ERR_EXISTS || rc == ERR_NOT_FOUND)
		return EXIT_REFUSED;
	return rc == ERR_IO ? EXIT_DEPENDENCY : EXIT_CONFIG;
}

static int
make_server(struct arguments *a, const char *dir, struct buf *err)
{
	static char host[256];

	if (a->name_count == 0) {
		put(a->names, &a->name_count, CERTS_NAMES_MAX, "localhost");
		put(a->names, &a->name_count, CERTS_NAMES_MAX, "127.0.0.1");
		put(a->names, &a->name_count, CERTS_NAMES_MAX, "::1");
		if (gethostname(host, sizeof(host) - 1) == 0 && strcmp(host, "localhost") != 0)
			put(a->names, &a->name_count, CERTS_NAMES_MAX, host);
	}
	return certs_server(
	    dir, a->names, a->name_count, a->days ? a->days : CERTS_SERVER_DAYS, err);
}

static int
command_init(struct arguments *a)
{
	struct buf err = { .max = 0 };
	const char *dir = a->words[1];
	int days = a->days > CERTS_CA_DAYS ? a->days : CERTS_CA_DAYS;
	int rc = certs_init(dir, days, &err);

	if (rc == 0)
		rc = make_server(a, dir, &err);
	if (rc == 0)
		printf(
		    "%s has a CA (ca.crt) and a certificate of the server for %s%s.\n\n"
		    "  roost run --set tls.certificate=%s/server.crt --set tls.key=%s/server.key\n"
		    "  mosquitto_pub -h %s -p 8883 --cafile %s/ca.crt -t roost/gh-1/telemetry -q 1 "
		    "-m "
		    "'{\"temperature\":21.5}'\n\n"
		    "Devices that show certificates:\n\n"
		    "  roost certs device %s gh-1\n"
		    "  --set tls.client_ca=%s/ca.crt --set tls.crl=%s/ca.crl --set "
		    "tls.client_certificate=required\n",
		    dir, a->names[0], a->name_count > 1 ? " and others" : "", dir, dir, a->names[0],
		    dir, dir, dir, dir);
	return ended(rc, &err);
}

static int
command_server(struct arguments *a)
{
	struct buf err = { .max = 0 };

	return ended(make_server(a, a->words[1], &err), &err);
}

static int
each(struct arguments *a, bool revoke)
{
	const char *dir = a->words[1];

	if (a->count < 3)
		usage_error("of which device?", "");
	for (size_t i = 2; i < a->count; i++) {
		struct buf err = { .max = 0 };
		int rc = revoke ? certs_revoke(dir, a->words[i], &err)
				: certs_device(dir, a->words[i],
				      a->days ? a->days : CERTS_DEVICE_DAYS, &err);

		if (rc == 0 && !revoke)
			printf("%s/devices/%s.crt\n", dir, a->words[i]);
		if ((rc = ended(rc, &err)) != 0)
			return rc;
	}
	return 0;
}

static int
command_device(struct arguments *a)
{
	return each(a, false);
}

static int
command_revoke(struct arguments *a)
{
	return each(a, true);
}

/* Of the first one that ends. */
static int
tell_end(const char *what, int64_t end_s, struct buf *err)
{
	time_t end = (time_t)end_s;
	struct tm tm;
	char text[64];

	strftime(text, sizeof(text), "%Y-%m-%d %H:%M UTC", gmtime_r(&end, &tm));
	if (end <= time(NULL)) {
		buf_addf(err, "%s was good until %s", what, text);
		return ERR_CONFIG;
	}
	printf("%s is good until %s\n", what, text);
	return 0;
}

static int
command_check(struct arguments *a)
{
	struct settings *s = settings_new();
	struct buf err = { .max = 0 };
	struct tls *t = NULL;
	int rc = 0;

	if (a->file)
		rc = settings_load_file(s, a->file, &err);
	if (rc == 0)
		rc = settings_load_env(s, environ, &err);
	for (size_t i = 0; rc == 0 && i < a->set_count; i++)
		rc = settings_set(s, a->sets[i], "--set", &err);
	if (rc == 0)
		rc = settings_check(s, &err);
	if (rc == 0 && !tls_is_configured(s)) {
		puts("there is no tls.certificate: no TLS");
	} else if (rc == 0) {
		rc = tls_new(s, NULL, &t, &err);
		if (rc == 0)
			rc = tell_end("the certificate", tls_expires_s(t), &err);
		if (rc == 0 && tls_crl_expires_s(t))
			rc = tell_end("the CRL", tls_crl_expires_s(t), &err);
	}
	tls_free(&t);
	settings_free(&s);
	return ended(rc, &err);
}

static const struct {
	const char *name;
	int (*run)(struct arguments *a);
	bool takes_dir;
} commands[] = {
	{ "init", command_init, true },
	{ "server", command_server, true },
	{ "device", command_device, true },
	{ "revoke", command_revoke, true },
	{ "check", command_check, false },
};

int
main(int argc, char **argv)
{
	static struct arguments a;

	parse(&a, argc, argv);
	if (a.count == 0)
		usage_error("what shall be done?", "");
	for (size_t i = 0; i < COUNT_OF(commands); i++) {
		if (strcmp(commands[i].name, a.words[0]) != 0)
			continue;
		if (commands[i].takes_dir && a.count < 2)
			usage_error("a DIR is missing", "");
		return commands[i].run(&a);
	}
	usage_error("no such command", a.words[0]);
}
