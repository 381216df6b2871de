/* charged.h - up to which sequence number each stream's batches were charged; pure */
#ifndef ROOST_CHARGED_H
#define ROOST_CHARGED_H

#include <stdbool.h>
#include <stdint.h>

/* More streams than that at once make the table start anew: a batch that is sent again may then be charged twice. */
#define CHARGED_STREAMS_MAX 65536

struct charged;

struct charged *charged_new(void);
void charged_free(struct charged **s);
/* True if seq is above all that were seen of this stream; remembers it. */
bool charged_advance(struct charged *s, uint64_t stream, uint64_t seq);

#endif
