/* tls.h - TLS for those who connect to us: contexts from settings, handshakes, records; the one user of libssl
 *
 * A connection does no I/O: what came from the socket goes in, what belongs into the socket comes out. So a PROXY header may
 * come before it, and the sockets stay the listener's. TLS 1.2 (ECDHE, AEAD) and 1.3; no compression, no renegotiation, no early
 * data. A connection that is idle holds no buffer.
 *
 * Certificates, keys, CAs and CRLs are read whole and checked before they are used; if new ones are wrong the old ones stay.
 * Connections keep what they began with. Of a peer's certificate all is verified, chain and CRLs, in each handshake; also when a
 * ticket resumes a session: what was good when it was issued may not be now. */
#ifndef ROOST_TLS_H
#define ROOST_TLS_H

#include <stdbool.h>

#include "buf.h"
#include "settings.h"

#define TLS_CERTIFICATES_MAX 16
#define TLS_FILE_MAX (16u << 20)	/* bytes of a file of certificates or CRLs */
#define TLS_RECORD_MAX (5 + 16384 + 2048)
#define TLS_INPUT_MAX 65536		/* bytes of one tls_conn_input() */
#define TLS_PLAIN_MAX (TLS_INPUT_MAX + TLS_RECORD_MAX)	/* what may become of them */
#define TLS_SEALED_MAX 65536		/* sealed bytes that wait to be sent: not much more than this */
#define TLS_IDENTITY_MAX 128		/* bytes of a PSK identity */
#define TLS_PSK_MAX 256
#define TLS_LOOK_US 60000000		/* how often files are looked at */

struct tls;

/* What is spoken inside; a client that says what it wants to speak (ALPN, RFC 7301) and means something else is refused. */
enum tls_speaks { TLS_MQTT, TLS_HTTP, TLS_DATAGRAMS };

/* A certificate is configured. */
bool tls_is_configured(const struct settings *s);
/* Reads what tls.* names. ERR_CONFIG: err says which file, what is wrong with it, and what to do. run_dir: where the keys of session
 * tickets lie, which all workers share; NULL: they are nobody else's. */
int tls_new(const struct settings *s, const char *run_dir, struct tls **ret, struct buf *err);
void tls_free(struct tls **t);
/* When the first certificate and the first CRL are over, in seconds since 1970; 0: there is none. */
int64_t tls_expires_s(const struct tls *t);
int64_t tls_crl_expires_s(const struct tls *t);
/* Reads files that have changed, when it is time; reload: now, and all. Logged. */
void tls_look(struct tls *t, int64_t now_us, bool reload);

/* Length of the key; ERR_NOT_FOUND; ERR_AGAIN: it is being looked up, and the handshake waits. */
typedef int (*tls_psk_fn)(void *arg, struct bytes identity, uint8_t *key, size_t max);
void tls_set_psk(struct tls *t, tls_psk_fn fn, void *arg);

struct tls_conn;

struct tls_conn *tls_conn_new(struct tls *t, enum tls_speaks speaks);
void tls_conn_free(struct tls_conn **c);
/* in: at most TLS_INPUT_MAX; plain: TLS_PLAIN_MAX of room. Returns how much plain text came of it. */
size_t tls_conn_input(struct tls_conn *c, struct bytes in, uint8_t *plain);
/* It waits for a pre-shared key. Nothing else is to be given to it. */
bool tls_conn_waits(const struct tls_conn *c);
/* The key may be there now: goes on, or waits on. As tls_conn_input(). */
size_t tls_conn_again(struct tls_conn *c, uint8_t *plain);
/* The handshake is over. Each step of one costs a processor some 0.2 ms. */
bool tls_conn_is_open(const struct tls_conn *c);
/* No input follows. */
bool tls_conn_ended(const struct tls_conn *c);
/* NULL, or why it failed. */
const char *tls_conn_fault(const struct tls_conn *c);

/* Seals plain text; the connection is open, and has not ended by a fault. */
void tls_conn_seal(struct tls_conn *c, struct bytes plain);
/* Says that nothing follows; once. */
void tls_conn_close(struct tls_conn *c);
/* What is to be sent. */
struct bytes tls_conn_sealed(const struct tls_conn *c);
void tls_conn_sent(struct tls_conn *c, size_t n);

/* Who is at the other end, as far as the handshake has proven it; empty: not said. */
struct tls_facts {
	struct bytes certificate;	/* the peer's, DER */
	struct bytes ca;		/* whoever signed it, DER */
	struct bytes subject;		/* of it, as RFC 2253 writes it */
	struct bytes psk_identity;
	struct buf text;		/* what they point into, or the connection */
};
void tls_conn_facts(const struct tls_conn *c, struct tls_facts *ret);
void tls_facts_fini(struct tls_facts *f);

#endif
