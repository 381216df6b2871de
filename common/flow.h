/* flow.h - which messages may go from which service to which: flow.def, asked */
#ifndef ROOST_FLOW_H
#define ROOST_FLOW_H

#include <stdint.h>

/* Bits (1 << enum msg_type) of the message types that may go from one process to the other; "limiter-0" is of service
 * limiter. */
uint64_t flow_types(const char *from, const char *to);

#endif
