/* notify_file.h - reads notify.yaml from disk */
#ifndef ROOST_NOTIFY_FILE_H
#define ROOST_NOTIFY_FILE_H

#include <sys/stat.h>

#include "buf.h"
#include "notify_conf.h"

/* ERR_NOT_FOUND: no such file; ERR_IO; ERR_CONFIG. err has a sentence. ret_stat tells the version that was read. */
int notify_file_load(const char *path, struct notify_conf **ret_conf, struct stat *ret_stat, struct buf *err);

#endif
