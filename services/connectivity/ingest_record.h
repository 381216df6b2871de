/* ingest_record.h - a device message as a record of a batch; pure */
#ifndef ROOST_INGEST_RECORD_H
#define ROOST_INGEST_RECORD_H

#include "ingest.h"

/* What a record says of its client; 0: none. */
uint64_t ingest_client_of(struct bytes client_id);
/* m with its origin, which is put into *origin if m has none. */
struct ingest_message ingest_message_known(
    const struct ingest_message *m, struct ingest_origin *origin);
/* Both append to out. m->origin is given. */
void ingest_record_points(
    struct buf *out, const struct ingest_message *m, const struct payload_result *r);
/* The raw bytes as points named "payload": one, if they fit in one string. */
void ingest_record_undecodable(struct buf *out, const struct ingest_message *m, int64_t time);

#endif
