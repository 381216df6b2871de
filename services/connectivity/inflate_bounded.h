/* inflate_bounded.h - content encodings taken off piece by piece, never further than agreed; pure
 *
 * gzip (RFC 1952, several members too) by zlib, zstd (RFC 8878, several frames too; windows up to 8 MiB, RFC 9659) by libzstd. What
 * comes out is never longer than bytes_max, nor, beyond INFLATE_RATIO_FROM bytes, than ratio_max times what went in so far. */
#ifndef ROOST_INFLATE_BOUNDED_H
#define ROOST_INFLATE_BOUNDED_H

#include "buf.h"

#define INFLATE_RATIO_FROM 65536

enum inflate_coding { INFLATE_GZIP, INFLATE_ZSTD };

struct inflate;
/* About 40 KiB for gzip; for zstd what the frame's window needs, once it is known. */
struct inflate *inflate_new(enum inflate_coding coding, size_t bytes_max, unsigned ratio_max);
void inflate_free(struct inflate **z);
/* Appends to out what comes of in. ERR_MALFORMED, ERR_TOO_BIG: sticky; ret_why gets a static sentence. */
int inflate_feed(struct inflate *z, struct bytes in, struct buf *out, const char **ret_why);
/* No more comes: ERR_MALFORMED if the last member is not whole. */
int inflate_end(struct inflate *z, const char **ret_why);

#endif
