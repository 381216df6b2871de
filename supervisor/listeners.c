/* listeners.c - the listening sockets: opened once, passed to connectivity, kept open across its restarts */
#include "listeners.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "err.h"
#include "mem.h"

#define DATAGRAM_ROOM (4 << 20) /* bytes that wait for a worker, as the kernel counts them */

/* A bound, listening socket; -1 and errno. */
static int
open_one(const struct address *a, bool both_families)
{
	int fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1, only_v6 = !both_families, saved;

	if (fd < 0)
		return -1;
	/* A restarted supervisor must not wait for connections in TIME_WAIT. */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	    (a->sa.ss_family != AF_INET6 ||
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only_v6, sizeof(only_v6)) == 0) &&
	    bind(fd, (const struct sockaddr *)&a->sa, a->sa_len) == 0 &&
	    listen(fd, LISTENERS_BACKLOG) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

typedef int (*open_fn)(const struct address *a, bool both_families);

/* `*` on a machine without IPv6 is every IPv4 address. */
static int
open_all_addresses(const struct address *a, open_fn open_it)
{
	int fd = open_it(a, true);
	char text[16];
	struct address v4;
	const char *why;

	if (fd >= 0 || (errno != EAFNOSUPPORT && errno != EADDRNOTAVAIL))
		return fd;
	snprintf(text, sizeof(text), "0.0.0.0:%u",
	    ntohs(((const struct sockaddr_in6 *)&a->sa)->sin6_port));
	if (address_parse(text, &v4, &why) != 0)
		return -1;
	return open_it(&v4, false);
}

static int
explain(const char *key, const char *text, struct buf *err)
{
	switch (errno) {
	case EADDRINUSE:
		buf_addf(err,
		    "%s: %s is in use by another program; end it, or choose another port with "
		    "--set %s=host:port",
		    key, text, key);
		return ERR_AGAIN;
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case ENOBUFS:
		buf_addf(err, "%s: %s: %s", key, text, strerror(errno));
		return ERR_AGAIN;
	default:
		buf_addf(err, "%s: %s: %s", key, text, strerror(errno));
		return ERR_CONFIG;
	}
}

static int
keep(struct listeners *l, const char *kind, int worker, int fd)
{
	struct listener *one = &l->list[l->count];
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	if (getsockname(fd, (struct sockaddr *)&sa, &len) != 0) {
		close(fd);
		return ERR_IO;
	}
	one->kind = kind;
	one->worker = worker;
	one->fd = fd;
	address_text(&sa, one->address);
	l->count++;
	return 0;
}

static int
add(struct listeners *l, const char *kind, const char *key, const char *text, struct buf *err)
{
	struct address a;
	const char *why;
	int fd;

	if (address_parse(text, &a, &why) != 0) {
		buf_addf(err, "%s: \"%s\": %s", key, text, why);
		return ERR_CONFIG;
	}
	fd = text[0] == '*' ? open_all_addresses(&a, open_one) : open_one(&a, false);
	if (fd < 0 || keep(l, kind, LISTENERS_OF_ALL, fd) != 0)
		return explain(key, text, err);
	return 0;
}

/* --- UDP --- */

static int
open_datagrams(const struct address *a, bool both_families, bool shared)
{
	int fd = socket(a->sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1, only_v6 = !both_families, room = DATAGRAM_ROOM, saved;

	if (fd < 0)
		return -1;
	/* The kernel gives what it may. */
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	if ((!shared || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0) &&
	    (a->sa.ss_family != AF_INET6 ||
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only_v6, sizeof(only_v6)) == 0) &&
	    bind(fd, (const struct sockaddr *)&a->sa, a->sa_len) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static int
open_alone(const struct address *a, bool both_families)
{
	return open_datagrams(a, both_families, false);
}

static int
open_shared(const struct address *a, bool both_families)
{
	return open_datagrams(a, both_families, true);
}

/* The first of several finds out alone whether the port is free: who shares a port would not be told that another program has it.
 * What it was given then (port 0) is that of all. */
static int
add_datagrams(struct listeners *l, const char *kind, const char *key, const char *text,
    unsigned workers, struct buf *err)
{
	struct address a;
	const char *why;
	socklen_t len = sizeof(a.sa);
	bool all = text[0] == '*';
	int fd;

	if (address_parse(text, &a, &why) != 0) {
		buf_addf(err, "%s: \"%s\": %s", key, text, why);
		return ERR_CONFIG;
	}
	fd = all ? open_all_addresses(&a, open_alone) : open_alone(&a, false);
	if (fd < 0)
		return explain(key, text, err);
	if (workers == 1)
		return keep(l, kind, 0, fd) == 0 ? 0 : explain(key, text, err);
	if (getsockname(fd, (struct sockaddr *)&a.sa, &len) != 0) {
		close(fd);
		return explain(key, text, err);
	}
	a.sa_len = len;
	close(fd);
	for (unsigned i = 0; i < workers; i++) {
		fd = open_shared(&a, all);
		if (fd < 0 || keep(l, kind, (int)i, fd) != 0)
			return explain(key, text, err);
	}
	return 0;
}

int
listeners_open(struct listeners *l, const struct settings *settings, struct buf *err)
{
	static const struct {
		const char *kind;
		enum setting_id id;
		bool tls;
		bool datagrams;
	} kinds[] = {
		{ "mqtt", SET_MQTT_LISTEN, false, false },
		{ "mqtt-ws", SET_MQTT_WS_LISTEN, false, false },
		{ "mqtts", SET_MQTTS_LISTEN, true, false },
		{ "mqtt-wss", SET_MQTT_WSS_LISTEN, true, false },
		{ "coap", SET_COAP_LISTEN, false, true },
		{ "http", SET_HTTP_LISTEN, false, false },
		{ "https", SET_HTTPS_LISTEN, true, false },
		{ "coaps", SET_COAPS_LISTEN, false, true },
	};
	bool tls = settings_list_count(settings, SET_TLS_CERTIFICATE) > 0;
	unsigned workers = (unsigned)settings_int(settings, SET_CONNECTIVITY_REPLICAS);
	size_t addresses = 0;
	int rc = 0;

	l->count = 0;
	for (size_t k = 0; k < COUNT_OF(kinds); k++) {
		size_t n = kinds[k].tls && !tls ? 0 : settings_list_count(settings, kinds[k].id);
		const char *key = setting_infos[kinds[k].id].key;

		for (size_t i = 0; rc == 0 && i < n; i++) {
			const char *text = settings_list_at(settings, kinds[k].id, i);

			if (++addresses > LISTENERS_MAX ||
			    l->count + workers > LISTENERS_SOCKETS_MAX) {
				buf_addf(err, "%s: more than %d listening addresses in all", key,
				    LISTENERS_MAX);
				rc = ERR_CONFIG;
			} else if (kinds[k].datagrams) {
				rc = add_datagrams(l, kinds[k].kind, key, text, workers, err);
			} else {
				rc = add(l, kinds[k].kind, key, text, err);
			}
		}
	}
	if (rc != 0)
		listeners_close(l);
	return rc;
}

void
listeners_close(struct listeners *l)
{
	while (l->count > 0)
		close(l->list[--l->count].fd);
}

bool
listener_is_of(const struct listener *l, unsigned worker)
{
	return l->worker == LISTENERS_OF_ALL || l->worker == (int)worker;
}

void
listeners_text(const struct listeners *l, unsigned worker, struct buf *out)
{
	const char *between = "";

	for (size_t i = 0; i < l->count; i++) {
		if (!listener_is_of(&l->list[i], worker))
			continue;
		buf_addf(
		    out, "%s%s=%d=%s", between, l->list[i].kind, l->list[i].fd, l->list[i].address);
		between = ",";
	}
}
