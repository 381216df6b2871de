/* orphan.h - alerts that fire by the journal and that nothing computes any more; pure
 *
 * A partition that is opened computes again what came after its snapshot. If rules or bounds changed since, an alert that
 * was told as firing may not come of it this time, and so would never be told as cleared. While the partition catches up,
 * this notes which firings the journal tells of and which the engine knows; what is left at the end is to be cleared. */
#ifndef ROOST_ORPHAN_H
#define ROOST_ORPHAN_H

#include "alert_fsm.h"
#include "codec.h"

#define ORPHANS_MAX 65536 /* firings met while catching up; with more nothing is cleared, and that is logged */

struct orphans;

struct orphans *orphans_new(void);
void orphans_free(struct orphans **o);

/* The engine computed something of this firing, or has it. */
void orphans_known(struct orphans *o, const char *alert_id);
/* The journal has this transition. */
void orphans_seen(struct orphans *o, const struct msg_alert *m);
/* Firings that are not known, so far. */
size_t orphans_count(const struct orphans *o);
/* ERR_FULL: there were too many to say. */
int orphans_each(struct orphans *o, void (*fn)(void *arg, const struct msg_alert *last), void *arg);
/* The id of the clearing that ends a firing whose last transition has this id: the same whoever finds it. */
void orphan_cleared_id(struct bytes last_id, char ret_id[ALERT_ID_MAX]);

#endif
