/* tls.c - clients over TLS, or in clear, one process each: tls --port N [--ca FILE] --mode handshake|publish|idle ...
 *
 * handshake: connects, CONNECT, CONNACK, DISCONNECT, as often as it goes; --resume: each by the ticket of the one before.
 * publish: QoS 1, --window messages written, as many PUBACKs read, again.  idle: opens --connections, says so, waits for end of file.
 * One line of JSON. Blocking, OpenSSL's own client: what the server needs is what is measured. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS_MAX 64

static struct {
	int port;
	const char *ca, *cert, *key, *mode, *host;
	int version; /* 12, 13; 0: any */
	int clients, connections, window, seconds, resume;
} o = { .mode = "handshake",
	.host = "localhost",
	.clients = 4,
	.connections = 1000,
	.window = 100,
	.seconds = 3 };

struct client {
	SSL_CTX *context;
	SSL_SESSION *session;
	char id[24];
};

struct link {
	int fd;
	SSL *ssl; /* NULL: in clear */
};

static struct tally {
	uint64_t done, resumed;
} * tallies; /* one a client; shared memory */

static _Noreturn void
fail(const char *what)
{
	fprintf(stderr, "tls: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int
on_session(SSL *ssl, SSL_SESSION *session)
{
	struct client *c = SSL_get_app_data(ssl);

	SSL_SESSION_free(c->session);
	c->session = session;
	return 1;
}

static void
client_init(struct client *c, int n)
{
	snprintf(c->id, sizeof(c->id), "bench-%d", n);
	if (!o.ca)
		return;
	c->context = SSL_CTX_new(TLS_client_method());
	if (!c->context || SSL_CTX_load_verify_locations(c->context, o.ca, NULL) != 1)
		fail(o.ca);
	SSL_CTX_set_verify(c->context, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_mode(c->context, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(
	    c->context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(c->context, on_session);
	if (o.version) {
		int v = o.version == 12 ? TLS1_2_VERSION : TLS1_3_VERSION;

		SSL_CTX_set_min_proto_version(c->context, v);
		SSL_CTX_set_max_proto_version(c->context, v);
	}
	if (o.cert && (SSL_CTX_use_certificate_file(c->context, o.cert, SSL_FILETYPE_PEM) != 1 ||
			  SSL_CTX_use_PrivateKey_file(c->context, o.key, SSL_FILETYPE_PEM) != 1))
		fail(o.cert);
}

static void
say(struct link *l, const void *data, size_t len)
{
	if (l->ssl ? SSL_write(l->ssl, data, (int)len) != (int)len
		   : send(l->fd, data, len, MSG_NOSIGNAL) != (ssize_t)len)
		fail("write");
}

static void
hear(struct link *l, size_t len)
{
	char data[65536];

	while (len) {
		size_t most = len < sizeof(data) ? len : sizeof(data);
		ssize_t n = l->ssl ? SSL_read(l->ssl, data, (int)most) : recv(l->fd, data, most, 0);

		if (n <= 0)
			fail("read");
		len -= (size_t)n;
	}
}

/* ... to CONNACK. */
static void
link_open(struct link *l, struct client *c, const char *id)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons((uint16_t)o.port) };
	const int on = 1;
	uint8_t packet[64] = { 0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0 };
	size_t len = strlen(id);

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	l->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (l->fd < 0 || connect(l->fd, (struct sockaddr *)&sa, sizeof(sa)) != 0)
		fail("connect");
	(void)setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	l->ssl = NULL;
	if (o.ca) {
		l->ssl = SSL_new(c->context);
		SSL_set_app_data(l->ssl, c);
		SSL_set_fd(l->ssl, l->fd);
		SSL_set1_host(l->ssl, o.host);
		if (o.resume && c->session)
			SSL_set_session(l->ssl, c->session);
		if (SSL_connect(l->ssl) != 1)
			fail("handshake");
	}
	packet[13] = (uint8_t)len;
	memcpy(packet + 14, id, len);
	packet[1] = (uint8_t)(12 + len);
	say(l, packet, 14 + len);
	hear(l, 4);
}

static void
link_close(struct link *l)
{
	say(l, "\xe0\0", 2);
	if (l->ssl)
		SSL_shutdown(l->ssl);
	SSL_free(l->ssl);
	close(l->fd);
}

static void
handshakes(struct client *c, struct tally *t, double end)
{
	struct link l;

	while (now() < end) {
		link_open(&l, c, c->id);
		t->resumed += l.ssl && SSL_session_reused(l.ssl);
		link_close(&l);
		t->done++;
	}
}

static void
publish(struct client *c, struct tally *t, double end)
{
	static const char topic[] = "roost/bench/telemetry",
			  payload[] = "{\"temperature\":21.5,\"humidity\":40}";
	uint8_t *all = malloc((size_t)o.window * 128), *at = all;
	struct link l;

	if (!all)
		fail("memory");
	for (int i = 1; i <= o.window; i++) {
		size_t topic_len = sizeof(topic) - 1, payload_len = sizeof(payload) - 1;

		*at++ = 0x32;
		*at++ = (uint8_t)(2 + topic_len + 2 + payload_len);
		*at++ = 0;
		*at++ = (uint8_t)topic_len;
		memcpy(at, topic, topic_len);
		at += topic_len;
		*at++ = (uint8_t)(i >> 8);
		*at++ = (uint8_t)i;
		memcpy(at, payload, payload_len);
		at += payload_len;
	}
	link_open(&l, c, c->id);
	while (now() < end) {
		say(&l, all, (size_t)(at - all));
		hear(&l, 4 * (size_t)o.window);
		t->done += (uint64_t)o.window;
	}
	link_close(&l);
	free(all);
}

static void
idle(void)
{
	struct client c = { .session = NULL };
	struct link *links = calloc((size_t)o.connections, sizeof(*links));
	char id[24], byte;

	if (!links)
		fail("memory");
	client_init(&c, 0);
	for (int i = 0; i < o.connections; i++) {
		snprintf(id, sizeof(id), "idle-%d", i);
		link_open(&links[i], &c, id);
	}
	printf("{\"up\":%d}\n", o.connections);
	fflush(stdout);
	while (read(0, &byte, 1) > 0)
		;
	exit(0);
}

static void
parse(int argc, char **argv)
{
	static const struct option table[] = { { "port", 1, 0, 'p' }, { "ca", 1, 0, 'a' },
		{ "cert", 1, 0, 'c' }, { "key", 1, 0, 'k' }, { "mode", 1, 0, 'm' },
		{ "version", 1, 0, 'v' }, { "clients", 1, 0, 'n' }, { "connections", 1, 0, 'i' },
		{ "window", 1, 0, 'w' }, { "seconds", 1, 0, 's' }, { "resume", 0, 0, 'r' },
		{ 0, 0, 0, 0 } };
	int got;

	while ((got = getopt_long(argc, argv, "", table, NULL)) != -1) {
		int n = optarg ? (int)strtol(optarg, NULL, 10) : 1;
		int *number = got == 'p'   ? &o.port
			      : got == 'v' ? &o.version
			      : got == 'n' ? &o.clients
			      : got == 'i' ? &o.connections
			      : got == 'w' ? &o.window
			      : got == 's' ? &o.seconds
			      : got == 'r' ? &o.resume
					   : NULL;
		const char **text = got == 'a'	 ? &o.ca
				    : got == 'c' ? &o.cert
				    : got == 'k' ? &o.key
				    : got == 'm' ? &o.mode
						 : NULL;

		if (number)
			*number = n;
		else if (text)
			*text = optarg;
		else
			exit(64);
	}
	if (!o.port || o.clients < 1 || o.clients > CLIENTS_MAX || o.window < 1 || o.window > 1000)
		exit(64);
}

int
main(int argc, char **argv)
{
	struct rlimit files = { 65536, 65536 };
	struct rusage usage;
	struct tally sum = { 0 };
	double begun, took, cpu;
	int failed = 0, status;

	parse(argc, argv);
	(void)setrlimit(RLIMIT_NOFILE, &files);
	if (strcmp(o.mode, "idle") == 0)
		idle();
	tallies = mmap(NULL, sizeof(*tallies) * CLIENTS_MAX, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	begun = now();
	for (int i = 0; i < o.clients; i++) {
		if (fork() == 0) {
			struct client c = { .session = NULL };

			client_init(&c, i);
			if (strcmp(o.mode, "publish") == 0)
				publish(&c, &tallies[i], begun + o.seconds);
			else
				handshakes(&c, &tallies[i], begun + o.seconds);
			_exit(0);
		}
	}
	while (wait(&status) > 0)
		failed |= status;
	took = now() - begun;
	getrusage(RUSAGE_CHILDREN, &usage);
	cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	      (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
	for (int i = 0; i < o.clients; i++) {
		sum.done += tallies[i].done;
		sum.resumed += tallies[i].resumed;
	}
	printf("{\"done\":%llu,\"resumed\":%llu,\"rate\":%.1f,\"cpu_us\":%.2f}\n",
	    (unsigned long long)sum.done, (unsigned long long)sum.resumed, (double)sum.done / took,
	    sum.done ? cpu * 1e6 / (double)sum.done : 0.0);
	return failed != 0;
}
