/* tls_conn.c - one connection: records in, plain text out, and back; no I/O
 *
 * libssl reads from and writes to memory, by a BIO of our own. It is given whole records only: of an incomplete one no more is kept
 * than has come, and libssl holds no buffer between two calls. */
#include "tls_impl.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "credential.h"
#include "err.h"
#include "mem.h"
#include "metrics.h"
#include "utf8.h"

#define HEADER_LEN 5 /* of a record: type, version, length */

/* --- memory as libssl sees it --- */

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
	c->source = bytes_of(c->source.data + n, c->source.len - n);
	return (int)n;
}

static int
sealed_write(BIO *bio, const char *data, int len)
{
	struct tls_conn *c = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	if (!c->sealed.data) {
		c->sealed = c->tls->spare;
		c->tls->spare = (struct buf){ .max = 0 };
	}
	buf_add(&c->sealed, data, (size_t)len);
	return len;
}

static long
control(BIO *bio, int command, long number, void *arg)
{
	(void)bio;
	(void)number;
	(void)arg;
	return command == BIO_CTRL_FLUSH;
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
		m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "records");
		ASSERT(m && BIO_meth_set_read(m, source_read) == 1 &&
		       BIO_meth_set_write(m, sealed_write) == 1 &&
		       BIO_meth_set_ctrl(m, control) == 1 && BIO_meth_set_create(m, create) == 1);
	}
	return m;
}

/* --- life --- */

struct tls_conn *
tls_conn_of(const SSL *ssl)
{
	return SSL_get_app_data(ssl);
}

struct tls *
tls_of(const SSL *ssl)
{
	return tls_conn_of(ssl)->tls;
}

struct tls_conn *
tls_conn_new(struct tls *t, enum tls_speaks speaks)
{
	struct tls_conn *c = xcalloc(1, sizeof(*c));

	c->tls = t;
	c->speaks = speaks;
	return c;
}

/* Not before there is something to read: whoever connects and says nothing costs nothing. */
static void
begin(struct tls_conn *c)
{
	BIO *bio = BIO_new(method());

	c->ssl = SSL_new(c->tls->set.contexts[0]);
	ASSERT(bio && c->ssl && SSL_set_app_data(c->ssl, c) == 1);
	BIO_set_data(bio, c);
	SSL_set_bio(c->ssl, bio, bio);
	SSL_set_accept_state(c->ssl);
}

static void
give_spare(struct tls_conn *c)
{
	c->sealed_at = 0;
	if (!c->tls->spare.data && c->sealed.cap <= 2 * TLS_SEALED_MAX) {
		buf_clear(&c->sealed);
		c->tls->spare = c->sealed;
		c->sealed = (struct buf){ .max = 0 };
		return;
	}
	buf_fini(&c->sealed);
}

void
tls_conn_free(struct tls_conn **p_c)
{
	struct tls_conn *c = *p_c;

	if (!c)
		return;
	if (c->open)
		metric_set(M_TLS_CONNECTIONS, metric_get(M_TLS_CONNECTIONS) - 1);
	else if (!c->fault && c != c->tls->listening)
		metric_add(M_TLS_FAILED_CLOSED, 1);
	*p_c = NULL;
	SSL_free(c->ssl);
	X509_free(c->issuer);
	free(c->psk_identity);
	free(c->shown);
	buf_fini(&c->held);
	give_spare(c);
	free(c);
}

/* --- what goes wrong --- */

static const struct {
	int reason;
	enum metric_id metric;
} reasons[] = {
	{ SSL_R_UNSUPPORTED_PROTOCOL, M_TLS_FAILED_VERSION },
	{ SSL_R_VERSION_TOO_LOW, M_TLS_FAILED_VERSION },
	{ SSL_R_WRONG_VERSION_NUMBER, M_TLS_FAILED_VERSION },
	{ SSL_R_NO_SHARED_CIPHER, M_TLS_FAILED_CIPHER },
	{ SSL_R_NO_SUITABLE_KEY_SHARE, M_TLS_FAILED_CIPHER },
	{ SSL_R_NO_SHARED_GROUPS, M_TLS_FAILED_CIPHER },
	{ SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS, M_TLS_FAILED_CIPHER },
	{ SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, M_TLS_FAILED_CIPHER },
	{ SSL_R_CERTIFICATE_VERIFY_FAILED, M_TLS_FAILED_CERTIFICATE },
	{ SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, M_TLS_FAILED_CERTIFICATE },
	{ SSL_R_BAD_SIGNATURE, M_TLS_FAILED_CERTIFICATE },
	{ SSL_R_PSK_IDENTITY_NOT_FOUND, M_TLS_FAILED_PSK },
	{ SSL_R_BINDER_DOES_NOT_VERIFY, M_TLS_FAILED_PSK },
};

static void
fail(struct tls_conn *c, enum metric_id metric, const char *fault)
{
	if (c->fault)
		return;
	c->fault = fault;
	c->ended = true;
	metric_add(c->open ? M_TLS_FAULTS : metric, 1);
}

static void
fail_by_error(struct tls_conn *c)
{
	unsigned long e = ERR_peek_error();
	int reason = ERR_GET_REASON(e);
	const char *text = ERR_reason_error_string(e);
	enum metric_id metric = M_TLS_FAILED_PROTOCOL;
	long verified = SSL_get_verify_result(c->ssl);

	for (size_t i = 0; i < COUNT_OF(reasons); i++)
		if (reasons[i].reason == reason)
			metric = reasons[i].metric;
	if (c->psk_identity && metric == M_TLS_FAILED_PROTOCOL)
		metric = M_TLS_FAILED_PSK;
	/* The peer has said why, by an alert. */
	if (reason >= SSL_AD_REASON_OFFSET)
		metric = M_TLS_FAILED_ALERT;
	if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED && verified != X509_V_OK)
		text = X509_verify_cert_error_string(verified);
	fail(c, metric, text ? text : "it failed without a reason");
	ERR_clear_error();
}

/* --- who it is --- */

static void
note_certificate(struct tls_conn *c, X509 *x)
{
	int len = i2d_X509(x, NULL);
	BIO *bio = BIO_new(BIO_s_mem());
	unsigned char *at;
	long subject_len;
	char *subject;

	ASSERT(bio && len > 0);
	X509_NAME_print_ex(bio, X509_get_subject_name(x), 0, XN_FLAG_RFC2253);
	subject_len = BIO_get_mem_data(bio, &subject);
	c->certificate_len = (uint32_t)len;
	c->subject_len = subject_len > 0 ? (uint32_t)subject_len : 0;
	at = c->shown = xmalloc(c->certificate_len + c->subject_len);
	(void)i2d_X509(x, &at);
	if (c->subject_len)
		memcpy(at, subject, c->subject_len);
	BIO_free(bio);
}

/* Decoded, a certificate takes 4.6 KiB, and some clients show that of their CA, too. Nobody looks into them after the handshake: what is
 * of use was noted, so they are emptied. The session's own reference cannot be taken from it. */
static void
empty(struct tls_conn *c, X509 *x)
{
	STACK_OF(X509) *chain = SSL_get_peer_cert_chain(c->ssl);
	X509_NAME *nobody = X509_NAME_new();
	EVP_PKEY *key = SSL_get_privatekey(c->ssl); /* of our own: it is there anyway */

	ASSERT(nobody);
	while (chain && sk_X509_num(chain) > 0)
		X509_free(sk_X509_pop(chain));
	while (X509_get_ext_count(x) > 0)
		X509_EXTENSION_free(X509_delete_ext(x, 0));
	(void)X509_set_subject_name(x, nobody);
	(void)X509_set_issuer_name(x, nobody);
	if (key)
		(void)X509_set_pubkey(x, key);
	X509_NAME_free(nobody);
	ERR_clear_error();
}

/* A certificate that was not asked for, or did not verify, ends the handshake; so this one did. */
static void
note_peer(struct tls_conn *c)
{
	X509 *x = SSL_get0_peer_certificate(c->ssl);
	const STACK_OF(X509) *chain = SSL_get0_verified_chain(c->ssl);

	if (!x || SSL_get_verify_result(c->ssl) != X509_V_OK ||
	    SSL_get_verify_mode(c->ssl) == SSL_VERIFY_NONE)
		return;
	note_certificate(c, x);
	if (chain && sk_X509_num(chain) > 1) {
		X509_free(c->issuer);
		c->issuer = sk_X509_value(chain, 1);
		X509_up_ref(c->issuer);
	}
	empty(c, x);
}

/* --- input --- */

/* A name as the registry has them; tickets, which come by in the same place, are none. */
static bool
is_identity(struct bytes name)
{
	return name.len > 0 && name.len <= TLS_IDENTITY_MAX && utf8_valid(name) &&
	       !utf8_has_control(name);
}

/* Its key is being looked up. */
static bool
is_wanted(struct tls_conn *c, struct bytes name)
{
	uint8_t key[TLS_PSK_MAX];
	bool wanted =
	    is_identity(name) && c->tls->psk(c->tls->psk_arg, name, key, sizeof(key)) == ERR_AGAIN;

	credential_wipe(key, sizeof(key));
	return wanted;
}

void
tls_conn_opened(struct tls_conn *c)
{
	c->open = true;
	note_peer(c);
	metric_add(M_TLS_HANDSHAKES, 1);
	metric_add(c->tls->datagrams			   ? M_TLS_HANDSHAKES_DTLS
		   : SSL_version(c->ssl) == TLS1_3_VERSION ? M_TLS_HANDSHAKES_13
							   : M_TLS_HANDSHAKES_12,
	    1);
	if (SSL_session_reused(c->ssl) && !c->psk_identity)
		metric_add(M_TLS_RESUMED, 1);
	metric_set(M_TLS_CONNECTIONS, metric_get(M_TLS_CONNECTIONS) + 1);
}

/* Of TLS 1.2 the identity comes in clear, and alone at the front of ClientKeyExchange (RFC 5489, 2; RFC 8446 has it in the hello). So
 * its key can be looked up before libssl, which cannot wait then, asks for it. */
static bool
lacks_key(struct tls_conn *c)
{
	struct bytes in = c->source;
	const SSL_CIPHER *cipher;
	size_t name;

	if (!c->tls->psk || SSL_get_state(c->ssl) != TLS_ST_SW_SRVR_DONE ||
	    in.len < HEADER_LEN + 6 || in.data[HEADER_LEN] != SSL3_MT_CLIENT_KEY_EXCHANGE)
		return false;
	cipher = SSL_get_pending_cipher(c->ssl);
	if (!cipher || SSL_CIPHER_get_auth_nid(cipher) != NID_auth_psk)
		return false;
	in = bytes_of(in.data + HEADER_LEN + 6, in.len - HEADER_LEN - 6);
	name = (size_t)in.data[-2] << 8 | in.data[-1];
	return name <= in.len && is_wanted(c, bytes_of(in.data, name));
}

void
tls_conn_judge(struct tls_conn *c, int rc)
{
	switch (SSL_get_error(c->ssl, rc)) {
	case SSL_ERROR_NONE:
	case SSL_ERROR_WANT_READ:
		return;
	case SSL_ERROR_WANT_CLIENT_HELLO_CB:
		c->waits = true;
		return;
	case SSL_ERROR_ZERO_RETURN: /* close_notify: a clean end, also when it comes instead of a handshake */
		c->ended = true;
		if (!c->open)
			fail(c, M_TLS_FAILED_CLOSED, "the peer gave up");
		return;
	default:
		fail_by_error(c);
	}
}

/* All of source is whole records; returns how much plain text they hold. */
static size_t
take(struct tls_conn *c, uint8_t *plain)
{
	size_t len = 0, n;
	int rc = 1;

	if (!c->ssl)
		begin(c);
	ERR_clear_error();
	if (!c->open && lacks_key(c)) {
		c->waits = true;
		return 0;
	}
	if (!c->open && (rc = SSL_do_handshake(c->ssl)) == 1)
		tls_conn_opened(c);
	while (c->open && (rc = SSL_read_ex(c->ssl, plain + len, TLS_RECORD_MAX, &n)) == 1)
		len += n;
	if (rc != 1)
		tls_conn_judge(c, rc);
	return len;
}

/* How long the record at the front is; 0: there is no telling yet. */
static size_t
record_len(struct tls_conn *c, struct bytes in)
{
	size_t len;

	/* change_cipher_spec 20, alert 21, handshake 22, application_data 23; version 3.x */
	if ((in.len > 0 && (in.data[0] < 20 || in.data[0] > 23)) || (in.len > 1 && in.data[1] != 3))
		fail(c, M_TLS_FAILED_PROTOCOL, "what it says is not TLS");
	if (c->fault || in.len < HEADER_LEN)
		return 0;
	len = HEADER_LEN + ((size_t)in.data[3] << 8 | in.data[4]);
	if (len > TLS_RECORD_MAX)
		fail(c, M_TLS_FAILED_PROTOCOL, "a record of more than TLS allows");
	return c->fault ? 0 : len;
}

/* Completes the record of which the beginning is held; returns how much of in that took. */
static size_t
complete(struct tls_conn *c, struct bytes in, bool *ret_whole)
{
	size_t took = 0, len;

	*ret_whole = false;
	while ((len = record_len(c, buf_bytes(&c->held))) == 0 || c->held.len < len) {
		size_t want = (len ? len : HEADER_LEN) - c->held.len;

		if (c->fault || took == in.len)
			return took;
		want = want < in.len - took ? want : in.len - took;
		buf_add(&c->held, in.data + took, want);
		took += want;
	}
	*ret_whole = true;
	return took;
}

static void
keep(struct tls_conn *c, struct bytes rest)
{
	if (!c->ended && rest.len)
		buf_add(&c->held, rest.data, rest.len);
}

/* Whole records at the front of in, and then what is left of them if they have to wait. */
static size_t
take_whole(struct tls_conn *c, struct bytes in, uint8_t *plain, size_t *ret_took)
{
	size_t whole = 0, n, len;

	while (!c->ended && (n = record_len(c, bytes_of(in.data + whole, in.len - whole))) != 0 &&
	       n <= in.len - whole)
		whole += n;
	*ret_took = whole;
	if (!whole || c->ended)
		return 0;
	c->source = bytes_of(in.data, whole);
	len = take(c, plain);
	*ret_took = whole - c->source.len;
	return len;
}

size_t
tls_conn_input(struct tls_conn *c, struct bytes in, uint8_t *plain)
{
	size_t len = 0, n;
	bool completed = false;

	ASSERT(in.len <= TLS_INPUT_MAX && !c->waits);
	if (c->ended)
		return 0;
	if (c->held.len) {
		n = complete(c, in, &completed);
		in = bytes_of(in.data + n, in.len - n);
	}
	if (completed) {
		struct buf first = c->held;

		c->held = (struct buf){ .max = 0 };
		len = take_whole(c, buf_bytes(&first), plain, &n);
		keep(c, bytes_of(first.data + n, first.len - n));
		buf_fini(&first);
	}
	n = 0;
	if (!c->waits)
		len += take_whole(c, in, plain + len, &n);
	c->source = bytes_of(NULL, 0);
	keep(c, bytes_of(in.data + n, in.len - n));
	return len;
}

bool
tls_conn_waits(const struct tls_conn *c)
{
	return c->waits;
}

size_t
tls_conn_again(struct tls_conn *c, uint8_t *plain)
{
	struct buf all = c->held;
	size_t len, n;

	if (!c->waits)
		return 0;
	c->waits = false;
	c->held = (struct buf){ .max = 0 };
	/* A hello that was read has to go on even if nothing came behind it. */
	c->source = bytes_of(NULL, 0);
	len = SSL_want_client_hello_cb(c->ssl) ? take(c, plain) : 0;
	n = 0;
	if (!c->waits && !c->ended)
		len += take_whole(c, buf_bytes(&all), plain + len, &n);
	c->source = bytes_of(NULL, 0);
	keep(c, bytes_of(all.data + n, all.len - n));
	buf_fini(&all);
	return len;
}

bool
tls_conn_is_open(const struct tls_conn *c)
{
	return c->open;
}

bool
tls_conn_ended(const struct tls_conn *c)
{
	return c->ended;
}

const char *
tls_conn_fault(const struct tls_conn *c)
{
	return c->fault;
}

/* --- output --- */

void
tls_conn_seal(struct tls_conn *c, struct bytes plain)
{
	size_t n;

	ASSERT(c->open);
	if (c->fault || plain.len == 0)
		return;
	ERR_clear_error();
	/* Memory takes all of it. */
	if (SSL_write_ex(c->ssl, plain.data, plain.len, &n) != 1)
		fail_by_error(c);
}

void
tls_conn_close(struct tls_conn *c)
{
	if (c->open && !c->fault && !c->said_close)
		(void)SSL_shutdown(c->ssl);
	c->said_close = true;
	ERR_clear_error();
}

struct bytes
tls_conn_sealed(const struct tls_conn *c)
{
	return bytes_of(c->sealed.data + c->sealed_at, c->sealed.len - c->sealed_at);
}

void
tls_conn_sent(struct tls_conn *c, size_t n)
{
	c->sealed_at += n;
	if (c->sealed_at == c->sealed.len)
		give_spare(c);
}

/* --- what contexts ask --- */

/* The first certificate that is for this name (RFC 6066, 3). */
int
tls_on_name(SSL *ssl, int *alert, void *arg)
{
	const struct tls_set *set = &tls_of(ssl)->set;
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	(void)alert;
	(void)arg;
	if (!name)
		return SSL_TLSEXT_ERR_NOACK;
	for (size_t i = 0; i < set->count; i++) {
		X509 *own = SSL_CTX_get0_certificate(set->contexts[i]); /* none: keys alone */

		if (own && X509_check_host(own, name, strlen(name), 0, NULL) == 1) {
			(void)SSL_set_SSL_CTX(ssl, set->contexts[i]);
			return SSL_TLSEXT_ERR_OK;
		}
	}
	return SSL_TLSEXT_ERR_NOACK;
}

int
tls_on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
    unsigned in_len, void *arg)
{
	/* Devices made for AWS IoT say the second one. */
	static const char *const names[2][2] = {
		[TLS_MQTT] = { "mqtt", "x-amzn-mqtt-ca" }, [TLS_HTTP] = { "http/1.1", "http/1.1" }
	};
	const char *const *ours = names[tls_conn_of(ssl)->speaks];

	(void)arg;
	for (unsigned at = 0; at < in_len && at + 1u + in[at] <= in_len; at += 1u + in[at]) {
		for (size_t i = 0; i < 2; i++) {
			if (bytes_equal_str(bytes_of(in + at + 1, in[at]), ours[i])) {
				*out = in + at + 1;
				*out_len = in[at];
				return SSL_TLSEXT_ERR_OK;
			}
		}
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* Pre-shared keys that are offered (RFC 8446, 4.2.11): list length, then length, identity, 32 bits of age, ... */
int
tls_on_hello(SSL *ssl, int *alert, void *arg)
{
	struct tls_conn *c = tls_conn_of(ssl);
	const unsigned char *at;
	size_t len, end, n;

	(void)alert;
	(void)arg;
	if (!c->tls->psk || SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_psk, &at, &len) != 1 ||
	    len < 2)
		return SSL_CLIENT_HELLO_SUCCESS;
	end = 2 + ((size_t)at[0] << 8 | at[1]);
	for (size_t i = 2; i + 2 <= end && end <= len; i += 2 + n + 4) {
		n = (size_t)at[i] << 8 | at[i + 1];
		if (n + 4 > end - i - 2)
			break;
		if (is_wanted(c, bytes_of(at + i + 2, n)))
			return SSL_CLIENT_HELLO_RETRY;
	}
	return SSL_CLIENT_HELLO_SUCCESS;
}

/* In TLS 1.3 tickets come by here, too. An identity that nobody has is given a key that nobody
 * has, so that it looks like a wrong key. */
unsigned
tls_on_psk(SSL *ssl, const char *identity, unsigned char *key, unsigned max)
{
	struct tls_conn *c = tls_conn_of(ssl);
	struct bytes name = bytes_of_str(identity);
	uint8_t found[TLS_PSK_MAX];
	int len;

	if (!c->tls->psk || !is_identity(name))
		return 0;
	len = c->tls->psk(c->tls->psk_arg, name, found, sizeof(found) < max ? sizeof(found) : max);
	if (len <= 0) {
		len = 32;
		credential_random(found, 32);
	}
	memcpy(key, found, (size_t)len);
	credential_wipe(found, sizeof(found));
	free(c->psk_identity);
	c->psk_identity = xstrdup(identity);
	return (unsigned)len;
}

void
tls_conn_facts(const struct tls_conn *c, struct tls_facts *ret)
{
	int ca_len = c->shown && c->issuer ? i2d_X509(c->issuer, NULL) : 0;
	unsigned char *at;

	*ret = (struct tls_facts){ .text = { .max = 0 } };
	if (c->shown) {
		ret->certificate = bytes_of(c->shown, c->certificate_len);
		ret->subject = bytes_of(c->shown + c->certificate_len, c->subject_len);
	}
	if (ca_len > 0) {
		at = buf_reserve(&ret->text, (size_t)ca_len);
		ret->ca = bytes_of(at, (size_t)ca_len);
		(void)i2d_X509(c->issuer, &at);
	}
	if (c->open && c->psk_identity)
		ret->psk_identity = bytes_of_str(c->psk_identity);
}

void
tls_facts_fini(struct tls_facts *f)
{
	buf_fini(&f->text);
}
