/* user_main.c - roost user: applications and people, what lets them in, and their roles */
#include <stdlib.h>
#include <string.h>

#include "credential.h"
#include "err.h"
#include "mem.h"
#include "secret.h"
#include "show.h"

static const char usage[] =
    "usage: roost user COMMAND [-c FILE] [--set key=value]... [--json]\n"
    "\n"
    "  add NAME --role ROLE...   lets an application or a person in, by user name and password; "
    "the password is made\n"
    "                            and printed once, or read: --password-file FILE (first line; - is "
    "standard input)\n"
    "    --token-file FILE, --certificate FILE, --ca FILE --subject TEXT, --psk IDENTITY "
    "[--psk-file FILE]: by that instead\n"
    "    --expires 90d|2030-01-01T00:00:00Z\n"
    "  rotate NAME               a new password, as above; roles and expiry stay unless they are "
    "said\n"
    "  list                      all of them, their kinds of credential and their roles\n"
    "  remove NAME               revokes all that lets NAME in\n"
    "\n"
    "No secret is taken from the command line. Exit codes as\n"
    "of `roost device`.\n";

struct of_user {
	struct bytes name;
	struct buf bodies[CLI_LIST_MAX];
	size_t n;
};

static int
take_of_user(void *arg, uint64_t n, struct bytes body)
{
	struct of_user *u = arg;
	struct registry_object o;

	(void)n;
	if (registry_decode(body, &o, NULL) == 0 && bytes_equal(o.any.credential.user, u->name) &&
	    u->n < CLI_LIST_MAX)
		buf_add(&u->bodies[u->n++], body.data, body.len);
	return 0;
}

static struct of_user *
of_user(struct cli *cli)
{
	struct of_user *u = xcalloc(1, sizeof(*u));

	u->name = bytes_of_str(cli->names[1]);
	if (cli_store(cli) != NULL &&
	    store_list(cli->store, MSG_CREDENTIAL, u->name, take_of_user, u) != 0)
		cli_fail(cli, EXIT_DEPENDENCY, cli->dir, "registry.db cannot be read");
	return u;
}

static void
of_user_free(struct of_user *u)
{
	for (size_t i = 0; i < u->n; i++)
		buf_fini(&u->bodies[i]);
	free(u);
}

static void
put(struct cli *cli, struct secret *s, struct bytes roles, bool create)
{
	const char *const pairs[][2] = { { "user", cli->names[1] },
		{ credential_kind_name(s->credential.any.credential.kind), s->generated } };
	const char *fault;

	secret_owner(s, "", cli->names[1], roles);
	fault = registry_fault(&s->credential);
	if (fault)
		cli_fail(cli, EXIT_DATA, cli->names[1], fault);
	cli_change(cli, cli->names[1], &s->credential, create, 0);
	if (s->generated[0] != '\0' || cli->json)
		show_done(cli, pairs, s->generated[0] != '\0' ? 2 : 1);
}

/* The user name is NAME, unless something else lets it in. */
static void
make(struct cli *cli, struct secret *s)
{
	if (!cli->psk && !cli->token_file)
		cli->user = cli->names[1];
	(void)secret_from_options(cli, s, true, false);
}

static void
command_add(struct cli *cli)
{
	struct buf roles = { 0 };
	struct secret s;

	if (cli->roles.n == 0)
		cli_fail(cli, EXIT_USAGE, cli->names[1], "without a --role it may do nothing");
	cli_join(&cli->roles, ',', false, &roles);
	make(cli, &s);
	s.credential.any.credential.expires = cli->expires_at;
	put(cli, &s, buf_bytes(&roles), true);
	secret_wipe(&s);
	buf_fini(&roles);
}

static void
command_rotate(struct cli *cli)
{
	struct of_user *u = of_user(cli);
	struct registry_object have;
	struct buf roles = { 0 };
	struct secret s;
	bool found = false;

	make(cli, &s);
	for (size_t i = 0; i < u->n && !found; i++)
		found = registry_decode(buf_bytes(&u->bodies[i]), &have, NULL) == 0 &&
			have.any.credential.kind == CREDENTIAL_PASSWORD &&
			s.credential.any.credential.kind == CREDENTIAL_PASSWORD;
	if (!found)
		cli_fail(cli, EXIT_REFUSED, cli->names[1],
		    "no such user with a password; `roost user list` lists them");
	cli_join(&cli->roles, ',', false, &roles);
	s.credential.any.credential.expires =
	    cli->expires ? cli->expires_at : have.any.credential.expires;
	put(cli, &s, cli->roles.n ? buf_bytes(&roles) : have.any.credential.roles, false);
	secret_wipe(&s);
	buf_fini(&roles);
	of_user_free(u);
}

static void
command_remove(struct cli *cli)
{
	struct of_user *u = of_user(cli);
	struct registry_object o;

	if (u->n == 0)
		cli_fail(
		    cli, EXIT_REFUSED, cli->names[1], "no such user; `roost user list` lists them");
	for (size_t i = 0; i < u->n; i++) {
		if (registry_decode(buf_bytes(&u->bodies[i]), &o, NULL) != 0)
			continue;
		o.any.credential.revoked = true;
		o.any.credential.scheme = CREDENTIAL_PLAIN;
		o.any.credential.salt = o.any.credential.hash = (struct bytes){ 0 };
		cli_change(cli, cli->names[1], &o, false, registry_version(&o));
	}
	of_user_free(u);
}

static const struct {
	const char *name;
	size_t names;
	void (*run)(struct cli *cli);
} commands[] = {
	{ "add", 2, command_add },
	{ "rotate", 2, command_rotate },
	{ "list", 1, show_users },
	{ "remove", 2, command_remove },
};

int
main(int argc, char **argv)
{
	struct cli cli = { .tool = "roost user", .usage = usage };

	cli_parse(&cli, argc, argv);
	for (size_t i = 0; i < COUNT_OF(commands); i++) {
		if (cli.name_count != commands[i].names ||
		    strcmp(cli.names[0], commands[i].name) != 0)
			continue;
		commands[i].run(&cli);
		cli_fini(&cli);
		return cli.code;
	}
	cli_fail(&cli, EXIT_USAGE, cli.name_count ? cli.names[0] : "a command is wanted",
	    "--help tells");
}
