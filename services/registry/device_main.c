/* device_main.c - roost device: which devices there are, and what lets them in */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "credential.h"
#include "err.h"
#include "import.h"
#include "mem.h"
#include "secret.h"
#include "show.h"

static const char usage[] =
    "usage: roost device COMMAND [-c FILE] [--set key=value]... [--json]\n"
    "\n"
    "  add ID        registers a device and prints its new token, once\n"
    "  set ID        changes what is said of it; a credential that is named is added\n"
    "  list          all devices\n"
    "  show ID       one, with its credentials and attributes\n"
    "  block ID      it may not connect, and is cut off; unblock ID: it may again\n"
    "  rotate ID     a new token (or password, PSK, as named), printed once; the ones before are "
    "revoked\n"
    "                unless --keep is said\n"
    "  revoke ID KIND LOOKUP   one of its credentials, as `show` names it\n"
    "  remove ID     it is not registered any more, its credentials are revoked\n"
    "  erase ID      the same, and what it ever sent is forgotten: latest values, alerts shown, "
    "history; the journal\n"
    "                keeps it until storage.retention\n"
    "  import FILE   a CSV file (- for standard input); a device that has no credential gets a "
    "token: id,token is\n"
    "                printed. Columns, named by the first line: id or user, profile, tags, "
    "speaks_for, roles (a;b;c),\n"
    "                blocked (yes, no), token, username, password, psk_identity, psk (hex), "
    "fingerprint,\n"
    "                credentials, attributes (as export writes them). A file with a fault changes "
    "nothing.\n"
    "  export        everything, hashes included, as such a file\n"
    "\n"
    "  --profile NAME, --tag NAME=VALUE, --role ROLE, --speaks-for ID (gateway; * at its end: any "
    "rest); the last three\n"
    "  any number of times: then they are all there are; --clear: none of what is not said\n"
    "  --attribute shared.NAME=JSON  (client, shared: the device may read it; server: it may not), "
    "any number of times;\n"
    "  nothing behind the = takes it away\n"
    "  --no-credential             no token\n"
    "  --token-file FILE           this token, not a new one (here and below: first line; - is "
    "standard input)\n"
    "  --user NAME [--password-file FILE]   a user name and password; without a file a password is "
    "made and printed\n"
    "  --psk IDENTITY [--psk-file FILE]     a pre-shared key, as hex\n"
    "  --certificate FILE          exactly this certificate (PEM)\n"
    "  --ca FILE --subject TEXT    any certificate of this CA with this subject (RFC 2253, as\n"
    "                              openssl x509 -noout -subject -nameopt RFC2253 prints it)\n"
    "  --expires 90d|2030-01-01T00:00:00Z   of the credential\n"
    "\n"
    "No secret is taken from the command line. Exit codes: 0 done, or so already; 1 refused: not "
    "found, exists,\n"
    "changed meanwhile; 64 usage; 65 an input is wrong; 69 no Roost here; 75 no answer: the same "
    "again tells; 78\n"
    "configuration.\n";

/* --- what is said of a device --- */

static void
describe(struct cli *cli, struct msg_device *d, struct buf *tags, struct buf *speaks_for,
    struct buf *roles)
{
	cli_join(&cli->tags, '\n', true, tags);
	cli_join(&cli->speaks_for, '\n', false, speaks_for);
	cli_join(&cli->roles, ',', false, roles);
	if (cli->profile || cli->clear)
		d->profile = bytes_of_str(cli->profile ? cli->profile : "");
	if (cli->tags.n || cli->clear)
		d->tags = buf_bytes(tags);
	if (cli->speaks_for.n || cli->clear)
		d->speaks_for = buf_bytes(speaks_for);
	if (cli->roles.n || cli->clear)
		d->roles = buf_bytes(roles);
}

static void
check(struct cli *cli, const struct registry_object *o)
{
	const char *fault = registry_fault(o);

	if (fault)
		cli_fail(cli, EXIT_DATA, cli->names[1], fault);
}

/* "shared.floor=3". Exits if it is none. */
static struct registry_object
attribute_of(struct cli *cli, const char *text)
{
	struct registry_object o = { .type = MSG_ATTRIBUTE };
	struct msg_attribute *a = &o.any.attribute;
	const char *dot = strchr(text, '.'), *is = dot ? strchr(dot, '=') : NULL;
	struct bytes scope;
	json_t *value;

	if (is == NULL)
		cli_fail(cli, EXIT_USAGE, text,
		    "an attribute is client.NAME=JSON, shared.NAME=JSON or server.NAME=JSON");
	scope = bytes_of(text, (size_t)(dot - text));
	for (a->scope = ATTRIBUTE_CLIENT; a->scope <= ATTRIBUTE_SERVER; a->scope++)
		if (bytes_equal_str(scope, attribute_scope_name(a->scope)))
			break;
	a->device = bytes_of_str(cli->names[1]);
	a->name = bytes_of(dot + 1, (size_t)(is - dot - 1));
	a->value = bytes_of_str(is + 1);
	value = json_loads(is + 1, JSON_DECODE_ANY, NULL);
	if (is[1] != '\0' && value == NULL)
		cli_fail(cli, EXIT_DATA, text, "its value is no JSON (text has quotes: '\"so\"')");
	json_decref(value);
	check(cli, &o);
	return o;
}

static void
check_attributes(struct cli *cli)
{
	for (size_t i = 0; i < cli->attributes.n; i++)
		(void)attribute_of(cli, cli->attributes.at[i]);
}

static void
set_attributes(struct cli *cli)
{
	for (size_t i = 0; i < cli->attributes.n; i++) {
		struct registry_object o = attribute_of(cli, cli->attributes.at[i]);

		cli_change(cli, cli->attributes.at[i], &o, false, 0);
	}
}

/* Says what was done; a secret that was made, once. */
static void
say_secret(struct cli *cli, const char *id, const struct secret *s)
{
	const char *const pairs[][2] = {
		{ "id", id },
		{ credential_kind_name(s->credential.any.credential.kind), s->generated },
		{ "lookup", s->lookup },
	};

	if (s->generated[0] == '\0' && !cli->json)
		return;
	if (s->generated[0] != '\0')
		show_done(
		    cli, pairs, s->credential.any.credential.kind == CREDENTIAL_TOKEN ? 2 : 3);
	else
		show_done(cli, pairs, 1);
}

static void
say_id(struct cli *cli, const char *id)
{
	const char *const pairs[][2] = { { "id", id } };

	if (cli->json)
		show_done(cli, pairs, 1);
}

static void
add_credential(struct cli *cli, const char *id, struct secret *s)
{
	struct registry_object have;
	struct buf body = { 0 };
	bool there;

	secret_owner(s, id, "", (struct bytes){ 0 });
	s->credential.any.credential.expires = cli->expires_at;
	check(cli, &s->credential);
	there = cli_get(cli, &s->credential, &body, &have) && !registry_is_gone(&have);
	cli_change(cli, s->lookup, &s->credential, !there, 0);
	say_secret(cli, id, s);
	buf_fini(&body);
}

/* The device as the options describe it, its attributes, and the credential they ask for (a token if `fallback`). is_new: there is none
 * yet; else o is what there is. */
static void
write_device(struct cli *cli, struct registry_object *o, bool is_new, bool fallback)
{
	struct buf tags = { 0 }, speaks_for = { 0 }, roles = { 0 }, body = { 0 };
	struct registry_object have;
	struct secret s;
	bool has_secret;

	describe(cli, &o->any.device, &tags, &speaks_for, &roles);
	check(cli, o);
	check_attributes(cli);
	has_secret = secret_from_options(cli, &s, false, fallback);
	if (is_new && cli_get_device(cli, cli->names[1], &body, &have))
		cli_fail(cli, EXIT_REFUSED, cli->names[1],
		    "it is registered already; `roost device show` tells");
	cli_change(cli, cli->names[1], o, is_new, is_new ? 0 : registry_version(o));
	set_attributes(cli);
	if (has_secret)
		add_credential(cli, cli->names[1], &s);
	else
		say_id(cli, cli->names[1]);
	secret_wipe(&s);
	buf_fini(&tags);
	buf_fini(&speaks_for);
	buf_fini(&roles);
	buf_fini(&body);
}

static void
command_add(struct cli *cli)
{
	struct registry_object o = { MSG_DEVICE,
		{ .device = { .id = bytes_of_str(cli->names[1]) } } };

	write_device(cli, &o, true, !cli->no_credential);
}

static struct registry_object
wanted(struct cli *cli, struct buf *body)
{
	struct registry_object o;

	if (!cli_get_device(cli, cli->names[1], body, &o))
		cli_fail(cli, EXIT_REFUSED, cli->names[1],
		    "no such device; `roost device list` lists them");
	return o;
}

static void
command_set(struct cli *cli)
{
	struct buf body = { 0 };
	struct registry_object o = wanted(cli, &body);

	write_device(cli, &o, false, false);
	buf_fini(&body);
}

static void
set_blocked(struct cli *cli, bool blocked)
{
	struct buf body = { 0 };
	struct registry_object o = wanted(cli, &body);

	o.any.device.blocked = blocked;
	cli_change(cli, cli->names[1], &o, false, registry_version(&o));
	say_id(cli, cli->names[1]);
	buf_fini(&body);
}

static void
command_block(struct cli *cli)
{
	set_blocked(cli, true);
}

static void
command_unblock(struct cli *cli)
{
	set_blocked(cli, false);
}

/* --- credentials --- */

static void
revoke(struct cli *cli, const struct registry_object *have)
{
	struct registry_object o = *have;
	struct bytes none = { 0 };

	o.any.credential.revoked = true;
	o.any.credential.scheme = CREDENTIAL_PLAIN;
	o.any.credential.salt = o.any.credential.hash = none;
	cli_change(cli, "revoking", &o, false, registry_version(have));
}

struct of_kind {
	uint64_t kind;
	struct buf bodies[CLI_LIST_MAX];
	size_t n;
};

static int
take_of_kind(void *arg, uint64_t n, struct bytes body)
{
	struct of_kind *k = arg;
	struct registry_object o;

	(void)n;
	if (registry_decode(body, &o, NULL) == 0 && o.any.credential.kind == k->kind &&
	    k->n < CLI_LIST_MAX)
		buf_add(&k->bodies[k->n++], body.data, body.len);
	return 0;
}

/* The new one is there before the ones of its kind that were there go. */
static void
command_rotate(struct cli *cli)
{
	struct of_kind *before = xcalloc(1, sizeof(*before));
	struct buf body = { 0 };
	struct registry_object o = wanted(cli, &body);
	struct secret s;

	(void)secret_from_options(cli, &s, false, true);
	before->kind = s.credential.any.credential.kind;
	if (!cli->keep &&
	    store_list(cli->store, MSG_CREDENTIAL, o.any.device.id, take_of_kind, before) != 0)
		cli_fail(cli, EXIT_DEPENDENCY, cli->dir, "registry.db cannot be read");
	add_credential(cli, cli->names[1], &s);
	for (size_t i = 0; i < before->n; i++) {
		struct registry_object old;

		if (registry_decode(buf_bytes(&before->bodies[i]), &old, NULL) == 0 &&
		    !bytes_equal_str(old.any.credential.lookup, s.lookup))
			revoke(cli, &old);
		buf_fini(&before->bodies[i]);
	}
	secret_wipe(&s);
	buf_fini(&body);
	free(before);
}

static void
command_revoke(struct cli *cli)
{
	struct registry_object named = { .type = MSG_CREDENTIAL }, have;
	struct buf body = { 0 };
	uint64_t kind = CREDENTIAL_TOKEN;

	while (kind <= CREDENTIAL_PSK && strcmp(credential_kind_name(kind), cli->names[2]) != 0)
		kind++;
	if (kind > CREDENTIAL_PSK)
		cli_fail(cli, EXIT_USAGE, cli->names[2], "token, password, x509 or psk is wanted");
	named.any.credential.kind = kind;
	named.any.credential.lookup = bytes_of_str(cli->names[3]);
	if (!cli_get(cli, &named, &body, &have) ||
	    !bytes_equal_str(have.any.credential.device, cli->names[1]))
		cli_fail(cli, EXIT_REFUSED, cli->names[3],
		    "it has no such credential; `roost device show` tells");
	if (!registry_is_gone(&have))
		revoke(cli, &have);
	say_id(cli, cli->names[1]);
	buf_fini(&body);
}

/* --- the end of a device --- */

static void
end_device(struct cli *cli, bool erase)
{
	struct registry_object o = { MSG_DEVICE,
		{ .device = {
		      .id = bytes_of_str(cli->names[1]), .removed = true, .erase = erase } } };

	check(cli, &o);
	cli_change(cli, cli->names[1], &o, false, 0);
	say_id(cli, cli->names[1]);
}

static void
command_remove(struct cli *cli)
{
	end_device(cli, false);
}

static void
command_erase(struct cli *cli)
{
	end_device(cli, true);
}

/* --- all of them --- */

static void
command_show(struct cli *cli)
{
	show_device(cli, cli->names[1]);
}

static void
command_import(struct cli *cli)
{
	import_file(cli, cli->names[1]);
}

static const struct {
	const char *name;
	size_t names; /* with its own */
	void (*run)(struct cli *cli);
} commands[] = {
	{ "add", 2, command_add },
	{ "set", 2, command_set },
	{ "list", 1, show_devices },
	{ "show", 2, command_show },
	{ "block", 2, command_block },
	{ "unblock", 2, command_unblock },
	{ "rotate", 2, command_rotate },
	{ "revoke", 4, command_revoke },
	{ "remove", 2, command_remove },
	{ "erase", 2, command_erase },
	{ "import", 2, command_import },
	{ "export", 1, show_export },
};

int
main(int argc, char **argv)
{
	struct cli cli = { .tool = "roost device", .usage = usage };

	cli_parse(&cli, argc, argv);
	for (size_t i = 0; i < COUNT_OF(commands); i++) {
		if (cli.name_count == 0 || strcmp(cli.names[0], commands[i].name) != 0)
			continue;
		if (cli.name_count != commands[i].names)
			cli_fail(&cli, EXIT_USAGE, cli.names[0],
			    cli.name_count < commands[i].names
				? "something is missing behind it; --help tells"
				: "one name too many; --help tells");
		commands[i].run(&cli);
		cli_fini(&cli);
		return cli.code;
	}
	cli_fail(&cli, EXIT_USAGE, cli.name_count ? cli.names[0] : "a command is wanted",
	    cli.name_count ? "no such command; --help tells" : "--help tells");
}
