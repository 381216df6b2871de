/* credential.c - secrets: made, hashed, sealed, compared; the one user of OpenSSL's hashes and of libargon2 */
#include "credential.h"

#include <argon2.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "err.h"
#include "log.h"
#include "mem.h"

#define ARGON2_PASSES 3
#define ARGON2_KIB 65536
#define ARGON2_LANES 1
/* What an encoded hash may ask for: it comes from the journal. */
#define ARGON2_PASSES_MAX 16
#define ARGON2_KIB_MAX 262144

const char *
credential_kind_name(uint64_t kind)
{
	static const char *const names[] = { "?", "token", "password", "x509", "psk" };

	return kind < COUNT_OF(names) ? names[kind] : "?";
}

void
credential_generate(char out[CREDENTIAL_SECRET_LEN + 1])
{
	static const char base32[] = "abcdefghijklmnopqrstuvwxyz234567";
	uint8_t random[CREDENTIAL_SECRET_LEN];

	credential_random(random, sizeof(random));
	for (size_t i = 0; i < sizeof(random); i++)
		out[i] = base32[random[i] & 31];
	out[CREDENTIAL_SECRET_LEN] = '\0';
	credential_wipe(random, sizeof(random));
}

/* --- hashes --- */

/* SHA-256 of one part behind the other. */
static void
sha256(struct bytes a, struct bytes b, uint8_t out[CREDENTIAL_HASH_LEN])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
		  EVP_DigestUpdate(ctx, a.data, a.len) == 1 &&
		  EVP_DigestUpdate(ctx, b.data, b.len) == 1 &&
		  EVP_DigestFinal_ex(ctx, out, NULL) == 1;

	ASSERT(ok);
	EVP_MD_CTX_free(ctx);
}

static void
put_hex(const char *prefix, const uint8_t *data, size_t len, char out[CREDENTIAL_NAME_LEN])
{
	size_t n = strlen(prefix);

	ASSERT(n + 2 * len < CREDENTIAL_NAME_LEN);
	memcpy(out, prefix, n + 1);
	for (size_t i = 0; i < len; i++, n += 2)
		snprintf(out + n, 3, "%02x", data[i]);
}

void
credential_token_lookup(struct bytes token, char out[CREDENTIAL_NAME_LEN])
{
	uint8_t hash[CREDENTIAL_HASH_LEN];

	sha256(bytes_of_str("roost-token"), token, hash);
	put_hex("", hash, 16, out);
	credential_wipe(hash, sizeof(hash));
}

void
credential_certificate_lookup(struct bytes der, char out[CREDENTIAL_NAME_LEN])
{
	uint8_t hash[CREDENTIAL_HASH_LEN];

	sha256(der, (struct bytes){ 0 }, hash);
	put_hex("fp:", hash, sizeof(hash), out);
}

void
credential_ca_lookup(struct bytes ca_der, struct bytes subject, char out[CREDENTIAL_NAME_LEN])
{
	uint8_t hash[CREDENTIAL_HASH_LEN];

	sha256(ca_der, (struct bytes){ 0 }, hash);
	sha256(bytes_of(hash, sizeof(hash)), subject, hash);
	put_hex("ca:", hash, sizeof(hash), out);
}

static int
hash_password(struct bytes secret, struct credential_secret *ret)
{
	uint8_t salt[CREDENTIAL_SALT_LEN];
	char encoded[CREDENTIAL_STORED_MAX];
	int rc;

	credential_random(salt, sizeof(salt));
	rc = argon2id_hash_encoded(ARGON2_PASSES, ARGON2_KIB, ARGON2_LANES, secret.data, secret.len,
	    salt, sizeof(salt), CREDENTIAL_HASH_LEN, encoded, sizeof(encoded));
	if (rc != ARGON2_OK) {
		log_error("credential.argon2", LS("fault", argon2_error_message(rc)));
		return ERR_FULL;
	}
	ret->salt_len = 0;
	ret->stored_len = strlen(encoded);
	memcpy(ret->stored, encoded, ret->stored_len);
	return 0;
}

int
credential_hash(enum credential_scheme scheme, struct bytes secret, struct credential_secret *ret)
{
	ASSERT(scheme == CREDENTIAL_SHA256 || scheme == CREDENTIAL_ARGON2ID);
	if (secret.len == 0 || secret.len > CREDENTIAL_SECRET_MAX)
		return ERR_TOO_BIG;
	ret->scheme = scheme;
	if (scheme == CREDENTIAL_ARGON2ID)
		return hash_password(secret, ret);
	credential_random(ret->salt, CREDENTIAL_SALT_LEN);
	ret->salt_len = CREDENTIAL_SALT_LEN;
	sha256(bytes_of(ret->salt, ret->salt_len), secret, ret->stored);
	ret->stored_len = CREDENTIAL_HASH_LEN;
	return 0;
}

void
credential_put(struct msg_credential *c, const struct credential_secret *s)
{
	c->scheme = s->scheme;
	c->salt = bytes_of(s->salt, s->salt_len);
	c->hash = bytes_of(s->stored, s->stored_len);
}

/* "$argon2id$v=19$m=65536,t=3,p=1$": no more memory or time than it may have. */
static bool
argon2_is_bounded(const char *encoded)
{
	unsigned kib, passes, lanes;

	return sscanf(encoded, "$argon2id$v=19$m=%9u,t=%9u,p=%9u$", &kib, &passes, &lanes) == 3 &&
	       kib <= ARGON2_KIB_MAX && passes <= ARGON2_PASSES_MAX && lanes <= 4;
}

static bool
password_matches(struct bytes stored, struct bytes secret)
{
	char encoded[CREDENTIAL_STORED_MAX + 1];

	if (stored.len > CREDENTIAL_STORED_MAX || secret.len > CREDENTIAL_SECRET_MAX)
		return false;
	memcpy(encoded, stored.data, stored.len);
	encoded[stored.len] = '\0';
	return argon2_is_bounded(encoded) &&
	       argon2id_verify(encoded, secret.data, secret.len) == ARGON2_OK;
}

bool
credential_is_slow(const struct msg_credential *c)
{
	return c->scheme == CREDENTIAL_ARGON2ID;
}

bool
credential_matches(const struct msg_credential *c, struct bytes secret)
{
	uint8_t hash[CREDENTIAL_HASH_LEN];
	bool same;

	if (c->scheme == CREDENTIAL_ARGON2ID)
		return c->hash.len > 0 && password_matches(c->hash, secret);
	if (c->scheme != CREDENTIAL_SHA256 || c->hash.len != sizeof(hash))
		return false;
	sha256(c->salt, secret, hash);
	same = CRYPTO_memcmp(hash, c->hash.data, sizeof(hash)) == 0;
	credential_wipe(hash, sizeof(hash));
	return same;
}

const struct msg_credential *
credential_nobody(enum credential_scheme scheme)
{
	static const char argon2[] = "$argon2id$v=19$m=65536,t=3,p=1$cm9vc3QtcmVnaXN0cnkh$"
				     "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
	static const uint8_t zero[CREDENTIAL_HASH_LEN];
	static struct msg_credential fast = { .scheme = CREDENTIAL_SHA256 },
				     slow = { .scheme = CREDENTIAL_ARGON2ID };

	fast.salt = bytes_of(zero, CREDENTIAL_SALT_LEN);
	fast.hash = bytes_of(zero, sizeof(zero));
	slow.hash = bytes_of_str(argon2);
	return scheme == CREDENTIAL_ARGON2ID ? &slow : &fast;
}

/* --- sealed keys --- */

/* One turn of AES-256-GCM, either way; len bytes from in to out. */
static bool
gcm(bool seal, const uint8_t *key, const uint8_t *nonce, struct bytes aad, struct bytes in,
    uint8_t *out, uint8_t tag[CREDENTIAL_TAG_LEN])
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	uint8_t end[16];
	int n = 0;
	bool ok = ctx != NULL &&
		  EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce, seal) == 1 &&
		  EVP_CipherUpdate(ctx, NULL, &n, aad.data, (int)aad.len) == 1 &&
		  EVP_CipherUpdate(ctx, out, &n, in.data, (int)in.len) == 1;

	if (ok && !seal)
		ok = EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, CREDENTIAL_TAG_LEN, tag) == 1;
	if (ok)
		ok = EVP_CipherFinal_ex(ctx, end, &n) == 1;
	if (ok && seal)
		ok = EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, CREDENTIAL_TAG_LEN, tag) == 1;
	EVP_CIPHER_CTX_free(ctx);
	return ok;
}

int
credential_seal(const uint8_t key[CREDENTIAL_KEY_LEN], struct bytes identity, struct bytes psk,
    struct credential_secret *ret)
{
	bool ok;

	if (psk.len == 0 || psk.len > CREDENTIAL_SECRET_MAX || identity.len > CREDENTIAL_LOOKUP_MAX)
		return ERR_TOO_BIG;
	ret->scheme = CREDENTIAL_SEALED;
	credential_random(ret->salt, CREDENTIAL_NONCE_LEN);
	ret->salt_len = CREDENTIAL_NONCE_LEN;
	ok = gcm(true, key, ret->salt, identity, psk, ret->stored, ret->stored + psk.len);
	ASSERT(ok);
	ret->stored_len = psk.len + CREDENTIAL_TAG_LEN;
	return 0;
}

int
credential_unseal(
    const uint8_t key[CREDENTIAL_KEY_LEN], const struct msg_credential *c, struct buf *ret)
{
	uint8_t tag[CREDENTIAL_TAG_LEN], *out;
	size_t len;

	if (c->scheme != CREDENTIAL_SEALED || c->salt.len != CREDENTIAL_NONCE_LEN ||
	    c->hash.len <= CREDENTIAL_TAG_LEN || c->hash.len > CREDENTIAL_STORED_MAX)
		return ERR_DAMAGED;
	len = c->hash.len - CREDENTIAL_TAG_LEN;
	memcpy(tag, c->hash.data + len, sizeof(tag));
	out = buf_reserve(ret, len);
	if (out == NULL)
		return ERR_TOO_BIG;
	if (!gcm(false, key, c->salt.data, c->lookup, bytes_of(c->hash.data, len), out, tag)) {
		credential_wipe(out, len);
		return ERR_DAMAGED;
	}
	ret->len += len;
	return 0;
}
