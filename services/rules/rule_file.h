/* rule_file.h - the text of a rules file, from and to disk */
#ifndef ROOST_RULE_FILE_H
#define ROOST_RULE_FILE_H

#include "buf.h"

/* Appends the whole file. ERR_IO (errno); ERR_TOO_BIG over YAML_TEXT_MAX (errno EFBIG). */
int rule_file_read(const char *path, struct buf *out);
/* Replaces the file by text, all or nothing. ERR_IO (errno). */
int rule_file_write(const char *path, struct bytes text);

#endif
