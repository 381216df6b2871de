/* rows.c - rows of a CSV file as objects of the registry */
#include "rows.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "credential.h"
#include "csv.h"
#include "device_id.h"
#include "err.h"
#include "mem.h"
#include "secret.h"

#define FAULTS_MAX 20

enum column {
	ID,
	USER,
	PROFILE,
	TAGS,
	SPEAKS_FOR,
	ROLES,
	BLOCKED,
	TOKEN,
	USERNAME,
	PASSWORD,
	PSK_IDENTITY,
	PSK,
	FINGERPRINT,
	CREDENTIALS,
	ATTRIBUTES,
	COLUMNS
};

static const char *const names[COLUMNS] = { "id", "user", "profile", "tags", "speaks_for", "roles",
	"blocked", "token", "username", "password", "psk_identity", "psk", "fingerprint",
	"credentials", "attributes" };

struct reader {
	struct cli *cli;
	const char *path;
	struct rows *rows;
	int where[COLUMNS]; /* field of a record, -1: no such column */
	struct csv_record record;
	struct row *row;
	struct bytes user; /* of this row, and its roles */
	struct buf roles;
};

static void
fault(struct reader *r, unsigned line, unsigned column, const char *why)
{
	if (r->rows->faults++ < FAULTS_MAX)
		fprintf(stderr, "%s:%u:%u: %s\n", r->path, line, column, why);
}

static bool
has(const struct reader *r, enum column c)
{
	return r->where[c] >= 0 && (size_t)r->where[c] < r->record.count;
}

static struct bytes
field(const struct reader *r, enum column c)
{
	return has(r, c) ? r->record.fields[r->where[c]] : (struct bytes){ 0 };
}

static void
fault_at(struct reader *r, enum column c, const char *why)
{
	fault(r, r->record.line, has(r, c) ? r->record.columns[r->where[c]] : 1, why);
}

/* Checked as the registry will; c: the column that it came from. */
static void
add_object(struct reader *r, const struct registry_object *o, enum column c, bool is_new)
{
	const char *why = registry_fault(o);
	struct row_object *added;
	struct registry_object again;

	if (why != NULL) {
		fault_at(r, c, why);
		return;
	}
	r->row->objects = xrealloc(r->row->objects, (r->row->count + 1) * sizeof(*added));
	added = &r->row->objects[r->row->count++];
	*added = (struct row_object){ .is_new = is_new };
	registry_encode(o, &added->body);
	if (registry_decode(buf_bytes(&added->body), &again, &why) != 0)
		fault_at(r, c, why); /* longer than may be */
	r->row->credentials += o->type == MSG_CREDENTIAL;
}

/* --- credentials --- */

static bool
is_the_same_psk(struct cli *cli, const struct msg_credential *have, struct bytes hex)
{
	const char *set = settings_str(cli->settings, SET_REGISTRY_SEAL_KEY);
	char *path = *set ? xstrdup(set) : xasprintf("%s/seal.key", cli->dir);
	uint8_t key[CREDENTIAL_KEY_LEN];
	struct buf psk = { 0 }, wanted = { 0 };
	bool same = credential_key_load(path, false, key) == 0 &&
		    credential_unseal(key, have, &psk) == 0 && secret_read_hex(hex, &wanted) &&
		    bytes_equal(buf_bytes(&psk), buf_bytes(&wanted));

	credential_wipe(key, sizeof(key));
	free(path);
	buf_fini(&psk);
	buf_fini(&wanted);
	return same;
}

/* The same file again changes nothing: a secret that is known already keeps its salt. */
static void
add_secret(struct reader *r, struct secret *s, struct bytes text, enum column c)
{
	struct msg_credential *want = &s->credential.any.credential, *have;
	struct registry_object before;
	struct buf body = { 0 };
	bool there;

	secret_owner(s, r->row->id, "", (struct bytes){ 0 });
	if (r->user.len) {
		want->device = (struct bytes){ 0 };
		want->user = r->user;
		want->roles = buf_bytes(&r->roles);
	}
	there = cli_get(r->cli, &s->credential, &body, &before) && !registry_is_gone(&before);
	have = &before.any.credential;
	if (there && (want->kind == CREDENTIAL_PSK ? is_the_same_psk(r->cli, have, text)
						   : text.len && credential_matches(have, text))) {
		want->scheme = have->scheme;
		want->salt = have->salt;
		want->hash = have->hash;
	}
	add_object(r, &s->credential, c, !there);
	buf_fini(&body);
}

static void
add_secrets(struct reader *r)
{
	struct secret *s = xcalloc(1, sizeof(*s));
	const char *why = NULL;
	struct bytes text;

	if ((text = field(r, TOKEN)).len > 0) {
		if ((why = secret_token(s, text)) != NULL)
			fault_at(r, TOKEN, why);
		else
			add_secret(r, s, text, TOKEN);
	}
	if ((text = field(r, PASSWORD)).len > 0 || field(r, USERNAME).len > 0) {
		if (text.len == 0)
			fault_at(r, USERNAME, "a user name without a password");
		else if ((why = secret_password(s, field(r, USERNAME), text, r->user.len > 0)) !=
			 NULL)
			fault_at(r, PASSWORD, why);
		else
			add_secret(r, s, text, USERNAME);
	}
	if ((text = field(r, PSK)).len > 0 || field(r, PSK_IDENTITY).len > 0) {
		if (text.len == 0)
			fault_at(r, PSK_IDENTITY, "a PSK identity without a PSK");
		else if ((why = secret_psk(r->cli, s, field(r, PSK_IDENTITY), text)) != NULL)
			fault_at(r, PSK, why);
		else
			add_secret(r, s, text, PSK_IDENTITY);
	}
	if ((text = field(r, FINGERPRINT)).len > 0) {
		if ((why = secret_fingerprint(s, text)) != NULL)
			fault_at(r, FINGERPRINT, why);
		else
			add_secret(r, s, (struct bytes){ 0 }, FINGERPRINT);
	}
	secret_wipe(s);
	free(s);
}

/* --- as export writes them --- */

static unsigned
index_of(const char *text, const char *const *list, unsigned n)
{
	for (unsigned i = 0; text && i < n; i++) {
		if (strcmp(text, list[i]) == 0)
			return i;
	}
	return n;
}

static struct bytes
member(const json_t *o, const char *name)
{
	const json_t *v = json_object_get(o, name);

	return json_is_string(v) ? bytes_of(json_string_value(v), json_string_length(v))
				 : (struct bytes){ 0 };
}

static const char *
add_exported_credential(struct reader *r, const json_t *j)
{
	static const char *const kinds[] = { "?", "token", "password", "x509", "psk" };
	static const char *const schemes[] = { "none", "sha256", "argon2id", "aes-256-gcm" };
	struct registry_object o = { .type = MSG_CREDENTIAL }, before;
	struct msg_credential *c = &o.any.credential;
	struct buf salt = { 0 }, hash = { 0 }, body = { 0 };
	struct bytes expires = member(j, "expires");
	const char *why = NULL;

	c->kind = index_of(json_string_value(json_object_get(j, "kind")), kinds, COUNT_OF(kinds));
	c->scheme =
	    index_of(json_string_value(json_object_get(j, "scheme")), schemes, COUNT_OF(schemes));
	c->lookup = member(j, "lookup");
	c->device = bytes_of_str(r->row->id);
	c->user = r->user;
	if (r->user.len)
		c->roles = buf_bytes(&r->roles);
	if (!secret_read_hex(member(j, "salt"), &salt) ||
	    !secret_read_hex(member(j, "hash"), &hash))
		why = "salt and hash are hex digits";
	else if (expires.len && clock_parse_iso(expires, &c->expires) != 0)
		why = "expires is an ISO 8601 time";
	c->salt = buf_bytes(&salt);
	c->hash = buf_bytes(&hash);
	if (why == NULL)
		add_object(r, &o, CREDENTIALS,
		    !cli_get(r->cli, &o, &body, &before) || registry_is_gone(&before));
	buf_fini(&salt);
	buf_fini(&hash);
	buf_fini(&body);
	return why;
}

static const char *
add_exported_attribute(struct reader *r, const json_t *j)
{
	static const char *const scopes[] = { "?", "client", "shared", "server" };
	struct registry_object o = { .type = MSG_ATTRIBUTE };
	const json_t *v = json_object_get(j, "value");
	char *value = v ? json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

	o.any.attribute.device = bytes_of_str(r->row->id);
	o.any.attribute.scope =
	    index_of(json_string_value(json_object_get(j, "scope")), scopes, COUNT_OF(scopes));
	o.any.attribute.name = member(j, "name");
	o.any.attribute.value = bytes_of_str(value ? value : "");
	if (value != NULL)
		add_object(r, &o, ATTRIBUTES, false);
	free(value);
	return value ? NULL : "an attribute has a scope, a name and a value";
}

static void
add_exported(struct reader *r, enum column c)
{
	struct bytes text = field(r, c);
	json_error_t error;
	json_t *list, *item;
	const char *why = NULL;
	size_t i;

	if (text.len == 0)
		return;
	list = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, &error);
	if (!json_is_array(list))
		fault_at(r, c, list ? "a JSON array is wanted" : error.text);
	json_array_foreach(list, i, item)
	{
		why = c == CREDENTIALS ? add_exported_credential(r, item)
				       : add_exported_attribute(r, item);
		if (why)
			fault_at(r, c, why);
	}
	json_decref(list);
}

/* --- a row --- */

static void
add_device(struct reader *r)
{
	struct registry_object o = { .type = MSG_DEVICE };
	struct msg_device *d = &o.any.device;
	struct buf before = { 0 }, tags = { 0 }, speaks_for = { 0 };
	struct bytes blocked = field(r, BLOCKED);

	r->row->is_new = !cli_get_device(r->cli, r->row->id, &before, &o);
	if (r->row->is_new)
		o = (struct registry_object){ MSG_DEVICE,
			{ .device = { .id = bytes_of_str(r->row->id) } } };
	cli_put_lines(field(r, TAGS), ';', true, &tags);
	cli_put_lines(field(r, SPEAKS_FOR), ';', false, &speaks_for);
	if (has(r, PROFILE))
		d->profile = field(r, PROFILE);
	if (has(r, TAGS))
		d->tags = buf_bytes(&tags);
	if (has(r, SPEAKS_FOR))
		d->speaks_for = buf_bytes(&speaks_for);
	if (has(r, ROLES))
		d->roles = buf_bytes(&r->roles);
	if (bytes_equal_str(blocked, "yes") || bytes_equal_str(blocked, "no"))
		d->blocked = blocked.len == 3;
	else if (blocked.len > 0)
		fault_at(r, BLOCKED, "blocked is yes or no");
	add_object(r, &o, ID, r->row->is_new);
	buf_fini(&before);
	buf_fini(&tags);
	buf_fini(&speaks_for);
}

static void
take_row(struct reader *r)
{
	struct rows *rows = r->rows;
	struct bytes id = field(r, ID);
	const char *why = NULL;

	if (r->record.count > 0 && (rows->n & (rows->n + 1)) == 0)
		rows->at = xrealloc(rows->at, (rows->n + 1) * 2 * sizeof(rows->at[0]));
	r->row = &rows->at[rows->n];
	*r->row = (struct row){ .line = r->record.line };
	r->user = field(r, USER);
	buf_clear(&r->roles);
	cli_put_lines(field(r, ROLES), ';', false, &r->roles);
	for (size_t i = 0; i < r->roles.len; i++)
		r->roles.data[i] = r->roles.data[i] == '\n' ? ',' : r->roles.data[i];
	if (r->user.len && id.len)
		fault_at(r, USER, "a row is of a device or of a user");
	else if (!r->user.len && (why = device_id_fault(id)) != NULL)
		fault_at(r, ID, why);
	if ((r->user.len && id.len) || why)
		return;
	r->row->id = xstrndup(id.len ? (const char *)id.data : "", id.len);
	rows->n++;
	if (id.len)
		add_device(r);
	add_secrets(r);
	add_exported(r, CREDENTIALS);
	if (id.len)
		add_exported(r, ATTRIBUTES);
}

/* The first line. */
static bool
take_header(struct reader *r)
{
	bool good = true;

	for (size_t c = 0; c < COLUMNS; c++)
		r->where[c] = -1;
	for (size_t i = 0; i < r->record.count; i++) {
		size_t c = 0;

		while (c < COLUMNS && !bytes_equal_str(r->record.fields[i], names[c]))
			c++;
		if (c == COLUMNS || r->where[c] >= 0) {
			fault(r, r->record.line, r->record.columns[i],
			    c == COLUMNS ? "no such column; `roost device --help` lists them"
					 : "this column is there twice");
			good = false;
			continue;
		}
		r->where[c] = (int)i;
	}
	if (good && r->where[ID] < 0 && r->where[USER] < 0) {
		fault(r, r->record.line, 1, "the first line names the columns; one of them is id");
		good = false;
	}
	return good;
}

static int
by_id(const void *a, const void *b)
{
	const struct row *const *x = a, *const *y = b;
	int c = strcmp((*x)->id, (*y)->id);

	return c != 0 ? c : (*x)->line < (*y)->line ? -1 : 1;
}

static void
find_twice(struct reader *r)
{
	const struct row **sorted = xcalloc(r->rows->n + 1, sizeof(sorted[0]));
	char why[64];

	for (size_t i = 0; i < r->rows->n; i++)
		sorted[i] = &r->rows->at[i];
	qsort(sorted, r->rows->n, sizeof(sorted[0]), by_id);
	for (size_t i = 1; i < r->rows->n; i++) {
		if (sorted[i]->id[0] == '\0' || strcmp(sorted[i]->id, sorted[i - 1]->id) != 0)
			continue;
		snprintf(
		    why, sizeof(why), "this device stands in line %u already", sorted[i - 1]->line);
		fault(r, sorted[i]->line, 1, why);
	}
	free(sorted);
}

void
rows_read(struct cli *cli, const char *path, struct bytes text, struct rows *ret)
{
	struct reader r = { .cli = cli, .path = path, .rows = ret };
	struct csv csv = csv_of(text);
	const char *why = "";
	size_t columns = 0;
	int err;

	*ret = (struct rows){ .n = 0 };
	while ((err = csv_next(&csv, &r.record, &why)) == 0) {
		if (columns == 0) {
			columns = r.record.count;
			if (!take_header(&r))
				break;
		} else if (r.record.count != columns) {
			fault(&r, r.record.line, r.record.columns[r.record.count - 1],
			    "the first line has another number of columns");
		} else {
			take_row(&r);
		}
	}
	if (err != 0 && err != ERR_NOT_FOUND)
		fault(&r, r.record.line,
		    r.record.columns[r.record.count < CSV_FIELDS_MAX ? r.record.count : 0], why);
	if (columns == 0 && err == ERR_NOT_FOUND)
		fault(&r, 1, 1, "the file is empty; its first line names the columns");
	find_twice(&r);
	if (ret->faults > FAULTS_MAX)
		fprintf(stderr, "%s: %zu faults more\n", path, ret->faults - FAULTS_MAX);
	if (csv.text.len)
		credential_wipe(csv.text.data, csv.text.len);
	csv_fini(&csv);
	buf_fini(&r.roles);
}

void
rows_fini(struct rows *rows)
{
	for (size_t i = 0; i < rows->n; i++) {
		for (size_t k = 0; k < rows->at[i].count; k++)
			buf_fini(&rows->at[i].objects[k].body);
		free(rows->at[i].objects);
		free(rows->at[i].id);
	}
	free(rows->at);
}
