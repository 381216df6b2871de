/* proxy_protocol.h - who a proxy speaks for: the header of HAProxy's PROXY protocol, versions 1 and 2; no I/O */
#ifndef ROOST_PROXY_PROTOCOL_H
#define ROOST_PROXY_PROTOCOL_H

#include "buf.h"
#include "peer.h"

#define PROXY_V1_MAX 107	/* bytes of a version 1 line, CR LF included */
#define PROXY_HEADER_MAX 4096	/* bytes of a version 2 header with what hangs on it (TLVs are skipped) */

enum proxy_accept { PROXY_OFF = 0, PROXY_V1 = 1, PROXY_V2 = 2, PROXY_ANY = PROXY_V1 | PROXY_V2 };

enum proxy_says {
	PROXY_CLIENT,	/* *ret_peer is the client */
	PROXY_UNKNOWN,	/* there is a client, and the proxy does not know its address */
	PROXY_ITSELF,	/* LOCAL: the proxy's own connection, a health check; UNIX: a client on the proxy's machine */
};

/* The header at the front of in. 0: *ret_len bytes; ERR_SHORT: more is to come; ERR_MALFORMED, ERR_TOO_BIG,
 * ERR_UNSUPPORTED (the version that is not accepted here): *ret_why says more. */
int proxy_header(struct bytes in, enum proxy_accept accept, enum proxy_says *ret_says, struct peer *ret_peer, size_t *ret_len,
    const char **ret_why);

#endif
