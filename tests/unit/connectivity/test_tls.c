/* test_tls.c - contexts from good and bad files, and connections between memory and a client of libssl's, cut at each byte */
#include "../unit.h"
#include "tls.h"

#include <check.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "certs.h"
#include "err.h"
#include "mem.h"
#include "metrics.h"

static struct {
	char dir[64];
	struct settings *settings;
	struct buf err;
	struct tls *tls;
	SSL_CTX *client_context;
	SSL *client;
	BIO *to_client, *from_client; /* sealed */
	struct tls_conn *conn;
	uint8_t plain[TLS_PLAIN_MAX];
	int later; /* how often a key is not there yet */
	int waits;
	size_t cut; /* bytes given to the server at a time */
} x;

static const char *
path(const char *name)
{
	static char text[4][256];
	static unsigned next;

	next = (next + 1) % 4;
	snprintf(text[next], sizeof(text[next]), "%s/%s", x.dir, name);
	return text[next];
}

static void
set(const char *key, const char *value)
{
	char text[700];

	snprintf(text, sizeof(text), "%s=%s", key, value);
	ck_assert_msg(settings_set(x.settings, text, "test", &x.err) == 0, "%s", buf_str(&x.err));
}

static void
setup(void)
{
	static const char *const names[] = { "localhost", "127.0.0.1", "::1", "*.example.org" };

	memset(&x, 0, sizeof(x));
	snprintf(x.dir, sizeof(x.dir), "/dev/shm/test-tls-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(x.dir));
	ck_assert_int_eq(certs_init(x.dir, 10, &x.err), 0);
	ck_assert_int_eq(certs_server(x.dir, names, COUNT_OF(names), 5, &x.err), 0);
	ck_assert_int_eq(certs_device(x.dir, "gh-1", 5, &x.err), 0);
	x.settings = settings_new();
	set("tls.certificate", path("server.crt"));
	set("tls.key", path("server.key"));
	x.cut = SIZE_MAX;
}

static void
client_end(void)
{
	/* Else its session would not be resumed. */
	if (x.client)
		SSL_set_shutdown(x.client, SSL_SENT_SHUTDOWN);
	SSL_free(x.client);
	SSL_CTX_free(x.client_context);
	tls_conn_free(&x.conn);
	x.client = NULL;
	x.client_context = NULL;
}

static void
teardown(void)
{
	char command[128];

	client_end();
	tls_free(&x.tls);
	settings_free(&x.settings);
	buf_fini(&x.err);
	snprintf(command, sizeof(command), "rm -r %s", x.dir);
	ck_assert_int_eq(system(command), 0);
}

static int
start(void)
{
	buf_clear(&x.err);
	return tls_new(x.settings, x.dir, &x.tls, &x.err);
}

/* Shows its certificate if device is not NULL. */
static void
client_begin(const char *device, int version)
{
	char file[96];

	client_end();
	x.client_context = SSL_CTX_new(TLS_client_method());
	ck_assert(SSL_CTX_load_verify_locations(x.client_context, path("ca.crt"), NULL) == 1);
	SSL_CTX_set_verify(x.client_context, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_min_proto_version(x.client_context, version);
	SSL_CTX_set_max_proto_version(x.client_context, version);
	if (device) {
		snprintf(file, sizeof(file), "devices/%s.crt", device);
		ck_assert(SSL_CTX_use_certificate_file(
			      x.client_context, path(file), SSL_FILETYPE_PEM) == 1);
		snprintf(file, sizeof(file), "devices/%s.key", device);
		ck_assert(SSL_CTX_use_PrivateKey_file(
			      x.client_context, path(file), SSL_FILETYPE_PEM) == 1);
	}
	x.client = SSL_new(x.client_context);
	x.to_client = BIO_new(BIO_s_mem());
	x.from_client = BIO_new(BIO_s_mem());
	SSL_set_bio(x.client, x.to_client, x.from_client);
	SSL_set_connect_state(x.client);
	ck_assert(SSL_set1_host(x.client, "localhost") == 1);
	x.conn = tls_conn_new(x.tls, TLS_MQTT);
}

/* What the client has said goes to the server, and its answers back; what the server got stands in plain. */
static size_t
pump(void)
{
	static uint8_t piece[TLS_INPUT_MAX];
	size_t got = 0, len = x.cut < sizeof(piece) ? x.cut : sizeof(piece);
	uint8_t plain[TLS_PLAIN_MAX];
	int n;

	while ((n = BIO_read(x.from_client, piece, (int)len)) > 0) {
		size_t m = tls_conn_input(x.conn, bytes_of(piece, (size_t)n), plain);

		ck_assert_uint_le(got + m, sizeof(x.plain));
		memcpy(x.plain + got, plain, m);
		got += m;
		while (tls_conn_waits(x.conn)) {
			x.waits++;
			m = tls_conn_again(x.conn, plain);
			memcpy(x.plain + got, plain, m);
			got += m;
		}
	}
	while (tls_conn_sealed(x.conn).len) {
		struct bytes b = tls_conn_sealed(x.conn);
		size_t part = b.len < len ? b.len : len;

		ck_assert(BIO_write(x.to_client, b.data, (int)part) == (int)part);
		tls_conn_sent(x.conn, part);
	}
	return got;
}

static bool
handshake(void)
{
	for (int i = 0; i < 10; i++) {
		int rc = SSL_do_handshake(x.client);

		(void)pump();
		if (rc == 1 && tls_conn_is_open(x.conn) && !tls_conn_ended(x.conn))
			return true;
		if (tls_conn_ended(x.conn))
			return false;
	}
	return false;
}

static void
shell(const char *command)
{
	char text[700];

	snprintf(text, sizeof(text), "cd %s && %s", x.dir, command);
	ck_assert_msg(system(text) == 0, "%s", command);
}

#define OTHER_CRL                                                                                  \
	"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout o.key -out " \
	"o.crt -subj /CN=other -days 2 2>/dev/null && touch index && "                             \
	"printf '[ca]\\ndefault_ca=m\\n[m]\\ndatabase=index\\n' > o.cnf && "                       \
	"openssl ca -gencrl -keyfile o.key -cert o.crt -crldays 2 -md sha256 -config o.cnf -out "  \
	"o.crl 2>/dev/null"

static const struct {
	const char *label;
	const char *key, *file; /* whose setting names it instead */
	const char *command;	/* that makes it */
	const char *fault;
} bad[] = {
	{ "none", "tls.certificate", "none.crt", ":", "No such file or directory; name a file" },
	{ "a directory", "tls.certificate", "devices", ":", "it is no file" },
	{ "empty", "tls.certificate", "a.crt", ": > a.crt", "there is no certificate in it" },
	{ "no PEM", "tls.certificate", "a.crt", "echo x > a.crt", "there is no certificate in it" },
	{ "damaged", "tls.certificate", "a.crt",
	    "printf -- '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n' > a.crt",
	    "its certificate cannot be read" },
	{ "cut", "tls.certificate", "a.crt", "head -c 300 server.crt > a.crt",
	    "its certificate cannot be read" },
	{ "a cut chain", "tls.certificate", "a.crt", "head -c 900 server.crt > a.crt",
	    "a certificate of its chain cannot be read" },
	{ "a weak key", "tls.certificate", "a.crt",
	    "openssl req -x509 -newkey rsa:1024 -nodes -keyout a.key -out a.crt -subj /CN=a "
	    "2>/dev/null",
	    "its certificate cannot be used (ee key too small)" },
	{ "no key", "tls.key", "none.key", ":", "No such file or directory" },
	{ "an empty key", "tls.key", "a.key", "(umask 077; : > a.key)", "there is no key in it" },
	{ "no key in it", "tls.key", "server.crt", "chmod 600 server.crt",
	    "there is no key in it" },
	{ "another key", "tls.key", "ca.key", ":", "it is not the key of the certificate in" },
	{ "a key for all", "tls.key", "server.key", "chmod 604 server.key",
	    "others may read or change this secret key; chmod 600" },
	{ "a key for some to write", "tls.key", "server.key", "chmod 620 server.key",
	    "others may read or change" },
	{ "an encrypted key", "tls.key", "a.key",
	    "openssl pkey -in server.key -aes128 -passout pass:x -out a.key",
	    "it is encrypted, and there is nobody to ask for its password; write it without one" },
	{ "no CA", "tls.client_ca", "none.crt", ":", "No such file or directory" },
	{ "an empty CA", "tls.client_ca", "a.crt", ": > a.crt", "there is no certificate in it" },
	{ "a CA that is none", "tls.client_ca", "devices/gh-1.crt", ":",
	    "one of its certificates is not that of a CA" },
	{ "a CA without a CRL", "tls.client_ca", "both.crt",
	    OTHER_CRL " && cat ca.crt o.crt > both.crt",
	    "the CA /CN=other cannot be used: tls.crl has no CRL of it" },
	{ "no CRL", "tls.crl", "none.crl", ":", "No such file or directory" },
	{ "an empty CRL", "tls.crl", "a.crl", ": > a.crl", "there is no CRL in it" },
	{ "a CRL that is none", "tls.crl", "ca.crt", ":", "there is no CRL in it" },
	{ "a CRL of another", "tls.crl", "o.crl", OTHER_CRL, "tls.crl has no CRL of it" },
};

START_TEST(test_what_is_wrong_is_said)
{
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		const char *named, *said;

		if (strcmp(bad[i].key, "tls.client_ca") == 0 ||
		    strcmp(bad[i].key, "tls.crl") == 0) {
			set("tls.client_ca", path("ca.crt"));
			set("tls.crl", path("ca.crl"));
			set("tls.client_certificate", "required");
		}
		shell(bad[i].command);
		named = path(bad[i].file);
		set(bad[i].key, named);
		ck_assert_msg(start() == ERR_CONFIG, "%s: taken", bad[i].label);
		said = buf_str(&x.err);
		ck_assert_msg(strstr(said, bad[i].fault) != NULL, "%s: %s", bad[i].label, said);
		ck_assert_msg((strstr(said, named) && strstr(said, bad[i].key)) ||
				  strstr(said, "tls.crl has no"),
		    "%s: %s", bad[i].label, said);
		ck_assert_ptr_null(x.tls);
		teardown();
		setup();
	}
}
END_TEST

START_TEST(test_handshake_and_data_cut_anywhere)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
	static const size_t cuts[] = { 1, 2, 3, 5, 6, 100, 1000, SIZE_MAX };
	static uint8_t data[40000], back[40000];
	size_t n, got;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	ck_assert_int_eq(start(), 0);
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		for (size_t k = 0; k < COUNT_OF(cuts); k++) {
			client_begin(NULL, versions[v]);
			x.cut = cuts[k];
			ck_assert(handshake());
			ck_assert(SSL_write_ex(x.client, data, sizeof(data), &n) == 1);
			ck_assert_uint_eq(pump(), sizeof(data));
			ck_assert_mem_eq(x.plain, data, sizeof(data));
			tls_conn_seal(x.conn, bytes_of(data, sizeof(data)));
			ck_assert_uint_eq(pump(), 0);
			for (got = 0; got < sizeof(back); got += n)
				ck_assert(
				    SSL_read_ex(x.client, back + got, sizeof(back) - got, &n) == 1);
			ck_assert_mem_eq(back, data, sizeof(data));
			tls_conn_close(x.conn);
			tls_conn_close(x.conn);
			(void)pump();
			ck_assert(SSL_read_ex(x.client, back, 1, &n) == 0);
			ck_assert_int_eq(SSL_get_error(x.client, 0), SSL_ERROR_ZERO_RETURN);
			ck_assert(!tls_conn_ended(x.conn));
			(void)SSL_shutdown(x.client);
			(void)pump();
			ck_assert(tls_conn_ended(x.conn) && !tls_conn_fault(x.conn));
			/* What comes behind it is nobody's. */
			ck_assert_uint_eq(
			    tls_conn_input(x.conn, bytes_of_str("\x17\x03\x03"), x.plain), 0);
		}
	}
	ck_assert_uint_eq(metric_get(M_TLS_HANDSHAKES_12), COUNT_OF(cuts));
	ck_assert_uint_eq(metric_get(M_TLS_HANDSHAKES_13), COUNT_OF(cuts));
	client_end();
	ck_assert_uint_eq(metric_get(M_TLS_CONNECTIONS), 0);
}
END_TEST

static const struct {
	const char *label;
	const char *bytes;
	size_t len;
} strange[] = {
	{ "HTTP", "GET / HTTP/1.1\r\n\r\n", 18 },
	{ "MQTT", "\x10\x0d\0\4MQTT\4\2\0\0\0\1c", 15 },
	{ "SSL 2", "\x80\x2e\1\0\2", 5 },
	{ "a version of another world", "\x16\x04\x00\x00\x05hello", 10 },
	{ "too long a record", "\x16\x03\x01\x48\x01", 5 },
	{ "no handshake first", "\x17\x03\x03\x00\x01x", 6 },
	{ "a hello that is none", "\x16\x03\x01\x00\x04\x01\x00\x00\x00", 9 },
};

START_TEST(test_what_is_no_tls)
{
	ck_assert_int_eq(start(), 0);
	for (size_t i = 0; i < COUNT_OF(strange); i++) {
		for (size_t cut = 1; cut <= strange[i].len; cut++) {
			struct tls_conn *c = tls_conn_new(x.tls, TLS_MQTT);

			for (size_t at = 0; at < strange[i].len; at += cut)
				ck_assert_uint_eq(
				    tls_conn_input(c,
					bytes_of(strange[i].bytes + at,
					    strange[i].len - at < cut ? strange[i].len - at : cut),
					x.plain),
				    0);
			ck_assert_msg(
			    tls_conn_fault(c) != NULL && tls_conn_ended(c), "%s", strange[i].label);
			tls_conn_free(&c);
		}
	}
}
END_TEST

/* A record that is damaged on the way. */
START_TEST(test_a_changed_byte_ends_it)
{
	uint8_t sealed[200];
	size_t n;
	int len;

	ck_assert_int_eq(start(), 0);
	client_begin(NULL, TLS1_3_VERSION);
	ck_assert(handshake());
	ck_assert(SSL_write_ex(x.client, "reading", 7, &n) == 1);
	len = BIO_read(x.from_client, sealed, sizeof(sealed));
	sealed[len - 1] ^= 1;
	ck_assert_uint_eq(tls_conn_input(x.conn, bytes_of(sealed, (size_t)len), x.plain), 0);
	ck_assert(tls_conn_ended(x.conn));
	ck_assert_str_eq(tls_conn_fault(x.conn), "decryption failed or bad record mac");
	ck_assert_uint_eq(metric_get(M_TLS_FAULTS), 1);
	ck_assert_uint_gt(tls_conn_sealed(x.conn).len, 0); /* an alert */
	n = tls_conn_sealed(x.conn).len;
	tls_conn_seal(x.conn, bytes_of_str("more"));
	ck_assert_uint_eq(tls_conn_sealed(x.conn).len, n);
}
END_TEST

static struct bytes
file_der(const char *name, struct buf *out)
{
	FILE *f = fopen(path(name), "r");
	X509 *c = PEM_read_X509(f, NULL, NULL, NULL);
	unsigned char *at = buf_reserve(out, 4096);

	fclose(f);
	ck_assert_ptr_nonnull(c);
	out->len = (size_t)i2d_X509(c, &at);
	X509_free(c);
	return buf_bytes(out);
}

static void
check_facts(bool shown)
{
	struct buf certificate = { 0 }, ca = { 0 };
	struct tls_facts f;

	tls_conn_facts(x.conn, &f);
	if (shown) {
		ck_assert(bytes_equal(f.certificate, file_der("devices/gh-1.crt", &certificate)));
		ck_assert(bytes_equal(f.ca, file_der("ca.crt", &ca)));
		ck_assert(bytes_equal_str(f.subject, "CN=gh-1"));
	} else {
		ck_assert_uint_eq(f.certificate.len + f.ca.len + f.subject.len, 0);
	}
	ck_assert_uint_eq(f.psk_identity.len, 0);
	tls_facts_fini(&f);
	buf_fini(&certificate);
	buf_fini(&ca);
}

static SSL_SESSION *kept; /* what the client may resume */

static int
on_session(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	SSL_SESSION_free(kept);
	kept = session;
	return 1;
}

/* Connects, and again with the ticket of that; says whether that resumed it. */
static bool
twice(const char *device, int version)
{
	size_t n;
	char c;

	client_begin(device, version);
	SSL_CTX_set_session_cache_mode(
	    x.client_context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(x.client_context, on_session);
	ck_assert(handshake());
	(void)SSL_read_ex(x.client, &c, 1, &n); /* the ticket of 1.3 */
	ck_assert_ptr_nonnull(kept);
	check_facts(device != NULL);
	client_begin(device, version);
	ck_assert(SSL_set_session(x.client, kept) == 1);
	SSL_SESSION_free(kept);
	kept = NULL;
	return handshake() && SSL_session_reused(x.client);
}

START_TEST(test_facts_of_who_showed_a_certificate)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };

	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		set("tls.client_ca", path("ca.crt"));
		set("tls.crl", path("ca.crl"));
		set("tls.client_certificate", "optional");
		ck_assert_int_eq(start(), 0);
		ck_assert(twice("gh-1", versions[v]));
		check_facts(true);
		ck_assert(twice(NULL, versions[v]));
		check_facts(false);
		client_end();
		tls_free(&x.tls);
		set("tls.client_certificate", "required");
		ck_assert_int_eq(start(), 0);
		client_begin(NULL, versions[v]);
		ck_assert(!handshake());
		ck_assert_str_eq(tls_conn_fault(x.conn), "peer did not return a certificate");
		client_end();
		tls_free(&x.tls);
		teardown();
		setup();
	}
}
END_TEST

START_TEST(test_revoked_is_refused_also_with_a_ticket)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
	char answer;

	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		set("tls.client_ca", path("ca.crt"));
		set("tls.crl", path("ca.crl"));
		set("tls.client_certificate", "required");
		ck_assert_int_eq(start(), 0);
		ck_assert(twice("gh-1", versions[v]));
		ck_assert_uint_eq(metric_get(M_TLS_FAILED_CERTIFICATE), 0);
		/* revoked between a session and its resumption */
		client_begin("gh-1", versions[v]);
		SSL_CTX_set_session_cache_mode(
		    x.client_context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
		SSL_CTX_sess_set_new_cb(x.client_context, on_session);
		ck_assert(handshake());
		(void)SSL_read(x.client, &answer, 1);
		ck_assert_int_eq(certs_revoke(x.dir, "gh-1", &x.err), 0);
		shell("cd devices && mv gh-1.crt.revoked gh-1.crt && mv gh-1.key.revoked gh-1.key");
		tls_look(x.tls, 0, true);
		client_begin("gh-1", versions[v]);
		ck_assert(SSL_set_session(x.client, kept) == 1);
		ck_assert(!handshake());
		ck_assert_str_eq(tls_conn_fault(x.conn), "certificate revoked");
		ck_assert_uint_eq(metric_get(M_TLS_FAILED_CERTIFICATE), 1);
		SSL_SESSION_free(kept);
		kept = NULL;
		metric_set(M_TLS_FAILED_CERTIFICATE, 0);
		teardown();
		setup();
	}
}
END_TEST

/* What another process with the same folder has issued is good here, too; with another folder it is not. */
START_TEST(test_tickets_are_shared_and_change)
{
	struct tls *other = NULL;
	size_t n;
	char c;

	ck_assert_int_eq(start(), 0);
	ck_assert(twice(NULL, TLS1_3_VERSION));
	ck_assert_int_eq(tls_new(x.settings, x.dir, &other, &x.err), 0);
	client_begin(NULL, TLS1_3_VERSION);
	SSL_CTX_set_session_cache_mode(
	    x.client_context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(x.client_context, on_session);
	ck_assert(handshake());
	(void)SSL_read_ex(x.client, &c, 1, &n);
	client_begin(NULL, TLS1_3_VERSION);
	tls_conn_free(&x.conn);
	x.conn = tls_conn_new(other, TLS_MQTT);
	ck_assert(SSL_set_session(x.client, kept) == 1);
	ck_assert(handshake() && SSL_session_reused(x.client));
	client_end();
	tls_free(&other);
	ck_assert_int_eq(tls_new(x.settings, NULL, &other, &x.err), 0);
	client_begin(NULL, TLS1_3_VERSION);
	tls_conn_free(&x.conn);
	x.conn = tls_conn_new(other, TLS_MQTT);
	ck_assert(SSL_set_session(x.client, kept) == 1);
	ck_assert(handshake() && !SSL_session_reused(x.client));
	client_end();
	tls_free(&other);
	SSL_SESSION_free(kept);
	kept = NULL;
}
END_TEST

static int
psk_of(void *arg, struct bytes identity, uint8_t *key, size_t max)
{
	(void)arg;
	if (x.later && x.later-- > 0)
		return ERR_AGAIN;
	if (max < 16 || !bytes_equal_str(identity, "gh-1"))
		return ERR_NOT_FOUND;
	memset(key, 'k', 16);
	return 16;
}

static const char *psk_name;

static unsigned
client_psk(SSL *ssl, const char *hint, char *identity, unsigned identity_max, unsigned char *key,
    unsigned max)
{
	(void)ssl;
	(void)hint;
	(void)max;
	snprintf(identity, identity_max, "%s", psk_name);
	memset(key, psk_name[0] == 'w' ? 'w' : 'k', 16);
	return 16;
}

static bool
psk_handshake(const char *name, int version)
{
	psk_name = name;
	client_begin(NULL, version);
	SSL_set_psk_client_callback(x.client, client_psk);
	ck_assert(SSL_set_cipher_list(x.client, "PSK") == 1);
	return handshake();
}

START_TEST(test_pre_shared_keys)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
	struct tls_facts f;

	ck_assert_int_eq(start(), 0);
	tls_set_psk(x.tls, psk_of, NULL);
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		metric_set(M_TLS_FAILED_PSK, 0);
		ck_assert(psk_handshake("gh-1", versions[v]));
		tls_conn_facts(x.conn, &f);
		ck_assert(bytes_equal_str(f.psk_identity, "gh-1"));
		ck_assert_uint_eq(f.certificate.len, 0);
		tls_facts_fini(&f);
		/* Who is not known looks like who has a wrong key. */
		ck_assert(!psk_handshake("nobody", versions[v]));
		/* No text is no identity: of 1.3, where it may be a ticket, the certificate is left. */
		ck_assert(psk_handshake("\x01", versions[v]) == (versions[v] == TLS1_3_VERSION));
		tls_conn_facts(x.conn, &f);
		ck_assert_uint_eq(f.psk_identity.len, 0);
		tls_facts_fini(&f);
		ck_assert_uint_ge(metric_get(M_TLS_FAILED_PSK), 1);
	}
	ck_assert_uint_eq(metric_get(M_TLS_RESUMED), 0);
}
END_TEST

/* A key that has to be looked up: the handshake waits, with all that has come behind. */
START_TEST(test_a_pre_shared_key_that_comes_later)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
	static const size_t cuts[] = { 1, 7, SIZE_MAX };
	size_t n;

	ck_assert_int_eq(start(), 0);
	tls_set_psk(x.tls, psk_of, NULL);
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		for (size_t k = 0; k < COUNT_OF(cuts); k++) {
			x.cut = cuts[k];
			x.later = 3;
			x.waits = 0;
			ck_assert(psk_handshake("gh-1", versions[v]));
			ck_assert_int_eq(x.waits, 3);
			ck_assert(SSL_write_ex(x.client, "reading", 7, &n) == 1);
			ck_assert_uint_eq(pump(), 7);
			x.later = 3;
			ck_assert(!psk_handshake("nobody", versions[v]));
		}
	}
}
END_TEST

static const struct {
	const char *label;
	const char *offered; /* length, name, ... */
	const char *chosen;  /* NULL: refused */
	enum tls_speaks speaks;
} protocols[] = {
	{ "mqtt", "\4mqtt", "mqtt", TLS_MQTT },
	{ "AWS", "\xex-amzn-mqtt-ca", "x-amzn-mqtt-ca", TLS_MQTT },
	{ "HTTP to MQTT", "\x8http/1.1", NULL, TLS_MQTT },
	{ "curl", "\2h2\x8http/1.1", "http/1.1", TLS_HTTP },
	{ "MQTT to HTTP", "\4mqtt", NULL, TLS_HTTP },
	{ "nothing", "", "", TLS_MQTT },
};

START_TEST(test_protocols_are_not_confused)
{
	ck_assert_int_eq(start(), 0);
	for (size_t i = 0; i < COUNT_OF(protocols); i++) {
		const unsigned char *got;
		unsigned len;

		client_begin(NULL, TLS1_3_VERSION);
		tls_conn_free(&x.conn);
		x.conn = tls_conn_new(x.tls, protocols[i].speaks);
		if (*protocols[i].offered)
			ck_assert_int_eq(SSL_set_alpn_protos(x.client,
					     (const unsigned char *)protocols[i].offered,
					     (unsigned)strlen(protocols[i].offered)),
			    0);
		ck_assert_msg(
		    handshake() == (protocols[i].chosen != NULL), "%s", protocols[i].label);
		SSL_get0_alpn_selected(x.client, &got, &len);
		if (protocols[i].chosen)
			ck_assert_msg(bytes_equal_str(bytes_of(got, len), protocols[i].chosen),
			    "%s", protocols[i].label);
	}
}
END_TEST

UNIT_MAIN_IN("tls", setup, teardown, test_what_is_wrong_is_said,
    test_handshake_and_data_cut_anywhere, test_what_is_no_tls, test_a_changed_byte_ends_it,
    test_facts_of_who_showed_a_certificate, test_revoked_is_refused_also_with_a_ticket,
    test_tickets_are_shared_and_change, test_pre_shared_keys,
    test_a_pre_shared_key_that_comes_later, test_protocols_are_not_confused)
