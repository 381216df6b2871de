/* sha1.h - SHA-1, which the WebSocket handshake wants (RFC 6455, 4.2.2); for nothing that must be secret; pure */
#ifndef ROOST_SHA1_H
#define ROOST_SHA1_H

#include "buf.h"

#define SHA1_BYTES 20

void sha1(struct bytes text, uint8_t out[SHA1_BYTES]);

#endif
