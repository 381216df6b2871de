/* peer.c - who is at the other end of a connection; no I/O */
#include "peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static const uint8_t v4_prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

struct peer
peer_of_v4(const uint8_t ip[4], uint16_t port)
{
	struct peer p = { .port = port, .known = true };

	memcpy(p.ip, v4_prefix, 12);
	memcpy(p.ip + 12, ip, 4);
	return p;
}

struct peer
peer_of_v6(const uint8_t ip[16], uint16_t port)
{
	struct peer p = { .port = port, .known = true };

	memcpy(p.ip, ip, 16);
	return p;
}

struct peer
peer_of_sockaddr(const struct sockaddr_storage *sa)
{
	struct sockaddr_in6 sin6;
	struct sockaddr_in sin;

	if (sa->ss_family == AF_INET6) {
		memcpy(&sin6, sa, sizeof(sin6));
		return peer_of_v6(sin6.sin6_addr.s6_addr, ntohs(sin6.sin6_port));
	}
	if (sa->ss_family == AF_INET) {
		uint8_t ip[4];

		memcpy(&sin, sa, sizeof(sin));
		memcpy(ip, &sin.sin_addr, sizeof(ip));
		return peer_of_v4(ip, ntohs(sin.sin_port));
	}
	return (struct peer){ .known = false };
}

bool
peer_is_loopback(const struct peer *p)
{
	static const uint8_t one[16] = { [15] = 1 };

	if (!p->known)
		return false;
	if (memcmp(p->ip, v4_prefix, 12) == 0)
		return p->ip[12] == 127;
	return memcmp(p->ip, one, 16) == 0;
}

const char *
peer_text(const struct peer *p, char out[PEER_TEXT_MAX])
{
	char host[INET6_ADDRSTRLEN];

	if (!p->known) {
		snprintf(out, PEER_TEXT_MAX, "unknown");
	} else if (memcmp(p->ip, v4_prefix, 12) == 0) {
		inet_ntop(AF_INET, p->ip + 12, host, sizeof(host));
		snprintf(out, PEER_TEXT_MAX, "%s:%u", host, p->port);
	} else {
		inet_ntop(AF_INET6, p->ip, host, sizeof(host));
		snprintf(out, PEER_TEXT_MAX, "[%s]:%u", host, p->port);
	}
	return out;
}
