/* held.h - has the configuration changed that a held child waits for?
 *
 * A child that exited 78 is tried again when a file in rules_dir, notify.file, or one that tls.* names, is not what it was. */
#ifndef ROOST_HELD_H
#define ROOST_HELD_H

#include <stdint.h>

#include "settings.h"

#define HELD_FILES_MAX 4096 /* of rules_dir; further ones are not looked at */
#define HELD_LOOK_US 1000000

/* Differs when a file came, went, or was written (name, size, inode, time of change). */
uint64_t held_fingerprint(const struct settings *settings);

#endif
