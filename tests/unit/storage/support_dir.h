/* support_dir.h - a private directory for one test */
#ifndef ROOST_TEST_SUPPORT_DIR_H
#define ROOST_TEST_SUPPORT_DIR_H

#include <stddef.h>
#include <stdint.h>

const char *test_dir_new(char *out, size_t size);
void test_dir_remove(const char *dir); /* with all that is in it */
size_t test_file_read(const char *dir, const char *name, uint8_t *out, size_t size);
void test_file_write(const char *dir, const char *name, const uint8_t *data, size_t len);

#endif
