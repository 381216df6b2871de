/* format.h - what a data_dir's journal was made for, and the lock of each shard
 *
 * <data_dir>/journal/FORMAT, made with the first journal, synced before anything else is:
 *
 *   roost-journal 1
 *   partitions 16
 *   shards 1
 *
 * A later release reads every older version or upgrades it; this one reads version 1. */
#ifndef ROOST_STORAGE_FORMAT_H
#define ROOST_STORAGE_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#define FORMAT_VERSION 1

/* Makes <data_dir>/journal and its FORMAT, or checks it against the settings. ERR_CONFIG: they differ; ERR_IO. Both said. */
int format_check(const char *data_dir, uint32_t partitions, uint32_t shards);
/* Makes the shard's directory and takes its lock, waiting for at most wait_ms for a process that is on its way out.
 * ERR_TIMEOUT: another process holds it. The lock ends with the descriptor. */
int format_lock_shard(const char *data_dir, uint32_t shard, int64_t wait_ms, char *ret_dir,
    size_t dir_size, int *ret_fd);

#endif
