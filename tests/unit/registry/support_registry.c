/* support_registry.c - objects of tests, and a folder for registry.db */
#include "support_registry.h"

#include <check.h>
#include <stdlib.h>
#include <unistd.h>

#include "../folder.h"
#include "credential.h"
#include "err.h"
#include "mem.h"

char *dir;

struct bytes
text(const char *s)
{
	return bytes_of_str(s);
}

struct registry_object
device(const char *id, uint64_t version)
{
	return (struct registry_object){ MSG_DEVICE,
		{ .device = { .id = text(id), .version = version } } };
}

struct registry_object
token(const char *lookup, const char *owner, uint64_t version, bool revoked)
{
	return (struct registry_object){ MSG_CREDENTIAL,
		{ .credential = { .kind = CREDENTIAL_TOKEN,
		      .lookup = text(lookup),
		      .device = text(owner),
		      .version = version,
		      .revoked = revoked,
		      .scheme = revoked ? CREDENTIAL_PLAIN : CREDENTIAL_SHA256,
		      .salt = text(revoked ? "" : "salt"),
		      .hash = text(revoked ? "" : "0123456789abcdef0123456789abcdef") } } };
}

struct registry_object
attribute(const char *owner, const char *name, const char *value, uint64_t version)
{
	return (struct registry_object){ MSG_ATTRIBUTE, { .attribute = { .device = text(owner),
							      .scope = ATTRIBUTE_SERVER,
							      .name = text(name),
							      .value = text(value),
							      .version = version } } };
}

int
apply(struct store *s, const struct registry_object *o)
{
	struct buf body = { 0 };
	const uint64_t cursors[2] = { store_cursor(s, 0), store_cursor(s, 1) };
	int err;

	ck_assert(registry_fault(o) == NULL);
	registry_encode(o, &body);
	ck_assert_int_eq(store_begin(s), 0);
	err = store_apply(s, o, buf_bytes(&body));
	ck_assert_int_eq(store_commit(s, cursors), 0);
	buf_fini(&body);
	return err;
}

uint64_t
version_of(struct store *s, const struct registry_object *named, bool *ret_gone)
{
	struct registry_object o;
	struct buf key = { 0 }, body = { 0 };
	uint64_t version = 0;

	registry_put_key(named, &key);
	if (store_get(s, buf_bytes(&key), &body) == 0) {
		ck_assert_int_eq(registry_decode(buf_bytes(&body), &o, NULL), 0);
		version = registry_version(&o);
		if (ret_gone)
			*ret_gone = registry_is_gone(&o);
	}
	buf_fini(&key);
	buf_fini(&body);
	return version;
}

void
make_dir(void)
{
	dir = unit_folder_new();
}

void
remove_dir(void)
{
	unit_folder_free(&dir);
}
