/* address.h - "host:port" of a listening socket
 *
 * The host is an IPv4 address, an IPv6 address in brackets, `localhost` (127.0.0.1) or `*` (every address of the
 * machine, IPv6 and IPv4). Names are not looked up: what is listened on must not depend on a name server. */
#ifndef ROOST_ADDRESS_H
#define ROOST_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct address {
	struct sockaddr_storage sa;
	socklen_t sa_len;
	bool loopback; /* only this machine can reach it */
};

/* 0, or ERR_MALFORMED with *ret_why a few words. Port 0 lets the kernel choose. */
int address_parse(const char *text, struct address *ret_address, const char **ret_why);

/* 0 to 65535 in at most five digits; ERR_MALFORMED. */
int address_port_parse(const char *text, uint16_t *ret_port);

/* Addresses that begin alike: "10.0.0.0/8", "2001:db8::/32", "127.0.0.1". */
struct address_net {
	uint8_t ip[16]; /* IPv4 as ::ffff:a.b.c.d */
	unsigned bits;	/* that count, of 128 */
};

/* As address_parse(). */
int address_net_parse(const char *text, struct address_net *ret_net, const char **ret_why);
bool address_net_has(const struct address_net *net, const uint8_t ip[16]);

#define ADDRESS_TEXT_MAX 80
/* "127.0.0.1:1883", "[::1]:1883"; returns out. */
const char *address_text(const struct sockaddr_storage *sa, char out[ADDRESS_TEXT_MAX]);

#endif
