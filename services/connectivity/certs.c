/* certs.c - a CA of one's own in a folder */
#include "certs.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "err.h"
#include "mem.h"
#include "utf8.h"

#define EARLIER_S 3600 /* clocks of devices may be behind */
#define FILE_MAX (1 << 20)

/* --- files --- */

static int
failed(struct buf *err, const char *path, const char *why, int rc)
{
	buf_addf(err, "%s: %s", path, why);
	return rc;
}

/* Whole under its name, or as it was. */
static int
write_file(const char *path, BIO *bio, mode_t mode, struct buf *err)
{
	char *temporary = xasprintf("%s.new", path), *data;
	long len = BIO_get_mem_data(bio, &data);
	int fd, rc = 0;

	(void)unlink(temporary);
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (fd < 0 || fchmod(fd, mode) != 0 || write(fd, data, (size_t)len) != len ||
	    fsync(fd) != 0 || rename(temporary, path) != 0)
		rc = failed(err, path, strerror(errno), ERR_IO);
	if (fd >= 0)
		close(fd);
	if (rc != 0)
		(void)unlink(temporary);
	free(temporary);
	return rc;
}

static BIO *
read_file(const char *dir, const char *name, struct buf *err)
{
	char *path = xasprintf("%s/%s", dir, name);
	BIO *bio = BIO_new_file(path, "r");

	if (!bio)
		(void)failed(err, path, strerror(errno), ERR_IO);
	free(path);
	return bio;
}

static int
make_dir(const char *path, struct buf *err)
{
	return mkdir(path, 0700) == 0 || errno == EEXIST
		   ? 0
		   : failed(err, path, strerror(errno), ERR_IO);
}

static bool
is_there(const char *dir, const char *name)
{
	char *path = xasprintf("%s/%s", dir, name);
	bool there = access(path, F_OK) == 0;

	free(path);
	return there;
}

static BIO *
new_memory(void)
{
	BIO *bio = BIO_new(BIO_s_secmem());

	ASSERT(bio);
	return bio;
}

/* --- what a certificate says --- */

struct issuer {
	X509 *certificate;
	EVP_PKEY *key;
};

struct wanted {
	const char *common_name;
	const char *extensions[6][2]; /* short name of OpenSSL's, value */
	int days;
};

static void
issuer_fini(struct issuer *i)
{
	X509_free(i->certificate);
	EVP_PKEY_free(i->key);
}

static int
issuer_load(struct issuer *i, const char *dir, struct buf *err)
{
	BIO *bio = read_file(dir, "ca.crt", err);

	*i = (struct issuer){ .key = NULL };
	if (bio)
		i->certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	BIO_free(bio);
	bio = i->certificate ? read_file(dir, "ca.key", err) : NULL;
	if (bio)
		i->key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	BIO_free(bio);
	if (i->key && X509_check_private_key(i->certificate, i->key) == 1)
		return 0;
	if (err->len == 0)
		(void)failed(
		    err, dir, "there is no CA with its key in ca.crt and ca.key", ERR_CONFIG);
	issuer_fini(i);
	return ERR_CONFIG;
}

static void
set_serial(X509 *x)
{
	unsigned char random[16];
	BIGNUM *n;

	ASSERT(RAND_bytes(random, sizeof(random)) == 1);
	random[0] =
	    (unsigned char)((random[0] & 0x7f) | 0x40); /* positive, and all of the same length */
	n = BN_bin2bn(random, sizeof(random), NULL);
	ASSERT(n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)));
	BN_free(n);
}

/* Not longer than whoever signs it. */
static void
set_time(X509 *x, const X509 *ca, int days)
{
	ASSERT(X509_gmtime_adj(X509_getm_notBefore(x), -EARLIER_S) &&
	       X509_time_adj_ex(X509_getm_notAfter(x), days, 0, NULL));
	if (ASN1_TIME_compare(X509_get0_notAfter(x), X509_get0_notAfter(ca)) > 0)
		ASSERT(X509_set1_notAfter(x, X509_get0_notAfter(ca)) == 1);
}

static int
add_extensions(X509 *x, X509 *ca, const struct wanted *w, struct buf *err)
{
	X509V3_CTX ctx;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, ca, x, NULL, NULL, 0);
	for (size_t i = 0; i < COUNT_OF(w->extensions) && w->extensions[i][0]; i++) {
		X509_EXTENSION *e =
		    X509V3_EXT_conf(NULL, &ctx, w->extensions[i][0], w->extensions[i][1]);

		if (!e || X509_add_ext(x, e, -1) != 1) {
			X509_EXTENSION_free(e);
			return failed(
			    err, w->extensions[i][1], "not for a certificate", ERR_CONFIG);
		}
		X509_EXTENSION_free(e);
	}
	return 0;
}

/* ca: NULL, it signs itself. ret: the caller's. */
static int
make(const struct wanted *w, const struct issuer *ca, X509 **ret, EVP_PKEY **ret_key,
    struct buf *err)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	X509_NAME *name;
	int rc;

	ASSERT(x && key && X509_set_version(x, X509_VERSION_3) == 1);
	name = X509_get_subject_name(x);
	set_serial(x);
	rc = X509_NAME_add_entry_by_txt(
		 name, "CN", MBSTRING_UTF8, (const unsigned char *)w->common_name, -1, -1, 0) == 1
		 ? 0
		 : failed(err, w->common_name, "not for a certificate: too long, or no text",
		       ERR_CONFIG);
	ASSERT(X509_set_pubkey(x, key) == 1);
	ASSERT(X509_set_issuer_name(x, ca ? X509_get_subject_name(ca->certificate) : name) == 1);
	if (rc == 0 && ca)
		set_time(x, ca->certificate, w->days);
	else if (rc == 0)
		ASSERT(X509_gmtime_adj(X509_getm_notBefore(x), -EARLIER_S) &&
		       X509_time_adj_ex(X509_getm_notAfter(x), w->days, 0, NULL));
	if (rc == 0)
		rc = add_extensions(x, ca ? ca->certificate : x, w, err);
	if (rc == 0) {
		ASSERT(X509_sign(x, ca ? ca->key : key, EVP_sha256()) > 0);
		*ret = x;
		*ret_key = key;
		return 0;
	}
	X509_free(x);
	EVP_PKEY_free(key);
	return rc;
}

/* base.crt, followed by chain if there is one, and base.key. */
static int
write_pair(const char *dir, const char *base, X509 *x, X509 *chain, EVP_PKEY *key, struct buf *err)
{
	char *crt = xasprintf("%s/%s.crt", dir, base), *pem = xasprintf("%s/%s.key", dir, base);
	BIO *certificate = new_memory(), *secret = new_memory();
	int rc;

	ASSERT(PEM_write_bio_X509(certificate, x) == 1 &&
	       (!chain || PEM_write_bio_X509(certificate, chain) == 1));
	ASSERT(PEM_write_bio_PKCS8PrivateKey(secret, key, NULL, NULL, 0, NULL, NULL) == 1);
	rc = write_file(pem, secret, 0600, err);
	if (rc == 0)
		rc = write_file(crt, certificate, 0644, err);
	BIO_free(certificate);
	BIO_free(secret);
	free(crt);
	free(pem);
	return rc;
}

/* --- the CRL --- */

static int
write_crl(const char *dir, X509_CRL *crl, const struct issuer *ca, struct buf *err)
{
	char *path = xasprintf("%s/ca.crl", dir);
	BIO *bio = new_memory();
	ASN1_TIME *now = X509_gmtime_adj(NULL, -EARLIER_S);
	int rc;

	/* It is over with the CA: a list that ends earlier would one day lock all devices out. */
	ASSERT(now && X509_CRL_set1_lastUpdate(crl, now) == 1 &&
	       X509_CRL_set1_nextUpdate(crl, X509_get0_notAfter(ca->certificate)) == 1);
	ASN1_TIME_free(now);
	ASSERT(X509_CRL_sort(crl) == 1 && X509_CRL_sign(crl, ca->key, EVP_sha256()) > 0 &&
	       PEM_write_bio_X509_CRL(bio, crl) == 1);
	rc = write_file(path, bio, 0644, err);
	BIO_free(bio);
	free(path);
	return rc;
}

static int
new_crl(const char *dir, const struct issuer *ca, struct buf *err)
{
	X509_CRL *crl = X509_CRL_new();
	int rc;

	ASSERT(crl && X509_CRL_set_version(crl, X509_CRL_VERSION_2) == 1 &&
	       X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca->certificate)) == 1);
	rc = write_crl(dir, crl, ca, err);
	X509_CRL_free(crl);
	return rc;
}

static void
enter(X509_CRL *crl, X509 *x)
{
	X509_REVOKED *r = X509_REVOKED_new(), *have;
	ASN1_TIME *now = X509_gmtime_adj(NULL, -EARLIER_S);

	ASSERT(r && now);
	if (X509_CRL_get0_by_cert(crl, &have, x) == 0) {
		ASSERT(X509_REVOKED_set_serialNumber(r, X509_get_serialNumber(x)) == 1 &&
		       X509_REVOKED_set_revocationDate(r, now) == 1 &&
		       X509_CRL_add0_revoked(crl, r) == 1);
		r = NULL;
	}
	ASN1_TIME_free(now);
	X509_REVOKED_free(r);
}

/* --- what can be asked for --- */

int
certs_init(const char *dir, int days, struct buf *err)
{
	const struct wanted w = { .common_name = "Roost CA",
		.extensions = { { "basicConstraints", "critical,CA:TRUE,pathlen:0" },
		    { "keyUsage", "critical,keyCertSign,cRLSign" },
		    { "subjectKeyIdentifier", "hash" } },
		.days = days };
	struct issuer ca;
	int rc;

	if (is_there(dir, "ca.key") || is_there(dir, "ca.crt"))
		return failed(
		    err, dir, "there is a CA already, which devices may know", ERR_EXISTS);
	if ((rc = make_dir(dir, err)) != 0 ||
	    (rc = make(&w, NULL, &ca.certificate, &ca.key, err)) != 0)
		return rc;
	if ((rc = write_pair(dir, "ca", ca.certificate, NULL, ca.key, err)) == 0)
		rc = new_crl(dir, &ca, err);
	issuer_fini(&ca);
	return rc;
}

static bool
is_address(const char *text)
{
	uint8_t ip[16];

	return inet_pton(AF_INET, text, ip) == 1 || inet_pton(AF_INET6, text, ip) == 1;
}

/* What goes into a list of OpenSSL's must not end its entry. */
static bool
is_host(const char *text)
{
	return *text && strlen(text) <= 253 &&
	       strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_*") ==
		   strlen(text);
}

int
certs_server(const char *dir, const char *const *names, size_t count, int days, struct buf *err)
{
	struct wanted w = { .common_name = "Roost",
		.extensions = { { "basicConstraints", "critical,CA:FALSE" },
		    { "keyUsage", "critical,digitalSignature" },
		    { "extendedKeyUsage", "serverAuth" }, { "authorityKeyIdentifier", "keyid" } },
		.days = days };
	struct buf list = { .max = 0 };
	struct issuer ca;
	EVP_PKEY *key;
	X509 *x;
	int rc;

	for (size_t i = 0; i < count; i++) {
		if (!is_address(names[i]) && !is_host(names[i])) {
			buf_fini(&list);
			return failed(
			    err, names[i], "neither a host name nor an address", ERR_CONFIG);
		}
		buf_addf(
		    &list, "%s%s:%s", i ? "," : "", is_address(names[i]) ? "IP" : "DNS", names[i]);
	}
	w.extensions[4][0] = "subjectAltName";
	w.extensions[4][1] = buf_str(&list);
	rc = issuer_load(&ca, dir, err);
	if (rc == 0) {
		rc = make(&w, &ca, &x, &key, err);
		if (rc == 0) {
			rc = write_pair(dir, "server", x, ca.certificate, key, err);
			X509_free(x);
			EVP_PKEY_free(key);
		}
		issuer_fini(&ca);
	}
	buf_fini(&list);
	return rc;
}

/* It becomes a file's name, too. */
static int
check_device(const char *name, struct buf *err)
{
	struct bytes b = bytes_of_str(name);

	if (b.len == 0 || b.len > CERTS_NAME_MAX || !utf8_valid(b) || utf8_has_control(b) ||
	    strchr(name, '/') || name[0] == '.')
		return failed(err, name,
		    "no device's name for a certificate: 1 to 64 bytes of UTF-8, without / and not "
		    "beginning with a dot",
		    ERR_CONFIG);
	return 0;
}

int
certs_device(const char *dir, const char *name, int days, struct buf *err)
{
	const struct wanted w = { .common_name = name,
		.extensions = { { "basicConstraints", "critical,CA:FALSE" },
		    { "keyUsage", "critical,digitalSignature" },
		    { "extendedKeyUsage", "clientAuth" }, { "authorityKeyIdentifier", "keyid" } },
		.days = days };
	char *devices = xasprintf("%s/devices", dir), *file = xasprintf("%s.crt", name);
	struct issuer ca;
	EVP_PKEY *key;
	X509 *x;
	int rc = check_device(name, err);

	if (rc == 0 && is_there(devices, file))
		rc = failed(err, name, "it has a certificate; revoke that one first", ERR_EXISTS);
	if (rc == 0 && (rc = issuer_load(&ca, dir, err)) == 0) {
		if ((rc = make_dir(devices, err)) == 0 &&
		    (rc = make(&w, &ca, &x, &key, err)) == 0) {
			rc = write_pair(devices, name, x, NULL, key, err);
			X509_free(x);
			EVP_PKEY_free(key);
		}
		issuer_fini(&ca);
	}
	free(devices);
	free(file);
	return rc;
}

static void
put_away(const char *dir, const char *name, const char *suffix)
{
	char *from = xasprintf("%s/devices/%s.%s", dir, name, suffix);
	char *to = xasprintf("%s.revoked", from);

	(void)rename(from, to);
	free(from);
	free(to);
}

int
certs_revoke(const char *dir, const char *name, struct buf *err)
{
	char *file = xasprintf("devices/%s.crt", name);
	struct issuer ca = { .key = NULL };
	X509_CRL *crl = NULL;
	X509 *x = NULL;
	BIO *bio;
	int rc = check_device(name, err);

	if (rc == 0 && !is_there(dir, file))
		rc =
		    failed(err, name, "there is no certificate of this device here", ERR_NOT_FOUND);
	if (rc == 0)
		rc = issuer_load(&ca, dir, err);
	if (rc == 0 && (bio = read_file(dir, file, err))) {
		x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
		BIO_free(bio);
	}
	if (rc == 0 && (bio = read_file(dir, "ca.crl", err))) {
		crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL);
		BIO_free(bio);
	}
	if (rc == 0 && (!x || !crl))
		rc = err->len ? ERR_IO
			      : failed(err, x ? "ca.crl" : file, "cannot be read", ERR_CONFIG);
	if (rc == 0) {
		enter(crl, x);
		rc = write_crl(dir, crl, &ca, err);
	}
	if (rc == 0) {
		put_away(dir, name, "crt");
		put_away(dir, name, "key");
	}
	X509_free(x);
	X509_CRL_free(crl);
	issuer_fini(&ca);
	free(file);
	return rc;
}
