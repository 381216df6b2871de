/* show.c - what the registry knows, for people and programs */
#include "show.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "credential.h"
#include "csv.h"
#include "err.h"
#include "secret.h"
#include "value_text.h"

static const char *const schemes[] = { "none", "sha256", "argon2id", "aes-256-gcm" };

static json_t *
text_of(struct bytes b)
{
	return json_stringn(b.len ? (const char *)b.data : "", b.len);
}

static json_t *
time_of(int64_t at)
{
	char iso[CLOCK_ISO_MAX];

	return at ? json_string(clock_iso(at, iso)) : json_null();
}

static json_t *
list_of(struct bytes text, uint8_t separator)
{
	json_t *list = json_array();

	while (text.len > 0) {
		const uint8_t *end = memchr(text.data, separator, text.len);
		size_t n = end ? (size_t)(end - text.data) : text.len;

		json_array_append_new(list, text_of(bytes_of(text.data, n)));
		text = bytes_of(text.data + n + (end ? 1 : 0), text.len - n - (end ? 1 : 0));
	}
	return list;
}

static json_t *
tags_of(struct bytes text)
{
	json_t *object = json_object();

	while (text.len > 0) {
		const uint8_t *end = memchr(text.data, '\n', text.len);
		size_t n = end ? (size_t)(end - text.data) : text.len;
		const uint8_t *is = memchr(text.data, '=', n);
		size_t name = is ? (size_t)(is - text.data) : n;
		char *key = strndup((const char *)text.data, name);

		json_object_set_new(object, key ? key : "",
		    text_of(bytes_of(text.data + name + (is ? 1 : 0), n - name - (is ? 1 : 0))));
		free(key);
		text = bytes_of(text.data + n + (end ? 1 : 0), text.len - n - (end ? 1 : 0));
	}
	return object;
}

static json_t *
hex_of(struct bytes b)
{
	struct buf hex = { 0 };
	json_t *text;

	secret_put_hex(b, &hex);
	text = text_of(buf_bytes(&hex));
	buf_fini(&hex);
	return text;
}

static json_t *
credential_of(const struct msg_credential *c, bool whole)
{
	json_t *o = json_object();

	json_object_set_new(o, "kind", json_string(credential_kind_name(c->kind)));
	json_object_set_new(o, "lookup", text_of(c->lookup));
	json_object_set_new(o, "expires", time_of(c->expires));
	if (!whole)
		return o;
	json_object_set_new(o, "scheme", json_string(schemes[c->scheme & 3]));
	json_object_set_new(o, "salt", hex_of(c->salt));
	json_object_set_new(o, "hash", hex_of(c->hash));
	return o;
}

static json_t *
attribute_of(const struct msg_attribute *a)
{
	json_t *o = json_object();
	json_t *value =
	    json_loadb((const char *)a->value.data, a->value.len, JSON_DECODE_ANY, NULL);

	json_object_set_new(o, "scope", json_string(attribute_scope_name(a->scope)));
	json_object_set_new(o, "name", text_of(a->name));
	json_object_set_new(o, "value", value ? value : text_of(a->value));
	return o;
}

struct listing {
	struct cli *cli;
	json_t *list;
	bool whole;
	bool first;
	size_t count;
};

static int
add_owned(void *arg, uint64_t n, struct bytes body)
{
	struct listing *l = arg;
	struct registry_object o;

	(void)n;
	if (registry_decode(body, &o, NULL) != 0)
		return 0;
	if (o.type == MSG_CREDENTIAL)
		json_array_append_new(l->list, credential_of(&o.any.credential, l->whole));
	else if (o.type == MSG_ATTRIBUTE)
		json_array_append_new(l->list, attribute_of(&o.any.attribute));
	return 0;
}

static json_t *
owned(struct cli *cli, enum msg_type type, struct bytes device, bool whole)
{
	struct listing l = { .cli = cli, .list = json_array(), .whole = whole };

	if (store_list(cli->store, type, device, add_owned, &l) != 0)
		cli_fail(cli, EXIT_DEPENDENCY, cli->dir, "registry.db cannot be read");
	return l.list;
}

static json_t *
device_of(const struct msg_device *d)
{
	json_t *o = json_object();

	json_object_set_new(o, "id", text_of(d->id));
	json_object_set_new(o, "blocked", json_boolean(d->blocked));
	json_object_set_new(o, "profile", text_of(d->profile));
	json_object_set_new(o, "tags", tags_of(d->tags));
	json_object_set_new(o, "speaks_for", list_of(d->speaks_for, '\n'));
	json_object_set_new(o, "roles", list_of(d->roles, ','));
	json_object_set_new(o, "created", time_of(d->created));
	json_object_set_new(o, "changed", time_of(d->at));
	json_object_set_new(o, "by", text_of(d->actor));
	json_object_set_new(o, "version", json_integer((json_int_t)d->version));
	return o;
}

static void
put_json(struct cli *cli, json_t *o, size_t flags)
{
	char *text = json_dumps(o, flags | JSON_ENCODE_ANY);

	buf_add_str(&cli->out, text ? text : "null");
	free(text);
}

/* Text of people: control characters and what is no UTF-8 are not sent to a terminal. */
static void
put_plain(struct cli *cli, const char *name, json_t *value)
{
	char *text = json_dumps(value, JSON_ENCODE_ANY);

	if (json_is_null(value) || (json_is_string(value) && !*json_string_value(value)) ||
	    (!json_is_string(value) && !json_is_boolean(value) && !json_is_number(value) &&
		json_array_size(value) == 0 && json_object_size(value) == 0)) {
		free(text);
		return;
	}
	buf_addf(
	    &cli->out, "%-12s %s\n", name, json_is_string(value) ? json_string_value(value) : text);
	free(text);
}

void
show_device(struct cli *cli, const char *id)
{
	struct registry_object o;
	struct buf body = { 0 };
	const char *key;
	json_t *shown, *value;
	size_t i;

	if (!cli_get_device(cli, id, &body, &o))
		cli_fail(cli, EXIT_REFUSED, id, "no such device; `roost device list` lists them");
	shown = device_of(&o.any.device);
	json_object_set_new(
	    shown, "credentials", owned(cli, MSG_CREDENTIAL, o.any.device.id, false));
	json_object_set_new(shown, "attributes", owned(cli, MSG_ATTRIBUTE, o.any.device.id, false));
	if (cli->json) {
		put_json(cli, shown, JSON_INDENT(2));
		buf_add_u8(&cli->out, '\n');
	} else {
		json_object_foreach(shown, key, value)
		{
			if (strcmp(key, "credentials") != 0 && strcmp(key, "attributes") != 0)
				put_plain(cli, key, value);
		}
		json_array_foreach(json_object_get(shown, "credentials"), i, value)
		    put_plain(cli, "credential", value);
		json_array_foreach(json_object_get(shown, "attributes"), i, value)
		    put_plain(cli, "attribute", value);
	}
	json_decref(shown);
	buf_fini(&body);
}

static void
put_list_item(struct listing *l, json_t *o, const char *name, const char *mark)
{
	if (l->cli->json) {
		buf_add_str(&l->cli->out, l->count ? ",\n" : "");
		put_json(l->cli, o, JSON_COMPACT);
	} else {
		buf_addf(&l->cli->out, "%-32s %s\n", name, mark);
	}
	l->count++;
	if (l->cli->out.len > 65536)
		cli_flush(l->cli);
}

static int
list_device(void *arg, uint64_t n, struct bytes body)
{
	struct listing *l = arg;
	struct registry_object r;
	const char *profile;
	char mark[128];
	json_t *o;

	(void)n;
	if (registry_decode(body, &r, NULL) != 0)
		return 0;
	o = device_of(&r.any.device);
	profile = json_string_value(json_object_get(o, "profile"));
	snprintf(mark, sizeof(mark), "%-8s %s", r.any.device.blocked ? "blocked" : "",
	    profile ? profile : "");
	put_list_item(l, o, json_string_value(json_object_get(o, "id")), mark);
	json_decref(o);
	return 0;
}

static int
list_user(void *arg, uint64_t n, struct bytes body)
{
	struct listing *l = arg;
	struct registry_object r;
	char mark[640];
	json_t *o;

	(void)n;
	if (registry_decode(body, &r, NULL) != 0 || r.any.credential.user.len == 0)
		return 0;
	o = credential_of(&r.any.credential, false);
	json_object_set_new(o, "user", text_of(r.any.credential.user));
	json_object_set_new(o, "roles", list_of(r.any.credential.roles, ','));
	snprintf(mark, sizeof(mark), "%-9s %.*s", credential_kind_name(r.any.credential.kind),
	    (int)r.any.credential.roles.len,
	    r.any.credential.roles.len ? (const char *)r.any.credential.roles.data : "");
	put_list_item(l, o, json_string_value(json_object_get(o, "user")), mark);
	json_decref(o);
	return 0;
}

static void
list(struct cli *cli, enum msg_type type, store_fn fn)
{
	struct listing l = { .cli = cli };

	if (cli->json)
		buf_add_str(&cli->out, "[\n");
	if (cli_store(cli) != NULL &&
	    store_list(cli->store, type, (struct bytes){ 0 }, fn, &l) != 0)
		cli_fail(cli, EXIT_DEPENDENCY, cli->dir, "registry.db cannot be read");
	if (cli->json)
		buf_add_str(&cli->out, l.count ? "\n]\n" : "]\n");
}

void
show_devices(struct cli *cli)
{
	list(cli, MSG_DEVICE, list_device);
}

void
show_users(struct cli *cli)
{
	list(cli, MSG_CREDENTIAL, list_user);
}

/* --- export --- */

static void
put_lines(struct cli *cli, struct bytes lines, uint8_t separator)
{
	struct buf text = { 0 };

	for (size_t i = 0; i < lines.len; i++)
		buf_add_u8(&text, lines.data[i] == separator ? ';' : lines.data[i]);
	csv_put(&cli->out, buf_bytes(&text));
	buf_add_u8(&cli->out, ',');
	buf_fini(&text);
}

static void
put_json_field(struct cli *cli, json_t *list)
{
	char *text = json_array_size(list) ? json_dumps(list, JSON_COMPACT) : NULL;

	if (text)
		csv_put(&cli->out, bytes_of_str(text));
	free(text);
	json_decref(list);
}

/* A list is one whole list; a device that nothing is known of but that it is there has only commas. */
static int
export_device(void *arg, uint64_t n, struct bytes body)
{
	struct cli *cli = ((struct listing *)arg)->cli;
	struct registry_object o;
	const struct msg_device *d = &o.any.device;

	(void)n;
	if (registry_decode(body, &o, NULL) != 0)
		return 0;
	csv_put(&cli->out, d->id);
	buf_add_str(&cli->out, ",,");
	csv_put(&cli->out, d->profile);
	buf_add_u8(&cli->out, ',');
	put_lines(cli, d->tags, '\n');
	put_lines(cli, d->speaks_for, '\n');
	put_lines(cli, d->roles, ',');
	buf_add_str(&cli->out, d->blocked ? "yes," : "no,");
	put_json_field(cli, owned(cli, MSG_CREDENTIAL, d->id, true));
	buf_add_u8(&cli->out, ',');
	put_json_field(cli, owned(cli, MSG_ATTRIBUTE, d->id, true));
	buf_add_u8(&cli->out, '\n');
	if (cli->out.len > 65536)
		cli_flush(cli);
	return 0;
}

static int
export_user(void *arg, uint64_t n, struct bytes body)
{
	struct cli *cli = ((struct listing *)arg)->cli;
	struct registry_object o;
	const struct msg_credential *c = &o.any.credential;
	json_t *one;

	(void)n;
	if (registry_decode(body, &o, NULL) != 0 || c->user.len == 0)
		return 0;
	one = json_array();
	json_array_append_new(one, credential_of(c, true));
	buf_add_u8(&cli->out, ',');
	csv_put(&cli->out, c->user);
	buf_add_str(&cli->out, ",,,,");
	put_lines(cli, c->roles, ',');
	buf_add_u8(&cli->out, ',');
	put_json_field(cli, one);
	buf_add_str(&cli->out, ",\n");
	return 0;
}

void
show_export(struct cli *cli)
{
	struct listing l = { .cli = cli };
	int err = 0;

	buf_add_str(
	    &cli->out, "id,user,profile,tags,speaks_for,roles,blocked,credentials,attributes\n");
	if (cli_store(cli) == NULL)
		return;
	if ((err = store_list(cli->store, MSG_DEVICE, (struct bytes){ 0 }, export_device, &l)) == 0)
		err = store_list(cli->store, MSG_CREDENTIAL, (struct bytes){ 0 }, export_user, &l);
	if (err != 0)
		cli_fail(cli, EXIT_DEPENDENCY, cli->dir, "registry.db cannot be read");
}

void
show_done(struct cli *cli, const char *const (*pairs)[2], size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!cli->json) {
			buf_addf(&cli->out, "%s: %s\n", pairs[i][0], pairs[i][1]);
			continue;
		}
		buf_add_str(&cli->out, i ? "," : "{");
		json_put_string(&cli->out, bytes_of_str(pairs[i][0]));
		buf_add_u8(&cli->out, ':');
		json_put_string(&cli->out, bytes_of_str(pairs[i][1]));
	}
	if (cli->json)
		buf_add_str(&cli->out, "}\n");
	cli_flush(cli);
}
