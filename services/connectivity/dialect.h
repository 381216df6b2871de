/* dialect.h - whose reading is a message on this topic, and in which format; pure
 *
 * A dialect is a topic pattern; what is outside all of them is ordinary publish/subscribe. */
#ifndef ROOST_DIALECT_H
#define ROOST_DIALECT_H

#include "buf.h"
#include "device_id.h"
#include "payload.h"

struct dialect_target {
	const char *dialect; /* "roost", "thingsboard" */
	struct bytes device; /* valid; borrows from topic or identity */
	enum payload_format format;
	struct bytes metric; /* name of a bare value; borrows from topic */
	bool
	    names_device; /* the topic says who: the caller checks that this client may speak for it */
	const char *
	    reason; /* set on ERR_MALFORMED and ERR_REFUSED only: a sentence for the device's developer */
};

/* identity: the device that this client is authenticated as; empty for none. ERR_NOT_FOUND: the topic is in no dialect;
 * ERR_MALFORMED: the device id or metric in it is invalid; ERR_REFUSED: it means the client's own device, and identity is
 * empty or no device id. */
int dialect_match(struct bytes topic, struct bytes identity, struct dialect_target *ret);

#endif
