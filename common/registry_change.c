/* registry_change.c - what the registry knows, as CHANGE asks for it and as the journal keeps it; pure */
#include "registry_change.h"

#include <string.h>

#include "credential.h"
#include "device_id.h"
#include "err.h"
#include "mem.h"
#include "utf8.h"

static const char *const code_names[] = {
	[CHANGE_DONE] = "done",
	[CHANGE_UNCHANGED] = "unchanged",
	[CHANGE_CONFLICT] = "conflict",
	[CHANGE_EXISTS] = "exists",
	[CHANGE_NOT_FOUND] = "not-found",
	[CHANGE_INVALID] = "invalid",
	[CHANGE_BUSY] = "busy",
	[CHANGE_FULL] = "full",
};

static const char *const scope_names[] = {
	[ATTRIBUTE_CLIENT] = "client",
	[ATTRIBUTE_SHARED] = "shared",
	[ATTRIBUTE_SERVER] = "server",
};

const char *
change_code_name(uint64_t code)
{
	return code < COUNT_OF(code_names) ? code_names[code] : "?";
}

const char *
attribute_scope_name(uint64_t scope)
{
	return scope >= ATTRIBUTE_CLIENT && scope < COUNT_OF(scope_names) ? scope_names[scope]
									  : "?";
}

/* --- is it sound --- */

static bool
is_text(struct bytes s)
{
	return utf8_valid(s) && !utf8_has_control(s);
}

/* Takes the next line off the front. */
static bool
next_line(struct bytes *rest, struct bytes *ret_line)
{
	const uint8_t *end;

	if (rest->len == 0)
		return false;
	end = memchr(rest->data, '\n', rest->len);
	*ret_line = bytes_of(rest->data, end ? (size_t)(end - rest->data) : rest->len);
	*rest = bytes_of(
	    rest->data + ret_line->len + (end ? 1 : 0), rest->len - ret_line->len - (end ? 1 : 0));
	return true;
}

static int
compare(struct bytes a, struct bytes b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int c = n ? memcmp(a.data, b.data, n) : 0;

	return c != 0 ? c : a.len < b.len ? -1 : a.len > b.len;
}

static const char *
tags_fault(struct bytes tags)
{
	struct bytes line, before = { 0 };

	while (next_line(&tags, &line)) {
		const uint8_t *is = line.len ? memchr(line.data, '=', line.len) : NULL;
		struct bytes name;

		if (is == NULL || is == line.data)
			return "a tag is name=value";
		name = bytes_of(line.data, (size_t)(is - line.data));
		if (!is_text(line))
			return "a tag is not UTF-8 without control characters";
		if (before.len && compare(before, name) >= 0)
			return "tags are not in order, or one is there twice";
		before = name;
	}
	return NULL;
}

static const char *
speaks_for_fault(struct bytes patterns)
{
	struct bytes line;

	while (next_line(&patterns, &line)) {
		const uint8_t *star = line.len ? memchr(line.data, '*', line.len) : NULL;

		if (line.len == 0 || !is_text(line))
			return "a pattern of devices is empty or not UTF-8 without control "
			       "characters";
		if (star && star != line.data + line.len - 1)
			return "a pattern of devices has a * that is not its end";
	}
	return NULL;
}

static const char *
roles_fault(struct bytes roles)
{
	bool empty = true;

	for (size_t i = 0; i < roles.len; i++) {
		uint8_t c = roles.data[i];

		if (c == ',' && (empty || i + 1 == roles.len))
			return "roles are names with a comma between any two";
		if (c != ',' && c != '-' && c != '_' && c != '.' && !(c >= '0' && c <= '9') &&
		    !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z'))
			return "a role is named by letters, digits, - _ and .";
		empty = c == ',';
	}
	return NULL;
}

static const char *
device_fault(const struct msg_device *d)
{
	const char *fault = device_id_fault(d->id);

	if (!fault && !is_text(d->profile))
		fault = "the profile's name is not UTF-8 without control characters";
	if (!fault)
		fault = tags_fault(d->tags);
	if (!fault)
		fault = speaks_for_fault(d->speaks_for);
	if (!fault)
		fault = roles_fault(d->roles);
	if (!fault && d->erase && !d->removed)
		fault = "only a device that is removed can be erased";
	return fault;
}

static const char *
credential_fault(const struct msg_credential *c)
{
	bool device = c->device.len > 0, sealed = c->scheme == CREDENTIAL_SEALED;

	if (c->kind < CREDENTIAL_TOKEN || c->kind > CREDENTIAL_PSK)
		return "no such kind of credential";
	if (c->lookup.len == 0 || !is_text(c->lookup))
		return "what a credential is found by is empty or not UTF-8 without control "
		       "characters";
	if (device == (c->user.len > 0))
		return "a credential is of a device or of a user";
	if (device && device_id_fault(c->device))
		return device_id_fault(c->device);
	if (device && c->roles.len)
		return "the roles of a device stand with the device";
	if (!is_text(c->user))
		return "the user's name is not UTF-8 without control characters";
	if (c->revoked)
		return c->hash.len || c->salt.len ? "a revoked credential keeps no hash"
						  : roles_fault(c->roles);
	if ((c->kind == CREDENTIAL_X509) != (c->scheme == CREDENTIAL_PLAIN) ||
	    (c->kind == CREDENTIAL_PSK) != sealed || c->scheme > CREDENTIAL_SEALED)
		return "this kind of credential is not kept like that";
	if (c->scheme == CREDENTIAL_SHA256 &&
	    (c->hash.len != CREDENTIAL_HASH_LEN || c->salt.len == 0))
		return "a hash of another length, or without salt";
	if (sealed && (c->salt.len != CREDENTIAL_NONCE_LEN || c->hash.len <= CREDENTIAL_TAG_LEN))
		return "a sealed key that is none";
	if (c->scheme == CREDENTIAL_ARGON2ID && c->hash.len == 0)
		return "a password without hash";
	return roles_fault(c->roles);
}

static const char *
attribute_fault(const struct msg_attribute *a)
{
	const char *fault = device_id_fault(a->device);

	if (!fault && (a->scope < ATTRIBUTE_CLIENT || a->scope > ATTRIBUTE_SERVER))
		fault = "no such scope of attributes";
	if (!fault && (a->name.len == 0 || !is_text(a->name)))
		fault = "an attribute's name is empty or not UTF-8 without control characters";
	if (!fault && !utf8_valid(a->value))
		fault = "an attribute's value is not UTF-8";
	return fault;
}

static struct bytes
actor_of(const struct registry_object *o)
{
	return o->type == MSG_DEVICE	   ? o->any.device.actor
	       : o->type == MSG_CREDENTIAL ? o->any.credential.actor
	       : o->type == MSG_PROFILE	   ? o->any.profile.actor
	       : o->type == MSG_ATTRIBUTE  ? o->any.attribute.actor
					   : (struct bytes){ 0 };
}

const char *
registry_fault(const struct registry_object *o)
{
	const struct msg_profile *p = &o->any.profile;

	if (!is_text(actor_of(o)))
		return "who changed it is not UTF-8 without control characters";
	if (o->type == MSG_DEVICE)
		return device_fault(&o->any.device);
	if (o->type == MSG_CREDENTIAL)
		return credential_fault(&o->any.credential);
	if (o->type == MSG_ATTRIBUTE)
		return attribute_fault(&o->any.attribute);
	if (o->type != MSG_PROFILE)
		return "no object of the registry";
	if (p->name.len == 0 || !is_text(p->name))
		return "the profile's name is empty or not UTF-8 without control characters";
	return utf8_valid(p->definition) ? NULL : "the profile's definition is not UTF-8";
}

/* --- to and from bytes --- */

int
registry_decode(struct bytes body, struct registry_object *ret_object, const char **why)
{
	struct registry_object o;
	const char *fault;
	int err = codec_decode(body, &o.type, &o.any);

	if (err == 0 && o.type != MSG_DEVICE && o.type != MSG_CREDENTIAL && o.type != MSG_PROFILE &&
	    o.type != MSG_ATTRIBUTE)
		err = ERR_UNSUPPORTED;
	if (err == 0)
		fault = registry_fault(&o);
	else
		fault = err == ERR_TOO_BIG ? "a field is longer than may be" : "it is no message";
	if (err == 0 && fault != NULL)
		err = ERR_MALFORMED;
	if (err == 0)
		*ret_object = o;
	else if (why)
		*why = fault;
	return err;
}

void
registry_encode(const struct registry_object *o, struct buf *out)
{
	codec_encode(o->type, &o->any, out);
}

/* --- what the four have in common --- */

uint64_t
registry_version(const struct registry_object *o)
{
	return o->type == MSG_DEVICE	   ? o->any.device.version
	       : o->type == MSG_CREDENTIAL ? o->any.credential.version
	       : o->type == MSG_PROFILE	   ? o->any.profile.version
					   : o->any.attribute.version;
}

int64_t
registry_at(const struct registry_object *o)
{
	return o->type == MSG_DEVICE	   ? o->any.device.at
	       : o->type == MSG_CREDENTIAL ? o->any.credential.at
	       : o->type == MSG_PROFILE	   ? o->any.profile.at
					   : o->any.attribute.at;
}

void
registry_stamp(struct registry_object *o, uint64_t version, int64_t at, struct bytes actor)
{
	if (o->type == MSG_DEVICE) {
		o->any.device.version = version;
		o->any.device.at = at;
		o->any.device.actor = actor;
	} else if (o->type == MSG_CREDENTIAL) {
		o->any.credential.version = version;
		o->any.credential.at = at;
		o->any.credential.actor = actor;
	} else if (o->type == MSG_PROFILE) {
		o->any.profile.version = version;
		o->any.profile.at = at;
		o->any.profile.actor = actor;
	} else {
		o->any.attribute.version = version;
		o->any.attribute.at = at;
		o->any.attribute.actor = actor;
	}
}

bool
registry_is_gone(const struct registry_object *o)
{
	return o->type == MSG_DEVICE	   ? o->any.device.removed
	       : o->type == MSG_CREDENTIAL ? o->any.credential.revoked
	       : o->type == MSG_PROFILE	   ? o->any.profile.removed
					   : o->any.attribute.value.len == 0;
}

bool
registry_is_same(const struct registry_object *a, const struct registry_object *b)
{
	struct registry_object x = *a, y = *b;
	struct buf one = { 0 }, other = { 0 };
	bool same;

	if (a->type != b->type)
		return false;
	registry_stamp(&x, 0, 0, (struct bytes){ 0 });
	registry_stamp(&y, 0, 0, (struct bytes){ 0 });
	if (a->type == MSG_DEVICE)
		x.any.device.created = y.any.device.created = 0;
	registry_encode(&x, &one);
	registry_encode(&y, &other);
	same = bytes_equal(buf_bytes(&one), buf_bytes(&other));
	buf_fini(&one);
	buf_fini(&other);
	return same;
}

struct bytes
registry_partition_key(const struct registry_object *o)
{
	if (o->type == MSG_DEVICE)
		return o->any.device.id;
	if (o->type == MSG_ATTRIBUTE)
		return o->any.attribute.device;
	if (o->type == MSG_PROFILE)
		return o->any.profile.name;
	return o->any.credential.device.len ? o->any.credential.device : o->any.credential.user;
}

void
registry_put_key(const struct registry_object *o, struct buf *out)
{
	struct bytes name;

	if (o->type == MSG_DEVICE) {
		buf_add_str(out, "device/");
		name = o->any.device.id;
	} else if (o->type == MSG_CREDENTIAL) {
		buf_addf(out, "credential/%u/", (unsigned)o->any.credential.kind);
		name = o->any.credential.lookup;
	} else if (o->type == MSG_PROFILE) {
		buf_add_str(out, "profile/");
		name = o->any.profile.name;
	} else {
		buf_add_str(out, "attribute/");
		buf_add(out, o->any.attribute.device.data, o->any.attribute.device.len);
		buf_addf(out, "/%u/", (unsigned)o->any.attribute.scope);
		name = o->any.attribute.name;
	}
	buf_add(out, name.data, name.len);
}

bool
registry_speaks_for(struct bytes speaks_for, struct bytes device)
{
	struct bytes line;

	while (next_line(&speaks_for, &line)) {
		size_t n = line.len;

		if (n > 0 && line.data[n - 1] == '*') {
			n--;
			if (n <= device.len && (n == 0 || memcmp(line.data, device.data, n) == 0))
				return true;
		} else if (bytes_equal(line, device)) {
			return true;
		}
	}
	return false;
}
