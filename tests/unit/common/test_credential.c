/* test_credential.c - secrets: hashes, sealed keys, and that nothing else opens them */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "credential.h"
#include "err.h"
#include "log.h"
#include "mem.h"
#include "../unit.h"

static struct bytes
b(const char *s)
{
	return bytes_of_str(s);
}

START_TEST(test_generated_secrets)
{
	static const char base32[] = "abcdefghijklmnopqrstuvwxyz234567";
	char one[CREDENTIAL_SECRET_LEN + 1], other[CREDENTIAL_SECRET_LEN + 1];
	unsigned seen = 0;

	for (int i = 0; i < 200; i++) {
		credential_generate(one);
		ck_assert_uint_eq(strlen(one), CREDENTIAL_SECRET_LEN);
		ck_assert_uint_eq(strspn(one, base32), CREDENTIAL_SECRET_LEN);
		for (const char *c = one; *c; c++)
			seen |= 1u << (strchr(base32, *c) - base32);
	}
	ck_assert_uint_eq(seen, UINT32_MAX); /* each of the 32 characters comes */
	credential_generate(other);
	ck_assert_str_ne(one, other);
}
END_TEST

/* Computed with sha256sum: what devices and other programs compute, and never changes. */
START_TEST(test_lookups)
{
	char out[CREDENTIAL_NAME_LEN];

	credential_token_lookup(b("abc"), out);
	ck_assert_str_eq(out, "a9e4a4b6627fc527a76790fe96e45e6a");
	credential_certificate_lookup(b("abc"), out);
	ck_assert_str_eq(
	    out, "fp:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	credential_ca_lookup(b("abc"), b("CN=gh-1"), out);
	ck_assert_str_eq(
	    out, "ca:e40c7af6496958f6f054257110b4f901ad8cda23a31ec397869ad6e3b4c876f3");
}
END_TEST

START_TEST(test_hash)
{
	static const enum credential_scheme schemes[] = { CREDENTIAL_SHA256, CREDENTIAL_ARGON2ID };

	for (size_t i = 0; i < COUNT_OF(schemes); i++) {
		struct credential_secret one, other;
		struct msg_credential c = { .kind = CREDENTIAL_PASSWORD };

		ck_assert_int_eq(credential_hash(schemes[i], b("s3cret"), &one), 0);
		ck_assert_int_eq(credential_hash(schemes[i], b("s3cret"), &other), 0);
		/* Salted: the same secret is not seen to be the same. */
		ck_assert(!bytes_equal(bytes_of(one.stored, one.stored_len),
		    bytes_of(other.stored, other.stored_len)));
		credential_put(&c, &one);
		ck_assert(credential_matches(&c, b("s3cret")));
		ck_assert(!credential_matches(&c, b("s3creT")));
		ck_assert(!credential_matches(&c, b("s3cre")));
		ck_assert(!credential_matches(&c, b("")));
		ck_assert_int_eq(credential_is_slow(&c), schemes[i] == CREDENTIAL_ARGON2ID);
		c.hash.len--;
		ck_assert(!credential_matches(&c, b("s3cret")));
		ck_assert_int_eq(credential_hash(schemes[i], b(""), &one), ERR_TOO_BIG);
	}
	ck_assert(!credential_matches(&(struct msg_credential){ .kind = CREDENTIAL_X509 }, b("")));
}
END_TEST

/* What a journal says may cost neither gigabytes nor minutes. */
START_TEST(test_argon2_is_bounded)
{
	static const char *const hashes[] = {
		"$argon2id$v=19$m=999999999,t=3,p=1$c29tZXNhbHQ$AAAA",
		"$argon2id$v=19$m=65536,t=999999,p=1$c29tZXNhbHQ$AAAA",
		"$argon2i$v=19$m=65536,t=3,p=1$c29tZXNhbHQ$AAAA",
		"nonsense",
		"",
	};

	for (size_t i = 0; i < COUNT_OF(hashes); i++) {
		struct msg_credential c = { .scheme = CREDENTIAL_ARGON2ID, .hash = b(hashes[i]) };

		ck_assert_msg(!credential_matches(&c, b("secret")), "%s", hashes[i]);
	}
}
END_TEST

START_TEST(test_nobody)
{
	ck_assert(!credential_matches(credential_nobody(CREDENTIAL_SHA256), b("secret")));
	ck_assert(!credential_matches(credential_nobody(CREDENTIAL_ARGON2ID), b("secret")));
	ck_assert(credential_is_slow(credential_nobody(CREDENTIAL_ARGON2ID)));
}
END_TEST

START_TEST(test_seal)
{
	uint8_t key[CREDENTIAL_KEY_LEN] = { 1 }, other[CREDENTIAL_KEY_LEN] = { 2 };
	struct credential_secret s;
	struct msg_credential c = { .kind = CREDENTIAL_PSK, .lookup = b("plc-7") };
	struct buf psk = { 0 };

	ck_assert_int_eq(credential_seal(key, c.lookup, b("0123456789abcdef"), &s), 0);
	credential_put(&c, &s);
	ck_assert(memmem(s.stored, s.stored_len, "0123", 4) == NULL);
	ck_assert_int_eq(credential_unseal(key, &c, &psk), 0);
	ck_assert(bytes_equal_str(buf_bytes(&psk), "0123456789abcdef"));
	ck_assert(!credential_matches(&c, b("0123456789abcdef")));
	ck_assert_int_eq(credential_unseal(other, &c, &psk), ERR_DAMAGED);
	/* One device's key does not open as another's. */
	c.lookup = b("plc-8");
	ck_assert_int_eq(credential_unseal(key, &c, &psk), ERR_DAMAGED);
	c.lookup = b("plc-7");
	for (size_t i = 0; i < s.stored_len; i++) {
		s.stored[i] ^= 1;
		ck_assert_int_eq(credential_unseal(key, &c, &psk), ERR_DAMAGED);
		s.stored[i] ^= 1;
	}
	c.hash.len = CREDENTIAL_TAG_LEN;
	ck_assert_int_eq(credential_unseal(key, &c, &psk), ERR_DAMAGED);
	ck_assert_uint_eq(psk.len, 16);
	buf_fini(&psk);
}
END_TEST

static void
write_file(const char *path, const char *text, mode_t mode)
{
	FILE *f = fopen(path, "w");

	ck_assert(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0 && chmod(path, mode) == 0);
}

START_TEST(test_key_file)
{
	char dir[] = "/tmp/roost-key-XXXXXX", path[64];
	uint8_t one[CREDENTIAL_KEY_LEN], again[CREDENTIAL_KEY_LEN];
	struct stat st;

	log_init("test", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	ck_assert(mkdtemp(dir) != NULL);
	snprintf(path, sizeof(path), "%s/seal.key", dir);
	ck_assert_int_eq(credential_key_load(path, false, one), ERR_NOT_FOUND);
	ck_assert_int_eq(credential_key_load(path, true, one), 0);
	ck_assert(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600 && st.st_nlink == 1);
	ck_assert_int_eq(credential_key_load(path, true, again), 0);
	ck_assert_int_eq(memcmp(one, again, sizeof(one)), 0);
	ck_assert_int_eq(chmod(path, 0640), 0);
	ck_assert_int_eq(credential_key_load(path, true, again), ERR_CONFIG);
	write_file(path, "abc\n", 0600);
	ck_assert_int_eq(credential_key_load(path, true, again), ERR_CONFIG);
	write_file(
	    path, "zz00000000000000000000000000000000000000000000000000000000000000\n", 0600);
	ck_assert_int_eq(credential_key_load(path, true, again), ERR_CONFIG);
	unlink(path);
	rmdir(dir);
	snprintf(path, sizeof(path), "%s/seal.key", dir);
	ck_assert_int_eq(credential_key_load(path, true, again), ERR_IO);
}
END_TEST

START_TEST(test_names)
{
	ck_assert_str_eq(credential_kind_name(CREDENTIAL_TOKEN), "token");
	ck_assert_str_eq(credential_kind_name(CREDENTIAL_PSK), "psk");
	ck_assert_str_eq(credential_kind_name(99), "?");
}
END_TEST

UNIT_MAIN("credential", test_generated_secrets, test_lookups, test_hash, test_argon2_is_bounded,
    test_nobody, test_seal, test_key_file, test_names)
