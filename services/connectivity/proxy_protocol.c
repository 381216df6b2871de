/* proxy_protocol.c - the header of HAProxy's PROXY protocol, versions 1 and 2; no I/O
 *
 * v1	"PROXY TCP4 192.0.2.1 198.51.100.7 40000 1883\r\n", or "PROXY UNKNOWN ...\r\n"
 * v2	12 bytes of signature; version 2 and command; family and transport; length of what follows; source and
 *	destination addresses, source and destination ports; TLVs, which are skipped */
#include "proxy_protocol.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "address.h"
#include "err.h"

#define V2_FIXED 16

static const uint8_t v1_start[6] = "PROXY ";
static const uint8_t v2_start[12] = { 0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49,
	0x54, 0x0a };

struct header {
	enum proxy_says says;
	struct peer peer;
	size_t len;
	const char *why;
};

/* As far as it has come, in begins so. */
static bool
begins(struct bytes in, const uint8_t *start, size_t len)
{
	return memcmp(in.data, start, in.len < len ? in.len : len) == 0;
}

/* The next word of a v1 line, which ends at a blank or at the end of the line; "" if there is none. */
static const char *
word(struct bytes *line, char out[64])
{
	size_t n = 0;

	while (n < line->len && line->data[n] != ' ')
		n++;
	if (n >= 64 || memchr(line->data, '\0', n)) {
		out[0] = '\0';
		return out;
	}
	memcpy(out, line->data, n);
	out[n] = '\0';
	n = n < line->len ? n + 1 : n;
	*line = bytes_of(line->data + n, line->len - n);
	return out;
}

/* Of a v1 line: without leading zeros. */
static bool
parse_port(const char *text, uint16_t *ret_port)
{
	return (text[0] != '0' || !text[1]) && address_port_parse(text, ret_port) == 0;
}

static int
read_v1_addresses(struct bytes line, int family, struct header *h)
{
	uint8_t from[16], to[16];
	uint16_t port, to_port;
	char text[64];

	if (inet_pton(family, word(&line, text), from) != 1 ||
	    inet_pton(family, word(&line, text), to) != 1 ||
	    !parse_port(word(&line, text), &port) || !parse_port(word(&line, text), &to_port) ||
	    line.len) {
		h->why = "the addresses of a PROXY line are malformed";
		return ERR_MALFORMED;
	}
	h->says = PROXY_CLIENT;
	h->peer = family == AF_INET ? peer_of_v4(from, port) : peer_of_v6(from, port);
	return 0;
}

static int
read_v1(struct bytes in, struct header *h)
{
	size_t max = in.len < PROXY_V1_MAX ? in.len : PROXY_V1_MAX;
	const uint8_t *lf = memchr(in.data, '\n', max);
	struct bytes line;
	char text[64];

	if (!lf && in.len < PROXY_V1_MAX)
		return ERR_SHORT;
	h->why = "a PROXY line that does not end in CR LF within 107 bytes";
	if (!lf)
		return ERR_TOO_BIG;
	h->len = (size_t)(lf - in.data) + 1;
	if (h->len < sizeof(v1_start) + 2 || lf[-1] != '\r')
		return ERR_MALFORMED;
	line = bytes_of(in.data + sizeof(v1_start), h->len - sizeof(v1_start) - 2);
	h->why = "a PROXY line of another family than TCP4, TCP6, UNKNOWN";
	word(&line, text);
	if (strcmp(text, "TCP4") == 0)
		return read_v1_addresses(line, AF_INET, h);
	if (strcmp(text, "TCP6") == 0)
		return read_v1_addresses(line, AF_INET6, h);
	if (strcmp(text, "UNKNOWN") != 0)
		return ERR_MALFORMED;
	h->says = PROXY_UNKNOWN;
	return 0;
}

static uint16_t
be16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

/* Family in the high half of the byte, transport (stream or datagram, alike to us) in the low half. */
static int
read_v2_addresses(struct bytes in, unsigned family, struct header *h)
{
	h->says = PROXY_CLIENT;
	switch (family) {
	case 0: /* UNSPEC */
		h->says = PROXY_UNKNOWN;
		return 0;
	case 1: /* INET */
		if (in.len < 12)
			break;
		h->peer = peer_of_v4(in.data, be16(in.data + 8));
		return 0;
	case 2: /* INET6 */
		if (in.len < 36)
			break;
		h->peer = peer_of_v6(in.data, be16(in.data + 32));
		return 0;
	case 3: /* UNIX */
		if (in.len < 216)
			break;
		h->says = PROXY_ITSELF;
		return 0;
	default:
		h->why = "a PROXY header of an unknown address family";
		return ERR_MALFORMED;
	}
	h->why = "a PROXY header too short for its addresses";
	return ERR_MALFORMED;
}

static int
read_v2(struct bytes in, struct header *h)
{
	if (in.len < V2_FIXED)
		return ERR_SHORT;
	h->len = V2_FIXED + (size_t)be16(in.data + 14);
	h->why = "a PROXY header of another version or command";
	if (in.data[12] >> 4 != 2 || (in.data[12] & 15) > 1)
		return ERR_MALFORMED;
	h->why = "a PROXY header for another transport than streams and datagrams";
	if ((in.data[13] & 15) > 2)
		return ERR_MALFORMED;
	h->why = "a PROXY header of more than 4096 bytes";
	if (h->len > PROXY_HEADER_MAX)
		return ERR_TOO_BIG;
	if (in.len < h->len)
		return ERR_SHORT;
	h->says = PROXY_ITSELF;
	if ((in.data[12] & 15) == 0) /* LOCAL: whatever follows is not looked at */
		return 0;
	return read_v2_addresses(
	    bytes_of(in.data + V2_FIXED, h->len - V2_FIXED), in.data[13] >> 4, h);
}

int
proxy_header(struct bytes in, enum proxy_accept accept, enum proxy_says *ret_says,
    struct peer *ret_peer, size_t *ret_len, const char **ret_why)
{
	struct header h = { .says = PROXY_UNKNOWN };
	int err;

	if (in.len == 0)
		return ERR_SHORT;
	if (begins(in, v1_start, sizeof(v1_start))) {
		h.why = "a PROXY header of version 1, and only version 2 is accepted";
		err = accept & PROXY_V1 ? read_v1(in, &h) : ERR_UNSUPPORTED;
	} else if (begins(in, v2_start, sizeof(v2_start))) {
		h.why = "a PROXY header of version 2, and only version 1 is accepted";
		err = accept & PROXY_V2 ? read_v2(in, &h) : ERR_UNSUPPORTED;
	} else {
		h.why = "no PROXY header";
		err = ERR_MALFORMED;
	}
	if (err == ERR_SHORT)
		return err;
	if (err) {
		*ret_why = h.why;
		return err;
	}
	*ret_says = h.says;
	*ret_peer = h.peer;
	*ret_len = h.len;
	return 0;
}
