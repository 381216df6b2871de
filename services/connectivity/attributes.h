/* attributes.h - what devices say about themselves: client attributes into the registry, by the journal
 *
 * They are entries of kind CONTEXT, one each, without a version: of two the later one in the journal is in force. The registry folds
 * them into registry.db and Redis; a device need not be registered for that. */
#ifndef ROOST_ATTRIBUTES_H
#define ROOST_ATTRIBUTES_H

#include "ingest.h"

struct attributes;
struct attributes *attributes_new(struct ingest *in);
void attributes_free(struct attributes **a);

/* A JSON object, or msgpack or CBOR as payload.h takes them: each value an attribute, what is nested by a name with dots. 0: the
 * token is answered when all of it is durable. ERR_AGAIN: no room. ERR_MALFORMED, ERR_TOO_BIG: why. */
int attributes_post(struct attributes *a, struct bytes device, enum payload_format format, struct bytes payload, uint64_t token,
    struct buf *why);

#endif
