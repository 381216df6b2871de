/* tls_ticket.c - session tickets: keys that all workers share and that change, and what a ticket is worth when it comes back
 *
 * The keys lie in a file under run/: the one that seals, and the one before it. Whoever finds that the first is old writes a new
 * file in its place; two who find so at once do it both, and what the slower one has sealed meanwhile is of no use: that costs
 * a whole handshake. A key is older than two days nowhere, so that much of what went by TLS 1.2 is all that its loss could tell. */
#include "tls_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "credential.h"
#include "err.h"
#include "log.h"
#include "mem.h"

#define ROTATE_S TLS_SESSION_S
#define MARK_PSK "psk"

struct ticket_file {
	uint8_t magic[8];
	struct tls_ticket_key keys[2];
};

static const uint8_t magic[8] = "RTICKET1";

static bool
read_keys(struct tls *t)
{
	struct ticket_file f;
	struct stat st;
	int fd = open(t->ticket_path, O_RDONLY | O_CLOEXEC);
	bool ok = fd >= 0 && fstat(fd, &st) == 0 && (st.st_mode & 077) == 0 &&
		  read(fd, &f, sizeof(f)) == (ssize_t)sizeof(f) &&
		  memcmp(f.magic, magic, sizeof(magic)) == 0;

	if (ok)
		memcpy(t->tickets, f.keys, sizeof(f.keys));
	if (fd >= 0)
		close(fd);
	credential_wipe(&f, sizeof(f));
	return ok;
}

static void
write_keys(const struct tls *t)
{
	char *unnamed = xasprintf("%s.%ld", t->ticket_path, (long)getpid());
	struct ticket_file f;
	int fd;

	memset(&f, 0, sizeof(f));
	memcpy(f.magic, magic, sizeof(magic));
	memcpy(f.keys, t->tickets, sizeof(f.keys));
	(void)unlink(unnamed);
	fd = open(unnamed, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, &f, sizeof(f)) != (ssize_t)sizeof(f) ||
	    rename(unnamed, t->ticket_path) != 0) {
		log_warn("tls.tickets", LS("file", t->ticket_path), LS("fault", strerror(errno)),
		    LS("effect", "other workers cannot resume sessions of this one"));
		(void)unlink(unnamed);
	}
	if (fd >= 0)
		close(fd);
	credential_wipe(&f, sizeof(f));
	free(unnamed);
}

static bool
is_old(const struct tls_ticket_key *k, int64_t now_s)
{
	/* A clock that was put back must not keep a key for ever. */
	return now_s - k->made_s >= ROTATE_S || k->made_s > now_s + ROTATE_S;
}

void
tls_tickets_look(struct tls *t)
{
	int64_t now_s = (int64_t)time(NULL);
	struct tls_ticket_key *k = t->tickets;
	bool shared = *t->ticket_path != '\0';

	if (((shared && read_keys(t)) || k[0].made_s) && !is_old(&k[0], now_s))
		return;
	if (is_old(&k[0], now_s - ROTATE_S))
		memset(&k[0], 0, sizeof(k[0]));
	k[1] = k[0];
	credential_random(k[0].name, sizeof(k[0].name));
	credential_random(k[0].aes, sizeof(k[0].aes));
	credential_random(k[0].mac, sizeof(k[0].mac));
	k[0].made_s = now_s;
	if (shared)
		write_keys(t);
}

static int
on_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
    EVP_MAC_CTX *mac, int seal)
{
	struct tls *t = tls_of(ssl);
	struct tls_ticket_key *k = &t->tickets[0];
	char digest[] = "SHA256";
	OSSL_PARAM params[3];

	if (!seal && memcmp(name, k->name, sizeof(k->name)) != 0)
		k++;
	if (!seal && (memcmp(name, k->name, sizeof(k->name)) != 0 || !k->made_s))
		return 0;
	params[0] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, k->mac, sizeof(k->mac));
	params[1] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0);
	params[2] = OSSL_PARAM_construct_end();
	if (seal) {
		memcpy(name, k->name, sizeof(k->name));
		if (RAND_bytes(iv, 16) != 1)
			return -1;
	}
	if (EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->aes, iv, seal) != 1 ||
	    EVP_MAC_CTX_set_params(mac, params) != 1)
		return -1;
	return seal || k == &t->tickets[0] ? 1 : 2;
}

/* A pre-shared key is asked for each time: it may have been revoked. */
static int
on_issue(SSL *ssl, void *arg)
{
	SSL_SESSION *session = SSL_get_session(ssl);

	(void)arg;
	if (session && tls_conn_of(ssl)->psk_identity)
		return SSL_SESSION_set1_ticket_appdata(session, MARK_PSK, sizeof(MARK_PSK));
	return 1;
}

static SSL_TICKET_RETURN
on_return(SSL *ssl, SSL_SESSION *session, const unsigned char *name, size_t name_len,
    SSL_TICKET_STATUS status, void *arg)
{
	struct tls_conn *c = tls_conn_of(ssl);
	bool good = status == SSL_TICKET_SUCCESS || status == SSL_TICKET_SUCCESS_RENEW;
	X509 *peer = good ? SSL_SESSION_get0_peer(session) : NULL;
	void *mark = NULL;
	size_t len = 0;

	(void)name;
	(void)name_len;
	(void)arg;
	if (!good || (SSL_SESSION_get0_ticket_appdata(session, &mark, &len) == 1 && len))
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	X509_free(c->issuer);
	c->issuer = NULL;
	if (peer && tls_verify_again(SSL_get_SSL_CTX(ssl), peer, &c->issuer) != 0)
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	/* A ticket of TLS 1.3 is for once (RFC 8446, C.4). */
	return status == SSL_TICKET_SUCCESS && SSL_version(ssl) != TLS1_3_VERSION
		   ? SSL_TICKET_RETURN_USE
		   : SSL_TICKET_RETURN_USE_RENEW;
}

int
tls_tickets_use(SSL_CTX *context)
{
	return SSL_CTX_set_tlsext_ticket_key_evp_cb(context, on_ticket_key) == 1 &&
		       SSL_CTX_set_session_ticket_cb(context, on_issue, on_return, NULL) == 1
		   ? 0
		   : ERR_IO;
}
