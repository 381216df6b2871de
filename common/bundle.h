/* bundle.h - small messages of one turn to one peer, gathered to one frame
 *
 * Between two processes the wake-ups of a message cost more than everything else about it. A bundle is the byte 0xc1, which
 * begins no message since msgpack never uses it, then {length u32 of this machine, message} for each. Pure. */
#ifndef ROOST_BUNDLE_H
#define ROOST_BUNDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

#define BUNDLE_PEER_MAX 40
#define BUNDLE_MAX 65536 /* bytes */

struct bundle {
	struct bundle *next;
	struct buf bytes;
	uint32_t count;
	char peer[BUNDLE_PEER_MAX];
};

/* Those of one link. */
struct bundles {
	struct bundle *first;
	size_t count;
};

/* Makes it if there is none. */
struct bundle *bundle_of(struct bundles *all, const char *peer);
bool bundle_fits(const struct bundle *b, size_t size);
/* The caller adds exactly size bytes behind, and at once. */
struct buf *bundle_add(struct bundle *b, size_t size);
/* What is to be sent: a message that is alone goes as it is. Borrowed until something is added or cleared. */
struct bytes bundle_frame(const struct bundle *b);
void bundle_clear(struct bundle *b);
/* Frees *at and puts the one behind it there. */
void bundle_free(struct bundles *all, struct bundle **at);
void bundles_fini(struct bundles *all);

/* Whether a frame that was received is a bundle; then *ret_rest is what bundle_next() takes from. */
bool bundle_open(struct bytes frame, struct bytes *ret_rest);
/* 0; ERR_NOT_FOUND: that was all; ERR_MALFORMED: a length is wrong, and nothing of the rest can be told. */
int bundle_next(struct bytes *rest, struct bytes *ret_message);

#endif
