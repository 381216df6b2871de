/* device_id.c - what may be a device id; pure */
#include "device_id.h"

#include <string.h>

#include "record.h"
#include "utf8.h"

const char *
device_id_fault(struct bytes id)
{
	if (id.len == 0)
		return "the device id is empty";
	if (id.len > DEVICE_ID_MAX)
		return "the device id is longer than 128 bytes";
	if (memchr(id.data, '+', id.len) || memchr(id.data, '#', id.len) ||
	    memchr(id.data, '/', id.len))
		return "the device id contains + # or /";
	if (!utf8_valid(id))
		return "the device id is not UTF-8";
	if (utf8_has_control(id))
		return "the device id contains a control character";
	return NULL;
}
