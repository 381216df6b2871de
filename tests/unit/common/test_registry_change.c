/* test_registry_change.c - what is a sound object of the registry, and what the four kinds have in common */
#include "registry_change.h"

#include <stdlib.h>
#include <string.h>

#include "credential.h"
#include "err.h"
#include "mem.h"
#include "../unit.h"

static struct bytes
b(const char *s)
{
	return bytes_of_str(s);
}

#define HASH32 "0123456789abcdef0123456789abcdef"

static const struct {
	const char *label;
	bool sound;
	struct registry_object o;
} cases[] = {
#define T(s)                                                                                       \
	{                                                                                          \
		(const uint8_t *)(s), sizeof(s) - 1                                                \
	}
#define DEVICE(...)                                                                                \
	{                                                                                          \
		MSG_DEVICE,                                                                        \
		{                                                                                  \
			.device = { __VA_ARGS__ }                                                  \
		}                                                                                  \
	}
#define CRED(...)                                                                                  \
	{                                                                                          \
		MSG_CREDENTIAL,                                                                    \
		{                                                                                  \
			.credential = { __VA_ARGS__ }                                              \
		}                                                                                  \
	}
#define PROFILE(...)                                                                               \
	{                                                                                          \
		MSG_PROFILE,                                                                       \
		{                                                                                  \
			.profile = { __VA_ARGS__ }                                                 \
		}                                                                                  \
	}
#define ATTR(...)                                                                                  \
	{                                                                                          \
		MSG_ATTRIBUTE,                                                                     \
		{                                                                                  \
			.attribute = { __VA_ARGS__ }                                               \
		}                                                                                  \
	}
	{ "a device", true, DEVICE(.id = T("gh-1")) },
	{ "all of it", true,
	    DEVICE(.id = T("gh-1"), .version = 3, .at = 9, .actor = T("cli"), .created = 4,
		.profile = T("air"), .tags = T("floor=2\nroom=a b"), .speaks_for = T("gh-*\nx\n*"),
		.roles = T("reader,app-1.x_y"), .blocked = true) },
	{ "an actor who clears the screen", false, DEVICE(.id = T("x"), .actor = T("\x1b[2J")) },
	{ "no id", false, DEVICE(.id = T("")) },
	{ "an id that is a topic", false, DEVICE(.id = T("a/b")) },
	{ "no UTF-8", false, DEVICE(.id = T("\xff")) },
	{ "a profile of two lines", false, DEVICE(.id = T("x"), .profile = T("a\nb")) },
	{ "a tag without name", false, DEVICE(.id = T("x"), .tags = T("=2")) },
	{ "no tag", false, DEVICE(.id = T("x"), .tags = T("floor")) },
	{ "an empty line", false, DEVICE(.id = T("x"), .tags = T("a=1\n\nb=2")) },
	{ "not in order", false, DEVICE(.id = T("x"), .tags = T("b=1\na=2")) },
	{ "twice", false, DEVICE(.id = T("x"), .tags = T("b=1\nb=2")) },
	{ "one the other's beginning", true, DEVICE(.id = T("x"), .tags = T("a=1\nab=2")) },
	{ "a star within", false, DEVICE(.id = T("x"), .speaks_for = T("a*b")) },
	{ "an empty pattern", false, DEVICE(.id = T("x"), .speaks_for = T("a\n\nb")) },
	{ "an empty role", false, DEVICE(.id = T("x"), .roles = T("a,,b")) },
	{ "a role that begins with a comma", false, DEVICE(.id = T("x"), .roles = T(",a")) },
	{ "a role that ends with a comma", false, DEVICE(.id = T("x"), .roles = T("a,")) },
	{ "a role with a blank", false, DEVICE(.id = T("x"), .roles = T("a b")) },
	{ "erased and there", false, DEVICE(.id = T("x"), .erase = true) },
	{ "erased", true, DEVICE(.id = T("x"), .erase = true, .removed = true) },
	{ "a token", true,
	    CRED(.kind = 1, .lookup = T("ab"), .device = T("x"), .scheme = 1, .salt = T("s"),
		.hash = T(HASH32)) },
	{ "a short hash", false,
	    CRED(.kind = 1, .lookup = T("ab"), .device = T("x"), .scheme = 1, .salt = T("s"),
		.hash = T("h")) },
	{ "no salt", false,
	    CRED(.kind = 1, .lookup = T("ab"), .device = T("x"), .scheme = 1, .hash = T(HASH32)) },
	{ "no kind", false, CRED(.lookup = T("ab"), .device = T("x"), .scheme = 1) },
	{ "no lookup", false, CRED(.kind = 3, .lookup = T(""), .device = T("x")) },
	{ "nobody's", false, CRED(.kind = 3, .lookup = T("fp:1")) },
	{ "two owners", false,
	    CRED(.kind = 3, .lookup = T("fp:1"), .device = T("x"), .user = T("y")) },
	{ "a user's", true,
	    CRED(.kind = 3, .lookup = T("fp:1"), .user = T("y"), .roles = T("app")) },
	{ "a user of two lines", false, CRED(.kind = 3, .lookup = T("fp:1"), .user = T("y\nz")) },
	{ "roles of a device", false,
	    CRED(.kind = 3, .lookup = T("fp:1"), .device = T("y"), .roles = T("app")) },
	{ "a device that is none", false, CRED(.kind = 3, .lookup = T("fp:1"), .device = T("#")) },
	{ "a certificate with a secret", false,
	    CRED(.kind = 3, .lookup = T("fp:1"), .device = T("x"), .scheme = 1, .salt = T("s"),
		.hash = T(HASH32)) },
	{ "a password in clear", false,
	    CRED(.kind = 2, .lookup = T("u"), .user = T("u"), .hash = T("pass")) },
	{ "a password", true,
	    CRED(.kind = 2, .lookup = T("u"), .user = T("u"), .scheme = 2,
		.hash = T("$argon2id$")) },
	{ "no password", false, CRED(.kind = 2, .lookup = T("u"), .user = T("u"), .scheme = 2) },
	{ "a PSK", true,
	    CRED(.kind = 4, .lookup = T("i"), .device = T("x"), .scheme = 3,
		.salt = T("0123456789ab"), .hash = T(HASH32)) },
	{ "a PSK with another nonce", false,
	    CRED(.kind = 4, .lookup = T("i"), .device = T("x"), .scheme = 3, .salt = T("0"),
		.hash = T(HASH32)) },
	{ "a hashed PSK", false,
	    CRED(.kind = 4, .lookup = T("i"), .device = T("x"), .scheme = 1, .salt = T("0"),
		.hash = T(HASH32)) },
	{ "revoked", true, CRED(.kind = 4, .lookup = T("i"), .device = T("x"), .revoked = true) },
	{ "revoked, and its hash", false,
	    CRED(.kind = 1, .lookup = T("i"), .device = T("x"), .revoked = true,
		.hash = T(HASH32)) },
	{ "a profile", true, PROFILE(.name = T("air"), .definition = T("{}")) },
	{ "a profile without name", false, PROFILE(.name = T("")) },
	{ "a profile of no UTF-8", false, PROFILE(.name = T("a"), .definition = T("\xc0\x80")) },
	{ "an attribute", true,
	    ATTR(.device = T("x"), .scope = 1, .name = T("fw"), .value = T("\"1.2\"")) },
	{ "an attribute of no device", false, ATTR(.device = T(""), .scope = 1, .name = T("fw")) },
	{ "no scope", false, ATTR(.device = T("x"), .name = T("fw")) },
	{ "no name", false, ATTR(.device = T("x"), .scope = 1, .name = T("")) },
	{ "a value of no UTF-8", false,
	    ATTR(.device = T("x"), .scope = 1, .name = T("a"), .value = T("\xff")) },
	{ "something else", false, { MSG_HELLO, { .hello = { .life = 1 } } } },
};

START_TEST(test_soundness)
{
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const struct registry_object *o = &cases[i].o;
		const char *fault = registry_fault(o), *why = "";
		struct registry_object again;
		struct buf body = { 0 };
		int err;

		ck_assert_msg((fault == NULL) == cases[i].sound, "%s: %s", cases[i].label,
		    fault ? fault : "sound");
		registry_encode(o, &body);
		err = registry_decode(buf_bytes(&body), &again, &why);
		if (cases[i].sound) {
			ck_assert_int_eq(err, 0);
			ck_assert_msg(registry_is_same(o, &again), "%s", cases[i].label);
		} else {
			ck_assert_msg(
			    err == (o->type == MSG_HELLO ? ERR_UNSUPPORTED : ERR_MALFORMED), "%s",
			    cases[i].label);
			ck_assert_msg(strlen(why) > 0, "%s", cases[i].label);
		}
		for (size_t n = 0; n < body.len; n++)
			ck_assert_int_ne(registry_decode(bytes_of(body.data, n), &again, NULL), 0);
		buf_fini(&body);
	}
}
END_TEST

START_TEST(test_in_common)
{
	static const struct registry_object objects[] = {
		DEVICE(.id = T("gh-1"), .version = 4, .at = 40, .removed = true),
		CRED(.kind = 1, .lookup = T("3f"), .device = T("gh-1"), .version = 4, .at = 40,
		    .revoked = true),
		CRED(.kind = 2, .lookup = T("ann"), .user = T("ann"), .version = 4, .at = 40,
		    .revoked = true),
		PROFILE(.name = T("air"), .version = 4, .at = 40, .removed = true),
		ATTR(.device = T("gh-1"), .scope = 3, .name = T("floor"), .version = 4, .at = 40),
	};
	static const char *const keys[] = { "device/gh-1", "credential/1/3f", "credential/2/ann",
		"profile/air", "attribute/gh-1/3/floor" };
	static const char *const partitions[] = { "gh-1", "gh-1", "ann", "air", "gh-1" };

	for (size_t i = 0; i < COUNT_OF(objects); i++) {
		struct registry_object o = objects[i];
		struct buf key = { 0 };

		ck_assert_uint_eq(registry_version(&o), 4);
		ck_assert_int_eq(registry_at(&o), 40);
		ck_assert(registry_is_gone(&o));
		registry_put_key(&o, &key);
		ck_assert_str_eq(buf_str(&key), keys[i]);
		ck_assert(bytes_equal_str(registry_partition_key(&o), partitions[i]));
		registry_stamp(&o, 5, 50, b("cli"));
		ck_assert_uint_eq(registry_version(&o), 5);
		ck_assert_int_eq(registry_at(&o), 50);
		for (size_t k = 0; k < COUNT_OF(objects); k++)
			ck_assert_int_eq(registry_is_same(&o, &objects[k]), i == k);
		o.any.device.removed = o.any.credential.revoked = false;
		buf_fini(&key);
	}
	ck_assert(!registry_is_gone(
	    &(struct registry_object)ATTR(.device = T("x"), .scope = 1, .value = T("1"))));
	ck_assert(
	    !registry_is_gone(&(struct registry_object)DEVICE(.id = T("x"), .blocked = true)));
}
END_TEST

START_TEST(test_gateways)
{
	static const struct {
		const char *patterns, *device;
		bool may;
	} rights[] = {
		{ "", "a", false },
		{ "*", "a", true },
		{ "a", "a", true },
		{ "a", "ab", false },
		{ "a*", "ab", true },
		{ "a*", "a", true },
		{ "a*", "ba", false },
		{ "x\ngh-*\ny", "gh-7", true },
		{ "x\ngh-*\ny", "y", true },
		{ "x\ngh-*\ny", "gh", false },
	};

	for (size_t i = 0; i < COUNT_OF(rights); i++)
		ck_assert_int_eq(
		    registry_speaks_for(b(rights[i].patterns), b(rights[i].device)), rights[i].may);
}
END_TEST

START_TEST(test_names)
{
	ck_assert_str_eq(change_code_name(CHANGE_DONE), "done");
	ck_assert_str_eq(change_code_name(CHANGE_BUSY), "busy");
	ck_assert_str_eq(change_code_name(99), "?");
	ck_assert_str_eq(attribute_scope_name(ATTRIBUTE_CLIENT), "client");
	ck_assert_str_eq(attribute_scope_name(ATTRIBUTE_SERVER), "server");
	ck_assert_str_eq(attribute_scope_name(0), "?");
	ck_assert_str_eq(attribute_scope_name(4), "?");
}
END_TEST

UNIT_MAIN("registry_change", test_soundness, test_in_common, test_gateways, test_names)
