/* journal_out.h - changes on their way into the journal: a stream a partition, kept and sent again until COMMIT */
#ifndef ROOST_REGISTRY_JOURNAL_OUT_H
#define ROOST_REGISTRY_JOURNAL_OUT_H

#include "follower.h"
#include "worker.h"

struct journal_out;

/* Links are the follower's, which outlives it. */
struct journal_out *journal_out_new(struct worker *w, struct follower *f);
void journal_out_free(struct journal_out **j);
/* One CONTEXT entry. body is copied. */
void journal_out_push(struct journal_out *j, uint32_t partition, struct bytes body);
void journal_out_link_up(struct journal_out *j, const struct bus_link *link);
void journal_out_on_msg(struct journal_out *j, const struct bus_msg *m);
/* Sends what may be sent; sees to it that it is called again when time is up. */
void journal_out_pump(struct journal_out *j);
size_t journal_out_waiting(const struct journal_out *j); /* entries without COMMIT */

#endif
