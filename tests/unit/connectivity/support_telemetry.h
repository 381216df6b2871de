/* support_telemetry.h - documents of readings, decoded and written down */
#ifndef ROOST_SUPPORT_TELEMETRY_H
#define ROOST_SUPPORT_TELEMETRY_H

#include "telemetry.h"

#define NOW 1732233600000000 /* 2024-11-22T00:00:00Z */

extern struct telemetry *decoder;
extern int64_t stamps; /* how many were given: NOW and what follows it */

void telemetry_setup(void);
void telemetry_teardown(void);
struct telemetry_options options_of(const char *device);
/* "device: name=value name=value | device: ...": with @microseconds behind NOW where they are not 0, and !reason when quarantined. */
void render(const struct telemetry_reading *r, struct buf *out);
/* All readings of a copy of exactly that size, so that a sanitizer sees a read beyond it; a problem ends them. */
int decode(enum telemetry_format format, struct bytes body, const struct telemetry_options *o,
    struct buf *out);
/* Every prefix is decoded or refused. */
void check_prefixes(
    enum telemetry_format format, struct bytes body, const struct telemetry_options *o);

#endif
