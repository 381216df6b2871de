/* secret.c - credentials for people's options and for rows of a file */
#include "secret.h"

#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "credential.h"
#include "err.h"
#include "mem.h"

#define PSK_MIN 16
#define PSK_MAX 64
#define PEM_MAX 65536

void
secret_wipe(struct secret *s)
{
	credential_wipe(s, sizeof(*s));
}

static struct msg_credential *
begin(struct secret *s, enum credential_kind kind)
{
	s->credential = (struct registry_object){ .type = MSG_CREDENTIAL };
	s->credential.any.credential.kind = kind;
	s->generated[0] = '\0';
	return &s->credential.any.credential;
}

static void
set_lookup(struct secret *s, struct bytes text)
{
	memcpy(s->lookup, text.data, text.len);
	s->lookup[text.len] = '\0';
	s->credential.any.credential.lookup = bytes_of(s->lookup, text.len);
}

/* The same length for all: what is given, or what is made. */
static struct bytes
given_or_made(struct secret *s, struct bytes text)
{
	if (text.len > 0)
		return text;
	credential_generate(s->generated);
	return bytes_of_str(s->generated);
}

const char *
secret_token(struct secret *s, struct bytes text)
{
	struct msg_credential *c = begin(s, CREDENTIAL_TOKEN);
	struct bytes token = given_or_made(s, text);
	char lookup[CREDENTIAL_NAME_LEN];

	if (token.len < SECRET_FAST_MIN)
		return "a token of less than 16 bytes can be guessed";
	if (credential_hash(CREDENTIAL_SHA256, token, &s->stored) != 0)
		return "a token is at most 256 bytes long";
	credential_token_lookup(token, lookup);
	set_lookup(s, bytes_of_str(lookup));
	credential_put(c, &s->stored);
	return NULL;
}

const char *
secret_password(struct secret *s, struct bytes user, struct bytes text, bool people)
{
	struct msg_credential *c = begin(s, CREDENTIAL_PASSWORD);
	bool slow = text.len > 0 && (people || text.len < SECRET_FAST_MIN);

	if (user.len == 0 || user.len > CREDENTIAL_LOOKUP_MAX)
		return "a user name has 1 to 256 bytes";
	if (credential_hash(slow ? CREDENTIAL_ARGON2ID : CREDENTIAL_SHA256, given_or_made(s, text),
		&s->stored) != 0)
		return "a password is at most 256 bytes long";
	set_lookup(s, user);
	credential_put(c, &s->stored);
	return NULL;
}

static unsigned
digit(uint8_t c)
{
	return c >= '0' && c <= '9'   ? (unsigned)(c - '0')
	       : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
	       : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10)
				      : 16;
}

bool
secret_read_hex(struct bytes hex, struct buf *out)
{
	if (hex.len % 2 != 0)
		return false;
	for (size_t i = 0; i < hex.len; i += 2) {
		unsigned high = digit(hex.data[i]), low = digit(hex.data[i + 1]);

		if (high > 15 || low > 15)
			return false;
		buf_add_u8(out, (uint8_t)(high << 4 | low));
	}
	return true;
}

void
secret_put_hex(struct bytes data, struct buf *out)
{
	for (size_t i = 0; i < data.len; i++)
		buf_addf(out, "%02x", data.data[i]);
}

static void
load_seal_key(struct cli *cli, uint8_t key[CREDENTIAL_KEY_LEN])
{
	const char *set = settings_str(cli->settings, SET_REGISTRY_SEAL_KEY);
	char *path = *set ? xstrdup(set) : xasprintf("%s/seal.key", cli->dir);
	int err = credential_key_load(path, false, key);

	if (err != 0)
		cli_fail(cli, err == ERR_NOT_FOUND ? EXIT_UNAVAILABLE : EXIT_CONFIG, path,
		    "the key that PSKs are sealed with cannot be read; Roost makes it at its first "
		    "start");
	free(path);
}

const char *
secret_psk(struct cli *cli, struct secret *s, struct bytes identity, struct bytes hex)
{
	struct msg_credential *c = begin(s, CREDENTIAL_PSK);
	uint8_t seal[CREDENTIAL_KEY_LEN], made[32];
	struct buf psk = { 0 };
	const char *fault = NULL;

	if (identity.len == 0 || identity.len > 128)
		return "a PSK identity has 1 to 128 bytes";
	if (hex.len == 0) {
		struct buf text = { 0 };

		credential_random(made, sizeof(made));
		secret_put_hex(bytes_of(made, sizeof(made)), &text);
		memcpy(s->generated, buf_str(&text), text.len + 1);
		buf_add(&psk, made, sizeof(made));
		credential_wipe(text.data, text.len);
		buf_fini(&text);
	} else if (!secret_read_hex(hex, &psk)) {
		fault = "a PSK is given as hex digits";
	}
	if (fault == NULL && (psk.len < PSK_MIN || psk.len > PSK_MAX))
		fault = "a PSK has 16 to 64 bytes, 32 to 128 hex digits";
	if (fault == NULL) {
		load_seal_key(cli, seal);
		set_lookup(s, identity);
		(void)credential_seal(seal, c->lookup, buf_bytes(&psk), &s->stored);
		credential_put(c, &s->stored);
		credential_wipe(seal, sizeof(seal));
	}
	if (psk.len)
		credential_wipe(psk.data, psk.len);
	credential_wipe(made, sizeof(made));
	buf_fini(&psk);
	return fault;
}

const char *
secret_fingerprint(struct secret *s, struct bytes text)
{
	struct buf lookup = { 0 };

	(void)begin(s, CREDENTIAL_X509);
	if (text.len > 3 && memcmp(text.data, "fp:", 3) == 0)
		text = bytes_of(text.data + 3, text.len - 3);
	buf_add_str(&lookup, "fp:");
	for (size_t i = 0; i < text.len; i++) {
		if (digit(text.data[i]) < 16)
			buf_addf(&lookup, "%x", digit(text.data[i]));
		else if (text.data[i] != ':')
			text.len = 0;
	}
	if (lookup.len != CREDENTIAL_NAME_LEN - 1 || text.len == 0) {
		buf_fini(&lookup);
		return "a fingerprint is the SHA-256 of a certificate: 64 hex digits";
	}
	set_lookup(s, buf_bytes(&lookup));
	buf_fini(&lookup);
	return NULL;
}

/* --- certificates --- */

static X509 *
read_certificate(struct cli *cli, const char *path)
{
	struct buf pem = { 0 };
	BIO *bio;
	X509 *x;

	cli_read(cli, path, PEM_MAX, &pem);
	bio = BIO_new_mem_buf(pem.data ? pem.data : (const uint8_t *)"", (int)pem.len);
	x = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	if (x == NULL)
		cli_fail(cli, EXIT_DATA, path, "no certificate in PEM form");
	BIO_free(bio);
	buf_fini(&pem);
	return x;
}

static void
put_der(struct cli *cli, X509 *x, struct buf *out)
{
	unsigned char *der = NULL;
	int len = i2d_X509(x, &der);

	if (len <= 0)
		cli_fail(cli, EXIT_DATA, "a certificate", "cannot be encoded");
	buf_add(out, der, (size_t)len);
	OPENSSL_free(der);
}

static void
put_subject(struct cli *cli, const X509 *x, struct buf *out)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;
	long len;

	if (bio == NULL ||
	    X509_NAME_print_ex(bio, X509_get_subject_name(x), 0, XN_FLAG_RFC2253) < 0)
		cli_fail(cli, EXIT_DATA, "a certificate", "its subject cannot be read");
	len = BIO_get_mem_data(bio, &text);
	buf_add(out, text, (size_t)len);
	BIO_free(bio);
}

void
secret_certificate(struct cli *cli, struct secret *s)
{
	struct buf der = { 0 }, subject = { 0 };
	char lookup[CREDENTIAL_NAME_LEN];
	X509 *x = NULL;

	(void)begin(s, CREDENTIAL_X509);
	if (cli->certificate != NULL)
		x = read_certificate(cli, cli->certificate);
	if (cli->ca == NULL) {
		if (x == NULL)
			cli_fail(cli, EXIT_USAGE, "--subject", "goes with --ca FILE");
		put_der(cli, x, &der);
		credential_certificate_lookup(buf_bytes(&der), lookup);
	} else {
		X509 *ca = read_certificate(cli, cli->ca);

		put_der(cli, ca, &der);
		X509_free(ca);
		if (cli->subject != NULL)
			buf_add_str(&subject, cli->subject);
		else if (x != NULL)
			put_subject(cli, x, &subject);
		else
			cli_fail(cli, EXIT_USAGE, "--ca", "goes with --subject or --certificate");
		credential_ca_lookup(buf_bytes(&der), buf_bytes(&subject), lookup);
	}
	X509_free(x);
	set_lookup(s, bytes_of_str(lookup));
	buf_fini(&der);
	buf_fini(&subject);
}

/* --- from options --- */

bool
secret_from_options(struct cli *cli, struct secret *s, bool people, bool fallback)
{
	struct buf text = { 0 };
	const char *fault = NULL;
	const char *file = cli->psk    ? cli->psk_file
			   : cli->user ? cli->password_file
				       : cli->token_file;

	if (cli->certificate || cli->ca || cli->subject) {
		secret_certificate(cli, s);
		return true;
	}
	if (cli->psk_file && !cli->psk)
		cli_fail(cli, EXIT_USAGE, "--psk-file", "goes with --psk IDENTITY");
	if (cli->password_file && !cli->user)
		cli_fail(cli, EXIT_USAGE, "--password-file", "goes with --user NAME");
	if (!cli->psk && !cli->user && !cli->token_file && !fallback)
		return false;
	if (file)
		cli_read_secret(cli, file, &text);
	if (cli->psk)
		fault = secret_psk(cli, s, bytes_of_str(cli->psk), buf_bytes(&text));
	else if (cli->user)
		fault = secret_password(s, bytes_of_str(cli->user), buf_bytes(&text), people);
	else
		fault = secret_token(s, buf_bytes(&text));
	if (text.len)
		credential_wipe(text.data, text.len);
	buf_fini(&text);
	if (fault)
		cli_fail(cli, EXIT_DATA, file ? file : "credential", fault);
	return true;
}

void
secret_owner(struct secret *s, const char *device, const char *user, struct bytes roles)
{
	struct msg_credential *c = &s->credential.any.credential;

	c->device = bytes_of_str(device);
	c->user = bytes_of_str(user);
	c->roles = roles;
}
