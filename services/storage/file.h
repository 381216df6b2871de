/* file.h - file calls that go on after an interruption, or after a part of the work
 *
 * A signal may interrupt a call before it did anything (EINTR), and a write may take less than it was given: neither is an
 * error. All return 0 or errno, file_open() a descriptor or -1 and errno. */
#ifndef ROOST_STORAGE_FILE_H
#define ROOST_STORAGE_FILE_H

#include <stdint.h>

#include "buf.h"

int file_open(int dir_fd, const char *path, int flags); /* mode 0600, close on exec */
int file_write(int fd, struct bytes data, uint64_t at);
int file_sync(int fd);
int file_sync_data(int fd);
int file_set_size(int fd, uint64_t size);
int file_allocate(int fd, uint64_t size);

#endif
