/* tls_impl.h - what the tls files share; nobody else includes it */
#ifndef ROOST_TLS_IMPL_H
#define ROOST_TLS_IMPL_H

#include <openssl/ssl.h>

#include "tls.h"
#include "tls_datagrams.h"

#define TLS_SESSION_S (12 * 3600) /* a ticket resumes a session for this long */

/* What settings name, read and checked; replaced whole. Connections hold references to its contexts. */
struct tls_set {
	SSL_CTX *contexts[TLS_CERTIFICATES_MAX]; /* the first one serves whoever asks for no name, or one that none has */
	size_t count;
	int64_t expires_s;     /* the first certificate of ours that does, since 1970; 0: none */
	int64_t crl_expires_s; /* the first CRL; 0: there is none */
};

/* A key that tickets are sealed with; of two the first seals, both open. */
struct tls_ticket_key {
	uint8_t name[16];
	uint8_t aes[32];
	uint8_t mac[32];
	int64_t made_s;
};

struct tls {
	const struct settings *settings;
	struct tls_set set;
	uint64_t seen; /* fingerprint of the files that were read last */
	int64_t look_us;
	tls_psk_fn psk;
	void *psk_arg;
	char ticket_path[256];
	struct tls_ticket_key tickets[2];
	struct buf spare; /* for what is sealed, by whichever connection writes next */
	bool datagrams;
	uint8_t cookie_key[32];
	struct tls_conn *listening; /* DTLS: takes the next ClientHello that shows a cookie */
	uint8_t *plain;		    /* DTLS: of the record that is read */
};

struct tls_conn {
	SSL *ssl; /* NULL until the first whole record is there */
	struct tls *tls;
	struct bytes source; /* what libssl may read in this call */
	struct buf held;     /* an incomplete record; or what came while it waits */
	struct buf sealed;
	size_t sealed_at;
	const char *fault;
	char *psk_identity;
	X509 *issuer; /* of the peer's certificate */
	uint8_t *shown; /* its certificate, DER, and its subject; NULL: it has shown none */
	uint32_t certificate_len, subject_len;
	enum tls_speaks speaks;
	bool waits; /* for a pre-shared key; held is what comes behind */
	tls_datagram_fn send; /* DTLS */
	void *send_arg;
	struct bytes peer; /* until the handshake is over */
	bool open;
	bool ended;
	bool said_close;
};

/* tls.c */
int tls_make(const struct settings *s, const char *run_dir, bool datagrams, struct tls **ret, struct buf *err);

/* tls_datagrams.c */
void tls_datagrams_use(SSL_CTX *context);

/* tls_context.c */
int tls_set_load(struct tls *t, struct tls_set *ret, struct buf *err);
void tls_set_fini(struct tls_set *s);
/* Is this certificate good now, and who signed it (the caller's to free, or NULL)? ERR_REFUSED. */
int tls_verify_again(SSL_CTX *context, X509 *certificate, X509 **ret_issuer);

/* tls_ticket.c */
void tls_tickets_look(struct tls *t);
int tls_tickets_use(SSL_CTX *context);

/* tls_conn.c */
struct tls_conn *tls_conn_of(const SSL *ssl);
void tls_conn_opened(struct tls_conn *c);
/* What libssl's call that returned rc, not 1, means for the connection. */
void tls_conn_judge(struct tls_conn *c, int rc);
struct tls *tls_of(const SSL *ssl);
/* Call-backs of contexts. */
int tls_on_name(SSL *ssl, int *alert, void *arg);
int tls_on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned in_len,
    void *arg);
int tls_on_hello(SSL *ssl, int *alert, void *arg);
unsigned tls_on_psk(SSL *ssl, const char *identity, unsigned char *key, unsigned max);

#endif
