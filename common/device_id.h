/* device_id.h - what may be a device id; pure */
#ifndef ROOST_DEVICE_ID_H
#define ROOST_DEVICE_ID_H

#include "buf.h"

/* NULL for a device id: UTF-8, 1..DEVICE_ID_MAX bytes, no + # / and no control characters; else what is wrong with it. */
const char *device_id_fault(struct bytes id);

#endif
