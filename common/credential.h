/* credential.h - secrets: made, hashed, sealed, compared; the one user of OpenSSL's hashes and of libargon2
 *
 * Nothing of a secret is kept but a salted hash of it: SHA-256 of secrets that were generated (160 random bits cannot be
 * guessed, however fast one may try), Argon2id of passwords that people chose. A pre-shared key has to be known in clear to
 * be used: it is sealed with AES-256-GCM under the key in registry.seal_key. A token finds its credential by the first 16 bytes
 * of SHA-256("roost-token" || token), which tell nothing about it that its hash would not.
 *
 * All comparing takes the same time wherever the first difference is. Buffers that held a secret are overwritten. */
#ifndef ROOST_CREDENTIAL_H
#define ROOST_CREDENTIAL_H

#include "codec.h"

enum credential_kind {
	CREDENTIAL_TOKEN = 1,	 /* lookup: credential_token_lookup() */
	CREDENTIAL_PASSWORD = 2, /* lookup: the user name */
	CREDENTIAL_X509 = 3,	 /* lookup: credential_certificate_lookup() or credential_ca_lookup() */
	CREDENTIAL_PSK = 4,	 /* lookup: the PSK identity */
};
const char *credential_kind_name(uint64_t kind); /* "token"; "?" */

enum credential_scheme {
	CREDENTIAL_PLAIN = 0, /* no secret of ours: X.509 */
	CREDENTIAL_SHA256 = 1, /* hash: SHA-256(salt || secret) */
	CREDENTIAL_ARGON2ID = 2, /* hash: "$argon2id$v=19$m=65536,t=3,p=1$...": salt and parameters are in it */
	CREDENTIAL_SEALED = 3, /* salt: nonce; hash: AES-256-GCM(key), tag; the lookup is authenticated with it */
};

#define CREDENTIAL_SECRET_LEN 32 /* base32 characters of a generated secret: 160 bits */
#define CREDENTIAL_SECRET_MAX 256 /* bytes of one that somebody chose */
#define CREDENTIAL_LOOKUP_MAX 256
#define CREDENTIAL_SALT_LEN 16
#define CREDENTIAL_HASH_LEN 32
#define CREDENTIAL_NONCE_LEN 12
#define CREDENTIAL_TAG_LEN 16
#define CREDENTIAL_KEY_LEN 32
#define CREDENTIAL_STORED_MAX 512

/* 32 characters a-z 2-7, and NUL. */
void credential_generate(char out[CREDENTIAL_SECRET_LEN + 1]);

#define CREDENTIAL_NAME_LEN 68
/* What a credential is found by; NUL-terminated. */
void credential_token_lookup(struct bytes token, char out[CREDENTIAL_NAME_LEN]);
/* "fp:" and SHA-256 of the certificate (DER). */
void credential_certificate_lookup(struct bytes der, char out[CREDENTIAL_NAME_LEN]);
/* "ca:" and SHA-256 of (SHA-256 of the CA's certificate (DER) || subject). subject: as X509_NAME_print_ex with XN_FLAG_RFC2253
 * writes it. The caller has verified that this CA issued the certificate. */
void credential_ca_lookup(struct bytes ca_der, struct bytes subject, char out[CREDENTIAL_NAME_LEN]);

/* What goes into CREDENTIAL.scheme, salt and hash. */
struct credential_secret {
	enum credential_scheme scheme;
	uint8_t salt[CREDENTIAL_SALT_LEN];
	size_t salt_len;
	uint8_t stored[CREDENTIAL_STORED_MAX];
	size_t stored_len;
};
/* SHA256 or ARGON2ID (some 0.1 s and 64 MiB). ERR_TOO_BIG: the secret is empty or longer than CREDENTIAL_SECRET_MAX. */
int credential_hash(enum credential_scheme scheme, struct bytes secret, struct credential_secret *ret);
int credential_seal(const uint8_t key[CREDENTIAL_KEY_LEN], struct bytes identity, struct bytes psk, struct credential_secret *ret);
/* ret: the PSK, appended. ERR_DAMAGED: another key or identity, or changed bytes. */
int credential_unseal(const uint8_t key[CREDENTIAL_KEY_LEN], const struct msg_credential *c, struct buf *ret);
/* Fills the three fields, which borrow from s. */
void credential_put(struct msg_credential *c, const struct credential_secret *s);

/* Is this the secret? False for schemes that have none. ARGON2ID takes its time: not on the loop's thread. */
bool credential_matches(const struct msg_credential *c, struct bytes secret);
bool credential_is_slow(const struct msg_credential *c);
/* One that no secret matches and that takes as long to find out: for a name that does not exist. */
const struct msg_credential *credential_nobody(enum credential_scheme scheme);

/* The key of path: 64 hex digits. create: made if it is not there (0600, durable). ERR_NOT_FOUND; ERR_IO; ERR_CONFIG: no key, or
 * others may read the file. Logged but for ERR_NOT_FOUND. */
int credential_key_load(const char *path, bool create, uint8_t ret_key[CREDENTIAL_KEY_LEN]);
/* Overwrites what held a secret. */
void credential_wipe(void *data, size_t len);
/* From the kernel. */
void credential_random(uint8_t *out, size_t len);

#endif
