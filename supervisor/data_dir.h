/* data_dir.h - the directory that one Roost owns: made private, locked, and recorded what never changes in it
 *
 * <data_dir>/format holds the format version, partitions and storage.shards as they were when it was created. The lock
 * is a flock on <data_dir>/supervisor.lock, held for life; the file names who holds it. */
#ifndef ROOST_DATA_DIR_H
#define ROOST_DATA_DIR_H

#include "buf.h"
#include "settings.h"

#define DATA_DIR_FORMAT 1
#define DATA_DIR_MAX 96 /* bytes of its path, with NUL */

/* Makes data_dir and data_dir/run (0700) and locks it. 0 and the lock's descriptor; ERR_CONFIG, ERR_AGAIN (another
 * supervisor holds it) or ERR_IO, with a sentence in err. hint: options that name this data_dir, for the sentence. */
int data_dir_open(const char *data_dir, const char *hint, int *ret_lock_fd, struct buf *err);
/* Records the format, or compares it with what settings say: ERR_CONFIG if they differ. */
int data_dir_check_format(const char *data_dir, const struct settings *settings, struct buf *err);
/* Makes a small file (at most 4 KiB) hold text, whole or not at all, durably; on a full disk also, if it exists with the
 * same length. ERR_IO and errno. */
int data_dir_write(const char *data_dir, const char *name, struct bytes text);

#endif
