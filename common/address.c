/* address.c - "host:port" of a listening socket */
#include "address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"

int
address_port_parse(const char *text, uint16_t *ret_port)
{
	unsigned port = 0;

	if (!*text || strlen(text) > 5)
		return ERR_MALFORMED;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return ERR_MALFORMED;
		port = port * 10 + (unsigned)(*text - '0');
	}
	if (port > UINT16_MAX)
		return ERR_MALFORMED;
	*ret_port = (uint16_t)port;
	return 0;
}

static void
set_v4(struct address *a, struct in_addr host, uint16_t port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr = host };

	sin.sin_port = htons(port);
	memcpy(&a->sa, &sin, sizeof(sin));
	a->sa_len = sizeof(sin);
	a->loopback = (ntohl(host.s_addr) >> 24) == 127;
}

static void
set_v6(struct address *a, struct in6_addr host, uint16_t port)
{
	struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6, .sin6_addr = host };

	sin6.sin6_port = htons(port);
	memcpy(&a->sa, &sin6, sizeof(sin6));
	a->sa_len = sizeof(sin6);
	a->loopback =
	    IN6_IS_ADDR_LOOPBACK(&host) || (IN6_IS_ADDR_V4MAPPED(&host) && host.s6_addr[12] == 127);
}

static int
parse_host(struct address *a, const char *host, bool bracketed, uint16_t port)
{
	struct in_addr v4;
	struct in6_addr v6;

	if (bracketed) {
		if (inet_pton(AF_INET6, host, &v6) != 1)
			return ERR_MALFORMED;
		set_v6(a, v6, port);
		return 0;
	}
	if (strcmp(host, "*") == 0) {
		set_v6(a, in6addr_any, port);
		return 0;
	}
	if (inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, &v4) != 1)
		return ERR_MALFORMED;
	set_v4(a, v4, port);
	return 0;
}

int
address_parse(const char *text, struct address *ret_address, const char **ret_why)
{
	const char *colon = strrchr(text, ':');
	bool bracketed = text[0] == '[';
	struct address a = { .sa_len = 0 };
	char host[64];
	size_t len;
	uint16_t port;

	if (!colon || colon == text || (bracketed && colon[-1] != ']')) {
		*ret_why = "the port is missing: write host:port";
		return ERR_MALFORMED;
	}
	if (address_port_parse(colon + 1, &port) != 0) {
		*ret_why = "the port is not a number from 0 to 65535";
		return ERR_MALFORMED;
	}
	if (bracketed)
		text++;
	len = (size_t)(colon - text) - (bracketed ? 1 : 0);
	if (len < sizeof(host)) {
		memcpy(host, text, len);
		host[len] = '\0';
	}
	if (len >= sizeof(host) || parse_host(&a, host, bracketed, port) != 0) {
		*ret_why =
		    "the host is neither an IPv4 address, [an IPv6 address], localhost nor *";
		return ERR_MALFORMED;
	}
	*ret_address = a;
	return 0;
}

/* A decimal number of at most three digits; -1 if it is none. */
static int
parse_bits(const char *text)
{
	int bits = 0;

	if (!*text || strlen(text) > 3)
		return -1;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		bits = bits * 10 + (*text - '0');
	}
	return bits;
}

int
address_net_parse(const char *text, struct address_net *ret_net, const char **ret_why)
{
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	struct address_net net = { .ip = { [10] = 0xff, [11] = 0xff } };
	char host[64];
	int bits, bits_max = 32;

	*ret_why = "it is neither an IPv4 nor an IPv6 address, with or without /bits";
	if (len >= sizeof(host))
		return ERR_MALFORMED;
	memcpy(host, text, len);
	host[len] = '\0';
	if (inet_pton(AF_INET, host, net.ip + 12) != 1) {
		bits_max = 128;
		if (inet_pton(AF_INET6, host, net.ip) != 1)
			return ERR_MALFORMED;
	}
	bits = slash ? parse_bits(slash + 1) : bits_max;
	if (bits < 0 || bits > bits_max)
		return ERR_MALFORMED;
	net.bits = (unsigned)(bits + 128 - bits_max);
	*ret_net = net;
	return 0;
}

bool
address_net_has(const struct address_net *net, const uint8_t ip[16])
{
	unsigned whole = net->bits / 8, rest = net->bits % 8;

	if (memcmp(net->ip, ip, whole) != 0)
		return false;
	return rest == 0 || ((net->ip[whole] ^ ip[whole]) >> (8 - rest)) == 0;
}

const char *
address_text(const struct sockaddr_storage *sa, char out[ADDRESS_TEXT_MAX])
{
	char host[INET6_ADDRSTRLEN];

	if (sa->ss_family == AF_INET6) {
		struct sockaddr_in6 sin6;

		memcpy(&sin6, sa, sizeof(sin6));
		inet_ntop(AF_INET6, &sin6.sin6_addr, host, sizeof(host));
		snprintf(out, ADDRESS_TEXT_MAX, "[%s]:%u", host, ntohs(sin6.sin6_port));
	} else {
		struct sockaddr_in sin;

		memcpy(&sin, sa, sizeof(sin));
		inet_ntop(AF_INET, &sin.sin_addr, host, sizeof(host));
		snprintf(out, ADDRESS_TEXT_MAX, "%s:%u", host, ntohs(sin.sin_port));
	}
	return out;
}
