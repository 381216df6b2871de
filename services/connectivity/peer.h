/* peer.h - who is at the other end of a connection; no I/O */
#ifndef ROOST_PEER_H
#define ROOST_PEER_H

#include <stdbool.h>
#include <stdint.h>

struct sockaddr_storage;

struct peer {
	uint8_t ip[16];	/* IPv4 as ::ffff:a.b.c.d */
	uint16_t port;
	bool known;
};

#define PEER_TEXT_MAX 64

struct peer peer_of_v4(const uint8_t ip[4], uint16_t port);
struct peer peer_of_v6(const uint8_t ip[16], uint16_t port);
struct peer peer_of_sockaddr(const struct sockaddr_storage *sa);
/* On this machine. */
bool peer_is_loopback(const struct peer *p);
/* "192.0.2.1:40000", "[2001:db8::1]:40000", "unknown"; returns out. */
const char *peer_text(const struct peer *p, char out[PEER_TEXT_MAX]);

#endif
