/* fuzz_proxy.c - a PROXY header and what follows it, whole and in pieces: the same client, the same bytes behind it
 * fuzz: -max_len=5000 */
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "support.h"
#include "transport.h"

/* Any prefix of a header is only short; the client, written as a header of version 2, is read back. */
static void
check_header(struct bytes in, enum proxy_accept accept, const struct peer *client, size_t len)
{
	uint8_t again[16 + 36] = "\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24";
	enum proxy_says says;
	struct peer p;
	const char *why;
	size_t n;

	ASSERT(len <= in.len && len <= PROXY_HEADER_MAX);
	for (size_t cut = 0; cut < len; cut++)
		ASSERT(
		    proxy_header(bytes_of(in.data, cut), accept, &says, &p, &n, &why) == ERR_SHORT);
	if (!client->known)
		return;
	memcpy(again + 16, client->ip, 16);
	again[48] = (uint8_t)(client->port >> 8);
	again[49] = (uint8_t)client->port;
	ASSERT(proxy_header(bytes_of(again, sizeof(again)), PROXY_V2, &says, &p, &n, &why) == 0);
	ASSERT(says == PROXY_CLIENT && n == sizeof(again) && p.port == client->port);
	ASSERT(memcmp(p.ip, client->ip, 16) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = input_of(data, size);
	unsigned how = input_u8(&in);
	const struct transport_door door = { .proxy = (enum proxy_accept)(how % 3 + 1) };
	size_t each = how / 3 + 1, len = 0, at = 0;
	struct bytes text = input_rest(&in);
	struct transport *t = transport_new(&door);
	struct peer own = { .known = true, .port = 7 }, peer = own, client = { .known = false };
	enum proxy_says says = PROXY_UNKNOWN;
	const char *why = NULL;
	struct buf got = { .max = 0 };
	int err = proxy_header(text, door.proxy, &says, &client, &len, &why);

	ASSERT((err != 0 && err != ERR_SHORT) == (why != NULL));
	ASSERT(err != ERR_SHORT || text.len < PROXY_HEADER_MAX);
	if (err == 0)
		check_header(text, door.proxy, &client, len);
	ASSERT(err != 0 || (says == PROXY_CLIENT) == client.known);
	while (at < text.len && !transport_is_done(t) && !transport_ended(t)) {
		size_t n = each < text.len - at ? each : text.len - at, plain;
		uint8_t *piece = malloc(n);

		ASSERT(piece);
		memcpy(piece, text.data + at, n);
		plain = transport_input(t, piece, n, &peer);
		ASSERT(plain <= n);
		buf_add(&got, piece, plain);
		free(piece);
		at += n;
	}
	ASSERT(transport_is_done(t) == (err == 0));
	ASSERT(
	    transport_ended(t) == (why != NULL) && (transport_fault(t) != NULL) == (why != NULL));
	if (err == 0) {
		ASSERT(got.len == at - len);
		ASSERT(bytes_equal(buf_bytes(&got), bytes_of(text.data + len, got.len)));
		if (says == PROXY_ITSELF)
			ASSERT(peer.known && peer.port == 7);
		else
			ASSERT(peer.known == client.known && peer.port == client.port);
	}
	transport_free(&t);
	buf_fini(&got);
	return 0;
}
