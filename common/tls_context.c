/* tls_context.c - files of certificates, keys, CAs and CRLs become contexts, or a sentence that says what is wrong with which */
#include "tls_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "err.h"
#include "log.h"
#include "mem.h"

#define CHAIN_MAX 5	       /* CAs between a client's certificate and one of ours */
#define CLIENT_CHAIN_MAX 32768 /* bytes of the certificates that a client sends */
#define SOON_S (14 * 86400)

/* Ephemeral keys and authenticated encryption only (RFC 7525, 4.2; RFC 9325, 4.2); small devices first. */
#define CIPHERS_12                                                                                 \
	"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                               \
	"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"                               \
	"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-PSK-CHACHA20-POLY1305"
/* For datagrams also what RFC 7252, 9.1.3 asks of small devices; without ephemeral keys, so it comes last. */
#define CIPHERS_DATAGRAMS                                                                          \
	CIPHERS_12 ":ECDHE-ECDSA-AES128-CCM8:PSK-AES128-GCM-SHA256:PSK-AES128-CCM:PSK-AES128-CCM8"
#define CIPHERS_13 "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"
#define GROUPS "X25519:P-256:P-384"

#define MAKE_ONE "`roost certs init DIR` makes one"

struct file { /* that a setting names */
	const char *key;
	const char *path;
	struct buf text;
	struct buf *err;
};

static int
refuse(const struct file *f, const char *what, const char *remedy)
{
	buf_addf(f->err, "%s: %s: %s; %s", f->key, f->path, what, remedy);
	ERR_clear_error();
	return ERR_CONFIG;
}

/* What libssl says of it. */
static int
refuse_why(const struct file *f, const char *what, const char *remedy)
{
	const char *why = ERR_reason_error_string(ERR_peek_last_error());
	char text[256];

	snprintf(text, sizeof(text), "%s (%s)", what, why ? why : "no reason given");
	return refuse(f, text, remedy);
}

static void
close_file(struct file *f)
{
	if (f->text.data)
		OPENSSL_cleanse(f->text.data, f->text.cap);
	buf_fini(&f->text);
}

static int
read_all(struct file *f, int fd, size_t size)
{
	uint8_t *at = buf_reserve(&f->text, size + 1);
	ssize_t n;

	while ((n = read(fd, at + f->text.len, size + 1 - f->text.len)) > 0 || errno == EINTR) {
		f->text.len += n > 0 ? (size_t)n : 0;
		if (n >= 0 && (n == 0 || f->text.len > size))
			break;
	}
	return n < 0 ? refuse(f, strerror(errno), "see that it can be read") : 0;
}

/* remedy: what to do if it is not there. secret: nobody else may read it. */
static int
open_file(struct file *f, bool secret, const char *remedy)
{
	int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err;
	struct stat st;

	if (fd < 0)
		return refuse(f, strerror(errno), remedy);
	if (fstat(fd, &st) != 0)
		err = refuse(f, strerror(errno), remedy);
	else if (!S_ISREG(st.st_mode))
		err = refuse(f, "it is no file", remedy);
	else if (secret && (st.st_mode & (S_IRWXO | S_IWGRP)) != 0)
		err = refuse(f, "others may read or change this secret key",
		    "chmod 600 it, and replace it if others may have read it");
	else if (st.st_size > TLS_FILE_MAX)
		err = refuse(f, "it is larger than 16 MiB", remedy);
	else
		err = read_all(f, fd, (size_t)st.st_size);
	close(fd);
	return err;
}

static BIO *
bio_of(const struct file *f)
{
	BIO *bio = BIO_new_mem_buf(f->text.data, (int)f->text.len);

	ASSERT(bio);
	return bio;
}

/* PEM's "there is no more" is no error. */
static bool
is_end(void)
{
	unsigned long e = ERR_peek_last_error();
	bool end = ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;

	if (end)
		ERR_clear_error();
	return end;
}

static int64_t
seconds_of(const ASN1_TIME *t)
{
	struct tm tm;

	return t && ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static void
keep_first(int64_t *first, int64_t s)
{
	if (s && (!*first || s < *first))
		*first = s;
}

static void
warn_of_expiry(const char *key, const char *path, int64_t expires_s)
{
	int64_t left = expires_s - (int64_t)time(NULL);

	if (expires_s == 0 || left > SOON_S)
		return;
	if (left <= 0)
		log_error("tls.expired", LS("setting", key), LS("file", path),
		    LI("days_ago", -left / 86400));
	else
		log_warn("tls.expires", LS("setting", key), LS("file", path),
		    LI("in_days", left / 86400));
}

/* --- our certificate --- */

static int
use_chain(SSL_CTX *ctx, const struct file *f, int64_t *expires_s)
{
	static const char remedy[] = "it must hold certificates in PEM form, the server's first, "
				     "then those that signed it; " MAKE_ONE;
	BIO *bio = bio_of(f);
	X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	int err = 0;

	if (!x) {
		err = is_end() ? refuse(f, "there is no certificate in it", remedy)
			       : refuse_why(f, "its certificate cannot be read", remedy);
	} else if (SSL_CTX_use_certificate(ctx, x) != 1) {
		err =
		    refuse_why(f, "its certificate cannot be used", "take another one; " MAKE_ONE);
	} else {
		keep_first(expires_s, seconds_of(X509_get0_notAfter(x)));
		warn_of_expiry(f->key, f->path, seconds_of(X509_get0_notAfter(x)));
	}
	X509_free(x);
	while (err == 0 && (x = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		keep_first(expires_s, seconds_of(X509_get0_notAfter(x)));
		if (SSL_CTX_add0_chain_cert(ctx, x) != 1) {
			X509_free(x);
			err = refuse_why(f, "a certificate of its chain cannot be used", remedy);
		}
	}
	if (err == 0 && !is_end())
		err = refuse_why(f, "a certificate of its chain cannot be read", remedy);
	BIO_free(bio);
	return err;
}

/* There is nobody to ask. */
static int
no_password(char *out, int size, int writing, void *arg)
{
	(void)out;
	(void)size;
	(void)writing;
	*(bool *)arg = true;
	return -1;
}

static int
use_key(SSL_CTX *ctx, const struct file *f, const char *certificate)
{
	static const char remedy[] =
	    "it must hold the key of tls.certificate in PEM form; " MAKE_ONE;
	bool asked = false;
	BIO *bio = bio_of(f);
	EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_password, &asked);
	char text[512];
	int err = 0;

	BIO_free(bio);
	if (!key && asked)
		return refuse(f, "it is encrypted, and there is nobody to ask for its password",
		    "write it without one: openssl pkey -in FILE -out NEW");
	if (!key)
		return refuse(f, "there is no key in it that can be read", remedy);
	if (SSL_CTX_use_PrivateKey(ctx, key) != 1 || SSL_CTX_check_private_key(ctx) != 1) {
		snprintf(
		    text, sizeof(text), "it is not the key of the certificate in %s", certificate);
		err = refuse(f, text, "name the two that belong together, in the same order");
	}
	EVP_PKEY_free(key);
	return err;
}

static int
use_identity(SSL_CTX *ctx, const struct settings *s, size_t n, struct tls_set *set, struct buf *err)
{
	struct file certificate = { .key = "tls.certificate", .err = err };
	struct file key = { .key = "tls.key", .err = err };
	int rc;

	certificate.path = settings_list_at(s, SET_TLS_CERTIFICATE, n);
	key.path = settings_list_at(s, SET_TLS_KEY, n);
	if ((rc = open_file(&certificate, false, "name a file that is there; " MAKE_ONE)) == 0 &&
	    (rc = use_chain(ctx, &certificate, &set->expires_s)) == 0 &&
	    (rc = open_file(&key, true, "name a file that is there; " MAKE_ONE)) == 0)
		rc = use_key(ctx, &key, certificate.path);
	close_file(&certificate);
	close_file(&key);
	return rc;
}

/* --- whose certificates we believe --- */

struct trust {
	X509_STORE *store;
	STACK_OF(X509) * cas;
	STACK_OF(X509_CRL) * crls;
	uint8_t digest
	    [EVP_MAX_MD_SIZE]; /* of all that decides who is believed: sessions of another one are not resumed */
	unsigned digest_len;
};

static void
trust_fini(struct trust *t)
{
	X509_STORE_free(t->store);
	sk_X509_pop_free(t->cas, X509_free);
	sk_X509_CRL_pop_free(t->crls, X509_CRL_free);
}

static int
read_cas(struct trust *t, const struct file *f)
{
	static const char remedy[] =
	    "it must hold certificates of CAs in PEM form; `roost certs init DIR` makes a CA";
	BIO *bio = bio_of(f);
	X509 *x;
	int err = 0;

	while (err == 0 && (x = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		if (X509_check_ca(x) == 0)
			err = refuse(f, "one of its certificates is not that of a CA", remedy);
		else if (X509_STORE_add_cert(t->store, x) != 1)
			err = refuse_why(f, "one of its certificates cannot be used", remedy);
		if (err == 0)
			sk_X509_push(t->cas, x);
		else
			X509_free(x);
	}
	if (err == 0 && !is_end())
		err = refuse_why(f, "one of its certificates cannot be read", remedy);
	if (err == 0 && sk_X509_num(t->cas) == 0)
		err = refuse(f, "there is no certificate in it", remedy);
	BIO_free(bio);
	return err;
}

static int
read_crls(struct trust *t, const struct file *f, int64_t *expires_s)
{
	static const char remedy[] = "it must hold a CRL of each CA of tls.client_ca, in PEM form";
	BIO *bio = bio_of(f);
	X509_CRL *crl;
	int err = 0;

	while (err == 0 && (crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL))) {
		if (X509_STORE_add_crl(t->store, crl) != 1)
			err = refuse_why(f, "one of its CRLs cannot be used", remedy);
		keep_first(expires_s, seconds_of(X509_CRL_get0_nextUpdate(crl)));
		sk_X509_CRL_push(t->crls, crl);
	}
	if (err == 0 && !is_end())
		err = refuse_why(f, "one of its CRLs cannot be read", remedy);
	if (err == 0 && sk_X509_CRL_num(t->crls) == 0)
		err = refuse(f, "there is no CRL in it", remedy);
	BIO_free(bio);
	if (err == 0)
		warn_of_expiry(f->key, f->path, *expires_s);
	return err;
}

static bool
has_crl(const struct trust *t, const X509 *ca)
{
	for (int i = 0; i < sk_X509_CRL_num(t->crls); i++)
		if (X509_NAME_cmp(X509_CRL_get_issuer(sk_X509_CRL_value(t->crls, i)),
			X509_get_subject_name(ca)) == 0)
			return true;
	return false;
}

/* What is over now was good once, and its successor may come while we run; until then nobody is let in by it. */
static int
is_only_over(int ok, X509_STORE_CTX *ctx)
{
	int e = X509_STORE_CTX_get_error(ctx);

	return ok || e == X509_V_ERR_CERT_HAS_EXPIRED || e == X509_V_ERR_CRL_HAS_EXPIRED;
}

/* A CA without its CRL, or whose chain is not whole, would refuse everybody later: it is said now. */
static int
check_ca(const struct trust *t, X509 *ca, const struct file *f, bool crls)
{
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	char name[256], text[512];
	const char *fault = NULL;

	ASSERT(ctx && X509_STORE_CTX_init(ctx, t->store, ca, NULL) == 1);
	X509_STORE_CTX_set_verify_cb(ctx, is_only_over);
	if (crls && !has_crl(t, ca))
		fault = "tls.crl has no CRL of it";
	else if (X509_verify_cert(ctx) != 1)
		fault = X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx));
	X509_STORE_CTX_free(ctx);
	if (!fault)
		return 0;
	X509_NAME_oneline(X509_get_subject_name(ca), name, sizeof(name));
	snprintf(text, sizeof(text), "the CA %s cannot be used: %s", name, fault);
	return refuse(f, text, "add what is missing, or take that CA out");
}

static void
digest_trust(
    struct trust *t, const struct settings *s, const struct file *ca, const struct file *crl)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	const char *mode = settings_str(s, SET_TLS_CLIENT_CERTIFICATE);

	ASSERT(md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1);
	(void)EVP_DigestUpdate(md, mode, strlen(mode) + 1);
	(void)EVP_DigestUpdate(md, ca->text.data, ca->text.len);
	(void)EVP_DigestUpdate(md, "", 1);
	(void)EVP_DigestUpdate(md, crl->text.data, crl->text.len);
	ASSERT(EVP_DigestFinal_ex(md, t->digest, &t->digest_len) == 1);
	EVP_MD_CTX_free(md);
}

static int
trust_load(struct trust *t, const struct settings *s, struct tls_set *set, struct buf *err)
{
	struct file ca = {
		.key = "tls.client_ca", .path = settings_str(s, SET_TLS_CLIENT_CA), .err = err
	};
	struct file crl = { .key = "tls.crl", .path = settings_str(s, SET_TLS_CRL), .err = err };
	int rc = 0;

	t->store = X509_STORE_new();
	t->cas = sk_X509_new_null();
	t->crls = sk_X509_CRL_new_null();
	ASSERT(t->store && t->cas && t->crls);
	if (*ca.path && (rc = open_file(&ca, false, "name a file that is there")) == 0)
		rc = read_cas(t, &ca);
	if (rc == 0 && *crl.path) {
		X509_STORE_set_flags(t->store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
		if ((rc = open_file(&crl, false, "name a file that is there")) == 0)
			rc = read_crls(t, &crl, &set->crl_expires_s);
	}
	for (int i = 0; rc == 0 && i < sk_X509_num(t->cas); i++)
		rc = check_ca(t, sk_X509_value(t->cas, i), &ca, *crl.path != '\0');
	digest_trust(t, s, &ca, &crl);
	close_file(&ca);
	close_file(&crl);
	return rc;
}

/* --- contexts --- */

static int
verify_mode(const struct settings *s)
{
	const char *mode = settings_str(s, SET_TLS_CLIENT_CERTIFICATE);

	if (strcmp(mode, "required") == 0)
		return SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
	return strcmp(mode, "optional") == 0 ? SSL_VERIFY_PEER : SSL_VERIFY_NONE;
}

static SSL_CTX *
new_context(struct tls *t, const struct trust *trust)
{
	char groups[] = GROUPS; /* the macro below takes no constant one */
	SSL_CTX *ctx = SSL_CTX_new(t->datagrams ? DTLS_server_method() : TLS_server_method());
	bool only_13 = strcmp(settings_str(t->settings, SET_TLS_MIN_VERSION), "1.3") == 0;

	ASSERT(ctx);
	SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
				     SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
	/* Buffers of a record are there while one is read or written, not between. */
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
	if (t->datagrams) {
		/* There is no later one; the level allows the short tags of CCM_8. */
		ASSERT(SSL_CTX_set_min_proto_version(ctx, DTLS1_2_VERSION) == 1);
		ASSERT(SSL_CTX_set_cipher_list(ctx, CIPHERS_DATAGRAMS) == 1);
		SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_QUERY_MTU);
		tls_datagrams_use(ctx);
	} else {
		ASSERT(SSL_CTX_set_min_proto_version(
			   ctx, only_13 ? TLS1_3_VERSION : TLS1_2_VERSION) == 1);
		ASSERT(SSL_CTX_set_cipher_list(ctx, CIPHERS_12) == 1);
		ASSERT(SSL_CTX_set_ciphersuites(ctx, CIPHERS_13) == 1);
	}
	ASSERT(SSL_CTX_set1_groups_list(ctx, groups) == 1);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_timeout(ctx, TLS_SESSION_S);
	SSL_CTX_set_num_tickets(ctx, 1);
	ASSERT(t->datagrams || tls_tickets_use(ctx) == 0);
	ASSERT(SSL_CTX_set_session_id_context(ctx, trust->digest,
		   trust->digest_len < SSL_MAX_SID_CTX_LENGTH ? trust->digest_len
							      : SSL_MAX_SID_CTX_LENGTH) == 1);
	SSL_CTX_set_verify(ctx, verify_mode(t->settings), NULL);
	SSL_CTX_set_verify_depth(ctx, CHAIN_MAX);
	SSL_CTX_set_max_cert_list(ctx, CLIENT_CHAIN_MAX);
	SSL_CTX_set1_cert_store(ctx, trust->store);
	for (int i = 0; i < sk_X509_num(trust->cas); i++)
		(void)SSL_CTX_add_client_CA(ctx, sk_X509_value(trust->cas, i));
	(void)SSL_CTX_set_tlsext_servername_callback(ctx, tls_on_name);
	if (!t->datagrams) {
		SSL_CTX_set_alpn_select_cb(ctx, tls_on_alpn, NULL);
		SSL_CTX_set_client_hello_cb(ctx, tls_on_hello, NULL);
	}
	SSL_CTX_set_psk_server_callback(ctx, tls_on_psk);
	return ctx;
}

int
tls_set_load(struct tls *t, struct tls_set *ret, struct buf *err)
{
	size_t n = settings_list_count(t->settings, SET_TLS_CERTIFICATE);
	struct trust trust = { .store = NULL };
	int rc;

	*ret = (struct tls_set){ .count = 0 };
	ERR_clear_error();
	rc = trust_load(&trust, t->settings, ret, err);
	while (rc == 0 && ret->count < n && ret->count < TLS_CERTIFICATES_MAX) {
		SSL_CTX *ctx = new_context(t, &trust);

		ret->contexts[ret->count] = ctx;
		rc = use_identity(ctx, t->settings, ret->count++, ret, err);
	}
	if (rc == 0 && t->datagrams && ret->count == 0) /* pre-shared keys alone */
		ret->contexts[ret->count++] = new_context(t, &trust);
	trust_fini(&trust);
	if (rc != 0)
		tls_set_fini(ret);
	return rc;
}

void
tls_set_fini(struct tls_set *s)
{
	while (s->count)
		SSL_CTX_free(s->contexts[--s->count]);
}

int
tls_verify_again(SSL_CTX *context, X509 *certificate, X509 **ret_issuer)
{
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	int ok;

	*ret_issuer = NULL;
	ASSERT(ctx);
	ASSERT(X509_STORE_CTX_init(ctx, SSL_CTX_get_cert_store(context), certificate, NULL) == 1);
	ASSERT(X509_STORE_CTX_set_default(ctx, "ssl_client") == 1);
	ok = X509_verify_cert(ctx);
	if (ok == 1) {
		*ret_issuer = sk_X509_value(X509_STORE_CTX_get0_chain(ctx), 1);
		if (*ret_issuer)
			X509_up_ref(*ret_issuer);
	}
	X509_STORE_CTX_free(ctx);
	ERR_clear_error();
	return ok == 1 ? 0 : ERR_REFUSED;
}
