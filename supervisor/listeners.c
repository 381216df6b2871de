/* listeners.c - the listening TCP sockets: opened once, passed to connectivity, kept open across its restarts */
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

/* `*` on a machine without IPv6 is every IPv4 address. */
static int
open_all_addresses(const struct address *a)
{
	int fd = open_one(a, true);
	char text[16];
	struct address v4;
	const char *why;

	if (fd >= 0 || (errno != EAFNOSUPPORT && errno != EADDRNOTAVAIL))
		return fd;
	snprintf(text, sizeof(text), "0.0.0.0:%u",
	    ntohs(((const struct sockaddr_in6 *)&a->sa)->sin6_port));
	if (address_parse(text, &v4, &why) != 0)
		return -1;
	return open_one(&v4, false);
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
add(struct listeners *l, const char *kind, const char *key, const char *text, struct buf *err)
{
	struct listener *one = &l->list[l->count];
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	struct address a;
	const char *why;
	int fd;

	if (l->count == LISTENERS_MAX) {
		buf_addf(err, "%s: more than %d listening addresses in all", key, LISTENERS_MAX);
		return ERR_CONFIG;
	}
	if (address_parse(text, &a, &why) != 0) {
		buf_addf(err, "%s: \"%s\": %s", key, text, why);
		return ERR_CONFIG;
	}
	fd = text[0] == '*' ? open_all_addresses(&a) : open_one(&a, false);
	if (fd < 0)
		return explain(key, text, err);
	if (getsockname(fd, (struct sockaddr *)&sa, &len) != 0) {
		close(fd);
		return explain(key, text, err);
	}
	one->kind = kind;
	one->fd = fd;
	address_text(&sa, one->address);
	l->count++;
	return 0;
}

int
listeners_open(struct listeners *l, const struct settings *settings, struct buf *err)
{
	static const struct {
		const char *kind;
		enum setting_id id;
		bool tls;
	} kinds[] = { { "mqtt", SET_MQTT_LISTEN, false }, { "mqtt-ws", SET_MQTT_WS_LISTEN, false },
		{ "mqtts", SET_MQTTS_LISTEN, true }, { "mqtt-wss", SET_MQTT_WSS_LISTEN, true } };
	bool tls = settings_list_count(settings, SET_TLS_CERTIFICATE) > 0;
	int rc = 0;

	l->count = 0;
	for (size_t k = 0; k < COUNT_OF(kinds); k++) {
		size_t n = kinds[k].tls && !tls ? 0 : settings_list_count(settings, kinds[k].id);

		for (size_t i = 0; rc == 0 && i < n; i++)
			rc = add(l, kinds[k].kind, setting_infos[kinds[k].id].key,
			    settings_list_at(settings, kinds[k].id, i), err);
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

void
listeners_text(const struct listeners *l, struct buf *out)
{
	for (size_t i = 0; i < l->count; i++)
		buf_addf(out, "%s%s=%d=%s", i ? "," : "", l->list[i].kind, l->list[i].fd,
		    l->list[i].address);
}
