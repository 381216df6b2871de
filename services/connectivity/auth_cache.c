/* auth_cache.c - credentials that somebody has shown lately, as the registry has them */
#include "auth_cache.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "err.h"
#include "mem.h"
#include "registry_change.h"

#define SIZE_MIN 256
#define TRIM_LOOKS 8 /* entries looked at for one that may go */
#define PROOF_LEN (CREDENTIAL_SALT_LEN + CREDENTIAL_HASH_LEN)

/* --- places --- */

static size_t
place_of(const struct auth_cache *c, unsigned kind, struct bytes name)
{
	return (size_t)XXH3_64bits_withSeed(name.data, name.len, c->seed + kind) & (c->size - 1);
}

static struct bytes
device_of(const struct auth_entry *e)
{
	struct registry_object o;
	int err = registry_decode(buf_bytes(&e->device), &o, NULL);

	ASSERT(err == 0);
	return o.any.device.id;
}

static struct auth_entry **
credential_place(const struct auth_cache *c, const struct auth_entry *e)
{
	return &c->by_credential[place_of(c, e->kind, auth_entry_lookup(e))];
}

static void
join_device(struct auth_cache *c, struct auth_entry *e)
{
	struct auth_entry **at;

	if (e->device.len == 0)
		return;
	at = &c->by_device[place_of(c, 0, device_of(e))];
	e->device_next = *at;
	*at = e;
}

static void
put_into_places(struct auth_cache *c, struct auth_entry *e)
{
	struct auth_entry **at = credential_place(c, e);

	e->next = *at;
	*at = e;
	join_device(c, e);
}

static void
leave_device(struct auth_cache *c, struct auth_entry *e)
{
	struct auth_entry **at;

	if (e->device.len == 0)
		return;
	for (at = &c->by_device[place_of(c, 0, device_of(e))]; *at != e;)
		at = &(*at)->device_next;
	*at = e->device_next;
	e->device_next = NULL;
}

static void
leave_places(struct auth_cache *c, struct auth_entry *e)
{
	struct auth_entry **at = credential_place(c, e);

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	leave_device(c, e);
}

static void
resize(struct auth_cache *c, size_t size)
{
	free(c->by_credential);
	free(c->by_device);
	c->size = size;
	c->by_credential = xcalloc(size, sizeof(struct auth_entry *));
	c->by_device = xcalloc(size, sizeof(struct auth_entry *));
	for (struct auth_entry *e = c->newest; e; e = e->older) {
		e->device_next = NULL;
		put_into_places(c, e);
	}
}

void
auth_cache_init(struct auth_cache *c, size_t max, uint64_t seed)
{
	*c = (struct auth_cache){ .max = max, .seed = seed };
	resize(c, SIZE_MIN);
}

/* --- newest first --- */

static void
take_out(struct auth_cache *c, struct auth_entry *e)
{
	if (e->newer)
		e->newer->older = e->older;
	else
		c->newest = e->older;
	if (e->older)
		e->older->newer = e->newer;
	else
		c->oldest = e->newer;
	e->newer = e->older = NULL;
}

static void
put_first(struct auth_cache *c, struct auth_entry *e)
{
	e->older = c->newest;
	if (c->newest)
		c->newest->newer = e;
	else
		c->oldest = e;
	c->newest = e;
}

void
auth_cache_used(struct auth_cache *c, struct auth_entry *e)
{
	if (c->newest == e)
		return;
	take_out(c, e);
	put_first(c, e);
}

static bool
may_go(const struct auth_entry *e)
{
	return !e->tries && !e->asked && !e->wanted && (!e->grant || e->grant->refs == 1);
}

static void
trim(struct auth_cache *c)
{
	for (size_t i = 0; i < TRIM_LOOKS && c->count >= c->max && c->oldest; i++) {
		if (may_go(c->oldest))
			auth_cache_remove(c, c->oldest);
		else
			auth_cache_used(c, c->oldest);
	}
}

/* --- entries --- */

bool
auth_entry_is_known(const struct auth_entry *e)
{
	return e->credential.len > 0;
}

struct bytes
auth_entry_lookup(const struct auth_entry *e)
{
	return bytes_of(e->lookup, e->lookup_len);
}

struct auth_entry *
auth_cache_find(const struct auth_cache *c, enum credential_kind kind, struct bytes lookup)
{
	struct auth_entry *e = c->by_credential[place_of(c, kind, lookup)];

	while (e && (e->kind != kind || !bytes_equal(auth_entry_lookup(e), lookup)))
		e = e->next;
	return e;
}

struct auth_entry *
auth_cache_of_device(
    const struct auth_cache *c, struct bytes device, const struct auth_entry *before)
{
	struct auth_entry *e = before ? before->device_next : c->by_device[place_of(c, 0, device)];

	while (e && !bytes_equal(device_of(e), device))
		e = e->device_next;
	return e;
}

struct auth_entry *
auth_cache_add(struct auth_cache *c, enum credential_kind kind, struct bytes lookup)
{
	struct auth_entry *e;

	ASSERT(lookup.len <= CREDENTIAL_LOOKUP_MAX);
	trim(c);
	if (c->count >= c->size)
		resize(c, c->size * 2);
	e = xcalloc(1, sizeof(*e) + lookup.len);
	e->kind = (uint8_t)kind;
	e->lookup_len = (uint16_t)lookup.len;
	if (lookup.len)
		memcpy(e->lookup, lookup.data, lookup.len);
	put_into_places(c, e);
	put_first(c, e);
	c->count++;
	return e;
}

static void
forget_proof(struct auth_entry *e)
{
	if (e->proof)
		credential_wipe(e->proof, PROOF_LEN);
	free(e->proof);
	e->proof = NULL;
}

static void
entry_free(struct auth_entry *e)
{
	auth_grant_unref(&e->grant);
	forget_proof(e);
	buf_fini(&e->credential);
	buf_fini(&e->device);
	free(e);
}

void
auth_cache_remove(struct auth_cache *c, struct auth_entry *e)
{
	ASSERT(!e->tries && !e->asked && !e->wanted);
	leave_places(c, e);
	take_out(c, e);
	c->count--;
	entry_free(e);
}

void
auth_cache_fini(struct auth_cache *c)
{
	while (c->newest) {
		struct auth_entry *e = c->newest;

		c->newest = e->older;
		entry_free(e);
	}
	free(c->by_credential);
	free(c->by_device);
	*c = (struct auth_cache){ .max = c->max };
}

/* --- what is in them --- */

static bool
is_same_secret(const struct auth_entry *e, const struct msg_credential *c)
{
	struct msg_credential have;

	auth_entry_credential(e, &have);
	return have.scheme == c->scheme && bytes_equal(have.hash, c->hash) &&
	       bytes_equal(have.salt, c->salt);
}

static void
encode(enum msg_type type, const union msg_any *any, struct buf *to)
{
	struct registry_object o = { .type = type, .any = *any };
	struct buf text = { 0 };

	/* What is given may borrow from what is replaced. */
	registry_encode(&o, &text);
	buf_fini(to);
	*to = text;
}

void
auth_cache_fill(struct auth_cache *c, struct auth_entry *e, const struct msg_credential *credential,
    const struct msg_device *device)
{
	union msg_any any = { .credential = *credential };

	if (e->proof && !is_same_secret(e, credential))
		forget_proof(e);
	e->credential_version = credential->version;
	e->expires_us = credential->expires;
	e->blocked = device && device->blocked;
	e->device_version = device ? device->version : 0;
	encode(MSG_CREDENTIAL, &any, &e->credential);
	if (!device)
		return;
	leave_device(c, e);
	any = (union msg_any){ .device = *device };
	encode(MSG_DEVICE, &any, &e->device);
	join_device(c, e);
}

static void
decode(const struct buf *body, struct registry_object *ret)
{
	int err = registry_decode(buf_bytes(body), ret, NULL);

	ASSERT(err == 0);
}

void
auth_entry_credential(const struct auth_entry *e, struct msg_credential *ret)
{
	struct registry_object o;

	decode(&e->credential, &o);
	*ret = o.any.credential;
}

bool
auth_entry_device(const struct auth_entry *e, struct msg_device *ret)
{
	struct registry_object o;

	if (e->device.len == 0)
		return false;
	decode(&e->device, &o);
	*ret = o.any.device;
	return true;
}

void
auth_cache_empty(struct auth_cache *c, struct auth_entry *e)
{
	auth_grant_unref(&e->grant);
	forget_proof(e);
	leave_device(c, e);
	buf_fini(&e->credential);
	buf_fini(&e->device);
	e->credential_version = e->device_version = 0;
	e->expires_us = 0;
	e->blocked = false;
	e->missing = 0;
}

/* --- grants --- */

/* roles, then speaks_for. */
static void
rights_of(const struct auth_entry *e, struct bytes *ret_roles, struct bytes *ret_speaks_for)
{
	struct registry_object o;

	*ret_speaks_for = (struct bytes){ 0 };
	if (e->device.len) {
		decode(&e->device, &o);
		*ret_roles = o.any.device.roles;
		*ret_speaks_for = o.any.device.speaks_for;
	} else {
		decode(&e->credential, &o);
		*ret_roles = o.any.credential.roles;
	}
}

static void
set_rights(struct auth_grant *g, struct bytes roles, struct bytes speaks_for)
{
	struct buf text = { 0 };

	buf_add(&text, roles.data, roles.len);
	buf_add(&text, speaks_for.data, speaks_for.len);
	buf_fini(&g->rights);
	g->rights = text;
	g->roles = bytes_of(text.data, roles.len);
	g->speaks_for = bytes_of(text.data ? text.data + roles.len : NULL, speaks_for.len);
}

struct auth_grant *
auth_entry_grant(struct auth_entry *e)
{
	struct auth_grant *g = e->grant;
	struct bytes roles, speaks_for, identity;
	struct msg_credential c;

	if (!g) {
		auth_entry_credential(e, &c);
		identity = c.device.len ? c.device : c.user;
		g = xcalloc(1, sizeof(*g));
		buf_add(&g->names, identity.data, identity.len);
		buf_add(&g->names, e->lookup, e->lookup_len);
		g->identity = bytes_of(g->names.data, identity.len);
		g->lookup = bytes_of(g->names.data + identity.len, e->lookup_len);
		g->is_device = c.device.len > 0;
		g->kind = e->kind;
		g->expires_us = c.expires;
		rights_of(e, &roles, &speaks_for);
		set_rights(g, roles, speaks_for);
		g->refs = 1;
		e->grant = g;
	}
	return auth_grant_ref(g);
}

bool
auth_entry_regrant(struct auth_entry *e)
{
	struct auth_grant *g = e->grant;
	struct bytes roles, speaks_for;

	if (!g)
		return false;
	g->expires_us = e->expires_us;
	rights_of(e, &roles, &speaks_for);
	if (bytes_equal(g->roles, roles) && bytes_equal(g->speaks_for, speaks_for))
		return false;
	set_rights(g, roles, speaks_for);
	return true;
}

/* --- proofs --- */

void
auth_entry_prove(struct auth_entry *e, struct bytes secret)
{
	struct credential_secret s;

	forget_proof(e);
	if (credential_hash(CREDENTIAL_SHA256, secret, &s) != 0)
		return;
	ASSERT(s.salt_len + s.stored_len == PROOF_LEN);
	e->proof = xmalloc(PROOF_LEN);
	memcpy(e->proof, s.salt, s.salt_len);
	memcpy(e->proof + s.salt_len, s.stored, s.stored_len);
}

bool
auth_entry_is_proven(const struct auth_entry *e, struct bytes secret)
{
	struct msg_credential c = { .scheme = CREDENTIAL_SHA256 };

	if (!e->proof)
		return false;
	c.salt = bytes_of(e->proof, CREDENTIAL_SALT_LEN);
	c.hash = bytes_of(e->proof + CREDENTIAL_SALT_LEN, CREDENTIAL_HASH_LEN);
	return credential_matches(&c, secret);
}
