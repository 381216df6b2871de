/* streams.h - up to which sequence number each stream's batches were charged; pure */
#ifndef ROOST_STREAMS_H
#define ROOST_STREAMS_H

#include <stdbool.h>
#include <stdint.h>

/* More streams than that at once make the table start anew: a batch that is sent again may then be charged twice. */
#define STREAMS_MAX 65536

struct streams;

struct streams *streams_new(void);
void streams_free(struct streams **s);
/* True if seq is above all that were seen of this stream; remembers it. */
bool streams_advance(struct streams *s, uint64_t stream, uint64_t seq);

#endif
