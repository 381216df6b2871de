/* sha1.c - SHA-1, which the WebSocket handshake wants; pure */
#include "sha1.h"

#include <czmq.h>

#include "err.h"

/* czmq's, because it is linked anyway; a TLS library would cost each start of the worker milliseconds. */
void
sha1(struct bytes text, uint8_t out[SHA1_BYTES])
{
	zdigest_t *digest = zdigest_new();
	const byte *data;

	zdigest_update(digest, text.data, text.len);
	data = zdigest_data(digest);
	ASSERT(data && zdigest_size(digest) == SHA1_BYTES);
	memcpy(out, data, SHA1_BYTES);
	zdigest_destroy(&digest);
}
