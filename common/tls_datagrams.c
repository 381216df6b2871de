/* tls_datagrams.c - DTLS for those who send datagrams to us; no I/O */
#include "tls_datagrams.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "credential.h"
#include "err.h"
#include "mem.h"
#include "metrics.h"
#include "tls_impl.h"

#define HEADER_LEN 13	 /* of a record: type, version, epoch, sequence, length */
#define HANDSHAKE_LEN 12 /* of its message: type, length, number, fragment */
#define TYPE_HANDSHAKE 22
#define CLIENT_HELLO 1
#define CLIENT_KEY_EXCHANGE 16
#define LINK_MTU 1280 /* what every link of IPv6 takes */
#define PLAIN_MAX 16384

/* --- datagrams as libssl sees them --- */

static int
source_read(BIO *bio, char *out, int size)
{
	struct tls_conn *c = BIO_get_data(bio);
	size_t n = (size_t)size < c->source.len ? (size_t)size : c->source.len;

	BIO_clear_retry_flags(bio);
	if (n == 0) {
		BIO_set_retry_read(bio);
		return -1;
	}
	memcpy(out, c->source.data, n);
	c->source = bytes_of(NULL, 0); /* what does not fit is gone, as with a socket */
	return (int)n;
}

static int
datagram_write(BIO *bio, const char *data, int len)
{
	struct tls_conn *c = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	c->send(c->send_arg, bytes_of(data, (size_t)len));
	return len;
}

static long
control(BIO *bio, int command, long number, void *arg)
{
	(void)bio;
	(void)number;
	(void)arg;
	switch (command) {
	case BIO_CTRL_FLUSH:
		return 1;
	case BIO_CTRL_DGRAM_QUERY_MTU:
	case BIO_CTRL_DGRAM_GET_FALLBACK_MTU:
		return LINK_MTU - 48;
	case BIO_CTRL_DGRAM_GET_MTU_OVERHEAD:
		return 48; /* IPv6 and UDP */
	default:
		return 0;
	}
}

static int
create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

static BIO_METHOD *
method(void)
{
	static BIO_METHOD *m;

	if (!m) {
		m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "datagrams");
		ASSERT(m && BIO_meth_set_read(m, source_read) == 1 &&
		       BIO_meth_set_write(m, datagram_write) == 1 &&
		       BIO_meth_set_ctrl(m, control) == 1 && BIO_meth_set_create(m, create) == 1);
	}
	return m;
}

/* --- cookies --- */

static int
cookie_of(const struct tls_conn *c, unsigned char *out, unsigned *ret_len)
{
	const struct tls *t = c->tls;

	return HMAC(EVP_sha256(), t->cookie_key, sizeof(t->cookie_key), c->peer.data, c->peer.len,
		   out, ret_len) != NULL;
}

static int
on_cookie(SSL *ssl, unsigned char *out, unsigned *ret_len)
{
	return cookie_of(tls_conn_of(ssl), out, ret_len);
}

static int
on_cookie_shown(SSL *ssl, const unsigned char *cookie, unsigned len)
{
	unsigned char want[EVP_MAX_MD_SIZE];
	unsigned want_len = 0;

	return cookie_of(tls_conn_of(ssl), want, &want_len) && len == want_len &&
	       CRYPTO_memcmp(cookie, want, len) == 0;
}

void
tls_datagrams_use(SSL_CTX *ctx)
{
	SSL_CTX_set_cookie_generate_cb(ctx, on_cookie);
	SSL_CTX_set_cookie_verify_cb(ctx, on_cookie_shown);
}

int
tls_datagrams_new(const struct settings *s, struct tls **ret, struct buf *err)
{
	return tls_make(s, NULL, true, ret, err);
}

/* --- handshakes --- */

bool
tls_datagram_is_hello(struct bytes d)
{
	return d.len > HEADER_LEN + HANDSHAKE_LEN && d.data[0] == TYPE_HANDSHAKE &&
	       d.data[1] == 0xfe && d.data[3] == 0 && d.data[4] == 0 &&
	       d.data[HEADER_LEN] == CLIENT_HELLO;
}

static void
begin(struct tls_conn *c)
{
	BIO *bio = BIO_new(method());

	c->ssl = SSL_new(c->tls->set.contexts[0]);
	ASSERT(bio && c->ssl && SSL_set_app_data(c->ssl, c) == 1);
	BIO_set_data(bio, c);
	SSL_set_bio(c->ssl, bio, bio);
	SSL_set_accept_state(c->ssl);
	ASSERT(DTLS_set_link_mtu(c->ssl, LINK_MTU) == 1);
}

int
tls_datagram_hello(struct tls *t, struct bytes peer, struct bytes datagram, tls_datagram_fn send,
    void *arg, struct tls_conn **ret)
{
	struct tls_conn *c = t->listening;
	BIO_ADDR *nobody;
	int rc;

	if (!c) {
		c = t->listening = tls_conn_new(t, TLS_DATAGRAMS);
		begin(c);
	}
	c->send = send;
	c->send_arg = arg;
	c->source = datagram;
	c->peer = peer;
	nobody = BIO_ADDR_new();
	ASSERT(nobody);
	ERR_clear_error();
	rc = DTLSv1_listen(c->ssl, nobody);
	BIO_ADDR_free(nobody);
	ERR_clear_error();
	c->peer = c->source = bytes_of(NULL, 0);
	if (rc <= 0)
		return rc == 0 ? ERR_AGAIN : ERR_MALFORMED;
	t->listening = NULL;
	*ret = c;
	return 0;
}

void
tls_datagram_to(struct tls_conn *c, struct bytes peer, tls_datagram_fn send, void *arg)
{
	c->peer = peer;
	c->send = send;
	c->send_arg = arg;
}

/* The PSK identity of a ClientKeyExchange in the clear, whole in its record; empty: there is none. */
static struct bytes
identity_in(struct bytes d)
{
	while (d.len > HEADER_LEN) {
		size_t len = (size_t)d.data[11] << 8 | d.data[12], name;
		const uint8_t *m = d.data + HEADER_LEN;

		if (len > d.len - HEADER_LEN)
			break;
		if (d.data[0] == TYPE_HANDSHAKE && d.data[3] == 0 && d.data[4] == 0 &&
		    len > HANDSHAKE_LEN + 2 && m[0] == CLIENT_KEY_EXCHANGE) {
			name = (size_t)m[HANDSHAKE_LEN] << 8 | m[HANDSHAKE_LEN + 1];
			if (name <= len - HANDSHAKE_LEN - 2)
				return bytes_of(m + HANDSHAKE_LEN + 2, name);
		}
		d = bytes_of(d.data + HEADER_LEN + len, d.len - HEADER_LEN - len);
	}
	return (struct bytes){ 0 };
}

static bool
key_is_looked_up(const struct tls_conn *c, struct bytes datagram)
{
	const SSL_CIPHER *cipher = SSL_get_pending_cipher(c->ssl);
	uint8_t key[TLS_PSK_MAX];
	struct bytes identity;
	int kx, rc;

	if (!cipher || !c->tls->psk)
		return false;
	kx = SSL_CIPHER_get_kx_nid(cipher);
	if (kx != NID_kx_psk && kx != NID_kx_ecdhe_psk)
		return false;
	identity = identity_in(datagram);
	if (identity.len == 0 || identity.len > TLS_IDENTITY_MAX)
		return false;
	rc = c->tls->psk(c->tls->psk_arg, identity, key, sizeof(key));
	credential_wipe(key, sizeof(key));
	return rc == ERR_AGAIN;
}

int
tls_datagram_input(struct tls_conn *c, struct bytes datagram, tls_datagram_fn plain, void *arg)
{
	uint8_t *out = c->tls->plain;
	size_t n;
	int rc = 1;

	if (c->ended)
		return 0;
	if (!c->open && key_is_looked_up(c, datagram))
		return ERR_AGAIN;
	if (!out)
		out = c->tls->plain = xmalloc(PLAIN_MAX);
	c->source = datagram;
	ERR_clear_error();
	if (!c->open && (rc = SSL_do_handshake(c->ssl)) == 1)
		tls_conn_opened(c);
	while (c->open && (rc = SSL_read_ex(c->ssl, out, PLAIN_MAX, &n)) == 1)
		plain(arg, bytes_of(out, n));
	c->source = bytes_of(NULL, 0);
	if (rc != 1)
		tls_conn_judge(c, rc);
	return 0;
}

void
tls_datagram_due(struct tls_conn *c)
{
	int rc;

	if (c->ended || c->open)
		return;
	ERR_clear_error();
	rc = (int)DTLSv1_handle_timeout(c->ssl);
	if (rc < 0)
		tls_conn_judge(c, rc);
}

bool
tls_datagram_seal(struct tls_conn *c, struct bytes plain)
{
	size_t n;
	int rc;

	if (!c->open || c->ended)
		return false;
	ERR_clear_error();
	rc = SSL_write_ex(c->ssl, plain.data, plain.len, &n);
	if (rc != 1)
		tls_conn_judge(c, rc);
	return rc == 1;
}
