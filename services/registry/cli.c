/* cli.c - what `roost device` and `roost user` have in common */
#include "cli.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "credential.h"
#include "err.h"
#include "log.h"
#include "mem.h"

void
cli_flush(struct cli *cli)
{
	if (cli->out.len)
		fwrite(cli->out.data, 1, cli->out.len, stdout);
	if (fflush(stdout) != 0 && cli->code == 0)
		cli->code = EXIT_DEPENDENCY;
	if (cli->out.len)
		credential_wipe(cli->out.data, cli->out.len);
	buf_clear(&cli->out);
}

void
cli_fini(struct cli *cli)
{
	cli_flush(cli);
	asker_free(&cli->asker);
	store_close(&cli->store);
	settings_free(&cli->settings);
	buf_fini(&cli->out);
	free(cli->dir);
}

_Noreturn void
cli_fail(struct cli *cli, int code, const char *what, const char *detail)
{
	/* Secrets of what was done before are said all the same. */
	cli_flush(cli);
	fprintf(stderr, "%s: %s%s%s\n", cli->tool, what, detail[0] ? ": " : "", detail);
	/* Not exit(): czmq would wait for the end of sockets that may be in use here. */
	fflush(stderr);
	_exit(code);
}

/* --- options --- */

static const char *
value_of(struct cli *cli, int argc, char **argv, int *i)
{
	if (*i + 1 >= argc)
		cli_fail(cli, EXIT_USAGE, argv[*i], "a value is wanted");
	return argv[++*i];
}

static void
check(struct cli *cli, int err, struct buf *why)
{
	if (err != 0)
		cli_fail(cli, EXIT_CONFIG, buf_str(why), "");
}

static void
add(struct cli *cli, struct cli_list *list, const char *option, const char *value)
{
	if (list->n == CLI_LIST_MAX)
		cli_fail(cli, EXIT_USAGE, option, "said more than 64 times");
	list->at[list->n++] = value;
}

static bool
take_flag(struct cli *cli, const char *arg)
{
	if (strcmp(arg, "--json") == 0)
		cli->json = true;
	else if (strcmp(arg, "--no-credential") == 0)
		cli->no_credential = true;
	else if (strcmp(arg, "--keep") == 0)
		cli->keep = true;
	else if (strcmp(arg, "--clear") == 0)
		cli->clear = true;
	else
		return false;
	return true;
}

static bool
take_value(struct cli *cli, int argc, char **argv, int *i)
{
	const struct {
		const char *name;
		const char **value;
		struct cli_list *list;
	} options[] = {
		{ "--tag", NULL, &cli->tags },
		{ "--speaks-for", NULL, &cli->speaks_for },
		{ "--role", NULL, &cli->roles },
		{ "--attribute", NULL, &cli->attributes },
		{ "--profile", &cli->profile, NULL },
		{ "--user", &cli->user, NULL },
		{ "--password-file", &cli->password_file, NULL },
		{ "--token-file", &cli->token_file, NULL },
		{ "--certificate", &cli->certificate, NULL },
		{ "--ca", &cli->ca, NULL },
		{ "--subject", &cli->subject, NULL },
		{ "--psk", &cli->psk, NULL },
		{ "--psk-file", &cli->psk_file, NULL },
		{ "--expires", &cli->expires, NULL },
	};
	const char *arg = argv[*i];

	for (size_t k = 0; k < COUNT_OF(options); k++) {
		size_t len = strlen(options[k].name);
		const char *value;

		if (strncmp(arg, options[k].name, len) != 0 ||
		    (arg[len] != '\0' && arg[len] != '='))
			continue;
		value = arg[len] == '=' ? arg + len + 1 : value_of(cli, argc, argv, i);
		if (options[k].list)
			add(cli, options[k].list, options[k].name, value);
		else
			*options[k].value = value;
		return true;
	}
	return false;
}

/* The file comes first, wherever it stands; then the environment; then --set. */
static void
load_settings(struct cli *cli, int argc, char **argv)
{
	struct buf why = { 0 };

	cli->settings = settings_new();
	for (int i = 1; i + 1 < argc; i++) {
		if (strcmp(argv[i], "-c") == 0)
			check(cli, settings_load_file(cli->settings, argv[i + 1], &why), &why);
	}
	check(cli, settings_load_env(cli->settings, environ, &why), &why);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--set") == 0 && i + 1 < argc)
			check(cli, settings_set(cli->settings, argv[i + 1], "--set", &why), &why);
		else if (strncmp(argv[i], "--set=", 6) == 0)
			check(cli, settings_set(cli->settings, argv[i] + 6, "--set", &why), &why);
	}
	buf_fini(&why);
}

/* An ISO 8601 time, or a duration from now. */
static int64_t
expires_at(struct cli *cli)
{
	int64_t t, now = clock_wall_us();

	if (cli->expires == NULL)
		return 0;
	if (clock_parse_duration(bytes_of_str(cli->expires), &t) == 0)
		return now + t;
	if (clock_parse_iso(bytes_of_str(cli->expires), &t) == 0 && t > now)
		return t;
	cli_fail(cli, EXIT_USAGE, "--expires",
	    "a duration like 90d or a time to come like 2030-01-01T00:00:00Z is wanted");
}

void
cli_parse(struct cli *cli, int argc, char **argv)
{
	const struct passwd *pw = getpwuid(getuid());

	log_init("device", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	snprintf(
	    cli->actor, sizeof(cli->actor), "%.30s by %.20s", cli->tool, pw ? pw->pw_name : "?");
	load_settings(cli, argc, argv);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0 ||
		    strcmp(argv[i], "help") == 0) {
			fputs(cli->usage, stdout);
			exit(0);
		}
		if (strcmp(argv[i], "-c") == 0 || strcmp(argv[i], "--set") == 0)
			(void)value_of(cli, argc, argv, &i);
		else if (strncmp(argv[i], "--set=", 6) == 0 || take_flag(cli, argv[i]) ||
			 take_value(cli, argc, argv, &i))
			continue;
		else if (argv[i][0] == '-' && argv[i][1] != '\0')
			cli_fail(cli, EXIT_USAGE, argv[i], "no such option; --help tells");
		else if (cli->name_count == CLI_NAMES_MAX)
			cli_fail(cli, EXIT_USAGE, argv[i], "one name too many; --help tells");
		else
			cli->names[cli->name_count++] = argv[i];
	}
	cli->expires_at = expires_at(cli);
	cli->dir = xasprintf("%s/registry", settings_str(cli->settings, SET_DATA_DIR));
}

/* --- registry.db and the registry --- */

struct store *
cli_store(struct cli *cli)
{
	int err;

	if (cli->store != NULL)
		return cli->store;
	err = store_open_readonly(cli->dir, &cli->store);
	if (err != 0 && err != ERR_NOT_FOUND)
		cli_fail(cli, EXIT_DEPENDENCY, cli->dir, "registry.db cannot be read");
	return cli->store;
}

struct asker *
cli_asker(struct cli *cli)
{
	if (cli->asker == NULL)
		cli->asker = asker_new(cli->settings, cli->actor);
	if (cli->asker == NULL)
		cli_fail(cli, EXIT_CONFIG, settings_str(cli->settings, SET_DATA_DIR),
		    "too long a path for its sockets");
	return cli->asker;
}

void
cli_wait(struct cli *cli, size_t left)
{
	const char *why = "";
	int err = asker_run(cli_asker(cli), left, &why);

	if (err == ERR_NOT_FOUND)
		cli_fail(cli, EXIT_UNAVAILABLE, why, "");
	if (err != 0)
		cli_fail(cli, EXIT_DEPENDENCY, why,
		    "what was asked may be done or be done yet; the same command again tells");
}

struct answer {
	uint64_t code;
	struct buf *reason;
};

static void
on_answer(void *arg, uint64_t code, struct bytes reason, uint64_t version)
{
	struct answer *a = arg;

	(void)version;
	a->code = code;
	buf_add(a->reason, reason.data, reason.len);
}

uint64_t
cli_ask(struct cli *cli, const struct registry_object *o, bool create, uint64_t expected,
    struct buf *reason)
{
	struct answer a = { .reason = reason };

	asker_push(cli_asker(cli), o, create, expected, on_answer, &a);
	cli_wait(cli, 0);
	return a.code;
}

void
cli_change(struct cli *cli, const char *what, const struct registry_object *o, bool create,
    uint64_t expected)
{
	struct buf reason = { 0 };
	uint64_t code = cli_ask(cli, o, create, expected, &reason);

	if (code != CHANGE_DONE && code != CHANGE_UNCHANGED)
		cli_fail(
		    cli, code == CHANGE_INVALID ? EXIT_DATA : EXIT_REFUSED, what, buf_str(&reason));
	buf_fini(&reason);
}

bool
cli_get(struct cli *cli, const struct registry_object *named, struct buf *body,
    struct registry_object *ret)
{
	struct buf key = { 0 };
	int err = ERR_NOT_FOUND;

	registry_put_key(named, &key);
	buf_clear(body);
	if (cli_store(cli) != NULL && (err = store_get(cli->store, buf_bytes(&key), body)) == 0)
		err = registry_decode(buf_bytes(body), ret, NULL);
	if (err != 0 && err != ERR_NOT_FOUND)
		cli_fail(cli, EXIT_DEPENDENCY, cli->dir, "registry.db cannot be read");
	buf_fini(&key);
	return err == 0;
}

bool
cli_get_device(struct cli *cli, const char *id, struct buf *body, struct registry_object *ret)
{
	struct registry_object named = { MSG_DEVICE, { .device = { .id = bytes_of_str(id) } } };

	return cli_get(cli, &named, body, ret) && !registry_is_gone(ret);
}

/* --- files --- */

/* NULL, or what went wrong. */
static const char *
read_all(FILE *f, size_t max, struct buf *ret)
{
	uint8_t part[65536];
	const char *fault = NULL;
	size_t n;

	while (fault == NULL && (n = fread(part, 1, sizeof(part), f)) > 0) {
		if (n > max - ret->len)
			fault = "larger than may be";
		else
			buf_add(ret, part, n);
	}
	if (ferror(f))
		fault = "cannot be read";
	credential_wipe(part, sizeof(part));
	return fault;
}

void
cli_read(struct cli *cli, const char *path, size_t max, struct buf *ret)
{
	const char *fault;
	FILE *f;

	if (strcmp(path, "-") == 0) {
		fault = read_all(stdin, max, ret);
	} else if ((f = fopen(path, "re")) == NULL) {
		fault = strerror(errno);
	} else {
		fault = read_all(f, max, ret);
		fclose(f);
	}
	if (fault != NULL)
		cli_fail(cli, EXIT_DATA, path, fault);
}

void
cli_read_secret(struct cli *cli, const char *path, struct buf *ret)
{
	const uint8_t *end;

	cli_read(cli, path, 4096, ret);
	end = ret->len ? memchr(ret->data, '\n', ret->len) : NULL;
	if (end)
		ret->len = (size_t)(end - ret->data);
	if (ret->len > 0 && ret->data[ret->len - 1] == '\r')
		ret->len--;
	if (ret->len == 0)
		cli_fail(cli, EXIT_DATA, path, "its first line, the secret, is empty");
}

/* --- lists --- */

static int
by_text(const void *a, const void *b)
{
	const struct bytes *x = a, *y = b;
	const uint8_t *ends[2] = { memchr(x->data, '=', x->len), memchr(y->data, '=', y->len) };
	size_t n = ends[0] ? (size_t)(ends[0] - x->data) : x->len,
	       m = ends[1] ? (size_t)(ends[1] - y->data) : y->len;
	int c = memcmp(x->data, y->data, n < m ? n : m);

	return c != 0 ? c : n < m ? -1 : n > m;
}

static void
put_parts(struct bytes *parts, size_t n, bool sorted, struct buf *out)
{
	if (sorted && n > 1)
		qsort(parts, n, sizeof(parts[0]), by_text);
	for (size_t i = 0; i < n; i++) {
		if (out->len)
			buf_add_u8(out, '\n');
		buf_add(out, parts[i].data, parts[i].len);
	}
}

void
cli_put_lines(struct bytes text, char separator, bool sorted, struct buf *out)
{
	struct bytes *parts = xcalloc(text.len / 2 + 1, sizeof(parts[0]));
	size_t n = 0;

	while (text.len > 0) {
		const uint8_t *end = memchr(text.data, separator, text.len);
		struct bytes part = bytes_of(text.data, end ? (size_t)(end - text.data) : text.len);

		text = bytes_of(
		    text.data + part.len + (end ? 1 : 0), text.len - part.len - (end ? 1 : 0));
		while (part.len && part.data[0] == ' ')
			part = bytes_of(part.data + 1, part.len - 1);
		while (part.len && part.data[part.len - 1] == ' ')
			part.len--;
		if (part.len)
			parts[n++] = part;
	}
	put_parts(parts, n, sorted, out);
	free(parts);
}

void
cli_join(const struct cli_list *list, char separator, bool sorted, struct buf *out)
{
	struct bytes parts[CLI_LIST_MAX];

	if (separator != '\n') {
		for (size_t i = 0; i < list->n; i++)
			buf_addf(
			    out, "%s%s", i ? (const char[]){ separator, '\0' } : "", list->at[i]);
		return;
	}
	for (size_t i = 0; i < list->n; i++)
		parts[i] = bytes_of_str(list->at[i]);
	put_parts(parts, list->n, sorted, out);
}
